//! Component: what the exports of a component do. Only on wasm; [`crate::export`] writes the exports.

use crate::bindings::exports::instar::endpoint::endpoint as export;
use crate::bindings::exports::instar::endpoint::entries as wit_entries;
use crate::bindings::instar::endpoint::description as wit;
use crate::runtime::Runtime;
use crate::{Endpoint, convert, endpoint};
use std::rc::Rc;

/// What the endpoint says of itself.
pub fn metadata<E: Endpoint>() -> wit::Metadata {
    convert::metadata_out(endpoint::metadata_of::<E>())
}

/// In which formats it keeps what it persists.
pub fn entries<E: Endpoint>() -> Option<wit_entries::EntryFormats> {
    E::ENTRIES.map(|entries| wit_entries::EntryFormats {
        writes: entries.writes,
        reads: entries.reads.to_vec(),
    })
}

/// Handles a batch as far as the host lets it; returns how many `async` handlers wait.
pub fn handle<E: Endpoint>(runtime: &Rc<Runtime<E>>, batch: Vec<export::Event>) -> u32 {
    runtime.handle(batch.into_iter().map(convert::event))
}

/// Writes the state.
pub fn snapshot<E: Endpoint>(runtime: &Rc<Runtime<E>>, version: u32) -> Result<Vec<u8>, String> {
    runtime.snapshot(version)
}

/// Takes over state.
pub fn restore<E: Endpoint>(
    runtime: &Rc<Runtime<E>>,
    version: u32,
    state: &[u8],
) -> Result<(), String> {
    runtime.restore(version, state)
}
