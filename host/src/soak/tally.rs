//! Tally: what one sender sent and what came back, and whether that is right. Pure.
//!
//! Two that know nothing of each other count: the endpoint in its state, which is what a swap could
//! spoil, and the senders, which no swap touches. Each difference is a fault.

use super::messages::{Seen, Totals};

/// The versions, in the order in which they take turns.
const VERSIONS: [&str; 3] = ["1.0.0", "2.0.0", "3.0.0"];

/// What is known when a call leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Numbers that the sender sent before.
    pub(super) position: u64,
    /// Swaps that were done for certain.
    pub(super) swaps_done: u64,
}

/// What one sender sent and what came back; added up, of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) sent: u64,
    pub(super) answered: u64,
    pub(super) failed: u64,
    /// Calls that one version took and a later one answered.
    pub(super) by_later: u64,
    /// Answers from a version that was current at no time between call and answer.
    pub(super) outdated: u64,
    /// Calls that were not taken right behind the numbers that were sent before them.
    pub(super) misplaced: u64,
    /// The first thing that failed.
    pub(super) failure: Option<String>,
}

/// What became of the messages, by both counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) reordered: u64,
}

/// The version that runs after so many swaps.
pub(super) fn version_after(swaps: u64) -> &'static str {
    let turn = VERSIONS.iter().cycle().nth((swaps % 3) as usize);
    turn.copied().unwrap_or_default()
}

impl Tally {
    /// A call was answered. `swaps_begun`: swaps that may be done by now.
    pub(super) fn answered(&mut self, asked: Asked, seen: &Seen, swaps_begun: u64) {
        self.answered += 1;
        self.by_later += u64::from(seen.swaps > seen.taken);
        self.misplaced += u64::from(seen.position != asked.position);
        let current = asked.swaps_done..=swaps_begun;
        let fits = current.contains(&seen.taken)
            && current.contains(&seen.swaps)
            && seen.taken <= seen.swaps
            && seen.version == version_after(seen.swaps);
        self.outdated += u64::from(!fits);
    }

    /// Something failed.
    pub(super) fn failed(&mut self, reason: impl FnOnce() -> String) {
        self.failed += 1;
        self.failure.get_or_insert_with(reason);
    }

    /// Adds the tally of another sender.
    pub(super) fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.failed += other.failed;
        self.by_later += other.by_later;
        self.outdated += other.outdated;
        self.misplaced += other.misplaced;
        self.failure = self.failure.take().or(other.failure);
    }

    /// What became of the messages, once all are handled. What the endpoint does not notice - the
    /// last ones missing, a state of before - shows in the difference to what was sent.
    pub(super) fn fate(&self, totals: &Totals) -> Fate {
        let different = totals.messages.saturating_sub(totals.doubled);
        let missing = self.sent.saturating_sub(different);
        let surplus = different.saturating_sub(self.sent);
        Fate {
            lost: missing.max(totals.lost),
            doubled: totals.doubled + surplus,
            reordered: totals.reordered + self.misplaced,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(sent: u64) -> Tally {
        Tally {
            sent,
            ..Tally::default()
        }
    }

    fn totals(messages: u64, lost: u64, doubled: u64, reordered: u64) -> Totals {
        Totals {
            messages,
            lost,
            doubled,
            reordered,
            ..Totals::default()
        }
    }

    fn check(tally: &Tally, totals: &Totals, expected: (u64, u64, u64)) {
        let fate = tally.fate(totals);
        let found = (fate.lost, fate.doubled, fate.reordered);
        assert_eq!(found, expected, "{totals:?}");
    }

    #[test]
    fn what_came_once_and_in_order_is_well() {
        check(&sent(10), &totals(10, 0, 0, 0), (0, 0, 0));
    }

    #[test]
    fn what_the_endpoint_noticed_counts() {
        check(&sent(10), &totals(9, 1, 0, 0), (1, 0, 0));
        check(&sent(10), &totals(11, 0, 1, 0), (0, 1, 0));
        check(&sent(10), &totals(10, 0, 0, 1), (0, 0, 1));
        check(&sent(10), &totals(10, 1, 1, 1), (1, 1, 1));
    }

    #[test]
    fn what_only_the_senders_can_know_counts_as_well() {
        check(&sent(10), &totals(9, 0, 0, 0), (1, 0, 0));
        check(&sent(10), &totals(11, 0, 0, 0), (0, 1, 0));
        check(&sent(10), &Totals::default(), (10, 0, 0));
    }

    /// A call that left after 7 numbers and 3 swaps, and was answered while swap 5 was under way.
    fn answered(swaps: u64, taken: u64, position: u64, version: &str) -> Tally {
        let mut tally = Tally::default();
        let asked = Asked {
            position: 7,
            swaps_done: 3,
        };
        let seen = Seen {
            version: version.to_owned(),
            swaps,
            taken,
            position,
        };
        tally.answered(asked, &seen, 5);
        tally
    }

    #[test]
    fn a_call_that_did_not_keep_its_place_is_reordered() {
        assert_eq!(answered(3, 3, 7, "1.0.0").misplaced, 0);
        let early = answered(3, 3, 6, "1.0.0");
        let fate = early.fate(&Totals::default());
        assert_eq!((early.misplaced, fate.reordered), (1, 1));
        assert_eq!(answered(3, 3, 8, "1.0.0").misplaced, 1);
    }

    #[test]
    fn an_answer_must_come_from_a_version_that_was_current_between_call_and_answer() {
        for (swaps, version) in [(3, "1.0.0"), (4, "2.0.0"), (5, "3.0.0")] {
            assert_eq!(answered(swaps, swaps, 7, version).outdated, 0, "{swaps}");
        }
        assert_eq!(answered(2, 2, 7, "3.0.0").outdated, 1, "a version before");
        assert_eq!(answered(0, 0, 7, "1.0.0").outdated, 1, "a fresh state");
        assert_eq!(answered(6, 6, 7, "1.0.0").outdated, 1, "no such swap yet");
        assert_eq!(
            answered(4, 4, 7, "1.0.0").outdated,
            1,
            "old code, new state"
        );
        assert_eq!(answered(3, 4, 7, "1.0.0").outdated, 1, "back in time");
    }

    #[test]
    fn a_call_that_a_later_version_answers_is_counted_and_is_well() {
        let tally = answered(5, 3, 7, "3.0.0");
        assert_eq!((tally.by_later, tally.outdated), (1, 0));
        assert_eq!(answered(5, 5, 7, "3.0.0").by_later, 0);
    }

    #[test]
    fn tallies_add_up_and_keep_the_first_failure() {
        let mut all = sent(3);
        let mut other = answered(2, 1, 0, "?");
        other.failed(|| "first".to_owned());
        other.failed(|| "second".to_owned());
        all.add(other.clone());
        all.add(other);
        let expected = Tally {
            sent: 3,
            answered: 2,
            failed: 4,
            by_later: 2,
            outdated: 2,
            misplaced: 2,
            failure: Some("first".to_owned()),
        };
        assert_eq!(all, expected);
    }
}
