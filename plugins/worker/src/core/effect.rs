//! Effect: what the core wants to happen. The shell carries effects out in order, within the same turn,
//! and tells the core of those that have an outcome.

use std::time::Duration;

use deploy_protocol::{
    Heartbeat, RegisterWorker, WorkerDecommissioning, WorkerLatestState,
    WorkerSchedulerStateResponse,
};
use instar_sdk::launching::{LaunchId, Workload};
use instar_sdk::{Bytes, EndpointRef, Schema};
use serde::{Deserialize, Serialize};

use super::reporting::Report;
use crate::messages::Wake;

/// Effects, in order.
pub type Effects = Vec<Effect>;

/// One thing that is to happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A master is told. Where that fails at once: [`super::Core::unreachable`].
    Tell {
        /// The master.
        to: EndpointRef,
        /// What.
        what: ToMaster,
    },
    /// A master is asked to note a state. Its outcome: [`super::Core::reported`].
    Report {
        /// The master.
        to: EndpointRef,
        /// What happened.
        report: Report,
        /// Which attempt it is.
        send: u64,
    },
    /// Something is launched. Its outcome: [`super::Core::launch_made`].
    Launch {
        /// What for.
        subject: Subject,
        /// What.
        workload: Box<Workload>,
        /// What is needed to find it again.
        token: Bytes,
    },
    /// A launch is ended.
    Kill(LaunchId),
    /// Wake me once.
    WakeAfter(Duration, Wake),
    /// Wake me again and again.
    WakeEvery(Duration, Wake),
    /// Old work folders are removed.
    CleanUp {
        /// Those that stay, however old.
        keep: Vec<String>,
        /// How long one has to be unused.
        unused: Duration,
    },
    /// This endpoint stops.
    Stop,
}

/// What a master is told without an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ToMaster {
    /// Here I am.
    Register(RegisterWorker),
    /// I am alive.
    Heartbeat(Heartbeat),
    /// What I run, after I was registered.
    LatestState(WorkerLatestState),
    /// What I run, for a new leader.
    SchedulerState(WorkerSchedulerStateResponse),
    /// I take no new work.
    Decommissioning(WorkerDecommissioning),
}

/// Something that a worker runs for a master.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Schema)]
pub enum Subject {
    /// An executor.
    Executor {
        /// Its application.
        app_id: String,
        /// Its number in that application.
        executor_id: u32,
    },
    /// A driver.
    Driver(String),
}

impl Subject {
    /// The executor with this number.
    pub fn executor(app_id: &str, executor_id: u32) -> Self {
        Self::Executor {
            app_id: app_id.to_owned(),
            executor_id,
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Executor {
                app_id,
                executor_id,
            } => write!(f, "executor {app_id}/{executor_id}"),
            Self::Driver(id) => write!(f, "driver {id}"),
        }
    }
}
