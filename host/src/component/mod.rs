//! Component: running the code behind an endpoint.
//!
//! Before it: [`crate::endpoint`] hands over batches of events. After it: the effects of each turn,
//! which [`crate::endpoint`] carries out. A component cannot name a socket, a peer or an inbox.
//!
//! In the order of a component's life: [`code`] (bytes and digest) - [`cache`] (compiled once) -
//! [`engine`] (the one serving engine) - `instance` (a store and what runs in it; `command` for one that
//! runs once) - `host_functions` (what it may call) - [`event`] and [`effect`] (what goes in, what comes out).

pub mod code;

pub mod cache;

pub mod engine;

pub mod metadata;

pub mod entries;

pub mod event;

pub mod effect;

pub mod workload;

pub mod surroundings;

pub mod channels;

pub(crate) mod instance;

pub(crate) mod limiter;

pub(crate) mod command;

pub mod output_files;

mod bindings;
mod convert;
mod host_functions;
mod output;
mod rights;
mod throttle;

/// The rights that what an endpoint launches has, whoever grants what to that endpoint.
pub(crate) fn rights_of_workloads() -> impl Iterator<Item = &'static str> {
    rights::of_workloads()
}

/// The rights that a sidecar can grant.
pub fn known_rights() -> impl Iterator<Item = &'static str> {
    rights::KNOWN.iter().map(|(right, _)| *right)
}
