//! The worker as a component on a real host: what it is ordered runs, and it is swapped and restarted
//! meanwhile. Its rules are tested natively, in `plugins/worker/tests`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use deploy_protocol::{
    ApplicationDescription, Command, ComponentFile, DriverDescription, DriverState,
    EndpointRef as Reference, ExecutorState, KillExecutor, LaunchDriver, LaunchExecutor, Program,
    RegisteredWorker, RequestWorkerState, ResourceProfile, WorkerStateResponse,
};
use fixture_probe::{GetConfig, StopYourself};
use instar_host::endpoint::settings::EndpointSettings;
use instar_host::{EndpointRef, RpcEnv, RpcSettings};
use instar_sdk::Message;
use instar_tests::{ask, component, component_path, eventually, message, server, start};
use tempfile::TempDir;

/// A host with a worker, and another with the files. The master is whoever the test says.
struct Cluster {
    env: RpcEnv,
    worker: EndpointRef,
    files: RpcEnv,
    master: Reference,
    dir: TempDir,
}

impl Cluster {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = start(server()).await;
        for name in ["job", "probe-v1"] {
            let path = component_path(name);
            files.file_server().add_file(&path).unwrap();
        }
        let env = start(RpcSettings {
            work: Some(dir.path().join("work")),
            ..server()
        })
        .await;
        // It listens and has no master: that is all that the worker can know of it.
        let address = files.address().unwrap().to_string();
        let config = [
            ("masters", address.as_str()),
            ("cores", "4"),
            ("memory_mb", "512"),
        ];
        let settings = EndpointSettings {
            config: config
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            grants: ["launch".to_owned(), "clock".to_owned()].into(),
            ..EndpointSettings::default()
        };
        let code = component("worker");
        let worker = env.setup_endpoint("Worker", &code, settings).await.unwrap();
        let cluster = Self {
            env,
            worker,
            files,
            master: Reference::remote("Master", address),
            dir,
        };
        cluster.registered().await;
        cluster
    }

    async fn registered(&self) {
        self.tell(&RegisteredWorker {
            master: self.master.clone(),
            master_web_ui_url: String::new(),
            master_address: self.master.address.clone().unwrap(),
            duplicate: false,
        })
        .await;
    }

    async fn tell<M: Message>(&self, what: &M) {
        self.worker.send(message(what)).await.unwrap();
    }

    async fn look(&self) -> WorkerStateResponse {
        ask(&self.worker, &RequestWorkerState {}).await.unwrap()
    }

    fn command(&self, program: Program, name: &str, arguments: &[&str]) -> Command {
        Command {
            program,
            component: ComponentFile {
                uri: self.files.file_uri(&format!("/files/{name}.wasm")).unwrap(),
                sha256: component(name).digest().to_owned(),
            },
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
            environment: BTreeMap::from([("of".to_owned(), "{{APP_ID}}".to_owned())]),
        }
    }

    async fn launch_executor(&self) {
        let default_profile = ResourceProfile {
            id: 0,
            cores: None,
            memory_mb: None,
            resources: Vec::new(),
        };
        let application = ApplicationDescription {
            name: "probes".to_owned(),
            max_cores: None,
            command: self.command(Program::Endpoint, "probe-v1", &[]),
            ui_url: String::new(),
            default_profile,
            initial_executor_limit: None,
            user: "ann".to_owned(),
        };
        self.tell(&LaunchExecutor {
            master: self.master.clone(),
            app_id: "app-1".to_owned(),
            executor_id: 0,
            resource_profile_id: 0,
            application,
            cores: 2,
            memory_mb: 64,
            resources: Vec::new(),
        })
        .await;
    }

    async fn launch_driver(&self, id: &str, arguments: &[&str], supervise: bool) {
        let description = DriverDescription {
            command: self.command(Program::Command, "job", arguments),
            memory_mb: 32,
            cores: 1,
            supervise,
            resources: Vec::new(),
        };
        self.tell(&LaunchDriver {
            master: self.master.clone(),
            driver_id: id.to_owned(),
            description,
            resources: Vec::new(),
        })
        .await;
    }

    async fn executor_is(&self, state: ExecutorState) {
        eventually(&format!("the executor is {state}"), || async {
            let now = self.look().await;
            let mut all = now.executors.iter().chain(&now.finished_executors);
            all.find(|executor| executor.description.state == state)
                .map(drop)
        })
        .await;
    }

    async fn shutdown(self) {
        self.env.shutdown().await;
        self.files.shutdown().await;
    }
}

