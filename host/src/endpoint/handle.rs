//! Handle: what everybody else holds of an endpoint. Shared with its runner.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::clock::{EndpointClock, PauseClock};
use super::history::History;
use super::inbox::{Inbox, inbox};
use super::ledger::Ledger;
use super::metrics::Metrics;
use super::outgoing::Outgoing;
use super::record::{SwapRecord, VersionId};
use super::runner::Runner;
use super::settings::EndpointSettings;
use super::status::{EndpointState, EndpointStatus};
use super::surroundings::EndpointSurroundings;
use super::swap::{SwapError, SwapRequest};
use crate::address::EndpointAddress;
use crate::component::code::{Code, LoadError};
use crate::component::engine::Engine;
use crate::component::instance::{self, Prepared};
use crate::component::limiter::Used;
use crate::component::metadata::Metadata;
use crate::error::RpcError;
use crate::log_budget::LogBudget;
use crate::responder::Outcome;

/// An endpoint, as others hold it.
pub(crate) struct Endpoint {
    pub(super) address: EndpointAddress,
    pub(super) inbox: Inbox,
    pub(super) engine: Engine,
    pub(super) outgoing: Arc<dyn Outgoing>,
    pub(super) running: ArcSwap<Running>,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) clock: EndpointClock,
    pub(super) metrics: Mutex<Metrics>,
    pub(super) history: Mutex<History>,
    pub(super) state: Mutex<EndpointState>,
    pub(super) counters: Counters,
    /// Somebody wants the endpoint at a message boundary.
    pub(super) interrupt: AtomicBool,
    notices: mpsc::UnboundedSender<Notice>,
    control: mpsc::UnboundedSender<Control>,
    /// One try to replace the code at a time.
    pub(super) swapping: tokio::sync::Mutex<()>,
    started: Instant,
}

/// The code that runs, and under which settings.
pub(crate) struct Running {
    pub(crate) id: VersionId,
    pub(crate) code: Code,
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) settings: Arc<EndpointSettings>,
    pub(crate) config: Arc<BTreeMap<String, String>>,
    /// The kinds that it answers.
    answers: Arc<HashSet<String>>,
    used: Arc<Used>,
}

/// Numbers that only grow.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) turns: AtomicU64,
    pub(super) crashes: AtomicU64,
    pub(super) dead_letters: Mutex<BTreeMap<String, u64>>,
    dead_letter_lines: LogBudget,
}

/// Something that reaches the endpoint beside its inbox. Bounded by what the endpoint itself asked
/// for (open asks) and by the connections of the host.
#[derive(Debug)]
pub(crate) enum Notice {
    /// The outcome of an ask.
    Answered {
        /// The ask.
        ask: u64,
        /// What came back.
        outcome: Outcome,
    },
    /// A connection came up.
    Connected(String),
    /// A connection went down.
    Disconnected(String),
    /// A connection broke.
    NetworkError {
        /// The peer.
        address: String,
        /// What happened.
        cause: String,
    },
}

/// Something that passes every queue.
pub(super) enum Control {
    Swap(Box<SwapRequest>),
    Restart(oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
}

/// A lock that a panic elsewhere does not take with it: the data behind each is whole between
/// any two statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    pub(super) fn new(code: &Code, prepared: &Prepared, settings: EndpointSettings) -> Self {
        let metadata = Arc::clone(prepared.instance.metadata());
        let answered = metadata.handles.iter().filter(|h| h.reply.is_some());
        let answers = answered
            .map(|handler| handler.request.kind.clone())
            .collect();
        Self {
            answers: Arc::new(answers),
            id: VersionId {
                version: metadata.version.clone(),
                digest: code.digest().to_owned(),
            },
            code: code.clone(),
            metadata,
            config: Arc::new(settings.config.clone()),
            settings: Arc::new(settings),
            used: prepared.instance.used(),
        }
    }

    /// True where this version answers calls of this kind.
    pub(super) fn answers(&self, kind: &str) -> bool {
        self.answers.contains(kind)
    }

    /// The same code in another instance.
    fn with_used(&self, used: Arc<Used>) -> Self {
        Self {
            id: self.id.clone(),
            code: self.code.clone(),
            metadata: Arc::clone(&self.metadata),
            settings: Arc::clone(&self.settings),
            config: Arc::clone(&self.config),
            answers: Arc::clone(&self.answers),
            used,
        }
    }
}

impl Endpoint {
    /// Makes an endpoint from code: loads it, instantiates it, reads its metadata. It handles
    /// nothing until [`Starter::run`].
    ///
    /// # Errors
    /// [`LoadError`]: the code cannot stand behind an endpoint.
    pub(crate) async fn prepare(
        address: EndpointAddress,
        code: &Code,
        settings: EndpointSettings,
        engine: &Engine,
        outgoing: Arc<dyn Outgoing>,
    ) -> Result<(Arc<Self>, Starter), LoadError> {
        let (inbox, queue) = inbox(&address.name, &settings.limits);
        let (notices, notice_queue) = mpsc::unbounded_channel();
        let (control, control_queue) = mpsc::unbounded_channel();
        // The code wants to see its surroundings before there is an endpoint: they are filled in
        // when there is one.
        let surroundings = Arc::new(EndpointSurroundings::default());
        let prepared = {
            let surroundings = Arc::clone(&surroundings) as _;
            instance::prepare(engine, code, &settings, surroundings).await?
        };
        let running = Running::new(code, &prepared, settings);
        let mut history = History::default();
        history.runs(running.id.clone(), code.clone());
        let endpoint = Arc::new(Self {
            address,
            inbox,
            engine: engine.clone(),
            outgoing,
            running: ArcSwap::from_pointee(running),
            ledger: Mutex::default(),
            clock: EndpointClock::start(),
            metrics: Mutex::default(),
            history: Mutex::new(history),
            state: Mutex::new(EndpointState::Running),
            counters: Counters::default(),
            interrupt: AtomicBool::new(false),
            notices,
            control,
            swapping: tokio::sync::Mutex::default(),
            started: Instant::now(),
        });
        surroundings.fill(&endpoint);
        let runner = Runner::new(
            Arc::clone(&endpoint),
            prepared.instance,
            queue,
            notice_queue,
            control_queue,
        );
        Ok((endpoint, Starter { runner }))
    }

