//! Applications come, want executors, and end.

use std::collections::BTreeMap;

use deploy_protocol::{
    ApplicationFinished, ApplicationRemoved, ApplicationState, ExecutorAdded, ExecutorState,
    ExecutorUpdated, KillExecutor, LaunchExecutor, RegisteredApplication, RequestKillApplication,
    ResourceProfile,
};

use super::{App, MasterUnderTest, Peer, Worker};

/// An executor is told to its worker and to its application with all that they need.
pub fn an_executor_is_told_to_worker_and_application(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let app = App::new(master, "app", 1).register(master);
    assert_eq!(app.state(master), ApplicationState::Waiting);
    let worker = Worker::new(master, "a", 10, 2, 512);
    worker.register(master);

    let launch = worker.launched(master, 1).remove(0);
    assert_eq!(
        (launch.app_id.as_str(), launch.executor_id),
        (app.id.as_str(), 0)
    );
    assert_eq!(
        (launch.cores, launch.memory_mb, launch.resource_profile_id),
        (2, 128, 0)
    );
    assert_eq!(launch.application, app.description);
    assert_eq!(launch.master, master.state().master);
    let added: ExecutorAdded = master.received(&app.peer.reference, 1).remove(0);
    assert_eq!((added.executor_id, added.worker_id.as_str()), (0, "a"));
    assert_eq!((added.cores, added.memory_mb), (2, 128));
    assert_eq!(Some(added.host_port), worker.peer.reference.address);
    assert_eq!(app.state(master), ApplicationState::Running);

    worker.reports(master, &app.id, 0, ExecutorState::Running, None);
    let updated: ExecutorUpdated = master.received(&app.peer.reference, 1).remove(0);
    assert_eq!(
        (updated.state, updated.worker_host),
        (ExecutorState::Running, None)
    );
}

/// Trap 10: the same application again is the one that it is.
pub fn an_application_that_registers_again_keeps_its_id(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let app = App::new(master, "app", 1).register(master);
    let again = app.clone().register(master);
    assert_eq!(app.id, again.id);
    assert_eq!(master.state().active_apps.len(), 1);
}

/// Another application of the same client means that the one before is over.
pub fn another_application_of_the_same_client_ends_the_one_before(
    master: &mut impl MasterUnderTest,
) {
    master.start(&[]).unwrap();
    let first = App::new(master, "first", 1).register(master);
    let second = App::new(master, "second", 1).register(master);
    assert_ne!(first.id, second.id);
    assert_eq!(first.state(master), ApplicationState::Finished);
    assert_eq!(second.state(master), ApplicationState::Waiting);
}

/// It ends by itself: its executors are killed, its workers told that they can clean up.
pub fn an_application_that_ends_frees_what_it_used(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 2, 512);
    let idle = Worker::new(master, "idle", 11, 2, 64);
    worker.register(master);
    idle.register(master);
    let app = App::new(master, "app", 1).register(master);
    app.unregister(master);

    let kills: Vec<KillExecutor> = master.received(&worker.peer.reference, 1);
    assert_eq!(kills[0].app_id, app.id);
    let finished: Vec<ApplicationFinished> = master.received(&worker.peer.reference, 1);
    assert_eq!(finished[0].app_id, app.id);
    master.received::<ApplicationFinished>(&idle.peer.reference, 0);
    master.received::<ApplicationRemoved>(&app.peer.reference, 0);
    let seen = app.seen(master);
    assert_eq!(
        (seen.state, seen.cores_granted),
        (ApplicationState::Finished, 0)
    );
    assert!(seen.ended.is_some());
    let seen = worker.seen(master);
    assert_eq!((seen.cores_used, seen.memory_used_mb), (0, 0));
}

/// Trap 9: an application whose client is disconnected is over at once.
pub fn an_application_whose_client_is_disconnected_is_over(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 2, 512);
    worker.register(master);
    let app = App::new(master, "app", 1).register(master);
    master.disconnect(app.peer.host);
    assert_eq!(app.state(master), ApplicationState::Finished);
    master.received::<KillExecutor>(&worker.peer.reference, 1);
}

/// Trap 11: a kill is a message like any other, and the application is told.
pub fn an_application_can_be_killed(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 2, 512);
    worker.register(master);
    let app = App::new(master, "app", 1).register(master);
    let operator = Peer::new(master, "operator", 2);
    let ask = RequestKillApplication {
        app_id: app.id.clone(),
    };
    let answer = master.ask(&operator.reference, &ask).unwrap();
    assert!(answer.success);
    let removed: ApplicationRemoved = master.received(&app.peer.reference, 1).remove(0);
    assert!(removed.message.starts_with("KILLED"), "{}", removed.message);
    assert_eq!(app.state(master), ApplicationState::Killed);
    master.received::<KillExecutor>(&worker.peer.reference, 1);

    let answer = master.ask(&operator.reference, &ask).unwrap();
    assert!(!answer.success && answer.message.contains("does not exist"));
}

/// Targets are absolute: raising one starts executors before it is acknowledged, lowering one kills
/// none.
pub fn targets_are_absolute_and_lowering_one_kills_nothing(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 4, 4096);
    worker.register(master);
    let app = App::new(master, "app", 1)
        .cores(1)
        .limit(1)
        .register(master);
    worker.launched(master, 1);
    assert!(app.request(master, 3));
    worker.launched(master, 2);
    assert!(app.request(master, 0));
    let seen = app.seen(master);
    assert_eq!((seen.executors.len(), seen.executor_limit), (3, Some(0)));
    let mut stranger = app.clone();
    stranger.id = "app-nope".to_owned();
    assert!(!stranger.request(master, 1));
    assert!(!stranger.kill(master, vec![0]));
}

