//! Listener: binds a port and takes in the connections that peers open.
//!
//! Before it: the network. After it: [`super::handshake`], then [`super::connection`] or [`super::files`].
//!
//! Invariants
//! 1. At most `connections_max` connections are open, handshakes included; a few more are just told no.
//! 2. A stranger costs one line of log and nothing else.
//! 3. No error of one connection, or of accepting, ends the listener.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::handshake::{self, HandshakeError, Purpose};
use super::settings::{Listen, TransportError};
use super::shared::Shared;
use super::{connection, files, peers, socket};
use crate::address::RpcAddress;
use crate::error::RpcError;

/// How many surplus connections can be told no at the same time; the others are just closed.
const REFUSALS_MAX: usize = 16;
/// First and longest wait after a failure to accept, for example without free file descriptors.
const ACCEPT_WAIT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Binds the first free port, and returns the address under which peers reach it.
///
/// # Errors
/// See [`TransportError`].
pub(super) async fn bind(
    listen: &Listen,
    retries: u16,
) -> Result<(TcpListener, RpcAddress), TransportError> {
    let host = &listen.host;
    let resolved = lookup_host((socket::bare_host(host), listen.port)).await;
    let addresses: Vec<SocketAddr> = match resolved {
        Ok(found) => found.collect(),
        Err(source) => {
            let host = host.clone();
            return Err(TransportError::Resolve { host, source });
        }
    };
    if !listen.insecure && addresses.iter().any(|address| !address.ip().is_loopback()) {
        return Err(TransportError::NotLoopback { host: host.clone() });
    }
    let everywhere = addresses
        .iter()
        .any(|address| address.ip().is_unspecified());
    if everywhere && listen.advertise.is_none() {
        return Err(TransportError::AdvertiseMissing { host: host.clone() });
    }
    let mut port = listen.port;
    for retry in 0..=retries {
        let targets: Vec<_> = addresses
            .iter()
            .map(|address| SocketAddr::new(address.ip(), port))
            .collect();
        match TcpListener::bind(targets.as_slice()).await {
            Ok(listener) => {
                let bound = listener.local_addr().map_or(port, |address| address.port());
                let host = listen.advertise.as_deref().unwrap_or(host);
                return Ok((listener, RpcAddress::new(host, bound)));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && retry < retries => {
                tracing::info!(%host, port, "port is taken, trying the next one");
                port = next_port(port);
            }
            Err(source) => {
                let tried = if retry == 0 {
                    listen.port.to_string()
                } else {
                    format!("{} to {port}", listen.port)
                };
                let host = host.clone();
                return Err(TransportError::Bind {
                    host,
                    tried,
                    source,
                });
            }
        }
    }
    // The last round returns either way: its retry equals `retries`.
    Err(TransportError::Bind {
        host: host.clone(),
        tried: port.to_string(),
        source: io::ErrorKind::AddrInUse.into(),
    })
}

/// The port after `port`, within 1024 to 65535. Any free port stays any free port.
pub(super) fn next_port(port: u16) -> u16 {
    match port {
        0 => 0,
        _ => port.checked_add(1).unwrap_or(1024),
    }
}

/// Accepts until the host stops.
pub(super) async fn run(shared: Arc<Shared>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(shared.settings.connections_max));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let mut wait = ACCEPT_WAIT.0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (socket, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, ?wait, "cannot accept a connection, waiting");
                tokio::select! {
                    () = shared.stop.cancelled() => return,
                    () = tokio::time::sleep(wait) => {}
                }
                wait = (wait * 2).min(ACCEPT_WAIT.1);
                continue;
            }
        };
        wait = ACCEPT_WAIT.0;
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let serving = serve(Arc::clone(&shared), socket, remote, place);
            shared.spawn(serving);
            continue;
        }
        let most = shared.settings.connections_max;
        tracing::warn!(peer = %remote, most, "too many connections, refusing one more (`connections_max`)");
        if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
            shared.spawn(async move {
                let reason = format!("it has {most} connections (`connections_max`)");
                handshake::refuse(socket, &reason).await;
                drop(place);
            });
        }
    }
}

/// Serves one connection, from its handshake to its end. Holds `place` as long.
async fn serve(
    shared: Arc<Shared>,
    socket: TcpStream,
    remote: SocketAddr,
    place: OwnedSemaphorePermit,
) {
    socket::no_delay(&socket);
    match introduce(&shared, socket).await {
        Ok(Some(Guest::Messages {
            socket,
            outbox,
            frame_bytes_max,
        })) => connection::run(&shared, socket, &outbox, frame_bytes_max).await,
        Ok(Some(Guest::Files {
            socket,
            frame_bytes_max,
        })) => files::serve(&shared, socket, remote, frame_bytes_max).await,
        Ok(None) => {}
        Err(HandshakeError::Wordless) => {
            tracing::debug!(peer = %remote, "connection closed without a word");
        }
        Err(error) => {
            tracing::warn!(peer = %remote, reason = %error, "connection refused");
        }
    }
    drop(place);
}

enum Guest {
    Messages {
        socket: TcpStream,
        outbox: Arc<super::outbox::Outbox>,
        frame_bytes_max: usize,
    },
    Files {
        socket: TcpStream,
        frame_bytes_max: usize,
    },
}

/// `None`: the host stops.
async fn introduce(
    shared: &Shared,
    mut socket: TcpStream,
) -> Result<Option<Guest>, HandshakeError> {
    let limit = shared.settings.handshake_timeout;
    let theirs = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return Ok(None),
        theirs = handshake::hear(&mut socket, limit) => theirs?,
    };
    let ours = shared.introduction(theirs.purpose);
    let frame_bytes_max = theirs.frame_bytes_max.min(ours.frame_bytes_max);
    if theirs.purpose == Purpose::Files {
        handshake::welcome(&mut socket, &ours, limit).await?;
        return Ok(Some(Guest::Files {
            socket,
            frame_bytes_max,
        }));
    }
    let Some(outbox) = peers::take_in(shared, &theirs.location) else {
        let reason = "the host stops".to_owned();
        handshake::refuse(socket, &reason).await;
        return Err(HandshakeError::Refused { reason });
    };
    if let Err(error) = handshake::welcome(&mut socket, &ours, limit).await {
        let failure = RpcError::Network {
            peer: theirs.location.to_string(),
            cause: error.to_string(),
        };
        peers::give_up(shared, &outbox, &failure);
        return Err(error);
    }
    Ok(Some(Guest::Messages {
        socket,
        outbox,
        frame_bytes_max,
    }))
}
