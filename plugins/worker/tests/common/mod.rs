//! A worker in a test, and the messages that a master sends it.

#![allow(dead_code, reason = "each test file uses some of it")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use deploy_protocol::{
    ApplicationDescription, Command, ComponentFile, DriverDescription, DriverStateChanged,
    DriverStateNoted, ExecutorState, ExecutorStateChanged, ExecutorStateNoted, KillDriver,
    KillExecutor, LaunchDriver, LaunchExecutor, MasterChanged, Program, RegisterWorker,
    RegisteredWorker, RequestWorkerState, ResourceInformation, ResourceProfile,
    WorkerStateResponse,
};
use instar_sdk::EndpointRef;
use instar_sdk::launching::{LaunchChange, LaunchId, Workload};
use instar_sdk::testing::{LogLine, TestEndpoint};
use worker::Worker;

pub(crate) type TestWorker = TestEndpoint<Worker>;

/// A worker of 16 cores and 4096 MB with two masters, and a jitter factor of 1.0665.
pub(crate) fn start(more: &[(&str, &str)]) -> TestWorker {
    TestEndpoint::start_with(&config(more))
}

pub(crate) fn config<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut config = BTreeMap::from([
        ("masters", "m1:7077,m2:7077"),
        ("cores", "16"),
        ("memory_mb", "4096"),
        ("jitter_seed", "1"),
    ]);
    config.extend(more.iter().copied());
    config.into_iter().collect()
}

/// A worker that `m1` has registered; what it said until then is gone.
pub(crate) fn registered(more: &[(&str, &str)]) -> TestWorker {
    let mut worker = start(more);
    register(&mut worker, "m1:7077");
    worker
}

/// The master at `address` answers; what the worker says to it is gone.
pub(crate) fn register(worker: &mut TestWorker, address: &str) {
    worker.send(&registered_by(address));
    forget_messages(worker);
}

pub(crate) fn registered_by(address: &str) -> RegisteredWorker {
    RegisteredWorker {
        master: master_at(address),
        master_web_ui_url: format!("http://{address}"),
        master_address: address.to_owned(),
        duplicate: false,
    }
}

pub(crate) fn leads_now(address: &str) -> MasterChanged {
    MasterChanged {
        master: master_at(address),
        master_web_ui_url: String::new(),
    }
}

pub(crate) fn forget_messages(worker: &mut TestWorker) {
    worker.sent::<RegisterWorker>();
    worker.sent::<deploy_protocol::Heartbeat>();
    worker.sent::<deploy_protocol::WorkerLatestState>();
    worker.sent::<deploy_protocol::WorkerSchedulerStateResponse>();
    worker.sent::<deploy_protocol::WorkerDecommissioning>();
}

pub(crate) fn master_at(address: &str) -> EndpointRef {
    EndpointRef::remote("Master", address)
}

/// Where the worker tried to register since, in order.
pub(crate) fn dialled(worker: &mut TestWorker) -> Vec<String> {
    let tried = worker.sent::<RegisterWorker>();
    tried
        .into_iter()
        .map(|(to, message)| {
            assert_eq!(to, master_at(&message.master_address));
            message.master_address
        })
        .collect()
}

pub(crate) fn command(program: Program) -> Command {
    Command {
        program,
        component: ComponentFile {
            uri: "instar://d:1/files/app.wasm".to_owned(),
            sha256: "0".repeat(64),
        },
        arguments: Vec::new(),
        environment: BTreeMap::new(),
    }
}

pub(crate) fn application(command: Command) -> ApplicationDescription {
    ApplicationDescription {
        name: "pi".to_owned(),
        max_cores: None,
        command,
        ui_url: String::new(),
        default_profile: ResourceProfile {
            id: 0,
            cores: None,
            memory_mb: None,
            resources: Vec::new(),
        },
        initial_executor_limit: None,
        user: "ann".to_owned(),
    }
}

