//! Limits: what one tree and one message may cost. Beyond each of them the answer is an error that
//! names the limit; nothing is cut off.

/// Nodes of one tree. The largest message type of the deploy protocol has fewer than a hundred.
pub const NODES_MAX: usize = 4096;

/// Fields, cases and other links from node to node of one tree: one structure with a million fields
/// would be cheap to send and dear to walk.
pub const LINKS_MAX: usize = 16_384;

/// Bytes of one name of a kind, structure, field or case.
pub const NAME_BYTES_MAX: usize = 255;

/// Values inside values. Each costs stack; and text that is nested deeper than 128 is not read back
/// by serde_json, with at most two levels of JSON for one value.
pub const DEPTH_MAX: usize = 60;

/// Values of one message, those without bytes included. A list of `()` claims 67 million elements in
/// four bytes, and a tuple of two tuples of two ... grows without any. At about 100 bytes for a value in
/// memory, this many cost 100 MiB.
pub const VALUES_MAX: usize = 1 << 20;

/// Bytes of one encoded message, and of the names and texts of its JSON. The transport carries less.
pub const BYTES_MAX: usize = 64 << 20;

/// Bytes that [`pseudocode`](super::pseudocode) writes before it ends with `...`.
pub const PSEUDOCODE_BYTES_MAX: usize = 4096;
