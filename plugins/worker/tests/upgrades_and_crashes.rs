//! What a worker keeps: all of it in a swap; after a crash, what the host launched for it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{
    TestWorker, advance_ms, dialled, driver, executor, exits, kill_driver, kill_executor,
    launch_driver, launch_executor, look, note_all, one_launch, register, registered, reports,
    runs,
};
use deploy_protocol::{
    DriverState, DriverStateChanged, ExecutorState, ExecutorStateChanged, Heartbeat,
    RegisterWorker, WorkerLatestState,
};
use instar_sdk::launching::{LaunchChange, LaunchChanged, LaunchId};
use instar_sdk::{Bytes, EndpointRef, Failure};
use worker::Worker;
use worker::core::{Core, Effect, Effects, Start};
use worker::messages::{Due, Wake};

fn swap(worker: TestWorker) -> TestWorker {
    let next = worker.upgrade::<Worker>();
    next.unwrap_or_else(|refused| panic!("{}", refused.reason))
}

#[test]
fn a_swap_keeps_everything_and_launches_nothing_again() {
    let mut worker = registered(&[("decommission_enabled", "true")]);
    let first = launch_executor(&mut worker, &executor(0));
    runs(&mut worker, first);
    note_all(&mut worker);
    let second = launch_executor(&mut worker, &executor(1));
    let supervised = launch_driver(&mut worker, &driver(1, true));
    let ended = launch_driver(&mut worker, &driver(2, false));
    exits(&mut worker, ended, 0);
    let before = look(&mut worker);

    let mut worker = swap(worker);
    assert_eq!(look(&mut worker), before);
    assert_eq!(dialled(&mut worker), Vec::<String>::new());
    assert!(worker.launches().is_empty());

    // Launches, asks and timers come to the new version.
    runs(&mut worker, second);
    assert_eq!(reports(&worker).len(), 1);
    note_all(&mut worker);
    exits(&mut worker, supervised, 1);
    worker.sent::<Heartbeat>();
    let mut worker = swap(worker);
    advance_ms(&mut worker, 1000);
    let restarted = one_launch(&mut worker).0;
    let mut worker = swap(worker);
    worker.send(&kill_executor(0));
    worker.send(&kill_driver(1));
    assert_eq!(worker.kills(), [first, restarted]);
    advance_ms(&mut worker, 14_000);
    assert_eq!(worker.sent::<Heartbeat>().len(), 1);
    assert_eq!(
        worker.asked::<DriverStateChanged>().len(),
        0,
        "noted before"
    );
}

#[test]
fn a_report_that_waits_goes_along_in_a_swap() {
    let mut worker = registered(&[]);
    let launch = launch_executor(&mut worker, &executor(0));
    worker.disconnected("m1:7077");
    exits(&mut worker, launch, 0);
    let mut worker = swap(worker);
    register(&mut worker, "m1:7077");
    let to = "m1:7077".to_owned();
    assert_eq!(reports(&worker), [(to, 0, ExecutorState::Exited)]);
}

#[test]
fn the_registration_schedule_goes_on_in_a_swap() {
    let mut worker = common::start(&[]);
    advance_ms(&mut worker, 3 * 10_666);
    let mut worker = swap(worker);
    advance_ms(&mut worker, 3 * 10_666 + 11 * 63_994 - 1);
    assert!(!worker.asked_to_stop());
    advance_ms(&mut worker, 1);
    assert!(worker.asked_to_stop());
}

