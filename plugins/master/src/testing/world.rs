//! What a master deals with, played by a test.

use std::collections::BTreeMap;

use deploy_protocol::{
    ApplicationDescription, ApplicationInfo, ApplicationState, Command, ComponentFile,
    DriverDescription, DriverInfo, ExecutorDescription, ExecutorState, ExecutorStateChanged,
    ExecutorStateNoted, Heartbeat, KillExecutors, LaunchExecutor, MasterChangeAcknowledged,
    MasterStateResponse, Program, RegisterApplication, RegisterWorker, RegisteredApplication,
    RegisteredWorker, RequestExecutors, RequestSubmitDriver, ResourceInformation, ResourceProfile,
    UnregisterApplication, WorkerDriverStateResponse, WorkerExecutorStateResponse, WorkerInfo,
    WorkerSchedulerStateResponse,
};
use instar_sdk::prelude::*;

use super::MasterUnderTest;

/// Moments that a test waits for a state, at most.
const MOMENTS_MAX: u32 = 2000;

/// Waits until the master's state is as wanted.
///
/// # Panics
/// Where it does not come to be.
pub fn wait_until(
    master: &mut impl MasterUnderTest,
    what: &str,
    wanted: impl Fn(&MasterStateResponse) -> bool,
) -> MasterStateResponse {
    for _ in 0..MOMENTS_MAX {
        let state = master.state();
        if wanted(&state) {
            return state;
        }
        master.moment();
    }
    panic!("never came to be: {what}; {:#?}", master.state());
}

/// A component that nobody fetches.
pub fn component(name: &str) -> ComponentFile {
    ComponentFile {
        uri: format!("instar://files.example:7077/{name}.wasm"),
        sha256: "0".repeat(64),
    }
}

fn command(program: Program) -> Command {
    Command {
        program,
        component: component("work"),
        arguments: Vec::new(),
        environment: BTreeMap::new(),
    }
}

/// A driver of 1 core and 128 MB.
pub fn driver(supervise: bool) -> DriverDescription {
    DriverDescription {
        command: command(Program::Endpoint),
        memory_mb: 128,
        cores: 1,
        supervise,
        resources: Vec::new(),
    }
}

/// Whoever sends and receives.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it is.
    pub reference: EndpointRef,
    /// Its host.
    pub host: u16,
}

impl Peer {
    /// A peer of this name on this host.
    pub fn new(master: &mut impl MasterUnderTest, name: &str, host: u16) -> Self {
        Self {
            reference: master.peer(name, host),
            host,
        }
    }

    /// Submits a driver that is taken; returns its id.
    pub fn submit(
        &self,
        master: &mut impl MasterUnderTest,
        description: DriverDescription,
    ) -> String {
        let answer = master.ask(&self.reference, &RequestSubmitDriver { description });
        let answer = answer.unwrap();
        assert!(answer.success, "{}", answer.message);
        answer.driver_id.unwrap()
    }
}

/// A worker, as a test plays it.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its id.
    pub id: String,
    /// Who it is.
    pub peer: Peer,
    /// Cores that it offers.
    pub cores: u32,
    /// Memory that it offers.
    pub memory_mb: u32,
    /// What else it offers.
    pub resources: Vec<ResourceInformation>,
}

impl Worker {
    /// A worker on this host, not registered.
    pub fn new(
        master: &mut impl MasterUnderTest,
        id: &str,
        host: u16,
        cores: u32,
        memory_mb: u32,
    ) -> Self {
        Self {
            id: id.to_owned(),
            peer: Peer::new(master, "Worker", host),
            cores,
            memory_mb,
            resources: Vec::new(),
        }
    }

    /// Offers addresses `0` to `count - 1` of a resource.
    #[must_use]
    pub fn with(mut self, resource: &str, count: usize) -> Self {
        self.resources.push(ResourceInformation {
            name: resource.to_owned(),
            addresses: (0..count).map(|address| address.to_string()).collect(),
        });
        self
    }

