//! Store: values of endpoints that outlive the process. One file, one writer.
//!
//! Before it: the effects of a turn ([`crate::endpoint`]). After it: `file`, the file itself.
//!
//! Invariants
//! 1. A write that is told to be durable survives the end of this process at any instant, however it ends.
//! 2. A write is durable as a whole or not at all, and writes become durable in the order in which they
//!    were submitted.
//! 3. Nobody waits for the disk but the writer's own thread and whoever waits for a [`Ticket`].
//!
//! All writes that wait are one commit: with many at once, each costs a fraction of one.
//!
//! Not here: what a turn does while it waits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, mpsc};
use std::thread::JoinHandle;

use bytes::Bytes;
use redb::Database;
use tokio::sync::oneshot;

use self::kept::Kept;
use self::writer::Order;
use crate::error::RpcError;

mod error;
mod file;
mod kept;
pub mod limits;
mod writer;
mod writes;

pub use self::error::StoreError;
pub use self::writes::{Usage, Writes};

/// The code of failures of the store.
pub(crate) const PERSISTENCE: &str = "persistence";

/// A store. The file belongs to it until [`Store::close`], or until it is dropped, which blocks then.
pub(crate) struct Store {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the writer and those who read have in common.
struct Shared {
    path: PathBuf,
    kept: Mutex<Kept>,
    /// None: closed, or a write failed and the file could not be opened again yet.
    database: RwLock<Option<Database>>,
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
    told: oneshot::Receiver<Result<(), Arc<str>>>,
}

impl Store {
    /// Opens the store in a directory, which is made where it is missing. Blocks.
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
        let lock = file::take(directory)?;
        let path = file::path_in(directory);
        let opened = file::open(&path)?;
        let mut kept = Kept::default();
        kept.found(opened.sizes);
        let shared = Arc::new(Shared {
            path: path.clone(),
            kept: Mutex::new(kept),
            database: RwLock::new(Some(opened.database)),
        });
        let (orders, queue) = mpsc::channel();
        let writer = {
            let shared = Arc::clone(&shared);
            let commit = opened.commit;
            std::thread::Builder::new()
                .name("instar-store".to_owned())
                .spawn(move || writer::run(&shared, &queue, commit, lock))
        };
        let writer = writer.map_err(|source| StoreError::Unusable { path, source })?;
        Ok(Self {
            shared,
            orders,
            writer: Mutex::new(Some(writer)),
        })
    }

    /// [`Store::open`], on a thread on which it may block.
    pub(crate) async fn open_aside(directory: PathBuf) -> Result<Arc<Self>, StoreError> {
        let path = directory.clone();
        let opening = tokio::task::spawn_blocking(move || Self::open(&directory));
        let opened = opening.await.unwrap_or_else(|error| {
            let source = std::io::Error::other(error);
            Err(StoreError::Unusable { path, source })
        });
        opened.map(Arc::new)
    }

    /// [`Store::close`], on a thread on which it may block.
    pub(crate) async fn close_aside(self: &Arc<Self>) {
        let this = Arc::clone(self);
        // An error means that the runtime ends, and this process with it.
        let _ = tokio::task::spawn_blocking(move || this.close()).await;
    }

    /// The store for one endpoint.
    pub(crate) fn of(self: &Arc<Self>, endpoint: &str) -> EndpointStore {
        EndpointStore {
            store: Arc::clone(self),
            endpoint: endpoint.into(),
        }
    }

    /// Writes what waits, and gives the file back. Blocks. What is submitted after it fails.
    pub(crate) fn close(&self) {
        // An error means that the writer has ended, which is what is wanted.
        let _ = self.orders.send(Order::Close);
        if let Some(writer) = lock(&self.writer).take() {
            let _ = writer.join();
        }
    }
}

impl Drop for Store {
    /// The file is given back when this returns, so that it can be opened anew at once.
    fn drop(&mut self) {
        self.close();
    }
}

impl EndpointStore {
    /// Begins to write. Never blocks; the order of calls is the order of writes.
    pub(crate) fn submit(&self, writes: Writes) -> Ticket {
        let (tell, told) = oneshot::channel();
        // Numbered and queued under one lock: the numbers are in the order of the queue.
        let mut kept = lock(&self.store.shared.kept);
        let number = kept.begin(&self.endpoint, writes.all());
        let write = writer::Write {
            endpoint: Arc::clone(&self.endpoint),
            number,
            writes,
            tell,
        };
        let sent = self.store.orders.send(Order::Write(write));
        if let Err(mpsc::SendError(Order::Write(write))) = sent {
            kept.end(&self.endpoint, number, write.writes.all(), false);
            // Dropping it tells that the store is closed.
        }
        Ticket { told }
    }

    pub(crate) fn size_of(&self, name: &str) -> Option<usize> {
        lock(&self.store.shared.kept).size_of(&self.endpoint, name)
    }

    /// What the endpoint keeps, what waits counted.
    pub(crate) fn usage(&self) -> Usage {
        lock(&self.store.shared.kept).usage(&self.endpoint)
    }

    /// The values whose names begin with `prefix`: what is durable, and what was submitted.
    ///
    /// # Errors
    /// [`RpcError::TooLarge`], or code `persistence`.
    ///
    /// # Cancellation
    /// Safe.
    pub(crate) async fn read(&self, prefix: &str) -> Result<BTreeMap<String, Bytes>, RpcError> {
        let (this, prefix) = (self.clone(), prefix.to_owned());
        let reading = tokio::task::spawn_blocking(move || this.read_blocking(&prefix));
        reading
            .await
            .unwrap_or_else(|error| Err(failure(&format!("reading was broken off: {error}"))))
    }

    fn read_blocking(&self, prefix: &str) -> Result<BTreeMap<String, Bytes>, RpcError> {
        let shared = &self.store.shared;
        // First what waits: what becomes durable between the two is then in both.
        let waiting = lock(&shared.kept).waiting(&self.endpoint, prefix);
        let database = shared.database.read();
        let database = database.unwrap_or_else(PoisonError::into_inner);
        let Some(database) = &*database else {
            return Err(failure("the file is not open"));
        };
        let found = file::read(database, &self.endpoint, prefix);
        let found = found.map_err(|error| failure(&error.to_string()))?;
        let mut found = found.ok_or_else(|| RpcError::TooLarge {
            what: format!("what is kept under names that begin with `{prefix}`"),
            bytes: limits::READ_BYTES_MAX as u64 + 1,
            limit: limits::READ_BYTES_MAX as u64,
            setting: "store: largest read".to_owned(),
        })?;
        for (name, value) in waiting {
            match value {
                Some(value) => drop(found.insert(name, value)),
                None => drop(found.remove(&name)),
            }
        }
        Ok(found)
    }
}

impl Ticket {
    /// How the write ended; `None` while it waits.
    pub(crate) fn look(&mut self) -> Option<Result<(), RpcError>> {
        match self.told.try_recv() {
            Ok(outcome) => Some(outcome.map_err(|reason| failure(&reason))),
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
            Ok(outcome) => outcome.map_err(|reason| failure(&reason)),
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
fn failure(reason: &str) -> RpcError {
    RpcError::Failed {
        code: PERSISTENCE.to_owned(),
        text: format!("the store of this host: {reason}"),
    }
}

/// What an endpoint is told whose host has no store.
pub(crate) fn no_store() -> RpcError {
    RpcError::Denied {
        reason: "this host has no store; start it with one (`instar up --store`, `instar master \
                 --recovery-mode filesystem`, or `RpcSettings::store`)"
            .to_owned(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
