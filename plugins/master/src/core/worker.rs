//! Workers: what the master knows of each, and the ways to find one.
//!
//! Invariants
//! 1. Every worker is changed through [`Workers::change`], which keeps the ways to find it right.
//! 2. Ids and references of live workers are unique; of dead ones, each reference is listed once.
//! 3. `free` has exactly the ALIVE workers with a free core and free memory, best to be looked at in
//!    the order of the selection; `changed` those of them that got more to give since the last pass
//!    of [`super::schedule`].

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use deploy_protocol::{EndpointRef, WorkerState};
use serde::{Deserialize, Serialize};

use super::bulk;
use super::ids::{AppKey, DriverKey, WorkerKey};
use super::index::{Index, hash};
use super::policy::selection::{Rank, Selection};
use super::resources::Resources;

/// A worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Worker {
    /// Its id.
    #[serde(deserialize_with = "bulk::text")]
    pub id: Rc<str>,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Where it is.
    pub reference: EndpointRef,
    /// Where it shows pages; empty for nowhere.
    pub web_ui_url: String,
    /// Cores that it offers.
    pub cores: u32,
    /// Memory that it offers, in MB.
    pub memory_mb: u32,
    /// What else it offers.
    pub resources: Resources,
    /// How it is.
    pub state: WorkerState,
    /// Cores in use.
    pub cores_used: u32,
    /// Memory in use, in MB.
    pub memory_used_mb: u32,
    /// Its executors.
    #[serde(deserialize_with = "bulk::set")]
    pub executors: BTreeSet<(AppKey, u32)>,
    /// Its drivers.
    #[serde(deserialize_with = "bulk::set")]
    pub drivers: BTreeSet<DriverKey>,
    /// Active applications that have or had an executor on it.
    #[serde(deserialize_with = "bulk::set")]
    pub apps: BTreeSet<AppKey>,
    /// The last check before which it was heard of.
    pub seen: u64,
    /// When it was last heard of, for people.
    pub last_heartbeat: u64,
    /// It told what it runs, or runs nothing of which this master would not know.
    pub reported: bool,
    /// It told, in this recovery, all that it runs: what it did not list, it was never told to run.
    pub answered: bool,
    /// It was taken out of service, be it that it has not answered since.
    pub decommissioned: bool,
    /// What it had to run when it was told that it is registered, until it tells what it runs.
    pub told: Option<Told>,
    /// Length of its entry.
    pub kept: u32,
}

/// What a worker had to run when it was told something. What it does not list in answer to that, it
/// does not run; what it is to launch since then may be on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Told {
    /// Its executors.
    #[serde(deserialize_with = "bulk::set")]
    pub executors: BTreeSet<(AppKey, u32)>,
    /// Its drivers.
    #[serde(deserialize_with = "bulk::set")]
    pub drivers: BTreeSet<DriverKey>,
}

impl Worker {
    /// Cores that nobody uses.
    pub fn cores_free(&self) -> u32 {
        self.cores.saturating_sub(self.cores_used)
    }

    /// Memory that nobody uses, in MB.
    pub fn memory_free_mb(&self) -> u32 {
        self.memory_mb.saturating_sub(self.memory_used_mb)
    }

    /// `HOST:PORT` where its executors will be.
    pub fn address(&self) -> String {
        match &self.reference.address {
            Some(address) => address.clone(),
            None => format!("{}:{}", self.host, self.port),
        }
    }

    fn id_hash(&self) -> u64 {
        hash(&[&self.id])
    }

    fn place_hash(&self) -> u64 {
        place_hash(&self.reference)
    }

    fn address_hash(&self) -> u64 {
        hash(&[self.reference.address.as_deref().unwrap_or_default()])
    }

    fn capacity(&self) -> Option<(u32, u32, usize)> {
        let (cores, memory) = (self.cores_free(), self.memory_free_mb());
        let gives = self.state == WorkerState::Alive && cores > 0 && memory > 0;
        gives.then(|| (cores, memory, self.resources.free()))
    }
}

fn place_hash(reference: &EndpointRef) -> u64 {
    let address = reference.address.as_deref();
    hash(&[&reference.name, address.unwrap_or_default()])
}

/// Lost workers that are still listed, at most.
const DEAD_MAX: usize = 10_000;

/// All workers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Workers {
    /// Boxed, so that building the map moves none of them.
    all: BTreeMap<WorkerKey, Box<Worker>>,
    next: u32,
    #[serde(skip)]
    selection: Selection,
    #[serde(skip)]
    by_id: Index<WorkerKey>,
    #[serde(skip)]
    by_reference: Index<WorkerKey>,
    #[serde(skip)]
    by_address: Index<WorkerKey>,
    #[serde(skip)]
    dead: BTreeSet<WorkerKey>,
    #[serde(skip)]
    free: BTreeSet<Rank>,
    #[serde(skip)]
    changed: BTreeSet<Rank>,
    /// All that are free count as changed, whatever stands in `changed`.
    #[serde(skip)]
    all_changed: bool,
    #[serde(skip)]
    counts: Counts,
}

