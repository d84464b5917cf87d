//! How a worker finds a master, loses it and finds it again.

mod common;

use std::time::Duration;

use common::{
    advance_ms, config, dialled, executor, launch_executor, leads_now, logged, look, master_at,
    register, registered, registered_by, start,
};
use deploy_protocol::{
    Heartbeat, MasterInStandby, ReconnectWorker, RegisterWorker, RegisterWorkerFailed,
    WorkerLatestState, WorkerSchedulerStateResponse,
};
use worker::core::registration::Schedule;
use worker::core::settings::Settings;

const FAST_MS: u64 = 10_666;
const SLOW_MS: u64 = 63_994;

fn settings(more: &[(&str, &str)]) -> Settings {
    let config = config(more).into_iter();
    let owned = config.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Settings::read(owned).unwrap_or_else(|reason| panic!("{reason}"))
}

#[test]
fn the_schedule_is_six_fast_and_eleven_slow_waits_times_one_factor() {
    let waits = Schedule::new(&settings(&[]), 1).waits();
    let mut expected = vec![Duration::from_millis(FAST_MS); 6];
    expected.extend(vec![Duration::from_millis(SLOW_MS); 11]);
    assert_eq!(waits, expected);
}

#[test]
fn the_factor_is_half_to_one_and_a_half_and_differs_from_worker_to_worker() {
    let settings = settings(&[]);
    let first_wait = |seed| Schedule::new(&settings, seed).wait_after(0).as_millis();
    let mut waits: Vec<u128> = (0..1000).map(first_wait).collect();
    assert!(waits.iter().all(|ms| (5_000..=15_000).contains(ms)));
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 900, "only {} different waits", waits.len());
}

