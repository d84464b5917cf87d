//! The client of an application, against a master that the test plays. C1 to C7 are the numbers of
//! Spark's `AppClientSuite`; what its master does about them is tested with the master.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use app_client::{
    Client, Executor, ExecutorName, Listener, Patience, kill_executors, request_total_executors,
};
use deploy_protocol::*;
use instar_sdk::prelude::*;
use instar_sdk::testing::TestEndpoint;
use serde::{Deserialize, Serialize};

const MASTERS: [&str; 2] = ["m1:7077", "m2:7077"];
const INTERVAL: Duration = Duration::from_secs(20);
const CHECK: Duration = Duration::from_secs(60);

/// Notes what it is told.
#[derive(Serialize, Deserialize)]
struct Driver {
    client: Client,
    told: Vec<String>,
}

impl Driver {
    fn note(&mut self, what: String) -> Result<(), Failure> {
        self.told.push(what);
        Ok(())
    }
}

impl Listener for Driver {
    fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    fn connected(&mut self, _: &mut Context, app_id: &str) -> Result<(), Failure> {
        self.note(format!("connected {app_id}"))
    }

    fn disconnected(&mut self, _: &mut Context) -> Result<(), Failure> {
        self.note("disconnected".to_owned())
    }

    fn dead(&mut self, _: &mut Context, reason: &str) -> Result<(), Failure> {
        self.note(format!("dead {reason}"))
    }

    fn executor_added(
        &mut self,
        _: &mut Context,
        name: &ExecutorName,
        executor: &Executor,
    ) -> Result<(), Failure> {
        self.note(format!("added {name} at {}", executor.host_port))
    }

    fn executor_removed(
        &mut self,
        _: &mut Context,
        name: &ExecutorName,
        update: &ExecutorUpdated,
    ) -> Result<(), Failure> {
        self.note(format!("removed {name} {}", update.state))
    }

    fn executor_decommissioned(
        &mut self,
        _: &mut Context,
        name: &ExecutorName,
        update: &ExecutorUpdated,
    ) -> Result<(), Failure> {
        self.note(format!("decommissioned {name} {:?}", update.worker_host))
    }

    fn worker_removed(&mut self, _: &mut Context, worker: &WorkerRemoved) -> Result<(), Failure> {
        self.note(format!("worker {}", worker.id))
    }

    fn executors_requested(
        &mut self,
        _: &mut Context,
        outcome: Result<bool, Failure>,
    ) -> Result<(), Failure> {
        self.note(format!("requested {outcome:?}"))
    }

    fn executors_killed(
        &mut self,
        _: &mut Context,
        outcome: Result<bool, Failure>,
    ) -> Result<(), Failure> {
        self.note(format!("killed {outcome:?}"))
    }
}

/// Makes the driver ask its master.
#[derive(Message, Serialize, Deserialize)]
#[message(kind = "t.Want", reply = Passed)]
struct Want {
    totals: BTreeMap<ResourceProfile, u32>,
    kill: Vec<u32>,
}

/// Whether the question was passed on.
#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "t.Passed")]
struct Passed {
    on: bool,
}

fn description() -> ApplicationDescription {
    ApplicationDescription {
        name: "test".to_owned(),
        max_cores: None,
        command: Command {
            program: Program::Endpoint,
            component: ComponentFile {
                uri: "instar://h:1/e.wasm".to_owned(),
                sha256: "0".repeat(64),
            },
            arguments: Vec::new(),
            environment: BTreeMap::new(),
        },
        ui_url: String::new(),
        default_profile: profile(0),
        initial_executor_limit: None,
        user: String::new(),
    }
}

fn profile(id: u32) -> ResourceProfile {
    ResourceProfile {
        id,
        cores: None,
        memory_mb: None,
        resources: Vec::new(),
    }
}

