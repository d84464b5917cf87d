//! What only a test that drives the handlers can look at: exact times, the store, metrics.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use deploy_protocol::{
    ApplicationRemoved, MasterChanged, ReconnectWorker, RecoveryState, RegisterWorkerFailed,
    RequestKillDriver, RequestMasterState, RequestSubmitDriver, WorkerState,
};
use instar_sdk::prelude::*;
use instar_sdk::testing::Observed;
use master::Master;
use master::testing::native::Native;
use master::testing::{App, MasterUnderTest, Peer, StandbyUnderTest, Worker, driver};

const KEPT: (&str, &str) = ("recovery_mode", "filesystem");

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn is_dead(master: &mut Native) -> bool {
    master.state().workers[0].state == WorkerState::Dead
}

/// Spark checks once in a time-out, and finds a silent worker after up to two of them.
#[test]
fn a_silent_worker_is_found_after_one_to_one_and_a_quarter_time_outs() {
    for after_check in [0, 1, 100, 249] {
        let mut master = Native::default();
        master.start(&[("worker_timeout", "1000")]).unwrap();
        master.endpoint().advance(millis(500 + after_check));
        Worker::new(&mut master, "a", 10, 1, 64).register(&mut master);
        master.endpoint().advance(millis(1000));
        assert!(!is_dead(&mut master), "{after_check} ms after a check");
        master.endpoint().advance(millis(250));
        assert!(is_dead(&mut master), "{after_check} ms after a check");
    }
}

#[test]
fn a_lost_worker_is_listed_for_its_time_and_no_longer() {
    let mut master = Native::default();
    let config = [("worker_timeout", "1000"), ("dead_worker_persistence", "3")];
    master.start(&config).unwrap();
    Worker::new(&mut master, "a", 10, 1, 64).register(&mut master);
    master.endpoint().advance(millis(4000));
    assert!(is_dead(&mut master));
    master.endpoint().advance(millis(250));
    assert!(master.state().workers.is_empty());
}

#[test]
fn recovery_waits_as_long_as_the_configuration_says() {
    let mut master = Native::default();
    master.start(&[KEPT, ("recovery_timeout", "7000")]).unwrap();
    let _ = App::new(&mut master, "app", 1).register(&mut master);
    master.restart();
    master.endpoint().advance(millis(6999));
    assert_eq!(master.state().status, RecoveryState::Recovering);
    master.endpoint().advance(millis(1));
    assert_eq!(master.state().status, RecoveryState::Alive);
}

/// Timers of an instance that crashed go on in the host. The next instance starts its own.
#[test]
fn timers_of_an_instance_that_crashed_do_not_count() {
    let mut master = Native::default();
    master.start(&[("worker_timeout", "1000")]).unwrap();
    for _ in 0..5 {
        master.endpoint().restart();
        master.let_it_lead();
        master.endpoint().advance(millis(10));
    }
    Worker::new(&mut master, "a", 10, 1, 64).register(&mut master);
    master.endpoint().advance(millis(1000));
    assert!(!is_dead(&mut master));
    assert_eq!(
        master.endpoint().timers(),
        1,
        "only the check of this instance"
    );
    master.endpoint().advance(millis(250));
    assert!(is_dead(&mut master));
}

#[test]
fn only_what_goes_on_is_in_the_store() {
    let mut master = Native::default();
    master.start(&[KEPT]).unwrap();
    let worker = Worker::new(&mut master, "w", 10, 4, 512);
    worker.register(&mut master);
    let app = App::new(&mut master, "app", 1).register(&mut master);
    let client = Peer::new(&mut master, "client", 2);
    let driver_id = client.submit(&mut master, driver(false));
    let before = master.endpoint().persisted();
    let names: Vec<&String> = before.keys().collect();
    let expected = [
        format!("app_{}", app.id),
        "counters".to_owned(),
        format!("driver_{driver_id}"),
        "worker_w".to_owned(),
    ];
    assert_eq!(names, expected.iter().collect::<Vec<_>>());
    // They say themselves what they are.
    for (name, value) in &before {
        let value: serde_json::Value = serde_json::from_slice(value).unwrap();
        assert!(name.starts_with(value["entry"].as_str().unwrap()));
        assert_eq!(value["version"], 1);
    }

    // Trap 10: what is there is not written again.
    let _ = app.clone().register(&mut master);
    worker.register(&mut master);
    assert_eq!(master.endpoint().persisted(), before);
    app.unregister(&mut master);
    master.disconnect(10);
    let left = master.endpoint().persisted();
    assert_eq!(left.keys().collect::<Vec<_>>(), ["counters"]);
}

