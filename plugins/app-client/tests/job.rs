//! A driver made with `driver!`, against slots and a master that the test plays.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use app_client::*;
use deploy_protocol::{
    ApplicationRemoved, ExecutorAdded, ExecutorState, ExecutorUpdated, MASTER, RegisterApplication,
    RegisteredApplication, UnregisterApplication, WorkerRemoved,
};
use instar_sdk::prelude::*;
use instar_sdk::testing::{TestAsk, TestEndpoint};
use serde::{Deserialize, Serialize};

/// Adds what its tasks give. Each task counts for 10.
#[derive(Serialize, Deserialize)]
struct Adds {
    job: Job,
    tasks: u32,
    sum: u64,
    /// How often each task was counted.
    counted: BTreeMap<u32, u32>,
}

app_client::driver! {
    #[instar_sdk::endpoint(name = "adds", version = "1.0.0")]
    impl Adds {
        #[on_start]
        fn start(ctx: &mut Context) -> Result<Self, Failure> {
            let tasks = app_client::setting_as(ctx, "tasks")?.unwrap_or(0);
            let job = Job::start(ctx)?;
            Ok(Self { job, tasks, sum: 0, counted: BTreeMap::new() })
        }
    }
}

impl app_client::Driver for Adds {
    fn job(&mut self) -> &mut Job {
        &mut self.job
    }

    fn prepare(&mut self, ctx: &mut Context) -> Result<(), Failure> {
        if let Some(reason) = ctx.config("fail") {
            return Err(reason.into());
        }
        for task in 0..self.tasks {
            self.job.add(task.to_le_bytes().to_vec(), 10)?;
        }
        Ok(())
    }

    fn task_done(&mut self, _: &mut Context, task: u32, body: &[u8]) -> Result<(), Failure> {
        let [number] = body else {
            return Err("expected a byte".into());
        };
        *self.counted.entry(task).or_default() += 1;
        self.sum += u64::from(*number);
        Ok(())
    }

    fn result(&mut self, _: &mut Context) -> Result<String, Failure> {
        Ok(format!("sum {}", self.sum))
    }
}

const CONFIG: [(&str, &str); 4] = [
    ("masters", "m1:7077, m2:7077"),
    ("executor_uri", "instar://h:1/e.wasm"),
    ("executor_sha256", "00"),
    ("tasks", "3"),
];

fn started(further: &[(&str, &str)]) -> TestEndpoint<Adds> {
    let config: BTreeMap<&str, &str> = CONFIG.into_iter().chain(further.iter().copied()).collect();
    let config: Vec<(&str, &str)> = config.into_iter().collect();
    TestEndpoint::start_with(&config)
}

/// Prepared and registered, with executor 0 of worker `w0`.
fn running(further: &[(&str, &str)]) -> TestEndpoint<Adds> {
    let mut driver = started(further);
    driver.advance(Duration::ZERO);
    register(&mut driver, "app-1");
    added(&mut driver, 0);
    driver
}

fn register(driver: &mut TestEndpoint<Adds>, app_id: &str) {
    driver.send(&RegisteredApplication {
        app_id: app_id.to_owned(),
        master: EndpointRef::remote(MASTER, "m1:7077"),
    });
}

fn added(driver: &mut TestEndpoint<Adds>, executor_id: u32) {
    driver.send(&ExecutorAdded {
        app_id: "app-1".to_owned(),
        executor_id,
        worker_id: format!("worker-{executor_id}"),
        host_port: format!("w{executor_id}:1"),
        cores: 2,
        memory_mb: 1024,
        resource_profile_id: 0,
    });
}

fn slot_of(app_id: &str, executor_id: u32, slot: u32) -> SlotReady {
    let name = deploy_protocol::executor_endpoint(app_id, executor_id, slot);
    SlotReady {
        app_id: app_id.to_owned(),
        executor_id,
        slot,
        reference: EndpointRef::remote(name, format!("w{executor_id}:1")),
    }
}

fn ready(driver: &mut TestEndpoint<Adds>, executor_id: u32, slot: u32) -> SlotAnswer {
    let ready = slot_of("app-1", executor_id, slot);
    driver.ask(&ready).unwrap().answer
}

