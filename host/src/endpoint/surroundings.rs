//! Surroundings: what the code of an endpoint sees of its host, and where its effects are carried out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;

use super::handle::{Control, Endpoint, Notice, lock};
use super::launches::{Launcher, Launches};
use super::ledger::OpenAsk;
use super::settings::EndpointSettings;
use crate::address::{EndpointAddress, Location};
use crate::clock::Stretch;
use crate::component::effect::{Effect, Room};
use crate::component::metadata::Metadata;
use crate::component::surroundings::{LogLevel, LogLine, Observation, Surroundings};
use crate::component::workload::Workload;
use crate::election::leadership::Certainty;
use crate::error::RpcError;
use crate::responder::Responder;
use crate::store::EndpointStore;
use crate::transport::{BoxFuture, FileBytes, FileRange};

/// The surroundings of one instance. Empty while the first instance of an endpoint is made: then
/// only its metadata is read.
///
/// Weak, so that an endpoint ends when its runner does, though its code still knows it.
pub(super) struct EndpointSurroundings {
    endpoint: OnceLock<Weak<Endpoint>>,
    config: Arc<BTreeMap<String, String>>,
}

impl EndpointSurroundings {
    /// For an instance under these settings, which may not be those of the endpoint yet.
    pub(super) fn of(endpoint: &Arc<Endpoint>, settings: &EndpointSettings) -> Arc<Self> {
        let surroundings = Self::empty(settings);
        surroundings.fill(endpoint);
        Arc::new(surroundings)
    }

    pub(super) fn empty(settings: &EndpointSettings) -> Self {
        Self {
            endpoint: OnceLock::new(),
            config: Arc::new(settings.config.clone()),
        }
    }

    pub(super) fn fill(&self, endpoint: &Arc<Endpoint>) {
        // Filled once, by whoever made it.
        let _ = self.endpoint.set(Arc::downgrade(endpoint));
    }

    fn endpoint(&self) -> Option<Arc<Endpoint>> {
        self.endpoint.get().and_then(Weak::upgrade)
    }

    fn with<T>(&self, read: impl FnOnce(&Arc<Endpoint>) -> T) -> Result<T, RpcError> {
        let not_there = || RpcError::Denied {
            reason: "this can be done in `handle` and `restore`, not while the code is loaded"
                .to_owned(),
        };
        self.endpoint().map(|e| read(&e)).ok_or_else(not_there)
    }
}

impl Surroundings for EndpointSurroundings {
    fn address(&self) -> EndpointAddress {
        let nobody = || EndpointAddress::new("", Location::Client(uuid::Uuid::nil()));
        self.with(|endpoint| endpoint.address.clone())
            .unwrap_or_else(|_| nobody())
    }

    fn interrupted(&self) -> bool {
        self.with(|endpoint| {
            endpoint.interrupt.load(Ordering::Acquire) || endpoint.election.has_moved()
        })
        .unwrap_or(false)
    }

    fn commit(&self, effects: &mut VecDeque<Effect>) -> bool {
        self.with(|endpoint| endpoint.carry_out(effects))
            .unwrap_or(true)
    }

    fn enlist(&self, turn: &mut VecDeque<Effect>) {
        // Without an endpoint there is no store, so nothing was written.
        let _ = self.with(|endpoint| endpoint.enlist(turn));
    }

    fn store(&self) -> Result<EndpointStore, RpcError> {
        self.with(|endpoint| endpoint.store())?
    }

    fn check_writable(&self, store: &EndpointStore) -> Result<(), RpcError> {
        let fence = self.with(|endpoint| endpoint.election.fence())?;
        store.check_writable(fence.as_deref())
    }

