//! Frames: the unit that travels over a connection. Bytes to [`Frame`] and back, without I/O.
//!
//! Layout, integers little-endian:
//!
//! ```text
//! length: u32 of all that follows | tag: u8 | head, by tag | body: the rest
//! head of a request: id u64, endpoint, kind       of a one-way message: endpoint, kind
//! head of a reply: id u64, kind                   of a failure and of a forget: id u64
//! head of a stands-still: endpoint                of a goes-on: pause u64, in microseconds, endpoint
//! head of an open-range: offset u64, length u64   of all others: nothing
//! endpoint, kind: one length byte and UTF-8
//! ```
//!
//! A tag that a host does not know ends the connection, on which nothing came of the frame then. So a new
//! tag is only for what the peer can be without: a range of a file, for which nobody takes the whole.
//!
//! Stands-still and goes-on say of an endpoint of the sender that it is in the pause of a swap, and how
//! long its pauses were since the last goes-on. A goes-on needs no stands-still before it. Whoever
//! waits for an answer of that endpoint over this connection waits so much longer.
//!
//! Before it: [`super::reader`] and the file connections. After it: the same, and [`super::writer`].
//!
//! Invariants
//! 1. No input makes the decoder panic, or take more memory than has arrived.
//! 2. A body is a slice of the buffer that it was read into: it is not copied. A message that is
//!    kept therefore keeps that buffer alive, which messages around it share.
//! 3. What is encoded was checked with [`Frame::check`] before it was queued.
//!
//! Not here: what a frame makes a host do.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::names::Names;
use crate::error::RpcError;
use crate::message::Message;

/// Bytes of the length that stands before every frame; the length does not count itself.
pub(super) const LENGTH_BYTES: usize = 4;
/// Longest endpoint name and longest kind: their length is one byte.
pub(super) const NAME_BYTES_MAX: usize = 255;
/// Longest reason in a frame that ends a connection or a file; longer ones are cut.
const REASON_BYTES_MAX: usize = 1024;

/// Number of a request on one connection; not used again as long as that connection lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RequestId(pub(super) u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "req-{:x}", self.0)
    }
}

/// One frame. Texts that end a frame are bytes here, see [`text`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A message that wants no answer.
    OneWay {
        endpoint: Arc<str>,
        message: Message,
    },
    /// A message that wants one answer.
    Request {
        id: RequestId,
        endpoint: Arc<str>,
        message: Message,
    },
    /// The answer to a request.
    Reply { id: RequestId, message: Message },
    /// The failure of a request: an [`RpcError`] in postcard.
    Failure { id: RequestId, error: Bytes },
    /// The asker gave up; the answer need not be sent.
    Forget { id: RequestId },
    /// Asks for a sign of life.
    Ping,
    /// A sign of life.
    Pong,
    /// The last frame of its direction, with the reason.
    Bye { reason: Bytes },
    /// First frame on a connection for files: which file.
    Open { path: Bytes },
    /// The same, for a part of it: from `offset` on, and at most `length` bytes.
    OpenRange {
        offset: u64,
        length: u64,
        path: Bytes,
    },
    /// The next bytes of the file.
    Chunk { bytes: Bytes },
    /// The file is complete.
    End,
    /// The file cannot be read, or not to its end.
    StreamFailure { reason: Bytes },
    /// An endpoint of the sender stands still.
    StandsStill { endpoint: Arc<str> },
    /// An endpoint of the sender goes on, after it stood still for `pause` microseconds.
    GoesOn { endpoint: Arc<str>, pause: u64 },
}

/// Why bytes are no frame. Nothing after them can be understood, so the connection has to end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum FrameError {
    /// Make the message smaller, or raise the setting on both hosts.
    #[error("a frame of {bytes} bytes is more than the limit of {limit} (`frame_bytes_max`)")]
    TooLarge { bytes: usize, limit: usize },
    /// The peer is broken, or something else wrote into the connection.
    #[error("malformed frame: {reason}")]
    Malformed { reason: String },
}

mod tag {
    pub(super) const ONE_WAY: u8 = 1;
    pub(super) const REQUEST: u8 = 2;
    pub(super) const REPLY: u8 = 3;
    pub(super) const FAILURE: u8 = 4;
    pub(super) const FORGET: u8 = 5;
    pub(super) const PING: u8 = 6;
    pub(super) const PONG: u8 = 7;
    pub(super) const BYE: u8 = 8;
    pub(super) const OPEN: u8 = 9;
    pub(super) const CHUNK: u8 = 10;
    pub(super) const END: u8 = 11;
    pub(super) const STREAM_FAILURE: u8 = 12;
    pub(super) const STANDS_STILL: u8 = 13;
    pub(super) const GOES_ON: u8 = 14;
    pub(super) const OPEN_RANGE: u8 = 15;
}

