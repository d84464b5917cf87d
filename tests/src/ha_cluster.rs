//! Cluster of several masters of which one leads, by ZooKeeper, and workers: each a process of its own,
//! and what can be done to them.
//!
//! A master is two processes, a parent that holds the latch and its child, the host ([`Part`]); without a
//! parent it is one. Each master has ports of its own that it keeps when it is started anew.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use app_client::{GetProgress, Progress};
use deploy_protocol::{
    ApplicationState, BACKUP_PREFIX, MASTER, MasterStateResponse, RecoveryState, RequestKillDriver,
    RequestMasterState, RequestWorkerState, WorkerState, WorkerStateResponse,
};
use instar_host::RpcEnv;
use instar_host::address::{EndpointAddress, Location, RpcAddress};
use instar_host::endpoint::record::SwapRecord;
use instar_sdk::Request;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::process::{Program, ReadyMaster, ReadyWorker, Signal, children, goes_on, send};
use crate::proxy::Proxy;
use crate::zookeeper::free_ports;
use crate::{DEADLINE, component_path, eventually, message};

/// How long a master may take for a small answer before it counts as one that does not answer.
const PROMPT: Duration = Duration::from_millis(700);

/// What all masters of a cluster are told.
#[derive(Clone, Debug)]
pub struct HaSettings {
    /// So many masters.
    pub masters: usize,
    /// The session with ZooKeeper.
    pub session: Duration,
    /// Whether a master is two processes.
    pub parent: bool,
    /// Connection string of ZooKeeper: one for all masters, or one for each.
    pub zookeeper: Vec<String>,
    /// The node below which all is.
    pub dir: String,
    /// Whether masters and workers are reached through a [`Proxy`] each.
    pub fronts: bool,
    /// More arguments of each master.
    pub more: Vec<String>,
}

impl HaSettings {
    /// Three masters with sessions of two seconds.
    pub fn new(zookeeper: impl Into<String>) -> Self {
        Self {
            masters: 3,
            session: Duration::from_secs(2),
            parent: true,
            zookeeper: vec![zookeeper.into()],
            dir: "/spark-tested".to_owned(),
            fronts: false,
            more: Vec::new(),
        }
    }
}

/// A cluster of processes. Dropping it kills them.
pub struct HaCluster {
    instar: PathBuf,
    scratch: TempDir,
    settings: HaSettings,
    /// A host that only asks.
    pub env: RpcEnv,
    /// The masters, also those that do not run.
    pub masters: Vec<Master>,
    /// The workers that run.
    pub workers: Vec<Worker>,
}

/// A master of a cluster.
pub struct Master {
    /// What people call it: `master 1`.
    pub name: String,
    /// Where it listens, also after it was started anew.
    pub address: RpcAddress,
    /// The way to it, if it is reached through one.
    pub front: Option<Proxy>,
    arguments: Vec<String>,
    parent: bool,
    program: Option<Program<ReadyMaster>>,
}

/// A worker of a cluster.
pub struct Worker {
    /// Its process.
    pub program: Program<ReadyWorker>,
    /// The way to it, if it is reached through one.
    pub front: Option<Proxy>,
}

/// Processes of a master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The one that holds the latch.
    Parent,
    /// The one that does all else.
    Host,
    /// Both.
    Tree,
}

impl HaCluster {
    /// Starts the masters, one after the other. `instar` is the program.
    ///
    /// # Errors
    /// One does not start; what it logged is in the error.
    pub async fn start(instar: &Path, settings: HaSettings) -> anyhow::Result<Self> {
        let mut cluster = Self::prepare(instar, settings).await?;
        for number in 0..cluster.masters.len() {
            cluster.start_master(number).await?;
        }
        Ok(cluster)
    }

    /// As [`HaCluster::start`], but no master runs yet.
    ///
    /// # Errors
    /// There are no free ports.
    pub async fn prepare(instar: &Path, settings: HaSettings) -> anyhow::Result<Self> {
        let mut cluster = Self {
            instar: instar.to_owned(),
            scratch: tempfile::tempdir()?,
            env: RpcEnv::create(crate::client()).await?,
            masters: Vec::new(),
            workers: Vec::new(),
            settings,
        };
        for _ in 0..cluster.settings.masters {
            cluster.add_master().await?;
        }
        Ok(cluster)
    }

