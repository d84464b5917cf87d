//! Drivers: placement, end, relaunch, kill.

use deploy_protocol::{
    DriverState, DriverStateChanged, DriverStateNoted, KillDriver, LaunchDriver,
    RequestClearCompletedDriversAndApps, RequestDriverStatus, RequestKillAllDrivers,
    RequestKillDriver, RequestSubmitDriver, ResourceRequirement, WorkerLatestState, WorkerState,
};

use super::{Fixture, MasterUnderTest, Peer, Worker, driver, wait_until};

fn three_workers(master: &mut impl MasterUnderTest) -> [Worker; 3] {
    [("a", 10), ("b", 11), ("c", 12)].map(|(id, host)| {
        let worker = Worker::new(master, id, host, 10, 4096);
        worker.register(master);
        worker
    })
}

fn drivers_of(master: &mut impl MasterUnderTest, workers: &[Worker; 3]) -> [usize; 3] {
    workers
        .clone()
        .map(|worker| worker.seen(master).drivers.len())
}

/// Tells that a driver ended; the master notes it.
fn ended(master: &mut impl MasterUnderTest, worker: &Worker, id: &str, state: DriverState) {
    let report = DriverStateChanged {
        driver_id: id.to_owned(),
        state,
        message: "so it ended".to_owned(),
        exit_status: Some(3),
    };
    let noted = master.ask(&worker.peer.reference, &report);
    assert_eq!(noted, Ok(DriverStateNoted { noted: true }));
}

/// M19.
pub fn no_more_drivers_run_at_once_than_max_drivers(master: &mut impl MasterUnderTest) {
    master.start(&[("max_drivers", "4")]).unwrap();
    let workers = three_workers(master);
    let client = Peer::new(master, "client", 1);
    let first: Vec<String> = (0..3)
        .map(|_| client.submit(master, driver(false)))
        .collect();
    assert_eq!(drivers_of(master, &workers).iter().sum::<usize>(), 3);
    for _ in 0..3 {
        client.submit(master, driver(false));
    }
    assert_eq!(drivers_of(master, &workers).iter().sum::<usize>(), 4);

    let runs_first = workers.iter().find(|worker| {
        let seen = worker.seen(master);
        seen.drivers.contains(&first[0])
    });
    let runs_first = runs_first.unwrap().clone();
    ended(master, &runs_first, &first[0], DriverState::Finished);

    assert_eq!(drivers_of(master, &workers).iter().sum::<usize>(), 4);
    let waiting = master.state().active_drivers;
    let waiting = waiting
        .iter()
        .filter(|driver| driver.state == DriverState::Submitted);
    assert_eq!(waiting.count(), 1, "one that waited took the place");
}

/// One that fits nowhere, and comes to fit while too many run, is placed when there is room.
pub fn a_driver_that_the_limit_holds_back_is_not_forgotten(master: &mut impl MasterUnderTest) {
    master.start(&[("max_drivers", "1")]).unwrap();
    let small_worker = Worker::new(master, "small", 10, 1, 512);
    small_worker.register(master);
    let client = Peer::new(master, "client", 1);
    let mut large = driver(false);
    large.cores = 3;
    let large = client.submit(master, large);
    let small = client.submit(master, driver(false));
    Worker::new(master, "large", 11, 3, 512).register(master);
    let state = master.state();
    assert_eq!(state.driver(&small).state, DriverState::Running);
    assert_eq!(state.driver(&large).state, DriverState::Submitted);
    ended(master, &small_worker, &small, DriverState::Finished);
    let state = master.state();
    assert_eq!(state.driver(&large).worker_id.as_deref(), Some("large"));
}

/// M20.
pub fn drivers_are_spread_out(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let workers = three_workers(master);
    let client = Peer::new(master, "client", 1);
    for expected in [[1, 1, 1], [2, 2, 2]] {
        for _ in 0..3 {
            client.submit(master, driver(false));
        }
        assert_eq!(drivers_of(master, &workers), expected);
    }
}

/// M21.
pub fn drivers_are_packed_where_the_configuration_says_so(master: &mut impl MasterUnderTest) {
    master.start(&[("spread_out_drivers", "false")]).unwrap();
    let workers = three_workers(master);
    let client = Peer::new(master, "client", 1);
    for _ in 0..3 {
        client.submit(master, driver(false));
    }
    assert_eq!(drivers_of(master, &workers), [3, 0, 0]);
}

