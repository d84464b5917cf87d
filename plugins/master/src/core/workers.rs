//! Workers come, are heard of, tell what they run, and are lost.
//!
//! A worker's place is its reference, name and address: one host may have several. So a worker that
//! registers under a new id from a place that is taken is the next life of the one that was there.
//!
//! Not here: workers that are taken out of service ([`super::decommission`]), what recovery does with
//! what they tell ([`super::recovery`]).

use std::collections::BTreeSet;
use std::rc::Rc;

use deploy_protocol::{
    EndpointRef, ExecutorState, Heartbeat, KillDriver, KillExecutor, MasterChanged,
    MasterInStandby, ReconnectWorker, RegisterWorker, RegisterWorkerFailed, RegisteredWorker,
    WorkerLatestState, WorkerRemoved, WorkerState,
};

use super::Core;
use super::entries::{app_name, driver_name, worker_name};
use super::ids::WorkerKey;
use super::resources::Resources;
use super::rounds::Part;
use super::settings::CHECKS_PER_TIMEOUT;
use super::turn::Turn;
use super::worker::{Told, Worker};

/// Workers that a master takes, at most.
const WORKERS_MAX: usize = 100_000;
/// Cores that a worker may offer: each may become an executor.
const CORES_MAX: u32 = 10_000;
/// Longest id of a worker.
const WORKER_ID_BYTES_MAX: usize = 200;

// Registration.
impl Core {
    /// `RegisterWorker`.
    pub fn register_worker(&mut self, turn: &mut Turn<'_>, message: RegisterWorker) {
        if !self.leads() {
            self.knocked.worker(&message.worker);
            turn.send(&message.worker, MasterInStandby {});
            return;
        }
        self.lose_at_once_what_is_about_to_be_lost(turn, &message);
        match self.workers.by_id(&message.id) {
            Some(known) if self.is_at(known, &message.worker) => {
                self.register_again(turn, known, &message);
            }
            Some(other) if !self.is_unknown(other) => {
                let reason = format!("the id `{}` is that of another worker", message.id);
                refuse(turn, &message.worker, reason);
            }
            // Persisted at another place, from which it cannot answer any more.
            Some(moved) => {
                self.lose_worker(turn, moved, "it registered at another place");
                self.register_new(turn, message);
            }
            None => self.register_new(turn, message),
        }
    }

    /// Who comes back was gone: what is left to do for that is done first, or it would meet who is back.
    fn lose_at_once_what_is_about_to_be_lost(
        &mut self,
        turn: &mut Turn<'_>,
        message: &RegisterWorker,
    ) {
        let known = [
            self.workers.by_id(&message.id),
            self.workers.by_reference(&message.worker),
        ];
        for key in known.into_iter().flatten() {
            if self.left.loses(key) {
                self.lose_worker(turn, key, "it comes back");
            }
        }
    }

    fn register_again(&mut self, turn: &mut Turn<'_>, key: WorkerKey, message: &RegisterWorker) {
        if let Err(reason) = check(message) {
            refuse(turn, &message.worker, reason);
            return;
        }
        self.workers.heard_of(key, self.checks, turn.now);
        self.take_over_offer(turn, key, message);
        let was_unknown = self.is_unknown(key);
        if was_unknown {
            self.revive(key, false);
        }
        self.acknowledge(turn, message, true);
        self.workers.change(key, |worker| {
            // Where an answer is under way, it is one to what was told first.
            worker.told.get_or_insert_with(|| Told {
                executors: worker.executors.clone(),
                drivers: worker.drivers.clone(),
            });
        });
        if was_unknown {
            // What it runs is in its answer to this, with the addresses of its resources.
            self.announce(turn, &message.worker);
        }
    }

