//! Endpoint: the thin shell around [`crate::core`]. Every message becomes an event, every effect a
//! call of the context. No decision is made here.
//!
//! Invariants
//! 1. All of a version that must live on is in the state. Timers are the host's and go on through a
//!    swap; those of an instance that crashed are recognised by their `life` and end by themselves.
//! 2. What is persisted comes before what is sent: the host sends only what is durable.
//! 3. A state whose changes could not be persisted is not gone on with: the master begins anew with what is
//!    durable, after a rest and under whichever term goes on then.
//! 4. What is known belongs to one term of leadership. When that is over, nothing of it is left but the
//!    configuration; its timers end by themselves.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use deploy_protocol::{
    Acknowledged, BoundPortsRequest, BoundPortsResponse, ClearedCompleted,
    DecommissionWorkersOnHosts, DecommissionedWorkers, DriverStateChanged, DriverStateNoted,
    DriverStatusResponse, ExecutorStateChanged, ExecutorStateNoted, Heartbeat,
    KillAllDriversResponse, KillApplicationResponse, KillDriverResponse, KillExecutors,
    MasterChangeAcknowledged, MasterStateResponse, Readyz, RecoveryState, RegisterApplication,
    RegisterWorker, RequestClearCompletedDriversAndApps, RequestDriverStatus, RequestExecutors,
    RequestKillAllDrivers, RequestKillApplication, RequestKillDriver, RequestMasterState,
    RequestReadyz, RequestSubmitDriver, SubmitDriverResponse, UnregisterApplication,
    WorkerDecommissioning, WorkerLatestState, WorkerSchedulerStateResponse,
};
use instar_sdk::leadership::{ElectedLeader, RevokedLeadership};
use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::core::entries::Written;
use crate::core::settings::{RecoveryMode, Settings};
use crate::core::turn::{Effect, Nowhere, Outgoing, Spent, Store, Turn};

/// How long a master waits before it tries again to read what is persisted: at first, as others wait for
/// it, and at most.
const READ_AGAIN_AFTER_MS: u64 = 50;
const READ_AGAIN_AFTER_MS_MAX: u64 = 1000;

/// How long a master rests whose changes could not be persisted. It resigned: another one may lead meanwhile.
const REST: Duration = Duration::from_secs(5);

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
    /// The term in which it leads, or comes to lead as soon as what is persisted is read.
    term: Option<u64>,
    /// What it decided could not be persisted, a short while ago: it takes nothing up before [`Rested`].
    rests: bool,
    /// This very instance took up what is written down.
    #[serde(skip)]
    took_up: bool,
    /// A timer is on its way that goes on with what is left to do.
    #[serde(skip)]
    goes_on: bool,
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

/// Timer: there is more to do than a turn should.
#[derive(Debug, Message, Serialize, Deserialize)]
#[message(kind = "master.GoOn")]
struct GoOn {
    life: u64,
}

/// Timer: a master whose changes could not be persisted may try again.
#[derive(Debug, Message, Serialize, Deserialize)]
#[message(kind = "master.Rested")]
struct Rested {}

