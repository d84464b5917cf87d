//! Replay: the surroundings of an instance that handles again, muted, what another version had handled.
//!
//! What a completed message did to others went out already: sends, answers, metrics and log lines of
//! the replay go nowhere. What only the endpoint itself sees is made anew: asks and timers of the newer
//! version were cancelled, so those of the replay are opened. An ask whose outcome is in the record, or
//! a timer whose firing is, is not opened again: the record has how it ended, under the id of the newer
//! version, and the replay sees it under its own. The same holds for outcomes and firings that the newer
//! version did not come to handle: they wait, and are handled when the replay is over.
//!
//! When the replay is over the same surroundings are those of a live endpoint.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::handle::{Endpoint, Running, lock};
use super::launches::Begun;
use super::surroundings::EndpointSurroundings;
use super::trial::Record;
use crate::address::EndpointAddress;
use crate::component::effect::{Effect, Reservation, Room};
use crate::component::event::Event;
use crate::component::metadata::Metadata;
use crate::component::surroundings::{LogLevel, LogLine, Observation, Surroundings};
use crate::component::workload::Workload;
use crate::error::RpcError;
use crate::message::Message;
use crate::store::EndpointStore;
use crate::transport::{BoxFuture, FileBytes, FileRange};

/// Surroundings that are muted until [`ReplaySurroundings::goes_live`].
pub(super) struct ReplaySurroundings {
    live: Arc<EndpointSurroundings>,
    endpoint: Arc<Endpoint>,
    muted: AtomicBool,
    replay: Mutex<Replay>,
    /// What is to be carried out for real and has to wait.
    left: Mutex<VecDeque<Effect>>,
}

/// What a replay knows. Ids up to the mark are older than the state that it began with.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// Asks in the record, by token: how they ended comes later in it.
    asks: HashMap<Bytes, VecDeque<u64>>,
    /// Timers in the record, by token.
    timers: HashMap<Bytes, VecDeque<u64>>,
    /// Id in the record to id in the replay.
    ids: HashMap<u64, u64>,
    /// Ids of the replay that are not open at the host: the record has how they end.
    awaited: HashSet<u64>,
    /// Older asks that the replay gave up.
    aborted: HashSet<u64>,
    senders: HashMap<u64, Arc<str>>,
    /// What the newer version launched, oldest first. It runs: the replay takes it over, id and all.
    launches: VecDeque<Begun>,
    /// Those that the replay took over.
    launched: HashSet<u64>,
}

/// Room for a message that goes nowhere.
#[derive(Debug)]
struct Nowhere;

impl Reservation for Nowhere {
    fn fill(self: Box<Self>, _to: &EndpointAddress, _message: Message) -> Result<(), RpcError> {
        Ok(())
    }
}