    /// Its next life may offer something else. What is in use stays in use, be it more than there is.
    fn take_over_offer(&mut self, turn: &mut Turn<'_>, key: WorkerKey, message: &RegisterWorker) {
        let Some(worker) = self.workers.get(key) else {
            return;
        };
        let mut resources = Resources::offered(message.resources.clone());
        let offer = (message.cores, message.memory_mb, resources.all());
        if offer == (worker.cores, worker.memory_mb, worker.resources.all()) {
            return;
        }
        log::info!(
            "worker {} offers {} cores, {} MB from now on",
            message.id,
            message.cores,
            message.memory_mb
        );
        resources.take_named(worker.resources.used());
        self.workers.change(key, |worker| {
            worker.cores = message.cores;
            worker.memory_mb = message.memory_mb;
            worker.resources = resources;
        });
        self.keep_changed_worker(turn, key);
    }

    /// Writes down what changed of a worker.
    pub(super) fn keep_changed_worker(&mut self, turn: &mut Turn<'_>, key: WorkerKey) {
        let Some(worker) = self.workers.get(key) else {
            return;
        };
        let (name, kept) = (worker_name(&worker.id), worker.kept);
        let entry = worker.entry();
        match entry.and_then(|entry| self.keep_changed(turn, &name, kept, &entry)) {
            Ok(kept) => {
                self.workers.change(key, |worker| worker.kept = kept);
            }
            Err(failure) => log::error!("`{name}` stays as it was: {failure}"),
        }
    }

    fn register_new(&mut self, turn: &mut Turn<'_>, message: RegisterWorker) {
        if let Err(reason) = check(&message) {
            refuse(turn, &message.worker, reason);
            return;
        }
        if self.workers.count() >= WORKERS_MAX {
            let reason = format!("this master has {WORKERS_MAX} workers and takes no more");
            refuse(turn, &message.worker, reason);
            return;
        }
        let mut worker = self.new_worker(turn, &message);
        // Who took it out of service, meant it; that its connection broke meanwhile changes nothing.
        let before = self.workers.dead_by_id(&message.id);
        let before = before.and_then(|key| self.workers.get(key));
        if before.is_some_and(|before| before.decommissioned) {
            worker.decommissioned = true;
            worker.state = WorkerState::Decommissioned;
        }
        let name = worker_name(&worker.id);
        let entry = worker.entry();
        match entry.and_then(|entry| self.keep(turn, &name, &entry)) {
            Ok(kept) => worker.kept = kept,
            Err(failure) => {
                let reason = format!("it cannot be persisted: {failure}");
                refuse(turn, &message.worker, reason);
                return;
            }
        }
        if let Some(before) = self.workers.by_reference(&message.worker) {
            self.lose_worker(turn, before, &format!("replaced by {}", message.id));
        }
        log::info!(
            "worker {} registered: {} cores, {} MB",
            message.id,
            message.cores,
            message.memory_mb
        );
        self.workers.add(worker);
        self.acknowledge(turn, &message, false);
    }

    fn new_worker(&self, turn: &Turn<'_>, message: &RegisterWorker) -> Worker {
        Worker {
            id: Rc::from(message.id.as_str()),
            host: message.host.clone(),
            port: message.port,
            reference: message.worker.clone(),
            web_ui_url: message.web_ui_url.clone(),
            cores: message.cores,
            memory_mb: message.memory_mb,
            resources: Resources::offered(message.resources.clone()),
            state: WorkerState::Alive,
            cores_used: 0,
            memory_used_mb: 0,
            executors: BTreeSet::new(),
            drivers: BTreeSet::new(),
            apps: BTreeSet::new(),
            seen: self.checks,
            last_heartbeat: turn.now,
            reported: true,
            answered: false,
            decommissioned: false,
            told: None,
            kept: 0,
        }
    }

    fn acknowledge(&self, turn: &mut Turn<'_>, message: &RegisterWorker, duplicate: bool) {
        turn.send(
            &message.worker,
            RegisteredWorker {
                master: self.me.clone(),
                master_web_ui_url: String::new(),
                master_address: message.master_address.clone(),
                duplicate,
            },
        );
    }

    pub(super) fn announce(&self, turn: &mut Turn<'_>, to: &EndpointRef) {
        turn.send(
            to,
            MasterChanged {
                master: self.me.clone(),
                master_web_ui_url: String::new(),
            },
        );
    }

