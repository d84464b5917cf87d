//! Cluster: a master and workers, each a process of its own, and what can be done to them.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;

use anyhow::Context as _;
use app_client::{GetProgress, Progress};
use deploy_protocol::{
    ExecutorDescription, ExecutorInfo, MASTER, MasterStateResponse, RequestMasterState,
    RequestWorkerState, WORKER, WorkerState, WorkerStateResponse,
};
use instar_host::RpcEnv;
use instar_host::address::{EndpointAddress, Location, RpcAddress};
use instar_host::endpoint::record::SwapRecord;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::process::{Program, ReadyMaster, ReadyWorker};
use crate::{ask, component_path, eventually};

/// A cluster of processes. Dropping it kills them.
pub struct Cluster {
    instar: PathBuf,
    scratch: TempDir,
    /// A host that only asks.
    pub env: RpcEnv,
    /// Where the master listens, also after it was started anew.
    pub address: RpcAddress,
    master_arguments: Vec<String>,
    master: Option<Program<ReadyMaster>>,
    /// The workers, in the order in which they were started.
    pub workers: Vec<Program<ReadyWorker>>,
}

impl Cluster {
    /// Starts a master with these arguments. `instar` is the program.
    ///
    /// # Errors
    /// It does not start; what it logged is in the error.
    pub async fn start(instar: &Path, master_arguments: &[&str]) -> anyhow::Result<Self> {
        let scratch = tempfile::tempdir()?;
        let master = Program::<ReadyMaster>::master(instar, scratch.path(), master_arguments);
        let master = master.await?;
        let address = master.ready.master.split('@').nth(1);
        Ok(Self {
            instar: instar.to_owned(),
            address: address.context("the master has no address")?.parse()?,
            env: RpcEnv::create(crate::client()).await?,
            master_arguments: master_arguments.iter().map(|&a| a.to_owned()).collect(),
            master: Some(master),
            workers: Vec::new(),
            scratch,
        })
    }

