//! What breaks without a message that says so, and is put right: the master and a worker that believe
//! different things, a driver that is gone while its host is not, what comes twice or from elsewhere.

use deploy_protocol::{
    ApplicationRemoved, ApplicationState, DecommissionWorkersOnHosts, DriverState,
    DriverStateChanged, DriverStateNoted, ExecutorAdded, ExecutorState, ExecutorStateChanged,
    ExecutorStateNoted, ExecutorUpdated, Heartbeat, KillDriver, KillExecutor, LaunchDriver,
    ReconnectWorker, RegisterWorkerFailed, RequestKillDriver, RequestSubmitDriver,
    WorkerDecommissioning, WorkerLatestState, WorkerState,
};

use super::{App, Fixture, MasterUnderTest, Peer, Worker, driver};

const KEPT: (&str, &str) = ("recovery_mode", "filesystem");

fn tells(
    master: &mut impl MasterUnderTest,
    worker: &Worker,
    executors: &[(&App, u32)],
    driver_ids: &[&str],
) {
    let executors = executors
        .iter()
        .map(|(app, number)| app.executor(*number, 1));
    let latest = WorkerLatestState {
        id: worker.id.clone(),
        executors: executors.collect(),
        driver_ids: driver_ids.iter().map(|&id| id.to_owned()).collect(),
    };
    master.send(&worker.peer.reference, &latest);
}

/// A driver that ends takes the application along that it registered, though its host stays connected:
/// otherwise executors would be started for nobody, for ever.
pub fn a_driver_that_ends_without_a_word_takes_its_application_along(
    master: &mut impl MasterUnderTest,
) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 4, 4096);
    worker.register(master);
    let client = Peer::new(master, "client", 2);
    let driver_id = client.submit(master, driver(false));
    let mut app = App::new(master, "app", 10);
    app.peer.reference = master.peer(&driver_id, 10);
    let app = app.register(master);
    let other = App::new(master, "other", 10).limit(0).register(master);
    worker.launched(master, 1);
    let report = DriverStateChanged {
        driver_id,
        state: DriverState::Failed,
        message: "it trapped".to_owned(),
        exit_status: None,
    };
    let noted = master.ask(&worker.peer.reference, &report);
    assert_eq!(noted, Ok(DriverStateNoted { noted: true }));
    assert_eq!(app.state(master), ApplicationState::Finished);
    assert_eq!(other.state(master), ApplicationState::Waiting);
    master.received::<KillExecutor>(&worker.peer.reference, 1);
    worker.launched(master, 0);
}

/// What a worker had to run when it was told that it is registered again, and does not list then, it
/// does not run: executors in any state, and drivers.
pub fn what_a_worker_does_not_run_when_it_is_registered_again_is_given_up(
    master: &mut impl MasterUnderTest,
) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 4, 4096);
    worker.register(master);
    let client = Peer::new(master, "client", 2);
    let supervised = client.submit(master, driver(true));
    let alone = client.submit(master, driver(false));
    let runs = client.submit(master, driver(false));
    let app = App::new(master, "app", 1).cores(1).max(1).register(master);
    master.received::<LaunchDriver>(&worker.peer.reference, 3);
    worker.launched(master, 1);

    assert!(worker.register(master).duplicate);
    tells(master, &worker, &[], &[&runs]);
    let told: Vec<ExecutorUpdated> = master.received(&app.peer.reference, 1);
    assert_eq!(
        (told[0].executor_id, told[0].state),
        (0, ExecutorState::Lost)
    );
    assert_eq!(worker.launched(master, 1)[0].executor_id, 1);
    let state = master.state();
    assert_eq!(state.driver(&supervised).state, DriverState::Relaunching);
    assert_eq!(state.driver(&alone).state, DriverState::Error);
    assert_eq!(state.driver(&runs).state, DriverState::Running);
    let launched: Vec<LaunchDriver> = master.received(&worker.peer.reference, 1);
    assert_ne!(launched[0].driver_id, supervised);
}

/// What is launched after that may be on its way, and is not given up.
pub fn what_is_launched_after_a_registration_is_not_given_up(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 4, 4096);
    worker.register(master);
    assert!(worker.register(master).duplicate);
    let client = Peer::new(master, "client", 2);
    let driver_id = client.submit(master, driver(true));
    let app = App::new(master, "app", 1).cores(1).max(1).register(master);
    worker.launched(master, 1);
    // Told a second time, before it answered the first.
    assert!(worker.register(master).duplicate);
    for _ in 0..2 {
        tells(master, &worker, &[], &[]);
        assert_eq!(app.seen(master).executors.len(), 1);
        let state = master.state();
        assert_eq!(state.driver(&driver_id).state, DriverState::Running);
    }
}

