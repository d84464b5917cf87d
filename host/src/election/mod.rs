//! Election: who of several leads. Source: LeaderElectionAgent of Spark's deploy package.
//!
//! An endpoint stands for election and is told whether it leads ([`leadership`]); what decides is an agent:
//! nobody else can lead (`none`), or a latch in ZooKeeper says who does (`zookeeper`).
//!
//! Not here: what a leader does, and what becomes of an endpoint that leads no more.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use self::leadership::Leadership;

pub mod leadership;

mod settings;

pub use self::settings::ElectionSettings;

mod agent;

mod latch;

mod latch_task;

mod latches;

pub(crate) mod parent;

mod pipe;

mod standing;

pub(crate) mod under_parent;

#[cfg(test)]
mod latch_tests;

#[cfg(test)]
mod family_tests;

/// Where endpoints of a host stand for election.
pub trait Elections: Send + Sync + 'static {
    /// The election of one endpoint. Its agent works from now on. The same name may come again, when an
    /// endpoint was stopped and is set up anew: then it may be the same election, or one of its own.
    fn of(&self, endpoint: &str) -> Arc<Leadership>;

    /// Gives up all that is led and stood for, and waits until the others can know.
    ///
    /// # Cancellation
    /// What was not given up yet is, a session's time later.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Election `none`: nobody else can lead, so whoever stands leads at once and for ever.
#[derive(Debug, Default)]
pub struct Alone;

impl Elections for Alone {
    fn of(&self, _endpoint: &str) -> Arc<Leadership> {
        let leadership = Leadership::new("none");
        leadership.begin(None, None);
        leadership
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

/// How long the tasks of an election may take to end: ZooKeeper may be away, or a parent process frozen.
const ENDED_WITHIN: Duration = Duration::from_secs(6);

/// Waits until tasks that were told to end have ended, within a bound.
async fn ended(tasks: &TaskTracker) {
    tasks.close();
    if timeout(ENDED_WITHIN, tasks.wait()).await.is_err() {
        tracing::warn!("the election has not ended within {ENDED_WITHIN:?}: it is left behind");
    }
}
