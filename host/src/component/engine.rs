//! Engine: the one serving wasmtime engine of a process, its clock, and the way from code to a
//! component that can be instantiated.
//!
//! Invariants
//! 1. The serving engine never compiles: it loads what a short-lived engine of the same
//!    configuration made ([`cache`](super::cache)). wasmtime 48 keeps compiler memory for the life
//!    of an engine, which ten thousand swaps would show.
//! 2. Guest code runs on fibers and yields at every tick, so a busy guest never holds a thread.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::component::{Component, HasSelf, InstancePre, Linker};
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::bindings::PluginWithEverything;
use super::cache::Cache;
use super::code::{Code, LoadError, not_a_component};
use super::command::{self, CommandState};
use super::instance::HostState;
use super::rights;

/// How often the engine's clock ticks: the time slice of a guest, and the precision of turn limits.
pub const TICK: Duration = Duration::from_millis(1);

/// Components that stay loaded though nothing runs them, for the way back and forth between versions.
const LOADED_MAX: usize = 32;

/// Memory of an instance that stays for the next one, in bytes. What is given back instead is faulted in
/// again by the next instance, page by page, while its endpoint stands still: with a state of 1 MiB that
/// was most of the pause.
const KEPT_RESIDENT: usize = 16 << 20;
/// Memories that are kept like this though nothing uses them.
const WARM_SLOTS_MAX: u32 = 4;

/// How an engine is made.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Instances that may live at once, the ones aside included. Default 1000. One more fails with
    /// [`LoadError::NoRoom`].
    pub instances: u32,
    /// Where compiled code is kept. `None`: nowhere, each start compiles. The directory must belong
    /// to this user alone: what lies in it is run as native code.
    pub cache: Option<PathBuf>,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            instances: 1000,
            cache: None,
        }
    }
}

/// The serving engine. Cloning is cheap.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    engine: wasmtime::Engine,
    linker: Linker<HostState>,
    command_linker: Linker<CommandState>,
    cache: Cache,
    loaded: Mutex<VecDeque<(String, Component)>>,
    ticks: Arc<AtomicU64>,
    stop_ticking: Arc<AtomicBool>,
}

/// Why an engine could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// This machine or configuration cannot run Wasm this way.
    #[error("cannot make the Wasm engine: {reason}")]
    Engine {
        /// What wasmtime says.
        reason: String,
    },
    /// The cache directory cannot be used; give another or none.
    #[error("cannot use the cache directory {}", path.display())]
    Cache {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A component that was checked against the world, and how long that took.
pub(crate) struct Loaded<T: 'static = HostState> {
    pub(crate) pre: InstancePre<T>,
    /// The rights that its imports need.
    pub(crate) rights: Vec<rights::Needed>,
    pub(crate) took: Duration,
}

