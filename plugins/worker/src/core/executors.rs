//! Executors: started and ended as the master orders. Spark: 4.4 of the specification.
//!
//! An executor holds its cores, memory and resources from the order until it ended. Whether they are free
//! is the master's to know: after a kill it counts them as free before this worker does.

use deploy_protocol::{
    Command, ExecutorDescription, ExecutorState, KillExecutor, LaunchExecutor, ResourceInformation,
    WorkerExecutorInfo,
};
use instar_sdk::Bytes;
use instar_sdk::launching::{LaunchChange, LaunchId};
use serde::{Deserialize, Serialize};

use super::Core;
use super::adopting::Early;
use super::effect::{Effect, Effects, Subject};
use super::token::Token;

/// An executor that has not ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Executor {
    pub(super) info: WorkerExecutorInfo,
    pub(super) resources: Vec<ResourceInformation>,
    pub(super) launch: Option<LaunchId>,
    /// It was not among what goes on, at the last comparison.
    pub(super) missed: bool,
}

impl Executor {
    pub(super) fn subject(&self) -> Subject {
        let of = &self.info.description;
        Subject::executor(&of.app_id, of.executor_id)
    }
}

impl Core {
    /// The master orders an executor.
    pub fn launch_executor(&mut self, order: LaunchExecutor, out: &mut Effects) {
        if self.is_early(|| Early::LaunchExecutor(order.clone())) {
            return;
        }
        let subject = Subject::executor(&order.app_id, order.executor_id);
        if !self.obeys(&order.master, &format!("launch {subject}")) {
            return;
        }
        if !self.has_room_to_refuse(&subject) {
            return;
        }
        let command = order.application.command;
        let executor = Executor {
            info: WorkerExecutorInfo {
                description: ExecutorDescription {
                    app_id: order.app_id,
                    executor_id: order.executor_id,
                    resource_profile_id: order.resource_profile_id,
                    cores: order.cores,
                    memory_mb: order.memory_mb,
                    state: ExecutorState::Launching,
                },
                app_name: order.application.name,
                folder: String::new(),
                message: String::new(),
                exit_status: None,
            },
            resources: order.resources,
            launch: None,
            missed: false,
        };
        match self.try_executor(&executor, &subject, &command) {
            Ok(launch) => {
                log::info!("{subject} is being launched");
                self.executors.insert(subject, executor);
                out.push(launch);
            }
            Err(reason) => self.executor_over(executor, ExecutorState::Failed, reason, None, out),
        }
    }

    /// The master wants an executor to end.
    pub fn kill_executor(
        &mut self,
        order: KillExecutor,
        launched: impl FnOnce() -> Vec<(LaunchId, Bytes)>,
        out: &mut Effects,
    ) {
        if self.is_early(|| Early::KillExecutor(order.clone())) {
            return;
        }
        let subject = Subject::executor(&order.app_id, order.executor_id);
        if !self.obeys(&order.master, &format!("kill {subject}")) {
            return;
        }
        if !self.executors.contains_key(&subject) {
            self.take_up_unknown(&launched(), out);
        }
        match self.executors.get(&subject).and_then(|e| e.launch) {
            Some(launch) => {
                log::info!("{subject} is being killed");
                out.push(Effect::Kill(launch));
            }
            None => log::info!("{subject} is to be killed, but does not run here"),
        }
    }

    /// The launch of an executor goes on.
    pub(super) fn executor_changed(
        &mut self,
        subject: &Subject,
        change: LaunchChange,
        out: &mut Effects,
    ) {
        let (state, reason, status) = match change {
            LaunchChange::Running { folder } => return self.executor_runs(subject, folder, out),
            LaunchChange::Exited { status, reason } => {
                (ExecutorState::Exited, reason, Some(status))
            }
            LaunchChange::Killed => (ExecutorState::Killed, String::new(), None),
            LaunchChange::Failed { reason } => (ExecutorState::Failed, reason, None),
        };
        if let Some(executor) = self.executors.remove(subject) {
            self.executor_over(executor, state, reason, status, out);
        }
    }

    fn executor_runs(&mut self, subject: &Subject, folder: String, out: &mut Effects) {
        let Some(executor) = self.executors.get_mut(subject) else {
            return;
        };
        executor.info.folder = folder;
        if executor.info.description.state == ExecutorState::Launching {
            log::info!("{subject} runs");
            executor.info.description.state = ExecutorState::Running;
            let executor = executor.clone();
            self.report_executor(&executor, out);
        }
    }

    /// It ended, or never began.
    pub(super) fn executor_over(
        &mut self,
        mut executor: Executor,
        state: ExecutorState,
        message: String,
        exit_status: Option<i32>,
        out: &mut Effects,
    ) {
        log::info!("{} is {state}: {message}", executor.subject());
        let info = &mut executor.info;
        info.description.state = state;
        info.message = message;
        info.exit_status = exit_status;
        self.report_executor(&executor, out);
        self.finished_executors.push(executor.info);
    }

    fn try_executor(
        &self,
        executor: &Executor,
        subject: &Subject,
        command: &Command,
    ) -> Result<Effect, String> {
        let of = &executor.info.description;
        if self.decommissioned {
            return Err("this worker is decommissioned and takes no new executors".to_owned());
        }
        self.check_room_for_reports()?;
        if self.executors.contains_key(subject) {
            return Err(format!("{subject} still runs here; use another number"));
        }
        self.check_size(of.cores, of.memory_mb)?;
        let token = Token::Executor {
            worker_id: self.identity.id.clone(),
            description: of.clone(),
            app_name: executor.info.app_name.clone(),
            resources: executor.resources.clone(),
        };
        Ok(Effect::Launch {
            subject: subject.clone(),
            workload: Box::new(self.executor_workload(executor, command)),
            token: token.to_bytes()?,
        })
    }

    /// Refuses what this worker could not hold if it were empty.
    pub(super) fn check_size(&self, cores: u32, memory_mb: u32) -> Result<(), String> {
        let settings = &self.settings;
        if cores == 0 || cores > settings.cores {
            return Err(format!(
                "{cores} cores are wanted; this worker has 1 to {}",
                settings.cores
            ));
        }
        if memory_mb > settings.memory_mb {
            return Err(format!(
                "{memory_mb} MB are wanted; this worker has {}",
                settings.memory_mb
            ));
        }
        Ok(())
    }
}
