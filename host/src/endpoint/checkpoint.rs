//! Checkpoint: a copy of the state now and then, for the case of a crash. What has to be decided is
//! pure; making the copy, on the endpoint's own task, is the second half.
//!
//! Invariants
//! 1. The image is one of the code and the settings that run: a flip replaces it or drops it.
//! 2. The ledger's mark is the moment of the image, or of the trial as long as there is one.
//!
//! Not here: what is told to a state that was taken back ([`super::ledger`]).

use std::time::Duration;

use super::handle::lock;
use super::runner::Runner;
use super::settings::Checkpoint;
use super::trial::Image;
use crate::component::instance::{Crash, StateError};

/// The last copy, and what happened since.
#[derive(Default)]
pub(super) struct Checkpoints {
    image: Option<Image>,
    taken: Duration,
    messages: u64,
    changed: bool,
    /// Whatever the settings say, the next copy is due.
    due_now: bool,
}

impl Checkpoints {
    /// The last copy.
    pub(super) fn image(&self) -> Option<&Image> {
        self.image.as_ref()
    }

    /// Something was handled, `messages` of it from others.
    pub(super) fn handled(&mut self, messages: u64) {
        self.messages += messages;
        self.changed = true;
    }

    pub(super) fn keep(&mut self, image: Image, now: Duration) {
        *self = Self {
            image: Some(image),
            taken: now,
            ..Self::default()
        };
    }

    /// There is no copy of this state.
    pub(super) fn forget(&mut self, now: Duration) {
        *self = Self {
            taken: now,
            ..Self::default()
        };
    }

    /// A copy is due, whatever the settings say of when: if they want any.
    pub(super) fn want_now(&mut self) {
        self.due_now = true;
    }

    /// There was no copy this time: the next try is one interval away.
    fn put_off(&mut self, now: Duration) {
        self.taken = now;
        self.messages = 0;
        self.due_now = false;
    }

    pub(super) fn is_due(&self, settings: &Checkpoint, now: Duration) -> bool {
        let enough = settings.messages.is_some_and(|most| self.messages >= most);
        let late = settings
            .time
            .is_some_and(|most| now.saturating_sub(self.taken) >= most);
        settings.is_wanted() && ((self.changed && (enough || late)) || self.due_now)
    }

    /// When one is due by time, if nothing else is handled before.
    pub(super) fn wakes(&self, settings: &Checkpoint) -> Option<Duration> {
        let time = settings.time.filter(|_| self.changed)?;
        Some(self.taken.saturating_add(time))
    }
}

impl Runner {
    /// Copies the state if a copy is due. Not while a version is on probation, which has a copy of its
    /// own, nor while there is work that a copy could not carry.
    pub(super) async fn keep_checkpoint(&mut self) {
        if !self.endpoint.running.load().settings.checkpoint.is_wanted() {
            return;
        }
        let now = self.endpoint.clock.now();
        let running = self.endpoint.running();
        let due = self.checkpoints.is_due(&running.settings.checkpoint, now);
        if !due || self.trial.is_some() || self.volatile > 0 || !self.started {
            return;
        }
        let Some(instance) = &mut self.instance else {
            return;
        };
        let state_version = running.metadata.state.version;
        let last_id = lock(&self.endpoint.ledger).last_id();
        match instance.snapshot(state_version).await {
            Ok(state) => {
                let image = Image {
                    standing: self.standing(),
                    running,
                    state_version,
                    state,
                    last_id,
                };
                self.keep_image(image);
            }
            Err(StateError::Refused(reason)) => {
                let name = self.endpoint.name();
                tracing::warn!(endpoint = name, reason, "no checkpoint: `snapshot` refused");
                self.checkpoints.put_off(now);
            }
            Err(StateError::Crashed(reason)) => {
                self.checkpoints.put_off(now);
                let reason = format!("crashed while its state was copied: {reason}");
                self.crashed(Crash::between_turns(reason), None);
            }
        }
    }

    /// This is the state to come back to.
    pub(super) fn keep_image(&mut self, image: Image) {
        let now = self.endpoint.clock.now();
        lock(&self.endpoint.ledger).set_mark(image.last_id, &self.pending, now);
        self.checkpoints.keep(image, now);
        self.endpoint.shown(|shown| shown.checkpoint = Some(now));
    }

    /// There is no state to come back to.
    pub(super) fn forget_image(&mut self) {
        lock(&self.endpoint.ledger).forget_mark();
        self.checkpoints.forget(self.endpoint.clock.now());
        self.endpoint.shown(|shown| shown.checkpoint = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::trial::tests::image;

    const SECOND: Duration = Duration::from_secs(1);

    fn every(messages: Option<u64>, time: Option<Duration>) -> Checkpoint {
        Checkpoint { messages, time }
    }

    #[test]
    fn a_copy_is_due_after_so_many_messages_or_so_much_time_with_something_new() {
        let mut checkpoints = Checkpoints::default();
        let settings = every(Some(3), Some(SECOND * 5));
        assert!(!checkpoints.is_due(&settings, SECOND * 9), "nothing new");
        assert_eq!(checkpoints.wakes(&settings), None);
        checkpoints.handled(1);
        assert!(!checkpoints.is_due(&settings, SECOND));
        assert_eq!(checkpoints.wakes(&settings), Some(SECOND * 5));
        assert!(checkpoints.is_due(&settings, SECOND * 5));
        checkpoints.handled(2);
        assert!(checkpoints.is_due(&settings, SECOND));
        checkpoints.keep(image(), SECOND);
        assert!(!checkpoints.is_due(&settings, SECOND * 9));
    }

    #[test]
    fn without_a_setting_there_is_never_one() {
        let mut checkpoints = Checkpoints::default();
        checkpoints.handled(1_000_000);
        checkpoints.want_now();
        assert!(!checkpoints.is_due(&Checkpoint::default(), SECOND * 1000));
    }

    #[test]
    fn after_a_trial_one_is_due_at_once() {
        let mut checkpoints = Checkpoints::default();
        checkpoints.want_now();
        assert!(checkpoints.is_due(&every(Some(1000), None), Duration::ZERO));
    }
}
