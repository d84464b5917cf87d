//! Incoming: what peers send to endpoints of this host.
//!
//! A full inbox slows the peer: the connection is not read on until there is room. So neither a
//! message nor a request of a peer is refused for want of room, and nothing grows.

use std::sync::{Arc, Weak};

use super::Dispatcher;
use crate::address::Location;
use crate::endpoint::handle::Notice;
use crate::endpoint::inbox::Posted;
use crate::error::RpcError;
use crate::file_server::FileServer;
use crate::message::Message;
use crate::responder::Responder;
use crate::transport::{Accepted, BoxFuture, FileBytes, FileRange, Incoming};

/// Takes what connections bring.
pub(crate) struct FromPeers {
    // Weak: the dispatcher holds the transport, which holds this.
    dispatcher: Weak<Dispatcher>,
    files: Arc<FileServer>,
}

impl FromPeers {
    pub(crate) fn new(dispatcher: &Arc<Dispatcher>, files: &Arc<FileServer>) -> Self {
        Self {
            dispatcher: Arc::downgrade(dispatcher),
            files: Arc::clone(files),
        }
    }

    fn notify_all(&self, notice: impl Fn() -> Notice) {
        if let Some(dispatcher) = self.dispatcher.upgrade() {
            dispatcher.notify_all(notice);
        }
    }
}

impl Incoming for FromPeers {
    fn one_way(&self, from: &Location, endpoint: &str, message: Message) -> Accepted {
        let Some(dispatcher) = self.dispatcher.upgrade() else {
            return Accepted::Done;
        };
        let checked = message.check_sender_may(false);
        let found = match checked.and_then(|()| dispatcher.get(endpoint)) {
            Ok(found) => found,
            Err(error) => {
                dispatcher.dead_letter(endpoint, &message.kind, &error);
                return Accepted::Done;
            }
        };
        match found.inbox().try_reserve() {
            Ok(room) => {
                let kind = Arc::clone(&message.kind);
                if let Err(error) = room.post(Posted::OneWay(message)) {
                    dispatcher.dead_letter(endpoint, &kind, &error);
                }
                Accepted::Done
            }
            Err(RpcError::InboxFull { .. }) => {
                tracing::debug!(peer = %from, endpoint, "inbox full, not reading on");
                Accepted::Wait(Box::pin(async move {
                    let kind = Arc::clone(&message.kind);
                    let room = found.inbox().reserve().await;
                    if let Err(error) = room.and_then(|room| room.post(Posted::OneWay(message))) {
                        dispatcher.dead_letter(found.name(), &kind, &error);
                    }
                }))
            }
            Err(error) => {
                dispatcher.dead_letter(endpoint, &message.kind, &error);
                Accepted::Done
            }
        }
    }

    fn request(
        &self,
        from: &Location,
        endpoint: &str,
        message: Message,
        responder: Responder,
    ) -> Accepted {
        let Some(dispatcher) = self.dispatcher.upgrade() else {
            return Accepted::Done;
        };
        let checked = message.check_sender_may(true);
        let found = match checked.and_then(|()| dispatcher.get(endpoint)) {
            Ok(found) => found,
            Err(error) => {
                responder.tell(Err(error));
                return Accepted::Done;
            }
        };
        let call = Posted::Call {
            message,
            responder,
            sender: from.clone(),
        };
        match (found.inbox().try_reserve(), call) {
            (Ok(room), call) => {
                // A refused call has been told so.
                let _ = room.post(call);
                Accepted::Done
            }
            (Err(RpcError::InboxFull { .. }), call) => Accepted::Wait(Box::pin(async move {
                match (found.inbox().reserve().await, call) {
                    (Ok(room), call) => drop(room.post(call)),
                    (Err(error), Posted::Call { responder, .. }) => responder.tell(Err(error)),
                    (Err(_), Posted::OneWay(_)) => {}
                }
            })),
            (Err(error), Posted::Call { responder, .. }) => {
                responder.tell(Err(error));
                Accepted::Done
            }
            (Err(_), Posted::OneWay(_)) => Accepted::Done,
        }
    }

    fn connected(&self, peer: &Location) {
        tracing::debug!(%peer, "connected");
        self.notify_all(|| Notice::Connected(peer.to_string()));
    }

    fn disconnected(&self, peer: &Location) {
        tracing::debug!(%peer, "disconnected");
        self.notify_all(|| Notice::Disconnected(peer.to_string()));
    }

    fn network_error(&self, peer: &Location, cause: &str) {
        self.notify_all(|| Notice::NetworkError {
            address: peer.to_string(),
            cause: cause.to_owned(),
        });
    }

    fn open_file(
        &self,
        path: &str,
        range: FileRange,
    ) -> BoxFuture<'static, Result<Box<dyn FileBytes>, String>> {
        let (files, path) = (Arc::clone(&self.files), path.to_owned());
        Box::pin(async move { files.open(&path, range).await })
    }

    fn undeliverable(&self, _peer: &Location, endpoint: &str, kind: &str, reason: &RpcError) {
        if let Some(dispatcher) = self.dispatcher.upgrade() {
            dispatcher.dead_letter(endpoint, kind, reason);
        }
    }
}
