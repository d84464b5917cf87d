//! What the driver and the executors of an application are built on.
//!
//! A driver gets executors from a master, splits its work into tasks, gives them to the slots of its
//! executors, and counts what comes back, each task once. Its author writes three functions
//! ([`Driver`]) and wraps the endpoint's `impl` in [`driver!`]; an executor is one function ([`Task`])
//! and [`executor!`]. `plugins/primes` is a whole application; README.md says what happens when
//! something fails.
//!
//! | file | what it is |
//! |---|---|
//! | [`client`] | the application as it talks with masters: decisions only |
//! | [`listener`] | what a driver is told of its application, and can ask for |
//! | [`tasks`] | which task is where, and what counts: decisions only |
//! | [`job`] | an application whose work is tasks: client, tasks, progress, end |
//! | [`executor`] | the other side: a slot, and whether its driver is there |
//! | [`messages`] | between them, and with who waits for the result |
//! | [`settings`] | what stands in the configuration |

mod macros;

pub mod messages;

pub mod settings;

pub mod client;

pub mod listener;

pub mod tasks;

pub mod job;

pub mod executor;

pub use client::{Client, Event, Executor, ExecutorName, Patience};
pub use executor::{Slot, Task};
pub use job::{Driver, Job};
pub use listener::{Listener, kill_executors, request_total_executors, stop};
pub use messages::*;
pub use settings::{needed, setting, setting_as};

// What the macros of this crate name.
#[doc(hidden)]
pub use deploy_protocol as protocol;
#[doc(hidden)]
pub use instar_sdk as sdk;
#[doc(hidden)]
pub use {log, serde};
