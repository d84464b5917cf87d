//! Puppets: any number of endpoints of one host that are no components: what they get is kept for the
//! test, what they say the test says. Real sockets and frames, so their masters cannot tell.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deploy_protocol::EndpointRef;
use instar_host::address::{EndpointAddress, Location};
use instar_host::responder::Responder;
use instar_host::transport::{
    Accepted, BoxFuture, FileBytes, FileRange, Incoming, Listen, Transport, TransportError,
    TransportSettings,
};
use instar_host::{Message, RpcError};
use instar_sdk::{Message as GuestMessage, Request};
use tokio::sync::Notify;

use crate::{DEADLINE, eventually, message};

/// A host of puppets.
pub struct Puppets {
    transport: Transport,
    post: Arc<Post>,
}

/// A message that a puppet got.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// The puppet.
    pub to: String,
    /// What it got.
    pub message: Message,
}

impl Received {
    /// The message, if it is one of this type.
    ///
    /// # Panics
    /// Where its kind is that of the type and its body is not.
    pub fn as_a<M: GuestMessage>(&self) -> Option<M> {
        if *self.message.kind != *M::KIND {
            return None;
        }
        match postcard::from_bytes(&self.message.body) {
            Ok(value) => Some(value),
            Err(error) => panic!("{}: {error}", M::KIND),
        }
    }
}

#[derive(Default)]
struct Post {
    received: Mutex<VecDeque<Received>>,
    came: Notify,
    /// Locations of connections that went down.
    gone: Mutex<Vec<Location>>,
}

impl Incoming for Post {
    fn one_way(&self, _: &Location, endpoint: &str, message: Message) -> Accepted {
        let to = endpoint.to_owned();
        let mut received = lock(&self.received);
        received.push_back(Received { to, message });
        drop(received);
        self.came.notify_waiters();
        Accepted::Done
    }

    fn request(
        &self,
        _: &Location,
        endpoint: &str,
        message: Message,
        responder: Responder,
    ) -> Accepted {
        responder.tell(Err(RpcError::Unsupported {
            endpoint: endpoint.to_owned(),
            kind: message.kind.to_string(),
        }));
        Accepted::Done
    }

    fn connected(&self, _: &Location) {}

    fn disconnected(&self, peer: &Location) {
        lock(&self.gone).push(peer.clone());
        self.came.notify_waiters();
    }

    fn network_error(&self, _: &Location, _: &str) {}

