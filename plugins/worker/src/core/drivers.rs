//! Drivers: started as the master orders, and again as long as they are supervised and fail. Spark: 4.6
//! of the specification and `DriverRunner`.
//!
//! Between two runs it waits 1, 2, 4, ... s, at most [`WAIT_MAX_S`]; a run of more than [`LONG_RUN`]
//! begins anew at 1. A kill ends the wait at once.
//!
//! | it ended | then it is |
//! |---|---|
//! | with status 0 | FINISHED |
//! | with another one, supervised, not killed | started again |
//! | with another one, otherwise | KILLED if that was wanted, else FAILED |
//! | by a kill | KILLED |
//! | before it began | ERROR |

use std::time::Duration;

use deploy_protocol::{
    DriverState, KillDriver, LaunchDriver, ResourceInformation, WorkerDriverInfo,
};
use instar_sdk::Bytes;
use instar_sdk::launching::{LaunchChange, LaunchId};
use serde::{Deserialize, Serialize};

use super::Core;
use super::adopting::Early;
use super::effect::{Effect, Effects, Subject};
use super::token::Token;
use crate::messages::Wake;

/// A run of more than that counts as a good one.
pub const LONG_RUN: Duration = Duration::from_secs(5);

/// The longest wait before a restart. Spark has no bound: after twenty failures it waits for six days.
pub const WAIT_MAX_S: u32 = 300;

/// A driver that has not ended for good.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Driver {
    pub(super) info: WorkerDriverInfo,
    pub(super) resources: Vec<ResourceInformation>,
    pub(super) phase: Phase,
    /// The next wait before a restart.
    pub(super) wait_s: u32,
    pub(super) killed: bool,
    /// It was not among what goes on, at the last comparison.
    pub(super) missed: bool,
}

/// Where a driver is between two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// The host has it, or gets it in this very turn.
    Launched(Option<LaunchId>),
    /// Its last run failed; the next one comes.
    Waiting,
}

impl Driver {
    pub(super) fn launch(&self) -> Option<LaunchId> {
        match self.phase {
            Phase::Launched(launch) => launch,
            Phase::Waiting => None,
        }
    }

    pub(super) fn wake_after_long_run(&self) -> Effect {
        let wake = Wake::LongRun {
            driver_id: self.info.driver_id.clone(),
            run: self.info.starts,
        };
        Effect::WakeAfter(LONG_RUN, wake)
    }
}

impl Core {
    /// The master orders a driver.
    pub fn launch_driver(&mut self, order: LaunchDriver, out: &mut Effects) {
        if self.is_early(|| Early::LaunchDriver(order.clone())) {
            return;
        }
        let subject = Subject::Driver(order.driver_id.clone());
        if !self.obeys(&order.master, &format!("launch {subject}")) {
            return;
        }
        if self.drivers.contains_key(&order.driver_id) {
            log::warn!("{subject} is not launched: it runs here already");
            return;
        }
        if !self.has_room_to_refuse(&subject) {
            return;
        }
        let driver = Driver {
            info: WorkerDriverInfo {
                driver_id: order.driver_id,
                description: order.description,
                state: DriverState::Running,
                starts: 0,
                folder: String::new(),
                message: String::new(),
                exit_status: None,
            },
            resources: order.resources,
            phase: Phase::Waiting,
            wait_s: 1,
            killed: false,
            missed: false,
        };
        let of = &driver.info.description;
        let may = self
            .check_room_for_reports()
            .and_then(|()| self.check_size(of.cores, of.memory_mb));
        match may {
            Ok(()) => self.run_driver(driver, out),
            Err(reason) => self.driver_over(driver, DriverState::Error, reason, None, out),
        }
    }

    /// The master wants a driver to end. One that is not here is told as KILLED: its end may have been
    /// lost, and the master would wait for it for ever.
    pub fn kill_driver(
        &mut self,
        order: &KillDriver,
        launched: impl FnOnce() -> Vec<(LaunchId, Bytes)>,
        out: &mut Effects,
    ) {
        let id = &order.driver_id;
        // Even one that is known: what runs may be a later run than that in an older copy of the state.
        self.take_up_unknown(&launched(), out);
        let Some(driver) = self.drivers.get_mut(id) else {
            let early = self.forget_early_driver(id);
            let how = if early {
                "was not begun"
            } else {
                "does not run here"
            };
            log::info!("driver {id} is to be killed, but {how}");
            self.report_no_driver(id, how, out);
            return;
        };
        log::info!("driver {id} is being killed");
        driver.killed = true;
        match driver.phase {
            Phase::Launched(launch) => out.extend(launch.map(Effect::Kill)),
            Phase::Waiting => {
                if let Some(driver) = self.drivers.remove(id) {
                    let (message, status) = (driver.info.message.clone(), driver.info.exit_status);
                    self.driver_over(driver, DriverState::Killed, message, status, out);
                }
            }
        }
    }

