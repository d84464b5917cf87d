//! Outgoing: what endpoints of this host send, to each other and to peers.

use std::sync::Arc;
use std::time::Duration;

use super::{Dispatcher, FRAME_OVERHEAD};
use crate::address::{EndpointAddress, Location};
use crate::clock::PauseClock;
use crate::component::effect::{Reservation, Room};
use crate::component::metadata::Metadata;
use crate::election::leadership::Leadership;
use crate::election::{Alone, Elections as _};
use crate::endpoint::handle::Endpoint;
use crate::endpoint::inbox::{InboxRoom, Posted};
use crate::endpoint::launches::Launcher;
use crate::endpoint::outgoing::{BoxFuture, Forget, Outgoing};
use crate::error::RpcError;
use crate::message::Message;
use crate::responder::Responder;
use crate::store::Store;
use crate::transport::{FileBytes, FileRange, OutboxPermit};

impl Reservation for InboxRoom {
    fn fill(self: Box<Self>, _to: &EndpointAddress, message: Message) -> Result<(), RpcError> {
        self.post(Posted::OneWay(message))
    }
}

impl Reservation for OutboxPermit {
    fn fill(self: Box<Self>, to: &EndpointAddress, message: Message) -> Result<(), RpcError> {
        self.send(&to.name, message)
    }
}

impl Dispatcher {
    pub(crate) fn is_here(&self, location: &Location) -> bool {
        let here = self.here.lock();
        *here.unwrap_or_else(std::sync::PoisonError::into_inner) == *location
    }

    /// Posts a call to a local endpoint. An inbox without room answers at once.
    fn call(&self, name: &str, message: Message, responder: Responder) {
        let room = self.get(name).and_then(|found| found.inbox().try_reserve());
        match room {
            Ok(room) => {
                let call = Posted::Call {
                    message,
                    responder,
                    sender: self.location(),
                };
                // A refused call has been told so.
                let _ = room.post(call);
            }
            Err(error) => responder.tell(Err(error)),
        }
    }
}

impl Outgoing for Dispatcher {
    fn ask_timeout(&self) -> Duration {
        self.ask_timeout
    }

    fn check_size(&self, bytes: usize) -> Result<(), RpcError> {
        let limit = self.frame_bytes_max.saturating_sub(FRAME_OVERHEAD);
        if bytes <= limit {
            return Ok(());
        }
        Err(RpcError::TooLarge {
            what: "a message".to_owned(),
            bytes: bytes as u64,
            limit: limit as u64,
            setting: "frame_bytes_max".to_owned(),
        })
    }

    fn check_receiver(&self, to: &EndpointAddress) -> Result<(), RpcError> {
        match self.is_here(&to.location) {
            true => self.get(&to.name).map(drop),
            false => Ok(()),
        }
    }

    fn reserve(&self, to: &EndpointAddress) -> Result<Room, RpcError> {
        if self.is_here(&to.location) {
            let room = self.get(&to.name)?.inbox().try_reserve()?;
            return Ok(Box::new(room));
        }
        let permit = self.transport()?.reserve(&to.location)?;
        Ok(Box::new(permit))
    }

    fn reserve_wait(&self, to: &EndpointAddress) -> BoxFuture<Result<Room, RpcError>> {
        if self.is_here(&to.location) {
            let found = self.get(&to.name);
            return Box::pin(async move {
                let room = found?.inbox().reserve().await?;
                Ok(Box::new(room) as Room)
            });
        }
        let (transport, location) = (self.transport(), to.location.clone());
        Box::pin(async move {
            let permit = transport?.reserve_wait(&location).await?;
            Ok(Box::new(permit) as Room)
        })
    }

    fn ask(&self, to: &EndpointAddress, message: Message, responder: Responder) -> Option<Forget> {
        if let Err(error) = self.check_size(message.len()) {
            responder.tell(Err(error));
            return None;
        }
        if self.is_here(&to.location) {
            self.call(&to.name, message, responder);
            return None;
        }
        match self.transport() {
            Ok(transport) => {
                let handle = transport.ask(&to.location, &to.name, message, responder)?;
                Some(Box::new(move || handle.forget()))
            }
            Err(error) => {
                responder.tell(Err(error));
                None
            }
        }
    }