/// A driver is told to its worker with what it is, and runs from then on for the master.
pub fn a_driver_is_launched_and_its_end_is_noted(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let client = Peer::new(master, "client", 1);
    let id = client.submit(master, driver(false));
    let status = RequestDriverStatus {
        driver_id: id.clone(),
    };
    let answer = master.ask(&client.reference, &status).unwrap();
    assert_eq!(
        (answer.found, answer.state),
        (true, Some(DriverState::Submitted))
    );

    let worker = Worker::new(master, "a", 10, 2, 512);
    worker.register(master);
    let launch: LaunchDriver = master.received(&worker.peer.reference, 1).remove(0);
    assert_eq!(
        (launch.driver_id.as_str(), &launch.description),
        (id.as_str(), &driver(false))
    );
    let answer = master.ask(&client.reference, &status).unwrap();
    assert_eq!(answer.state, Some(DriverState::Running));
    assert_eq!(answer.worker_id.as_deref(), Some("a"));
    assert_eq!(answer.worker_host_port.as_deref(), Some("host-10:7010"));
    let seen = worker.seen(master);
    assert_eq!((seen.cores_used, seen.memory_used_mb), (1, 128));

    ended(master, &worker, &id, DriverState::Failed);
    let answer = master.ask(&client.reference, &status).unwrap();
    assert_eq!(answer.state, Some(DriverState::Failed));
    assert_eq!(
        (answer.message.as_str(), answer.exit_status),
        ("so it ended", Some(3))
    );
    let seen = worker.seen(master);
    assert_eq!((seen.cores_used, seen.memory_used_mb), (0, 0));
    // A report may come twice.
    ended(master, &worker, &id, DriverState::Failed);

    let unknown = RequestDriverStatus {
        driver_id: "driver-nope".to_owned(),
    };
    assert!(!master.ask(&client.reference, &unknown).unwrap().found);
}

/// Only an end is reported; anything else is the reporter's mistake, and it is told.
pub fn a_report_that_a_driver_runs_is_refused(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let client = Peer::new(master, "client", 1);
    let driver_id = client.submit(master, driver(false));
    for state in [
        DriverState::Submitted,
        DriverState::Running,
        DriverState::Relaunching,
        DriverState::Unknown,
    ] {
        let report = DriverStateChanged {
            driver_id: driver_id.clone(),
            state,
            message: String::new(),
            exit_status: None,
        };
        let failure = master.ask(&client.reference, &report).unwrap_err();
        assert!(failure.text.contains("expected is FINISHED"), "{failure}");
    }
    assert_eq!(master.state().active_drivers.len(), 1);
}

/// A driver that fits nowhere does not hold up those behind it.
pub fn a_driver_that_fits_nowhere_waits_alone(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 2, 512);
    worker.register(master);
    let client = Peer::new(master, "client", 1);
    let mut large = driver(false);
    large.cores = 3;
    let large = client.submit(master, large);
    let small = client.submit(master, driver(false));
    let state = master.state();
    assert_eq!(state.driver(&large).state, DriverState::Submitted);
    assert_eq!(state.driver(&small).state, DriverState::Running);
    Worker::new(master, "b", 11, 3, 512).register(master);
    assert_eq!(
        master.state().driver(&large).worker_id.as_deref(),
        Some("b")
    );
}

/// What no worker could ever run is refused at once.
pub fn a_driver_without_cores_or_memory_is_refused(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let client = Peer::new(master, "client", 1);
    let mut no_cores = driver(false);
    no_cores.cores = 0;
    let mut no_memory = driver(false);
    no_memory.memory_mb = 0;
    for description in [no_cores, no_memory] {
        let ask = RequestSubmitDriver { description };
        let answer = master.ask(&client.reference, &ask).unwrap();
        assert_eq!((answer.success, answer.driver_id), (false, None));
        assert!(answer.message.contains("at least"), "{}", answer.message);
    }
}

