//! How long until the next try: doubling up to a limit, with jitter so that many do not try at once.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Pauses between tries.
#[derive(Debug)]
pub(crate) struct BackOff {
    next: Duration,
}

impl BackOff {
    /// The first pause.
    pub(crate) const FIRST: Duration = Duration::from_millis(100);
    /// No pause is longer, but for jitter.
    pub(crate) const LAST: Duration = Duration::from_secs(2);

    pub(crate) fn new() -> Self {
        Self { next: Self::FIRST }
    }

    /// The next pause: three quarters of it for certain, the rest by chance.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(Self::LAST);
        // Chance without a crate for it: each RandomState has keys of its own.
        let chance = RandomState::new().hash_one(0_u8) % 256;
        pause * 3 / 4 + pause / 2 * u32::try_from(chance).unwrap_or_default() / 256
    }

    /// The next try is the first one again.
    pub(crate) fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit() {
        let mut back_off = BackOff::new();
        let mut expected = BackOff::FIRST;
        for _ in 0..10 {
            let pause = back_off.pause();
            assert!(
                pause >= expected * 3 / 4 && pause <= expected * 5 / 4,
                "{pause:?}"
            );
            expected = (expected * 2).min(BackOff::LAST);
        }
        back_off.reset();
        assert!(back_off.pause() <= BackOff::FIRST * 5 / 4);
    }
}