impl Frame {
    /// The frame that tells `error` to the asker of `id`.
    pub(super) fn failure(id: RequestId, error: &RpcError) -> Self {
        // An RpcError is texts and numbers, so encoding it into memory cannot fail; if it ever did,
        // the asker would read an empty failure as undecodable, which is still an answer.
        let error = postcard::to_stdvec(error).unwrap_or_default().into();
        Self::Failure { id, error }
    }

    /// The frame that says good-bye because of `reason`.
    pub(super) fn bye(reason: &str) -> Self {
        Self::Bye {
            reason: cut(reason),
        }
    }

    /// The frame that says why a file does not come.
    pub(super) fn stream_failure(reason: &str) -> Self {
        Self::StreamFailure {
            reason: cut(reason),
        }
    }

    /// The frame that says how long an endpoint stood still.
    pub(super) fn goes_on(endpoint: Arc<str>, pause: Duration) -> Self {
        let pause = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        Self::GoesOn { endpoint, pause }
    }

    /// Bytes of this frame without its length field: what `frame_bytes_max` limits.
    pub(super) fn length(&self) -> usize {
        let head = match self {
            Self::OneWay { endpoint, message } => 2 + endpoint.len() + message.kind.len(),
            Self::Request {
                endpoint, message, ..
            } => 10 + endpoint.len() + message.kind.len(),
            Self::Reply { message, .. } => 9 + message.kind.len(),
            Self::Failure { .. } | Self::Forget { .. } => 8,
            Self::StandsStill { endpoint } => 1 + endpoint.len(),
            Self::GoesOn { endpoint, .. } => 9 + endpoint.len(),
            Self::OpenRange { .. } => 16,
            _ => 0,
        };
        1 + head + self.body().map_or(0, Bytes::len)
    }

    /// Refuses what cannot travel: a name that is too long, or a frame above `limit`.
    ///
    /// # Errors
    /// [`RpcError::TooLarge`] names the message and the limit.
    pub(super) fn check(&self, limit: usize) -> Result<(), RpcError> {
        let (endpoint, message) = match self {
            Self::OneWay { endpoint, message }
            | Self::Request {
                endpoint, message, ..
            } => (Some(endpoint), Some(message)),
            Self::Reply { message, .. } => (None, Some(message)),
            Self::StandsStill { endpoint } | Self::GoesOn { endpoint, .. } => {
                (Some(endpoint), None)
            }
            _ => (None, None),
        };
        let names = [
            endpoint.map(|name| ("endpoint name", name)),
            message.map(|message| ("message kind", &message.kind)),
        ];
        for (what, name) in names.into_iter().flatten() {
            if name.len() > NAME_BYTES_MAX {
                let start: String = name.chars().take(32).collect();
                let what = format!("{what} `{start}...`");
                return Err(too_large(
                    what,
                    name.len(),
                    NAME_BYTES_MAX,
                    "length of a name",
                ));
            }
        }
        if self.length() > limit {
            let what = match (endpoint, message) {
                (Some(endpoint), Some(message)) => {
                    format!("message `{}` to `{endpoint}`", message.kind)
                }
                (None, Some(message)) => format!("reply `{}`", message.kind),
                _ => "frame".to_owned(),
            };
            return Err(too_large(what, self.length(), limit, "frame_bytes_max"));
        }
        Ok(())
    }

