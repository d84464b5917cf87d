//! Rollback: looks after a version on probation, and puts the version before back if it fails.
//!
//! Order: asks and timers back to the flip ([`super::ledger`]), the old code with the state of the flip,
//! what the new version had completed once more and muted ([`super::replay`]), and then live, from the
//! message that failed. Nothing is lost, nothing is answered twice.
//!
//! If the old version cannot take over (it traps where the new one did not), the state of the flip is
//! what it comes back with, as after any crash with a checkpoint.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::handle::{Notice, Running, lock};
use super::leading::{Standing, is_notice};
use super::ledger::{OpenCall, Rewind};
use super::record::{SwapOutcome, SwapRecord};
use super::replay::{Replay, ReplaySurroundings};
use super::runner::Runner;
use super::standstill::Standstill;
use super::status::OnProbation;
use super::trial::{HEALTH, Image, Look, Record, Trial};
use crate::component::effect::Effect;
use crate::component::event::Event;
use crate::component::instance::{self, Crash, Instance, StateError};
use crate::error::{RpcError, with_causes};
use crate::message::Message;
use crate::responder::{Outcome, Responder};

/// Who is said to have asked for a rollback.
const BY: &str = "probation";

/// The old version, where the replay left it.
struct Revived {
    instance: Instance,
    running: Running,
    volatile: u32,
    replay: Replay,
    /// What it did for real, and waits.
    left: VecDeque<Effect>,
}

impl Runner {
    /// A version that was just put in place has to prove itself.
    pub(super) fn begin_trial(&mut self, image: Image, of: &Running) -> bool {
        let now = self.endpoint.clock.now();
        let probation = &of.settings.probation;
        let back_to = image.running.id.clone();
        let last_id = image.last_id;
        self.trial = Trial::begin(image, probation, of.answers(HEALTH), now);
        if self.trial.is_none() {
            return false;
        }
        lock(&self.endpoint.ledger).set_mark(last_id, &self.pending, now);
        let messages_limit = probation.messages as u64;
        self.endpoint.shown(|shown| {
            shown.probation = Some(OnProbation {
                back_to,
                messages: 0,
                messages_limit,
            });
        });
        true
    }

    /// There is no version to go back to any more.
    pub(super) fn end_trial(&mut self) -> Option<Trial> {
        let trial = self.trial.take()?;
        let rehearsed = self.endpoint.running.load().settings.rehearsal.messages;
        let newest: Vec<Event> = trial.newest().take(rehearsed).cloned().collect();
        for event in newest.into_iter().rev() {
            self.recent.handled(event, rehearsed);
        }
        self.endpoint.shown(|shown| shown.probation = None);
        Some(trial)
    }

    /// Looks after a version on probation. True where something was done.
    pub(super) async fn watch_trial(&mut self) -> bool {
        if let Some((call, outcome)) = self.health.take() {
            return self.heard_health(call, &outcome).await;
        }
        let in_doubt = self.in_doubt();
        let Some(trial) = &mut self.trial else {
            return false;
        };
        let now = self.endpoint.clock.now();
        let turn = self.endpoint.running.load().settings.limits.turn;
        if !self.blocked.is_empty() || in_doubt {
            // Waiting for room, or for an election, is nobody's illness.
            trial.put_off(now.saturating_add(turn));
        }
        match trial.look(now, turn) {
            Look::GoOn => false,
            // It could not answer.
            Look::AskHealth if in_doubt => false,
            Look::AskHealth => {
                self.ask_health(now.saturating_add(turn));
                true
            }
            Look::Passed => {
                self.end_trial();
                self.forget_image();
                self.checkpoints.want_now();
                let running = self.endpoint.running.load();
                let version = running.id.version.as_str();
                tracing::info!(
                    endpoint = self.endpoint.name(),
                    version,
                    "passed its probation"
                );
                true
            }
            Look::Sick(why) => {
                let why = format!("{}: {why}", self.endpoint.running.load().id.version);
                self.roll_back(why, None).await;
                true
            }
        }
    }

