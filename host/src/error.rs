//! What can go wrong between a caller and an endpoint. One type, local and over the wire.
//!
//! Each variant has a stable [`RpcError::code`], the one that guests see in WIT's `failure`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a send or an ask did not do what it was for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RpcError {
    /// Nothing has this name; trying again helps only after a deploy.
    #[error("no endpoint named `{endpoint}` on {host}; `instar status` lists the names")]
    EndpointNotFound {
        /// The name that was looked for.
        endpoint: String,
        /// The host that was asked.
        host: String,
    },
    /// Back off and try again; an operator may raise `inbox` in the sidecar.
    #[error("inbox of `{endpoint}` is full: {capacity} messages waiting")]
    InboxFull {
        /// Whose inbox.
        endpoint: String,
        /// How many messages it holds.
        capacity: usize,
    },
    /// The peer reads slower than we write; back off and try again.
    #[error("outbox to {peer} is full: {capacity} messages waiting")]
    OutboxFull {
        /// The peer.
        peer: String,
        /// How many messages it holds.
        capacity: usize,
    },
    /// The endpoint or its host was stopped.
    #[error("{what} is stopped")]
    Stopped {
        /// `endpoint NAME`, `host ADDRESS`, `outbox to ADDRESS`.
        what: String,
    },
    /// The handler of this very message broke. The message was not handled; others were not touched.
    #[error("endpoint `{endpoint}` crashed: {reason}")]
    Crashed {
        /// Who.
        endpoint: String,
        /// Panic text or trap of the guest.
        reason: String,
    },
    /// No answer in time. The handler may have run: ask again only if that is harmless.
    #[error("no answer from {who} within {after:?}; this limit is `{setting}`")]
    Timeout {
        /// Endpoint and peer.
        who: String,
        /// How long was waited.
        after: Duration,
        /// The setting or argument that gave the limit.
        setting: String,
    },
    /// The peer cannot be reached, or the connection broke while the answer was awaited.
    #[error("network error with {peer}: {cause}")]
    Network {
        /// The peer.
        peer: String,
        /// What happened.
        cause: String,
    },
    /// The endpoint has no handler for this kind; `instar inspect` lists those it has.
    #[error("endpoint `{endpoint}` does not handle messages of kind `{kind}`")]
    Unsupported {
        /// Who.
        endpoint: String,
        /// The kind that was sent.
        kind: String,
    },
    /// The body is not a value of the kind: sender and receiver disagree on its fields.
    #[error("{what} cannot be decoded: {reason}")]
    Undecodable {
        /// Kind and endpoint.
        what: String,
        /// What does not fit.
        reason: String,
    },
    /// The handler ended without an answer and gave up the right to answer later.
    #[error("endpoint `{endpoint}` gave the call up without an answer")]
    Unanswered {
        /// Who.
        endpoint: String,
    },
    /// Make the message smaller, or raise the limit on both sides.
    #[error("{what} has {bytes} bytes, more than the limit of {limit} (`{setting}`)")]
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
        /// The setting that holds the limit.
        setting: String,
    },
    /// The caller itself gave up.
    #[error("aborted: {cause}")]
    Aborted {
        /// The reason it gave.
        cause: String,
    },
    /// A limit or a missing right forbids it.
    #[error("denied: {reason}")]
    Denied {
        /// Which limit or right.
        reason: String,
    },
    /// The handler answered with a failure of its own.
    #[error("{text}")]
    Failed {
        /// Identifier that the handler chose; `failed` if it chose none.
        code: String,
        /// Its text.
        text: String,
    },
}

impl RpcError {
    /// The stable identifier of this error, as in `wit/types.wit`.
    pub fn code(&self) -> &str {
        match self {
            Self::EndpointNotFound { .. } => "endpoint-not-found",
            Self::InboxFull { .. } => "inbox-full",
            Self::OutboxFull { .. } => "outbox-full",
            Self::Stopped { .. } => "stopped",
            Self::Crashed { .. } => "crashed",
            Self::Timeout { .. } => "timeout",
            Self::Network { .. } => "network",
            Self::Unsupported { .. } => "unsupported",
            Self::Undecodable { .. } => "undecodable",
            Self::Unanswered { .. } => "unanswered",
            Self::TooLarge { .. } => "too-large",
            Self::Aborted { .. } => "aborted",
            Self::Denied { .. } => "denied",
            Self::Failed { code, .. } => code,
        }
    }
}

/// An error with its causes, on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