fn runs(driver: &TestEndpoint<Adds>) -> Vec<TestAsk<RunTask>> {
    driver.asked::<RunTask>()
}

fn done(driver: &mut TestEndpoint<Adds>, run: &TestAsk<RunTask>, with: &[u8]) {
    driver.answer(run, Ok(TaskDone { body: with.into() }));
}

fn progress(driver: &mut TestEndpoint<Adds>) -> Progress {
    driver.ask(&GetProgress {}).unwrap()
}

fn unregisters(driver: &mut TestEndpoint<Adds>) -> usize {
    driver.sent::<UnregisterApplication>().len()
}

#[test]
fn settings_make_the_application_and_executors_learn_where_their_driver_is() {
    let mut driver = started(&[
        ("app_name", "adding"),
        ("cores_max", "8"),
        ("executor_cores", "2"),
        ("executor_memory_mb", "512"),
        ("executors", "3"),
        ("executor.grace", "5000"),
    ]);
    let sent = driver.sent::<RegisterApplication>();
    let masters: Vec<String> = sent.iter().map(|(to, _)| to.to_string()).collect();
    assert_eq!(
        masters,
        ["instar://Master@m1:7077", "instar://Master@m2:7077"]
    );
    let application = &sent[0].1.application;
    assert_eq!(
        (application.name.as_str(), application.max_cores),
        ("adding", Some(8))
    );
    assert_eq!(application.initial_executor_limit, Some(3));
    assert_eq!(application.default_profile.cores, Some(2));
    assert_eq!(application.memory_per_executor_mb(), 512);
    assert_eq!(application.command.component.uri, "instar://h:1/e.wasm");
    let environment = [
        ("app_id", "{{APP_ID}}"),
        ("cores", "{{CORES}}"),
        ("driver", "instar://adds@test-host:7077"),
        ("executor_id", "{{EXECUTOR_ID}}"),
        ("grace", "5000"),
    ];
    let expected = environment.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(application.command.environment, BTreeMap::from(expected));
}

#[test]
fn arguments_are_settings_too_and_the_configuration_goes_first() {
    let mut driver = started(&[(
        "arguments",
        r#"["tasks=7", "app_name=by argument", "other"]"#,
    )]);
    assert_eq!(
        driver.sent::<RegisterApplication>()[0].1.application.name,
        "by argument"
    );
    driver.advance(Duration::ZERO);
    assert_eq!(progress(&mut driver).total, 3);
}

#[test]
fn a_missing_or_wrong_setting_is_named() {
    for (key, value, expected) in [
        ("masters", Some(""), "names none"),
        ("masters", Some("m1"), "port is missing"),
        ("cores_max", Some("many"), "setting `cores_max` is `many`"),
        ("arguments", Some("x"), "expected a JSON array"),
        ("executor_uri", None, "setting `executor_uri` is missing"),
    ] {
        let config = CONFIG.into_iter().filter(|(other, _)| *other != key);
        let config: Vec<_> = config.chain(value.map(|value| (key, value))).collect();
        let Err(failure) = TestEndpoint::<Adds>::try_start(&config) else {
            panic!("{key} = {value:?} was accepted");
        };
        assert!(failure.text.contains(expected), "{failure}");
    }
}

#[test]
fn tasks_run_on_slots_are_counted_and_end_with_a_result() {
    let mut driver = started(&[]);
    assert_eq!(progress(&mut driver).phase, "preparing");
    driver.advance(Duration::ZERO);
    assert_eq!(progress(&mut driver).phase, "registering");
    register(&mut driver, "app-1");
    added(&mut driver, 0);
    assert_eq!(progress(&mut driver).phase, "waiting for executors");
    for slot in 0..2 {
        assert_eq!(ready(&mut driver, 0, slot), SlotAnswer::Noted);
    }
    let first = runs(&driver);
    assert_eq!(first.len(), 2);
    assert_eq!(
        (first[0].to.to_string().as_str(), first[0].request.attempt),
        ("instar://app-1.0.0@w0:1", 1)
    );
    done(&mut driver, &first[1], &[1]);
    let now = progress(&mut driver);
    assert_eq!((now.done, now.total, now.phase.as_str()), (1, 3, "running"));
    assert_eq!((now.bytes_done, now.bytes_total), (10, 30));
    assert_eq!((now.executors, now.slots), (1, 2));
    for run in runs(&driver) {
        done(&mut driver, &run, &[2]);
    }
    let end = progress(&mut driver);
    assert_eq!((end.done, end.phase.as_str()), (3, "finished"));
    assert_eq!((end.result.as_deref(), end.failed), (Some("sum 5"), None));
    assert_eq!(
        unregisters(&mut driver),
        1,
        "its executors are free at once"
    );
    assert_eq!(ready(&mut driver, 0, 1), SlotAnswer::Ended);
}

