//! Between whoever submits, kills or asks for drivers, and the master.
//!
//! A master that is not ALIVE answers `success = false` and [`crate::not_alive`].

use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{DriverDescription, DriverState};

/// Client asks master: run a driver. Answered when it is queued, not when it runs.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.RequestSubmitDriver", reply = SubmitDriverResponse)]
pub struct RequestSubmitDriver {
    /// The driver.
    pub description: DriverDescription,
}

/// Answers `RequestSubmitDriver`.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.SubmitDriverResponse")]
pub struct SubmitDriverResponse {
    /// The master that answers.
    pub master: EndpointRef,
    /// It is queued.
    pub success: bool,
    /// Its id, if it is queued.
    pub driver_id: Option<String>,
    /// For people.
    pub message: String,
}

/// Client asks master: end a driver.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.RequestKillDriver", reply = KillDriverResponse)]
pub struct RequestKillDriver {
    /// The driver.
    pub driver_id: String,
}

/// Answers `RequestKillDriver`.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.KillDriverResponse")]
pub struct KillDriverResponse {
    /// The master that answers.
    pub master: EndpointRef,
    /// The driver.
    pub driver_id: String,
    /// The request was passed on; it does not mean that the driver ended.
    pub success: bool,
    /// For people.
    pub message: String,
}

/// Client asks master: end all drivers.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.RequestKillAllDrivers", reply = KillAllDriversResponse)]
pub struct RequestKillAllDrivers {}

/// Answers `RequestKillAllDrivers`.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.KillAllDriversResponse")]
pub struct KillAllDriversResponse {
    /// The master that answers.
    pub master: EndpointRef,
    /// The requests were passed on.
    pub success: bool,
    /// For people.
    pub message: String,
}

/// Client asks master: end an application.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.RequestKillApplication", reply = KillApplicationResponse)]
pub struct RequestKillApplication {
    /// The application.
    pub app_id: String,
}

/// Answers `RequestKillApplication`.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.KillApplicationResponse")]
pub struct KillApplicationResponse {
    /// The master that answers.
    pub master: EndpointRef,
    /// The application.
    pub app_id: String,
    /// It was ended.
    pub success: bool,
    /// For people.
    pub message: String,
}

/// Client asks master: how is a driver?
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.RequestDriverStatus", reply = DriverStatusResponse)]
pub struct RequestDriverStatus {
    /// The driver.
    pub driver_id: String,
}

/// Answers `RequestDriverStatus`.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.DriverStatusResponse")]
pub struct DriverStatusResponse {
    /// This master knows it.
    pub found: bool,
    /// How it is.
    pub state: Option<DriverState>,
    /// Its worker.
    pub worker_id: Option<String>,
    /// Address `HOST:PORT` of its worker.
    pub worker_host_port: Option<String>,
    /// Why it failed, or why there is no answer; empty for nothing to say.
    pub message: String,
    /// With what it ended, if it did by itself.
    pub exit_status: Option<i32>,
    /// The driver that runs in its place, where it is RELAUNCHING.
    pub relaunched_as: Option<String>,
}

/// Client asks master: forget what has ended. Works in every state.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.RequestClearCompletedDriversAndApps", reply = ClearedCompleted)]
pub struct RequestClearCompletedDriversAndApps {}

/// Answers `RequestClearCompletedDriversAndApps`.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.ClearedCompleted")]
pub struct ClearedCompleted {
    /// Drivers that were forgotten.
    pub drivers: u32,
    /// Applications that were forgotten.
    pub applications: u32,
}

/// Anybody asks master: do you lead? Works in every state.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.RequestReadyz", reply = Readyz)]
pub struct RequestReadyz {}

/// Answers `RequestReadyz`.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "deploy.Readyz")]
pub struct Readyz {
    /// It leads, be it that it still recovers.
    pub ready: bool,
}
