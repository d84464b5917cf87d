//! Small things about sockets that more than one part needs.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::address::RpcAddress;

/// The host as the resolver wants it: an IPv6 address without brackets.
pub(super) fn bare_host(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host)
}

/// Connects to `address`, without delay for small writes.
pub(super) async fn connect(address: &RpcAddress, limit: Duration) -> Result<TcpStream, String> {
    let target = (bare_host(address.host()), address.port());
    match timeout(limit, TcpStream::connect(target)).await {
        Ok(Ok(socket)) => {
            no_delay(&socket);
            Ok(socket)
        }
        Ok(Err(error)) => Err(format!("cannot connect: {error}")),
        Err(_) => Err(format!(
            "cannot connect within {limit:?} (`connect_timeout`)"
        )),
    }
}

/// Frames are coalesced before they are written, so the kernel need not wait for more of them.
pub(super) fn no_delay(socket: &TcpStream) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
}

/// Reads and throws away until the peer closes, or `limit` has passed.
///
/// Closing a socket while bytes of the peer are unread resets the connection, and that can destroy
/// the last words that we sent before the peer has read them.
pub(super) async fn linger(mut from: impl AsyncRead + Unpin, limit: Duration) {
    let mut waste = vec![0; 16 * 1024];
    let drain = async { while matches!(from.read(&mut waste).await, Ok(1..)) {} };
    // Both outcomes are the same: there is nothing more to say to this peer.
    let _ = timeout(limit, drain).await;
}

/// What a broken read or write is called in errors and events.
pub(super) fn cause(error: &io::Error) -> String {
    format!("connection broke: {error}")
}
