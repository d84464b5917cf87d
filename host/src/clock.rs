//! Clock: time that stands still while an endpoint does.
//!
//! A swap takes the endpoint out of time: its own timers and asks, and the deadlines of those that
//! wait for its answers, are stretched by exactly the pause. So each endpoint has a [`PauseClock`],
//! which knows how long it stood still. Those who wait for an endpoint of this host look at that very
//! clock; for one of another host, at a copy that its notices keep right.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The longest single pause that stretches a deadline, and the most that all pauses of one ask stretch
/// it. A peer that never says that it goes on, or says it again and again, cannot hold its callers for
/// longer.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(300);

/// How often, while a receiver stands still, an ask whose time is over looks whether it goes on.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How long something stood still so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pauses {
    ended: Duration,
    since: Option<Instant>,
}

impl Pauses {
    fn total(&self, now: Instant) -> Duration {
        let current = self.since.map(|since| now.saturating_duration_since(since));
        self.ended + current.unwrap_or_default().min(PAUSE_MAX)
    }

    fn stands_still(&self, now: Instant) -> bool {
        self.since
            .is_some_and(|since| now.saturating_duration_since(since) < PAUSE_MAX)
    }
}

/// Knows how long an endpoint stood still. Shared by all who have to know.
#[derive(Debug)]
pub(crate) struct PauseClock {
    pauses: watch::Sender<Pauses>,
}

impl Default for PauseClock {
    fn default() -> Self {
        Self {
            pauses: watch::Sender::new(Pauses::default()),
        }
    }
}

impl PauseClock {
    /// The endpoint stands still from now on. Twice is as good as once.
    pub(crate) fn stop(&self) {
        let now = Instant::now();
        self.pauses.send_modify(|pauses| {
            pauses.since.get_or_insert(now);
        });
    }

    /// The endpoint goes on after it stood still for `pause`, whatever was seen of it here.
    pub(crate) fn go_on(&self, pause: Duration) {
        self.pauses.send_modify(|pauses| {
            pauses.ended = pauses.ended.saturating_add(pause.min(PAUSE_MAX));
            pauses.since = None;
        });
    }

    /// Goes on after as long as it was seen to stand still, if it does.
    pub(crate) fn go_on_if_still(&self) {
        let now = Instant::now();
        self.pauses.send_if_modified(|pauses| {
            let was_still = pauses.since.is_some();
            pauses.ended = pauses.total(now);
            pauses.since = None;
            was_still
        });
    }

    /// All pauses so far, the one under way included.
    pub(crate) fn total(&self) -> Duration {
        self.pauses.borrow().total(Instant::now())
    }

    pub(crate) fn stands_still(&self) -> bool {
        self.pauses.borrow().stands_still(Instant::now())
    }

    /// Ends when it does not stand still, or has for [`PAUSE_MAX`]. Cancel-safe.
    async fn goes_on(&self) {
        let mut seen = self.pauses.subscribe();
        let going = seen.wait_for(|pauses| !pauses.stands_still(Instant::now()));
        // An error means that the endpoint ended. Its askers are told by other means.
        let _ = tokio::time::timeout(PAUSE_MAX, going).await;
    }
}

/// The time of one endpoint: time since its start, pauses not counted.
#[derive(Debug)]
pub(crate) struct EndpointClock {
    started: Instant,
    pauses: Arc<PauseClock>,
}

impl EndpointClock {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            pauses: Arc::default(),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed().saturating_sub(self.pauses.total())
    }

    /// The moment at which the endpoint's time will be `at`, if it does not pause before.
    pub(crate) fn moment(&self, at: Duration) -> Instant {
        // A timer of many years is due never, not now.
        let far = Duration::from_secs(365 * 24 * 3600);
        self.started + self.pauses.total() + at.min(self.now() + far)
    }

    /// How long it stood still, for those who wait for it.
    pub(crate) fn pauses(&self) -> &Arc<PauseClock> {
        &self.pauses
    }
}

/// The pauses of a receiver since a moment: by how much a deadline that began then is stretched.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    pauses: Option<Arc<PauseClock>>,
    before: Duration,
    began: Instant,
}

impl Stretch {
    /// From now on. `None`: whoever waits knows of no pauses.
    pub(crate) fn begin(pauses: Option<Arc<PauseClock>>) -> Self {
        Self {
            before: pauses.as_ref().map_or(Duration::ZERO, |p| p.total()),
            pauses,
            began: Instant::now(),
        }
    }

