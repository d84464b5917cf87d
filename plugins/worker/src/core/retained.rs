//! Retained: what has ended and is still shown, the oldest first. When there are more than the limit, a
//! tenth of them goes, at least one: as in Spark, where trimming one by one was too dear.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// A bounded list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Retained<T> {
    limit: u32,
    items: VecDeque<T>,
}

impl<T> Retained<T> {
    /// An empty list that never holds more than `limit`.
    pub fn new(limit: u32) -> Self {
        Self {
            limit,
            items: VecDeque::new(),
        }
    }

    /// Adds the newest.
    pub fn push(&mut self, item: T) {
        self.items.push_back(item);
        let length = self.items.len();
        if length > usize::try_from(self.limit).unwrap_or(usize::MAX) {
            self.items.drain(..(length / 10).max(1));
        }
    }

    /// All of them, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }
}
