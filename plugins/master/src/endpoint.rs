//! Endpoint: the thin shell around [`crate::core`]. Every message becomes an event, every effect a
//! call of the context. No decision is made here.
//!
//! Invariants
//! 1. All of a version that must live on is in the state. Timers are the host's and go on through a
//!    swap; those of an instance that crashed are recognised by their `life` and end by themselves.
//! 2. What is persisted comes before what is sent: the host sends only what is durable.
//! 3. A state whose changes could not be persisted is not gone on with: the instance ends, and the
//!    next one begins with what is durable.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use deploy_protocol::{
    Acknowledged, BoundPortsRequest, BoundPortsResponse, ClearedCompleted,
    DecommissionWorkersOnHosts, DecommissionedWorkers, DriverStateChanged, DriverStateNoted,
    DriverStatusResponse, ExecutorStateChanged, ExecutorStateNoted, Heartbeat,
    KillAllDriversResponse, KillApplicationResponse, KillDriverResponse, KillExecutors,
    MasterChangeAcknowledged, MasterStateResponse, Readyz, RegisterApplication, RegisterWorker,
    RequestClearCompletedDriversAndApps, RequestDriverStatus, RequestExecutors,
    RequestKillAllDrivers, RequestKillApplication, RequestKillDriver, RequestMasterState,
    RequestReadyz, RequestSubmitDriver, SubmitDriverResponse, UnregisterApplication,
    WorkerDecommissioning, WorkerLatestState, WorkerSchedulerStateResponse,
};
use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::core::entries::Written;
use crate::core::settings::{RecoveryMode, Settings};
use crate::core::turn::{Effect, Nowhere, Outgoing, Store, Turn};

/// How long a master waits before it tries again to read what is persisted.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// So many messages to one receiver in one turn explain that it has not read them all. A host keeps more
/// of them for one that reads.
const MANY_MESSAGES: usize = 1000;

/// Who cannot be reached, and why.
type OutOfReach = BTreeMap<EndpointRef, String>;

/// The master.
#[derive(Serialize, Deserialize)]
pub struct Master {
    core: Core,
    /// Tells the timers of this instance, and of those that took its state over, from those of an
    /// instance that crashed.
    life: u64,
    /// False until an instance that took the state over has looked at its configuration.
    #[serde(skip)]
    at_home: bool,
    #[serde(skip)]
    shown: Option<Shown>,
}

