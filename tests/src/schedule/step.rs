//! Step: what was seen of one step, and what is remembered between steps. Data only: the properties
//! judge it, without a host.

use std::collections::{BTreeMap, BTreeSet};

use fixture_load::Seen;

use super::mode::{Mode, Proving};
use super::plan::{LOCAL_SENDERS, What};
use super::timeline::Ran;

/// Sender and number.
pub type Key = (u32, u64);

/// What a sender was told of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// One way, and taken.
    Accepted,
    /// It failed, with this code.
    Refused(String),
    /// The call was answered.
    Answered(Seen),
    /// The call waits.
    Open,
}

/// One message or call of a sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Sender and number.
    pub key: Key,
    /// What it is.
    pub what: What,
    /// What its sender was told.
    pub told: Told,
    /// Flips that were known to be done before it was sent.
    pub before: u64,
    /// Flips that were known to be done when it was answered.
    pub after: u64,
    /// Its connection may have been cut since it was sent.
    pub shaky: bool,
}

impl Item {
    /// True where the way of the message can be cut.
    pub fn is_remote(&self) -> bool {
        self.key.0 >= LOCAL_SENDERS
    }
}

/// The endpoint between two steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// The version that answers.
    pub version: String,
    /// The start that its state comes from.
    pub life: u64,
    /// Swaps that its state went through since.
    pub generation: u64,
    /// Swaps of the endpoint.
    pub swaps: u64,
    /// Flips of the endpoint: swaps, and rollbacks by probation.
    pub flips: u64,
    /// The version is on probation, and will be for a while.
    pub on_probation: bool,
    /// There is a copy of the state.
    pub copied: bool,
    /// Crashes of the endpoint, those that were rolled back included.
    pub crashes: u64,
    /// Messages that were lost with a crash: those that did it.
    pub culprits: u64,
    /// Calls that the guest holds: sender and number.
    pub held: BTreeSet<Key>,
    /// Calls that the host holds open for it.
    pub open_calls: usize,
    /// Asks that the host holds open for it.
    pub open_asks: usize,
    /// Those of which the guest knows.
    pub waiting: usize,
    /// Timers of the host.
    pub timers: usize,
    /// How often the periodic timer fired in this life.
    pub ticks: u64,
    /// Answers to the endpoint that it did not await.
    pub strays: u64,
    /// Answers of the endpoint that the host did not await.
    pub refused: u64,
}

/// What was seen of one step. At its end nothing is under way any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Before.
    pub before: Picture,
    /// After.
    pub after: Picture,
    /// What is switched on.
    pub mode: Mode,
    /// What was sent in this step, in the order of each sender.
    pub items: Vec<Item>,
    /// Calls of earlier steps that ended in this one.
    pub ended: Vec<Item>,
    /// What the state handled in this step, in order. After a crash: what its new state did.
    pub log: Vec<Key>,
    /// Messages of earlier steps that the state knew before and does not know any more.
    pub forgotten: u64,
    /// How often the timer had fired when nothing was sent any more.
    pub ticks_seen: u64,
    /// What the other endpoint handled in this step, in order.
    pub other_log: Vec<Key>,
    /// How often all connections were cut.
    pub cuts: u32,
    /// How often an operator restarted it.
    pub restarts: u32,
    /// Messages, calls and timers that were to panic.
    pub panics: u64,
    /// Of these, messages.
    pub panics_one_way: u64,
    /// Some async work was begun, so that there may have been no copy for a while.
    pub lingered: bool,
    /// Nothing happened but one panic.
    pub one_panic: bool,
    /// A version that traps by itself was put in place beside a crash: perhaps without a state, and so
    /// without a probation.
    pub fragile_beside_crash: bool,
    /// All that ran, from the first version on.
    pub timeline: Vec<Ran>,
}

/// The version that traps by itself.
pub const FRAGILE_VERSION: &str = "2.6.6";

impl Step {
    /// The state is another one than before.
    pub fn life_changed(&self) -> bool {
        self.before.life != self.after.life
    }

