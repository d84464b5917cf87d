//! What all parts of one transport share, and the owner of their tasks.
//!
//! Invariant: every task is spawned by [`Shared::spawn`], and [`Shared::shutdown`] waits for all.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::time::{Duration, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::handshake::{Introduction, Purpose};
use super::incoming::Incoming;
use super::peers::Peers;
use super::settings::TransportSettings;
use super::standing::Standing;
use crate::address::Location;
use crate::error::RpcError;

/// What a shutdown grants beyond the times that tasks limit themselves to.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

pub(super) struct Shared {
    pub(super) settings: Arc<TransportSettings>,
    pub(super) incoming: Arc<dyn Incoming>,
    pub(super) location: Location,
    pub(super) peers: Peers,
    pub(super) standing: Arc<Standing>,
    /// The host stops: every task ends what it does.
    pub(super) stop: CancellationToken,
    /// The tasks had time enough to end: they are dropped.
    abort: CancellationToken,
    tasks: TaskTracker,
    runtime: Handle,
}

impl Shared {
    /// Must be called on the runtime that is to run the tasks.
    pub(super) fn new(
        settings: TransportSettings,
        incoming: Arc<dyn Incoming>,
        location: Location,
    ) -> Self {
        Self {
            settings: Arc::new(settings),
            incoming,
            location,
            peers: Peers::default(),
            standing: Arc::default(),
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
        }
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.abort.clone().run_until_cancelled_owned(task);
        self.tasks.spawn_on(
            async {
                task.await;
            },
            &self.runtime,
        );
    }

    /// How this host introduces itself.
    pub(super) fn introduction(&self, purpose: Purpose) -> Introduction {
        Introduction {
            location: self.location.clone(),
            purpose,
            frame_bytes_max: self.settings.frame_bytes_max,
        }
    }

    /// What those are told who come after the end.
    pub(super) fn stopped(&self) -> RpcError {
        RpcError::Stopped {
            what: format!("host {}", self.location),
        }
    }

    /// Stops everything and waits for it. Later calls wait too.
    pub(super) async fn shutdown(&self) {
        // After this no task is spawned, so `wait` below waits for all there will ever be.
        self.peers.close();
        self.stop.cancel();
        self.tasks.close();
        let limit = self.settings.shutdown_timeout * 2 + SHUTDOWN_GRACE;
        if timeout(limit, self.tasks.wait()).await.is_err() {
            let left = self.tasks.len();
            tracing::warn!(left, "transport takes too long to stop, dropping its tasks");
            self.abort.cancel();
            self.tasks.wait().await;
        }
    }
}
