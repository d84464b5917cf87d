//! Leadership: whether an endpoint leads, under which term, and until when that is certain.
//!
//! Between two: an agent ([`super`]) writes what the election says, the endpoint reads it, wherever it is
//! about to let out what a leader decided. The other way go the endpoint's wishes.
//!
//! Invariants
//! 1. No two terms are the same, and a term that is over never comes back.
//! 2. Certain is only what was heard of in time: after `certain_until` a term is in doubt, whoever was
//!    stopped for how long meanwhile. [`Instant`] counts on while a process is stopped.
//! 3. In doubt nothing is decided either way: the term may be renewed, or be over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use crate::component::entries::EntryFormats;

/// One time of leading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Grows with each term of this process.
    pub number: u64,
    /// The node whose existence proves the term: writes are made under the condition that it is there.
    /// None where nobody else can lead.
    pub fence: Option<Arc<str>>,
}

/// How much a term is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// It leads.
    Certain,
    /// It led, and may or may not lead still.
    Doubt,
    /// It leads no more.
    Over,
}

/// What an endpoint says of itself to the others who stand for election.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its URI.
    pub id: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// What it keeps beyond the process, if it said so.
    #[serde(default)]
    pub entries: Option<EntryFormats>,
}

/// One who stands for election.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participant {
    /// Name of its node.
    pub node: String,
    /// What it says of itself; none where that is not what a candidate of ours says.
    pub candidate: Option<Candidate>,
}

/// What an election looks like from here, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// How it is decided: `none`, `zookeeper`.
    pub mode: String,
    /// All who stand, the leader first. Empty where there is no election.
    pub participants: Vec<Participant>,
    /// Our place among them: 0 leads.
    pub place: Option<usize>,
    /// What keeps us from standing, or from knowing.
    pub trouble: Option<String>,
}

/// What an endpoint wants of the election. Level, not edge: the last wish counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// It stands for election, as this candidate.
    pub candidate: Option<Candidate>,
    /// Grows each time it gives up what it has: a leader steps back to the end of the line.
    pub resigned: u64,
}

/// See above.
#[derive(Debug)]
pub struct Leadership {
    now: Mutex<Now>,
    changed: watch::Sender<u64>,
    wish: watch::Sender<Wish>,
}

#[derive(Debug, Default)]
struct Now {
    terms: u64,
    leads: Option<Leads>,
    shown: Shown,
    /// Some endpoint stands here.
    taken: bool,
}

#[derive(Debug)]
struct Leads {
    term: Term,
    /// None: for ever, as long as nobody says otherwise.
    certain_until: Option<Instant>,
    doubted: bool,
}

// What an agent does.
impl Leadership {
    /// Nobody leads yet, and nobody wants to. `mode` is for people.
    pub fn new(mode: &str) -> Arc<Self> {
        let shown = Shown {
            mode: mode.to_owned(),
            ..Shown::default()
        };
        Arc::new(Self {
            now: Mutex::new(Now {
                shown,
                ..Now::default()
            }),
            changed: watch::Sender::default(),
            wish: watch::Sender::default(),
        })
    }

    /// A term begins. `certain_until`: none where nobody else can lead.
    pub fn begin(&self, fence: Option<Arc<str>>, certain_until: Option<Instant>) {
        let mut now = self.lock();
        now.terms += 1;
        let term = Term {
            number: now.terms,
            fence,
        };
        now.leads = Some(Leads {
            term,
            certain_until,
            doubted: false,
        });
        drop(now);
        self.tell();
    }

    /// The term that goes on is certain until then. Ends the doubt.
    pub fn renew(&self, certain_until: Instant) {
        let mut now = self.lock();
        let Some(leads) = &mut now.leads else {
            return;
        };
        let news = leads.doubted
            || leads
                .certain_until
                .is_some_and(|until| until <= Instant::now());
        leads.certain_until = Some(certain_until);
        leads.doubted = false;
        drop(now);
        if news {
            self.tell();
        }
    }

    /// The term that goes on may be over.
    pub fn doubt(&self) {
        let mut now = self.lock();
        let Some(leads) = &mut now.leads else {
            return;
        };
        let news = !leads.doubted;
        leads.doubted = true;
        drop(now);
        if news {
            self.tell();
        }
    }

    /// The term is over.
    pub fn end(&self) {
        let was = self.lock().leads.take();
        if was.is_some() {
            self.tell();
        }
    }