/// M22: what a worker runs and this master does not know of is ended.
pub fn what_a_worker_runs_without_the_masters_knowledge_is_killed(
    master: &mut impl MasterUnderTest,
) {
    use deploy_protocol::{ExecutorDescription, ExecutorState, KillExecutor};
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 10, 4096);
    worker.register(master);
    let executors = (0..3).map(|executor_id| ExecutorDescription {
        app_id: "app-nope".to_owned(),
        executor_id,
        resource_profile_id: 0,
        cores: 1,
        memory_mb: 64,
        state: ExecutorState::Running,
    });
    let report = WorkerLatestState {
        id: worker.id.clone(),
        executors: executors.collect(),
        driver_ids: ["0", "1", "2"].map(str::to_owned).to_vec(),
    };
    master.send(&worker.peer.reference, &report);

    let kills: Vec<KillExecutor> = master.received(&worker.peer.reference, 3);
    let killed: Vec<u32> = kills.iter().map(|kill| kill.executor_id).collect();
    assert_eq!(killed, [0, 1, 2]);
    let kills: Vec<KillDriver> = master.received(&worker.peer.reference, 3);
    let killed: Vec<&str> = kills.iter().map(|kill| kill.driver_id.as_str()).collect();
    assert_eq!(killed, ["0", "1", "2"]);
}

fn kill(master: &mut impl MasterUnderTest, client: &Peer, driver_id: &str) -> (bool, String) {
    let ask = RequestKillDriver {
        driver_id: driver_id.to_owned(),
    };
    let answer = master.ask(&client.reference, &ask).unwrap();
    (answer.success, answer.message)
}

/// A driver that waits ends at once; one that runs is its worker's to end.
pub fn a_kill_ends_what_waits_and_is_passed_on_for_what_runs(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let client = Peer::new(master, "client", 1);
    let waiting = client.submit(master, driver(false));
    assert!(kill(master, &client, &waiting).0);
    assert_eq!(master.state().driver(&waiting).state, DriverState::Killed);

    let worker = Worker::new(master, "a", 10, 2, 512);
    worker.register(master);
    let running = client.submit(master, driver(true));
    assert!(kill(master, &client, &running).0);
    let told: Vec<KillDriver> = master.received(&worker.peer.reference, 1);
    assert_eq!(told[0].driver_id, running);
    assert_eq!(master.state().driver(&running).state, DriverState::Running);
    ended(master, &worker, &running, DriverState::Killed);
    assert_eq!(master.state().driver(&running).state, DriverState::Killed);

    let (success, message) = kill(master, &client, &running);
    assert!(
        !success && message.contains("finished or does not exist"),
        "{message}"
    );
}

/// All of them, those that wait and those that run.
pub fn all_drivers_can_be_killed_at_once(master: &mut impl MasterUnderTest) {
    master.start(&[("max_drivers", "1")]).unwrap();
    let worker = Worker::new(master, "a", 10, 2, 512);
    worker.register(master);
    let client = Peer::new(master, "client", 1);
    let running = client.submit(master, driver(false));
    let waiting = client.submit(master, driver(false));
    let answer = master.ask(&client.reference, &RequestKillAllDrivers {});
    assert!(answer.unwrap().success);
    let told: Vec<KillDriver> = master.received(&worker.peer.reference, 1);
    assert_eq!(told[0].driver_id, running);
    assert_eq!(master.state().driver(&waiting).state, DriverState::Killed);
}

/// RC6: a supervised driver goes elsewhere when its worker is lost, under a new id; and the old one,
/// should its worker come back, is ended.
pub fn a_supervised_driver_of_a_lost_worker_is_relaunched_elsewhere(
    master: &mut impl MasterUnderTest,
) {
    master.start(&[("worker_timeout", "1000")]).unwrap();
    let first = Worker::new(master, "first", 10, 2, 512);
    first.register(master);
    let client = Peer::new(master, "client", 1);
    let old = client.submit(master, driver(true));
    let launched: Vec<LaunchDriver> = master.received(&first.peer.reference, 1);
    assert_eq!(launched[0].driver_id, old);

    wait_until(master, "the silent worker is dead", |state| {
        state.workers[0].state == WorkerState::Dead
    });
    let second = Worker::new(master, "second", 11, 2, 512);
    second.register(master);
    let launched: Vec<LaunchDriver> = master.received(&second.peer.reference, 1);
    let new = launched[0].driver_id.clone();
    assert_ne!(new, old);

    first.register(master);
    let report = WorkerLatestState {
        id: first.id.clone(),
        executors: Vec::new(),
        driver_ids: vec![old.clone()],
    };
    master.send(&first.peer.reference, &report);
    let told: Vec<KillDriver> = master.received(&first.peer.reference, 1);
    assert_eq!(told[0].driver_id, old);
    // A late report about the old one ends nobody.
    ended(master, &first, &old, DriverState::Killed);

    let state = master.state();
    let active: Vec<&str> = state
        .active_drivers
        .iter()
        .map(|driver| driver.id.as_str())
        .collect();
    assert_eq!(active, [new.as_str()]);
    assert_eq!(state.driver(&old).state, DriverState::Relaunching);
    assert_eq!(first.seen(master).drivers, Vec::<String>::new());
}

