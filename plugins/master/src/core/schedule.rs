//! Schedule: what is launched now, and where. Runs at the end of every event of a master that is
//! ALIVE, drivers strictly before executors, both in order of arrival.
//!
//! A pass looks only at what could have become possible since the last one: what is *fresh* (wants
//! something, or more than before) is tried on all workers, everything else only on workers that have
//! *changed* (got more to give). As a pass leaves nothing that fits, this is what a full pass would do.
//! Where nothing is fresh and nothing has changed, it costs nothing.
//!
//! A pass that would look at very many workers stops between two applications, and goes on in the next
//! turn: others wait no longer than that.

use std::cell::Cell;

use deploy_protocol::{
    ApplicationState, DriverState, ExecutorAdded, ExecutorState, LaunchDriver, LaunchExecutor,
    ResourceInformation, ResourceRequirement, WorkerState,
};

use super::Core;
use super::application::{Application, Executor};
use super::ids::{AppKey, DriverKey, WorkerKey};
use super::policy::placement::{first_fit, in_turn};
use super::policy::{Candidate, Grant, Need};
use super::turn::{Effect, Turn};
use super::worker::Worker;

/// Workers that a pass looks at, after which it takes no further application: a fraction of a second.
const LOOKS_MAX: usize = 500_000;

/// What a pass has learnt.
#[derive(Default)]
struct Pass {
    /// Workers and needs that were looked at, and launches.
    looks: Cell<usize>,
    /// Needs that no worker could meet. As a pass only takes, none can later.
    hopeless: Vec<(Need, Vec<ResourceRequirement>)>,
}

impl Pass {
    fn count(&self, looks: usize) {
        self.looks.set(self.looks.get().saturating_add(looks));
    }

    fn is_hopeless(&self, need: &Need, resources: &[ResourceRequirement]) -> bool {
        self.count(self.hopeless.len());
        self.hopeless.iter().any(|(less, of)| {
            less.step() <= need.step() && less.memory_mb <= need.memory_mb && of == resources
        })
    }
}

/// Workers that a pass looks at.
enum Among<'a> {
    /// All that have something to give.
    All,
    /// These, in the order of the selection.
    These(&'a [WorkerKey]),
}

impl Core {
    pub(super) fn schedule(&mut self, turn: &mut Turn<'_>) {
        if !self.is_alive() {
            return;
        }
        let fresh_drivers = !self.drivers.fresh.is_empty() && !self.drivers_are_at_their_limit();
        if !self.workers.any_changed() && !self.apps.any_fresh() && !fresh_drivers {
            return;
        }
        let changed = self.workers.take_changed();
        if self.schedule_drivers(turn, &changed) {
            self.schedule_executors(turn, &changed);
        }
    }
}

// Drivers.
impl Core {
    /// False where this turn writes no more: drivers go on in the next, and executors come after them.
    fn schedule_drivers(&mut self, turn: &mut Turn<'_>, changed: &[WorkerKey]) -> bool {
        if self.drivers.waiting_count() == 0 || self.workers.none_is_free() {
            // Workers that come to have something to give are changed ones then.
            self.drivers.fresh.clear();
            return true;
        }
        if self.drivers_are_at_their_limit() {
            // Not looked at: as if they came when there is room again.
            if self.drivers.fresh.len() < self.drivers.waiting_count() {
                self.drivers.look_again();
            }
            return true;
        }
        let mut fresh = std::mem::take(&mut self.drivers.fresh);
        let candidates = match fresh.is_empty() {
            true => Vec::new(),
            false => self.candidates_for_drivers(&Among::All),
        };
        let changed = self.candidates_for_drivers(&Among::These(changed));
        let waiting: Vec<DriverKey> = self.drivers.waiting().collect();
        for key in waiting {
            if turn.is_full() {
                self.drivers.look_again();
                self.workers.look_again(self.settings.selection);
                turn.effect(Effect::GoOn);
                return false;
            }
            if self.drivers_are_at_their_limit() {
                self.drivers.look_again();
                break;
            }
            let among = match fresh.remove(&key) {
                true => &candidates,
                false => &changed,
            };
            if let Some(worker) = self.place_driver(key, among) {
                self.launch_driver(turn, key, worker);
            }
        }
        true
    }

    fn drivers_are_at_their_limit(&self) -> bool {
        let placed = self.drivers.placed_count();
        self.settings
            .max_drivers
            .is_some_and(|max| placed >= usize::try_from(max).unwrap_or(usize::MAX))
    }