#[test]
fn without_recovery_nothing_is_in_the_store() {
    let mut master = Native::default();
    master.start(&[]).unwrap();
    let denied = Failure::with_code(Failure::DENIED, "there is no store");
    master.endpoint().set_store_failure(Some(denied));
    Worker::new(&mut master, "w", 10, 4, 512).register(&mut master);
    let client = Peer::new(&mut master, "client", 2);
    client.submit(&mut master, driver(false));
    assert!(master.endpoint().persisted().is_empty());
}

/// Complaint 24: an entry of another version, or of nobody, neither stops recovery nor is deleted.
#[test]
fn an_entry_that_cannot_be_read_is_kept_and_reported() {
    let mut master = Native::default();
    master
        .start(&[KEPT, ("driver_id_pattern", "driver-%d")])
        .unwrap();
    let client = Peer::new(&mut master, "client", 2);
    assert_eq!(client.submit(&mut master, driver(false)), "driver-0");
    let mut persisted = master.endpoint().persisted();
    for (name, value) in [
        ("driver_driver-1", "{\"entry\":\"driver\",\"version\":2}"),
        ("app_broken", "half of a val"),
        ("something else", ""),
    ] {
        persisted.insert(name.to_owned(), Bytes::from(value));
    }
    let config = [KEPT, ("driver_id_pattern", "driver-%d")];
    master.start_with(&config, persisted.clone());
    master.let_it_lead();

    let state = master.state();
    assert_eq!(state.status, RecoveryState::Alive);
    assert_eq!(state.active_drivers.len(), 1);
    let lines = master.endpoint().log();
    for name in ["driver_driver-1", "app_broken", "something else"] {
        let told = lines.iter().any(|line| {
            line.level == instar_sdk::Level::Error && line.text.contains(&format!("`{name}`"))
        });
        assert!(told, "{name}: {lines:?}");
    }
    assert_eq!(gauge(&mut master, "unreadableEntries"), 3.0);
    // Nor is it written over.
    assert_eq!(client.submit(&mut master, driver(false)), "driver-2");
    persisted.remove("counters");
    for (name, value) in &persisted {
        assert_eq!(master.endpoint().persisted().get(name), Some(value));
    }
}

/// The servers may answer another host: this one does not stand in its way for ever.
#[test]
fn one_that_cannot_read_what_is_written_down_resigns_and_takes_it_up_when_it_can() {
    let mut master = Native::default();
    master.start_standby(&[("recovery_mode", "zookeeper")]);
    let away = Failure::with_code(Failure::PERSISTENCE, "no server answers");
    master.endpoint().set_read_failure(Some(away));
    master.elect();
    // Tried at once and after 50, 100, ... 1000 ms.
    master
        .endpoint()
        .advance(millis(50 + 100 + 200 + 400 + 800));
    assert_eq!(master.endpoint().resigned(), 1);
    master.endpoint().advance(millis(999));
    assert_eq!(master.endpoint().resigned(), 1);
    master.endpoint().advance(millis(1));
    assert_eq!(master.endpoint().resigned(), 2);
    assert_eq!(master.state().status, RecoveryState::Standby);
    // Nobody else stood, and its term goes on.
    master.endpoint().set_read_failure(None);
    master.endpoint().advance(millis(1000));
    assert_eq!(master.state().status, RecoveryState::Alive);
}

