//! A message as the host sees it: a name and bytes.
//!
//! Not here: what the bytes mean. Only guests and the command line ([`crate::schema`]) know.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::RpcError;

/// Kinds that begin like this are the host's: an endpoint may trust that a message of such a kind is
/// from its own host.
const OF_THE_HOST: &str = "instar.";
/// Questions of the host that anybody may ask: what they are answered with opens nothing.
const OPEN_QUESTIONS: [&str; 4] = [
    "instar.CheckExistence",
    "instar.Describe",
    "instar.ListEndpoints",
    "instar.Health",
];

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

    /// Fails where the kind is the host's own: no guest and no peer can send such a message.
    ///
    /// # Errors
    /// [`RpcError::Denied`].
    pub(crate) fn check_sender_may(&self, asks: bool) -> Result<(), RpcError> {
        let kind = &*self.kind;
        let open = asks && OPEN_QUESTIONS.contains(&kind);
        if open || !kind.starts_with(OF_THE_HOST) {
            return Ok(());
        }
        Err(RpcError::Denied {
            reason: format!(
                "`{kind}` is a kind of the host, which it alone sends; name yours otherwise than \
                 `{OF_THE_HOST}`..."
            ),
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_of_the_host_are_its_own_but_for_open_questions() {
        let may = |kind: &str, asks| {
            Message::new(kind, Vec::new())
                .check_sender_may(asks)
                .is_ok()
        };
        assert!(may("shop.GetPrice", false) && may("shop.GetPrice", true));
        assert!(may("instarlike", false) && may("INSTAR.X", false));
        assert!(!may("instar.LaunchChanged", false) && !may("instar.LaunchChanged", true));
        assert!(may("instar.Describe", true) && !may("instar.Describe", false));
    }
}
