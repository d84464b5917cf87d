//! What a master takes up that another one wrote down.

use std::collections::BTreeMap;

use deploy_protocol::{
    ApplicationState, DriverState, ExecutorState, KillDriver, KillExecutor, LaunchDriver,
    MasterChanged, ReconnectWorker, RecoveryState, RegisteredApplication, RequestDriverStatus,
    RequestKillDriver, RequestReadyz, RequestSubmitDriver, ResourceInformation, ResourceProfile,
    WorkerDriverStateResponse, WorkerExecutorStateResponse, WorkerLatestState,
    WorkerSchedulerStateResponse, WorkerState,
};

use super::{App, Fixture, MasterUnderTest, Peer, Worker, driver, wait_until};

const KEPT: (&str, &str) = ("recovery_mode", "filesystem");
/// Silence ends recovery soon, and loses no worker.
const SOON: (&str, &str) = ("recovery_timeout", "300");

/// A worker of 16 cores, an application of one executor of 15 cores on it, and a driver that runs there.
struct Cluster {
    worker: Worker,
    app: App,
    driver: String,
    client: Peer,
}

fn cluster(master: &mut impl MasterUnderTest, config: &[(&str, &str)]) -> Cluster {
    master.start(config).unwrap();
    let worker = Worker::new(master, "worker-1", 10, 16, 4096);
    worker.register(master);
    let client = Peer::new(master, "client", 2);
    let driver = client.submit(master, driver(true));
    master.received::<LaunchDriver>(&worker.peer.reference, 1);
    let app = App::new(master, "app", 1).register(master);
    worker.launched(master, 1);
    Cluster {
        worker,
        app,
        driver,
        client,
    }
}

fn status(master: &mut impl MasterUnderTest) -> RecoveryState {
    master.state().status
}

/// Without recovery there is nothing to take up.
pub fn without_recovery_nothing_is_taken_up(master: &mut impl MasterUnderTest) {
    cluster(master, &[("recovery_mode", "NONE")]);
    master.restart();
    let state = master.state();
    assert_eq!(state.status, RecoveryState::Alive);
    assert!(state.workers.is_empty() && state.active_apps.is_empty());
    assert!(state.active_drivers.is_empty());
}

/// RC2, complaint 4: with nobody to wait for, nobody is waited for.
pub fn a_driver_alone_is_recovered_at_once(master: &mut impl MasterUnderTest) {
    master.start(&[KEPT]).unwrap();
    let client = Peer::new(master, "client", 1);
    let id = client.submit(master, driver(false));
    master.restart();
    let state = master.state();
    assert_eq!(
        (state.status, state.workers.len()),
        (RecoveryState::Alive, 0)
    );
    assert_eq!(state.driver(&id).state, DriverState::Submitted);
}

/// RC1, RC3, RC9, complaint 9: what was written down is back; when all have answered, so is what they
/// run, and recovery is over.
pub fn all_that_answers_is_recovered_as_it_was(master: &mut impl MasterUnderTest) {
    let Cluster {
        worker,
        app,
        driver,
        client,
    } = cluster(master, &[KEPT]);
    master.restart();

    let state = master.state();
    assert_eq!(state.status, RecoveryState::Recovering);
    let ready = master.ask(&client.reference, &RequestReadyz {});
    assert!(ready.unwrap().ready);
    assert_eq!(state.workers[0].state, WorkerState::Unknown);
    assert_eq!(app.state(master), ApplicationState::Unknown);
    assert_eq!(app.seen(master).description, app.description);
    assert_eq!(state.driver(&driver).description, super::driver(true));
    for peer in [&worker.peer, &app.peer] {
        let changed: Vec<MasterChanged> = master.received(&peer.reference, 1);
        assert_eq!(changed[0].master, state.master);
    }

    app.acknowledges(master);
    assert_eq!(app.state(master), ApplicationState::Waiting);
    assert_eq!(status(master), RecoveryState::Recovering);
    worker.answers(
        master,
        vec![app.executor(0, 8), app.executor(4, 7)],
        &[&driver],
    );

    assert_eq!(status(master), RecoveryState::Alive);
    let seen = worker.seen(master);
    assert_eq!((seen.state, seen.cores_used), (WorkerState::Alive, 16));
    assert_eq!(seen.memory_used_mb, 3 * 128);
    let seen = app.seen(master);
    assert_eq!(
        (seen.state, seen.cores_granted),
        (ApplicationState::Running, 15)
    );
    let state = master.state();
    assert_eq!(state.driver(&driver).state, DriverState::Running);
    assert_eq!(state.driver(&driver).worker_id.as_deref(), Some("worker-1"));

    // Numbers go on far behind those that may have been in use.
    assert!(app.kill(master, vec![0]));
    let launched = worker.launched(master, 1);
    assert_eq!((launched[0].executor_id, launched[0].cores), (100_000, 8));
}

