//! Company: workers and applications that are no processes, and behave towards masters as those do.
//!
//! They register, beat, obey the master that they were told of last, tell a new one what they run, and look
//! for a master when they lost theirs. What they were promised and what they were made to launch is kept
//! for whoever wants to check it. Below: [`Puppets`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deploy_protocol::{
    ApplicationDescription, ApplicationRemoved, DriverState, DriverStateChanged, EndpointRef,
    ExecutorDescription, ExecutorState, ExecutorStateChanged, Heartbeat, KillDriver, KillExecutor,
    LaunchDriver, LaunchExecutor, MasterChangeAcknowledged, MasterChanged, ReconnectWorker,
    RegisterApplication, RegisterWorker, RegisterWorkerFailed, RegisteredApplication,
    RegisteredWorker, ResourceInformation, WorkerDriverStateResponse, WorkerExecutorStateResponse,
    WorkerLatestState, WorkerSchedulerStateResponse,
};
use instar_host::Message;
use instar_host::address::{EndpointAddress, Location};
use instar_sdk::{Message as GuestMessage, Request};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::message;
use crate::puppets::{Puppets, Received};

/// How long a member waits for room in a connection, and for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest that nothing is looked at: who was disconnected is noticed by then.
const LOOK: Duration = Duration::from_millis(50);

/// What each worker offers, and how all of them behave.
#[derive(Clone, Debug)]
pub struct Manners {
    /// All masters: where those look for one that have none.
    pub masters: Vec<EndpointAddress>,
    /// Cores of a worker.
    pub cores: u32,
    /// Memory of a worker, in MB.
    pub memory_mb: u32,
    /// Addresses of the resource [`PROBE`] of a worker.
    pub probes: u32,
    /// Time between heartbeats of a worker.
    pub heartbeat: Duration,
    /// Time between searches of those that have no master.
    pub search: Duration,
}

/// A resource that no real worker has: what needs it runs on members of a company.
pub const PROBE: &str = "probe";

/// Members. Dropping it ends them.
pub struct Company {
    office: Arc<Office>,
    working: Vec<JoinHandle<()>>,
}

/// What was promised to a member for the first time.
#[derive(Clone, Debug, PartialEq)]
pub struct Promise {
    /// Id of a worker or of an application.
    pub id: String,
    /// Who promised.
    pub by: Location,
    /// When.
    pub at: Instant,
    /// It knew the member already, from one that led before and whose answer never came.
    pub known: bool,
}

/// A driver that a worker was made to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// The driver.
    pub driver_id: String,
    /// The first argument of its command.
    pub marker: String,
    /// Its worker.
    pub worker_id: String,
    /// Who wanted it.
    pub by: Location,
    /// It was ended by order of a master.
    pub killed: bool,
}

/// All that happened to a company.
#[derive(Clone, Debug, Default)]
pub struct Diary {
    /// First promises, in the order in which they came.
    pub promises: Vec<Promise>,
    /// Promises to workers that had one, and that their master had taken off its list since.
    pub anew: Vec<Promise>,
    /// Drivers that were launched.
    pub launches: Vec<Launch>,
    /// Members that a master had promised to know, and that a master did not know afterwards, although
    /// nobody was disconnected but from masters that ended.
    pub forgotten: Vec<String>,
    /// What was refused, for people.
    pub refused: Vec<String>,
}