/// A crash without a copy of the state.
#[test]
fn after_a_crash_what_runs_is_taken_up_and_nothing_is_launched_again() {
    let mut worker = registered(&[]);
    let mut order = executor(3);
    order.resources = common::gpus(&["1"]);
    let first = launch_executor(&mut worker, &order);
    runs(&mut worker, first);
    note_all(&mut worker);
    let second = launch_driver(&mut worker, &driver(1, true));
    let before = look(&mut worker);

    worker.restart();
    assert!(worker.launches().is_empty() && worker.kills().is_empty());
    let after = look(&mut worker);
    assert_eq!(
        after.worker_id, before.worker_id,
        "the same worker to its master"
    );
    assert_eq!(after.cores_used, before.cores_used);
    assert_eq!(after.memory_used_mb, before.memory_used_mb);
    assert_eq!(after.resources_used, before.resources_used);
    assert_eq!(
        after.executors[0].description,
        before.executors[0].description
    );
    assert_eq!(after.executors[0].app_name, "pi");
    assert_eq!(after.drivers[0].description, before.drivers[0].description);

    assert_eq!(dialled(&mut worker), ["m1:7077", "m2:7077"]);
    worker.send(&common::registered_by("m1:7077"));
    let (_, latest) = worker.sent::<WorkerLatestState>().remove(0);
    assert_eq!((latest.executors.len(), latest.driver_ids.len()), (1, 1));

    worker.send(&kill_executor(3));
    worker.send(&kill_driver(1));
    assert_eq!(worker.kills(), [first, second]);
}

/// Whether the master was told is not known, so it is told again.
#[test]
fn after_a_crash_the_master_is_told_what_runs_and_how_it_ends() {
    let mut worker = registered(&[]);
    let launch = launch_executor(&mut worker, &executor(3));
    worker.restart();
    register(&mut worker, "m1:7077");
    let to = || "m1:7077".to_owned();
    assert_eq!(reports(&worker), [(to(), 3, ExecutorState::Running)]);
    note_all(&mut worker);
    exits(&mut worker, launch, 3);
    assert_eq!(reports(&worker), [(to(), 3, ExecutorState::Exited)]);
}

#[test]
fn after_a_crash_a_driver_is_still_supervised_and_its_runs_are_counted_on() {
    let mut worker = registered(&[]);
    let mut launch = launch_driver(&mut worker, &driver(1, true));
    exits(&mut worker, launch, 1);
    advance_ms(&mut worker, 1000);
    launch = one_launch(&mut worker).0;
    worker.restart();
    assert_eq!(look(&mut worker).drivers[0].starts, 2);
    exits(&mut worker, launch, 1);
    advance_ms(&mut worker, 1999);
    assert!(worker.launches().is_empty(), "the second wait is 2 s");
    advance_ms(&mut worker, 1);
    assert_eq!(worker.launches().len(), 1);
    assert_eq!(look(&mut worker).drivers[0].starts, 3);
}

/// What asks and timers of a life before bring back is nothing to this one.
#[test]
fn after_a_crash_timers_and_answers_of_before_are_ignored() {
    let mut worker = registered(&[]);
    let launch = launch_executor(&mut worker, &executor(0));
    runs(&mut worker, launch);
    let before = worker.asked::<ExecutorStateChanged>().remove(0);
    worker.restart();
    register(&mut worker, "m1:7077");
    let noted = deploy_protocol::ExecutorStateNoted { noted: true };
    worker.answer(&before, Ok(noted));
    assert_eq!(reports(&worker).len(), 1, "its own report still waits");
    advance_ms(&mut worker, 15_000);
    assert_eq!(worker.sent::<Heartbeat>().len(), 1, "not one for each life");
}

/// A crash with a copy of the state: what the master was told since is forgotten.
#[test]
fn after_a_crash_it_registers_again_and_the_master_hears_what_runs() {
    let mut worker = registered(&[]);
    let launch = launch_executor(&mut worker, &executor(3));
    runs(&mut worker, launch);
    note_all(&mut worker);
    worker.error(Failure::new("its handler failed"));
    assert_eq!(dialled(&mut worker), Vec::<String>::new());
    worker.error(Failure::with_code(Failure::CRASHED, "it trapped"));
    assert_eq!(dialled(&mut worker), ["m1:7077", "m2:7077"]);
    worker.send(&common::registered_by("m1:7077"));
    let (_, latest) = worker.sent::<WorkerLatestState>().remove(0);
    assert_eq!(latest.executors.len(), 1);
    advance_ms(&mut worker, 1_000_000);
    assert_eq!(dialled(&mut worker), Vec::<String>::new());
}