    /// Writes length, tag and head; the body follows, see [`Frame::body`].
    pub(super) fn encode_head(&self, out: &mut BytesMut) {
        // `check` keeps frames below the limit, and the limit is below 4 GiB.
        out.put_u32_le(u32::try_from(self.length()).unwrap_or(u32::MAX));
        match self {
            Self::OneWay { endpoint, message } => {
                out.put_u8(tag::ONE_WAY);
                put_name(out, endpoint);
                put_name(out, &message.kind);
            }
            Self::Request {
                id,
                endpoint,
                message,
            } => {
                out.put_u8(tag::REQUEST);
                out.put_u64_le(id.0);
                put_name(out, endpoint);
                put_name(out, &message.kind);
            }
            Self::Reply { id, message } => {
                out.put_u8(tag::REPLY);
                out.put_u64_le(id.0);
                put_name(out, &message.kind);
            }
            Self::Failure { id, .. } => {
                out.put_u8(tag::FAILURE);
                out.put_u64_le(id.0);
            }
            Self::Forget { id } => {
                out.put_u8(tag::FORGET);
                out.put_u64_le(id.0);
            }
            Self::Ping => out.put_u8(tag::PING),
            Self::Pong => out.put_u8(tag::PONG),
            Self::Bye { .. } => out.put_u8(tag::BYE),
            Self::Open { .. } => out.put_u8(tag::OPEN),
            Self::OpenRange { offset, length, .. } => {
                out.put_u8(tag::OPEN_RANGE);
                out.put_u64_le(*offset);
                out.put_u64_le(*length);
            }
            Self::Chunk { .. } => out.put_u8(tag::CHUNK),
            Self::End => out.put_u8(tag::END),
            Self::StreamFailure { .. } => out.put_u8(tag::STREAM_FAILURE),
            Self::StandsStill { endpoint } => {
                out.put_u8(tag::STANDS_STILL);
                put_name(out, endpoint);
            }
            Self::GoesOn { endpoint, pause } => {
                out.put_u8(tag::GOES_ON);
                out.put_u64_le(*pause);
                put_name(out, endpoint);
            }
        }
    }

    /// Writes the whole frame, copying its body.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.reserve(LENGTH_BYTES + self.length());
        self.encode_head(out);
        if let Some(body) = self.body() {
            out.put_slice(body);
        }
    }

    /// What ends the frame, if its tag has such a part.
    pub(super) fn body(&self) -> Option<&Bytes> {
        match self {
            Self::OneWay { message, .. }
            | Self::Request { message, .. }
            | Self::Reply { message, .. } => Some(&message.body),
            Self::Failure { error: body, .. }
            | Self::Bye { reason: body }
            | Self::Open { path: body }
            | Self::OpenRange { path: body, .. }
            | Self::Chunk { bytes: body }
            | Self::StreamFailure { reason: body } => Some(body),
            Self::Forget { .. }
            | Self::Ping
            | Self::Pong
            | Self::End
            | Self::StandsStill { .. }
            | Self::GoesOn { .. } => None,
        }
    }

    fn body_mut(&mut self) -> Option<&mut Bytes> {
        match self {
            Self::OneWay { message, .. }
            | Self::Request { message, .. }
            | Self::Reply { message, .. } => Some(&mut message.body),
            Self::Failure { error: body, .. }
            | Self::Bye { reason: body }
            | Self::Open { path: body }
            | Self::OpenRange { path: body, .. }
            | Self::Chunk { bytes: body }
            | Self::StreamFailure { reason: body } => Some(body),
            Self::Forget { .. }
            | Self::Ping
            | Self::Pong
            | Self::End
            | Self::StandsStill { .. }
            | Self::GoesOn { .. } => None,
        }
    }
}

/// The text of a reason or path that came from a peer; what is no UTF-8 is replaced.
pub(super) fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The failure that a peer sent. `from` names the peer.
pub(super) fn failure_of(bytes: &Bytes, from: &str) -> RpcError {
    postcard::from_bytes(bytes).unwrap_or_else(|error| RpcError::Undecodable {
        what: format!("failure from {from}"),
        reason: error.to_string(),
    })
}

fn too_large(what: String, bytes: usize, limit: usize, setting: &str) -> RpcError {
    RpcError::TooLarge {
        what,
        bytes: bytes as u64,
        limit: limit as u64,
        setting: setting.to_owned(),
    }
}

fn cut(reason: &str) -> Bytes {
    let end = reason.floor_char_boundary(REASON_BYTES_MAX);
    Bytes::copy_from_slice(reason.get(..end).unwrap_or_default().as_bytes())
}

fn put_name(out: &mut BytesMut, name: &str) {
    debug_assert!(name.len() <= NAME_BYTES_MAX, "names are checked first");
    out.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.put_slice(name.as_bytes());
}

fn malformed(reason: impl Into<String>) -> FrameError {
    FrameError::Malformed {
        reason: reason.into(),
    }
}

/// Takes frames out of the bytes of one connection.
#[derive(Debug)]
pub(super) struct Decoder {
    limit: usize,
    names: Names,
}

