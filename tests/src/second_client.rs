//! Second client: takes over a session with ZooKeeper that another process of ours has, and ends it.
//!
//! Who has id and password of a session can connect with them: to the servers that is the same client, on
//! another connection. What it closes has expired for the first one: its ephemeral nodes are gone at once,
//! and it is told so when it connects again.
//!
//! Id and password are in what a server says first, so a [`Proxy`] between the two has heard them.
//! No other module of this crate but `proxy` is used: the unit tests of the host include both files.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::proxy::Proxy;

/// How often a session is taken over again, where the first client takes it back before it is closed.
const TRIES: usize = 100;

/// How long a server may take for one try.
const ANSWER: Duration = Duration::from_secs(10);

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1024;

/// The request that ends a session.
const CLOSE_SESSION: i32 = -11;

/// What a client needs to be taken for another one.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionOf {
    /// Also the owner of the session's ephemeral nodes.
    pub id: i64,
    milliseconds: i32,
    password: Vec<u8>,
}

/// The sessions that were given through a proxy, the last one last. They may be over.
pub fn sessions_through(proxy: &Proxy) -> Vec<SessionOf> {
    let mut sessions: Vec<SessionOf> = Vec::new();
    for words in proxy.first_words() {
        if let Some(session) = words.get(4..).and_then(given) {
            // It may have been given more than once, after a lost connection.
            sessions.retain(|known| known.id != session.id);
            sessions.push(session);
        }
    }
    sessions
}

/// Ends a session, at any server that knows it, and comes back when the server says that there is none. False
/// where it said so at once: it was over before.
///
/// # Errors
/// The server does not answer, or the first client takes the session back again and again.
pub async fn expire(server: SocketAddr, session: &SessionOf) -> Result<bool> {
    for earlier in 0..TRIES {
        match tokio::time::timeout(ANSWER, take_over_and_close(server, session)).await {
            Ok(Ok(Connected::NoSession)) => return Ok(earlier > 0),
            Ok(Ok(Connected::Closed)) => {}
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => return Err(error),
            // The first client came back, and the server has one connection for a session. The next try tells
            // what became of this one.
            Ok(Err(_)) => {}
            Err(_) => return Err(Error::other(format!("no answer of {server} in time"))),
        }
    }
    let id = session.id;
    Err(Error::other(format!(
        "session {id:#x} is still there after {TRIES} tries to end it at {server}"
    )))
}

enum Connected {
    NoSession,
    Closed,
}

async fn take_over_and_close(server: SocketAddr, session: &SessionOf) -> Result<Connected> {
    let mut stream = TcpStream::connect(server).await?;
    let mut connect = Vec::new();
    connect.extend(0_i32.to_be_bytes()); // version of the protocol
    connect.extend(0_i64.to_be_bytes()); // the last change that it has seen
    connect.extend(session.milliseconds.to_be_bytes());
    connect.extend(session.id.to_be_bytes());
    connect.extend(length(&session.password)?);
    connect.extend(&session.password);
    connect.push(0); // not only to read
    let mut close = Vec::new();
    close.extend(1_i32.to_be_bytes()); // number of the request
    close.extend(CLOSE_SESSION.to_be_bytes());
    // At once: the first client notices that its connection is gone, and comes back.
    let both = [
        &length(&connect)?[..],
        &connect,
        &length(&close)?[..],
        &close,
    ];
    stream.write_all(&both.concat()).await?;
    if given(&frame(&mut stream).await?).is_none() {
        return Ok(Connected::NoSession);
    }
    frame(&mut stream).await?;
    Ok(Connected::Closed)
}

async fn frame(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let length = usize::try_from(stream.read_i32().await?).unwrap_or(usize::MAX);
    if length > ANSWER_BYTES_MAX {
        return Err(Error::other(format!(
            "an answer of {length} bytes, expected at most {ANSWER_BYTES_MAX}"
        )));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn length(bytes: &[u8]) -> Result<[u8; 4]> {
    let length = i32::try_from(bytes.len()).map_err(Error::other)?;
    Ok(length.to_be_bytes())
}

/// The session in the first answer of a server: version of the protocol, time, id, password. None where it
/// gives none, or is no ZooKeeper server.
fn given(answer: &[u8]) -> Option<SessionOf> {
    let (_version, answer) = answer.split_first_chunk::<4>()?;
    let (milliseconds, answer) = answer.split_first_chunk::<4>()?;
    let (id, answer) = answer.split_first_chunk::<8>()?;
    let (length, answer) = answer.split_first_chunk::<4>()?;
    let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
    let session = SessionOf {
        id: i64::from_be_bytes(*id),
        milliseconds: i32::from_be_bytes(*milliseconds),
        password: answer.get(..length)?.to_vec(),
    };
    (session.milliseconds > 0 && session.id != 0).then_some(session)
}
