//! Job: an application whose work is tasks. Client, tasks, progress and the end, in one value.
//!
//! Between the handlers that [`crate::driver!`] writes and the three functions of a [`Driver`].
//!
//! Invariants
//! 1. It ends once, with a result or a reason. At that moment the application is unregistered, so
//!    that its executors are free; the driver itself lingers to be asked.
//! 2. A driver that leaves does so in a turn of its own: one that panics has no effects.

use std::time::Duration;

use deploy_protocol::WorkerRemoved;
use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::client::{Client, Executor, Patience};
use crate::listener::{carry_out, perform};
use crate::settings::{application, masters};
use crate::tasks::{Tasks, Verdict};
use crate::{
    ExecutorName, Listener, Progress, RunTask, SlotAnswer, SlotNoted, SlotReady, TaskDone, setting,
    setting_as,
};

type Done = Result<(), Failure>;

/// What the author of a driver writes. The endpoint's state holds a [`Job`] and what is counted.
pub trait Driver: Sized {
    /// Where it keeps its job.
    fn job(&mut self) -> &mut Job;

    /// Makes the tasks, with [`Job::add`]. Called once, in a turn of its own.
    ///
    /// # Errors
    /// The application fails with it.
    fn prepare(&mut self, ctx: &mut Context) -> Done;

    /// Counts what a task gave: once for each task.
    ///
    /// # Errors
    /// The application fails with it.
    fn task_done(&mut self, ctx: &mut Context, task: u32, body: &[u8]) -> Done;

    /// All tasks were counted. Returns the result as a text for people.
    ///
    /// # Errors
    /// The application fails with it.
    fn result(&mut self, ctx: &mut Context) -> Result<String, Failure>;
}

/// An application whose work is tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    client: Client,
    tasks: Tasks,
    task_timeout: Duration,
    linger: Duration,
    /// A worker runs this driver, and reports how it ends.
    at_worker: bool,
    prepared: bool,
    end: Option<End>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum End {
    Result(String),
    Failed(String),
}

impl Job {
    /// Reads the settings and begins to register. For `#[on_start]`.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn start(ctx: &mut Context) -> Result<Self, Failure> {
        let me = ctx.self_ref();
        let milliseconds = |ctx: &Context, key: &str, default: u64| {
            setting_as(ctx, key).map(|set| Duration::from_millis(set.unwrap_or(default)))
        };
        let patience = Patience::default();
        let patience = Patience {
            attempts: setting_as(ctx, "registration_attempts")?.unwrap_or(patience.attempts),
            interval: setting_as(ctx, "registration_interval")?
                .map_or(patience.interval, Duration::from_millis),
            check: setting_as(ctx, "registration_check")?
                .map_or(patience.check, Duration::from_millis),
        };
        let (task_timeout, linger) = (
            milliseconds(ctx, "task_timeout", 120_000)?,
            milliseconds(ctx, "linger", 2000)?,
        );
        let failures_max: u32 = setting_as(ctx, "task_failures_max")?.unwrap_or(4);
        let application = application(ctx, &me)?;
        let masters = masters(ctx)?;
        let (client, acts) = Client::start(application, me, masters, patience);
        perform(&client, ctx, acts)?;
        ctx.start_timer(Duration::ZERO, Prepare {})?;
        Ok(Self {
            client,
            tasks: Tasks::new(failures_max.max(1)),
            task_timeout,
            linger,
            at_worker: setting(ctx, "driver_id")?.is_some(),
            prepared: false,
            end: None,
        })
    }

    /// Adds a task, which counts for `size` in the progress. Returns its number.
    ///
    /// # Errors
    /// There are too many already; see [`Tasks::add`].
    pub fn add(&mut self, body: impl Into<Bytes>, size: u64) -> Result<u32, Failure> {
        self.tasks.add(body.into(), size)
    }

    /// Its client.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// True once there is a result.
    pub fn is_finished(&self) -> bool {
        matches!(self.end, Some(End::Result(_)))
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let (done, total) = self.tasks.count();
        let (bytes_done, bytes_total) = self.tasks.size();
        let (executors, slots) = self.tasks.slots();
        let (result, failed) = match &self.end {
            Some(End::Result(text)) => (Some(text.clone()), None),
            Some(End::Failed(text)) => (None, Some(text.clone())),
            None => (None, None),
        };
        Progress {
            done,
            total,
            bytes_done,
            bytes_total,
            executors,
            slots,
            phase: self.phase().to_owned(),
            failed,
            result,
        }
    }

    fn phase(&self) -> &'static str {
        let (_, slots) = self.tasks.slots();
        match &self.end {
            Some(End::Result(_)) => "finished",
            Some(End::Failed(_)) => "failed",
            None if !self.prepared => "preparing",
            None if self.client.app_id().is_none() => "registering",
            None if !self.client.is_connected() => "disconnected",
            None if slots == 0 => "waiting for executors",
            None => "running",
        }
    }
}