app_client::client! {
    #[instar_sdk::endpoint(name = "driver", version = "1.0.0")]
    impl Driver {
        #[on_start]
        fn start(ctx: &mut Context) -> Result<Self, Failure> {
            let masters = MASTERS.map(|address| EndpointRef::remote(MASTER, address));
            let (client, acts) =
                Client::start(description(), ctx.self_ref(), masters.to_vec(), Patience::default());
            let mut driver = Self { client, told: Vec::new() };
            app_client::listener::carry_out(&mut driver, ctx, |_| acts)?;
            Ok(driver)
        }

        #[receive_and_reply]
        fn want(&mut self, ctx: &mut Context, want: Want) -> Result<Passed, Failure> {
            let on = match want.kill.is_empty() {
                true => request_total_executors(self, ctx, want.totals)?,
                false => kill_executors(self, ctx, want.kill)?,
            };
            Ok(Passed { on })
        }
    }
}

fn master(number: usize) -> EndpointRef {
    EndpointRef::remote(MASTER, MASTERS[number])
}

fn registers(driver: &mut TestEndpoint<Driver>) -> Vec<EndpointRef> {
    let sent = driver.sent::<RegisterApplication>();
    sent.into_iter().map(|(to, _)| to).collect()
}

fn unregisters(driver: &mut TestEndpoint<Driver>) -> Vec<(EndpointRef, String)> {
    let sent = driver.sent::<UnregisterApplication>();
    sent.into_iter()
        .map(|(to, message)| (to, message.app_id))
        .collect()
}

fn register(driver: &mut TestEndpoint<Driver>, app_id: &str, at: usize) {
    driver.send(&RegisteredApplication {
        app_id: app_id.to_owned(),
        master: master(at),
    });
}

fn registered() -> TestEndpoint<Driver> {
    let mut driver = TestEndpoint::<Driver>::start();
    registers(&mut driver);
    register(&mut driver, "app-1", 0);
    told(&mut driver);
    driver
}

/// What the driver was told since; nothing of before.
fn told(driver: &mut TestEndpoint<Driver>) -> Vec<String> {
    let all = driver.with(|state| state.told.clone());
    let known: usize = SEEN.with(|seen| seen.replace(all.len()));
    all[known.min(all.len())..].to_vec()
}

thread_local! {
    // Each test has a thread of its own, and one driver.
    static SEEN: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

fn added(driver: &mut TestEndpoint<Driver>, executor_id: u32) {
    added_to(driver, "app-1", executor_id);
}

fn added_to(driver: &mut TestEndpoint<Driver>, app_id: &str, executor_id: u32) {
    driver.send(&ExecutorAdded {
        app_id: app_id.to_owned(),
        executor_id,
        worker_id: "worker-1".to_owned(),
        host_port: "w1:1".to_owned(),
        cores: 10,
        memory_mb: 1024,
        resource_profile_id: 0,
    });
}

fn updated(driver: &mut TestEndpoint<Driver>, executor_id: u32, state: ExecutorState) {
    driver.send(&ExecutorUpdated {
        app_id: "app-1".to_owned(),
        executor_id,
        state,
        message: "so".to_owned(),
        exit_status: None,
        worker_host: Some("w1".to_owned()),
    });
}

#[test]
fn c1_it_registers_with_all_masters_and_is_told_once_that_it_is_connected() {
    let mut driver = TestEndpoint::<Driver>::start();
    let sent = driver.sent::<RegisterApplication>();
    let me = EndpointRef::remote("driver", "test-host:7077");
    for ((to, message), number) in sent.iter().zip(0..) {
        assert_eq!((to, &message.driver), (&master(number), &me));
        assert_eq!(message.application, description());
    }
    assert_eq!(sent.len(), 2);
    register(&mut driver, "app-1", 1);
    register(&mut driver, "app-1", 1);
    assert_eq!(told(&mut driver), ["connected app-1"]);
    driver.advance(INTERVAL * 10);
    assert_eq!(registers(&mut driver), [], "who is registered asks no more");
    assert_eq!(told(&mut driver), [""; 0]);
}

#[test]
fn c2_c6_requested_totals_reach_the_master_and_its_answer_the_driver() {
    let mut driver = registered();
    let totals = BTreeMap::from([(profile(0), 1), (profile(1), 2)]);
    let want = Want {
        totals: totals.clone(),
        kill: Vec::new(),
    };
    assert_eq!(driver.ask(&want), Ok(Passed { on: true }));
    let asked = driver.asked::<RequestExecutors>();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].to, master(0));
    assert_eq!(asked[0].request.app_id, "app-1");
    assert_eq!(asked[0].request.totals, totals);
    let acknowledged = true;
    driver.answer(&asked[0], Ok(Acknowledged { acknowledged }));
    assert_eq!(told(&mut driver), ["requested Ok(true)"]);
}

