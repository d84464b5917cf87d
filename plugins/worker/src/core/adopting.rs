//! Adopting: whose worker this is. Spark: 4.3 of the specification.
//!
//! Invariants
//! 1. There is at most one master whose orders are obeyed: the one that was adopted last. An order says
//!    which master wants it ([`Core::obeys`]); a master that was replaced may still talk.
//! 2. A master is recognised by its reference, name and address, as it gives it itself. The same host
//!    under another name is another master until it says `MasterChanged` or registers this worker: two
//!    names can be two masters, and telling them apart wrongly would let a replaced one give orders.
//! 3. What a master is told of what runs here counts the orders that came before it was adopted: what is
//!    not on that list, it gives up.
//! 4. Timers begin once in a life, however often this worker is registered.
//! 5. A new leader is adopted at once, whatever the connection with the one before is like: that one may be
//!    frozen, or stand by, and its connection go on. What it sent before may still come, so whoever is
//!    adopted is sent a heartbeat: one that does not lead answers it with `ReconnectWorker`.

use deploy_protocol::{
    KillExecutor, LaunchDriver, LaunchExecutor, MasterChanged, ReconnectWorker, RegisteredWorker,
    WorkerLatestState, WorkerSchedulerStateResponse,
};
use instar_sdk::launching::LaunchId;
use instar_sdk::{Bytes, EndpointRef};
use serde::{Deserialize, Serialize};

use super::Core;
use super::effect::{Effect, Effects, ToMaster};

/// Orders that are kept until the first master of this life is adopted.
const EARLY_MAX: usize = 1000;

/// The master that was adopted last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// It.
    pub master: EndpointRef,
    /// Where it shows pages.
    pub web_ui_url: String,
    /// Where it is looked for when it is lost.
    pub dial: Option<String>,
    /// It was not lost since.
    pub connected: bool,
}

/// An order that came before the first master of this life was adopted. After a crash of this endpoint
/// its queued messages are still there, and they are valid if the same master is adopted again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Early {
    /// Start an executor.
    LaunchExecutor(LaunchExecutor),
    /// End one.
    KillExecutor(KillExecutor),
    /// Start a driver.
    LaunchDriver(LaunchDriver),
}

impl Core {
    /// A master registered this worker.
    pub fn registered(&mut self, message: RegisteredWorker, out: &mut Effects) {
        let RegisteredWorker {
            master,
            master_web_ui_url,
            master_address,
            duplicate,
        } = message;
        if self.registration.round.is_none() && self.has_another_master(&master) {
            // The answer of one that led, and was slow. Or of the one that leads, if ours does not: a
            // heartbeat brings that out.
            log::warn!("master {master} registered this worker, which has another one; ignored");
            self.beat(out);
            return;
        }
        let again = if duplicate { ", which knew it" } else { "" };
        log::info!("registered with master {master}{again}");
        let dial = match self.settings.prefer_configured_master_address {
            true => Some(master_address),
            false => master.address.clone(),
        };
        self.registration.done();
        self.change_master(master, master_web_ui_url, dial, out);
        self.start_beating(out);
        self.start_cleaning(out);
        let (executors, drivers) = self.listed();
        let latest = WorkerLatestState {
            id: self.identity.id.clone(),
            executors: executors.into_iter().map(|e| e.executor).collect(),
            driver_ids: drivers.into_iter().map(|d| d.driver_id).collect(),
        };
        self.tell(ToMaster::LatestState(latest), out);
        self.adopted_one(out);
    }

    /// A new master leads.
    ///
    /// A worker that was never registered goes on registering, with the new master too: what called is a
    /// master that knows an older worker at this address. (In Spark it waits for ever.)
    pub fn master_changed(&mut self, message: MasterChanged, out: &mut Effects) {
        let MasterChanged {
            master,
            master_web_ui_url,
        } = message;
        log::info!("master {master} leads now");
        let dial = master.address.clone();
        self.change_master(master, master_web_ui_url, dial.clone(), out);
        if self.registration.ever {
            self.registration.done();
        } else if let Some(dial) = dial {
            out.push(self.registration_to(&dial));
        }
        let (executors, drivers) = self.listed();
        let response = WorkerSchedulerStateResponse {
            id: self.identity.id.clone(),
            executors,
            drivers,
        };
        self.tell(ToMaster::SchedulerState(response), out);
        self.beat(out);
        self.adopted_one(out);
    }

