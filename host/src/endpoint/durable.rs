//! Durable: what a turn wrote, and what it does only when that is durable.
//!
//! Before it: a turn that ended well. After it: the store, and then the effects that waited for it.
//!
//! Invariants
//! 1. What a turn does after it persisted happens when its writes are durable, or not at all.
//! 2. Nobody waits for ever for what did not happen: callers and the endpoint itself are told.
//! 3. A leader that cannot write, though it leads for certain, makes way for one that may.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use super::handle::{Endpoint, Notice, lock};
use super::leading::changed;
use super::ledger::OpenAsk;
use super::runner::{Life, Runner};
use crate::clock::Stretch;
use crate::component::effect::Effect;
use crate::election::leadership::Certainty;
use crate::error::RpcError;
use crate::moment;
use crate::store::{EndpointStore, failure};

impl Endpoint {
    /// The store of the host, as this endpoint sees it.
    pub(super) fn store(&self) -> Result<EndpointStore, RpcError> {
        Ok(self.outgoing.store()?.of(self.name()))
    }

    /// Hands what a turn wrote to the store, and lets what comes after it wait.
    pub(super) fn enlist(self: &Arc<Self>, turn: &mut VecDeque<Effect>) {
        // In doubt it stays where it is, and when its term is over nothing of its turn is done.
        if self.election.gate() != Certainty::Certain {
            return;
        }
        let is_write = |effect: &Effect| matches!(effect, Effect::Persist(_));
        let Some(place) = turn.iter().position(is_write) else {
            return;
        };
        let mut then = turn.split_off(place);
        let Some(Effect::Persist(writes)) = then.pop_front() else {
            return;
        };
        match self.store() {
            Ok(store) => {
                let ticket = store.submit(writes, self.election.fence());
                turn.push_back(Effect::WhenDurable { ticket, then });
            }
            Err(error) => self.not_durable(then, &error),
        }
    }

    /// Puts what waits for the disk, at the front of `effects`, where it can be carried out. False where
    /// it waits on.
    pub(super) fn go_on_when_durable(self: &Arc<Self>, effects: &mut VecDeque<Effect>) -> bool {
        match effects.front_mut() {
            Some(Effect::Persist(_)) => {
                self.enlist(effects);
                true
            }
            Some(Effect::WhenDurable { ticket, .. }) => match ticket.look() {
                Some(outcome) => {
                    self.written(effects, outcome);
                    true
                }
                None => false,
            },
            _ => true,
        }
    }

    /// The writes at the front of `effects` are durable, or not.
    fn written(self: &Arc<Self>, effects: &mut VecDeque<Effect>, outcome: Result<(), RpcError>) {
        let Some(Effect::WhenDurable { mut then, .. }) = effects.pop_front() else {
            return;
        };
        match outcome {
            Ok(()) => {
                then.append(effects);
                *effects = then;
            }
            Err(error) => self.not_durable(then, &error),
        }
    }

    /// Drops what a turn does not do because its writes failed, and tells.
    fn not_durable(self: &Arc<Self>, dropped: VecDeque<Effect>, error: &RpcError) {
        tracing::error!(endpoint = self.name(), %error, "not persisted");
        for effect in dropped {
            self.undone(effect, error);
        }
        self.notify(Notice::Failed(error.clone()));
    }

    /// Tells whoever waits for an effect that will not be.
    pub(super) fn undone(self: &Arc<Self>, effect: Effect, error: &RpcError) {
        match effect {
            Effect::Answer { call, .. } => {
                let open = lock(&self.ledger).take_call(call);
                if let Some(open) = open {
                    open.responder.tell(Err(error.clone()));
                }
            }
            // Each ask has exactly one outcome.
            Effect::Ask { id, token, to, .. } => {
                let ask = OpenAsk {
                    token,
                    who: to.to_string(),
                    timeout: self.outgoing.ask_timeout(),
                    setting: "ask_timeout",
                    stretch: Stretch::begin(None),
                    forget: None,
                };
                lock(&self.ledger).open_ask(id, ask, self.clock.now());
                let outcome = Err(error.clone());
                self.notify(Notice::Answered { ask: id, outcome });
            }
            // And so has each launch.
            Effect::Launch {
                id,
                workload,
                token,
            } => {
                let launch = self.launches.begin(self, id, &workload, token);
                self.with_launcher(|launcher| launcher.refuse(launch, error.to_string()));
            }
            Effect::Send { to, message, .. } => {
                self.dead_letter(&format!("{} to {to}", message.kind), error);
            }
            _ => {}
        }
    }
}