/// Gauges as they were set last.
#[derive(Clone, Copy, PartialEq)]
struct Shown([(&'static str, u64); 7]);

/// Timer: see who is silent.
#[derive(Debug, Message, Serialize, Deserialize)]
#[message(kind = "master.CheckForWorkerTimeOut")]
struct CheckForWorkerTimeOut {
    life: u64,
}

/// Timer: recovery has lasted long enough.
#[derive(Debug, Message, Serialize, Deserialize)]
#[message(kind = "master.CompleteRecovery")]
struct CompleteRecovery {
    life: u64,
}

/// Timer: there is more to schedule.
#[derive(Debug, Message, Serialize, Deserialize)]
#[message(kind = "master.ScheduleOn")]
struct ScheduleOn {
    life: u64,
}

/// This master leads. A timer, not a message: a message could be anybody's.
#[derive(Debug, Message, Serialize, Deserialize)]
#[message(kind = "master.ElectedLeader")]
struct ElectedLeader {
    life: u64,
}

// Carrying out.
impl Master {
    /// Runs one event of the core and carries out what it leads to.
    fn turn<T>(
        &mut self,
        ctx: &mut Context,
        event: impl FnOnce(&mut Core, &mut Turn<'_>) -> T,
    ) -> Result<T, Failure> {
        self.settle_in(ctx);
        let (result, mut effects) = self.happens(ctx, event);
        let mut outcome = Ok(result);
        // Who cannot be reached is lost, which has effects of its own. Each round loses somebody, or is
        // the last.
        loop {
            let lost = match self.carry_out_all(ctx, effects) {
                Ok(lost) => lost,
                Err((lost, failure)) => {
                    outcome = Err(failure);
                    lost
                }
            };
            if lost.is_empty() {
                break;
            }
            let (_, more) = self.happens(ctx, |core, turn| {
                for (at, reason) in &lost {
                    core.out_of_reach(turn, at, reason);
                }
            });
            effects = more;
        }
        self.show(ctx);
        outcome
    }

    fn happens<T>(
        &mut self,
        ctx: &mut Context,
        event: impl FnOnce(&mut Core, &mut Turn<'_>) -> T,
    ) -> (T, Vec<Effect>) {
        let mut nowhere = Nowhere;
        let mut store;
        let store: &mut dyn Store = match self.core.settings().recovery_mode {
            RecoveryMode::None => &mut nowhere,
            RecoveryMode::Filesystem => {
                store = HostStore(ctx.persistence());
                &mut store
            }
        };
        let mut turn = Turn::new(now(), store);
        let result = event(&mut self.core, &mut turn);
        self.core.settle(&mut turn);
        (result, turn.into_effects())
    }

    /// Carries all out: one that cannot be carried out is no reason to leave the others out. Returns who
    /// cannot be reached, and why.
    fn carry_out_all(
        &self,
        ctx: &mut Context,
        effects: Vec<Effect>,
    ) -> Result<OutOfReach, (OutOfReach, Failure)> {
        let mut lost = OutOfReach::new();
        let mut sent: BTreeMap<EndpointRef, usize> = BTreeMap::new();
        let mut failed = None;
        for effect in effects {
            let (to, message) = match effect {
                Effect::Send(to, message) => (to, message),
                other => {
                    if let Err(failure) = self.carry_out(ctx, other) {
                        failed = Some(failure);
                    }
                    continue;
                }
            };
            if lost.contains_key(&to) {
                continue;
            }
            let before = sent.get(&to).copied().unwrap_or_default();
            if let Err(failure) = deliver(ctx, &to, &message, before) {
                log::warn!("nothing is sent to {to}: {failure}");
                if [Failure::OUTBOX_FULL, Failure::ENDPOINT_NOT_FOUND]
                    .contains(&failure.code.as_str())
                {
                    lost.insert(to, failure.text);
                }
                continue;
            }
            sent.insert(to, before + 1);
        }
        match failed {
            None => Ok(lost),
            Some(failure) => Err((lost, failure)),
        }
    }

    fn carry_out(&self, ctx: &mut Context, effect: Effect) -> Result<(), Failure> {
        match effect {
            // Before.
            Effect::Send(..) => {}
            Effect::EndRecoveryAfter(time) => {
                let life = self.life;
                ctx.start_timer(time, CompleteRecovery { life })?;
            }
            Effect::ScheduleOn => {
                let life = self.life;
                ctx.start_timer(Duration::ZERO, ScheduleOn { life })?;
            }
            Effect::Ended { state, runtime_ms } => {
                let name = format!("applications{}", capitalised(state.name()));
                ctx.counter(&name).add(1);
                // Milliseconds beyond 2^53 are no run time.
                #[expect(clippy::cast_precision_loss, reason = "shown only")]
                ctx.histogram("applicationRuntimeMs")
                    .record(runtime_ms as f64);
            }
        }
        Ok(())
    }

    /// An instance that took a state over reads the configuration as it is now. A bad one leaves what
    /// was in effect.
    fn settle_in(&mut self, ctx: &Context) {
        if self.at_home {
            return;
        }
        self.at_home = true;
        match Settings::read(&ctx.config_all()) {
            Ok(mut settings) => {
                // What is persisted, and where, is decided once.
                settings.recovery_mode = self.core.settings().recovery_mode;
                self.core.set_settings(settings);
            }
            Err(failure) => {
                log::error!("the configuration before stays in effect: {failure}");
                self.core.look_again();
            }
        }
    }

    /// The gauges, where they changed. Per application there is none: there would be ever more. What
    /// all have together is shown, and how long those ran that ended.
    fn show(&mut self, ctx: &Context) {
        let now = Shown(self.core.gauges());
        let before = self.shown.replace(now);
        for (index, (name, value)) in now.0.into_iter().enumerate() {
            let shown = before.and_then(|before| before.0.get(index).copied());
            if shown != Some((name, value)) {
                #[expect(clippy::cast_precision_loss, reason = "shown only")]
                ctx.gauge(name).set(value as f64);
            }
        }
    }
}

/// Sends without waiting for one that does not read: all others would wait as well. One that this turn
/// itself sends very much gets the time to read it. `before`: messages that it got in this turn.
fn deliver(
    ctx: &mut Context,
    to: &EndpointRef,
    message: &Outgoing,
    before: usize,
) -> Result<(), Failure> {
    let outcome = message.try_send(ctx, to);
    let Err(failure) = &outcome else {
        return outcome;
    };
    let waits = failure.code == Failure::INBOX_FULL
        || (failure.code == Failure::OUTBOX_FULL && before >= MANY_MESSAGES);
    match waits {
        true => message.send(ctx, to),
        false => outcome,
    }
}

/// `FINISHED` as `Finished`.
fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().into_iter();
    first
        .chain(letters.map(|c| c.to_ascii_lowercase()))
        .collect()
}

/// Milliseconds since 1970 UTC. Needs the right `clock`.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The store of the host. Needs the right `persist`.
struct HostStore(instar_sdk::Persistence);

impl Store for HostStore {
    fn persist(&mut self, name: &str, value: &[u8]) -> Result<(), Failure> {
        self.0.persist(name, value)
    }

    fn unpersist(&mut self, name: &str) -> Result<(), Failure> {
        self.0.unpersist(name)
    }
}

#[cfg_attr(
    feature = "consolidate",
    instar_sdk::endpoint(
        name = "Master",
        version = "1.0.0+consolidate",
        about = "Schedules drivers and executors on workers, few of them",
        rights = ["clock", "persist"]
    )
)]
#[cfg_attr(
    not(feature = "consolidate"),
    instar_sdk::endpoint(
        name = "Master",
        version = "1.0.0+spread-out",
        about = "Schedules drivers and executors on workers, many of them",
        rights = ["clock", "persist"]
    )
)]
impl Master {
    /// The order is that of Spark's `onStart`: what others may ask for is there before it can lead.
    #[on_start]
    fn start(ctx: &mut Context) -> Result<Self, Failure> {
        let settings = Settings::read(&ctx.config_all())?;
        let me = ctx.self_ref();
        // 1. Say who and where.
        log::info!("master {} at {me}", Self::VERSION);
        let mut master = Self {
            core: Core::new(settings, me),
            life: life(),
            at_home: true,
            shown: None,
        };
        // 2. and 3. Web pages, and the proxy to those of workers and applications: none yet.
        // 4. See who is silent.
        master.check_later(ctx)?;
        // 5. REST server: none yet.
        // 6. Metrics.
        master.show(ctx);
        // 7. and 8. Where things are written down, and who leads.
        master.recover_and_lead(ctx)?;
        Ok(master)
    }

