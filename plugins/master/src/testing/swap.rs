//! What goes along when the code of a master is swapped.

use deploy_protocol::{ExecutorState, ReconnectWorker, RecoveryState, WorkerState};

use super::{App, MasterUnderTest, Peer, Worker, driver, wait_until};

/// Nothing is lost, and nobody is told: no recovery, no new registration.
pub fn a_swap_keeps_all_that_the_master_knows(master: &mut impl MasterUnderTest) {
    master.start(&[("max_executor_retries", "2")]).unwrap();
    let worker = Worker::new(master, "a", 10, 4, 4096).with("gpu", 2);
    worker.register(master);
    let lost = Worker::new(master, "lost", 11, 4, 64);
    lost.register(master);
    master.disconnect(11);
    let client = Peer::new(master, "client", 2);
    client.submit(master, driver(true));
    let mut large = driver(false);
    large.cores = 64;
    client.submit(master, large);
    let app = App::new(master, "app", 1).cores(1).max(2).register(master);
    let over = App::new(master, "over", 3).limit(0).register(master);
    over.unregister(master);
    worker.launched(master, 2);
    worker.reports(master, &app.id, 0, ExecutorState::Failed, None);
    worker.launched(master, 1);

    let before = master.state();
    master.swap();
    assert_eq!(master.state(), before);

    // The second failure in a row, and none runs: counted over the swap.
    worker.reports(master, &app.id, 1, ExecutorState::Failed, None);
    assert_eq!(app.state(master), deploy_protocol::ApplicationState::Failed);
    // Ids go on, and so does everything that leads to a worker or an application.
    let next = App::new(master, "next", 4).register(master);
    assert!(before.active_apps.iter().all(|app| app.id != next.id));
    assert!(worker.register(master).duplicate);
    lost.beat(master);
    master.received::<ReconnectWorker>(&lost.peer.reference, 1);
}

/// Timers go on, and are not started a second time.
pub fn a_silent_worker_is_lost_over_a_swap(master: &mut impl MasterUnderTest) {
    master.start(&[("worker_timeout", "3000")]).unwrap();
    Worker::new(master, "a", 10, 4, 4096).register(master);
    for _ in 0..3 {
        master.moment();
        master.swap();
    }
    assert_eq!(master.state().workers[0].state, WorkerState::Alive);
    wait_until(master, "it is dead", |state| {
        state.workers[0].state == WorkerState::Dead
    });
}

/// A master that is swapped while it recovers goes on recovering.
pub fn a_recovery_goes_on_over_a_swap(master: &mut impl MasterUnderTest) {
    let config = [
        ("recovery_mode", "filesystem"),
        ("recovery_timeout", "3000"),
    ];
    master.start(&config).unwrap();
    let worker = Worker::new(master, "a", 10, 4, 4096);
    worker.register(master);
    let app = App::new(master, "app", 1).register(master);
    master.restart();
    master.swap();
    assert_eq!(master.state().status, RecoveryState::Recovering);
    app.acknowledges(master);
    worker.answers(master, vec![app.executor(0, 4)], &[]);
    assert_eq!(master.state().status, RecoveryState::Alive);

    master.restart();
    master.swap();
    wait_until(master, "recovery is over", |state| {
        state.status == RecoveryState::Alive
    });
}
