//! Registration: how a worker finds a master that takes it. Spark: 4.2 of the specification.
//!
//! A round begins with one message to every master. Each tick of the schedule tries again, until a
//! master answers (see [`super::adopting`]), or the schedule ends: then the worker stops.
//!
//! Invariants
//! 1. There is at most one round: a second loss of the master changes nothing about the first.
//! 2. The first ticks go only to the master that was adopted last, as it comes back or its successor
//!    calls. Later ones go to all again: it may have another address by now.
//! 3. What runs here goes on meanwhile.

use std::time::Duration;

use deploy_protocol::{MASTER, RegisterWorker, RegisterWorkerFailed};
use instar_sdk::EndpointRef;
use serde::{Deserialize, Serialize};

use super::effect::{Effect, Effects, ToMaster};
use super::settings::Settings;
use super::{Core, resources};
use crate::messages::Wake;

/// More rounds than can begin between a copy of the state and a crash.
const ROUNDS_LOST: u64 = 1_000_000;

/// When a worker tries again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    fast: Duration,
    slow: Duration,
    initial: u32,
    max: u32,
}

impl Schedule {
    /// The schedule with the one jitter factor of this worker, 0.5 to 1.5, that `seed` chooses: workers
    /// that lost the same master do not come back in step.
    pub fn new(settings: &Settings, seed: u64) -> Self {
        let factor = 0.5 + unit(seed);
        let jittered = |ms: u64| {
            // At most a year and a half: exact as a float, and far from the bounds of both types.
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "see above"
            )]
            let ms = (ms as f64 * factor).round() as u64;
            Duration::from_millis(ms.max(1))
        };
        Self {
            fast: jittered(settings.registration_fast_interval_ms),
            slow: jittered(settings.registration_slow_interval_ms),
            initial: settings.initial_registration_retries,
            max: settings.max_registration_retries,
        }
    }

    /// The time from retry `retries` (0: the first attempt) to the next tick.
    pub fn wait_after(&self, retries: u32) -> Duration {
        if retries < self.initial {
            self.fast
        } else {
            self.slow
        }
    }

    /// All waits of a round without an answer. The worker gives up at the end of the last.
    pub fn waits(&self) -> Vec<Duration> {
        (0..=self.max)
            .map(|retries| self.wait_after(retries))
            .collect()
    }
}

/// A number from 0 to 1, without 1. SplitMix64.
fn unit(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let unit = (z >> 11) as f64 / (1_u64 << 53) as f64;
    unit
}

/// How far registration is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Registration {
    pub(super) schedule: Schedule,
    /// A master has this worker on its list, as far as is known.
    pub(super) registered: bool,
    /// A master had it, once.
    pub(super) ever: bool,
    pub(super) round: Option<Round>,
    rounds: u64,
    refusal: Option<String>,
}

/// A round of attempts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Round {
    number: u64,
    retries: u32,
}

impl Registration {
    pub(super) fn new(schedule: Schedule) -> Self {
        Self {
            schedule,
            registered: false,
            ever: false,
            round: None,
            rounds: 0,
            refusal: None,
        }
    }

    /// A master answered.
    pub(super) fn done(&mut self) {
        self.registered = true;
        self.ever = true;
        self.round = None;
        self.refusal = None;
    }
}

impl Core {
    /// Begins a round, unless one goes on.
    pub(super) fn register(&mut self, out: &mut Effects) {
        if self.registration.round.is_some() {
            return;
        }
        self.registration.registered = false;
        self.registration.rounds += 1;
        let number = self.registration.rounds;
        self.registration.round = Some(Round { number, retries: 0 });
        self.ask_to_be_registered(self.every_address(), out);
        self.wake_for_registration(number, 0, out);
    }

    /// Begins a round although one may go on: after a crash nothing says whether its tick still comes.
    /// A life that has just begun, as there was no copy, is left alone.
    pub(super) fn begin_anew(&mut self, out: &mut Effects) {
        let first = |round: &Round| round.number == 1 && round.retries == 0;
        if self.registration.round.as_ref().is_some_and(first) {
            return;
        }
        self.registration.round = None;
        // Rounds that the copy does not know may have ticks that still come.
        self.registration.rounds += ROUNDS_LOST;
        self.register(out);
    }