    #[on_timer]
    fn elected_leader(&mut self, ctx: &mut Context, due: ElectedLeader) -> Result<(), Failure> {
        if due.life != self.life {
            return Ok(());
        }
        let entries = match self.core.settings().recovery_mode {
            RecoveryMode::None => Ok(Vec::new()),
            RecoveryMode::Filesystem => ctx.persistence().read(""),
        };
        match entries {
            Ok(entries) => {
                let written = Written::read(&entries);
                self.turn(ctx, |core, turn| core.elected(turn, written))
            }
            Err(failure) => {
                log::error!("what is persisted cannot be read, trying again: {failure}");
                ctx.start_timer(READ_AGAIN_AFTER, due)?;
                Ok(())
            }
        }
    }

    #[on_timer]
    fn complete_recovery(
        &mut self,
        ctx: &mut Context,
        due: CompleteRecovery,
    ) -> Result<(), Failure> {
        if due.life != self.life {
            return Ok(());
        }
        self.turn(ctx, Core::complete_recovery)
    }

    #[on_timer]
    fn check_for_worker_time_out(
        &mut self,
        ctx: &mut Context,
        due: CheckForWorkerTimeOut,
    ) -> Result<(), Failure> {
        if due.life != self.life {
            return Ok(());
        }
        self.check_later(ctx)?;
        self.turn(ctx, Core::check_workers)
    }

