//! LogBudget: a flood of one sort of event costs a few lines of log a second, not one line each.
//!
//! What is left out is counted, and told with the next line. The events themselves are counted
//! elsewhere, all of them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines within one [`PERIOD`].
const LINES_MAX: u32 = 10;
const PERIOD: Duration = Duration::from_secs(1);

/// The lines of one sort of event.
#[derive(Debug, Default)]
pub(crate) struct LogBudget {
    spent: Mutex<Spent>,
}

#[derive(Debug, Default)]
struct Spent {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl LogBudget {
    /// Asks for a line at `now`: `Some` with the number of events that were left out since the last
    /// line, or `None` to leave this one out.
    pub(crate) fn line(&self, now: Instant) -> Option<u64> {
        // Nothing under the lock can panic halfway through a change.
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = spent
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= PERIOD);
        if fresh {
            spent.since = Some(now);
            spent.lines = 0;
        }
        if spent.lines == LINES_MAX {
            spent.left_out += 1;
            return None;
        }
        spent.lines += 1;
        Some(std::mem::take(&mut spent.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_a_few_lines_and_the_next_one_tells_how_much_was_left_out() {
        let (budget, start) = (LogBudget::default(), Instant::now());
        let lines = (0..1000).filter(|_| budget.line(start).is_some()).count();
        assert_eq!(lines, LINES_MAX as usize);
        assert_eq!(budget.line(start + PERIOD / 2), None);
        assert_eq!(budget.line(start + PERIOD), Some(1000 - 10 + 1));
        assert_eq!(budget.line(start + PERIOD), Some(0));
    }
}
