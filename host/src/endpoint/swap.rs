//! Swap: replaces the code of an endpoint while it works.
//!
//! Order: compile, check, instantiate **aside** - the endpoint works meanwhile - then freeze at a
//! message boundary, snapshot, restore, probe, flip, go on. Only freeze to going on is the pause.
//!
//! Invariants
//! 1. Until the flip the old version is whole: whatever fails before, it goes on with its state.
//! 2. Inbox, ledger, metrics and address are the endpoint's: a swap does not touch them.
//! 3. A pause stands still: it is taken out of the endpoint's time.
//! 4. Every try leaves one record.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::handle::{Control, Endpoint, Running, lock};
use super::ledger::Counts;
use super::record::{SwapOutcome, SwapPhases, SwapRecord, VersionId};
use super::runner::{Life, Runner};
use super::settings::EndpointSettings;
use super::standstill::Standstill;
use super::status::EndpointState;
use super::surroundings::EndpointSurroundings;
use crate::component::code::{Code, LoadError};
use crate::component::instance::{self, Crash, Instance, Prepared, StateError};
use crate::component::metadata::StateSupport;
use crate::error::with_causes;

/// Why the code was not replaced. The old version goes on in every case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwapError {
    /// Nothing has this name.
    #[error("no endpoint named `{endpoint}`; `instar status` lists the names")]
    NotFound {
        /// The name.
        endpoint: String,
    },
    /// The same code with the same settings: there is nothing to do.
    #[error("`{endpoint}` runs version {version} of this very content already")]
    AlreadyRuns {
        /// Whose.
        endpoint: String,
        /// Which version.
        version: String,
    },
    /// No version like this is kept.
    #[error("no earlier version {wanted} of `{endpoint}` is kept; kept are: {kept}")]
    NoSuchVersion {
        /// Whose.
        endpoint: String,
        /// What was wanted.
        wanted: String,
        /// The versions that are kept, newest first.
        kept: String,
    },
    /// The new code was refused before anything stopped.
    #[error(
        "version {} of `{endpoint}` was rejected: {reason}",
        version_or_file(record)
    )]
    Rejected {
        /// Whose.
        endpoint: String,
        /// Why.
        reason: String,
        /// The record of the try.
        record: Box<SwapRecord>,
    },
    /// The endpoint stood still, the new version failed, the old one went on with its state.
    #[error(
        "the swap of `{endpoint}` to version {} was given up: {reason}",
        version_or_file(record)
    )]
    GivenUp {
        /// Whose.
        endpoint: String,
        /// Why.
        reason: String,
        /// The record of the try.
        record: Box<SwapRecord>,
    },
    /// The endpoint ended meanwhile.
    #[error("endpoint `{endpoint}` stopped meanwhile")]
    Stopped {
        /// Whose.
        endpoint: String,
    },
}

fn version_or_file(record: &SwapRecord) -> &str {
    match record.to.version.as_str() {
        "" => "of this file",
        version => version,
    }
}

/// A new version that waits aside for its turn.
pub(super) struct SwapRequest {
    prepared: Prepared,
    running: Running,
    state_version: u32,
    asked: Instant,
    drain: Duration,
    ticket: Arc<Ticket>,
    done: oneshot::Sender<Report>,
}