/// Executor `executor_id` of `app-1` with two cores and 512 MB, ordered by `m1`.
pub(crate) fn executor(executor_id: u32) -> LaunchExecutor {
    LaunchExecutor {
        master: master_at("m1:7077"),
        app_id: "app-1".to_owned(),
        executor_id,
        resource_profile_id: 0,
        application: application(command(Program::Endpoint)),
        cores: 2,
        memory_mb: 512,
        resources: Vec::new(),
    }
}

pub(crate) fn kill_executor(executor_id: u32) -> KillExecutor {
    KillExecutor {
        master: master_at("m1:7077"),
        app_id: "app-1".to_owned(),
        executor_id,
    }
}

/// Driver `driver-ID` with one core and 256 MB, ordered by `m1`.
pub(crate) fn driver(id: u32, supervise: bool) -> LaunchDriver {
    LaunchDriver {
        master: master_at("m1:7077"),
        driver_id: format!("driver-{id}"),
        description: DriverDescription {
            command: command(Program::Endpoint),
            memory_mb: 256,
            cores: 1,
            supervise,
            resources: Vec::new(),
        },
        resources: Vec::new(),
    }
}

pub(crate) fn kill_driver(id: u32) -> KillDriver {
    KillDriver {
        driver_id: format!("driver-{id}"),
    }
}

pub(crate) fn gpus(addresses: &[&str]) -> Vec<ResourceInformation> {
    vec![ResourceInformation {
        name: "gpu".to_owned(),
        addresses: addresses.iter().map(|&a| a.to_owned()).collect(),
    }]
}

/// Orders an executor, and returns its launch.
pub(crate) fn launch_executor(worker: &mut TestWorker, order: &LaunchExecutor) -> LaunchId {
    worker.send(order);
    one_launch(worker).0
}

/// Orders a driver, and returns its launch.
pub(crate) fn launch_driver(worker: &mut TestWorker, order: &LaunchDriver) -> LaunchId {
    worker.send(order);
    one_launch(worker).0
}

/// The one launch since.
pub(crate) fn one_launch(worker: &mut TestWorker) -> (LaunchId, Workload) {
    let mut launches = worker.launches();
    assert_eq!(launches.len(), 1, "one launch is expected");
    let (id, workload, _) = launches.remove(0);
    (id, workload)
}

pub(crate) fn runs(worker: &mut TestWorker, launch: LaunchId) {
    let folder = "/work/x".to_owned();
    worker.launch_changed(launch, LaunchChange::Running { folder });
}

pub(crate) fn exits(worker: &mut TestWorker, launch: LaunchId, status: i32) {
    let reason = format!("status {status}");
    worker.launch_changed(launch, LaunchChange::Exited { status, reason });
}

/// The master notes all reports that wait for its answer.
pub(crate) fn note_all(worker: &mut TestWorker) {
    for ask in worker.asked::<ExecutorStateChanged>() {
        worker.answer(&ask, Ok(ExecutorStateNoted { noted: true }));
    }
    for ask in worker.asked::<DriverStateChanged>() {
        worker.answer(&ask, Ok(DriverStateNoted { noted: true }));
    }
}

/// The executor states that wait for an answer of a master: to whom, number, state.
pub(crate) fn reports(worker: &TestWorker) -> Vec<(String, u32, ExecutorState)> {
    let asks = worker.asked::<ExecutorStateChanged>().into_iter();
    asks.map(|ask| {
        (
            ask.to.address.unwrap_or_default(),
            ask.request.executor_id,
            ask.request.state,
        )
    })
    .collect()
}

pub(crate) fn look(worker: &mut TestWorker) -> WorkerStateResponse {
    worker.ask(&RequestWorkerState {}).unwrap()
}

pub(crate) fn advance_ms(worker: &mut TestWorker, ms: u64) {
    worker.advance(Duration::from_millis(ms));
}

pub(crate) fn logged(worker: &mut TestWorker, text: &str) -> Vec<LogLine> {
    let lines = worker.log().into_iter();
    lines.filter(|line| line.text.contains(text)).collect()
}
