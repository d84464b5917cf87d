//! Directory: the handle to the plugin directory that the rest of the host holds.
//!
//! It starts the one task that owns everything (`task`), hands it what operators ask for
//! and shows the last statuses. Names here are plugin names: file names without `.wasm`. A plugin has
//! one endpoint or several; [`PluginDirectory::plugin_of`] leads from an endpoint to its plugin.
//!
//! Not here: endpoints that were not started from the directory. They are the host's alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::aside::WriteError;
use super::examine::read_sidecar_now;
use super::host::{Host, SwapOrder};
use super::operator::Action;
use super::status::PluginStatus;
use super::status_file::Statuses;
use super::task::{Request, Task};
use super::together::Together;
use crate::address::{AddressError, check_endpoint_name};
use crate::component::code::Code;
use crate::endpoint::record::{SwapRecord, VersionId};
use crate::endpoint::settings::EndpointSettings;

/// Requests that wait for the task; a caller waits for room.
const REQUESTS_MAX: usize = 64;

/// The times and bounds of the directory. All have defaults that suit a local disk.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a file must look the same before it is read. Default 50 ms. Files that are renamed
    /// in, or were last written longer ago, are read at once.
    pub settle: Duration,
    /// How long a file whose end is missing must look the same before it is refused. Default 1 s.
    pub cut_patience: Duration,
    /// How long a file must be away before its endpoints are stopped. Default 1 s: editors and
    /// copying tools remove a file before they write it anew.
    pub gone_after: Duration,
    /// How often the directory is looked at although nothing was heard of it. Default 1 s, at least
    /// 10 ms. Costs one `stat` per file.
    pub rescan: Duration,
    /// The largest `.wasm` that is read, in bytes. Default 64 MiB; larger ones are refused.
    pub file_bytes_max: u64,
    /// How many plugins there may be. Default 1024; further files are left out, with a warning.
    pub plugins_max: usize,
    /// How many plugins are read, compiled or swapped at once. Default 16, at least 1. Bounds memory:
    /// each holds a file of at most `file_bytes_max`.
    pub parallel: usize,
    /// How long [`PluginDirectory::shutdown`] waits for work that is under way. Default 10 s.
    pub stop_wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            settle: Duration::from_millis(50),
            cut_patience: Duration::from_secs(1),
            gone_after: Duration::from_secs(1),
            rescan: Duration::from_secs(1),
            file_bytes_max: Code::BYTES_MAX,
            plugins_max: 1024,
            parallel: 16,
            stop_wait: Duration::from_secs(10),
        }
    }
}

