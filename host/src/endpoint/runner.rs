//! Runner: the one task that runs an endpoint's code.
//!
//! Before it: the inbox, notices and control. After it: [`crate::component`] and, for what a turn
//! wants to happen, [`super::surroundings`].
//!
//! Invariants
//! 1. The order of attention: control, effects that wait for room, what was taken out before and not
//!    handled, what is due, notices, and at last the inbox.
//! 2. A crash costs the message that did it, never those behind it, and never the host.
//! 3. While effects of a turn wait for room, no further turn begins: back-pressure. Where the time to
//!    stop is over nothing waits any more: what has no room is a dead letter.
//! 4. Where it is in doubt whether the endpoint leads, no turn begins ([`super::leading`]).
//!
//! Not here: how code is replaced ([`super::swap`]) and when it is restarted ([`super::supervisor`]).

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::checkpoint::Checkpoints;
use super::handle::{Control, End, Endpoint, Notice, lock};
use super::inbox::{InboxQueue, Posted};
use super::leading::{Standing, Stands, changed};
use super::ledger::{OpenCall, Rewind};
use super::status::EndpointState;
use super::supervisor::{RestartBudget, Verdict};
use super::surroundings::EndpointSurroundings;
use super::swap::SwapRequest;
use super::swap::carry::Draining;
use super::trial::{Recent, Trial};
use crate::component::effect::Effect;
use crate::component::event::Event;
use crate::component::instance::{self, Crash, Instance, StateError};
use crate::election::leadership::Certainty;
use crate::error::{RpcError, with_causes};
use crate::moment;
use crate::responder::Outcome;

/// Events that go into the guest at once. The crossing is cheap from here on, and a swap or stop
/// does not wait for the end of a batch anyway.
const BATCH_MAX: usize = 64;

pub(super) struct Runner {
    pub(super) endpoint: Arc<Endpoint>,
    /// None while the endpoint waits for a restart, or failed.
    pub(super) instance: Option<Instance>,
    /// The instance handled `on-start`, or took over state.
    pub(super) started: bool,
    /// Taken out and not handled yet, in order.
    pub(super) pending: VecDeque<Event>,
    /// Effects of ended turns, of which the first waits for room.
    pub(super) blocked: VecDeque<Effect>,
    pub(super) volatile: u32,
    pub(super) draining: Option<Draining>,
    pub(super) life: Life,
    pub(super) budget: RestartBudget,
    /// The running version is on probation.
    pub(super) trial: Option<Trial>,
    /// It was asked whether it is well, and this is what it said.
    pub(super) health: Option<(u64, Outcome)>,
    /// The last messages, for a rehearsal.
    pub(super) recent: Recent,
    pub(super) checkpoints: Checkpoints,
    pub(super) stands: Stands,
    /// Memory that the last refresh did not give back: the next one waits until twice as much is used.
    refreshed_to: usize,
    /// The instance before, which is being dropped.
    pub(super) retiring: Option<JoinHandle<()>>,
    queue: InboxQueue,
    notices: mpsc::UnboundedReceiver<Notice>,
    pub(super) control: mpsc::UnboundedReceiver<Control>,
    born: Instant,
}

/// Where in its life the endpoint is.
pub(super) enum Life {
    Running,
    /// No instance; the next one is made at this moment.
    RestartAt(Instant),
    /// No instance, and no next one by itself.
    Failed(RpcError),
    /// No new messages; what is queued is handled until the deadline.
    Stopping {
        deadline: Instant,
        tell: Vec<oneshot::Sender<()>>,
    },
    Ended,
}

