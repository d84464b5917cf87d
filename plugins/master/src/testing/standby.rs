//! What a master that does not lead answers: section 3.14.

use deploy_protocol::{
    BoundPortsRequest, DecommissionWorkersOnHosts, DriverState, DriverStateChanged, ExecutorState,
    ExecutorStateChanged, MasterChanged, MasterInStandby, ReconnectWorker, RecoveryState,
    RegisteredApplication, RegisteredWorker, RequestClearCompletedDriversAndApps,
    RequestDriverStatus, RequestKillAllDrivers, RequestKillApplication, RequestKillDriver,
    RequestReadyz, RequestSubmitDriver, WorkerDecommissioning,
};

use instar_sdk::Failure;

use super::{App, Peer, StandbyUnderTest, Worker, driver};

const EXPECTED: &str = "Current state is not alive: STANDBY";

/// RC12: workers are told to look for another master, and nothing of them is kept.
pub fn workers_are_told_that_it_stands_by(master: &mut impl StandbyUnderTest) {
    master.start_standby(&[("recovery_mode", "filesystem")]);
    let worker = Worker::new(master, "a", 10, 2, 512);
    worker.send_registration(master);
    let leaves = WorkerDecommissioning {
        id: worker.id.clone(),
        worker: worker.peer.reference.clone(),
    };
    master.send(&worker.peer.reference, &leaves);
    master.received::<MasterInStandby>(&worker.peer.reference, 2);
    master.received::<RegisteredWorker>(&worker.peer.reference, 0);
    master.elect();
    let state = master.state();
    assert_eq!(
        (state.status, state.workers.len()),
        (RecoveryState::Alive, 0)
    );
}

/// An application hears nothing, and asks another one.
pub fn applications_hear_nothing(master: &mut impl StandbyUnderTest) {
    master.start_standby(&[]);
    let mut app = App::new(master, "app", 1);
    app.send_registration(master);
    app.id = "app-1".to_owned();
    assert!(!app.request(master, 1));
    assert!(!app.kill(master, vec![0]));
    app.unregister(master);
    app.acknowledges(master);
    master.received::<RegisteredApplication>(&app.peer.reference, 0);
    master.received::<MasterChanged>(&app.peer.reference, 0);
    assert!(master.state().active_apps.is_empty());
}

/// Clients are told to ask another one, in words that they look for.
pub fn clients_are_told_to_ask_another_master(master: &mut impl StandbyUnderTest) {
    master.start_standby(&[]);
    let client = Peer::new(master, "client", 1);
    let driver_id = "driver-1".to_owned();
    let submit = RequestSubmitDriver {
        description: driver(false),
    };
    let submitted = master.ask(&client.reference, &submit).unwrap();
    let kill = RequestKillDriver {
        driver_id: driver_id.clone(),
    };
    let killed = master.ask(&client.reference, &kill).unwrap();
    let all = master.ask(&client.reference, &RequestKillAllDrivers {});
    let all = all.unwrap();
    let app = RequestKillApplication {
        app_id: "app-1".to_owned(),
    };
    let app = master.ask(&client.reference, &app).unwrap();
    let ask = RequestDriverStatus { driver_id };
    let found = master.ask(&client.reference, &ask).unwrap();
    for (success, message) in [
        (submitted.success, submitted.message),
        (killed.success, killed.message),
        (all.success, all.message),
        (app.success, app.message),
        (found.found, found.message),
    ] {
        assert_eq!((success, message.as_str()), (false, EXPECTED));
    }
}

/// Trap 12: what a worker reports is for the master that leads. A yes would take it out of the world.
pub fn reports_are_not_noted(master: &mut impl StandbyUnderTest) {
    master.start_standby(&[]);
    let worker = Worker::new(master, "a", 10, 2, 512);
    let executor = ExecutorStateChanged {
        app_id: "app-1".to_owned(),
        executor_id: 0,
        state: ExecutorState::Exited,
        message: String::new(),
        exit_status: Some(0),
    };
    let refused = [
        master.ask(&worker.peer.reference, &executor).unwrap_err(),
        master
            .ask(&worker.peer.reference, &driver_ended())
            .unwrap_err(),
    ];
    for failure in refused {
        assert!(failure.text.contains("not the leader"), "{failure}");
        assert_eq!(failure.code, Failure::LEADERSHIP);
    }
}

fn driver_ended() -> DriverStateChanged {
    DriverStateChanged {
        driver_id: "driver-1".to_owned(),
        state: DriverState::Finished,
        message: String::new(),
        exit_status: Some(0),
    }
}

/// Who led goes on as a standby, and no connection breaks: a worker that could not be told of the new
/// master would beat for ever where nobody counts it.
pub fn who_takes_a_standby_for_its_master_learns_better(master: &mut impl StandbyUnderTest) {
    master.start_standby(&[]);
    let worker = Worker::new(master, "a", 10, 2, 512);
    worker.beat(master);
    let asked: Vec<ReconnectWorker> = master.received(&worker.peer.reference, 1);
    assert_eq!(asked[0].master, master.state().master);
}

/// Between two leaders all stand by. Who comes then need not wait for its next try.
pub fn who_came_to_a_standby_is_called_when_it_leads(master: &mut impl StandbyUnderTest) {
    master.start_standby(&[]);
    let worker = Worker::new(master, "a", 10, 2, 512);
    worker.send_registration(master);
    worker.send_registration(master);
    let app = App::new(master, "app", 1);
    app.send_registration(master);
    master.received::<MasterChanged>(&app.peer.reference, 0);
    master.elect();
    master.received::<ReconnectWorker>(&worker.peer.reference, 1);
    master.received::<MasterChanged>(&app.peer.reference, 1);
    worker.register(master);
    let app = app.register(master);
    // Once: the next term does not know of it.
    master.revoke();
    master.elect();
    master.received::<ReconnectWorker>(&worker.peer.reference, 0);
    master.received::<MasterChanged>(&app.peer.reference, 0);
}

/// Trap 17: what anybody may look at or forget, it answers as any master.
pub fn questions_are_answered(master: &mut impl StandbyUnderTest) {
    master.start_standby(&[]);
    let client = Peer::new(master, "client", 1);
    assert_eq!(master.state().status, RecoveryState::Standby);
    let ready = master.ask(&client.reference, &RequestReadyz {});
    assert!(!ready.unwrap().ready);
    let ports = master.ask(&client.reference, &BoundPortsRequest {});
    let ports = ports.unwrap();
    let address = master.state().master.address.unwrap();
    assert!(address.ends_with(&format!(":{}", ports.rpc_port)));
    assert_eq!((ports.web_ui_port, ports.rest_port), (None, None));
    let clear = RequestClearCompletedDriversAndApps {};
    let cleared = master.ask(&client.reference, &clear).unwrap();
    assert_eq!((cleared.drivers, cleared.applications), (0, 0));
    let hosts = DecommissionWorkersOnHosts {
        hosts: vec!["host-10".to_owned()],
    };
    assert_eq!(master.ask(&client.reference, &hosts).unwrap().count, 0);
    master.elect();
    let ready = master.ask(&client.reference, &RequestReadyz {});
    assert!(ready.unwrap().ready);
    assert_eq!(master.state().status, RecoveryState::Alive);
}