/// Addresses of resources are taken up with those who have them.
pub fn addresses_are_recovered_with_those_who_have_them(master: &mut impl MasterUnderTest) {
    master.start(&[KEPT]).unwrap();
    let worker = Worker::new(master, "a", 10, 8, 4096).with("gpu", 4);
    worker.register(master);
    let client = Peer::new(master, "client", 2);
    let driver_id = client.submit(master, driver(false));
    let app = App::new(master, "app", 1)
        .cores(1)
        .limit(1)
        .register(master);
    worker.launched(master, 1);
    master.restart();
    app.acknowledges(master);
    let gpu = |address: &str| {
        vec![ResourceInformation {
            name: "gpu".to_owned(),
            addresses: vec![address.to_owned()],
        }]
    };
    let answer = WorkerSchedulerStateResponse {
        id: worker.id.clone(),
        executors: vec![WorkerExecutorStateResponse {
            executor: app.executor(0, 1),
            resources: gpu("2"),
        }],
        drivers: vec![WorkerDriverStateResponse {
            driver_id,
            resources: gpu("3"),
        }],
    };
    master.send(&worker.peer.reference, &answer);
    let used = worker.seen(master).resources_used;
    assert_eq!(used[0].addresses, ["2", "3"]);
}

/// RC13: a worker that is new is taken while others are waited for, and gets work afterwards.
pub fn a_new_worker_is_taken_during_recovery(master: &mut impl MasterUnderTest) {
    let Cluster { worker, app, .. } = cluster(master, &[KEPT]);
    master.restart();
    let new = Worker::new(master, "new", 11, 2, 512);
    assert!(!new.register(master).duplicate);
    assert_eq!(status(master), RecoveryState::Recovering);
    new.launched(master, 0);
    app.acknowledges(master);
    worker.answers(master, Vec::new(), &[]);
    assert_eq!(status(master), RecoveryState::Alive);
    new.launched(master, 1);
}

/// RC14, complaint 5: a worker that registers is there, but is waited for until it tells what it runs.
/// Otherwise its driver would be started a second time.
pub fn a_worker_that_registers_during_recovery_is_waited_for_until_it_tells_what_it_runs(
    master: &mut impl MasterUnderTest,
) {
    let Cluster {
        worker,
        app,
        driver,
        ..
    } = cluster(master, &[KEPT]);
    master.restart();
    app.acknowledges(master);
    assert!(worker.register(master).duplicate);
    assert_eq!(worker.seen(master).state, WorkerState::Alive);
    assert_eq!(status(master), RecoveryState::Recovering);
    // Asked a second time: the first question may have been lost with its connection.
    master.received::<MasterChanged>(&worker.peer.reference, 2);

    // What it says once it is registered, is not all that is to know.
    let report = WorkerLatestState {
        id: worker.id.clone(),
        executors: vec![app.executor(0, 15)],
        driver_ids: vec![driver.clone()],
    };
    master.send(&worker.peer.reference, &report);
    assert_eq!(status(master), RecoveryState::Recovering);
    worker.answers(master, vec![app.executor(0, 15)], &[&driver]);
    assert_eq!(status(master), RecoveryState::Alive);
    // The second answer changes nothing.
    worker.answers(master, vec![app.executor(0, 15)], &[&driver]);
    assert_eq!(worker.seen(master).cores_used, 16);
    assert_eq!(master.state().driver(&driver).state, DriverState::Running);
    master.received::<KillDriver>(&worker.peer.reference, 0);
    master.received::<KillExecutor>(&worker.peer.reference, 0);
}

/// A client that registers again has answered as well.
pub fn an_application_that_registers_again_during_recovery_has_answered(
    master: &mut impl MasterUnderTest,
) {
    let Cluster { worker, app, .. } = cluster(master, &[KEPT]);
    master.restart();
    worker.answers(master, vec![app.executor(0, 15)], &[]);
    let again = app.clone().register(master);
    assert_eq!(again.id, app.id);
    assert_eq!(status(master), RecoveryState::Alive);
    assert_eq!(app.state(master), ApplicationState::Running);
}

