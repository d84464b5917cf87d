//! Standing: which endpoints of this host stand still right now, for requests that come meanwhile.
//!
//! Before it: [`super::Transport`], which is told so. After it: [`super::reader`], which tells its peer.
//!
//! Invariant: whoever is told in [`Standing::if_still`] is told before [`Standing::goes_on`] returns,
//! so that the news that the endpoint goes on comes after it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(super) struct Standing {
    /// There are some. Requests mostly look at nothing else.
    any: AtomicBool,
    names: Mutex<HashSet<Box<str>>>,
}

impl Standing {
    fn names(&self) -> MutexGuard<'_, HashSet<Box<str>>> {
        // Nothing under the lock can panic halfway through a change.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stands_still(&self, endpoint: &str) {
        let mut names = self.names();
        names.insert(endpoint.into());
        self.any.store(true, Ordering::Release);
    }

    pub(super) fn goes_on(&self, endpoint: &str) {
        let mut names = self.names();
        names.remove(endpoint);
        self.any.store(!names.is_empty(), Ordering::Release);
    }

    /// Calls `tell`, which must not block, if the endpoint stands still.
    pub(super) fn if_still(&self, endpoint: &str, tell: impl FnOnce()) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let names = self.names();
        if names.contains(endpoint) {
            tell();
        }
    }
}