#[test]
fn a_finished_driver_lingers_or_leaves_when_it_is_told_to() {
    let finished = |further: &[(&str, &str)]| {
        let mut driver = running(&[("tasks", "0"), further[0]]);
        assert_eq!(progress(&mut driver).result.as_deref(), Some("sum 0"));
        assert!(!driver.asked_to_stop());
        driver
    };
    let mut lingers = finished(&[("linger", "2000")]);
    lingers.advance(Duration::from_millis(1999));
    assert!(!lingers.asked_to_stop());
    lingers.advance(Duration::from_millis(1));
    assert!(lingers.asked_to_stop());

    let mut told = finished(&[("linger", "3600000")]);
    told.send(&Finish {});
    told.advance(Duration::ZERO);
    assert!(told.asked_to_stop());
    told.stop();
    // Registered only after it was done: the registration was taken back, once.
    assert_eq!(unregisters(&mut told), 1);
}

#[test]
fn a_driver_that_is_told_to_finish_before_its_time_gives_up() {
    let mut driver = running(&[]);
    driver.send(&Finish {});
    let failed = progress(&mut driver).failed.unwrap();
    assert!(failed.contains("before all tasks were done"), "{failed}");
    assert_eq!(unregisters(&mut driver), 1);
    driver.advance(Duration::ZERO);
    assert!(driver.asked_to_stop());
}

#[test]
#[should_panic(expected = "the application failed: no input")]
fn a_driver_that_fails_at_a_worker_crashes_once_it_was_asked_or_lingered() {
    let mut driver = running(&[("fail", "no input"), ("driver_id", "driver-1")]);
    let now = progress(&mut driver);
    assert_eq!(
        (now.phase.as_str(), now.failed.as_deref()),
        ("failed", Some("no input"))
    );
    assert_eq!(unregisters(&mut driver), 1);
    driver.advance(Duration::from_secs(2));
}

#[test]
fn a_lost_executor_or_worker_gives_its_tasks_to_others() {
    let mut driver = running(&[]);
    for executor_id in [0, 1, 2] {
        added(&mut driver, executor_id);
        ready(&mut driver, executor_id, 0);
    }
    let at_first = runs(&driver);
    driver.send(&ExecutorUpdated {
        app_id: "app-1".to_owned(),
        executor_id: 0,
        state: ExecutorState::Exited,
        message: String::new(),
        exit_status: Some(101),
        worker_host: None,
    });
    driver.send(&WorkerRemoved {
        id: "worker-1".to_owned(),
        host: "w1".to_owned(),
        message: String::new(),
    });
    assert_eq!(progress(&mut driver).slots, 1);
    done(&mut driver, &at_first[0], &[100]); // Too late: it is not counted.
    done(&mut driver, &at_first[2], &[1]);
    for _ in 0..2 {
        let last = runs(&driver).pop().unwrap();
        assert_eq!(
            (last.to.to_string().as_str(), last.request.attempt),
            ("instar://app-1.2.0@w2:1", 2)
        );
        done(&mut driver, &last, &[1]);
    }
    assert_eq!(progress(&mut driver).result.as_deref(), Some("sum 3"));
    driver.with(|state| assert!(state.counted.values().all(|times| *times == 1)));
}

