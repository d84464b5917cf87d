//! What the transport needs from the part of the host that takes its messages.
//!
//! Before it: [`super::reader`] calls it. After it: the dispatcher implements it.
//!
//! Every method is called on a task of the runtime and must not block; waiting is what
//! [`Accepted::Wait`] is for.

use std::fmt;
use std::io;
use std::pin::Pin;

use bytes::Bytes;

use crate::address::Location;
use crate::error::RpcError;
use crate::message::Message;
use crate::responder::Responder;

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Which bytes of a file are wanted. The default is all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileRange {
    /// The first.
    pub offset: u64,
    /// How many at most; `None`: up to the end. Where the file ends before, there are fewer.
    pub length: Option<u64>,
}

impl FileRange {
    /// True where it is all of the file.
    pub fn is_all(self) -> bool {
        self == Self::default()
    }
}

/// A file, piece by piece.
pub trait FileBytes: Send {
    /// The next bytes, at least one and at most `bytes_max`; none at the end of the file, and nowhere
    /// else.
    ///
    /// # Cancellation
    /// Dropping the future may lose bytes: read no further then.
    fn next(&mut self, bytes_max: usize) -> BoxFuture<'_, io::Result<Bytes>>;
}

/// Whether the connection may read on.
pub enum Accepted {
    /// Yes.
    Done,
    /// Not before this future ends. The message itself is taken: a connection that breaks meanwhile
    /// drops the future and nothing else.
    Wait(BoxFuture<'static, ()>),
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "Done",
            Self::Wait(_) => "Wait",
        })
    }
}

/// Takes what connections bring: messages in their order, and what happens to connections.
///
/// `from` and `peer` are what the peer says of itself (where it listens, or its client id); for a
/// connection that this host dialled, the address that was dialled.
pub trait Incoming: Send + Sync + 'static {
    /// A message that wants no answer. `endpoint` is any text of up to 255 bytes.
    fn one_way(&self, from: &Location, endpoint: &str, message: Message) -> Accepted;

    /// A message that wants one answer. The outcome told to `responder` goes back over the
    /// connection that the request came from, or nowhere if that is gone or the asker gave up.
    fn request(
        &self,
        from: &Location,
        endpoint: &str,
        message: Message,
        responder: Responder,
    ) -> Accepted;

    /// A connection for messages is up. Once per connection, before its first message.
    fn connected(&self, peer: &Location);

    /// A connection is down. Once per connection that was [`Incoming::connected`], after its last
    /// message.
    fn disconnected(&self, peer: &Location);

    /// A connection broke, rather than being closed by either side: at most once per connection,
    /// before [`Incoming::disconnected`]. Or one that was needed for a message could not be made: once
    /// per try, after the messages that waited for it failed.
    fn network_error(&self, peer: &Location, cause: &str);

    /// Opens what this host serves as `path`, or says why it does not. The path comes from a peer:
    /// the implementation alone decides what it may name.
    fn open_file(
        &self,
        path: &str,
        range: FileRange,
    ) -> BoxFuture<'static, Result<Box<dyn FileBytes>, String>>;

    /// A one-way message was taken by [`super::OutboxPermit::send`] and did not leave this host.
    fn undeliverable(&self, peer: &Location, endpoint: &str, kind: &str, reason: &RpcError);
}
