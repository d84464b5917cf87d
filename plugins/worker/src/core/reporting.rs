//! Reporting: masters are told how executors and drivers are until one noted it. Spark: 4.5 and 4.6 of
//! the specification.
//!
//! Invariants
//! 1. A report is kept until the master that was adopted last noted it. It goes along into the next
//!    version, and to the next master at once when that is adopted.
//! 2. There is one report for each executor and each driver: a later state takes the place of an earlier
//!    one that was not noted.
//! 3. Only the outcome of the last attempt counts: a master that was replaced can take no report away.
//! 4. What ended and is not noted yet is still on the list that a master gets ([`Core::listed`]). So a
//!    new leader takes it up, and then hears how it ended; otherwise it would judge by itself.
//!
//! A master that does not answer is asked again after 1, 2, 4, ... s, at most a minute. After
//! `executor_state_sync_max_attempts` failures of one report that mean that the master is not there, the
//! worker registers again. (Spark's worker ends itself then, and all that it runs.) One that says that it
//! does not lead is not asked again: another one is looked for at once.

use std::time::Duration;

use deploy_protocol::{
    DriverState, DriverStateChanged, ExecutorState, ExecutorStateChanged,
    WorkerDriverStateResponse, WorkerExecutorStateResponse,
};
use instar_sdk::{EndpointRef, Failure};
use serde::{Deserialize, Serialize};

use super::Core;
use super::drivers::Driver;
use super::effect::{Effect, Effects, Subject};
use super::executors::Executor;
use crate::messages::Wake;

/// How long a master may take to note a state.
pub const ANSWER_TIME: Duration = Duration::from_secs(30);

/// The longest wait before a report is sent again.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Reports that wait at once. Beyond it nothing is launched: a master that notes nothing must not fill
/// this worker's memory.
pub(super) const REPORTS_MAX: usize = 10_000;

/// Reports that wait at once, with those that something was refused. Beyond it nothing is said: the master
/// hears with the next list of what runs here that it does not.
pub(super) const REFUSALS_MAX: usize = 2 * REPORTS_MAX;

/// What a master is asked to note.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// An executor is in another state.
    Executor(ExecutorStateChanged),
    /// A driver ended.
    Driver(DriverStateChanged),
}

/// A report that was not noted yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pending {
    report: Report,
    listed: Listed,
    send: u64,
    /// Since a master was adopted.
    failures: u32,
    /// Those among them that say that the master is not there.
    absences: u32,
}

/// How a master is told that something is here.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Listed {
    Executor(WorkerExecutorStateResponse),
    Driver(WorkerDriverStateResponse),
}

impl Core {
    /// The executor is in another state.
    pub(super) fn report_executor(&mut self, executor: &Executor, out: &mut Effects) {
        let info = &executor.info;
        let mut listed = listed_executor(executor);
        if info.description.state.is_finished() {
            // As the last master knew it.
            listed.executor.state = ExecutorState::Running;
        }
        let report = Report::Executor(ExecutorStateChanged {
            app_id: info.description.app_id.clone(),
            executor_id: info.description.executor_id,
            state: info.description.state,
            message: info.message.clone(),
            exit_status: info.exit_status,
        });
        let subject = executor.subject();
        self.report(subject, report, Listed::Executor(listed), out);
    }

    /// The driver ended.
    pub(super) fn report_driver(&mut self, driver: &Driver, out: &mut Effects) {
        let info = &driver.info;
        let report = Report::Driver(DriverStateChanged {
            driver_id: info.driver_id.clone(),
            state: info.state,
            message: info.message.clone(),
            exit_status: info.exit_status,
        });
        let subject = Subject::Driver(info.driver_id.clone());
        let listed = Listed::Driver(listed_driver(driver));
        self.report(subject, report, listed, out);
    }

    /// There is no such driver. A report that waits says how it ended.
    pub(super) fn report_no_driver(&mut self, id: &str, message: &str, out: &mut Effects) {
        let subject = Subject::Driver(id.to_owned());
        if self.reports.contains_key(&subject) || !self.has_room_to_refuse(&subject) {
            return;
        }
        let report = Report::Driver(DriverStateChanged {
            driver_id: id.to_owned(),
            state: DriverState::Killed,
            message: format!("it {message}"),
            exit_status: None,
        });
        let listed = Listed::Driver(WorkerDriverStateResponse {
            driver_id: id.to_owned(),
            resources: Vec::new(),
        });
        self.report(subject, report, listed, out);
    }

