//! Untold: what one peer has yet to hear of endpoints of this host that stand still.
//!
//! Before it: [`super::outbox`]. After it: [`super::writer`], which takes it beside the queue, as it
//! does signs of life: how far a peer is behind with its messages has no part in it.
//!
//! Invariants
//! 1. At most [`NAMES_MAX`] names, at most two frames each, however slow the peer and however many the
//!    pauses: those of one endpoint add up.
//! 2. The last thing that a peer hears of an endpoint is how it is.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;

use super::frame::{Frame, NAME_BYTES_MAX};

/// Endpoints of which one peer may have to hear something. Of others it hears nothing: then their
/// pauses count against the deadlines of their callers.
const NAMES_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Untold {
    /// Something is there. The writer looks at this first, and mostly at nothing else.
    any: AtomicBool,
    news: Mutex<HashMap<Arc<str>, News>>,
}

#[derive(Debug, Default)]
struct News {
    /// All pauses that are over.
    paused: Option<Duration>,
    /// One is under way.
    stands_still: bool,
}

impl Untold {
    fn news(&self) -> MutexGuard<'_, HashMap<Arc<str>, News>> {
        // Nothing under the lock can panic halfway through a change.
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stands_still(&self, endpoint: &Arc<str>) {
        self.note(endpoint, |news| news.stands_still = true);
    }

    pub(super) fn goes_on(&self, endpoint: &Arc<str>, pause: Duration) {
        self.note(endpoint, |news| {
            news.paused = Some(news.paused.unwrap_or_default().saturating_add(pause));
            news.stands_still = false;
        });
    }

    fn note(&self, endpoint: &Arc<str>, change: impl FnOnce(&mut News)) {
        if endpoint.len() > NAME_BYTES_MAX {
            return;
        }
        let mut all = self.news();
        let room = all.len() < NAMES_MAX;
        match all.entry(Arc::clone(endpoint)) {
            Entry::Occupied(mut known) => change(known.get_mut()),
            Entry::Vacant(place) if room => change(place.insert(News::default())),
            Entry::Vacant(_) => return,
        }
        drop(all);
        self.any.store(true, Ordering::Release);
    }

    /// Writes all of it behind what is in `out`.
    pub(super) fn take(&self, out: &mut BytesMut) {
        if !self.any.swap(false, Ordering::AcqRel) {
            return;
        }
        let all = std::mem::take(&mut *self.news());
        for (endpoint, news) in all {
            if let Some(paused) = news.paused {
                Frame::goes_on(Arc::clone(&endpoint), paused).encode(out);
            }
            if news.stands_still {
                Frame::StandsStill { endpoint }.encode(out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::frame::Decoder;

    const MS: Duration = Duration::from_millis(1);

    fn told(untold: &Untold) -> Vec<Frame> {
        let mut bytes = BytesMut::new();
        untold.take(&mut bytes);
        let mut decoder = Decoder::new(1024);
        std::iter::from_fn(|| decoder.decode(&mut bytes).unwrap()).collect()
    }

    #[test]
    fn pauses_that_were_not_told_yet_add_up_to_one_frame() {
        let (untold, e) = (Untold::default(), Arc::from("e"));
        for _ in 0..1000 {
            untold.stands_still(&e);
            untold.goes_on(&e, MS * 3);
        }
        assert_eq!(told(&untold), [Frame::goes_on(e, MS * 3000)]);
        assert_eq!(told(&untold), [], "told once");
    }

    #[test]
    fn the_pause_under_way_is_told_after_those_that_are_over() {
        let (untold, e) = (Untold::default(), Arc::<str>::from("e"));
        untold.goes_on(&e, MS);
        untold.stands_still(&e);
        let expected = [
            Frame::goes_on(Arc::clone(&e), MS),
            Frame::StandsStill { endpoint: e },
        ];
        assert_eq!(told(&untold), expected);
    }

    #[test]
    fn there_are_never_more_names_than_the_limit() {
        let untold = Untold::default();
        for number in 0..2 * NAMES_MAX {
            untold.stands_still(&format!("e-{number}").into());
        }
        untold.stands_still(&"x".repeat(NAME_BYTES_MAX + 1).into());
        assert_eq!(told(&untold).len(), NAMES_MAX);
    }
}