#[test]
fn c3_a_decommissioned_executor_is_told_with_its_host_and_is_not_removed() {
    let mut driver = registered();
    added(&mut driver, 0);
    updated(&mut driver, 0, ExecutorState::Running);
    updated(&mut driver, 0, ExecutorState::Decommissioned);
    assert_eq!(
        told(&mut driver),
        [
            "added app-1/0 at w1:1",
            "decommissioned app-1/0 Some(\"w1\")"
        ]
    );
    assert_eq!(driver.with(|state| state.client.executors().len()), 1);
}

#[test]
fn c4_a_kill_reaches_the_master_and_its_answer_or_failure_the_driver() {
    let mut driver = registered();
    let want = Want {
        totals: BTreeMap::new(),
        kill: vec![3],
    };
    for outcome in [
        Ok(Acknowledged { acknowledged: true }),
        Err(Failure::with_code(Failure::NETWORK, "gone")),
    ] {
        assert_eq!(driver.ask(&want), Ok(Passed { on: true }));
        let asked = driver.asked::<KillExecutors>();
        assert_eq!(
            (asked[0].to.clone(), asked[0].request.executor_ids.clone()),
            (master(0), vec![3])
        );
        driver.answer(&asked[0], outcome);
    }
    let told = told(&mut driver);
    assert_eq!(told[0], "killed Ok(true)");
    assert!(told[1].contains("gone"), "{told:?}");
}

#[test]
fn c5_stop_unregisters_and_is_told_as_dead_once() {
    let mut driver = registered();
    driver.stop();
    driver.stop();
    assert_eq!(unregisters(&mut driver), [(master(0), "app-1".to_owned())]);
    driver.send(&ApplicationRemoved {
        app_id: "app-1".to_owned(),
        message: "KILLED".to_owned(),
    });
    assert_eq!(told(&mut driver), ["dead application stopped"]);
}

#[test]
fn c7_before_it_is_registered_a_request_is_false_at_once_and_reaches_nobody() {
    let mut driver = TestEndpoint::<Driver>::start();
    for kill in [vec![], vec![1]] {
        let totals = BTreeMap::from([(profile(0), 1)]);
        assert_eq!(driver.ask(&Want { totals, kill }), Ok(Passed { on: false }));
    }
    assert!(driver.asked::<RequestExecutors>().is_empty());
    assert!(driver.asked::<KillExecutors>().is_empty());
}

#[test]
fn it_tries_three_times_every_20_seconds_and_is_dead_after_60() {
    let mut driver = TestEndpoint::<Driver>::start();
    let just_before = Duration::from_millis(1);
    for attempt in 1..=3 {
        assert_eq!(
            registers(&mut driver),
            [master(0), master(1)],
            "attempt {attempt}"
        );
        driver.advance(INTERVAL - just_before);
        assert_eq!(registers(&mut driver), []);
        assert_eq!(told(&mut driver), [""; 0]);
        driver.advance(just_before);
    }
    let told = told(&mut driver);
    assert_eq!(told.len(), 1);
    assert!(
        told[0].starts_with("dead all masters are unresponsive"),
        "{told:?}"
    );
    assert!(told[0].contains("m1:7077, m2:7077"), "{told:?}");
    driver.advance(INTERVAL * 10);
    assert_eq!(registers(&mut driver), []);
    // One that answers now would keep an application without a driver.
    register(&mut driver, "app-9", 1);
    assert_eq!(unregisters(&mut driver), [(master(1), "app-9".to_owned())]);
}

