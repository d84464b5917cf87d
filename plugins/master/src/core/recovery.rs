//! Recovery: a master that comes to lead takes up what the one before wrote down.
//!
//! Workers and applications that were written down are asked to answer; until all have, or the time for
//! it is over, nothing new is scheduled. What does not answer is given up.
//!
//! A worker has answered when it told *what it runs*. Otherwise its drivers would be taken for lost,
//! and started a second time elsewhere, only because its registration was faster than its report.

use std::collections::BTreeSet;
use std::rc::Rc;

use deploy_protocol::{
    ApplicationState, DriverState, ExecutorState, KillDriver, MasterChangeAcknowledged,
    RecoveryState, WorkerDriverStateResponse, WorkerExecutorStateResponse,
    WorkerSchedulerStateResponse, WorkerState,
};

use super::Core;
use super::application::{Application, Executor, Target};
use super::driver::Driver;
use super::entries::{AppEntry, DriverEntry, WorkerEntry, Written};
use super::ids::{AppKey, DriverKey, WorkerKey};
use super::resources::Resources;
use super::rounds::Part;
use super::turn::{Effect, Turn};
use super::worker::Worker;

// It begins.
impl Core {
    /// It leads from now on. `written`: what the master before wrote down.
    ///
    /// Whatever was written down, this writes one value.
    pub fn elected(&mut self, turn: &mut Turn<'_>, written: Written) {
        if self.leads() {
            log::warn!("elected, but it leads already and is {}", self.status);
            return;
        }
        self.unreadable = written.unreadable;
        self.kept_bytes = written.bytes;
        self.next_app_number = written.counters.applications;
        let numbers = written.drivers.iter().map(|driver| driver.number);
        let free = numbers.max().map_or(0, |used| used.saturating_add(1));
        self.next_driver_number = written.counters.drivers.max(free);
        self.kill_drivers_below = written.counters.kill_drivers_below;
        let recoveries = written.apps.iter().map(|app| app.recoveries);
        self.recoveries = recoveries.fold(written.counters.recoveries, u32::max);
        if written.apps.is_empty() && written.drivers.is_empty() && written.workers.is_empty() {
            self.status = RecoveryState::Alive;
            log::info!("elected; there is nothing to recover, so it is ALIVE");
            self.call_who_knocked(turn);
            return;
        }
        self.status = RecoveryState::Recovering;
        log::info!(
            "elected; recovers {} applications, {} drivers, {} workers",
            written.apps.len(),
            written.drivers.len(),
            written.workers.len()
        );
        self.recoveries = self.recoveries.wrapping_add(1);
        if let Err(failure) = self.keep_counters(turn) {
            // With the next id that is made it is tried again.
            log::error!(
                "that this is recovery {} is not kept: {failure}",
                self.recoveries
            );
        }
        for entry in written.apps {
            self.recover_app(turn, entry);
        }
        for entry in written.drivers {
            self.recover_driver(entry);
        }
        for entry in written.workers {
            self.recover_worker(turn, entry);
        }
        self.call_who_knocked(turn);
        if self.somebody_is_awaited() {
            turn.effect(Effect::EndRecoveryAfter(self.settings.recovery_timeout));
        }
    }

    fn recover_app(&mut self, turn: &mut Turn<'_>, entry: AppEntry) {
        if let Some(before) = self.apps.by_driver(&entry.driver) {
            // Two of one client: it can only answer for one, and the younger one is it.
            self.end_application(turn, before, ApplicationState::Finished, "");
        }
        let cores_max = entry.cores_max;
        let mut app = Application::new(
            entry.id,
            entry.description,
            entry.driver,
            entry.submitted,
            cores_max,
        );
        app.state = ApplicationState::Unknown;
        for (profile, executors) in entry.targets {
            let target = Target {
                profile,
                executors,
                running: 0,
            };
            app.targets.insert(target.profile.id, target);
        }
        let masters = self.recoveries.wrapping_sub(entry.recoveries);
        app.begin_numbers_at(entry.first_executor, masters);
        app.kept = entry.kept;
        self.announce(turn, &app.driver);
        self.apps.add(app);
    }

    fn recover_driver(&mut self, entry: DriverEntry) {
        let mut driver = Driver::new(entry.id, entry.number, entry.description, entry.submitted);
        driver.launched = entry.launched;
        driver.worker_id = entry.worker;
        driver.kill_wanted = entry.kill_wanted || driver.number < self.kill_drivers_below;
        driver.kept = entry.kept;
        self.drivers.add(driver);
    }

