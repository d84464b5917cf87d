//! Order: whether the numbers of each sender came exactly once and in order.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Missing numbers that are remembered, so that a late one is told from a double. Beyond it, a late
/// number counts as doubled: still not nothing.
const MISSING_MAX: usize = 10_000;

/// What came, and what comes next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Numbers that came.
    pub messages: u64,
    /// Numbers that are missing.
    pub lost: u64,
    /// Numbers that came again.
    pub doubled: u64,
    /// Numbers that came late.
    pub reordered: u64,
    next: BTreeMap<u32, u64>,
    missing: BTreeSet<(u32, u64)>,
}

impl Order {
    /// Counts a number that came.
    pub fn came(&mut self, sender: u32, number: u64) {
        self.messages += 1;
        let next = self.next.entry(sender).or_default();
        if number >= *next {
            self.lost += number - *next;
            let room = MISSING_MAX.saturating_sub(self.missing.len());
            let missing = (*next..number).take(room).map(|number| (sender, number));
            self.missing.extend(missing);
            *next = number.saturating_add(1);
        } else if self.missing.remove(&(sender, number)) {
            self.lost -= 1;
            self.reordered += 1;
        } else {
            self.doubled += 1;
        }
    }

    /// The number of a sender that comes next: so many came, if all is well.
    pub fn next(&self, sender: u32) -> u64 {
        self.next.get(&sender).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages, lost, doubled, reordered.
    fn check(numbers: &[u64], expected: (u64, u64, u64, u64)) {
        let mut order = Order::default();
        for number in numbers {
            order.came(7, *number);
        }
        let found = (order.messages, order.lost, order.doubled, order.reordered);
        assert_eq!(found, expected, "{numbers:?}");
    }

    #[test]
    fn what_is_lost_doubled_or_reordered_is_told_apart() {
        check(&[0, 1, 2, 3], (4, 0, 0, 0));
        check(&[0, 1, 3], (3, 1, 0, 0));
        check(&[0, 1, 1, 2], (4, 0, 1, 0));
        check(&[0, 2, 1, 3], (4, 0, 0, 1));
        check(&[0, 2, 2, 5, 1, 0], (6, 2, 2, 1));
    }

    #[test]
    fn each_sender_has_an_order_of_its_own() {
        let mut order = Order::default();
        for (sender, number) in [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1)] {
            order.came(sender, number);
        }
        assert_eq!((order.lost, order.doubled, order.reordered), (0, 0, 0));
        assert_eq!([0, 1, 2, 3].map(|sender| order.next(sender)), [2, 2, 1, 0]);
    }
}
