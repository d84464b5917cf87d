//! Handshake: both sides say who they are before the first frame.
//!
//! ```text
//! dialler:  magic, version u16, length u16, hello        acceptor: magic, version u16, length u16, answer
//! ```
//!
//! Magic and version never change; what follows the version may, with the version. The acceptor
//! speaks only after it has seen the magic, so that a stranger hears nothing of us.
//!
//! Before it: [`super::listener`] and [`super::peers`]. After it: [`super::connection`] and [`super::files`].
//!
//! Not here: logging of refusals and what a purpose leads to. Nobody is authenticated: a location is
//! what the peer says.

use std::io;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::settings::FRAME_BYTES_MAX_LEAST;
use super::socket;
use crate::address::Location;

/// Begins with a byte that no text and no TLS record begins with.
pub(super) const MAGIC: [u8; 8] = *b"\x8bINSTAR\n";
/// Version of everything after the version.
pub(super) const VERSION: u16 = 1;
/// Largest hello or answer.
const HELLO_BYTES_MAX: usize = 2048;
/// How long a refused peer may take to hear why.
const REFUSAL_LINGER: Duration = Duration::from_secs(1);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// Messages and replies, for as long as both like.
    Messages,
    /// One file.
    Files,
}

/// What one side says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Introduction {
    pub(super) location: Location,
    pub(super) purpose: Purpose,
    pub(super) frame_bytes_max: usize,
}

/// Why two sides do not talk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum HandshakeError {
    /// Something else listens or calls there: check host and port.
    #[error("peer speaks {protocol}, not the Instar protocol; check host and port")]
    Stranger { protocol: String },
    /// Upgrade the older host.
    #[error("peer speaks version {theirs} of the Instar protocol, this host speaks version {ours}")]
    Version { ours: u16, theirs: u16 },
    /// Nothing, or not enough, came in time.
    #[error("peer did not introduce itself within {after:?} (`handshake_timeout`)")]
    Silent { after: Duration },
    /// The peer is an Instar host and says no.
    #[error("peer refused the connection: {reason}")]
    Refused { reason: String },
    /// The peer is broken.
    #[error("malformed introduction: {reason}")]
    Malformed { reason: String },
    /// The peer went away.
    #[error("peer closed the connection during the handshake")]
    Closed,
    /// The peer connected and went away without a word, as health checks do.
    #[error("peer closed the connection without a word")]
    Wordless,
    /// The connection broke.
    #[error("connection broke during the handshake: {0}")]
    Io(io::Error),
}

/// Introduction on the wire.
#[derive(Serialize, Deserialize)]
struct Hello {
    location: String,
    purpose: Purpose,
    frame_bytes_max: u64,
}

/// What the acceptor says, on the wire.
#[derive(Serialize, Deserialize)]
enum Answer {
    Welcome(Hello),
    Refused(String),
}

/// Introduces us to the host that we dialled, and returns what it says of itself.
///
/// Not cancel-safe: drop `socket` too.
pub(super) async fn dial(
    socket: &mut TcpStream,
    ours: &Introduction,
    limit: Duration,
) -> Result<Introduction, HandshakeError> {
    let mut seen = Vec::new();
    let talk = async {
        say(socket, &Hello::from(ours)).await?;
        preamble(socket, &mut seen).await?;
        match hear_part(socket).await? {
            Answer::Welcome(hello) => hello.check(),
            Answer::Refused(reason) => Err(HandshakeError::Refused { reason }),
        }
    };
    let outcome = timeout(limit, talk).await;
    outcome.unwrap_or_else(|_| Err(silence(&seen, limit)))
}

