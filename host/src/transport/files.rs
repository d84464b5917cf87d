//! Files: one file over a connection of its own, so that neither its bytes delay messages nor its
//! connection is seen by endpoints.
//!
//! ```text
//! reader: open(path)        owner: chunk* end, or chunk* failure(reason)
//!         or open-range(offset, length, path)
//! ```
//!
//! A host that knows no open-range closes the connection: an error, never other bytes than were wanted.
//!
//! Before it: [`super::Transport::open_stream`] on one side, [`super::listener`] on the other.
//!
//! Invariant: a file ends only with `end`. Whatever else stops the bytes is an error of the reader.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, timeout};
use tokio_util::io::poll_read_buf;

use super::frame::{self, Decoder, Frame};
use super::handshake::{self, Purpose};
use super::incoming::{BoxFuture, FileBytes, FileRange};
use super::shared::Shared;
use super::socket;
use crate::address::RpcAddress;

/// Bytes of a file per frame, at most.
const CHUNK_BYTES: usize = 256 * 1024;
/// Longest path.
const PATH_BYTES_MAX: usize = 4000;
/// What a frame that names a file has before the path, at most.
const OPEN_HEAD_BYTES: usize = 17;

/// Why a file does not come.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The peer cannot be reached, or broke off.
    #[error("cannot read `{path}` from {peer}: {cause}")]
    Network {
        /// The file.
        path: String,
        /// The peer.
        peer: String,
        /// What happened.
        cause: String,
    },
    /// The peer says no: it has no such file, or does not give it away.
    #[error("{peer} does not give `{path}`: {reason}")]
    Refused {
        /// The file.
        path: String,
        /// The peer.
        peer: String,
        /// In the words of the peer.
        reason: String,
    },
    /// The path is too long to travel.
    #[error("a path of {bytes} bytes is more than {limit}")]
    PathTooLong {
        /// Its length.
        bytes: usize,
        /// The longest.
        limit: usize,
    },
    /// This host stops.
    #[error("host {host} is stopped")]
    Stopped {
        /// This host.
        host: String,
    },
}

/// The bytes of a file on another host.
///
/// Its end is the end of the file. If the peer fails or goes away before, reading fails: with
/// [`io::ErrorKind::UnexpectedEof`] for a connection that was closed, [`io::ErrorKind::TimedOut`]
/// after `idle_timeout` of silence, [`io::ErrorKind::Other`] with the words of the peer. Dropping it
/// closes the connection.
pub struct FileStream {
    socket: TcpStream,
    decoder: Decoder,
    buffer: BytesMut,
    chunk: Bytes,
    state: StreamState,
    peer: String,
    idle_timeout: Duration,
    /// Runs while somebody waits for the peer, not between two reads.
    idle: Pin<Box<Sleep>>,
    waiting: bool,
    /// Bytes that the peer may send yet.
    wanted: u64,
}

enum StreamState {
    Reading,
    Complete,
    Failed(io::ErrorKind, String),
}

impl std::fmt::Debug for FileStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileStream(from {})", self.peer)
    }
}

