//! Trial: a version on probation. What it handled is recorded, so that the version before can take over
//! again. Pure: what is kept, for how long, and what is to be done next.
//!
//! Invariants
//! 1. What is recorded is bounded in number, bytes and time; at the first bound the trial is passed.
//! 2. Time is the endpoint's own: a trial does not run out while the endpoint stands still.
//!
//! Not here: going back ([`super::rollback`]) and replaying what was recorded ([`super::replay`]).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::handle::Running;
use super::leading::Standing;
use super::settings::Probation;
use crate::component::event::Event;
use crate::message::Message;
use crate::responder::Outcome;

/// Kind of the call by which a host asks a version on probation whether it is well. Only versions
/// that handle it are asked.
pub(super) const HEALTH: &str = "instar.Health";
/// How often it asks.
const HEALTH_EVERY: Duration = Duration::from_secs(1);
/// Events that are recorded for each message of the bound, notices and timers included.
const EVENTS_PER_MESSAGE: usize = 4;

/// A state as it was written, and the code that can read it.
#[derive(Clone)]
pub(super) struct Image {
    pub(super) running: Arc<Running>,
    pub(super) state_version: u32,
    pub(super) state: Bytes,
    /// The newest id of the ledger when it was written.
    pub(super) last_id: u64,
    /// How it stood to the election.
    pub(super) standing: Standing,
}

/// A version that has to prove itself.
pub(super) struct Trial {
    /// The version before, with the state of the flip.
    image: Image,
    limits: Probation,
    began: Duration,
    record: Record,
    bytes: usize,
    count: u64,
    health: Health,
}

/// What a version handled, in order.
#[derive(Default)]
pub(super) struct Record {
    pub(super) events: VecDeque<Event>,
    /// Who made each call among them.
    pub(super) senders: HashMap<u64, Arc<str>>,
}

enum Health {
    /// The version does not say.
    Unknown,
    AskAt(Duration),
    Asked {
        call: u64,
        until: Duration,
    },
}

/// What to do about a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    GoOn,
    /// Ask the version whether it is well.
    AskHealth,
    /// It has proved itself.
    Passed,
    /// It is not well, for this reason.
    Sick(String),
}

impl Trial {
    /// None where the settings want no trial. `asks_health`: the version answers [`HEALTH`].
    pub(super) fn begin(
        image: Image,
        limits: &Probation,
        asks_health: bool,
        now: Duration,
    ) -> Option<Self> {
        limits.is_wanted().then(|| Self {
            image,
            limits: limits.clone(),
            began: now,
            record: Record::default(),
            bytes: 0,
            count: 0,
            health: match asks_health {
                true => Health::AskAt(now),
                false => Health::Unknown,
            },
        })
    }

    /// Remembers who made a call that is about to be handled.
    pub(super) fn sender(&mut self, call: u64, sender: &Arc<str>) {
        self.record.senders.insert(call, Arc::clone(sender));
    }

    /// Records what was handled.
    pub(super) fn handled(&mut self, event: Event) {
        if let (Event::Call { id, .. }, Health::Asked { call, .. }) = (&event, &self.health)
            && id == call
        {
            return;
        }
        self.count += u64::from(event.is_message());
        self.bytes = self.bytes.saturating_add(event.bytes());
        self.record.events.push_back(detached(event));
    }

    /// Messages that were handled.
    pub(super) fn messages(&self) -> u64 {
        self.count
    }

    /// What to do at `now`. `turn`: how long an answer may take.
    pub(super) fn look(&self, now: Duration, turn: Duration) -> Look {
        let events = self.limits.messages.saturating_mul(EVENTS_PER_MESSAGE);
        let full = self.count >= self.limits.messages as u64
            || self.bytes >= self.limits.bytes
            || self.record.events.len() >= events;
        if full {
            return Look::Passed;
        }
        match self.health {
            Health::Asked { until, .. } if now >= until => Look::Sick(format!(
                "it did not answer `{HEALTH}` within {turn:?} (limit `turn`)"
            )),
            Health::Asked { .. } => Look::GoOn,
            _ if now >= self.ends() => Look::Passed,
            Health::AskAt(at) if now >= at => Look::AskHealth,
            _ => Look::GoOn,
        }
    }

