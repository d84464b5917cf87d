//! The life of one connection: its signs of life, and how it ends. Shared by its reader, its writer
//! and the task that owns both.
//!
//! Invariant: a connection has one [`End`], the first that was found.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer closed it, between two frames.
    Closed,
    /// The peer said good-bye, with this reason.
    Bye(String),
    /// It broke.
    Broken(String),
    /// The peer did what the protocol forbids; it is told why.
    Violation(String),
    /// This host stops.
    Stopping,
}

impl End {
    /// Whether we still have something to say, a [`super::frame::Frame::Bye`] at least.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self, Self::Violation(_) | Self::Stopping)
    }

    /// What an asker is told.
    pub(super) fn cause(&self) -> String {
        match self {
            Self::Closed => "connection closed by the peer".to_owned(),
            Self::Bye(reason) => format!("connection closed by the peer: {reason}"),
            Self::Broken(cause) => cause.clone(),
            Self::Violation(cause) => format!("connection closed: {cause}"),
            Self::Stopping => "this host stops".to_owned(),
        }
    }
}

/// What the reader waits for, if not for its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Waits {
    /// For bytes: silence is the peer's.
    No = 0,
    /// For this host to take a message or to answer requests: silence is ours.
    ForUs = 1,
    /// For the peer to take replies.
    ForPeer = 2,
}

pub(super) struct Life {
    born: Instant,
    received: AtomicU64,
    /// When it was last seen that nothing is owed.
    settled: AtomicU64,
    sent: AtomicU64,
    waits: AtomicU8,
    pong_due: AtomicBool,
    end: OnceLock<End>,
    ended: CancellationToken,
}

impl Life {
    pub(super) fn new() -> Self {
        Self {
            born: Instant::now(),
            received: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            waits: AtomicU8::new(Waits::No as u8),
            pong_due: AtomicBool::new(false),
            end: OnceLock::new(),
            ended: CancellationToken::new(),
        }
    }

    fn age(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Something came from the peer, or its silence begins to count.
    pub(super) fn received(&self) {
        self.received.store(self.age(), Ordering::Relaxed);
    }

    /// The kernel took bytes for the peer.
    pub(super) fn sent(&self) {
        self.sent.store(self.age(), Ordering::Relaxed);
    }

    pub(super) fn waits(&self, waits: Waits) {
        self.waits.store(waits as u8, Ordering::Relaxed);
    }

    /// The dead-peer rule, to be asked now and then. `owed`: requests that the peer has not answered.
    /// The silence of a connection on which nothing was owed does not count against the first request.
    pub(super) fn verdict(&self, owed: usize, limit: Duration) -> Option<End> {
        let waits = self.waits.load(Ordering::Relaxed);
        if owed == 0 {
            self.settled.store(self.age(), Ordering::Relaxed);
        }
        let since = |when: &AtomicU64| {
            Duration::from_millis(self.age().saturating_sub(when.load(Ordering::Relaxed)))
        };
        if waits == Waits::No as u8
            && owed > 0
            && since(&self.received).min(since(&self.settled)) >= limit
        {
            return Some(End::Broken(format!(
                "nothing received for {limit:?} while {owed} requests are open (`idle_timeout`)"
            )));
        }
        if waits == Waits::ForPeer as u8 && since(&self.sent) >= limit {
            return Some(End::Broken(format!(
                "the peer has taken no reply for {limit:?} (`idle_timeout`)"
            )));
        }
        None
    }

    /// The peer asked for a sign of life. One answer is enough for many such questions.
    pub(super) fn owe_pong(&self) {
        self.pong_due.store(true, Ordering::Release);
    }

    pub(super) fn take_pong(&self) -> bool {
        self.pong_due.swap(false, Ordering::AcqRel)
    }

    /// Ends the connection, unless it has ended.
    pub(super) fn end(&self, end: End) {
        // The first end is the cause of the later ones.
        let _ = self.end.set(end);
        self.ended.cancel();
    }

    pub(super) fn get_end(&self) -> Option<&End> {
        self.end.get()
    }

    /// Ends when the connection ends. Cancel-safe.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}
