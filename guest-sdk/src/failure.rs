//! Failure: why something did not work, for programs (`code`) and for people (`text`).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Schema;

/// Why an ask, a send or a handler did not do what it was for.
///
/// A handler returns it; whoever asks receives it. It is plain data, so it may stand in a message
/// or in state.
///
/// ```
/// use instar_sdk::Failure;
///
/// let by_text: Failure = "the ledger is closed".into();
/// assert_eq!(by_text.code, Failure::FAILED);
/// assert_eq!(by_text.to_string(), "the ledger is closed");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Schema)]
pub struct Failure {
    /// Stable identifier; the constants of this type name those that host and SDK use. A handler
    /// may choose its own. Treat one that you do not know like [`Failure::FAILED`].
    pub code: String,
    /// One sentence: what was expected, what was found, what to do next.
    pub text: String,
}

impl Failure {
    /// The handler said so, and chose no code of its own.
    pub const FAILED: &'static str = "failed";
    /// The endpoint has no handler for the kind. Send another kind, or deploy another version.
    pub const UNSUPPORTED: &'static str = "unsupported";
    /// The bytes are no value of the kind: sender and receiver disagree on its fields.
    pub const UNDECODABLE: &'static str = "undecodable";
    /// The call was given up without an answer, or an answer came for a call that is not open.
    pub const UNANSWERED: &'static str = "unanswered";
    /// Nothing has this name.
    pub const ENDPOINT_NOT_FOUND: &'static str = "endpoint-not-found";
    /// The receiver's inbox has no room. Back off and try again.
    pub const INBOX_FULL: &'static str = "inbox-full";
    /// The peer reads slower than this host writes. Back off and try again.
    pub const OUTBOX_FULL: &'static str = "outbox-full";
    /// The endpoint or its host was stopped.
    pub const STOPPED: &'static str = "stopped";
    /// The handler of the message broke.
    pub const CRASHED: &'static str = "crashed";
    /// No answer in time. The handler may have run: ask again only if that is harmless.
    pub const TIMEOUT: &'static str = "timeout";
    /// The peer cannot be reached, or the connection broke.
    pub const NETWORK: &'static str = "network";
    /// A message is larger than the limit.
    pub const TOO_LARGE: &'static str = "too-large";
    /// Somebody gave up before the answer was there.
    pub const ABORTED: &'static str = "aborted";
    /// A limit or a missing right forbids it.
    pub const DENIED: &'static str = "denied";

    /// A uri or address that cannot be one.
    pub const INVALID_ADDRESS: &'static str = "invalid-address";
    /// A host says no: it has no such file, or does not give it away.
    pub const REFUSED: &'static str = "refused";
    /// The store of the host cannot be written or read.
    pub const PERSISTENCE: &'static str = "persistence";
    /// The endpoint leads no more, or never did: ask the one that leads.
    pub const LEADERSHIP: &'static str = "leadership";

    /// A failure with this text and the code [`Failure::FAILED`].
    pub fn new(text: impl Into<String>) -> Self {
        Self::with_code(Self::FAILED, text)
    }

    /// A failure with a code of its own, so that programs can tell it from others.
    pub fn with_code(code: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            text: text.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}