    /// The launch of a driver goes on.
    pub(super) fn driver_changed(&mut self, id: &str, change: LaunchChange, out: &mut Effects) {
        if let LaunchChange::Running { folder } = change {
            self.driver_runs(id, folder, out);
            return;
        }
        let Some(driver) = self.drivers.remove(id) else {
            return;
        };
        let (state, reason, status) = match change {
            LaunchChange::Running { .. } => return,
            LaunchChange::Killed => (DriverState::Killed, String::new(), None),
            LaunchChange::Failed { reason } => (DriverState::Error, reason, None),
            LaunchChange::Exited { status, reason } => {
                let state = match status {
                    0 => DriverState::Finished,
                    _ if driver.killed => DriverState::Killed,
                    _ if driver.info.description.supervise => {
                        self.wait_for_restart(driver, reason, Some(status), out);
                        return;
                    }
                    _ => DriverState::Failed,
                };
                (state, reason, Some(status))
            }
        };
        self.driver_over(driver, state, reason, status, out);
    }

    /// Its run was long enough to count as a good one.
    pub(super) fn long_run(&mut self, id: &str, run: u32) {
        if let Some(driver) = self.drivers.get_mut(id)
            && matches!(driver.phase, Phase::Launched(_))
            && driver.info.starts == run
        {
            driver.wait_s = 1;
        }
    }

    /// Its wait is over.
    pub(super) fn restart_due(&mut self, id: &str, run: u32, out: &mut Effects) {
        let waits =
            |driver: &mut Driver| driver.phase == Phase::Waiting && driver.info.starts == run;
        if self.drivers.get_mut(id).is_some_and(waits)
            && let Some(driver) = self.drivers.remove(id)
        {
            self.run_driver(driver, out);
        }
    }

    /// A run failed in a driver that is supervised.
    pub(super) fn wait_for_restart(
        &mut self,
        mut driver: Driver,
        reason: String,
        status: Option<i32>,
        out: &mut Effects,
    ) {
        let id = driver.info.driver_id.clone();
        let (wait_s, run) = (driver.wait_s, driver.info.starts);
        log::info!("driver {id} failed in run {run} and starts again in {wait_s} s: {reason}");
        driver.info.message = reason;
        driver.info.exit_status = status;
        driver.phase = Phase::Waiting;
        driver.missed = false;
        driver.wait_s = wait_s.saturating_mul(2).min(WAIT_MAX_S);
        let wake = Wake::Restart {
            driver_id: id.clone(),
            run,
        };
        out.push(Effect::WakeAfter(Duration::from_secs(wait_s.into()), wake));
        self.drivers.insert(id, driver);
    }

    /// Orders again the ends of waits that may have been lost in a crash. A wait that ends twice restarts
    /// once.
    pub(super) fn wait_again(&self, out: &mut Effects) {
        let waiting = self.drivers.iter();
        let waiting = waiting.filter(|(_, driver)| driver.phase == Phase::Waiting);
        out.extend(waiting.map(|(id, driver)| {
            let wake = Wake::Restart {
                driver_id: id.clone(),
                run: driver.info.starts,
            };
            // That of the next wait, which is at most twice the one that may be lost.
            Effect::WakeAfter(Duration::from_secs(driver.wait_s.into()), wake)
        }));
    }

    /// It ended for good, or never began.
    pub(super) fn driver_over(
        &mut self,
        mut driver: Driver,
        state: DriverState,
        message: String,
        exit_status: Option<i32>,
        out: &mut Effects,
    ) {
        let info = &mut driver.info;
        log::info!("driver {} is {state}: {message}", info.driver_id);
        info.state = state;
        info.message = message;
        info.exit_status = exit_status;
        self.report_driver(&driver, out);
        self.finished_drivers.push(driver.info);
    }

    fn run_driver(&mut self, mut driver: Driver, out: &mut Effects) {
        driver.info.starts = driver.info.starts.saturating_add(1);
        driver.phase = Phase::Launched(None);
        let id = driver.info.driver_id.clone();
        let token = Token::Driver {
            worker_id: self.identity.id.clone(),
            driver_id: id.clone(),
            description: driver.info.description.clone(),
            resources: driver.resources.clone(),
            run: driver.info.starts,
            wait_s: driver.wait_s,
        };
        match token.to_bytes() {
            Ok(token) => {
                log::info!("driver {id} is being launched, run {}", driver.info.starts);
                out.push(Effect::Launch {
                    subject: Subject::Driver(id.clone()),
                    workload: Box::new(self.driver_workload(&driver)),
                    token,
                });
                self.drivers.insert(id, driver);
            }
            Err(reason) => self.driver_over(driver, DriverState::Error, reason, None, out),
        }
    }

    fn driver_runs(&mut self, id: &str, folder: String, out: &mut Effects) {
        let Some(driver) = self.drivers.get_mut(id) else {
            return;
        };
        log::info!("driver {id} runs");
        driver.info.folder = folder;
        out.push(driver.wake_after_long_run());
    }
}