    fn recover_worker(&mut self, turn: &mut Turn<'_>, entry: WorkerEntry) {
        if let Some(before) = self.workers.by_reference(&entry.worker) {
            self.lose_worker(turn, before, "another worker was persisted at its place");
        }
        self.announce(turn, &entry.worker);
        self.workers.add(Worker {
            id: Rc::from(entry.id),
            host: entry.host,
            port: entry.port,
            reference: entry.worker,
            web_ui_url: entry.web_ui_url,
            cores: entry.cores,
            memory_mb: entry.memory_mb,
            resources: Resources::offered(entry.resources),
            state: WorkerState::Unknown,
            cores_used: 0,
            memory_used_mb: 0,
            executors: BTreeSet::new(),
            drivers: BTreeSet::new(),
            apps: BTreeSet::new(),
            seen: self.checks,
            last_heartbeat: turn.now,
            reported: false,
            answered: false,
            decommissioned: entry.decommissioned,
            told: None,
            kept: entry.kept,
        });
    }
}

// The answers.
impl Core {
    /// `MasterChangeAcknowledged`.
    pub fn master_change_acknowledged(&mut self, message: &MasterChangeAcknowledged) {
        if !self.leads() {
            return;
        }
        match self.apps.by_id(&message.app_id) {
            Some(key) => self.application_answered(key),
            None => log::warn!("application {} answers, but is over", message.app_id),
        }
    }

    /// `WorkerSchedulerStateResponse`: what a worker runs.
    pub fn worker_state_response(
        &mut self,
        turn: &mut Turn<'_>,
        message: WorkerSchedulerStateResponse,
    ) {
        if !self.leads() {
            return;
        }
        let Some(key) = self.workers.by_id(&message.id) else {
            self.answer_of_a_lost_worker(turn, &message.id);
            return;
        };
        self.workers.heard_of(key, self.checks, turn.now);
        if self.workers.get(key).is_some_and(|worker| worker.reported) {
            let executors = message.executors.iter();
            let runs = executors.map(|answer| {
                let executor = &answer.executor;
                (executor.app_id.as_str(), executor.executor_id)
            });
            self.reconcile_executors(turn, key, runs.collect(), None);
            let drivers = message.drivers.iter();
            let drivers = drivers.map(|answer| answer.driver_id.as_str());
            self.reconcile_drivers(turn, key, drivers.collect(), None);
            return;
        }
        self.revive(key, true);
        self.workers.change(key, |worker| worker.answered = true);
        for answer in message.executors {
            self.take_up_executor(turn, key, answer);
        }
        for answer in message.drivers {
            self.take_up_driver(turn, key, answer);
        }
    }

    /// It was given up meanwhile, but believes that it belongs here. Of one that was never seen nothing
    /// says where it is; its next heartbeat does.
    pub(super) fn answer_of_a_lost_worker(&self, turn: &mut Turn<'_>, id: &str) {
        let dead = self.workers.dead_by_id(id);
        match dead.and_then(|key| self.workers.get(key)) {
            Some(worker) => self.ask_to_reconnect(turn, &worker.reference),
            None => log::info!("{id} told what it runs, but is not registered"),
        }
    }

    fn take_up_executor(
        &mut self,
        turn: &mut Turn<'_>,
        on: WorkerKey,
        answer: WorkerExecutorStateResponse,
    ) {
        let executor = answer.executor;
        if executor.state.is_finished() {
            return;
        }
        let app = self.apps.by_id(&executor.app_id).and_then(|key| {
            let app = self.apps.get(key)?;
            let is_new = !app.executors.contains_key(&executor.executor_id);
            is_new.then_some(key)
        });
        let Some(key) = app else {
            if let Some(worker) = self.workers.get(on) {
                let (id, number) = (&executor.app_id, executor.executor_id);
                self.kill_stray_executor(turn, &worker.reference, id, number);
            }
            return;
        };
        let resources = answer.resources;
        let taken = self.workers.change(on, |worker| {
            let taken = worker.resources.take_named(resources);
            (taken, worker.decommissioned)
        });
        let Some((resources, decommissioned)) = taken else {
            return;
        };
        let taken_up = Executor {
            worker: on,
            profile: executor.resource_profile_id,
            cores: executor.cores,
            memory_mb: executor.memory_mb,
            resources,
            state: match decommissioned {
                true => ExecutorState::Decommissioned,
                false => executor.state,
            },
        };
        self.take_for_executor(key, executor.executor_id, taken_up);
    }

    fn take_up_driver(
        &mut self,
        turn: &mut Turn<'_>,
        on: WorkerKey,
        answer: WorkerDriverStateResponse,
    ) {
        let Some(worker) = self.workers.get(on) else {
            return;
        };
        let known = self.drivers.by_id(&answer.driver_id);
        let driver = known.and_then(|key| Some((key, self.drivers.get(key)?)));
        let Some((key, kill_wanted)) = driver
            .filter(|(_, driver)| driver.worker.is_none())
            .map(|(key, driver)| (key, driver.kill_wanted))
        else {
            self.kill_stray_driver(turn, &worker.reference, &answer.driver_id);
            return;
        };
        if kill_wanted {
            // Perhaps the master before did not come to say it.
            let driver_id = answer.driver_id;
            turn.send(&worker.reference, KillDriver { driver_id });
        }
        let resources = answer.resources;
        let take = |worker: &mut Worker| worker.resources.take_named(resources);
        let resources = self.workers.change(on, take).unwrap_or_default();
        self.run_driver_on(key, on, resources);
    }
}

