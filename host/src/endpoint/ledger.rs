//! Ledger: what an endpoint owes and awaits - open calls, open asks, timers. Kept by the host, so it
//! outlives every version of the code.
//!
//! Time is the endpoint's own: it stands still while the endpoint does ([`crate::clock`]), so a swap
//! stretches every timer and every ask by exactly its pause. An ask also waits out the pauses of the
//! endpoint that it asked.
//!
//! Pure: no channel, no task, no socket. The runner asks what is due and carries it out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::{LOOK_AGAIN, Stretch};
use crate::component::event::Event;
use crate::error::RpcError;
use crate::responder::{Outcome, Responder};

/// A call that waits for its answer.
#[derive(Debug)]
pub(crate) struct OpenCall {
    pub(crate) responder: Responder,
    pub(crate) sender: Arc<str>,
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

/// An ask that is open, with what time does to it.
struct Waiting {
    ask: OpenAsk,
    /// When its time is over, the receiver's pauses not counted.
    deadline: Duration,
    /// Where it stands in the agenda.
    due: Duration,
}

#[derive(Clone)]
struct Timer {
    token: Bytes,
    due: Duration,
    period: Option<Duration>,
}

/// The moment to which the state of an endpoint can be taken back, and what ended since.
struct Mark {
    /// Ids up to this one are older than the mark.
    id: u64,
    /// Calls that were open at the mark, but had not been handled: the state does not know them.
    unhandled: HashSet<u64>,
    ended: Vec<Ended>,
    /// Who made each call that was open at the mark and is not any more.
    callers: HashMap<u64, Arc<str>>,
}

/// Something that was open at the mark and is not any more.
enum Ended {
    Answered { ask: u64, token: Bytes },
    Aborted { ask: u64, token: Bytes },
    Fired { id: u64, timer: Timer },
    Cancelled { id: u64, timer: Timer },
}

/// What the code of a state that was taken back is told again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rewind {
    /// Everything that was handled since the mark: only what the newer state undid is told.
    WithReplay,
    /// Nothing: what ended since the mark ends again, with its reason.
    WithoutReplay,
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
    asks: HashMap<u64, Waiting>,
    timers: HashMap<u64, Timer>,
    agenda: BTreeMap<(Duration, Due), ()>,
    mark: Option<Mark>,
}

impl Ledger {
    /// An id that was never used before. One sequence for calls, asks and timers.
    pub(crate) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn open_call(&mut self, call: OpenCall) -> u64 {
        let id = self.new_id();
        self.put_call(id, call);
        id
    }

    /// Opens a call whose id its maker had to know before.
    pub(crate) fn put_call(&mut self, id: u64, call: OpenCall) {
        self.calls.insert(id, call);
    }

    pub(crate) fn call(&self, id: u64) -> Option<&OpenCall> {
        self.calls.get(&id)
    }

    pub(crate) fn take_call(&mut self, id: u64) -> Option<OpenCall> {
        let call = self.calls.remove(&id)?;
        if let Some(mark) = self.mark.as_mut().filter(|mark| id <= mark.id) {
            mark.callers.insert(id, call.sender.clone());
        }
        Some(call)
    }

    /// Who made a call that was open at the mark, also if it is answered by now.
    pub(crate) fn caller_at_mark(&self, id: u64) -> Option<String> {
        self.mark
            .as_ref()?
            .callers
            .get(&id)
            .map(ToString::to_string)
    }

    pub(crate) fn take_calls(&mut self) -> Vec<OpenCall> {
        self.calls.drain().map(|(_, call)| call).collect()
    }

    /// Takes the open calls that nobody can answer when the state is lost: all but those in `waiting`,
    /// which were not handled yet, and those that the state of the mark holds.
    pub(crate) fn take_lost_calls(&mut self, waiting: &HashSet<u64>) -> Vec<OpenCall> {
        let mut lost: Vec<u64> = self.calls.keys().copied().collect();
        lost.retain(|id| !waiting.contains(id) && !self.is_held_at_mark(*id));
        lost.iter().filter_map(|id| self.calls.remove(id)).collect()
    }

