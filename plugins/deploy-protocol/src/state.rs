//! Looking at a master or a worker. Works in every state.

use std::collections::BTreeMap;

use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    ApplicationDescription, ApplicationState, DriverDescription, DriverState, ExecutorDescription,
    RecoveryState, ResourceInformation, WorkerState,
};

/// Asks a master on which ports it is reached. Its answer says that its `on_start` is over.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.BoundPortsRequest", reply = BoundPortsResponse)]
pub struct BoundPortsRequest {}

/// Answers `BoundPortsRequest`.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.BoundPortsResponse")]
pub struct BoundPortsResponse {
    /// Port for messages.
    pub rpc_port: u16,
    /// Port of its pages; none where it has none.
    pub web_ui_port: Option<u16>,
    /// Port of its REST server; none where it has none.
    pub rest_port: Option<u16>,
}

/// Asks a master for all that it knows.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.RequestMasterState", reply = MasterStateResponse)]
pub struct RequestMasterState {}

/// Answers `RequestMasterState`.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.MasterStateResponse")]
pub struct MasterStateResponse {
    /// The master.
    pub master: EndpointRef,
    /// Version of its code.
    pub version: String,
    /// Its way of placing executors.
    pub policy: String,
    /// How it is.
    pub status: RecoveryState,
    /// Its workers, those that are dead but not forgotten included.
    pub workers: Vec<WorkerInfo>,
    /// Applications that go on.
    pub active_apps: Vec<ApplicationInfo>,
    /// Applications that ended.
    pub completed_apps: Vec<ApplicationInfo>,
    /// Drivers that go on.
    pub active_drivers: Vec<DriverInfo>,
    /// Drivers that ended.
    pub completed_drivers: Vec<DriverInfo>,
}

/// A worker, as its master sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema)]
pub struct WorkerInfo {
    /// Its id.
    pub id: String,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Where it shows pages; empty for nowhere.
    pub web_ui_url: String,
    /// How it is.
    pub state: WorkerState,
    /// Cores that it offers.
    pub cores: u32,
    /// Cores in use.
    pub cores_used: u32,
    /// Memory that it offers, in MB.
    pub memory_mb: u32,
    /// Memory in use, in MB.
    pub memory_used_mb: u32,
    /// Other resources that it offers.
    pub resources: Vec<ResourceInformation>,
    /// Other resources in use.
    pub resources_used: Vec<ResourceInformation>,
    /// When it was last heard of.
    pub last_heartbeat: u64,
    /// Its executors: `APPID/NUMBER`.
    pub executors: Vec<String>,
    /// Its drivers.
    pub drivers: Vec<String>,
}

/// An executor, as the master sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema)]
pub struct ExecutorInfo {
    /// What and how it is.
    pub description: ExecutorDescription,
    /// Its worker.
    pub worker_id: String,
    /// Its other resources.
    pub resources: Vec<ResourceInformation>,
}

/// An application, as the master sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema)]
pub struct ApplicationInfo {
    /// Its id.
    pub id: String,
    /// What it is.
    pub description: ApplicationDescription,
    /// Its client.
    pub driver: EndpointRef,
    /// How it is.
    pub state: ApplicationState,
    /// When it was submitted.
    pub submitted: u64,
    /// When it ended.
    pub ended: Option<u64>,
    /// Cores that its executors have.
    pub cores_granted: u32,
    /// Executors that it may have, all profiles together; none: no limit.
    pub executor_limit: Option<u32>,
    /// Its executors.
    pub executors: Vec<ExecutorInfo>,
    /// Executors that it had.
    pub removed_executors: Vec<ExecutorInfo>,
}

/// A driver, as the master sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema)]
pub struct DriverInfo {
    /// Its id.
    pub id: String,
    /// What it is.
    pub description: DriverDescription,
    /// How it is.
    pub state: DriverState,
    /// When it was submitted.
    pub submitted: u64,
    /// Its worker, if it has one.
    pub worker_id: Option<String>,
    /// Its other resources.
    pub resources: Vec<ResourceInformation>,
    /// Why it ended; empty for nothing to say.
    pub message: String,
    /// With what it ended, if it did by itself.
    pub exit_status: Option<i32>,
}

/// Asks a master to take these hosts' workers out of service.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.DecommissionWorkersOnHosts", reply = DecommissionedWorkers)]
pub struct DecommissionWorkersOnHosts {
    /// The hosts; case does not matter.
    pub hosts: Vec<String>,
}

/// Answers `DecommissionWorkersOnHosts`.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.DecommissionedWorkers")]
pub struct DecommissionedWorkers {
    /// Workers on those hosts, those that were out of service before included.
    pub count: u32,
}

/// Asks a worker for all that it knows.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.RequestWorkerState", reply = WorkerStateResponse)]
pub struct RequestWorkerState {}

/// Answers `RequestWorkerState`.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.WorkerStateResponse")]
pub struct WorkerStateResponse {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its id.
    pub worker_id: String,
    /// Its executors.
    pub executors: Vec<WorkerExecutorInfo>,
    /// Executors that it had.
    pub finished_executors: Vec<WorkerExecutorInfo>,
    /// Its drivers.
    pub drivers: Vec<WorkerDriverInfo>,
    /// Drivers that it had.
    pub finished_drivers: Vec<WorkerDriverInfo>,
    /// Its master, if it has one.
    pub master: Option<EndpointRef>,
    /// Where that shows pages; empty for nowhere.
    pub master_web_ui_url: String,
    /// It is connected to its master and registered with it.
    pub connected: bool,
    /// It takes no new work.
    pub decommissioned: bool,
    /// Cores that it offers.
    pub cores: u32,
    /// Cores in use.
    pub cores_used: u32,
    /// Memory that it offers, in MB.
    pub memory_mb: u32,
    /// Memory in use, in MB.
    pub memory_used_mb: u32,
    /// Other resources that it offers: name to addresses.
    pub resources: BTreeMap<String, Vec<String>>,
    /// Other resources in use.
    pub resources_used: BTreeMap<String, Vec<String>>,
}

/// An executor, as its worker sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema)]
pub struct WorkerExecutorInfo {
    /// What and how it is.
    pub description: ExecutorDescription,
    /// Name of its application.
    pub app_name: String,
    /// Its work folder on the worker's machine; empty before it runs.
    pub folder: String,
    /// Why it ended; empty for nothing to say.
    pub message: String,
    /// With what it ended, if it did by itself.
    pub exit_status: Option<i32>,
}

/// A driver, as its worker sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema)]
pub struct WorkerDriverInfo {
    /// The driver.
    pub driver_id: String,
    /// What it is.
    pub description: DriverDescription,
    /// How it is.
    pub state: DriverState,
    /// Times it was started, the first included.
    pub starts: u32,
    /// Its work folder on the worker's machine; empty before it runs.
    pub folder: String,
    /// Why it ended; empty for nothing to say.
    pub message: String,
    /// With what it ended, if it did by itself.
    pub exit_status: Option<i32>,
}
