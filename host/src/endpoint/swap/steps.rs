//! Steps: a swap as a pure state machine. What happened goes in, what to do next comes out.
//!
//! ```text
//! Draining --boundary--> Snapshot --> Restore --> Probe --> (Vote) --> Flip
//!     |                     |            |          |          |
//!     +---------------------+------------+----------+----------+--> GiveUp
//! ```
//!
//! Invariants
//! 1. Flip comes only after each step before it went well, and after everybody voted for it.
//! 2. Flip, HandOver and GiveUp are last: nothing comes after one of them.
//! 3. Until then the old version is whole, unless it crashed itself.
//!
//! Not here: doing any of it ([`super::carry`]).

use std::time::Duration;

/// What a try is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Replace the code.
    Swap,
    /// Replace the code if all endpoints of a group can.
    SwapTogether,
    /// Hand a copy of the state over, and go on.
    Copy,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    /// The endpoint is between two messages.
    Boundary {
        /// Continuations that a snapshot could not carry.
        volatile: u32,
        /// The drain limit, if it is over.
        overdue: Option<Duration>,
        /// There is a state to carry.
        has_state: bool,
    },
    /// The state was written.
    Written,
    /// The new version took the state over.
    Restored,
    /// The new version answers.
    Answers,
    /// Everybody is ready.
    Agreed,
    /// A step went wrong, or the endpoint ended meanwhile.
    Wrong(String),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Let continuations end; look again at the next boundary.
    Drain,
    /// Write the state.
    Snapshot,
    /// Give it to the new version.
    Restore,
    /// Ask the new version whether it answers.
    Probe,
    /// Tell the others that this endpoint is ready, and wait for them.
    Vote,
    /// The new version is the endpoint from now on.
    Flip,
    /// Give the copy of the state to whoever wants it; the endpoint goes on.
    HandOver,
    /// The old version goes on.
    GiveUp(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Draining,
    Snapshot,
    Restore,
    Probe,
    Vote,
    Over,
}

/// One try.
#[derive(Debug)]
pub(super) struct Steps {
    purpose: Purpose,
    /// Beyond the drain limit continuations are given up, instead of the swap.
    force: bool,
    at: At,
}

impl Steps {
    pub(super) fn new(purpose: Purpose, force: bool) -> Self {
        Self {
            purpose,
            force,
            at: At::Draining,
        }
    }