    /// A worker that was persisted is there.
    pub(super) fn revive(&mut self, key: WorkerKey, reported: bool) {
        self.workers.change(key, |worker| {
            worker.state = match worker.decommissioned {
                true => WorkerState::Decommissioned,
                false => WorkerState::Alive,
            };
            worker.reported = worker.reported || reported;
        });
    }

    pub(super) fn is_at(&self, key: WorkerKey, reference: &EndpointRef) -> bool {
        let worker = self.workers.get(key);
        worker.is_some_and(|worker| worker.reference == *reference)
    }

    fn is_unknown(&self, key: WorkerKey) -> bool {
        let worker = self.workers.get(key);
        worker.is_some_and(|worker| worker.state == WorkerState::Unknown)
    }
}

fn refuse(turn: &mut Turn<'_>, worker: &EndpointRef, message: String) {
    log::warn!("worker at {worker} is refused: {message}");
    turn.send(worker, RegisterWorkerFailed { message });
}

fn check(message: &RegisterWorker) -> Result<(), String> {
    let id = &message.id;
    if id.is_empty() || id.len() > WORKER_ID_BYTES_MAX || id.contains(char::is_whitespace) {
        return Err(format!(
            "the id `{}` is expected to have 1 to {WORKER_ID_BYTES_MAX} bytes and no white space",
            id.escape_debug()
                .take(WORKER_ID_BYTES_MAX)
                .collect::<String>()
        ));
    }
    if message.cores == 0 || message.memory_mb == 0 {
        return Err("it offers no core or no memory".to_owned());
    }
    if message.cores > CORES_MAX {
        return Err(format!(
            "it offers {} cores; expected are {CORES_MAX} at most: start several workers",
            message.cores
        ));
    }
    Ok(())
}

// Being heard of.
impl Core {
    /// `Heartbeat`.
    ///
    /// One that led goes on as a standby, so no connection breaks: who still takes it for its master learns
    /// so that there is another, if that one could not say it.
    pub fn heartbeat(&mut self, turn: &mut Turn<'_>, message: Heartbeat) {
        if !self.leads() {
            self.ask_to_reconnect(turn, &message.worker);
            return;
        }
        match self.workers.by_id(&message.worker_id) {
            Some(key) if self.is_at(key, &message.worker) => {
                self.workers.heard_of(key, self.checks, turn.now);
            }
            Some(_) => log::warn!("{} is not at {}", message.worker_id, message.worker),
            // Lost, or never seen: a master that began afresh in a process that goes on breaks no
            // connection, so its workers do not notice by themselves.
            None => {
                log::info!("{} is asked to register again", message.worker_id);
                self.ask_to_reconnect(turn, &message.worker);
            }
        }
    }

    pub(super) fn ask_to_reconnect(&self, turn: &mut Turn<'_>, worker: &EndpointRef) {
        turn.send(
            worker,
            ReconnectWorker {
                master: self.me.clone(),
            },
        );
    }

    /// A check of who is silent.
    pub fn check_workers(&mut self) {
        self.checks += 1;
        let silent_for = |worker: &Worker| self.checks.saturating_sub(worker.seen);
        let forgotten_after = self.settings.checks_until_forgotten();
        let mut lost = Vec::new();
        let mut forgotten = Vec::new();
        for (key, worker) in self.workers.all() {
            let silent = silent_for(worker);
            if worker.state == WorkerState::Dead {
                if silent > forgotten_after {
                    forgotten.push(key);
                }
            } else if silent > u64::from(CHECKS_PER_TIMEOUT) {
                lost.push(key);
            }
        }
        for key in forgotten {
            self.workers.forget(key);
        }
        for key in lost {
            self.left.push(Part::LoseSilentWorker(key));
        }
    }

