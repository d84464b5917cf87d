//! Schema: turns JSON into postcard and back, by the type tree that an endpoint publishes.
//!
//! Before it: the command line, with a [`MessageType`](crate::component::metadata::MessageType) from an endpoint's metadata and text from a
//! person. After it: a message body, or JSON for the terminal. A host that only carries messages
//! never comes here.
//!
//! | Rust type of the message | JSON |
//! |---|---|
//! | `bool`, integers, floats, `String`, `char` | the same in JSON; `NaN`, `inf` and `-inf` as strings |
//! | `i128`, `u128` | a number if it fits into 64 bits, else a string of digits |
//! | bytes | a string if they are UTF-8, else `{"base64": "..."}`; read as well: a list of numbers |
//! | struct, tuple, newtype | object, array, what is inside |
//! | unit, unit struct | `null` |
//! | `Option` | `null` or the value; a field that is left out is `None` |
//! | list | array |
//! | map with scalar keys | object; the keys in text form |
//! | map with other keys | array of `[key, value]` |
//! | enum | `"Case"` without payload, else `{"Case": payload}` |
//!
//! That is what serde_json makes of the Rust type, except for bytes (serde_json writes a list of
//! numbers), floats that are not numbers (it writes `null`), and keys that are no scalars (it fails).
//! As there, `Some(None)` of an `Option<Option<_>>` cannot be told from `None`.
//!
//! Invariants
//! 1. A tree is checked before it is used: no index points outside, no name stands twice.
//! 2. Neither a hostile tree nor hostile bytes cost more than [`limits`] says, and neither panics.
//! 3. Bytes are read as postcard 1.1 reads them, lenient varints included; bytes left over are an error.
//!
//! Not here: where the tree comes from (`cli/ask.rs`), and what a message means (the guest).

pub mod limits;

mod error;
pub use error::SchemaError;

mod tree;
pub use tree::check;

mod encode;
pub use encode::encode;

mod decode;
pub use decode::decode;

mod pseudocode;
pub use pseudocode::pseudocode;

mod base64;
mod budget;
mod key;
mod number;
mod path;
mod varint;

#[cfg(test)]
mod tests;
