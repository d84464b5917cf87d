//! Lines: an endpoint that counts what it is sent, and whether each line came exactly once and in
//! order.
//!
//! Three versions. Each later one knows more and keeps more, and each can take the place of each
//! other, forward and back, without losing a line: [`v1`], [`v2`], [`v3`]. The messages are the same
//! for all of them.

mod messages;
pub use messages::{GetTotals, Line, Reset, Totals};

mod tally;
pub use tally::Tally;
pub(crate) use tally::is_space;

pub mod v1;

pub mod v2;

pub mod v3;