    fn open_file(
        &self,
        path: &str,
        _: FileRange,
    ) -> BoxFuture<'static, Result<Box<dyn FileBytes>, String>> {
        let reason = format!("puppets have no `{path}`");
        Box::pin(async move { Err(reason) })
    }

    fn undeliverable(&self, peer: &Location, endpoint: &str, kind: &str, reason: &RpcError) {
        tracing::warn!(%peer, endpoint, kind, %reason, "a puppet was not heard");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Puppets {
    /// Starts a host of puppets on a free port of loopback.
    ///
    /// # Panics
    /// Where there is no port.
    pub async fn start() -> Self {
        match Self::start_at(0).await {
            Ok(puppets) => puppets,
            Err(error) => panic!("no puppets: {error}"),
        }
    }

    async fn start_at(port: u16) -> Result<Self, TransportError> {
        let post = Arc::new(Post::default());
        let settings = TransportSettings {
            listen: Some(Listen::local(port)),
            port_retries: 0,
            ..TransportSettings::default()
        };
        let transport = Transport::start(settings, Arc::clone(&post) as _).await?;
        Ok(Self { transport, post })
    }

    /// Hangs up on everybody, and is there again at the same address, with what came until then.
    ///
    /// # Panics
    /// Where its port is not free again within [`DEADLINE`].
    pub async fn come_back(&mut self) {
        self.hang_up().await;
        let port = match self.transport.location() {
            Location::Listening(address) => address.port(),
            Location::Client(_) => 0,
        };
        let again = || async move { Self::start_at(port).await.ok() };
        let again = eventually("the port of the puppets is free again", again).await;
        lock(&again.post.received).extend(self.take());
        *self = again;
    }

    /// Address `HOST:PORT` of all puppets of this host.
    pub fn address(&self) -> String {
        self.transport.location().to_string()
    }

    /// The puppet of this name. Every name is one.
    pub fn reference(&self, name: &str) -> EndpointRef {
        EndpointRef::remote(name, self.address())
    }

    /// Sends what a puppet says. Waits for room.
    ///
    /// # Errors
    /// As [`Transport::reserve_wait`].
    pub async fn send<M: GuestMessage>(
        &self,
        to: &EndpointAddress,
        value: &M,
    ) -> Result<(), RpcError> {
        self.send_message(to, message(value)).await
    }

    /// As [`Puppets::send`].
    ///
    /// # Errors
    /// As [`Puppets::send`].
    pub async fn send_message(
        &self,
        to: &EndpointAddress,
        message: Message,
    ) -> Result<(), RpcError> {
        let permit = self.transport.reserve_wait(&to.location).await?;
        permit.send(&to.name, message)
    }

    /// Asks what a puppet asks.
    ///
    /// # Errors
    /// What the endpoint fails with; [`RpcError::Stopped`] where nobody answers within [`DEADLINE`].
    ///
    /// # Panics
    /// Where the answer is of another type.
    pub async fn ask<R: Request>(
        &self,
        to: &EndpointAddress,
        request: &R,
    ) -> Result<R::Reply, RpcError> {
        let (tell, told) = tokio::sync::oneshot::channel();
        let responder = Responder::new(move |outcome| {
            // Whoever gave up waiting does not want it.
            let _ = tell.send(outcome);
        });
        let handle = self
            .transport
            .ask(&to.location, &to.name, message(request), responder);
        let outcome = tokio::time::timeout(DEADLINE, told).await;
        drop(handle);
        let answer = match outcome {
            Ok(Ok(outcome)) => outcome?,
            _ => {
                return Err(RpcError::Stopped {
                    what: format!("{to} within {DEADLINE:?}"),
                });
            }
        };
        match postcard::from_bytes(&answer.body) {
            Ok(value) => Ok(value),
            Err(error) => panic!("the answer to {}: {error}", R::KIND),
        }
    }

    /// Takes all that came.
    pub fn take(&self) -> Vec<Received> {
        lock(&self.post.received).drain(..).collect()
    }

    /// Takes all that came, and waits for something to come, at most `patience`.
    pub async fn take_next(&self, patience: Duration) -> Vec<Received> {
        let came = self.post.came.notified();
        tokio::pin!(came);
        came.as_mut().enable();
        let taken = self.take();
        if !taken.is_empty() || tokio::time::timeout(patience, came).await.is_err() {
            return taken;
        }
        self.take()
    }

    /// Takes the locations of connections that went down.
    pub fn take_gone(&self) -> Vec<Location> {
        lock(&self.post.gone).drain(..).collect()
    }

    /// Takes all that comes until `enough` says so, and says of what came last.
    ///
    /// # Panics
    /// After [`DEADLINE`], with `what` and what came.
    pub async fn take_until(
        &self,
        what: &str,
        mut enough: impl FnMut(&Received) -> bool,
    ) -> Vec<Received> {
        let mut taken = Vec::new();
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let came = self.post.came.notified();
            tokio::pin!(came);
            came.as_mut().enable();
            while let Some(next) = lock(&self.post.received).pop_front() {
                let last = enough(&next);
                taken.push(next);
                if last {
                    return taken;
                }
            }
            if tokio::time::timeout_at(deadline, came).await.is_err() {
                let kinds: Vec<_> = taken.iter().map(|r| (&r.to, &r.message.kind)).collect();
                panic!("not within {DEADLINE:?}: {what}; came: {kinds:?}");
            }
        }
    }

    /// Hangs up on everybody, as a process that ends does.
    pub async fn hang_up(&self) {
        self.transport.shutdown().await;
    }

    /// Waits until something came, at most `patience`.
    pub async fn came(&self, patience: Duration) -> bool {
        let came = self.post.came.notified();
        tokio::time::timeout(patience, came).await.is_ok()
    }
}