    /// The connection with a host went down: all workers and applications there are lost.
    ///
    /// At once, as messages may be lost with it, and nobody could tell which.
    pub fn disconnected(&mut self, address: &str) {
        if !self.leads() {
            return;
        }
        let reason: Rc<str> = Rc::from("disconnected");
        for key in self.workers.at_address(address) {
            let reason = Rc::clone(&reason);
            self.left.push(Part::LoseWorker(key, reason));
        }
        for key in self.apps.at_address(address) {
            self.left.push(Part::EndApplication(key));
        }
    }

    /// A worker or the client of an application does not read what it is sent, or is not there.
    pub fn out_of_reach(&mut self, at: &EndpointRef, reason: &str) {
        if !self.leads() {
            return;
        }
        if let Some(key) = self.workers.by_reference(at) {
            self.left.push(Part::LoseWorker(key, Rc::from(reason)));
        }
        if let Some(key) = self.apps.by_driver(at) {
            self.left.push(Part::EndApplication(key));
        }
    }

    /// The instance before crashed, and this one has a copy of what it knew, of a moment before: all
    /// workers tell what they run.
    pub fn restored(&mut self, turn: &mut Turn<'_>) {
        if !self.leads() {
            return;
        }
        for (_, worker) in self.workers.all() {
            if worker.state != WorkerState::Dead {
                self.ask_to_reconnect(turn, &worker.reference);
            }
        }
    }

    /// A worker is lost: its executors are gone, its drivers go elsewhere or end, which may take further
    /// turns.
    pub(super) fn lose_worker(&mut self, turn: &mut Turn<'_>, key: WorkerKey, reason: &str) {
        let known = self.workers.get(key);
        let Some(worker) = known.filter(|worker| worker.state != WorkerState::Dead) else {
            return;
        };
        let (id, host) = (worker.id.to_string(), worker.host.clone());
        let (executors, drivers) = (worker.executors.clone(), worker.drivers.clone());
        let hosted = worker.apps.clone();
        let (executors_count, drivers_count) = (executors.len(), drivers.len());
        log::warn!(
            "worker {id} is lost ({reason}) with {executors_count} executors, {drivers_count} drivers"
        );
        // Dead first: nothing that follows may put anything on it.
        self.workers
            .change(key, |worker| worker.state = WorkerState::Dead);
        for (app, number) in executors {
            let message = format!("worker lost: {reason}");
            self.lose_executor(turn, app, number, &message, Some(&host));
        }
        self.left.lose_drivers_first(drivers, &Rc::from(reason));
        let removed = WorkerRemoved {
            id: id.clone(),
            host,
            message: reason.to_owned(),
        };
        // Nobody else has anything there. All of them, for each worker of a lost network, would be
        // more messages than anybody could send.
        for app in hosted.iter().filter_map(|key| self.apps.get(*key)) {
            turn.send(&app.driver, removed.clone());
        }
        for app in hosted {
            self.apps.change(app, |app| app.hosted_on.remove(&key));
        }
        let kept = self.workers.change(key, |worker| {
            worker.apps.clear();
            std::mem::take(&mut worker.kept)
        });
        self.forget(turn, &worker_name(&id), kept.unwrap_or_default());
        self.workers.trim_dead();
    }
}

// Telling what they run.
impl Core {
    /// `WorkerLatestState`: what a worker runs, after it was registered.
    pub fn worker_latest_state(&mut self, turn: &mut Turn<'_>, message: WorkerLatestState) {
        if !self.leads() {
            return;
        }
        let Some(key) = self.workers.by_id(&message.id) else {
            self.answer_of_a_lost_worker(turn, &message.id);
            return;
        };
        self.workers.heard_of(key, self.checks, turn.now);
        let told = self.workers.change(key, |worker| worker.told.take());
        let reported = self.workers.get(key).is_some_and(|worker| worker.reported);
        if !reported {
            // Its answer to MasterChanged is on its way. Until then nothing that it runs is known.
            return;
        }
        let executors = message.executors.iter();
        let runs = executors.map(|executor| (executor.app_id.as_str(), executor.executor_id));
        let drivers = message.driver_ids.iter().map(String::as_str);
        let told = told.flatten();
        self.reconcile_executors(turn, key, runs.collect(), told.as_ref());
        self.reconcile_drivers(turn, key, drivers.collect(), told.as_ref());
    }

