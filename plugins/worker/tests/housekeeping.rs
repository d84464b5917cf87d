//! Clean-up of work folders, decommissioning, the end.

mod common;

use std::time::Duration;

use common::{
    advance_ms, driver, executor, exits, launch_driver, launch_executor, leads_now, logged, look,
    registered, registered_by, start,
};
use deploy_protocol::{
    ApplicationFinished, DecommissionWorker, ExecutorState, ExecutorStateChanged,
    WorkerDecommissioning,
};

/// W13, W14.
#[test]
fn folders_in_use_are_kept_and_others_go_when_they_were_unused_for_long() {
    let mut worker = registered(&[("cleanup_interval", "1000"), ("app_data_ttl", "5000")]);
    launch_executor(&mut worker, &executor(0));
    let first = launch_executor(&mut worker, &{
        let mut order = executor(0);
        order.app_id = "app-2".to_owned();
        order
    });
    let second = launch_driver(&mut worker, &driver(1, false));
    advance_ms(&mut worker, 999);
    assert_eq!(worker.cleans(), []);
    advance_ms(&mut worker, 1);
    let keep = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
    let unused = Duration::from_secs(5);
    assert_eq!(
        worker.cleans(),
        [(keep(&["app-1", "app-2", "driver-1"]), unused)]
    );
    exits(&mut worker, first, 0);
    exits(&mut worker, second, 0);
    advance_ms(&mut worker, 1000);
    assert_eq!(worker.cleans(), [(keep(&["app-1"]), unused)]);
}

#[test]
fn nothing_is_cleaned_up_if_that_is_off() {
    let mut worker = registered(&[("cleanup_enabled", "false"), ("cleanup_interval", "1000")]);
    advance_ms(&mut worker, 100_000);
    assert_eq!(worker.cleans(), []);
}

/// People want to read what ended.
#[test]
fn a_finished_application_leaves_its_folder_until_it_was_unused_for_long() {
    let mut worker = registered(&[]);
    let launch = launch_executor(&mut worker, &executor(0));
    let app_id = "app-1".to_owned();
    worker.send(&ApplicationFinished { app_id });
    exits(&mut worker, launch, 0);
    assert_eq!(worker.removed_folders(), Vec::<String>::new());
    assert_eq!(logged(&mut worker, "its folder stays").len(), 1);
}

#[test]
fn a_decommissioned_worker_takes_no_new_executor_and_ends_none() {
    let mut worker = registered(&[("decommission_enabled", "true")]);
    launch_executor(&mut worker, &executor(0));
    worker.send(&DecommissionWorker {});
    worker.send(&executor(1));
    assert!(worker.launches().is_empty() && worker.kills().is_empty());
    let now = look(&mut worker);
    assert!(now.decommissioned && now.connected);
    assert_eq!(now.executors.len(), 1);
    // The master would wait for one of which it hears nothing.
    let told = worker.asked::<ExecutorStateChanged>().remove(0).request;
    assert_eq!((told.executor_id, told.state), (1, ExecutorState::Failed));
    assert!(told.message.contains("decommissioned"), "{}", told.message);
}

/// The message may come from an operator: in Spark that is a signal.
#[test]
fn the_master_is_told_once_and_each_later_one_again() {
    let mut worker = registered(&[("decommission_enabled", "true")]);
    let told = |worker: &mut common::TestWorker| worker.sent::<WorkerDecommissioning>().len();
    worker.send(&DecommissionWorker {});
    assert_eq!(told(&mut worker), 1);
    worker.send(&DecommissionWorker {});
    assert_eq!(told(&mut worker), 0);
    worker.send(&leads_now("m2:7077"));
    assert_eq!(told(&mut worker), 1);
    worker.disconnected("m2:7077");
    worker.send(&registered_by("m1:7077"));
    assert_eq!(told(&mut worker), 1);
}

#[test]
fn decommissioning_is_off_unless_it_is_switched_on() {
    let mut worker = registered(&[]);
    worker.send(&DecommissionWorker {});
    assert!(!look(&mut worker).decommissioned);
    assert_eq!(worker.sent::<WorkerDecommissioning>().len(), 0);
    assert_eq!(logged(&mut worker, "decommission_enabled = true").len(), 1);
}

/// Its host goes on, so that no connection tells the master.
#[test]
fn a_worker_that_stops_asks_its_master_for_no_more_work() {
    let mut worker = registered(&[]);
    worker.stop();
    assert_eq!(worker.sent::<WorkerDecommissioning>().len(), 1);
    let mut worker = start(&[]);
    worker.stop();
    assert_eq!(worker.sent::<WorkerDecommissioning>().len(), 0);
}

#[test]
fn what_people_see_of_a_new_worker() {
    let mut worker = start(&[("resources", r#"{"gpu": ["0"]}"#)]);
    let now = look(&mut worker);
    assert_eq!((now.host.as_str(), now.port), ("test-host", 7077));
    assert_eq!((now.cores, now.cores_used), (16, 0));
    assert_eq!((now.memory_mb, now.memory_used_mb), (4096, 0));
    assert_eq!(
        (now.master, now.connected, now.decommissioned),
        (None, false, false)
    );
    assert_eq!(now.resources["gpu"], ["0"]);
    assert!(now.resources_used.is_empty());
}