    /// When [`Trial::look`] may say something else, if nothing is handled before.
    pub(super) fn wakes(&self) -> Duration {
        match self.health {
            Health::Unknown => self.ends(),
            Health::AskAt(at) => at.min(self.ends()),
            Health::Asked { until, .. } => until,
        }
    }

    fn ends(&self) -> Duration {
        self.began.saturating_add(self.limits.time)
    }

    /// The version was asked by this call, and has until then to answer.
    pub(super) fn asked(&mut self, call: u64, until: Duration) {
        self.health = Health::Asked { call, until };
    }

    /// It cannot answer right now, and has until then.
    pub(super) fn put_off(&mut self, to: Duration) {
        if let Health::Asked { until, .. } = &mut self.health {
            *until = to;
        }
    }

    /// It answered. What belongs to another trial's call changes nothing.
    pub(super) fn answered(&mut self, call: u64, outcome: &Outcome, now: Duration) -> Look {
        match self.health {
            Health::Asked { call: asked, .. } if asked == call => {}
            _ => return Look::GoOn,
        }
        self.health = Health::AskAt(now.saturating_add(HEALTH_EVERY));
        match outcome {
            Ok(_well) => Look::GoOn,
            Err(error) => Look::Sick(format!("it is not well: {error}")),
        }
    }

    /// The messages among what was recorded, newest first.
    pub(super) fn newest(&self) -> impl Iterator<Item = &Event> {
        self.record
            .events
            .iter()
            .rev()
            .filter(|event| event.is_message())
    }

    /// The image, and what is to be replayed on it.
    pub(super) fn into_replay(self) -> (Image, Record) {
        (self.image, self.record)
    }
}

/// The last messages that an endpoint handled, for a rehearsal. Bounded in number and bytes.
#[derive(Debug, Default)]
pub(super) struct Recent {
    events: VecDeque<Event>,
    bytes: usize,
}

/// Bytes that [`Recent`] keeps at most.
const RECENT_BYTES_MAX: usize = 1 << 20;

impl Recent {
    /// Keeps a message, at most `most` of them.
    pub(super) fn handled(&mut self, event: Event, most: usize) {
        if !event.is_message() || event.bytes() > RECENT_BYTES_MAX {
            return;
        }
        self.bytes += event.bytes();
        self.events.push_back(detached(event));
        while self.events.len() > most || self.bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes();
        }
    }

    /// The last messages, the ones that a trial recorded since included.
    pub(super) fn copy(&self, trial: Option<&Trial>, most: usize) -> Vec<Event> {
        let on_trial = trial.into_iter().flat_map(Trial::newest);
        let before = self.events.iter().rev();
        let mut newest: Vec<_> = on_trial.chain(before).take(most).cloned().collect();
        newest.reverse();
        newest
    }
}

/// A body of up to so many bytes is copied out of the buffer that it was read into: the buffer may be
/// much larger, and would be kept as long as the body.
const COPIED_BYTES_MAX: usize = 16 << 10;