/// The host tells of the crash then, too.
#[test]
fn after_a_crash_without_a_copy_it_registers_once() {
    let mut worker = registered(&[]);
    worker.restart();
    worker.error(Failure::with_code(Failure::CRASHED, "it trapped"));
    assert_eq!(dialled(&mut worker), ["m1:7077", "m2:7077"]);
}

/// The round that the copy shows may have had its last tick.
#[test]
fn after_a_crash_in_the_middle_of_registering_the_schedule_begins_anew_and_only_once() {
    let mut worker = common::start(&[]);
    advance_ms(&mut worker, 10_666 + 5_000);
    dialled(&mut worker);
    worker.error(Failure::with_code(Failure::CRASHED, "it trapped"));
    assert_eq!(dialled(&mut worker), ["m1:7077", "m2:7077"]);
    advance_ms(&mut worker, 10_665);
    assert_eq!(dialled(&mut worker), Vec::<String>::new());
    advance_ms(&mut worker, 1);
    assert_eq!(dialled(&mut worker), ["m1:7077", "m2:7077"]);
}

#[test]
fn a_worker_that_launched_nothing_is_another_one_after_a_crash() {
    let mut worker = common::start(&[("worker_id_pattern", "w")]);
    worker.restart();
    assert_eq!(worker.sent::<RegisterWorker>().len(), 4);
}

// What follows is about an older copy of the state, a checkpoint. The core is a value, so a copy of it is
// one.

/// A core, the host around it, and what it wants.
struct Host {
    core: Core,
    out: Effects,
    launched: Vec<(LaunchId, Bytes)>,
    next_launch: u64,
}

impl Host {
    fn registered() -> Self {
        let config = common::config(&[]).into_iter();
        let mut out = Effects::new();
        let start = Start {
            config: config.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            this: EndpointRef::remote("Worker", "w:1"),
            now_ms: 0,
            chance: 4,
            launched: Vec::new(),
        };
        let core = Core::start(start, &mut out).unwrap();
        let mut host = Self {
            core,
            out,
            launched: Vec::new(),
            next_launch: 1,
        };
        host.turn(|core, out| core.registered(common::registered_by("m1:7077"), out));
        host
    }

    fn turn(&mut self, decide: impl FnOnce(&mut Core, &mut Effects)) {
        self.out.clear();
        decide(&mut self.core, &mut self.out);
        for effect in self.out.clone() {
            if let Effect::Launch { subject, token, .. } = effect {
                // Its fields are the SDK's own; as data it is a number.
                let id: LaunchId = serde_json::from_value(self.next_launch.into()).unwrap();
                self.next_launch += 1;
                self.launched.push((id, token));
                self.core.launch_made(&subject, Ok(id), &mut self.out);
            }
        }
    }

    fn due(&mut self, what: Wake) {
        let (life, launched) = (4, self.launched.clone());
        self.turn(|core, out| core.due(Due { life, what }, || launched, out));
    }

    fn told(&self) -> Vec<String> {
        let reports = self.out.iter().filter_map(|effect| match effect {
            Effect::Report { report, .. } => Some(format!("{report:?}")),
            _ => None,
        });
        reports.collect()
    }

    fn launches(&self) -> usize {
        let launches = self.out.iter();
        launches
            .filter(|effect| matches!(effect, Effect::Launch { .. }))
            .count()
    }
}

