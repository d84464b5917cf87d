//! The deploy protocol: every message between master, workers, applications and those who submit
//! drivers. Source: `DeployMessages` of Spark.
//!
//! | file | between |
//! |---|---|
//! | [`worker`] | a worker and its master |
//! | [`application`] | the client of an application and the master |
//! | [`driver`] | whoever submits, kills or asks for drivers, and the master |
//! | [`state`] | whoever wants to look, and a master or worker |
//! | [`description`], [`states`] | what stands in them |
//!
//! Rules
//! 1. A kind never changes its fields. What needs other fields is a new kind beside the old one.
//! 2. References are plain data ([`EndpointRef`]) and always carry an address, so that they can be
//!    kept, written down and used by another version of their receiver.
//! 3. Memory is in MB (2^20 bytes), times in milliseconds since 1970 UTC unless a field says otherwise.

pub mod application;

pub mod description;

pub mod driver;

pub mod state;

pub mod states;

pub mod worker;

pub use application::*;
pub use description::*;
pub use driver::*;
pub use instar_sdk::EndpointRef;
pub use state::*;
pub use states::*;
pub use worker::*;

/// Name of the endpoint of a master.
pub const MASTER: &str = "Master";

/// Name of the endpoint of a worker.
pub const WORKER: &str = "Worker";

/// Port on which a master listens unless told otherwise.
pub const MASTER_PORT: u16 = 7077;

/// With it begins what a master that is not ALIVE answers. Whoever reads it asks another master.
pub const BACKUP_PREFIX: &str = "Current state is not alive";

/// What a master in `state` answers to what only one that is ALIVE does.
pub fn not_alive(state: RecoveryState) -> String {
    format!("{BACKUP_PREFIX}: {state}")
}

/// Name of the endpoint that is slot `slot` of an executor, on its worker's host. An executor with `n`
/// cores has `n` slots, numbered from 0: each an instance of its own that works on one task at a time.
pub fn executor_endpoint(app_id: &str, executor_id: u32, slot: u32) -> String {
    format!("{app_id}.{executor_id}.{slot}")
}
