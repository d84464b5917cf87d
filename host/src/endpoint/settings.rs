//! What an operator says about one endpoint: configuration, grants, limits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Everything that is set for one endpoint. The sidecar file holds the same, as TOML.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct EndpointSettings {
    /// What `configuration.get` answers: keys joined with dots, values as text.
    pub config: BTreeMap<String, String>,
    /// Rights beyond the interfaces of world `plugin`: `registry`, `clock`.
    pub grants: BTreeSet<String>,
    /// Bounds.
    pub limits: Limits,
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
    /// How long a `send` with `when-full.wait` waits at most. Default 30 s; then a dead letter.
    pub send_wait: Duration,
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
            send_wait: Duration::from_secs(30),
        }
    }
}