    /// Ends what a worker runs and this master does not know of, and gives up what this master
    /// believed to run there.
    pub(super) fn reconcile_executors(
        &mut self,
        turn: &mut Turn<'_>,
        key: WorkerKey,
        runs: BTreeSet<(&str, u32)>,
        told: Option<&Told>,
    ) {
        let Some(worker) = self.workers.get(key) else {
            return;
        };
        let reference = worker.reference.clone();
        for (app_id, number) in &runs {
            let app = self.apps.by_id(app_id);
            let listed = app.is_some_and(|app| worker.executors.contains(&(app, *number)));
            if !listed {
                self.kill_stray_executor(turn, &reference, app_id, *number);
            }
        }
        // One that is LAUNCHING may be on its way to the worker, unless the worker had to have it when it
        // was told that it is registered; one that ran and does not any more has ended, and its report is
        // lost.
        let mut gone = Vec::new();
        for (app_key, number) in &worker.executors {
            let Some(app) = self.apps.get(*app_key) else {
                continue;
            };
            let executor = app.executors.get(number);
            let ran = executor.is_some_and(|executor| executor.state == ExecutorState::Running);
            let was_told = told.is_some_and(|told| told.executors.contains(&(*app_key, *number)));
            if (ran || was_told) && !runs.contains(&(app.id.as_str(), *number)) {
                gone.push((*app_key, *number));
            }
        }
        for (app, number) in gone {
            self.lose_executor(
                turn,
                app,
                number,
                "its worker does not run it any more",
                None,
            );
        }
    }

    /// The same for drivers. One that is to end is told so again: the order may have come to the worker
    /// before the driver.
    pub(super) fn reconcile_drivers(
        &mut self,
        turn: &mut Turn<'_>,
        key: WorkerKey,
        runs: BTreeSet<&str>,
        told: Option<&Told>,
    ) {
        let Some(worker) = self.workers.get(key) else {
            return;
        };
        for id in &runs {
            let driver = self.drivers.by_id(id);
            let driver = driver.filter(|driver| worker.drivers.contains(driver));
            let driver = driver.and_then(|driver| self.drivers.get(driver));
            if driver.is_none_or(|driver| driver.kill_wanted) {
                self.kill_stray_driver(turn, &worker.reference, id);
            }
        }
        let told = told.into_iter().flat_map(|told| &told.drivers);
        let gone = told.filter(|key| {
            let driver = self.drivers.get(**key);
            let here = worker.drivers.contains(key);
            here && driver.is_some_and(|driver| !runs.contains(driver.id.as_str()))
        });
        let reason: Rc<str> = Rc::from("its worker does not run it");
        for key in gone {
            let reason = Rc::clone(&reason);
            self.left.push(Part::LoseDriver(*key, reason));
        }
    }

    /// An executor that this master does not know of. One of an application whose entry it cannot read
    /// is left alone: another version may know it.
    pub(super) fn kill_stray_executor(
        &self,
        turn: &mut Turn<'_>,
        worker: &EndpointRef,
        app_id: &str,
        executor_id: u32,
    ) {
        if self.unreadable.contains(&app_name(app_id)) {
            return;
        }
        turn.send(
            worker,
            KillExecutor {
                master: self.me.clone(),
                app_id: app_id.to_owned(),
                executor_id,
            },
        );
    }

    /// A driver that this master does not know of, or that runs elsewhere.
    pub(super) fn kill_stray_driver(
        &self,
        turn: &mut Turn<'_>,
        worker: &EndpointRef,
        driver_id: &str,
    ) {
        if self.unreadable.contains(&driver_name(driver_id)) {
            return;
        }
        turn.send(
            worker,
            KillDriver {
                driver_id: driver_id.to_owned(),
            },
        );
    }
}
