//! What the worker tells itself: by timers, and beside the asks that wait. The host keeps them, so they
//! outlive a version.
//!
//! Invariant: each carries the `life` that wrote it, see [`crate::core::Identity`]. What a life before
//! wrote, whose state is lost, is nothing to this one.

use deploy_protocol::{DriverStateChanged, ExecutorStateChanged};
use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::core::Subject;

/// Something is due.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "worker.Due")]
pub struct Due {
    /// The life that wrote it.
    pub life: u64,
    /// What.
    pub what: Wake,
}

/// What a timer is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub enum Wake {
    /// The next attempt to register, if `round` still goes on.
    Registration {
        /// Which round of attempts.
        round: u64,
    },
    /// The next heartbeat.
    Heartbeat,
    /// The next clean-up of work folders.
    CleanUp,
    /// A report is sent again, if it was not sent meanwhile.
    Report {
        /// What it is about.
        subject: Subject,
        /// The attempt that failed.
        send: u64,
    },
    /// A run of a driver was long enough to count as a good one, if it still goes on.
    LongRun {
        /// The driver.
        driver_id: String,
        /// Which run, from 1.
        run: u32,
    },
    /// A driver that failed starts again, if it still waits.
    Restart {
        /// The driver.
        driver_id: String,
        /// The run that failed.
        run: u32,
    },
}

/// Kept while the master is asked to note the state of an executor.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "worker.ExecutorReported", continues = ExecutorStateChanged)]
pub struct ExecutorReported {
    /// The life that wrote it.
    pub life: u64,
    /// What the report is about.
    pub subject: Subject,
    /// Which attempt it is.
    pub send: u64,
}

/// Kept while the master is asked to note the end of a driver.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "worker.DriverReported", continues = DriverStateChanged)]
pub struct DriverReported {
    /// The life that wrote it.
    pub life: u64,
    /// What the report is about.
    pub subject: Subject,
    /// Which attempt it is.
    pub send: u64,
}
