//! A control without a host: one endpoint `counter`, and a list of what was asked of it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::Notify;

use super::api::{HostStatus, Refreshed, Swapped};
use super::control::{Control, ControlError, Pending};
use crate::component::metadata::{Metadata, StateSupport};
use crate::endpoint::record::{SwapOutcome, SwapPhases, SwapRecord, VersionId};
use crate::endpoint::rehearsal::Rehearsal;
use crate::endpoint::status::{EndpointState, EndpointStatus};

#[derive(Default)]
pub(crate) struct FakeControl {
    /// What was asked for and begun, in order.
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    /// What was carried out.
    pub(crate) done: Arc<Mutex<Vec<String>>>,
    /// If set, a swap waits for this before it is done.
    pub(crate) gate: Option<Arc<Notify>>,
    /// An approval finds nothing to approve.
    pub(crate) nothing_held: bool,
}

pub(crate) fn host() -> HostStatus {
    HostStatus {
        version: "0.1.0".into(),
        address: "127.0.0.1:7077".into(),
        up: Duration::from_secs(90),
    }
}

pub(crate) fn endpoint(name: &str) -> EndpointStatus {
    EndpointStatus {
        name: name.into(),
        uri: format!("instar://{name}@127.0.0.1:7077"),
        state: EndpointState::Running,
        code: VersionId {
            version: "1.0.0".into(),
            digest: "ab".repeat(32),
        },
        up: Duration::from_secs(60),
        inbox: 1,
        inbox_limit: 4096,
        memory_bytes: 1 << 20,
        memory_limit_bytes: 64 << 20,
        table_elements: 300,
        table_elements_limit: 20_000,
        core_instances: 3,
        core_instances_limit: 16,
        message_bytes: 100,
        message_bytes_limit: 16 << 20,
        longest_turn: Duration::from_millis(3),
        turn_limit: Duration::from_secs(10),
        open_calls: 0,
        open_calls_limit: 65_536,
        open_asks: 0,
        open_asks_limit: 16_384,
        timers: 0,
        timers_limit: 4096,
        turns: 12,
        swaps: 1,
        crashes: 0,
        dead_letters: Default::default(),
        metrics: Default::default(),
        held: None,
        probation: None,
        election: None,
        checkpoint_age: None,
    }
}

pub(crate) fn record(outcome: SwapOutcome) -> SwapRecord {
    SwapRecord {
        number: 1,
        at: SystemTime::UNIX_EPOCH,
        by: "admin".into(),
        from: VersionId::default(),
        to: VersionId::default(),
        outcome,
        phases: SwapPhases::default(),
        queue_depth: 0,
        state_bytes: 8,
        state_version: 1,
        open_calls: 0,
        open_asks: 0,
        timers: 0,
    }
}

impl FakeControl {
    fn act<T: Send + 'static>(&self, name: &str, what: String, value: T) -> Pending<T> {
        let unknown = ControlError::not_found(name, &self.status());
        let known = name == "counter";
        let (asked, done, gate) = (self.asked.clone(), self.done.clone(), self.gate.clone());
        Box::pin(async move {
            if !known {
                return Err(unknown);
            }
            asked.lock().unwrap().push(what.clone());
            if let Some(gate) = gate {
                gate.notified().await;
            }
            done.lock().unwrap().push(what);
            Ok(value)
        })
    }
}

impl Control for FakeControl {
    fn host(&self) -> HostStatus {
        host()
    }

    fn status(&self) -> Vec<EndpointStatus> {
        vec![endpoint("counter")]
    }

    fn history(&self, name: &str) -> Option<Vec<SwapRecord>> {
        (name == "counter").then(|| vec![record(SwapOutcome::Swapped)])
    }

    fn metadata(&self, name: &str) -> Option<Arc<Metadata>> {
        (name == "counter").then(|| {
            Arc::new(Metadata {
                name: "counter".into(),
                version: "1.0.0".into(),
                about: String::new(),
                state: StateSupport {
                    version: 1,
                    reads: vec![1],
                    writes: vec![1],
                },
                rights: vec![],
                handles: vec![],
                built_with: String::new(),
            })
        })
    }

    fn plugins(&self) -> Vec<serde_json::Value> {
        vec![serde_json::json!({"file": "counter.wasm"})]
    }

    fn swap(&self, name: &str, bytes: Bytes, force: bool) -> Pending<SwapRecord> {
        let outcome = match &bytes[..] {
            b"bad" => SwapOutcome::Rejected("not a component".into()),
            b"greedy" => SwapOutcome::NeedsApproval("it wants the right `clock`".into()),
            _ => SwapOutcome::Swapped,
        };
        let how = if force { "swap by force" } else { "swap" };
        self.act(
            name,
            format!("{how} {} bytes", bytes.len()),
            record(outcome),
        )
    }

    fn swap_together(&self, swaps: Vec<(String, Bytes)>) -> Pending<Vec<Swapped>> {
        let described: Vec<_> = swaps
            .iter()
            .map(|(name, bytes)| format!("{name} {} bytes", bytes.len()))
            .collect();
        let all = swaps.iter().map(|(name, _)| Swapped {
            endpoint: name.clone(),
            record: record(SwapOutcome::Swapped),
        });
        let unknown = swaps
            .iter()
            .find(|(name, _)| name != "counter" && name != "other");
        let name = unknown.map_or("counter", |(name, _)| name);
        self.act(
            name,
            format!("swap together {}", described.join(", ")),
            all.collect(),
        )
    }

    fn rehearse(&self, name: &str, bytes: Bytes) -> Pending<Rehearsal> {
        let failure = (&bytes[..] == b"bad").then(|| "not a component".to_owned());
        let found = Rehearsal {
            endpoint: name.to_owned(),
            from: VersionId::default(),
            to: VersionId::default(),
            wants: vec![],
            state_version: 1,
            state_bytes_old: 8,
            state_bytes_new: 8,
            messages: 3,
            took_old: Duration::from_micros(3),
            took_new: Duration::from_micros(4),
            restore: Duration::from_micros(5),
            differences: vec![],
            failure,
        };
        self.act(name, format!("rehearse {} bytes", bytes.len()), found)
    }

    fn approve(&self, name: &str) -> Pending<SwapRecord> {
        if self.nothing_held {
            let reason = format!("no version of `{name}` waits for approval");
            return Box::pin(async move { Err(ControlError::NothingHeld { reason }) });
        }
        self.act(name, "approve".into(), record(SwapOutcome::Swapped))
    }

    fn refresh(&self, name: &str) -> Pending<Refreshed> {
        let refreshed = Refreshed {
            record: record(SwapOutcome::Swapped),
            memory_before: 9 << 20,
            memory_after: 1 << 20,
        };
        self.act(name, "refresh".into(), refreshed)
    }

    fn rollback(&self, name: &str, to: Option<&str>) -> Pending<SwapRecord> {
        let what = format!("rollback to {}", to.unwrap_or("the one before"));
        self.act(name, what, record(SwapOutcome::Swapped))
    }

    fn restart(&self, name: &str) -> Pending<()> {
        self.act(name, "restart".into(), ())
    }

    fn stop(&self, name: &str) -> Pending<()> {
        self.act(name, "stop".into(), ())
    }
}
