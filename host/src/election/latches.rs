//! Latches: election `zookeeper`, with the latches in this process.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::latch::{FromLatch, ToLatch};
use super::leadership::Leadership;
use super::{Elections, agent, ended, latch_task};
use crate::zookeeper::paths::Paths;
use crate::zookeeper::session::Session;
use crate::zookeeper::{ZooKeeperError, ZooKeeperSettings};

/// Orders and news that may wait between an agent and its latch.
pub(super) const CHANNEL: usize = 64;

/// The mode, for people.
pub(super) const MODE: &str = "zookeeper";

/// The latches of the endpoints of a host. They share a session.
pub(crate) struct Latches {
    session: Session,
    paths: Paths,
    elections: Mutex<HashMap<String, Arc<Leadership>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Latches {
    /// Within a tokio runtime.
    ///
    /// # Errors
    /// What can never work: a bad URL, a file that cannot be read.
    pub(crate) fn start(settings: &ZooKeeperSettings) -> Result<Self, ZooKeeperError> {
        Ok(Self {
            session: Session::start(settings, "election")?,
            paths: Paths::new(&settings.dir)?,
            elections: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }
}

impl Latches {
    fn latch(&self, endpoint: &str) -> (mpsc::Sender<ToLatch>, mpsc::Receiver<FromLatch>) {
        let (orders, ordered) = mpsc::channel(CHANNEL);
        let (tell, news) = mpsc::channel(CHANNEL);
        let election = self.paths.election(endpoint);
        let session = self.session.clone();
        self.tasks
            .spawn(latch_task::run(session, election, ordered, tell));
        (orders, news)
    }

    /// A latch without an agent.
    #[cfg(test)]
    pub(super) fn join_for_tests(
        &self,
        endpoint: &str,
    ) -> (mpsc::Sender<ToLatch>, mpsc::Receiver<FromLatch>) {
        self.latch(endpoint)
    }
}

impl Elections for Latches {
    fn of(&self, endpoint: &str) -> Arc<Leadership> {
        let mut elections = self
            .elections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(leadership) = elections.get(endpoint) {
            return Arc::clone(leadership);
        }
        let leadership = Leadership::new(MODE);
        elections.insert(endpoint.to_owned(), Arc::clone(&leadership));
        let (orders, news) = self.latch(endpoint);
        let agent = agent::run(Arc::clone(&leadership), orders, news, self.stop.clone());
        self.tasks.spawn(agent);
        leadership
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.stop.cancel();
            ended(&self.tasks).await;
            self.session.close().await;
        })
    }
}
