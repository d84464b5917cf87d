//! Token: what the host keeps for an endpoint beside an open ask or a timer.
//!
//! Two kinds of continuation share it: typed ones, which any version with a handler for their kind
//! can take up, and volatile ones, which belong to one instance. A volatile one that comes back to
//! another instance is recognised by [`crate::executor`], which knows what it waits for.

use serde::{Deserialize, Serialize};

use crate::message::{Message, to_bytes};
use crate::{Failure, call};

#[derive(Serialize, Deserialize)]
pub(crate) enum Token<'a> {
    /// A message of this endpoint to itself.
    Continuation {
        #[serde(borrow)]
        kind: &'a str,
        #[serde(borrow)]
        body: &'a [u8],
    },
    /// An `async` handler of one instance waits.
    Volatile {
        /// The kind that the handler handles.
        #[serde(borrow)]
        handler: &'a str,
        /// The call that the handler has to answer: failed if the handler is gone.
        call: Option<u64>,
    },
}

impl Token<'_> {
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, Failure> {
        to_bytes(self).map_err(|error| Failure::new(format!("a token cannot be encoded: {error}")))
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Token<'_>, Failure> {
        postcard::from_bytes(bytes).map_err(|error| {
            Failure::with_code(
                Failure::UNDECODABLE,
                format!(
                    "a token of {} bytes is none of this SDK: {error}; \
                     was the version before built with another kit?",
                    bytes.len()
                ),
            )
        })
    }
}

/// Hands `then` over to the host: `keep` gets its token. Calls in it stay open if `keep` accepts;
/// otherwise they are dropped with it, which fails them.
pub(crate) fn hand_over<M: Message, T>(
    then: M,
    keep: impl FnOnce(&[u8]) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let body = to_bytes(&then)
        .map_err(|error| Failure::new(format!("`{}` cannot be encoded: {error}", M::KIND)))?;
    let token = Token::Continuation {
        kind: M::KIND,
        body: &body,
    };
    let kept = keep(&token.to_bytes()?)?;
    call::keeping_open(|| drop(then));
    Ok(kept)
}
