//! Random events, and what holds after each of them.
//!
//! `INSTAR_RUNS` says how many runs, `INSTAR_SEED` with which seed they begin; a failure prints both.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use deploy_protocol::{
    DecommissionWorkersOnHosts, DriverState, DriverStateChanged, EndpointRef, ExecutorState,
    ExecutorStateChanged, Heartbeat, KillExecutors, MasterStateResponse, RegisterApplication,
    RequestExecutors, RequestKillDriver, RequestSubmitDriver, ResourceProfile, ResourceRequirement,
    UnregisterApplication, WorkerState,
};
use master::core::Core;
use master::core::entries::Written;
use master::core::settings::Settings;
use master::core::turn::{Effect, Nowhere, Outgoing, Turn};
use master::testing::native::Native;
use master::testing::{App, Worker, driver};

const EVENTS: u32 = 400;
const RUNS: u64 = 12;

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ (mixed >> 31)) % u64::from(bound)).unwrap()
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let count = u32::try_from(all.len()).unwrap();
        if count == 0 {
            return None;
        }
        all.get(usize::try_from(self.below(count)).unwrap())
    }
}

/// Runs one event, and returns what it led to.
fn event(core: &mut Core, happens: impl FnOnce(&mut Core, &mut Turn<'_>)) -> Vec<Effect> {
    let mut store = Nowhere;
    let mut turn = Turn::new(1, &mut store);
    happens(core, &mut turn);
    core.settle(&mut turn);
    turn.into_effects()
}

fn started(dice: &mut Dice) -> Core {
    let flag = |dice: &mut Dice| ["true", "false"][dice.below(2) as usize].to_owned();
    let selections = [
        "CORES_FREE_DESC",
        "CORES_FREE_ASC",
        "MEMORY_FREE_DESC",
        "MEMORY_FREE_ASC",
        "WORKER_ID",
    ];
    let mut config = vec![
        ("spread_out_apps".to_owned(), flag(dice)),
        ("spread_out_drivers".to_owned(), flag(dice)),
        (
            "worker_selection_policy".to_owned(),
            (*dice.one_of(&selections).unwrap()).to_owned(),
        ),
    ];
    if dice.below(2) == 0 {
        config.push(("max_drivers".to_owned(), "3".to_owned()));
    }
    let settings = Settings::read(&config).unwrap();
    let mut core = Core::new(settings, EndpointRef::remote("Master", "m:7077"));
    event(&mut core, |core, turn| {
        core.elected(turn, Written::default())
    });
    core
}

/// One event of any sort.
fn anything(core: &mut Core, dice: &mut Dice) -> Vec<Effect> {
    let mut native = Native::default();
    let state = core.master_state("").unwrap();
    let host = dice.below(12);
    match dice.below(12) {
        0 | 1 => {
            let life = dice.below(3);
            let id = format!("w-{host}-{life}");
            let worker = Worker::new(
                &mut native,
                &id,
                u16::try_from(host).unwrap(),
                1 + (7 * host + 5 * life) % 12,
                64 * (1 + (3 * host + 11 * life) % 16),
            );
            let worker = worker.with("gpu", ((host + 2 * life) % 5) as usize);
            event(core, |core, turn| {
                core.register_worker(turn, worker.registration())
            })
        }
        2 => {
            let mut app = App::new(&mut native, "app", u16::try_from(100 + host).unwrap());
            app.description.max_cores = (dice.below(2) == 0).then(|| 1 + dice.below(30));
            app.description.initial_executor_limit = (dice.below(2) == 0).then(|| dice.below(9));
            app.description.default_profile = profile(0, dice);
            let message = RegisterApplication {
                application: app.description,
                driver: app.peer.reference,
            };
            event(core, |core, turn| core.register_application(turn, message))
        }
        3 => {
            let address = format!("peer-{host}:{}", 7000 + host);
            let address = match dice.below(3) {
                0 => address,
                _ => format!("peer-{}:{}", 100 + host, 7100 + host),
            };
            event(core, |core, _| core.disconnected(&address))
        }
        4 => {
            let Some(app) = dice.one_of(&state.active_apps) else {
                return Vec::new();
            };
            let id = dice.below(3);
            let ask = RequestExecutors {
                app_id: app.id.clone(),
                totals: BTreeMap::from([(profile(id, dice), dice.below(9))]),
            };
            event(core, |core, turn| {
                core.request_executors(turn, ask).unwrap();
            })
        }
        5 => {
            let Some(app) = dice.one_of(&state.active_apps) else {
                return Vec::new();
            };
            let ask = KillExecutors {
                app_id: app.id.clone(),
                executor_ids: vec![dice.below(9), dice.below(30)],
            };
            event(core, |core, turn| {
                core.kill_executors(turn, ask);
            })
        }
        6 | 7 => {
            let executors = state.active_apps.iter().flat_map(|app| &app.executors);
            let executors: Vec<_> = executors.map(|executor| &executor.description).collect();
            let Some(executor) = dice.one_of(&executors) else {
                return Vec::new();
            };
            let states = [
                ExecutorState::Running,
                ExecutorState::Running,
                ExecutorState::Exited,
                ExecutorState::Failed,
            ];
            let ask = ExecutorStateChanged {
                app_id: executor.app_id.clone(),
                executor_id: executor.executor_id,
                state: *dice.one_of(&states).unwrap(),
                message: String::new(),
                exit_status: Some(1),
            };
            event(core, |core, turn| {
                core.executor_state_changed(turn, ask).unwrap();
            })
        }
        8 => {
            let mut description = driver(dice.below(2) == 0);
            description.cores = 1 + dice.below(4);
            description.resources = gpus(dice);
            event(core, |core, turn| {
                core.submit_driver(turn, RequestSubmitDriver { description });
            })
        }
        9 => {
            let Some(one) = dice.one_of(&state.active_drivers) else {
                return Vec::new();
            };
            let driver_id = one.id.clone();
            if dice.below(3) == 0 {
                return event(core, |core, turn| {
                    core.kill_driver(turn, RequestKillDriver { driver_id });
                });
            }
            let ask = DriverStateChanged {
                driver_id,
                state: DriverState::Finished,
                message: String::new(),
                exit_status: Some(0),
            };
            event(core, |core, turn| {
                core.driver_state_changed(turn, ask).unwrap();
            })
        }
        10 => {
            if let (Some(app), 0) = (dice.one_of(&state.active_apps), dice.below(2)) {
                let app_id = app.id.clone();
                return event(core, |core, turn| {
                    core.unregister_application(turn, UnregisterApplication { app_id });
                });
            }
            let ask = DecommissionWorkersOnHosts {
                hosts: vec![format!("host-{host}")],
            };
            event(core, |core, _| {
                core.decommission_hosts(ask);
            })
        }
        _ => {
            for worker in &state.workers {
                if dice.below(3) > 0 {
                    let heartbeat = Heartbeat {
                        worker_id: worker.id.clone(),
                        worker: EndpointRef::remote(
                            "Worker",
                            format!("peer-{}:{}", worker.port - 7000, worker.port),
                        ),
                    };
                    event(core, |core, turn| core.heartbeat(turn, heartbeat));
                }
            }
            event(core, |core, _| core.check_workers())
        }
    }
}

fn profile(id: u32, dice: &mut Dice) -> ResourceProfile {
    ResourceProfile {
        id,
        cores: (dice.below(3) > 0).then(|| 1 + dice.below(4)),
        memory_mb: Some(32 * (1 + dice.below(8))),
        resources: gpus(dice),
    }
}

fn gpus(dice: &mut Dice) -> Vec<ResourceRequirement> {
    match dice.below(3) {
        0 => vec![ResourceRequirement {
            name: "gpu".to_owned(),
            amount: 1 + dice.below(2),
        }],
        _ => Vec::new(),
    }
}

/// What a worker gives is what those have that it lists, and never more than it has.
fn the_books_are_right(state: &MasterStateResponse) {
    for worker in &state.workers {
        let executors = state.active_apps.iter().flat_map(|app| &app.executors);
        let executors: Vec<_> = executors
            .filter(|executor| executor.worker_id == worker.id)
            .collect();
        let drivers = state.active_drivers.iter();
        let drivers: Vec<_> = drivers
            .filter(|driver| worker.drivers.contains(&driver.id))
            .collect();
        if worker.state == WorkerState::Dead {
            assert!(worker.executors.is_empty() && worker.drivers.is_empty());
            continue;
        }
        assert_eq!(worker.executors.len(), executors.len(), "{}", worker.id);
        assert_eq!(worker.drivers.len(), drivers.len(), "{}", worker.id);
        let cores = executors.iter().map(|executor| executor.description.cores);
        let cores = cores.chain(drivers.iter().map(|driver| driver.description.cores));
        assert_eq!(worker.cores_used, cores.sum::<u32>(), "{}", worker.id);
        let memory = executors
            .iter()
            .map(|executor| executor.description.memory_mb);
        let memory = memory.chain(drivers.iter().map(|driver| driver.description.memory_mb));
        assert_eq!(worker.memory_used_mb, memory.sum::<u32>(), "{}", worker.id);
        assert!(worker.cores_used <= worker.cores && worker.memory_used_mb <= worker.memory_mb);

        let given = executors.iter().map(|executor| &executor.resources);
        let given = given.chain(drivers.iter().map(|driver| &driver.resources));
        let mut given: Vec<&String> = given
            .flatten()
            .flat_map(|resource| &resource.addresses)
            .collect();
        given.sort();
        let used = worker.resources_used.iter();
        let used: Vec<&String> = used.flat_map(|resource| &resource.addresses).collect();
        assert_eq!(given, used, "{}", worker.id);
    }
    for app in &state.active_apps {
        let counting = app.executors.iter();
        let counting =
            counting.filter(|executor| executor.description.state != ExecutorState::Decommissioned);
        let cores: u32 = counting.map(|executor| executor.description.cores).sum();
        assert_eq!(app.cores_granted, cores, "{}", app.id);
        let max = app.description.max_cores.unwrap_or(u32::MAX);
        assert!(app.cores_granted <= max, "{}", app.id);
    }
}

/// What looks only at what changed misses nothing: a full pass afterwards launches nothing.
fn nothing_that_fits_waits(core: &Core) {
    let mut again = core.clone();
    again.look_again();
    for effect in event(&mut again, |_, _| ()) {
        let launches = matches!(
            effect,
            Effect::Send(_, Outgoing::LaunchExecutor(_) | Outgoing::LaunchDriver(_))
        );
        assert!(!launches, "was missed: {effect:?}");
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |value| value.parse().unwrap())
}

#[test]
fn the_books_are_right_and_nothing_that_fits_waits_after_any_event() {
    let first = from_environment("INSTAR_SEED", 1);
    for seed in first..first + from_environment("INSTAR_RUNS", RUNS) {
        let run = std::panic::catch_unwind(|| {
            let mut dice = Dice(seed);
            let mut core = started(&mut dice);
            for _ in 0..EVENTS {
                anything(&mut core, &mut dice);
                the_books_are_right(&core.master_state("").unwrap());
                nothing_that_fits_waits(&core);
            }
        });
        assert!(run.is_ok(), "again with INSTAR_SEED={seed} INSTAR_RUNS=1");
    }
}