#[test]
fn a_worker_registers_with_all_masters_at_once() {
    let mut worker = start(&[("resources", r#"{"gpu": ["0", "1"]}"#)]);
    let sent = worker.sent::<RegisterWorker>();
    let to: Vec<_> = sent.iter().map(|(to, _)| to.clone()).collect();
    assert_eq!(to, [master_at("m1:7077"), master_at("m2:7077")]);
    let (_, first) = &sent[0];
    assert_eq!(first.master_address, "m1:7077");
    assert_eq!((first.host.as_str(), first.port), ("test-host", 7077));
    assert_eq!((first.cores, first.memory_mb), (16, 4096));
    assert_eq!(first.worker.to_string(), "instar://Worker@test-host:7077");
    assert_eq!(first.resources, common::gpus(&["0", "1"]));
    assert_eq!(first.id, look(&mut worker).worker_id);
}

/// Ticks 1 to 16 try again, tick 17 is the end: 6 fast and 11 slow intervals after the start.
#[test]
fn without_an_answer_it_tries_sixteen_times_more_and_then_stops_and_says_why() {
    let mut worker = start(&[]);
    dialled(&mut worker);
    for tick in 1..=16_u64 {
        let wait = if tick <= 6 { FAST_MS } else { SLOW_MS };
        advance_ms(&mut worker, wait - 1);
        assert_eq!(dialled(&mut worker), Vec::<String>::new(), "before {tick}");
        advance_ms(&mut worker, 1);
        assert_eq!(dialled(&mut worker), ["m1:7077", "m2:7077"], "at {tick}");
    }
    advance_ms(&mut worker, SLOW_MS - 1);
    assert!(!worker.asked_to_stop());
    advance_ms(&mut worker, 1);
    assert!(worker.asked_to_stop());
    assert_eq!(dialled(&mut worker), Vec::<String>::new());
    let said = logged(
        &mut worker,
        "no master registered this worker in 17 attempts",
    );
    assert!(
        said[0].text.contains("m1:7077, m2:7077"),
        "{}",
        said[0].text
    );
    assert_eq!(worker.timers(), 0);
}

#[test]
fn numbers_and_intervals_of_the_schedule_can_be_set() {
    let mut worker = start(&[
        ("initial_registration_retries", "1"),
        ("max_registration_retries", "2"),
        ("registration_fast_interval", "1000"),
        ("registration_slow_interval", "2000"),
    ]);
    // 1.0665 s, then twice 2.1331 s.
    advance_ms(&mut worker, 1067 + 2133 + 2132);
    assert!(!worker.asked_to_stop());
    advance_ms(&mut worker, 1);
    assert!(worker.asked_to_stop());
}

#[test]
fn an_answer_ends_the_attempts() {
    let mut worker = registered(&[("cleanup_enabled", "false")]);
    for _ in 0..100 {
        advance_ms(&mut worker, SLOW_MS);
    }
    assert_eq!(dialled(&mut worker), Vec::<String>::new());
    assert!(!worker.asked_to_stop());
    assert_eq!(worker.timers(), 1, "the heartbeat");
}

#[test]
fn a_master_in_standby_changes_nothing() {
    let mut worker = start(&[]);
    dialled(&mut worker);
    worker.send(&MasterInStandby {});
    advance_ms(&mut worker, FAST_MS);
    assert_eq!(dialled(&mut worker), ["m1:7077", "m2:7077"]);
}

/// In Spark a refused worker ends at once; the usual reason, an older worker at its address that the
/// master has not given up yet, passes.
#[test]
fn a_refused_worker_tries_on_and_says_the_reason_when_it_gives_up() {
    let mut worker = start(&[]);
    let message = "another worker is at this address".to_owned();
    worker.send(&RegisterWorkerFailed { message });
    assert!(!worker.asked_to_stop());
    dialled(&mut worker);
    advance_ms(&mut worker, FAST_MS);
    assert_eq!(dialled(&mut worker), ["m1:7077", "m2:7077"]);
    advance_ms(&mut worker, 20 * SLOW_MS);
    assert!(worker.asked_to_stop());
    let said = logged(&mut worker, "no master registered");
    assert!(said[0].text.contains("another worker is at this address"));
}

#[test]
fn a_refusal_of_a_registered_worker_is_ignored() {
    let mut worker = registered(&[]);
    let message = "duplicate".to_owned();
    worker.send(&RegisterWorkerFailed { message });
    advance_ms(&mut worker, 20 * SLOW_MS);
    assert!(!worker.asked_to_stop());
    assert!(look(&mut worker).connected);
}

/// W18.
#[test]
fn a_second_registration_makes_no_second_heartbeat_or_clean_up_timer() {
    let mut worker = start(&[]);
    worker.send(&registered_by("m1:7077"));
    let timers = worker.timers();
    worker.advance(Duration::from_secs(1));
    worker.send(&registered_by("m1:7077"));
    worker.send(&registered_by("m2:7077"));
    assert_eq!(worker.timers(), timers);
    worker.sent::<Heartbeat>();
    advance_ms(&mut worker, 15_000);
    assert_eq!(worker.sent::<Heartbeat>().len(), 1);
}

#[test]
fn the_first_heartbeat_goes_at_once_and_then_one_each_interval() {
    let mut worker = start(&[("heartbeat_interval", "15000")]);
    worker.send(&registered_by("m1:7077"));
    let (to, heartbeat) = worker.sent::<Heartbeat>().remove(0);
    assert_eq!(to, master_at("m1:7077"));
    assert_eq!(heartbeat.worker_id, look(&mut worker).worker_id);
    advance_ms(&mut worker, 14_999);
    assert_eq!(worker.sent::<Heartbeat>().len(), 0);
    advance_ms(&mut worker, 30_001);
    assert_eq!(worker.sent::<Heartbeat>().len(), 3);
}

#[test]
fn the_latest_state_follows_each_registration() {
    let mut worker = registered(&[]);
    let launch = launch_executor(&mut worker, &executor(3));
    common::runs(&mut worker, launch);
    worker.send(&common::driver(1, false));
    worker.send(&registered_by("m1:7077"));
    let (to, latest) = worker.sent::<WorkerLatestState>().remove(0);
    assert_eq!(to, master_at("m1:7077"));
    assert_eq!(latest.executors.len(), 1);
    assert_eq!(latest.executors[0].executor_id, 3);
    assert_eq!(latest.driver_ids, ["driver-1"]);
}

#[test]
fn a_lost_master_is_looked_for_while_all_works_on() {
    let mut worker = registered(&[]);
    let launch = launch_executor(&mut worker, &executor(0));
    common::runs(&mut worker, launch);
    worker.disconnected("m1:7077");
    assert_eq!(dialled(&mut worker), ["m1:7077", "m2:7077"]);
    assert!(!look(&mut worker).connected);
    worker.advance(Duration::from_secs(60));
    assert_eq!(worker.sent::<Heartbeat>().len(), 0, "nobody would hear it");
    assert_eq!(look(&mut worker).executors.len(), 1);
    assert!(worker.kills().is_empty());
    worker.send(&registered_by("m2:7077"));
    let now = look(&mut worker);
    assert_eq!(
        (now.connected, now.master),
        (true, Some(master_at("m2:7077")))
    );
}

/// As in Spark: the master comes back, or its successor calls. All the others could only refuse.
#[test]
fn the_fast_attempts_go_only_to_the_master_that_was_adopted_last() {
    let mut worker = registered(&[]);
    worker.disconnected("m1:7077");
    dialled(&mut worker);
    for _ in 0..6 {
        advance_ms(&mut worker, FAST_MS);
        assert_eq!(dialled(&mut worker), ["m1:7077"]);
    }
}

/// Other than in Spark, where a worker whose master moved to another address looks for it at the old one
/// until it gives up.
#[test]
fn the_slow_attempts_go_to_all_masters_again() {
    let mut worker = registered(&[]);
    worker.disconnected("m1:7077");
    advance_ms(&mut worker, 6 * FAST_MS);
    dialled(&mut worker);
    advance_ms(&mut worker, SLOW_MS);
    assert_eq!(dialled(&mut worker), ["m1:7077", "m2:7077"]);
}

#[test]
fn a_second_loss_does_not_begin_a_second_round() {
    let mut worker = registered(&[]);
    worker.disconnected("m1:7077");
    let timers = worker.timers();
    dialled(&mut worker);
    worker.disconnected("m1:7077");
    worker.network_error("m1:7077", "refused");
    assert_eq!(dialled(&mut worker), Vec::<String>::new());
    // A master that says that it is there is asked at once, within the round.
    let master = master_at("m1:7077");
    worker.send(&ReconnectWorker { master });
    assert_eq!(dialled(&mut worker), ["m1:7077"]);
    assert_eq!(worker.timers(), timers);
}

/// `[standby, standby, leader]`, and later `[leader, ...]`: a standby that comes to lead calls who asked it.
#[test]
fn a_standby_that_comes_to_lead_is_asked_at_once() {
    let mut worker = start(&[]);
    dialled(&mut worker);
    worker.send(&MasterInStandby {});
    worker.send(&MasterInStandby {});
    let master = master_at("m2:7077");
    worker.send(&ReconnectWorker { master });
    assert_eq!(dialled(&mut worker), ["m2:7077"]);
    worker.send(&registered_by("m2:7077"));
    assert!(look(&mut worker).connected);
}

#[test]
fn the_loss_of_another_host_is_nothing() {
    let mut worker = registered(&[]);
    worker.disconnected("m2:7077");
    worker.network_error("d:1", "refused");
    assert_eq!(dialled(&mut worker), Vec::<String>::new());
    assert!(look(&mut worker).connected);
}

#[test]
fn a_master_that_lost_the_worker_makes_it_register_again() {
    let mut worker = registered(&[]);
    let master = master_at("m1:7077");
    worker.send(&ReconnectWorker { master });
    assert_eq!(dialled(&mut worker), ["m1:7077", "m2:7077"]);
    advance_ms(&mut worker, FAST_MS);
    assert_eq!(dialled(&mut worker), ["m1:7077"]);
    register(&mut worker, "m1:7077");
    advance_ms(&mut worker, SLOW_MS);
    assert_eq!(dialled(&mut worker), Vec::<String>::new());
}

/// A master that is known inside under another address than outside.
fn behind_another_address(prefer: &str) -> common::TestWorker {
    let mut worker = start(&[("prefer_configured_master_address", prefer)]);
    let mut answer = registered_by("inside:7077");
    answer.master_address = "m1:7077".to_owned();
    worker.send(&answer);
    common::forget_messages(&mut worker);
    worker
}

#[test]
fn a_lost_master_is_looked_for_where_it_says_that_it_is() {
    let mut worker = behind_another_address("false");
    worker.disconnected("m1:7077");
    assert_eq!(dialled(&mut worker), Vec::<String>::new(), "another host");
    worker.disconnected("inside:7077");
    assert_eq!(dialled(&mut worker), ["m1:7077", "m2:7077", "inside:7077"]);
    advance_ms(&mut worker, FAST_MS);
    assert_eq!(dialled(&mut worker), ["inside:7077"]);
}

#[test]
fn or_where_it_was_found_if_that_is_preferred() {
    let mut worker = behind_another_address("true");
    worker.disconnected("m1:7077");
    dialled(&mut worker);
    advance_ms(&mut worker, FAST_MS);
    assert_eq!(dialled(&mut worker), ["m1:7077"]);
    assert_eq!(look(&mut worker).master, Some(master_at("inside:7077")));
}

#[test]
fn a_new_leader_ends_the_attempts_of_a_worker_that_was_registered() {
    let mut worker = registered(&[]);
    worker.disconnected("m1:7077");
    dialled(&mut worker);
    worker.send(&leads_now("m2:7077"));
    assert!(look(&mut worker).connected);
    advance_ms(&mut worker, 20 * SLOW_MS);
    assert_eq!(dialled(&mut worker), Vec::<String>::new());
    assert!(!worker.asked_to_stop());
}

/// A master that recovers calls the worker that it finds under an address in its store. That may have been
/// another worker, before a restart. In Spark the one of now stops registering then, for ever.
#[test]
fn a_new_leader_does_not_end_the_attempts_of_one_that_was_never_registered() {
    let mut worker = start(&[]);
    dialled(&mut worker);
    worker.send(&leads_now("m2:7077"));
    assert_eq!(dialled(&mut worker), ["m2:7077"]);
    assert_eq!(worker.sent::<WorkerSchedulerStateResponse>().len(), 1);
    advance_ms(&mut worker, FAST_MS);
    assert_eq!(dialled(&mut worker), ["m2:7077"]);
    register(&mut worker, "m2:7077");
    assert!(look(&mut worker).connected);
    assert_eq!(worker.sent::<Heartbeat>().len(), 0);
    advance_ms(&mut worker, 15_000);
    assert_eq!(worker.sent::<Heartbeat>().len(), 1);
}
