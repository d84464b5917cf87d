//! What can go wrong with a store.

use std::path::PathBuf;

use crate::zookeeper::ZooKeeperError;

/// Why a store cannot be opened. Nothing of what is there is changed or deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory or a file in it cannot be used; correct its rights or give another.
    #[error("cannot use the store {}", path.display())]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// One store belongs to one host: stop the other one, or give another directory.
    #[error(
        "the store {} is in use by {by}; stop that, or give another directory",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who has it, as it says itself.
        by: String,
    },
    /// The file was changed by something else, or the disk lost a part of it.
    #[error(
        "the store {} is damaged: {reason}; nothing was deleted: put a copy of it back, or move it \
         away to begin with an empty store",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A newer host wrote it; run that one.
    #[error(
        "the store {} has format {found}, this host knows {known}; run the host that wrote it",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// ZooKeeper can never be used as it is set; correct that.
    #[error("cannot keep anything in ZooKeeper at {url}")]
    ZooKeeper {
        /// Its servers.
        url: String,
        /// What is wrong.
        source: ZooKeeperError,
    },
}
