//! Store: values of endpoints that outlive the process. Two backends: a file of this host alone, and nodes
//! in ZooKeeper, which hosts share and to which only the one writes that leads.
//!
//! Before it: the effects of a turn ([`crate::endpoint`]). After it: `file` or `zookeeper`.
//!
//! Invariants
//! 1. A write that is told to be durable survives the end of this process at any instant, however it ends.
//! 2. A write is durable as a whole or not at all, and writes of an endpoint become durable in the order in
//!    which they were submitted.
//! 3. Nobody waits for the disk but the backend itself and whoever waits for a [`Ticket`].
//!
//! Not here: what a turn does while it waits.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use self::file::FileStore;
use self::limits::Bounds;
use self::zookeeper::ZooKeeperStore;
use crate::error::RpcError;
use crate::zookeeper::ZooKeeperSettings;

mod error;
mod file;
mod kept;
pub mod limits;
mod writes;
mod zookeeper;

pub use self::error::StoreError;
pub use self::writes::{Usage, Writes};

/// The code of failures of the store.
pub(crate) const PERSISTENCE: &str = "persistence";

/// Where endpoints keep what outlives the process.
#[derive(Clone, Debug)]
pub enum StoreSettings {
    /// A directory of this host alone. It is made, for this user alone, where it is missing.
    Directory(PathBuf),
    /// Nodes in ZooKeeper, which several hosts share: an endpoint writes only while it leads.
    ZooKeeper(ZooKeeperSettings),
}

impl From<PathBuf> for StoreSettings {
    fn from(directory: PathBuf) -> Self {
        Self::Directory(directory)
    }
}

/// A store.
pub(crate) struct Store {
    backend: Backend,
}

enum Backend {
    File(Arc<FileStore>),
    ZooKeeper(ZooKeeperStore),
}

/// The store as one endpoint sees it: names are its own.
#[derive(Clone)]
pub struct EndpointStore {
    store: Arc<Store>,
    endpoint: Arc<str>,
}

/// A write that is on its way.
#[derive(Debug)]
pub struct Ticket {
    told: oneshot::Receiver<Result<(), RpcError>>,
}

impl Store {
    /// Opens the store. One in ZooKeeper is opened though no server answers: it is used once one does.
    ///
    /// # Cancellation
    /// Dropping the future closes what was opened.
    pub(crate) async fn open(settings: StoreSettings) -> Result<Arc<Self>, StoreError> {
        let backend = match settings {
            StoreSettings::Directory(directory) => {
                let path = directory.clone();
                let opening = tokio::task::spawn_blocking(move || FileStore::open(&directory));
                let opened = opening.await.unwrap_or_else(|error| {
                    let source = std::io::Error::other(error);
                    Err(StoreError::Unusable { path, source })
                });
                Backend::File(Arc::new(opened?))
            }
            StoreSettings::ZooKeeper(settings) => {
                Backend::ZooKeeper(ZooKeeperStore::open(&settings)?)
            }
        };
        Ok(Arc::new(Self { backend }))
    }

    /// Writes what waits, and gives back what is open. What is submitted after it fails.
    pub(crate) async fn close(&self) {
        match &self.backend {
            Backend::File(file) => {
                let file = Arc::clone(file);
                // An error means that the runtime ends, and this process with it.
                let _ = tokio::task::spawn_blocking(move || file.close()).await;
            }
            Backend::ZooKeeper(store) => store.close().await,
        }
    }

    /// The store for one endpoint.
    pub(crate) fn of(self: &Arc<Self>, endpoint: &str) -> EndpointStore {
        EndpointStore {
            store: Arc::clone(self),
            endpoint: endpoint.into(),
        }
    }
}

impl EndpointStore {
    /// Begins to write. Never blocks; the order of calls is the order of writes.
    ///
    /// `fence`: the node that proves the term under which this was decided ([`Term::fence`]). A file needs
    /// none, as it has one writer by its lock; ZooKeeper writes nothing without one, and nothing once the
    /// node is gone.
    ///
    /// [`Term::fence`]: crate::election::leadership::Term::fence
    pub(crate) fn submit(&self, writes: Writes, fence: Option<Arc<str>>) -> Ticket {
        match &self.store.backend {
            Backend::File(file) => file.submit(&self.endpoint, writes),
            Backend::ZooKeeper(store) => store.submit(&self.endpoint, writes, fence),
        }
    }

