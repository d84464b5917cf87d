//! What becomes of a driver: `DriverRunnerTest` of Spark, and the rest.

mod common;

use common::{
    advance_ms, command, driver, exits, kill_driver, launch_driver, logged, look, note_all,
    one_launch, registered, runs,
};
use deploy_protocol::{DriverState, DriverStateChanged, Program};
use instar_sdk::launching::{self, LaunchChange, LaunchId};

/// How the master was told that the driver ended.
fn told(worker: &common::TestWorker) -> (DriverState, String, Option<i32>) {
    let mut asked = worker.asked::<DriverStateChanged>();
    assert_eq!(asked.len(), 1, "one end is expected");
    let told = asked.remove(0).request;
    (told.state, told.message, told.exit_status)
}

/// Fails the run `launch`, and returns the next one, which begins exactly after `wait_s`.
fn fails_and_restarts_after(
    worker: &mut common::TestWorker,
    launch: LaunchId,
    wait_s: u64,
) -> LaunchId {
    exits(worker, launch, 1);
    advance_ms(worker, wait_s * 1000 - 1);
    assert!(worker.launches().is_empty(), "before {wait_s} s");
    advance_ms(worker, 1);
    one_launch(worker).0
}

#[test]
fn a_driver_is_one_endpoint_with_its_name() {
    let mut worker = registered(&[]);
    let mut order = driver(1, false);
    let what = &mut order.description.command;
    what.arguments = vec!["{{DRIVER_ID}}".to_owned()];
    what.environment
        .insert("url".to_owned(), "{{WORKER_URL}}".to_owned());
    worker.send(&order);
    let (_, workload) = one_launch(&mut worker);
    assert_eq!(workload.folder, "driver-1");
    assert_eq!((workload.memory_mb, workload.cpu_percent), (256, 100));
    let launching::Program::Endpoint { names, config } = workload.program else {
        panic!("an endpoint was ordered");
    };
    assert_eq!(names, ["driver-1"]);
    for (key, value) in [
        ("masters", "m1:7077,m2:7077"),
        ("driver_id", "driver-1"),
        ("app_name", "driver-1"),
        ("arguments", r#"["driver-1"]"#),
        ("url", "instar://Worker@test-host:7077"),
    ] {
        assert_eq!(config[key], value);
    }
}

#[test]
fn who_submits_a_driver_may_say_its_masters_and_its_name() {
    let mut worker = registered(&[]);
    let mut order = driver(1, false);
    order.description.command.environment = [("masters", "m9:1"), ("app_name", "pi")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    worker.send(&order);
    let launching::Program::Endpoint { config, .. } = one_launch(&mut worker).1.program else {
        panic!("an endpoint was ordered");
    };
    assert_eq!(
        (config["masters"].as_str(), config["app_name"].as_str()),
        ("m9:1", "pi")
    );
}

#[test]
fn a_driver_may_be_a_command() {
    let mut worker = registered(&[]);
    let mut order = driver(1, false);
    order.description.command = command(Program::Command);
    worker.send(&order);
    let program = one_launch(&mut worker).1.program;
    assert!(
        matches!(program, launching::Program::Command { arguments, .. } if arguments == ["driver-1"])
    );
}

/// D1, D7.
#[test]
fn exit_0_at_once_is_finished_after_one_run() {
    let mut worker = registered(&[]);
    let launch = launch_driver(&mut worker, &driver(1, true));
    runs(&mut worker, launch);
    exits(&mut worker, launch, 0);
    let expected = (DriverState::Finished, "status 0".to_owned(), Some(0));
    assert_eq!(told(&worker), expected);
    note_all(&mut worker);
    advance_ms(&mut worker, 1_000_000);
    assert!(worker.launches().is_empty());
    let now = look(&mut worker);
    assert!(now.drivers.is_empty());
    assert_eq!((now.finished_drivers[0].starts, now.cores_used), (1, 0));
}

/// D2.
#[test]
fn three_failures_of_a_supervised_driver_wait_1_2_and_4_seconds() {
    let mut worker = registered(&[]);
    let mut launch = launch_driver(&mut worker, &driver(1, true));
    for wait_s in [1, 2, 4] {
        runs(&mut worker, launch);
        launch = fails_and_restarts_after(&mut worker, launch, wait_s);
    }
    runs(&mut worker, launch);
    exits(&mut worker, launch, 0);
    assert_eq!(told(&worker).0, DriverState::Finished);
    assert_eq!(look(&mut worker).finished_drivers[0].starts, 4);
}

/// D3, D8.
#[test]
fn a_failure_of_an_unsupervised_driver_is_failed_after_one_run() {
    let mut worker = registered(&[]);
    let launch = launch_driver(&mut worker, &driver(1, false));
    exits(&mut worker, launch, 101);
    let expected = (DriverState::Failed, "status 101".to_owned(), Some(101));
    assert_eq!(told(&worker), expected);
    note_all(&mut worker);
    advance_ms(&mut worker, 1_000_000);
    assert!(worker.launches().is_empty());
}

/// D4, D6.
#[test]
fn a_killed_driver_is_killed_and_does_not_start_again() {
    for last in [
        LaunchChange::Killed,
        LaunchChange::Exited {
            status: 143,
            reason: String::new(),
        },
    ] {
        let mut worker = registered(&[]);
        let launch = launch_driver(&mut worker, &driver(1, true));
        runs(&mut worker, launch);
        worker.send(&kill_driver(1));
        assert_eq!(worker.kills(), [launch]);
        worker.launch_changed(launch, last);
        assert_eq!(told(&worker).0, DriverState::Killed);
        note_all(&mut worker);
        advance_ms(&mut worker, 1_000_000);
        assert!(worker.launches().is_empty());
    }
}

#[test]
fn a_driver_that_ended_well_before_the_kill_is_finished() {
    let mut worker = registered(&[]);
    let launch = launch_driver(&mut worker, &driver(1, true));
    worker.send(&kill_driver(1));
    exits(&mut worker, launch, 0);
    assert_eq!(told(&worker).0, DriverState::Finished);
}

/// D5.
#[test]
fn a_run_of_more_than_five_seconds_begins_the_waits_anew() {
    let mut worker = registered(&[]);
    let mut launch = launch_driver(&mut worker, &driver(1, true));
    for (run_ms, wait_s) in [(4_999, 1), (4_999, 2), (5_000, 1), (0, 2)] {
        runs(&mut worker, launch);
        advance_ms(&mut worker, run_ms);
        launch = fails_and_restarts_after(&mut worker, launch, wait_s);
    }
}

/// The time of fetching is no run.
#[test]
fn the_time_before_it_runs_does_not_count() {
    let mut worker = registered(&[]);
    let mut launch = launch_driver(&mut worker, &driver(1, true));
    for wait_s in [1, 2] {
        advance_ms(&mut worker, 10_000);
        launch = fails_and_restarts_after(&mut worker, launch, wait_s);
    }
}

#[test]
fn a_kill_ends_the_wait_at_once() {
    let mut worker = registered(&[]);
    let launch = launch_driver(&mut worker, &driver(1, true));
    exits(&mut worker, launch, 1);
    worker.send(&kill_driver(1));
    let expected = (DriverState::Killed, "status 1".to_owned(), Some(1));
    assert_eq!(told(&worker), expected);
    note_all(&mut worker);
    advance_ms(&mut worker, 10_000);
    assert!(worker.launches().is_empty() && look(&mut worker).drivers.is_empty());
}

/// Spark's waits have no bound: after twenty failures it is six days.
#[test]
fn the_waits_grow_to_five_minutes_and_no_further() {
    let mut worker = registered(&[]);
    let mut launch = launch_driver(&mut worker, &driver(1, true));
    for wait_s in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        launch = fails_and_restarts_after(&mut worker, launch, wait_s);
    }
}

/// D9.
#[test]
fn one_that_cannot_be_started_is_error_with_the_reason() {
    let mut worker = registered(&[]);
    let launch = launch_driver(&mut worker, &driver(1, true));
    let reason = "wrong hash".to_owned();
    worker.launch_changed(launch, LaunchChange::Failed { reason });
    let expected = (DriverState::Error, "wrong hash".to_owned(), None);
    assert_eq!(told(&worker), expected);
    assert!(look(&mut worker).drivers.is_empty());
}

#[test]
fn one_that_is_too_large_for_the_worker_is_error() {
    let mut worker = registered(&[]);
    let mut order = driver(1, true);
    order.description.memory_mb = 5000;
    worker.send(&order);
    assert!(worker.launches().is_empty());
    assert_eq!(told(&worker).0, DriverState::Error);
}

#[test]
fn a_second_order_for_a_driver_that_is_here_changes_nothing() {
    let mut worker = registered(&[]);
    launch_driver(&mut worker, &driver(1, true));
    worker.send(&driver(1, true));
    assert!(worker.launches().is_empty());
    assert_eq!(worker.asked::<DriverStateChanged>().len(), 0);
    assert_eq!(logged(&mut worker, "it runs here already").len(), 1);
}

/// In Spark it is only logged, and a driver whose end was lost stays RUNNING for ever.
#[test]
fn a_kill_of_one_that_is_not_here_is_answered_with_killed() {
    let mut worker = registered(&[]);
    worker.send(&kill_driver(9));
    worker.send(&kill_driver(9));
    assert_eq!(logged(&mut worker, "does not run here").len(), 2);
    let (state, message, status) = told(&worker);
    assert_eq!((state, status), (DriverState::Killed, None));
    assert!(message.contains("does not run here"), "{message}");
    note_all(&mut worker);
    assert!(worker.kills().is_empty());
}

#[test]
fn a_kill_of_one_whose_end_is_not_noted_yet_does_not_change_how_it_ended() {
    let mut worker = registered(&[]);
    let launch = launch_driver(&mut worker, &driver(1, false));
    exits(&mut worker, launch, 0);
    worker.send(&kill_driver(1));
    assert_eq!(told(&worker).0, DriverState::Finished);
}

/// Only ends are reported: a master raises an error for others.
#[test]
fn nothing_is_reported_between_runs() {
    let mut worker = registered(&[]);
    let launch = launch_driver(&mut worker, &driver(1, true));
    runs(&mut worker, launch);
    exits(&mut worker, launch, 1);
    assert_eq!(worker.asked::<DriverStateChanged>().len(), 0);
    let now = look(&mut worker);
    assert_eq!(now.drivers[0].state, DriverState::Running);
    assert_eq!(now.cores_used, 1, "it holds what it has");
}

/// How many ended drivers are shown after each of `count` ends.
fn shown(retained: &str, count: u32) -> Vec<usize> {
    let mut worker = registered(&[("retained_drivers", retained)]);
    let mut shown = Vec::new();
    for number in 0..count {
        let launch = launch_driver(&mut worker, &driver(number, false));
        exits(&mut worker, launch, 0);
        note_all(&mut worker);
        shown.push(look(&mut worker).finished_drivers.len());
    }
    shown
}

/// W5.
#[test]
fn of_two_retained_drivers_the_oldest_leaves_for_the_third() {
    assert_eq!(shown("2", 5), [1, 2, 2, 2, 2]);
}

/// W6.
#[test]
fn of_thirty_retained_drivers_a_tenth_leaves_when_there_are_more() {
    let expected: Vec<usize> = (0..50)
        .map(|i| if i < 30 { i + 1 } else { 28 + (i - 30) % 3 })
        .collect();
    assert_eq!(shown("30", 50), expected);
}