impl Runner {
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        instance: Instance,
        queue: InboxQueue,
        notices: mpsc::UnboundedReceiver<Notice>,
        control: mpsc::UnboundedReceiver<Control>,
    ) -> Self {
        Self {
            endpoint,
            instance: Some(instance),
            started: false,
            pending: VecDeque::from([Event::Start]),
            blocked: VecDeque::new(),
            volatile: 0,
            draining: None,
            life: Life::Running,
            budget: RestartBudget::default(),
            trial: None,
            health: None,
            recent: Recent::default(),
            checkpoints: Checkpoints::default(),
            stands: Stands::default(),
            refreshed_to: 0,
            retiring: None,
            queue,
            notices,
            control,
            born: Instant::now(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while !matches!(self.life, Life::Ended) {
            self.obey_all().await;
            self.look_at_election();
            if self.go_on_swapping().await {
                continue;
            }
            if let Life::Running = self.life {
                self.keep_checkpoint().await;
                if self.watch_trial().await {
                    continue;
                }
            }
            match self.life {
                Life::Ended => {}
                // What ended well takes effect, whatever happened later.
                Life::Failed(_) | Life::RestartAt(_) if self.waits_for_disk() => {
                    self.wait_for_disk().await;
                }
                Life::Failed(_) => self.refuse_everything().await,
                Life::RestartAt(at) => self.wait_for_restart(at).await,
                Life::Running | Life::Stopping { .. } if self.in_doubt() => {
                    match self.stopping_for_too_long() {
                        true => self.give_up_doubt(),
                        false => self.wait_in_doubt().await,
                    }
                }
                Life::Running | Life::Stopping { .. } if !self.blocked.is_empty() => {
                    self.wait_for_room().await;
                }
                Life::Running | Life::Stopping { .. } => {
                    if self.stopping_for_too_long() {
                        self.answer_queued(&self.endpoint.inbox.stopped());
                    }
                    self.gather(&mut batch);
                    if batch.is_empty() {
                        self.wait_or_end(&mut batch).await;
                    }
                    if !batch.is_empty() && self.must_wait() {
                        self.keep(&mut batch);
                    } else if !batch.is_empty() {
                        self.run_batch(&mut batch).await;
                    }
                }
            }
        }
        self.end();
        tracing::debug!(endpoint = self.endpoint.name(), "ended");
    }

    /// Carries out what was ordered. The mark is wiped before the orders are read: an order that
    /// comes in between sets it again.
    async fn obey_all(&mut self) {
        self.endpoint.interrupt.store(false, Ordering::Release);
        while let Ok(control) = self.control.try_recv() {
            self.obey(control).await;
        }
    }

    pub(super) async fn obey(&mut self, control: Control) {
        match control {
            Control::Swap(request) => self.begin_swap(*request),
            Control::Restart(done) => {
                if !matches!(self.life, Life::Stopping { .. } | Life::Ended) {
                    self.budget.forgive();
                    let reason = "restarted by an operator".to_owned();
                    // Afresh is what was asked for: no copy of the state comes back.
                    self.forget_image();
                    self.lose_instance(&reason);
                    self.make_instance(&reason).await;
                }
                // Whoever asked may have gone: the restart was made all the same.
                let _ = done.send(());
            }
            Control::StopNow => {
                if let Life::Stopping { deadline, .. } = &mut self.life {
                    *deadline = Instant::now();
                }
            }
            Control::Stop(done) => match &mut self.life {
                Life::Stopping { tell, .. } => tell.push(done),
                Life::Ended => {}
                Life::Failed(_) | Life::RestartAt(_) => {
                    self.queue.close();
                    self.life = Life::Ended;
                    self.answer_queued(&self.endpoint.inbox.stopped());
                    let _ = done.send(());
                }
                Life::Running => {
                    self.queue.close();
                    if let Some(draining) = self.draining.take() {
                        draining.give_up(self, "the endpoint is stopping");
                    }
                    let limit = self.endpoint.running.load().settings.limits.drain;
                    self.set_state(EndpointState::Stopping);
                    self.life = Life::Stopping {
                        deadline: Instant::now() + limit,
                        tell: vec![done],
                    };
                }
            },
        }
    }

    /// Fills `batch` with what is there, without waiting.
    fn gather(&mut self, batch: &mut Vec<Event>) {
        if batch.is_empty()
            && let Some(notice) = self.notice()
        {
            batch.push(notice);
            if self.stands.revokes() {
                return;
            }
        }
        while batch.len() < BATCH_MAX {
            let Some(event) = self.pending.pop_front() else {
                break;
            };
            batch.push(event);
        }
        let now = self.endpoint.clock.now();
        let room = BATCH_MAX.saturating_sub(batch.len());
        batch.extend(lock(&self.endpoint.ledger).take_due(now, room));
        while batch.len() < BATCH_MAX {
            let Ok(notice) = self.notices.try_recv() else {
                break;
            };
            batch.extend(self.event_of(notice));
        }
        if self.draining.is_some() {
            return;
        }
        while batch.len() < BATCH_MAX {
            let Some(posted) = self.queue.try_take() else {
                break;
            };
            batch.extend(self.accept(posted));
        }
    }

    /// Waits for something to do. With nothing left to do for an endpoint that stops: its last event.
    async fn wait_or_end(&mut self, batch: &mut Vec<Event>) {
        if let Life::Stopping { .. } = self.life {
            if self.started {
                batch.push(Event::Stop);
            } else {
                self.finish_stopping();
            }
            return;
        }
        if self.health.is_some() {
            // Heard just now: there is something to do.
            return;
        }
        let next_due = lock(&self.endpoint.ledger).next_due();
        let trial = self.trial.as_ref().map(Trial::wakes);
        let settings = &self.endpoint.running.load().settings;
        let checkpoint = self
            .checkpoints
            .wakes(&settings.checkpoint)
            .filter(|_| trial.is_none());
        let due = [next_due, trial, checkpoint].into_iter().flatten().min();
        let due = due.map(|due| self.endpoint.clock.moment(due));
        let drain = self.draining.as_ref().map(|draining| draining.deadline);
        let wake = due.into_iter().chain(drain).min();
        let mut got = None;
        tokio::select! {
            biased;
            Some(control) = self.control.recv() => self.obey(control).await,
            Some(notice) = self.notices.recv() => batch.extend(self.event_of(notice)),
            Some(posted) = self.queue.take(), if self.draining.is_none() => got = Some(posted),
            () = changed(&mut self.stands.changes) => {}
            () = moment::until(wake) => {}
        }
        if let Some(posted) = got {
            batch.extend(self.accept(posted));
            // What came with it goes with it.
            self.gather(batch);
        }
    }

    /// The event for a message; none where it had to be refused.
    fn accept(&mut self, posted: Posted) -> Option<Event> {
        let (message, responder, sender) = match posted {
            Posted::OneWay(message) => return Some(Event::Receive(message)),
            Posted::Call {
                message,
                responder,
                sender,
            } => (message, responder, sender),
        };
        let running = self.endpoint.running.load();
        if !running.answers(&message.kind) {
            responder.tell(Err(RpcError::Unsupported {
                endpoint: self.endpoint.name().to_owned(),
                kind: message.kind.to_string(),
            }));
            return None;
        }
        let limit = running.settings.limits.open_calls;
        let mut ledger = lock(&self.endpoint.ledger);
        if ledger.counts().calls >= limit {
            drop(ledger);
            responder.tell(Err(RpcError::Denied {
                reason: format!(
                    "`{}` has {limit} unanswered calls, its limit (`open_calls` in the sidecar)",
                    self.endpoint.name()
                ),
            }));
            return None;
        }
        let responder = responder.or_else(RpcError::Unanswered {
            endpoint: self.endpoint.name().to_owned(),
        });
        let id = ledger.open_call(OpenCall {
            responder,
            sender: sender.to_string().into(),
        });
        Some(Event::Call { id, message })
    }

    fn event_of(&mut self, notice: Notice) -> Option<Event> {
        match notice {
            Notice::Health { call, outcome } => {
                self.health = Some((call, outcome));
                None
            }
            Notice::Answered { ask, outcome } => lock(&self.endpoint.ledger).answered(ask, outcome),
            Notice::Failed(error) => Some(Event::Error(error)),
            Notice::Connected(peer) => Some(Event::Connected(peer)),
            Notice::Disconnected(peer) => Some(Event::Disconnected(peer)),
            Notice::NetworkError { address, cause } => {
                self.endpoint.tells_of(&address);
                Some(Event::NetworkError { address, cause })
            }
        }
    }

    async fn run_batch(&mut self, batch: &mut Vec<Event>) {
        self.begin_under();
        let Some(instance) = &mut self.instance else {
            // Only a running endpoint gathers; keep the events if that ever changes.
            self.pending.extend(batch.drain(..));
            return;
        };
        if let Some(trial) = &mut self.trial {
            let ledger = lock(&self.endpoint.ledger);
            for event in batch.iter() {
                if let Event::Call { id, .. } = event
                    && let Some(call) = ledger.call(*id)
                {
                    trial.sender(*id, &call.sender);
                }
            }
        }
        let handled = instance.handle(batch).await;
        let done = match &handled {
            Ok(handled) => handled.done,
            Err(crash) => crash.done,
        };
        let stopped = self.record(batch, done);
        let untold = self.end_under(batch, done);
        match handled {
            Ok(handled) => {
                self.volatile = handled.volatile;
                self.blocked = handled.blocked;
                self.keep(batch);
                self.refresh_if_large().await;
            }
            Err(crash) => {
                let first = || (!batch.is_empty()).then(|| batch.remove(0));
                let culprit = untold.or_else(first);
                self.keep(batch);
                let running = matches!(self.life, Life::Running);
                if self.trial.is_some() && running {
                    self.trapped_on_trial(crash, culprit).await;
                } else {
                    self.crashed(crash, culprit);
                }
            }
        }
        if stopped {
            self.settle().await;
            self.finish_stopping();
        }
    }

    /// Takes the first `done` events, which were handled, out of the batch, and keeps of them what a
    /// rehearsal and a rollback need. True where `on-stop` was among them.
    fn record(&mut self, batch: &mut Vec<Event>, done: usize) -> bool {
        let turns = u64::try_from(done).unwrap_or(u64::MAX);
        let counters = &self.endpoint.counters;
        counters.turns.fetch_add(turns, Ordering::Relaxed);
        let rehearsed = self.endpoint.running.load().settings.rehearsal.messages;
        let (mut stopped, mut messages) = (false, 0);
        for event in batch.drain(..done.min(batch.len())) {
            messages += u64::from(event.is_message());
            match event {
                Event::Stop => stopped = true,
                Event::Start => self.started = true,
                _ => {}
            }
            match &mut self.trial {
                Some(trial) => trial.handled(event),
                None => self.recent.handled(event, rehearsed),
            }
        }
        self.checkpoints.handled(messages);
        if let Some(trial) = &self.trial {
            let messages = trial.messages();
            self.endpoint.shown(|shown| {
                if let Some(probation) = &mut shown.probation {
                    probation.messages = messages;
                }
            });
        }
        stopped
    }

    /// Gives memory back that only grows, by a swap to the very same code.
    async fn refresh_if_large(&mut self) {
        let running = self.endpoint.running.load_full();
        let Some(above) = running.settings.limits.refresh_above else {
            return;
        };
        let used = running.memory_bytes();
        let undisturbed = self.trial.is_none() && self.draining.is_none() && self.volatile == 0;
        if used <= above.max(self.refreshed_to.saturating_mul(2)) || !undisturbed || !self.started {
            return;
        }
        super::swap::refresh_now(self).await;
        // What is still used is in use; the next try waits for more.
        self.refreshed_to = self.endpoint.running.load().memory_bytes();
    }

    /// Keeps what was not handled, before everything else.
    fn keep(&mut self, batch: &mut Vec<Event>) {
        if !batch.is_empty() {
            self.put_first(std::mem::take(batch));
        }
    }

    /// Puts events before everything else that was taken out, in their order.
    pub(super) fn put_first(&mut self, events: Vec<Event>) {
        for event in events.into_iter().rev() {
            // The last event is made again when it is due again.
            if !matches!(event, Event::Stop) {
                self.pending.push_front(event);
            }
        }
    }

    /// Waits until the first blocked effect has room, and then for the others.
    async fn wait_for_room(&mut self) {
        if self.waits_for_disk() {
            return self.wait_for_disk().await;
        }
        let until = self.stops_at();
        if self.stopping_for_too_long() {
            return self.send_what_has_room();
        }
        let limit = self.endpoint.running.load().settings.limits.send_wait;
        let Some(Effect::Send { to, message, .. }) = self.blocked.front() else {
            self.endpoint.carry_out(&mut self.blocked);
            return;
        };
        let (to, kind) = (to.clone(), Arc::clone(&message.kind));
        let room = self.endpoint.outgoing.reserve_wait(&to);
        let outcome = tokio::select! {
            biased;
            Some(control) = self.control.recv() => return self.obey(control).await,
            () = moment::until(until) => return,
            () = changed(&mut self.stands.changes) => return,
            waited = tokio::time::timeout(limit, room) => waited.unwrap_or_else(|_| {
                Err(RpcError::Timeout {
                    who: format!("room at {to}"),
                    after: limit,
                    setting: "send_wait".to_owned(),
                })
            }),
        };
        let counts = self.endpoint.election.gate() == Certainty::Certain;
        let outcome = match (outcome, self.blocked.front_mut()) {
            // It waited for longer than it counts: what becomes of it is decided with all that waits.
            (Ok(found), Some(Effect::Send { room, .. })) if !counts => {
                *room = Some(found);
                Ok(())
            }
            (outcome, _) => match (outcome, self.blocked.pop_front()) {
                (Ok(found), Some(Effect::Send { to, message, .. })) => found.fill(&to, message),
                (outcome, _) => outcome.map(drop),
            },
        };
        if let Err(error) = outcome {
            self.endpoint
                .dead_letter(&format!("{kind} to {to}"), &error);
            self.pending.push_back(Event::Error(error));
        }
        self.endpoint.carry_out(&mut self.blocked);
    }

    /// What has no room now is not sent. All else that ended turns wanted takes effect, but for what
    /// waits for the disk.
    fn send_what_has_room(&mut self) {
        let error = self.endpoint.inbox.stopped();
        while !self.endpoint.carry_out(&mut self.blocked) {
            let Some(Effect::Send { .. }) = self.blocked.front() else {
                break;
            };
            if let Some(Effect::Send { to, message, .. }) = self.blocked.pop_front() {
                let what = format!("{} to {to}", message.kind);
                self.endpoint.dead_letter(&what, &error);
            }
        }
    }

    /// A crash: the message that did it is answered, the endpoint gets another instance or fails.
    pub(super) fn crashed(&mut self, crash: Crash, culprit: Option<Event>) {
        let endpoint = Arc::clone(&self.endpoint);
        endpoint.counters.crashed();
        let event = culprit.as_ref().map_or_else(String::new, Event::label);
        tracing::error!(
            endpoint = endpoint.name(),
            event,
            reason = crash.reason,
            "crashed"
        );
        let error = RpcError::Crashed {
            endpoint: endpoint.name().to_owned(),
            reason: crash.reason.clone(),
        };
        match culprit {
            Some(Event::Call { id, .. }) => {
                let call = lock(&endpoint.ledger).take_call(id);
                if let Some(call) = call {
                    call.responder.tell(Err(error));
                }
            }
            Some(Event::Receive(message)) => endpoint.dead_letter(&message.kind, &error),
            Some(Event::Timer { timer, .. }) => lock(&endpoint.ledger).broke(timer),
            _ => {}
        }
        self.blocked.extend(crash.blocked);
        self.lose_instance(&crash.reason);
        let ends = endpoint.running.load().settings.ends_with_crash;
        if ends {
            // Before anybody hears of the end: what ended well takes effect.
            self.give_up_doubt();
            self.send_what_has_room();
            endpoint.note_end(End::Crashed {
                reason: crash.reason.clone(),
                limit: crash.limit,
            });
        }
        if let Life::Stopping { .. } = self.life {
            // No new instance only to stop it.
            self.answer_queued(&endpoint.inbox.stopped());
            return self.finish_stopping();
        }
        if ends {
            endpoint.outgoing.unregister(&endpoint);
            self.life = Life::Ended;
            return;
        }
        self.life = match self.budget.crashed(self.born.elapsed()) {
            Verdict::RestartAfter(wait) => {
                self.set_state(EndpointState::Restarting(crash.reason.clone()));
                self.pending.push_front(Event::Error(RpcError::Crashed {
                    endpoint: endpoint.name().to_owned(),
                    reason: crash.reason,
                }));
                Life::RestartAt(Instant::now() + wait)
            }
            Verdict::Fail => self.failed(&crash.reason),
        };
    }

    fn failed(&mut self, reason: &str) -> Life {
        let endpoint = &self.endpoint;
        let text = format!(
            "crashed more than {} times in {:?}; last: {reason}; a new file or `instar restart {}` revives it",
            super::supervisor::RESTARTS_MAX,
            super::supervisor::WINDOW,
            endpoint.name()
        );
        tracing::error!(endpoint = endpoint.name(), reason = text, "failed");
        let error = RpcError::Crashed {
            endpoint: endpoint.name().to_owned(),
            reason: text.clone(),
        };
        self.set_state(EndpointState::Failed(text));
        self.answer_queued(&error);
        // Those that a copy of the state holds, too: nobody knows whether it comes back.
        let held = lock(&self.endpoint.ledger).take_calls();
        for call in held {
            call.responder.tell(Err(error.clone()));
        }
        Life::Failed(error)
    }

    /// Drops the instance and with it the state, but for the copy that there may be. What only the lost
    /// state could answer is failed; messages that wait are kept.
    pub(super) fn lose_instance(&mut self, reason: &str) {
        self.instance = None;
        self.started = false;
        self.volatile = 0;
        self.health = None;
        self.stand(Standing::default());
        if self.end_trial().is_some() {
            // Its mark is not that of a copy.
            self.forget_image();
        }
        if let Some(draining) = self.draining.take() {
            draining.give_up(self, "the running version crashed while it was drained");
        }
        self.lose_state(reason);
    }

    /// The state is gone, but for the copy that there may be.
    pub(super) fn lose_state(&mut self, reason: &str) {
        let has_image = self.checkpoints.image().is_some();
        let mut ledger = lock(&self.endpoint.ledger);
        let mut waiting = HashSet::new();
        self.pending.retain(|event| match event {
            Event::Call { id, .. } => {
                waiting.insert(*id);
                true
            }
            Event::Receive(_) => true,
            Event::Reply { ask, .. } => has_image && ledger.is_before_mark(*ask),
            _ => false,
        });
        // Effects of ended turns still go out, but for what only the lost state waited for.
        Effect::retain(&mut self.blocked, |effect| match effect {
            // Whether it stands the next instance says, or the copy.
            Effect::Contend | Effect::Resign => false,
            Effect::Ask { id, .. } | Effect::StartTimer { id, .. } => {
                has_image && ledger.is_before_mark(*id)
            }
            Effect::Answer { call, .. } => {
                waiting.insert(*call);
                true
            }
            _ => true,
        });
        match has_image {
            // What the copy has to be told is told when it comes back.
            true => drop(ledger.rewind(Rewind::WithoutReplay, self.endpoint.clock.now())),
            false => ledger.clear_asks_and_timers(),
        }
        let lost = ledger.take_lost_calls(&waiting);
        drop(ledger);
        for call in lost {
            call.responder.tell(Err(RpcError::Crashed {
                endpoint: self.endpoint.name().to_owned(),
                reason: format!("its state, which held this call, is lost: {reason}"),
            }));
        }
    }

    /// The endpoint comes back with a copy of its state: it is told how asks ended that this state
    /// still waits for.
    pub(super) fn tell_what_was_lost(&mut self) {
        let now = self.endpoint.clock.now();
        let told = lock(&self.endpoint.ledger).rewind(Rewind::WithoutReplay, now);
        let waiting: HashSet<u64> = self
            .pending
            .iter()
            .filter_map(|event| match event {
                Event::Reply { ask, .. } => Some(*ask),
                _ => None,
            })
            .collect();
        let told = told.into_iter().filter(|event| match event {
            Event::Reply { ask, .. } => !waiting.contains(ask),
            _ => true,
        });
        self.put_first(told.collect());
    }

    async fn wait_for_restart(&mut self, at: Instant) {
        tokio::select! {
            biased;
            Some(control) = self.control.recv() => self.obey(control).await,
            () = tokio::time::sleep_until(at) => {
                let reason = match &*lock(&self.endpoint.state) {
                    EndpointState::Restarting(reason) => reason.clone(),
                    _ => String::new(),
                };
                self.make_instance(&reason).await;
            }
        }
    }

    /// Makes an instance of the running code: with the last copy of the state if there is one, else a
    /// fresh one, whose first event is `on-start`.
    async fn make_instance(&mut self, reason: &str) {
        let running = self.endpoint.running.load_full();
        let surroundings = EndpointSurroundings::of(&self.endpoint, &running.settings);
        let made = instance::prepare(
            &self.endpoint.engine,
            &running.code,
            &running.settings,
            surroundings,
        );
        let mut instance = match made.await {
            Ok(prepared) => prepared.instance,
            Err(error) => {
                let reason = format!("no new instance: {}", with_causes(&error));
                return self.crashed(Crash::between_turns(reason), None);
            }
        };
        let image = self.checkpoints.image().cloned();
        if let Some(image) = image {
            let restored = instance.restore(image.state_version, &image.state).await;
            if let Err(StateError::Refused(reason) | StateError::Crashed(reason)) = restored {
                let reason = format!("the last copy of its state was of no use: {reason}");
                self.forget_image();
                return self.crashed(Crash::between_turns(reason), None);
            }
            self.tell_what_was_lost();
            self.stand(image.standing);
            self.blocked.extend(instance.commit());
            self.started = true;
            if !running.settings.checkpoint.is_wanted() {
                // The state of a flip, come back with once: it would only grow older.
                self.forget_image();
            }
        } else {
            self.start_fresh();
        }
        self.endpoint.note_used(instance.used());
        self.instance = Some(instance);
        self.life = Life::Running;
        self.set_state(EndpointState::Running);
        tracing::info!(endpoint = self.endpoint.name(), reason, "restarted");
    }

    /// Puts `on-start` before everything else, once.
    pub(super) fn start_fresh(&mut self) {
        self.started = false;
        self.stand(Standing::default());
        self.pending.retain(|event| !matches!(event, Event::Start));
        self.pending.push_front(Event::Start);
    }

    /// What a failed endpoint does: answer its callers at once.
    async fn refuse_everything(&mut self) {
        let Life::Failed(error) = &self.life else {
            return;
        };
        let error = error.clone();
        tokio::select! {
            biased;
            Some(control) = self.control.recv() => self.obey(control).await,
            Some(notice) = self.notices.recv() => drop(self.event_of(notice)),
            () = changed(&mut self.stands.changes) => {}
            Some(posted) = self.queue.take() => self.refuse(posted, &error),
        }
    }

    fn refuse(&self, posted: Posted, error: &RpcError) {
        match posted {
            Posted::OneWay(message) => self.endpoint.dead_letter(&message.kind, error),
            Posted::Call { responder, .. } => responder.tell(Err(error.clone())),
        }
    }

    /// Answers everything that waits.
    fn answer_queued(&mut self, error: &RpcError) {
        for event in std::mem::take(&mut self.pending) {
            match event {
                Event::Receive(message) => self.endpoint.dead_letter(&message.kind, error),
                Event::Call { id, .. } => {
                    let call = lock(&self.endpoint.ledger).take_call(id);
                    if let Some(call) = call {
                        call.responder.tell(Err(error.clone()));
                    }
                }
                _ => {}
            }
        }
        while let Some(posted) = self.queue.try_take() {
            self.refuse(posted, error);
        }
    }

    fn finish_stopping(&mut self) {
        if let Life::Stopping { tell, .. } = std::mem::replace(&mut self.life, Life::Ended) {
            self.end();
            for done in tell {
                let _ = done.send(());
            }
        }
    }

    /// True where the time to handle what is queued is over.
    pub(super) fn stopping_for_too_long(&self) -> bool {
        matches!(self.life, Life::Stopping { deadline, .. } if Instant::now() >= deadline)
    }

    /// The end: whoever still waits is told. Twice is as good as once.
    fn end(&mut self) {
        let error = self.endpoint.inbox.stopped();
        self.queue.close();
        self.give_up_doubt();
        self.give_up_writes();
        self.send_what_has_room();
        self.leave_election();
        self.answer_queued(&error);
        let mut ledger = lock(&self.endpoint.ledger);
        ledger.clear_asks_and_timers();
        let calls = ledger.take_calls();
        drop(ledger);
        for call in calls {
            call.responder.tell(Err(error.clone()));
        }
        self.endpoint.launches.close();
        if let Some(draining) = self.draining.take() {
            draining.give_up(self, "the endpoint stopped");
        }
        self.instance = None;
        self.endpoint.note_end(End::Stopped);
    }

    /// Nothing came of a swap: the endpoint shows again what it is doing.
    pub(super) fn back_to_work(&self) {
        if let Life::Running = self.life {
            self.set_state(EndpointState::Running);
        }
    }

    pub(super) fn set_state(&self, state: EndpointState) {
        *lock(&self.endpoint.state) = state;
    }

    /// Messages that wait, those taken out included.
    pub(super) fn waiting(&self) -> usize {
        self.pending.len() + self.endpoint.inbox.waiting()
    }

    fn begin_swap(&mut self, request: SwapRequest) {
        if matches!(self.life, Life::Stopping { .. } | Life::Ended) {
            return request.refuse(&self.endpoint, "the endpoint is stopping");
        }
        if let Some(draining) = Draining::take(request) {
            self.draining = Some(draining);
            if let Life::Running = self.life {
                self.set_state(EndpointState::Swapping);
            }
        }
    }
}
