//! Transport: bytes between hosts.
//!
//! Before it: sockets, and the dispatcher for what leaves. After it: whoever implements [`Incoming`].
//!
//! A message that leaves: [`Transport::reserve`] → `peers` (which connection) → `outbox` → `writer` →
//! socket. A message that comes: socket → `reader` → [`Incoming`]. Both halves speak `frame`, after a
//! `handshake`.
//!
//! Invariants
//! 1. Messages to one location arrive in the order in which they were sent, as long as their
//!    connection lasts.
//! 2. Nothing is sent twice: what a broken connection took with it fails, aloud.
//! 3. Everything that waits is bounded; who reads slowly is sent to slowly.
//! 4. A peer, whatever it sends, can spoil only its own connection.
//!
//! Not here: what a message means and which endpoint takes it, deadlines of asks (the asker's; what
//! stretches them is told here), TLS.

mod clocks;

mod connection;

mod files;

mod frame;

mod handshake;

mod incoming;

mod info;

mod life;

mod listener;

mod names;

mod outbox;

mod peers;

mod permit;

mod reader;

mod settings;

mod shared;

mod socket;

mod standing;

mod untold;

mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::DropGuard;
use uuid::Uuid;

pub use self::files::{FileStream, StreamError};
pub use self::incoming::{Accepted, BoxFuture, FileBytes, FileRange, Incoming};
pub use self::info::{ConnectionInfo, Direction};
use self::outbox::{NoPlace, Outbox};
pub use self::permit::{OutboxPermit, RequestHandle};
pub use self::settings::{Listen, TransportError, TransportSettings};
use self::shared::Shared;
use crate::address::{Location, RpcAddress};
use crate::clock::PauseClock;
use crate::error::RpcError;
use crate::message::Message;
use crate::responder::Responder;

/// The connections of one host. Cloning is cheap; all clones are the same transport.
///
/// Call [`Transport::shutdown`] at the end. If the last clone is dropped without it, connections are
/// closed all the same, but nothing waits for that.
#[derive(Clone)]
pub struct Transport {
    shared: Arc<Shared>,
    _stop_on_drop: Arc<DropGuard>,
}

impl Transport {
    /// Binds the port, if the settings say to listen, and begins to accept connections. Must be
    /// called within a tokio runtime, which then runs the tasks.
    ///
    /// # Errors
    /// [`TransportError`] names the setting, host or ports.
    pub async fn start(
        settings: TransportSettings,
        incoming: Arc<dyn Incoming>,
    ) -> Result<Self, TransportError> {
        settings.check()?;
        let (location, listener) = match &settings.listen {
            Some(listen) => {
                let (listener, address) = listener::bind(listen, settings.port_retries).await?;
                (Location::Listening(address), Some(listener))
            }
            None => (Location::Client(Uuid::new_v4()), None),
        };
        let shared = Arc::new(Shared::new(settings, incoming, location));
        if let Some(listener) = listener {
            shared.spawn(listener::run(Arc::clone(&shared), listener));
        }
        let guard = shared.stop.clone().drop_guard();
        Ok(Self {
            shared,
            _stop_on_drop: Arc::new(guard),
        })
    }

    /// Where this host is: the advertised host and the bound port, or a random client id.
    pub fn location(&self) -> &Location {
        &self.shared.location
    }

    /// Takes a place in the outbox to `to`, which is made if need be: a host that listens is then
    /// dialled while messages wait in the outbox. Never waits.
    ///
    /// # Errors
    /// [`RpcError::OutboxFull`]; [`RpcError::Stopped`] if this host is; [`RpcError::Network`] for a
    /// client that is not connected; [`RpcError::Denied`] beyond `connections_max`.
    pub fn reserve(&self, to: &Location) -> Result<OutboxPermit, RpcError> {
        self.try_reserve(to)
            .map_err(|(no_place, _)| match no_place {
                NoPlace::Full(error) | NoPlace::Ended(error) => error,
            })
    }