    fn pauses_of(&self, to: &EndpointAddress) -> Option<Arc<PauseClock>> {
        if self.is_here(&to.location) {
            return Some(Arc::clone(self.find(&to.name)?.pauses()));
        }
        let transport = self.transport().ok()?;
        transport.pauses_of(&to.location, &to.name)
    }

    fn stands_still(&self, endpoint: &str) {
        // Without a transport the host has stopped, and there are no peers.
        if let Ok(transport) = self.transport() {
            transport.stands_still(endpoint);
        }
    }

    fn goes_on(&self, endpoint: &str, pause: Duration) {
        if let Ok(transport) = self.transport() {
            transport.goes_on(endpoint, pause);
        }
    }

    fn unregister(&self, endpoint: &Endpoint) {
        let is_it = |found: &Arc<Endpoint>| std::ptr::eq(Arc::as_ptr(found), endpoint);
        Self::unregister(self, endpoint.name(), is_it);
    }

    fn store(&self) -> Result<Arc<Store>, RpcError> {
        let store = self.store.get().cloned();
        store.ok_or_else(crate::store::no_store)
    }

    fn election(&self, endpoint: &str) -> Arc<Leadership> {
        match self.elections.get() {
            Some(elections) => elections.of(endpoint),
            // Nobody said who decides.
            None => Alone.of(endpoint),
        }
    }

    fn open_channel(
        &self,
        uri: &str,
        range: FileRange,
    ) -> BoxFuture<Result<Box<dyn FileBytes>, RpcError>> {
        match self.channels.get() {
            Some(channels) => channels.open_channel(uri, range),
            None => {
                let stopped = self.host_stopped();
                Box::pin(async move { Err(stopped) })
            }
        }
    }

    fn launcher(&self) -> Result<Arc<dyn Launcher>, RpcError> {
        let launcher = self.launcher.get().cloned();
        launcher.ok_or_else(|| RpcError::Denied {
            reason: "this host launches nothing".to_owned(),
        })
    }

    fn describe(&self, name: &str) -> Option<Arc<Metadata>> {
        let endpoint = self.find(name)?;
        Some(Arc::clone(&endpoint.running().metadata))
    }

    fn names(&self) -> Vec<String> {
        let names = self.all();
        names.iter().map(|found| found.name().to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatcher::incoming::FromPeers;
    use crate::transport::{Listen, Transport, TransportSettings};

    const MS: Duration = Duration::from_millis(1);

    /// The part of a host that knows names and peers.
    async fn host(listen: Option<Listen>) -> Arc<Dispatcher> {
        let settings = TransportSettings {
            listen,
            ..TransportSettings::default()
        };
        let dispatcher = Arc::new(Dispatcher::new(MS, settings.frame_bytes_max));
        let incoming = FromPeers::new(&dispatcher, &Arc::default());
        let transport = Transport::start(settings, Arc::new(incoming)).await;
        dispatcher.connect(transport.unwrap());
        dispatcher
    }

    fn at(host: &Dispatcher, name: &str) -> EndpointAddress {
        EndpointAddress::new(name, host.location())
    }

    async fn until(what: &str, state: impl Fn() -> bool) {
        let waiting = async {
            while !state() {
                tokio::time::sleep(MS).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        assert!(waited.is_ok(), "never seen: {what}");
    }

    #[tokio::test]
    async fn a_caller_on_another_host_sees_the_pauses_that_are_told_to_peers() {
        let (server, client) = (host(Some(Listen::local(0))).await, host(None).await);
        let clock = client.pauses_of(&at(&server, "e")).unwrap();
        let connected = || client.transport().unwrap().connections()[0].connected;
        until("the connection", connected).await;
        until("its other end", || {
            !server.transport().unwrap().connections().is_empty()
        })
        .await;
        server.stands_still("e");
        until("it stands still", || clock.stands_still()).await;
        server.goes_on("e", MS * 70);
        until("it goes on", || !clock.stands_still()).await;
        assert_eq!(clock.total(), MS * 70);
    }

    #[tokio::test]
    async fn of_a_name_that_nobody_has_here_and_after_the_end_nobody_knows_pauses() {
        let host = host(None).await;
        assert!(host.pauses_of(&at(&host, "nobody")).is_none());
        let far = EndpointAddress::new("e", "127.0.0.1:1".parse::<Location>().unwrap());
        host.disconnect();
        assert!(host.pauses_of(&far).is_none());
        host.stands_still("e");
        host.goes_on("e", MS);
    }
}
