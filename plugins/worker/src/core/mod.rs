//! The core: all that a worker decides. Events come in as calls of the methods of [`Core`], what is to
//! happen comes out as [`Effect`]s; time is a [`crate::messages::Wake`] that was ordered before, and chance is given at
//! the start. No clock, no host, nothing `async`.
//!
//! In the order in which things happen to a worker:
//!
//! | file | what is decided there |
//! |---|---|
//! | [`settings`], [`ids`], [`resources`] | what it is |
//! | [`registration`] | how it finds a master |
//! | [`adopting`] | whose worker it is, and whom it obeys |
//! | [`heartbeats`] | that it is alive |
//! | [`executors`], [`drivers`], [`workload`], [`substitution`] | what runs |
//! | [`launches`], [`token`], [`finding`] | how that is known, also after a crash |
//! | [`reporting`] | how the master hears of it |
//! | [`cleanup`], [`decommissioning`], [`retained`], [`looking`] | the rest |

mod effect;
pub use effect::{Effect, Effects, Subject, ToMaster};

pub mod settings;

pub mod ids;

mod resources;

pub mod registration;

pub mod adopting;

mod heartbeats;

pub mod executors;

pub mod drivers;

mod workload;

mod substitution;

mod launches;

mod token;

mod finding;

pub mod reporting;

mod cleanup;

mod decommissioning;

pub mod retained;

pub mod looking;

use std::collections::BTreeMap;

use deploy_protocol::{WorkerDriverInfo, WorkerExecutorInfo};
use instar_sdk::launching::LaunchId;
use instar_sdk::{Bytes, EndpointRef};
use serde::{Deserialize, Serialize};

use self::adopting::{Adopted, Early};
use self::drivers::Driver;
use self::executors::Executor;
use self::registration::{Registration, Schedule};
use self::reporting::Pending;
use self::retained::Retained;
use self::settings::Settings;
use self::token::Token;
use crate::messages::{Due, Wake};

/// A worker: its whole state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Core {
    settings: Settings,
    identity: Identity,
    registration: Registration,
    adopted: Option<Adopted>,
    early: Vec<Early>,
    /// Heartbeats have begun.
    beats: bool,
    /// Clean-up has begun.
    cleans: bool,
    executors: BTreeMap<Subject, Executor>,
    finished_executors: Retained<WorkerExecutorInfo>,
    drivers: BTreeMap<String, Driver>,
    finished_drivers: Retained<WorkerDriverInfo>,
    reports: BTreeMap<Subject, Pending>,
    /// Attempts to report, all together.
    sends: u64,
    decommissioned: bool,
}

/// Who a worker is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Tells this life from those before it: a life ends with the state. A swap does not end it.
    pub life: u64,
    /// Its id.
    pub id: String,
    /// Host on which it listens.
    pub host: String,
    /// Port on which it listens.
    pub port: u16,
    /// Its reference.
    pub this: EndpointRef,
}

/// What a worker is given at its start.
#[derive(Clone, Debug)]
pub struct Start {
    /// Its configuration.
    pub config: Vec<(String, String)>,
    /// Its reference.
    pub this: EndpointRef,
    /// The time of day, in ms since 1970 UTC.
    pub now_ms: u64,
    /// A number by chance.
    pub chance: u64,
    /// What a life before has launched and goes on.
    pub launched: Vec<(LaunchId, Bytes)>,
}

impl Core {
    /// A worker that begins to register.
    ///
    /// # Errors
    /// The configuration makes no sense, or nobody could reach this worker.
    pub fn start(start: Start, out: &mut Effects) -> Result<Self, String> {
        let settings = Settings::read(start.config)?;
        let (host, port) = host_and_port(&start.this)?;
        // A worker that comes back with what it ran is the same one to its master.
        let mut tokens = start.launched.iter();
        let before = tokens.find_map(|(_, token)| Token::from_bytes(token).ok());
        let id = match before {
            Some(token) => token.worker_id().to_owned(),
            None => ids::worker_id(&settings.worker_id_pattern, start.now_ms, &host, port),
        };
        let schedule = Schedule::new(&settings, settings.jitter_seed.unwrap_or(start.chance));
        let mut core = Self {
            identity: Identity {
                life: start.chance,
                id,
                host,
                port,
                this: start.this,
            },
            registration: Registration::new(schedule),
            adopted: None,
            early: Vec::new(),
            beats: false,
            cleans: false,
            executors: BTreeMap::new(),
            finished_executors: Retained::new(settings.retained_executors),
            drivers: BTreeMap::new(),
            finished_drivers: Retained::new(settings.retained_drivers),
            reports: BTreeMap::new(),
            sends: 0,
            decommissioned: false,
            settings,
        };
        core.take_up_unknown(&start.launched, out);
        let id = &core.identity.id;
        log::info!(
            "worker {id} starts, with {} executors",
            core.executors.len()
        );
        core.register(out);
        Ok(core)
    }

    /// A timer fired. `launched` is called where it matters what goes on.
    pub fn due(
        &mut self,
        due: Due,
        launched: impl FnOnce() -> Vec<(LaunchId, Bytes)>,
        out: &mut Effects,
    ) {
        if due.life != self.identity.life {
            return;
        }
        match due.what {
            Wake::Registration { round } => self.registration_due(round, out),
            Wake::Heartbeat => self.heartbeat_due(&launched(), out),
            Wake::CleanUp => self.clean_up_due(out),
            Wake::Report { subject, send } => self.report_due(&subject, send, out),
            Wake::LongRun { driver_id, run } => self.long_run(&driver_id, run),
            Wake::Restart { driver_id, run } => {
                // A worker that came back with an older copy of its state may have done that before.
                self.take_up_unknown(&launched(), out);
                self.restart_due(&driver_id, run, out);
            }
        }
    }

    /// Who this worker is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How it is set.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The worker stops, and what it launched with it. A master that is here is told to send nothing
    /// more: the connection with this host stays, so that it would notice only by the heartbeats.
    pub fn stop(&mut self, out: &mut Effects) {
        if self.connected_master().is_some() {
            self.tell_decommissioned(out);
        }
    }
}

fn host_and_port(this: &EndpointRef) -> Result<(String, u16), String> {
    let address = this.address.as_deref().unwrap_or("");
    let parts = address
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    parts.ok_or_else(|| {
        format!(
            "this worker is `{this}`, where no master can reach it; a worker needs a host that listens"
        )
    })
}
