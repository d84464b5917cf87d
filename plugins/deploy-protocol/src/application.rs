//! Between the client of an application, which is in its driver, and the master.

use std::collections::BTreeMap;

use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{ApplicationDescription, ExecutorState, ResourceProfile};

/// Client to master: here is an application. Answered with `RegisteredApplication`; a master in
/// STANDBY answers nothing.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.RegisterApplication")]
pub struct RegisterApplication {
    /// The application.
    pub application: ApplicationDescription,
    /// The client.
    pub driver: EndpointRef,
}

/// Master to client: the application is registered.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.RegisteredApplication")]
pub struct RegisteredApplication {
    /// Its id.
    pub app_id: String,
    /// The master.
    pub master: EndpointRef,
}

/// Client to master: the application ended.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.UnregisterApplication")]
pub struct UnregisterApplication {
    /// The application.
    pub app_id: String,
}

/// Master to client: the application was ended.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.ApplicationRemoved")]
pub struct ApplicationRemoved {
    /// The application; empty for one that was refused.
    pub app_id: String,
    /// Its last state: `FAILED` or `KILLED`, and why.
    pub message: String,
}

/// Master to client: an executor is being started.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.ExecutorAdded")]
pub struct ExecutorAdded {
    /// The application.
    pub app_id: String,
    /// Its number in the application.
    pub executor_id: u32,
    /// Its worker.
    pub worker_id: String,
    /// Address `HOST:PORT` of that worker's host, where its endpoints will be.
    pub host_port: String,
    /// Its cores: so many tasks it can work on at once.
    pub cores: u32,
    /// Its memory in MB.
    pub memory_mb: u32,
    /// Its resource profile.
    pub resource_profile_id: u32,
}

/// Master to client: an executor is in another state now.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.ExecutorUpdated")]
pub struct ExecutorUpdated {
    /// The application.
    pub app_id: String,
    /// Its number in the application.
    pub executor_id: u32,
    /// How it is.
    pub state: ExecutorState,
    /// Why, for people; empty for nothing to say.
    pub message: String,
    /// With what it ended, if it did by itself.
    pub exit_status: Option<i32>,
    /// Host of its worker, if that is why.
    pub worker_host: Option<String>,
}

/// Master to client: a worker is lost. Sent to applications that had an executor on it.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.WorkerRemoved")]
pub struct WorkerRemoved {
    /// The worker.
    pub id: String,
    /// Its host.
    pub host: String,
    /// Why, for people.
    pub message: String,
}

/// Client to master, in answer to `MasterChanged`.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.MasterChangeAcknowledged")]
pub struct MasterChangeAcknowledged {
    /// The application.
    pub app_id: String,
}

/// Client asks master: have so many executors of each profile from now on.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.RequestExecutors", reply = Acknowledged)]
pub struct RequestExecutors {
    /// The application.
    pub app_id: String,
    /// Total executors of each profile.
    pub totals: BTreeMap<ResourceProfile, u32>,
}

/// Client asks master: end these executors.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.KillExecutors", reply = Acknowledged)]
pub struct KillExecutors {
    /// The application.
    pub app_id: String,
    /// Their numbers.
    pub executor_ids: Vec<u32>,
}

/// Answers `RequestExecutors` and `KillExecutors`.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.Acknowledged")]
pub struct Acknowledged {
    /// False where this master does not know the application.
    pub acknowledged: bool,
}