    pub(crate) fn name(&self) -> &str {
        &self.address.name
    }

    pub(crate) fn address(&self) -> &EndpointAddress {
        &self.address
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// How long it stood still, for those who wait for it.
    pub(crate) fn pauses(&self) -> &Arc<PauseClock> {
        self.clock.pauses()
    }

    pub(crate) fn running(&self) -> Arc<Running> {
        self.running.load_full()
    }

    /// Tells the endpoint something that is no message. What comes after its end is dropped: the
    /// asks that an answer could belong to ended with it.
    pub(crate) fn notify(&self, notice: Notice) {
        let _ = self.notices.send(notice);
    }

    /// Notes what the instance uses that counts from now on.
    pub(super) fn note_used(&self, used: Arc<Used>) {
        let running = self.running.load().with_used(used);
        self.running.store(Arc::new(running));
    }

    pub(super) fn control(&self, control: Control) -> bool {
        self.interrupt.store(true, Ordering::Release);
        self.control.send(control).is_ok()
    }

    /// Counts a message that could not be handled, and says so in the log unless there are too many.
    pub(super) fn dead_letter(&self, what: &str, reason: &RpcError) {
        let lines = &self.counters.dead_letter_lines;
        if let Some(left_out) = lines.line(std::time::Instant::now()) {
            tracing::warn!(endpoint = self.name(), what, %reason, left_out, "dead letter");
        }
        let mut letters = lock(&self.counters.dead_letters);
        *letters.entry(reason.code().to_owned()).or_default() += 1;
    }

    /// Stops the endpoint after what is queued: `on-stop` is its last event. Waits for it. Its name
    /// must have been taken away before.
    ///
    /// # Cancellation
    /// Dropping the future does not stop the stopping.
    pub(crate) async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.control(Control::Stop(done)) {
            // An error means that the runner ended while we asked: stopped as well.
            let _ = stopped.await;
        }
    }

    /// Replaces the instance with a fresh one of the same code: state, asks and timers are gone,
    /// open calls are failed, queued messages stay. Revives an endpoint that failed.
    ///
    /// # Errors
    /// [`RpcError::Stopped`].
    pub(crate) async fn restart(&self) -> Result<(), RpcError> {
        let (done, restarted) = oneshot::channel();
        if !self.control(Control::Restart(done)) {
            return Err(self.inbox.stopped());
        }
        restarted.await.map_err(|_ended| self.inbox.stopped())
    }

    /// Replaces the code; see [`super::swap`].
    pub(crate) async fn swap(
        self: &Arc<Self>,
        code: &Code,
        settings: Option<EndpointSettings>,
        by: &str,
    ) -> Result<SwapRecord, SwapError> {
        super::swap::swap(self, code, settings, by).await
    }

    /// The code of an earlier version that is kept.
    pub(crate) fn earlier(&self, version: Option<&str>) -> Option<Code> {
        lock(&self.history).earlier(version)
    }

    pub(crate) fn versions(&self) -> Vec<VersionId> {
        lock(&self.history).versions()
    }

    pub(crate) fn records(&self) -> Vec<SwapRecord> {
        lock(&self.history).records()
    }

    pub(crate) fn status(&self) -> EndpointStatus {
        let running = self.running.load();
        let counts = lock(&self.ledger).counts();
        let (used, limits) = (&running.used, &running.settings.limits);
        EndpointStatus {
            name: self.name().to_owned(),
            uri: self.address.to_string(),
            state: lock(&self.state).clone(),
            code: running.id.clone(),
            up: self.started.elapsed(),
            inbox: self.inbox.waiting(),
            inbox_limit: self.inbox.capacity(),
            memory_bytes: used.memory_bytes(),
            memory_limit_bytes: limits.memory_bytes,
            table_elements: used.table_elements(),
            table_elements_limit: limits.table_elements,
            core_instances: used.core_instances(),
            core_instances_limit: limits.core_instances,
            message_bytes: self.inbox.largest_message(),
            message_bytes_limit: limits.message_bytes,
            longest_turn: used.longest_turn(),
            turn_limit: limits.turn,
            open_calls: counts.calls,
            open_calls_limit: limits.open_calls,
            open_asks: counts.asks,
            open_asks_limit: limits.open_asks,
            timers: counts.timers,
            timers_limit: limits.timers,
            turns: self.counters.turns.load(Ordering::Relaxed),
            swaps: lock(&self.history).swapped(),
            crashes: self.counters.crashes.load(Ordering::Relaxed),
            dead_letters: lock(&self.counters.dead_letters).clone(),
            metrics: lock(&self.metrics).read(),
        }
    }
}

/// An endpoint that is ready to run.
pub(crate) struct Starter {
    runner: Runner,
}

impl Starter {
    /// Starts the endpoint: `on-start` is its first event. `tasks` waits for its end.
    pub(crate) fn run(self, tasks: &TaskTracker) {
        tasks.spawn(self.runner.run());
    }
}
