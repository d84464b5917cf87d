//! A master comes to lead, leads no more, and leads again, all in one process: what is known belongs to
//! one term, and what was written down to all of them.

use deploy_protocol::{
    ApplicationState, DriverState, DriverStateChanged, KillDriver, LaunchDriver, MasterChanged,
    MasterInStandby, RecoveryState, RegisteredWorker, RequestKillAllDrivers, RequestReadyz,
};
use instar_sdk::Failure;

use super::{App, Fixture, Peer, StandbyUnderTest, Worker, driver};

const KEPT: (&str, &str) = ("recovery_mode", "filesystem");

/// A worker of 8 cores, a driver on it, and an application with an executor of the rest.
struct Cluster {
    worker: Worker,
    driver: String,
    app: App,
    client: Peer,
}

fn cluster(master: &mut impl StandbyUnderTest, config: &[(&str, &str)]) -> Cluster {
    master.start_standby(config);
    master.elect();
    let worker = Worker::new(master, "a", 10, 8, 4096);
    worker.register(master);
    let client = Peer::new(master, "client", 2);
    let driver = client.submit(master, driver(false));
    master.received::<LaunchDriver>(&worker.peer.reference, 1);
    let app = App::new(master, "app", 1).register(master);
    worker.launched(master, 1);
    Cluster {
        worker,
        driver,
        app,
        client,
    }
}

fn status(master: &mut impl StandbyUnderTest) -> RecoveryState {
    master.state().status
}

/// Trap 1: the process goes on. What it knew is another master's to decide on, so it knows it no more.
pub fn one_that_leads_no_more_knows_nothing_and_stands_by(master: &mut impl StandbyUnderTest) {
    for mode in ["none", "filesystem"] {
        let Cluster {
            worker,
            driver,
            app,
            client,
        } = cluster(master, &[("recovery_mode", mode)]);
        master.revoke();

        let state = master.state();
        assert_eq!(state.status, RecoveryState::Standby);
        assert!(state.workers.is_empty() && state.active_drivers.is_empty());
        assert!(state.active_apps.is_empty() && state.completed_apps.is_empty());
        assert!(state.completed_drivers.is_empty());
        let ready = master.ask(&client.reference, &RequestReadyz {});
        assert!(!ready.unwrap().ready);

        worker.send_registration(master);
        master.received::<MasterInStandby>(&worker.peer.reference, 1);
        master.received::<RegisteredWorker>(&worker.peer.reference, 0);
        let ended = DriverStateChanged {
            driver_id: driver,
            state: DriverState::Finished,
            message: String::new(),
            exit_status: Some(0),
        };
        let refused = master.ask(&worker.peer.reference, &ended).unwrap_err();
        assert_eq!(refused.code, Failure::LEADERSHIP);
        assert!(!app.request(master, 3));
    }
}

/// Where nothing is written down, the next term begins with nothing.
pub fn nothing_of_a_term_is_in_the_next(master: &mut impl StandbyUnderTest) {
    let Cluster {
        worker,
        driver,
        app,
        ..
    } = cluster(master, &[]);
    master.revoke();
    master.elect();
    let state = master.state();
    assert_eq!(state.status, RecoveryState::Alive);
    assert!(state.workers.is_empty() && state.active_apps.is_empty());
    assert!(state.active_drivers.is_empty());
    // Nor does anybody hear of it.
    master.received::<MasterChanged>(&worker.peer.reference, 0);
    master.received::<KillDriver>(&worker.peer.reference, 0);
    // Who comes with it is told what is wanted no more.
    assert!(!worker.register(master).duplicate);
    worker.answers(master, vec![app.executor(0, 7)], &[&driver]);
    master.received::<KillDriver>(&worker.peer.reference, 1);
}

/// Leading again is a recovery, as of any other master.
pub fn elected_again_it_takes_up_what_was_written_down(master: &mut impl StandbyUnderTest) {
    let Cluster {
        worker,
        driver,
        app,
        client,
    } = cluster(master, &[KEPT]);
    assert!(app.request(master, 5));
    let queued: Vec<String> = (0..3)
        .map(|_| client.submit(master, super::driver(false)))
        .collect();
    for _ in 0..2 {
        master.revoke();
        assert_eq!(status(master), RecoveryState::Standby);
        master.elect();
        assert_eq!(status(master), RecoveryState::Recovering);
        for peer in [&worker.peer, &app.peer] {
            let changed: Vec<MasterChanged> = master.received(&peer.reference, 1);
            assert_eq!(changed[0].master, master.state().master);
        }
        app.acknowledges(master);
        worker.answers(master, vec![app.executor(0, 7)], &[&driver]);

        let state = master.state();
        assert_eq!(state.status, RecoveryState::Alive);
        assert_eq!(app.state(master), ApplicationState::Running);
        assert_eq!(app.seen(master).executor_limit, Some(5));
        assert_eq!(state.driver(&driver).state, DriverState::Running);
        let waiting = state.active_drivers.iter();
        let waiting = waiting.filter(|driver| driver.state == DriverState::Submitted);
        let waiting: Vec<&String> = waiting.map(|driver| &driver.id).collect();
        assert_eq!(waiting, queued.iter().collect::<Vec<_>>());
        assert_eq!(worker.seen(master).cores_used, 8);
        master.received::<LaunchDriver>(&worker.peer.reference, 0);
        worker.launched(master, 0);
    }
}