    /// What a reader of a violation wants to know first.
    pub fn in_short(&self) -> String {
        let flips = self.flipped().iter().map(|ran| match &ran.rolled_back {
            None => format!("swapped to {}", ran.version),
            Some(why) => format!("back to {} ({why})", ran.version),
        });
        format!(
            "before: {:?}\nmeanwhile: {:?}\nafter: {:?}",
            self.before,
            flips.collect::<Vec<_>>(),
            self.after
        )
    }

    /// The flips of this step.
    pub fn flipped(&self) -> &[Ran] {
        let from = (self.before.flips as usize + 1).min(self.timeline.len());
        self.timeline.get(from..).unwrap_or_default()
    }

    /// Versions that failed on probation in this step.
    pub fn rollbacks(&self) -> u64 {
        let back = self
            .flipped()
            .iter()
            .filter(|ran| ran.rolled_back.is_some());
        back.count() as u64
    }

    /// Crashes with which the state was lost, or all that is younger than a copy. None where the
    /// numbers do not fit together.
    pub fn losing_crashes(&self) -> Option<u64> {
        (self.after.crashes - self.before.crashes).checked_sub(self.rollbacks())
    }

    /// How often state was lost.
    pub fn losses(&self) -> u64 {
        self.losing_crashes().unwrap_or(0) + u64::from(self.restarts)
    }

    /// The state went back to a copy, or may have.
    pub fn went_back(&self) -> bool {
        self.losses() > 0 && (!self.life_changed() || self.mode.every.is_some())
    }

    /// Whether a version ran that traps by itself.
    pub fn fragile(&self) -> bool {
        self.before.version == FRAGILE_VERSION
            || self
                .flipped()
                .iter()
                .any(|ran| ran.version == FRAGILE_VERSION)
    }

    /// A version that traps by itself may have run without being on probation.
    pub fn fragile_unproved(&self) -> bool {
        let restored = |ran: &Ran| ran.rolled_back.is_some() && ran.version == FRAGILE_VERSION;
        self.fragile()
            && (self.mode.proving != Proving::Long
                || self.before.version == FRAGILE_VERSION && !self.before.on_probation
                || self.restarts > 0
                || self.fragile_beside_crash
                || self.flipped().iter().any(restored))
    }
}

/// What the properties remember between steps.
#[derive(Debug, Default)]
pub struct Memory {
    /// Messages that were under way when their connection was cut. They may still come, once.
    pub limbo: BTreeSet<Key>,
    /// What the other endpoint has handled so far.
    pub passed: BTreeSet<Key>,
    /// Of these, what it was asked.
    pub forwarded: BTreeSet<Key>,
    /// There may be a copy of the state, though the mode wants none: that of a failed rollback.
    pub copy_left: bool,
    /// Some state went back, so that it may answer once more.
    pub went_back: bool,
    /// Calls that the guest holds and the host does not: a state that went back holds them again.
    pub ghosts: usize,
}

/// How often each key stands in a log.
pub(super) fn counts(log: &[Key]) -> BTreeMap<Key, u64> {
    let mut counts = BTreeMap::new();
    for key in log {
        *counts.entry(*key).or_default() += 1;
    }
    counts
}

#[cfg(test)]
pub(super) mod examples {
    use super::*;

    /// A step in which sender 0 sent as many messages, all of which were handled.
    pub(in crate::schedule) fn quiet(messages: u64) -> Step {
        let items = (0..messages).map(|number| Item {
            key: (0, number),
            what: What::Send,
            told: Told::Accepted,
            before: 0,
            after: 0,
            shaky: false,
        });
        let picture = Picture {
            version: "1.0.0".to_owned(),
            life: 7,
            timers: 1,
            ticks: 1,
            ..Picture::default()
        };
        let after = Picture {
            ticks: 2,
            ..picture.clone()
        };
        Step {
            items: items.collect(),
            log: (0..messages).map(|number| (0, number)).collect(),
            before: picture,
            after,
            timeline: vec![Ran::first("1.0.0")],
            ticks_seen: 1,
            ..Step::default()
        }
    }

    pub(in crate::schedule) fn seen(key: Key) -> Seen {
        Seen {
            sender: key.0,
            number: key.1,
            version: "1.0.0".to_owned(),
            life: 7,
            generation: 0,
        }
    }
}