    /// Starts a worker with these arguments, and a work folder of its own.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub async fn add_worker(
        &mut self,
        arguments: &[&str],
    ) -> anyhow::Result<&Program<ReadyWorker>> {
        let work = self
            .scratch
            .path()
            .join(format!("work-{}", self.workers.len() + 1));
        let work = work.display().to_string();
        let arguments = [arguments, &["--work-dir", &work]].concat();
        let masters = self.address.to_string();
        let started =
            Program::<ReadyWorker>::worker(&self.instar, self.scratch.path(), &masters, &arguments);
        let started = started.await?;
        self.workers.push(started);
        self.workers.last().context("it was just put there")
    }

    /// The master's process.
    ///
    /// # Errors
    /// It was killed.
    pub fn master(&self) -> anyhow::Result<&Program<ReadyMaster>> {
        self.master.as_ref().context("the master was killed")
    }

    /// Kills the master at once.
    ///
    /// # Errors
    /// It was killed before.
    pub async fn kill_master(&mut self) -> anyhow::Result<()> {
        let master = self.master.take().context("the master was killed before")?;
        master.kill().await
    }

    /// Starts the master again, at the same address.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub async fn start_master(&mut self) -> anyhow::Result<()> {
        let port = self.address.port().to_string();
        let mut arguments: Vec<&str> = self.master_arguments.iter().map(String::as_str).collect();
        arguments.extend(["--port", &port]);
        let started = Program::<ReadyMaster>::master(&self.instar, self.scratch.path(), &arguments);
        self.master = Some(started.await?);
        Ok(())
    }

    /// All that the master knows.
    ///
    /// # Errors
    /// As an ask.
    pub async fn state(&self) -> anyhow::Result<MasterStateResponse> {
        let master = self.env.reference(self.master_endpoint());
        Ok(ask(&master, &RequestMasterState {}).await?)
    }

    /// The master's endpoint.
    pub fn master_endpoint(&self) -> EndpointAddress {
        EndpointAddress::new(MASTER, Location::Listening(self.address.clone()))
    }

    /// Waits until what the master knows is as wanted.
    ///
    /// # Panics
    /// After [`crate::DEADLINE`].
    pub async fn until<T>(
        &self,
        what: &str,
        wanted: impl Fn(&MasterStateResponse) -> Option<T>,
    ) -> T {
        eventually(what, async || wanted(&self.state().await.ok()?)).await
    }

    /// Waits until so many workers are ALIVE.
    ///
    /// # Panics
    /// As [`Cluster::until`].
    pub async fn until_alive(&self, count: usize) {
        let what = format!("{count} workers are ALIVE");
        self.until(&what, |state| {
            let alive = |w: &&deploy_protocol::WorkerInfo| w.state == WorkerState::Alive;
            (state.workers.iter().filter(alive).count() == count).then_some(())
        })
        .await;
    }

    /// All that a worker knows.
    ///
    /// # Errors
    /// As an ask.
    pub async fn worker_state(&self, worker: usize) -> anyhow::Result<WorkerStateResponse> {
        let worker = self.workers.get(worker).context("no such worker")?;
        let address: EndpointAddress = worker.ready.worker.parse()?;
        debug_assert_eq!(address.name, WORKER);
        Ok(ask(&self.env.reference(address), &RequestWorkerState {}).await?)
    }

    /// How far the one application of the cluster is; none where there is none, or it does not say.
    pub async fn progress(&self) -> Option<Progress> {
        let app = self.state().await.ok()?.active_apps.into_iter().next()?;
        let driver: EndpointAddress = app.driver.to_string().parse().ok()?;
        ask(&self.env.reference(driver), &GetProgress {}).await.ok()
    }

    /// Waits until so many of hundred parts of the application are done.
    ///
    /// # Panics
    /// After [`crate::DEADLINE`].
    pub async fn until_done(&self, percent: u64) -> Progress {
        eventually(&format!("{percent} % of the application"), async || {
            let progress = self.progress().await?;
            let far = progress.total > 0 && 100 * progress.done >= percent * progress.total;
            (far && progress.slots > 0).then_some(progress)
        })
        .await
    }

    /// Swaps the logic of the master to a component of the tests.
    ///
    /// # Errors
    /// It is refused.
    pub async fn swap_master(&self, component: &str) -> anyhow::Result<SwapRecord> {
        let admin = self.master()?.admin()?;
        swap(admin, MASTER, component).await
    }

    /// Ends an endpoint of a worker's host, as an operator would.
    ///
    /// # Errors
    /// There is no such worker or endpoint.
    pub async fn stop_endpoint(&self, worker_id: &str, name: String) -> anyhow::Result<()> {
        let worker = self.workers.iter().find(|w| w.ready.worker_id == worker_id);
        let admin = worker
            .with_context(|| format!("no worker {worker_id}"))?
            .admin()?;
        let stopping = tokio::task::spawn_blocking(move || admin.stop(&name).map(drop));
        stopping.await?.context("stop an endpoint")
    }

    /// Ends an executor: all its slots.
    ///
    /// # Errors
    /// As [`Cluster::stop_endpoint`].
    pub async fn stop_executor(&self, executor: &ExecutorInfo) -> anyhow::Result<()> {
        let ExecutorDescription {
            app_id,
            executor_id,
            cores,
            ..
        } = &executor.description;
        for slot in 0..*cores {
            let name = deploy_protocol::executor_endpoint(app_id, *executor_id, slot);
            self.stop_endpoint(&executor.worker_id, name).await?;
        }
        Ok(())
    }

    /// A process of `instar` with these arguments, whose output is JSON: `submit`, `kill`, `apps`.
    ///
    /// # Errors
    /// It does not start.
    pub fn command(&self, command: &str, arguments: &[&str]) -> anyhow::Result<Child> {
        let mut process = Command::new(&self.instar);
        process
            .args(["--json", command])
            .args(["--master", &self.address.to_string()]);
        if command == "submit" {
            process
                .arg("--data")
                .arg(self.scratch.path().join("data"))
                .arg("--cache")
                .arg(crate::process::compiled());
        }
        let started = process
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .process_group(0)
            .spawn();
        started.with_context(|| format!("start {}", self.instar.display()))
    }

    /// Runs `instar` with these arguments to its end.
    ///
    /// # Errors
    /// It does not end within [`crate::DEADLINE`].
    pub async fn run(&self, command: &str, arguments: &[&str]) -> anyhow::Result<Output> {
        let running = self.command(command, arguments)?.wait_with_output();
        let ended = tokio::time::timeout(crate::DEADLINE, running).await;
        Ok(ended.with_context(|| format!("`instar {command}` does not end"))??)
    }

    /// The folder in which everything lies that the processes keep.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The last that each process logged.
    pub fn last_words(&self) -> String {
        let workers = self.workers.iter().map(Program::last_words);
        let master = self.master.iter().map(Program::last_words);
        master.chain(workers).collect::<Vec<_>>().join("\n")
    }

    /// Stops all processes in order.
    ///
    /// # Errors
    /// One does not end well.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.env.shutdown().await;
        for worker in self.workers {
            worker.stop().await?;
        }
        match self.master {
            Some(master) => master.stop().await,
            None => Ok(()),
        }
    }
}

async fn swap(
    admin: instar_host::admin::client::AdminClient,
    name: &'static str,
    component: &str,
) -> anyhow::Result<SwapRecord> {
    let (admin, code) = (Arc::new(admin), std::fs::read(component_path(component))?);
    let swapping = tokio::task::spawn_blocking(move || admin.swap(name, &code, false));
    swapping.await?.with_context(|| format!("swap {name}"))
}
