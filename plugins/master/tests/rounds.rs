//! What is about very many is done over several turns, none of which writes more than ZooKeeper takes at
//! once. Over the core: a store that counts, and turns one by one.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use deploy_protocol::{
    ApplicationState, DecommissionWorkersOnHosts, DriverState, EndpointRef,
    MasterChangeAcknowledged, RecoveryState, RegisterApplication, RequestKillAllDrivers,
    RequestSubmitDriver, WorkerDriverStateResponse, WorkerSchedulerStateResponse, WorkerState,
};
use instar_sdk::prelude::*;
use master::core::Core;
use master::core::entries::Written;
use master::core::settings::Settings;
use master::core::turn::{Effect, Outgoing, Store, Turn};
use master::testing::native::Native;
use master::testing::{App, MasterUnderTest, Worker, driver};

/// What ZooKeeper takes at once is 1 MB, with names, paths and a little for each operation.
const BYTES_MAX: usize = 800 << 10;
const WRITES_MAX: usize = 2000;

/// A store that takes no more in one turn than ZooKeeper does.
#[derive(Default)]
struct Bounded {
    kept: BTreeMap<String, Vec<u8>>,
    writes: usize,
    bytes: usize,
}

impl Bounded {
    fn count(&mut self, name: &str, bytes: usize) {
        self.writes += 1;
        self.bytes += name.len() + bytes;
        assert!(self.writes <= WRITES_MAX, "{} writes", self.writes);
        assert!(self.bytes <= BYTES_MAX, "{} bytes", self.bytes);
    }

    fn read(&self) -> Written {
        let entries: Vec<(String, Bytes)> = self
            .kept
            .iter()
            .map(|(name, value)| (name.clone(), Bytes::from(value.clone())))
            .collect();
        Written::read(&entries)
    }

    fn names(&self, prefix: &str) -> usize {
        let names = self.kept.keys();
        names.filter(|name| name.starts_with(prefix)).count()
    }
}

impl Store for Bounded {
    fn persist(&mut self, name: &str, value: &[u8]) -> Result<(), Failure> {
        self.count(name, value.len());
        self.kept.insert(name.to_owned(), value.to_vec());
        Ok(())
    }

    fn unpersist(&mut self, name: &str) -> Result<(), Failure> {
        self.count(name, 0);
        self.kept.remove(name);
        Ok(())
    }
}

struct Cluster {
    core: Core,
    store: Bounded,
}

impl Cluster {
    fn new(config: &[(&str, &str)]) -> Self {
        let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        let config: Vec<(String, String)> = config.iter().map(owned).collect();
        let settings = Settings::read(&config).unwrap();
        let mut cluster = Self {
            core: Core::new(settings, EndpointRef::remote("Master", "m:7077")),
            store: Bounded::default(),
        };
        cluster.turn(|core, turn| core.elected(turn, Written::default()));
        cluster
    }

    /// Another master, over what this one wrote down. The turn in which it was elected wrote one value.
    fn next(&mut self) -> Vec<Effect> {
        let me = EndpointRef::remote("Master", "n:7077");
        self.core = Core::new(self.core.settings().clone(), me);
        let written = self.store.read();
        let (effects, _) = self.one_turn(|core, turn| core.elected(turn, written));
        assert_eq!(self.store.writes, 1);
        effects
    }

