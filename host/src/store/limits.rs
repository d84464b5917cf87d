//! The bounds of a store. At each the host refuses, and says which it was.

/// Longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Largest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 16 << 20;
/// Names and values that one turn may persist, in bytes.
pub const TURN_BYTES_MAX: usize = 64 << 20;
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
