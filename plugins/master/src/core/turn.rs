//! Turn: what a rule of the core is given while it handles one event, and what it leaves behind.
//!
//! Before it: [`crate::endpoint`] makes one for each event. After it: the same, which carries out
//! the effects in their order.
//!
//! Invariants
//! 1. No clock and no chance inside: time comes with the turn.
//! 2. What must be durable is handed to the store *before* memory changes, so that a refusal changes
//!    nothing; what the turn sends happens only when it is durable.
//! 3. What a turn writes goes into the store in one piece, and ZooKeeper takes a megabyte at most. So
//!    whatever is about very many looks whether the turn [is full](Turn::is_full), and leaves the rest to
//!    the next ones ([`super::rounds`]).

use std::time::Duration;

use deploy_protocol::{
    ApplicationFinished, ApplicationRemoved, ApplicationState, DecommissionWorker, ExecutorAdded,
    ExecutorUpdated, KillDriver, KillExecutor, LaunchDriver, LaunchExecutor, MasterChanged,
    MasterInStandby, ReconnectWorker, RegisterWorkerFailed, RegisteredApplication,
    RegisteredWorker, WorkerRemoved,
};
use instar_sdk::prelude::*;

/// Where a master writes down what the next one must know.
pub trait Store {
    /// Keeps a value under a name, instead of the one that it had.
    ///
    /// # Errors
    /// It cannot be kept; nothing changed.
    fn persist(&mut self, name: &str, value: &[u8]) -> Result<(), Failure>;

    /// Forgets a name.
    ///
    /// # Errors
    /// It cannot be forgotten; it will be found at the next recovery, and given up then.
    fn unpersist(&mut self, name: &str) -> Result<(), Failure>;
}

/// Recovery mode `none`: nothing is written down.
#[derive(Debug)]
pub struct Nowhere;

impl Store for Nowhere {
    fn persist(&mut self, _name: &str, _value: &[u8]) -> Result<(), Failure> {
        Ok(())
    }

    fn unpersist(&mut self, _name: &str) -> Result<(), Failure> {
        Ok(())
    }
}

/// What an event leads to.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A message goes out.
    Send(EndpointRef, Outgoing),
    /// Recovery ends after this time, whoever has not answered by then.
    EndRecoveryAfter(Duration),
    /// There is more to do than one turn should: it goes on in the next.
    GoOn,
    /// An application ended: for the metrics.
    Ended {
        /// How.
        state: ApplicationState,
        /// How long it was there.
        runtime_ms: u64,
    },
}

macro_rules! outgoing {
    ($($kind:ident,)+) => {
        /// A message that a master sends.
        #[derive(Clone, Debug, PartialEq)]
        #[expect(missing_docs, reason = "the messages say what they are")]
        pub enum Outgoing {
            $($kind(Box<$kind>),)+
        }

        $(impl From<$kind> for Outgoing {
            fn from(message: $kind) -> Self {
                Self::$kind(Box::new(message))
            }
        })+

        impl Outgoing {
            /// Hands it to the host.
            ///
            /// # Errors
            /// As [`Context::send`].
            pub fn send(&self, ctx: &mut Context, to: &EndpointRef) -> Result<(), Failure> {
                match self {
                    $(Self::$kind(message) => ctx.send(to, &**message),)+
                }
            }

            /// Hands it to the host, without waiting for room.
            ///
            /// # Errors
            /// As [`Context::try_send`].
            pub fn try_send(&self, ctx: &mut Context, to: &EndpointRef) -> Result<(), Failure> {
                match self {
                    $(Self::$kind(message) => ctx.try_send(to, &**message),)+
                }
            }
        }
    };
}

outgoing! {
    ApplicationFinished,
    ApplicationRemoved,
    DecommissionWorker,
    ExecutorAdded,
    ExecutorUpdated,
    KillDriver,
    KillExecutor,
    LaunchDriver,
    LaunchExecutor,
    MasterChanged,
    MasterInStandby,
    ReconnectWorker,
    RegisterWorkerFailed,
    RegisteredApplication,
    RegisteredWorker,
    WorkerRemoved,
}

/// Writes of a turn after which it begins nothing further.
pub const WRITES_MAX: usize = 1000;
/// The same for bytes that it writes, names included. What was begun before may add two entries.
pub const WRITTEN_BYTES_MAX: usize = 384 << 10;
/// The same for what it sends: others wait no longer than that.
const SENT_MAX: usize = 20_000;

/// What was done in a turn of the endpoint already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Values kept and names forgotten.
    pub writes: usize,
    /// Their bytes, names included.
    pub bytes: usize,
    /// Messages.
    pub sent: usize,
}

/// One event being handled.
pub struct Turn<'a> {
    /// Milliseconds since 1970 UTC. May jump: only for people, never for decisions.
    pub now: u64,
    store: &'a mut dyn Store,
    effects: Vec<Effect>,
    spent: Spent,
}

impl<'a> Turn<'a> {
    /// An event at this time, with this store.
    pub fn new(now: u64, store: &'a mut dyn Store) -> Self {
        Self {
            now,
            store,
            effects: Vec::new(),
            spent: Spent::default(),
        }
    }

    /// The same, in a turn of the endpoint in which this was done before.
    #[must_use]
    pub fn after(self, spent: Spent) -> Self {
        Self { spent, ..self }
    }

    /// What was done, with what was done before.
    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// True where nothing further that writes should begin.
    pub(crate) fn is_full(&self) -> bool {
        let spent = &self.spent;
        spent.writes >= WRITES_MAX || spent.bytes >= WRITTEN_BYTES_MAX || spent.sent >= SENT_MAX
    }

    /// What the event led to, in order.
    pub fn into_effects(self) -> Vec<Effect> {
        self.effects
    }

    pub(crate) fn send(&mut self, to: &EndpointRef, message: impl Into<Outgoing>) {
        self.spent.sent += 1;
        self.effects.push(Effect::Send(to.clone(), message.into()));
    }

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(crate) fn persist(&mut self, name: &str, value: &[u8]) -> Result<(), Failure> {
        self.spent.writes += 1;
        self.spent.bytes += name.len() + value.len();
        self.store.persist(name, value)
    }

    pub(crate) fn unpersist(&mut self, name: &str) {
        self.spent.writes += 1;
        self.spent.bytes += name.len();
        if let Err(failure) = self.store.unpersist(name) {
            log::error!("`{name}` stays in the store: {failure}; the next recovery gives it up");
        }
    }
}