    /// The same, but waits for a place in a full outbox.
    ///
    /// # Errors
    /// As [`Transport::reserve`], without [`RpcError::OutboxFull`].
    ///
    /// # Cancellation
    /// Dropping the future takes no place.
    pub async fn reserve_wait(&self, to: &Location) -> Result<OutboxPermit, RpcError> {
        loop {
            let outbox = match self.try_reserve(to) {
                Ok(permit) => return Ok(permit),
                Err((NoPlace::Full(_), Some(outbox))) => outbox,
                Err((NoPlace::Full(error) | NoPlace::Ended(error), _)) => return Err(error),
            };
            let room = outbox.room();
            tokio::pin!(room);
            // Listening must begin before the last look, or a place that becomes free between is missed.
            room.as_mut().enable();
            match outbox.reserve() {
                Ok(permit) => return Ok(permit),
                Err(NoPlace::Full(_)) => room.await,
                // The next round finds the outbox that follows this one.
                Err(NoPlace::Ended(_)) => {}
            }
        }
    }

    /// Sends a message that wants an answer. Never waits; the outcome, whatever it is, goes to
    /// `responder`, once: the answer of the endpoint, or the errors of [`Transport::reserve`],
    /// [`RpcError::TooLarge`], or [`RpcError::Network`] when the connection ends before the answer.
    ///
    /// There is no deadline here: whoever has one calls [`RequestHandle::forget`]. `None`: it failed
    /// at once.
    pub fn ask(
        &self,
        to: &Location,
        endpoint: &str,
        message: Message,
        responder: Responder,
    ) -> Option<RequestHandle> {
        match self.reserve(to) {
            Ok(permit) => permit.ask(endpoint, message, responder),
            Err(error) => {
                responder.tell(Err(error));
                None
            }
        }
    }

    /// How long the endpoint of another host stands still from now on, as far as that tells. To be
    /// called just before [`Transport::ask`]: like that, it makes the connection if need be. `None`:
    /// there is no connection, and none can be made.
    pub(crate) fn pauses_of(&self, to: &Location, endpoint: &str) -> Option<Arc<PauseClock>> {
        let outbox = peers::outbox_for(&self.shared, to).ok()?;
        Some(outbox.clocks().of(endpoint))
    }

    /// Tells all peers that are connected that an endpoint of this host stands still, and those that
    /// ask it until it goes on. Never blocks.
    ///
    /// All of them: to know who asked for what would cost every request more than this costs a swap.
    pub fn stands_still(&self, endpoint: &str) {
        self.shared.standing.stands_still(endpoint);
        let endpoint = endpoint.into();
        for outbox in self.shared.peers.all() {
            outbox.tell_still(&endpoint);
        }
    }

    /// Tells all peers that are connected that an endpoint of this host goes on, after it stood still
    /// for `pause`. Never blocks.
    pub fn goes_on(&self, endpoint: &str, pause: Duration) {
        self.shared.standing.goes_on(endpoint);
        let endpoint = endpoint.into();
        for outbox in self.shared.peers.all() {
            outbox.tell_going(&endpoint, pause);
        }
    }

    /// Opens a range of what the host at `address` serves as `path`, over a connection of its own.
    ///
    /// # Errors
    /// [`StreamError`]; also reading may fail later, see [`FileStream`].
    ///
    /// # Cancellation
    /// Dropping the future closes the connection.
    pub async fn open_stream(
        &self,
        address: &RpcAddress,
        path: &str,
        range: FileRange,
    ) -> Result<FileStream, StreamError> {
        files::open(&self.shared, address, path, range).await
    }

    /// All connections for messages, oldest first.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.shared.peers.list()
    }

    /// Stops: no new connections and messages; open requests are told [`RpcError::Stopped`]; what
    /// waits in outboxes leaves within `shutdown_timeout` or fails; peers hear a good-bye; sockets are
    /// closed and every task has ended. Calling it again waits for the same.
    ///
    /// # Cancellation
    /// Dropping the future does not stop the stopping, only the waiting for it.
    pub async fn shutdown(&self) {
        self.shared.shutdown().await;
    }

    fn try_reserve(&self, to: &Location) -> Result<OutboxPermit, (NoPlace, Option<Arc<Outbox>>)> {
        let find = || peers::outbox_for(&self.shared, to).map_err(|e| (NoPlace::Ended(e), None));
        let outbox = find()?;
        match outbox.reserve() {
            Ok(permit) => Ok(permit),
            Err(NoPlace::Full(error)) => Err((NoPlace::Full(error), Some(outbox))),
            // It ended after it was found. It had left the map before, so there is a new one now.
            Err(NoPlace::Ended(_)) => {
                let outbox = find()?;
                outbox.reserve().map_err(|error| (error, Some(outbox)))
            }
        }
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transport({})", self.shared.location)
    }
}
