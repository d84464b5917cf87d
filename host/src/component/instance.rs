//! Instance: a store and what runs in it. One call goes in, one outcome comes out.
//!
//! Invariants
//! 1. At most one call is under way; `&mut self` sees to it.
//! 2. After a crash or a dropped call the instance is spoilt: it is dropped, never called again.
//! 3. The effects of a turn are handed on when the turn ended well, and never otherwise.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentType, Func, Lift, ResourceTable, TypedFunc,
};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::bindings::{PluginWithEverything, PluginWithEverythingIndices};
use super::channels::{ChannelSource, Channels};
use super::code::{Code, LoadError};
use super::convert;
use super::effect::Effect;
use super::engine::{Engine, Loaded, TICK};
use super::entries::EntryFormats;
use super::event::{Event, GuestEvent};
use super::limiter::{self, Limiter, Used};
use super::metadata::Metadata;
use super::output::Output;
use super::rights;
use super::surroundings::{LogLevel, LogLine, Surroundings};
use super::throttle::Throttle;
use crate::endpoint::settings::EndpointSettings;
use crate::error::RpcError;
use crate::store::Writes;
use crate::store::limits::TURN_BYTES_MAX;
use crate::transport::{BoxFuture, FileBytes, FileRange};

/// Ticks for which `snapshot`, `restore` and `describe` keep their thread.
const HURRIED_TICKS: u64 = 20;

/// What runs, and what it said of itself.
pub(crate) struct Instance {
    store: Store<HostState>,
    plugin: PluginWithEverything,
    /// `handle`, checked to be of the type that [`typed_handle`] gives it.
    handle: Func,
    metadata: Arc<Metadata>,
    entries: Option<EntryFormats>,
    leads: bool,
    turn_limit: Duration,
    restore_limit: Duration,
}

/// What wasmtime keeps for an instance.
pub(crate) struct HostState {
    pub(super) surroundings: Arc<dyn Surroundings>,
    /// Of the turn in work.
    pub(super) effects: VecDeque<Effect>,
    /// What the turn in work wants to be durable.
    pub(super) writes: Writes,
    /// Of turns that ended well; the first waits for the disk.
    held: VecDeque<Effect>,
    /// Bytes of what was written in this batch.
    written: usize,
    pub(super) channels: Channels,
    pub(super) turn: Turn,
    version: Arc<std::sync::OnceLock<String>>,
    ticks: Arc<AtomicU64>,
    limiter: Limiter,
    throttle: Option<Throttle>,
    made: tokio::time::Instant,
    output: Output,
    wasi: WasiCtx,
    table: ResourceTable,
}

/// Where in its batch the guest is.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Elements of the batch.
    pub(super) len: u32,
    /// The element in work. None before the first `begin`, and outside of `handle`.
    pub(super) index: Option<u32>,
    /// The guest was told to return.
    pub(super) stopped: bool,
    /// Tick at which the turn began.
    began: u64,
    /// Ticks that it may take.
    limit: u64,
    /// The turn took longer.
    overran: bool,
}

/// How a batch ended well.
#[derive(Debug)]
pub(crate) struct Handled {
    /// Elements that were handled, from the first.
    pub(crate) done: usize,
    /// Continuations that a snapshot could not carry.
    pub(crate) volatile: u32,
    /// Effects that have to wait.
    pub(crate) blocked: VecDeque<Effect>,
}

/// How a batch ended badly. The instance is spoilt.
#[derive(Debug)]
pub(crate) struct Crash {
    /// Elements that were handled before, from the first.
    pub(crate) done: usize,
    /// Panic text or trap.
    pub(crate) reason: String,
    /// It met a limit: it asked for more than one gives, or its turn took too long.
    pub(crate) limit: bool,
    /// Effects of earlier turns that have to wait.
    pub(crate) blocked: VecDeque<Effect>,
}

impl Crash {
    /// The instance was lost while it handled no event.
    pub(crate) fn between_turns(reason: String) -> Self {
        Self {
            done: 0,
            reason,
            limit: false,
            blocked: VecDeque::new(),
        }
    }
}

