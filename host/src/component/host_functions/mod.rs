//! Host functions: what a guest may call. One file per interface of `wit/`.
//!
//! None of them blocks or does anything that reaches beyond the turn: what a guest wants to happen is
//! kept as an effect. Those that read from elsewhere wait on the guest's fiber. What breaks the contract
//! traps.

mod calls;
mod channels;
mod configuration;
mod launching;
mod leadership;
mod logging;
mod messaging;
mod metrics;
mod persistence;
mod registry;
mod timers;
mod turns;

use super::bindings::instar::endpoint::{description, types};
use super::instance::HostState;

// Interfaces of types only.
impl types::Host for HostState {}
impl description::Host for HostState {}
