//! Carry: does what [`super::steps`] says, on the endpoint's own task. The endpoint stands still
//! meanwhile, from the first step to the last.
//!
//! Invariant: the old instance is touched by `snapshot` only, until it is exchanged.
//!
//! Not here: what comes before the endpoint stands still ([`super`]), going back after a flip
//! ([`super::super::rollback`]).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::super::handle::{Endpoint, Running, lock};
use super::super::leading::Standing;
use super::super::record::{SwapOutcome, SwapPhases};
use super::super::runner::{Life, Runner};
use super::super::standstill::Standstill;
use super::super::status::EndpointState;
use super::super::trial::{Image, Trial};
use super::request::{New, Report, Seat, StateCopy, SwapRequest, TAKEN, What};
use super::steps::{Happened, Next, Purpose, Steps};
use crate::component::instance::{Crash, Instance, StateError};

/// A request that the runner has taken on: it waits for volatile continuations, if there are any.
pub(in super::super) struct Draining {
    request: SwapRequest,
    steps: Steps,
    pub(in super::super) deadline: Instant,
}

impl Draining {
    /// None where the asker gave it up before.
    pub(in super::super) fn take(request: SwapRequest) -> Option<Self> {
        let purpose = match &request.what {
            What::Flip(new) if new.seat.is_some() => Purpose::SwapTogether,
            What::Flip(_) => Purpose::Swap,
            What::Copy(..) => Purpose::Copy,
        };
        request.ticket.claim(TAKEN).then(|| Self {
            deadline: request.asked + request.drain,
            steps: Steps::new(purpose, request.force),
            request,
        })
    }

    pub(in super::super) fn give_up(self, runner: &Runner, reason: &str) {
        runner.back_to_work();
        self.request.refuse(&runner.endpoint, reason);
    }
}

/// The old instance, and what was recorded of the trial that ends.
type Retired = (Option<Instance>, Option<Trial>);

/// What the steps so far have made.
#[derive(Default)]
struct Made {
    /// The state in each version that was wanted.
    states: Vec<Bytes>,
    /// The state as the old version itself reads it, for the way back.
    image: Option<Image>,
    /// The newest id of the ledger when the state was written.
    last_id: u64,
    /// The state is that of a checkpoint, since there was no instance.
    from_checkpoint: bool,
    snapshot: Duration,
    restore: Duration,
    flip: Duration,
}

impl Runner {
    /// Goes on with a request that was begun. True where something was done.
    pub(in super::super) async fn go_on_swapping(&mut self) -> bool {
        let Some(mut draining) = self.draining.take() else {
            return false;
        };
        if let Some(reason) = self.is_outdated(&draining.request) {
            draining.give_up(self, reason);
            return true;
        }
        if self.comes_back(&draining.request) {
            self.draining = Some(draining);
            return false;
        }
        let overdue = Instant::now() >= draining.deadline;
        let has_instance = self.instance.is_some() && self.started;
        let has_state = has_instance || self.image_for(&draining.request).is_some();
        let next = draining.steps.next(Happened::Boundary {
            volatile: self.volatile,
            overdue: overdue.then_some(draining.request.drain),
            has_state,
        });
        if next == Next::Drain {
            self.draining = Some(draining);
            return false;
        }
        self.carry(draining, next).await;
        true
    }