/// What cannot be written down is refused, and nothing is half there.
#[test]
fn what_the_store_refuses_is_refused() {
    let mut master = Native::default();
    master.start(&[KEPT]).unwrap();
    let runs = Worker::new(&mut master, "runs", 9, 4, 512);
    runs.register(&mut master);
    let full = Failure::with_code(Failure::DENIED, "the store is full");
    master.endpoint().set_store_failure(Some(full));

    let worker = Worker::new(&mut master, "w", 10, 4, 512);
    worker.send_registration(&mut master);
    let refused: Vec<RegisterWorkerFailed> = master.received(&worker.peer.reference, 1);
    assert!(refused[0].message.contains("the store is full"));
    let app = App::new(&mut master, "app", 1);
    app.send_registration(&mut master);
    let refused: Vec<ApplicationRemoved> = master.received(&app.peer.reference, 1);
    assert!(refused[0].message.contains("the store is full"));
    let client = Peer::new(&mut master, "client", 2);
    let ask = RequestSubmitDriver {
        description: driver(false),
    };
    let answer = master.ask(&client.reference, &ask).unwrap();
    assert!(!answer.success && answer.message.contains("the store is full"));
    let state = master.state();
    assert_eq!((state.workers.len(), state.active_apps.len()), (1, 0));
    assert!(state.active_drivers.is_empty());

    // When there is room again, all is as if nobody had asked before.
    master.endpoint().set_store_failure(None);
    worker.register(&mut master);
    let _ = app.register(&mut master);
    client.submit(&mut master, driver(false));
    assert_eq!(master.endpoint().persisted().len(), 5);
}

/// What it believes and could not keep it does not go on with. Another one may lead meanwhile; if none does, it
/// takes up what is durable itself.
#[test]
fn one_whose_changes_were_not_kept_resigns_and_begins_anew_with_what_is_durable() {
    let mut master = Native::default();
    master.start(&[KEPT]).unwrap();
    let worker = Worker::new(&mut master, "a", 10, 4, 512);
    worker.register(&mut master);
    let other = Failure::with_code(Failure::DENIED, "something else");
    master.endpoint().error(other);
    assert_eq!(master.state().status, RecoveryState::Alive, "only logged");
    let full = Failure::with_code(Failure::PERSISTENCE, "the disk is full");
    for _ in 0..3 {
        // Each turn that could not be kept is told.
        master.endpoint().error(full.clone());
    }
    assert_eq!(master.endpoint().resigned(), 1);
    assert_eq!(master.state().status, RecoveryState::Standby);
    master.endpoint().advance(millis(4999));
    assert_eq!(master.state().status, RecoveryState::Standby);
    // Nobody else stood, as there is nobody.
    master.endpoint().advance(millis(1));
    let state = master.state();
    assert_eq!(state.status, RecoveryState::Recovering);
    assert_eq!(state.workers[0].state, WorkerState::Unknown);
    worker.answers(&mut master, Vec::new(), &[]);
    assert_eq!(master.state().status, RecoveryState::Alive);
}

/// Else one that leads all alone would be elected again at once, again and again.
#[test]
fn one_whose_changes_were_not_kept_rests_although_it_is_elected_again() {
    let mut master = Native::default();
    master.start(&[KEPT]).unwrap();
    let full = Failure::with_code(Failure::PERSISTENCE, "the disk is full");
    master.endpoint().error(full);
    master.revoke();
    master.elect();
    assert_eq!(master.state().status, RecoveryState::Standby);
    master.endpoint().advance(millis(5000));
    assert_eq!(master.state().status, RecoveryState::Alive);
}

fn crashed() -> Failure {
    Failure::with_code(Failure::CRASHED, "the instance before trapped")
}

