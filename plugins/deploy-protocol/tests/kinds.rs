//! Every kind of the protocol: it travels, and what version 0.1.0 wrote is read for ever.
//!
//! `kinds-0-1-0.txt` is frozen: a line `KIND HEX` for the sample of each kind, as version 0.1.0 of this
//! crate wrote it. A new kind gets a line in a file of the version that brings it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};

use deploy_protocol::*;
use instar_sdk::Message;
use instar_sdk::prelude::*;
use instar_sdk::testing::TestEndpoint;
use serde::{Deserialize, Serialize};

const FROZEN: &str = include_str!("kinds-0-1-0.txt");

fn master() -> EndpointRef {
    EndpointRef::remote(MASTER, "10.0.0.1:7077")
}

fn worker() -> EndpointRef {
    EndpointRef::remote(WORKER, "10.0.0.2:40001")
}

fn driver() -> EndpointRef {
    EndpointRef::remote("wordcount", "10.0.0.3:40002")
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn gpu(addresses: &[&str]) -> ResourceInformation {
    ResourceInformation {
        name: text("gpu"),
        addresses: addresses.iter().map(|&a| text(a)).collect(),
    }
}

fn two_gpus() -> ResourceRequirement {
    ResourceRequirement {
        name: text("gpu"),
        amount: 2,
    }
}

fn command() -> Command {
    Command {
        program: Program::Command,
        component: ComponentFile {
            uri: text("instar://10.0.0.3:40002/files/a.wasm"),
            sha256: "ab".repeat(32),
        },
        arguments: vec![text("{{CORES}}")],
        environment: [(text("A"), text("1"))].into(),
    }
}

fn driver_description() -> DriverDescription {
    DriverDescription {
        command: command(),
        memory_mb: 1024,
        cores: 1,
        supervise: true,
        resources: vec![two_gpus()],
    }
}

fn profile() -> ResourceProfile {
    ResourceProfile {
        id: 1,
        cores: Some(3),
        memory_mb: None,
        resources: vec![two_gpus()],
    }
}

fn application() -> ApplicationDescription {
    ApplicationDescription {
        name: text("words"),
        max_cores: Some(8),
        command: Command {
            program: Program::Endpoint,
            ..command()
        },
        ui_url: text(""),
        default_profile: ResourceProfile { id: 0, ..profile() },
        initial_executor_limit: None,
        user: text("ada"),
    }
}

fn executor() -> ExecutorDescription {
    ExecutorDescription {
        app_id: text("app-1"),
        executor_id: 7,
        resource_profile_id: 1,
        cores: 3,
        memory_mb: 512,
        state: ExecutorState::Running,
    }
}

fn executor_info() -> ExecutorInfo {
    ExecutorInfo {
        description: executor(),
        worker_id: text("worker-1"),
        resources: vec![gpu(&["0"])],
    }
}

fn application_info() -> ApplicationInfo {
    ApplicationInfo {
        id: text("app-1"),
        description: application(),
        driver: driver(),
        state: ApplicationState::Running,
        submitted: 1_700_000_000_000,
        ended: None,
        cores_granted: 3,
        executor_limit: Some(4),
        executors: vec![executor_info()],
        removed_executors: Vec::new(),
    }
}

fn driver_info() -> DriverInfo {
    DriverInfo {
        id: text("driver-1"),
        description: driver_description(),
        state: DriverState::Relaunching,
        submitted: 1_700_000_000_000,
        worker_id: Some(text("worker-1")),
        resources: Vec::new(),
        message: text("its worker is lost"),
        exit_status: None,
    }
}

fn worker_info() -> WorkerInfo {
    WorkerInfo {
        id: text("worker-1"),
        host: text("10.0.0.2"),
        port: 40001,
        web_ui_url: text(""),
        state: WorkerState::Alive,
        cores: 8,
        cores_used: 3,
        memory_mb: 4096,
        memory_used_mb: 512,
        resources: vec![gpu(&["0", "1"])],
        resources_used: vec![gpu(&["0"])],
        last_heartbeat: 1_700_000_000_000,
        executors: vec![text("app-1/7")],
        drivers: vec![text("driver-1")],
    }
}

type Reads = dyn Fn(&[u8]);

/// A message in both its forms.
struct Sample {
    kind: &'static str,
    bytes: Vec<u8>,
    /// Fails where the bytes are not read as the sample.
    reads: Box<Reads>,
}

fn sample<M: Message + PartialEq + std::fmt::Debug + 'static>(value: M) -> Sample {
    Sample {
        kind: M::KIND,
        bytes: postcard::to_stdvec(&value).unwrap(),
        reads: Box::new(move |bytes| {
            let (read, rest) = postcard::take_from_bytes::<M>(bytes).unwrap();
            assert!(read == value && rest.is_empty(), "{}: {read:?}", M::KIND);
        }),
    }
}

