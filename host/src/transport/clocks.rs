//! Clocks: how long the endpoints behind one connection stood still, as far as their host tells.
//!
//! Before it: [`super::Transport`], for those who are about to ask; [`super::reader`], with what the
//! peer tells. One set per connection, not per peer: a request and the pauses that stretch it take
//! the same way, and a peer with two connections tells on both.
//!
//! Invariants
//! 1. Only what somebody here waits for has a clock: a peer cannot make one.
//! 2. At most twice as many entries as clocks that somebody holds, and [`SWEEP_LEAST`].
//! 3. After the end of the connection every clock goes on.
//!
//! Not here: how much a deadline is stretched at most, see [`crate::clock`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::clock::PauseClock;

/// So many entries are kept without a look whether anybody holds their clocks.
const SWEEP_LEAST: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Clocks {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    clocks: HashMap<Box<str>, Weak<PauseClock>>,
    /// With so many entries those are thrown away whose clocks nobody holds any more.
    sweep_at: usize,
}

impl Clocks {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clock of an endpoint; one that never stood still if nobody holds it yet.
    pub(super) fn of(&self, endpoint: &str) -> Arc<PauseClock> {
        let mut state = self.state();
        if let Some(clock) = state.clocks.get(endpoint).and_then(Weak::upgrade) {
            return clock;
        }
        if state.clocks.len() >= state.sweep_at.max(SWEEP_LEAST) {
            state.clocks.retain(|_, clock| clock.strong_count() > 0);
            state.sweep_at = 2 * state.clocks.len();
        }
        let clock = Arc::default();
        state.clocks.insert(endpoint.into(), Arc::downgrade(&clock));
        clock
    }

    /// The clock of an endpoint, if somebody holds it.
    pub(super) fn known(&self, endpoint: &str) -> Option<Arc<PauseClock>> {
        self.state().clocks.get(endpoint).and_then(Weak::upgrade)
    }

    pub(super) fn stands_still(&self, endpoint: &str) {
        if let Some(clock) = self.known(endpoint) {
            clock.stop();
        }
    }

    pub(super) fn goes_on(&self, endpoint: &str, pause: Duration) {
        if let Some(clock) = self.known(endpoint) {
            clock.go_on(pause);
        }
    }

    /// The connection is gone: nothing of it holds anybody up.
    pub(super) fn end(&self) {
        let clocks = std::mem::take(&mut self.state().clocks);
        for clock in clocks.into_values().filter_map(|clock| clock.upgrade()) {
            clock.go_on_if_still();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_for_an_endpoint_look_at_one_clock() {
        let clocks = Clocks::default();
        let (one, other) = (clocks.of("e"), clocks.of("e"));
        clocks.stands_still("e");
        assert!(one.stands_still() && other.stands_still());
        clocks.goes_on("e", MS * 5);
        assert_eq!((one.total(), one.stands_still()), (MS * 5, false));
        assert!(Arc::ptr_eq(&one, &other));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_is_ignored() {
        let clocks = Clocks::default();
        drop(clocks.of("e"));
        for name in ["e", "other"] {
            clocks.stands_still(name);
            clocks.goes_on(name, MS);
            assert!(clocks.known(name).is_none());
        }
        assert_eq!(clocks.of("e").total(), Duration::ZERO, "a clock of its own");
    }

    #[test]
    fn the_number_of_entries_follows_that_of_the_clocks_in_use() {
        let clocks = Clocks::default();
        let held: Vec<_> = (0..100)
            .map(|number| clocks.of(&format!("held-{number}")))
            .collect();
        for number in 0..10_000 {
            clocks.of(&format!("e-{number}"));
            assert!(clocks.state().clocks.len() <= 2 * held.len() + SWEEP_LEAST);
        }
        for (number, clock) in held.iter().enumerate() {
            assert!(Arc::ptr_eq(clock, &clocks.of(&format!("held-{number}"))));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn with_the_connection_every_standstill_ends() {
        let clocks = Clocks::default();
        let (still, other) = (clocks.of("still"), clocks.of("other"));
        clocks.stands_still("still");
        tokio::time::advance(MS * 30).await;
        clocks.end();
        assert_eq!((still.total(), still.stands_still()), (MS * 30, false));
        assert_eq!(other.total(), Duration::ZERO);
    }
}