struct Office {
    puppets: Puppets,
    manners: Manners,
    desk: Mutex<Desk>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Desk {
    workers: HashMap<String, Worker>,
    applications: HashMap<String, Application>,
    outboxes: HashMap<Location, mpsc::UnboundedSender<(EndpointAddress, Message)>>,
    diary: Diary,
    next_beat: usize,
}

#[derive(Default)]
struct Worker {
    id: String,
    master: Option<EndpointAddress>,
    promised: bool,
    lost: bool,
    drivers: BTreeMap<String, Driver>,
    executors: Vec<ExecutorDescription>,
}

struct Driver {
    marker: String,
    resources: Vec<ResourceInformation>,
}

#[derive(Default)]
struct Application {
    id: Option<String>,
    master: Option<EndpointAddress>,
    lost: bool,
}

impl Company {
    /// Starts a company without members.
    pub async fn start(manners: Manners) -> Self {
        let office = Arc::new(Office {
            puppets: Puppets::start().await,
            manners,
            desk: Mutex::default(),
            changed: watch::Sender::default(),
        });
        let working = vec![
            tokio::spawn(Arc::clone(&office).answer()),
            tokio::spawn(Arc::clone(&office).beat()),
            tokio::spawn(Arc::clone(&office).search()),
        ];
        Self { office, working }
    }

    /// A worker that registers with this master only. Its id.
    pub fn register_worker(&self, name: &str, at: &EndpointAddress) -> String {
        let id = format!("worker-20260101000000-{name}");
        let mut desk = self.office.desk();
        let worker = Worker {
            id: id.clone(),
            ..Worker::default()
        };
        let register = self.office.register(name, &worker, at);
        desk.workers.insert(name.to_owned(), worker);
        self.office.post(&mut desk, at, &register);
        id
    }

    /// An application that registers with this master only.
    pub fn register_application(
        &self,
        name: &str,
        description: ApplicationDescription,
        at: &EndpointAddress,
    ) {
        let mut desk = self.office.desk();
        let register = RegisterApplication {
            application: description,
            driver: self.office.puppets.reference(name),
        };
        desk.applications
            .insert(name.to_owned(), Application::default());
        self.office.post(&mut desk, at, &register);
    }

    /// Members that have this master and are not lost.
    pub fn with(&self, master: &Location) -> usize {
        let desk = self.office.desk();
        let has = |of: &Option<EndpointAddress>, lost: bool| {
            !lost && of.as_ref().is_some_and(|of| of.location == *master)
        };
        let workers = desk.workers.values();
        let applications = desk.applications.values();
        workers.filter(|w| has(&w.master, w.lost)).count()
            + applications.filter(|a| has(&a.master, a.lost)).count()
    }

    /// Waits until so many promises were made, all of them first ones.
    pub async fn until_promised(&self, count: usize) {
        let mut changed = self.office.changed.subscribe();
        while self.office.desk().diary.promises.len() < count {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// All that happened so far.
    pub fn diary(&self) -> Diary {
        self.office.desk().diary.clone()
    }

    /// Drivers that run now: id and marker.
    pub fn drivers(&self) -> Vec<(String, String)> {
        let desk = self.office.desk();
        let all = desk.workers.values().flat_map(|worker| &worker.drivers);
        all.map(|(id, driver)| (id.clone(), driver.marker.clone()))
            .collect()
    }

    /// Asks as a member of the company.
    ///
    /// # Errors
    /// Why there is no answer, also after `patience`.
    pub async fn ask<R: Request>(
        &self,
        to: &EndpointAddress,
        request: &R,
        patience: Duration,
    ) -> Result<R::Reply, String> {
        let asked = self.office.puppets.ask(to, request);
        match tokio::time::timeout(patience, asked).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_elapsed) => Err(format!("no answer within {patience:?}")),
        }
    }

    /// Ends all members, as processes end.
    pub async fn close(mut self) {
        for task in self.working.drain(..) {
            task.abort();
        }
        self.office.puppets.hang_up().await;
    }
}

impl Drop for Company {
    fn drop(&mut self) {
        for task in &self.working {
            task.abort();
        }
    }
}

impl Office {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, name: &str, worker: &Worker, at: &EndpointAddress) -> RegisterWorker {
        let (host, port) = address_of(&self.puppets);
        let probes = (0..self.manners.probes).map(|number| number.to_string());
        let probes = ResourceInformation {
            name: PROBE.to_owned(),
            addresses: probes.collect(),
        };
        RegisterWorker {
            id: worker.id.clone(),
            host,
            port,
            worker: self.puppets.reference(name),
            cores: self.manners.cores,
            memory_mb: self.manners.memory_mb,
            web_ui_url: String::new(),
            master_address: at.location.to_string(),
            resources: match self.manners.probes {
                0 => Vec::new(),
                _ => vec![probes],
            },
        }
    }

