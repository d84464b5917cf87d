//! Ledger: what an endpoint owes and awaits - open calls, open asks, timers. Kept by the host, so it
//! outlives every version of the code.
//!
//! Time is the endpoint's own: it stands still while the endpoint does ([`super::clock`]), so a swap
//! stretches every timer and every ask by exactly its pause. So does a pause of whom it asked.
//!
//! Pure: no channel, no task, no socket. The runner asks what is due and carries it out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;

use super::clock::{LOOK_AGAIN, Stretch};
use crate::component::event::Event;
use crate::error::RpcError;
use crate::responder::{Outcome, Responder};

/// A call that waits for its answer.
#[derive(Debug)]
pub(crate) struct OpenCall {
    pub(crate) responder: Responder,
    pub(crate) sender: String,
}

/// An answer that the endpoint waits for.
pub(crate) struct OpenAsk {
    pub(crate) token: Bytes,
    /// Receiver and host, for the text of a timeout.
    pub(crate) who: String,
    pub(crate) timeout: Duration,
    /// The setting or argument that gave the timeout.
    pub(crate) setting: &'static str,
    /// The pauses of the receiver since the ask.
    pub(crate) stretch: Stretch,
    /// Tells the transport to forget the request.
    pub(crate) forget: Option<Box<dyn FnOnce() + Send + Sync>>,
}

struct Timer {
    token: Bytes,
    due: Duration,
    period: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Ask(u64),
    Timer(u64),
}

/// What an endpoint owes and awaits.
#[derive(Default)]
pub(crate) struct Ledger {
    next_id: u64,
    calls: HashMap<u64, OpenCall>,
    /// With when its time is over, the receiver's pauses not counted, and its place in the agenda.
    asks: HashMap<u64, (OpenAsk, Duration, Duration)>,
    timers: HashMap<u64, Timer>,
    agenda: BTreeMap<(Duration, Due), ()>,
}

impl Ledger {
    /// An id that was never used before. One sequence for calls, asks and timers.
    pub(crate) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn open_call(&mut self, call: OpenCall) -> u64 {
        let id = self.new_id();
        self.calls.insert(id, call);
        id
    }

    pub(crate) fn call(&self, id: u64) -> Option<&OpenCall> {
        self.calls.get(&id)
    }

    pub(crate) fn take_call(&mut self, id: u64) -> Option<OpenCall> {
        self.calls.remove(&id)
    }

    pub(crate) fn take_calls(&mut self) -> Vec<OpenCall> {
        self.calls.drain().map(|(_, call)| call).collect()
    }

    /// Takes all open calls but those with an id in `kept`.
    pub(crate) fn take_calls_except(&mut self, kept: &HashSet<u64>) -> Vec<OpenCall> {
        let taken = self.calls.extract_if(|id, _| !kept.contains(id));
        taken.map(|(_, call)| call).collect()
    }

    pub(crate) fn open_ask(&mut self, id: u64, ask: OpenAsk, now: Duration) {
        let due = now.saturating_add(ask.timeout);
        self.agenda.insert((due, Due::Ask(id)), ());
        self.asks.insert(id, (ask, due, due));
    }

    /// Remembers how to tell the transport that nobody waits any more.
    pub(crate) fn on_forget(&mut self, id: u64, forget: Box<dyn FnOnce() + Send + Sync>) {
        if let Some((ask, ..)) = self.asks.get_mut(&id) {
            ask.forget = Some(forget);
        }
    }

    pub(crate) fn ask_is_open(&self, id: u64) -> bool {
        self.asks.contains_key(&id)
    }

    /// The event for an outcome; none if nobody waits for it any more.
    pub(crate) fn answered(&mut self, id: u64, outcome: Outcome) -> Option<Event> {
        let (ask, _, due) = self.asks.remove(&id)?;
        self.agenda.remove(&(due, Due::Ask(id)));
        Some(Event::Reply {
            ask: id,
            token: ask.token,
            outcome,
        })
    }

    /// Forgets an ask. False where there was none.
    pub(crate) fn abort(&mut self, id: u64) -> bool {
        let Some((ask, _, due)) = self.asks.remove(&id) else {
            return false;
        };
        self.agenda.remove(&(due, Due::Ask(id)));
        if let Some(forget) = ask.forget {
            forget();
        }
        true
    }

    pub(crate) fn start_timer(
        &mut self,
        id: u64,
        token: Bytes,
        due: Duration,
        period: Option<Duration>,
    ) {
        self.agenda.insert((due, Due::Timer(id)), ());
        self.timers.insert(id, Timer { token, due, period });
    }

    pub(crate) fn timer_is_running(&self, id: u64) -> bool {
        self.timers.contains_key(&id)
    }

    /// Cancels a timer. False where there was none.
    pub(crate) fn cancel_timer(&mut self, id: u64) -> bool {
        let Some(timer) = self.timers.remove(&id) else {
            return false;
        };
        self.agenda.remove(&(timer.due, Due::Timer(id)));
        true
    }

