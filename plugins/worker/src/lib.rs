//! Worker: runs executors and drivers for a master. Source: `Worker` of Spark.
//!
//! | file | what is in it |
//! |---|---|
//! | [`core`] | all that is decided: events in, effects out; no clock, no host |
//! | [`endpoint`] | the shell: hands the core what comes, carries out what it wants |
//! | [`messages`] | what the worker tells itself by timers, and keeps beside its asks |
//!
//! What it launched is the host's. So a new version of this code takes the place of the old one while
//! executors and drivers work on, and a worker that crashed finds them again.

pub mod messages;

pub mod core;

pub mod endpoint;

pub use endpoint::Worker;

instar_sdk::export!(Worker);
