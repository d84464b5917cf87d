//! Whom a worker obeys.

mod common;

use common::{
    driver, executor, exits, kill_driver, kill_executor, launch_driver, launch_executor, leads_now,
    logged, look, master_at, register, registered, runs, start,
};
use deploy_protocol::{
    DriverState, DriverStateChanged, ExecutorState, Heartbeat, ReconnectWorker, RegisterWorker,
    WorkerLatestState, WorkerSchedulerStateResponse,
};

#[test]
fn orders_of_the_master_that_was_adopted_are_carried_out() {
    let mut worker = registered(&[]);
    let launch = launch_executor(&mut worker, &executor(0));
    worker.send(&kill_executor(0));
    assert_eq!(worker.kills(), [launch]);
}

#[test]
fn orders_of_a_master_that_was_replaced_are_ignored_and_logged() {
    let mut worker = registered(&[]);
    let launch = launch_executor(&mut worker, &executor(0));
    worker.send(&leads_now("m2:7077"));
    worker.log();
    worker.send(&executor(1));
    worker.send(&kill_executor(0));
    worker.send(&driver(1, false));
    assert!(worker.launches().is_empty() && worker.kills().is_empty());
    assert_eq!(common::reports(&worker), [], "the new one ordered nothing");
    let said = logged(&mut worker, "instar://Master@m1:7077 wants to");
    assert_eq!(said.len(), 3);
    assert!(
        said[0]
            .text
            .contains("the master here is instar://Master@m2:7077")
    );
    let mut kill = kill_executor(0);
    kill.master = master_at("m2:7077");
    worker.send(&kill);
    assert_eq!(worker.kills(), [launch]);
}

/// Two names can be two masters: whoever replaced the other says so.
#[test]
fn the_same_host_under_another_name_is_another_master() {
    let mut worker = registered(&[]);
    let mut order = executor(0);
    order.master = master_at("m1.example:7077");
    worker.send(&order);
    assert!(worker.launches().is_empty());
    worker.send(&leads_now("m1.example:7077"));
    worker.send(&order);
    assert_eq!(worker.launches().len(), 1);
}

/// `KillDriver` does not say who wants it, so everybody is obeyed, as in Spark.
#[test]
fn a_kill_of_a_driver_is_not_guarded() {
    let mut worker = registered(&[]);
    let launch = launch_driver(&mut worker, &driver(1, false));
    worker.send(&leads_now("m2:7077"));
    worker.send(&kill_driver(1));
    assert_eq!(worker.kills(), [launch]);
}

#[test]
fn a_new_leader_is_told_of_every_executor_and_driver_with_its_resources() {
    let mut worker = registered(&[]);
    let mut order = executor(4);
    order.resources = common::gpus(&["0"]);
    let launch = launch_executor(&mut worker, &order);
    runs(&mut worker, launch);
    worker.send(&executor(5));
    let mut order = driver(7, true);
    order.resources = common::gpus(&["1"]);
    worker.send(&order);

    worker.send(&leads_now("m2:7077"));
    let (to, response) = worker.sent::<WorkerSchedulerStateResponse>().remove(0);
    assert_eq!(to, master_at("m2:7077"));
    assert_eq!(response.id, look(&mut worker).worker_id);
    let executors: Vec<_> = response
        .executors
        .iter()
        .map(|e| (e.executor.executor_id, e.executor.state, e.resources.len()))
        .collect();
    assert_eq!(
        executors,
        [
            (4, ExecutorState::Running, 1),
            (5, ExecutorState::Launching, 0)
        ]
    );
    assert_eq!(response.executors[0].executor.cores, 2);
    assert_eq!(response.executors[0].executor.memory_mb, 512);
    assert_eq!(response.drivers[0].driver_id, "driver-7");
    assert_eq!(response.drivers[0].resources, common::gpus(&["1"]));
}

#[test]
fn an_executor_whose_end_was_noted_is_on_no_list() {
    let mut worker = registered(&[]);
    let launch = launch_executor(&mut worker, &executor(4));
    runs(&mut worker, launch);
    exits(&mut worker, launch, 0);
    common::note_all(&mut worker);
    worker.send(&leads_now("m2:7077"));
    let (_, response) = worker.sent::<WorkerSchedulerStateResponse>().remove(0);
    assert!(response.executors.is_empty());
}

/// After a crash its queued messages are still there, and its master still means them.
#[test]
fn orders_before_the_first_master_are_carried_out_if_it_is_theirs() {
    let mut worker = start(&[]);
    worker.send(&executor(0));
    worker.send(&driver(1, false));
    assert!(worker.launches().is_empty());
    register(&mut worker, "m1:7077");
    assert_eq!(worker.launches().len(), 2);
}

#[test]
fn and_forgotten_if_it_is_another_one() {
    let mut worker = start(&[]);
    worker.send(&executor(0));
    register(&mut worker, "m2:7077");
    register(&mut worker, "m1:7077");
    assert!(worker.launches().is_empty());
}