/// Opens a range of `path` on the host at `address`. Ends as soon as the peer has opened it or refused.
pub(super) async fn open(
    shared: &Shared,
    address: &RpcAddress,
    path: &str,
    range: FileRange,
) -> Result<FileStream, StreamError> {
    if path.len() > PATH_BYTES_MAX {
        return Err(StreamError::PathTooLong {
            bytes: path.len(),
            limit: PATH_BYTES_MAX,
        });
    }
    let (path_text, peer) = (path.to_owned(), address.to_string());
    let opening = async {
        let mut socket = socket::connect(address, shared.settings.connect_timeout).await?;
        let ours = shared.introduction(Purpose::Files);
        let limit = shared.settings.handshake_timeout;
        let theirs = handshake::dial(&mut socket, &ours, limit)
            .await
            .map_err(|error| error.to_string())?;
        let mut bytes = BytesMut::new();
        let path = Bytes::copy_from_slice(path.as_bytes());
        let frame = match range.is_all() {
            true => Frame::Open { path },
            false => Frame::OpenRange {
                offset: range.offset,
                length: range.length.unwrap_or(u64::MAX),
                path,
            },
        };
        frame.encode(&mut bytes);
        let written = timeout(limit, socket.write_all(&bytes)).await;
        written
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| socket::cause(&error))?;
        let frame_bytes_max = theirs.frame_bytes_max.min(ours.frame_bytes_max);
        Ok::<_, String>((socket, frame_bytes_max))
    };
    let opened = tokio::select! {
        biased;
        () = shared.stop.cancelled() => {
            let host = shared.location.to_string();
            return Err(StreamError::Stopped { host });
        }
        opened = opening => opened,
    };
    let (socket, limit) = match opened {
        Ok(opened) => opened,
        Err(cause) => {
            return Err(StreamError::Network {
                path: path_text,
                peer,
                cause,
            });
        }
    };
    let idle_timeout = shared.settings.idle_timeout;
    let mut stream = FileStream {
        socket,
        decoder: Decoder::new(limit),
        buffer: BytesMut::new(),
        chunk: Bytes::new(),
        state: StreamState::Reading,
        peer: peer.clone(),
        idle_timeout,
        idle: Box::pin(tokio::time::sleep(idle_timeout)),
        waiting: false,
        wanted: range.length.unwrap_or(u64::MAX),
    };
    let first = tokio::select! {
        biased;
        () = shared.stop.cancelled() => {
            let host = shared.location.to_string();
            return Err(StreamError::Stopped { host });
        }
        first = std::future::poll_fn(|cx| stream.poll_chunk(cx)) => first,
    };
    match (first, &stream.state) {
        (Ok(()), _) => Ok(stream),
        (Err(_), StreamState::Failed(io::ErrorKind::Other, reason)) => Err(StreamError::Refused {
            path: path_text,
            peer,
            reason: reason.clone(),
        }),
        (Err(error), _) => {
            let mut cause = error.to_string();
            if !range.is_all() && error.kind() == io::ErrorKind::UnexpectedEof {
                cause.push_str("; a host that is older than this one gives no ranges of files");
            }
            Err(StreamError::Network {
                path: path_text,
                peer,
                cause,
            })
        }
    }
}

impl FileStream {
    /// Ready when there are bytes in `chunk`, or the file is complete.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &self.state {
                StreamState::Failed(kind, text) => {
                    return Poll::Ready(Err(io::Error::new(*kind, text.clone())));
                }
                StreamState::Complete => return Poll::Ready(Ok(())),
                StreamState::Reading if !self.chunk.is_empty() => return Poll::Ready(Ok(())),
                StreamState::Reading => {}
            }
            match self.decoder.decode(&mut self.buffer) {
                Ok(Some(frame)) => self.take(frame),
                Ok(None) => match ready!(self.poll_socket(cx)) {
                    Ok(()) => {}
                    Err(error) => self.fail(error.kind(), error.to_string()),
                },
                Err(error) => self.fail(io::ErrorKind::InvalidData, error.to_string()),
            }
        }
    }

    fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Chunk { bytes } => match self.wanted.checked_sub(bytes.len() as u64) {
                Some(wanted) => (self.wanted, self.chunk) = (wanted, bytes),
                None => self.fail(
                    io::ErrorKind::InvalidData,
                    "it sends more than was asked for".to_owned(),
                ),
            },
            Frame::End => self.state = StreamState::Complete,
            Frame::StreamFailure { reason } => {
                self.state = StreamState::Failed(io::ErrorKind::Other, frame::text(&reason));
            }
            _ => self.fail(
                io::ErrorKind::InvalidData,
                "a frame that belongs to no file".to_owned(),
            ),
        }
    }

    fn poll_socket(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.buffer.reserve(CHUNK_BYTES / 4);
        let socket = Pin::new(&mut self.socket);
        match poll_read_buf(socket, cx, &mut self.buffer) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "connection closed before the end of the file",
            ))),
            Poll::Ready(Ok(_)) => {
                self.waiting = false;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                if !self.waiting {
                    self.waiting = true;
                    let deadline = Instant::now() + self.idle_timeout;
                    self.idle.as_mut().reset(deadline);
                }
                ready!(self.idle.as_mut().poll(cx));
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!(
                        "nothing received for {:?} (`idle_timeout`)",
                        self.idle_timeout
                    ),
                )))
            }
        }
    }

    fn fail(&mut self, kind: io::ErrorKind, cause: String) {
        let text = format!("reading a file from {}: {cause}", self.peer);
        self.state = StreamState::Failed(kind, text);
    }
}

