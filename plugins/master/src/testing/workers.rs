//! Workers come, are heard of, and are lost.

use deploy_protocol::{
    EndpointRef, ExecutorState, ExecutorUpdated, Heartbeat, KillDriver, KillExecutor, LaunchDriver,
    ReconnectWorker, RegisterWorkerFailed, RegisteredWorker, WorkerLatestState, WorkerRemoved,
    WorkerState,
};

use super::{App, MasterUnderTest, Peer, Worker, driver, wait_until};

/// RC4.
pub fn a_worker_is_told_the_address_that_it_dialled(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 2, 512);
    let answer = worker.register(master);
    assert_eq!(answer.master_address, "dialled.example:7077");
    assert!(!answer.duplicate);
    assert_eq!(answer.master, master.state().master);
}

/// A worker that registers again is told so, and is still one worker.
pub fn a_worker_that_registers_again_is_a_duplicate(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 2, 512);
    assert!(!worker.register(master).duplicate);
    assert!(worker.register(master).duplicate);
    assert_eq!(master.state().workers.len(), 1);
}

/// Complaint 10: the next life of a worker is taken at once; the one before is lost with what it ran.
pub fn another_id_at_the_same_place_replaces_the_worker_that_was_there(
    master: &mut impl MasterUnderTest,
) {
    master.start(&[]).unwrap();
    let before = Worker::new(master, "before", 10, 2, 512);
    before.register(master);
    let app = App::new(master, "app", 1).register(master);
    assert_eq!(app.seen(master).executors.len(), 1);
    let after = Worker::new(master, "after", 10, 2, 512);
    assert!(!after.register(master).duplicate);

    let updates: Vec<ExecutorUpdated> = master.received(&app.peer.reference, 1);
    assert_eq!(updates[0].state, ExecutorState::Lost);
    let removed: Vec<WorkerRemoved> = master.received(&app.peer.reference, 1);
    assert_eq!(removed[0].id, "before");
    assert!(removed[0].message.contains("replaced by after"));
    let state = master.state();
    let alive = state
        .workers
        .iter()
        .filter(|worker| worker.state == WorkerState::Alive);
    let alive: Vec<&str> = alive.map(|worker| worker.id.as_str()).collect();
    assert_eq!(alive, ["after"]);
    assert_eq!(app.seen(master).executors[0].worker_id, "after");
}

/// An id is one worker's; a live one is not pushed aside.
pub fn the_id_of_a_live_worker_is_refused_from_another_place(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    Worker::new(master, "a", 10, 2, 512).register(master);
    let other = Worker::new(master, "a", 11, 2, 512);
    other.send_registration(master);
    let refused: Vec<RegisterWorkerFailed> = master.received(&other.peer.reference, 1);
    assert!(refused[0].message.contains("another worker"));
    assert_eq!(master.state().workers.len(), 1);
}

/// What cannot be a worker is told why.
pub fn a_worker_that_offers_nothing_or_has_a_bad_id_is_refused(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    for (id, cores, memory_mb, reason) in [
        ("", 1, 1, "1 to 200 bytes"),
        ("a b", 1, 1, "white space"),
        ("a", 0, 1, "no core"),
        ("a", 1, 0, "no memory"),
        ("a", 10_001, 1, "10000 at most"),
        ("a", u32::MAX, u32::MAX, "10000 at most"),
    ] {
        let worker = Worker::new(master, id, 10, cores, memory_mb);
        worker.send_registration(master);
        let refused: Vec<RegisterWorkerFailed> = master.received(&worker.peer.reference, 1);
        assert!(
            refused[0].message.contains(reason),
            "{}",
            refused[0].message
        );
    }
    assert!(master.state().workers.is_empty());
}

/// One host may have several workers: their places differ by name.
pub fn workers_of_one_host_are_told_apart_by_their_names(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let workers = ["one", "two", "three"].map(|name| {
        let mut worker = Worker::new(master, name, 10, 2, 512);
        worker.peer.reference = master.peer(name, 10);
        worker
    });
    for worker in &workers {
        assert!(!worker.register(master).duplicate);
    }
    assert_eq!(alive(master), 3);
    // The connection is the host's: with it go all of them.
    let elsewhere = Worker::new(master, "elsewhere", 11, 2, 512);
    elsewhere.register(master);
    master.disconnect(10);
    assert_eq!(alive(master), 1);
}

fn alive(master: &mut impl MasterUnderTest) -> usize {
    let workers = master.state().workers;
    let alive = workers
        .iter()
        .filter(|worker| worker.state == WorkerState::Alive);
    alive.count()
}

/// A disconnect is a loss, at once: of the workers there and of their executors. Applications that had
/// an executor there are told.
pub fn a_disconnect_loses_a_worker_with_its_executors(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 2, 512);
    worker.register(master);
    let user = App::new(master, "user", 1).register(master);
    let other = App::new(master, "other", 2).register(master);
    master.disconnect(worker.peer.host);

    assert_eq!(worker.seen(master).state, WorkerState::Dead);
    let updates: Vec<ExecutorUpdated> = master.received(&user.peer.reference, 1);
    let update = &updates[0];
    assert_eq!((update.executor_id, update.state), (0, ExecutorState::Lost));
    assert_eq!(update.exit_status, None);
    assert_eq!(update.worker_host.as_deref(), Some("host-10"));
    let removed: Vec<WorkerRemoved> = master.received(&user.peer.reference, 1);
    assert_eq!(
        (removed[0].id.as_str(), removed[0].host.as_str()),
        ("a", "host-10")
    );
    master.received::<ExecutorUpdated>(&other.peer.reference, 0);
    master.received::<WorkerRemoved>(&other.peer.reference, 0);
    let seen = user.seen(master);
    assert_eq!((seen.executors.len(), seen.removed_executors.len()), (0, 1));
    assert_eq!(seen.removed_executors[0].worker_id, "a");

    // Complaint 14: what was lost is started elsewhere.
    Worker::new(master, "b", 11, 2, 512).register(master);
    assert_eq!(user.seen(master).executors.len(), 1);
}

