//! Core: what a master knows and decides, without clock, chance or messages of its own. Each event
//! is a method that takes a [`Turn`] and leaves effects in it.
//!
//! Before it: [`crate::endpoint`], which makes events of messages. After it: the same, which carries
//! out the effects.
//!
//! | file | idea |
//! |---|---|
//! | [`settings`], [`ids`], [`resources`] | what the configuration says; ids; addresses of resources |
//! | [`worker`], [`application`], [`driver`] | what is known, and the ways to find it |
//! | [`index`], [`bulk`] | how they are found by a text; how a state is read fast |
//! | [`workers`] | registration, heartbeats, loss, reports |
//! | [`applications`], [`executors`] | registration and end; reports, targets, kills |
//! | [`drivers`], [`submissions`] | end and relaunch; what clients ask for |
//! | [`decommission`] | workers that take no new work |
//! | [`schedule`], [`policy`] | what is launched, and where |
//! | [`knocking`] | who came while it stood by, and is called when it leads |
//! | [`entries`], [`keeping`], [`recovery`] | what is written down, how much of it, and how it is taken up again |
//! | [`rounds`] | what is about very many is done over several turns |
//! | [`questions`] | what anybody may ask |
//!
//! Invariants
//! 1. Whatever is used on a worker is used by exactly one executor or driver that the worker lists.
//! 2. No event does work for all workers unless it can schedule something on them, or is about all.
//! 3. Status goes STANDBY -> (RECOVERING -> COMPLETING_RECOVERY ->) ALIVE. COMPLETING_RECOVERY ends by
//!    itself, in the turns that follow, and can be entered again.
//! 4. One core is of one term of leadership. A master that leads no more begins with a new one: nothing
//!    of the term before is in it.

pub mod application;

pub mod applications;

pub mod bulk;

pub mod decommission;

pub mod driver;

pub mod drivers;

pub mod entries;

pub mod executors;

pub mod ids;

pub mod index;

pub mod keeping;

pub mod knocking;

pub mod policy;

pub mod questions;

pub mod recovery;

pub mod resources;

pub mod rounds;

pub mod schedule;

pub mod settings;

pub mod submissions;

pub mod turn;

pub mod worker;

pub mod workers;

use std::collections::{BTreeSet, VecDeque};

use deploy_protocol::{EndpointRef, RecoveryState};
use instar_sdk::Failure;
use serde::{Deserialize, Serialize};

use self::application::Applications;
use self::driver::Drivers;
use self::knocking::Knocked;
use self::rounds::Left;
use self::settings::Settings;
use self::turn::Turn;
use self::worker::Workers;

/// All that a master knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Core {
    settings: Settings,
    me: EndpointRef,
    status: RecoveryState,
    workers: Workers,
    apps: Applications,
    drivers: Drivers,
    /// Checks of who is silent, so far: the time by which workers are lost. Unlike the time of day
    /// it neither jumps nor goes on while the endpoint stands still.
    checks: u64,
    next_app_number: u32,
    next_driver_number: u32,
    /// Drivers with lower numbers are to end: somebody wanted all that there were to.
    kill_drivers_below: u32,
    /// How many masters, one after the other, took up what was written down; this one included.
    recoveries: u32,
    left: Left,
    knocked: Knocked,
    /// Bytes that are written down.
    kept_bytes: u64,
    /// Names of entries in the store that this version cannot read. They stay there.
    unreadable: BTreeSet<String>,
}

impl Core {
    /// A master in STANDBY that knows nothing. `me`: where it is.
    pub fn new(settings: Settings, me: EndpointRef) -> Self {
        let mut core = Self {
            settings,
            me,
            status: RecoveryState::Standby,
            workers: Workers::default(),
            apps: Applications::default(),
            drivers: Drivers::default(),
            checks: 0,
            next_app_number: 0,
            next_driver_number: 0,
            kill_drivers_below: 0,
            recoveries: 0,
            left: Left::default(),
            knocked: Knocked::default(),
            kept_bytes: 0,
            unreadable: BTreeSet::new(),
        };
        core.look_again();
        core
    }

    /// How it is.
    pub fn status(&self) -> RecoveryState {
        self.status
    }

    /// What the configuration says.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The configuration says something else now, or another build took over: the next event looks
    /// again at everything that waits.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
        self.look_again();
    }

    /// The configuration is as it was, but what is derived from the state was made anew.
    pub fn look_again(&mut self) {
        self.workers.look_again(self.settings.selection);
        self.apps.look_again();
        self.drivers.look_again();
    }

    /// Ends an event: a recovery that waits for nobody any more is over, what is left to do is gone on
    /// with, and what the event made possible is scheduled, once.
    pub fn settle(&mut self, turn: &mut Turn<'_>) {
        let mut nothing_is_left = self.go_on(turn);
        if nothing_is_left && self.complete_if_nobody_is_awaited() {
            nothing_is_left = self.go_on(turn);
        }
        if nothing_is_left {
            self.schedule(turn);
        }
    }

    /// True where it leads, be it that it still recovers.
    fn leads(&self) -> bool {
        self.status != RecoveryState::Standby
    }

    fn is_alive(&self) -> bool {
        self.status == RecoveryState::Alive
    }

    /// What a report must not be answered with a yes for: nobody would ever hear of it.
    fn is_not_the_leader(&self) -> Failure {
        let text = format!(
            "not the leader: the master at {} is {}, and notes nothing; tell the one that leads",
            self.me, self.status
        );
        Failure::with_code(Failure::LEADERSHIP, text)
    }
}

/// Adds to a list of what ended. Where it is full, the oldest tenth goes, at least one.
fn retain<T>(list: &mut VecDeque<T>, item: T, retained: usize) {
    if list.len() >= retained {
        let goes = (retained / 10).max(1).max(list.len() + 1 - retained.max(1));
        list.drain(..goes.min(list.len()));
    }
    if retained > 0 {
        list.push_back(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_ended_the_oldest_tenth_goes_when_the_list_is_full() {
        let mut list = VecDeque::new();
        for number in 0..31 {
            retain(&mut list, number, 30);
        }
        assert_eq!((list.len(), list.front()), (28, Some(&3)));
        for number in 0..7 {
            retain(&mut list, number, 2);
        }
        assert_eq!(list, [5, 6]);
        retain(&mut list, 7, 0);
        assert!(list.is_empty());
    }
}