/// Section 3.12: what is killed is replaced where the target is still higher.
pub fn an_executor_that_is_killed_is_replaced_up_to_the_target(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 2, 4096);
    worker.register(master);
    let app = App::new(master, "app", 1)
        .cores(1)
        .limit(2)
        .register(master);
    worker.launched(master, 2);
    master.received::<ExecutorAdded>(&app.peer.reference, 2);
    assert!(app.kill(master, vec![0, 7]));
    master.received::<KillExecutor>(&worker.peer.reference, 1);
    let told: ExecutorUpdated = master.received(&app.peer.reference, 1).remove(0);
    assert_eq!((told.executor_id, told.state), (0, ExecutorState::Killed));
    let launched = worker.launched(master, 1);
    assert_eq!(launched[0].executor_id, 2, "a number is used once");

    assert!(app.request(master, 1));
    assert!(app.kill(master, vec![1]));
    worker.launched(master, 0);
    let seen = app.seen(master);
    assert_eq!((seen.executors.len(), seen.executor_limit), (1, Some(1)));
}

/// RC5: an application whose executors only fail is given up after so many, and told so.
pub fn an_application_whose_executors_only_fail_is_given_up(master: &mut impl MasterUnderTest) {
    master.start(&[("max_executor_retries", "4")]).unwrap();
    let worker = Worker::new(master, "a", 10, 2, 512);
    worker.register(master);
    let app = App::new(master, "app", 1).register(master);
    let mut launches = 0;
    while app.state(master) == ApplicationState::Running {
        let launch = worker.launched(master, 1).remove(0);
        launches += 1;
        worker.reports(
            master,
            &app.id,
            launch.executor_id,
            ExecutorState::Failed,
            None,
        );
    }
    assert_eq!(launches, 4);
    worker.launched(master, 0);
    assert_eq!(app.state(master), ApplicationState::Failed);
    let removed: ApplicationRemoved = master.received(&app.peer.reference, 1).remove(0);
    assert!(removed.message.starts_with("FAILED"), "{}", removed.message);
}

/// Failures are counted one after the other: an executor that runs forgives those before, and none is
/// counted that ended well.
pub fn failures_are_forgiven_by_an_executor_that_runs(master: &mut impl MasterUnderTest) {
    master.start(&[("max_executor_retries", "2")]).unwrap();
    let worker = Worker::new(master, "a", 10, 2, 512);
    worker.register(master);
    let app = App::new(master, "app", 1).register(master);
    for _ in 0..5 {
        let failing = worker.launched(master, 1).remove(0).executor_id;
        worker.reports(master, &app.id, failing, ExecutorState::Failed, None);
        let running = worker.launched(master, 1).remove(0).executor_id;
        worker.reports(master, &app.id, running, ExecutorState::Running, None);
        // Told twice, it is still what it is.
        worker.reports(master, &app.id, running, ExecutorState::Running, None);
        worker.reports(master, &app.id, running, ExecutorState::Exited, Some(0));
    }
    assert_eq!(app.state(master), ApplicationState::Running);
    worker.launched(master, 1);
}

/// Without a limit, it goes on for ever; and while an executor runs, the application does.
pub fn failures_do_not_end_an_application_without_limit_or_with_an_executor(
    master: &mut impl MasterUnderTest,
) {
    for retries in ["-1", "1"] {
        master.start(&[("max_executor_retries", retries)]).unwrap();
        let worker = Worker::new(master, "a", 10, 2, 512);
        worker.register(master);
        let app = App::new(master, "app", 1).cores(1).register(master);
        worker.launched(master, 2);
        if retries == "1" {
            worker.reports(master, &app.id, 0, ExecutorState::Running, None);
        }
        for executor in 1..30 {
            worker.reports(master, &app.id, executor, ExecutorState::Exited, Some(1));
            let launched: Vec<LaunchExecutor> = worker.launched(master, 1);
            assert_eq!(launched[0].executor_id, executor + 1);
        }
        assert_eq!(app.state(master), ApplicationState::Running);
    }
}

/// What ended is kept for people, not for ever.
pub fn applications_that_ended_are_listed_up_to_a_number(master: &mut impl MasterUnderTest) {
    master.start(&[("retained_applications", "3")]).unwrap();
    let mut ids = Vec::new();
    for _ in 0..5 {
        let app = App::new(master, "app", 1).register(master);
        app.unregister(master);
        ids.push(app.id);
    }
    let completed = master.state().completed_apps.into_iter();
    let completed: Vec<String> = completed.map(|app| app.id).collect();
    assert_eq!(completed, ids[2..]);
}

/// A profile that is known keeps what it needs; so many profiles that nobody could mean them are refused.
pub fn an_application_has_so_many_profiles_at_most(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let app = App::new(master, "app", 1).limit(0).register(master);
    let totals: BTreeMap<ResourceProfile, u32> = (0..300)
        .map(|id| {
            let profile = ResourceProfile {
                id,
                cores: None,
                memory_mb: None,
                resources: Vec::new(),
            };
            (profile, 1)
        })
        .collect();
    let ask = deploy_protocol::RequestExecutors {
        app_id: app.id.clone(),
        totals,
    };
    let failure = master.ask(&app.peer.reference, &ask).unwrap_err();
    assert!(failure.text.contains("256"), "{failure}");
    assert_eq!(
        app.seen(master).executor_limit,
        Some(0),
        "nothing of it was taken"
    );
}

/// An application in its first moment, told apart from the answer to another one.
pub fn each_client_is_told_of_its_own_application(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let first = App::new(master, "first", 1).register(master);
    let second = App::new(master, "second", 2).register(master);
    assert_ne!(first.id, second.id);
    master.received::<RegisteredApplication>(&first.peer.reference, 0);
}