fn detached(event: Event) -> Event {
    let copy = |message: Message| match message.body.len() {
        0..=COPIED_BYTES_MAX => Message {
            body: Bytes::copy_from_slice(&message.body),
            ..message
        },
        _ => message,
    };
    match event {
        Event::Receive(message) => Event::Receive(copy(message)),
        Event::Call { id, message } => Event::Call {
            id,
            message: copy(message),
        },
        other => other,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::error::RpcError;

    const SECOND: Duration = Duration::from_secs(1);

    pub(crate) fn image() -> Image {
        Image {
            running: Arc::new(Running::for_tests()),
            state_version: 1,
            state: Bytes::from_static(b"state"),
            last_id: 0,
            standing: Standing::default(),
        }
    }

    fn trial(messages: usize, asks_health: bool) -> Trial {
        let limits = Probation {
            messages,
            ..Probation::default()
        };
        Trial::begin(image(), &limits, asks_health, Duration::ZERO).unwrap()
    }

    fn receive(body: &'static [u8]) -> Event {
        Event::Receive(Message::new("t.Kind", body))
    }

    #[test]
    fn a_trial_is_passed_after_so_many_messages_or_so_much_time() {
        let mut trial = trial(2, false);
        trial.handled(receive(b"1"));
        assert_eq!(trial.look(SECOND * 9, SECOND), Look::GoOn);
        assert_eq!(trial.look(SECOND * 10, SECOND), Look::Passed);
        trial.handled(receive(b"2"));
        assert_eq!(trial.look(SECOND, SECOND), Look::Passed);
        assert_eq!(trial.into_replay().1.events.len(), 2);
    }

    #[test]
    fn notices_alone_do_not_make_a_trial_endless() {
        let mut trial = trial(2, false);
        for _ in 0..8 {
            trial.handled(Event::Connected("peer".to_owned()));
        }
        assert_eq!(trial.look(SECOND, SECOND), Look::Passed);
    }

    #[test]
    fn a_version_that_says_how_it_is_is_asked_at_once_and_every_second() {
        let mut trial = trial(100, true);
        assert_eq!(trial.look(Duration::ZERO, SECOND), Look::AskHealth);
        trial.asked(7, SECOND);
        assert_eq!(trial.look(SECOND / 2, SECOND), Look::GoOn);
        let well = Ok(Message::new("instar.Healthy", Vec::new()));
        assert_eq!(trial.answered(7, &well, SECOND / 2), Look::GoOn);
        assert_eq!(trial.look(SECOND, SECOND), Look::GoOn);
        assert_eq!(trial.look(SECOND * 3 / 2, SECOND), Look::AskHealth);
    }

    #[test]
    fn silence_and_a_failure_are_both_sick() {
        let mut trial = trial(100, true);
        trial.asked(7, SECOND);
        assert!(
            matches!(trial.look(SECOND, SECOND), Look::Sick(text) if text.contains("instar.Health"))
        );
        let ill = Err(RpcError::Failed {
            code: "failed".to_owned(),
            text: "no disk".to_owned(),
        });
        assert_eq!(
            trial.answered(6, &ill, SECOND),
            Look::GoOn,
            "of another trial"
        );
        assert!(
            matches!(trial.answered(7, &ill, SECOND), Look::Sick(text) if text.contains("no disk"))
        );
    }

    #[test]
    fn the_question_itself_is_not_recorded() {
        let mut trial = trial(100, true);
        trial.asked(7, SECOND);
        let message = Message::new(HEALTH, Vec::new());
        trial.handled(Event::Call { id: 7, message });
        assert_eq!(trial.messages(), 0);
    }

    #[test]
    fn the_last_messages_are_kept_within_number_and_bytes() {
        let mut recent = Recent::default();
        for body in [&b"1"[..], b"22", b"333"] {
            recent.handled(Event::Receive(Message::new("t.Kind", body)), 2);
        }
        recent.handled(Event::Connected("peer".to_owned()), 2);
        assert_eq!(recent.copy(None, 9).len(), 2);
        let mut trial = trial(9, false);
        trial.handled(receive(b"4"));
        let bytes = |event: &Event| event.bytes();
        let both: Vec<_> = recent.copy(Some(&trial), 2).iter().map(bytes).collect();
        assert_eq!(both, [receive(b"333").bytes(), receive(b"4").bytes()]);
        assert_eq!(
            recent.bytes,
            receive(b"22").bytes() + receive(b"333").bytes()
        );
        let big = vec![0; RECENT_BYTES_MAX / 2];
        for _ in 0..3 {
            recent.handled(Event::Receive(Message::new("t.Kind", big.clone())), 100);
        }
        assert!(recent.bytes <= RECENT_BYTES_MAX && !recent.copy(None, 9).is_empty());
    }
}
