//! Masters one after the other, at random moments, over one store, with workers and clients that live on:
//! nothing that was acknowledged is lost, and nothing is done twice.
//!
//! A master may end between two turns that belong together. What its last turn wrote is there then, and
//! what that turn sent has not left.
//!
//! `INSTAR_RUNS` says how many runs, `INSTAR_SEED` with which seed they begin; a failure prints both.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use deploy_protocol::{
    DriverState, DriverStateChanged, EndpointRef, ExecutorDescription, ExecutorState,
    ExecutorStateChanged, Heartbeat, MasterChangeAcknowledged, RecoveryState, RegisterApplication,
    RequestExecutors, RequestKillAllDrivers, RequestKillDriver, RequestSubmitDriver,
    UnregisterApplication, WorkerDriverStateResponse, WorkerExecutorStateResponse,
    WorkerLatestState, WorkerSchedulerStateResponse, WorkerState,
};
use instar_sdk::prelude::*;
use master::core::Core;
use master::core::entries::Written;
use master::core::settings::Settings;
use master::core::turn::{Effect, Outgoing, Store, Turn};
use master::testing::native::Native;
use master::testing::{App, Worker, driver};

const STEPS: u32 = 300;
const RUNS: u64 = 60;
const WORKERS: usize = 6;
const CLIENTS: usize = 4;

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(bound).unwrap()).unwrap()
    }
}

#[derive(Default)]
struct Kept(BTreeMap<String, Bytes>);

impl Store for Kept {
    fn persist(&mut self, name: &str, value: &[u8]) -> Result<(), Failure> {
        let value = Bytes::from(value.to_vec());
        self.0.insert(name.to_owned(), value);
        Ok(())
    }

    fn unpersist(&mut self, name: &str) -> Result<(), Failure> {
        self.0.remove(name);
        Ok(())
    }
}

/// A worker that does what it is told.
struct Host {
    worker: Worker,
    executors: BTreeMap<(String, u32), ExecutorDescription>,
    drivers: BTreeSet<String>,
}

struct Client {
    app: App,
}

/// What comes to the master.
#[derive(Clone, Debug)]
enum Event {
    Register(usize),
    Beat(usize),
    Latest(usize),
    Answer(usize),
    Acknowledge(usize),
}

