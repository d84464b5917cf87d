//! Token: what the host keeps beside each launch, so that a worker whose state is lost finds again what
//! runs.
//!
//! Rule: a case never changes its fields; what needs others is a new case behind the last. A newer version
//! of this code reads what an older one launched.

use deploy_protocol::{DriverDescription, ExecutorDescription, ResourceInformation};
use instar_sdk::Bytes;
use serde::{Deserialize, Serialize};

/// All that is needed to take a launch up again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Token {
    /// An executor.
    Executor {
        /// The worker that launched it: its id stays, or its master would take it for another worker.
        worker_id: String,
        description: ExecutorDescription,
        app_name: String,
        resources: Vec<ResourceInformation>,
    },
    /// A driver.
    Driver {
        worker_id: String,
        driver_id: String,
        description: DriverDescription,
        resources: Vec<ResourceInformation>,
        /// Which run, from 1.
        run: u32,
        /// The next wait before a restart.
        wait_s: u32,
    },
}

impl Token {
    pub(super) fn to_bytes(&self) -> Result<Bytes, String> {
        let bytes = postcard::to_stdvec(self);
        bytes.map(Bytes::from).map_err(|error| error.to_string())
    }

    pub(super) fn from_bytes(bytes: &Bytes) -> Result<Self, String> {
        postcard::from_bytes(bytes).map_err(|error| {
            format!(
                "what is kept beside a launch ({} bytes) cannot be read: {error}; \
                 was it written by a newer version?",
                bytes.len()
            )
        })
    }

    pub(super) fn worker_id(&self) -> &str {
        match self {
            Self::Executor { worker_id, .. } | Self::Driver { worker_id, .. } => worker_id,
        }
    }
}