/// What of the workers is written into a state.
#[derive(Deserialize)]
struct Written {
    #[serde(deserialize_with = "bulk::map")]
    all: BTreeMap<WorkerKey, Box<Worker>>,
    next: u32,
}

impl From<Written> for Workers {
    // This is in the pause of a swap: everything in one piece.
    fn from(written: Written) -> Self {
        let Written { all, next } = written;
        let mut workers = Self {
            by_id: all.iter().map(|(key, w)| (w.id_hash(), *key)).collect(),
            by_reference: all.iter().map(|(key, w)| (w.place_hash(), *key)).collect(),
            by_address: all
                .iter()
                .map(|(key, w)| (w.address_hash(), *key))
                .collect(),
            all_changed: true,
            next,
            ..Self::default()
        };
        let dead = all
            .iter()
            .filter(|(_, worker)| worker.state == WorkerState::Dead);
        workers.dead = dead.map(|(key, _)| *key).collect();
        for worker in all.values() {
            let counts = &mut workers.counts;
            counts.count(worker.state, worker.reported, |count| *count += 1);
        }
        workers.all = all;
        workers.free = workers.ranks();
        workers
    }
}

// To look at them.
impl Workers {
    /// A worker, live or dead.
    pub fn get(&self, key: WorkerKey) -> Option<&Worker> {
        self.all.get(&key).map(Box::as_ref)
    }

    /// The live worker with this id.
    pub fn by_id(&self, id: &str) -> Option<WorkerKey> {
        let mut keys = self.by_id.at(hash(&[id]));
        keys.find(|key| self.is(*key, false, |worker| *worker.id == *id))
    }

    /// The live worker at this reference.
    pub fn by_reference(&self, reference: &EndpointRef) -> Option<WorkerKey> {
        let mut keys = self.by_reference.at(place_hash(reference));
        keys.find(|key| self.is(*key, false, |worker| worker.reference == *reference))
    }

    /// The live workers at this address.
    pub fn at_address(&self, address: &str) -> Vec<WorkerKey> {
        let at = |worker: &Worker| worker.reference.address.as_deref() == Some(address);
        let keys = self.by_address.at(hash(&[address]));
        keys.filter(|key| self.is(*key, false, at)).collect()
    }

    /// The dead worker with this id.
    pub fn dead_by_id(&self, id: &str) -> Option<WorkerKey> {
        let mut keys = self.by_id.at(hash(&[id]));
        keys.find(|key| self.is(*key, true, |worker| *worker.id == *id))
    }

    fn dead_by_reference(&self, reference: &EndpointRef) -> Option<WorkerKey> {
        let mut keys = self.by_reference.at(place_hash(reference));
        keys.find(|key| self.is(*key, true, |worker| worker.reference == *reference))
    }

    fn is(&self, key: WorkerKey, dead: bool, what: impl Fn(&Worker) -> bool) -> bool {
        let worker = self.all.get(&key);
        worker.is_some_and(|worker| (worker.state == WorkerState::Dead) == dead && what(worker))
    }

    /// All of them, dead ones included, in order of registration.
    pub fn all(&self) -> impl Iterator<Item = (WorkerKey, &Worker)> {
        let all = self.all.iter();
        all.map(|(key, worker)| (*key, worker.as_ref()))
    }

    /// How many there are, dead ones included.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// How many are ALIVE.
    pub fn alive(&self) -> usize {
        self.counts.alive
    }

    /// How many were persisted and have not told yet what they run.
    pub fn awaited(&self) -> usize {
        self.counts.unknown + self.counts.unreported
    }

    /// Those that could take something, in the order of the selection.
    pub fn free(&self) -> impl Iterator<Item = WorkerKey> {
        self.selection.order(self.free.iter())
    }

    /// True where none could take anything.
    pub fn none_is_free(&self) -> bool {
        self.free.is_empty()
    }

    /// Those among them that got more to give since [`Workers::take_changed`].
    pub fn any_changed(&self) -> bool {
        match self.all_changed {
            true => !self.free.is_empty(),
            false => !self.changed.is_empty(),
        }
    }

    /// Takes those that got more to give since the last time, in the order of the selection.
    pub fn take_changed(&mut self) -> Vec<WorkerKey> {
        let changed = std::mem::take(&mut self.changed);
        match std::mem::take(&mut self.all_changed) {
            true => self.free().collect(),
            false => self.selection.order(changed.iter()).collect(),
        }
    }
}

// To change them.
impl Workers {
    /// Adds a live worker. Its id and reference are not those of another live one; a dead one with
    /// them is forgotten.
    pub fn add(&mut self, worker: Worker) -> WorkerKey {
        let dead = [
            self.dead_by_reference(&worker.reference),
            self.dead_by_id(&worker.id),
        ];
        for key in dead.into_iter().flatten() {
            self.forget(key);
        }
        let key = WorkerKey::take_next(&mut self.next);
        self.list(key, &worker);
        self.all.insert(key, Box::new(worker));
        key
    }