#[test]
fn what_an_older_copy_does_not_know_is_taken_up_with_the_next_heartbeat() {
    let mut host = Host::registered();
    let copy = host.core.clone();
    host.turn(|core, out| core.launch_executor(executor(0), out));
    host.core = copy;
    assert!(host.core.look().executors.is_empty());
    host.due(Wake::Heartbeat);
    assert_eq!(host.core.look().executors.len(), 1);
    assert!(host.told()[0].contains("Running"), "{:?}", host.told());
    host.due(Wake::Heartbeat);
    assert!(host.told().is_empty(), "once");
}

#[test]
fn or_at_once_if_it_is_to_be_killed() {
    let mut host = Host::registered();
    let copy = host.core.clone();
    host.turn(|core, out| core.launch_executor(executor(0), out));
    host.core = copy;
    let launched = host.launched.clone();
    host.turn(|core, out| core.kill_executor(kill_executor(0), || launched, out));
    assert!(matches!(host.out.last(), Some(Effect::Kill(id)) if *id == host.launched[0].0));
}

/// Its notice may be queued, so it is missed twice before it counts.
#[test]
fn what_an_older_copy_believes_to_run_is_lost_when_two_heartbeats_miss_it() {
    let mut host = Host::registered();
    host.turn(|core, out| core.launch_executor(executor(0), out));
    host.turn(|core, out| core.launch_driver(driver(1, false), out));
    host.launched.clear();
    host.due(Wake::Heartbeat);
    assert_eq!(host.core.look().executors.len(), 1);
    host.due(Wake::Heartbeat);
    let now = host.core.look();
    assert!(now.executors.is_empty() && now.drivers.is_empty());
    let state = now.finished_executors[0].description.state;
    assert_eq!(state, ExecutorState::Lost);
    assert_eq!(now.finished_drivers[0].state, DriverState::Failed);
    assert_eq!(host.told().len(), 2);
}

#[test]
fn a_notice_between_two_heartbeats_says_how_it_ended() {
    let mut host = Host::registered();
    host.turn(|core, out| core.launch_executor(executor(0), out));
    let (launch, token) = host.launched.remove(0);
    host.due(Wake::Heartbeat);
    let change = LaunchChange::Killed;
    let notice = LaunchChanged {
        launch,
        token,
        change,
    };
    host.turn(|core, out| core.launch_changed(notice, out));
    host.due(Wake::Heartbeat);
    let ended = &host.core.look().finished_executors;
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].description.state, ExecutorState::Killed);
}

/// The wait in the copy was over before the crash, and its timer comes again.
#[test]
fn a_driver_that_was_restarted_after_the_copy_is_not_restarted_again() {
    let mut host = Host::registered();
    host.turn(|core, out| core.launch_driver(driver(1, true), out));
    let (launch, token) = host.launched.remove(0);
    let change = LaunchChange::Exited {
        status: 1,
        reason: String::new(),
    };
    let notice = LaunchChanged {
        launch,
        token,
        change,
    };
    host.turn(|core, out| core.launch_changed(notice, out));
    let copy = host.core.clone();
    let restart = Wake::Restart {
        driver_id: "driver-1".to_owned(),
        run: 1,
    };
    host.due(restart.clone());
    assert_eq!(host.launches(), 1);
    host.core = copy;
    host.due(restart);
    assert_eq!(host.launches(), 0);
    assert_eq!(host.core.look().drivers[0].starts, 2);
}

/// The timer of the wait in the copy, and that of a later wait, are gone.
#[test]
fn a_driver_that_waits_in_the_copy_is_restarted_after_the_crash() {
    let mut host = Host::registered();
    host.turn(|core, out| core.launch_driver(driver(1, true), out));
    let (launch, token) = host.launched.remove(0);
    let change = LaunchChange::Exited {
        status: 1,
        reason: String::new(),
    };
    let notice = LaunchChanged {
        launch,
        token,
        change,
    };
    host.turn(|core, out| core.launch_changed(notice, out));
    host.turn(|core, out| core.crashed(&[], out));
    let again = host.out.iter().find_map(|effect| match effect {
        Effect::WakeAfter(_, wake @ Wake::Restart { .. }) => Some(wake.clone()),
        _ => None,
    });
    let again = again.unwrap();
    host.due(again.clone());
    assert_eq!(host.launches(), 1);
    host.due(again);
    assert_eq!(host.launches(), 0, "both timers came");
}