/// Who decides about a request: the runner that takes it, or the asker that gives it up.
#[derive(Default)]
struct Ticket(AtomicU8);

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Ticket {
    /// True for the one side that was first.
    fn claim(&self, as_what: u8) -> bool {
        self.0
            .compare_exchange(WAITING, as_what, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

/// What the runner tells of a swap.
struct Report {
    outcome: SwapOutcome,
    phases: SwapPhases,
    queue_depth: usize,
    state_bytes: usize,
    open: Counts,
}

/// The state version in which state goes from one version of the code to another: the one that the
/// new code writes itself, if the old one can write it; else the highest that both know.
///
/// # Errors
/// One sentence with what both can.
pub(super) fn state_version(old: &StateSupport, new: &StateSupport) -> Result<u32, String> {
    let writes: BTreeSet<u32> = old.writes.iter().copied().collect();
    let common = new.reads.iter().copied().filter(|v| writes.contains(v));
    let common: BTreeSet<u32> = common.collect();
    if common.contains(&new.version) {
        return Ok(new.version);
    }
    common.last().copied().ok_or_else(|| {
        format!(
            "it reads state versions {:?}, the running version writes {:?}: none in common",
            new.reads, old.writes
        )
    })
}

/// Replaces the code of `endpoint`.
///
/// # Errors
/// [`SwapError`]; the old version goes on.
///
/// # Cancellation
/// Dropping the future before the freeze withdraws the request; after it the swap ends by itself.
pub(super) async fn swap(
    endpoint: &Arc<Endpoint>,
    code: &Code,
    settings: Option<EndpointSettings>,
    by: &str,
) -> Result<SwapRecord, SwapError> {
    let _one_at_a_time = endpoint.swapping.lock().await;
    let name = endpoint.name().to_owned();
    let old = endpoint.running();
    let settings = settings.unwrap_or_else(|| (*old.settings).clone());
    let failed = matches!(*lock(&endpoint.state), EndpointState::Failed(_));
    if old.id.digest == code.digest() && *old.settings == settings && !failed {
        return Err(SwapError::AlreadyRuns {
            endpoint: name,
            version: old.id.version.clone(),
        });
    }
    let mut record = SwapRecord {
        number: 0,
        at: SystemTime::now(),
        by: by.to_owned(),
        from: old.id.clone(),
        to: VersionId {
            version: String::new(),
            digest: code.digest().to_owned(),
        },
        outcome: SwapOutcome::Swapped,
        phases: SwapPhases::default(),
        queue_depth: 0,
        state_bytes: 0,
        state_version: 0,
        open_calls: 0,
        open_asks: 0,
        timers: 0,
    };
    let prepared = match prepare(endpoint, code, &settings).await {
        Ok(prepared) => prepared,
        Err(error) => return Err(reject(endpoint, record, with_causes(&error))),
    };
    let metadata = Arc::clone(prepared.instance.metadata());
    record.to.version = metadata.version.clone();
    record.phases.compile = prepared.compile;
    record.phases.instantiate = prepared.instantiate;
    record.state_version = match state_version(&old.metadata.state, &metadata.state) {
        Ok(version) => version,
        Err(reason) => return Err(reject(endpoint, record, reason)),
    };
    let drain = old.settings.limits.drain;
    let ticket = Arc::new(Ticket::default());
    let (done, reported) = oneshot::channel();
    let request = SwapRequest {
        running: Running::new(code, &prepared, settings),
        prepared,
        state_version: record.state_version,
        asked: Instant::now(),
        drain,
        ticket: Arc::clone(&ticket),
        done,
    };
    if !endpoint.control(Control::Swap(Box::new(request))) {
        return Err(SwapError::Stopped { endpoint: name });
    }
    let Some(report) = wait_for(reported, &ticket, drain).await else {
        return Err(SwapError::Stopped { endpoint: name });
    };
    record.outcome = report.outcome;
    record.phases = SwapPhases {
        compile: record.phases.compile,
        instantiate: record.phases.instantiate,
        ..report.phases
    };
    record.queue_depth = report.queue_depth;
    record.state_bytes = report.state_bytes;
    record.open_calls = report.open.calls;
    record.open_asks = report.open.asks;
    record.timers = report.open.timers;
    let record = lock(&endpoint.history).file(record);
    match &record.outcome {
        SwapOutcome::Swapped => {
            tracing::info!(
                endpoint = name,
                from = record.from.version,
                to = record.to.version,
                pause = ?record.phases.pause,
                by,
                "swapped"
            );
            Ok(record)
        }
        SwapOutcome::Rejected(reason) | SwapOutcome::GivenUp(reason) => {
            tracing::warn!(
                endpoint = name,
                to = record.to.version,
                reason,
                by,
                "swap given up"
            );
            Err(SwapError::GivenUp {
                endpoint: name,
                reason: reason.clone(),
                record: Box::new(record),
            })
        }
    }
}

async fn prepare(
    endpoint: &Arc<Endpoint>,
    code: &Code,
    settings: &EndpointSettings,
) -> Result<Prepared, LoadError> {
    let surroundings = EndpointSurroundings::of(endpoint);
    instance::prepare(&endpoint.engine, code, settings, surroundings).await
}

fn reject(endpoint: &Endpoint, mut record: SwapRecord, reason: String) -> SwapError {
    record.outcome = SwapOutcome::Rejected(reason.clone());
    let record = lock(&endpoint.history).file(record);
    let (name, by) = (endpoint.name(), &record.by);
    tracing::warn!(
        endpoint = name,
        digest = record.to.digest,
        reason,
        by,
        "rejected"
    );
    SwapError::Rejected {
        endpoint: name.to_owned(),
        reason,
        record: Box::new(record),
    }
}

/// Waits for the report, or withdraws the request if the endpoint does not come to a message
/// boundary in time. None where the endpoint ended.
async fn wait_for(
    mut reported: oneshot::Receiver<Report>,
    ticket: &Ticket,
    drain: Duration,
) -> Option<Report> {
    if let Ok(report) = tokio::time::timeout(drain, &mut reported).await {
        return report.ok();
    }
    if !ticket.claim(WITHDRAWN) {
        // It stands still already: from there on every step has its own limit.
        return reported.await.ok();
    }
    Some(Report::given_up(format!(
        "the running turn did not end within {drain:?} (limit `drain`)"
    )))
}

impl Report {
    fn given_up(reason: String) -> Self {
        Self {
            outcome: SwapOutcome::GivenUp(reason),
            phases: SwapPhases::default(),
            queue_depth: 0,
            state_bytes: 0,
            open: Counts::default(),
        }
    }
}

impl SwapRequest {
    pub(super) fn refuse(self, reason: &str) {
        // Whoever asked may have gone.
        let _ = self.done.send(Report::given_up(reason.to_owned()));
    }
}

/// A swap that the runner has taken on: it waits for volatile continuations, if there are any.
pub(super) struct Draining {
    request: SwapRequest,
    pub(super) deadline: Instant,
}

impl Draining {
    /// None where the asker gave it up before.
    pub(super) fn take(request: SwapRequest) -> Option<Self> {
        request.ticket.claim(TAKEN).then(|| Self {
            deadline: request.asked + request.drain,
            request,
        })
    }

    pub(super) fn give_up(self, runner: &Runner, reason: &str) {
        runner.set_state(EndpointState::Running);
        self.request.refuse(reason);
    }
}

/// What the flip needs to know of the steps before it.
struct Carried {
    state_bytes: usize,
    snapshot: Duration,
    restore: Duration,
}

impl Runner {
    /// Goes on with a swap that was begun. True where something was done.
    pub(super) async fn go_on_swapping(&mut self) -> bool {
        let Some(draining) = self.draining.take() else {
            return false;
        };
        if self.volatile > 0 {
            if Instant::now() < draining.deadline {
                self.draining = Some(draining);
                return false;
            }
            let reason = format!(
                "{} async continuations did not end within {:?} (limit `drain`)",
                self.volatile, draining.request.drain
            );
            draining.give_up(self, &reason);
            return true;
        }
        self.swap_now(draining.request).await;
        true
    }

    async fn swap_now(&mut self, request: SwapRequest) {
        let standstill = Standstill::begin(&self.endpoint);
        let frozen = standstill.began();
        let SwapRequest {
            prepared,
            running,
            state_version,
            asked,
            done,
            ..
        } = request;
        let mut instance = prepared.instance;
        let mut report = Report {
            outcome: SwapOutcome::Swapped,
            phases: SwapPhases {
                freeze: frozen - asked,
                ..SwapPhases::default()
            },
            queue_depth: self.waiting(),
            state_bytes: 0,
            open: lock(&self.endpoint.ledger).counts(),
        };
        let carried = self.carry_state(&mut instance, state_version).await;
        let flip_began = Instant::now();
        let probed = match carried {
            Ok(carried) => instance.probe().await.map(|()| carried),
            Err(reason) => Err(reason),
        };
        // Dropped after the pause: giving memory back takes time.
        let mut retired = None;
        match probed {
            Ok(carried) => {
                report.state_bytes = carried.state_bytes;
                report.phases.snapshot = carried.snapshot;
                report.phases.restore = carried.restore;
                retired = self.flip(instance, running);
                report.phases.flip = flip_began.elapsed();
            }
            Err(reason) => {
                report.outcome = SwapOutcome::GivenUp(reason);
                if self.instance.is_some() {
                    self.set_state(EndpointState::Running);
                }
            }
        }
        report.phases.pause = standstill.end();
        // The code counts the swap as done when it is filed; whoever asked may have gone.
        let _ = done.send(report);
        drop(retired);
    }

    /// Takes the state from the old instance to the new one. An endpoint without state (it has not
    /// started, or crashed) starts the new version afresh.
    async fn carry_state(
        &mut self,
        new: &mut Instance,
        state_version: u32,
    ) -> Result<Carried, String> {
        let began = Instant::now();
        let old = match &mut self.instance {
            Some(old) if self.started => old,
            _ => {
                return Ok(Carried {
                    state_bytes: 0,
                    snapshot: Duration::ZERO,
                    restore: Duration::ZERO,
                });
            }
        };
        let state = match old.snapshot(state_version).await {
            Ok(state) => state,
            Err(StateError::Refused(reason)) => {
                return Err(format!(
                    "the running version refused the snapshot: {reason}"
                ));
            }
            Err(StateError::Crashed(reason)) => {
                let reason = format!("the running version crashed in its snapshot: {reason}");
                let crash = Crash {
                    done: 0,
                    reason: reason.clone(),
                    blocked: Default::default(),
                };
                self.crashed(crash, None);
                return Err(reason);
            }
        };
        let snapshot = began.elapsed();
        match new.restore(state_version, &state).await {
            Ok(()) => Ok(Carried {
                state_bytes: state.len(),
                snapshot,
                restore: began.elapsed() - snapshot,
            }),
            Err(StateError::Refused(reason)) => Err(format!("it refused the state: {reason}")),
            Err(StateError::Crashed(reason)) => Err(format!("it crashed in restore: {reason}")),
        }
    }

    /// From here on the new version is the endpoint. Returns the old instance.
    fn flip(&mut self, mut instance: Instance, running: Running) -> Option<Instance> {
        let endpoint = Arc::clone(&self.endpoint);
        endpoint.inbox.resize(&running.settings.limits);
        lock(&endpoint.history).runs(running.id.clone(), running.code.clone());
        endpoint.running.store(Arc::new(running));
        self.blocked.extend(instance.commit());
        let old = self.instance.replace(instance);
        if !self.started {
            self.start_fresh();
        }
        self.budget.forgive();
        self.life = Life::Running;
        self.set_state(EndpointState::Running);
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn support(version: u32, reads: &[u32], writes: &[u32]) -> StateSupport {
        StateSupport {
            version,
            reads: reads.to_vec(),
            writes: writes.to_vec(),
        }
    }

    #[test]
    fn state_goes_in_the_new_versions_own_form_where_the_old_one_can_write_it() {
        let (v1, v2) = (support(1, &[1], &[1]), support(2, &[1, 2], &[1, 2]));
        assert_eq!(state_version(&v2, &v2), Ok(2));
        assert_eq!(state_version(&v2, &v1), Ok(1), "the way back");
    }

    #[test]
    fn else_it_goes_in_the_highest_form_that_both_know() {
        let (v1, v3) = (support(2, &[1, 2], &[1, 2]), support(3, &[1, 2, 3], &[3]));
        assert_eq!(state_version(&v1, &v3), Ok(2));
    }

    #[test]
    fn without_a_common_form_both_sides_are_named() {
        let error = state_version(&support(1, &[1], &[1]), &support(9, &[9], &[9])).unwrap_err();
        assert!(error.contains("[9]") && error.contains("[1]"), "{error}");
    }

    #[test]
    fn a_request_is_either_taken_or_withdrawn() {
        let ticket = Ticket::default();
        assert!(ticket.claim(TAKEN));
        assert!(!ticket.claim(WITHDRAWN));
    }
}
