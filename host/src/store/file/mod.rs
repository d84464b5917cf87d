//! The file backend: one file, which belongs to one process, written by one thread.
//!
//! All writes that wait are one commit: with many at once, each costs a fraction of one.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::thread::JoinHandle;

use bytes::Bytes;
use redb::Database;
use tokio::sync::oneshot;

use self::writer::Order;
use super::error::StoreError;
use super::kept::Kept;
use super::writes::{Usage, Writes};
use super::{Ticket, failure, limits, lock};
use crate::error::RpcError;

pub(super) mod table;
mod writer;

/// A store in a file. The file belongs to it until [`FileStore::close`], or until it is dropped, which
/// blocks then.
pub(super) struct FileStore {
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

impl FileStore {
    /// Opens the store in a directory, which is made where it is missing. Blocks.
    pub(super) fn open(directory: &Path) -> Result<Self, StoreError> {
        let taken = table::take(directory)?;
        let path = table::path_in(directory);
        let opened = table::open(&path)?;
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
                .spawn(move || writer::run(&shared, &queue, commit, taken))
        };
        let writer = writer.map_err(|source| StoreError::Unusable { path, source })?;
        Ok(Self {
            shared,
            orders,
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Writes what waits, and gives the file back. Blocks. What is submitted after it fails.
    pub(super) fn close(&self) {
        // An error means that the writer has ended, which is what is wanted.
        let _ = self.orders.send(Order::Close);
        if let Some(writer) = lock(&self.writer).take() {
            let _ = writer.join();
        }
    }

    pub(super) fn submit(&self, endpoint: &Arc<str>, writes: Writes) -> Ticket {
        let (tell, told) = oneshot::channel();
        // Numbered and queued under one lock: the numbers are in the order of the queue.
        let mut kept = lock(&self.shared.kept);
        let number = kept.begin(endpoint, writes.all());
        let write = writer::Write {
            endpoint: Arc::clone(endpoint),
            number,
            writes,
            tell,
        };
        let sent = self.orders.send(Order::Write(write));
        if let Err(mpsc::SendError(Order::Write(write))) = sent {
            kept.end(endpoint, number, write.writes.all(), false);
            // Dropping it tells that the store is closed.
        }
        Ticket { told }
    }

    pub(super) fn size_of(&self, endpoint: &str, name: &str) -> Option<usize> {
        lock(&self.shared.kept).size_of(endpoint, name)
    }

    pub(super) fn usage(&self, endpoint: &str) -> Usage {
        lock(&self.shared.kept).usage(endpoint)
    }

    /// Blocks.
    pub(super) fn read(
        &self,
        endpoint: &str,
        prefix: &str,
    ) -> Result<BTreeMap<String, Bytes>, RpcError> {
        let shared = &self.shared;
        // First what waits: what becomes durable between the two is then in both.
        let waiting = lock(&shared.kept).waiting(endpoint, prefix);
        let database = shared.database.read();
        let database = database.unwrap_or_else(PoisonError::into_inner);
        let Some(database) = &*database else {
            return Err(failure("the file is not open"));
        };
        // A file that something else changes meanwhile may surprise the library.
        let read = AssertUnwindSafe(|| table::read(database, endpoint, prefix));
        let path = shared.path.display();
        let found = match catch_unwind(read) {
            Ok(found) => found.map_err(|error| failure(&format!("{path}: {error}")))?,
            Err(_) => {
                return Err(failure(&format!(
                    "{path} was changed or damaged while it was open: it cannot be understood; nothing was \
                     deleted: stop this host and put a copy of it back"
                )));
            }
        };
        let mut found = found.ok_or_else(|| limits::read_too_large(prefix))?;
        for (name, value) in waiting {
            match value {
                Some(value) => drop(found.insert(name, value)),
                None => drop(found.remove(&name)),
            }
        }
        Ok(found)
    }
}

impl Drop for FileStore {
    /// The file is given back when this returns, so that it can be opened anew at once.
    fn drop(&mut self) {
        self.close();
    }
}
