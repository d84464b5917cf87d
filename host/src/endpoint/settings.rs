//! What an operator says about one endpoint: configuration, grants, limits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::component::output_files::OutputFiles;

/// Everything that is set for one endpoint. The sidecar file holds the same, as TOML.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct EndpointSettings {
    /// What `configuration.get` answers: keys joined with dots, values as text.
    pub config: BTreeMap<String, String>,
    /// Rights beyond the interfaces of world `plugin`: `registry`, `channel`, `persist`,
    /// `launch`, `clock`.
    pub grants: BTreeSet<String>,
    /// Bounds.
    pub limits: Limits,
    /// What a new version has to prove before the old one is given up.
    pub probation: Probation,
    /// When the state is copied, for the case of a crash.
    pub checkpoint: Checkpoint,
    /// Messages that are kept for rehearsals.
    pub rehearsal: Rehearsed,
    /// The first crash ends it: no restart, its name is free. Default: no.
    pub ends_with_crash: bool,
    /// Where what it writes to stdout and stderr is kept, besides the log. Default: nowhere.
    pub output: Option<OutputFiles>,
}

/// How long a new version is on probation. Until the first of these bounds the old code, the state of
/// the flip and the messages since are kept; a trap, a turn that takes too long or a failed health
/// check within it puts the old version back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probation {
    /// Messages. Default 1000; 0: no probation.
    pub messages: usize,
    /// Time. Default 10 s; zero: no probation.
    pub time: Duration,
    /// Bytes of messages that are kept for it. Default 16 MiB.
    pub bytes: usize,
}

impl Default for Probation {
    fn default() -> Self {
        Self {
            messages: 1000,
            time: Duration::from_secs(10),
            bytes: 16 << 20,
        }
    }
}

/// When the state is copied, so that an endpoint that crashes comes back with the last copy instead of
/// afresh. Default: never.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// After so many messages.
    pub messages: Option<u64>,
    /// After so much time, if there were messages.
    pub time: Option<Duration>,
}

impl Checkpoint {
    /// True where there are to be copies at all.
    pub fn is_wanted(&self) -> bool {
        self.messages.is_some() || self.time.is_some()
    }
}

impl Probation {
    /// True where there is to be one at all.
    pub fn is_wanted(&self) -> bool {
        self.messages > 0 && !self.time.is_zero()
    }
}

/// How many of the last messages are kept, so that a new version can be tried on them. At most 1 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rehearsed {
    /// Messages. Default 64; 0: none.
    pub messages: usize,
}

impl Default for Rehearsed {
    fn default() -> Self {
        Self { messages: 64 }
    }
}

/// Bounds of one endpoint. At each bound the host refuses; nothing grows without end.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Linear memory of one instance, in bytes. Default 64 MiB. Growing beyond it fails inside the
    /// guest, which normally panics: a crash, not a danger for the host.
    pub memory_bytes: usize,
    /// Elements of all tables of one instance. Default 20000. As with memory; what begins larger is
    /// not loaded.
    pub table_elements: usize,
    /// Core instances of one instance: its modules, and the adapters of the component tools. Default
    /// 16; a std guest has 3 to 4. What needs more is not loaded.
    pub core_instances: usize,
    /// The largest message to the endpoint, in bytes, its kind counted. Default 16 MiB. A larger one
    /// is refused with `TooLarge` before it is queued.
    pub message_bytes: usize,
    /// Messages that wait in the inbox. Default 4096. Beyond it asks fail with `InboxFull`, local
    /// sends wait or fail, remote peers are slowed.
    pub inbox: usize,
    /// The longest turn (one message). Default 10 s. A longer one is a crash.
    pub turn: Duration,
    /// The longest `restore`, `snapshot`, `metadata`. Default 10 s. Beyond it the swap is given up.
    pub restore: Duration,
    /// How long a swap waits for the running turn and for volatile continuations. Default 10 s.
    /// Beyond it the swap is given up and the old version goes on.
    pub drain: Duration,
    /// Asks of this endpoint that may be open at once. Default 16384.
    pub open_asks: usize,
    /// Calls to this endpoint that may be unanswered at once. Default 65536; beyond it a call fails
    /// with `Denied`.
    pub open_calls: usize,
    /// Timers that may run at once. Default 4096.
    pub timers: usize,
    /// Channels that an instance may have open at once. Default 64.
    pub channels: usize,
    /// Linear memory above which the same code gets a new instance with the same state, which gives
    /// back what Wasm only ever takes. Default: none, that is only on request.
    pub refresh_above: Option<usize>,
    /// How long a `send` with `when-full.wait` waits at most. Default 30 s; then a dead letter.
    pub send_wait: Duration,
    /// Percent of a core that one instance may use, over about 100 ms. Default: none, that is a whole
    /// core. It is paused when it used its share.
    pub cpu_percent: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            table_elements: 20_000,
            core_instances: 16,
            message_bytes: 16 << 20,
            inbox: 4096,
            turn: Duration::from_secs(10),
            restore: Duration::from_secs(10),
            drain: Duration::from_secs(10),
            open_asks: 16_384,
            open_calls: 65_536,
            timers: 4096,
            channels: 64,
            refresh_above: None,
            send_wait: Duration::from_secs(30),
            cpu_percent: None,
        }
    }
}
