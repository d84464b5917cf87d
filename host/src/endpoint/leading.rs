//! Leading: whether an endpoint stands for election, whether it leads, and whether what it decided while
//! it led may still take effect.
//!
//! Before it: the turns of the endpoint ([`super::surroundings`] hands over their effects), and what the
//! election says ([`Leadership`]). After it: two notices to the code, `instar.ElectedLeader` and
//! `instar.RevokedLeadership`, and the gate in front of everything that takes effect.
//!
//! Invariants
//! 1. What a turn does that began under a term takes effect only while that term is certain. In doubt it
//!    waits, and when the term is over it is dropped: never does it count under a later term.
//! 2. In doubt no turn begins. Orders pass: a swap goes on, and one that waits for continuations is given
//!    up at its limit as always. Deadlines are not stretched.
//! 3. An instance is told what it has to know before anything else is handed to it, elections and
//!    revocations in turn, an election first. One that was lost is told nothing of what it led.
//! 4. All effects that wait are those of turns that began under one term, or under none: what the code
//!    was told changes only where nothing waits.
//!
//! An endpoint that never stood for election has none of this but two loads per turn.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::handle::{Endpoint, Running};
use super::runner::{Life, Runner};
use super::status::ElectionStatus;
use crate::component::effect::Effect;
use crate::component::event::Event;
use crate::election::leadership::{Candidate, Certainty, Leadership, Term};
use crate::error::RpcError;
use crate::message::Message;
use crate::moment;

/// Kinds of the notices. No peer and no guest can send them: they begin with `instar.`.
const ELECTED: &str = "instar.ElectedLeader";
const REVOKED: &str = "instar.RevokedLeadership";

/// The code of failures for what was decided under a term that is over.
pub(crate) const LEADERSHIP: &str = "leadership";

/// Postcard of it is what `instar_sdk::leadership::ElectedLeader` reads.
#[derive(Serialize)]
struct ElectedLeader {
    term: u64,
}

/// Postcard of it is what `instar_sdk::leadership::RevokedLeadership` reads.
#[derive(Serialize)]
struct RevokedLeadership {
    reason: String,
}

/// The election of an endpoint, as everybody sees it who holds the endpoint.
#[derive(Default)]
pub(super) struct Election {
    /// None: the endpoint never stood.
    leadership: OnceLock<Arc<Leadership>>,
    /// The instance stands.
    contends: AtomicBool,
    /// This endpoint has the place of its name in the election, and no other that had the name before.
    has_place: AtomicBool,
    /// What the instance had been told when the turn in work began, or those whose effects wait.
    under: ArcSwapOption<Term>,
    /// The batch in work is a revocation, and nothing else.
    revokes: AtomicBool,
    /// Terms up to this one count as over, whatever the election says.
    given_up: AtomicU64,
}

/// How an instance stands to the election. Goes with its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) contends: bool,
    /// The term that it was told of, and not that it was over.
    pub(super) told: Option<Term>,
}

/// What only the runner keeps.
#[derive(Default)]
pub(super) struct Stands {
    /// See [`Standing::told`].
    told: Option<Term>,
    /// The first event of the batch is a notice, after which this is told.
    notice: Option<Option<Term>>,
    /// As what it stands.
    candidate: Option<Arc<Running>>,
    pub(super) changes: Option<watch::Receiver<u64>>,
    /// Since when it is in doubt, if it is.
    doubt: Option<Instant>,
    /// Since when what it wrote first waits, in a term that is certain.
    pub(super) writes_wait: Option<Instant>,
}

/// True for what only an instance is told that is to be told it: it is not handed to another.
pub(super) fn is_notice(event: &Event) -> bool {
    matches!(event, Event::Receive(message) if [ELECTED, REVOKED].contains(&&*message.kind))
}

/// What an instance is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tell {
    Nothing,
    Elected(Term),
    Revoked,
}