    /// Sends behind all that was sent to the same host. Nobody waits.
    fn post<M: GuestMessage>(self: &Arc<Self>, desk: &mut Desk, to: &EndpointAddress, value: &M) {
        let outbox = desk.outboxes.entry(to.location.clone()).or_insert_with(|| {
            let (outbox, mut posted) = mpsc::unbounded_channel::<(EndpointAddress, Message)>();
            let office = Arc::downgrade(self);
            tokio::spawn(async move {
                while let Some((to, message)) = posted.recv().await {
                    let Some(office) = office.upgrade() else {
                        return;
                    };
                    let sending = office.puppets.send_message(&to, message);
                    // Who is not there is not told: it is looked for when its connection is gone.
                    let _ = tokio::time::timeout(PATIENCE, sending).await;
                }
            });
            outbox
        });
        // The task ends with the office.
        let _ = outbox.send((to.clone(), message(value)));
    }

    async fn answer(self: Arc<Self>) {
        loop {
            let came = self.puppets.take_next(LOOK).await;
            let gone = self.puppets.take_gone();
            if came.is_empty() && gone.is_empty() {
                continue;
            }
            let mut desk = self.desk();
            for location in gone {
                lose(&mut desk, &location);
            }
            for received in came {
                self.receive(&mut desk, &received);
            }
            drop(desk);
            self.changed.send_modify(|count| *count += 1);
        }
    }

    fn receive(self: &Arc<Self>, desk: &mut Desk, received: &Received) {
        let name = &received.to;
        if let Some(changed) = received.as_a::<MasterChanged>() {
            self.master_changed(desk, name, &changed);
        } else if let Some(registered) = received.as_a::<RegisteredWorker>() {
            self.registered_worker(desk, name, &registered);
        } else if let Some(registered) = received.as_a::<RegisteredApplication>() {
            registered_application(desk, name, registered);
        } else if received.as_a::<ReconnectWorker>().is_some() {
            self.register_with_all(desk, name);
        } else if let Some(launch) = received.as_a::<LaunchDriver>() {
            launch_driver(desk, name, launch);
        } else if let Some(launch) = received.as_a::<LaunchExecutor>() {
            self.launch_executor(desk, name, launch);
        } else if let Some(kill) = received.as_a::<KillDriver>() {
            self.kill_driver(desk, name, &kill);
        } else if let Some(kill) = received.as_a::<KillExecutor>() {
            if let Some(worker) = desk.workers.get_mut(name) {
                let is = |e: &ExecutorDescription| {
                    (&e.app_id, e.executor_id) == (&kill.app_id, kill.executor_id)
                };
                worker.executors.retain(|executor| !is(executor));
            }
        } else if let Some(failed) = received.as_a::<RegisterWorkerFailed>() {
            let reason = format!("{name}: {}", failed.message);
            desk.diary.refused.push(reason);
        } else if let Some(removed) = received.as_a::<ApplicationRemoved>() {
            let reason = format!("{name}: {}", removed.message);
            desk.diary.refused.push(reason);
        }
        // What else comes is news that changes nothing here: a standby, executors of an application.
    }

