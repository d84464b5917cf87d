//! A request to ZooKeeper, and what became of one that did not succeed.
//!
//! The client library waits for ever while it has no connection, and a lost connection has several names in
//! it. Here each request has a limit of time, and there are three ends: done, refused (nothing was changed),
//! or unknown (a write may have been made, or will be).

use std::time::Duration;

use zookeeper_client::Error;

/// Why a request did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    /// The servers answered: nothing was changed.
    #[error("ZooKeeper refuses: {}", said(.0))]
    Refused(Error),
    /// A write may have been made, or will be: read before the next one. Requests of one session are done in
    /// their order, so a read that is sent after it sees it; after another connection, `sync` first.
    #[error("it is not known what became of a request to ZooKeeper: {0}")]
    Unknown(String),
    /// The session is over, and what was ephemeral in it gone or about to be.
    #[error("the session with ZooKeeper is over")]
    Over,
}

impl RequestError {
    /// Whether the servers said that there is no such node.
    pub(crate) fn is_no_node(&self) -> bool {
        *self == Self::Refused(Error::NoNode)
    }
}

/// What the servers said, and what it means where that is not to be seen.
fn said(error: &Error) -> String {
    match error {
        // With credentials all that we make is for whomever the servers know us as, so this is nobody.
        Error::InvalidAcl => format!(
            "{error}: it does not know us as the user of our credentials. For those of scheme sasl, SASL is off \
             there (its setting authProvider): turn it on, or use scheme digest"
        ),
        error => error.to_string(),
    }
}

impl From<Error> for RequestError {
    fn from(error: Error) -> Self {
        match error {
            Error::SessionExpired | Error::ClientClosed | Error::SessionMoved => Self::Over,
            // Without its right to be here the session is of no use, and the library ends it.
            Error::AuthFailed => Self::Over,
            Error::NoNode
            | Error::NoAuth
            | Error::BadVersion
            | Error::NoChildrenForEphemerals
            | Error::NodeExists
            | Error::NotEmpty
            | Error::InvalidAcl
            | Error::NotReadOnly
            | Error::NoWatcher
            | Error::QuotaExceeded
            | Error::Throttled
            | Error::MarshallingError
            | Error::Unimplemented
            | Error::BadArguments(_)
            | Error::ReconfigDisabled => Self::Refused(error),
            other => Self::Unknown(other.to_string()),
        }
    }
}

/// Waits for the answer, but no longer than `limit`.
///
/// # Cancellation
/// The request was sent when its future was made: dropping this leaves its outcome unknown.
pub(crate) async fn within<T, E: Into<RequestError>>(
    limit: Duration,
    request: impl Future<Output = Result<T, E>>,
) -> Result<T, RequestError> {
    match tokio::time::timeout(limit, request).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(RequestError::Unknown(format!("no answer within {limit:?}"))),
    }
}
