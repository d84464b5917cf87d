//! The bounds of a store. At each the host refuses, and says which it was.

use crate::error::RpcError;

/// Longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Largest value in a file, in bytes.
pub const VALUE_BYTES_MAX: usize = 16 << 20;
/// Names and values that one turn may persist in a file, in bytes.
pub const TURN_BYTES_MAX: usize = 64 << 20;
/// Largest value in ZooKeeper, in bytes. It leaves room for its path.
pub const ZOOKEEPER_VALUE_BYTES_MAX: usize = 960 << 10;
/// What one turn may persist in ZooKeeper, in bytes: values, and for each the path of its node and some 64
/// bytes. It has to fit into one request, for which servers have a limit (`jute.maxbuffer`), beside what
/// is in each.
pub const ZOOKEEPER_TURN_BYTES_MAX: usize = 0xf_ffff - (16 << 10);
/// Names that one endpoint may keep.
pub const ENTRIES_MAX: usize = 65_536;
/// Names and values that one endpoint may keep, in bytes.
pub const BYTES_MAX: usize = 1 << 30;
/// Names and values that are read at once, in bytes.
pub const READ_BYTES_MAX: usize = 64 << 20;
/// Names and values that wait for one commit, in bytes: what comes then goes with the next.
pub(super) const GROUP_BYTES_MAX: usize = 64 << 20;
/// Memory for pages of the file, in bytes.
pub(super) const CACHE_BYTES: usize = 16 << 20;

/// What depends on the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) value_bytes_max: usize,
    pub(super) turn_bytes_max: usize,
    /// Where these are the bounds, for people.
    pub(super) place: &'static str,
}

impl Bounds {
    pub(super) const FILE: Self = Self {
        value_bytes_max: VALUE_BYTES_MAX,
        turn_bytes_max: TURN_BYTES_MAX,
        place: "",
    };

    pub(super) const ZOOKEEPER: Self = Self {
        value_bytes_max: ZOOKEEPER_VALUE_BYTES_MAX,
        turn_bytes_max: ZOOKEEPER_TURN_BYTES_MAX,
        place: "in ZooKeeper",
    };
}

/// The refusal to read more than that at once.
pub(super) fn read_too_large(prefix: &str) -> RpcError {
    RpcError::TooLarge {
        what: format!("what is kept under names that begin with `{prefix}`"),
        bytes: READ_BYTES_MAX as u64 + 1,
        limit: READ_BYTES_MAX as u64,
        setting: "store: largest read".to_owned(),
    }
}