    pub(crate) fn open_ask(&mut self, id: u64, ask: OpenAsk, now: Duration) {
        let due = now.saturating_add(ask.timeout);
        self.agenda.insert((due, Due::Ask(id)), ());
        let deadline = due;
        self.asks.insert(id, Waiting { ask, deadline, due });
    }

    /// Remembers how to tell the transport that nobody waits any more.
    pub(crate) fn on_forget(&mut self, id: u64, forget: Box<dyn FnOnce() + Send + Sync>) {
        if let Some(Waiting { ask, .. }) = self.asks.get_mut(&id) {
            ask.forget = Some(forget);
        }
    }

    pub(crate) fn ask_is_open(&self, id: u64) -> bool {
        self.asks.contains_key(&id)
    }

    /// The event for an outcome; none if nobody waits for it any more.
    pub(crate) fn answered(&mut self, id: u64, outcome: Outcome) -> Option<Event> {
        let Waiting { ask, due, .. } = self.asks.remove(&id)?;
        self.agenda.remove(&(due, Due::Ask(id)));
        let token = ask.token.clone();
        self.ended(id, || Ended::Answered { ask: id, token });
        Some(Event::Reply {
            ask: id,
            token: ask.token,
            outcome,
        })
    }

    /// Forgets an ask. False where there was none.
    pub(crate) fn abort(&mut self, id: u64) -> bool {
        let Some(Waiting { ask, due, .. }) = self.asks.remove(&id) else {
            return false;
        };
        self.agenda.remove(&(due, Due::Ask(id)));
        let token = ask.token;
        self.ended(id, || Ended::Aborted { ask: id, token });
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
        self.ended(id, || Ended::Cancelled { id, timer });
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

    /// The event of an ask whose time is over; none where the receiver stood still meanwhile: then
    /// it is due later.
    fn timed_out(&mut self, id: u64, now: Duration) -> Option<Event> {
        let waiting = self.asks.get_mut(&id)?;
        let stretched = waiting.deadline.saturating_add(waiting.ask.stretch.by());
        let later = match waiting.ask.stretch.holds(waiting.ask.timeout) {
            // By how much is known only when it goes on.
            true => now.saturating_add(LOOK_AGAIN),
            false => stretched,
        };
        if later > now {
            waiting.due = later;
            self.agenda.insert((later, Due::Ask(id)), ());
            return None;
        }
        let Waiting { ask, .. } = self.asks.remove(&id)?;
        let token = ask.token.clone();
        self.ended(id, || Ended::Answered { ask: id, token });
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
                if let Some(timer) = self.timers.remove(&id) {
                    self.ended(id, || Ended::Fired { id, timer });
                }
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

    /// Forgets asks and timers, for an endpoint that ends or starts afresh, and the mark.
    pub(crate) fn clear_asks_and_timers(&mut self) {
        self.mark = None;
        self.agenda.clear();
        self.timers.clear();
        for (_, waiting) in self.asks.drain() {
            if let Some(forget) = waiting.ask.forget {
                forget();
            }
        }
    }

    /// The newest id there is.
    pub(crate) fn last_id(&self) -> u64 {
        self.next_id
    }

    /// Remembers this moment: the state that the endpoint has now is kept, and can be taken back to.
    /// `last_id`: the newest id when that state was written. `waiting`: what was taken out of the ledger
    /// already and that state has not handled. There is one mark, the newest. Costs nothing that grows
    /// with what is open.
    pub(crate) fn set_mark<'a>(
        &mut self,
        last_id: u64,
        waiting: impl IntoIterator<Item = &'a Event>,
        now: Duration,
    ) {
        let (mut unhandled, mut ended) = (HashSet::new(), Vec::new());
        for event in waiting {
            match event {
                Event::Call { id, .. } => {
                    unhandled.insert(*id);
                }
                Event::Reply { ask, token, .. } => ended.push(Ended::Answered {
                    ask: *ask,
                    token: token.clone(),
                }),
                Event::Timer { timer: id, token } if !self.timers.contains_key(id) => {
                    let timer = Timer {
                        token: token.clone(),
                        due: now,
                        period: None,
                    };
                    ended.push(Ended::Fired { id: *id, timer });
                }
                _ => {}
            }
        }
        self.mark = Some(Mark {
            id: last_id,
            unhandled,
            ended,
            callers: HashMap::new(),
        });
    }

    pub(crate) fn forget_mark(&mut self) {
        self.mark = None;
    }

    /// True where this id is older than the mark; false where there is none.
    pub(crate) fn is_before_mark(&self, id: u64) -> bool {
        self.mark.as_ref().is_some_and(|mark| id <= mark.id)
    }

    /// True where the state of the mark may hold this call.
    fn is_held_at_mark(&self, call: u64) -> bool {
        self.mark
            .as_ref()
            .is_some_and(|mark| call <= mark.id && !mark.unhandled.contains(&call))
    }

    /// A timer whose handler broke: it does not fire again when the state is taken back.
    pub(crate) fn broke(&mut self, timer: u64) {
        if let Some(mark) = &mut self.mark {
            mark.ended
                .retain(|ended| !matches!(ended, Ended::Fired { id, .. } if *id == timer));
        }
    }

    fn ended(&mut self, id: u64, what: impl FnOnce() -> Ended) {
        if let Some(mark) = self.mark.as_mut().filter(|mark| id <= mark.id) {
            mark.ended.push(what());
        }
    }

    /// Takes asks and timers back to the mark, for a state that is taken back there: younger ones are
    /// cancelled, timers that were cancelled run again. Returns what that state has to be told. The
    /// mark is set anew. Calls are not touched. `now` is the endpoint's time.
    pub(crate) fn rewind(&mut self, how: Rewind, now: Duration) -> Vec<Event> {
        let Some(mark) = self.mark.take() else {
            return Vec::new();
        };
        let young: Vec<u64> = self
            .asks
            .keys()
            .copied()
            .filter(|id| *id > mark.id)
            .collect();
        for id in young {
            self.abort(id);
        }
        let young: Vec<u64> = self
            .timers
            .keys()
            .copied()
            .filter(|id| *id > mark.id)
            .collect();
        for id in young {
            self.cancel_timer(id);
        }
        let mut told = Vec::new();
        let mut still_ended = Vec::new();
        for ended in mark.ended {
            match (&ended, how) {
                (Ended::Answered { ask, token }, Rewind::WithoutReplay) => {
                    told.push(lost_reply(
                        *ask,
                        token,
                        "its outcome was lost with a later state",
                    ));
                }
                (Ended::Aborted { ask, token }, _) => {
                    told.push(lost_reply(*ask, token, "a later state gave it up"));
                }
                (Ended::Answered { .. } | Ended::Fired { .. }, Rewind::WithReplay) => {}
                (Ended::Fired { id, timer }, _) | (Ended::Cancelled { id, timer }, _) => {
                    // What is overdue is due now, once.
                    let due = timer.due.max(now);
                    self.start_timer(*id, timer.token.clone(), due, timer.period);
                    continue;
                }
            }
            still_ended.push(ended);
        }
        self.mark = Some(Mark {
            ended: still_ended,
            ..mark
        });
        told
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            calls: self.calls.len(),
            asks: self.asks.len(),
            timers: self.timers.len(),
        }
    }
}

