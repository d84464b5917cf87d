//! Applications: what the master knows of each, and the ways to find one.
//!
//! Invariants
//! 1. Every active application is changed through [`Applications::change`], which keeps the ways to
//!    find it right.
//! 2. Ids and references of active applications are unique.
//! 3. `wanting` has exactly those that would take another executor; `fresh` those that want more than
//!    at the last pass of [`super::schedule`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use deploy_protocol::{
    ApplicationDescription, ApplicationState, EndpointRef, ExecutorState, ResourceInformation,
    ResourceProfile,
};
use serde::{Deserialize, Serialize};

use super::bulk;
use super::ids::{AppKey, WorkerKey};
use super::policy::Need;
use super::worker::keys_at;

/// An executor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Executor {
    /// Its worker.
    pub worker: WorkerKey,
    /// Its resource profile.
    pub profile: u32,
    /// Its cores.
    pub cores: u32,
    /// Its memory in MB.
    pub memory_mb: u32,
    /// Its other resources.
    pub resources: Vec<ResourceInformation>,
    /// How it is.
    pub state: ExecutorState,
}

impl Executor {
    /// True where its application has to do without what it uses. One on a worker that is out of
    /// service works on, but another may take its place already.
    pub fn counts(&self) -> bool {
        self.state != ExecutorState::Decommissioned
    }
}

/// An executor that an application had.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RemovedExecutor {
    /// Its number.
    pub number: u32,
    /// What it was, in its last state.
    pub executor: Executor,
    /// Id of its worker, which may be forgotten by now.
    pub worker_id: String,
}

/// Executors that an application had and that are still listed, at most.
pub const REMOVED_EXECUTORS_MAX: usize = 100;

/// Numbers of executors that a master has for an application, before it writes down that it has more.
pub const EXECUTORS_OF_A_MASTER: u32 = 100_000;

/// What an application wants of one resource profile.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    /// The profile.
    pub profile: ResourceProfile,
    /// Executors that it wants; none: as many as fit.
    pub executors: Option<u32>,
    /// Executors that it has and that count.
    pub running: u32,
}

/// An application.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Application {
    /// Its id.
    pub id: String,
    /// What it is.
    pub description: Rc<ApplicationDescription>,
    /// Its client.
    pub driver: EndpointRef,
    /// How it is.
    pub state: ApplicationState,
    /// When it was submitted.
    pub submitted: u64,
    /// When it ended.
    pub ended: Option<u64>,
    /// Cores that it may have in all; none: as many as there are.
    pub cores_max: Option<u32>,
    /// Cores that its executors have.
    pub cores_granted: u32,
    /// What it wants, in order of profile.
    #[serde(deserialize_with = "bulk::map")]
    pub targets: BTreeMap<u32, Target>,
    /// Its executors.
    #[serde(deserialize_with = "bulk::map")]
    pub executors: BTreeMap<u32, Executor>,
    /// Executors that it had, the last ones.
    pub removed: VecDeque<RemovedExecutor>,
    /// Number of the first executor that this master gave it. The next master begins
    /// [`EXECUTORS_OF_A_MASTER`] later, so that a late report does not meet another executor. After 2^32
    /// they begin again, at numbers that are not in use.
    pub first_executor: u32,
    /// Length of its entry.
    pub kept: u32,
    /// The next executor's number.
    pub next_executor: u32,
    /// Executors that failed one after the other.
    pub failures: u32,
    /// Workers that had an executor of it.
    #[serde(deserialize_with = "bulk::set")]
    pub hosted_on: BTreeSet<WorkerKey>,
}

impl Application {
    /// A new one, WAITING.
    pub fn new(
        id: String,
        description: ApplicationDescription,
        driver: EndpointRef,
        submitted: u64,
        default_cores: Option<u32>,
    ) -> Self {
        let mut app = Self {
            id,
            cores_max: description.max_cores.or(default_cores),
            driver,
            state: ApplicationState::Waiting,
            submitted,
            ended: None,
            cores_granted: 0,
            targets: BTreeMap::new(),
            executors: BTreeMap::new(),
            removed: VecDeque::new(),
            first_executor: 0,
            kept: 0,
            next_executor: 0,
            failures: 0,
            hosted_on: BTreeSet::new(),
            description: Rc::new(description),
        };
        let default = &app.description.default_profile;
        let target = Target {
            profile: ResourceProfile {
                id: 0,
                ..default.clone()
            },
            executors: app.description.initial_executor_limit,
            running: 0,
        };
        app.targets.insert(0, target);
        app
    }

    /// Cores that it may still get.
    pub fn cores_left(&self) -> u32 {
        match self.cores_max {
            None => u32::MAX,
            Some(max) => max.saturating_sub(self.cores_granted),
        }
    }

