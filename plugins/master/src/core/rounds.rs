//! Rounds: what an event has to do to very many is done over several turns, a bounded part in each.
//!
//! Ten thousand workers are lost at once, or as many drivers end: what is written down for that would be
//! too much for one write, and everybody else would wait. So the event notes what is left to do, and does
//! as much of it as its turn has room for. The next turns go on, whatever they are about; where nothing
//! happens, a timer without delay makes one.
//!
//! Invariants
//! 1. What is left is done in order, each once. Each part looks at what it finds: meanwhile the worker may
//!    have been heard of, the application may have ended.
//! 2. While something is left nothing is scheduled: nothing goes onto a worker that is about to be lost.
//! 3. What ends a recovery stands behind all that the recovery decides, so that it ends with the last of
//!    them: COMPLETING_RECOVERY -> ALIVE.
//! 4. It is part of the state: a swap or a crash in between goes on with it. A master that is followed by
//!    another leaves it to that one, which finds what is written down still.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use deploy_protocol::WorkerState;
use serde::{Deserialize, Serialize};

use super::Core;
use super::ids::{AppKey, DriverKey, WorkerKey};
use super::settings::CHECKS_PER_TIMEOUT;
use super::turn::{Effect, Turn};

/// Something that is left to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Part {
    /// A worker is lost, for this reason.
    LoseWorker(WorkerKey, Rc<str>),
    /// A worker is lost if it was not heard of.
    LoseSilentWorker(WorkerKey),
    /// A worker takes no new work, and is told so.
    Decommission(WorkerKey),
    /// The client of an application is lost.
    EndApplication(AppKey),
    /// The worker of a driver is lost, for this reason.
    LoseDriver(DriverKey, Rc<str>),
    /// A driver is to end, as somebody wants it.
    EndDriver(DriverKey),
    /// Recovery is over, and a worker has not told what it runs.
    GiveUpWorker(WorkerKey),
    /// Recovery is over: is the client of an application there?
    DecideOnApplication(AppKey),
    /// Recovery is over: what becomes of a driver that no worker told of?
    DecideOnDriver(DriverKey),
    /// All that a recovery had to decide is decided.
    EndRecovery,
}

/// All that is left to do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Left {
    parts: VecDeque<Part>,
    /// Workers that are about to be lost.
    workers: BTreeSet<WorkerKey>,
    /// Applications that are about to end.
    apps: BTreeSet<AppKey>,
}

impl Left {
    /// Does this behind all else. Once is enough for a worker that is lost, or an application that ends.
    pub fn push(&mut self, part: Part) {
        let is_new = match &part {
            Part::LoseWorker(key, _) => self.workers.insert(*key),
            Part::EndApplication(key) => self.apps.insert(*key),
            _ => true,
        };
        if is_new {
            self.parts.push_back(part);
        }
    }

    /// Loses drivers before all else, in this order.
    pub fn lose_drivers_first(&mut self, drivers: BTreeSet<DriverKey>, reason: &Rc<str>) {
        for key in drivers.into_iter().rev() {
            let reason = Rc::clone(reason);
            self.parts.push_front(Part::LoseDriver(key, reason));
        }
    }

    /// True where nothing is left.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// True where a recovery is about to end.
    pub fn ends_recovery(&self) -> bool {
        self.parts.contains(&Part::EndRecovery)
    }

    /// True where a worker is about to be lost.
    pub fn loses(&self, worker: WorkerKey) -> bool {
        self.workers.contains(&worker)
    }

    /// True where an application is about to end.
    pub fn ends(&self, app: AppKey) -> bool {
        self.apps.contains(&app)
    }

    fn pop(&mut self) -> Option<Part> {
        let part = self.parts.pop_front()?;
        match &part {
            Part::LoseWorker(key, _) => self.workers.remove(key),
            Part::EndApplication(key) => self.apps.remove(key),
            _ => false,
        };
        Some(part)
    }
}

impl Core {
    /// Does what is left, as far as this turn has room for it. True where nothing is left.
    pub(super) fn go_on(&mut self, turn: &mut Turn<'_>) -> bool {
        while !turn.is_full()
            && let Some(part) = self.left.pop()
        {
            self.carry_out(turn, part);
        }
        if self.left.is_empty() {
            return true;
        }
        turn.effect(Effect::GoOn);
        false
    }

    fn carry_out(&mut self, turn: &mut Turn<'_>, part: Part) {
        match part {
            Part::LoseWorker(key, reason) => self.lose_worker(turn, key, &reason),
            Part::LoseSilentWorker(key) => self.lose_silent_worker(turn, key),
            Part::Decommission(key) => self.decommission_and_tell(turn, key),
            Part::EndApplication(key) => self.application_left(turn, key),
            Part::LoseDriver(key, reason) => self.driver_lost_its_worker(turn, key, &reason),
            Part::EndDriver(key) => self.end_on_request(turn, key),
            Part::GiveUpWorker(key) => self.give_up_worker(turn, key),
            Part::DecideOnApplication(key) => self.decide_on_application(turn, key),
            Part::DecideOnDriver(key) => self.decide_on_driver(turn, key),
            Part::EndRecovery => self.end_recovery(),
        }
    }

    fn lose_silent_worker(&mut self, turn: &mut Turn<'_>, key: WorkerKey) {
        let worker = self.workers.get(key);
        let silent = worker.is_some_and(|worker| {
            let silent_for = self.checks.saturating_sub(worker.seen);
            worker.state != WorkerState::Dead && silent_for > u64::from(CHECKS_PER_TIMEOUT)
        });
        if silent {
            let timeout = self.settings.worker_timeout;
            self.lose_worker(turn, key, &format!("not heard of for {timeout:?}"));
        }
    }
}
