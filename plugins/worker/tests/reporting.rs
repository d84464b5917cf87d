//! A report is kept until the master that leads noted it.

mod common;

use std::time::Duration;

use common::{
    advance_ms, dialled, driver, executor, exits, launch_driver, launch_executor, leads_now, look,
    master_at, note_all, register, registered, reports, runs,
};
use deploy_protocol::{
    DriverState, DriverStateChanged, ExecutorState, ExecutorStateChanged, ExecutorStateNoted,
    RegisterWorker, WorkerLatestState, WorkerSchedulerStateResponse,
};
use instar_sdk::Failure;
use instar_sdk::launching::LaunchId;

/// A worker whose executor 0 runs, which the master noted.
fn with_a_running_executor() -> (common::TestWorker, LaunchId) {
    let mut worker = registered(&[]);
    let launch = launch_executor(&mut worker, &executor(0));
    runs(&mut worker, launch);
    note_all(&mut worker);
    (worker, launch)
}

fn exited(address: &str) -> (String, u32, ExecutorState) {
    (address.to_owned(), 0, ExecutorState::Exited)
}

/// Answers the one report that waits.
fn answer(worker: &mut common::TestWorker, outcome: Result<bool, &str>) {
    let ask = worker.asked::<ExecutorStateChanged>().remove(0);
    let outcome = outcome
        .map(|noted| ExecutorStateNoted { noted })
        .map_err(|code| Failure::with_code(code, "the test says so"));
    worker.answer(&ask, outcome);
}

#[test]
fn a_report_that_was_noted_is_not_sent_again() {
    let (mut worker, launch) = with_a_running_executor();
    exits(&mut worker, launch, 0);
    note_all(&mut worker);
    advance_ms(&mut worker, 1_000_000);
    register(&mut worker, "m1:7077");
    worker.send(&leads_now("m2:7077"));
    assert_eq!(reports(&worker), []);
}

#[test]
fn a_report_that_failed_is_sent_again_after_1_2_4_and_8_seconds() {
    let (mut worker, launch) = with_a_running_executor();
    exits(&mut worker, launch, 0);
    for wait_s in [1, 2, 4, 8] {
        answer(&mut worker, Err(Failure::NETWORK));
        advance_ms(&mut worker, wait_s * 1000 - 1);
        assert_eq!(reports(&worker), [], "before {wait_s} s");
        advance_ms(&mut worker, 1);
        assert_eq!(reports(&worker), [exited("m1:7077")]);
    }
    answer(&mut worker, Ok(true));
    advance_ms(&mut worker, 100_000);
    assert_eq!(reports(&worker), []);
}

#[test]
fn a_report_without_an_answer_is_sent_again() {
    let (mut worker, launch) = with_a_running_executor();
    exits(&mut worker, launch, 0);
    worker.advance(Duration::from_secs(30));
    assert_eq!(reports(&worker), []);
    worker.advance(Duration::from_secs(1));
    assert_eq!(reports(&worker), [exited("m1:7077")]);
}

/// A master that noted nothing, as it does not lead, is no reason to forget.
#[test]
fn a_report_that_a_master_does_not_note_is_kept() {
    let (mut worker, launch) = with_a_running_executor();
    exits(&mut worker, launch, 0);
    answer(&mut worker, Ok(false));
    worker.send(&leads_now("m2:7077"));
    assert_eq!(reports(&worker), [exited("m2:7077")]);
}

/// Complaint 13. Spark's worker ends itself here, and with it all that it runs.
#[test]
fn after_five_failures_the_worker_registers_again_and_all_works_on() {
    let (mut worker, launch) = with_a_running_executor();
    let other = launch_executor(&mut worker, &executor(1));
    runs(&mut worker, other);
    note_all(&mut worker);
    exits(&mut worker, launch, 0);
    for wait_s in [1, 2, 4, 8] {
        answer(&mut worker, Err(Failure::TIMEOUT));
        advance_ms(&mut worker, wait_s * 1000);
    }
    assert_eq!(dialled(&mut worker), Vec::<String>::new());
    answer(&mut worker, Err(Failure::TIMEOUT));
    assert_eq!(dialled(&mut worker), ["m1:7077", "m2:7077"]);
    assert!(!worker.asked_to_stop() && worker.kills().is_empty());
    assert_eq!(look(&mut worker).executors.len(), 1);

    register(&mut worker, "m2:7077");
    assert_eq!(reports(&worker), [exited("m2:7077")]);
}

#[test]
fn the_number_of_failures_can_be_set() {
    let mut worker = registered(&[("executor_state_sync_max_attempts", "1")]);
    let launch = launch_executor(&mut worker, &executor(0));
    exits(&mut worker, launch, 0);
    answer(&mut worker, Ok(false));
    assert_eq!(dialled(&mut worker), ["m1:7077", "m2:7077"]);
}

/// Its handler failed: registering again would change nothing.
#[test]
fn a_master_that_breaks_on_a_report_is_asked_on_and_kept() {
    let (mut worker, launch) = with_a_running_executor();
    exits(&mut worker, launch, 0);
    for wait_s in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
        answer(&mut worker, Err(Failure::CRASHED));
        worker.advance(Duration::from_secs(wait_s));
        assert_eq!(reports(&worker), [exited("m1:7077")]);
    }
    assert_eq!(dialled(&mut worker), Vec::<String>::new());
    assert!(look(&mut worker).connected);
    note_all(&mut worker);
    worker.advance(Duration::from_secs(60));
    assert_eq!(reports(&worker), []);
}