#[tokio::test]
async fn an_executor_runs_through_swaps_and_restarts_of_its_worker_until_it_is_killed() {
    let cluster = Cluster::new().await;
    cluster.launch_executor().await;
    cluster.executor_is(ExecutorState::Running).await;
    let before = cluster.look().await;
    assert_eq!((before.cores_used, before.memory_used_mb), (2, 64));

    cluster.env.refresh("Worker", "test").await.unwrap();
    assert_eq!(cluster.look().await, before);

    // A restart afresh, as a crash does: nothing is left but what its host launched.
    cluster.env.restart("Worker").await.unwrap();
    let after = eventually("it is there again", || async {
        ask(&cluster.worker, &RequestWorkerState {}).await.ok()
    })
    .await;
    assert_eq!(after.worker_id, before.worker_id);
    assert_eq!(after.executors.len(), 1);
    assert_eq!(
        after.executors[0].description,
        before.executors[0].description
    );

    for slot in 0..2 {
        let name = deploy_protocol::executor_endpoint("app-1", 0, slot);
        let slot = cluster.env.endpoint_ref(&name).unwrap();
        let key = "of".to_owned();
        assert_eq!(ask(&slot, &GetConfig { key }).await.unwrap().text, "app-1");
    }
    cluster.registered().await;
    cluster
        .tell(&KillExecutor {
            master: cluster.master.clone(),
            app_id: "app-1".to_owned(),
            executor_id: 0,
        })
        .await;
    cluster.executor_is(ExecutorState::Killed).await;
    assert_eq!(cluster.look().await.cores_used, 0);
    cluster.shutdown().await;
}

#[tokio::test]
async fn an_executor_that_stops_itself_is_exited() {
    let cluster = Cluster::new().await;
    cluster.launch_executor().await;
    cluster.executor_is(ExecutorState::Running).await;
    for slot in 0..2 {
        let name = deploy_protocol::executor_endpoint("app-1", 0, slot);
        let slot = cluster.env.endpoint_ref(&name).unwrap();
        slot.send(message(&StopYourself {})).await.unwrap();
    }
    cluster.executor_is(ExecutorState::Exited).await;
    let ended = cluster.look().await.finished_executors.remove(0);
    assert_eq!(ended.exit_status, Some(0));
    cluster.shutdown().await;
}

#[tokio::test]
async fn drivers_end_as_what_they_did() {
    let cluster = Cluster::new().await;
    for (id, arguments, supervise, state) in [
        ("d-0", vec!["print=well"], true, DriverState::Finished),
        (
            "d-1",
            vec!["print=bad", "exit=3"],
            false,
            DriverState::Failed,
        ),
    ] {
        cluster.launch_driver(id, &arguments, supervise).await;
        let ended = eventually("its end", || async {
            let all = cluster.look().await.finished_drivers;
            all.into_iter().find(|driver| driver.driver_id == id)
        })
        .await;
        assert_eq!((ended.state, ended.starts), (state, 1));
    }
    let text = |id: &str| {
        let path = cluster.dir.path().join("work").join(id).join("stdout");
        std::fs::read_to_string(path).unwrap()
    };
    assert_eq!(
        (text("d-0"), text("d-1")),
        ("well\n".into(), "bad\n".into())
    );
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_supervised_driver_that_fails_is_started_again() {
    let cluster = Cluster::new().await;
    cluster.launch_driver("d-0", &["exit=1"], true).await;
    eventually("its second run", || async {
        let drivers = cluster.look().await.drivers;
        (drivers.first()?.starts >= 2).then_some(())
    })
    .await;
    cluster.shutdown().await;
}

#[tokio::test]
async fn what_a_worker_runs_ends_when_it_stops() {
    let cluster = Cluster::new().await;
    cluster.launch_executor().await;
    cluster.executor_is(ExecutorState::Running).await;
    assert!(cluster.env.stop("Worker").await);
    let name = deploy_protocol::executor_endpoint("app-1", 0, 0);
    eventually("its executor is gone", || async {
        cluster.env.endpoint_ref(&name).is_none().then_some(())
    })
    .await;
    cluster.shutdown().await;
}