    /// One more master, which does not run yet. Its place.
    ///
    /// # Errors
    /// There are no free ports.
    pub async fn add_master(&mut self) -> anyhow::Result<usize> {
        let place = self.masters.len();
        let settings = &self.settings;
        let [port, admin] = free_ports()?;
        let url = settings.zookeeper.get(place);
        let url = url
            .or(settings.zookeeper.first())
            .context("no ZooKeeper was named")?;
        let session = format!("{}ms", settings.session.as_millis());
        let (port_text, admin) = (port.to_string(), format!("127.0.0.1:{admin}"));
        let arguments = [
            ("--port", port_text.as_str()),
            ("--admin", &admin),
            ("--recovery-mode", "zookeeper"),
            ("--zookeeper-url", url),
            ("--zookeeper-dir", &settings.dir),
            ("--zookeeper-session-timeout", &session),
        ];
        let mut arguments: Vec<String> = arguments
            .iter()
            .flat_map(|(key, value)| [(*key).to_owned(), (*value).to_owned()])
            .collect();
        if !settings.parent {
            arguments.push("--no-parent".to_owned());
        }
        let (host, front) = front(settings.fronts, 1, place, port).await?;
        if front.is_some() {
            arguments.extend(["--advertise".to_owned(), host.clone()]);
        }
        arguments.extend(settings.more.iter().cloned());
        self.masters.push(Master {
            name: format!("master {}", place + 1),
            address: format!("{host}:{port}").parse()?,
            front,
            arguments,
            parent: settings.parent,
            program: None,
        });
        Ok(place)
    }

    /// Starts a master that does not run, at its address.
    ///
    /// # Errors
    /// As [`HaCluster::start`].
    pub async fn start_master(&mut self, master: usize) -> anyhow::Result<()> {
        let master = self.masters.get_mut(master).context("no such master")?;
        master.let_go();
        let arguments: Vec<&str> = master.arguments.iter().map(String::as_str).collect();
        let starting =
            Program::<ReadyMaster>::master(&self.instar, self.scratch.path(), &arguments);
        master.program = Some(starting.await.with_context(|| master.name.clone())?);
        Ok(())
    }

    /// Starts a worker for all masters, with these arguments and a work folder of its own.
    ///
    /// # Errors
    /// It does not start; what it logged is in the error.
    pub async fn add_worker(&mut self, arguments: &[&str]) -> anyhow::Result<&Worker> {
        let place = self.workers.len();
        let work = tempfile::Builder::new()
            .prefix("work-")
            .tempdir_in(self.scratch.path())?
            .keep()
            .display()
            .to_string();
        let mut arguments = [arguments, &["--work-dir", &work]].concat();
        let [port] = free_ports()?;
        let port_text = port.to_string();
        let (host, front) = front(self.settings.fronts, 2, place, port).await?;
        if front.is_some() {
            arguments.extend(["--port", &port_text, "--advertise", &host]);
        }
        // Whoever lost all masters looks for one often, and does not give up.
        let often = [
            "heartbeat_interval=250",
            "registration_fast_interval=300",
            "initial_registration_retries=10000",
            "max_registration_retries=10000",
        ];
        arguments.extend(often.iter().flat_map(|pair| ["--config", *pair]));
        let masters = self.urls();
        let started =
            Program::<ReadyWorker>::worker(&self.instar, self.scratch.path(), &masters, &arguments);
        let program = started.await?;
        self.workers.push(Worker { program, front });
        self.workers.last().context("it was just put there")
    }

    /// All masters: `HOST:PORT,HOST:PORT`.
    pub fn urls(&self) -> String {
        let urls: Vec<_> = self.masters.iter().map(|m| m.address.to_string()).collect();
        urls.join(",")
    }

    /// A master.
    ///
    /// # Errors
    /// There are fewer.
    pub fn master(&self, place: usize) -> anyhow::Result<&Master> {
        self.masters.get(place).context("no such master")
    }

    /// As [`HaCluster::master`].
    ///
    /// # Errors
    /// As [`HaCluster::master`].
    pub fn master_mut(&mut self, place: usize) -> anyhow::Result<&mut Master> {
        self.masters.get_mut(place).context("no such master")
    }

    /// The endpoints of all masters.
    pub fn endpoints(&self) -> Vec<EndpointAddress> {
        self.masters.iter().map(Master::endpoint).collect()
    }