/// One of each kind.
fn samples() -> Vec<Sample> {
    vec![
        sample(RegisterWorker {
            id: text("worker-1"),
            host: text("10.0.0.2"),
            port: 40001,
            worker: worker(),
            cores: 8,
            memory_mb: 4096,
            web_ui_url: text(""),
            master_address: text("m:7077"),
            resources: vec![gpu(&["0", "1"])],
        }),
        sample(RegisteredWorker {
            master: master(),
            master_web_ui_url: text(""),
            master_address: text("m:7077"),
            duplicate: true,
        }),
        sample(RegisterWorkerFailed {
            message: text("another worker is there"),
        }),
        sample(MasterInStandby {}),
        sample(Heartbeat {
            worker_id: text("worker-1"),
            worker: worker(),
        }),
        sample(ReconnectWorker { master: master() }),
        sample(WorkerLatestState {
            id: text("worker-1"),
            executors: vec![executor()],
            driver_ids: vec![text("driver-1")],
        }),
        sample(MasterChanged {
            master: master(),
            master_web_ui_url: text(""),
        }),
        sample(WorkerSchedulerStateResponse {
            id: text("worker-1"),
            executors: vec![WorkerExecutorStateResponse {
                executor: executor(),
                resources: vec![gpu(&["0"])],
            }],
            drivers: vec![WorkerDriverStateResponse {
                driver_id: text("driver-1"),
                resources: Vec::new(),
            }],
        }),
        sample(LaunchExecutor {
            master: master(),
            app_id: text("app-1"),
            executor_id: 7,
            resource_profile_id: 1,
            application: application(),
            cores: 3,
            memory_mb: 512,
            resources: vec![gpu(&["0"])],
        }),
        sample(KillExecutor {
            master: master(),
            app_id: text("app-1"),
            executor_id: 7,
        }),
        sample(ExecutorStateChanged {
            app_id: text("app-1"),
            executor_id: 7,
            state: ExecutorState::Exited,
            message: text("memory"),
            exit_status: Some(137),
        }),
        sample(ExecutorStateNoted { noted: true }),
        sample(LaunchDriver {
            master: master(),
            driver_id: text("driver-1"),
            description: driver_description(),
            resources: Vec::new(),
        }),
        sample(KillDriver {
            driver_id: text("driver-1"),
        }),
        sample(DriverStateChanged {
            driver_id: text("driver-1"),
            state: DriverState::Failed,
            message: text(""),
            exit_status: Some(-1),
        }),
        sample(DriverStateNoted { noted: false }),
        sample(ApplicationFinished {
            app_id: text("app-1"),
        }),
        sample(DecommissionWorker {}),
        sample(WorkerDecommissioning {
            id: text("worker-1"),
            worker: worker(),
        }),
        sample(RegisterApplication {
            application: application(),
            driver: driver(),
        }),
        sample(RegisteredApplication {
            app_id: text("app-1"),
            master: master(),
        }),
        sample(UnregisterApplication {
            app_id: text("app-1"),
        }),
        sample(ApplicationRemoved {
            app_id: text("app-1"),
            message: text("FAILED"),
        }),
        sample(ExecutorAdded {
            app_id: text("app-1"),
            executor_id: 7,
            worker_id: text("worker-1"),
            host_port: text("10.0.0.2:40001"),
            cores: 3,
            memory_mb: 512,
            resource_profile_id: 1,
        }),
        sample(ExecutorUpdated {
            app_id: text("app-1"),
            executor_id: 7,
            state: ExecutorState::Lost,
            message: text("its worker is lost"),
            exit_status: None,
            worker_host: Some(text("10.0.0.2")),
        }),
        sample(WorkerRemoved {
            id: text("worker-1"),
            host: text("10.0.0.2"),
            message: text("silent for 60 s"),
        }),
        sample(MasterChangeAcknowledged {
            app_id: text("app-1"),
        }),
        sample(RequestExecutors {
            app_id: text("app-1"),
            totals: BTreeMap::from([(profile(), 4)]),
        }),
        sample(KillExecutors {
            app_id: text("app-1"),
            executor_ids: vec![7, 8],
        }),
        sample(Acknowledged { acknowledged: true }),
        sample(RequestSubmitDriver {
            description: driver_description(),
        }),
        sample(SubmitDriverResponse {
            master: master(),
            success: true,
            driver_id: Some(text("driver-1")),
            message: text("queued"),
        }),
        sample(RequestKillDriver {
            driver_id: text("driver-1"),
        }),
        sample(KillDriverResponse {
            master: master(),
            driver_id: text("driver-1"),
            success: false,
            message: not_alive(RecoveryState::Standby),
        }),
        sample(RequestKillAllDrivers {}),
        sample(KillAllDriversResponse {
            master: master(),
            success: true,
            message: text("2 drivers"),
        }),
        sample(RequestKillApplication {
            app_id: text("app-1"),
        }),
        sample(KillApplicationResponse {
            master: master(),
            app_id: text("app-1"),
            success: true,
            message: text(""),
        }),
        sample(RequestDriverStatus {
            driver_id: text("driver-1"),
        }),
        sample(DriverStatusResponse {
            found: true,
            state: Some(DriverState::Running),
            worker_id: Some(text("worker-1")),
            worker_host_port: Some(text("10.0.0.2:40001")),
            message: text(""),
            exit_status: None,
            relaunched_as: Some(text("driver-2")),
        }),
        sample(RequestClearCompletedDriversAndApps {}),
        sample(ClearedCompleted {
            drivers: 1,
            applications: 2,
        }),
        sample(RequestReadyz {}),
        sample(Readyz { ready: true }),
        sample(BoundPortsRequest {}),
        sample(BoundPortsResponse {
            rpc_port: 7077,
            web_ui_port: Some(8080),
            rest_port: None,
        }),
        sample(RequestMasterState {}),
        sample(MasterStateResponse {
            master: master(),
            version: text("0.1.0"),
            policy: text("spread-out"),
            status: RecoveryState::CompletingRecovery,
            workers: vec![worker_info()],
            active_apps: vec![application_info()],
            completed_apps: Vec::new(),
            active_drivers: vec![driver_info()],
            completed_drivers: Vec::new(),
        }),
        sample(DecommissionWorkersOnHosts {
            hosts: vec![text("10.0.0.2")],
        }),
        sample(DecommissionedWorkers { count: 1 }),
        sample(RequestWorkerState {}),
        sample(WorkerStateResponse {
            host: text("10.0.0.2"),
            port: 40001,
            worker_id: text("worker-1"),
            executors: vec![WorkerExecutorInfo {
                description: executor(),
                app_name: text("words"),
                folder: text("/work/app-1/7"),
                message: text(""),
                exit_status: None,
            }],
            finished_executors: Vec::new(),
            drivers: vec![WorkerDriverInfo {
                driver_id: text("driver-1"),
                description: driver_description(),
                state: DriverState::Running,
                starts: 2,
                folder: text("/work/driver-1"),
                message: text(""),
                exit_status: None,
            }],
            finished_drivers: Vec::new(),
            master: Some(master()),
            master_web_ui_url: text(""),
            connected: true,
            decommissioned: false,
            cores: 8,
            cores_used: 3,
            memory_mb: 4096,
            memory_used_mb: 512,
            resources: [(text("gpu"), vec![text("0"), text("1")])].into(),
            resources_used: BTreeMap::new(),
        }),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

#[test]
fn each_kind_is_read_as_it_was_written_and_kinds_are_all_different() {
    let mut kinds = BTreeSet::new();
    for sample in samples() {
        (sample.reads)(&sample.bytes);
        assert!(sample.kind.starts_with("deploy."), "{}", sample.kind);
        assert!(kinds.insert(sample.kind), "{} is there twice", sample.kind);
    }
}

#[test]
fn what_version_0_1_0_wrote_is_read_and_written_the_same() {
    let frozen: BTreeMap<&str, &str> = FROZEN
        .lines()
        .map(|line| line.split_once(' ').unwrap_or((line, "")))
        .collect();
    let samples = samples();
    for sample in &samples {
        let Some(bytes) = frozen.get(sample.kind) else {
            panic!("no line for it: {} {}", sample.kind, hex(&sample.bytes));
        };
        (sample.reads)(&from_hex(bytes));
        assert_eq!(
            hex(&sample.bytes),
            **bytes,
            "{} is written otherwise",
            sample.kind
        );
    }
    assert_eq!(frozen.len(), samples.len(), "a kind is gone");
}

/// A version of a message that never was, with one field less.
#[derive(Message, Serialize, Deserialize)]
#[message(kind = "deploy.Heartbeat")]
struct ShorterHeartbeat {
    worker_id: String,
}

/// Another, with one field more.
#[derive(Message, Serialize, Deserialize)]
#[message(kind = "deploy.Heartbeat")]
struct LongerHeartbeat {
    worker_id: String,
    worker: EndpointRef,
    cores: u32,
}

#[derive(Default, Serialize, Deserialize)]
struct Listener {
    heard: u32,
}

#[instar_sdk::endpoint(name = "listener", version = "1.0.0")]
impl Listener {
    #[on_start]
    fn start(_: &mut Context) -> Result<Self, Failure> {
        Ok(Self::default())
    }

    #[receive]
    fn heartbeat(&mut self, _: &mut Context, _: Heartbeat) -> Result<(), Failure> {
        self.heard += 1;
        Ok(())
    }
}

#[test]
fn a_message_with_other_fields_fails_with_its_name_and_is_never_taken_for_another() {
    let mut listener = TestEndpoint::<Listener>::start();
    listener.send(&ShorterHeartbeat {
        worker_id: text("worker-1"),
    });
    listener.send(&LongerHeartbeat {
        worker_id: text("worker-1"),
        worker: worker(),
        cores: 1,
    });
    listener.with(|listener| assert_eq!(listener.heard, 0));
    let log = listener.log();
    assert_eq!(log.len(), 2, "{log:?}");
    for line in log {
        assert!(line.text.contains("deploy.Heartbeat"), "{}", line.text);
    }
    listener.send(&Heartbeat {
        worker_id: text("worker-1"),
        worker: worker(),
    });
    listener.with(|listener| assert_eq!(listener.heard, 1));
}

#[test]
fn every_state_has_the_name_that_spark_gives_it() {
    let names = |all: Vec<String>| all.join(" ");
    let all = |states: &[RecoveryState]| states.iter().map(ToString::to_string).collect();
    assert_eq!(
        names(all(RecoveryState::ALL)),
        "STANDBY ALIVE RECOVERING COMPLETING_RECOVERY"
    );
    let finished: Vec<_> = ExecutorState::ALL
        .iter()
        .filter(|s| s.is_finished())
        .collect();
    let finished: Vec<_> = finished.iter().map(|state| state.name()).collect();
    assert_eq!(finished, ["KILLED", "FAILED", "LOST", "EXITED"]);
    let terminal: Vec<_> = DriverState::ALL
        .iter()
        .filter(|s| s.is_terminal())
        .collect();
    assert_eq!(terminal.len(), 4);
}