/// A standby keeps nothing of what it hears. Who was told so comes again.
pub fn what_came_between_two_terms_is_taken_up(master: &mut impl StandbyUnderTest) {
    let Cluster { worker, .. } = cluster(master, &[KEPT]);
    master.revoke();
    let new = Worker::new(master, "new", 11, 2, 512);
    new.send_registration(master);
    master.received::<MasterInStandby>(&new.peer.reference, 1);
    master.disconnect(worker.peer.host);
    master.elect();
    let state = master.state();
    assert_eq!(state.status, RecoveryState::Recovering);
    let ids: Vec<&String> = state.workers.iter().map(|worker| &worker.id).collect();
    assert_eq!(ids, ["a"]);
    assert!(!new.register(master).duplicate);
}

/// Whoever had answered in the term before has not answered in this one.
pub fn a_recovery_that_is_broken_off_begins_anew(master: &mut impl StandbyUnderTest) {
    let Cluster {
        worker,
        driver,
        app,
        ..
    } = cluster(master, &[KEPT]);
    master.revoke();
    master.elect();
    worker.answers(master, vec![app.executor(0, 7)], &[&driver]);
    assert_eq!(status(master), RecoveryState::Recovering);
    master.revoke();
    master.elect();
    app.acknowledges(master);
    assert_eq!(status(master), RecoveryState::Recovering);
    worker.answers(master, vec![app.executor(0, 7)], &[&driver]);
    assert_eq!(status(master), RecoveryState::Alive);
    assert_eq!(worker.seen(master).cores_used, 8);
}

/// A host that is not sure whether it was heard says it again.
pub fn told_twice_it_leads_once(master: &mut impl StandbyUnderTest) {
    let Cluster {
        worker,
        driver,
        app,
        ..
    } = cluster(master, &[KEPT]);
    master.elect_again();
    assert_eq!(status(master), RecoveryState::Alive);
    assert_eq!(worker.seen(master).cores_used, 8);
    master.received::<MasterChanged>(&worker.peer.reference, 0);

    master.revoke();
    master.elect();
    app.acknowledges(master);
    master.elect_again();
    assert_eq!(status(master), RecoveryState::Recovering);
    assert_eq!(app.state(master), ApplicationState::Waiting);
    master.received::<MasterChanged>(&worker.peer.reference, 1);
    worker.answers(master, vec![app.executor(0, 7)], &[&driver]);
    assert_eq!(status(master), RecoveryState::Alive);
}

/// That all drivers are to end is acknowledged, so it is not forgotten, whoever leads then.
pub fn a_kill_of_all_drivers_outlives_the_term(master: &mut impl StandbyUnderTest) {
    let Cluster {
        worker,
        driver,
        app,
        client,
    } = cluster(master, &[KEPT]);
    let waits = client.submit(master, super::driver(true));
    let all = master.ask(&client.reference, &RequestKillAllDrivers {});
    assert!(all.unwrap().success);
    master.received::<KillDriver>(&worker.peer.reference, 1);
    let state = master.state();
    assert_eq!(state.driver(&waits).state, DriverState::Killed);
    master.revoke();
    master.elect();
    // Submitted after it: none of them.
    app.acknowledges(master);
    worker.answers(master, vec![app.executor(0, 7)], &[&driver]);
    assert_eq!(status(master), RecoveryState::Alive);
    let told: Vec<KillDriver> = master.received(&worker.peer.reference, 1);
    assert_eq!(told[0].driver_id, driver);
    let later = client.submit(master, super::driver(true));
    master.revoke();
    master.elect();
    app.acknowledges(master);
    worker.answers(master, vec![app.executor(0, 7)], &[]);
    let state = master.state();
    assert_eq!(state.driver(&driver).state, DriverState::Killed);
    assert!([DriverState::Submitted, DriverState::Running].contains(&state.driver(&later).state));
}

/// A late report means an executor of the term in which its number was given, and meets no other.
pub fn terms_use_no_number_of_an_executor_twice(master: &mut impl StandbyUnderTest) {
    let Cluster {
        worker,
        driver,
        app,
        ..
    } = cluster(master, &[KEPT]);
    for first in [100_000, 200_000, 300_000] {
        master.revoke();
        master.elect();
        app.acknowledges(master);
        worker.answers(master, Vec::new(), &[&driver]);
        assert_eq!(worker.launched(master, 1)[0].executor_id, first);
        // What is written again in this term says so.
        assert!(app.request(master, 1));
    }
}