    /// What it still wants of a profile. None where it wants nothing more.
    pub fn need(&self, target: &Target) -> Option<Need> {
        let default = &self.description.default_profile;
        // Cores and memory that a profile does not name are those of the default one.
        let cores_per_executor = target.profile.cores.or(default.cores);
        let memory_mb = target
            .profile
            .memory_mb
            .unwrap_or_else(|| self.description.memory_per_executor_mb());
        let need = Need {
            cores_per_executor: cores_per_executor.map(|cores| cores.max(1)),
            memory_mb,
            cores_left: self.cores_left(),
            executors_left: match target.executors {
                None => u32::MAX,
                Some(executors) => executors.saturating_sub(target.running),
            },
        };
        (need.executors_left > 0 && need.cores_left >= need.step()).then_some(need)
    }

    /// Executors that it may have, all profiles together; none: no limit.
    pub fn executor_limit(&self) -> Option<u32> {
        self.targets.values().try_fold(0_u32, |sum, target| {
            target
                .executors
                .map(|executors| sum.saturating_add(executors))
        })
    }

    /// Others may take the place of this executor.
    pub fn no_longer_counts(&mut self, executor: &Executor) {
        self.cores_granted = self.cores_granted.saturating_sub(executor.cores);
        if let Some(target) = self.targets.get_mut(&executor.profile) {
            target.running = target.running.saturating_sub(1);
        }
    }

    /// Keeps an executor that is gone, for people.
    pub fn remember(&mut self, removed: RemovedExecutor) {
        if self.removed.len() >= REMOVED_EXECUTORS_MAX {
            self.removed.pop_front();
        }
        self.removed.push_back(removed);
    }

    /// The master whose first executor had number `first` was so many masters before this one.
    pub fn begin_numbers_at(&mut self, first: u32, masters: u32) {
        let further = EXECUTORS_OF_A_MASTER.wrapping_mul(masters);
        self.first_executor = first.wrapping_add(further);
        self.next_executor = self.first_executor;
    }

    /// An executor with this number is there: later ones have later numbers.
    pub fn number_is_used(&mut self, number: u32) {
        // Of two numbers that is the later one which is reached first from the other.
        if number.wrapping_sub(self.next_executor) < u32::MAX / 2 {
            self.next_executor = number.wrapping_add(1);
        }
        while self.executors.contains_key(&self.next_executor) {
            self.next_executor = self.next_executor.wrapping_add(1);
        }
    }

    /// True once where this master used all the numbers that it had: it takes further ones, of which the
    /// next master has to know.
    pub fn takes_further_numbers(&mut self) -> bool {
        let used = self.next_executor.wrapping_sub(self.first_executor);
        // Behind it are those of masters before.
        let takes = (EXECUTORS_OF_A_MASTER..u32::MAX / 2).contains(&used);
        if takes {
            let further = used - used % EXECUTORS_OF_A_MASTER;
            self.first_executor = self.first_executor.wrapping_add(further);
        }
        takes
    }

    fn wants(&self) -> bool {
        self.targets
            .values()
            .any(|target| self.need(target).is_some())
    }

    fn wish(&self) -> Wish {
        let left = self.targets.values().map(|target| match target.executors {
            None => u32::MAX,
            Some(executors) => executors.saturating_sub(target.running),
        });
        Wish {
            cores_left: self.cores_left(),
            executors_left: left.collect(),
        }
    }
}

/// How much an application wants, to see whether it came to want more.
struct Wish {
    cores_left: u32,
    /// Of each profile, in order; profiles are never taken away.
    executors_left: Vec<u32>,
}

impl Wish {
    fn is_more_than(&self, before: &Self) -> bool {
        let (now, then) = (&self.executors_left, &before.executors_left);
        let mut both = now.iter().zip(then);
        self.cores_left > before.cores_left
            || now.len() > then.len()
            || both.any(|(now, then)| now > then)
    }
}

/// All applications.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Applications {
    active: BTreeMap<AppKey, Application>,
    completed: VecDeque<Application>,
    next: u32,
    #[serde(skip)]
    by_id: BTreeMap<String, AppKey>,
    #[serde(skip)]
    by_driver: BTreeMap<EndpointRef, AppKey>,
    #[serde(skip)]
    by_address: BTreeSet<(String, AppKey)>,
    #[serde(skip)]
    wanting: BTreeSet<AppKey>,
    #[serde(skip)]
    fresh: BTreeSet<AppKey>,
    #[serde(skip)]
    waiting: usize,
    #[serde(skip)]
    unknown: usize,
    #[serde(skip)]
    cores: u64,
    #[serde(skip)]
    executors: usize,
}

/// What of the applications is written into a state.
#[derive(Deserialize)]
struct Written {
    #[serde(deserialize_with = "bulk::map")]
    active: BTreeMap<AppKey, Application>,
    completed: VecDeque<Application>,
    next: u32,
}

impl From<Written> for Applications {
    fn from(written: Written) -> Self {
        let mut apps = Self {
            completed: written.completed,
            next: written.next,
            ..Self::default()
        };
        for (key, app) in &written.active {
            apps.list(*key, app);
        }
        apps.active = written.active;
        apps
    }
}

// To look at them.
impl Applications {
    /// An active application.
    pub fn get(&self, key: AppKey) -> Option<&Application> {
        self.active.get(&key)
    }

    /// The active application with this id.
    pub fn by_id(&self, id: &str) -> Option<AppKey> {
        self.by_id.get(id).copied()
    }