/// A master gives up what is not on the list.
#[test]
fn and_the_list_of_what_runs_here_counts_them() {
    let mut worker = start(&[]);
    worker.send(&executor(0));
    worker.send(&driver(1, false));
    let mut too_large = executor(1);
    too_large.cores = 100;
    worker.send(&too_large);
    worker.send(&common::registered_by("m1:7077"));
    let (_, latest) = worker.sent::<WorkerLatestState>().remove(0);
    let listed: Vec<u32> = latest.executors.iter().map(|e| e.executor_id).collect();
    assert_eq!(listed, [0, 1]);
    assert_eq!(latest.driver_ids, ["driver-1"]);
    let to = "m1:7077".to_owned();
    assert_eq!(
        common::reports(&worker),
        [(to, 1, ExecutorState::Failed)],
        "once"
    );

    let mut worker = start(&[]);
    let mut order = executor(0);
    order.master = master_at("m2:7077");
    worker.send(&order);
    worker.send(&leads_now("m2:7077"));
    let (_, response) = worker.sent::<WorkerSchedulerStateResponse>().remove(0);
    assert_eq!(response.executors.len(), 1);
}

/// It overtakes the launch, which waits for the first master.
#[test]
fn a_kill_of_a_driver_before_the_first_master_is_obeyed_and_told_as_killed() {
    let mut worker = start(&[]);
    worker.send(&driver(1, true));
    worker.send(&driver(2, false));
    worker.send(&kill_driver(1));
    worker.send(&common::registered_by("m1:7077"));
    let launched: Vec<_> = worker.launches().into_iter().map(|(_, w, _)| w).collect();
    assert_eq!(launched.len(), 1);
    assert_eq!(launched[0].folder, "driver-2");
    let told = worker.asked::<DriverStateChanged>().remove(0);
    assert_eq!(told.to, master_at("m1:7077"));
    let told = told.request;
    assert_eq!(
        (told.driver_id.as_str(), told.state),
        ("driver-1", DriverState::Killed)
    );
    assert!(told.message.contains("was not begun"), "{}", told.message);
}

/// The one before may be frozen, its connection open, and its orders on their way.
#[test]
fn a_new_leader_is_adopted_while_the_connection_with_the_one_before_goes_on() {
    let mut worker = registered(&[]);
    let launch = launch_executor(&mut worker, &executor(0));
    runs(&mut worker, launch);
    common::note_all(&mut worker);
    exits(&mut worker, launch, 0);
    let ended = |address: &str| (address.to_owned(), 0, ExecutorState::Exited);
    assert_eq!(common::reports(&worker), [ended("m1:7077")], "no answer");

    worker.send(&leads_now("m2:7077"));
    let seen = look(&mut worker);
    assert_eq!(seen.master, Some(master_at("m2:7077")));
    assert!(seen.connected);
    let told = common::reports(&worker);
    assert!(told.contains(&ended("m2:7077")), "at once: {told:?}");
    let beats = worker.sent::<Heartbeat>();
    let (to, _) = beats.last().unwrap();
    assert_eq!(*to, master_at("m2:7077"));

    // Its end changes nothing any more.
    worker.disconnected("m1:7077");
    assert!(look(&mut worker).connected);
    assert_eq!(worker.sent::<RegisterWorker>().len(), 0);
}

/// A registration that a master sent while it led may come when another one leads.
#[test]
fn a_late_registration_by_a_master_that_was_replaced_is_refused() {
    let mut worker = registered(&[]);
    worker.send(&leads_now("m2:7077"));
    common::forget_messages(&mut worker);
    worker.send(&common::registered_by("m1:7077"));
    assert_eq!(look(&mut worker).master, Some(master_at("m2:7077")));
    assert_eq!(worker.sent::<WorkerLatestState>().len(), 0);
    // Should ours be the one that was replaced, it says so.
    let beats = worker.sent::<Heartbeat>();
    assert_eq!(beats.len(), 1);
    assert_eq!(beats[0].0, master_at("m2:7077"));
}

/// A call of a master that led for a moment may come after that of its successor. It answers the heartbeat
/// as one that does not lead, and then all are asked.
#[test]
fn a_master_that_called_too_late_is_left_again_at_once() {
    let mut worker = registered(&[]);
    worker.send(&leads_now("m2:7077"));
    worker.send(&leads_now("m1:7077"));
    common::forget_messages(&mut worker);
    let master = master_at("m1:7077");
    worker.send(&ReconnectWorker { master });
    let asked = worker.sent::<RegisterWorker>();
    let asked: Vec<_> = asked.into_iter().map(|(to, _)| to).collect();
    assert_eq!(asked, [master_at("m1:7077"), master_at("m2:7077")]);
    worker.send(&common::registered_by("m2:7077"));
    assert_eq!(look(&mut worker).master, Some(master_at("m2:7077")));
}

#[test]
fn a_master_that_was_replaced_cannot_make_a_worker_look_for_another_one() {
    let mut worker = registered(&[]);
    worker.send(&leads_now("m2:7077"));
    common::forget_messages(&mut worker);
    let master = master_at("m1:7077");
    worker.send(&ReconnectWorker { master });
    assert_eq!(worker.sent::<RegisterWorker>().len(), 0);
}