struct World {
    dice: Dice,
    store: Kept,
    core: Core,
    hosts: Vec<Host>,
    clients: Vec<Client>,
    /// Answers on their way to the master.
    events: VecDeque<Event>,
    masters: u16,
    /// No master ends any more.
    rests: bool,
    /// Drivers that were acknowledged, and that nothing happened to since but being launched.
    owed: BTreeSet<String>,
    /// Drivers, each as often as a worker began it.
    begun: BTreeMap<String, u32>,
    /// All that was ever launched.
    numbers: BTreeSet<(String, u32)>,
    driver_ids: BTreeSet<String>,
    app_ids: BTreeMap<String, usize>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut native = Native::default();
        let mut worker = |number: usize| {
            let host = u16::try_from(number).unwrap();
            Worker::new(&mut native, &format!("w-{number}"), host, 6, 4096)
        };
        let hosts = (0..WORKERS).map(|number| Host {
            worker: worker(number),
            executors: BTreeMap::new(),
            drivers: BTreeSet::new(),
        });
        let hosts: Vec<Host> = hosts.collect();
        let mut native = Native::default();
        let mut app = |number: usize| {
            let host = u16::try_from(100 + number).unwrap();
            App::new(&mut native, "app", host).cores(1).max(5)
        };
        let clients = (0..CLIENTS).map(|number| Client { app: app(number) });
        let mut world = Self {
            dice: Dice(seed),
            store: Kept::default(),
            core: fresh(0),
            hosts,
            clients: clients.collect(),
            events: VecDeque::new(),
            masters: 0,
            rests: false,
            owed: BTreeSet::new(),
            begun: BTreeMap::new(),
            numbers: BTreeSet::new(),
            driver_ids: BTreeSet::new(),
            app_ids: BTreeMap::new(),
        };
        world.next_master();
        world
    }

    /// One turn. Its effects, unless the master ends before they have left.
    fn turn<T>(&mut self, event: impl FnOnce(&mut Core, &mut Turn<'_>) -> T) -> Option<T> {
        let mut turn = Turn::new(u64::from(self.masters), &mut self.store);
        let outcome = event(&mut self.core, &mut turn);
        self.core.settle(&mut turn);
        let effects = turn.into_effects();
        if !self.rests && self.dice.below(60) == 0 {
            self.next_master();
            return None;
        }
        for effect in effects {
            if let Effect::Send(to, message) = effect {
                self.deliver(&to, message);
            }
        }
        Some(outcome)
    }

    fn next_master(&mut self) {
        self.masters += 1;
        self.core = fresh(self.masters);
        // What was on its way went to the one before.
        self.events.clear();
        let entries: Vec<(String, Bytes)> = self.store.0.clone().into_iter().collect();
        let written = Written::read(&entries);
        self.turn(|core, turn| core.elected(turn, written));
    }

    fn host_of(&self, to: &EndpointRef) -> Option<usize> {
        let mut hosts = self.hosts.iter();
        hosts.position(|host| host.worker.peer.reference == *to)
    }

    fn deliver(&mut self, to: &EndpointRef, message: Outgoing) {
        if let Some(number) = self.host_of(to) {
            self.deliver_to_worker(number, message);
            return;
        }
        let mut clients = self.clients.iter();
        let Some(client) = clients.position(|client| client.app.peer.reference == *to) else {
            return;
        };
        match message {
            Outgoing::RegisteredApplication(message) => {
                let before = self.app_ids.insert(message.app_id.clone(), client);
                assert!(before.is_none_or(|before| before == client));
                self.clients[client].app.id = message.app_id;
            }
            Outgoing::MasterChanged(_) => self.events.push_back(Event::Acknowledge(client)),
            _ => {}
        }
    }

    fn deliver_to_worker(&mut self, number: usize, message: Outgoing) {
        let host = &mut self.hosts[number];
        match message {
            Outgoing::RegisteredWorker(_) => self.events.push_back(Event::Latest(number)),
            Outgoing::MasterChanged(_) => self.events.push_back(Event::Answer(number)),
            Outgoing::ReconnectWorker(_) => self.events.push_back(Event::Register(number)),
            Outgoing::LaunchExecutor(order) => {
                let name = (order.app_id.clone(), order.executor_id);
                assert!(self.numbers.insert(name.clone()), "{name:?} is used twice");
                let executor = ExecutorDescription {
                    app_id: order.app_id,
                    executor_id: order.executor_id,
                    resource_profile_id: order.resource_profile_id,
                    cores: order.cores,
                    memory_mb: order.memory_mb,
                    state: ExecutorState::Running,
                };
                host.executors.insert(name, executor);
            }
            Outgoing::KillExecutor(order) => {
                host.executors.remove(&(order.app_id, order.executor_id));
            }
            Outgoing::LaunchDriver(order) => {
                let begun = self.begun.entry(order.driver_id.clone()).or_default();
                *begun += 1;
                assert_eq!(*begun, 1, "{} is begun twice", order.driver_id);
                host.drivers.insert(order.driver_id);
            }
            Outgoing::KillDriver(order) => {
                host.drivers.remove(&order.driver_id);
            }
            _ => {}
        }
    }

    /// One of the answers that are on their way; those of one host stay in order.
    fn handle_one(&mut self) {
        let Some(event) = self.events.pop_front() else {
            self.turn(|_, _| ());
            return;
        };
        match event {
            Event::Register(number) => self.register(number),
            Event::Beat(number) => {
                let worker = &self.hosts[number].worker;
                let heartbeat = Heartbeat {
                    worker_id: worker.id.clone(),
                    worker: worker.peer.reference.clone(),
                };
                self.turn(|core, turn| core.heartbeat(turn, heartbeat));
            }
            Event::Latest(number) => {
                let host = &self.hosts[number];
                let latest = WorkerLatestState {
                    id: host.worker.id.clone(),
                    executors: host.executors.values().cloned().collect(),
                    driver_ids: host.drivers.iter().cloned().collect(),
                };
                self.turn(|core, turn| core.worker_latest_state(turn, latest));
            }
            Event::Answer(number) => {
                let host = &self.hosts[number];
                let executors = host.executors.values().cloned();
                let drivers = host.drivers.iter().cloned();
                let answer = WorkerSchedulerStateResponse {
                    id: host.worker.id.clone(),
                    executors: executors
                        .map(|executor| WorkerExecutorStateResponse {
                            executor,
                            resources: Vec::new(),
                        })
                        .collect(),
                    drivers: drivers
                        .map(|driver_id| WorkerDriverStateResponse {
                            driver_id,
                            resources: Vec::new(),
                        })
                        .collect(),
                };
                self.turn(|core, turn| core.worker_state_response(turn, answer));
            }
            Event::Acknowledge(number) => {
                let app_id = self.clients[number].app.id.clone();
                self.turn(|core, _| {
                    core.master_change_acknowledged(&MasterChangeAcknowledged { app_id });
                });
            }
        }
    }

    fn register(&mut self, number: usize) {
        let message = self.hosts[number].worker.registration();
        self.turn(|core, turn| core.register_worker(turn, message));
    }

    fn submit(&mut self) {
        let ask = RequestSubmitDriver {
            description: driver(self.dice.below(2) == 0),
        };
        let answer = self.turn(|core, turn| core.submit_driver(turn, ask));
        let Some(id) = answer.and_then(|answer| answer.driver_id) else {
            return;
        };
        assert!(self.driver_ids.insert(id.clone()), "{id} is used twice");
        self.owed.insert(id);
    }

    fn anything(&mut self) {
        let worker = self.dice.below(WORKERS);
        let client = self.dice.below(CLIENTS);
        match self.dice.below(14) {
            0 => self.register(worker),
            1 | 2 => self.submit(),
            3 => {
                let app = &self.clients[client].app;
                let register = RegisterApplication {
                    application: app.description.clone(),
                    driver: app.peer.reference.clone(),
                };
                self.turn(|core, turn| core.register_application(turn, register));
            }
            4 => self.end_of_a_driver(worker),
            5 => self.end_of_an_executor(worker),
            6 => self.lose(worker),
            7 if self.dice.below(4) == 0 => {
                let app_id = self.clients[client].app.id.clone();
                self.turn(|core, turn| {
                    core.unregister_application(turn, UnregisterApplication { app_id });
                });
            }
            8 => self.kill_a_driver(),
            9 if self.dice.below(6) == 0 => {
                let answer =
                    self.turn(|core, turn| core.kill_all_drivers(turn, RequestKillAllDrivers {}));
                // Unanswered, it may have happened.
                if answer.is_none_or(|answer| answer.success) {
                    self.owed.clear();
                }
            }
            10 => {
                let app = &self.clients[client].app;
                let profile = app.description.default_profile.clone();
                let ask = RequestExecutors {
                    app_id: app.id.clone(),
                    totals: BTreeMap::from([(profile, 1 + u32::try_from(worker).unwrap())]),
                };
                self.turn(|core, turn| core.request_executors(turn, ask).unwrap());
            }
            11 if self.dice.below(4) == 0 => self.next_master(),
            12 => self.events.push_back(Event::Beat(worker)),
            _ => self.handle_one(),
        }
    }

    fn end_of_a_driver(&mut self, worker: usize) {
        let drivers: Vec<String> = self.hosts[worker].drivers.iter().cloned().collect();
        let Some(driver_id) = drivers.first().cloned() else {
            return;
        };
        self.owed.remove(&driver_id);
        let ask = DriverStateChanged {
            driver_id: driver_id.clone(),
            state: DriverState::Finished,
            message: String::new(),
            exit_status: Some(0),
        };
        let noted = self.turn(|core, turn| core.driver_state_changed(turn, ask));
        // Until that is noted it stays on the list.
        if noted.is_some_and(|noted| noted.is_ok_and(|noted| noted.noted)) {
            self.hosts[worker].drivers.remove(&driver_id);
        }
    }

    fn end_of_an_executor(&mut self, worker: usize) {
        let executors: Vec<(String, u32)> = self.hosts[worker].executors.keys().cloned().collect();
        let Some(name) = executors.first().cloned() else {
            return;
        };
        let ask = ExecutorStateChanged {
            app_id: name.0.clone(),
            executor_id: name.1,
            state: ExecutorState::Exited,
            message: String::new(),
            exit_status: Some(0),
        };
        let noted = self.turn(|core, turn| core.executor_state_changed(turn, ask));
        if noted.is_some_and(|noted| noted.is_ok_and(|noted| noted.noted)) {
            self.hosts[worker].executors.remove(&name);
        }
    }

    /// The machine is gone, with all that it ran. It comes back as another worker.
    fn lose(&mut self, worker: usize) {
        let host = &mut self.hosts[worker];
        for driver in std::mem::take(&mut host.drivers) {
            self.owed.remove(&driver);
        }
        host.executors.clear();
        let id = host.worker.id.clone();
        host.worker.id.push('\'');
        let address = host.worker.peer.reference.address.clone().unwrap();
        // What was launched there and is on its way is as lost as what ran.
        let drivers = self.core.master_state("").unwrap().active_drivers;
        for driver in drivers {
            if driver.worker_id.as_ref() == Some(&id) {
                self.owed.remove(&driver.id);
            }
        }
        self.turn(|core, _| core.disconnected(&address));
    }

    fn kill_a_driver(&mut self) {
        let Some(driver_id) = self.owed.first().cloned() else {
            return;
        };
        let ask = RequestKillDriver {
            driver_id: driver_id.clone(),
        };
        let answer = self.turn(|core, turn| core.kill_driver(turn, ask));
        if answer.is_none_or(|answer| answer.success) {
            self.owed.remove(&driver_id);
        }
    }

    /// No more faults: all that is on its way arrives, and what does not answer is given up.
    fn comes_to_rest(&mut self) {
        self.rests = true;
        for round in 0..1000 {
            if round == 500 {
                self.turn(|core, _| core.complete_recovery());
            }
            self.handle_one();
        }
        for number in 0..WORKERS {
            self.register(number);
        }
        for _ in 0..1000 {
            self.handle_one();
        }
    }

    fn nothing_is_lost(&self) {
        let state = self.core.master_state("").unwrap();
        let active: BTreeSet<&String> = state.active_drivers.iter().map(|d| &d.id).collect();
        for id in &self.owed {
            assert!(active.contains(id), "{id} was acknowledged and is gone");
        }
        let runs: BTreeSet<&String> = self.hosts.iter().flat_map(|host| &host.drivers).collect();
        for driver in &state.active_drivers {
            let is_running = driver.state == DriverState::Running;
            assert_eq!(is_running, runs.contains(&driver.id), "{}", driver.id);
        }
        assert!(runs.iter().all(|id| active.contains(id)), "a stray driver");
        let known: BTreeSet<(String, u32)> = state
            .active_apps
            .iter()
            .flat_map(|app| &app.executors)
            .map(|e| (e.description.app_id.clone(), e.description.executor_id))
            .collect();
        let executors = self.hosts.iter().flat_map(|host| host.executors.keys());
        let executors: BTreeSet<(String, u32)> = executors.cloned().collect();
        assert_eq!(known, executors, "executors");
        let alive = state.workers.iter();
        let alive = alive.filter(|worker| worker.state == WorkerState::Alive);
        assert_eq!(alive.count(), WORKERS);
    }

    /// What is written down is what goes on.
    fn the_store_is_right(&self) {
        let state = self.core.master_state("").unwrap();
        let apps = state
            .active_apps
            .iter()
            .map(|app| format!("app_{}", app.id));
        let drivers = state.active_drivers.iter();
        let drivers = drivers.map(|driver| format!("driver_{}", driver.id));
        let workers = state.workers.iter();
        let workers = workers
            .filter(|worker| worker.state != WorkerState::Dead)
            .map(|worker| format!("worker_{}", worker.id));
        let expected: BTreeSet<String> = apps.chain(drivers).chain(workers).collect();
        let kept = self.store.0.keys().filter(|name| *name != "counters");
        assert_eq!(kept.cloned().collect::<BTreeSet<_>>(), expected);
    }
}

fn fresh(master: u16) -> Core {
    let config = [
        ("recovery_mode", "zookeeper"),
        ("app_id_pattern", "app-%d"),
        ("driver_id_pattern", "driver-%d"),
    ];
    let config: Vec<(String, String)> = config
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let me = EndpointRef::remote("Master", format!("m-{master}:7077"));
    Core::new(Settings::read(&config).unwrap(), me)
}

fn from_environment(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |value| value.parse().unwrap())
}

#[test]
fn nothing_that_was_acknowledged_is_lost_and_nothing_is_done_twice() {
    let first = from_environment("INSTAR_SEED", 1);
    for seed in first..first + from_environment("INSTAR_RUNS", RUNS) {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..STEPS {
                world.anything();
            }
            world.comes_to_rest();
            assert_eq!(world.core.status(), RecoveryState::Alive);
            world.the_store_is_right();
            world.nothing_is_lost();
        });
        assert!(run.is_ok(), "again with INSTAR_SEED={seed} INSTAR_RUNS=1");
    }
}
