//! Who decides which of several hosts leads, as a setting of a host.

use std::sync::Arc;

use super::latches::Latches;
use super::{Alone, Elections};
use crate::zookeeper::{ZooKeeperError, ZooKeeperSettings};

/// Who decides which of several hosts leads.
#[derive(Clone, Default)]
pub enum ElectionSettings {
    /// Nobody: nobody else can lead. Default.
    #[default]
    None,
    /// A latch in ZooKeeper.
    ZooKeeper(ZooKeeperSettings),
    /// Somebody else.
    By(Arc<dyn Elections>),
}

impl std::fmt::Debug for ElectionSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::ZooKeeper(settings) => f.debug_tuple("ZooKeeper").field(settings).finish(),
            Self::By(_) => f.write_str("By(..)"),
        }
    }
}

impl ElectionSettings {
    /// What decides. Within a tokio runtime.
    ///
    /// # Errors
    /// What can never work: a bad URL, a file that cannot be read.
    pub(crate) fn elections(&self) -> Result<Arc<dyn Elections>, ZooKeeperError> {
        Ok(match self {
            Self::None => Arc::new(Alone),
            Self::ZooKeeper(settings) => Arc::new(Latches::start(settings)?),
            Self::By(elections) => Arc::clone(elections),
        })
    }
}