    /// When something is due next.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.agenda.keys().next().map(|(due, _)| *due)
    }

    /// Takes at most `max` of what is due at `now`, in order of time.
    pub(crate) fn take_due(&mut self, now: Duration, max: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < max {
            let Some((&(due, what), ())) = self.agenda.first_key_value() else {
                break;
            };
            if due > now {
                break;
            }
            self.agenda.remove(&(due, what));
            match what {
                Due::Ask(id) => events.extend(self.timed_out(id, now)),
                Due::Timer(id) => events.extend(self.fired(id, now)),
            }
        }
        events
    }

    /// None where the receiver stood still meanwhile: then it is due later.
    fn timed_out(&mut self, id: u64, now: Duration) -> Option<Event> {
        let (ask, deadline, due) = self.asks.get_mut(&id)?;
        let stretched = deadline.saturating_add(ask.stretch.by());
        let later = match ask.stretch.holds(ask.timeout) {
            true => stretched.max(now.saturating_add(LOOK_AGAIN)),
            false => stretched,
        };
        if later > now {
            *due = later;
            self.agenda.insert((later, Due::Ask(id)), ());
            return None;
        }
        let (ask, ..) = self.asks.remove(&id)?;
        if let Some(forget) = ask.forget {
            forget();
        }
        Some(Event::Reply {
            ask: id,
            token: ask.token,
            outcome: Err(RpcError::Timeout {
                who: ask.who,
                after: ask.timeout,
                setting: ask.setting.to_owned(),
            }),
        })
    }

    fn fired(&mut self, id: u64, now: Duration) -> Option<Event> {
        let timer = self.timers.get_mut(&id)?;
        let token = timer.token.clone();
        match timer.period {
            None => {
                self.timers.remove(&id);
            }
            Some(period) => {
                // Periods that were missed are one event; the rhythm stays that of the first one.
                let late = now.saturating_sub(timer.due).as_nanos();
                let missed = u32::try_from(late / period.as_nanos().max(1)).unwrap_or(u32::MAX);
                timer.due += period.saturating_mul(missed.saturating_add(1));
                self.agenda.insert((timer.due, Due::Timer(id)), ());
            }
        }
        Some(Event::Timer { timer: id, token })
    }

    /// Forgets asks and timers, for an endpoint that ends or starts afresh.
    pub(crate) fn clear_asks_and_timers(&mut self) {
        self.agenda.clear();
        self.timers.clear();
        for (_, (ask, ..)) in self.asks.drain() {
            if let Some(forget) = ask.forget {
                forget();
            }
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            calls: self.calls.len(),
            asks: self.asks.len(),
            timers: self.timers.len(),
        }
    }
}

/// How much is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) calls: usize,
    pub(crate) asks: usize,
    pub(crate) timers: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    const MS: Duration = Duration::from_millis(1);

    fn ask(timeout: Duration) -> OpenAsk {
        OpenAsk {
            token: Bytes::from_static(b"token"),
            who: "`t` on here".to_owned(),
            timeout,
            setting: "timeout-ms",
            stretch: Stretch::begin(None),
            forget: None,
        }
    }

    fn names(events: &[Event]) -> Vec<&'static str> {
        events.iter().map(Event::name).collect()
    }

    #[test]
    fn an_ask_has_exactly_one_outcome() {
        let mut ledger = Ledger::default();
        let (first, second) = (ledger.new_id(), ledger.new_id());
        ledger.open_ask(first, ask(MS * 10), MS);
        ledger.open_ask(second, ask(MS * 10), MS);
        let answer = Ok(Message::new("t.Answer", Vec::new()));
        assert!(ledger.answered(first, answer.clone()).is_some());
        assert!(ledger.answered(first, answer.clone()).is_none());
        let due = ledger.take_due(MS * 11, 10);
        assert_eq!(names(&due), ["on-reply"]);
        assert!(
            ledger.answered(second, answer).is_none(),
            "it timed out before"
        );
        assert_eq!(ledger.counts(), Counts::default());
        assert_eq!(ledger.next_due(), None);
    }

    #[test]
    fn a_timeout_names_who_how_long_and_which_setting() {
        let mut ledger = Ledger::default();
        let id = ledger.new_id();
        ledger.open_ask(id, ask(MS * 5), Duration::ZERO);
        let events = ledger.take_due(MS * 5, 1);
        let Some(Event::Reply { outcome, .. }) = events.first() else {
            panic!("{events:?}");
        };
        let text = outcome.as_ref().unwrap_err().to_string();
        assert_eq!(
            text,
            "no answer from `t` on here within 5ms; this limit is `timeout-ms`"
        );
    }

    #[test]
    fn an_aborted_ask_tells_the_transport_and_nobody_else() {
        let mut ledger = Ledger::default();
        let id = ledger.new_id();
        ledger.open_ask(id, ask(MS), Duration::ZERO);
        let (told, asked) = std::sync::mpsc::channel();
        ledger.on_forget(id, Box::new(move || told.send(()).unwrap()));
        assert!(ledger.abort(id));
        assert!(asked.try_recv().is_ok());
        assert!(!ledger.abort(id));
        assert!(ledger.take_due(MS * 9, 9).is_empty());
    }

    #[test]
    fn timers_fire_in_order_of_time_and_only_when_due() {
        let mut ledger = Ledger::default();
        let (late, soon) = (ledger.new_id(), ledger.new_id());
        ledger.start_timer(late, Bytes::from_static(b"late"), MS * 20, None);
        ledger.start_timer(soon, Bytes::from_static(b"soon"), MS * 10, None);
        assert_eq!(ledger.next_due(), Some(MS * 10));
        assert!(ledger.take_due(MS * 9, 10).is_empty());
        let fired: Vec<_> = ledger
            .take_due(MS * 30, 10)
            .into_iter()
            .map(|event| match event {
                Event::Timer { token, .. } => token,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(fired, ["soon", "late"]);
        assert!(!ledger.timer_is_running(late));
    }

    #[test]
    fn a_late_periodic_timer_fires_once_and_keeps_its_rhythm() {
        let mut ledger = Ledger::default();
        let id = ledger.new_id();
        ledger.start_timer(id, Bytes::new(), MS * 10, Some(MS * 10));
        assert_eq!(ledger.take_due(MS * 35, 10).len(), 1);
        assert_eq!(ledger.next_due(), Some(MS * 40));
        assert!(ledger.cancel_timer(id));
        assert!(!ledger.cancel_timer(id));
        assert_eq!(ledger.next_due(), None);
    }
}
