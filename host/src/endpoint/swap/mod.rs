//! Swap: replaces the code of an endpoint while it works.
//!
//! Order: compile, check, instantiate **aside** - the endpoint works meanwhile - then freeze at a
//! message boundary, snapshot, restore, probe, flip, go on. Only freeze to going on is the pause.
//!
//! Here: what goes on beside the endpoint. [`approval`]: whether the version may at all. [`steps`]: the
//! order of what happens at the endpoint, pure. [`carry`]: doing it, on the endpoint's own task.
//! [`together`]: several endpoints as one.
//!
//! Invariants
//! 1. Until the flip the old version is whole: whatever fails before, it goes on with its state.
//! 2. Inbox, ledger, metrics and address are the endpoint's: a swap does not touch them.
//! 3. A pause stands still: it is taken out of the endpoint's time.
//! 4. Every try leaves one record.

pub(super) mod approval;
pub(super) mod carry;
mod error;
mod request;
mod steps;
mod together;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use self::approval::{Held, Looked, Want};
pub use self::error::SwapError;
pub(crate) use self::request::Wanted;
use self::request::{New, Report, Seat, Ticket, WITHDRAWN, What};
pub(super) use self::request::{StateCopy, SwapRequest};
pub(crate) use self::together::swap_together;
use super::handle::{Control, Endpoint, Running, lock};
use super::record::{SwapOutcome, SwapRecord};
use super::runner::Runner;
use super::settings::EndpointSettings;
use super::status::EndpointState;
use super::surroundings::EndpointSurroundings;
use crate::clock::LOOK_AGAIN;
use crate::component::code::Code;
use crate::component::metadata::StateSupport;
use crate::component::surroundings::Surroundings;
use crate::error::with_causes;

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

/// Replaces the code of an endpoint.
///
/// # Errors
/// [`SwapError`]; the old version goes on.
///
/// # Cancellation
/// Dropping the future before the freeze withdraws the request; after it the swap ends by itself.
pub(crate) async fn swap(wanted: Wanted, by: &str) -> Result<SwapRecord, SwapError> {
    let endpoint = Arc::clone(&wanted.endpoint);
    let _one_at_a_time = endpoint.swapping.lock().await;
    let aside = aside(&wanted, by).await?;
    let mut waiting = submit(aside, None)?;
    if wanted.force && !took_it(&mut waiting).await {
        // The turn takes too long: it ends as a crash, and then the endpoint is at a boundary.
        endpoint.running().kill();
    }
    let report = wait_for(&mut waiting.reported, &waiting.ticket, waiting.drain).await;
    waiting.conclude(report)
}

