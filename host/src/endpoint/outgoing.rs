//! Outgoing: the way out of an endpoint, as a trait. [`crate::dispatcher`] implements it, so that an
//! endpoint knows neither names nor sockets.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::handle::Endpoint;
use super::launches::Launcher;
use crate::address::EndpointAddress;
use crate::clock::PauseClock;
use crate::component::effect::Room;
use crate::component::metadata::Metadata;
use crate::election::leadership::Leadership;
use crate::error::RpcError;
use crate::message::Message;
use crate::responder::Responder;
use crate::store::Store;
use crate::transport::{FileBytes, FileRange};

/// A future behind a pointer.
pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Tells the transport that nobody waits for an answer any more.
pub(crate) type Forget = Box<dyn FnOnce() + Send + Sync>;

/// The way out of an endpoint.
pub(crate) trait Outgoing: Send + Sync + 'static {
    /// How long an ask waits that says nothing itself.
    fn ask_timeout(&self) -> Duration;

    /// Fails where a message of `bytes` could not be sent to anybody.
    fn check_size(&self, bytes: usize) -> Result<(), RpcError>;

    /// Fails for a local name that nobody has.
    fn check_receiver(&self, to: &EndpointAddress) -> Result<(), RpcError>;

    /// Room for one message, now: in the inbox of a local receiver, in the outbox to a remote one.
    fn reserve(&self, to: &EndpointAddress) -> Result<Room, RpcError>;

    /// Room for one message, when there is some. Dropping the future gives up the wait.
    fn reserve_wait(&self, to: &EndpointAddress) -> BoxFuture<Result<Room, RpcError>>;

    /// Asks; the outcome, failures included, goes to `responder`. Never blocks.
    fn ask(&self, to: &EndpointAddress, message: Message, responder: Responder) -> Option<Forget>;

    /// How long a receiver stood still: its own clock where it is here, else one that follows what its
    /// host tells from now on. `None`: nobody knows. To be called just before the ask.
    fn pauses_of(&self, to: &EndpointAddress) -> Option<Arc<PauseClock>>;

    /// Tells the peers that an endpoint of this host stands still, for longer than can be told
    /// afterwards only. Never blocks; what a slow peer was not yet told adds up.
    fn stands_still(&self, endpoint: &str);

    /// Tells the peers that an endpoint of this host goes on, after it stood still for `pause`.
    fn goes_on(&self, endpoint: &str, pause: Duration);

    /// Takes the name of an endpoint away, if it still has it: new messages to it fail from now on.
    fn unregister(&self, endpoint: &Endpoint);

    /// The store of this host.
    fn store(&self) -> Result<Arc<Store>, RpcError>;

    /// Where this endpoint stands for election.
    fn election(&self, endpoint: &str) -> Arc<Leadership>;

    /// Opens a range of a file of some host.
    fn open_channel(
        &self,
        uri: &str,
        range: FileRange,
    ) -> BoxFuture<Result<Box<dyn FileBytes>, RpcError>>;

    /// What runs workloads on this host.
    fn launcher(&self) -> Result<Arc<dyn Launcher>, RpcError>;

    /// The description of what runs behind a local name.
    fn describe(&self, name: &str) -> Option<Arc<Metadata>>;

    /// All local names, in order.
    fn names(&self) -> Vec<String>;
}
