//! Between a worker and its master.

use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    ApplicationDescription, DriverDescription, DriverState, ExecutorDescription, ExecutorState,
    ResourceInformation,
};

/// Worker to master: here I am. Answered with `RegisteredWorker`, `RegisterWorkerFailed` or
/// `MasterInStandby`.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.RegisterWorker")]
pub struct RegisterWorker {
    /// Its id: `worker-TIME-HOST-PORT`.
    pub id: String,
    /// Host on which it listens.
    pub host: String,
    /// Port on which it listens.
    pub port: u16,
    /// The worker.
    pub worker: EndpointRef,
    /// Cores that it offers.
    pub cores: u32,
    /// Memory that it offers, in MB.
    pub memory_mb: u32,
    /// Where it shows pages; empty for nowhere.
    pub web_ui_url: String,
    /// Address `HOST:PORT` under which it reached the master.
    pub master_address: String,
    /// Other resources that it offers.
    pub resources: Vec<ResourceInformation>,
}

/// Master to worker: you are registered.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.RegisteredWorker")]
pub struct RegisteredWorker {
    /// The master.
    pub master: EndpointRef,
    /// Where it shows pages; empty for nowhere.
    pub master_web_ui_url: String,
    /// `RegisterWorker::master_address`, as it was.
    pub master_address: String,
    /// It was registered before.
    pub duplicate: bool,
}

/// Master to worker: you are not registered, and should not try again.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.RegisterWorkerFailed")]
pub struct RegisterWorkerFailed {
    /// Why.
    pub message: String,
}

/// Master to worker: another master leads.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.MasterInStandby")]
pub struct MasterInStandby {}

/// Worker to master: I am alive.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.Heartbeat")]
pub struct Heartbeat {
    /// Its id.
    pub worker_id: String,
    /// The worker.
    pub worker: EndpointRef,
}

/// Master to worker: I lost you, register again.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.ReconnectWorker")]
pub struct ReconnectWorker {
    /// The master.
    pub master: EndpointRef,
}

/// Worker to master, after it was registered: this is what I run.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.WorkerLatestState")]
pub struct WorkerLatestState {
    /// Its id.
    pub id: String,
    /// Its executors.
    pub executors: Vec<ExecutorDescription>,
    /// Ids of its drivers.
    pub driver_ids: Vec<String>,
}

/// Master to worker and to the client of an application: I lead now.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.MasterChanged")]
pub struct MasterChanged {
    /// The master.
    pub master: EndpointRef,
    /// Where it shows pages; empty for nowhere.
    pub master_web_ui_url: String,
}

/// An executor of a worker, and the other resources that it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct WorkerExecutorStateResponse {
    /// The executor.
    pub executor: ExecutorDescription,
    /// Its other resources.
    pub resources: Vec<ResourceInformation>,
}

/// A driver of a worker, and the other resources that it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct WorkerDriverStateResponse {
    /// The driver.
    pub driver_id: String,
    /// Its other resources.
    pub resources: Vec<ResourceInformation>,
}

/// Worker to master, in answer to `MasterChanged`: this is what I run.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.WorkerSchedulerStateResponse")]
pub struct WorkerSchedulerStateResponse {
    /// Its id.
    pub id: String,
    /// Its executors.
    pub executors: Vec<WorkerExecutorStateResponse>,
    /// Its drivers.
    pub drivers: Vec<WorkerDriverStateResponse>,
}

/// Master to worker: start an executor.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.LaunchExecutor")]
pub struct LaunchExecutor {
    /// The master that wants it. A worker obeys only the one that it is registered with.
    pub master: EndpointRef,
    /// Its application.
    pub app_id: String,
    /// Its number in that application.
    pub executor_id: u32,
    /// Its resource profile.
    pub resource_profile_id: u32,
    /// The application.
    pub application: ApplicationDescription,
    /// Cores that it gets.
    pub cores: u32,
    /// Memory that it gets, in MB.
    pub memory_mb: u32,
    /// Other resources that it gets.
    pub resources: Vec<ResourceInformation>,
}

/// Master to worker: end an executor.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.KillExecutor")]
pub struct KillExecutor {
    /// The master that wants it. A worker obeys only the one that it is registered with.
    pub master: EndpointRef,
    /// Its application.
    pub app_id: String,
    /// Its number in that application.
    pub executor_id: u32,
}

/// Worker asks master: an executor is in another state now; did you note it?
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.ExecutorStateChanged", reply = ExecutorStateNoted)]
pub struct ExecutorStateChanged {
    /// Its application.
    pub app_id: String,
    /// Its number in that application.
    pub executor_id: u32,
    /// How it is.
    pub state: ExecutorState,
    /// Why, for people; empty for nothing to say.
    pub message: String,
    /// With what it ended, if it did by itself.
    pub exit_status: Option<i32>,
}

/// Answers `ExecutorStateChanged`.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.ExecutorStateNoted")]
pub struct ExecutorStateNoted {
    /// False where this master does not lead: tell the one that does.
    pub noted: bool,
}

/// Master to worker: start a driver.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.LaunchDriver")]
pub struct LaunchDriver {
    /// The master that wants it. A worker obeys only the one that it is registered with.
    pub master: EndpointRef,
    /// The driver.
    pub driver_id: String,
    /// What it is.
    pub description: DriverDescription,
    /// Other resources that it gets.
    pub resources: Vec<ResourceInformation>,
}

/// Master to worker: end a driver.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.KillDriver")]
pub struct KillDriver {
    /// The driver.
    pub driver_id: String,
}

/// Worker asks master: a driver ended; did you note it?
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.DriverStateChanged", reply = DriverStateNoted)]
pub struct DriverStateChanged {
    /// The driver.
    pub driver_id: String,
    /// How it ended.
    pub state: DriverState,
    /// Why, for people; empty for nothing to say.
    pub message: String,
    /// With what it ended, if it did by itself.
    pub exit_status: Option<i32>,
}

/// Answers `DriverStateChanged`.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.DriverStateNoted")]
pub struct DriverStateNoted {
    /// False where this master does not lead: tell the one that does.
    pub noted: bool,
}

/// Master to worker: an application ended, what is left of it can go.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.ApplicationFinished")]
pub struct ApplicationFinished {
    /// The application.
    pub app_id: String,
}

/// Master to worker: take no new work.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.DecommissionWorker")]
pub struct DecommissionWorker {}

/// Worker to master: I take no new work.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.WorkerDecommissioning")]
pub struct WorkerDecommissioning {
    /// Its id.
    pub id: String,
    /// The worker.
    pub worker: EndpointRef,
}
