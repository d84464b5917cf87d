//! Under a parent: election `zookeeper`, with the latch in the parent process of this one.
//!
//! A host that dies while it leads would hold the latch until its session expires. Its parent does nothing
//! but hold the latch, so it outlives the host, and gives the latch back when the host has ended.
//!
//! The other way round, where the parent ends first, this host gives the latch back: it removes the node
//! of the session that nobody has any more. It may: all that it writes has that node as its condition.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::latch::{FromLatch, ToLatch};
use super::latches::{CHANNEL, MODE};
use super::leadership::Leadership;
use super::{Elections, agent, ended, pipe};
use crate::zookeeper::ZooKeeperSettings;
use crate::zookeeper::request::within;
use crate::zookeeper::session::{Session, SessionState};

/// How long removing the node of a parent that is gone may take.
const REMOVED_WITHIN: Duration = Duration::from_secs(5);

/// The election of the one endpoint for which the parent holds the latch.
pub(crate) struct UnderParent {
    endpoint: &'static str,
    settings: ZooKeeperSettings,
    ends: Mutex<Option<Ends>>,
    leadership: Arc<Leadership>,
    gone: watch::Sender<bool>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

struct Ends {
    orders: mpsc::Sender<ToLatch>,
    news: mpsc::Receiver<FromLatch>,
}

impl UnderParent {
    /// Within a tokio runtime. `socket` leads to the parent, which holds the latch for `endpoint`.
    pub(crate) fn start(
        socket: UnixStream,
        endpoint: &'static str,
        settings: ZooKeeperSettings,
    ) -> Arc<Self> {
        let (told, orders) = pipe::join(socket);
        let (tell, news) = mpsc::channel(CHANNEL);
        let this = Arc::new(Self {
            endpoint,
            settings,
            ends: Mutex::new(Some(Ends { orders, news })),
            leadership: Leadership::new(MODE),
            gone: watch::Sender::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        this.tasks.spawn(Arc::clone(&this).watch(told, tell));
        this
    }

    /// Waits until the parent has ended: this host leads no more then, and its latch is given back.
    ///
    /// # Cancellation
    /// Safe.
    pub(crate) async fn parent_ended(&self) {
        // The sender is ours.
        let _ = self.gone.subscribe().wait_for(|gone| *gone).await;
    }

    /// Passes on what the parent tells, and sees to the latch when it has ended.
    async fn watch(
        self: Arc<Self>,
        mut told: mpsc::Receiver<FromLatch>,
        tell: mpsc::Sender<FromLatch>,
    ) {
        let mut node = None;
        loop {
            let news = tokio::select! {
                news = told.recv() => news,
                // The agent has ended: as it was told to, or because nothing goes to the parent any more.
                () = tell.closed() => None,
            };
            let Some(news) = news else { break };
            match &news {
                FromLatch::Leads { node: led, .. } => node = Some(led.clone()),
                FromLatch::Stands { .. } | FromLatch::Lost { .. } | FromLatch::Withdrawn => {
                    node = None;
                }
                _ => {}
            }
            if tell.send(news).await.is_err() {
                break;
            }
        }
        // First of all: nothing more goes out as from a leader.
        self.leadership.end();
        drop(tell);
        if self.stop.is_cancelled() {
            return;
        }
        tracing::error!(
            "the parent process, which held the latch, has ended: this host leads no more"
        );
        if let Some(node) = node {
            let removed = tokio::time::timeout(REMOVED_WITHIN, self.remove(&node)).await;
            match removed {
                Ok(Ok(())) => tracing::info!(node, "the latch of the parent is given back"),
                Ok(Err(reason)) => tracing::warn!(node, reason, "the latch is not given back"),
                Err(_late) => tracing::warn!(
                    node,
                    "the latch is not given back within {REMOVED_WITHIN:?}"
                ),
            }
        }
        self.gone.send_replace(true);
    }

    /// Removes a node, in a session for it alone: this host's others may be in use.
    async fn remove(&self, node: &str) -> Result<(), String> {
        let session = Session::start(&self.settings, "latch of the parent");
        let session = session.map_err(|error| error.to_string())?;
        let mut state = session.state();
        let connected = |state: &SessionState| matches!(state, SessionState::Connected { .. });
        // It is watched by the session itself, which is here.
        let _ = state.wait_for(connected).await;
        let removed = match session.client() {
            Some(client) => within(session.limit(), client.delete(node, None)).await,
            None => return Err("the session with ZooKeeper was over at once".to_owned()),
        };
        session.close().await;
        match removed {
            Err(error) if !error.is_no_node() => Err(error.to_string()),
            _ => Ok(()),
        }
    }
}

impl Elections for UnderParent {
    fn of(&self, endpoint: &str) -> Arc<Leadership> {
        if endpoint != self.endpoint {
            let other = Leadership::new(MODE);
            let reason = format!(
                "the parent of this host holds a latch for `{}` only",
                self.endpoint
            );
            other.show(|shown| shown.trouble = Some(reason));
            return other;
        }
        let ends = self
            .ends
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(Ends { orders, news }) = ends {
            let leadership = Arc::clone(&self.leadership);
            self.tasks
                .spawn(agent::run(leadership, orders, news, self.stop.clone()));
        }
        Arc::clone(&self.leadership)
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.stop.cancel();
            drop(
                self.ends
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(),
            );
            ended(&self.tasks).await;
        })
    }
}