    /// Why a version that was made ready for another one than runs now cannot take its place. Settings
    /// and state version are those that go with the one that ran then; and a refresh would put back,
    /// unproved, what just failed.
    fn is_outdated(&self, request: &SwapRequest) -> Option<&'static str> {
        let What::Flip(new) = &request.what else {
            return None;
        };
        let running = self.endpoint.running.load();
        let reason = "the running version was rolled back meanwhile";
        (new.record.from.digest != running.id.digest).then_some(reason)
    }

    /// The endpoint waits for a restart with a checkpoint that only the running version can read.
    fn comes_back(&self, request: &SwapRequest) -> bool {
        matches!(self.life, Life::RestartAt(_))
            && self.checkpoints.image().is_some()
            && self.image_for(request).is_none()
    }

    /// The checkpoint that the new version can begin with, where there is no instance to ask.
    fn image_for(&self, request: &SwapRequest) -> Option<Image> {
        let image = self.checkpoints.image()?;
        let reads = match &request.what {
            What::Flip(new) => &new.running.metadata.state.reads,
            What::Copy(..) => return None,
        };
        reads.contains(&image.state_version).then(|| image.clone())
    }

    async fn carry(&mut self, draining: Draining, mut next: Next) {
        let Draining {
            request, mut steps, ..
        } = draining;
        let SwapRequest {
            mut what,
            asked,
            done,
            ..
        } = request;
        if let Some(retiring) = self.retiring.take() {
            // One at a time, or swaps without end would hold ever more instances. Dropping does not fail.
            let _ = retiring.await;
        }
        let standstill = Standstill::begin(&self.endpoint);
        let mut report = Report {
            outcome: SwapOutcome::Swapped,
            phases: SwapPhases {
                freeze: standstill.began() - asked,
                ..SwapPhases::default()
            },
            queue_depth: self.waiting(),
            state_bytes: 0,
            open: lock(&self.endpoint.ledger).counts(),
            record: None,
        };
        let mut record = match &what {
            What::Flip(new) => Some(new.record.clone()),
            What::Copy(..) => None,
        };
        let mut made = Made::default();
        let mut retired = None;
        loop {
            let happened = match (next, &mut what) {
                (Next::Snapshot, what) => self.write(what, &mut made).await,
                (Next::Restore, What::Flip(new)) => restore(new, &mut made).await,
                (Next::Probe, What::Flip(new)) => {
                    let began = Instant::now();
                    let probed = new.prepared.instance.probe().await;
                    made.flip = began.elapsed();
                    probed.map_or_else(Happened::Wrong, |()| Happened::Answers)
                }
                (Next::Vote, What::Flip(new)) => vote(new.seat.as_mut()).await,
                (Next::Flip, _) => {
                    let What::Flip(new) = what else { break };
                    let began = Instant::now();
                    report.state_bytes = made.states.first().map_or(0, Bytes::len);
                    retired = Some(self.flip(*new, &mut made));
                    made.flip += began.elapsed();
                    break;
                }
                (Next::HandOver, _) => {
                    let What::Copy(_, copy) = what else { break };
                    let states = std::mem::take(&mut made.states);
                    let most = self.endpoint.running.load().settings.rehearsal.messages;
                    let recent = self.recent.copy(self.trial.as_ref(), most);
                    // Whoever wanted it may have gone.
                    let _ = copy.send(StateCopy { states, recent });
                    self.back_to_work();
                    break;
                }
                (Next::GiveUp(reason), _) => {
                    report.outcome = SwapOutcome::GivenUp(reason);
                    self.back_to_work();
                    break;
                }
                // A copy is not restored, probed or voted on, and nothing drains from here on.
                (next, What::Copy(..)) | (next @ Next::Drain, _) => {
                    Happened::Wrong(format!("{next:?} has no place here"))
                }
            };
            next = steps.next(happened);
        }
        report.phases.snapshot = made.snapshot;
        report.phases.restore = made.restore;
        report.phases.flip = made.flip;
        report.phases.pause = standstill.end();
        if let Some(record) = &mut record {
            report.fill(record);
        }
        report.record = record.map(|record| super::file(&self.endpoint, record));
        // Whoever asked may have gone.
        let _ = done.send(report);
        if let Some(retired) = retired {
            // Giving memory back takes system calls: not on the endpoint's time.
            self.retiring = Some(tokio::spawn(async move { drop(retired) }));
        }
    }

    /// Writes the state, as the new version reads it and, for the way back, as the old one does.
    async fn write(&mut self, what: &mut What, made: &mut Made) -> Happened {
        let began = Instant::now();
        let running = self.endpoint.running();
        let own = &running.metadata.state;
        let (mut versions, way_back) = match what {
            What::Copy(versions, _) => (versions.clone(), false),
            What::Flip(new) => {
                let way_back = new.running.settings.probation.is_wanted() && !new.is_refresh;
                (vec![new.state_version], way_back)
            }
        };
        let asked = versions.len();
        let first = versions.first().copied().unwrap_or(own.version);
        let image_version = match own.reads.contains(&first) {
            true => first,
            false => own.version,
        };
        if way_back && image_version != first {
            versions.push(image_version);
        }
        made.last_id = lock(&self.endpoint.ledger).last_id();
        let old = match &mut self.instance {
            Some(old) if self.started => old,
            _ => {
                // Crashed: it comes back with its checkpoint, in the new version.
                if let (What::Flip(new), Some(image)) = (what, self.checkpoints.image()) {
                    new.state_version = image.state_version;
                    made.last_id = image.last_id;
                    made.states.push(image.state.clone());
                    made.from_checkpoint = true;
                }
                return Happened::Written;
            }
        };
        for version in versions {
            match old.snapshot(version).await {
                Ok(state) => made.states.push(state),
                Err(StateError::Refused(reason)) => {
                    return Happened::Wrong(format!(
                        "the running version refused the snapshot: {reason}"
                    ));
                }
                Err(StateError::Crashed(reason)) => {
                    let reason = format!("the running version crashed in its snapshot: {reason}");
                    self.crashed(Crash::between_turns(reason.clone()), None);
                    return Happened::Wrong(reason);
                }
            }
        }
        made.snapshot = began.elapsed();
        if way_back {
            let state = made.states.last().cloned().unwrap_or_default();
            made.image = Some(Image {
                standing: self.standing(),
                running,
                state_version: image_version,
                state,
                last_id: made.last_id,
            });
            made.states.truncate(asked);
        }
        Happened::Written
    }

    /// From here on the new version is the endpoint. Returns what is of no more use.
    fn flip(&mut self, new: New, made: &mut Made) -> Retired {
        let New {
            prepared,
            running,
            state_version,
            is_refresh,
            ..
        } = new;
        // The same code is no better proved in another instance.
        let still_on_trial = is_refresh && self.trial.is_some();
        let carried = !made.states.is_empty();
        let image = made.image.take();
        let trial = match still_on_trial {
            true => None,
            false => self.end_trial(),
        };
        let checkpoints = running.settings.checkpoint.clone();
        let on_trial = image.is_some_and(|image| self.begin_trial(image, &running));
        if made.from_checkpoint {
            self.tell_what_was_lost();
            let image = self.checkpoints.image();
            let standing = image.map(|image| image.standing.clone());
            self.stand(standing.unwrap_or_default());
        }
        let mut instance = prepared.instance;
        let wanted_in_restore = instance.commit();
        self.blocked.extend(wanted_in_restore);
        let can_lead = running.can_lead;
        let old = self.put_in_place(instance, running);
        self.started = carried;
        if !can_lead {
            // It cannot stand, and does not want to hear of it.
            self.stand(Standing::default());
        }
        match made.states.pop() {
            _ if still_on_trial => {}
            _ if on_trial => {
                self.checkpoints.forget(self.endpoint.clock.now());
                self.endpoint.shown(|shown| shown.checkpoint = None);
            }
            Some(state) if checkpoints.is_wanted() => self.keep_image(Image {
                standing: self.standing(),
                running: self.endpoint.running(),
                state_version,
                state,
                last_id: made.last_id,
            }),
            _ => {
                let had_image = self.checkpoints.image().is_some();
                self.forget_image();
                if had_image && !carried {
                    self.lose_state("the new version cannot read the last copy of it");
                }
            }
        }
        if !carried {
            self.start_fresh();
        }
        self.budget.forgive();
        (old, trial)
    }

    /// Puts an instance in place of the one that runs, which is returned.
    pub(in super::super) fn put_in_place(
        &mut self,
        instance: Instance,
        running: Running,
    ) -> Option<Instance> {
        let endpoint: &Arc<Endpoint> = &self.endpoint;
        endpoint.inbox.resize(&running.settings.limits);
        lock(&endpoint.history).runs(running.id.clone(), running.code.clone());
        let kinds = running
            .metadata
            .handles
            .iter()
            .map(|h| h.request.kind.clone());
        lock(&endpoint.known_kinds).extend(kinds);
        endpoint.running.store(Arc::new(running));
        let old = self.instance.replace(instance);
        if !matches!(self.life, Life::Stopping { .. }) {
            self.life = Life::Running;
            self.set_state(EndpointState::Running);
        }
        old
    }
}

async fn restore(new: &mut New, made: &mut Made) -> Happened {
    let began = Instant::now();
    let state = made.states.first().cloned().unwrap_or_default();
    let restored = new
        .prepared
        .instance
        .restore(new.state_version, &state)
        .await;
    made.restore = began.elapsed();
    match restored {
        Ok(()) => Happened::Restored,
        Err(StateError::Refused(reason)) => {
            Happened::Wrong(format!("it refused the state: {reason}"))
        }
        Err(StateError::Crashed(reason)) => {
            Happened::Wrong(format!("it crashed in restore: {reason}"))
        }
    }
}

/// Tells the others that this endpoint is ready, and waits for what they decide. There is no time
/// limit here: whoever decides has one, and if he goes, so does the vote.
async fn vote(seat: Option<&mut Seat>) -> Happened {
    let Some(seat) = seat else {
        return Happened::Agreed;
    };
    // Whoever counts may have gone: then the verdict never comes, which is told below.
    let _ = seat.ready.send(());
    match seat.verdict.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(Ok(()))) => Happened::Agreed,
        Ok(Some(Err(reason))) => Happened::Wrong(reason.clone()),
        Ok(None) | Err(_) => Happened::Wrong("whoever asked for it went away".to_owned()),
    }
}