    /// By how much. Never more than the time since it began, though a pause may have begun before,
    /// and never more than [`PAUSE_MAX`].
    pub(crate) fn by(&self) -> Duration {
        let total = self.pauses.as_ref().map_or(Duration::ZERO, |p| p.total());
        let since = total.saturating_sub(self.before);
        since.min(self.began.elapsed()).min(PAUSE_MAX)
    }

    /// True where an ask with `timeout` cannot end now, since its receiver stands still. False in any
    /// case once it has waited for [`PAUSE_MAX`] more than `timeout`, whatever its receiver says.
    pub(crate) fn holds(&self, timeout: Duration) -> bool {
        let stands_still = self.pauses.as_ref().is_some_and(|p| p.stands_still());
        stands_still && !self.left_at_most(timeout).is_zero()
    }

    fn left_at_most(&self, timeout: Duration) -> Duration {
        let most = timeout.saturating_add(PAUSE_MAX);
        most.saturating_sub(self.began.elapsed())
    }

    /// Ends when `timeout` is over, the receiver's pauses not counted. Cancel-safe.
    pub(crate) async fn over(&self, timeout: Duration) {
        loop {
            let spent = self.began.elapsed().saturating_sub(self.by());
            let left = timeout.saturating_sub(spent);
            match &self.pauses {
                Some(pauses) if self.holds(timeout) => {
                    let at_most = self.left_at_most(timeout);
                    // Either way, the next round sees what is left.
                    let _ = tokio::time::timeout(at_most, pauses.goes_on()).await;
                }
                _ if left.is_zero() => return,
                _ => tokio::time::sleep(left).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn the_time_of_an_endpoint_stands_still_in_a_pause() {
        let clock = EndpointClock::start();
        tokio::time::advance(MS * 10).await;
        clock.pauses().stop();
        tokio::time::advance(MS * 20).await;
        assert_eq!(clock.now(), MS * 10);
        clock.pauses().go_on(MS * 20);
        assert_eq!(clock.now(), MS * 10);
        assert_eq!(clock.moment(MS * 15), Instant::now() + MS * 5);
        assert!(clock.moment(Duration::MAX) > Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_stretched_by_exactly_the_pause() {
        let pauses = Arc::new(PauseClock::default());
        let began = Instant::now();
        let stretch = Stretch::begin(Some(Arc::clone(&pauses)));
        let over = tokio::spawn(async move { stretch.over(MS * 1000).await });
        tokio::time::advance(MS * 400).await;
        pauses.stop();
        tokio::time::sleep(MS * 2000).await;
        assert!(
            !over.is_finished(),
            "1 s is over, but not for this endpoint"
        );
        pauses.go_on(MS * 2000);
        over.await.unwrap();
        assert_eq!(began.elapsed(), MS * 3000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_counts_from_the_moment_of_the_ask() {
        let pauses = Arc::new(PauseClock::default());
        pauses.stop();
        tokio::time::advance(MS * 100).await;
        let stretch = Stretch::begin(Some(Arc::clone(&pauses)));
        tokio::time::advance(MS * 30).await;
        pauses.go_on(MS * 130);
        assert_eq!(stretch.by(), MS * 30);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_never_ends_stretches_no_deadline_for_ever() {
        let pauses = Arc::new(PauseClock::default());
        pauses.stop();
        let began = Instant::now();
        Stretch::begin(Some(pauses)).over(MS * 5).await;
        assert!(began.elapsed() <= PAUSE_MAX + MS * 10);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_clock_a_deadline_is_plain_time() {
        let began = Instant::now();
        Stretch::begin(None).over(MS * 7).await;
        assert_eq!(began.elapsed(), MS * 7);
    }

    /// A peer that says of its endpoint whatever it likes, and as often.
    async fn hostile(pauses: Arc<PauseClock>, pause: Duration) {
        loop {
            pauses.stop();
            tokio::time::sleep(MS * 7).await;
            pauses.go_on(pause);
            // Nobody sees it go on: it stands still again before anybody looks.
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_a_receiver_says_of_its_pauses_an_ask_ends() {
        for pause in [Duration::ZERO, MS, PAUSE_MAX, Duration::MAX] {
            let pauses = Arc::new(PauseClock::default());
            let stretch = Stretch::begin(Some(Arc::clone(&pauses)));
            let began = Instant::now();
            let saying = tokio::spawn(hostile(pauses, pause));
            stretch.over(MS * 1000).await;
            saying.abort();
            assert!(began.elapsed() <= PAUSE_MAX + MS * 1010, "{pause:?}");
            assert!(stretch.by() <= PAUSE_MAX);
            assert!(!stretch.holds(MS * 1000));
        }
    }
}
