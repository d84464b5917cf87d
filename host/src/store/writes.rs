//! Writes: what one turn wants to keep and to forget, within the bounds.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::EndpointStore;
use super::limits::{BYTES_MAX, ENTRIES_MAX, NAME_BYTES_MAX};
use crate::error::RpcError;

/// What a turn writes: name to value, or to nothing where it is forgotten. All of it becomes durable, or
/// none of it.
#[derive(Debug, Default)]
pub struct Writes {
    writes: BTreeMap<String, Option<Bytes>>,
    /// What the names and values above cost.
    bytes: usize,
    /// What the endpoint keeps more with them than before.
    more_entries: isize,
    more_bytes: isize,
}

/// What an endpoint keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Names.
    pub entries: usize,
    /// Bytes of names and values.
    pub bytes: usize,
}

impl Writes {
    /// Adds a value under a name, or that the name is forgotten.
    pub(crate) fn put(
        &mut self,
        kept: &EndpointStore,
        name: String,
        value: Option<Bytes>,
    ) -> Result<(), RpcError> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            let what = match name.is_empty() {
                true => "an empty name".to_owned(),
                false => format!(
                    "the name `{}...`",
                    name.chars().take(32).collect::<String>()
                ),
            };
            return Err(too_large(
                what,
                name.len(),
                NAME_BYTES_MAX,
                "name of a value",
            ));
        }
        let bounds = kept.bounds();
        let size = value.as_ref().map(Bytes::len);
        if let Some(size) = size.filter(|size| *size > bounds.value_bytes_max) {
            let what = format!("the value `{name}`");
            let setting = format!("value {}", bounds.place);
            return Err(too_large(
                what,
                size,
                bounds.value_bytes_max,
                setting.trim(),
            ));
        }
        let in_turn = self.writes.get(&name);
        let before = match in_turn {
            Some(value) => value.as_ref().map(Bytes::len),
            None => kept.size_of(&name),
        };
        let cost = |size: usize| name.len().saturating_add(size);
        let in_store = |size: Option<usize>| kept.cost(&name, size.unwrap_or(0));
        let replaced = in_turn.map_or(0, |value| in_store(value.as_ref().map(Bytes::len)));
        let bytes = self.bytes - replaced + in_store(size);
        if bytes > bounds.turn_bytes_max {
            let what = "what this turn persists".to_owned();
            let setting = format!("turn {}", bounds.place);
            return Err(too_large(
                what,
                bytes,
                bounds.turn_bytes_max,
                setting.trim(),
            ));
        }
        let (was, is) = (before.map_or(0, cost), size.map_or(0, cost));
        let more_entries =
            self.more_entries + isize::from(size.is_some()) - isize::from(before.is_some());
        let more_bytes = self
            .more_bytes
            .saturating_add_unsigned(is)
            .saturating_sub_unsigned(was);
        if is > was || (size.is_some() && before.is_none()) {
            let usage = kept.usage();
            check(usage.entries, more_entries, ENTRIES_MAX, "names")?;
            check(usage.bytes, more_bytes, BYTES_MAX, "bytes")?;
        }
        (self.bytes, self.more_entries, self.more_bytes) = (bytes, more_entries, more_bytes);
        self.writes.insert(name, value);
        Ok(())
    }

    /// True where there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Bytes of all names and values, and what the store needs beside them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Name to value, or to nothing where it is forgotten.
    pub fn all(&self) -> &BTreeMap<String, Option<Bytes>> {
        &self.writes
    }
}

#[cfg(test)]
impl Writes {
    /// Without looking at any bound.
    pub(super) fn of(writes: &[(&str, Option<&str>)]) -> Self {
        let writes: BTreeMap<_, _> = writes
            .iter()
            .map(|(name, value)| {
                let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
                ((*name).to_owned(), value)
            })
            .collect();
        let size = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        let bytes = writes.iter().map(|(name, value)| name.len() + size(value));
        Self {
            bytes: bytes.sum(),
            writes,
            ..Self::default()
        }
    }
}

fn check(kept: usize, more: isize, limit: usize, what: &str) -> Result<(), RpcError> {
    if kept.saturating_add_signed(more) <= limit {
        return Ok(());
    }
    Err(RpcError::Denied {
        reason: format!(
            "this endpoint keeps {kept} {what} in the store, with this more than the limit of {limit}; \
             forget what is of no more use"
        ),
    })
}

fn too_large(what: String, bytes: usize, limit: usize, setting: &str) -> RpcError {
    RpcError::TooLarge {
        what,
        bytes: bytes as u64,
        limit: limit as u64,
        setting: format!("store: largest {setting}"),
    }
}