/// A copy of what a master knew a moment before may be wrong about every worker: all tell what they run.
#[test]
fn after_a_crash_all_workers_are_asked_what_they_run() {
    let mut master = Native::default();
    master.start(&[]).unwrap();
    let worker = Worker::new(&mut master, "a", 10, 4, 512);
    worker.register(&mut master);
    let dead = Worker::new(&mut master, "dead", 11, 4, 512);
    dead.register(&mut master);
    master.disconnect(11);
    master.swap();
    master.endpoint().error(crashed());
    master.received::<ReconnectWorker>(&worker.peer.reference, 1);
    master.received::<ReconnectWorker>(&dead.peer.reference, 0);
}

/// The host tells the next instance whether it leads, and that there was a crash: in this order, as the term goes on.
#[test]
fn after_a_crash_it_takes_up_what_is_written_down_and_leads_on() {
    let mut master = Native::default();
    master.start(&[KEPT]).unwrap();
    let worker = Worker::new(&mut master, "a", 10, 4, 512);
    worker.register(&mut master);
    let is_recovering = |master: &mut Native| {
        let state = master.state();
        assert_eq!(state.status, RecoveryState::Recovering);
        assert_eq!(state.workers[0].state, WorkerState::Unknown);
        master.received::<MasterChanged>(&worker.peer.reference, 1);
        worker.answers(master, Vec::new(), &[]);
        assert_eq!(master.state().status, RecoveryState::Alive);
    };
    // With a copy of its state, in either order.
    master.swap();
    master.elect_again();
    master.endpoint().error(crashed());
    is_recovering(&mut master);
    master.swap();
    master.endpoint().error(crashed());
    master.elect_again();
    is_recovering(&mut master);
    // And without: it has just begun with what is written down.
    master.restart();
    master.endpoint().error(crashed());
    is_recovering(&mut master);
}

/// What is kept can always be read by the next master, and what ended makes room.
#[test]
fn no_more_is_kept_than_the_next_master_can_read() {
    let mut master = Native::default();
    master.start(&[KEPT]).unwrap();
    let client = Peer::new(&mut master, "client", 2);
    let mut large = driver(false);
    large.command.arguments = vec!["x".repeat(60 << 10)];
    let ask = RequestSubmitDriver { description: large };
    let mut ids = Vec::new();
    let refused = loop {
        let answer = master.ask(&client.reference, &ask).unwrap();
        match answer.driver_id {
            Some(id) => ids.push(id),
            None => break answer.message,
        }
    };
    assert!(refused.contains("try again"), "{refused}");
    let kept = |master: &mut Native| {
        let persisted = master.endpoint().persisted();
        persisted.values().map(|value| value.len()).sum::<usize>()
    };
    let bytes = kept(&mut master);
    assert!(bytes > 47 << 20 && bytes <= 48 << 20, "{bytes}");
    master.swap();
    master.restart();
    let answer = master.ask(&client.reference, &ask).unwrap();
    assert!(!answer.success, "counted by the next one as well");
    let driver_id = ids.remove(0);
    let kill = RequestKillDriver { driver_id };
    assert!(master.ask(&client.reference, &kill).unwrap().success);
    assert!(master.ask(&client.reference, &ask).unwrap().success);
}

/// Waiting for one that does not read would be a wait of all others.
#[test]
fn who_does_not_read_is_lost() {
    let mut master = Native::default();
    master.start(&[]).unwrap();
    let worker = Worker::new(&mut master, "a", 10, 4, 512);
    worker.register(&mut master);
    let full = Failure::with_code(Failure::OUTBOX_FULL, "16384 messages wait");
    master.endpoint().set_full(Some(full));
    let app = App::new(&mut master, "app", 1);
    app.send_registration(&mut master);
    let state = master.state();
    assert_eq!(state.workers[0].state, WorkerState::Dead);
    assert!(state.active_apps.is_empty());
    assert_eq!(state.completed_apps.len(), 1);
    // Where it is only the inbox of a neighbour, there is room soon.
    let full = Failure::with_code(Failure::INBOX_FULL, "1024 messages wait");
    master.endpoint().set_full(Some(full));
    worker.register(&mut master);
    let _ = app.register(&mut master);
    worker.launched(&mut master, 1);
}

