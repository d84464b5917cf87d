//! Soak: notices what a swap must not do - lose, double or reorder a message, forget an open call,
//! change the state - while `instar soak` swaps it as fast as it can.
//!
//! Three versions of one endpoint, each able to take the place of each other: [`v1`], [`v2`], [`v3`].
//! What they have in common is in [`Common`]; the messages are the same for all of them.

mod messages;
pub use messages::{Ask, Due, GetTotals, Keep, Number, Seen, Totals};

mod order;
pub use order::Order;

mod common;
pub use common::{Common, Waiting};

pub mod v1;

pub mod v2;

pub mod v3;

#[cfg(not(any(feature = "v2", feature = "v3")))]
instar_sdk::export!(v1::Soak);

#[cfg(all(feature = "v2", not(feature = "v3")))]
instar_sdk::export!(v2::Soak);

#[cfg(feature = "v3")]
instar_sdk::export!(v3::Soak);
