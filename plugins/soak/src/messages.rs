//! What soak understands, in every version. The host has the same types, in `host/src/soak/messages.rs`.

use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// The next number of a sender.
#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "soak.Number")]
pub struct Number {
    /// Who counts; each sender has an order of its own.
    pub sender: u32,
    /// Counts from 0.
    pub number: u64,
}

/// A call that is answered at once.
#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "soak.Ask", reply = Seen)]
pub struct Ask {
    /// Who asks.
    pub sender: u32,
}

/// A call that is kept, and answered later.
#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "soak.Keep", reply = Seen)]
pub struct Keep {
    /// Who asks.
    pub sender: u32,
    /// Answered by a timer after so many milliseconds; without, with the next number that comes.
    pub after_ms: Option<u32>,
}

/// Which version answers, and where among the numbers of its sender the call was taken.
#[derive(Clone, Debug, PartialEq, Eq, Message, Serialize, Deserialize)]
#[message(kind = "soak.Seen")]
pub struct Seen {
    /// The version that answers.
    pub version: String,
    /// Swaps of this state until the answer.
    pub swaps: u64,
    /// Swaps of this state until the call was taken.
    pub taken: u64,
    /// How many numbers of the sender were there when the call was taken.
    pub position: u64,
}

/// Asks for the totals so far.
#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "soak.GetTotals", reply = Totals)]
pub struct GetTotals {}

/// The totals so far.
#[derive(Clone, Debug, PartialEq, Eq, Message, Serialize, Deserialize)]
#[message(kind = "soak.Totals")]
pub struct Totals {
    /// The version that answers.
    pub version: String,
    /// Swaps of this state.
    pub swaps: u64,
    /// Numbers that came.
    pub messages: u64,
    /// Numbers that are missing, as later ones of their sender came.
    pub lost: u64,
    /// Numbers that came again.
    pub doubled: u64,
    /// Numbers that came after a later one of their sender.
    pub reordered: u64,
    /// Bytes of ballast.
    pub ballast: u64,
    /// Whether the ballast is what it was at the start.
    pub intact: bool,
    /// Calls in the state that wait for the next number.
    pub waiting: u64,
}

/// The timer of a kept call is due: what the endpoint tells itself.
#[derive(Debug, Message, Serialize, Deserialize)]
#[message(kind = "soak.Due")]
pub struct Due {
    /// The call to answer.
    pub call: CallContext<Seen>,
    /// As in [`Seen`].
    pub taken: u64,
    /// As in [`Seen`].
    pub position: u64,
}