impl AsyncRead for FileStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_chunk(cx))?;
        let count = self.chunk.len().min(out.remaining());
        out.put_slice(self.chunk.get(..count).unwrap_or_default());
        self.chunk.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl FileBytes for FileStream {
    fn next(&mut self, bytes_max: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(async move {
            std::future::poll_fn(|cx| self.poll_chunk(cx)).await?;
            let count = self.chunk.len().min(bytes_max);
            Ok(self.chunk.split_to(count))
        })
    }
}

/// Serves the one file that the peer asks for.
pub(super) async fn serve(
    shared: &Shared,
    mut socket: TcpStream,
    remote: SocketAddr,
    frame_bytes_max: usize,
) {
    let outcome = tokio::select! {
        biased;
        () = shared.stop.cancelled() => Err("the host stops".to_owned()),
        outcome = send(shared, &mut socket, frame_bytes_max) => outcome,
    };
    if let Err(cause) = outcome {
        tracing::debug!(peer = %remote, cause, "file not sent to its end");
    }
}

async fn send(shared: &Shared, socket: &mut TcpStream, limit: usize) -> Result<(), String> {
    let asked = timeout(shared.settings.handshake_timeout, asked(socket, limit));
    let (path, range) = asked
        .await
        .unwrap_or_else(|_| Err("the peer named no file (`handshake_timeout`)".to_owned()))?;
    let mut out = BytesMut::new();
    let mut file = match shared.incoming.open_file(&path, range).await {
        Ok(file) => file,
        Err(reason) => {
            Frame::stream_failure(&reason).encode(&mut out);
            write(shared, socket, &out).await?;
            return Err(reason);
        }
    };
    let chunk_bytes = CHUNK_BYTES.min(limit - 1);
    let mut failure = None;
    loop {
        out.clear();
        match file.next(chunk_bytes).await {
            Ok(bytes) if bytes.is_empty() => Frame::End.encode(&mut out),
            Ok(bytes) => {
                Frame::Chunk { bytes }.encode(&mut out);
                write(shared, socket, &out).await?;
                continue;
            }
            Err(error) => {
                let reason = format!("reading `{path}` failed: {error}");
                Frame::stream_failure(&reason).encode(&mut out);
                failure = Some(reason);
            }
        }
        write(shared, socket, &out).await?;
        return failure.map_or(Ok(()), Err);
    }
}

/// Reads the frame that names the file. A peer that sends more is not listened to.
async fn asked(socket: &mut TcpStream, limit: usize) -> Result<(String, FileRange), String> {
    let mut decoder = Decoder::new(limit.min(PATH_BYTES_MAX + OPEN_HEAD_BYTES));
    let mut buffer = BytesMut::new();
    loop {
        match decoder.decode(&mut buffer) {
            Ok(Some(Frame::Open { path })) => {
                return Ok((frame::text(&path), FileRange::default()));
            }
            Ok(Some(Frame::OpenRange {
                offset,
                length,
                path,
            })) => {
                let length = (length < u64::MAX).then_some(length);
                return Ok((frame::text(&path), FileRange { offset, length }));
            }
            Ok(Some(_)) => return Err("the peer sent something else than a path".to_owned()),
            Ok(None) => {}
            Err(error) => return Err(error.to_string()),
        }
        match socket.read_buf(&mut buffer).await {
            Ok(0) => return Err("connection closed by the peer".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(socket::cause(&error)),
        }
    }
}

async fn write(shared: &Shared, socket: &mut TcpStream, bytes: &[u8]) -> Result<(), String> {
    // The whole chunk in this time: a reader that is slower than that is as good as gone.
    let limit = shared.settings.idle_timeout;
    match timeout(limit, socket.write_all(bytes)).await {
        Ok(written) => written.map_err(|error| socket::cause(&error)),
        Err(_) => Err(format!(
            "the peer read nothing for {limit:?} (`idle_timeout`)"
        )),
    }
}