    fn one_turn(&mut self, event: impl FnOnce(&mut Core, &mut Turn<'_>)) -> (Vec<Effect>, bool) {
        (self.store.writes, self.store.bytes) = (0, 0);
        let mut turn = Turn::new(1, &mut self.store);
        event(&mut self.core, &mut turn);
        self.core.settle(&mut turn);
        let effects = turn.into_effects();
        let goes_on = effects.contains(&Effect::GoOn);
        (effects, goes_on)
    }

    /// One event, and the turns that go on with it. Returns how many these were, and all effects.
    fn turn(&mut self, event: impl FnOnce(&mut Core, &mut Turn<'_>)) -> (usize, Vec<Effect>) {
        let (mut effects, mut goes_on) = self.one_turn(event);
        let mut turns = 0;
        while goes_on {
            turns += 1;
            assert!(turns < 10_000, "it goes on for ever");
            let (more, again) = self.one_turn(|_, _| ());
            effects.extend(more);
            goes_on = again;
        }
        (turns, effects)
    }

    fn register_workers(&mut self, count: u32, cores: u32) -> Vec<Worker> {
        let workers: Vec<Worker> = (0..count).map(|number| worker(number, cores)).collect();
        for worker in &workers {
            let message = worker.registration();
            self.turn(|core, turn| core.register_worker(turn, message));
        }
        workers
    }

    fn submit(&mut self, count: usize, supervise: bool, argument: &str) {
        for _ in 0..count {
            let mut description = driver(supervise);
            description.command.arguments = vec![argument.to_owned()];
            let ask = RequestSubmitDriver { description };
            self.turn(|core, turn| {
                let answer = core.submit_driver(turn, ask);
                assert!(answer.success, "{}", answer.message);
            });
        }
    }

    fn status(&self) -> RecoveryState {
        self.core.status()
    }
}

/// Workers of one host at one address, as those of a simulated fleet.
fn worker(number: u32, cores: u32) -> Worker {
    let mut native = Native::default();
    let mut worker = Worker::new(
        &mut native,
        &format!("w-{number:05}"),
        7,
        cores,
        128 * cores,
    );
    worker.peer.reference = native.peer(&format!("Worker-{number}"), 7);
    worker
}

fn address() -> String {
    worker(0, 1).peer.reference.address.unwrap()
}

#[test]
fn ten_thousand_silent_workers_are_lost_over_several_turns() {
    let mut cluster = Cluster::new(&[]);
    cluster.register_workers(10_000, 1);
    let mut turns = 0;
    for _ in 0..5 {
        turns += cluster.turn(|core, _| core.check_workers()).0;
    }
    assert!((9..100).contains(&turns), "{turns} turns");
    assert_eq!(cluster.store.names("worker_"), 0);
}

/// Others are served in between; who is heard of in between is not lost.
#[test]
fn a_worker_that_is_heard_of_before_its_turn_comes_is_not_lost() {
    let mut cluster = Cluster::new(&[]);
    let workers = cluster.register_workers(3000, 1);
    for _ in 0..4 {
        cluster.turn(|core, _| core.check_workers());
    }
    let (_, goes_on) = cluster.one_turn(|core, _| core.check_workers());
    assert!(goes_on, "more than one turn should do");
    let last = workers.last().unwrap();
    let heartbeat = deploy_protocol::Heartbeat {
        worker_id: last.id.clone(),
        worker: last.peer.reference.clone(),
    };
    cluster.turn(|core, turn| core.heartbeat(turn, heartbeat));
    let alive: Vec<String> = alive(&cluster.core);
    assert_eq!(alive, std::slice::from_ref(&last.id));
}

fn alive(core: &Core) -> Vec<String> {
    let workers = core.master_state("").unwrap().workers.into_iter();
    let alive = workers.filter(|worker| worker.state == WorkerState::Alive);
    alive.map(|worker| worker.id).collect()
}

/// What was gone is lost first, and what is there again is new: a part that is left to do meets none of it.
#[test]
fn who_comes_back_before_its_loss_is_carried_out_stays() {
    let mut cluster = Cluster::new(&[]);
    let workers = cluster.register_workers(3000, 1);
    let mut native = Native::default();
    let app = App::new(&mut native, "app", 7).limit(0);
    let register = RegisterApplication {
        application: app.description.clone(),
        driver: app.peer.reference.clone(),
    };
    let first = register.clone();
    cluster.turn(|core, turn| core.register_application(turn, first));
    let (_, goes_on) = cluster.one_turn(|core, _| core.disconnected(&address()));
    assert!(goes_on);
    let last = workers.last().unwrap();
    let message = last.registration();
    cluster.one_turn(|core, turn| core.register_worker(turn, message));
    cluster.one_turn(|core, turn| core.register_application(turn, register));
    cluster.turn(|_, _| ());
    assert_eq!(alive(&cluster.core), std::slice::from_ref(&last.id));
    let state = cluster.core.master_state("").unwrap();
    assert_eq!(
        (state.active_apps.len(), state.completed_apps.len()),
        (1, 1)
    );
    assert_eq!(cluster.store.names("app_"), 1);
    assert_eq!(cluster.store.names("worker_"), 1);
}

#[test]
fn nothing_is_scheduled_onto_what_is_about_to_be_lost() {
    let mut cluster = Cluster::new(&[]);
    cluster.register_workers(3000, 1);
    let (_, goes_on) = cluster.one_turn(|core, _| core.disconnected(&address()));
    assert!(goes_on);
    let ask = RequestSubmitDriver {
        description: driver(false),
    };
    let (_, effects) = cluster.turn(|core, turn| {
        assert!(core.submit_driver(turn, ask).success);
    });
    let launches = |effect: &&Effect| matches!(effect, Effect::Send(_, Outgoing::LaunchDriver(_)));
    assert_eq!(effects.iter().filter(launches).count(), 0);
    assert_eq!(cluster.store.names("driver_"), 1);
}

/// Each launch is written down: a driver may have a long description.
#[test]
fn thousands_of_drivers_are_launched_relaunched_and_ended_over_several_turns() {
    let long = "x".repeat(2000);
    let mut cluster = Cluster::new(&[]);
    cluster.submit(2000, true, &long);
    let big = worker(0, 2000);
    let message = big.registration();
    let (turns, effects) = cluster.turn(|core, turn| core.register_worker(turn, message));
    let launches = |effect: &&Effect| matches!(effect, Effect::Send(_, Outgoing::LaunchDriver(_)));
    assert_eq!(effects.iter().filter(launches).count(), 2000);
    assert!(turns > 5, "{turns} turns");

    // All of them on one worker, which is lost: each goes elsewhere, in their order.
    let (turns, _) = cluster.turn(|core, _| core.disconnected(&address()));
    assert!(turns > 5, "{turns} turns");
    let state = cluster.core.master_state("").unwrap();
    assert_eq!(state.active_drivers.len(), 2000);
    assert_eq!(cluster.store.names("driver_"), 2000);

    cluster.turn(|core, turn| {
        let answer = core.kill_all_drivers(turn, RequestKillAllDrivers {});
        assert!(answer.success);
    });
    assert_eq!(cluster.store.names("driver_"), 0);
}

/// Kills of drivers that run are written down as one value, so that is durable before it is answered.
#[test]
fn all_drivers_are_to_end_with_one_value() {
    let long = "x".repeat(6000);
    let mut cluster = Cluster::new(&[]);
    let message = worker(0, 3000).registration();
    cluster.turn(|core, turn| core.register_worker(turn, message));
    cluster.submit(3000, true, &long);
    let (effects, _) = cluster.one_turn(|core, turn| {
        core.kill_all_drivers(turn, RequestKillAllDrivers {});
    });
    assert_eq!(cluster.store.writes, 1);
    let kills = |effect: &&Effect| matches!(effect, Effect::Send(_, Outgoing::KillDriver(_)));
    assert_eq!(effects.iter().filter(kills).count(), 3000);
    // The next master knows it of each: none of them lives again.
    cluster.next();
    cluster.turn(|core, _| core.complete_recovery());
    let state = cluster.core.master_state("").unwrap();
    assert!(state.active_drivers.is_empty());
    let ended = state.completed_drivers.iter();
    assert!(
        ended
            .clone()
            .all(|driver| driver.state == DriverState::Killed)
    );
}

#[test]
fn workers_of_a_host_go_out_of_service_over_several_turns() {
    let mut cluster = Cluster::new(&[]);
    let count = 3000;
    cluster.register_workers(count, 1);
    let ask = DecommissionWorkersOnHosts {
        hosts: vec!["host-7".to_owned()],
    };
    let (turns, _) = cluster.turn(|core, _| {
        assert_eq!(core.decommission_hosts(ask).count, count);
    });
    assert!(turns > 1);
    let workers = cluster.core.master_state("").unwrap().workers;
    assert!(
        workers
            .iter()
            .all(|worker| worker.state == WorkerState::Decommissioned)
    );
}

/// Recovery that ends without an answer of anybody: COMPLETING_RECOVERY ends by itself, and meanwhile the
/// master answers, and takes who comes.
#[test]
fn a_recovery_that_gives_up_very_many_ends_over_several_turns() {
    let mut cluster = Cluster::new(&[]);
    let workers = cluster.register_workers(5000, 1);
    cluster.submit(500, true, &"x".repeat(6000));
    cluster.next();
    assert_eq!(cluster.status(), RecoveryState::Recovering);
    let (_, goes_on) = cluster.one_turn(|core, _| core.complete_recovery());
    assert!(goes_on);
    assert_eq!(cluster.status(), RecoveryState::CompletingRecovery);

    // A second time in between: of no effect.
    cluster.one_turn(|core, _| core.complete_recovery());
    // The last one answers before it is given up: then it is not.
    let last = workers.last().unwrap();
    let answer = WorkerSchedulerStateResponse {
        id: last.id.clone(),
        executors: Vec::new(),
        drivers: Vec::<WorkerDriverStateResponse>::new(),
    };
    cluster.one_turn(|core, turn| core.worker_state_response(turn, answer));
    // A swap in between: what is left to do goes along.
    let state = postcard::to_stdvec(&cluster.core).unwrap();
    cluster.core = postcard::from_bytes(&state).unwrap();
    let (turns, _) = cluster.turn(|_, _| ());
    assert!(turns > 3, "{turns} turns");
    assert_eq!(cluster.status(), RecoveryState::Alive);
    assert_eq!(alive(&cluster.core), std::slice::from_ref(&last.id));
    assert_eq!(cluster.store.names("worker_"), 1);
    assert_eq!(cluster.store.names("driver_"), 500);
}

/// A master that is followed by another in the midst of it: the next one finds what is still written down,
/// and comes to the same.
#[test]
fn what_was_left_to_do_is_done_by_the_next_master() {
    let mut cluster = Cluster::new(&[]);
    cluster.register_workers(5000, 1);
    cluster.submit(4000, true, "");
    let (_, goes_on) = cluster.one_turn(|core, _| core.disconnected(&address()));
    assert!(goes_on);
    cluster.next();
    cluster.turn(|core, _| core.complete_recovery());
    assert_eq!(cluster.status(), RecoveryState::Alive);
    assert_eq!(cluster.store.names("worker_"), 0);
    assert_eq!(cluster.store.names("driver_"), 4000);
    let state = cluster.core.master_state("").unwrap();
    let waits = |driver: &&deploy_protocol::DriverInfo| driver.state == DriverState::Submitted;
    assert_eq!(state.active_drivers.iter().filter(waits).count(), 4000);
}

/// A thousand clients on a host that is gone.
#[test]
fn applications_end_over_several_turns() {
    let mut cluster = Cluster::new(&[("retained_applications", "10000")]);
    let mut native = Native::default();
    for number in 0..3000 {
        let mut app = App::new(&mut native, "app", 7);
        app.peer.reference = native.peer(&format!("client-{number}"), 7);
        let register = RegisterApplication {
            application: app.description,
            driver: app.peer.reference,
        };
        cluster.turn(|core, turn| core.register_application(turn, register));
    }
    // Recovered with one write, whatever their number.
    cluster.next();
    let apps = cluster.core.master_state("").unwrap().active_apps;
    for app in &apps[..10] {
        let app_id = app.id.clone();
        cluster
            .turn(|core, _| core.master_change_acknowledged(&MasterChangeAcknowledged { app_id }));
    }
    let (turns, _) = cluster.turn(|core, _| core.complete_recovery());
    assert!(turns > 1);
    let state = cluster.core.master_state("").unwrap();
    assert_eq!(state.active_apps.len(), 10);
    let finished =
        |app: &&deploy_protocol::ApplicationInfo| app.state == ApplicationState::Finished;
    assert_eq!(state.completed_apps.iter().filter(finished).count(), 2990);
    assert_eq!(cluster.store.names("app_"), 10);
}
