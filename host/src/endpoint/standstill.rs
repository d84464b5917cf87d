//! Standstill: the pause of one endpoint, from its freeze until it goes on, told to all who wait.
//!
//! Local callers read the endpoint's clock. Peers are told: at the end how long it took, exactly, and,
//! where it takes longer than a deadline can be told apart from, at its beginning too. Telling runs
//! beside the swap: it costs the pause nothing, however many peers there are.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::handle::Endpoint;

/// A pause that is shorter is told when it is over: no timer is finer than this.
const TOLD_AT_ONCE: Duration = Duration::from_millis(1);

/// An endpoint that stands still. Dropping it lets the endpoint go on as well.
pub(super) struct Standstill {
    endpoint: Arc<Endpoint>,
    began: Instant,
    over: Option<oneshot::Sender<Duration>>,
}

impl Standstill {
    pub(super) fn begin(endpoint: &Arc<Endpoint>) -> Self {
        let (over, told) = oneshot::channel();
        endpoint.clock.pauses().stop();
        tokio::spawn(tell_peers(Arc::clone(endpoint), told));
        Self {
            endpoint: Arc::clone(endpoint),
            began: Instant::now(),
            over: Some(over),
        }
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// The endpoint goes on. Returns how long it stood still.
    pub(super) fn end(mut self) -> Duration {
        self.go_on()
    }

    fn go_on(&mut self) -> Duration {
        let pause = self.began.elapsed();
        if let Some(over) = self.over.take() {
            self.endpoint.clock.pauses().go_on(pause);
            // The task that tells peers ends only with this, or with the runtime.
            let _ = over.send(pause);
        }
        pause
    }
}

impl Drop for Standstill {
    fn drop(&mut self) {
        self.go_on();
    }
}

async fn tell_peers(endpoint: Arc<Endpoint>, mut over: oneshot::Receiver<Duration>) {
    let pause = match tokio::time::timeout(TOLD_AT_ONCE, &mut over).await {
        Ok(pause) => pause,
        Err(_takes_longer) => {
            endpoint.outgoing.stands_still(endpoint.name());
            over.await
        }
    };
    // The sender always sends before it is dropped; an error cannot come.
    endpoint
        .outgoing
        .goes_on(endpoint.name(), pause.unwrap_or_default());
}