/// A kill may come to a worker before the driver that it is for. Who runs what is to end is told again.
pub fn a_kill_that_a_worker_lost_is_passed_on_again(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 4, 4096);
    worker.register(master);
    let client = Peer::new(master, "client", 2);
    let driver_id = client.submit(master, driver(true));
    let ask = RequestKillDriver {
        driver_id: driver_id.clone(),
    };
    assert!(master.ask(&client.reference, &ask).unwrap().success);
    master.received::<KillDriver>(&worker.peer.reference, 1);
    assert!(worker.register(master).duplicate);
    tells(master, &worker, &[], &[&driver_id]);
    let told: Vec<KillDriver> = master.received(&worker.peer.reference, 1);
    assert_eq!(told[0].driver_id, driver_id);
}

/// A client that registers again, perhaps as it began anew at the same place, learns what it has.
pub fn a_client_that_registers_again_is_told_of_its_executors(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 2, 4096);
    worker.register(master);
    let app = App::new(master, "app", 1).cores(1).register(master);
    let before: Vec<ExecutorAdded> = master.received(&app.peer.reference, 2);
    let again = app.clone().register(master);
    assert_eq!(again.id, app.id);
    let told: Vec<ExecutorAdded> = master.received(&app.peer.reference, 2);
    assert_eq!(told, before);
    worker.launched(master, 2);
}

/// Who took a worker out of service, meant the worker and not its connection.
pub fn a_worker_out_of_service_that_comes_back_is_still_out_of_service(
    master: &mut impl MasterUnderTest,
) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 2, 512);
    worker.register(master);
    let operator = Peer::new(master, "operator", 1);
    let ask = DecommissionWorkersOnHosts {
        hosts: vec!["host-10".to_owned()],
    };
    assert_eq!(master.ask(&operator.reference, &ask).unwrap().count, 1);
    master.disconnect(worker.peer.host);
    assert!(!worker.register(master).duplicate);
    assert_eq!(worker.seen(master).state, WorkerState::Decommissioned);
    let _ = App::new(master, "app", 2).register(master);
    worker.launched(master, 0);

    // Its next life is another worker.
    let next = Worker::new(master, "next", 10, 2, 512);
    next.register(master);
    next.launched(master, 1);
}

/// What names a worker and comes from another place is not the worker's.
pub fn messages_of_a_worker_from_another_place_count_for_nothing(
    master: &mut impl MasterUnderTest,
) {
    master.start(&[("worker_timeout", "1000")]).unwrap();
    let worker = Worker::new(master, "a", 10, 2, 512);
    worker.register(master);
    let elsewhere = Peer::new(master, "Worker", 11);
    let leaves = WorkerDecommissioning {
        id: worker.id.clone(),
        worker: elsewhere.reference.clone(),
    };
    master.send(&elsewhere.reference, &leaves);
    assert_eq!(worker.seen(master).state, WorkerState::Alive);
    let heartbeat = Heartbeat {
        worker_id: worker.id.clone(),
        worker: elsewhere.reference.clone(),
    };
    for _ in 0..2000 {
        if worker.seen(master).state == WorkerState::Dead {
            break;
        }
        master.send(&elsewhere.reference, &heartbeat);
        master.moment();
    }
    assert_eq!(worker.seen(master).state, WorkerState::Dead);
}

/// A lost worker that tells what it runs is asked to register again, too.
pub fn a_lost_worker_that_tells_what_it_runs_is_asked_to_register_again(
    master: &mut impl MasterUnderTest,
) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 2, 512);
    worker.register(master);
    master.disconnect(worker.peer.host);
    tells(master, &worker, &[], &[]);
    master.received::<ReconnectWorker>(&worker.peer.reference, 1);
    worker.answers(master, Vec::new(), &[]);
    master.received::<ReconnectWorker>(&worker.peer.reference, 1);
}

