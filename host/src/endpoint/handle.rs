//! Handle: what everybody else holds of an endpoint. Shared with its runner.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::history::History;
use super::inbox::{Inbox, inbox};
use super::launches::Launches;
use super::leading::Election;
use super::ledger::Ledger;
use super::metrics::Metrics;
use super::outgoing::Outgoing;
use super::record::{SwapRecord, VersionId};
use super::runner::Runner;
use super::settings::EndpointSettings;
use super::status::{EndpointState, EndpointStatus, OnProbation};
use super::surroundings::EndpointSurroundings;
use super::swap::SwapRequest;
use super::swap::approval::Held;
use crate::address::EndpointAddress;
use crate::clock::{EndpointClock, PauseClock};
use crate::component::code::{Code, LoadError};
use crate::component::engine::Engine;
use crate::component::entries::EntryFormats;
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
    pub(super) launches: Launches,
    pub(super) election: Election,
    pub(super) clock: EndpointClock,
    pub(super) metrics: Mutex<Metrics>,
    pub(super) history: Mutex<History>,
    pub(super) state: Mutex<EndpointState>,
    /// Kinds of messages that some version of it was granted to handle.
    pub(super) known_kinds: Mutex<BTreeSet<String>>,
    /// A version that waits for approval.
    pub(super) held: Mutex<Option<Held>>,
    shown: Mutex<Shown>,
    pub(super) counters: Counters,
    /// How it ended, when it has.
    ended: watch::Sender<Option<End>>,
    /// Somebody wants the endpoint at a message boundary.
    pub(super) interrupt: AtomicBool,
    notices: mpsc::UnboundedSender<Notice>,
    /// Peers of which a network error is among the notices. However often a peer is tried in vain, an
    /// endpoint that is busy meanwhile is told once.
    out_of_reach: Mutex<HashSet<String>>,
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
    /// The kinds that it answers.
    answers: Arc<HashSet<String>>,
    /// In which formats it keeps what it persists, if it says so.
    pub(crate) entries: Option<EntryFormats>,
    /// It can stand for election.
    pub(super) can_lead: bool,
    used: Arc<Used>,
}

/// What only the runner knows and everybody may see.
#[derive(Default)]
pub(super) struct Shown {
    pub(super) probation: Option<OnProbation>,
    /// When the last copy of the state was made, in the endpoint's own time.
    pub(super) checkpoint: Option<Duration>,
}

/// Numbers that only grow.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) turns: AtomicU64,
    pub(super) crashes: AtomicU64,
    pub(super) dead_letters: Mutex<BTreeMap<String, u64>>,
    dead_letter_lines: LogBudget,
}

impl Counters {
    pub(super) fn crashed(&self) {
        self.crashes.fetch_add(1, Ordering::Relaxed);
    }
}

/// Something that reaches the endpoint beside its inbox. Bounded by what the endpoint itself asked
/// for (open asks), by the connections of the host, and by the peers that are out of reach.
#[derive(Debug)]
pub(crate) enum Notice {
    /// The outcome of an ask.
    Answered {
        /// The ask.
        ask: u64,
        /// What came back.
        outcome: Outcome,
    },
    /// The running version said whether it is well.
    Health {
        /// The call that asked it.
        call: u64,
        /// What it said.
        outcome: Outcome,
    },
    /// Something went wrong for which nobody else is to be told.
    Failed(RpcError),
    /// A connection came up.
    Connected(String),
    /// A connection went down.
    Disconnected(String),
    /// A connection broke, or could not be made.
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
    /// The time to stop is over.
    StopNow,
}

