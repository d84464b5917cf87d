//! Workers that take no new work.

use deploy_protocol::{
    DecommissionWorker, DecommissionWorkersOnHosts, ExecutorState, ExecutorUpdated, KillExecutor,
    WorkerDecommissioning, WorkerState,
};

use super::{App, MasterUnderTest, Peer, Worker};

fn decommission(master: &mut impl MasterUnderTest, hosts: &[&str]) -> u32 {
    let operator = Peer::new(master, "operator", 1);
    let ask = DecommissionWorkersOnHosts {
        hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
    };
    master.ask(&operator.reference, &ask).unwrap().count
}

/// Two workers on host 10, one on host 11.
fn three_workers(master: &mut impl MasterUnderTest) -> [Worker; 3] {
    master.start(&[]).unwrap();
    [("one", 10), ("two", 10), ("three", 11)].map(|(id, host)| {
        let mut worker = Worker::new(master, id, host, 2, 512);
        worker.peer.reference = master.peer(id, host);
        worker.register(master);
        worker
    })
}

/// MD2, MD5: by name of host, whatever its case; each is told once, and counted each time.
pub fn all_workers_of_a_host_are_taken_out_of_service(master: &mut impl MasterUnderTest) {
    let workers = three_workers(master);
    for _ in 0..2 {
        assert_eq!(decommission(master, &["HOST-10", "Host-10"]), 2);
    }
    let states = workers.clone().map(|worker| worker.seen(master).state);
    let expected = [
        WorkerState::Decommissioned,
        WorkerState::Decommissioned,
        WorkerState::Alive,
    ];
    assert_eq!(states, expected);
    for (worker, count) in workers.iter().zip([1, 1, 0]) {
        master.received::<DecommissionWorker>(&worker.peer.reference, count);
    }
}

/// MD3.
pub fn hosts_without_workers_count_for_nothing(master: &mut impl MasterUnderTest) {
    three_workers(master);
    assert_eq!(decommission(master, &["host-99", "elsewhere"]), 0);
    assert_eq!(decommission(master, &[]), 0);
}

/// MD4.
pub fn hosts_that_are_known_count_beside_those_that_are_not(master: &mut impl MasterUnderTest) {
    three_workers(master);
    assert_eq!(decommission(master, &["host-11", "elsewhere"]), 1);
}

/// Section 3.13: what runs there works on, but another may take its place; nothing new comes.
pub fn what_runs_on_a_worker_out_of_service_works_on_and_does_not_count(
    master: &mut impl MasterUnderTest,
) {
    master.start(&[("max_executor_retries", "1")]).unwrap();
    let old = Worker::new(master, "old", 10, 2, 512);
    old.register(master);
    let app = App::new(master, "app", 1).cores(2).max(2).register(master);
    old.launched(master, 1);
    old.reports(master, &app.id, 0, ExecutorState::Running, None);
    master.received::<ExecutorUpdated>(&app.peer.reference, 1);

    let leaves = WorkerDecommissioning {
        id: old.id.clone(),
        worker: old.peer.reference.clone(),
    };
    master.send(&old.peer.reference, &leaves);

    let told: ExecutorUpdated = master.received(&app.peer.reference, 1).remove(0);
    assert_eq!(
        (told.executor_id, told.state),
        (0, ExecutorState::Decommissioned)
    );
    assert_eq!(told.worker_host.as_deref(), Some("host-10"));
    let seen = old.seen(master);
    assert_eq!(
        (seen.state, seen.cores_used),
        (WorkerState::Decommissioned, 2)
    );
    assert_eq!(app.seen(master).cores_granted, 0);
    let new = Worker::new(master, "new", 11, 2, 512);
    new.register(master);
    assert_eq!(new.launched(master, 1)[0].executor_id, 1);

    // Its end, however bad, is no failure of the application, and makes no room for anything.
    old.reports(master, &app.id, 0, ExecutorState::Exited, Some(137));
    let seen = old.seen(master);
    assert_eq!(
        (seen.state, seen.cores_used),
        (WorkerState::Decommissioned, 0)
    );
    assert_eq!(app.seen(master).executors.len(), 1);
    old.launched(master, 0);
    // It stays out of service when it registers again.
    assert!(old.register(master).duplicate);
    assert_eq!(old.seen(master).state, WorkerState::Decommissioned);
}

/// An application that ends takes along what it has on workers out of service.
pub fn an_application_that_ends_kills_what_it_has_on_workers_out_of_service(
    master: &mut impl MasterUnderTest,
) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 2, 512);
    worker.register(master);
    let app = App::new(master, "app", 1).register(master);
    assert_eq!(decommission(master, &["host-10"]), 1);
    app.unregister(master);
    let killed: Vec<KillExecutor> = master.received(&worker.peer.reference, 1);
    assert_eq!(killed[0].executor_id, 0);
    assert_eq!(worker.seen(master).cores_used, 0);
}

/// A worker out of service that leaves is lost like any other.
pub fn a_worker_out_of_service_that_leaves_is_dead(master: &mut impl MasterUnderTest) {
    let workers = three_workers(master);
    decommission(master, &["host-11"]);
    master.disconnect(11);
    assert_eq!(workers[2].seen(master).state, WorkerState::Dead);
    assert_eq!(
        decommission(master, &["host-11"]),
        0,
        "the dead do not count"
    );
}
