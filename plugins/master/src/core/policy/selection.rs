//! Selection: which workers are looked at first.

use std::rc::Rc;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::super::ids::WorkerKey;

/// The order of workers. Equal ones are in order of id, in the same direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Selection {
    /// Most free cores first.
    #[default]
    CoresFreeDesc,
    /// Fewest free cores first.
    CoresFreeAsc,
    /// Most free memory first.
    MemoryFreeDesc,
    /// Least free memory first.
    MemoryFreeAsc,
    /// In order of id.
    WorkerId,
}

/// The place of a worker in that order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    free: u32,
    id: Rc<str>,
    /// The worker.
    pub worker: WorkerKey,
}

impl Selection {
    const NAMED: [(&str, Self); 5] = [
        ("CORES_FREE_DESC", Self::CoresFreeDesc),
        ("CORES_FREE_ASC", Self::CoresFreeAsc),
        ("MEMORY_FREE_DESC", Self::MemoryFreeDesc),
        ("MEMORY_FREE_ASC", Self::MemoryFreeAsc),
        ("WORKER_ID", Self::WorkerId),
    ];

    /// The rank of a worker with so much free.
    pub fn rank(self, cores: u32, memory_mb: u32, id: Rc<str>, worker: WorkerKey) -> Rank {
        let free = match self {
            Self::CoresFreeDesc | Self::CoresFreeAsc => cores,
            Self::MemoryFreeDesc | Self::MemoryFreeAsc => memory_mb,
            Self::WorkerId => 0,
        };
        Rank { free, id, worker }
    }

    /// The workers in this order, of ranks that stand in ascending order.
    pub fn order<'a>(
        self,
        ascending: impl DoubleEndedIterator<Item = &'a Rank> + 'a,
    ) -> Box<dyn Iterator<Item = WorkerKey> + 'a> {
        match self {
            Self::CoresFreeDesc | Self::MemoryFreeDesc => {
                Box::new(ascending.rev().map(|rank| rank.worker))
            }
            Self::CoresFreeAsc | Self::MemoryFreeAsc | Self::WorkerId => {
                Box::new(ascending.map(|rank| rank.worker))
            }
        }
    }
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut named = Self::NAMED.iter();
        let found = named.find(|(name, _)| name.eq_ignore_ascii_case(text));
        found.map(|(_, selection)| *selection).ok_or_else(|| {
            let names: Vec<&str> = Self::NAMED.iter().map(|(name, _)| *name).collect();
            format!("it is one of {}", names.join(", "))
        })
    }
}
