//! What others hold of an outbox: a place for one message, or one open request.
//!
//! Before it: [`super::Transport`]. After it: [`super::outbox`], which does the work.

use std::fmt;
use std::sync::Arc;

use super::frame::RequestId;
use super::outbox::Outbox;
use crate::error::RpcError;
use crate::message::Message;
use crate::responder::Responder;

/// A place for one message in an outbox. Dropping it gives the place back.
pub struct OutboxPermit {
    outbox: Arc<Outbox>,
    used: bool,
}

impl OutboxPermit {
    /// For a place that was just reserved in `outbox`.
    pub(super) fn new(outbox: Arc<Outbox>) -> Self {
        let used = false;
        Self { outbox, used }
    }

    /// Puts a message that wants no answer into the outbox. Never waits.
    ///
    /// # Errors
    /// [`RpcError::TooLarge`]: above `frame_bytes_max`, nothing was queued. What ended the outbox, if
    /// it ended since the place was reserved. A message that cannot leave later on is told to
    /// [`super::Incoming::undeliverable`].
    pub fn send(mut self, endpoint: &str, message: Message) -> Result<(), RpcError> {
        self.outbox.put(endpoint, message)?;
        self.used = true;
        Ok(())
    }

    /// Puts a message that wants an answer into the outbox. The outcome goes to `responder`, also if
    /// that is a refusal; then there is no handle.
    pub(super) fn ask(
        mut self,
        endpoint: &str,
        message: Message,
        responder: Responder,
    ) -> Option<RequestHandle> {
        match self.outbox.put_request(endpoint, message, responder) {
            Ok(id) => {
                self.used = true;
                let outbox = Arc::clone(&self.outbox);
                Some(RequestHandle { outbox, id })
            }
            Err((error, responder)) => {
                // The asker may try again at once, so the place comes first.
                drop(self);
                responder.tell(Err(error));
                None
            }
        }
    }
}

impl Drop for OutboxPermit {
    fn drop(&mut self) {
        if !self.used {
            self.outbox.give_back();
        }
    }
}

impl fmt::Debug for OutboxPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutboxPermit(to {})", self.outbox.peer)
    }
}

/// An open request. Dropping the handle changes nothing.
pub struct RequestHandle {
    outbox: Arc<Outbox>,
    id: RequestId,
}

impl RequestHandle {
    /// Gives the request up. If it is still open its responder is told [`RpcError::Aborted`], the peer
    /// hears that no answer is wanted, and a late one is dropped.
    pub fn forget(self) {
        if let Some(responder) = self.outbox.withdraw(self.id) {
            responder.tell(Err(RpcError::Aborted {
                cause: "the asker gave up".to_owned(),
            }));
        }
    }
}

impl fmt::Debug for RequestHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestHandle({} to {})", self.id, self.outbox.peer)
    }
}
