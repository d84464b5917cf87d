//! A message as the host sees it: a name and bytes.
//!
//! Not here: what the bytes mean. Only guests and the command line ([`crate::schema`]) know.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// One message. Cloning is cheap: kind and body are shared.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Stable name of the message type, 1 to [`Message::KIND_BYTES_MAX`] bytes.
    pub kind: Arc<str>,
    /// The value in postcard encoding; empty for a type without fields.
    pub body: Bytes,
}

impl Message {
    /// The longest kind that travels, in bytes.
    pub const KIND_BYTES_MAX: usize = 255;

    /// A message of `kind` whose body is `body`, taken as it is.
    pub fn new(kind: impl Into<Arc<str>>, body: impl Into<Bytes>) -> Self {
        Self {
            kind: kind.into(),
            body: body.into(),
        }
    }

    /// Bytes of kind and body together: what limits count.
    pub fn len(&self) -> usize {
        self.kind.len() + self.body.len()
    }

    /// True for a message without kind and body.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Message {
    // Bodies may hold secrets and are often large: only their size is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{} B]", self.kind, self.body.len())
    }
}