/// The reports wait while the master is away, and go to whichever comes.
#[test]
fn what_happens_while_no_master_is_there_is_told_to_the_next_one() {
    let (mut worker, launch) = with_a_running_executor();
    let running = launch_driver(&mut worker, &driver(1, false));
    worker.disconnected("m1:7077");
    exits(&mut worker, launch, 0);
    exits(&mut worker, running, 0);
    assert_eq!(reports(&worker), []);
    worker.send(&leads_now("m2:7077"));
    assert_eq!(reports(&worker), [exited("m2:7077")]);
    let ask = worker.asked::<DriverStateChanged>().remove(0);
    assert_eq!(ask.to, master_at("m2:7077"));
    assert_eq!(ask.request.state, DriverState::Finished);
}

/// Complaint 12: without it, the new leader would find the driver on no worker, and judge it ERROR
/// although it ended well.
#[test]
fn what_ended_unnoted_is_still_on_the_list_of_a_new_leader_which_then_hears_the_end() {
    let mut worker = registered(&[]);
    let mut order = driver(1, true);
    order.resources = common::gpus(&["0"]);
    let running = launch_driver(&mut worker, &order);
    let launch = launch_executor(&mut worker, &executor(0));
    runs(&mut worker, launch);
    worker.disconnected("m1:7077");
    exits(&mut worker, running, 0);
    exits(&mut worker, launch, 0);

    worker.send(&leads_now("m2:7077"));
    let (_, response) = worker.sent::<WorkerSchedulerStateResponse>().remove(0);
    assert_eq!(response.drivers.len(), 1);
    assert_eq!(response.drivers[0].resources, common::gpus(&["0"]));
    let listed = &response.executors[0].executor;
    assert_eq!(listed.state, ExecutorState::Running, "as it was last told");
    assert_eq!(look(&mut worker).cores_used, 0);

    note_all(&mut worker);
    worker.send(&common::registered_by("m2:7077"));
    let (_, latest) = worker.sent::<WorkerLatestState>().remove(0);
    assert!(latest.executors.is_empty() && latest.driver_ids.is_empty());
}

/// The answer of a master that was replaced does not count: its successor may not know.
#[test]
fn a_late_answer_of_a_master_that_was_replaced_is_nothing() {
    let (mut worker, launch) = with_a_running_executor();
    exits(&mut worker, launch, 0);
    let to_the_old = worker.asked::<ExecutorStateChanged>().remove(0);
    worker.send(&leads_now("m2:7077"));
    worker.answer(&to_the_old, Ok(ExecutorStateNoted { noted: true }));
    assert_eq!(reports(&worker), [exited("m2:7077")]);
    answer(&mut worker, Err(Failure::NETWORK));
    worker.advance(Duration::from_secs(1));
    assert_eq!(reports(&worker), [exited("m2:7077")]);
}

/// It is not there for anybody any more: the one that leads is looked for at once, and gets the report.
#[test]
fn a_report_that_a_standby_refuses_goes_to_the_one_that_leads() {
    let (mut worker, launch) = with_a_running_executor();
    exits(&mut worker, launch, 0);
    answer(&mut worker, Err(Failure::LEADERSHIP));
    assert!(!look(&mut worker).connected);
    let asked = worker.sent::<RegisterWorker>();
    assert_eq!(asked.len(), 2, "all masters, at once");
    worker.send(&leads_now("m2:7077"));
    assert_eq!(reports(&worker), [exited("m2:7077")]);
}

#[test]
fn a_later_state_takes_the_place_of_one_that_was_not_noted() {
    let mut worker = registered(&[]);
    let launch = launch_executor(&mut worker, &executor(0));
    runs(&mut worker, launch);
    answer(&mut worker, Err(Failure::NETWORK));
    exits(&mut worker, launch, 0);
    assert_eq!(reports(&worker), [exited("m1:7077")]);
    worker.advance(Duration::from_secs(5));
    assert_eq!(
        reports(&worker),
        [exited("m1:7077")],
        "the first is dropped"
    );
}

#[test]
fn each_executor_has_a_report_of_its_own() {
    let mut worker = registered(&[]);
    for number in 0..3 {
        let launch = launch_executor(&mut worker, &executor(number));
        runs(&mut worker, launch);
    }
    let mut numbers: Vec<u32> = reports(&worker).iter().map(|(_, n, _)| *n).collect();
    assert_eq!(numbers, [0, 1, 2]);
    answer(&mut worker, Ok(true));
    numbers = reports(&worker).iter().map(|(_, n, _)| *n).collect();
    assert_eq!(numbers, [1, 2]);
}

/// The master would wait for one of which it hears nothing.
#[test]
fn what_is_refused_as_too_many_reports_wait_is_told_up_to_a_bound() {
    let mut worker = registered(&[]);
    worker.disconnected("m1:7077");
    let mut too_large = executor(0);
    too_large.cores = 100;
    for number in 0..10_000 {
        too_large.executor_id = number;
        worker.send(&too_large);
    }
    worker.send(&executor(10_000));
    worker.send(&driver(1, false));
    assert!(worker.launches().is_empty());
    for number in 10_001..20_000 {
        worker.send(&executor(number));
    }
    worker.send(&common::registered_by("m1:7077"));
    let asked = worker.asked::<ExecutorStateChanged>();
    assert_eq!(asked.len(), 19_999);
    let refused = &asked[10_000].request;
    assert_eq!(
        (refused.executor_id, refused.state),
        (10_000, ExecutorState::Failed)
    );
    assert!(
        refused.message.contains("takes no more work"),
        "{}",
        refused.message
    );
    let driver = worker.asked::<DriverStateChanged>().remove(0).request;
    assert_eq!(driver.state, DriverState::Error);
}