    /// Asks the running version whether it is well, as its next message.
    fn ask_health(&mut self, until: Duration) {
        let endpoint = Arc::downgrade(&self.endpoint);
        let mut ledger = lock(&self.endpoint.ledger);
        let call = ledger.new_id();
        let responder = Responder::new(move |outcome| {
            if let Some(endpoint) = endpoint.upgrade() {
                endpoint.notify(Notice::Health { call, outcome });
            }
        })
        .or_else(RpcError::Unanswered {
            endpoint: self.endpoint.name().to_owned(),
        });
        let sender = self.endpoint.address.location.to_string().into();
        ledger.put_call(call, OpenCall { responder, sender });
        drop(ledger);
        if let Some(trial) = &mut self.trial {
            trial.asked(call, until);
        }
        let message = Message::new(HEALTH, Vec::new());
        self.pending.push_front(Event::Call { id: call, message });
    }

    /// The running version said whether it is well.
    async fn heard_health(&mut self, call: u64, outcome: &Outcome) -> bool {
        let now = self.endpoint.clock.now();
        let look = self
            .trial
            .as_mut()
            .map(|trial| trial.answered(call, outcome, now));
        let Some(Look::Sick(why)) = look else {
            return false;
        };
        let why = format!("{}: {why}", self.endpoint.running.load().id.version);
        self.roll_back(why, None).await;
        true
    }

    /// A version on probation trapped at `culprit`, which the version before gets to handle.
    pub(super) async fn trapped_on_trial(&mut self, crash: Crash, culprit: Option<Event>) {
        self.endpoint.counters.crashed();
        let version = self.endpoint.running.load().id.version.clone();
        let messages = self.trial.as_ref().map_or(0, Trial::messages);
        let at = match &culprit {
            Some(Event::Receive(message) | Event::Call { message, .. }) => {
                format!("at message {} ({})", messages + 1, message.kind)
            }
            Some(event) => format!("in {}, after {messages} messages", event.name()),
            None => format!("after {messages} messages"),
        };
        // What only the newer version was told is told anew.
        let culprit = culprit.filter(|event| !is_notice(event));
        self.blocked.extend(crash.blocked);
        self.instance = None;
        self.roll_back(format!("{version} trapped {at}: {}", crash.reason), culprit)
            .await;
    }

    /// Puts the version before back, because of `why`. `culprit`: what the new version could not handle.
    async fn roll_back(&mut self, why: String, culprit: Option<Event>) {
        // What the newer version did is done before the older one does it once more, muted.
        self.become_durable().await;
        let Some(trial) = self.end_trial() else {
            return;
        };
        let endpoint = Arc::clone(&self.endpoint);
        let from = endpoint.running();
        let (image, handled) = trial.into_replay();
        let to = image.running.id.clone();
        let mut record = SwapRecord::new(BY, from.id.clone(), &to.digest);
        record.to.version.clone_from(&to.version);
        record.state_version = image.state_version;
        record.state_bytes = image.state.len();
        record.queue_depth = self.waiting();
        if let Some(draining) = self.draining.take() {
            draining.give_up(self, "the running version was rolled back meanwhile");
        }
        // Whether it stands says the older version: before the flip, or in what it repeats.
        let stood = image.standing.contends;
        endpoint.election.stands_if(stood);
        let standstill = Standstill::begin(&endpoint);
        let retired = self.instance.take();
        self.volatile = 0;
        let now = endpoint.clock.now();
        let told = lock(&endpoint.ledger).rewind(Rewind::WithReplay, now);
        self.forget_young_effects();
        let revived = self
            .revive(&image, handled, culprit.as_ref(), &mut record)
            .await;
        let open = lock(&endpoint.ledger).counts();
        (record.open_calls, record.open_asks, record.timers) = (open.calls, open.asks, open.timers);
        match revived {
            Ok(revived) => {
                let replay = revived.replay;
                let ledger = lock(&endpoint.ledger);
                let own = |event| replay.event(event, |id| ledger.is_before_mark(id));
                // What waits belongs to what the newer version asked and started.
                let pending = std::mem::take(&mut self.pending);
                self.pending = pending.into_iter().filter_map(own).collect();
                let first = told.into_iter().chain(culprit).filter_map(own).collect();
                drop(ledger);
                self.put_first(first);
                self.put_in_place(revived.instance, revived.running);
                self.blocked.extend(revived.left);
                if !image.running.can_lead {
                    self.stand(Standing::default());
                }
                self.volatile = revived.volatile;
                self.started = true;
                self.forget_image();
                self.checkpoints.want_now();
                let text = format!("rolled back to {} because {why}", to.version);
                tracing::error!(endpoint = endpoint.name(), "{text}");
                record.outcome = SwapOutcome::RolledBack(text);
            }
            Err(reason) => {
                let text = format!(
                    "rolled back to {} because {why}; it could not repeat what was handled since, so \
                     that is lost: {reason}",
                    to.version
                );
                record.outcome = SwapOutcome::RolledBack(text.clone());
                endpoint.inbox.resize(&image.running.settings.limits);
                lock(&endpoint.history).runs(to, image.running.code.clone());
                endpoint.running.store(Arc::clone(&image.running));
                // The mark is still the moment of this image.
                self.checkpoints.keep(image, now);
                self.crashed(Crash::between_turns(text), culprit);
            }
        }
        record.phases.pause = standstill.end();
        let mut history = lock(&endpoint.history);
        history.failed(&from.id.digest);
        history.file(record);
        drop(history);
        drop(retired);
    }

