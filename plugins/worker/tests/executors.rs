//! What becomes of an executor.

mod common;

use std::collections::BTreeMap;

use common::{
    application, command, executor, exits, gpus, kill_executor, launch_executor, logged, look,
    note_all, one_launch, registered, reports, runs,
};
use deploy_protocol::{ExecutorState, ExecutorStateChanged, Program};
use instar_sdk::launching::{self, LaunchChange};

#[test]
fn an_executor_is_an_endpoint_for_each_of_its_cores() {
    let mut worker = registered(&[("cpu_percent_per_core", "80")]);
    let mut order = executor(7);
    order.cores = 3;
    worker.send(&order);
    let (_, workload) = one_launch(&mut worker);
    assert_eq!(workload.folder, "app-1/7");
    assert_eq!((workload.memory_mb, workload.cpu_percent), (512, 240));
    assert_eq!(workload.component.uri, "instar://d:1/files/app.wasm");
    assert_eq!(workload.component.sha256, "0".repeat(64));
    let launching::Program::Endpoint { names, config } = workload.program else {
        panic!("an endpoint was ordered");
    };
    assert_eq!(names, ["app-1.7.0", "app-1.7.1", "app-1.7.2"]);
    let arguments = ("arguments".to_owned(), "[]".to_owned());
    assert_eq!(config, BTreeMap::from([arguments]));
}

