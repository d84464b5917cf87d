//! The endpoint: the shell around the core. It hands the core what comes, and carries out what the core
//! wants, within the same turn. Nothing is decided here.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use deploy_protocol::{
    ApplicationFinished, DecommissionWorker, DriverStateNoted, ExecutorStateNoted, KillDriver,
    KillExecutor, LaunchDriver, LaunchExecutor, MasterChanged, MasterInStandby, ReconnectWorker,
    RegisterWorkerFailed, RegisteredWorker, RequestWorkerState, WorkerStateResponse,
};
use instar_sdk::launching::LaunchChanged;
use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::core::reporting::{ANSWER_TIME, Report};
use crate::core::{Core, Effect, Effects, Start, Subject, ToMaster};
use crate::messages::{DriverReported, Due, ExecutorReported, Wake};

/// State version 1.
#[derive(Debug, Serialize, Deserialize)]
pub struct Worker {
    core: Core,
}

#[instar_sdk::endpoint(
    name = "Worker",
    version = "1.0.0",
    about = "Runs executors and drivers for a master",
    state_version = 1,
    rights = ["launch", "clock"]
)]
impl Worker {
    #[on_start]
    fn start(ctx: &mut Context) -> Result<Self, Failure> {
        let start = Start {
            config: ctx.config_all(),
            this: ctx.self_ref(),
            now_ms: now_ms(),
            chance: chance(),
            launched: ctx.launching().launched(),
        };
        let mut out = Effects::new();
        let core = Core::start(start, &mut out)?;
        let mut worker = Self { core };
        worker.carry_out(ctx, out)?;
        Ok(worker)
    }

    #[receive]
    fn registered(&mut self, ctx: &mut Context, message: RegisteredWorker) -> Result<(), Failure> {
        self.turn(ctx, |core, out| core.registered(message, out))
    }

    #[receive]
    fn registration_failed(
        &mut self,
        _: &mut Context,
        message: RegisterWorkerFailed,
    ) -> Result<(), Failure> {
        self.core.registration_failed(message);
        Ok(())
    }

    #[receive]
    fn master_in_standby(&mut self, _: &mut Context, _: MasterInStandby) -> Result<(), Failure> {
        // The one that leads answers, too. This one calls when it comes to lead: it keeps who asked.
        Ok(())
    }

    #[receive]
    fn reconnect(&mut self, ctx: &mut Context, message: ReconnectWorker) -> Result<(), Failure> {
        self.turn(ctx, |core, out| core.reconnect(&message, out))
    }

    #[receive]
    fn master_changed(&mut self, ctx: &mut Context, message: MasterChanged) -> Result<(), Failure> {
        self.turn(ctx, |core, out| core.master_changed(message, out))
    }

    #[receive]
    fn launch_executor(&mut self, ctx: &mut Context, order: LaunchExecutor) -> Result<(), Failure> {
        self.turn(ctx, |core, out| core.launch_executor(order, out))
    }

    #[receive]
    fn kill_executor(&mut self, ctx: &mut Context, order: KillExecutor) -> Result<(), Failure> {
        let launching = ctx.launching();
        self.turn(ctx, |core, out| {
            core.kill_executor(order, || launching.launched(), out);
        })
    }

    #[receive]
    fn launch_driver(&mut self, ctx: &mut Context, order: LaunchDriver) -> Result<(), Failure> {
        self.turn(ctx, |core, out| core.launch_driver(order, out))
    }

    #[receive]
    fn kill_driver(&mut self, ctx: &mut Context, order: KillDriver) -> Result<(), Failure> {
        let launching = ctx.launching();
        self.turn(ctx, |core, out| {
            core.kill_driver(&order, || launching.launched(), out);
        })
    }

    #[receive]
    fn application_finished(
        &mut self,
        _: &mut Context,
        message: ApplicationFinished,
    ) -> Result<(), Failure> {
        self.core.application_finished(&message);
        Ok(())
    }

    #[receive]
    fn decommission(&mut self, ctx: &mut Context, _: DecommissionWorker) -> Result<(), Failure> {
        self.turn(ctx, |core, out| core.decommission(out))
    }

    #[receive]
    fn launch_changed(&mut self, ctx: &mut Context, notice: LaunchChanged) -> Result<(), Failure> {
        self.turn(ctx, |core, out| core.launch_changed(notice, out))
    }

    #[receive_and_reply]
    fn look(
        &mut self,
        _: &mut Context,
        _: RequestWorkerState,
    ) -> Result<WorkerStateResponse, Failure> {
        Ok(self.core.look())
    }

    #[on_reply]
    fn executor_reported(
        &mut self,
        ctx: &mut Context,
        of: ExecutorReported,
        outcome: Result<ExecutorStateNoted, Failure>,
    ) -> Result<(), Failure> {
        let outcome = outcome.map(|answer| answer.noted);
        self.reported(ctx, of.life, &of.subject, of.send, outcome)
    }

    #[on_reply]
    fn driver_reported(
        &mut self,
        ctx: &mut Context,
        of: DriverReported,
        outcome: Result<DriverStateNoted, Failure>,
    ) -> Result<(), Failure> {
        let outcome = outcome.map(|answer| answer.noted);
        self.reported(ctx, of.life, &of.subject, of.send, outcome)
    }

    #[on_timer]
    fn due(&mut self, ctx: &mut Context, due: Due) -> Result<(), Failure> {
        let launching = ctx.launching();
        self.turn(ctx, |core, out| core.due(due, || launching.launched(), out))
    }

    #[on_disconnected]
    fn disconnected(&mut self, ctx: &mut Context, address: String) -> Result<(), Failure> {
        self.turn(ctx, |core, out| core.disconnected(&address, out))
    }

