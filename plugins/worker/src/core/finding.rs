//! Finding: what the host has launched for this worker, compared with what the worker knows.
//!
//! They differ after a crash of this endpoint: the state is gone or an older copy, but what was launched
//! works on. So the launches are taken up at the start, by their tokens, and compared at each heartbeat.
//!
//! What is known and not launched has ended; that notice may still be queued. It counts as lost only when
//! the next heartbeat misses it again.

use std::collections::BTreeSet;

use deploy_protocol::{DriverState, ExecutorState, WorkerDriverInfo, WorkerExecutorInfo};
use instar_sdk::Bytes;
use instar_sdk::launching::LaunchId;

use super::Core;
use super::drivers::{Driver, Phase};
use super::effect::{Effect, Effects, Subject};
use super::executors::Executor;
use super::token::Token;

impl Core {
    /// Takes up what goes on and is not known.
    pub(super) fn take_up_unknown(&mut self, launched: &[(LaunchId, Bytes)], out: &mut Effects) {
        for (launch, token) in launched {
            if self.subject_of(*launch).is_some() {
                continue;
            }
            match self.take_up(*launch, token, out) {
                Ok(subject) => {
                    log::info!("{subject} works on and is taken up");
                    if let Some(executor) = self.executors.get(&subject).cloned() {
                        // Whether the master was told that it runs is not known.
                        self.report_executor(&executor, out);
                    }
                }
                Err(reason) => log::error!("a launch goes on that cannot be taken up: {reason}"),
            }
        }
    }

    /// Gives up what is known and does not go on.
    pub(super) fn give_up_missing(&mut self, launched: &[(LaunchId, Bytes)], out: &mut Effects) {
        let going_on: BTreeSet<LaunchId> = launched.iter().map(|(launch, _)| *launch).collect();
        let mut lost = Vec::new();
        for (subject, executor) in &mut self.executors {
            let missed = executor.launch.is_some_and(|id| !going_on.contains(&id));
            if std::mem::replace(&mut executor.missed, missed) && missed {
                lost.push(subject.clone());
            }
        }
        for (id, driver) in &mut self.drivers {
            let missed = driver.launch().is_some_and(|id| !going_on.contains(&id));
            if std::mem::replace(&mut driver.missed, missed) && missed {
                lost.push(Subject::Driver(id.clone()));
            }
        }
        for subject in lost {
            self.end_was_lost(&subject, out);
        }
    }

    /// Knows a launch from now on. Refused where the same executor or driver has a later one.
    pub(super) fn take_up(
        &mut self,
        launch: LaunchId,
        token: &Bytes,
        out: &mut Effects,
    ) -> Result<Subject, String> {
        let older = |known: Option<LaunchId>| match known {
            Some(known) if known > launch => Err("a later launch took its place".to_owned()),
            _ => Ok(()),
        };
        let subject = match Token::from_bytes(token)? {
            Token::Executor {
                worker_id: _,
                mut description,
                app_name,
                resources,
            } => {
                description.state = ExecutorState::Running;
                let executor = Executor {
                    info: WorkerExecutorInfo {
                        description,
                        app_name,
                        folder: String::new(),
                        message: String::new(),
                        exit_status: None,
                    },
                    resources,
                    launch: Some(launch),
                    missed: false,
                };
                let subject = executor.subject();
                older(self.executors.get(&subject).and_then(|e| e.launch))?;
                self.executors.insert(subject.clone(), executor);
                subject
            }
            Token::Driver {
                worker_id: _,
                driver_id,
                description,
                resources,
                run,
                wait_s,
            } => {
                let known = self.drivers.get(&driver_id);
                older(known.and_then(Driver::launch))?;
                // Wanted of the driver, not of one of its runs.
                let killed = known.is_some_and(|driver| driver.killed);
                if killed {
                    out.push(Effect::Kill(launch));
                }
                let driver = Driver {
                    info: WorkerDriverInfo {
                        driver_id: driver_id.clone(),
                        description,
                        state: DriverState::Running,
                        starts: run,
                        folder: String::new(),
                        message: String::new(),
                        exit_status: None,
                    },
                    resources,
                    phase: Phase::Launched(Some(launch)),
                    wait_s,
                    killed,
                    missed: false,
                };
                out.push(driver.wake_after_long_run());
                self.drivers.insert(driver_id.clone(), driver);
                Subject::Driver(driver_id)
            }
        };
        Ok(subject)
    }

    /// A driver ended and nothing says how: as if it had failed.
    pub(super) fn driver_vanished(&mut self, id: &str, reason: &str, out: &mut Effects) {
        let Some(driver) = self.drivers.remove(id) else {
            return;
        };
        let reason = reason.to_owned();
        if driver.killed {
            self.driver_over(driver, DriverState::Killed, reason, None, out);
        } else if driver.info.description.supervise {
            self.wait_for_restart(driver, reason, None, out);
        } else {
            self.driver_over(driver, DriverState::Failed, reason, None, out);
        }
    }
}