#[test]
fn a_second_registration_is_taken_back() {
    let mut driver = registered();
    register(&mut driver, "app-2", 1);
    assert_eq!(unregisters(&mut driver), [(master(1), "app-2".to_owned())]);
    assert_eq!(
        driver.with(|state| state.client.app_id().map(str::to_owned)),
        Some("app-1".to_owned())
    );
    assert_eq!(told(&mut driver), [""; 0]);
}

#[test]
fn a_new_master_is_adopted_acknowledged_and_not_told_as_connected() {
    let mut driver = registered();
    driver.disconnected(MASTERS[0]);
    driver.disconnected(MASTERS[0]);
    driver.disconnected("elsewhere:1");
    assert_eq!(told(&mut driver), ["disconnected"]);
    driver.send(&MasterChanged {
        master: master(1),
        master_web_ui_url: String::new(),
    });
    let sent = driver.sent::<MasterChangeAcknowledged>();
    assert_eq!(
        sent,
        [(
            master(1),
            MasterChangeAcknowledged {
                app_id: "app-1".to_owned()
            }
        )]
    );
    assert_eq!(told(&mut driver), [""; 0]);
    driver.advance(INTERVAL * 3);
    assert!(
        driver.asked::<RequestReadyz>().is_empty(),
        "no search goes on"
    );
    // The flag is armed anew, for the new master only.
    driver.disconnected(MASTERS[0]);
    driver.disconnected(MASTERS[1]);
    assert_eq!(told(&mut driver), ["disconnected"]);
}

#[test]
fn a_master_that_removes_the_application_ends_it() {
    let mut driver = registered();
    driver.send(&ApplicationRemoved {
        app_id: "app-1".to_owned(),
        message: "FAILED".to_owned(),
    });
    assert_eq!(
        told(&mut driver),
        ["dead the master removed the application: FAILED"]
    );
    added(&mut driver, 1);
    driver.disconnected(MASTERS[0]);
    driver.stop();
    assert_eq!(told(&mut driver), [""; 0]);
    assert_eq!(unregisters(&mut driver), []);
}

/// A registration that was taken back, or an application of before: its end, and its executors, whose
/// numbers are used here, too, are not of this one.
#[test]
fn what_is_said_of_another_application_is_nothing_to_this_one() {
    let mut driver = registered();
    added(&mut driver, 0);
    let before = driver.with(|state| state.client.clone());
    told(&mut driver);
    added_to(&mut driver, "app-2", 0);
    added_to(&mut driver, "app-2", 1);
    driver.send(&ExecutorUpdated {
        app_id: "app-2".to_owned(),
        executor_id: 0,
        state: ExecutorState::Lost,
        message: String::new(),
        exit_status: None,
        worker_host: None,
    });
    for app_id in ["app-2", ""] {
        driver.send(&ApplicationRemoved {
            app_id: app_id.to_owned(),
            message: "FAILED".to_owned(),
        });
    }
    assert_eq!(told(&mut driver), [""; 0]);
    assert_eq!(driver.with(|state| state.client.clone()), before);
    // The end of an application of before does not end the search for a new one.
    let mut driver = TestEndpoint::<Driver>::start();
    driver.send(&ApplicationRemoved {
        app_id: "app-1".to_owned(),
        message: "FAILED".to_owned(),
    });
    assert!(!driver.with(|state| state.client.is_ended()));
}

