//! Launcher: the task of each launch, from its fetch to its end, and what is removed.
//!
//! Invariants
//! 1. Every launch that began is told exactly one end.
//! 2. When its end is told, nothing of it runs any more and its folder is free.
//! 3. A launch is killed by its endpoint, by the end of that endpoint, or by the end of the host.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clean::clean;
use super::command;
use super::components::Components;
use super::endpoints::Endpoints;
use super::folders::{RootError, WorkFolder, WorkFolders};
use super::settings::LaunchLimits;
use super::workload::check;
use crate::component::output_files::OutputFiles;
use crate::component::workload::{Cleaning, Program, Workload};
use crate::endpoint::launches::{Launch, LaunchChange, Launcher};
use crate::error::RpcError;
use crate::rpc_env::{RpcEnv, WeakRpcEnv};

/// Status of what panicked or trapped.
pub(super) const PANICKED: i32 = 101;
/// Status of what met a limit.
pub(super) const MET_A_LIMIT: i32 = 137;

/// Runs what the endpoints of a host launch.
pub(crate) struct HostLauncher {
    env: OnceLock<WeakRpcEnv>,
    /// None where the host has no work folder.
    work: Option<Work>,
    limits: LaunchLimits,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Clone)]
struct Work {
    folders: Arc<WorkFolders>,
    components: Arc<Components>,
}

impl HostLauncher {
    /// `work`: the root of the work folders; without it nothing can be launched. `tasks` waits for what
    /// is begun here. Blocks.
    ///
    /// # Errors
    /// The root cannot be used.
    pub(crate) fn new(
        work: Option<&PathBuf>,
        limits: LaunchLimits,
        tasks: TaskTracker,
    ) -> Result<Self, RootError> {
        let open = |root: &PathBuf| {
            let folders = WorkFolders::open(root)?;
            let components = Components::open(folders.root(), &limits)?;
            Ok::<_, RootError>(Work {
                folders: Arc::new(folders),
                components: Arc::new(components),
            })
        };
        Ok(Self {
            work: work.map(open).transpose()?,
            env: OnceLock::new(),
            limits,
            tasks,
            stop: CancellationToken::new(),
        })
    }

    /// Says which host this is of.
    pub(crate) fn of(&self, env: &RpcEnv) {
        // Said once, by whoever makes the host.
        let _ = self.env.set(env.downgrade());
    }

    /// Ends everything that was launched; nothing more can be.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Leaves the work folders to another host. When nothing runs any more.
    pub(crate) fn give_back(&self) {
        if let Some(work) = &self.work {
            work.folders.give_back();
        }
    }

    fn work(&self) -> Result<&Work, RpcError> {
        self.work.as_ref().ok_or_else(|| RpcError::Denied {
            reason: "this host has no work folder, so nothing can be launched; give it one \
                     (`instar up --work DIR`, `RpcSettings.work`)"
                .to_owned(),
        })
    }

    fn env(&self) -> Option<RpcEnv> {
        self.env.get().and_then(WeakRpcEnv::upgrade)
    }
}

impl Launcher for HostLauncher {
    fn check(&self, workload: &Workload) -> Result<(), RpcError> {
        self.work()?;
        if self.stop.is_cancelled() {
            return Err(RpcError::Stopped {
                what: "this host".to_owned(),
            });
        }
        check(workload).map_err(|reason| RpcError::Failed {
            code: "failed".to_owned(),
            text: format!("the workload makes no sense: {reason}"),
        })
    }

    fn launches_max(&self) -> usize {
        self.limits.launches_max
    }