    #[on_timer]
    fn schedule_on(&mut self, ctx: &mut Context, due: ScheduleOn) -> Result<(), Failure> {
        if due.life != self.life {
            return Ok(());
        }
        // Every event ends with what there is to schedule.
        self.turn(ctx, |_, _| ())
    }

    #[on_disconnected]
    fn disconnected(&mut self, ctx: &mut Context, address: String) -> Result<(), Failure> {
        self.turn(ctx, |core, turn| core.disconnected(turn, &address))
    }

    #[on_error]
    fn error(&mut self, ctx: &mut Context, cause: Failure) -> Result<(), Failure> {
        // What this instance believes was neither kept nor sent. The next one begins with what was.
        assert!(
            cause.code != Failure::PERSISTENCE,
            "what changed could not be persisted: {cause}"
        );
        log::error!("{cause}");
        if cause.code == Failure::CRASHED {
            return self.turn(ctx, |core, turn| core.restored(turn));
        }
        Ok(())
    }

    // Workers.

    #[receive]
    fn register_worker(
        &mut self,
        ctx: &mut Context,
        message: RegisterWorker,
    ) -> Result<(), Failure> {
        self.turn(ctx, |core, turn| core.register_worker(turn, message))
    }

    #[receive]
    fn heartbeat(&mut self, ctx: &mut Context, message: Heartbeat) -> Result<(), Failure> {
        self.turn(ctx, |core, turn| core.heartbeat(turn, message))
    }

    #[receive]
    fn worker_latest_state(
        &mut self,
        ctx: &mut Context,
        message: WorkerLatestState,
    ) -> Result<(), Failure> {
        self.turn(ctx, |core, turn| core.worker_latest_state(turn, message))
    }

    #[receive]
    fn worker_state_response(
        &mut self,
        ctx: &mut Context,
        message: WorkerSchedulerStateResponse,
    ) -> Result<(), Failure> {
        self.turn(ctx, |core, turn| core.worker_state_response(turn, message))
    }

    #[receive]
    fn worker_decommissioning(
        &mut self,
        ctx: &mut Context,
        message: WorkerDecommissioning,
    ) -> Result<(), Failure> {
        self.turn(ctx, |core, turn| core.worker_decommissioning(turn, message))
    }

    #[receive_and_reply]
    fn executor_state_changed(
        &mut self,
        ctx: &mut Context,
        ask: ExecutorStateChanged,
    ) -> Result<ExecutorStateNoted, Failure> {
        self.turn(ctx, |core, turn| core.executor_state_changed(turn, ask))
    }

    #[receive_and_reply]
    fn driver_state_changed(
        &mut self,
        ctx: &mut Context,
        ask: DriverStateChanged,
    ) -> Result<DriverStateNoted, Failure> {
        self.turn(ctx, |core, turn| core.driver_state_changed(turn, ask))?
    }

    // Applications.

    #[receive]
    fn register_application(
        &mut self,
        ctx: &mut Context,
        message: RegisterApplication,
    ) -> Result<(), Failure> {
        self.turn(ctx, |core, turn| core.register_application(turn, message))
    }

    #[receive]
    fn unregister_application(
        &mut self,
        ctx: &mut Context,
        message: UnregisterApplication,
    ) -> Result<(), Failure> {
        self.turn(ctx, |core, turn| core.unregister_application(turn, message))
    }

    #[receive]
    fn master_change_acknowledged(
        &mut self,
        ctx: &mut Context,
        message: MasterChangeAcknowledged,
    ) -> Result<(), Failure> {
        self.turn(ctx, |core, _| core.master_change_acknowledged(&message))
    }

    #[receive_and_reply]
    fn request_executors(
        &mut self,
        ctx: &mut Context,
        ask: RequestExecutors,
    ) -> Result<Acknowledged, Failure> {
        self.turn(ctx, |core, turn| core.request_executors(turn, ask))?
    }