    /// The message with which it registers.
    pub fn registration(&self) -> RegisterWorker {
        RegisterWorker {
            id: self.id.clone(),
            host: format!("host-{}", self.peer.host),
            port: 7000 + self.peer.host,
            worker: self.peer.reference.clone(),
            cores: self.cores,
            memory_mb: self.memory_mb,
            web_ui_url: String::new(),
            master_address: "dialled.example:7077".to_owned(),
            resources: self.resources.clone(),
        }
    }

    /// Sends its registration.
    pub fn send_registration(&self, master: &mut impl MasterUnderTest) {
        master.send(&self.peer.reference, &self.registration());
    }

    /// Registers, and is taken.
    pub fn register(&self, master: &mut impl MasterUnderTest) -> RegisteredWorker {
        self.send_registration(master);
        master.received(&self.peer.reference, 1).remove(0)
    }

    /// Is alive.
    pub fn beat(&self, master: &mut impl MasterUnderTest) {
        let heartbeat = Heartbeat {
            worker_id: self.id.clone(),
            worker: self.peer.reference.clone(),
        };
        master.send(&self.peer.reference, &heartbeat);
    }

    /// What it was told to launch: exactly so many executors.
    pub fn launched(&self, master: &mut impl MasterUnderTest, count: usize) -> Vec<LaunchExecutor> {
        master.received(&self.peer.reference, count)
    }

    /// Reports on an executor; the master notes it.
    pub fn reports(
        &self,
        master: &mut impl MasterUnderTest,
        app_id: &str,
        executor_id: u32,
        state: ExecutorState,
        exit_status: Option<i32>,
    ) {
        let report = ExecutorStateChanged {
            app_id: app_id.to_owned(),
            executor_id,
            state,
            message: String::new(),
            exit_status,
        };
        let noted = master.ask(&self.peer.reference, &report);
        assert_eq!(noted, Ok(ExecutorStateNoted { noted: true }));
    }

    /// Answers `MasterChanged`: it runs these.
    pub fn answers(
        &self,
        master: &mut impl MasterUnderTest,
        executors: Vec<ExecutorDescription>,
        driver_ids: &[&str],
    ) {
        let executors = executors.into_iter();
        let drivers = driver_ids.iter();
        let response = WorkerSchedulerStateResponse {
            id: self.id.clone(),
            executors: executors
                .map(|executor| WorkerExecutorStateResponse {
                    executor,
                    resources: Vec::new(),
                })
                .collect(),
            drivers: drivers
                .map(|&driver_id| WorkerDriverStateResponse {
                    driver_id: driver_id.to_owned(),
                    resources: Vec::new(),
                })
                .collect(),
        };
        master.send(&self.peer.reference, &response);
    }

    /// As the master sees it. The live one, where there are several of this id.
    pub fn seen(&self, master: &mut impl MasterUnderTest) -> WorkerInfo {
        let workers = master.state().workers.into_iter();
        let mut mine: Vec<WorkerInfo> = workers.filter(|worker| worker.id == self.id).collect();
        assert_eq!(mine.len(), 1, "{} is listed once", self.id);
        mine.remove(0)
    }
}

/// An application, as its client plays it.
#[derive(Clone, Debug)]
pub struct App {
    /// Who it is.
    pub peer: Peer,
    /// What it is.
    pub description: ApplicationDescription,
    /// Its id, once it is registered.
    pub id: String,
}

impl App {
    /// An application whose executors need 128 MB, not registered.
    pub fn new(master: &mut impl MasterUnderTest, name: &str, host: u16) -> Self {
        Self {
            peer: Peer::new(master, "AppClient", host),
            description: ApplicationDescription {
                name: name.to_owned(),
                max_cores: None,
                command: command(Program::Endpoint),
                ui_url: String::new(),
                default_profile: ResourceProfile {
                    id: 0,
                    cores: None,
                    memory_mb: Some(128),
                    resources: Vec::new(),
                },
                initial_executor_limit: None,
                user: "ana".to_owned(),
            },
            id: String::new(),
        }
    }

