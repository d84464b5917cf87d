//! The one place an answer goes to, whoever waits for it: a task, a guest, or a peer.
//!
//! Invariant: every [`Responder`] is told exactly one outcome. One that is dropped untold tells
//! [`RpcError::Unanswered`] or what [`Responder::or_else`] set, so no asker waits for nothing.

use crate::error::RpcError;
use crate::message::Message;

/// What an ask ends with.
pub type Outcome = Result<Message, RpcError>;

/// Takes one outcome to the asker. Telling it never blocks and never waits.
pub struct Responder {
    sink: Option<Box<dyn FnOnce(Outcome) + Send + Sync>>,
    if_dropped: Option<Box<RpcError>>,
}

impl Responder {
    /// A responder that calls `sink` with the outcome, once, on whatever thread tells it.
    /// `sink` must not block.
    pub fn new(sink: impl FnOnce(Outcome) + Send + Sync + 'static) -> Self {
        Self {
            sink: Some(Box::new(sink)),
            if_dropped: None,
        }
    }

    /// The same, telling `error` if it is dropped untold.
    #[must_use]
    pub fn or_else(mut self, error: RpcError) -> Self {
        self.if_dropped = Some(Box::new(error));
        self
    }

    /// Tells the outcome.
    pub fn tell(mut self, outcome: Outcome) {
        if let Some(sink) = self.sink.take() {
            sink(outcome);
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            let error = self.if_dropped.take().map_or_else(
                || RpcError::Unanswered {
                    endpoint: "unknown".to_owned(),
                },
                |error| *error,
            );
            sink(Err(error));
        }
    }
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Responder")
    }
}