    fn start(&self, workload: Workload, launch: Launch) {
        let (work, env) = (self.work.clone(), self.env());
        let (limits, stop) = (self.limits.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let (Some(work), Some(env)) = (work, env) else {
                return launch.tell(LaunchChange::Killed).await;
            };
            let run = Run {
                env,
                work,
                limits,
                workload,
                launch,
            };
            run.until_it_ends(stop).await;
        });
    }

    fn refuse(&self, launch: Launch, reason: String) {
        self.tasks
            .spawn(async move { launch.tell(LaunchChange::Failed { reason }).await });
    }

    fn clean(&self, cleaning: Cleaning) {
        let Ok(Work { folders, .. }) = self.work().cloned() else {
            return;
        };
        self.tasks.spawn_blocking(move || {
            let removed = clean(&folders, &cleaning, SystemTime::now());
            tracing::debug!(removed = removed.len(), "work folders cleaned");
        });
    }

    fn remove_folder(&self, folder: String) {
        let Ok(Work { folders, .. }) = self.work().cloned() else {
            return;
        };
        self.tasks
            .spawn_blocking(move || match folders.remove(&folder) {
                Ok(true) => tracing::info!(folder, "work folder removed"),
                Ok(false) => {}
                Err(reason) => tracing::warn!(folder, reason, "work folder not removed"),
            });
    }
}

/// One launch.
struct Run {
    env: RpcEnv,
    work: Work,
    limits: LaunchLimits,
    workload: Workload,
    launch: Launch,
}

/// What of a launch has to end before its end is told.
struct Held {
    endpoints: Endpoints,
    making: Option<JoinHandle<Result<(WorkFolder, OutputFiles), String>>>,
    folder: Option<WorkFolder>,
}

impl Run {
    async fn until_it_ends(self, stop: CancellationToken) {
        let mut held = Held {
            endpoints: Endpoints::new(&self.limits),
            making: None,
            folder: None,
        };
        let end = {
            let running = self.run(&mut held);
            tokio::select! {
                biased;
                () = self.launch.kill().cancelled() => LaunchChange::Killed,
                () = stop.cancelled() => LaunchChange::Killed,
                end = running => end.unwrap_or_else(|reason| LaunchChange::Failed { reason }),
            }
        };
        // A folder that is made only after its end was told would be there for ever.
        if let Some(making) = held.making.take() {
            let _ = making.await;
        }
        // Those that are left when another one crashed, and all where it was killed.
        held.endpoints.stop(&self.env).await;
        drop(held);
        let (owner, launch) = (self.launch.owner(), self.launch.id());
        tracing::info!(endpoint = owner, launch, ?end, "launch ended");
        // The host is not held by a notice that waits for room.
        let Self { env, launch, .. } = self;
        drop(env);
        launch.tell(end).await;
    }

    /// Fetches it and runs it until it ends by itself.
    async fn run(&self, held: &mut Held) -> Result<LaunchChange, String> {
        let code = self
            .work
            .components
            .get(&self.env, &self.workload.component)
            .await?;
        let making = held.making.insert(self.prepare());
        let made = making.await.map_err(|error| error.to_string());
        held.making = None;
        let (folder, output) = made??;
        let folder = held.folder.insert(folder);
        let running = LaunchChange::Running {
            folder: folder.path().display().to_string(),
        };
        match &self.workload.program {
            Program::Endpoint { .. } => {
                held.endpoints
                    .start(&self.env, &code, &self.workload, output)
                    .await?;
                self.launch.tell(running).await;
                Ok(held.endpoints.ended().await)
            }
            Program::Command { .. } => {
                let command =
                    command::start(&self.env, &code, &self.workload, folder, output).await?;
                self.launch.tell(running).await;
                Ok(command::told(command.run().await))
            }
        }
    }

    /// Makes its folder, and the files for what it writes.
    fn prepare(&self) -> JoinHandle<Result<(WorkFolder, OutputFiles), String>> {
        let (folders, folder) = (Arc::clone(&self.work.folders), self.workload.folder.clone());
        let limit = self.limits.output_bytes_max;
        tokio::task::spawn_blocking(move || {
            let folder = folders.make(&folder)?;
            let output = OutputFiles::open(folder.path(), limit)
                .map_err(|error| format!("cannot write what it says: {error}"))?;
            Ok((folder, output))
        })
    }
}