/// A directory whose plugins run. Cloning is cheap; all clones are the same directory.
///
/// When the last clone is dropped the directory is no longer watched; what runs goes on.
#[derive(Clone)]
pub struct PluginDirectory {
    path: Arc<Path>,
    file_bytes_max: u64,
    requests: mpsc::Sender<Request>,
    statuses: watch::Receiver<Statuses>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// What an install did.
#[derive(Clone, Debug, PartialEq)]
pub enum Installed {
    /// A new plugin was started.
    Started(VersionId),
    /// A running plugin was swapped. With several endpoints: the record of the first.
    Swapped(Box<SwapRecord>),
    /// This very code runs already.
    Unchanged(VersionId),
}

/// Why an install did nothing: what ran and what lay in the directory is as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// No file can have this name.
    #[error("bad plugin name: {0}")]
    Name(AddressError),
    /// Make it smaller, or raise `file_bytes_max`.
    #[error("`{plugin}` has {bytes} bytes, more than the limit of {limit} (`file_bytes_max`)")]
    TooLarge {
        /// Which.
        plugin: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Remove plugins, or raise `plugins_max`.
    #[error("no room for `{plugin}`: there are as many plugins as `plugins_max` allows")]
    Full {
        /// Which.
        plugin: String,
    },
    /// The directory cannot be written: make it writable, or put the file there as it is filled
    /// otherwise (a read-only volume).
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Several plugins were to be swapped together. None was; the reason says which did not go.
    #[error("nothing was swapped: {reason}")]
    Together {
        /// Why.
        reason: String,
        /// The endpoints stood still for it.
        gave_up: bool,
        /// The record of the try that failed, if there is one.
        record: Option<Box<SwapRecord>>,
    },
    /// See [`PluginError`].
    #[error(transparent)]
    Plugin(#[from] PluginError),
}

/// Why an operator's request did nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// `instar status` lists those there are.
    #[error("no plugin named `{plugin}` runs from {}", directory.display())]
    Unknown {
        /// Which.
        plugin: String,
        /// Where.
        directory: PathBuf,
    },
    /// Nothing stopped; the reason says what to do.
    #[error("`{plugin}` stays as it is: {reason}")]
    Refused {
        /// Which.
        plugin: String,
        /// Why.
        reason: String,
        /// The record of the try, if there is one.
        record: Option<Box<SwapRecord>>,
    },
    /// It wants more than is granted; what ran goes on. `instar approve` swaps to it.
    #[error("`{plugin}` {reason}")]
    NeedsApproval {
        /// Which.
        plugin: String,
        /// What it wants.
        reason: String,
        /// The record of the try, if there is one.
        record: Option<Box<SwapRecord>>,
    },
    /// There is nothing to approve.
    #[error("no version of `{plugin}` waits for approval; `instar status` shows what does")]
    NothingHeld {
        /// Which.
        plugin: String,
    },
    /// The grant cannot be made to last, so nothing was swapped.
    #[error("`{plugin}` was not approved: {reason}")]
    NotWritten {
        /// Which.
        plugin: String,
        /// What happened, and what to do.
        reason: String,
    },
    /// The endpoint stood still, the other version failed, the one before went on with its state.
    #[error("the swap of `{plugin}` was given up: {reason}")]
    GivenUp {
        /// Which.
        plugin: String,
        /// Why.
        reason: String,
        /// The record of the try, if there is one.
        record: Option<Box<SwapRecord>>,
    },
    /// Wait for the others.
    #[error("`{plugin}` is busy and {waiting} requests wait for it already")]
    Busy {
        /// Which.
        plugin: String,
        /// How many.
        waiting: usize,
    },
    /// The directory was shut down, or is being.
    #[error("the plugin directory is shut down")]
    Closed,
}

impl InstallError {
    /// Nothing was swapped, and nothing stopped.
    pub(super) fn together(reason: String) -> Self {
        Self::Together {
            reason,
            gave_up: false,
            record: None,
        }
    }
}

impl From<WriteError> for InstallError {
    fn from(error: WriteError) -> Self {
        let WriteError { path, source } = error;
        Self::Write { path, source }
    }
}

impl PluginDirectory {
    /// Watches `path`, which need not exist yet, and runs what lies there. Returns at once; what
    /// became of the files shows in [`PluginDirectory::status`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start<H: Host>(host: H, path: impl Into<PathBuf>, options: Options) -> Self {
        let path: Arc<Path> = path.into().into();
        let (requests, waiting) = mpsc::channel(REQUESTS_MAX);
        let (publish, statuses) = watch::channel(Statuses::default());
        let file_bytes_max = options.file_bytes_max;
        let task = Task::new(host, Arc::clone(&path), options, waiting, publish);
        Self {
            path,
            file_bytes_max,
            requests,
            statuses,
            task: Arc::new(Mutex::new(Some(tokio::spawn(task.run())))),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What became of each plugin, by name. Files of which nothing became yet are left out.
    pub fn status(&self) -> Vec<PluginStatus> {
        self.statuses.borrow().values().cloned().collect()
    }

    /// Waits until a status differs from those seen before by this clone. False: there will be no
    /// more. Cancel-safe.
    pub async fn changed(&mut self) -> bool {
        self.statuses.changed().await.is_ok()
    }

    /// The plugin from which an endpoint runs.
    pub fn plugin_of(&self, endpoint: &str) -> Option<String> {
        let statuses = self.statuses.borrow();
        let mut all = statuses.values();
        let found = all.find(|status| status.endpoints.iter().any(|name| name == endpoint))?;
        Some(found.plugin.clone())
    }

    /// Runs `bytes` as plugin `plugin` and, once they run, writes them to `NAME.wasm`: what runs is
    /// what lies there. The settings come from `NAME.toml`, as for a file that was copied in.
    ///
    /// # Errors
    /// [`InstallError`]; both the endpoints and the file are as before.
    ///
    /// # Cancellation
    /// Dropping the future does not withdraw the request.
    pub async fn install(
        &self,
        plugin: &str,
        bytes: impl Into<bytes::Bytes>,
        order: SwapOrder,
    ) -> Result<Installed, InstallError> {
        // The same alphabet as for endpoints: no separators, not hidden, the same everywhere.
        check_endpoint_name(plugin).map_err(InstallError::Name)?;
        let bytes = bytes.into();
        let (size, limit) = (bytes.len() as u64, self.file_bytes_max);
        if size > limit {
            let plugin = plugin.to_owned();
            let bytes = size;
            return Err(InstallError::TooLarge {
                plugin,
                bytes,
                limit,
            });
        }
        self.request(plugin, |reply| Action::Install {
            bytes,
            order,
            reply,
        })
        .await?
    }

    /// Runs several plugins' new code, frozen together, and writes it to their files: all or none.
    /// `others`: endpoints of no plugin that are swapped with them. All plugins must run. Gives each
    /// endpoint that was swapped, also those that run from the same file as one that was named.
    ///
    /// # Errors
    /// [`InstallError`]; all endpoints and files are as before.
    ///
    /// # Cancellation
    /// Dropping the future does not withdraw the request.
    pub async fn install_together(
        &self,
        plugins: Vec<(String, bytes::Bytes)>,
        others: Vec<(String, Code)>,
    ) -> Result<Vec<(String, SwapRecord)>, InstallError> {
        let limit = self.file_bytes_max;
        for (plugin, component) in &plugins {
            check_endpoint_name(plugin).map_err(InstallError::Name)?;
            let (plugin, bytes) = (plugin.clone(), component.len() as u64);
            if bytes > limit {
                return Err(InstallError::TooLarge {
                    plugin,
                    bytes,
                    limit,
                });
            }
        }
        let (reply, answer) = oneshot::channel();
        let together = Request::Together(Together {
            plugins,
            others,
            reply,
        });
        self.ask(together, answer).await?
    }

    /// Swaps a plugin to the version that is held for it, and grants what that wants in `NAME.toml`,
    /// so that it is granted for good. All endpoints of the plugin are swapped.
    ///
    /// # Errors
    /// [`PluginError::NothingHeld`]; else as [`PluginDirectory::rollback`]. Endpoints and files are as
    /// before.
    ///
    /// # Cancellation
    /// Dropping the future does not withdraw the request.
    pub async fn approve(&self, plugin: &str) -> Result<SwapRecord, PluginError> {
        self.request(plugin, |reply| Action::Approve { reply })
            .await?
    }

    /// The settings that `NAME.toml` gives to the endpoints of a plugin right now. Reads the file.
    ///
    /// # Errors
    /// [`PluginError::Refused`] if the sidecar is wrong.
    pub async fn settings_of(&self, plugin: &str) -> Result<EndpointSettings, PluginError> {
        let path = self.path.join(format!("{plugin}.toml"));
        let (_, found) = tokio::task::spawn_blocking(move || read_sidecar_now(&path))
            .await
            .map_err(|_| PluginError::Closed)?;
        match found {
            None => Ok(EndpointSettings::default()),
            Some((_, Ok(sidecar))) => Ok(sidecar.settings),
            Some((_, Err(error))) => Err(PluginError::Refused {
                plugin: plugin.to_owned(),
                reason: format!("{plugin}.toml: {error}"),
                record: None,
            }),
        }
    }

    /// Goes back to an earlier version: `to` (version or digest), or the one before. Its bytes are
    /// written to `NAME.wasm`; where that is not possible the plugin shows as `rolled-back` and the
    /// file's version stays away until the file changes or the host is started anew.
    ///
    /// # Errors
    /// [`PluginError`]; what ran goes on.
    ///
    /// # Cancellation
    /// Dropping the future does not withdraw the request.
    pub async fn rollback(
        &self,
        plugin: &str,
        to: Option<&str>,
    ) -> Result<SwapRecord, PluginError> {
        let to = to.map(str::to_owned);
        self.request(plugin, |reply| Action::RollBack { to, reply })
            .await?
    }

    /// Stops the endpoints of a plugin, after their `on-stop`. It stays stopped until its file or its
    /// sidecar changes, or [`PluginDirectory::restart`]; not beyond the end of the host. The file
    /// stays: deleting it is the way to stop a plugin for good.
    ///
    /// # Errors
    /// [`PluginError::Unknown`], [`PluginError::Busy`], [`PluginError::Closed`].
    ///
    /// # Cancellation
    /// Dropping the future does not withdraw the request.
    pub async fn stop(&self, plugin: &str) -> Result<(), PluginError> {
        self.request(plugin, |reply| Action::Stop { reply }).await?
    }

    /// Gives the endpoints of a plugin fresh instances. One that is stopped or was refused is tried
    /// again from its files.
    ///
    /// # Errors
    /// [`PluginError`].
    ///
    /// # Cancellation
    /// Dropping the future does not withdraw the request.
    pub async fn restart(&self, plugin: &str) -> Result<(), PluginError> {
        self.request(plugin, |reply| Action::Restart { reply })
            .await?
    }

    /// Stops watching and waits until the work that is under way is done. The endpoints go on; they
    /// are stopped with the host. A second call returns when the first is done.
    ///
    /// # Cancellation
    /// Dropping the future does not stop the shutdown.
    pub async fn shutdown(&self) {
        // Fails only if the task ended already, which is what is wanted.
        let _ = self.requests.send(Request::Shutdown).await;
        let mut task = self.task.lock().await;
        if let Some(running) = task.as_mut() {
            if let Err(error) = running.await {
                tracing::error!(%error, "the plugin directory's task panicked");
            }
            *task = None;
        }
    }

    async fn request<T>(
        &self,
        plugin: &str,
        action: impl FnOnce(oneshot::Sender<T>) -> Action,
    ) -> Result<T, PluginError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Act {
            plugin: plugin.to_owned(),
            action: action(reply),
        };
        self.ask(request, answer).await
    }

    async fn ask<T>(
        &self,
        request: Request,
        answer: oneshot::Receiver<T>,
    ) -> Result<T, PluginError> {
        self.requests
            .send(request)
            .await
            .map_err(|_| PluginError::Closed)?;
        answer.await.map_err(|_| PluginError::Closed)
    }
}

impl std::fmt::Debug for PluginDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PluginDirectory({})", self.path.display())
    }
}