/// The time to make the tasks.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "app.Prepare")]
pub struct Prepare {}

/// The time to leave.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "app.Leave")]
pub struct Leave {}

/// A slot does a task.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "app.TaskRuns", continues = RunTask)]
pub struct TaskRuns {
    /// Which.
    pub task: u32,
    /// Which attempt.
    pub attempt: u32,
}

// What `driver!` makes of what comes in.

#[doc(hidden)]
pub fn prepare<D: Driver>(driver: &mut D, ctx: &mut Context) -> Done {
    if driver.job().prepared || driver.job().end.is_some() {
        return Ok(());
    }
    let outcome = driver.prepare(ctx);
    driver.job().prepared = true;
    match outcome {
        Ok(()) => go_on(driver, ctx),
        Err(failure) => end(driver, ctx, End::Failed(failure.to_string())),
    }
}

#[doc(hidden)]
pub fn slot_ready<D: Driver>(
    driver: &mut D,
    ctx: &mut Context,
    ready: SlotReady,
) -> Result<SlotNoted, Failure> {
    let job = driver.job();
    let answer = if job.end.is_some() {
        SlotAnswer::Ended
    } else if job.client.is_ours(&ready.app_id) {
        let SlotReady {
            app_id,
            executor_id,
            reference,
            ..
        } = ready;
        let executor = ExecutorName {
            app_id,
            executor_id,
        };
        job.tasks.slot_ready(reference, executor);
        go_on(driver, ctx)?;
        SlotAnswer::Noted
    } else {
        SlotAnswer::Unknown
    };
    Ok(SlotNoted { answer })
}

#[doc(hidden)]
pub fn task_outcome<D: Driver>(
    driver: &mut D,
    ctx: &mut Context,
    then: TaskRuns,
    outcome: Result<TaskDone, Failure>,
) -> Done {
    note(driver, ctx, &then, outcome)?;
    go_on(driver, ctx)
}

fn note<D: Driver>(
    driver: &mut D,
    ctx: &mut Context,
    then: &TaskRuns,
    outcome: Result<TaskDone, Failure>,
) -> Done {
    let job = driver.job();
    if job.end.is_some() {
        return Ok(());
    }
    let told = outcome.as_ref().map(|_| ());
    match job.tasks.outcome(then.task, then.attempt, told) {
        Verdict::Counted => {
            let done = outcome?;
            match driver.task_done(ctx, then.task, &done.body) {
                Ok(()) => Ok(()),
                Err(failure) => {
                    let reason = format!("task {} cannot be counted: {failure}", then.task);
                    end(driver, ctx, End::Failed(reason))
                }
            }
        }
        Verdict::GivenUp(reason) => end(driver, ctx, End::Failed(reason)),
        Verdict::PutBack => {
            if let Err(failure) = outcome {
                log::warn!(
                    "task {} attempt {}: {failure}; it waits again",
                    then.task,
                    then.attempt
                );
            }
            Ok(())
        }
        Verdict::Late => Ok(()),
    }
}