fn lost_reply(ask: u64, token: &Bytes, why: &str) -> Event {
    Event::Reply {
        ask,
        token: token.clone(),
        outcome: Err(RpcError::Aborted {
            cause: format!("the endpoint went back to an earlier state: {why}"),
        }),
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
    fn who_made_a_call_of_the_mark_is_known_after_its_answer() {
        let mut ledger = Ledger::default();
        let call = || OpenCall {
            responder: Responder::new(drop),
            sender: "somebody".into(),
        };
        let older = ledger.open_call(call());
        ledger.set_mark(ledger.last_id(), [], MS);
        let younger = ledger.open_call(call());
        assert_eq!(ledger.caller_at_mark(older), None, "it is open");
        for id in [older, younger] {
            drop(ledger.take_call(id));
        }
        assert_eq!(ledger.caller_at_mark(older).as_deref(), Some("somebody"));
        assert_eq!(ledger.caller_at_mark(younger), None);
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

    #[tokio::test(start_paused = true)]
    async fn an_ask_waits_out_the_pauses_of_the_endpoint_that_it_asked() {
        let pauses = Arc::new(crate::clock::PauseClock::default());
        let mut ledger = Ledger::default();
        let id = ledger.new_id();
        let ask = OpenAsk {
            stretch: Stretch::begin(Some(Arc::clone(&pauses))),
            ..ask(MS * 1000)
        };
        ledger.open_ask(id, ask, Duration::ZERO);
        pauses.stop();
        tokio::time::advance(MS * 2000).await;
        assert!(ledger.take_due(MS * 2000, 9).is_empty(), "it stands still");
        pauses.go_on(MS * 1500);
        assert!(ledger.take_due(MS * 2499, 9).is_empty());
        assert_eq!(ledger.next_due(), Some(MS * 2500));
        assert_eq!(names(&ledger.take_due(MS * 2500, 9)), ["on-reply"]);
    }

    #[test]
    fn going_back_cancels_what_is_younger_and_revives_what_was_cancelled() {
        let mut ledger = Ledger::default();
        let (old_ask, old_timer) = (ledger.new_id(), ledger.new_id());
        ledger.open_ask(old_ask, ask(MS * 100), Duration::ZERO);
        ledger.start_timer(old_timer, Bytes::from_static(b"old"), MS * 50, None);
        ledger.set_mark(ledger.last_id(), &[], MS);
        let (new_ask, new_timer) = (ledger.new_id(), ledger.new_id());
        ledger.open_ask(new_ask, ask(MS * 100), Duration::ZERO);
        ledger.start_timer(new_timer, Bytes::new(), MS * 50, None);
        assert!(ledger.cancel_timer(old_timer) && ledger.abort(old_ask));
        let told = ledger.rewind(Rewind::WithReplay, MS);
        assert_eq!(names(&told), ["on-reply"], "the ask that was given up ends");
        assert!(!ledger.ask_is_open(new_ask) && !ledger.timer_is_running(new_timer));
        assert!(ledger.timer_is_running(old_timer));
        assert_eq!(ledger.next_due(), Some(MS * 50));
        assert!(ledger.new_id() > new_timer, "no id is used twice");
        assert!(ledger.is_before_mark(old_timer) && !ledger.is_before_mark(new_timer));
    }

    #[test]
    fn without_a_replay_what_ended_since_ends_again() {
        let mut ledger = Ledger::default();
        let (answered, fired) = (ledger.new_id(), ledger.new_id());
        ledger.open_ask(answered, ask(MS * 100), Duration::ZERO);
        ledger.start_timer(fired, Bytes::from_static(b"tick"), MS * 5, None);
        ledger.set_mark(ledger.last_id(), &[], MS);
        ledger.answered(answered, Ok(Message::new("t.Answer", Vec::new())));
        assert_eq!(names(&ledger.take_due(MS * 5, 9)), ["on-timer"]);
        let told = ledger.rewind(Rewind::WithoutReplay, MS * 20);
        assert_eq!(names(&told), ["on-reply"]);
        assert_eq!(names(&ledger.take_due(MS * 20, 9)), ["on-timer"]);
        // And once more: the mark is still the same moment.
        let told = ledger.rewind(Rewind::WithoutReplay, MS * 30);
        assert_eq!(names(&told), ["on-reply"]);
        assert_eq!(names(&ledger.take_due(MS * 30, 9)), ["on-timer"]);
    }
}