    /// The active application of this client.
    pub fn by_driver(&self, driver: &EndpointRef) -> Option<AppKey> {
        self.by_driver.get(driver).copied()
    }

    /// The active applications whose clients are at this address.
    pub fn at_address(&self, address: &str) -> Vec<AppKey> {
        keys_at(&self.by_address, address, AppKey(0))
    }

    /// True where an application, active or not, has this id.
    pub fn is_taken(&self, id: &str) -> bool {
        self.by_id.contains_key(id) || self.completed.iter().any(|app| app.id == id)
    }

    /// Active ones, in order of registration.
    pub fn active(&self) -> impl Iterator<Item = (AppKey, &Application)> {
        self.active.iter().map(|(key, app)| (*key, app))
    }

    /// Those that ended, oldest first.
    pub fn completed(&self) -> impl Iterator<Item = &Application> {
        self.completed.iter()
    }

    /// How many are active.
    pub fn count(&self) -> usize {
        self.active.len()
    }

    /// How many are WAITING.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many were persisted and have not answered yet.
    pub fn awaited(&self) -> usize {
        self.unknown
    }

    /// Cores that executors have, all together.
    pub fn cores(&self) -> u64 {
        self.cores
    }

    /// Executors, all together.
    pub fn executors(&self) -> usize {
        self.executors
    }

    /// Those that would take another executor, in order of registration.
    pub fn wanting(&self) -> impl Iterator<Item = AppKey> {
        self.wanting.iter().copied()
    }

    /// True where one wants more than at the last pass.
    pub fn any_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Takes those that want more than at the last pass.
    pub fn take_fresh(&mut self) -> BTreeSet<AppKey> {
        std::mem::take(&mut self.fresh)
    }
}

// To change them.
impl Applications {
    /// Adds an active application. Its id and client are not those of another one.
    pub fn add(&mut self, app: Application) -> AppKey {
        let key = AppKey::take_next(&mut self.next);
        self.list(key, &app);
        self.active.insert(key, app);
        key
    }

    /// Changes an active application. None where there is none.
    pub fn change<T>(&mut self, key: AppKey, f: impl FnOnce(&mut Application) -> T) -> Option<T> {
        let app = self.active.get_mut(&key)?;
        let (state, cores, executors) = (app.state, app.cores_granted, app.executors.len());
        let wish = app.wish();
        let result = f(app);
        let wants = app.wants();
        let wants_more = wants && app.wish().is_more_than(&wish);
        let after = (app.state, app.cores_granted, app.executors.len());
        self.count_state(state, |count| *count -= 1);
        self.count_state(after.0, |count| *count += 1);
        self.cores = self.cores + u64::from(after.1) - u64::from(cores);
        self.executors = self.executors + after.2 - executors;
        if wants {
            self.wanting.insert(key);
        } else {
            self.wanting.remove(&key);
            self.fresh.remove(&key);
        }
        if wants_more {
            self.fresh.insert(key);
        }
        Some(result)
    }

    /// Takes an application out of the active ones.
    pub fn remove(&mut self, key: AppKey) -> Option<Application> {
        let app = self.active.remove(&key)?;
        self.by_id.remove(&app.id);
        self.by_driver.remove(&app.driver);
        if let Some(address) = &app.driver.address {
            self.by_address.remove(&(address.clone(), key));
        }
        self.wanting.remove(&key);
        self.fresh.remove(&key);
        self.count_state(app.state, |count| *count -= 1);
        self.cores -= u64::from(app.cores_granted);
        self.executors -= app.executors.len();
        Some(app)
    }

    /// Keeps one that ended, and no more of them than `retained`.
    pub fn complete(&mut self, app: Application, retained: usize) {
        super::retain(&mut self.completed, app, retained);
    }

    /// Forgets those that ended. Returns how many.
    pub fn clear_completed(&mut self) -> usize {
        std::mem::take(&mut self.completed).len()
    }

    /// Counts these as fresh, as far as they want anything.
    pub fn add_fresh(&mut self, keys: Vec<AppKey>) {
        let wanting = &self.wanting;
        let keys = keys.into_iter().filter(|key| wanting.contains(key));
        self.fresh.extend(keys);
    }

    /// Counts all as fresh.
    pub fn look_again(&mut self) {
        self.fresh = self.wanting.clone();
    }

    fn list(&mut self, key: AppKey, app: &Application) {
        self.by_id.insert(app.id.clone(), key);
        self.by_driver.insert(app.driver.clone(), key);
        if let Some(address) = &app.driver.address {
            self.by_address.insert((address.clone(), key));
        }
        if app.wants() {
            self.wanting.insert(key);
            self.fresh.insert(key);
        }
        self.count_state(app.state, |count| *count += 1);
        self.cores += u64::from(app.cores_granted);
        self.executors += app.executors.len();
    }

    fn count_state(&mut self, state: ApplicationState, count: impl Fn(&mut usize)) {
        match state {
            ApplicationState::Waiting => count(&mut self.waiting),
            ApplicationState::Unknown => count(&mut self.unknown),
            _ => {}
        }
    }
}