impl Replay {
    /// `waiting`: what was taken out of the ledger and not handled. `is_older`: whether an id is older
    /// than the state with which the replay begins.
    pub(super) fn new<'a>(
        record: &'a Record,
        waiting: impl IntoIterator<Item = &'a Event>,
        is_older: impl Fn(u64) -> bool,
    ) -> Self {
        let mut replay = Self {
            senders: record.senders.clone(),
            ..Self::default()
        };
        let mut seen = HashSet::new();
        for event in record.events.iter().chain(waiting) {
            let (id, token, by_token) = match event {
                Event::Reply { ask, token, .. } => (*ask, token, &mut replay.asks),
                Event::Timer { timer, token } => (*timer, token, &mut replay.timers),
                _ => continue,
            };
            // A periodic timer fires many times and was started once.
            if !is_older(id) && seen.insert(id) {
                by_token.entry(token.clone()).or_default().push_back(id);
            }
        }
        replay
    }

    /// What the newer version launched since the state with which the replay begins.
    pub(super) fn take_over(&mut self, launches: VecDeque<Begun>) {
        self.launches = launches;
    }

    /// The id of what the newer version launched in the same way, if it did.
    fn launched_before(&mut self, fingerprint: u64) -> Option<u64> {
        let is_it = |begun: &Begun| begun.fingerprint == fingerprint;
        let found = self.launches.iter().position(is_it)?;
        let Begun { id, .. } = self.launches.remove(found)?;
        self.launched.insert(id);
        Some(id)
    }

    /// The event as the replay sees it; none where nothing in the replay waits for it.
    pub(super) fn event(&self, event: Event, is_older: impl Fn(u64) -> bool) -> Option<Event> {
        let own = |id: u64| match is_older(id) {
            true => (!self.aborted.contains(&id)).then_some(id),
            false => {
                let own = self.ids.get(&id).copied();
                own.filter(|own| !self.aborted.contains(own))
            }
        };
        match event {
            Event::Reply {
                ask,
                token,
                outcome,
            } => own(ask).map(|ask| Event::Reply {
                ask,
                token,
                outcome,
            }),
            Event::Timer { timer, token } => own(timer).map(|timer| Event::Timer { timer, token }),
            other => Some(other),
        }
    }

    /// Carries one effect of the replay out, as far as it is not in the record: gives back what is to
    /// be carried out for real.
    fn take(&mut self, effect: Effect, call_is_open: impl Fn(u64) -> bool) -> Option<Effect> {
        match effect {
            Effect::Send { .. }
            | Effect::StopSelf
            // Once was enough: the next term is another one.
            | Effect::Resign
            | Effect::Persist(_)
            | Effect::WhenDurable { .. }
            | Effect::Clean(_)
            | Effect::RemoveFolder { .. } => None,
            Effect::Launch { id, .. } => (!self.launched.contains(&id)).then_some(effect),
            // What was killed already is not harmed by it, and who stands already stands.
            Effect::Kill { .. } | Effect::Contend => Some(effect),
            // Left open by the newer version: the only one who can answer it now.
            Effect::Answer { call, outcome } => {
                call_is_open(call).then_some(Effect::Answer { call, outcome })
            }
            Effect::Ask { id, ref token, .. } => {
                let recorded = self.asks.get_mut(token).and_then(VecDeque::pop_front);
                let Some(recorded) = recorded else {
                    return Some(effect);
                };
                self.ids.insert(recorded, id);
                self.awaited.insert(id);
                None
            }
            Effect::StartTimer {
                id,
                ref token,
                period,
                ..
            } => {
                let recorded = self.timers.get_mut(token).and_then(VecDeque::pop_front);
                let Some(recorded) = recorded else {
                    return Some(effect);
                };
                self.ids.insert(recorded, id);
                match (effect, period) {
                    // It goes on after what the record has of it.
                    (Effect::StartTimer { id, token, .. }, Some(period)) => {
                        Some(Effect::StartTimer {
                            id,
                            token,
                            delay: period,
                            period: Some(period),
                        })
                    }
                    _ => {
                        self.awaited.insert(id);
                        None
                    }
                }
            }
            Effect::Abort { ask: id } | Effect::CancelTimer { timer: id } => {
                self.aborted.insert(id);
                match self.awaited.remove(&id) {
                    true => None,
                    false => Some(effect),
                }
            }
        }
    }
}

impl ReplaySurroundings {
    pub(super) fn new(endpoint: &Arc<Endpoint>, of: &Running, replay: Replay) -> Arc<Self> {
        Arc::new(Self {
            live: EndpointSurroundings::of(endpoint, &of.settings),
            endpoint: Arc::clone(endpoint),
            muted: AtomicBool::new(true),
            replay: Mutex::new(replay),
            left: Mutex::default(),
        })
    }

    /// The replay is over: from now on everything takes effect. Gives back what the replay knew, and
    /// what still has to wait of what it did for real.
    pub(super) fn goes_live(&self) -> (Replay, VecDeque<Effect>) {
        self.muted.store(false, Ordering::Release);
        let left = std::mem::take(&mut *lock(&self.left));
        (std::mem::take(&mut lock(&self.replay)), left)
    }

    /// The event as the replay sees it.
    pub(super) fn event(&self, event: Event) -> Option<Event> {
        let ledger = lock(&self.endpoint.ledger);
        lock(&self.replay).event(event, |id| ledger.is_before_mark(id))
    }

    fn is_muted(&self) -> bool {
        self.muted.load(Ordering::Acquire)
    }

    fn awaits(&self, id: u64) -> bool {
        self.is_muted() && lock(&self.replay).awaited.contains(&id)
    }
}

impl Surroundings for ReplaySurroundings {
    fn address(&self) -> EndpointAddress {
        self.live.address()
    }

    fn interrupted(&self) -> bool {
        !self.is_muted() && self.live.interrupted()
    }

    fn commit(&self, effects: &mut VecDeque<Effect>) -> bool {
        if !self.is_muted() {
            return self.live.commit(effects);
        }
        let mut left = lock(&self.left);
        {
            let ledger = lock(&self.endpoint.ledger);
            let mut replay = lock(&self.replay);
            let open = |call| ledger.call(call).is_some();
            left.extend(
                effects
                    .drain(..)
                    .filter_map(|effect| replay.take(effect, open)),
            );
        }
        // No send is among it, so it waits only where it is in doubt whether it counts. The replay goes on.
        let _ = self.live.commit(&mut left);
        true
    }

    fn enlist(&self, turn: &mut VecDeque<Effect>) {
        match self.is_muted() {
            // It was written when the newer version did it.
            true => turn.retain(|effect| !matches!(effect, Effect::Persist(_))),
            false => self.live.enlist(turn),
        }
    }