/// What an instance is to be told that was told of `told`: `led` is the term that goes on, if it stands.
fn tell(told: Option<(&Term, Certainty)>, led: Option<(Term, Certainty)>) -> Tell {
    match (told, led) {
        (Some((_, Certainty::Over)), _) => Tell::Revoked,
        (None, Some((term, Certainty::Certain))) => Tell::Elected(term),
        // In doubt nothing is told: it may be true, or not.
        _ => Tell::Nothing,
    }
}

impl Stands {
    /// The first event of the batch is a revocation.
    pub(super) fn revokes(&self) -> bool {
        matches!(self.notice, Some(None))
    }
}

impl Election {
    /// True where it has to be looked at: the endpoint stands, or stood.
    fn is_known(&self) -> bool {
        self.contends.load(Ordering::Acquire) || self.leadership.get().is_some()
    }

    /// From the effect of a turn.
    pub(super) fn contend(&self) {
        self.contends.store(true, Ordering::Release);
    }

    /// An older version takes over: whether the instance stands until that says otherwise.
    pub(super) fn stands_if(&self, stood: bool) {
        self.contends.store(stood, Ordering::Release);
    }

    /// From the effect of a turn.
    pub(super) fn resign(&self) {
        if let Some(leadership) = self.leadership.get() {
            leadership.resign();
        }
    }

    /// The term under which effects are carried out now.
    pub(super) fn under(&self) -> Option<u64> {
        self.under.load().as_ref().map(|term| term.number)
    }

    pub(super) fn certainty(&self, term: u64) -> Certainty {
        if term <= self.given_up.load(Ordering::Acquire) {
            return Certainty::Over;
        }
        let leadership = self.leadership.get();
        leadership.map_or(Certainty::Over, |leadership| leadership.certainty(term))
    }

    /// Whether effects may take effect now.
    pub(super) fn gate(&self) -> Certainty {
        self.under()
            .map_or(Certainty::Certain, |term| self.certainty(term))
    }

    /// The condition under which writes are made.
    pub(super) fn fence(&self) -> Option<Arc<str>> {
        self.under.load().as_ref()?.fence.clone()
    }

    /// The term that goes on, if the endpoint stands.
    fn led(&self) -> Option<(Term, Certainty)> {
        if !self.contends.load(Ordering::Acquire) || !self.has_place.load(Ordering::Acquire) {
            return None;
        }
        let term = self.leadership.get()?.term()?;
        let certainty = self.certainty(term.number);
        (certainty != Certainty::Over).then_some((term, certainty))
    }

    /// True where the batch in work is no more what should be handled now: the endpoint has to stand
    /// still, or to be told something first.
    pub(super) fn has_moved(&self) -> bool {
        match &*self.under.load() {
            Some(term) => self.certainty(term.number) != Certainty::Certain,
            None if self.revokes.load(Ordering::Acquire) => false,
            None => matches!(self.led(), Some((_, Certainty::Certain))),
        }
    }

    /// Comes back when what is decided now does not count for certain; never without a term.
    pub(super) async fn not_certain(&self) {
        let under = self.under.load_full();
        let (Some(term), Some(leadership)) = (under, self.leadership.get()) else {
            return std::future::pending().await;
        };
        let mut changes = Some(leadership.changes());
        while self.certainty(term.number) == Certainty::Certain {
            let until = leadership.certain_until(term.number).map(Instant::from_std);
            tokio::select! {
                () = changed(&mut changes) => {}
                () = moment::until(until) => {}
            }
        }
    }

    /// As people see it; none for an endpoint that never stood.
    pub(super) fn status(&self, uri: &str, running: &Running) -> Option<ElectionStatus> {
        let leadership = self.leadership.get()?;
        let led = self.led();
        let shown = leadership.shown();
        let stands = self.contends.load(Ordering::Acquire);
        Some(ElectionStatus::new(
            stands,
            led.map(|(term, certainty)| (term.number, certainty)),
            shown,
            uri,
            running.entries.as_ref(),
        ))
    }

    /// The others who stand for the same election, as far as they say what they are.
    pub(super) fn others(&self, uri: &str) -> Vec<Candidate> {
        let Some(leadership) = self.leadership.get() else {
            return Vec::new();
        };
        let participants = leadership.shown().participants.into_iter();
        let candidates = participants.filter_map(|participant| participant.candidate);
        candidates.filter(|candidate| candidate.id != uri).collect()
    }
}