/// Waits for the drain limit at most. False where the runner has not even taken the request by then.
async fn took_it(waiting: &mut Waiting) -> bool {
    let began = Instant::now();
    while waiting.ticket.waits() && began.elapsed() < waiting.drain {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    !waiting.ticket.waits()
}

/// The running code once more, in an instance of its own, on the runner's own task. Nothing happens
/// where another swap is under way, or where it cannot be prepared; that is logged.
pub(super) async fn refresh_now(runner: &mut Runner) {
    let endpoint = Arc::clone(&runner.endpoint);
    let Ok(_one_at_a_time) = endpoint.swapping.try_lock() else {
        return;
    };
    let wanted = Wanted {
        code: endpoint.running().code.clone(),
        endpoint: Arc::clone(&endpoint),
        settings: None,
        approved: false,
        refresh: true,
        force: false,
    };
    // Both log why not, and leave a record.
    let Ok(aside) = aside(&wanted, "limit `refresh_above`").await else {
        return;
    };
    let (request, _waiting) = request(aside, None);
    if let Some(draining) = carry::Draining::take(request) {
        runner.draining = Some(draining);
        runner.go_on_swapping().await;
    }
}

/// A copy of the state of an endpoint, which goes on as if nothing had happened.
///
/// # Errors
/// One sentence why there is none.
pub(super) async fn copy_state(
    endpoint: &Arc<Endpoint>,
    state_versions: Vec<u32>,
) -> Result<StateCopy, String> {
    let drain = endpoint.running().settings.limits.drain;
    let ticket = Arc::new(Ticket::default());
    let (done, mut reported) = oneshot::channel();
    let (copy, copied) = oneshot::channel();
    let request = SwapRequest {
        what: What::Copy(state_versions, copy),
        asked: Instant::now(),
        drain,
        force: false,
        ticket: Arc::clone(&ticket),
        done,
    };
    let stopped = || format!("endpoint `{}` stopped meanwhile", endpoint.name());
    if !endpoint.control(Control::Swap(Box::new(request))) {
        return Err(stopped());
    }
    match wait_for(&mut reported, &ticket, drain).await {
        None => Err(stopped()),
        Some(report) => match report.outcome {
            SwapOutcome::Swapped => copied.await.map_err(|_| stopped()),
            outcome => Err(outcome.reason().to_owned()),
        },
    }
}

/// A version that is ready aside, with the record of the try so far.
struct Aside {
    endpoint: Arc<Endpoint>,
    new: New,
}

/// A request that an endpoint has.
struct Waiting {
    endpoint: Arc<Endpoint>,
    /// For the case that nothing came of it.
    record: SwapRecord,
    reported: oneshot::Receiver<Report>,
    ticket: Arc<Ticket>,
    drain: Duration,
}

impl Waiting {
    /// What became of it. `None`: the endpoint ended.
    fn conclude(self, report: Option<Report>) -> Result<SwapRecord, SwapError> {
        let endpoint = self.endpoint.name().to_owned();
        let record = match report {
            None => return Err(SwapError::Stopped { endpoint }),
            // Withdrawn: the endpoint never saw it.
            Some(Report {
                record: None,
                outcome,
                ..
            }) => file(
                &self.endpoint,
                SwapRecord {
                    outcome,
                    ..self.record
                },
            ),
            Some(Report {
                record: Some(record),
                ..
            }) => record,
        };
        match &record.outcome {
            SwapOutcome::Swapped => Ok(record),
            outcome => Err(SwapError::GivenUp {
                endpoint,
                reason: outcome.reason().to_owned(),
                record: Box::new(record),
            }),
        }
    }
}

/// Loads and checks the new version, while the old one works.
async fn aside(wanted: &Wanted, by: &str) -> Result<Aside, SwapError> {
    let (endpoint, code) = (&wanted.endpoint, &wanted.code);
    let name = endpoint.name().to_owned();
    let old = endpoint.running();
    let mut settings = match &wanted.settings {
        Some(settings) => settings.clone(),
        None => (*old.settings).clone(),
    };
    let failed = matches!(*lock(&endpoint.state), EndpointState::Failed(_));
    let same = old.id.digest == code.digest() && *old.settings == settings;
    if same && !failed && !wanted.refresh {
        return Err(SwapError::AlreadyRuns {
            endpoint: name,
            version: old.id.version.clone(),
        });
    }
    let mut record = SwapRecord::new(by, old.id.clone(), code.digest());
    let surroundings = |settings: &EndpointSettings| -> Arc<dyn Surroundings> {
        EndpointSurroundings::of(endpoint, settings)
    };
    let looked = approval::look(endpoint, code, &settings, wanted.approved, &surroundings).await;
    let prepared = match looked {
        Ok(Looked::Fits(prepared)) => *prepared,
        Ok(Looked::Granted(prepared, widened)) => {
            settings = *widened;
            *prepared
        }
        Ok(Looked::WantsMore { version, wants }) => {
            record.to.version = version;
            return Err(hold(endpoint, record, code, settings, wants));
        }
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
    let new = New {
        running: Running::new(code, &prepared, settings),
        prepared,
        state_version: record.state_version,
        seat: None,
        force: wanted.force,
        is_refresh: same,
        record,
    };
    Ok(Aside {
        endpoint: Arc::clone(endpoint),
        new,
    })
}

/// The request for a flip, and how to wait for what becomes of it.
fn request(aside: Aside, seat: Option<Seat>) -> (SwapRequest, Waiting) {
    let Aside { endpoint, new } = aside;
    let drain = endpoint.running().settings.limits.drain;
    let ticket = Arc::new(Ticket::default());
    let (done, reported) = oneshot::channel();
    let waiting = Waiting {
        endpoint,
        record: new.record.clone(),
        reported,
        ticket: Arc::clone(&ticket),
        drain,
    };
    let request = SwapRequest {
        force: new.force,
        what: What::Flip(Box::new(New { seat, ..new })),
        asked: Instant::now(),
        drain,
        ticket,
        done,
    };
    (request, waiting)
}

fn submit(aside: Aside, seat: Option<Seat>) -> Result<Waiting, SwapError> {
    let (request, waiting) = request(aside, seat);
    if !waiting.endpoint.control(Control::Swap(Box::new(request))) {
        return Err(SwapError::Stopped {
            endpoint: waiting.endpoint.name().to_owned(),
        });
    }
    Ok(waiting)
}

/// Files the record of a try that came as far as the endpoint.
fn file(endpoint: &Endpoint, record: SwapRecord) -> SwapRecord {
    let record = lock(&endpoint.history).file(record);
    let (endpoint_name, by, to) = (endpoint.name(), &record.by, &record.to.version);
    if record.outcome == SwapOutcome::Swapped {
        *lock(&endpoint.held) = None;
        let (from, pause) = (&record.from.version, record.phases.pause);
        tracing::info!(endpoint = endpoint_name, from, to, ?pause, by, "swapped");
    } else {
        let reason = record.outcome.reason();
        tracing::warn!(endpoint = endpoint_name, to, reason, by, "swap given up");
    }
    record
}

/// Keeps a version that wants more than was granted, for [`Endpoint::approve`].
fn hold(
    endpoint: &Endpoint,
    mut record: SwapRecord,
    code: &Code,
    settings: EndpointSettings,
    wants: Vec<Want>,
) -> SwapError {
    let texts: Vec<String> = wants.iter().map(Want::to_string).collect();
    record.outcome = SwapOutcome::NeedsApproval(texts.join(", "));
    let record = lock(&endpoint.history).file(record);
    tracing::warn!(
        endpoint = endpoint.name(),
        to = record.to.version,
        wants = texts.join(", "),
        by = record.by,
        "needs approval"
    );
    *lock(&endpoint.held) = Some(Held {
        id: record.to.clone(),
        code: code.clone(),
        settings,
        wants,
    });
    SwapError::NeedsApproval {
        endpoint: endpoint.name().to_owned(),
        wants: texts,
        record: Box::new(record),
    }
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
    reported: &mut oneshot::Receiver<Report>,
    ticket: &Ticket,
    drain: Duration,
) -> Option<Report> {
    if let Ok(report) = tokio::time::timeout(drain, &mut *reported).await {
        return report.ok();
    }
    if !ticket.claim(WITHDRAWN) {
        // It stands still already: from there on every step has its own limit.
        return reported.await.ok();
    }
    Some(Report::withdrawn(format!(
        "the running turn did not end within {drain:?} (limit `drain`)"
    )))
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
}
