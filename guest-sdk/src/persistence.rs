//! Persistence: values that outlive the process of the host. Needs the right `persist`.

use crate::{Bytes, Context, Failure, host};

/// The values that this endpoint keeps in the store of its host, under names of its own. From
/// [`Context::persistence`].
#[derive(Debug)]
pub struct Persistence {
    _from_a_context: (),
}

impl Context {
    /// What this endpoint keeps in the store of its host. Needs the right `persist`; a component that
    /// calls this imports `instar:endpoint/persistence`, and no other does.
    pub fn persistence(&mut self) -> Persistence {
        Persistence {
            _from_a_context: (),
        }
    }
}

impl Persistence {
    /// Keeps a value under a name of 1 to 255 bytes, instead of the one that it had.
    ///
    /// What this turn does after it (sends, answers, asks, timers) happens only when it is durable;
    /// what later turns do comes after that. What one turn persists becomes durable together or not
    /// at all; then what this turn did after it does not happen, calls that it answered fail with
    /// [`Failure::PERSISTENCE`], and `on_error` tells.
    ///
    /// # Errors
    /// [`Failure::DENIED`] (the host has no store; this endpoint keeps as much as it may; or hosts share
    /// the store, and this endpoint does not lead), [`Failure::TOO_LARGE`] (the name, the value, or all
    /// that this turn persists).
    pub fn persist(&mut self, name: &str, value: &[u8]) -> Result<(), Failure> {
        host::persist(name, value)
    }

    /// Forgets a name, in the same way. One that has no value is forgotten already.
    ///
    /// # Errors
    /// [`Failure::DENIED`] (the host has no store; or hosts share it, and this endpoint does not lead),
    /// [`Failure::TOO_LARGE`] (the name, or all that this turn persists).
    pub fn unpersist(&mut self, name: &str) -> Result<(), Failure> {
        host::unpersist(name)
    }

    /// All values whose names begin with `prefix`, in order of name: what is durable, and what this
    /// endpoint persisted and is about to be.
    ///
    /// # Errors
    /// [`Failure::DENIED`] (the host has no store), [`Failure::TOO_LARGE`] (more than 64 MiB at once, names
    /// and values: read a longer prefix), [`Failure::PERSISTENCE`] (it cannot be read).
    pub fn read(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, Failure> {
        let values = host::read_persisted(prefix)?;
        Ok(values
            .into_iter()
            .map(|(name, value)| (name, Bytes::from(value)))
            .collect())
    }
}