impl Instance {
    /// Instantiates code aside, lets it describe itself, and checks its rights. Nothing of what
    /// runs is touched.
    ///
    /// # Errors
    /// [`LoadError`] says which step failed and why.
    ///
    /// # Cancellation
    /// Dropping the future drops the instance.
    pub(crate) async fn aside(
        engine: &Engine,
        code: &Code,
        loaded: Loaded,
        settings: &EndpointSettings,
        surroundings: Arc<dyn Surroundings>,
    ) -> Result<Self, LoadError> {
        rights::check(&loaded.rights, &[], &settings.grants)?;
        let leads = loaded.rights.iter().any(|needed| needed.right == "lead");
        let limits = &settings.limits;
        let wrong_world = |error: wasmtime::Error| LoadError::WrongWorld {
            reason: format!("{error:#}"),
        };
        let formats = formats_of(loaded.pre.component());
        let indices = PluginWithEverythingIndices::new(&loaded.pre).map_err(wrong_world)?;
        let state = HostState::new(engine, surroundings, settings);
        let mut store = Store::new(engine.wasmtime(), state);
        store.limiter(|state| &mut state.limiter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut context| {
            let state = context.data_mut();
            if state.turn_is_killed() || state.turn_is_too_long() {
                state.turn.overran = true;
                return Ok(UpdateDeadline::Interrupt);
            }
            if state.is_hurried() {
                return Ok(UpdateDeadline::Continue(1));
            }
            Ok(match state.pause() {
                Some(pause) => UpdateDeadline::YieldCustom(1, Box::pin(tokio::time::sleep(pause))),
                None => UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())),
            })
        });
        store.data_mut().start_clock(limits.restore);
        let made = match loaded.pre.instantiate_async(&mut store).await {
            Ok(made) => made,
            Err(error) => {
                let text = format!("{error:#}");
                return Err(if text.contains("concurrent") && text.contains("limit") {
                    LoadError::NoRoom { reason: text }
                } else {
                    LoadError::Broken {
                        phase: "instantiate",
                        reason: reason(store.data(), &error),
                    }
                });
            }
        };
        let plugin = indices.load(&mut store, &made).map_err(wrong_world)?;
        let used = store.data().limiter.used();
        used.note_core_instances(limiter::core_instances(code.bytes()));
        let guest = plugin.instar_endpoint_endpoint();
        let handle = *guest.func_handle().func();
        let checked = handle.typed::<(&[GuestEvent<'_>],), (u32,)>(&store);
        checked.map_err(|error| LoadError::WrongWorld {
            reason: format!("the export `handle`: {error:#}"),
        })?;
        let described = guest.call_describe(&mut store).await;
        let metadata = described.map_err(|error| LoadError::Broken {
            phase: "describe",
            reason: reason(store.data(), &error),
        })?;
        let metadata = convert::metadata_in(metadata);
        metadata
            .check()
            .map_err(|reason| LoadError::BadMetadata { reason })?;
        rights::check(&[], &metadata.rights, &settings.grants)?;
        let entries = match formats {
            Some(formats) => entries(&mut store, &made, formats).await?,
            None => None,
        };
        // Set once: what describes itself differently later does not rename its log lines.
        let _ = store.data().version.set(metadata.version.clone());
        tracing::debug!(
            digest = code.digest(),
            version = metadata.version,
            "instantiated"
        );
        Ok(Self {
            store,
            plugin,
            handle,
            metadata: Arc::new(metadata),
            entries,
            leads,
            turn_limit: limits.turn,
            restore_limit: limits.restore,
        })
    }

    /// What it said of itself.
    pub(crate) fn metadata(&self) -> &Arc<Metadata> {
        &self.metadata
    }

    /// In which formats it keeps what it persists, if it said so.
    pub(crate) fn entries(&self) -> Option<&EntryFormats> {
        self.entries.as_ref()
    }

    /// True where it can stand for election.
    pub(crate) fn can_lead(&self) -> bool {
        self.leads
    }

    /// What it uses of its limits.
    pub(crate) fn used(&self) -> Arc<Used> {
        Arc::clone(self.store.data().limiter.used())
    }

    /// Delivers a batch. Effects of turns that ended well are handed to the surroundings as they end.
    ///
    /// # Cancellation
    /// Dropping the future spoils the instance.
    pub(crate) async fn handle(&mut self, events: &[Event]) -> Result<Handled, Crash> {
        let lowered: Vec<GuestEvent<'_>> = events.iter().map(GuestEvent::from).collect();
        let state = self.store.data_mut();
        state.begin_batch(events.len(), self.turn_limit);
        if state.throttle.is_some() {
            // The time in which it had nothing to do is none that it ran.
            self.store.set_epoch_deadline(1);
        }
        let returned = self.handle_raw(&lowered).await;
        let state = self.store.data_mut();
        state.note_turn();
        let turn = std::mem::take(&mut state.turn);
        match returned {
            Ok(_) if turn.returned_early() => {
                let done = turn.done();
                let blocked = std::mem::take(&mut state.held);
                Err(Crash {
                    done,
                    reason: format!(
                        "returned from `handle` at element {done} of {} without being told to",
                        events.len()
                    ),
                    limit: false,
                    blocked,
                })
            }
            Ok(volatile) => {
                // A guest that never said where it is handled the batch as one turn.
                let done = if turn.stopped {
                    turn.done()
                } else {
                    events.len()
                };
                if !turn.stopped {
                    state.commit();
                }
                Ok(Handled {
                    done,
                    volatile,
                    blocked: state.take_ended(),
                })
            }
            Err(error) => {
                // A turn that traps has no effects. When the guest was told to return, what is left
                // belongs to turns that ended well.
                if !turn.stopped {
                    state.effects.clear();
                }
                let blocked = state.take_ended();
                let done = turn.done();
                let killed = state.limiter.used().is_killed();
                let limit = match turn.overran {
                    true => !killed,
                    false => state.limiter.refused().is_some(),
                };
                let reason = match turn.overran {
                    true if killed => KILLED.to_owned(),
                    true => overran("the turn", self.turn_limit, "turn"),
                    false => reason(state, &error),
                };
                Err(Crash {
                    done,
                    reason,
                    limit,
                    blocked,
                })
            }
        }
    }

    async fn handle_raw(&mut self, events: &[GuestEvent<'_>]) -> wasmtime::Result<u32> {
        let handle = typed_handle(self.handle);
        let (volatile,) = handle.call_async(&mut self.store, (events,)).await?;
        Ok(volatile)
    }

    /// Writes the state in `version`.
    ///
    /// # Errors
    /// Why there is no state; `Err(Crash)` inside where the instance is spoilt by it.
    pub(crate) async fn snapshot(&mut self, version: u32) -> Result<Bytes, StateError> {
        self.store.data_mut().start_clock(self.restore_limit);
        let guest = self.plugin.instar_endpoint_endpoint();
        let written = guest.call_snapshot(&mut self.store, version).await;
        match written {
            Ok(Ok(state)) => Ok(Bytes::from(state)),
            Ok(Err(text)) => Err(StateError::Refused(text)),
            Err(error) => Err(StateError::Crashed(self.crash_reason("`snapshot`", &error))),
        }
    }

    /// Takes over state that was written in `version`. What it does besides takes effect with
    /// [`Instance::commit`].
    pub(crate) async fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), StateError> {
        self.store.data_mut().start_clock(self.restore_limit);
        let limit = self.store.data().limiter.memory_limit();
        if state.len() > limit {
            return Err(StateError::Refused(format!(
                "the state has {} bytes, more than the memory limit of {limit}",
                state.len()
            )));
        }
        let guest = self.plugin.instar_endpoint_endpoint();
        let taken = guest.call_restore(&mut self.store, version, state).await;
        match taken {
            Ok(Ok(())) => Ok(()),
            Ok(Err(text)) => Err(StateError::Refused(text)),
            Err(error) => Err(StateError::Crashed(self.crash_reason("`restore`", &error))),
        }
    }

    /// Asks for the metadata once more: the proof that this version answers.
    pub(crate) async fn probe(&mut self) -> Result<(), String> {
        self.store.data_mut().start_clock(self.restore_limit);
        let guest = self.plugin.instar_endpoint_endpoint();
        match guest.call_describe(&mut self.store).await {
            Ok(metadata) if metadata.version == self.metadata.version => Ok(()),
            Ok(metadata) => Err(format!(
                "the probe was answered by version {}, expected {}",
                metadata.version, self.metadata.version
            )),
            Err(error) => Err(self.crash_reason("the probe", &error)),
        }
    }

    /// Hands on the effects that are kept, those of `restore` for example. What has to wait is returned.
    pub(crate) fn commit(&mut self) -> VecDeque<Effect> {
        let state = self.store.data_mut();
        state.commit();
        state.take_ended()
    }

    fn crash_reason(&self, what: &str, error: &wasmtime::Error) -> String {
        match self.store.data().turn.overran {
            true => overran(what, self.restore_limit, "restore"),
            false => reason(self.store.data(), error),
        }
    }
}

