//! What a guest wants to be run beside it, as plain data: the host's mirror of `wit/launching.wit`.
//!
//! Not here: whether it can be run ([`crate::launch`] says so).

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::time::Duration;

/// What is to be run, and with how much of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workload {
    /// Its work folder, below the host's.
    pub folder: String,
    /// What is run.
    pub component: ComponentFile,
    /// MiB of all its instances together.
    pub memory_mb: u32,
    /// Percent of one core, of all its instances together.
    pub cpu_percent: u32,
    /// What it is run as.
    pub program: Program,
}

/// A component: where its file is, and by what it is recognised.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ComponentFile {
    /// `instar://HOST:PORT/PATH`.
    pub uri: String,
    /// SHA-256 of the file: 64 lower-case hex digits.
    pub sha256: String,
}

/// What a component is run as.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// It stands behind endpoints.
    Endpoint {
        /// Their names: one instance each.
        names: Vec<String>,
        /// The configuration of each.
        config: BTreeMap<String, String>,
    },
    /// It is a component of world `wasi:cli/command`.
    Command {
        /// The name of the program among them, as the first.
        arguments: Vec<String>,
        /// Its environment.
        environment: BTreeMap<String, String>,
    },
}

/// Which work folders are to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleaning {
    /// First-level folders that stay.
    pub keep: Vec<String>,
    /// Others go if nothing in them was changed for so long.
    pub unused: Duration,
}

impl Workload {
    /// The same for two launches of the same workload with the same token.
    pub(crate) fn fingerprint(&self, token: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self, token).hash(&mut hasher);
        hasher.finish()
    }

    /// How many bytes of text it has, for the limit of a message.
    pub(crate) fn text_bytes(&self) -> usize {
        let pairs = |map: &BTreeMap<String, String>| -> usize {
            map.iter().map(|(key, value)| key.len() + value.len()).sum()
        };
        let list = |list: &[String]| -> usize { list.iter().map(String::len).sum() };
        let program = match &self.program {
            Program::Endpoint { names, config } => list(names) + pairs(config),
            Program::Command {
                arguments,
                environment,
            } => list(arguments) + pairs(environment),
        };
        self.folder.len() + self.component.uri.len() + self.component.sha256.len() + program
    }
}
