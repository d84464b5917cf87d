//! Connection: one socket for messages, from the end of its handshake to its last event.
//!
//! Before it: [`super::listener`] or [`super::peers`], with a socket and an outbox. Within it:
//! [`super::reader`] and [`super::writer`], a task each, so that neither half waits for the other.
//!
//! Invariants
//! 1. One `connected`, then all messages, then at most one `network_error`, then one `disconnected`.
//! 2. When `disconnected` is told the outbox is no longer found, and each of its requests has its outcome.
//!
//! Not here: reconnecting. The next message to the peer finds no outbox and makes one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::life::{End, Life};
use super::outbox::Outbox;
use super::reader::Reader;
use super::shared::Shared;
use super::socket;
use super::writer::Writer;
use crate::error::RpcError;

/// Serves the connection until it ends; ends by itself when the host stops.
///
/// `frame_bytes_max`: the smaller limit of both sides.
pub(super) async fn run(
    shared: &Shared,
    socket: TcpStream,
    outbox: &Arc<Outbox>,
    frame_bytes_max: usize,
) {
    let peer = &outbox.peer;
    let life = Arc::new(Life::new());
    let incoming = &shared.incoming;
    outbox.connected(frame_bytes_max);
    tracing::info!(%peer, direction = ?outbox.direction, "connected");
    incoming.connected(peer);

    let (read_half, write_half) = socket.into_split();
    let reader = Reader::new(
        read_half,
        frame_bytes_max,
        Arc::clone(outbox),
        Arc::clone(&life),
        Arc::clone(incoming),
    );
    let settings = Arc::clone(&shared.settings);
    let writer = Writer::new(write_half, Arc::clone(outbox), Arc::clone(&life), settings);
    // This task owns both: dropping it aborts them, and it does not end before they do.
    let reader = AbortOnDropHandle::new(tokio::spawn(reader.run()));
    let writer = AbortOnDropHandle::new(tokio::spawn(writer.run()));
    let broken = |task: &str, error: tokio::task::JoinError| {
        tracing::error!(%peer, task, %error, "task of a connection failed");
        life.end(End::Broken(format!("{task} failed: {error}")));
    };
    let read = async { reader.await.map_err(|error| broken("reader", error)).ok() };
    let write = async {
        let unwritten = writer.await.map_err(|error| broken("writer", error));
        unwritten.unwrap_or_else(|()| VecDeque::new())
    };
    let (read_half, unwritten, ()) = tokio::join!(read, write, watch(shared, outbox, &life));

    let end = life.get_end().unwrap_or(&End::Closed);
    let cause = end.cause();
    shared.peers.remove(outbox);
    let error = RpcError::Network {
        peer: peer.to_string(),
        cause: cause.clone(),
    };
    outbox.end(&error, unwritten);
    if matches!(end, End::Broken(_) | End::Violation(_)) {
        incoming.network_error(peer, &cause);
    }
    tracing::info!(%peer, cause, "disconnected");
    incoming.disconnected(peer);
    if let (true, Some(read_half)) = (end.is_ours(), read_half) {
        socket::linger(read_half, shared.settings.shutdown_timeout).await;
    }
}

/// Looks whether the host stops or the peer is dead, until the connection has ended.
async fn watch(shared: &Shared, outbox: &Outbox, life: &Life) {
    let limit = shared.settings.idle_timeout;
    let every = (limit / 4).clamp(Duration::from_millis(1), Duration::from_secs(1));
    loop {
        tokio::select! {
            biased;
            () = life.ended() => return,
            () = shared.stop.cancelled() => {
                outbox.close(&shared.stopped());
                life.end(End::Stopping);
            }
            () = tokio::time::sleep(every) => {
                if let Some(end) = life.verdict(outbox.outstanding(), limit) {
                    tracing::warn!(peer = %outbox.peer, cause = end.cause(), "giving the connection up");
                    life.end(end);
                }
            }
        }
    }
}