    /// Changes a worker, but neither its id nor its reference. None where there is none.
    pub fn change<T>(&mut self, key: WorkerKey, f: impl FnOnce(&mut Worker) -> T) -> Option<T> {
        let selection = self.selection;
        let worker = self.all.get_mut(&key)?;
        let (state, reported) = (worker.state, worker.reported);
        let before = worker.capacity();
        let rank_before = before.map(|_| rank(selection, key, worker));
        let result = f(worker);
        let after = worker.capacity();
        if before != after {
            let was_changed = rank_before.is_some_and(|rank| {
                self.free.remove(&rank);
                self.changed.remove(&rank)
            });
            if after.is_some() {
                let rank = rank(selection, key, worker);
                if was_changed || grew(before, after) {
                    self.changed.insert(rank.clone());
                }
                self.free.insert(rank);
            }
        }
        if (state, reported) != (worker.state, worker.reported) {
            let after = (worker.state, worker.reported);
            self.counts.count(state, reported, |count| *count -= 1);
            self.counts.count(after.0, after.1, |count| *count += 1);
            if after.0 == WorkerState::Dead {
                self.dead.insert(key);
            }
        }
        Some(result)
    }

    /// Notes that a worker was heard of: what happens most often, and changes no way to find it.
    pub fn heard_of(&mut self, key: WorkerKey, check: u64, now: u64) {
        if let Some(worker) = self.all.get_mut(&key) {
            worker.seen = check;
            worker.last_heartbeat = now;
        }
    }

    /// Forgets a worker.
    pub fn forget(&mut self, key: WorkerKey) {
        if let Some(worker) = self.all.remove(&key) {
            self.unlist(key, &worker);
        }
    }

    /// Keeps no more dead workers than the limit, the youngest ones.
    pub fn trim_dead(&mut self) {
        while self.dead.len() > DEAD_MAX {
            let Some(oldest) = self.dead.pop_first() else {
                break;
            };
            self.forget(oldest);
        }
    }

    /// Sets the order in which they are looked at, and counts all as changed.
    pub fn look_again(&mut self, selection: Selection) {
        if selection != self.selection {
            self.selection = selection;
            self.free = self.ranks();
            self.changed.clear();
        }
        self.all_changed = true;
    }

    fn ranks(&self) -> BTreeSet<Rank> {
        let all = self.all.iter();
        let free = all.filter(|(_, worker)| worker.capacity().is_some());
        free.map(|(key, worker)| rank(self.selection, *key, worker))
            .collect()
    }

    fn list(&mut self, key: WorkerKey, worker: &Worker) {
        self.counts
            .count(worker.state, worker.reported, |count| *count += 1);
        self.by_id.insert(worker.id_hash(), key);
        self.by_reference.insert(worker.place_hash(), key);
        self.by_address.insert(worker.address_hash(), key);
        if worker.state == WorkerState::Dead {
            self.dead.insert(key);
        }
        if worker.capacity().is_some() {
            let rank = rank(self.selection, key, worker);
            self.changed.insert(rank.clone());
            self.free.insert(rank);
        }
    }

    fn unlist(&mut self, key: WorkerKey, worker: &Worker) {
        self.counts
            .count(worker.state, worker.reported, |count| *count -= 1);
        self.by_id.remove(worker.id_hash(), key);
        self.by_reference.remove(worker.place_hash(), key);
        self.by_address.remove(worker.address_hash(), key);
        self.dead.remove(&key);
        let rank = rank(self.selection, key, worker);
        self.changed.remove(&rank);
        self.free.remove(&rank);
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    alive: usize,
    unknown: usize,
    unreported: usize,
}

impl Counts {
    fn count(&mut self, state: WorkerState, reported: bool, count: impl Fn(&mut usize)) {
        match state {
            WorkerState::Unknown => count(&mut self.unknown),
            WorkerState::Alive => count(&mut self.alive),
            WorkerState::Decommissioned | WorkerState::Dead => {}
        }
        let answered = matches!(state, WorkerState::Alive | WorkerState::Decommissioned);
        if answered && !reported {
            count(&mut self.unreported);
        }
    }
}

fn rank(selection: Selection, key: WorkerKey, worker: &Worker) -> Rank {
    let (cores, memory) = (worker.cores_free(), worker.memory_free_mb());
    selection.rank(cores, memory, Rc::clone(&worker.id), key)
}

/// The keys that stand beside an address in an index. `first` is the least key that there is.
pub(super) fn keys_at<K: Copy + Ord>(
    index: &BTreeSet<(String, K)>,
    address: &str,
    first: K,
) -> Vec<K> {
    index
        .range((address.to_owned(), first)..)
        .take_while(|(at, _)| at == address)
        .map(|(_, key)| *key)
        .collect()
}

/// True where a worker can take something that it could not take before.
fn grew(before: Option<(u32, u32, usize)>, after: Option<(u32, u32, usize)>) -> bool {
    match (before, after) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(before), Some(after)) => {
            after.0 > before.0 || after.1 > before.1 || after.2 > before.2
        }
    }
}