    fn open_channel(
        &self,
        uri: &str,
        range: FileRange,
    ) -> BoxFuture<'static, Result<Box<dyn FileBytes>, RpcError>> {
        let opening = self.with(|endpoint| endpoint.outgoing.open_channel(uri, range));
        Box::pin(async move { opening?.await })
    }

    fn reserve(&self, to: &EndpointAddress) -> Result<Room, RpcError> {
        self.with(|endpoint| endpoint.outgoing.reserve(to))?
    }

    fn check_receiver(&self, to: &EndpointAddress) -> Result<(), RpcError> {
        self.with(|endpoint| endpoint.outgoing.check_receiver(to))?
    }

    fn check_size(&self, bytes: usize) -> Result<(), RpcError> {
        self.with(|endpoint| endpoint.outgoing.check_size(bytes))?
    }

    fn admit_ask(&self, in_turn: usize) -> Result<u64, RpcError> {
        self.with(|endpoint| {
            let limit = endpoint.running.load().settings.limits.open_asks;
            let mut ledger = lock(&endpoint.ledger);
            let open = ledger.counts().asks + in_turn;
            admit(open, limit, "asks are open", "open_asks")?;
            Ok(ledger.new_id())
        })?
    }

    fn admit_timer(&self, in_turn: usize) -> Result<u64, RpcError> {
        self.with(|endpoint| {
            let limit = endpoint.running.load().settings.limits.timers;
            let mut ledger = lock(&endpoint.ledger);
            let open = ledger.counts().timers + in_turn;
            admit(open, limit, "timers run", "timers")?;
            Ok(ledger.new_id())
        })?
    }

    fn admit_launch(
        &self,
        workload: &Workload,
        token: &Bytes,
        in_turn: usize,
    ) -> Result<u64, RpcError> {
        self.with(|endpoint| {
            let launcher = endpoint.outgoing.launcher()?;
            launcher.check(workload)?;
            Launches::check_token(token, endpoint.running.load().settings.limits.message_bytes)?;
            endpoint.launches.admit(in_turn, launcher.launches_max())?;
            Ok(lock(&endpoint.ledger).new_id())
        })?
    }

    fn launch_goes_on(&self, launch: u64) -> bool {
        self.with(|endpoint| endpoint.launches.goes_on(launch))
            .unwrap_or(false)
    }

    fn launched(&self) -> Vec<(u64, Bytes)> {
        self.with(|endpoint| endpoint.launches.all())
            .unwrap_or_default()
    }

    fn ask_is_open(&self, ask: u64) -> bool {
        self.with(|endpoint| lock(&endpoint.ledger).ask_is_open(ask))
            .unwrap_or(false)
    }

    fn timer_is_running(&self, timer: u64) -> bool {
        self.with(|endpoint| lock(&endpoint.ledger).timer_is_running(timer))
            .unwrap_or(false)
    }

    fn call_sender(&self, call: u64) -> Option<String> {
        let sender = self.with(|endpoint| {
            let ledger = lock(&endpoint.ledger);
            ledger.call(call).map(|call| call.sender.to_string())
        });
        sender.ok().flatten()
    }

    fn config(&self) -> Arc<BTreeMap<String, String>> {
        Arc::clone(&self.config)
    }

    fn record(&self, name: &str, observation: Observation) {
        // Without an endpoint there is nothing to keep a number for.
        let _ = self.with(|endpoint| lock(&endpoint.metrics).record(name, observation));
    }

    fn log_enabled(&self, level: LogLevel) -> bool {
        match level {
            LogLevel::Trace => tracing::enabled!(target: "instar::guest", tracing::Level::TRACE),
            LogLevel::Debug => tracing::enabled!(target: "instar::guest", tracing::Level::DEBUG),
            LogLevel::Info => tracing::enabled!(target: "instar::guest", tracing::Level::INFO),
            LogLevel::Warn => tracing::enabled!(target: "instar::guest", tracing::Level::WARN),
            LogLevel::Error => tracing::enabled!(target: "instar::guest", tracing::Level::ERROR),
        }
    }

    fn log(&self, version: &str, line: LogLine<'_>) {
        let endpoint = self.endpoint();
        let endpoint = endpoint.as_ref().map_or("", |endpoint| endpoint.name());
        let LogLine { target, text, .. } = line;
        let fields: Vec<String> = line
            .fields
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let fields = fields.join(" ");
        // The level of a tracing event is part of its place in the code.
        macro_rules! emit {
            ($level:ident) => {
                tracing::$level!(
                    target: "instar::guest", endpoint, version, target, fields, "{text}"
                )
            };
        }
        match line.level {
            LogLevel::Trace => emit!(trace),
            LogLevel::Debug => emit!(debug),
            LogLevel::Info => emit!(info),
            LogLevel::Warn => emit!(warn),
            LogLevel::Error => emit!(error),
        }
    }

    fn describe(&self, name: &str) -> Option<Arc<Metadata>> {
        self.with(|endpoint| endpoint.outgoing.describe(name))
            .ok()
            .flatten()
    }

    fn names(&self) -> Vec<String> {
        self.with(|endpoint| endpoint.outgoing.names())
            .unwrap_or_default()
    }
}

fn admit(open: usize, limit: usize, what: &str, setting: &str) -> Result<(), RpcError> {
    if open < limit {
        return Ok(());
    }
    Err(RpcError::Denied {
        reason: format!("{open} {what}, the limit is {limit} (`{setting}` in the sidecar)"),
    })
}

