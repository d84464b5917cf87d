//! Step: what was seen of one step, and what is remembered between steps. Data only: the properties
//! judge it, without a host.

use std::collections::{BTreeMap, BTreeSet};

use fixture_load::Seen;

use super::plan::{LOCAL_SENDERS, What};

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
    /// Swaps that were known to be done before it was sent.
    pub before: u64,
    /// Swaps that were known to be done when it was answered.
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
    /// Crashes of the endpoint.
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
    /// What was sent in this step, in the order of each sender.
    pub items: Vec<Item>,
    /// Calls of earlier steps that ended in this one.
    pub ended: Vec<Item>,
    /// What the state handled in this step, in order. After a crash: what its new state did.
    pub log: Vec<Key>,
    /// What the other endpoint handled in this step, in order.
    pub other_log: Vec<Key>,
    /// How often all connections were cut.
    pub cuts: u32,
    /// How often an operator restarted it.
    pub restarts: u32,
    /// Messages and calls that were to panic.
    pub panics: u64,
    /// Of these, messages.
    pub panics_one_way: u64,
    /// Whether a version ran that traps by itself.
    pub fragile: bool,
    /// The version that ran after so many swaps.
    pub versions: Vec<String>,
}

impl Step {
    /// The state is another one than before.
    pub fn life_changed(&self) -> bool {
        self.before.life != self.after.life
    }

    /// Something happened with which state is lost.
    pub fn lost_its_state(&self) -> bool {
        self.after.crashes > self.before.crashes || self.restarts > 0
    }
}

/// What the properties remember between steps.
#[derive(Debug, Default)]
pub struct Memory {
    /// Messages that were under way when their connection was cut. They may still come, once.
    pub limbo: BTreeSet<Key>,
    /// What the other endpoint has handled so far.
    pub passed: BTreeSet<Key>,
    /// Some caller has gone, so that an answer may find nobody.
    pub callers_gone: bool,
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
            versions: vec!["1.0.0".to_owned()],
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