// It ends.
impl Core {
    fn somebody_is_awaited(&self) -> bool {
        self.workers.awaited() > 0 || self.apps.awaited() > 0
    }

    /// True where recovery is over by that.
    pub(super) fn complete_if_nobody_is_awaited(&mut self) -> bool {
        let complete = self.status == RecoveryState::Recovering && !self.somebody_is_awaited();
        if complete {
            self.complete_recovery();
        }
        complete
    }

    /// Recovery is over: those that did not answer are given up, in this turn and as many more as it takes.
    pub fn complete_recovery(&mut self) {
        // Also where it was begun before: what follows does no harm a second time.
        if !matches!(
            self.status,
            RecoveryState::Recovering | RecoveryState::CompletingRecovery
        ) || self.left.ends_recovery()
        {
            return;
        }
        self.status = RecoveryState::CompletingRecovery;
        let silent = self
            .workers
            .all()
            .filter(|(_, worker)| !worker.reported && worker.state != WorkerState::Dead);
        for (key, _) in silent {
            self.left.push(Part::GiveUpWorker(key));
        }
        for (key, _) in self.apps.active() {
            self.left.push(Part::DecideOnApplication(key));
        }
        for (key, driver) in self.drivers.active() {
            if driver.worker.is_none() {
                self.left.push(Part::DecideOnDriver(key));
            }
        }
        self.left.push(Part::EndRecovery);
    }

    pub(super) fn give_up_worker(&mut self, turn: &mut Turn<'_>, key: WorkerKey) {
        let worker = self.workers.get(key);
        match worker.map(|worker| (worker.state, worker.reported)) {
            Some((WorkerState::Unknown, _)) => {
                self.lose_worker(turn, key, "it did not answer in recovery");
            }
            Some((WorkerState::Alive | WorkerState::Decommissioned, false)) => {
                // It is there; what it runs is not known, and is ended when it tells.
                self.workers.change(key, |worker| worker.reported = true);
            }
            _ => {}
        }
    }

    pub(super) fn decide_on_application(&mut self, turn: &mut Turn<'_>, key: AppKey) {
        match self.apps.get(key).map(|app| app.state) {
            Some(ApplicationState::Unknown) => self.application_left(turn, key),
            Some(ApplicationState::Waiting) => {
                // Only what has an executor runs.
                self.apps.change(key, |app| {
                    if !app.executors.is_empty() {
                        app.state = ApplicationState::Running;
                    }
                });
            }
            _ => {}
        }
    }

    /// One that no worker runs: if it was only queued, it is queued again.
    pub(super) fn decide_on_driver(&mut self, turn: &mut Turn<'_>, key: DriverKey) {
        let driver = self.drivers.get(key);
        let idle = driver.filter(|driver| driver.worker.is_none() && !self.drivers.waits(key));
        let Some(driver) = idle else {
            return;
        };
        let (launched, kill_wanted) = (driver.launched, driver.kill_wanted);
        if launched && self.never_arrived(driver) {
            self.queue_again(turn, key);
        } else if launched {
            self.driver_lost_its_worker(turn, key, "no worker runs it after a recovery");
        } else if kill_wanted {
            self.end_driver(
                turn,
                key,
                DriverState::Killed,
                "killed before it was launched",
            );
        } else {
            self.drivers.enqueue(key);
        }
    }

    /// True where the worker that was to run it never heard so: the master before wrote its launch down, and
    /// was gone before it was sent. A worker lists what it runs and what ended unnoted; and once it has
    /// adopted this master, it refuses what the one before sent.
    fn never_arrived(&self, driver: &Driver) -> bool {
        let Some(id) = driver.worker_id.as_deref() else {
            return false;
        };
        let worker = self
            .workers
            .by_id(id)
            .or_else(|| self.workers.dead_by_id(id));
        let worker = worker.and_then(|key| self.workers.get(key));
        worker.is_some_and(|worker| worker.answered)
    }

    /// As if it had not been launched: that was acknowledged, and nothing else happened to it.
    fn queue_again(&mut self, turn: &mut Turn<'_>, key: DriverKey) {
        let Some(driver) = self.drivers.get(key) else {
            return;
        };
        log::info!("driver {} never came to its worker", driver.id);
        if driver.kill_wanted {
            let reason = "killed before it was launched";
            self.end_driver(turn, key, DriverState::Killed, reason);
            return;
        }
        let persisted = self.persist_driver(turn, key, |driver| {
            driver.launched = false;
            driver.worker_id = None;
        });
        if let Err(failure) = persisted {
            log::error!("the next master finds it as one that was launched: {failure}");
        }
        if let Some(driver) = self.drivers.get_mut(key) {
            driver.launched = false;
            driver.worker_id = None;
        }
        self.drivers.enqueue(key);
    }

    pub(super) fn end_recovery(&mut self) {
        if self.status == RecoveryState::CompletingRecovery {
            self.status = RecoveryState::Alive;
            log::info!("recovery is over, it is ALIVE");
        }
    }
}
