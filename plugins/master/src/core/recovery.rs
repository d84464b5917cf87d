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
use super::application::{Application, EXECUTORS_OF_A_MASTER, Executor, Target};
use super::driver::Driver;
use super::entries::{AppEntry, DriverEntry, WorkerEntry, Written};
use super::ids::{AppKey, DriverKey, WorkerKey};
use super::resources::Resources;
use super::turn::{Effect, Turn};
use super::worker::Worker;

// It begins.
impl Core {
    /// It leads from now on. `written`: what the master before wrote down.
    pub fn elected(&mut self, turn: &mut Turn<'_>, written: Written) {
        if self.leads() {
            log::warn!("elected, but it leads already and is {}", self.status);
            return;
        }
        self.unreadable = written.unreadable;
        self.kept_bytes = written.bytes;
        self.next_app_number = written.counters.applications;
        self.next_driver_number = written.counters.drivers;
        if written.apps.is_empty() && written.drivers.is_empty() && written.workers.is_empty() {
            self.status = RecoveryState::Alive;
            log::info!("elected; there is nothing to recover, so it is ALIVE");
            return;
        }
        self.status = RecoveryState::Recovering;
        log::info!(
            "elected; recovers {} applications, {} drivers, {} workers",
            written.apps.len(),
            written.drivers.len(),
            written.workers.len()
        );
        for entry in written.apps {
            self.recover_app(turn, entry);
        }
        for entry in written.drivers {
            self.recover_driver(entry);
        }
        for entry in written.workers {
            self.recover_worker(turn, entry);
        }
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
        app.first_executor = entry.first_executor.saturating_add(EXECUTORS_OF_A_MASTER);
        app.next_executor = app.first_executor;
        app.kept = entry.kept;
        self.announce(turn, &app.driver);
        let key = self.apps.add(app);
        self.keep_changed_application(turn, key);
    }

    fn recover_driver(&mut self, entry: DriverEntry) {
        let mut driver = Driver::new(entry.id, entry.number, entry.description, entry.submitted);
        driver.launched = entry.launched;
        driver.kill_wanted = entry.kill_wanted;
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

    pub(super) fn complete_if_nobody_is_awaited(&mut self, turn: &mut Turn<'_>) {
        if self.status == RecoveryState::Recovering && !self.somebody_is_awaited() {
            self.complete_recovery(turn);
        }
    }

    /// Recovery is over: those that did not answer are given up.
    pub fn complete_recovery(&mut self, turn: &mut Turn<'_>) {
        // Also where it was begun before: what follows does no harm a second time.
        if !matches!(
            self.status,
            RecoveryState::Recovering | RecoveryState::CompletingRecovery
        ) {
            return;
        }
        self.status = RecoveryState::CompletingRecovery;
        self.give_up_silent_workers(turn);
        self.give_up_silent_applications(turn);
        self.decide_on_drivers(turn);
        self.status = RecoveryState::Alive;
        log::info!("recovery is over, it is ALIVE");
    }

    fn give_up_silent_workers(&mut self, turn: &mut Turn<'_>) {
        let all = self.workers.all();
        let awaited: Vec<(WorkerKey, WorkerState)> = all
            .filter(|(_, worker)| !worker.reported && worker.state != WorkerState::Dead)
            .map(|(key, worker)| (key, worker.state))
            .collect();
        for (key, state) in awaited {
            if state == WorkerState::Unknown {
                self.lose_worker(turn, key, "it did not answer in recovery");
            } else {
                // It is there; what it runs is not known, and is ended when it tells.
                self.workers.change(key, |worker| worker.reported = true);
            }
        }
    }

    fn give_up_silent_applications(&mut self, turn: &mut Turn<'_>) {
        let active = self.apps.active();
        let states: Vec<(AppKey, ApplicationState)> =
            active.map(|(key, app)| (key, app.state)).collect();
        for (key, state) in states {
            match state {
                ApplicationState::Unknown => self.application_left(turn, key),
                ApplicationState::Waiting => {
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
    }

    /// Drivers that no worker runs: those that were only queued are queued again.
    fn decide_on_drivers(&mut self, turn: &mut Turn<'_>) {
        let idle = self
            .drivers
            .active()
            .filter(|(key, driver)| driver.worker.is_none() && !self.drivers.waits(*key));
        let idle: Vec<(DriverKey, bool)> =
            idle.map(|(key, driver)| (key, driver.launched)).collect();
        for (key, launched) in idle {
            let kill_wanted = self
                .drivers
                .get(key)
                .is_some_and(|driver| driver.kill_wanted);
            if launched {
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
    }
}
