//! Plugins: a directory whose `.wasm` files run, each as one or more endpoints.
//!
//! A file that appears is loaded and started, one that changes is swapped, one that goes is stopped.
//! Beside `NAME.wasm` may lie `NAME.toml`, what the operator says about it ([`sidecar`]); beside it
//! is written `NAME.status.json`, what became of it ([`status`]).
//!
//! The way of a change, one module per station:
//! `watch` (something happened) - `listing` (what lies there now) - `track` (is it at rest) -
//! `scan` (what is to be done: pure, told in `facts`) - `examine` (read, digest, ask what it is) -
//! `scan` again - `apply` (do it, all of it or nothing) - `status_file`. `task` owns it all;
//! [`directory`] is the handle that others hold; `operator` and `actions` are what becomes of their
//! requests, `approve` and `grant` of an approval, `together` and `install_together` of several swaps
//! at once. `drift` sees what the host took back by itself.
//!
//! Invariants
//! 1. Notifications only wake; every decision is made from a listing. A lost one costs a second.
//! 2. Work on one plugin is done in order; plugins do not wait for each other.
//! 3. A refused file stops nothing, and is not tried again until it or its sidecar changes.
//!
//! Not here: compiling, swapping, supervising. The directory only asks the [`Host`] for it.

mod watch;

mod listing;

mod track;

mod facts;

mod scan;

mod component_file;

pub(crate) mod quantity;

pub mod sidecar;

mod examine;

mod apply;

pub mod status;

mod status_file;

mod task;

mod operator;

mod actions;

mod aside;

mod grant;

mod approve;

mod drift;

mod together;

mod install_together;

pub mod directory;

pub mod host;

mod rpc_env_host;

pub use directory::{InstallError, Installed, Options, PluginDirectory, PluginError};
pub use host::{Host, HostError, Running, SwapOrder};
pub use status::{PluginState, PluginStatus};

pub(crate) use host::wanted;

#[cfg(test)]
mod fake_host;

#[cfg(test)]
mod tests;