    /// With this much memory for each executor.
    #[must_use]
    pub fn memory(mut self, memory_mb: u32) -> Self {
        self.description.default_profile.memory_mb = Some(memory_mb);
        self
    }

    /// With so many cores for each executor.
    #[must_use]
    pub fn cores(mut self, cores: u32) -> Self {
        self.description.default_profile.cores = Some(cores);
        self
    }

    /// With so many cores in all.
    #[must_use]
    pub fn max(mut self, cores: u32) -> Self {
        self.description.max_cores = Some(cores);
        self
    }

    /// With so many executors to begin with.
    #[must_use]
    pub fn limit(mut self, executors: u32) -> Self {
        self.description.initial_executor_limit = Some(executors);
        self
    }

    /// Sends its registration.
    pub fn send_registration(&self, master: &mut impl MasterUnderTest) {
        let registration = RegisterApplication {
            application: self.description.clone(),
            driver: self.peer.reference.clone(),
        };
        master.send(&self.peer.reference, &registration);
    }

    /// Registers, and is taken.
    #[must_use]
    pub fn register(mut self, master: &mut impl MasterUnderTest) -> Self {
        self.send_registration(master);
        let answer: RegisteredApplication = master.received(&self.peer.reference, 1).remove(0);
        self.id = answer.app_id;
        self
    }

    /// Ends by itself.
    pub fn unregister(&self, master: &mut impl MasterUnderTest) {
        let app_id = self.id.clone();
        master.send(&self.peer.reference, &UnregisterApplication { app_id });
    }

    /// Answers `MasterChanged`.
    pub fn acknowledges(&self, master: &mut impl MasterUnderTest) {
        let app_id = self.id.clone();
        master.send(&self.peer.reference, &MasterChangeAcknowledged { app_id });
    }

    /// Wants so many executors of the default profile from now on. True where it is acknowledged.
    pub fn request(&self, master: &mut impl MasterUnderTest, total: u32) -> bool {
        let profile = self.description.default_profile.clone();
        self.request_all(master, BTreeMap::from([(profile, total)]))
    }

    /// Wants so many executors of each profile from now on. True where it is acknowledged.
    pub fn request_all(
        &self,
        master: &mut impl MasterUnderTest,
        totals: BTreeMap<ResourceProfile, u32>,
    ) -> bool {
        let ask = RequestExecutors {
            app_id: self.id.clone(),
            totals,
        };
        master.ask(&self.peer.reference, &ask).unwrap().acknowledged
    }

    /// Wants these executors to end. True where it is acknowledged.
    pub fn kill(&self, master: &mut impl MasterUnderTest, executor_ids: Vec<u32>) -> bool {
        let ask = KillExecutors {
            app_id: self.id.clone(),
            executor_ids,
        };
        master.ask(&self.peer.reference, &ask).unwrap().acknowledged
    }

    /// As the master sees it, active or completed.
    pub fn seen(&self, master: &mut impl MasterUnderTest) -> ApplicationInfo {
        let state = master.state();
        let mut apps = state.active_apps.into_iter().chain(state.completed_apps);
        apps.find(|app| app.id == self.id)
            .expect("the master lists the application")
    }

    /// How it is.
    pub fn state(&self, master: &mut impl MasterUnderTest) -> ApplicationState {
        self.seen(master).state
    }

    /// An executor of it, as its worker tells of it.
    pub fn executor(&self, executor_id: u32, cores: u32) -> ExecutorDescription {
        ExecutorDescription {
            app_id: self.id.clone(),
            executor_id,
            resource_profile_id: 0,
            cores,
            memory_mb: self.description.memory_per_executor_mb(),
            state: ExecutorState::Running,
        }
    }
}

/// Shorthands over a state.
pub trait Fixture {
    /// An active or completed driver.
    fn driver(&self, id: &str) -> &DriverInfo;
}

impl Fixture for MasterStateResponse {
    fn driver(&self, id: &str) -> &DriverInfo {
        let mut drivers = self.active_drivers.iter().chain(&self.completed_drivers);
        drivers
            .find(|driver| driver.id == id)
            .expect("the master lists the driver")
    }
}
