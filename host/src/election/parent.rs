//! The parent's side of [`super::under_parent`]: a latch that is held for a child process.

use std::time::Duration;

use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::{latch_task, pipe};
use crate::zookeeper::paths::Paths;
use crate::zookeeper::session::Session;
use crate::zookeeper::{ZooKeeperError, ZooKeeperSettings};

/// How long giving the latch back may take. After it the servers do it, when the session expires.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(5);

/// A latch that is held for a child process, as long as its end of the socket is open.
pub(crate) struct HeldLatch {
    session: Session,
    task: JoinHandle<()>,
}

/// Does for the latch of `endpoint` what comes from the socket, and tells what becomes of it.
///
/// # Errors
/// What can never work: a bad URL, a file that cannot be read.
pub(crate) fn hold_latch(
    socket: UnixStream,
    endpoint: &str,
    settings: &ZooKeeperSettings,
) -> Result<HeldLatch, ZooKeeperError> {
    let session = Session::start(settings, "latch")?;
    let election = Paths::new(&settings.dir)?.election(endpoint);
    let (orders, news) = pipe::join(socket);
    let task = tokio::spawn(latch_task::run(session.clone(), election, orders, news));
    Ok(HeldLatch { session, task })
}

impl HeldLatch {
    /// To be called when the child has ended: its end of the socket is closed, so the latch is being
    /// given back.
    ///
    /// # Cancellation
    /// What was not given back is when the session expires.
    pub(crate) async fn give_back(self) {
        if tokio::time::timeout(GIVEN_BACK_WITHIN, self.task)
            .await
            .is_err()
        {
            tracing::warn!(
                "the latch is not given back within {GIVEN_BACK_WITHIN:?}: others have to wait for its \
                 session to expire"
            );
        }
        self.session.close().await;
    }
}
