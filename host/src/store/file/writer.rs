//! The writer: the one thread that changes the file.
//!
//! It takes all writes that wait and makes one commit of them. A commit that fails leaves the library
//! unable to go on, so the file is opened anew; if it turns out then that the commit is in it after all
//! (the disk may fail after the last byte), it counts.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, mpsc};

use tokio::sync::oneshot;

use super::{Shared, table};
use crate::dir_lock::Taken;
use crate::error::{RpcError, with_causes};
use crate::store::limits::GROUP_BYTES_MAX;
use crate::store::writes::Writes;
use crate::store::{failure, lock};

/// What the writer is to do.
pub(super) enum Order {
    Write(Write),
    Close,
}

/// What one turn wrote.
pub(super) struct Write {
    pub(super) endpoint: Arc<str>,
    pub(super) number: u64,
    pub(super) writes: Writes,
    pub(super) tell: oneshot::Sender<Result<(), RpcError>>,
}

/// Writes until it is told to end, or nobody is left who could tell. `commit`: the last one in the file.
/// `taken`: given back after
/// the file is closed.
pub(super) fn run(shared: &Shared, queue: &mpsc::Receiver<Order>, mut commit: u64, taken: Taken) {
    let mut open = true;
    while open {
        let Ok(first) = queue.recv() else {
            break;
        };
        let (mut group, mut bytes) = (Vec::new(), 0_usize);
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                Order::Write(write) => {
                    bytes = bytes.saturating_add(write.writes.bytes());
                    group.push(write);
                }
                Order::Close => {
                    open = false;
                    break;
                }
            }
            next = match bytes < GROUP_BYTES_MAX {
                true => queue.try_recv().ok(),
                false => None,
            };
        }
        if !group.is_empty() {
            commit += 1;
            let outcome = shared.commit(commit, &group);
            shared.tell(group, outcome);
        }
    }
    *shared
        .database
        .write()
        .unwrap_or_else(PoisonError::into_inner) = None;
    drop(taken);
}

impl Shared {
    fn commit(&self, commit: u64, group: &[Write]) -> Result<(), Arc<str>> {
        let written = match self.is_open() || self.reopen().is_ok() {
            true => self.write(commit, group),
            false => Err("the file cannot be opened again".to_owned()),
        };
        let Err(reason) = written else {
            return Ok(());
        };
        tracing::error!(path = %self.path.display(), reason, "the store cannot be written");
        if self.reopen() == Ok(commit) {
            return Ok(());
        }
        Err(format!("{}: {reason}", self.path.display()).into())
    }

    fn is_open(&self) -> bool {
        let database = self.database.read();
        database.unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn write(&self, commit: u64, group: &[Write]) -> Result<(), String> {
        let database = self.database.read();
        let database = database.unwrap_or_else(PoisonError::into_inner);
        let Some(database) = &*database else {
            return Err("the file is not open".to_owned());
        };
        let writes = group
            .iter()
            .map(|write| (&*write.endpoint, write.writes.all()));
        // A panic in the library must not end the writer: who waits would be told that all is closed.
        let written = catch_unwind(AssertUnwindSafe(|| table::write(database, commit, writes)));
        match written {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(_) => Err("the library that writes it gave up".to_owned()),
        }
    }

    /// Opens the file anew, and gives back the number of its last commit.
    fn reopen(&self) -> Result<u64, ()> {
        let mut database = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *database = None;
        match table::open(&self.path) {
            Ok(opened) => {
                *database = Some(opened.database);
                lock(&self.kept).found(opened.sizes);
                Ok(opened.commit)
            }
            Err(error) => {
                tracing::error!(
                    error = with_causes(&error),
                    "the store cannot be opened again"
                );
                Err(())
            }
        }
    }

    fn tell(&self, group: Vec<Write>, outcome: Result<(), Arc<str>>) {
        let mut kept = lock(&self.kept);
        for write in &group {
            let writes = write.writes.all();
            kept.end(&write.endpoint, write.number, writes, outcome.is_ok());
        }
        drop(kept);
        for write in group {
            // Whoever wrote it may have ended.
            let outcome = outcome.clone().map_err(|reason| failure(&reason));
            let _ = write.tell.send(outcome);
        }
    }
}
