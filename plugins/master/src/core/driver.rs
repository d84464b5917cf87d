//! Drivers: what the master knows of each, and the ways to find one.
//!
//! Invariants
//! 1. Ids of active drivers are unique.
//! 2. A driver waits exactly if it is SUBMITTED and not of a recovery that goes on; waiting ones are
//!    placed in the order of their keys.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use deploy_protocol::{DriverDescription, DriverState, ResourceInformation};
use serde::{Deserialize, Serialize};

use super::ids::{DriverKey, WorkerKey};

/// A driver.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Driver {
    /// Its id.
    pub id: String,
    /// Its place among those that were submitted in the same moment.
    pub number: u32,
    /// What it is.
    pub description: DriverDescription,
    /// How it is.
    pub state: DriverState,
    /// When it was submitted.
    pub submitted: u64,
    /// A worker was told to run it, by this master or one before.
    pub launched: bool,
    /// Somebody wants it to end: it is not relaunched elsewhere.
    pub kill_wanted: bool,
    /// Its worker.
    pub worker: Option<WorkerKey>,
    /// Id of its worker, which may be forgotten by now.
    pub worker_id: Option<String>,
    /// Its other resources.
    pub resources: Vec<ResourceInformation>,
    /// Why it ended; empty for nothing to say.
    pub message: String,
    /// With what it ended, if it did by itself.
    pub exit_status: Option<i32>,
    /// The driver that runs in its place.
    pub relaunched_as: Option<String>,
    /// Length of its entry.
    pub kept: u32,
}

impl Driver {
    /// A new one, SUBMITTED.
    pub fn new(id: String, number: u32, description: DriverDescription, submitted: u64) -> Self {
        Self {
            id,
            number,
            description,
            state: DriverState::Submitted,
            submitted,
            launched: false,
            kill_wanted: false,
            worker: None,
            worker_id: None,
            resources: Vec::new(),
            message: String::new(),
            exit_status: None,
            relaunched_as: None,
            kept: 0,
        }
    }
}

/// All drivers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Drivers {
    active: BTreeMap<DriverKey, Driver>,
    completed: VecDeque<Driver>,
    waiting: BTreeSet<DriverKey>,
    next: u32,
    /// The worker that got a driver last.
    pub last_worker: Option<WorkerKey>,
    /// Those that no worker was looked at for since they came to wait, or since room was made.
    #[serde(skip)]
    pub fresh: BTreeSet<DriverKey>,
    #[serde(skip)]
    by_id: BTreeMap<String, DriverKey>,
}

/// What of the drivers is written into a state.
#[derive(Deserialize)]
struct Written {
    active: BTreeMap<DriverKey, Driver>,
    completed: VecDeque<Driver>,
    waiting: BTreeSet<DriverKey>,
    next: u32,
    last_worker: Option<WorkerKey>,
}

impl From<Written> for Drivers {
    fn from(written: Written) -> Self {
        let ids = written.active.iter();
        Self {
            by_id: ids.map(|(key, driver)| (driver.id.clone(), *key)).collect(),
            fresh: written.waiting.clone(),
            active: written.active,
            completed: written.completed,
            waiting: written.waiting,
            next: written.next,
            last_worker: written.last_worker,
        }
    }
}

impl Drivers {
    /// An active driver.
    pub fn get(&self, key: DriverKey) -> Option<&Driver> {
        self.active.get(&key)
    }

    /// An active driver, to change it. Its id stays.
    pub fn get_mut(&mut self, key: DriverKey) -> Option<&mut Driver> {
        self.active.get_mut(&key)
    }

    /// The active driver with this id.
    pub fn by_id(&self, id: &str) -> Option<DriverKey> {
        self.by_id.get(id).copied()
    }

    /// The driver that ended and had this id.
    pub fn completed_by_id(&self, id: &str) -> Option<&Driver> {
        self.completed.iter().rev().find(|driver| driver.id == id)
    }

    /// True where a driver, active or not, has this id.
    pub fn is_taken(&self, id: &str) -> bool {
        self.by_id.contains_key(id) || self.completed_by_id(id).is_some()
    }

    /// Active ones, in order of submission.
    pub fn active(&self) -> impl Iterator<Item = (DriverKey, &Driver)> {
        self.active.iter().map(|(key, driver)| (*key, driver))
    }

    /// Those that ended, oldest first.
    pub fn completed(&self) -> impl Iterator<Item = &Driver> {
        self.completed.iter()
    }

    /// Those that wait for a worker, in order of submission.
    pub fn waiting(&self) -> impl Iterator<Item = DriverKey> {
        self.waiting.iter().copied()
    }

    /// True where this one waits for a worker.
    pub fn waits(&self, key: DriverKey) -> bool {
        self.waiting.contains(&key)
    }

    /// How many wait for a worker.
    pub fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// How many are active and do not wait.
    pub fn placed_count(&self) -> usize {
        self.active.len() - self.waiting.len()
    }

    /// Adds an active driver, which does not wait yet. Its id is not that of another one.
    pub fn add(&mut self, driver: Driver) -> DriverKey {
        let key = DriverKey::take_next(&mut self.next);
        self.by_id.insert(driver.id.clone(), key);
        self.active.insert(key, driver);
        key
    }

    /// Lets one wait for a worker.
    pub fn enqueue(&mut self, key: DriverKey) {
        self.waiting.insert(key);
        self.fresh.insert(key);
    }

    /// Lets one wait no more.
    pub fn dequeue(&mut self, key: DriverKey) {
        self.waiting.remove(&key);
        self.fresh.remove(&key);
    }

    /// Takes a driver out of the active ones.
    pub fn remove(&mut self, key: DriverKey) -> Option<Driver> {
        let driver = self.active.remove(&key)?;
        self.by_id.remove(&driver.id);
        self.dequeue(key);
        Some(driver)
    }

    /// Keeps one that ended, and no more of them than `retained`.
    pub fn complete(&mut self, driver: Driver, retained: usize) {
        super::retain(&mut self.completed, driver, retained);
    }

    /// Forgets those that ended. Returns how many.
    pub fn clear_completed(&mut self) -> usize {
        std::mem::take(&mut self.completed).len()
    }

    /// Counts all as fresh.
    pub fn look_again(&mut self) {
        self.fresh = self.waiting.clone();
    }
}
