//! The cluster on the command line: `master` and `worker` run a host with the plugin that the binary
//! carries; `submit`, `kill`, `apps`, `drivers`, `workers` ask a master over RPC.
//!
//! Only here does this crate know the deploy protocol. The host itself knows neither masters nor workers.

mod asking;
mod kill;
mod listing;
mod master;
mod offered;
mod parent;
mod progress;
mod role;
mod submit;
mod worker;

pub(super) use kill::Kill;
pub(super) use listing::{Apps, Drivers, Workers};
pub(super) use master::Master;
pub(super) use submit::Submit;
pub(super) use worker::Worker;