    /// The outcome of attempt `send`: noted, not noted as another master leads, or a failure.
    pub fn reported(
        &mut self,
        subject: &Subject,
        send: u64,
        outcome: Result<bool, Failure>,
        out: &mut Effects,
    ) {
        let Some(pending) = self.reports.get_mut(subject) else {
            return;
        };
        if pending.send != send {
            return;
        }
        let (reason, absent, stands_by) = match outcome {
            Ok(true) => {
                self.reports.remove(subject);
                return;
            }
            Ok(false) => (
                "it does not know yet what runs here".to_owned(),
                true,
                false,
            ),
            Err(failure) => {
                let stands_by = failure.code == Failure::LEADERSHIP;
                let absent = stands_by || is_absence(&failure);
                (failure.text, absent, stands_by)
            }
        };
        pending.failures = pending.failures.saturating_add(1);
        pending.absences = pending.absences.saturating_add(u32::from(absent));
        let lost = stands_by
            || (absent && pending.absences >= self.settings.executor_state_sync_max_attempts);
        let failures = pending.failures;
        let wait = wait_after(failures);
        log::warn!(
            "the master did not note the state of {subject}, try {failures}, next in {} s: {reason}",
            wait.as_secs()
        );
        let subject = subject.clone();
        out.push(Effect::WakeAfter(wait, Wake::Report { subject, send }));
        if lost {
            self.lost_master(out);
        }
    }

    /// The wait after a failed attempt is over.
    pub(super) fn report_due(&mut self, subject: &Subject, send: u64, out: &mut Effects) {
        let current = |pending: &Pending| pending.send == send;
        if self.reports.get(subject).is_some_and(current) {
            self.send_report(subject, out);
        }
    }

    /// A master was adopted: all that is not noted goes to it.
    pub(super) fn report_all(&mut self, out: &mut Effects) {
        let subjects: Vec<Subject> = self.reports.keys().cloned().collect();
        for subject in subjects {
            if let Some(pending) = self.reports.get_mut(&subject) {
                (pending.failures, pending.absences) = (0, 0);
            }
            self.send_report(&subject, out);
        }
    }

    /// What is here, as far as a master has to know: what runs, and what ended unnoted.
    pub(super) fn listed(
        &self,
    ) -> (
        Vec<WorkerExecutorStateResponse>,
        Vec<WorkerDriverStateResponse>,
    ) {
        let mut executors: Vec<_> = self.executors.values().map(listed_executor).collect();
        let mut drivers: Vec<_> = self.drivers.values().map(listed_driver).collect();
        for (subject, pending) in &self.reports {
            match (&pending.listed, subject) {
                (Listed::Executor(ended), _) if !self.executors.contains_key(subject) => {
                    executors.push(ended.clone());
                }
                (Listed::Driver(ended), Subject::Driver(id)) if !self.drivers.contains_key(id) => {
                    drivers.push(ended.clone());
                }
                _ => {}
            }
        }
        (executors, drivers)
    }

    /// Refuses what would begin while so many reports wait.
    pub(super) fn check_room_for_reports(&self) -> Result<(), String> {
        match self.reports.len() < REPORTS_MAX {
            true => Ok(()),
            false => Err(format!(
                "the master has not noted the last {REPORTS_MAX} states of this worker; it takes no more \
                 work until then"
            )),
        }
    }

    /// False where so many reports wait that not even a refusal can be told.
    pub(super) fn has_room_to_refuse(&self, what: &Subject) -> bool {
        let room = self.reports.len() < REFUSALS_MAX;
        if !room {
            log::error!(
                "an order for {what} is ignored: the master has not noted the last {REFUSALS_MAX} states"
            );
        }
        room
    }

    fn report(&mut self, subject: Subject, report: Report, listed: Listed, out: &mut Effects) {
        let pending = Pending {
            report,
            listed,
            send: 0,
            failures: 0,
            absences: 0,
        };
        self.reports.insert(subject.clone(), pending);
        self.send_report(&subject, out);
    }

    /// Sends it if the master is there. If not, it waits for one.
    fn send_report(&mut self, subject: &Subject, out: &mut Effects) {
        self.sends += 1;
        let send = self.sends;
        let to: Option<EndpointRef> = self.connected_master().cloned();
        let Some(pending) = self.reports.get_mut(subject) else {
            return;
        };
        pending.send = send;
        if let Some(to) = to {
            let report = pending.report.clone();
            out.push(Effect::Report { to, report, send });
        }
    }
}

impl Report {
    /// What it is about.
    pub fn subject(&self) -> Subject {
        match self {
            Self::Executor(of) => Subject::executor(&of.app_id, of.executor_id),
            Self::Driver(of) => Subject::Driver(of.driver_id.clone()),
        }
    }
}

/// 1, 2, 4, ... s.
fn wait_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(10);
    Duration::from_secs(1 << doublings).min(WAIT_MAX)
}

/// Whether a failure says that the master is not there. Otherwise its handler failed, which registering
/// again would not change.
fn is_absence(failure: &Failure) -> bool {
    [
        Failure::TIMEOUT,
        Failure::NETWORK,
        Failure::ENDPOINT_NOT_FOUND,
        Failure::STOPPED,
    ]
    .contains(&failure.code.as_str())
}

fn listed_executor(executor: &Executor) -> WorkerExecutorStateResponse {
    WorkerExecutorStateResponse {
        executor: executor.info.description.clone(),
        resources: executor.resources.clone(),
    }
}

fn listed_driver(driver: &Driver) -> WorkerDriverStateResponse {
    WorkerDriverStateResponse {
        driver_id: driver.info.driver_id.clone(),
        resources: driver.resources.clone(),
    }
}