/// Waits for the next change; for ever where there is no election.
pub(super) async fn changed(changes: &mut Option<watch::Receiver<u64>>) {
    if let Some(changes) = changes
        && changes.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

impl Endpoint {
    /// Drops what was decided under a term that is over, and tells whoever waits for it. What only the
    /// endpoint itself sees takes effect: its state says that it did.
    pub(super) fn not_led(self: &Arc<Self>, effects: &mut VecDeque<Effect>) {
        let error = RpcError::Failed {
            code: LEADERSHIP.to_owned(),
            text: format!(
                "endpoint `{}` leads no more; ask the one that leads",
                self.name()
            ),
        };
        let mut dropped = 0_u64;
        let mut left = std::mem::take(effects);
        while let Some(effect) = left.pop_front() {
            match effect {
                Effect::WhenDurable { then, .. } => {
                    for effect in then.into_iter().rev() {
                        left.push_front(effect);
                    }
                }
                Effect::Abort { .. }
                | Effect::StartTimer { .. }
                | Effect::CancelTimer { .. }
                | Effect::Contend
                | Effect::StopSelf => {
                    // None of these ever has to wait.
                    let _ = self.carry_out_one(effect);
                }
                effect => {
                    dropped += 1;
                    self.undone(effect, &error);
                }
            }
        }
        if dropped > 0 {
            let name = self.name();
            tracing::warn!(endpoint = name, dropped, "dropped: it leads no more");
        }
    }

    fn candidate(&self, running: &Running) -> Candidate {
        Candidate {
            id: self.address.to_string(),
            version: running.id.version.clone(),
            entries: running.entries.clone(),
        }
    }
}

impl Runner {
    /// How the instance stands to the election.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            contends: self.endpoint.election.contends.load(Ordering::Acquire),
            told: self.stands.told.clone(),
        }
    }

    /// The instance that counts from now on stands like this.
    pub(super) fn stand(&mut self, standing: Standing) {
        let election = &self.endpoint.election;
        election
            .contends
            .store(standing.contends, Ordering::Release);
        self.stands.told = standing.told;
        if self.blocked.is_empty() {
            election.under.store(self.stands.told.clone().map(Arc::new));
        }
    }

    /// Looks at what the election says: drops what does not count any more, and says what is wanted.
    /// Costs nothing for an endpoint that never stood.
    pub(super) fn look_at_election(&mut self) {
        let endpoint = Arc::clone(&self.endpoint);
        let election = &endpoint.election;
        if !election.is_known() {
            return;
        }
        let leadership = election
            .leadership
            .get_or_init(|| endpoint.outgoing.election(endpoint.name()));
        let changes = &mut self.stands.changes;
        let changes = changes.get_or_insert_with(|| leadership.changes());
        // Before anything is read: what changes after it wakes the runner again.
        drop(changes.borrow_and_update());
        if !self.blocked.is_empty() {
            let lost = matches!(self.life, Life::Failed(_) | Life::RestartAt(_));
            match election.gate() {
                Certainty::Over => drop(endpoint.carry_out(&mut self.blocked)),
                // Nobody else would look after it.
                Certainty::Certain if lost => drop(endpoint.carry_out(&mut self.blocked)),
                _ => {}
            }
        }
        self.note_doubt();
        self.make_wishes(leadership);
    }

    /// Stands for election, or stands no more.
    fn make_wishes(&mut self, leadership: &Leadership) {
        let endpoint = &self.endpoint;
        if matches!(self.life, Life::Ended) {
            return;
        }
        if endpoint.election.contends.load(Ordering::Acquire) {
            let running = endpoint.running.load_full();
            let stands = &mut self.stands;
            let as_it = |candidate: &Arc<Running>| Arc::ptr_eq(candidate, &running);
            if stands.candidate.as_ref().is_some_and(as_it) {
                return;
            }
            let has_place = &endpoint.election.has_place;
            // Where it has to wait for it, the one before tells when it leaves.
            if has_place.load(Ordering::Acquire) || leadership.take() {
                has_place.store(true, Ordering::Release);
                leadership.contend(endpoint.candidate(&running));
                stands.candidate = Some(running);
            }
            return;
        }
        // An instance that took over, or begins afresh, says itself whether it stands: with its first turn.
        let had_its_say = match self.life {
            Life::Failed(_) => !self.waits_for_disk(),
            Life::RestartAt(_) => false,
            _ => self.started && self.blocked.is_empty(),
        };
        if had_its_say && self.stands.candidate.take().is_some() {
            tracing::info!(endpoint = endpoint.name(), "stands for election no more");
            leadership.withdraw();
        }
    }

    /// The term that counts now: that of what waits, else that of the instance.
    fn counts(&self) -> Option<u64> {
        match self.blocked.is_empty() {
            true => self.stands.told.as_ref().map(|term| term.number),
            false => self.endpoint.election.under(),
        }
    }

    /// True where the endpoint has to stand still: whether it leads is in doubt.
    pub(super) fn in_doubt(&self) -> bool {
        let election = &self.endpoint.election;
        self.counts()
            .is_some_and(|term| election.certainty(term) == Certainty::Doubt)
    }

    /// Says when a doubt begins, and how long it lasted.
    fn note_doubt(&mut self) {
        let endpoint = self.endpoint.name();
        let trouble = || {
            let leadership = self.endpoint.election.leadership.get();
            leadership.and_then(|leadership| leadership.shown().trouble)
        };
        match (self.stands.doubt, self.in_doubt()) {
            (None, true) => {
                let late = || "nobody confirmed in time that it leads".to_owned();
                let trouble = trouble().unwrap_or_else(late);
                tracing::warn!(
                    endpoint,
                    trouble,
                    "in doubt whether it leads; stands still until that is known"
                );
                self.stands.doubt = Some(Instant::now());
            }
            (Some(since), false) => {
                let lasted = since.elapsed();
                let leads = self.counts().is_some_and(|term| {
                    self.endpoint.election.certainty(term) == Certainty::Certain
                });
                match leads {
                    true => tracing::info!(endpoint, ?lasted, "no more in doubt: it leads on"),
                    false => {
                        tracing::warn!(endpoint, ?lasted, "no more in doubt: it leads no more");
                    }
                }
                self.stands.doubt = None;
            }
            _ => {}
        }
    }

    /// Waits until the doubt is over, for an order, or for what has a limit meanwhile.
    pub(super) async fn wait_in_doubt(&mut self) {
        let stop = self.stops_at();
        let drain = self.draining.as_ref().map(|draining| draining.deadline);
        let until = stop.into_iter().chain(drain).min();
        tokio::select! {
            biased;
            Some(control) = self.control.recv() => self.obey(control).await,
            () = changed(&mut self.stands.changes) => {}
            () = moment::until(until) => {}
        }
    }

    /// Where it is in doubt whether the endpoint leads, it does not: there is no time left to wait.
    pub(super) fn give_up_doubt(&mut self) {
        let election = &self.endpoint.election;
        let doubtful = self
            .counts()
            .filter(|term| election.certainty(*term) == Certainty::Doubt);
        if let Some(term) = doubtful {
            election.given_up.fetch_max(term, Ordering::AcqRel);
            let endpoint = Arc::clone(&self.endpoint);
            endpoint.carry_out(&mut self.blocked);
        }
    }

    /// Waits until what the last turns did is durable and counts, but not beyond the time to stop.
    pub(super) async fn settle(&mut self) {
        loop {
            self.become_durable().await;
            let on_the_way =
                |effect: &Effect| matches!(effect, Effect::Persist(_) | Effect::WhenDurable { .. });
            let in_doubt = self.endpoint.election.gate() == Certainty::Doubt;
            match in_doubt && !self.blocked.is_empty() {
                true => {}
                false if self.blocked.iter().any(on_the_way) => continue,
                false => return,
            }
            if self.stopping_for_too_long() {
                return self.give_up_doubt();
            }
            self.note_doubt();
            self.wait_in_doubt().await;
        }
    }

    /// The first event of a batch that is about to be gathered, where the instance has to be told
    /// something. After a revocation nothing else goes into the batch.
    pub(super) fn notice(&mut self) -> Option<Event> {
        let election = &self.endpoint.election;
        if !election.is_known() || !self.started {
            return None;
        }
        let told = self.stands.told.as_ref();
        let told = told.map(|term| (term, election.certainty(term.number)));
        let (kind, body, then) = match tell(told, election.led()) {
            Tell::Nothing => return None,
            Tell::Elected(term) => {
                tracing::info!(
                    endpoint = self.endpoint.name(),
                    term = term.number,
                    "elected"
                );
                let notice = ElectedLeader { term: term.number };
                (ELECTED, postcard::to_stdvec(&notice), Some(term))
            }
            Tell::Revoked => {
                let reason = self.why_revoked();
                tracing::info!(endpoint = self.endpoint.name(), reason, "revoked");
                let notice = RevokedLeadership { reason };
                (REVOKED, postcard::to_stdvec(&notice), None)
            }
        };
        // A number and a text can be written.
        let body = body.unwrap_or_default();
        self.stands.notice = Some(then);
        Some(Event::Receive(Message::new(kind, body)))
    }

    fn why_revoked(&self) -> String {
        let election = &self.endpoint.election;
        let told = self.stands.told.as_ref().map_or(0, |term| term.number);
        if told <= election.given_up.load(Ordering::Acquire) {
            return "it is to stop, and whether it leads is in doubt".to_owned();
        }
        let leadership = election.leadership.get();
        let trouble = leadership.and_then(|leadership| leadership.shown().trouble);
        match (trouble, leadership.and_then(|leadership| leadership.term())) {
            (Some(trouble), _) => format!("the election was lost: {trouble}"),
            (None, Some(_)) => "the election was lost, and won again".to_owned(),
            (None, None) => "the election was lost".to_owned(),
        }
    }

    /// True where the batch has to wait: since it was gathered the endpoint came to stand still, or has
    /// to be told something before.
    pub(super) fn must_wait(&self) -> bool {
        let election = &self.endpoint.election;
        if !election.is_known() || self.stands.notice.is_some() {
            return false;
        }
        let told = self.stands.told.as_ref();
        let told = told.map(|term| (term, election.certainty(term.number)));
        let doubt = matches!(told, Some((_, Certainty::Doubt)));
        doubt || (self.started && tell(told, election.led()) != Tell::Nothing)
    }

    /// The turns of a batch begin, under what is told with its notice, or was told before.
    pub(super) fn begin_under(&self) {
        let Stands { told, notice, .. } = &self.stands;
        let under = notice.as_ref().unwrap_or(told);
        let election = &self.endpoint.election;
        if election.under.load().as_deref() != under.as_ref() {
            election.under.store(under.clone().map(Arc::new));
        }
        election
            .revokes
            .store(self.stands.revokes(), Ordering::Release);
    }

    /// The first `done` events of a batch were handled, and are none of it any more. A notice among them is
    /// told. Else it is taken out of what is left, and returned: it is made anew when it is time.
    pub(super) fn end_under(&mut self, batch: &mut Vec<Event>, done: usize) -> Option<Event> {
        let then = self.stands.notice.take()?;
        if done > 0 {
            self.stands.told = then;
            return None;
        }
        if self.blocked.is_empty() {
            let told = self.stands.told.clone();
            self.endpoint.election.under.store(told.map(Arc::new));
        }
        (!batch.is_empty()).then(|| batch.remove(0))
    }

    /// The end: what was led is handed over.
    pub(super) fn leave_election(&mut self) {
        self.stands.candidate = None;
        let election = &self.endpoint.election;
        election.contends.store(false, Ordering::Release);
        if election.has_place.swap(false, Ordering::AcqRel)
            && let Some(leadership) = election.leadership.get()
        {
            leadership.give_back();
        }
    }
}