    /// Takes what happened and says what to do next. What does not belong to the step under way gives
    /// the try up: going on would be a guess.
    pub(super) fn next(&mut self, happened: Happened) -> Next {
        let (at, next) = match (self.at, happened) {
            (At::Over, _) => (At::Over, Next::GiveUp("the try is over".to_owned())),
            (_, Happened::Wrong(reason)) => (At::Over, Next::GiveUp(reason)),
            (
                At::Draining,
                Happened::Boundary {
                    volatile,
                    overdue,
                    has_state,
                },
            ) => match (volatile, overdue, has_state) {
                (0, _, true) => (At::Snapshot, Next::Snapshot),
                (0, _, false) if self.purpose == Purpose::Copy => {
                    let reason = "the endpoint has no state yet".to_owned();
                    (At::Over, Next::GiveUp(reason))
                }
                (0, _, false) => (At::Probe, Next::Probe),
                (_, None, _) => (At::Draining, Next::Drain),
                (_, Some(_), true) if self.force => (At::Snapshot, Next::Snapshot),
                (volatile, Some(limit), _) => {
                    let reason = format!(
                        "{volatile} async continuations did not end within {limit:?} (limit `drain`)"
                    );
                    (At::Over, Next::GiveUp(reason))
                }
            },
            (At::Snapshot, Happened::Written) if self.purpose == Purpose::Copy => {
                (At::Over, Next::HandOver)
            }
            (At::Snapshot, Happened::Written) => (At::Restore, Next::Restore),
            (At::Restore, Happened::Restored) => (At::Probe, Next::Probe),
            (At::Probe, Happened::Answers) if self.purpose == Purpose::SwapTogether => {
                (At::Vote, Next::Vote)
            }
            (At::Probe, Happened::Answers) => (At::Over, Next::Flip),
            (At::Vote, Happened::Agreed) => (At::Over, Next::Flip),
            (at, unexpected) => {
                let reason = format!("{unexpected:?} while the swap was at {at:?}");
                (At::Over, Next::GiveUp(reason))
            }
        };
        self.at = at;
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const READY: Happened = Happened::Boundary {
        volatile: 0,
        overdue: None,
        has_state: true,
    };

    fn walk(purpose: Purpose, happened: &[Happened]) -> Vec<Next> {
        let mut steps = Steps::new(purpose, false);
        happened.iter().map(|h| steps.next(h.clone())).collect()
    }

    #[test]
    fn a_swap_writes_restores_probes_and_flips() {
        let all = [
            READY,
            Happened::Written,
            Happened::Restored,
            Happened::Answers,
        ];
        assert_eq!(
            walk(Purpose::Swap, &all),
            [Next::Snapshot, Next::Restore, Next::Probe, Next::Flip]
        );
    }

    #[test]
    fn a_swap_together_flips_only_when_all_agree() {
        let all = [
            READY,
            Happened::Written,
            Happened::Restored,
            Happened::Answers,
        ];
        assert_eq!(walk(Purpose::SwapTogether, &all)[3], Next::Vote);
        let agreed = [&all[..], &[Happened::Agreed]].concat();
        assert_eq!(walk(Purpose::SwapTogether, &agreed)[4], Next::Flip);
        let refused = [&all[..], &[Happened::Wrong("b is not ready".to_owned())]].concat();
        let last = walk(Purpose::SwapTogether, &refused).pop();
        assert_eq!(last, Some(Next::GiveUp("b is not ready".to_owned())));
    }

    #[test]
    fn a_copy_touches_nothing_but_the_snapshot() {
        let next = walk(Purpose::Copy, &[READY, Happened::Written]);
        assert_eq!(next, [Next::Snapshot, Next::HandOver]);
    }

    #[test]
    fn an_endpoint_without_state_gets_the_new_version_without_one() {
        let fresh = Happened::Boundary {
            volatile: 0,
            overdue: None,
            has_state: false,
        };
        let next = walk(Purpose::Swap, &[fresh.clone(), Happened::Answers]);
        assert_eq!(next, [Next::Probe, Next::Flip]);
        assert!(matches!(walk(Purpose::Copy, &[fresh])[0], Next::GiveUp(_)));
    }

    #[test]
    fn continuations_are_drained_until_the_limit_and_no_longer() {
        let busy = |overdue| Happened::Boundary {
            volatile: 2,
            overdue,
            has_state: true,
        };
        let limit = Duration::from_secs(1);
        let next = walk(Purpose::Swap, &[busy(None), busy(None), busy(Some(limit))]);
        assert_eq!(next[..2], [Next::Drain, Next::Drain]);
        let Next::GiveUp(reason) = &next[2] else {
            panic!("{next:?}");
        };
        assert!(reason.contains("2 async") && reason.contains("`drain`"));
    }

    #[test]
    fn by_force_continuations_are_given_up_at_the_limit_and_not_before() {
        let busy = |overdue| Happened::Boundary {
            volatile: 2,
            overdue,
            has_state: true,
        };
        let mut steps = Steps::new(Purpose::Swap, true);
        assert_eq!(steps.next(busy(None)), Next::Drain);
        assert_eq!(steps.next(busy(Some(Duration::ZERO))), Next::Snapshot);
    }

    fn anything() -> impl Strategy<Value = Happened> {
        prop_oneof![
            (0..3_u32, any::<bool>(), any::<bool>()).prop_map(|(volatile, late, has_state)| {
                Happened::Boundary {
                    volatile,
                    overdue: late.then_some(Duration::from_secs(1)),
                    has_state,
                }
            }),
            Just(Happened::Written),
            Just(Happened::Restored),
            Just(Happened::Answers),
            Just(Happened::Agreed),
            Just(Happened::Wrong("wrong".to_owned())),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_a_flip_follows_only_good_steps_and_nothing_follows_the_end(
            happened in proptest::collection::vec(anything(), 0..12),
            purpose in prop_oneof![
                Just(Purpose::Swap), Just(Purpose::SwapTogether), Just(Purpose::Copy)
            ],
        ) {
            let next = walk(purpose, &happened);
            let is_last = |next: &Next| {
                matches!(next, Next::Flip | Next::HandOver | Next::GiveUp(_))
            };
            let end = next.iter().position(is_last).unwrap_or(next.len());
            for after in next.iter().skip(end + 1) {
                prop_assert!(matches!(after, Next::GiveUp(_)));
            }
            if let Some(Next::Flip) = next.get(end) {
                let good = &happened[..=end];
                prop_assert!(purpose != Purpose::Copy);
                prop_assert!(good.contains(&Happened::Answers));
                prop_assert!(!good.iter().any(|h| matches!(h, Happened::Wrong(_))));
                if next[..end].contains(&Next::Snapshot) {
                    prop_assert!(good.contains(&Happened::Restored));
                }
                if purpose == Purpose::SwapTogether {
                    prop_assert!(good.contains(&Happened::Agreed));
                }
            }
        }
    }
}