    #[receive_and_reply]
    fn kill_executors(
        &mut self,
        ctx: &mut Context,
        ask: KillExecutors,
    ) -> Result<Acknowledged, Failure> {
        self.turn(ctx, |core, turn| core.kill_executors(turn, ask))
    }

    // Those who submit, kill, and ask.

    #[receive_and_reply]
    fn submit_driver(
        &mut self,
        ctx: &mut Context,
        ask: RequestSubmitDriver,
    ) -> Result<SubmitDriverResponse, Failure> {
        self.turn(ctx, |core, turn| core.submit_driver(turn, ask))
    }

    #[receive_and_reply]
    fn kill_driver(
        &mut self,
        ctx: &mut Context,
        ask: RequestKillDriver,
    ) -> Result<KillDriverResponse, Failure> {
        self.turn(ctx, |core, turn| core.kill_driver(turn, ask))
    }

    #[receive_and_reply]
    fn kill_all_drivers(
        &mut self,
        ctx: &mut Context,
        ask: RequestKillAllDrivers,
    ) -> Result<KillAllDriversResponse, Failure> {
        self.turn(ctx, |core, turn| core.kill_all_drivers(turn, ask))
    }

    #[receive_and_reply]
    fn driver_status(
        &mut self,
        _ctx: &mut Context,
        ask: RequestDriverStatus,
    ) -> Result<DriverStatusResponse, Failure> {
        Ok(self.core.driver_status(&ask))
    }

    #[receive_and_reply]
    fn kill_application(
        &mut self,
        ctx: &mut Context,
        ask: RequestKillApplication,
    ) -> Result<KillApplicationResponse, Failure> {
        self.turn(ctx, |core, turn| core.kill_application(turn, ask))
    }

    #[receive_and_reply]
    fn clear_completed(
        &mut self,
        ctx: &mut Context,
        ask: RequestClearCompletedDriversAndApps,
    ) -> Result<ClearedCompleted, Failure> {
        self.turn(ctx, |core, _| core.clear_completed(ask))
    }

    #[receive_and_reply]
    fn decommission_hosts(
        &mut self,
        ctx: &mut Context,
        ask: DecommissionWorkersOnHosts,
    ) -> Result<DecommissionedWorkers, Failure> {
        self.turn(ctx, |core, turn| core.decommission_hosts(turn, ask))
    }

    #[receive_and_reply]
    fn master_state(
        &mut self,
        ctx: &mut Context,
        _ask: RequestMasterState,
    ) -> Result<MasterStateResponse, Failure> {
        // After a swap this may be the first event: the answer names the policy in effect.
        self.settle_in(ctx);
        self.core.master_state(Self::VERSION)
    }

    #[receive_and_reply]
    fn bound_ports(
        &mut self,
        _ctx: &mut Context,
        _ask: BoundPortsRequest,
    ) -> Result<BoundPortsResponse, Failure> {
        Ok(self.core.bound_ports())
    }

    #[receive_and_reply]
    fn readyz(&mut self, _ctx: &mut Context, _ask: RequestReadyz) -> Result<Readyz, Failure> {
        Ok(self.core.readyz())
    }
}

// Starting.
impl Master {
    fn check_later(&self, ctx: &mut Context) -> Result<(), Failure> {
        let life = self.life;
        let every = self.core.settings().check_every();
        ctx.start_timer(every, CheckForWorkerTimeOut { life })?;
        Ok(())
    }

    /// Recovery mode `none` and `filesystem`: there is only this master, so it leads at once.
    ///
    /// What cannot work is found here: a master without its store does not start, instead of standing
    /// by for ever.
    fn recover_and_lead(&mut self, ctx: &mut Context) -> Result<(), Failure> {
        if self.core.settings().recovery_mode == RecoveryMode::Filesystem {
            ctx.persistence().read("")?;
        }
        let life = self.life;
        ctx.start_timer(Duration::ZERO, ElectedLeader { life })?;
        Ok(())
    }
}

/// A number that no instance before had.
fn life() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanoseconds = since.unwrap_or_default().as_nanos() % u128::from(u64::MAX);
    u64::try_from(nanoseconds).unwrap_or_default()
}
