//! Crowd: the workers and applications, all of them puppets of one host.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use deploy_protocol::{
    ApplicationDescription, BoundPortsRequest, Command, ComponentFile, Heartbeat, MASTER, Program,
    RecoveryState, RegisterApplication, RegisterWorker, RegisteredApplication, RegisteredWorker,
    RequestExecutors, RequestMasterState, ResourceProfile,
};
use instar_host::address::{EndpointAddress, Location, RpcAddress};
use instar_tests::puppets::Puppets;

use super::master::MasterProcess;

/// Cores and memory of each worker.
const CORES: u32 = 8;
const MEMORY_MB: u32 = 16 << 10;

pub(crate) struct Crowd {
    puppets: Puppets,
    master: EndpointAddress,
    first_app: std::cell::OnceCell<String>,
}

impl Crowd {
    pub(crate) async fn new(master: &MasterProcess) -> Self {
        let address: RpcAddress = match master.address().map(|a| a.parse()) {
            Ok(Ok(address)) => address,
            other => panic!("no address: {other:?}"),
        };
        Self {
            puppets: Puppets::start().await,
            master: EndpointAddress::new(MASTER, Location::Listening(address)),
            first_app: std::cell::OnceCell::new(),
        }
    }

    pub(crate) async fn wait_until_alive(&self) -> anyhow::Result<()> {
        loop {
            let state = self
                .puppets
                .ask(&self.master, &RequestMasterState {})
                .await?;
            if state.status == RecoveryState::Alive {
                return Ok(());
            }
        }
    }

    /// Registers workers, all of them as fast as the master takes them. Until the last one was told.
    pub(crate) async fn register_workers(&self, numbers: Range<u32>) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let mut waiting: BTreeSet<String> = numbers.clone().map(worker_name).collect();
        let sending = async {
            for number in numbers {
                let register = self.register_worker(number);
                self.puppets.send(&self.master, &register).await?;
            }
            anyhow::Ok(())
        };
        let telling = self
            .puppets
            .take_until("all workers are registered", |got| {
                if got.as_a::<RegisteredWorker>().is_some() {
                    waiting.remove(&got.to);
                }
                waiting.is_empty()
            });
        let (sent, _) = tokio::join!(sending, telling);
        sent?;
        Ok(began.elapsed())
    }

    fn register_worker(&self, number: u32) -> RegisterWorker {
        let name = worker_name(number);
        RegisterWorker {
            id: format!(
                "worker-20260101000000-10.{}.{}-7078",
                number / 256,
                number % 256
            ),
            host: format!("10.0.{}.{}", number / 256, number % 256),
            port: 7078,
            worker: self.puppets.reference(&name),
            cores: CORES,
            memory_mb: MEMORY_MB,
            web_ui_url: String::new(),
            master_address: self.master.location.to_string(),
            resources: Vec::new(),
        }
    }

    /// So many heartbeats, spread over the workers; until the master has handled the last.
    pub(crate) async fn heartbeats(&self, workers: u32, count: u32) -> anyhow::Result<Duration> {
        let began = Instant::now();
        for number in 0..count {
            let register = self.register_worker(number % workers);
            let heartbeat = Heartbeat {
                worker_id: register.id,
                worker: register.worker,
            };
            self.puppets.send(&self.master, &heartbeat).await?;
        }
        self.puppets
            .ask(&self.master, &BoundPortsRequest {})
            .await?;
        Ok(began.elapsed())
    }

    /// Registers applications; until the last one was told. Each gets one executor of one core.
    pub(crate) async fn register_applications(&self, count: u32) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let mut told = BTreeMap::new();
        let sending = async {
            for number in 0..count {
                let register = RegisterApplication {
                    application: application(number),
                    driver: self.puppets.reference(&format!("driver-{number}")),
                };
                self.puppets.send(&self.master, &register).await?;
            }
            anyhow::Ok(())
        };
        let telling = self
            .puppets
            .take_until("all applications are registered", |got| {
                if let Some(registered) = got.as_a::<RegisteredApplication>() {
                    told.insert(got.to.clone(), registered.app_id);
                }
                told.len() == count as usize
            });
        let (sent, _) = tokio::join!(sending, telling);
        sent?;
        if let Some(id) = told.into_values().next() {
            // The first crowd of applications is the one that is asked about.
            let _ = self.first_app.set(id);
        }
        Ok(began.elapsed())
    }

    /// Times of questions that change nothing.
    pub(crate) async fn questions(&self, count: u32) -> anyhow::Result<Vec<Duration>> {
        let mut times = Vec::new();
        for _ in 0..count {
            let began = Instant::now();
            self.puppets
                .ask(&self.master, &BoundPortsRequest {})
                .await?;
            times.push(began.elapsed());
        }
        Ok(times)
    }

    /// Times of requests for one more executor than there is memory for: each makes the master look
    /// through workers and applications, and place nothing.
    pub(crate) async fn passes(&self, count: u32) -> anyhow::Result<Vec<Duration>> {
        let app_id = self.first_app.get().cloned().unwrap_or_default();
        let mut times = Vec::new();
        for number in 0..count {
            let profile = ResourceProfile {
                id: 1,
                cores: Some(1),
                memory_mb: Some(MEMORY_MB + 1),
                resources: Vec::new(),
            };
            let request = RequestExecutors {
                app_id: app_id.clone(),
                totals: [(profile, 1 + number)].into(),
            };
            let began = Instant::now();
            let answer = self.puppets.ask(&self.master, &request).await?;
            times.push(began.elapsed());
            anyhow::ensure!(answer.acknowledged, "the master does not know `{app_id}`");
        }
        Ok(times)
    }

    /// Workers and applications that should be there and are not.
    pub(crate) async fn lost(&self, workers: u32, applications: u32) -> anyhow::Result<usize> {
        let state = self
            .puppets
            .ask(&self.master, &RequestMasterState {})
            .await?;
        let wanted = workers as usize + applications as usize;
        Ok(wanted - state.workers.len() - state.active_apps.len())
    }
}

fn worker_name(number: u32) -> String {
    format!("Worker-{number}")
}

fn application(number: u32) -> ApplicationDescription {
    ApplicationDescription {
        name: format!("application {number}"),
        max_cores: Some(2),
        command: Command {
            program: Program::Endpoint,
            component: ComponentFile {
                uri: "instar://127.0.0.1:1/files/none.wasm".to_owned(),
                sha256: "0".repeat(64),
            },
            arguments: Vec::new(),
            environment: BTreeMap::new(),
        },
        ui_url: String::new(),
        default_profile: ResourceProfile {
            id: 0,
            cores: Some(1),
            memory_mb: Some(1024),
            resources: Vec::new(),
        },
        initial_executor_limit: Some(1),
        user: "fleet".to_owned(),
    }
}