    /// What these masters were told.
    pub fn settings(&self) -> &HaSettings {
        &self.settings
    }

    /// The folder in which everything lies that the processes keep.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    async fn ask<R: Request>(
        &self,
        master: usize,
        request: &R,
        patience: Duration,
    ) -> Option<R::Reply> {
        let to = self.env.reference(self.masters.get(master)?.endpoint());
        let answer = to.ask_with_timeout(message(request), patience).await.ok()?;
        postcard::from_bytes(&answer.body).ok()
    }

    /// All that a master knows; none where it does not answer in time.
    pub async fn state(&self, master: usize) -> Option<MasterStateResponse> {
        self.ask(master, &RequestMasterState {}, 5 * PROMPT).await
    }

    /// Whether a master decides: it is ALIVE, certain that it leads, and has recovered. The question
    /// costs it nothing.
    pub async fn decides(&self, master: usize) -> bool {
        let nobody = RequestKillDriver {
            driver_id: "driver-nobody".to_owned(),
        };
        let answer = self.ask(master, &nobody, PROMPT).await;
        answer.is_some_and(|answer| !answer.message.starts_with(BACKUP_PREFIX))
    }

    /// Which masters decide. All are asked at once.
    pub async fn deciders(&self) -> Vec<usize> {
        let mut asking = Vec::new();
        for master in &self.masters {
            let env = self.env.reference(master.endpoint());
            asking.push(tokio::spawn(async move {
                let nobody = RequestKillDriver {
                    driver_id: "driver-nobody".to_owned(),
                };
                let answer = env.ask_with_timeout(message(&nobody), PROMPT).await.ok()?;
                let answer: <RequestKillDriver as Request>::Reply =
                    postcard::from_bytes(&answer.body).ok()?;
                (!answer.message.starts_with(BACKUP_PREFIX)).then_some(())
            }));
        }
        let mut deciders = Vec::new();
        for (place, asked) in asking.into_iter().enumerate() {
            if matches!(asked.await, Ok(Some(()))) {
                deciders.push(place);
            }
        }
        deciders
    }

    /// Waits until exactly one master decides, and that it is not one of these.
    ///
    /// # Panics
    /// After [`DEADLINE`], with what the masters logged last.
    pub async fn until_led_by_another_than(&self, others: &[usize]) -> usize {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            if let [leader] = self.deciders().await[..]
                && !others.contains(&leader)
            {
                return leader;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "no master leads within {DEADLINE:?} other than {others:?}\n{}\n{}",
                self.statuses().await,
                self.last_words()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How each master is, for people: whom it waits for.
    async fn statuses(&self) -> String {
        let mut text = String::new();
        for (place, master) in self.masters.iter().enumerate() {
            let status = match self.state(place).await {
                None => "does not answer".to_owned(),
                Some(state) => {
                    let workers = state.workers.iter();
                    let workers = workers.filter(|w| w.state == WorkerState::Unknown);
                    let workers = workers.map(|worker| worker.id.as_str());
                    let apps = state.active_apps.iter();
                    let apps = apps.filter(|app| app.state == ApplicationState::Unknown);
                    let apps = apps.map(|app| app.id.as_str());
                    let unknown: Vec<_> = workers.chain(apps).take(5).collect();
                    format!("is {}, unknown are {unknown:?}", state.status)
                }
            };
            text += &format!("{} {status}\n", master.name);
        }
        text
    }

    /// Waits until exactly one master decides.
    ///
    /// # Panics
    /// As [`HaCluster::until_led_by_another_than`].
    pub async fn until_led(&self) -> usize {
        self.until_led_by_another_than(&[]).await
    }

    /// Waits until what the leader knows is as wanted. Who leads may change meanwhile.
    ///
    /// # Panics
    /// After [`DEADLINE`].
    pub async fn until<T>(
        &self,
        what: &str,
        wanted: impl Fn(&MasterStateResponse) -> Option<T>,
    ) -> T {
        eventually(what, async || wanted(&self.leaders_state().await?)).await
    }

    /// All that the one that leads knows; none where none or more than one does.
    pub async fn leaders_state(&self) -> Option<MasterStateResponse> {
        let [leader] = self.deciders().await[..] else {
            return None;
        };
        let state = self.state(leader).await?;
        (state.status == RecoveryState::Alive).then_some(state)
    }

    /// Waits until all workers of this cluster are ALIVE at the leader.
    ///
    /// # Panics
    /// As [`HaCluster::until`].
    pub async fn until_workers_are_alive(&self) {
        let ids = self.workers.iter().map(|w| &w.program.ready.worker_id);
        let ids: Vec<_> = ids.collect();
        let what = format!("{} workers are ALIVE", ids.len());
        self.until(&what, |state| {
            let alive = |id: &&&String| {
                let mut known = state.workers.iter().filter(|worker| worker.id == ***id);
                known.any(|worker| worker.state == WorkerState::Alive)
            };
            (ids.iter().filter(alive).count() == ids.len()).then_some(())
        })
        .await;
    }

    /// Waits for a cluster in order: one master leads, all others that run stand by and answer, all workers
    /// are ALIVE at the leader. Who leads.
    ///
    /// # Panics
    /// After [`DEADLINE`], with what the masters logged last.
    pub async fn until_valid(&self) -> usize {
        let leader = self.until_led().await;
        self.until_workers_are_alive().await;
        for (place, master) in self.masters.iter().enumerate() {
            if place == leader || master.program.is_none() {
                continue;
            }
            let what = format!("{} stands by", master.name);
            eventually(&what, async || {
                let state = self.state(place).await?;
                (state.status == RecoveryState::Standby).then_some(())
            })
            .await;
        }
        leader
    }

    /// All that a worker knows.
    pub async fn worker_state(&self, worker: usize) -> Option<WorkerStateResponse> {
        let worker = self.workers.get(worker)?;
        let address: EndpointAddress = worker.program.ready.worker.parse().ok()?;
        let asked = message(&RequestWorkerState {});
        let answer = self.env.reference(address);
        let answer = answer.ask_with_timeout(asked, 5 * PROMPT).await.ok()?;
        postcard::from_bytes(&answer.body).ok()
    }

    /// How far the first application of the cluster is; none where there is none, or it does not say.
    pub async fn progress(&self) -> Option<Progress> {
        let app = self.leaders_state().await?.active_apps.into_iter().next()?;
        self.progress_of(&app.driver.to_string().parse().ok()?)
            .await
    }

    /// How far the application with this driver is.
    pub async fn progress_of(&self, driver: &EndpointAddress) -> Option<Progress> {
        let driver = self.env.reference(driver.clone());
        let asked = driver.ask_with_timeout(message(&GetProgress {}), PROMPT);
        postcard::from_bytes(&asked.await.ok()?.body).ok()
    }

    /// Waits until so many of hundred parts of the application are done.
    ///
    /// # Panics
    /// After [`DEADLINE`].
    pub async fn until_done(&self, percent: u64) -> Progress {
        eventually(&format!("{percent} % of the application"), async || {
            let progress = self.progress().await?;
            let far = progress.total > 0 && 100 * progress.done >= percent * progress.total;
            (far && progress.slots > 0).then_some(progress)
        })
        .await
    }

    /// Swaps the logic of a master to a component of the tests.
    ///
    /// # Errors
    /// It is refused.
    pub async fn swap_master(&self, master: usize, component: &str) -> anyhow::Result<SwapRecord> {
        let master = self.masters.get(master).context("no such master")?;
        let program = master
            .program
            .as_ref()
            .with_context(|| format!("{} does not run", master.name))?;
        let admin = Arc::new(program.admin()?);
        let code = std::fs::read(component_path(component))?;
        let swapping = tokio::task::spawn_blocking(move || admin.swap(MASTER, &code, false));
        swapping
            .await?
            .with_context(|| format!("swap {}", master.name))
    }

    /// A process of `instar` that submits to all masters, with these arguments. Its output is JSON.
    ///
    /// # Errors
    /// It does not start.
    pub fn submit(&self, arguments: &[&str]) -> anyhow::Result<Child> {
        let started = Command::new(&self.instar)
            .args(["--json", "submit", "--master", &self.urls()])
            .arg("--data")
            .arg(self.scratch.path().join("data"))
            .arg("--cache")
            .arg(crate::process::compiled())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .process_group(0)
            .spawn();
        started.with_context(|| format!("start {}", self.instar.display()))
    }

    /// The last that each process logged.
    pub fn last_words(&self) -> String {
        let masters = self.masters.iter().map(|master| {
            let words = master.program.as_ref().map(Program::last_words);
            let words = words.unwrap_or_else(|| "it does not run".to_owned());
            format!("{}: {words}", master.name)
        });
        let workers = self.workers.iter().map(|w| w.program.last_words());
        masters.chain(workers).collect::<Vec<_>>().join("\n")
    }

    /// Stops all processes in order.
    ///
    /// # Errors
    /// One does not end well.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.env.shutdown().await;
        for worker in self.workers.drain(..) {
            worker.program.stop().await?;
        }
        for master in &mut self.masters {
            if master.program.is_some() {
                master.stop().await?;
            }
        }
        Ok(())
    }
}