/// Trap 5, complaint 7: what does not answer in time is given up, and recovery is over for certain.
pub fn what_does_not_answer_is_given_up_when_the_time_is_over(master: &mut impl MasterUnderTest) {
    let Cluster {
        worker,
        app,
        driver,
        ..
    } = cluster(master, &[KEPT, SOON]);
    master.restart();
    let state = wait_until(master, "recovery is over", |state| {
        state.status == RecoveryState::Alive
    });
    assert_eq!(state.workers[0].state, WorkerState::Dead);
    assert_eq!(app.state(master), ApplicationState::Finished);
    // It is supervised: another one waits in its place.
    assert_eq!(state.driver(&driver).state, DriverState::Relaunching);
    assert_eq!(state.active_drivers.len(), 1);
    assert_eq!(state.active_drivers[0].state, DriverState::Submitted);

    // Its answer comes too late: it is asked to register, and then told to end what it runs.
    worker.answers(master, Vec::new(), &[&driver]);
    master.received::<ReconnectWorker>(&worker.peer.reference, 1);
    assert!(!worker.register(master).duplicate);
    assert_eq!(worker.seen(master).state, WorkerState::Alive);
}

/// A disconnect is an answer, too.
pub fn who_is_disconnected_is_not_waited_for(master: &mut impl MasterUnderTest) {
    let Cluster { worker, app, .. } = cluster(master, &[KEPT]);
    master.restart();
    master.disconnect(worker.peer.host);
    assert_eq!(status(master), RecoveryState::Recovering);
    master.disconnect(app.peer.host);
    assert_eq!(status(master), RecoveryState::Alive);
}

/// Nor is who cannot be reached: there is no connection of which the end could be noticed.
pub fn who_is_gone_when_another_master_comes_is_not_waited_for(master: &mut impl MasterUnderTest) {
    let Cluster { worker, app, .. } = cluster(master, &[KEPT]);
    master.restart_without(worker.peer.host);
    app.acknowledges(master);
    let state = wait_until(master, "recovery is over", |state| {
        state.status == RecoveryState::Alive
    });
    assert_eq!(state.workers[0].state, WorkerState::Dead);
    assert_eq!(app.state(master), ApplicationState::Waiting);
}

/// Complaint 8: an application runs exactly if it has an executor.
pub fn an_application_without_executors_waits_after_recovery(master: &mut impl MasterUnderTest) {
    master.start(&[KEPT]).unwrap();
    let app = App::new(master, "app", 1).register(master);
    master.restart();
    app.acknowledges(master);
    assert_eq!(status(master), RecoveryState::Alive);
    assert_eq!(app.state(master), ApplicationState::Waiting);
}

/// Trap 6: drivers that were only queued are queued again, under the same ids and in the same order.
pub fn queued_drivers_are_queued_again(master: &mut impl MasterUnderTest) {
    master.start(&[KEPT]).unwrap();
    let client = Peer::new(master, "client", 1);
    let ids: Vec<String> = (0..12)
        .map(|number| client.submit(master, driver(number % 2 == 0)))
        .collect();
    master.restart();
    let queued = master.state().active_drivers;
    let queued: Vec<String> = queued.into_iter().map(|driver| driver.id).collect();
    assert_eq!(queued, ids);
    let worker = Worker::new(master, "a", 10, 3, 4096);
    worker.register(master);
    let launched: Vec<LaunchDriver> = master.received(&worker.peer.reference, 3);
    let launched: Vec<&String> = launched.iter().map(|launch| &launch.driver_id).collect();
    assert_eq!(launched, [&ids[0], &ids[1], &ids[2]]);
    // New ones get other ids.
    let another = client.submit(master, driver(false));
    assert!(!ids.contains(&another));
}

/// A driver that ran and that no worker runs any more: relaunched if it is supervised, else over.
pub fn drivers_that_nobody_runs_any_more_are_relaunched_or_over(master: &mut impl MasterUnderTest) {
    master.start(&[KEPT]).unwrap();
    let worker = Worker::new(master, "a", 10, 3, 4096);
    worker.register(master);
    let client = Peer::new(master, "client", 1);
    let supervised = client.submit(master, driver(true));
    let alone = client.submit(master, driver(false));
    let unwanted = client.submit(master, driver(true));
    let ask = RequestKillDriver {
        driver_id: unwanted.clone(),
    };
    assert!(master.ask(&client.reference, &ask).unwrap().success);
    master.received::<LaunchDriver>(&worker.peer.reference, 3);
    master.restart();
    master.disconnect(worker.peer.host);
    let another = Worker::new(master, "b", 11, 3, 4096);
    another.register(master);

    let state = master.state();
    assert_eq!(state.status, RecoveryState::Alive);
    assert_eq!(state.driver(&supervised).state, DriverState::Relaunching);
    assert_eq!(state.driver(&alone).state, DriverState::Error);
    assert_eq!(state.driver(&unwanted).state, DriverState::Killed);
    let launched: Vec<LaunchDriver> = master.received(&another.peer.reference, 1);
    assert_ne!(launched[0].driver_id, supervised);
}