    /// Whether something written under this fence can become durable. To be asked at once, when a guest
    /// persists; [`EndpointStore::submit`] finds out the same later.
    ///
    /// # Errors
    /// [`RpcError::Denied`]: others write to this store, and this endpoint does not lead.
    pub(crate) fn check_writable(&self, fence: Option<&str>) -> Result<(), RpcError> {
        match &self.store.backend {
            Backend::File(_) => Ok(()),
            Backend::ZooKeeper(store) => store.check_writable(fence),
        }
    }

    pub(crate) fn size_of(&self, name: &str) -> Option<usize> {
        match &self.store.backend {
            Backend::File(file) => file.size_of(&self.endpoint, name),
            Backend::ZooKeeper(store) => store.size_of(&self.endpoint, name),
        }
    }

    /// What the endpoint keeps, what waits counted.
    pub(crate) fn usage(&self) -> Usage {
        match &self.store.backend {
            Backend::File(file) => file.usage(&self.endpoint),
            Backend::ZooKeeper(store) => store.usage(&self.endpoint),
        }
    }

    fn bounds(&self) -> Bounds {
        match &self.store.backend {
            Backend::File(_) => Bounds::FILE,
            Backend::ZooKeeper(_) => Bounds::ZOOKEEPER,
        }
    }

    /// For how long a write of one that leads for certain may wait, before it had better make way for another;
    /// none where nobody else could write.
    pub(crate) fn patience(&self) -> Option<Duration> {
        match &self.store.backend {
            Backend::File(_) => None,
            Backend::ZooKeeper(store) => Some(store.patience()),
        }
    }

    /// What it costs of a turn's bytes to write a value of this size.
    fn cost(&self, name: &str, size: usize) -> usize {
        match &self.store.backend {
            Backend::File(_) => name.len().saturating_add(size),
            Backend::ZooKeeper(store) => store.cost(&self.endpoint, name, size),
        }
    }

    /// The values whose names begin with `prefix`: what is durable, and what was submitted.
    ///
    /// # Errors
    /// [`RpcError::TooLarge`], or code `persistence`.
    ///
    /// # Cancellation
    /// Safe.
    pub(crate) async fn read(&self, prefix: &str) -> Result<BTreeMap<String, Bytes>, RpcError> {
        match &self.store.backend {
            Backend::File(file) => {
                let (file, endpoint) = (Arc::clone(file), Arc::clone(&self.endpoint));
                let prefix = prefix.to_owned();
                let reading = tokio::task::spawn_blocking(move || file.read(&endpoint, &prefix));
                let read = reading.await;
                read.unwrap_or_else(|error| {
                    Err(failure(&format!("reading was broken off: {error}")))
                })
            }
            Backend::ZooKeeper(store) => store.read(&self.endpoint, prefix).await,
        }
    }
}

impl Ticket {
    /// How the write ended; `None` while it waits.
    pub(crate) fn look(&mut self) -> Option<Result<(), RpcError>> {
        match self.told.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(failure("it is closed"))),
        }
    }

    /// Waits until the write has ended. To be called until it is ready, once.
    ///
    /// # Cancellation
    /// Safe.
    pub(crate) async fn wait(&mut self) -> Result<(), RpcError> {
        match (&mut self.told).await {
            Ok(outcome) => outcome,
            Err(_) => Err(failure("it is closed")),
        }
    }
}

impl std::fmt::Debug for EndpointStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EndpointStore({})", self.endpoint)
    }
}

/// The failure of a write or a read.
pub(crate) fn failure(reason: &str) -> RpcError {
    RpcError::Failed {
        code: PERSISTENCE.to_owned(),
        text: format!("the store of this host: {reason}"),
    }
}

/// What an endpoint is told whose host has no store.
pub(crate) fn no_store() -> RpcError {
    RpcError::Denied {
        reason: "this host has no store; start it with one (`--recovery-mode zookeeper`, `instar up --store`, \
                 `instar master --recovery-mode filesystem`, or `RpcSettings::store`)"
            .to_owned(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
