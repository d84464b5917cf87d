//! Master: schedules drivers and executors on workers, and takes up after another master.
//!
//! | file | idea |
//! |---|---|
//! | [`endpoint`] | messages in, messages out: the thin shell |
//! | [`core`] | what a master knows and decides |
//! | `testing` | the specification as functions, for tests of this crate and of others |
//!
//! Two builds of one crate: features `spread-out` (default) and `consolidate`. Each can take the place
//! of the other.

pub mod core;

pub mod endpoint;

#[cfg(all(feature = "testing", not(target_family = "wasm")))]
pub mod testing;

pub use endpoint::Master;

instar_sdk::export!(Master);