    /// Changes what people see.
    pub fn show(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.lock().shown);
        self.tell();
    }

    /// The wishes of the endpoint.
    pub fn wishes(&self) -> watch::Receiver<Wish> {
        self.wish.subscribe()
    }
}

// What an endpoint does.
impl Leadership {
    /// Takes the place of the one that stands here; false where another endpoint has it still. An endpoint
    /// that was stopped may have one of the same name after it while it drains: never do both lead.
    pub(crate) fn take(&self) -> bool {
        !std::mem::replace(&mut self.lock().taken, true)
    }

    /// Stands no more, and leaves the place to the next.
    pub(crate) fn give_back(&self) {
        self.withdraw();
        self.lock().taken = false;
        self.tell();
    }

    /// When the term becomes old by itself, unless it is renewed.
    pub(crate) fn certain_until(&self, term: u64) -> Option<Instant> {
        let now = self.lock();
        let leads = now.leads.as_ref().filter(|leads| leads.term.number == term);
        leads.and_then(|leads| leads.certain_until)
    }

    /// The term that goes on, be it in doubt or not.
    pub fn term(&self) -> Option<Term> {
        self.lock().leads.as_ref().map(|leads| leads.term.clone())
    }

    /// How much a term is worth now.
    pub fn certainty(&self, term: u64) -> Certainty {
        let now = self.lock();
        match &now.leads {
            Some(leads) if leads.term.number == term => {
                let late = |until: Instant| until <= Instant::now();
                match leads.doubted || leads.certain_until.is_some_and(late) {
                    true => Certainty::Doubt,
                    false => Certainty::Certain,
                }
            }
            _ => Certainty::Over,
        }
    }

    /// Changes with every change of what is above, but for a term that becomes old by itself.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Stands for election as this candidate, or says anew what it is.
    pub fn contend(&self, candidate: Candidate) {
        self.wish.send_if_modified(|wish| {
            let news = wish.candidate.as_ref() != Some(&candidate);
            wish.candidate = Some(candidate);
            news
        });
    }

    /// Stands no more. A term that goes on is handed over.
    pub fn withdraw(&self) {
        self.wish
            .send_if_modified(|wish| wish.candidate.take().is_some());
    }

    /// Gives the term up, and stands again at the end of the line.
    pub fn resign(&self) {
        self.wish.send_modify(|wish| wish.resigned += 1);
    }

    /// What people see.
    pub fn shown(&self) -> Shown {
        self.lock().shown.clone()
    }
}

impl Leadership {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_term_is_certain_until_its_time_is_over() {
        let leadership = Leadership::new("test");
        assert_eq!(leadership.certainty(1), Certainty::Over);
        leadership.begin(None, Some(Instant::now()));
        let term = leadership.term().unwrap().number;
        assert_eq!(leadership.certainty(term), Certainty::Doubt);
        leadership.renew(Instant::now() + HOUR);
        assert_eq!(leadership.certainty(term), Certainty::Certain);
        leadership.doubt();
        assert_eq!(leadership.certainty(term), Certainty::Doubt);
        leadership.end();
        leadership.renew(Instant::now() + HOUR);
        assert_eq!(leadership.certainty(term), Certainty::Over);
    }

    #[test]
    fn a_term_that_is_over_never_comes_back() {
        let leadership = Leadership::new("test");
        leadership.begin(None, None);
        let first = leadership.term().unwrap().number;
        leadership.begin(None, None);
        let second = leadership.term().unwrap().number;
        assert_eq!(leadership.certainty(first), Certainty::Over);
        assert_eq!(leadership.certainty(second), Certainty::Certain);
    }

    #[test]
    fn one_endpoint_at_a_time_stands() {
        let leadership = Leadership::new("test");
        assert!(leadership.take());
        assert!(!leadership.take());
        leadership.contend(Candidate::default());
        leadership.give_back();
        assert_eq!(leadership.wishes().borrow().candidate, None);
        assert!(leadership.take());
    }

    #[test]
    fn the_last_wish_counts() {
        let leadership = Leadership::new("test");
        let mut wishes = leadership.wishes();
        let candidate = Candidate {
            id: "one".to_owned(),
            ..Candidate::default()
        };
        leadership.contend(candidate.clone());
        assert!(wishes.has_changed().unwrap());
        assert_eq!(
            wishes.borrow_and_update().candidate,
            Some(candidate.clone())
        );
        leadership.contend(candidate);
        assert!(!wishes.has_changed().unwrap(), "nothing new");
        leadership.withdraw();
        assert_eq!(wishes.borrow_and_update().candidate, None);
    }
}
