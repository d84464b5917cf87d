//! Dispatcher: name to endpoint, for messages of this host and of others.
//!
//! Before it: [`crate::transport`] (what comes from peers, `incoming`) and the endpoints themselves
//! (what they send, `outgoing`). After it: the inbox of an endpoint, or the outbox to a peer.
//!
//! Invariants
//! 1. A name belongs to one endpoint. It is free again as soon as its endpoint is stopped, though
//!    that may still handle what was queued.
//! 2. Reading a name takes no lock.
//! 3. It never looks into a message.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::address::Location;
use crate::component::channels::ChannelSource;
use crate::election::Elections;
use crate::endpoint::handle::{Endpoint, Notice};
use crate::endpoint::launches::Launcher;
use crate::error::RpcError;
use crate::log_budget::LogBudget;
use crate::store::Store;
use crate::transport::Transport;

pub(crate) mod incoming;

mod outgoing;

/// Bytes of a frame that are not the message: names and numbers. Twice what they can be.
const FRAME_OVERHEAD: usize = 1024;

/// Name to endpoint.
pub(crate) struct Dispatcher {
    names: ArcSwap<HashMap<String, Arc<Endpoint>>>,
    writing: Mutex<()>,
    stopped: AtomicBool,
    /// Set when the transport runs, and wiped at shutdown: the two know each other.
    transport: ArcSwapOption<Transport>,
    here: Mutex<Location>,
    launcher: OnceLock<Arc<dyn Launcher>>,
    store: OnceLock<Arc<Store>>,
    channels: OnceLock<Arc<dyn ChannelSource>>,
    elections: OnceLock<Arc<dyn Elections>>,
    ask_timeout: Duration,
    frame_bytes_max: usize,
    dead_letters: AtomicU64,
    dead_letter_lines: LogBudget,
}

/// Why a name could not be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RegisterError {
    Taken,
    Stopped,
}

impl Dispatcher {
    pub(crate) fn new(ask_timeout: Duration, frame_bytes_max: usize) -> Self {
        Self {
            names: ArcSwap::default(),
            writing: Mutex::default(),
            stopped: AtomicBool::new(false),
            transport: ArcSwapOption::empty(),
            here: Mutex::new(Location::Client(uuid::Uuid::nil())),
            launcher: OnceLock::new(),
            store: OnceLock::new(),
            channels: OnceLock::new(),
            elections: OnceLock::new(),
            ask_timeout,
            frame_bytes_max,
            dead_letters: AtomicU64::new(0),
            dead_letter_lines: LogBudget::default(),
        }
    }

    /// Connects the dispatcher to the peers.
    pub(crate) fn connect(&self, transport: Transport) {
        *self.here.lock().unwrap_or_else(PoisonError::into_inner) = transport.location().clone();
        self.transport.store(Some(Arc::new(transport)));
    }

    /// Says where endpoints keep what outlives the process, and where they open files.
    pub(crate) fn serves_with(&self, store: Option<Arc<Store>>, channels: Arc<dyn ChannelSource>) {
        // Said once, by whoever makes the host.
        if let Some(store) = store {
            let _ = self.store.set(store);
        }
        let _ = self.channels.set(channels);
    }

    /// Says where endpoints stand for election.
    pub(crate) fn elects_with(&self, elections: Arc<dyn Elections>) {
        // Said once, by whoever makes the host.
        let _ = self.elections.set(elections);
    }

    /// Says what runs the workloads that endpoints launch.
    pub(crate) fn launches_with(&self, launcher: Arc<dyn Launcher>) {
        // Said once, by whoever makes the host.
        let _ = self.launcher.set(launcher);
    }

    pub(crate) fn disconnect(&self) {
        self.transport.store(None);
    }

    pub(crate) fn location(&self) -> Location {
        self.here
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The transport.
    ///
    /// # Errors
    /// [`RpcError::Stopped`] after shutdown.
    pub(crate) fn transport(&self) -> Result<Arc<Transport>, RpcError> {
        self.transport
            .load_full()
            .ok_or_else(|| self.host_stopped())
    }

    pub(crate) fn host_stopped(&self) -> RpcError {
        RpcError::Stopped {
            what: format!("host {}", self.location()),
        }
    }

    pub(crate) fn register(&self, endpoint: &Arc<Endpoint>) -> Result<(), RegisterError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.stopped.load(Ordering::Acquire) {
            return Err(RegisterError::Stopped);
        }
        let mut names = HashMap::clone(&self.names.load());
        if names.contains_key(endpoint.name()) {
            return Err(RegisterError::Taken);
        }
        names.insert(endpoint.name().to_owned(), Arc::clone(endpoint));
        self.names.store(Arc::new(names));
        Ok(())
    }

    /// Takes a name away, if `which` says so of the endpoint that has it.
    pub(crate) fn unregister(
        &self,
        name: &str,
        which: impl Fn(&Arc<Endpoint>) -> bool,
    ) -> Option<Arc<Endpoint>> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let names = self.names.load();
        let endpoint = names.get(name).filter(|found| which(found)).cloned()?;
        let mut rest = HashMap::clone(&names);
        rest.remove(name);
        self.names.store(Arc::new(rest));
        Some(endpoint)
    }

    /// Takes all names away, and gives none from now on.
    pub(crate) fn stop(&self) -> Vec<Arc<Endpoint>> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.stopped.store(true, Ordering::Release);
        let names = self.names.swap(Arc::default());
        names.values().cloned().collect()
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Endpoint>> {
        self.names.load().get(name).cloned()
    }

    /// The endpoint of a name.
    ///
    /// # Errors
    /// [`RpcError::EndpointNotFound`], or [`RpcError::Stopped`] after shutdown.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<Endpoint>, RpcError> {
        self.find(name).ok_or_else(|| {
            if self.stopped.load(Ordering::Acquire) {
                return self.host_stopped();
            }
            RpcError::EndpointNotFound {
                endpoint: name.to_owned(),
                host: self.location().to_string(),
            }
        })
    }

    /// All endpoints, in order of name.
    pub(crate) fn all(&self) -> Vec<Arc<Endpoint>> {
        let mut all: Vec<_> = self.names.load().values().cloned().collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// Tells every endpoint something.
    fn notify_all(&self, notice: impl Fn() -> Notice) {
        for endpoint in self.names.load().values() {
            endpoint.notify(notice());
        }
    }

    /// Counts a message that reached nobody, and says so in the log.
    fn dead_letter(&self, endpoint: &str, kind: &str, reason: &RpcError) {
        self.dead_letters.fetch_add(1, Ordering::Relaxed);
        if let Some(left_out) = self.dead_letter_lines.line(Instant::now()) {
            tracing::warn!(endpoint, kind, %reason, left_out, "dead letter");
        }
    }

    /// Messages that reached nobody since the start.
    pub(crate) fn dead_letters(&self) -> u64 {
        self.dead_letters.load(Ordering::Relaxed)
    }
}