impl Master {
    /// The endpoint of its logic.
    pub fn endpoint(&self) -> EndpointAddress {
        EndpointAddress::new(MASTER, Location::Listening(self.address.clone()))
    }

    /// The process that was started, while it runs.
    ///
    /// # Errors
    /// It does not run.
    pub fn program(&self) -> anyhow::Result<&Program<ReadyMaster>> {
        let program = self.program.as_ref();
        program.with_context(|| format!("{} does not run", self.name))
    }

    /// Whether its processes were started and not ended by us.
    pub fn runs(&self) -> bool {
        self.program.is_some()
    }

    /// Ids of its processes that go on.
    pub fn ids(&self, part: Part) -> Vec<u32> {
        let Some(first) = self.program.as_ref().and_then(Program::id) else {
            return Vec::new();
        };
        match (part, self.parent) {
            (Part::Parent, _) | (_, false) => vec![first],
            (Part::Host, true) => children(first),
            (Part::Tree, true) => [vec![first], children(first)].concat(),
        }
    }

    /// Sends a signal to its processes.
    ///
    /// # Errors
    /// They do not run.
    pub fn signal(&self, part: Part, signal: Signal) -> anyhow::Result<()> {
        let ids = self.ids(part);
        anyhow::ensure!(!ids.is_empty(), "{} has no {part:?} that runs", self.name);
        send(signal, &ids).with_context(|| self.name.clone())
    }