/// Gives out what waits; ends when all is counted.
fn go_on<D: Driver>(driver: &mut D, ctx: &mut Context) -> Done {
    loop {
        let job = driver.job();
        if job.end.is_some() {
            return Ok(());
        }
        let timeout = job.task_timeout;
        let assignments = job.tasks.assign();
        if assignments.is_empty() {
            break;
        }
        for assignment in assignments {
            let (task, attempt) = (assignment.task, assignment.attempt);
            let request = RunTask {
                task,
                attempt,
                body: assignment.body,
            };
            let then = TaskRuns { task, attempt };
            let asked = ctx.ask_with_timeout(&assignment.slot, &request, then.clone(), timeout);
            // An ask that did not leave has no outcome but this one.
            if let Err(mut failure) = asked {
                if failure.code == Failure::DENIED {
                    // A limit of this driver: no room, which is no failure of the task.
                    failure.code = Failure::OUTBOX_FULL.to_owned();
                }
                note(driver, ctx, &then, Err(failure))?;
            }
        }
    }
    let job = driver.job();
    if !job.prepared || !job.tasks.are_done() {
        return Ok(());
    }
    let ending = match driver.result(ctx) {
        Ok(text) => End::Result(text),
        Err(failure) => End::Failed(format!("there is no result: {failure}")),
    };
    end(driver, ctx, ending)
}

fn end<D: Driver>(driver: &mut D, ctx: &mut Context, ending: End) -> Done {
    let job = driver.job();
    if job.end.is_some() {
        return Ok(());
    }
    match &ending {
        End::Result(text) => log::info!("finished: {text}"),
        End::Failed(reason) => log::error!("failed: {reason}"),
    }
    job.end = Some(ending);
    let linger = job.linger;
    ctx.start_timer(linger, Leave {})?;
    carry_out(driver, ctx, Client::stop)
}

#[doc(hidden)]
pub fn finish<D: Driver>(driver: &mut D, ctx: &mut Context) -> Done {
    let reason = "told to finish before all tasks were done".to_owned();
    end(driver, ctx, End::Failed(reason))?;
    ctx.start_timer(Duration::ZERO, Leave {})?;
    Ok(())
}

/// Ends the endpoint: a failed driver crashes, since that is how its worker learns of the failure.
///
/// # Panics
/// Where it failed, and a worker runs it.
#[doc(hidden)]
pub fn leave<D: Driver>(driver: &mut D, ctx: &mut Context) -> Done {
    let job = driver.job();
    match &job.end {
        Some(End::Failed(reason)) if job.at_worker => panic!("the application failed: {reason}"),
        Some(_) => ctx.stop_self(),
        None => {}
    }
    Ok(())
}

impl<D: Driver> Listener for D {
    fn client(&mut self) -> &mut Client {
        &mut self.job().client
    }

    fn dead(&mut self, ctx: &mut Context, reason: &str) -> Done {
        end(self, ctx, End::Failed(reason.to_owned()))
    }

    fn executor_added(&mut self, _: &mut Context, _: &ExecutorName, _: &Executor) -> Done {
        // Its slots say themselves when they are ready.
        Ok(())
    }

    fn executor_removed(
        &mut self,
        ctx: &mut Context,
        name: &ExecutorName,
        _: &deploy_protocol::ExecutorUpdated,
    ) -> Done {
        self.job().tasks.executor_lost(name);
        go_on(self, ctx)
    }

    fn worker_removed(&mut self, ctx: &mut Context, worker: &WorkerRemoved) -> Done {
        let job = self.job();
        let Some(app_id) = job.client.app_id().map(str::to_owned) else {
            return Ok(());
        };
        let executors = job.client.executors().iter();
        let lost: Vec<ExecutorName> = executors
            .filter(|(_, executor)| executor.worker_id == worker.id)
            .map(|(id, _)| ExecutorName {
                app_id: app_id.clone(),
                executor_id: *id,
            })
            .collect();
        for name in &lost {
            job.tasks.executor_lost(name);
        }
        go_on(self, ctx)
    }

    fn peer_disconnected(&mut self, _: &mut Context, address: &str) -> Done {
        self.job().tasks.host_lost(address);
        Ok(())
    }
}