impl Runner {
    /// True where the first effect that waits does so for the disk.
    pub(super) fn waits_for_disk(&self) -> bool {
        matches!(self.blocked.front(), Some(Effect::WhenDurable { .. }))
    }

    /// Waits for the disk, for an order, or until the time to stop is over.
    pub(super) async fn wait_for_disk(&mut self) {
        let (stop, resigns) = (self.stops_at(), self.resigns_at());
        let Some(Effect::WhenDurable { ticket, .. }) = self.blocked.front_mut() else {
            return;
        };
        let outcome = tokio::select! {
            biased;
            Some(control) = self.control.recv() => return self.obey(control).await,
            () = changed(&mut self.stands.changes) => return,
            outcome = ticket.wait() => outcome,
            () = moment::until(stop) => Err(too_late()),
            () = moment::until(resigns) => return self.make_way(),
        };
        self.are_written(outcome);
        self.endpoint.carry_out(&mut self.blocked);
    }

    /// Waits until all that was written is durable, and carries out what there is room for. Waits no
    /// longer where it is in doubt whether that counts: what waits then goes on waiting. Where the time to
    /// stop is over, what waits is given up.
    pub(super) async fn become_durable(&mut self) {
        let endpoint = Arc::clone(&self.endpoint);
        let stop = self.stops_at();
        let mut durable = VecDeque::new();
        loop {
            let resigns = self.resigns_at();
            let outcome = match self.blocked.front_mut() {
                None => break,
                Some(Effect::WhenDurable { ticket, .. }) => tokio::select! {
                    biased;
                    outcome = ticket.wait() => outcome,
                    () = endpoint.election.not_certain() => break,
                    () = moment::until(stop) => Err(too_late()),
                    () = moment::until(resigns) => {
                        self.make_way();
                        continue;
                    }
                },
                Some(_) => {
                    durable.extend(self.blocked.pop_front());
                    continue;
                }
            };
            self.are_written(outcome);
        }
        durable.append(&mut self.blocked);
        self.blocked = durable;
        self.endpoint.carry_out(&mut self.blocked);
    }

    fn are_written(&mut self, outcome: Result<(), RpcError>) {
        self.stands.writes_wait = None;
        self.endpoint.written(&mut self.blocked, outcome);
    }

    /// Gives up what is not durable yet: there is no time left to wait.
    pub(super) fn give_up_writes(&mut self) {
        while self.waits_for_disk() {
            self.are_written(Err(too_late()));
            self.endpoint.carry_out(&mut self.blocked);
        }
    }

    pub(super) fn stops_at(&self) -> Option<Instant> {
        match self.life {
            Life::Stopping { deadline, .. } => Some(deadline),
            _ => None,
        }
    }

    /// When it makes way, unless its writes are done before: only time counts in which it leads for certain.
    fn resigns_at(&mut self) -> Option<Instant> {
        let election = &self.endpoint.election;
        let fenced = election.fence().is_some() && election.gate() == Certainty::Certain;
        if !fenced || !self.waits_for_disk() {
            self.stands.writes_wait = None;
            return None;
        }
        let patience = self.endpoint.store().ok()?.patience()?;
        let since = self.stands.writes_wait.get_or_insert_with(Instant::now);
        Some(*since + patience)
    }

    /// It leads, and cannot write: another one may.
    fn make_way(&mut self) {
        let endpoint = self.endpoint.name();
        let waited = self.stands.writes_wait.take().map(|since| since.elapsed());
        tracing::error!(
            endpoint,
            ?waited,
            "leads for certain, and its writes are not done: it resigns, so that another one may lead"
        );
        self.endpoint.election.resign();
    }
}

/// Why a write that waits is given up.
fn too_late() -> RpcError {
    failure(
        "the time to stop was over before it was known to be durable; it may be durable all the same",
    )
}