impl Endpoint {
    /// Carries out the effects of turns that ended well, in order. False where the first one that
    /// is left has to wait: for room, for the disk, or since it is in doubt whether it counts.
    pub(super) fn carry_out(self: &Arc<Self>, effects: &mut VecDeque<Effect>) -> bool {
        let under = self.election.under();
        while !effects.is_empty() {
            // For each of them: this process may be stopped between any two.
            match under.map(|term| self.election.certainty(term)) {
                None | Some(Certainty::Certain) => {}
                Some(Certainty::Doubt) => return false,
                Some(Certainty::Over) => {
                    self.not_led(effects);
                    return true;
                }
            }
            let Some(effect) = effects.pop_front() else {
                break;
            };
            if matches!(effect, Effect::Persist(_) | Effect::WhenDurable { .. }) {
                effects.push_front(effect);
                match self.go_on_when_durable(effects) {
                    true => continue,
                    false => return false,
                }
            }
            if let Some(waits) = self.carry_out_one(effect) {
                effects.push_front(waits);
                return false;
            }
        }
        true
    }

    /// Gives the effect back where it has to wait.
    pub(super) fn carry_out_one(self: &Arc<Self>, effect: Effect) -> Option<Effect> {
        match effect {
            Effect::Send { room, to, message } => return self.send(room, to, message),
            Effect::Ask {
                id,
                to,
                message,
                token,
                timeout,
            } => {
                let ask = OpenAsk {
                    token,
                    who: to.to_string(),
                    timeout: timeout.unwrap_or_else(|| self.outgoing.ask_timeout()),
                    setting: timeout.map_or("ask_timeout", |_| "timeout-ms"),
                    stretch: Stretch::begin(self.outgoing.pauses_of(&to)),
                    forget: None,
                };
                let now = self.clock.now();
                lock(&self.ledger).open_ask(id, ask, now);
                let responder = self.responder(id, &to);
                if let Some(forget) = self.outgoing.ask(&to, message, responder) {
                    lock(&self.ledger).on_forget(id, forget);
                }
            }
            Effect::Abort { ask } => {
                lock(&self.ledger).abort(ask);
            }
            Effect::Answer { call, outcome } => {
                let open = lock(&self.ledger).take_call(call);
                if let Some(open) = open {
                    open.responder.tell(outcome);
                }
            }
            Effect::StartTimer {
                id,
                token,
                delay,
                period,
            } => {
                let due = self.clock.now().saturating_add(delay);
                lock(&self.ledger).start_timer(id, token, due, period);
            }
            Effect::CancelTimer { timer } => {
                lock(&self.ledger).cancel_timer(timer);
            }
            Effect::Launch {
                id,
                workload,
                token,
            } => {
                let launch = self.launches.begin(self, id, &workload, token);
                self.with_launcher(|launcher| launcher.start(*workload, launch));
            }
            Effect::Kill { launch } => self.launches.kill(launch),
            Effect::Clean(cleaning) => self.with_launcher(|launcher| launcher.clean(cleaning)),
            Effect::RemoveFolder { folder } => {
                self.with_launcher(|launcher| launcher.remove_folder(folder));
            }
            // `carry_out` sees to them.
            Effect::Persist(_) | Effect::WhenDurable { .. } => return Some(effect),
            Effect::Contend => self.election.contend(),
            Effect::Resign => self.election.resign(),
            Effect::StopSelf => {
                self.outgoing.unregister(self);
                let (done, _nobody_waits) = tokio::sync::oneshot::channel();
                self.control(Control::Stop(done));
            }
        }
        None
    }

    fn send(
        &self,
        room: Option<Room>,
        to: EndpointAddress,
        message: crate::message::Message,
    ) -> Option<Effect> {
        let room = match room {
            Some(room) => Ok(room),
            None => self.outgoing.reserve(&to),
        };
        let what = || format!("{} to {to}", message.kind);
        match room {
            Ok(room) => {
                let what = what();
                if let Err(error) = room.fill(&to, message) {
                    self.dead_letter(&what, &error);
                }
                None
            }
            Err(RpcError::InboxFull { .. } | RpcError::OutboxFull { .. }) => Some(Effect::Send {
                room: None,
                to,
                message,
            }),
            Err(error) => {
                self.dead_letter(&what(), &error);
                None
            }
        }
    }

    /// Without a launcher the host has stopped, and what it would run with it.
    pub(super) fn with_launcher(&self, act: impl FnOnce(&dyn Launcher)) {
        match self.outgoing.launcher() {
            Ok(launcher) => act(&*launcher),
            Err(error) => tracing::warn!(endpoint = self.name(), %error, "nothing is launched"),
        }
    }

    /// Takes the outcome of an ask back to this endpoint.
    fn responder(self: &Arc<Self>, ask: u64, to: &EndpointAddress) -> Responder {
        let asker = Arc::downgrade(self);
        Responder::new(move |outcome| {
            if let Some(asker) = asker.upgrade() {
                asker.notify(Notice::Answered { ask, outcome });
            }
        })
        .or_else(RpcError::Unanswered {
            endpoint: to.name.clone(),
        })
    }
}