#[test]
fn a_task_that_fails_too_often_ends_the_application() {
    let mut driver = running(&[("task_failures_max", "2")]);
    ready(&mut driver, 0, 0);
    let mut failures = 0;
    while progress(&mut driver).failed.is_none() {
        let run = runs(&driver).pop().unwrap();
        driver.answer(&run, Err("bad luck".into()));
        failures += 1;
    }
    assert_eq!(failures, 4, "each of three tasks once, the first again");
    let failed = progress(&mut driver).failed.unwrap();
    assert!(
        failed.contains("failed 2 times") && failed.ends_with("bad luck"),
        "{failed}"
    );
    assert_eq!(unregisters(&mut driver), 1);
}

#[test]
fn an_outcome_that_cannot_be_counted_ends_the_application() {
    let mut driver = running(&[]);
    ready(&mut driver, 0, 0);
    let run = runs(&driver).pop().unwrap();
    done(&mut driver, &run, b"two");
    let failed = progress(&mut driver).failed.unwrap();
    assert!(failed.contains("task 0 cannot be counted"), "{failed}");
}

#[test]
fn a_slot_that_does_not_answer_in_time_costs_an_attempt() {
    let mut driver = running(&[("task_timeout", "5000"), ("tasks", "1")]);
    ready(&mut driver, 0, 0);
    driver.advance(Duration::from_secs(5));
    assert!(runs(&driver).is_empty());
    ready(&mut driver, 0, 0);
    assert_eq!(runs(&driver)[0].request.attempt, 2);
}

/// It may have too many open asks for all of its slots: that is no failure of a task.
#[test]
fn a_limit_of_the_driver_itself_costs_no_task_an_attempt() {
    let mut driver = running(&[("task_failures_max", "1")]);
    driver.refuse_asks(Some(Failure::with_code(Failure::DENIED, "too many")));
    for _ in 0..5 {
        ready(&mut driver, 0, 0);
    }
    driver.refuse_asks(None);
    assert_eq!(progress(&mut driver).failed, None);
    ready(&mut driver, 0, 0);
    assert_eq!(runs(&driver).len(), 1);
}

#[test]
fn how_often_the_master_is_asked_for_the_application_can_be_set() {
    let mut driver = running(&[("registration_check", "5000")]);
    driver.advance(Duration::from_secs(5));
    assert_eq!(driver.asked::<deploy_protocol::KillExecutors>().len(), 1);
}

#[test]
fn a_slot_of_an_unknown_application_is_asked_to_come_again() {
    let mut driver = started(&[]);
    driver.advance(Duration::ZERO);
    assert_eq!(ready(&mut driver, 0, 0), SlotAnswer::Unknown, "not yet");
    register(&mut driver, "app-1");
    assert_eq!(ready(&mut driver, 0, 0), SlotAnswer::Noted);
    let other = driver.ask(&slot_of("app-2", 0, 0)).unwrap();
    assert_eq!(other.answer, SlotAnswer::Unknown);
}

#[test]
fn an_application_that_its_master_removed_or_never_took_fails() {
    let mut removed = running(&[]);
    removed.send(&ApplicationRemoved {
        app_id: "app-1".to_owned(),
        message: "KILLED".to_owned(),
    });
    assert!(progress(&mut removed).failed.unwrap().contains("KILLED"));
    let mut alone = started(&[
        ("registration_interval", "1000"),
        ("registration_attempts", "2"),
    ]);
    alone.advance(Duration::from_millis(2000));
    let failed = progress(&mut alone).failed.unwrap();
    assert!(failed.contains("all masters are unresponsive"), "{failed}");
}

#[test]
fn tasks_go_on_through_a_lost_master_and_swaps() {
    let mut driver = running(&[]);
    ready(&mut driver, 0, 0);
    for _ in 0..3 {
        driver.disconnected("m1:7077");
        let mut next = driver.upgrade::<Adds>().unwrap();
        let run = runs(&next).pop().unwrap();
        done(&mut next, &run, &[4]);
        driver = next;
    }
    assert_eq!(progress(&mut driver).result.as_deref(), Some("sum 12"));
    let mut driver = driver.upgrade::<Adds>().unwrap();
    driver.advance(Duration::from_secs(2));
    assert!(driver.asked_to_stop());
}