/// The configuration that compiler and serving engine share.
fn config(instances: Option<u32>) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // A crossing gets several times dearer with it; see ARCHITECTURE.md.
        .concurrency_support(false)
        .epoch_interruption(true);
    if let Some(instances) = instances {
        let mut pool = PoolingAllocationConfig::default();
        pool.total_component_instances(instances)
            // A std guest is its own module and two adapters of the component tools.
            .total_core_instances(instances.saturating_mul(4))
            .total_memories(instances)
            .total_tables(instances.saturating_mul(4))
            .total_stacks(instances)
            .max_memory_size(1 << 32)
            .linear_memory_keep_resident(KEPT_RESIDENT)
            .max_unused_warm_slots(WARM_SLOTS_MAX)
            .table_keep_resident(4 << 10);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

impl Engine {
    /// Makes the engine and starts its clock, a thread that lives as long as the last clone.
    ///
    /// # Errors
    /// [`EngineError`] says whether the engine or its cache directory is at fault.
    pub fn new(settings: &EngineSettings) -> Result<Self, EngineError> {
        let failed = |error: wasmtime::Error| EngineError::Engine {
            reason: format!("{error:#}"),
        };
        let engine = wasmtime::Engine::new(&config(Some(settings.instances))).map_err(failed)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(failed)?;
        PluginWithEverything::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)
            .map_err(failed)?;
        let command_linker = command::linker(&engine).map_err(failed)?;
        let cache = Cache::open(settings.cache.as_deref(), &engine).map_err(|source| {
            EngineError::Cache {
                path: settings.cache.clone().unwrap_or_default(),
                source,
            }
        })?;
        let ticks = Arc::new(AtomicU64::new(0));
        let stop_ticking = Arc::new(AtomicBool::new(false));
        start_clock(
            engine.clone(),
            Arc::clone(&ticks),
            Arc::clone(&stop_ticking),
        )
        .map_err(|source| EngineError::Engine {
            reason: format!("cannot start the clock thread: {source}"),
        })?;
        let inner = Inner {
            engine,
            linker,
            command_linker,
            cache,
            loaded: Mutex::default(),
            ticks,
            stop_ticking,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner.engine
    }

    pub(crate) fn ticks(&self) -> &Arc<AtomicU64> {
        &self.inner.ticks
    }

    /// Loads code: from memory, from the cache, or by compiling it on a thread of its own.
    ///
    /// # Cancellation
    /// Dropping the future lets a compilation that has begun run to its end; its result is kept.
    pub(crate) async fn load(&self, code: &Code) -> Result<Loaded, LoadError> {
        let wrong = |reason| LoadError::WrongWorld { reason };
        self.load_with(code, &self.inner.linker, wrong).await
    }

    /// [`Engine::load`], for what is run as a command.
    pub(crate) async fn load_command(
        &self,
        code: &Code,
    ) -> Result<Loaded<CommandState>, LoadError> {
        let wrong = |reason| LoadError::NoCommand { reason };
        self.load_with(code, &self.inner.command_linker, wrong)
            .await
    }

    async fn load_with<T>(
        &self,
        code: &Code,
        linker: &Linker<T>,
        wrong: impl FnOnce(String) -> LoadError,
    ) -> Result<Loaded<T>, LoadError> {
        let began = Instant::now();
        let component = match self.remembered(code.digest()) {
            Some(component) => component,
            None => {
                let (this, code) = (self.clone(), code.clone());
                let loading = tokio::task::spawn_blocking(move || this.load_blocking(&code));
                loading.await.map_err(|error| LoadError::Compile {
                    reason: format!("the compiler gave up: {error}"),
                })??
            }
        };
        let rights = rights::needed(&component, self.wasmtime())?;
        let pre = linker.instantiate_pre(&component);
        let pre = pre.map_err(|error| wrong(format!("{error:#}")))?;
        Ok(Loaded {
            pre,
            rights,
            took: began.elapsed(),
        })
    }

    fn load_blocking(&self, code: &Code) -> Result<Component, LoadError> {
        if let Some(found) = not_a_component(code.bytes()) {
            return Err(LoadError::NotAComponent { found });
        }
        let component = self.inner.cache.load(code, self.wasmtime(), || {
            let compiler = wasmtime::Engine::new(&config(None))?;
            compiler.precompile_component(code.bytes())
        })?;
        let mut loaded = self
            .inner
            .loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|(digest, _)| digest != code.digest());
        if loaded.len() >= LOADED_MAX {
            loaded.pop_front();
        }
        loaded.push_back((code.digest().to_owned(), component.clone()));
        Ok(component)
    }

    fn remembered(&self, digest: &str) -> Option<Component> {
        let loaded = self
            .inner
            .loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let found = loaded.iter().find(|(known, _)| known == digest)?;
        Some(found.1.clone())
    }
}

fn start_clock(
    engine: wasmtime::Engine,
    ticks: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> std::io::Result<()> {
    let weak = engine.weak();
    drop(engine);
    std::thread::Builder::new()
        .name("instar-clock".to_owned())
        .spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                ticks.fetch_add(1, Ordering::Relaxed);
                match weak.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => return,
                }
            }
        })
        .map(drop)
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop_ticking.store(true, Ordering::Relaxed);
    }
}