    /// A master lost this worker, or does not lead, and wants it to register again.
    ///
    /// Where that goes on already, the master may not have led when it was asked: it does now.
    pub fn reconnect(&mut self, message: &ReconnectWorker, out: &mut Effects) {
        let master = &message.master;
        if self.has_another_master(master) {
            log::info!("master {master} is not the one that was adopted last: nothing to do");
            return;
        }
        log::info!("master {master} wants this worker to register again");
        match (&self.registration.round, &master.address) {
            (Some(_), Some(address)) => out.push(self.registration_to(address)),
            _ => self.register(out),
        }
    }

    /// A master is there, and it is not this one.
    fn has_another_master(&self, master: &EndpointRef) -> bool {
        self.connected_master().is_some_and(|ours| ours != master)
    }

    /// The connection with a host is gone, or could not be made.
    pub fn disconnected(&mut self, address: &str, out: &mut Effects) {
        let Some(adopted) = &self.adopted else {
            return;
        };
        let ours = [adopted.master.address.as_deref(), adopted.dial.as_deref()];
        if ours.contains(&Some(address)) {
            self.lost_master(out);
        }
    }

    pub(super) fn lost_master(&mut self, out: &mut Effects) {
        if let Some(adopted) = self.adopted.as_mut() {
            if adopted.connected {
                let master = &adopted.master;
                log::warn!("master {master} is lost; executors and drivers work on");
            }
            adopted.connected = false;
        }
        self.register(out);
    }

    /// Whether an order of `master` is to be carried out.
    pub(super) fn obeys(&self, master: &EndpointRef, order: &str) -> bool {
        let obeys = self.adopted.as_ref().is_some_and(|a| a.master == *master);
        if !obeys {
            let ours = self
                .adopted
                .as_ref()
                .map_or("none".to_owned(), |a| a.master.to_string());
            log::warn!("master {master} wants to {order}; ignored, as the master here is {ours}");
        }
        obeys
    }

    /// Forgets an order to launch a driver that waits for the first master. False where there is none.
    pub(super) fn forget_early_driver(&mut self, id: &str) -> bool {
        let before = self.early.len();
        let is_it = |early: &Early| matches!(early, Early::LaunchDriver(l) if l.driver_id == id);
        self.early.retain(|early| !is_it(early));
        self.early.len() < before
    }

    /// Keeps an order for the first master of this life. False where there was one, or there are too many.
    pub(super) fn is_early(&mut self, order: impl FnOnce() -> Early) -> bool {
        let early = self.adopted.is_none() && self.early.len() < EARLY_MAX;
        if early {
            self.early.push(order());
        }
        early
    }

    /// The master, if it is there.
    pub(super) fn connected_master(&self) -> Option<&EndpointRef> {
        let adopted = self.adopted.as_ref().filter(|adopted| adopted.connected);
        adopted.map(|adopted| &adopted.master)
    }

    /// Tells the master, if there was ever one.
    pub(super) fn tell(&self, what: ToMaster, out: &mut Effects) {
        if let Some(adopted) = &self.adopted {
            let to = adopted.master.clone();
            out.push(Effect::Tell { to, what });
        }
    }

    fn change_master(
        &mut self,
        master: EndpointRef,
        web_ui_url: String,
        dial: Option<String>,
        out: &mut Effects,
    ) {
        // Reports of these orders wait, too, until the master has heard what runs here.
        self.adopted = Some(Adopted {
            master,
            web_ui_url,
            dial,
            connected: false,
        });
        for early in std::mem::take(&mut self.early) {
            match early {
                Early::LaunchExecutor(launch) => self.launch_executor(launch, out),
                Early::KillExecutor(kill) => self.kill_executor(kill, Vec::new, out),
                Early::LaunchDriver(launch) => self.launch_driver(launch, out),
            }
        }
        if let Some(adopted) = self.adopted.as_mut() {
            adopted.connected = true;
        }
    }

    /// What every new master has to hear after what runs here.
    fn adopted_one(&mut self, out: &mut Effects) {
        if self.decommissioned {
            self.tell_decommissioned(out);
        }
        self.report_all(out);
    }

    /// This endpoint crashed. If it goes on from an older copy of its state, what it was told and told
    /// since is forgotten. So it begins again with its master, which then hears what runs here; `launched`
    /// is what goes on.
    pub fn crashed(&mut self, launched: &[(LaunchId, Bytes)], out: &mut Effects) {
        self.take_up_unknown(launched, out);
        self.wait_again(out);
        self.begin_anew(out);
    }
}