    /// In the order in which drivers are placed: of registration where they go around, else of id.
    fn candidates_for_drivers(&self, among: &Among<'_>) -> Vec<WorkerKey> {
        let mut keys: Vec<WorkerKey> = match among {
            Among::All => self.workers.free().collect(),
            Among::These(these) => these.to_vec(),
        };
        if self.settings.spread_out_drivers {
            keys.sort_unstable();
        } else {
            let id = |key: &WorkerKey| self.workers.get(*key).map(|worker| worker.id.clone());
            keys.sort_by_cached_key(id);
        }
        keys
    }

    fn place_driver(&self, key: DriverKey, among: &[WorkerKey]) -> Option<WorkerKey> {
        let description = &self.drivers.get(key)?.description;
        let fits = |worker: WorkerKey| {
            self.workers.get(worker).is_some_and(|worker| {
                fits(
                    worker,
                    description.cores,
                    description.memory_mb,
                    &description.resources,
                )
            })
        };
        match self.settings.spread_out_drivers {
            true => in_turn(among, self.drivers.last_worker, fits),
            false => first_fit(among, fits),
        }
    }

    fn launch_driver(&mut self, turn: &mut Turn<'_>, key: DriverKey, on: WorkerKey) {
        let Some(driver) = self.drivers.get(key) else {
            return;
        };
        let needed = &driver.description.resources;
        let taken = self
            .workers
            .change(on, |worker| worker.resources.take(needed));
        let Some(resources) = taken.flatten() else {
            return;
        };
        // A master after this one has to know that it may run already.
        let worker_id = self.workers.get(on).map(|worker| worker.id.to_string());
        let persisted = self.persist_driver(turn, key, |driver| {
            driver.launched = true;
            driver.worker_id = worker_id;
        });
        if let Err(failure) = persisted {
            log::error!("a driver waits on, as its launch cannot be persisted: {failure}");
            self.workers
                .change(on, |worker| worker.resources.give_back(&resources));
            return;
        }
        self.run_driver_on(key, on, resources.clone());
        let (Some(driver), Some(worker)) = (self.drivers.get(key), self.workers.get(on)) else {
            return;
        };
        log::info!("driver {} goes to worker {}", driver.id, worker.id);
        turn.send(
            &worker.reference,
            LaunchDriver {
                master: self.me.clone(),
                driver_id: driver.id.clone(),
                description: driver.description.clone(),
                resources,
            },
        );
        self.drivers.last_worker = Some(on);
    }

    /// A driver uses what it says on its worker.
    pub(super) fn run_driver_on(
        &mut self,
        key: DriverKey,
        on: WorkerKey,
        resources: Vec<ResourceInformation>,
    ) {
        let Some(driver) = self.drivers.get(key) else {
            return;
        };
        let (cores, memory_mb) = (driver.description.cores, driver.description.memory_mb);
        let worker_id = self.workers.change(on, |worker| {
            worker.drivers.insert(key);
            worker.cores_used = worker.cores_used.saturating_add(cores);
            worker.memory_used_mb = worker.memory_used_mb.saturating_add(memory_mb);
            worker.id.to_string()
        });
        self.drivers.dequeue(key);
        if let Some(driver) = self.drivers.get_mut(key) {
            driver.state = DriverState::Running;
            driver.launched = true;
            driver.worker = Some(on);
            driver.worker_id = worker_id;
            driver.resources = resources;
        }
    }
}

// Executors.
impl Core {
    fn schedule_executors(&mut self, turn: &mut Turn<'_>, changed: &[WorkerKey]) {
        let fresh = self.apps.take_fresh();
        // Only fresh ones, where no worker has changed.
        let wanting: Vec<AppKey> = match changed.is_empty() {
            true => fresh.iter().copied().collect(),
            false => self.apps.wanting().collect(),
        };
        let mut pass = Pass::default();
        let mut wanting = wanting.into_iter();
        for key in wanting.by_ref() {
            if self.workers.none_is_free() {
                // Workers that come to have something to give are changed ones then.
                return;
            }
            let among = match fresh.contains(&key) {
                true => Among::All,
                false => Among::These(changed),
            };
            self.schedule_application(turn, &mut pass, key, &among);
            if pass.looks.get() >= LOOKS_MAX {
                break;
            }
        }
        // Those that had no turn are tried on all workers in the next.
        let left: Vec<AppKey> = wanting.collect();
        if !left.is_empty() {
            self.apps.add_fresh(left);
            turn.effect(Effect::GoOn);
        }
    }