    #[on_network_error]
    fn network_error(
        &mut self,
        ctx: &mut Context,
        address: String,
        cause: String,
    ) -> Result<(), Failure> {
        log::info!("{address} cannot be reached: {cause}");
        self.turn(ctx, |core, out| core.disconnected(&address, out))
    }

    #[on_error]
    fn error(&mut self, ctx: &mut Context, cause: Failure) -> Result<(), Failure> {
        log::error!("{cause}");
        if cause.code != Failure::CRASHED {
            return Ok(());
        }
        let launched = ctx.launching().launched();
        self.turn(ctx, |core, out| core.crashed(&launched, out))
    }

    #[on_stop]
    fn stop(&mut self, ctx: &mut Context) -> Result<(), Failure> {
        self.turn(ctx, |core, out| core.stop(out))
    }
}

impl Worker {
    /// The core, for those who look.
    pub fn core(&self) -> &Core {
        &self.core
    }

    fn turn(
        &mut self,
        ctx: &mut Context,
        decide: impl FnOnce(&mut Core, &mut Effects),
    ) -> Result<(), Failure> {
        let mut out = Effects::new();
        decide(&mut self.core, &mut out);
        self.carry_out(ctx, out)
    }

    fn reported(
        &mut self,
        ctx: &mut Context,
        life: u64,
        subject: &Subject,
        send: u64,
        outcome: Result<bool, Failure>,
    ) -> Result<(), Failure> {
        if life != self.core.identity().life {
            return Ok(());
        }
        self.turn(ctx, |core, out| core.reported(subject, send, outcome, out))
    }

    /// Carries effects out, and those that come of it, in order. One that fails holds up no other.
    fn carry_out(&mut self, ctx: &mut Context, effects: Effects) -> Result<(), Failure> {
        let mut left = VecDeque::from(effects);
        let mut first_failure = Ok(());
        while let Some(effect) = left.pop_front() {
            let mut more = Effects::new();
            let done = self.carry_out_one(ctx, effect, &mut more);
            first_failure = first_failure.and(done);
            left.extend(more);
        }
        self.show_usage(ctx);
        first_failure
    }

    fn carry_out_one(
        &mut self,
        ctx: &mut Context,
        effect: Effect,
        more: &mut Effects,
    ) -> Result<(), Failure> {
        match effect {
            Effect::Tell { to, what } => {
                if let Err(failure) = tell(ctx, &to, &what) {
                    let gone = [Failure::ENDPOINT_NOT_FOUND, Failure::STOPPED];
                    let gone = gone.contains(&failure.code.as_str());
                    self.core.unreachable(&to, gone, &failure.text, more);
                }
            }
            Effect::Report { to, report, send } => {
                let life = self.core.identity().life;
                let subject = report.subject();
                if let Err(failure) = ask(ctx, &to, report, life, send) {
                    self.core.reported(&subject, send, Err(failure), more);
                }
            }
            Effect::Launch {
                subject,
                workload,
                token,
            } => {
                let outcome = ctx.launching().launch(&workload, token);
                let outcome = outcome.map_err(|failure| failure.text);
                self.core.launch_made(&subject, outcome, more);
            }
            Effect::Kill(launch) => {
                // Where it has ended by itself, its notice is on its way.
                ctx.launching().kill(launch);
            }
            Effect::WakeAfter(delay, what) => {
                ctx.start_timer(delay, self.due_for(what))?;
            }
            Effect::WakeEvery(period, what) => {
                ctx.start_periodic_timer(period, period, self.due_for(what))?;
            }
            Effect::CleanUp { keep, unused } => ctx.launching().clean(&keep, unused),
            Effect::Stop => ctx.stop_self(),
        }
        Ok(())
    }

    fn due_for(&self, what: Wake) -> Due {
        let life = self.core.identity().life;
        Due { life, what }
    }

    fn show_usage(&self, ctx: &Context) {
        let usage = self.core.usage();
        for (name, value) in [
            ("executors", usage.executors),
            ("coresUsed", usage.cores_used),
            ("coresFree", usage.cores_free),
            ("memUsed_MB", usage.memory_used_mb),
            ("memFree_MB", usage.memory_free_mb),
        ] {
            ctx.gauge(name).set(value.into());
        }
    }
}

/// What is said again and again does not wait for room: a master that reads nothing must not hold the
/// worker up. What is said once does.
fn tell(ctx: &mut Context, to: &EndpointRef, what: &ToMaster) -> Result<(), Failure> {
    match what {
        ToMaster::Register(message) => ctx.try_send(to, message),
        ToMaster::Heartbeat(message) => ctx.try_send(to, message),
        ToMaster::LatestState(message) => ctx.send(to, message),
        ToMaster::SchedulerState(message) => ctx.send(to, message),
        ToMaster::Decommissioning(message) => ctx.send(to, message),
    }
}

fn ask(
    ctx: &mut Context,
    to: &EndpointRef,
    report: Report,
    life: u64,
    send: u64,
) -> Result<(), Failure> {
    let subject = report.subject();
    let asked = match report {
        Report::Executor(change) => {
            let then = ExecutorReported {
                life,
                subject,
                send,
            };
            ctx.ask_with_timeout(to, &change, then, ANSWER_TIME)
        }
        Report::Driver(change) => {
            let then = DriverReported {
                life,
                subject,
                send,
            };
            ctx.ask_with_timeout(to, &change, then, ANSWER_TIME)
        }
    };
    asked.map(drop)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// A number by chance. `RandomState` is the one source that `std` has.
fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}
