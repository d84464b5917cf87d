//! Launches: from what the host says of one to the executor or driver that it is.

use deploy_protocol::ExecutorState;
use instar_sdk::launching::{LaunchChange, LaunchChanged, LaunchId};

use super::Core;
use super::drivers::Phase;
use super::effect::{Effects, Subject};

impl Core {
    /// The host took a launch, or did not.
    pub fn launch_made(
        &mut self,
        subject: &Subject,
        outcome: Result<LaunchId, String>,
        out: &mut Effects,
    ) {
        match (outcome, subject) {
            (Ok(id), Subject::Executor { .. }) => {
                if let Some(executor) = self.executors.get_mut(subject) {
                    executor.launch = Some(id);
                }
            }
            (Ok(id), Subject::Driver(driver_id)) => {
                if let Some(driver) = self.drivers.get_mut(driver_id) {
                    driver.phase = Phase::Launched(Some(id));
                }
            }
            (Err(reason), _) => self.changed(subject, LaunchChange::Failed { reason }, out),
        }
    }

    /// The host says how a launch goes on. One that this life does not know is taken up first.
    pub fn launch_changed(&mut self, notice: LaunchChanged, out: &mut Effects) {
        let LaunchChanged {
            launch,
            token,
            change,
        } = notice;
        let subject = match self.subject_of(launch) {
            Some(subject) => subject,
            None => match self.take_up(launch, &token, out) {
                Ok(subject) => subject,
                Err(reason) => {
                    log::error!("a launch that this worker does not know is {change:?}: {reason}");
                    return;
                }
            },
        };
        self.changed(&subject, change, out);
    }

    pub(super) fn subject_of(&self, launch: LaunchId) -> Option<Subject> {
        let executor = self
            .executors
            .iter()
            .find(|(_, e)| e.launch == Some(launch));
        let driver = || {
            self.drivers
                .iter()
                .find(|(_, d)| d.launch() == Some(launch))
        };
        match executor {
            Some((subject, _)) => Some(subject.clone()),
            None => driver().map(|(id, _)| Subject::Driver(id.clone())),
        }
    }

    fn changed(&mut self, subject: &Subject, change: LaunchChange, out: &mut Effects) {
        match subject {
            Subject::Executor { .. } => self.executor_changed(subject, change, out),
            Subject::Driver(id) => self.driver_changed(id, change, out),
        }
    }

    /// Nothing says how it ended.
    pub(super) fn end_was_lost(&mut self, subject: &Subject, out: &mut Effects) {
        let reason = "it does not run any more, and how it ended is lost";
        match subject {
            Subject::Executor { .. } => {
                if let Some(executor) = self.executors.remove(subject) {
                    let state = ExecutorState::Lost;
                    self.executor_over(executor, state, reason.to_owned(), None, out);
                }
            }
            Subject::Driver(id) => self.driver_vanished(id, reason, out),
        }
    }
}