/// W23, and 4.4: what the worker knows stands in arguments and environment.
#[test]
fn what_stands_in_braces_is_replaced_and_the_last_argument_is_the_given_one() {
    let mut worker = registered(&[]);
    let mut order = executor(7);
    let mut what = command(Program::Endpoint);
    what.arguments = vec!["--id={{EXECUTOR_ID}}".to_owned(), "{{APP_ID}}".to_owned()];
    what.environment = [
        ("driver", "instar://d@h:1"),
        ("where", "{{WORKER_URL}} on {{HOSTNAME}}"),
        ("size", "{{CORES}} of profile {{RESOURCE_PROFILE_ID}}"),
        ("other", "{{DRIVER_ID}}"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    order.application = application(what);
    order.resource_profile_id = 2;
    order.resources = gpus(&["1", "0"]);
    worker.send(&order);
    let launching::Program::Endpoint { config, .. } = one_launch(&mut worker).1.program else {
        panic!("an endpoint was ordered");
    };
    for (key, value) in [
        ("arguments", r#"["--id=7","app-1"]"#),
        ("driver", "instar://d@h:1"),
        ("where", "instar://Worker@test-host:7077 on test-host"),
        ("size", "2 of profile 2"),
        ("other", "{{DRIVER_ID}}"),
        ("resources", r#"{"gpu":["0","1"]}"#),
    ] {
        assert_eq!(config[key], value);
    }
}

#[test]
fn a_command_gets_its_arguments_behind_its_name_and_its_environment() {
    let mut worker = registered(&[]);
    let mut order = executor(7);
    let mut what = command(Program::Command);
    what.arguments = vec!["{{APP_ID}}".to_owned()];
    what.environment = BTreeMap::from([("A".to_owned(), "{{CORES}}".to_owned())]);
    order.application = application(what);
    order.resources = gpus(&["0"]);
    worker.send(&order);
    let (_, workload) = one_launch(&mut worker);
    let launching::Program::Command {
        arguments,
        environment,
    } = workload.program
    else {
        panic!("a command was ordered");
    };
    assert_eq!(arguments, ["app-1/7", "app-1"]);
    assert_eq!(environment["A"], "2");
    assert_eq!(environment["INSTAR_RESOURCES"], r#"{"gpu":["0"]}"#);
}

#[test]
fn it_is_launching_then_running_then_exited_with_status_and_reason() {
    let mut worker = registered(&[]);
    let launch = launch_executor(&mut worker, &executor(0));
    let state = |worker: &mut common::TestWorker| look(worker).executors[0].description.state;
    assert_eq!(state(&mut worker), ExecutorState::Launching);
    assert_eq!(reports(&worker), []);

    runs(&mut worker, launch);
    assert_eq!(state(&mut worker), ExecutorState::Running);
    assert_eq!(look(&mut worker).executors[0].folder, "/work/x");
    let to = "m1:7077".to_owned();
    assert_eq!(reports(&worker), [(to, 0, ExecutorState::Running)]);
    note_all(&mut worker);

    exits(&mut worker, launch, 3);
    let expected = ExecutorStateChanged {
        app_id: "app-1".to_owned(),
        executor_id: 0,
        state: ExecutorState::Exited,
        message: "status 3".to_owned(),
        exit_status: Some(3),
    };
    assert_eq!(worker.asked::<ExecutorStateChanged>()[0].request, expected);
    let now = look(&mut worker);
    assert!(now.executors.is_empty());
    let ended = &now.finished_executors[0];
    assert_eq!(ended.description.state, ExecutorState::Exited);
    assert_eq!(
        (ended.exit_status, ended.app_name.as_str()),
        (Some(3), "pi")
    );
}

/// The end of one executor: how the master hears of it.
fn ends_as(change: LaunchChange, state: ExecutorState, message: &str, status: Option<i32>) {
    let mut worker = registered(&[]);
    let launch = launch_executor(&mut worker, &executor(0));
    worker.launch_changed(launch, change);
    let told = worker.asked::<ExecutorStateChanged>().remove(0).request;
    let found = (told.state, told.message.as_str(), told.exit_status);
    assert_eq!(found, (state, message, status));
}

#[test]
fn one_that_cannot_be_started_is_failed() {
    let reason = "no such file".to_owned();
    let change = LaunchChange::Failed { reason };
    ends_as(change, ExecutorState::Failed, "no such file", None);
}

#[test]
fn one_that_was_ended_is_killed() {
    ends_as(LaunchChange::Killed, ExecutorState::Killed, "", None);
}

#[test]
fn one_that_broke_is_exited_with_its_status() {
    let change = LaunchChange::Exited {
        status: 101,
        reason: "it trapped".to_owned(),
    };
    ends_as(change, ExecutorState::Exited, "it trapped", Some(101));
}

#[test]
fn a_kill_holds_what_the_executor_has_until_it_ended() {
    let mut worker = registered(&[]);
    let launch = launch_executor(&mut worker, &executor(0));
    runs(&mut worker, launch);
    worker.send(&kill_executor(0));
    assert_eq!(look(&mut worker).cores_used, 2);
    worker.launch_changed(launch, LaunchChange::Killed);
    assert_eq!(look(&mut worker).cores_used, 0);
}

#[test]
fn a_kill_of_one_that_is_not_here_is_logged() {
    let mut worker = registered(&[]);
    worker.send(&kill_executor(9));
    assert!(worker.kills().is_empty());
    assert_eq!(logged(&mut worker, "does not run here").len(), 1);
}

#[test]
fn cores_memory_and_resources_are_counted_from_the_order_to_the_end() {
    let mut worker = registered(&[("resources", r#"{"gpu": ["0", "1"]}"#)]);
    let mut first = executor(0);
    first.resources = gpus(&["1"]);
    let first = launch_executor(&mut worker, &first);
    let mut second = executor(1);
    second.resources = gpus(&["0"]);
    let second = launch_executor(&mut worker, &second);
    worker.send(&common::driver(1, false));
    let now = look(&mut worker);
    assert_eq!((now.cores_used, now.memory_used_mb), (5, 1280));
    assert_eq!(now.resources_used["gpu"], ["0", "1"]);
    let cores_free = worker.metric("coresFree");
    assert_eq!(cores_free, Some(instar_sdk::testing::Observed::Gauge(11.0)));

    exits(&mut worker, first, 0);
    worker.launch_changed(second, LaunchChange::Killed);
    let now = look(&mut worker);
    assert_eq!((now.cores_used, now.memory_used_mb), (1, 256));
    assert!(now.resources_used.is_empty());
}

#[test]
fn more_than_the_worker_has_and_nothing_at_all_are_refused_as_failed() {
    for (cores, memory_mb, reason) in [
        (17, 1, "17 cores"),
        (u32::MAX, 1, "cores"),
        (0, 1, "0 cores"),
        (1, 4097, "4097 MB"),
    ] {
        let mut worker = registered(&[]);
        let mut order = executor(0);
        (order.cores, order.memory_mb) = (cores, memory_mb);
        worker.send(&order);
        assert!(worker.launches().is_empty());
        let told = &worker.asked::<ExecutorStateChanged>()[0].request;
        assert_eq!(told.state, ExecutorState::Failed);
        assert!(told.message.contains(reason), "{}", told.message);
    }
}

/// The master frees what it kills at once, so it may be ahead of the worker.
#[test]
fn what_is_not_free_yet_is_launched_all_the_same() {
    let mut worker = registered(&[("cores", "2")]);
    let first = launch_executor(&mut worker, &executor(0));
    worker.send(&kill_executor(0));
    let second = launch_executor(&mut worker, &executor(1));
    worker.launch_changed(first, LaunchChange::Killed);
    runs(&mut worker, second);
    assert_eq!(look(&mut worker).cores_used, 2);
}

#[test]
fn a_number_that_still_runs_here_is_refused_and_the_first_goes_on() {
    let mut worker = registered(&[]);
    let launch = launch_executor(&mut worker, &executor(0));
    worker.send(&executor(0));
    assert!(worker.launches().is_empty());
    let told = &worker.asked::<ExecutorStateChanged>()[0].request;
    assert!(told.message.contains("still runs here"));
    runs(&mut worker, launch);
    assert_eq!(look(&mut worker).executors.len(), 1);
}

/// How many ended executors are shown after each of `count` ends.
fn shown(retained: &str, count: u32) -> Vec<usize> {
    let mut worker = registered(&[("retained_executors", retained)]);
    let mut shown = Vec::new();
    for number in 0..count {
        let launch = launch_executor(&mut worker, &executor(number));
        exits(&mut worker, launch, 0);
        note_all(&mut worker);
        let ended = look(&mut worker).finished_executors;
        let newest = ended.last().map(|e| e.description.executor_id);
        assert!(
            newest.is_none_or(|newest| newest == number),
            "the oldest leave"
        );
        shown.push(ended.len());
    }
    shown
}

/// W3.
#[test]
fn of_two_retained_executors_the_oldest_leaves_for_the_third() {
    assert_eq!(shown("2", 5), [1, 2, 2, 2, 2]);
}

/// W4.
#[test]
fn of_thirty_retained_executors_a_tenth_leaves_when_there_are_more() {
    let expected: Vec<usize> = (0..50)
        .map(|i| if i < 30 { i + 1 } else { 28 + (i - 30) % 3 })
        .collect();
    assert_eq!(shown("30", 50), expected);
}

#[test]
fn none_are_retained_if_none_are_wanted() {
    assert_eq!(shown("0", 3), [0, 0, 0]);
}