    fn master_changed(self: &Arc<Self>, desk: &mut Desk, name: &str, changed: &MasterChanged) {
        let Some(master) = address(&changed.master) else {
            return;
        };
        if let Some(worker) = desk.workers.get_mut(name) {
            worker.master = Some(master.clone());
            worker.lost = false;
            let response = WorkerSchedulerStateResponse {
                id: worker.id.clone(),
                executors: worker.executors.iter().cloned().map(executor).collect(),
                drivers: worker.drivers.iter().map(driver).collect(),
            };
            self.post(desk, &master, &response);
        } else if let Some(application) = desk.applications.get_mut(name)
            && let Some(app_id) = application.id.clone()
        {
            application.master = Some(master.clone());
            application.lost = false;
            self.post(desk, &master, &MasterChangeAcknowledged { app_id });
        }
    }

    fn registered_worker(self: &Arc<Self>, desk: &mut Desk, name: &str, told: &RegisteredWorker) {
        let (Some(master), Some(worker)) = (address(&told.master), desk.workers.get_mut(name))
        else {
            return;
        };
        let id = worker.id.clone();
        let again = std::mem::replace(&mut worker.promised, true);
        // A master takes a worker off its list when it is disconnected; it may not forget others.
        let known = std::mem::take(&mut worker.lost) || told.duplicate;
        worker.master = Some(master.clone());
        let latest = WorkerLatestState {
            id: id.clone(),
            executors: worker.executors.clone(),
            driver_ids: worker.drivers.keys().cloned().collect(),
        };
        let promise = Promise {
            id,
            by: master.location.clone(),
            at: Instant::now(),
            known: told.duplicate,
        };
        if !again {
            desk.diary.promises.push(promise);
        } else if !told.duplicate {
            if !known {
                let forgotten = format!("{} by {master}", promise.id);
                desk.diary.forgotten.push(forgotten);
            }
            desk.diary.anew.push(promise);
        }
        self.post(desk, &master, &latest);
    }

    /// Registers with all masters. Also one that stands by may have asked for it; one that leads and had
    /// forgotten the worker says so when it answers.
    fn register_with_all(self: &Arc<Self>, desk: &mut Desk, name: &str) {
        for master in &self.manners.masters {
            if let Some(worker) = desk.workers.get(name) {
                let register = self.register(name, worker, master);
                self.post(desk, master, &register);
            }
        }
    }

    fn launch_executor(self: &Arc<Self>, desk: &mut Desk, name: &str, launch: LaunchExecutor) {
        let Some(worker) = desk.workers.get_mut(name) else {
            return;
        };
        let Some(master) = address(&launch.master).filter(|m| Some(m) == worker.master.as_ref())
        else {
            return;
        };
        worker.executors.push(ExecutorDescription {
            app_id: launch.app_id.clone(),
            executor_id: launch.executor_id,
            resource_profile_id: launch.resource_profile_id,
            cores: launch.cores,
            memory_mb: launch.memory_mb,
            state: ExecutorState::Running,
        });
        self.tell(
            master,
            ExecutorStateChanged {
                app_id: launch.app_id,
                executor_id: launch.executor_id,
                state: ExecutorState::Running,
                message: String::new(),
                exit_status: None,
            },
        );
    }

    fn kill_driver(self: &Arc<Self>, desk: &mut Desk, name: &str, kill: &KillDriver) {
        let Some(worker) = desk.workers.get_mut(name) else {
            return;
        };
        if worker.drivers.remove(&kill.driver_id).is_none() {
            return;
        }
        let master = worker.master.clone();
        for launch in &mut desk.diary.launches {
            launch.killed |= launch.driver_id == kill.driver_id;
        }
        if let Some(master) = master {
            let changed = DriverStateChanged {
                driver_id: kill.driver_id.clone(),
                state: DriverState::Killed,
                message: String::new(),
                exit_status: None,
            };
            self.tell(master, changed);
        }
    }

    /// Asks, and does not wait for the answer.
    fn tell<R: Request + Send + Sync + 'static>(self: &Arc<Self>, to: EndpointAddress, request: R)
    where
        R::Reply: Send,
    {
        let office = Arc::clone(self);
        tokio::spawn(async move {
            let asked = office.puppets.ask(&to, &request);
            // A master that was not told asks, or is told by the list of what runs.
            let _ = tokio::time::timeout(PATIENCE, asked).await;
        });
    }