    fn store(&self) -> Result<EndpointStore, RpcError> {
        self.live.store()
    }

    fn check_writable(&self, store: &EndpointStore) -> Result<(), RpcError> {
        match self.is_muted() {
            // It was written when the newer version did it.
            true => Ok(()),
            false => self.live.check_writable(store),
        }
    }

    fn open_channel(
        &self,
        uri: &str,
        range: FileRange,
    ) -> BoxFuture<'static, Result<Box<dyn FileBytes>, RpcError>> {
        self.live.open_channel(uri, range)
    }

    fn reserve(&self, to: &EndpointAddress) -> Result<Room, RpcError> {
        match self.is_muted() {
            true => Ok(Box::new(Nowhere)),
            false => self.live.reserve(to),
        }
    }

    fn check_receiver(&self, to: &EndpointAddress) -> Result<(), RpcError> {
        self.live.check_receiver(to)
    }

    fn check_size(&self, bytes: usize) -> Result<(), RpcError> {
        self.live.check_size(bytes)
    }

    fn admit_ask(&self, in_turn: usize) -> Result<u64, RpcError> {
        self.live.admit_ask(in_turn)
    }

    fn admit_timer(&self, in_turn: usize) -> Result<u64, RpcError> {
        self.live.admit_timer(in_turn)
    }

    fn admit_launch(
        &self,
        workload: &Workload,
        token: &Bytes,
        in_turn: usize,
    ) -> Result<u64, RpcError> {
        let before = self
            .is_muted()
            .then(|| lock(&self.replay).launched_before(workload.fingerprint(token)));
        match before.flatten() {
            Some(id) => Ok(id),
            None => self.live.admit_launch(workload, token, in_turn),
        }
    }

    fn launch_goes_on(&self, launch: u64) -> bool {
        self.live.launch_goes_on(launch)
    }

    fn launched(&self) -> Vec<(u64, Bytes)> {
        self.live.launched()
    }

    fn ask_is_open(&self, ask: u64) -> bool {
        self.awaits(ask) || self.live.ask_is_open(ask)
    }

    fn timer_is_running(&self, timer: u64) -> bool {
        self.awaits(timer) || self.live.timer_is_running(timer)
    }

    fn call_sender(&self, call: u64) -> Option<String> {
        // The newer version may have answered it: in the replay it is open all the same.
        let recorded = match self.is_muted() {
            true => {
                let ledger = lock(&self.endpoint.ledger);
                let recorded = lock(&self.replay)
                    .senders
                    .get(&call)
                    .map(ToString::to_string);
                recorded.or_else(|| ledger.caller_at_mark(call))
            }
            false => None,
        };
        recorded.or_else(|| self.live.call_sender(call))
    }

    fn config(&self) -> Arc<BTreeMap<String, String>> {
        self.live.config()
    }

    fn record(&self, name: &str, observation: Observation) {
        if !self.is_muted() {
            self.live.record(name, observation);
        }
    }

    fn log_enabled(&self, level: LogLevel) -> bool {
        !self.is_muted() && self.live.log_enabled(level)
    }

    fn log(&self, version: &str, line: LogLine<'_>) {
        if !self.is_muted() {
            self.live.log(version, line);
        }
    }

    fn describe(&self, name: &str) -> Option<Arc<Metadata>> {
        self.live.describe(name)
    }

    fn names(&self) -> Vec<String> {
        self.live.names()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::address::Location;
    use crate::component::workload::{ComponentFile, Program};

    const MARK: u64 = 10;

    fn older(id: u64) -> bool {
        id <= MARK
    }

    fn reply(ask: u64, token: &'static [u8]) -> Event {
        Event::Reply {
            ask,
            token: Bytes::from_static(token),
            outcome: Ok(Message::new("t.Answer", Vec::new())),
        }
    }

    fn fired(timer: u64, token: &'static [u8]) -> Event {
        let token = Bytes::from_static(token);
        Event::Timer { timer, token }
    }

    fn ask(id: u64, token: &'static [u8]) -> Effect {
        Effect::Ask {
            id,
            to: EndpointAddress::new("t", Location::Client(uuid::Uuid::nil())),
            message: Message::new("t.Ask", Vec::new()),
            token: Bytes::from_static(token),
            timeout: None,
        }
    }

    fn timer(id: u64, token: &'static [u8], period: Option<Duration>) -> Effect {
        Effect::StartTimer {
            id,
            token: Bytes::from_static(token),
            delay: Duration::ZERO,
            period,
        }
    }

    fn replay(events: impl IntoIterator<Item = Event>) -> Replay {
        let record = Record {
            events: events.into_iter().collect(),
            senders: HashMap::new(),
        };
        Replay::new(&record, [], older)
    }

    fn all_closed(_call: u64) -> bool {
        false
    }

    #[test]
    fn an_ask_that_was_answered_in_the_record_is_not_asked_again_and_ends_as_recorded() {
        let mut replay = replay([reply(12, b"a")]);
        assert!(
            replay.event(reply(12, b"a"), older).is_none(),
            "nobody asked yet"
        );
        assert!(replay.take(ask(20, b"a"), all_closed).is_none());
        let seen = replay.event(reply(12, b"a"), older);
        assert!(
            matches!(seen, Some(Event::Reply { ask: 20, .. })),
            "{seen:?}"
        );
    }

    #[test]
    fn an_ask_that_the_record_has_no_end_of_is_asked_again() {
        let mut replay = replay([reply(12, b"a")]);
        assert!(replay.take(ask(20, b"b"), all_closed).is_some());
        assert!(replay.take(ask(21, b"a"), all_closed).is_none());
        assert!(
            replay.take(ask(22, b"a"), all_closed).is_some(),
            "once only"
        );
    }

    #[test]
    fn an_ask_whose_outcome_waits_to_be_handled_is_not_asked_again() {
        let waiting = [reply(12, b"a"), fired(13, b"t")];
        let mut replay = Replay::new(&Record::default(), &waiting, older);
        assert!(replay.take(ask(20, b"a"), all_closed).is_none());
        assert!(replay.take(timer(21, b"t", None), all_closed).is_none());
        let [outcome, firing] = waiting.map(|event| replay.event(event, older));
        assert!(
            matches!(outcome, Some(Event::Reply { ask: 20, .. })),
            "{outcome:?}"
        );
        assert!(
            matches!(firing, Some(Event::Timer { timer: 21, .. })),
            "{firing:?}"
        );
    }

    #[test]
    fn an_ask_older_than_the_state_ends_as_recorded_unless_it_is_given_up() {
        let mut replay = replay([reply(3, b"a")]);
        assert!(replay.event(reply(3, b"a"), older).is_some());
        assert!(replay.take(Effect::Abort { ask: 3 }, all_closed).is_some());
        assert!(replay.event(reply(3, b"a"), older).is_none());
    }

    #[test]
    fn a_timer_that_fired_in_the_record_is_not_started_again_but_a_periodic_one_goes_on() {
        let period = Duration::from_secs(1);
        let mut replay = replay([fired(12, b"once"), fired(13, b"often"), fired(13, b"often")]);
        assert!(replay.take(timer(20, b"once", None), all_closed).is_none());
        let started = replay.take(timer(21, b"often", Some(period)), all_closed);
        assert!(
            matches!(started, Some(Effect::StartTimer { id: 21, delay, .. }) if delay == period),
            "{started:?}"
        );
        for _ in 0..2 {
            let seen = replay.event(fired(13, b"often"), older);
            assert!(
                matches!(seen, Some(Event::Timer { timer: 21, .. })),
                "{seen:?}"
            );
        }
        assert!(
            replay
                .take(Effect::CancelTimer { timer: 20 }, all_closed)
                .is_none()
        );
        assert!(
            replay.event(fired(12, b"once"), older).is_none(),
            "cancelled"
        );
    }

    #[test]
    fn what_the_newer_version_launched_is_taken_over_once_and_the_rest_is_launched() {
        let mut replay = replay([]);
        let begun = |id, fingerprint| Begun { id, fingerprint };
        replay.take_over(VecDeque::from([begun(12, 1), begun(13, 2), begun(14, 1)]));
        assert_eq!(replay.launched_before(1), Some(12));
        assert_eq!(replay.launched_before(1), Some(14));
        assert_eq!(replay.launched_before(1), None);
        let launch = |id| Effect::Launch {
            id,
            workload: Box::new(Workload {
                folder: "app".to_owned(),
                component: ComponentFile {
                    uri: String::new(),
                    sha256: String::new(),
                },
                memory_mb: 1,
                cpu_percent: 1,
                program: Program::Command {
                    arguments: Vec::new(),
                    environment: BTreeMap::new(),
                },
            }),
            token: Bytes::new(),
        };
        assert!(replay.take(launch(14), all_closed).is_none(), "it runs");
        assert!(replay.take(launch(20), all_closed).is_some());
        assert!(
            replay
                .take(Effect::Kill { launch: 14 }, all_closed)
                .is_some()
        );
    }

    #[test]
    fn an_answer_goes_out_only_to_a_call_that_the_newer_version_left_open() {
        let mut replay = replay([]);
        let answer = |call| Effect::Answer {
            call,
            outcome: Ok(Message::new("t.Answer", Vec::new())),
        };
        assert!(replay.take(answer(1), |call| call == 1).is_some());
        assert!(replay.take(answer(2), |call| call == 1).is_none());
        assert!(replay.take(Effect::StopSelf, all_closed).is_none());
    }
}