#[test]
fn a_master_that_refuses_the_application_ends_it_at_once() {
    let mut driver = TestEndpoint::<Driver>::start();
    driver.send(&ApplicationRemoved {
        app_id: String::new(),
        message: "FAILED: too many".to_owned(),
    });
    driver.advance(INTERVAL * 5);
    assert_eq!(
        told(&mut driver),
        ["dead the master removed the application: FAILED: too many"]
    );
    assert_eq!(registers(&mut driver).len(), 2, "it asked once");
}

#[test]
fn lost_executors_and_workers_are_told() {
    let mut driver = registered();
    added(&mut driver, 4);
    updated(&mut driver, 4, ExecutorState::Lost);
    driver.send(&WorkerRemoved {
        id: "worker-1".to_owned(),
        host: "w1".to_owned(),
        message: String::new(),
    });
    assert_eq!(
        told(&mut driver),
        [
            "added app-1/4 at w1:1",
            "removed app-1/4 LOST",
            "worker worker-1"
        ]
    );
    assert!(driver.with(|state| state.client.executors().is_empty()));
}

/// Loses the master, and lets the first search begin.
fn searching() -> TestEndpoint<Driver> {
    let mut driver = registered();
    driver.disconnected(MASTERS[0]);
    driver.advance(INTERVAL);
    told(&mut driver);
    driver
}

fn leads(driver: &mut TestEndpoint<Driver>, number: usize, ready: bool) {
    let asked = driver.asked::<RequestReadyz>();
    let ask = asked.iter().rfind(|ask| ask.to == master(number)).unwrap();
    driver.answer(ask, Ok(Readyz { ready }));
}

#[test]
fn without_a_master_it_searches_for_one_that_knows_the_application() {
    let mut driver = searching();
    assert_eq!(driver.asked::<RequestReadyz>().len(), 2);
    leads(&mut driver, 0, false);
    assert!(driver.asked::<KillExecutors>().is_empty());
    leads(&mut driver, 1, true);
    let asked = driver.asked::<KillExecutors>();
    assert_eq!(asked[0].to, master(1));
    assert_eq!(
        (
            asked[0].request.app_id.as_str(),
            asked[0].request.executor_ids.len()
        ),
        ("app-1", 0),
        "a question that changes nothing"
    );
    let acknowledged = true;
    driver.answer(&asked[0], Ok(Acknowledged { acknowledged }));
    assert_eq!(driver.sent::<MasterChangeAcknowledged>().len(), 1);
    assert_eq!(registers(&mut driver), []);
    assert!(driver.with(|state| state.client.is_connected()));
}

#[test]
fn c8_a_master_that_leads_and_does_not_know_the_application_gets_it_anew() {
    let mut driver = searching();
    leads(&mut driver, 1, true);
    let asked = driver.asked::<KillExecutors>();
    let acknowledged = false;
    driver.answer(&asked[0], Ok(Acknowledged { acknowledged }));
    assert_eq!(registers(&mut driver), [master(0), master(1)]);
    // Its executors still work: it does not give up as it does at the start.
    driver.advance(INTERVAL * 10);
    assert_eq!(registers(&mut driver).len(), 20);
    assert_eq!(told(&mut driver), [""; 0]);
    register(&mut driver, "app-7", 1);
    assert_eq!(told(&mut driver), ["connected app-7"]);
    assert!(driver.with(|state| {
        let client = &state.client;
        client.is_ours("app-1") && client.is_ours("app-7") && !client.is_ours("app-2")
    }));
}

#[test]
fn a_search_that_finds_nobody_goes_on_and_late_answers_do_nothing() {
    let mut driver = searching();
    let first = driver.asked::<RequestReadyz>();
    driver.advance(INTERVAL);
    assert_eq!(driver.asked::<RequestReadyz>().len(), 4, "another search");
    driver.answer(&first[1], Ok(Readyz { ready: true }));
    assert!(driver.asked::<KillExecutors>().is_empty());
    leads_now(&mut driver, 1);
    let question = driver.asked::<KillExecutors>().remove(0);
    let acknowledged = true;
    driver.answer(&question, Ok(Acknowledged { acknowledged }));
    leads(&mut driver, 1, true);
    driver.advance(INTERVAL * 2);
    assert!(driver.asked::<KillExecutors>().is_empty());
    assert_eq!(registers(&mut driver), []);
}

