//! Surroundings: what a component sees of its host, as a trait. [`crate::endpoint`] implements it.
//!
//! No function here blocks or waits: they are called from within guest code. What waits is a future.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::effect::{Effect, Room};
use super::metadata::Metadata;
use super::workload::Workload;
use crate::address::EndpointAddress;
use crate::error::RpcError;
use crate::store::EndpointStore;
use crate::transport::{BoxFuture, FileBytes, FileRange};

/// The host, as one endpoint's code sees it.
pub trait Surroundings: Send + Sync + 'static {
    /// The endpoint's own address.
    fn address(&self) -> EndpointAddress;

    /// True where the endpoint is wanted at a message boundary: the batch ends early.
    fn interrupted(&self) -> bool;

    /// Carries out the effects of a turn that ended well, in order, and takes them out. False where
    /// the first one that is left has to wait.
    fn commit(&self, effects: &mut VecDeque<Effect>) -> bool;

    /// Hands what a turn that ended well wants to be durable to the store; what comes after it in the
    /// turn waits for that from now on.
    fn enlist(&self, turn: &mut VecDeque<Effect>);

    /// The store of this host, as this endpoint sees it.
    fn store(&self) -> Result<EndpointStore, RpcError>;

    /// Fails where nothing that this endpoint writes now can become durable.
    fn check_writable(&self, store: &EndpointStore) -> Result<(), RpcError>;

    /// Opens a range of a file of some host.
    fn open_channel(
        &self,
        uri: &str,
        range: FileRange,
    ) -> BoxFuture<'static, Result<Box<dyn FileBytes>, RpcError>>;

    /// Reserves room for one message.
    fn reserve(&self, to: &EndpointAddress) -> Result<Room, RpcError>;

    /// Fails where a send can be known to reach nobody: a local name that nobody has.
    fn check_receiver(&self, to: &EndpointAddress) -> Result<(), RpcError>;

    /// Fails where the message is too large to be sent at all.
    fn check_size(&self, bytes: usize) -> Result<(), RpcError>;

    /// A new id for an ask, or why there can be no more. `in_turn` asks were admitted in this turn.
    fn admit_ask(&self, in_turn: usize) -> Result<u64, RpcError>;

    /// A new id for a timer, or why there can be no more. `in_turn` timers were admitted in this turn.
    fn admit_timer(&self, in_turn: usize) -> Result<u64, RpcError>;

    /// A new id for a launch, or why it cannot be. `in_turn` launches were admitted in this turn.
    fn admit_launch(
        &self,
        workload: &Workload,
        token: &Bytes,
        in_turn: usize,
    ) -> Result<u64, RpcError>;

    /// True where this launch goes on.
    fn launch_goes_on(&self, launch: u64) -> bool;

    /// The launches that go on, with their tokens, oldest first.
    fn launched(&self) -> Vec<(u64, Bytes)>;

    /// True where this ask is open.
    fn ask_is_open(&self, ask: u64) -> bool;

    /// True where this timer runs.
    fn timer_is_running(&self, timer: u64) -> bool;

    /// The caller's location, where this call is open.
    fn call_sender(&self, call: u64) -> Option<String>;

    /// The configuration.
    fn config(&self) -> Arc<BTreeMap<String, String>>;

    /// A name and what to do with its metric.
    fn record(&self, name: &str, observation: Observation);

    /// True where a line of this level would be kept.
    fn log_enabled(&self, level: LogLevel) -> bool;

    /// Writes a line.
    fn log(&self, version: &str, line: LogLine<'_>);

    /// The description of what runs behind a name of this host.
    fn describe(&self, name: &str) -> Option<Arc<Metadata>>;

    /// The names of this host.
    fn names(&self) -> Vec<String>;
}

/// What a guest does to one of its metrics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observation {
    /// Adds to a counter.
    Add(u64),
    /// Sets a gauge.
    Set(f64),
    /// Records one value of a histogram.
    Record(f64),
}

/// A line of a guest's log.
#[derive(Clone, Copy, Debug)]
pub struct LogLine<'a> {
    /// How much it matters.
    pub level: LogLevel,
    /// Where in the guest it comes from.
    pub target: &'a str,
    /// What it says.
    pub text: &'a str,
    /// Further values.
    pub fields: &'a [(String, String)],
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}