    /// Asks and timers of the newer version that wait for room never begin: the replay has its own.
    fn forget_young_effects(&mut self) {
        let ledger = lock(&self.endpoint.ledger);
        Effect::retain(&mut self.blocked, |effect| match effect {
            Effect::Ask { id, .. } | Effect::StartTimer { id, .. } | Effect::Launch { id, .. } => {
                ledger.is_before_mark(*id)
            }
            _ => true,
        });
    }

    /// The version of the image, once more where the newer one was when it failed.
    async fn revive(
        &mut self,
        image: &Image,
        handled: Record,
        culprit: Option<&Event>,
        record: &mut SwapRecord,
    ) -> Result<Revived, String> {
        let endpoint = Arc::clone(&self.endpoint);
        let replay = {
            let ledger = lock(&endpoint.ledger);
            let waiting = culprit.into_iter().chain(&self.pending);
            let is_older = |id| ledger.is_before_mark(id);
            let mut replay = Replay::new(&handled, waiting, is_older);
            replay.take_over(endpoint.launches.begun(is_older));
            replay
        };
        let settings = &image.running.settings;
        let surroundings = ReplaySurroundings::new(&endpoint, &image.running, replay);
        let (engine, code) = (&endpoint.engine, &image.running.code);
        let prepared =
            instance::prepare(engine, code, settings, Arc::clone(&surroundings) as _).await;
        let prepared = prepared.map_err(|error| with_causes(&error))?;
        record.phases.compile = prepared.compile;
        record.phases.instantiate = prepared.instantiate;
        let running = image.running.with_used(prepared.instance.used());
        let mut instance = prepared.instance;
        let began = Instant::now();
        match instance.restore(image.state_version, &image.state).await {
            Ok(()) => {}
            Err(StateError::Refused(reason)) => {
                return Err(format!("it refused its state: {reason}"));
            }
            Err(StateError::Crashed(reason)) => {
                return Err(format!("it crashed in restore: {reason}"));
            }
        }
        // Muted as well: the state was carried over from before.
        instance.commit();
        record.phases.restore = began.elapsed();
        let mut volatile = 0;
        for event in handled.events {
            let Some(event) = surroundings.event(event) else {
                continue;
            };
            let handled = instance.handle(std::slice::from_ref(&event)).await;
            let handled = handled
                .map_err(|crash| format!("it trapped at {}: {}", event.label(), crash.reason))?;
            volatile = handled.volatile;
        }
        record.phases.flip = began.elapsed() - record.phases.restore;
        let (replay, left) = surroundings.goes_live();
        Ok(Revived {
            instance,
            running,
            volatile,
            replay,
            left,
        })
    }
}