    /// Each worker beats once in its time, a part of them at once.
    async fn beat(self: Arc<Self>) {
        const PARTS: u32 = 20;
        let mut ticks = tokio::time::interval(self.manners.heartbeat / PARTS);
        loop {
            ticks.tick().await;
            let mut desk = self.desk();
            let part = desk.next_beat;
            desk.next_beat = (part + 1) % PARTS as usize;
            let due = desk.workers.iter().skip(part).step_by(PARTS as usize);
            let due = due.filter_map(|(name, worker)| {
                let beat = Heartbeat {
                    worker_id: worker.id.clone(),
                    worker: self.puppets.reference(name),
                };
                Some((worker.master.clone().filter(|_| !worker.lost)?, beat))
            });
            for (master, beat) in due.collect::<Vec<_>>() {
                self.post(&mut desk, &master, &beat);
            }
        }
    }

    /// Those that lost their master ask all for one.
    async fn search(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(self.manners.search);
        loop {
            ticks.tick().await;
            let mut desk = self.desk();
            let lost = desk.workers.iter().filter(|(_, worker)| worker.lost);
            let lost: Vec<_> = lost.map(|(name, _)| name.clone()).collect();
            for name in lost {
                self.register_with_all(&mut desk, &name);
            }
        }
    }
}

/// The connection with this host is gone.
fn lose(desk: &mut Desk, location: &Location) {
    let had = |master: &Option<EndpointAddress>| {
        let at = master.as_ref().map(|master| &master.location);
        at == Some(location)
    };
    for worker in desk.workers.values_mut() {
        worker.lost |= had(&worker.master);
    }
    for application in desk.applications.values_mut() {
        application.lost |= had(&application.master);
    }
}

fn registered_application(desk: &mut Desk, name: &str, told: RegisteredApplication) {
    let (Some(master), Some(application)) =
        (address(&told.master), desk.applications.get_mut(name))
    else {
        return;
    };
    application.master = Some(master.clone());
    application.lost = false;
    if application.id.replace(told.app_id.clone()).is_none() {
        desk.diary.promises.push(Promise {
            id: told.app_id,
            by: master.location,
            at: Instant::now(),
            known: false,
        });
    }
}

fn launch_driver(desk: &mut Desk, name: &str, launch: LaunchDriver) {
    let Some(worker) = desk.workers.get_mut(name) else {
        return;
    };
    // Whoever is not its master any more orders nothing.
    let Some(master) = address(&launch.master).filter(|m| Some(m) == worker.master.as_ref()) else {
        return;
    };
    let arguments = launch.description.command.arguments;
    let marker = arguments.into_iter().next().unwrap_or_default();
    let driver_id = launch.driver_id;
    desk.diary.launches.push(Launch {
        driver_id: driver_id.clone(),
        marker: marker.clone(),
        worker_id: worker.id.clone(),
        by: master.location,
        killed: false,
    });
    let resources = launch.resources;
    worker
        .drivers
        .insert(driver_id, Driver { marker, resources });
}

fn address(of: &EndpointRef) -> Option<EndpointAddress> {
    of.to_string().parse().ok()
}

fn address_of(puppets: &Puppets) -> (String, u16) {
    let address = puppets.address();
    let (host, port) = address.rsplit_once(':').unwrap_or((&address, ""));
    (host.to_owned(), port.parse().unwrap_or_default())
}

fn executor(executor: ExecutorDescription) -> WorkerExecutorStateResponse {
    WorkerExecutorStateResponse {
        executor,
        resources: Vec::new(),
    }
}

fn driver((id, driver): (&String, &Driver)) -> WorkerDriverStateResponse {
    WorkerDriverStateResponse {
        driver_id: id.clone(),
        resources: driver.resources.clone(),
    }
}
