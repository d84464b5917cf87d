//! Wordcount: counts the lines, words and bytes that it is sent, and whether each line came exactly
//! once and in order.
//!
//! Three versions of one endpoint. Each later one knows more and keeps more, and each can take the
//! place of each other, forward and back, without losing a line: [`v1`], [`v2`], [`v3`]. The messages
//! are the same for all of them.

mod messages;
pub use messages::{GetTotals, Line, Reset, Totals};

mod tally;
pub use tally::Tally;

pub mod v1;

pub mod v2;

pub mod v3;

#[cfg(not(any(feature = "v2", feature = "v3")))]
instar_sdk::export!(v1::WordCount);

#[cfg(all(feature = "v2", not(feature = "v3")))]
instar_sdk::export!(v2::WordCount);

#[cfg(feature = "v3")]
instar_sdk::export!(v3::WordCount);