/// Trap 12, in recovery: a report on an executor that its worker has not told of yet has to come again.
pub fn a_report_that_comes_before_its_worker_told_what_it_runs_is_not_noted(
    master: &mut impl MasterUnderTest,
) {
    master.start(&[KEPT]).unwrap();
    let worker = Worker::new(master, "a", 10, 2, 512);
    worker.register(master);
    let app = App::new(master, "app", 1).max(2).register(master);
    worker.launched(master, 1);
    master.restart();
    let report = ExecutorStateChanged {
        app_id: app.id.clone(),
        executor_id: 0,
        state: ExecutorState::Failed,
        message: String::new(),
        exit_status: Some(1),
    };
    let noted = master.ask(&worker.peer.reference, &report);
    assert_eq!(noted, Ok(ExecutorStateNoted { noted: false }));
    app.acknowledges(master);
    worker.answers(master, vec![app.executor(0, 2)], &[]);
    let noted = master.ask(&worker.peer.reference, &report);
    assert_eq!(noted, Ok(ExecutorStateNoted { noted: true }));
    let told: Vec<ExecutorUpdated> = master.received(&app.peer.reference, 1);
    assert_eq!(
        (told[0].executor_id, told[0].state),
        (0, ExecutorState::Failed)
    );
}

/// A worker may come back with more or less than it had. What runs there, runs on.
pub fn a_worker_that_registers_again_may_offer_something_else(master: &mut impl MasterUnderTest) {
    master.start(&[KEPT]).unwrap();
    let mut worker = Worker::new(master, "a", 10, 2, 512);
    worker.register(master);
    let app = App::new(master, "app", 1).cores(1).register(master);
    worker.launched(master, 2);
    worker.cores = 3;
    worker = worker.with("gpu", 1);
    assert!(worker.register(master).duplicate);
    worker.launched(master, 1);
    worker.cores = 1;
    assert!(worker.register(master).duplicate);
    let seen = worker.seen(master);
    assert_eq!((seen.cores, seen.cores_used), (1, 3));
    assert_eq!(seen.resources[0].addresses, ["0"]);
    assert!(app.kill(master, vec![0]));
    worker.launched(master, 0);

    worker.cores = 0;
    worker.send_registration(master);
    master.received::<RegisterWorkerFailed>(&worker.peer.reference, 1);
    master.restart();
    assert_eq!(worker.seen(master).cores, 1);
}

/// What is too long to be kept is refused, with the reason.
pub fn a_description_that_is_too_long_is_refused(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let client = Peer::new(master, "client", 2);
    let mut description = driver(false);
    description.command.arguments = vec!["x".repeat(64 << 10)];
    let ask = RequestSubmitDriver { description };
    let answer = master.ask(&client.reference, &ask).unwrap();
    assert!(
        !answer.success && answer.message.contains("65536 at most"),
        "{}",
        answer.message
    );
    let mut app = App::new(master, "app", 1);
    app.description.command = ask.description.command;
    app.send_registration(master);
    let removed: Vec<ApplicationRemoved> = master.received(&app.peer.reference, 1);
    assert!(
        removed[0].message.contains("65536 at most"),
        "{}",
        removed[0].message
    );
    let state = master.state();
    assert!(state.active_apps.is_empty() && state.active_drivers.is_empty());
}

/// RC6, to its end: the worker of a supervised driver comes back when its driver, and the application of
/// it, live elsewhere. There is one application, and one entry for the worker.
pub fn a_worker_that_comes_back_finds_its_driver_elsewhere(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let first = Worker::new(master, "first", 10, 1, 512);
    first.register(master);
    let client = Peer::new(master, "client", 2);
    let old = client.submit(master, driver(true));
    let register = |master: &mut _, driver_id: &str, host| {
        let mut app = App::new(master, "app", host).limit(0);
        app.peer.reference = MasterUnderTest::peer(master, driver_id, host);
        app.register(master)
    };
    let _ = register(master, &old, 10);
    let second = Worker::new(master, "second", 11, 1, 512);
    second.register(master);
    master.disconnect(10);
    let launched: Vec<LaunchDriver> = master.received(&second.peer.reference, 1);
    let new = launched[0].driver_id.clone();
    let app = register(master, &new, 11);

    assert!(!first.register(master).duplicate);
    tells(master, &first, &[], &[&old]);
    let killed: Vec<KillDriver> = master.received(&first.peer.reference, 1);
    assert_eq!(killed[0].driver_id, old);
    let state = master.state();
    let active: Vec<&str> = state
        .active_apps
        .iter()
        .map(|app| app.id.as_str())
        .collect();
    assert_eq!(active, [app.id.as_str()]);
    assert_eq!(state.driver(&old).state, DriverState::Relaunching);
    assert_eq!(state.driver(&new).state, DriverState::Running);
    assert_eq!(first.seen(master).state, WorkerState::Alive);
}