fn leads_now(driver: &mut TestEndpoint<Driver>, number: usize) {
    driver.send(&MasterChanged {
        master: master(number),
        master_web_ui_url: String::new(),
    });
}

/// The one before may be frozen or stand by: its connection says nothing.
#[test]
fn a_new_master_is_adopted_while_the_connection_with_the_one_before_goes_on() {
    let mut driver = registered();
    leads_now(&mut driver, 1);
    let to = driver.sent::<MasterChangeAcknowledged>();
    assert_eq!(to[0].0, master(1));
    assert_eq!(
        driver.with(|state| state.client.master().cloned()),
        Some(master(1))
    );
    driver.disconnected(MASTERS[0]);
    assert!(driver.with(|state| state.client.is_connected()));
    assert_eq!(told(&mut driver), [""; 0]);
}

/// It knew an application of this client, whose registration nobody could acknowledge any more.
#[test]
fn a_new_master_that_calls_while_it_registers_is_asked_at_once() {
    let mut driver = TestEndpoint::<Driver>::start();
    registers(&mut driver);
    leads_now(&mut driver, 1);
    assert_eq!(registers(&mut driver), [master(1)]);
    assert_eq!(driver.sent::<MasterChangeAcknowledged>().len(), 0);
    register(&mut driver, "app-1", 1);
    assert_eq!(told(&mut driver), ["connected app-1"]);
}

/// A call that was on its way when its master was replaced. The next check would be a minute later.
#[test]
fn a_master_that_called_too_late_is_left_again_at_once() {
    for answer in [Ok(false), Err(Failure::LEADERSHIP)] {
        let mut driver = registered();
        leads_now(&mut driver, 1);
        leads_now(&mut driver, 0);
        let asked = driver.asked::<KillExecutors>();
        assert_eq!(asked.last().unwrap().to, master(0));
        let answer = answer
            .map(|acknowledged| Acknowledged { acknowledged })
            .map_err(|code| Failure::with_code(code, "it stands by"));
        driver.answer(asked.last().unwrap(), answer);
        leads(&mut driver, 1, true);
        let asked = driver.asked::<KillExecutors>();
        assert_eq!(asked.last().unwrap().to, master(1));
        let acknowledged = true;
        driver.answer(asked.last().unwrap(), Ok(Acknowledged { acknowledged }));
        assert_eq!(
            driver.with(|state| state.client.master().cloned()),
            Some(master(1))
        );
        assert_eq!(
            registers(&mut driver),
            [],
            "it is the application that it was"
        );
    }
}

/// So is the late answer to a registration.
#[test]
fn of_two_masters_that_registered_the_same_application_one_is_asked() {
    let mut driver = registered();
    register(&mut driver, "app-1", 1);
    let asked = driver.asked::<KillExecutors>();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].to, master(1));
    assert_eq!(unregisters(&mut driver), []);
    register(&mut driver, "app-1", 1);
    assert_eq!(driver.asked::<KillExecutors>().len(), 1, "known already");
}

/// A limit of its host, say: another search may have room.
#[test]
fn a_search_that_may_not_ask_goes_on() {
    let mut driver = registered();
    driver.disconnected(MASTERS[0]);
    let denied = Failure::with_code(Failure::DENIED, "too many open asks");
    driver.refuse_asks(Some(denied.clone()));
    driver.advance(INTERVAL);
    driver.refuse_asks(None);
    driver.advance(INTERVAL);
    assert_eq!(driver.asked::<RequestReadyz>().len(), 2);
    driver.refuse_asks(Some(denied));
    leads(&mut driver, 1, true);
    driver.refuse_asks(None);
    driver.advance(INTERVAL);
    leads(&mut driver, 0, true);
    assert_eq!(driver.asked::<KillExecutors>().len(), 1);
}

