//! Endpoint: a named receiver of messages, and everything of it that outlives a version of its code.
//!
//! Before it: `dispatcher` posts. After it: [`component`](crate::component) runs the code, and what the
//! code wants to send leaves through `outgoing`.
//!
//! In the order of a message: `inbox` (waits) - `runner` (takes a batch, runs it, carries out its
//! effects) - `surroundings` (what the code sees of its host meanwhile) - `ledger` (what is owed and
//! awaited). Beside the way: `swap` (replaces the code), `trial`, `replay` and `rollback` (a new version
//! that fails is exchanged for the one before), `rehearsal` (what a swap would do), `supervisor` and
//! `checkpoint` (after a crash), `leading` (whether what it decides counts), `history`.
//!
//! Invariants
//! 1. One message at a time, in the order of each sender.
//! 2. Every call is answered exactly once: by the code, or with the reason why it was not.
//! 3. `on-start` is first and `on-stop` last, each at most once; a swap runs neither.

pub mod settings;

pub mod status;

pub mod record;

pub(crate) mod outgoing;

pub(crate) mod inbox;

pub(crate) mod launches;

mod durable;

pub(crate) mod handle;

pub mod rehearsal;

pub(crate) mod swap;

mod checkpoint;
mod history;
mod leading;
mod ledger;
mod metrics;
mod replay;
mod rollback;
mod runner;
mod standstill;
mod supervisor;
mod surroundings;
mod trial;

pub use swap::SwapError;
