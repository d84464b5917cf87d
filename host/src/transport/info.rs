//! What is seen of connections from outside: plain data for status pages.

use serde::Serialize;

use crate::address::Location;

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// This host.
    Dialled,
    /// The peer.
    Accepted,
}

/// One connection for messages, as seen from outside; also one that is still being established.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionInfo {
    /// The address that was dialled, or what the peer says of itself.
    pub peer: Location,
    /// Who opened it.
    pub direction: Direction,
    /// False while it is being established or closed.
    pub connected: bool,
    /// Requests to the peer that it has not answered.
    pub outstanding: usize,
    /// Requests of the peer that this host has not answered.
    pub answering: usize,
    /// Messages that have a place in the outbox.
    pub queued: usize,
    /// Bytes received, without the handshake.
    pub bytes_in: u64,
    /// Bytes sent, without the handshake.
    pub bytes_out: u64,
}