/// A master that is gone between writing a launch down and sending it: the worker answers, and has not
/// heard of it. The submission was acknowledged, so it is launched, under its id.
pub fn a_driver_whose_launch_never_arrived_is_launched(master: &mut impl MasterUnderTest) {
    master.start(&[KEPT]).unwrap();
    let worker = Worker::new(master, "a", 10, 2, 4096);
    worker.register(master);
    let client = Peer::new(master, "client", 1);
    let alone = client.submit(master, driver(false));
    let supervised = client.submit(master, driver(true));
    master.received::<LaunchDriver>(&worker.peer.reference, 2);
    for _ in 0..2 {
        master.restart();
        worker.answers(master, Vec::new(), &[&supervised]);
        let launched: Vec<LaunchDriver> = master.received(&worker.peer.reference, 1);
        assert_eq!(launched[0].driver_id, alone);
        let state = master.state();
        assert_eq!(state.driver(&alone).state, DriverState::Running);
        assert_eq!(state.driver(&supervised).state, DriverState::Running);
    }
}

/// That a driver is to end is not forgotten with the master that was asked.
pub fn a_kill_is_passed_on_again_after_recovery(master: &mut impl MasterUnderTest) {
    let Cluster {
        worker,
        app,
        driver,
        client,
    } = cluster(master, &[KEPT]);
    let ask = RequestKillDriver {
        driver_id: driver.clone(),
    };
    assert!(master.ask(&client.reference, &ask).unwrap().success);
    master.received::<KillDriver>(&worker.peer.reference, 1);
    master.restart();
    app.acknowledges(master);
    worker.answers(master, Vec::new(), &[&driver]);
    let told: Vec<KillDriver> = master.received(&worker.peer.reference, 1);
    assert_eq!(told[0].driver_id, driver);
}

/// Trap 7: what an application asked for is still what it wants.
pub fn targets_are_recovered(master: &mut impl MasterUnderTest) {
    master.start(&[KEPT, ("default_cores", "5")]).unwrap();
    let app = App::new(master, "app", 1)
        .cores(1)
        .limit(0)
        .register(master);
    let other = ResourceProfile {
        id: 1,
        cores: Some(2),
        memory_mb: Some(64),
        resources: Vec::new(),
    };
    let totals = BTreeMap::from([
        (app.description.default_profile.clone(), 1),
        (other.clone(), 7),
    ]);
    assert!(app.request_all(master, totals));
    master.restart();
    app.acknowledges(master);
    assert_eq!(app.seen(master).executor_limit, Some(8));
    let worker = Worker::new(master, "a", 10, 16, 4096);
    worker.register(master);
    let launched = worker.launched(master, 3);
    let launched: Vec<(u32, u32)> = launched
        .iter()
        .map(|launch| (launch.resource_profile_id, launch.cores))
        .collect();
    assert_eq!(launched, [(0, 1), (1, 2), (1, 2)]);
}

/// A worker that was out of service still is, with what it runs.
pub fn a_worker_out_of_service_is_recovered_as_such(master: &mut impl MasterUnderTest) {
    let Cluster { worker, app, .. } = cluster(master, &[KEPT]);
    let leaves = deploy_protocol::WorkerDecommissioning {
        id: worker.id.clone(),
        worker: worker.peer.reference.clone(),
    };
    master.send(&worker.peer.reference, &leaves);
    master.restart();
    app.acknowledges(master);
    worker.answers(master, vec![app.executor(0, 8)], &[]);
    let seen = worker.seen(master);
    assert_eq!(
        (seen.state, seen.cores_used),
        (WorkerState::Decommissioned, 8)
    );
    let seen = app.seen(master);
    assert_eq!(seen.cores_granted, 0);
    assert_eq!(
        seen.executors[0].description.state,
        ExecutorState::Decommissioned
    );
    worker.launched(master, 0);
}

/// What is over is not recovered: not written down for ever.
pub fn what_is_over_is_not_recovered(master: &mut impl MasterUnderTest) {
    let Cluster {
        worker,
        app,
        driver,
        client,
    } = cluster(master, &[KEPT]);
    app.unregister(master);
    let ended = deploy_protocol::DriverStateChanged {
        driver_id: driver,
        state: DriverState::Finished,
        message: String::new(),
        exit_status: Some(0),
    };
    master.ask(&client.reference, &ended).unwrap();
    master.disconnect(worker.peer.host);
    master.restart();
    let state = master.state();
    assert_eq!(state.status, RecoveryState::Alive);
    assert!(state.workers.is_empty() && state.active_apps.is_empty());
    assert!(state.active_drivers.is_empty());
}