/// Hears what the host that dialled us says of itself. [`welcome`] or [`refuse`] is to follow.
///
/// Not cancel-safe: drop `socket` too.
pub(super) async fn hear(
    socket: &mut TcpStream,
    limit: Duration,
) -> Result<Introduction, HandshakeError> {
    let mut seen = Vec::new();
    let talk = async {
        match preamble(socket, &mut seen).await {
            Ok(()) => hear_part::<Hello>(socket).await?.check(),
            Err(error @ HandshakeError::Version { .. }) => {
                // It is an Instar host, so it can understand which version it has met.
                socket.write_all(&opening()).await.map_err(broken)?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    };
    let outcome = timeout(limit, talk).await;
    outcome.unwrap_or_else(|_| Err(silence(&seen, limit)))
}

/// Takes the peer in.
pub(super) async fn welcome(
    socket: &mut TcpStream,
    ours: &Introduction,
    limit: Duration,
) -> Result<(), HandshakeError> {
    let answer = Answer::Welcome(ours.into());
    let outcome = timeout(limit, say(socket, &answer)).await;
    outcome.unwrap_or(Err(HandshakeError::Silent { after: limit }))
}

/// Tells the peer why it is not taken in, and closes.
pub(super) async fn refuse(mut socket: TcpStream, reason: &str) {
    let answer = Answer::Refused(reason.to_owned());
    let talk = async {
        if say(&mut socket, &answer).await.is_ok() && socket.shutdown().await.is_ok() {
            socket::linger(&mut socket, REFUSAL_LINGER).await;
        }
    };
    // A peer that does not listen to the reason learns from the closed connection.
    let _ = timeout(REFUSAL_LINGER, talk).await;
}

fn opening() -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes
}

async fn say<T: Serialize>(socket: &mut TcpStream, part: &T) -> Result<(), HandshakeError> {
    let part = postcard::to_stdvec(part).map_err(malformed)?;
    let length = match u16::try_from(part.len()) {
        Ok(length) if part.len() <= HELLO_BYTES_MAX => length,
        _ => return Err(malformed(format!("ours has {} bytes", part.len()))),
    };
    let mut bytes = opening();
    bytes.extend(length.to_le_bytes());
    bytes.extend(part);
    socket.write_all(&bytes).await.map_err(broken)
}

/// Reads magic and version. `seen` collects the first bytes, so that they can be judged even when
/// the deadline cuts this off.
async fn preamble(socket: &mut TcpStream, seen: &mut Vec<u8>) -> Result<(), HandshakeError> {
    while seen.len() < MAGIC.len() {
        let mut rest = socket.take((MAGIC.len() - seen.len()) as u64);
        let count = rest.read_buf(seen).await;
        match count {
            // A stranger may reset the connection after its first words; these are the better story.
            Ok(0) | Err(_) if is_foreign(seen) => break,
            Ok(0) if seen.is_empty() => return Err(HandshakeError::Wordless),
            Ok(0) => return Err(HandshakeError::Closed),
            Ok(_) => {}
            Err(error) => return Err(broken(error)),
        }
    }
    if is_foreign(seen) {
        let protocol = recognise(seen);
        return Err(HandshakeError::Stranger { protocol });
    }
    match socket.read_u16_le().await.map_err(broken)? {
        VERSION => Ok(()),
        theirs => Err(HandshakeError::Version {
            ours: VERSION,
            theirs,
        }),
    }
}

async fn hear_part<T: DeserializeOwned>(socket: &mut TcpStream) -> Result<T, HandshakeError> {
    let length = usize::from(socket.read_u16_le().await.map_err(broken)?);
    if length > HELLO_BYTES_MAX {
        let reason = format!("it has {length} bytes, more than {HELLO_BYTES_MAX}");
        return Err(malformed(reason));
    }
    let mut bytes = vec![0; length];
    socket.read_exact(&mut bytes).await.map_err(broken)?;
    postcard::from_bytes(&bytes).map_err(malformed)
}

fn is_foreign(seen: &[u8]) -> bool {
    !MAGIC.starts_with(seen)
}

fn silence(seen: &[u8], after: Duration) -> HandshakeError {
    if is_foreign(seen) {
        let protocol = recognise(seen);
        HandshakeError::Stranger { protocol }
    } else {
        HandshakeError::Silent { after }
    }
}

/// What speaks like this, as far as its first bytes tell.
fn recognise(first: &[u8]) -> String {
    const HTTP: [&[u8]; 11] = [
        b"GET ",
        b"POST ",
        b"PUT ",
        b"HEAD ",
        b"DELETE ",
        b"OPTIONS ",
        b"PATCH ",
        b"CONNECT ",
        b"TRACE ",
        b"PRI * ",
        b"HTTP/",
    ];
    if HTTP.iter().any(|start| first.starts_with(start)) {
        "HTTP".to_owned()
    } else if first.starts_with(&[0x16, 3]) || first.starts_with(&[0x15, 3]) {
        "TLS".to_owned()
    } else if first.starts_with(b"SSH-") {
        "SSH".to_owned()
    } else {
        format!(
            "an unknown protocol (it begins with `{}`)",
            first.escape_ascii()
        )
    }
}

fn broken(error: io::Error) -> HandshakeError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => HandshakeError::Closed,
        _ => HandshakeError::Io(error),
    }
}

fn malformed(reason: impl ToString) -> HandshakeError {
    HandshakeError::Malformed {
        reason: reason.to_string(),
    }
}

impl From<&Introduction> for Hello {
    fn from(ours: &Introduction) -> Self {
        Self {
            location: ours.location.to_string(),
            purpose: ours.purpose,
            frame_bytes_max: ours.frame_bytes_max as u64,
        }
    }
}

impl Hello {
    fn check(self) -> Result<Introduction, HandshakeError> {
        let location = self.location.parse().map_err(malformed)?;
        // More than we can count is more than we would ever send.
        let frame_bytes_max = usize::try_from(self.frame_bytes_max).unwrap_or(usize::MAX);
        if frame_bytes_max < FRAME_BYTES_MAX_LEAST {
            let reason = format!("`frame_bytes_max` {frame_bytes_max} is too small");
            return Err(malformed(reason));
        }
        Ok(Introduction {
            location,
            purpose: self.purpose,
            frame_bytes_max,
        })
    }
}
