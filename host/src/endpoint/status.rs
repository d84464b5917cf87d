//! What can be seen of an endpoint from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record::{HeldVersion, VersionId};

/// One endpoint, as `instar status` and the admin API show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// Its name.
    pub name: String,
    /// Its URI.
    pub uri: String,
    /// What it is doing.
    pub state: EndpointState,
    /// The code that runs.
    pub code: VersionId,
    /// Since when this host has the endpoint.
    pub up: Duration,
    /// Messages that wait.
    pub inbox: usize,
    /// Messages that may wait.
    pub inbox_limit: usize,
    /// Linear memory of the instance, in bytes.
    pub memory_bytes: usize,
    /// Its limit.
    pub memory_limit_bytes: usize,
    /// Elements of the tables of the instance.
    pub table_elements: usize,
    /// Their limit.
    pub table_elements_limit: usize,
    /// Core instances that the instance is made of.
    pub core_instances: usize,
    /// Their limit.
    pub core_instances_limit: usize,
    /// The largest message to the endpoint so far, in bytes.
    pub message_bytes: usize,
    /// Its limit.
    pub message_bytes_limit: usize,
    /// The longest turn of the instance, counted as its limit is: in ticks of 1 ms of the engine's
    /// clock, the time included in which other guests had the thread.
    pub longest_turn: Duration,
    /// Its limit.
    pub turn_limit: Duration,
    /// Calls that wait for an answer.
    pub open_calls: usize,
    /// Their limit.
    pub open_calls_limit: usize,
    /// Answers that it waits for.
    pub open_asks: usize,
    /// Their limit.
    pub open_asks_limit: usize,
    /// Timers that run.
    pub timers: usize,
    /// Their limit.
    pub timers_limit: usize,
    /// Turns since the start: messages, answers, timers, notices.
    pub turns: u64,
    /// A version that waits for approval.
    #[serde(default)]
    pub held: Option<HeldVersion>,
    /// The running version is on probation.
    #[serde(default)]
    pub probation: Option<OnProbation>,
    /// Age of the last copy of the state, in the endpoint's own time, if there is one.
    #[serde(default)]
    pub checkpoint_age: Option<Duration>,
    /// Swaps that worked.
    pub swaps: u64,
    /// Crashes since the start.
    pub crashes: u64,
    /// Messages to this endpoint that could not be handled, by reason.
    pub dead_letters: BTreeMap<String, u64>,
    /// The metrics of the guest.
    pub metrics: BTreeMap<String, Metric>,
}

/// A version that has to prove itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnProbation {
    /// The version that comes back if it fails.
    pub back_to: VersionId,
    /// Messages that it has handled.
    pub messages: u64,
    /// Messages after which it has passed; it passes earlier when its time is over.
    pub messages_limit: u64,
}

/// What an endpoint is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is", content = "reason")]
pub enum EndpointState {
    /// Handles messages.
    Running,
    /// Stands still for a swap, or drains for one.
    Swapping,
    /// Waits before the next try after a crash.
    Restarting(String),
    /// Crashed too often; its callers are answered at once. A new file or `instar restart` revives it.
    Failed(String),
    /// Handles what is queued, then ends.
    Stopping,
}

/// A number that a guest keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "sort")]
pub enum Metric {
    /// Only grows.
    Counter {
        /// Its value.
        value: u64,
    },
    /// Goes up and down.
    Gauge {
        /// Its value.
        value: f64,
    },
    /// Observations, in buckets whose bound doubles.
    Histogram {
        /// How many.
        count: u64,
        /// Their sum.
        sum: f64,
        /// Upper bound of each bucket, and how many fell into it and not into a lower one.
        buckets: Vec<(f64, u64)>,
    },
}