    /// A tick of the schedule.
    pub(super) fn registration_due(&mut self, number: u64, out: &mut Effects) {
        let Some(round) = self.registration.round.as_mut() else {
            return;
        };
        if round.number != number {
            return;
        }
        round.retries += 1;
        let retries = round.retries;
        if retries > self.registration.schedule.max {
            self.give_up(out);
            return;
        }
        let dial = self
            .adopted
            .as_ref()
            .and_then(|adopted| adopted.dial.clone());
        let addresses = match dial {
            Some(dial) if retries <= self.registration.schedule.initial => vec![dial],
            _ => self.every_address(),
        };
        log::info!("registering again, try {retries}: {}", addresses.join(", "));
        self.ask_to_be_registered(addresses, out);
        self.wake_for_registration(number, retries, out);
    }

    /// A master refuses this worker.
    ///
    /// In Spark an unregistered worker ends at once. Here it tries on: the usual reason is an older worker
    /// at this address, which the master forgets when it was silent for long enough.
    pub fn registration_failed(&mut self, message: RegisterWorkerFailed) {
        let reason = message.message;
        if self.registration.registered {
            log::info!("a master refused this worker, which is registered: {reason}");
        } else {
            log::error!("a master refused this worker, which goes on trying: {reason}");
            self.registration.refusal = Some(reason);
        }
    }

    /// A message to a master could not even be sent: there is no such endpoint, or no room.
    pub fn unreachable(&mut self, to: &EndpointRef, gone: bool, reason: &str, out: &mut Effects) {
        log::info!("master {to} cannot be told: {reason}");
        let active = self.adopted.as_ref().is_some_and(|a| a.master == *to);
        if gone && active {
            self.lost_master(out);
        }
    }

    /// The message that says who this worker is, as it goes to `master_address`.
    pub(super) fn registration_to(&self, master_address: &str) -> Effect {
        let register = RegisterWorker {
            id: self.identity.id.clone(),
            host: self.identity.host.clone(),
            port: self.identity.port,
            worker: self.identity.this.clone(),
            cores: self.settings.cores,
            memory_mb: self.settings.memory_mb,
            web_ui_url: self.settings.web_ui_url.clone(),
            master_address: master_address.to_owned(),
            resources: resources::listed(&self.settings.resources),
        };
        Effect::Tell {
            to: EndpointRef::remote(MASTER, master_address),
            what: ToMaster::Register(register),
        }
    }

    fn ask_to_be_registered(&self, addresses: Vec<String>, out: &mut Effects) {
        out.extend(
            addresses
                .iter()
                .map(|address| self.registration_to(address)),
        );
    }

    fn wake_for_registration(&self, round: u64, retries: u32, out: &mut Effects) {
        let wait = self.registration.schedule.wait_after(retries);
        out.push(Effect::WakeAfter(wait, Wake::Registration { round }));
    }

    /// Those of the configuration, and that of the master that was adopted last.
    pub(super) fn every_address(&self) -> Vec<String> {
        let mut addresses = self.settings.masters.clone();
        if let Some(dial) = self.adopted.as_ref().and_then(|a| a.dial.as_ref())
            && !addresses.contains(dial)
        {
            addresses.push(dial.clone());
        }
        addresses
    }

    fn give_up(&mut self, out: &mut Effects) {
        let refusal = match &self.registration.refusal {
            Some(reason) => format!("; the last refusal was: {reason}"),
            None => String::new(),
        };
        log::error!(
            "no master registered this worker in {} attempts at {}{refusal}; the worker stops, and with \
             it {} executors and {} drivers; see that a master leads at one of these addresses, then \
             start the worker again",
            u64::from(self.registration.schedule.max) + 1,
            self.every_address().join(", "),
            self.executors.len(),
            self.drivers.len(),
        );
        self.registration.round = None;
        out.push(Effect::Stop);
    }
}
