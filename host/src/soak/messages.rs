//! What the endpoint understands. Its plugin has the same types, in `plugins/soak/src/messages.rs`.

use serde::{Deserialize, Serialize};

pub(super) const NUMBER: &str = "soak.Number";
pub(super) const ASK: &str = "soak.Ask";
pub(super) const KEEP: &str = "soak.Keep";
pub(super) const GET_TOTALS: &str = "soak.GetTotals";

/// The next number of a sender.
#[derive(Serialize)]
pub(super) struct Number {
    pub(super) sender: u32,
    pub(super) number: u64,
}

/// A call that is answered at once.
#[derive(Serialize)]
pub(super) struct Ask {
    pub(super) sender: u32,
}

/// A call that is answered later: by a timer, or with the next number.
#[derive(Serialize)]
pub(super) struct Keep {
    pub(super) sender: u32,
    pub(super) after_ms: Option<u32>,
}

/// Which version answers, and where among the numbers of its sender the call was taken.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Seen {
    pub(super) version: String,
    /// Swaps of the state until the answer.
    pub(super) swaps: u64,
    /// Swaps of the state until the call was taken.
    pub(super) taken: u64,
    /// Numbers of the sender that were there when the call was taken.
    pub(super) position: u64,
}

/// What the endpoint counted.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Totals {
    pub(super) version: String,
    pub(super) swaps: u64,
    pub(super) messages: u64,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) reordered: u64,
    pub(super) ballast: u64,
    pub(super) intact: bool,
    pub(super) waiting: u64,
}
