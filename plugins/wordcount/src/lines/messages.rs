//! What wordcount understands, in every version.

use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// One line of text.
#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "wordcount.Line")]
pub struct Line {
    /// Which sequence of lines it belongs to; each has an order of its own.
    pub source: u32,
    /// Its place in that sequence, from 0.
    pub number: u64,
    /// The line without its newline. Any bytes.
    pub text: Bytes,
}

/// Asks for the totals so far.
#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "wordcount.GetTotals", reply = Totals)]
pub struct GetTotals {}

/// Forgets everything.
#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "wordcount.Reset")]
pub struct Reset {}

/// The totals so far.
#[derive(Clone, Debug, PartialEq, Eq, Message, Serialize, Deserialize)]
#[message(kind = "wordcount.Totals")]
pub struct Totals {
    /// The version that answers.
    pub version: String,
    /// Lines.
    pub lines: u64,
    /// Words: longest runs of bytes that are not ASCII white space.
    pub words: u64,
    /// Bytes, one newline for each line included.
    pub bytes: u64,
    /// Lines that are missing, as later ones of their sequence came.
    pub lost: u64,
    /// Lines that came again.
    pub doubled: u64,
    /// Lines that came after a later one of their sequence.
    pub out_of_order: u64,
}
