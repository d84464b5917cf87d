//! Launching: other components that this host runs for an endpoint. Needs the right `launch`.
//!
//! ```
//! use instar_sdk::launching::{ComponentFile, LaunchChange, LaunchChanged, Program, Workload};
//! use instar_sdk::prelude::*;
//! # use serde::{Deserialize, Serialize};
//! # /// Starts a job.
//! # #[derive(Message, Serialize, Deserialize)]
//! # #[message(kind = "jobs.Start")]
//! # pub struct Start { pub file: ComponentFile }
//! # #[derive(Default, Serialize, Deserialize)]
//! # pub struct Jobs { ended: Vec<i32> }
//! # #[instar_sdk::endpoint(name = "jobs", version = "1.0.0", rights = ["launch"])]
//! # impl Jobs {
//! #     #[on_start]
//! #     fn begin(_: &mut Context) -> Result<Self, Failure> { Ok(Self::default()) }
//! #[receive]
//! fn start(&mut self, ctx: &mut Context, start: Start) -> Result<(), Failure> {
//!     let workload = Workload {
//!         folder: "job-1".to_owned(),
//!         component: start.file,
//!         memory_mb: 64,
//!         cpu_percent: 100,
//!         program: Program::Command {
//!             arguments: vec!["job".to_owned()],
//!             environment: Default::default(),
//!         },
//!     };
//!     ctx.launching().launch(&workload, "the first".into()).map(drop)
//! }
//!
//! #[receive]
//! fn changed(&mut self, _: &mut Context, notice: LaunchChanged) -> Result<(), Failure> {
//!     if let LaunchChange::Exited { status, .. } = notice.change {
//!         self.ended.push(status);
//!     }
//!     Ok(())
//! }
//! # }
//! # let mut jobs = instar_sdk::testing::TestEndpoint::<Jobs>::start();
//! # jobs.send(&Start { file: ComponentFile { uri: "instar://h:1/files/job.wasm".into(), sha256: "0".repeat(64) } });
//! # let (id, _, token) = jobs.launches().remove(0);
//! # assert_eq!(token, "the first".into());
//! # jobs.launch_changed(id, LaunchChange::Exited { status: 3, reason: String::new() });
//! # assert_eq!(jobs.with(|jobs| jobs.ended.clone()), [3]);
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use instar_sdk::{Message, Schema};
use serde::{Deserialize, Serialize};

use crate::context::milliseconds;
use crate::{Bytes, Failure, host};

/// Something launched. It survives a swap, so it may be kept in state. Never used twice by one endpoint.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Schema,
)]
pub struct LaunchId(pub(crate) u64);

/// What is to be run, and with how much of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Workload {
    /// Its work folder, below the host's: relative, without `..`. Made where it is missing.
    pub folder: String,
    /// What is run.
    pub component: ComponentFile,
    /// MiB of all its instances together; each gets its equal part.
    pub memory_mb: u32,
    /// Percent of all its instances together; 100 is one core. Each gets its equal part.
    pub cpu_percent: u32,
    /// What it is run as.
    pub program: Program,
}

/// A component: where its file is, and by what it is recognised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct ComponentFile {
    /// `instar://HOST:PORT/PATH`: a file that a host offers to its peers.
    pub uri: String,
    /// SHA-256 of the file: 64 lower-case hex digits.
    pub sha256: String,
}

/// What a component is run as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub enum Program {
    /// It stands behind endpoints.
    Endpoint {
        /// The names under which it is registered: one instance each.
        names: Vec<String>,
        /// The configuration of each.
        config: BTreeMap<String, String>,
    },
    /// It is a component of world `wasi:cli/command`.
    Command {
        /// The name of the program among them, as the first.
        arguments: Vec<String>,
        /// Its environment.
        environment: BTreeMap<String, String>,
    },
}

/// How a launch goes on. The host alone can send it.
#[derive(Clone, Debug, PartialEq, Eq, Message, Serialize, Deserialize)]
#[message(kind = "instar.LaunchChanged")]
pub struct LaunchChanged {
    /// Which.
    pub launch: LaunchId,
    /// What was given to [`Launching::launch`].
    pub token: Bytes,
    /// What happened to it.
    pub change: LaunchChange,
}

/// What happened to a launch. Its last notice is exactly one of `Exited`, `Killed`, `Failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub enum LaunchChange {
    /// It was fetched, verified and started.
    Running {
        /// Its work folder, absolute; `stdout` and `stderr` are files in it.
        folder: String,
    },
    /// It ended by itself.
    Exited {
        /// 0: well. 101: it panicked or trapped. 137: it met a limit.
        status: i32,
        /// One sentence; empty where there is nothing to say.
        reason: String,
    },
    /// It was ended by [`Launching::kill`], or by the end of the host or of the endpoint that launched it.
    Killed,
    /// It could not be started.
    Failed {
        /// One sentence.
        reason: String,
    },
}

/// Starting other components on this host. From [`crate::Context::launching`].
#[derive(Debug)]
pub struct Launching {
    _from_a_context: (),
}

impl Launching {
    pub(crate) fn new() -> Self {
        Self {
            _from_a_context: (),
        }
    }

    /// Starts a workload when the turn has ended. How it goes on comes as [`LaunchChanged`], with `token`.
    ///
    /// # Errors
    /// [`Failure::DENIED`]: the host has no work folder, or as many launches as it may. A workload
    /// that makes no sense fails with the reason. Nothing is launched then.
    pub fn launch(&mut self, workload: &Workload, token: Bytes) -> Result<LaunchId, Failure> {
        host::launch(workload, &token).map(LaunchId)
    }

    /// Ends a launch when the turn has ended; the notice of its end comes as for every other. False
    /// where none with this id goes on.
    pub fn kill(&mut self, launch: LaunchId) -> bool {
        host::kill_launch(launch.0)
    }

    /// The launches that go on, with their tokens, in the order in which they were launched.
    pub fn launched(&self) -> Vec<(LaunchId, Bytes)> {
        let launched = host::launched().into_iter();
        launched
            .map(|(id, token)| (LaunchId(id), Bytes::from(token)))
            .collect()
    }

    /// Removes, when the turn has ended, the first-level work folders that are not in `keep`, hold
    /// nothing that was changed within `unused`, and are not those of a launch that goes on.
    pub fn clean(&mut self, keep: &[String], unused: Duration) {
        host::clean_work(keep, milliseconds(unused));
    }

    /// Removes a work folder when the turn has ended, unless a launch that goes on works in it.
    pub fn remove_folder(&mut self, folder: &str) {
        host::remove_work_folder(folder);
    }
}