    fn schedule_application(
        &mut self,
        turn: &mut Turn<'_>,
        pass: &mut Pass,
        key: AppKey,
        among: &Among<'_>,
    ) {
        let Some(app) = self.apps.get(key) else {
            return;
        };
        let profiles: Vec<u32> = app.targets.keys().copied().collect();
        for profile in profiles {
            let Some((need, resources)) = self.need_of(key, profile) else {
                continue;
            };
            if pass.is_hopeless(&need, &resources) {
                continue;
            }
            let grants = self.grants(pass, &need, &resources, among);
            if grants.is_empty() && matches!(among, Among::All) {
                pass.hopeless.push((need, resources));
                continue;
            }
            for grant in grants {
                pass.count(usize::try_from(grant.executors).unwrap_or(usize::MAX));
                self.launch_granted(turn, key, profile, &need, &resources, grant);
            }
        }
    }

    fn need_of(&self, key: AppKey, profile: u32) -> Option<(Need, Vec<ResourceRequirement>)> {
        let app = self.apps.get(key)?;
        let target = app.targets.get(&profile)?;
        let need = app.need(target)?;
        Some((need, target.profile.resources.clone()))
    }

    fn grants(
        &self,
        pass: &Pass,
        need: &Need,
        resources: &[ResourceRequirement],
        among: &Among<'_>,
    ) -> Vec<Grant> {
        let candidate = |key: WorkerKey| {
            pass.count(1);
            let worker = self.workers.get(key)?;
            fits(worker, need.step(), need.memory_mb, resources)
                .then(|| candidate(key, worker, resources))
        };
        let policy = self.settings.policy();
        match among {
            Among::All => policy.grant(need, self.workers.free().filter_map(candidate)),
            Among::These(these) => policy.grant(need, these.iter().copied().filter_map(candidate)),
        }
    }

    fn launch_granted(
        &mut self,
        turn: &mut Turn<'_>,
        key: AppKey,
        profile: u32,
        need: &Need,
        resources: &[ResourceRequirement],
        grant: Grant,
    ) {
        let cores = need.cores_per_executor.unwrap_or(grant.cores);
        for _ in 0..grant.executors {
            let take = |worker: &mut Worker| worker.resources.take(resources);
            let Some(Some(taken)) = self.workers.change(grant.worker, take) else {
                return;
            };
            let executor = Executor {
                worker: grant.worker,
                profile,
                cores,
                memory_mb: need.memory_mb,
                resources: taken,
                state: ExecutorState::Launching,
            };
            self.launch_executor(turn, key, executor);
        }
    }

    fn launch_executor(&mut self, turn: &mut Turn<'_>, key: AppKey, executor: Executor) {
        let (Some(app), Some(worker)) = (self.apps.get(key), self.workers.get(executor.worker))
        else {
            return;
        };
        let number = app.next_executor;
        turn.send(
            &worker.reference,
            LaunchExecutor {
                master: self.me.clone(),
                app_id: app.id.clone(),
                executor_id: number,
                resource_profile_id: executor.profile,
                application: (*app.description).clone(),
                cores: executor.cores,
                memory_mb: executor.memory_mb,
                resources: executor.resources.clone(),
            },
        );
        self.tell_added(turn, app, number, &executor);
        self.take_for_executor(key, number, executor);
        let takes_further = self.apps.change(key, |app| {
            if app.state == ApplicationState::Waiting {
                app.state = ApplicationState::Running;
            }
            app.takes_further_numbers()
        });
        if takes_further == Some(true) {
            self.keep_changed_application(turn, key);
        }
    }
}

impl Core {
    /// An application learns of an executor.
    pub(super) fn tell_added(
        &self,
        turn: &mut Turn<'_>,
        app: &Application,
        number: u32,
        executor: &Executor,
    ) {
        let Some(worker) = self.workers.get(executor.worker) else {
            return;
        };
        turn.send(
            &app.driver,
            ExecutorAdded {
                app_id: app.id.to_string(),
                executor_id: number,
                worker_id: worker.id.to_string(),
                host_port: worker.address(),
                cores: executor.cores,
                memory_mb: executor.memory_mb,
                resource_profile_id: executor.profile,
            },
        );
    }
}

fn fits(worker: &Worker, cores: u32, memory_mb: u32, resources: &[ResourceRequirement]) -> bool {
    worker.state == WorkerState::Alive
        && worker.cores_free() >= cores
        && worker.memory_free_mb() >= memory_mb
        && worker.resources.times(resources) > 0
}

fn candidate(key: WorkerKey, worker: &Worker, resources: &[ResourceRequirement]) -> Candidate {
    Candidate {
        worker: key,
        cores: worker.cores_free(),
        memory_mb: worker.memory_free_mb(),
        executors_max: worker.resources.times(resources),
    }
}