impl Decoder {
    /// A decoder that refuses frames of more than `limit` bytes, the length field not counted.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            names: Names::new(),
        }
    }

    /// Takes the next frame from the front of `buffer`; `None` if it has not arrived completely.
    ///
    /// # Errors
    /// [`FrameError`]; `buffer` is then as it was, and of no more use.
    pub(super) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some((length, rest)) = buffer.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > self.limit {
            return Err(FrameError::TooLarge {
                bytes: length,
                limit: self.limit,
            });
        }
        let Some(mut rest) = rest.get(..length) else {
            return Ok(None);
        };
        let mut frame = self.head(&mut rest)?;
        let (whole, body) = (LENGTH_BYTES + length, rest.len());
        match frame.body_mut() {
            Some(place) if body > 0 => {
                let mut bytes = buffer.split_to(whole).freeze();
                bytes.advance(whole - body);
                *place = bytes;
            }
            None if body > 0 => return Err(malformed(format!("{body} bytes too many"))),
            _ => buffer.advance(whole),
        }
        Ok(Some(frame))
    }

    /// How many bytes the frame at the front of `buffer` still lacks; 0 if its length is not known.
    pub(super) fn missing(&self, buffer: &BytesMut) -> usize {
        match buffer.split_first_chunk::<LENGTH_BYTES>() {
            Some((length, rest)) => {
                let length = u32::from_le_bytes(*length) as usize;
                length.min(self.limit).saturating_sub(rest.len())
            }
            None => 0,
        }
    }

    /// Reads tag and head, and leaves the body in `rest`.
    fn head(&mut self, rest: &mut &[u8]) -> Result<Frame, FrameError> {
        let tag = rest
            .try_get_u8()
            .map_err(|_| malformed("a frame without a tag"))?;
        Ok(match tag {
            tag::ONE_WAY => Frame::OneWay {
                endpoint: self.name(rest, "endpoint name")?,
                message: self.message(rest)?,
            },
            tag::REQUEST => Frame::Request {
                id: request_id(rest)?,
                endpoint: self.name(rest, "endpoint name")?,
                message: self.message(rest)?,
            },
            tag::REPLY => Frame::Reply {
                id: request_id(rest)?,
                message: self.message(rest)?,
            },
            tag::FAILURE => Frame::Failure {
                id: request_id(rest)?,
                error: Bytes::new(),
            },
            tag::FORGET => Frame::Forget {
                id: request_id(rest)?,
            },
            tag::PING => Frame::Ping,
            tag::PONG => Frame::Pong,
            tag::BYE => Frame::Bye {
                reason: Bytes::new(),
            },
            tag::OPEN => Frame::Open { path: Bytes::new() },
            tag::OPEN_RANGE => Frame::OpenRange {
                offset: number(rest, "offset")?,
                length: number(rest, "length")?,
                path: Bytes::new(),
            },
            tag::CHUNK => Frame::Chunk {
                bytes: Bytes::new(),
            },
            tag::END => Frame::End,
            tag::STREAM_FAILURE => Frame::StreamFailure {
                reason: Bytes::new(),
            },
            tag::STANDS_STILL => Frame::StandsStill {
                endpoint: self.name(rest, "endpoint name")?,
            },
            tag::GOES_ON => Frame::GoesOn {
                pause: number(rest, "pause")?,
                endpoint: self.name(rest, "endpoint name")?,
            },
            other => return Err(malformed(format!("unknown tag {other}"))),
        })
    }

    fn message(&mut self, rest: &mut &[u8]) -> Result<Message, FrameError> {
        let kind = self.name(rest, "message kind")?;
        Ok(Message {
            kind,
            body: Bytes::new(),
        })
    }

    fn name(&mut self, rest: &mut &[u8], what: &str) -> Result<Arc<str>, FrameError> {
        let truncated = || malformed(format!("the frame ends inside its {what}"));
        let (length, tail) = rest.split_first().ok_or_else(truncated)?;
        let (name, tail) = tail
            .split_at_checked(usize::from(*length))
            .ok_or_else(truncated)?;
        *rest = tail;
        self.names
            .get_bytes(name)
            .ok_or_else(|| malformed(format!("the {what} is not UTF-8")))
    }
}

fn request_id(rest: &mut &[u8]) -> Result<RequestId, FrameError> {
    number(rest, "request id").map(RequestId)
}

fn number(rest: &mut &[u8], what: &str) -> Result<u64, FrameError> {
    rest.try_get_u64_le()
        .map_err(|_| malformed(format!("the frame ends inside its {what}")))
}
