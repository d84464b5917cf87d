//! Registry: the names of this host. Needs the right `registry`.

use crate::description::Metadata;
use crate::host;

/// The names of this host, as they are now. From [`crate::Context::registry`].
#[derive(Clone, Copy, Debug)]
pub struct Registry {
    _from_a_context: (),
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            _from_a_context: (),
        }
    }

    /// True where an endpoint of this name is registered.
    pub fn exists(&self, name: &str) -> bool {
        host::registry_exists(name)
    }

    /// The description of the version that runs behind a name.
    pub fn describe(&self, name: &str) -> Option<Metadata> {
        host::registry_describe(name)
    }

    /// All registered names, in order.
    pub fn names(&self) -> Vec<String> {
        host::registry_names()
    }
}