/// One that nobody supervises is over; so is one that somebody wants to end.
pub fn other_drivers_of_a_lost_worker_are_over(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 4, 512);
    worker.register(master);
    let client = Peer::new(master, "client", 1);
    let alone = client.submit(master, driver(false));
    let unwanted = client.submit(master, driver(true));
    let ask = RequestKillDriver {
        driver_id: unwanted.clone(),
    };
    master.ask(&client.reference, &ask).unwrap();
    master.disconnect(worker.peer.host);
    let state = master.state();
    assert!(state.active_drivers.is_empty());
    assert_eq!(state.driver(&alone).state, DriverState::Error);
    assert_eq!(state.driver(&unwanted).state, DriverState::Killed);
}

/// RC7: other resources are given by address, and given back.
pub fn a_driver_gets_addresses_of_the_resources_that_it_needs(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let client = Peer::new(master, "client", 1);
    let mut needy = driver(false);
    needy.resources = ["gpu", "fpga"]
        .map(|name| ResourceRequirement {
            name: name.to_owned(),
            amount: 3,
        })
        .to_vec();
    let id = client.submit(master, needy);
    let poor = Worker::new(master, "poor", 9, 8, 4096).with("gpu", 3);
    poor.register(master);
    assert_eq!(master.state().driver(&id).state, DriverState::Submitted);
    let worker = Worker::new(master, "a", 10, 8, 4096)
        .with("gpu", 3)
        .with("fpga", 3);
    worker.register(master);

    let launch: LaunchDriver = master.received(&worker.peer.reference, 1).remove(0);
    let given = launch.resources.iter();
    let given: Vec<(&str, String)> = given
        .map(|resource| (resource.name.as_str(), resource.addresses.join(",")))
        .collect();
    let expected = [("gpu", "0,1,2".to_owned()), ("fpga", "0,1,2".to_owned())];
    assert_eq!(given, expected);
    assert_eq!(master.state().driver(&id).resources, launch.resources);
    let used = worker.seen(master).resources_used;
    assert!(
        used.iter().all(|resource| resource.addresses.len() == 3),
        "{used:?}"
    );

    ended(master, &worker, &id, DriverState::Finished);
    let used = worker.seen(master).resources_used;
    assert!(
        used.iter().all(|resource| resource.addresses.is_empty()),
        "{used:?}"
    );
}

/// What ended is kept for people, not for ever, and can be forgotten.
pub fn drivers_that_ended_are_listed_up_to_a_number(master: &mut impl MasterUnderTest) {
    master.start(&[("retained_drivers", "3")]).unwrap();
    let client = Peer::new(master, "client", 1);
    let mut ids = Vec::new();
    for _ in 0..5 {
        let id = client.submit(master, driver(false));
        let ask = RequestKillDriver {
            driver_id: id.clone(),
        };
        assert!(master.ask(&client.reference, &ask).unwrap().success);
        ids.push(id);
    }
    let completed = master.state().completed_drivers;
    let completed: Vec<String> = completed.into_iter().map(|driver| driver.id).collect();
    assert_eq!(completed, ids[2..]);
    let ask = RequestClearCompletedDriversAndApps {};
    let cleared = master.ask(&client.reference, &ask).unwrap();
    assert_eq!((cleared.drivers, cleared.applications), (3, 0));
    assert!(master.state().completed_drivers.is_empty());
}