fn gauge(master: &mut Native, name: &str) -> f64 {
    match master.endpoint().metric(name) {
        Some(Observed::Gauge(value)) => value,
        other => panic!("`{name}` is {other:?}"),
    }
}

/// Section 8.5: the source `master`, and for applications what all have together.
#[test]
fn metrics_say_how_many_there_are() {
    let mut master = Native::default();
    master.start(&[]).unwrap();
    let names = [
        "workers",
        "aliveWorkers",
        "apps",
        "waitingApps",
        "applicationCores",
        "applicationExecutors",
    ];
    let gauges = |master: &mut Native| names.map(|name| gauge(master, name) as u32);
    assert_eq!(gauges(&mut master), [0, 0, 0, 0, 0, 0]);
    Worker::new(&mut master, "a", 10, 4, 512).register(&mut master);
    Worker::new(&mut master, "b", 11, 4, 64).register(&mut master);
    let app = App::new(&mut master, "app", 1).register(&mut master);
    let waits = App::new(&mut master, "waits", 2)
        .memory(9999)
        .register(&mut master);
    assert_eq!(gauges(&mut master), [2, 2, 2, 1, 4, 1]);
    app.unregister(&mut master);
    master.disconnect(11);
    assert_eq!(gauges(&mut master), [2, 1, 1, 1, 0, 0]);
    waits.unregister(&mut master);
    let ended = master.endpoint().metric("applicationsFinished");
    assert_eq!(ended, Some(Observed::Counter(2)));
    let Some(Observed::Histogram(times)) = master.endpoint().metric("applicationRuntimeMs") else {
        panic!("no run times");
    };
    assert_eq!(times.len(), 2);
}

/// A swap takes the configuration as it is then; a bad one leaves what was in effect.
#[test]
fn a_swap_reads_the_configuration_again() {
    let mut master = Native::default();
    master.start(&[("spread_out_apps", "true")]).unwrap();
    master.endpoint().set_config("spread_out_apps", "false");
    assert_eq!(master.state().policy, "spread-out", "not before");
    master.swap();
    assert_eq!(master.state().policy, "consolidate");
    master.endpoint().set_config("spread_out_apps", "sideways");
    master.swap();
    assert_eq!(master.state().policy, "consolidate");
    let lines = master.endpoint().log();
    assert!(
        lines.iter().any(|line| line.text.contains("`sideways`")),
        "{lines:?}"
    );
}

#[test]
fn it_says_what_it_is_and_what_it_needs() {
    let metadata = instar_sdk::metadata_of::<Master>();
    assert_eq!(metadata.name, deploy_protocol::MASTER);
    assert_eq!(metadata.rights, ["clock", "lead", "persist"]);
    assert_eq!((metadata.state.version, metadata.state.reads), (1, vec![1]));
    let policy = master::core::policy::Policy::OF_THIS_BUILD.to_string();
    assert_eq!(metadata.version, format!("1.0.0+{policy}"));
}

/// Ten thousand workers and a thousand applications: the state stays small, and nothing is lost in it.
#[test]
fn ten_thousand_workers_and_a_thousand_applications_fit_into_a_small_state() {
    let mut master = Native::default();
    master.start(&[]).unwrap();
    for number in 0..1000_u16 {
        let app = App::new(&mut master, "app", number).cores(2).max(40);
        app.send_registration(&mut master);
    }
    for number in 0..10_000_u16 {
        let id = format!("worker-20260102030405-host-{number}-7078");
        let worker = Worker::new(&mut master, &id, 10_000 + number, 4, 4096);
        worker.send_registration(&mut master);
    }
    let state = master.state();
    let granted: u32 = state.active_apps.iter().map(|app| app.cores_granted).sum();
    assert_eq!((state.workers.len(), granted), (10_000, 40_000));
    let bytes = master.endpoint().snapshot(1).unwrap().len();
    assert!(bytes < 4 << 20, "{bytes} bytes");
    master.swap();
    assert_eq!(master.state(), state);
}

