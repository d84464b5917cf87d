//! Host functions: what a guest may call. One file per interface of `wit/`.
//!
//! None of them blocks, waits, or does anything that reaches beyond the turn: what a guest wants to
//! happen is kept as an effect. What breaks the contract traps.

mod calls;
mod configuration;
mod logging;
mod messaging;
mod metrics;
mod registry;
mod timers;
mod turns;

use super::bindings::instar::endpoint::{description, types};
use super::instance::HostState;

// Interfaces of types only.
impl types::Host for HostState {}
impl description::Host for HostState {}