/// The optional export of `wit/entries.wit`.
const ENTRIES: &str = "instar:endpoint/entries@0.1.0";

/// Its function, in a component that has it.
fn formats_of(component: &Component) -> Option<ComponentExportIndex> {
    let entries = component.get_export_index(None, ENTRIES)?;
    component.get_export_index(Some(&entries), "formats")
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct GuestFormats {
    writes: u32,
    reads: Vec<u32>,
}

/// What it says of the formats of its entries.
async fn entries(
    store: &mut Store<HostState>,
    made: &wasmtime::component::Instance,
    formats: ComponentExportIndex,
) -> Result<Option<EntryFormats>, LoadError> {
    let formats = made
        .get_typed_func::<(), (Option<GuestFormats>,)>(&mut *store, formats)
        .map_err(|error| LoadError::WrongWorld {
            reason: format!("the export `{ENTRIES}`: {error:#}"),
        })?;
    let said = formats.call_async(&mut *store, ()).await;
    let (said,) = said.map_err(|error| LoadError::Broken {
        phase: "formats",
        reason: reason(store.data(), &error),
    })?;
    let entries = said.map(|said| EntryFormats {
        writes: said.writes,
        reads: said.reads,
    });
    if let Some(entries) = &entries {
        entries
            .check()
            .map_err(|reason| LoadError::BadMetadata { reason })?;
    }
    Ok(entries)
}

/// Why state could not be written or taken over.
#[derive(Debug)]
pub(crate) enum StateError {
    /// The guest said no; it can go on.
    Refused(String),
    /// The instance is spoilt.
    Crashed(String),
}

const KILLED: &str = "the turn was ended for a forced swap";

fn overran(what: &str, limit: Duration, setting: &str) -> String {
    format!("{what} took longer than {limit:?} (limit `{setting}`)")
}

/// The guest's own last words if there are any, and what wasmtime says.
fn reason(state: &HostState, error: &wasmtime::Error) -> String {
    let last_words = state.output.take_tail();
    let trap = error.root_cause().to_string();
    if let Some(limit) = state.limiter.too_many(&trap) {
        return limit;
    }
    let said = said(&last_words, trap);
    match state.limiter.refused() {
        Some(refused) => format!("{said}; {refused}"),
        None => said,
    }
}

pub(super) fn said(last_words: &str, trap: String) -> String {
    let last_words = last_words.trim();
    if last_words.is_empty() {
        return trap;
    }
    // Rust's hint about backtraces helps nobody here.
    let useful: Vec<&str> = last_words
        .lines()
        .filter(|line| !line.starts_with("note: "))
        .filter(|line| !line.trim().is_empty())
        .collect();
    match trap.contains("unreachable") {
        true => useful.join(" "),
        false => format!("{} ({trap})", useful.join(" ")),
    }
}

/// `handle` with its types. The lifetime is that of one batch, which is why it is not kept.
fn typed_handle<'a>(handle: Func) -> TypedFunc<(&'a [GuestEvent<'a>],), (u32,)> {
    // SAFETY: `Instance::aside` checked this very function against this very type, but for the
    // lifetime, which has no part in the layout. Checking it for each batch costs a walk of the type.
    unsafe { TypedFunc::new_unchecked(handle) }
}

impl Turn {
    /// Elements that were handled to their end.
    fn done(&self) -> usize {
        match self.index {
            None => 0,
            Some(index) => index as usize + usize::from(self.stopped),
        }
    }

    /// The guest said where it is, and left before the last element without being told.
    fn returned_early(&self) -> bool {
        let last = self.len.saturating_sub(1);
        !self.stopped && self.index.is_some_and(|index| index < last)
    }
}

impl HostState {
    fn new(
        engine: &Engine,
        surroundings: Arc<dyn Surroundings>,
        settings: &EndpointSettings,
    ) -> Self {
        let limits = &settings.limits;
        let version = Arc::new(std::sync::OnceLock::new());
        let output = {
            let (surroundings, version) = (Arc::clone(&surroundings), Arc::clone(&version));
            Output::new(Arc::new(move |is_err, text| {
                let (level, target) = match is_err {
                    true => (LogLevel::Warn, "stderr"),
                    false => (LogLevel::Info, "stdout"),
                };
                let line = LogLine {
                    level,
                    target,
                    text,
                    fields: &[],
                };
                surroundings.log(version.get().map_or("", String::as_str), line);
            }))
            .into_files(settings.output.clone())
        };
        let wasi = WasiCtxBuilder::new()
            .stdout(output.stream(false))
            .stderr(output.stream(true))
            .build();
        let source = Arc::new(FromSurroundings(Arc::clone(&surroundings)));
        let channels = Channels::new(source, limits.channels);
        Self {
            surroundings,
            effects: VecDeque::new(),
            writes: Writes::default(),
            held: VecDeque::new(),
            written: 0,
            channels,
            turn: Turn::default(),
            version,
            ticks: Arc::clone(engine.ticks()),
            limiter: Limiter::new(limits),
            throttle: Throttle::new(limits.cpu_percent),
            made: tokio::time::Instant::now(),
            output,
            wasi,
            table: limiter::resource_table(),
        }
    }

    pub(super) fn version(&self) -> &str {
        self.version.get().map_or("", String::as_str)
    }

    fn begin_batch(&mut self, len: usize, limit: Duration) {
        self.written = 0;
        self.turn = Turn {
            // Batches are far smaller than this; one that is not ends with a guest's protocol error.
            len: u32::try_from(len).unwrap_or(u32::MAX),
            ..Turn::default()
        };
        self.start_clock(limit);
    }

    /// Starts the clock of one call, or of one turn within it.
    fn start_clock(&mut self, limit: Duration) {
        let ticks = limit.as_micros() / TICK.as_micros();
        self.turn.limit = u64::try_from(ticks).unwrap_or(u64::MAX).max(1);
        self.limiter.forget_refused();
        self.restart_clock();
    }

    pub(super) fn restart_clock(&mut self) {
        self.turn.began = self.ticks.load(Ordering::Relaxed);
    }

    /// Notes how long the turn took that ends now. Costs nothing unless it took a tick.
    pub(super) fn note_turn(&mut self) {
        let now = self.ticks.load(Ordering::Relaxed);
        let took = now.saturating_sub(self.turn.began);
        if took > 0 {
            let took = TICK.saturating_mul(u32::try_from(took).unwrap_or(u32::MAX));
            self.limiter.used().note_turn(took);
        }
    }

    /// How long it has to pause, so that it gets no more than its share. The pause is none of the turn.
    fn pause(&mut self) -> Option<Duration> {
        let now = self.made.elapsed();
        let pause = self.throttle.as_mut()?.ran(now);
        let ticks = pause.as_micros().div_ceil(TICK.as_micros());
        let ticks = u64::try_from(ticks).unwrap_or(u64::MAX);
        self.turn.began = self.turn.began.saturating_add(ticks);
        (!pause.is_zero()).then_some(pause)
    }

    /// Only a turn is ended from outside, never `snapshot` or `restore`.
    fn turn_is_killed(&self) -> bool {
        self.turn.len > 0 && self.limiter.used().is_killed()
    }

    fn turn_is_too_long(&self) -> bool {
        self.ticks_of_call() > self.turn.limit
    }

    /// State is written and taken over while an endpoint stands still: for a short while nobody else is
    /// let in between. A busy host would make a pause many times as long.
    fn is_hurried(&self) -> bool {
        self.turn.len == 0 && self.ticks_of_call() <= HURRIED_TICKS
    }

    fn ticks_of_call(&self) -> u64 {
        let now = self.ticks.load(Ordering::Relaxed);
        now.saturating_sub(self.turn.began)
    }

    /// Hands on the effects of the turns so far. What has to wait is kept. False where it waits for
    /// room: then no further turn begins. The disk is no reason, so that turns share a commit; but writes
    /// that the store has not taken are, as those of the next turn would come before them.
    pub(super) fn commit(&mut self) -> bool {
        let mut untaken = false;
        if !self.writes.is_empty() {
            self.enlist();
            let is_write = |effect: &Effect| matches!(effect, Effect::Persist(_));
            untaken = self.effects.iter().any(is_write);
        }
        if self.held.is_empty() {
            if self.effects.is_empty() || self.surroundings.commit(&mut self.effects) {
                return true;
            }
            std::mem::swap(&mut self.held, &mut self.effects);
        } else {
            self.held.append(&mut self.effects);
            if self.surroundings.commit(&mut self.held) {
                return true;
            }
        }
        let waits_for_disk = matches!(self.held.front(), Some(Effect::WhenDurable { .. }));
        waits_for_disk && !untaken && self.written < TURN_BYTES_MAX
    }

    /// Hands what the turn wrote to the store.
    fn enlist(&mut self) {
        let writes = std::mem::take(&mut self.writes);
        self.written = self.written.saturating_add(writes.bytes());
        let mut effects = self.effects.iter_mut();
        let place = effects.find(|effect| matches!(effect, Effect::Persist(_)));
        // There is one in every turn that wrote something.
        if let Some(place) = place {
            *place = Effect::Persist(writes);
        }
        self.surroundings.enlist(&mut self.effects);
    }

    /// All effects that were not carried out: of turns that ended, and of the turn in work.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &Effect> {
        let held = self.held.iter().flat_map(Effect::with_those_behind);
        held.chain(&self.effects)
    }

    fn take_ended(&mut self) -> VecDeque<Effect> {
        let mut ended = std::mem::take(&mut self.held);
        ended.append(&mut self.effects);
        ended
    }

    /// Ends when the turn in work has to, by its limit or by force: for those who wait within it, whom no
    /// epoch interrupts.
    pub(super) fn turn_over(&self) -> impl Future<Output = ()> + use<> {
        let left = self.turn.limit.saturating_sub(self.ticks_of_call());
        let left = TICK.saturating_mul(u32::try_from(left).unwrap_or(u32::MAX));
        let used = (self.turn.len > 0).then(|| Arc::clone(self.limiter.used()));
        async move {
            let killed = async {
                match &used {
                    Some(used) => used.killed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                () = killed => {}
            }
        }
    }

    /// The trap of a turn that has to end.
    pub(super) fn overruns<T>(&mut self) -> wasmtime::Result<T> {
        self.turn.overran = true;
        wasmtime::bail!("the turn has to end")
    }
}

/// Opens what an instance wants to read.
struct FromSurroundings(Arc<dyn Surroundings>);

impl ChannelSource for FromSurroundings {
    fn open_channel(
        &self,
        uri: &str,
        range: FileRange,
    ) -> BoxFuture<'static, Result<Box<dyn FileBytes>, RpcError>> {
        self.0.open_channel(uri, range)
    }
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// Loads code, instantiates it aside and reads its metadata; times both.
pub(crate) async fn prepare(
    engine: &Engine,
    code: &Code,
    settings: &EndpointSettings,
    surroundings: Arc<dyn Surroundings>,
) -> Result<Prepared, LoadError> {
    let loaded = engine.load(code).await?;
    let compile = loaded.took;
    let began = Instant::now();
    let instance = Instance::aside(engine, code, loaded, settings, surroundings).await?;
    Ok(Prepared {
        instance,
        compile,
        instantiate: began.elapsed(),
    })
}

/// A page of linear memory, in which wasmtime counts what a component requires.
const PAGE_BYTES: u64 = 64 << 10;

/// What code asks for before anything of it runs.
pub(crate) struct AsksFor {
    /// Rights that its imports need, and which import each.
    pub(crate) rights: Vec<(String, String)>,
    /// Linear memory that it starts with, in bytes.
    pub(crate) memory_bytes: usize,
    /// How long loading took.
    pub(crate) took: Duration,
}

/// Loads code and reads from it what it asks for. Nothing of it runs.
pub(crate) async fn asks_for(engine: &Engine, code: &Code) -> Result<AsksFor, LoadError> {
    let loaded = engine.load(code).await?;
    let required = loaded.pre.component().resources_required();
    let memory = required.and_then(|required| required.max_initial_memory_size);
    let rights = loaded.rights.into_iter().map(|needed| {
        let reason = format!("the import `{}`", needed.import);
        (needed.right.to_owned(), reason)
    });
    Ok(AsksFor {
        rights: rights.collect(),
        memory_bytes: memory.map_or(0, |pages| {
            usize::try_from(pages.saturating_mul(PAGE_BYTES)).unwrap_or(usize::MAX)
        }),
        took: loaded.took,
    })
}

/// A new version that waits aside.
pub(crate) struct Prepared {
    pub(crate) instance: Instance,
    pub(crate) compile: Duration,
    pub(crate) instantiate: Duration,
}