/// In the copy it is in its first run, or waits for the second, which goes on by now.
#[test]
fn a_kill_ends_a_later_run_than_that_of_the_copy() {
    for waits in [false, true] {
        let mut host = Host::registered();
        host.turn(|core, out| core.launch_driver(driver(1, true), out));
        let mut copy = host.core.clone();
        let (launch, token) = host.launched.remove(0);
        let change = LaunchChange::Exited {
            status: 1,
            reason: String::new(),
        };
        let notice = LaunchChanged {
            launch,
            token,
            change,
        };
        host.turn(|core, out| core.launch_changed(notice, out));
        if waits {
            copy = host.core.clone();
        }
        host.due(Wake::Restart {
            driver_id: "driver-1".to_owned(),
            run: 1,
        });
        host.core = copy;
        let launched = host.launched.clone();
        host.turn(|core, out| core.kill_driver(&kill_driver(1), || launched, out));
        let second = host.launched[0].0;
        assert!(host.out.contains(&Effect::Kill(second)), "waits: {waits}");
        assert!(host.told().is_empty(), "it goes on");
    }
}

/// The kill was for the driver: it holds for a run that is found later.
#[test]
fn a_run_that_is_taken_up_later_is_killed_if_its_driver_was() {
    let mut host = Host::registered();
    host.turn(|core, out| core.launch_driver(driver(1, true), out));
    host.turn(|core, out| core.kill_driver(&kill_driver(1), Vec::new, out));
    let (_, token) = host.launched.remove(0);
    let second: LaunchId = serde_json::from_value(2.into()).unwrap();
    host.launched.push((second, token.clone()));
    host.due(Wake::Heartbeat);
    assert!(host.out.contains(&Effect::Kill(second)));
    let change = LaunchChange::Exited {
        status: 143,
        reason: String::new(),
    };
    let notice = LaunchChanged {
        launch: second,
        token,
        change,
    };
    host.turn(|core, out| core.launch_changed(notice, out));
    let now = host.core.look();
    assert_eq!(now.finished_drivers[0].state, DriverState::Killed);
}

/// The end of a run that was given up comes late.
#[test]
fn a_notice_of_an_earlier_run_does_not_end_the_later_one() {
    let mut host = Host::registered();
    host.turn(|core, out| core.launch_driver(driver(1, true), out));
    let (launch, token) = host.launched.remove(0);
    host.due(Wake::Heartbeat);
    host.due(Wake::Heartbeat);
    host.due(Wake::Restart {
        driver_id: "driver-1".to_owned(),
        run: 1,
    });
    assert_eq!(host.launches(), 1);
    let change = LaunchChange::Killed;
    let notice = LaunchChanged {
        launch,
        token,
        change,
    };
    host.turn(|core, out| core.launch_changed(notice, out));
    assert_eq!(host.core.look().drivers.len(), 1);
    assert!(host.told().is_empty());
}

#[test]
fn a_token_that_cannot_be_read_costs_only_itself() {
    let mut host = Host::registered();
    host.turn(|core, out| core.launch_executor(executor(0), out));
    let id: LaunchId = serde_json::from_value(99.into()).unwrap();
    host.launched.push((id, Bytes::from("not ours")));
    host.due(Wake::Heartbeat);
    assert_eq!(host.core.look().executors.len(), 1);
    let notice = LaunchChanged {
        launch: id,
        token: Bytes::from("not ours"),
        change: LaunchChange::Killed,
    };
    host.turn(|core, out| core.launch_changed(notice, out));
    assert_eq!(host.core.look().executors.len(), 1);
}