/// How an endpoint ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was stopped, by itself or by somebody.
    Stopped,
    /// It crashed, and was to end with that.
    Crashed {
        /// Panic text or trap.
        reason: String,
        /// It met a limit.
        limit: bool,
    },
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
            settings: Arc::new(settings),
            entries: prepared.instance.entries().cloned(),
            can_lead: prepared.instance.can_lead(),
            used: prepared.instance.used(),
        }
    }

    /// A version that was never loaded, for tests of what only passes versions on.
    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        let code = Code::from_bytes(vec![1]);
        let id = VersionId {
            version: "1.0.0".to_owned(),
            digest: code.digest().to_owned(),
        };
        let state = crate::component::metadata::StateSupport {
            version: 1,
            reads: vec![1],
            writes: vec![1],
        };
        let metadata = Metadata {
            name: "t".to_owned(),
            version: id.version.clone(),
            about: String::new(),
            state,
            rights: Vec::new(),
            handles: Vec::new(),
            built_with: String::new(),
        };
        Self {
            id,
            code,
            metadata: Arc::new(metadata),
            settings: Arc::default(),
            answers: Arc::default(),
            entries: None,
            can_lead: false,
            used: Arc::default(),
        }
    }

    /// True where this version answers calls of this kind.
    pub(super) fn answers(&self, kind: &str) -> bool {
        self.answers.contains(kind)
    }

    /// Ends the running turn of this instance.
    pub(super) fn kill(&self) {
        self.used.kill();
    }

    /// Linear memory of the instance, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.used.memory_bytes()
    }

    /// The same code in another instance.
    pub(super) fn with_used(&self, used: Arc<Used>) -> Self {
        Self {
            id: self.id.clone(),
            code: self.code.clone(),
            metadata: Arc::clone(&self.metadata),
            settings: Arc::clone(&self.settings),
            answers: Arc::clone(&self.answers),
            entries: self.entries.clone(),
            can_lead: self.can_lead,
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
        let surroundings = Arc::new(EndpointSurroundings::empty(&settings));
        let prepared = {
            let surroundings = Arc::clone(&surroundings) as _;
            instance::prepare(engine, code, &settings, surroundings).await?
        };
        let running = Running::new(code, &prepared, settings);
        let mut history = History::default();
        history.runs(running.id.clone(), code.clone());
        let kinds = running
            .metadata
            .handles
            .iter()
            .map(|h| h.request.kind.clone());
        let known_kinds = Mutex::new(kinds.collect());
        let endpoint = Arc::new(Self {
            address,
            inbox,
            engine: engine.clone(),
            outgoing,
            running: ArcSwap::from_pointee(running),
            ledger: Mutex::default(),
            launches: Launches::default(),
            election: Election::default(),
            clock: EndpointClock::start(),
            metrics: Mutex::default(),
            history: Mutex::new(history),
            state: Mutex::new(EndpointState::Running),
            known_kinds,
            held: Mutex::default(),
            shown: Mutex::default(),
            counters: Counters::default(),
            ended: watch::Sender::default(),
            interrupt: AtomicBool::new(false),
            notices,
            out_of_reach: Mutex::default(),
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

    /// How long it stood still, for those who wait for it.
    pub(crate) fn pauses(&self) -> &Arc<PauseClock> {
        self.clock.pauses()
    }

    /// Changes what everybody may see of what the runner knows.
    pub(super) fn shown(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut lock(&self.shown));
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    pub(crate) fn running(&self) -> Arc<Running> {
        self.running.load_full()
    }

    /// Tells the endpoint something that is no message. What comes after its end is dropped: the
    /// asks that an answer could belong to ended with it.
    pub(crate) fn notify(&self, notice: Notice) {
        if let Notice::NetworkError { address, .. } = &notice
            && !lock(&self.out_of_reach).insert(address.clone())
        {
            return;
        }
        let _ = self.notices.send(notice);
    }

    /// A network error is among the notices no longer.
    pub(super) fn tells_of(&self, address: &str) {
        lock(&self.out_of_reach).remove(address);
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

    /// Notes how it ended. The first end is the one that counts.
    pub(super) fn note_end(&self, end: End) {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some(end);
            }
            first
        });
    }

    /// Waits until it has ended.
    ///
    /// # Cancellation
    /// Safe.
    pub(crate) async fn ended(&self) -> End {
        let mut ended = self.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(End::Stopped),
            Err(_gone) => End::Stopped,
        }
    }

    /// Ends an endpoint that is stopping at once: the running turn, as if its time were over, and the
    /// wait for room of what it sent.
    pub(crate) fn end_by_force(&self) {
        self.running.load().kill();
        // It may have ended meanwhile.
        let _ = self.control(Control::StopNow);
    }

    /// The version that waits for approval: its code, and the settings that grant what it wants.
    pub(crate) fn held(&self) -> Option<(Code, EndpointSettings)> {
        lock(&self.held).as_ref().map(Held::granted)
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
        let (probation, checkpoint) = {
            let shown = lock(&self.shown);
            (shown.probation.clone(), shown.checkpoint)
        };
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
            held: lock(&self.held).as_ref().map(Held::version),
            probation,
            election: self.election.status(&self.address.to_string(), &running),
            checkpoint_age: checkpoint.map(|at| self.clock.now().saturating_sub(at)),
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
