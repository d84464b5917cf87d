//! Throttle: how long a guest has to pause so that it gets at most its share of a core.
//!
//! Before it: the epoch callback, which comes once for each tick that a guest runs. After it: the pause
//! that the callback makes.
//!
//! A guest may run at once what it did not use within the last [`WINDOW`]. Pure: it is told the time.

use std::time::Duration;

use super::engine::TICK;

/// The time over which the share holds.
const WINDOW: Duration = Duration::from_millis(100);

/// The share of one guest, and what it has left of it.
#[derive(Debug)]
pub(super) struct Throttle {
    percent: u32,
    /// Time that it may run at once. Counted in microseconds; below zero it ran ahead of its share.
    left: i64,
    seen: Duration,
}

impl Throttle {
    /// None where the share is a whole core: a guest has one thread and cannot use more.
    pub(super) fn new(percent: Option<u32>) -> Option<Self> {
        let percent = percent?.max(1);
        (percent < 100).then(|| Self {
            percent,
            left: share(WINDOW, percent),
            seen: Duration::ZERO,
        })
    }

    /// It ran for a tick until `now`, on any clock that only goes forward. How long it has to pause.
    pub(super) fn ran(&mut self, now: Duration) -> Duration {
        let passed = now.saturating_sub(self.seen).min(WINDOW);
        self.seen = now;
        let full = share(WINDOW, self.percent);
        self.left = (self.left + share(passed, self.percent)).min(full) - micros(TICK);
        if self.left >= 0 {
            return Duration::ZERO;
        }
        let behind = u64::try_from(-self.left).unwrap_or(0);
        Duration::from_micros(behind.saturating_mul(100) / u64::from(self.percent))
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn share(time: Duration, percent: u32) -> i64 {
    micros(time).saturating_mul(i64::from(percent)) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a guest that never rests for `time`; says how long it ran.
    fn run(percent: u32, time: Duration) -> Duration {
        let mut throttle = Throttle::new(Some(percent)).unwrap();
        let (mut now, mut ran) = (Duration::ZERO, Duration::ZERO);
        while now < time {
            now += TICK;
            ran += TICK;
            now += throttle.ran(now);
        }
        ran
    }

    #[test]
    fn a_guest_that_never_rests_gets_its_share_and_what_it_may_run_ahead() {
        let second = Duration::from_secs(1);
        for percent in [1, 5, 20, 50, 99] {
            let ran = run(percent, second * 10);
            let share = second * 10 * percent / 100;
            let ahead = WINDOW * percent / 100;
            assert!(
                ran >= share - TICK && ran <= share + ahead + TICK,
                "{percent} %: ran {ran:?} of {share:?}"
            );
        }
    }

    #[test]
    fn what_was_not_used_is_kept_for_a_window_only() {
        let mut throttle = Throttle::new(Some(50)).unwrap();
        let mut now = Duration::from_secs(3600);
        let mut at_once = 0;
        loop {
            now += TICK;
            if throttle.ran(now) > Duration::ZERO {
                break;
            }
            at_once += 1;
        }
        assert!((90..=110).contains(&at_once), "{at_once}");
    }

    #[test]
    fn a_whole_core_needs_no_throttle() {
        assert!(Throttle::new(None).is_none());
        assert!(Throttle::new(Some(100)).is_none());
        assert!(Throttle::new(Some(400)).is_none());
        assert!(Throttle::new(Some(0)).is_some());
    }
}