/// Timer: what is persisted could not be read, and is read again.
#[derive(Debug, Message, Serialize, Deserialize)]
#[message(kind = "master.ReadAgain")]
struct ReadAgain {
    life: u64,
    /// The wait before the next try, if this one fails, too.
    wait_ms: u64,
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
        let mut spent = Spent::default();
        let (result, mut effects) = self.happens(ctx, &mut spent, event);
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
            let (_, more) = self.happens(ctx, &mut spent, |core, _| {
                for (at, reason) in &lost {
                    core.out_of_reach(at, reason);
                }
            });
            effects = more;
        }
        self.show(ctx);
        outcome
    }

    /// `spent`: in this turn of the endpoint, until now.
    fn happens<T>(
        &mut self,
        ctx: &mut Context,
        spent: &mut Spent,
        event: impl FnOnce(&mut Core, &mut Turn<'_>) -> T,
    ) -> (T, Vec<Effect>) {
        let mut nowhere = Nowhere;
        let mut kept;
        let store: &mut dyn Store = match self.core.settings().recovery_mode.keeps() {
            false => &mut nowhere,
            true => {
                kept = HostStore(ctx.persistence());
                &mut kept
            }
        };
        let mut turn = Turn::new(now(), store).after(*spent);
        let result = event(&mut self.core, &mut turn);
        self.core.settle(&mut turn);
        *spent = turn.spent();
        (result, turn.into_effects())
    }

    /// Carries all out: one that cannot be carried out is no reason to leave the others out. Returns who
    /// cannot be reached, and why.
    fn carry_out_all(
        &mut self,
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

    fn carry_out(&mut self, ctx: &mut Context, effect: Effect) -> Result<(), Failure> {
        match effect {
            // Before.
            Effect::Send(..) => {}
            Effect::EndRecoveryAfter(time) => {
                let life = self.life;
                ctx.start_timer(time, CompleteRecovery { life })?;
            }
            Effect::GoOn if self.goes_on => {}
            Effect::GoOn => {
                let life = self.life;
                ctx.start_timer(Duration::ZERO, GoOn { life })?;
                self.goes_on = true;
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
        rights = ["clock", "lead", "persist"],
        entries(writes = 1, reads = [1])
    )
)]
#[cfg_attr(
    not(feature = "consolidate"),
    instar_sdk::endpoint(
        name = "Master",
        version = "1.0.0+spread-out",
        about = "Schedules drivers and executors on workers, many of them",
        rights = ["clock", "lead", "persist"],
        entries(writes = 1, reads = [1])
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
            term: None,
            rests: false,
            took_up: false,
            goes_on: false,
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
        master.look_at_the_store(ctx)?;
        ctx.leadership().contend();
        Ok(master)
    }

    // Leading.

    /// Told again where nothing but the instance is new: then it leads already.
    #[receive]
    fn elected_leader(&mut self, ctx: &mut Context, message: ElectedLeader) -> Result<(), Failure> {
        let leads = self.core.status() != RecoveryState::Standby;
        match self.term {
            Some(term) if term == message.term && leads => {
                log::info!("elected, and it leads already");
                return Ok(());
            }
            // Of a term of which nobody could tell it that it is over.
            Some(_) if leads => self.begin_anew(ctx)?,
            _ => {}
        }
        self.term = Some(message.term);
        match self.rests {
            true => Ok(()),
            false => self.recover(ctx, READ_AGAIN_AFTER_MS),
        }
    }

    /// What it knows is no more true, and another master decides on it. It stands by.
    #[receive]
    fn revoked_leadership(
        &mut self,
        ctx: &mut Context,
        message: RevokedLeadership,
    ) -> Result<(), Failure> {
        log::warn!("it leads no more, and stands by: {}", message.reason);
        self.begin_anew(ctx)
    }

    #[on_timer]
    fn read_again(&mut self, ctx: &mut Context, due: ReadAgain) -> Result<(), Failure> {
        if due.life != self.life {
            return Ok(());
        }
        self.recover(ctx, due.wait_ms)
    }

    #[on_timer]
    fn rested(&mut self, ctx: &mut Context, _due: Rested) -> Result<(), Failure> {
        self.rests = false;
        match self.term {
            Some(_) => self.recover(ctx, READ_AGAIN_AFTER_MS),
            None => Ok(()),
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
        self.turn(ctx, |core, _| core.complete_recovery())
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
        self.turn(ctx, |core, _| core.check_workers())
    }

    #[on_timer]
    fn go_on(&mut self, ctx: &mut Context, due: GoOn) -> Result<(), Failure> {
        if due.life != self.life {
            return Ok(());
        }
        self.goes_on = false;
        // Every event ends with what there is to do and to schedule.
        self.turn(ctx, |_, _| ())
    }

    #[on_disconnected]
    fn disconnected(&mut self, ctx: &mut Context, address: String) -> Result<(), Failure> {
        self.turn(ctx, |core, _| core.disconnected(&address))
    }

    // A host that cannot be reached is gone, as one is whose connection ended. One that led before may
    // have known it, and this master never had a connection with it.
    #[on_network_error]
    fn network_error(
        &mut self,
        ctx: &mut Context,
        address: String,
        _cause: String,
    ) -> Result<(), Failure> {
        self.turn(ctx, |core, _| core.disconnected(&address))
    }

    #[on_error]
    fn error(&mut self, ctx: &mut Context, cause: Failure) -> Result<(), Failure> {
        log::error!("{cause}");
        match cause.code.as_str() {
            Failure::CRASHED => self.go_on_after_a_crash(ctx),
            Failure::PERSISTENCE => self.rest(ctx),
            _ => Ok(()),
        }
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
        self.turn(ctx, |core, turn| core.executor_state_changed(turn, ask))?
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
        self.turn(ctx, |core, _| core.decommission_hosts(ask))
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

    /// What cannot work is found at the start: a master without its store does not start, instead of
    /// standing by for ever. ZooKeeper may come later.
    fn look_at_the_store(&self, ctx: &mut Context) -> Result<(), Failure> {
        if self.core.settings().recovery_mode == RecoveryMode::Filesystem {
            ctx.persistence().read("")?;
        }
        Ok(())
    }

    /// Takes up what the master before wrote down. `wait_ms`: before the next try, if it cannot be read.
    fn recover(&mut self, ctx: &mut Context, wait_ms: u64) -> Result<(), Failure> {
        self.took_up = true;
        let entries = match self.core.settings().recovery_mode.keeps() {
            false => Ok(Vec::new()),
            true => ctx.persistence().read(""),
        };
        match entries {
            Ok(entries) => {
                let written = Written::read(&entries);
                self.turn(ctx, |core, turn| core.elected(turn, written))
            }
            Err(failure) => {
                log::error!("what is persisted cannot be read, trying again: {failure}");
                if wait_ms == READ_AGAIN_AFTER_MS_MAX {
                    log::error!("it resigns meanwhile, so that another one may lead");
                    ctx.leadership().resign();
                }
                let life = self.life;
                let again = ReadAgain {
                    life,
                    wait_ms: wait_ms.saturating_mul(2).min(READ_AGAIN_AFTER_MS_MAX),
                };
                ctx.start_timer(Duration::from_millis(wait_ms), again)?;
                Ok(())
            }
        }
    }

    /// Stands by, and knows nothing but its configuration.
    fn begin_anew(&mut self, ctx: &mut Context) -> Result<(), Failure> {
        self.settle_in(ctx);
        self.core = Core::new(self.core.settings().clone(), ctx.self_ref());
        self.life = life().max(self.life.saturating_add(1));
        self.term = None;
        self.goes_on = false;
        self.check_later(ctx)?;
        self.show(ctx);
        ctx.leadership().contend();
        Ok(())
    }

    /// As [`Master::begin_anew`], but the term goes on, if there is one.
    fn begin_anew_in_its_term(&mut self, ctx: &mut Context) -> Result<(), Failure> {
        let term = self.term;
        self.begin_anew(ctx)?;
        self.term = term;
        Ok(())
    }

    /// The instance before crashed. Where this one has a copy of what that knew, of a moment before, and there is
    /// more in the store, the store counts: the master recovers as if it were the next.
    fn go_on_after_a_crash(&mut self, ctx: &mut Context) -> Result<(), Failure> {
        if self.took_up {
            return Ok(());
        }
        let leads = self.core.status() != RecoveryState::Standby;
        if leads && self.core.settings().recovery_mode.keeps() {
            self.begin_anew_in_its_term(ctx)?;
            return self.recover(ctx, READ_AGAIN_AFTER_MS);
        }
        ctx.leadership().contend();
        self.turn(ctx, |core, turn| core.restored(turn))
    }

    /// What changed could not be persisted, so what this master believes was neither kept nor sent.
    fn rest(&mut self, ctx: &mut Context) -> Result<(), Failure> {
        self.begin_anew_in_its_term(ctx)?;
        // One of several turns that could not.
        if std::mem::replace(&mut self.rests, true) {
            return Ok(());
        }
        log::error!("it resigns, and takes up what is written down in {REST:?}, if it leads then");
        ctx.leadership().resign();
        ctx.start_timer(REST, Rested {})?;
        Ok(())
    }
}

/// A number that no instance before had.
fn life() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanoseconds = since.unwrap_or_default().as_nanos() % u128::from(u64::MAX);
    u64::try_from(nanoseconds).unwrap_or_default()
}