/// One answer describes all of them. Of the removed executors, of which there may be a hundred times as
/// many as applications, the last are told.
#[test]
fn ten_thousand_workers_and_a_thousand_applications_are_described_in_one_answer() {
    let mut master = Native::default();
    master.start(&[]).unwrap();
    let apps: Vec<App> = (0..1000)
        .map(|number| {
            let app = App::new(&mut master, "app", number).cores(1).max(20);
            app.register(&mut master)
        })
        .collect();
    for number in 0..10_000_u16 {
        let id = format!("worker-20260102030405-host-{number}-7078");
        let worker = Worker::new(&mut master, &id, 10_000 + number, 4, 4096);
        worker.send_registration(&mut master);
    }
    for round in 0..2 {
        for app in &apps {
            assert!(app.kill(&mut master, (round * 20..round * 20 + 20).collect()));
        }
    }
    let state = master.state();
    for app in &state.active_apps {
        assert_eq!((app.executors.len(), app.removed_executors.len()), (20, 20));
        assert_eq!(app.removed_executors[0].description.executor_id, 20);
    }
    assert_eq!(state.workers.len(), 10_000);
    let bytes = postcard::to_stdvec(&state).unwrap().len();
    assert!(bytes < 5 << 20, "{bytes} bytes");
}

/// What would be too much is refused before there is too little memory for it.
#[test]
fn a_description_that_is_too_large_is_refused() {
    let mut master = Native::default();
    master.start(&[]).unwrap();
    let client = Peer::new(&mut master, "client", 1);
    let mut large = driver(false);
    large.command.arguments = vec!["a".repeat(60 << 10)];
    for _ in 0..100 {
        client.submit(&mut master, large.clone());
    }
    assert_eq!(master.state().active_drivers.len(), 100);
    for _ in 0..5 {
        client.submit(&mut master, large.clone());
    }
    let refused = master.ask(&client.reference, &RequestMasterState {});
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, Failure::TOO_LARGE);
    assert!(
        refused.text.contains("more than 6291456 bytes"),
        "{refused}"
    );
}

/// A pass over very many workers for very many applications is no single long turn.
#[test]
fn a_long_pass_goes_on_in_the_next_turn() {
    let mut master = Native::default();
    master.start(&[KEPT]).unwrap();
    let awaited = App::new(&mut master, "awaited", 1).register(&mut master);
    master.restart();
    for number in 0..1000 {
        let id = format!("w-{number}");
        Worker::new(&mut master, &id, 1000 + number, 1, 64).send_registration(&mut master);
    }
    // Each needs a little less than the one before, so that nothing is learnt from one for the next.
    for number in 0..600 {
        let app = App::new(&mut master, "misfit", 3000 + number);
        app.memory(9000 - u32::from(number))
            .send_registration(&mut master);
    }
    let fits = App::new(&mut master, "fits", 2).memory(32).max(7);
    let fits = fits.register(&mut master);
    master.disconnect(awaited.peer.host);
    assert_eq!(
        master.endpoint().timers(),
        3,
        "time-outs, recovery, and this"
    );
    assert_eq!(fits.seen(&mut master).cores_granted, 0);
    master.endpoint().advance(Duration::ZERO);
    assert_eq!(fits.seen(&mut master).cores_granted, 7);
}

/// As an operator would write it, to see that the form is one that can be written.
#[test]
fn what_is_persisted_can_be_given_by_hand() {
    let entry = r#"{"entry":"worker","version":1,"id":"w","host":"h","port":7,
        "worker":{"name":"Worker","address":"h:7"},"cores":4,"memory_mb":512}"#;
    let mut master = Native::default();
    let persisted = BTreeMap::from([("worker_w".to_owned(), Bytes::from(entry))]);
    master.start_with(&[KEPT], persisted);
    master.let_it_lead();
    let state = master.state();
    assert_eq!(state.status, RecoveryState::Recovering);
    assert_eq!(
        (state.workers[0].id.as_str(), state.workers[0].cores),
        ("w", 4)
    );
}