    /// Kills all its processes at once.
    pub fn kill(&mut self) {
        self.let_go();
    }

    /// Kills the host, and waits until its parent has ended as well, if it has one.
    ///
    /// # Errors
    /// It does not run, or its parent does not end.
    pub async fn kill_host(&mut self) -> anyhow::Result<()> {
        self.signal(Part::Host, Signal::Kill)?;
        self.ended().await.map(drop)
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// It does not end, or not well.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let program = self.program.take();
        let program = program.with_context(|| format!("{} does not run", self.name))?;
        program.stop().await.with_context(|| self.name.clone())
    }

    /// Waits until the process that was started has ended, whatever ended it.
    ///
    /// # Errors
    /// It does not within [`DEADLINE`].
    pub async fn ended(&mut self) -> anyhow::Result<std::process::ExitStatus> {
        let mut program = self.program.take();
        let program = program
            .as_mut()
            .with_context(|| format!("{} does not run", self.name))?;
        program.ended().await.with_context(|| self.name.clone())
    }

    /// All that it logged since it was started.
    pub fn log(&self) -> String {
        self.program.as_ref().map(Program::log).unwrap_or_default()
    }

    /// Ends what is left of it, so that its ports are free.
    fn let_go(&mut self) {
        let ids = self.ids(Part::Tree);
        if !ids.is_empty() {
            // Also a host that is frozen, which does not see that its parent is gone.
            let _ = send(Signal::Kill, &ids);
        }
        drop(self.program.take());
        let deadline = Instant::now() + PROMPT;
        while ids.iter().any(|id| goes_on(*id)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// The host by which the `place`-th of a kind of process is reached, and the way to it if there is one.
async fn front(
    fronts: bool,
    kind: u8,
    place: usize,
    port: u16,
) -> anyhow::Result<(String, Option<Proxy>)> {
    let own = [127, 0, 0, 1];
    if !fronts {
        return Ok(("127.0.0.1".to_owned(), None));
    }
    let host = [127, 0, kind, u8::try_from(place + 1)?];
    let proxy = Proxy::at(
        SocketAddr::from((host, port)),
        SocketAddr::from((own, port)),
    );
    let proxy = proxy.await.context("the way to a process")?;
    Ok((SocketAddr::from((host, 0)).ip().to_string(), Some(proxy)))
}
