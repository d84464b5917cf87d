//! Supervisor: whether a crashed endpoint gets another instance, and when. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// Crashes within [`WINDOW`] that are answered with a new instance. One more, and the endpoint fails.
pub(crate) const RESTARTS_MAX: usize = 5;
/// See [`RESTARTS_MAX`].
pub(crate) const WINDOW: Duration = Duration::from_secs(60);
/// The pause before the second new instance within the window; it doubles. The first comes at once.
const BACK_OFF: Duration = Duration::from_millis(100);

/// The crashes of one endpoint that still count.
#[derive(Debug, Default)]
pub(crate) struct RestartBudget {
    crashes: VecDeque<Duration>,
}

/// What to do after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Make a new instance after this time.
    RestartAfter(Duration),
    /// The budget is spent.
    Fail,
}

impl RestartBudget {
    /// Judges a crash at `now`, on any clock that only goes forward.
    pub(crate) fn crashed(&mut self, now: Duration) -> Verdict {
        while self
            .crashes
            .front()
            .is_some_and(|at| now.saturating_sub(*at) >= WINDOW)
        {
            self.crashes.pop_front();
        }
        let before = self.crashes.len();
        if before >= RESTARTS_MAX {
            return Verdict::Fail;
        }
        self.crashes.push_back(now);
        Verdict::RestartAfter(match before {
            0 => Duration::ZERO,
            _ => BACK_OFF * (1 << (before - 1).min(8)),
        })
    }

    /// A person or a new version gives the endpoint another chance.
    pub(crate) fn forgive(&mut self) {
        self.crashes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_crash_costs_no_time_and_the_next_ones_ever_more() {
        let mut budget = RestartBudget::default();
        let waits: Vec<_> = (0..6)
            .map(|n| budget.crashed(Duration::from_secs(n)))
            .collect();
        let after = |ms| Verdict::RestartAfter(Duration::from_millis(ms));
        assert_eq!(
            waits,
            [
                after(0),
                after(100),
                after(200),
                after(400),
                after(800),
                Verdict::Fail
            ]
        );
    }

    #[test]
    fn crashes_older_than_the_window_do_not_count() {
        let mut budget = RestartBudget::default();
        for n in 0..100 {
            let verdict = budget.crashed(Duration::from_secs(n * 20));
            assert_ne!(verdict, Verdict::Fail, "crash {n}");
        }
    }

    #[test]
    fn a_forgiven_endpoint_has_its_whole_budget_again() {
        let mut budget = RestartBudget::default();
        while budget.crashed(Duration::ZERO) != Verdict::Fail {}
        budget.forgive();
        assert_eq!(
            budget.crashed(Duration::ZERO),
            Verdict::RestartAfter(Duration::ZERO)
        );
    }
}