/// Lets the next check begin, and answers it.
fn check(driver: &mut TestEndpoint<Driver>, outcome: Result<bool, &str>) {
    driver.advance(CHECK - Duration::from_millis(1));
    assert!(driver.asked::<KillExecutors>().is_empty());
    driver.advance(Duration::from_millis(1));
    let asked = driver.asked::<KillExecutors>();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].to, master(0));
    assert_eq!(asked[0].request.app_id, "app-1");
    assert_eq!(asked[0].request.executor_ids, [0; 0]);
    let outcome = outcome
        .map(|acknowledged| Acknowledged { acknowledged })
        .map_err(|code| Failure::with_code(code, "so"));
    driver.answer(&asked[0], outcome);
}

/// The master's endpoint began afresh, and the connection with its host stayed.
#[test]
fn a_master_that_forgot_the_application_is_found_out_by_the_next_check() {
    let mut driver = registered();
    for _ in 0..3 {
        check(&mut driver, Ok(true));
    }
    assert_eq!(told(&mut driver), [""; 0]);
    assert!(driver.asked::<RequestReadyz>().is_empty());
    check(&mut driver, Ok(false));
    assert_eq!(told(&mut driver), ["disconnected"]);
    leads(&mut driver, 0, true);
    let asked = driver.asked::<KillExecutors>();
    let acknowledged = false;
    driver.answer(&asked[0], Ok(Acknowledged { acknowledged }));
    assert_eq!(registers(&mut driver), [master(0), master(1)]);
    register(&mut driver, "app-2", 0);
    assert_eq!(told(&mut driver), ["connected app-2"]);
}

#[test]
fn a_master_that_is_not_there_any_more_is_lost_and_one_that_is_slow_is_not() {
    for code in [Failure::ENDPOINT_NOT_FOUND, Failure::STOPPED] {
        let mut driver = registered();
        for slow in [Failure::TIMEOUT, Failure::INBOX_FULL] {
            check(&mut driver, Err(slow));
        }
        assert!(driver.with(|state| state.client.is_connected()));
        check(&mut driver, Err(code));
        assert!(!driver.with(|state| state.client.is_connected()), "{code}");
        assert_eq!(driver.asked::<RequestReadyz>().len(), 2, "at once");
    }
}

#[test]
fn a_check_of_a_master_that_was_replaced_meanwhile_is_nothing() {
    let mut driver = registered();
    driver.advance(CHECK);
    let asked = driver.asked::<KillExecutors>();
    driver.send(&MasterChanged {
        master: master(1),
        master_web_ui_url: String::new(),
    });
    let acknowledged = false;
    driver.answer(&asked[0], Ok(Acknowledged { acknowledged }));
    assert!(driver.with(|state| state.client.is_connected()));
    driver.advance(CHECK);
    assert_eq!(driver.asked::<KillExecutors>()[0].to, master(1));
}

#[test]
fn a_swap_in_the_middle_changes_nothing() {
    let driver = TestEndpoint::<Driver>::start();
    let mut driver = driver.upgrade::<Driver>().unwrap();
    driver.advance(INTERVAL);
    assert_eq!(registers(&mut driver).len(), 4);
    register(&mut driver, "app-1", 0);
    let mut driver = driver.upgrade::<Driver>().unwrap();
    driver.disconnected(MASTERS[0]);
    let mut driver = driver.upgrade::<Driver>().unwrap();
    driver.advance(INTERVAL);
    let mut driver = driver.upgrade::<Driver>().unwrap();
    leads(&mut driver, 1, true);
    let mut driver = driver.upgrade::<Driver>().unwrap();
    let asked = driver.asked::<KillExecutors>();
    driver.answer(&asked[0], Ok(Acknowledged { acknowledged: true }));
    assert!(driver.with(|state| state.client.is_connected()));
}