/// A heartbeat keeps a worker; silence loses it, whatever runs on it.
pub fn a_silent_worker_is_lost_and_one_that_beats_is_not(master: &mut impl MasterUnderTest) {
    master.start(&[("worker_timeout", "3000")]).unwrap();
    let silent = Worker::new(master, "silent", 10, 2, 512);
    let beating = Worker::new(master, "beating", 11, 2, 512);
    silent.register(master);
    beating.register(master);
    for _ in 0..2000 {
        beating.beat(master);
        if silent.seen(master).state == WorkerState::Dead {
            break;
        }
        master.moment();
    }
    assert_eq!(silent.seen(master).state, WorkerState::Dead);
    assert_eq!(beating.seen(master).state, WorkerState::Alive);
}

/// One that was lost and is heard of is asked to register again; then it is one live worker.
pub fn a_lost_worker_that_is_heard_of_is_asked_to_register_again(
    master: &mut impl MasterUnderTest,
) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 2, 512);
    worker.register(master);
    master.disconnect(worker.peer.host);
    worker.beat(master);
    let asked: Vec<ReconnectWorker> = master.received(&worker.peer.reference, 1);
    assert_eq!(asked[0].master, master.state().master);
    assert!(!worker.register(master).duplicate);
    assert_eq!(worker.seen(master).state, WorkerState::Alive);
}

/// So is one that this master never saw: another one may have taken it, of which nothing is left.
pub fn a_worker_that_the_master_never_saw_is_asked_to_register_again(
    master: &mut impl MasterUnderTest,
) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 2, 512);
    worker.register(master);
    let client = Peer::new(master, "client", 2);
    let driver = client.submit(master, driver(false));
    master.received::<LaunchDriver>(&worker.peer.reference, 1);
    // Nothing is kept: the one that follows knows nobody.
    master.restart();
    worker.beat(master);
    let asked: Vec<ReconnectWorker> = master.received(&worker.peer.reference, 1);
    assert_eq!(asked[0].master, master.state().master);
    assert!(master.state().workers.is_empty(), "asking changes nothing");

    assert!(!worker.register(master).duplicate);
    worker.beat(master);
    master.received::<ReconnectWorker>(&worker.peer.reference, 0);
    // It tells what it runs, as it does whenever it is registered; nobody wants that any more.
    let report = WorkerLatestState {
        id: worker.id.clone(),
        executors: Vec::new(),
        driver_ids: vec![driver.clone()],
    };
    master.send(&worker.peer.reference, &report);
    let killed: Vec<KillDriver> = master.received(&worker.peer.reference, 1);
    assert_eq!(killed[0].driver_id, driver);
}

/// A lost worker is listed for a while, then forgotten.
pub fn a_lost_worker_is_forgotten_after_a_while(master: &mut impl MasterUnderTest) {
    let config = [("worker_timeout", "1000"), ("dead_worker_persistence", "2")];
    master.start(&config).unwrap();
    let worker = Worker::new(master, "a", 10, 2, 512);
    worker.register(master);
    wait_until(master, "it is dead", |state| {
        state
            .workers
            .iter()
            .any(|worker| worker.state == WorkerState::Dead)
    });
    wait_until(master, "it is forgotten", |state| state.workers.is_empty());
}

/// Complaint 13: an executor that ran and that its worker does not list any more has ended, though no
/// report came; one that may be on its way to the worker has not.
pub fn an_executor_that_its_worker_does_not_run_any_more_is_lost(
    master: &mut impl MasterUnderTest,
) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 3, 512);
    worker.register(master);
    let app = App::new(master, "app", 1).cores(1).max(3).register(master);
    worker.launched(master, 3);
    worker.reports(master, &app.id, 0, ExecutorState::Running, None);
    worker.reports(master, &app.id, 1, ExecutorState::Running, None);
    master.received::<ExecutorUpdated>(&app.peer.reference, 2);
    let report = WorkerLatestState {
        id: worker.id.clone(),
        executors: vec![app.executor(1, 1)],
        driver_ids: Vec::new(),
    };
    master.send(&worker.peer.reference, &report);

    let updates: Vec<ExecutorUpdated> = master.received(&app.peer.reference, 1);
    assert_eq!(
        (updates[0].executor_id, updates[0].state),
        (0, ExecutorState::Lost)
    );
    let executors = app.seen(master).executors.into_iter();
    let numbers: Vec<u32> = executors
        .map(|executor| executor.description.executor_id)
        .collect();
    assert_eq!(numbers, [1, 2, 3], "another one took its place");
    master.received::<KillExecutor>(&worker.peer.reference, 0);
}

/// Nothing that a stranger sends changes anything.
pub fn reports_of_strangers_change_nothing(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let stranger = Worker::new(master, "stranger", 10, 2, 512);
    stranger.answers(master, Vec::new(), &["driver-1"]);
    let report = WorkerLatestState {
        id: stranger.id.clone(),
        executors: Vec::new(),
        driver_ids: vec!["driver-1".to_owned()],
    };
    master.send(&stranger.peer.reference, &report);
    let heartbeat = Heartbeat {
        worker_id: "stranger".to_owned(),
        worker: EndpointRef::local("nobody"),
    };
    master.send(&stranger.peer.reference, &heartbeat);
    let state = master.state();
    assert!(state.workers.is_empty() && state.active_drivers.is_empty());
    master.received::<RegisteredWorker>(&stranger.peer.reference, 0);
}