/// Executors that nobody recovers are ended, not passed over.
pub fn what_nobody_knows_is_killed_during_recovery(master: &mut impl MasterUnderTest) {
    let Cluster {
        worker,
        app,
        driver,
        ..
    } = cluster(master, &[KEPT]);
    master.restart();
    app.acknowledges(master);
    let mut stray = app.executor(3, 1);
    stray.app_id = "app-nope".to_owned();
    worker.answers(
        master,
        vec![stray, app.executor(0, 15)],
        &[&driver, "driver-nope"],
    );
    let killed: Vec<KillExecutor> = master.received(&worker.peer.reference, 1);
    assert_eq!(
        (killed[0].app_id.as_str(), killed[0].executor_id),
        ("app-nope", 3)
    );
    let killed: Vec<KillDriver> = master.received(&worker.peer.reference, 1);
    assert_eq!(killed[0].driver_id, "driver-nope");
    assert_eq!(worker.seen(master).cores_used, 16);
}

/// Section 3.6: while it recovers, it takes applications and reports, and nothing else.
pub fn submissions_wait_while_it_recovers(master: &mut impl MasterUnderTest) {
    let Cluster {
        worker,
        driver,
        client,
        ..
    } = cluster(master, &[KEPT]);
    master.restart();
    let expected = "Current state is not alive: RECOVERING";
    let submit = RequestSubmitDriver {
        description: super::driver(false),
    };
    let answer = master.ask(&client.reference, &submit).unwrap();
    assert_eq!((answer.success, answer.message.as_str()), (false, expected));
    let kill = RequestKillDriver {
        driver_id: driver.clone(),
    };
    let answer = master.ask(&client.reference, &kill).unwrap();
    assert_eq!((answer.success, answer.message.as_str()), (false, expected));
    let ask = RequestDriverStatus { driver_id: driver };
    let answer = master.ask(&client.reference, &ask).unwrap();
    assert_eq!((answer.found, answer.message.as_str()), (false, expected));

    let late = App::new(master, "late", 5);
    late.send_registration(master);
    master.received::<RegisteredApplication>(&late.peer.reference, 1);
    worker.launched(master, 0);
}

/// A master that recovered can be followed by another one.
pub fn recovery_works_again_and_again(master: &mut impl MasterUnderTest) {
    let Cluster {
        worker,
        app,
        driver,
        ..
    } = cluster(master, &[KEPT]);
    for _ in 0..3 {
        master.restart();
        app.acknowledges(master);
        worker.answers(master, vec![app.executor(0, 15)], &[&driver]);
        assert_eq!(status(master), RecoveryState::Alive);
        assert_eq!(worker.seen(master).cores_used, 16);
    }
}

/// The next master has other numbers for executors: what is late, and means one that no master knows any
/// more, meets no other one. Also where the master after that has seen none of them.
pub fn numbers_of_executors_are_not_used_again(master: &mut impl MasterUnderTest) {
    let Cluster {
        worker,
        app,
        driver,
        ..
    } = cluster(master, &[KEPT]);
    for first in [100_000, 200_000] {
        master.restart();
        app.acknowledges(master);
        worker.answers(master, Vec::new(), &[&driver]);
        assert_eq!(worker.launched(master, 1)[0].executor_id, first);
        worker.reports(master, &app.id, 0, ExecutorState::Failed, Some(1));
        let executors = app.seen(master).executors;
        assert_eq!(executors.len(), 1);
        assert_eq!(executors[0].description.executor_id, first);
    }
}

/// Nor are numbers in ids, where no time in them tells one from another.
pub fn numbers_of_ids_are_not_used_again(master: &mut impl MasterUnderTest) {
    let patterns = [("app_id_pattern", "app-%d"), ("driver_id_pattern", "d-%d")];
    master.start(&[KEPT, patterns[0], patterns[1]]).unwrap();
    let client = Peer::new(master, "client", 1);
    for number in 0..3 {
        let app = App::new(master, "app", 2).register(master);
        assert_eq!(app.id, format!("app-{number}"));
        app.unregister(master);
        let driver_id = client.submit(master, driver(false));
        assert_eq!(driver_id, format!("d-{number}"));
        let ask = RequestKillDriver { driver_id };
        assert!(master.ask(&client.reference, &ask).unwrap().success);
        master.restart();
    }
}
