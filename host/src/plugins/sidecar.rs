//! Sidecar: `NAME.toml` beside `NAME.wasm`, what the operator says about one plugin.
//!
//! Read loosely as a TOML table, then checked once into a [`Sidecar`] that the rest can trust.
//!
//! Invariants
//! 1. No text makes it panic; the text is at most [`Sidecar::BYTES_MAX`] bytes.
//! 2. A key that nobody reads is an error, never ignored: a typo must not look like a setting.
//! 3. A missing key means the default of [`EndpointSettings`], written there and nowhere else.
//!
//! Not here: reading the file (`examine`); what a grant opens ([`crate::component`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::{Table, Value};

use crate::address::{AddressError, check_endpoint_name};
use crate::component::known_rights;
use crate::endpoint::settings::{Checkpoint, EndpointSettings, Limits, Probation, Rehearsed};
use crate::message::Message;

#[path = "sidecar_values.rs"]
mod values;

use super::quantity::size_text;
use values::{Section, listed, only_known, texts, wrong_type};

const KEYS: &[&str] = &[
    "endpoints",
    "config",
    "grants",
    "limits",
    "probation",
    "checkpoint",
    "rehearsal",
];
const LIMITS: &[&str] = &[
    "memory",
    "table_elements",
    "core_instances",
    "message",
    "inbox",
    "turn",
    "restore",
    "drain",
    "open_asks",
    "open_calls",
    "timers",
    "channels",
    "refresh_above",
    "send_wait",
];
const PROBATION: &[&str] = &["messages", "time", "bytes"];
const CHECKPOINT: &[&str] = &["messages", "time"];
const REHEARSAL: &[&str] = &["messages"];

/// Bytes of linear memory: one page to all that 32 bits can address.
const BYTES: RangeInclusive<u64> = 64 << 10..=4 << 30;
/// Elements of tables: at most what the engine keeps ready for one table.
const TABLE: RangeInclusive<u64> = 1..=20_000;
const INSTANCES: RangeInclusive<u64> = 1..=64;
/// Bytes of a message: room for the longest kind, up to the largest frame.
const MESSAGE_BYTES: RangeInclusive<u64> = 1 << 10..=1 << 30;
const INBOX: RangeInclusive<u64> = 1..=1 << 20;
const OPEN: RangeInclusive<u64> = 1..=1 << 20;
const TIMERS: RangeInclusive<u64> = 0..=1 << 20;
const CHANNELS: RangeInclusive<u64> = 0..=1 << 10;
const PHASE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
const WAIT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
/// Messages that a version on probation may have to hand back; 0: no probation.
const KEPT: RangeInclusive<u64> = 0..=1 << 20;
const KEPT_BYTES: RangeInclusive<u64> = 64 << 10..=1 << 30;
const COPIED: RangeInclusive<u64> = 1..=1_000_000_000;
/// A copy is a snapshot: ten a second is more than any endpoint wants to spend on it.
const COPIED_AFTER: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(86_400);
const REHEARSED: RangeInclusive<u64> = 0..=4096;
/// What a grant of message kinds begins with; what follows is a kind, or `*` for all.
const MESSAGE: &str = "message:";
/// A grant that begins with this is for a format of entries.
const ENTRIES: &str = "entries:";

/// What a sidecar says, checked.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Sidecar {
    /// Names under which the component runs, one instance each, in this order. Key `endpoints`.
    /// Empty: the name in the component's own metadata. At most [`Sidecar::ENDPOINTS_MAX`].
    pub endpoints: Vec<String>,
    /// The settings of each of these endpoints. Keys `config`, `grants`, `limits`, `probation`,
    /// `checkpoint`, `rehearsal`.
    pub settings: EndpointSettings,
}

/// Why a sidecar is not accepted. What runs goes on as it is; correct the file and save it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SidecarError {
    /// Make it readable for the host's user.
    #[error("the sidecar cannot be read: {reason}")]
    Unreadable {
        /// What the system said.
        reason: String,
    },
    /// A sidecar is for settings; data belongs elsewhere.
    #[error("the sidecar is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// It is no TOML.
    #[error("line {line}: {reason}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What the parser expected.
        reason: String,
    },
    /// Nothing reads this key: it is misspelt, or stands in the wrong table.
    #[error("unknown key `{key}`; known: {known}")]
    UnknownKey {
        /// The key with its table.
        key: String,
        /// The keys that are read there.
        known: String,
    },
    /// Write the value in the expected form.
    #[error("`{key}`: expected {expected}, found {found}")]
    WrongType {
        /// The key with its table.
        key: String,
        /// What is understood.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// Choose a value within the bounds.
    #[error("`{key}` is {value}; expected {least} to {most}")]
    OutOfRange {
        /// The key with its table.
        key: String,
        /// What stands there.
        value: String,
        /// The smallest value.
        least: String,
        /// The largest value.
        most: String,
    },
    /// A memory that is full never comes above it: lower one, or raise the other.
    #[error(
        "`limits.refresh_above` is {}; expected less than `limits.memory`, which is {}",
        size_text(*above as u64),
        size_text(*memory as u64)
    )]
    RefreshTooLate {
        /// What stands there.
        above: usize,
        /// The limit of the memory.
        memory: usize,
    },
    /// This host knows no such right.
    #[error("`grants`: unknown right `{name}`; known: {known}")]
    UnknownGrant {
        /// The right.
        name: String,
        /// The rights there are.
        known: String,
    },
    /// An endpoint cannot have this name.
    #[error("`endpoints`: {0}")]
    EndpointName(AddressError),
    /// Two endpoints of one host cannot have one name.
    #[error("`endpoints` names `{name}` twice")]
    EndpointTwice {
        /// The name.
        name: String,
    },
    /// Leave the key out to use the component's own name; delete the `.wasm` to run nothing.
    #[error("`endpoints` has {count} names; expected 1 to {most}, or leave the key out")]
    EndpointCount {
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// Tables are joined with dots, so `"a.b" = 1` and `[config.a] b = 2` are the same key.
    #[error("`config` holds the key `{key}` twice (tables are joined with dots)")]
    ConfigTwice {
        /// The key as the endpoint would see it.
        key: String,
    },
    /// Flatten it; nobody reads configuration that deep.
    #[error("`{key}` lies deeper than {most} tables")]
    TooDeep {
        /// The key where it got too deep.
        key: String,
        /// The limit.
        most: usize,
    },
}

impl Sidecar {
    /// The largest sidecar that is read, in bytes.
    pub const BYTES_MAX: u64 = 64 << 10;
    /// The most endpoints that one plugin can have.
    pub const ENDPOINTS_MAX: usize = 64;
    /// How deep tables may lie in `config`.
    pub const CONFIG_DEPTH_MAX: usize = 16;

    /// Reads the text of a sidecar.
    ///
    /// # Errors
    /// The first thing that is wrong, with its key.
    pub fn parse(text: &str) -> Result<Self, SidecarError> {
        if text.len() as u64 > Self::BYTES_MAX {
            return Err(SidecarError::TooLarge {
                limit: Self::BYTES_MAX,
            });
        }
        let table: Table = text.parse().map_err(|error| syntax(text, &error))?;
        only_known("", &table, KEYS)?;
        Ok(Self {
            endpoints: endpoints(&table)?,
            settings: EndpointSettings {
                config: config(&table)?,
                grants: grants(&table)?,
                limits: limits(&table)?,
                probation: probation(&table)?,
                checkpoint: checkpoint(&table)?,
                rehearsal: rehearsal(&table)?,
                ..EndpointSettings::default()
            },
        })
    }
}

fn endpoints(table: &Table) -> Result<Vec<String>, SidecarError> {
    let Some(value) = table.get("endpoints") else {
        return Ok(Vec::new());
    };
    let names = texts("endpoints", value)?;
    if names.is_empty() || names.len() > Sidecar::ENDPOINTS_MAX {
        return Err(SidecarError::EndpointCount {
            count: names.len(),
            most: Sidecar::ENDPOINTS_MAX,
        });
    }
    let mut seen = BTreeSet::new();
    for name in &names {
        check_endpoint_name(name).map_err(SidecarError::EndpointName)?;
        if !seen.insert(name) {
            return Err(SidecarError::EndpointTwice { name: name.clone() });
        }
    }
    Ok(names)
}

fn grants(table: &Table) -> Result<BTreeSet<String>, SidecarError> {
    let Some(value) = table.get("grants") else {
        return Ok(BTreeSet::new());
    };
    let names = texts("grants", value)?;
    let known = |name: &str| match (name.strip_prefix(MESSAGE), name.strip_prefix(ENTRIES)) {
        (Some(kind), _) => (1..=Message::KIND_BYTES_MAX).contains(&kind.len()),
        // As it is written when it is granted, so that the two are the same.
        (_, Some(format)) => format.parse::<u32>().is_ok_and(|n| n.to_string() == format),
        _ => known_rights().any(|right| right == name),
    };
    match names.iter().find(|name| !known(name)) {
        Some(name) => {
            let kinds = ["message:KIND", "message:*", "entries:FORMAT"];
            let all: Vec<_> = known_rights().chain(kinds).collect();
            Err(SidecarError::UnknownGrant {
                name: name.clone(),
                known: listed(&all),
            })
        }
        None => Ok(names.into_iter().collect()),
    }
}

fn config(table: &Table) -> Result<BTreeMap<String, String>, SidecarError> {
    let mut flat = BTreeMap::new();
    match table.get("config") {
        None => {}
        Some(Value::Table(config)) => flatten("", config, 1, &mut flat)?,
        Some(other) => return Err(wrong_type("config", "a table", other)),
    }
    Ok(flat)
}

fn flatten(
    prefix: &str,
    table: &Table,
    depth: usize,
    flat: &mut BTreeMap<String, String>,
) -> Result<(), SidecarError> {
    for (name, value) in table {
        let key = match prefix {
            "" => name.clone(),
            prefix => format!("{prefix}.{name}"),
        };
        if depth > Sidecar::CONFIG_DEPTH_MAX {
            return Err(SidecarError::TooDeep {
                key,
                most: Sidecar::CONFIG_DEPTH_MAX,
            });
        }
        let text = match value {
            Value::Table(inner) => {
                flatten(&key, inner, depth + 1, flat)?;
                continue;
            }
            Value::String(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(value) => value.to_string(),
            Value::Datetime(time) => time.to_string(),
            Value::Array(_) => json(value).to_string(),
        };
        if flat.insert(key.clone(), text).is_some() {
            return Err(SidecarError::ConfigTwice { key });
        }
    }
    Ok(())
}

/// Arrays reach the endpoint as JSON. The parser bounds how deep they lie. JSON has no infinity and
/// no NaN: these become text, like date and time.
fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::String(text) => text.clone().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) if number.is_finite() => (*number).into(),
        Value::Float(number) => number.to_string().into(),
        Value::Boolean(value) => (*value).into(),
        Value::Datetime(time) => time.to_string().into(),
        Value::Array(items) => items.iter().map(json).collect(),
        Value::Table(table) => serde_json::Value::Object(
            table
                .iter()
                .map(|(key, value)| (key.clone(), json(value)))
                .collect(),
        ),
    }
}

fn limits(table: &Table) -> Result<Limits, SidecarError> {
    let section = Section::of(table, "limits", LIMITS)?;
    let default = Limits::default();
    let limits = Limits {
        memory_bytes: section
            .size("memory", BYTES)?
            .unwrap_or(default.memory_bytes),
        table_elements: section
            .count("table_elements", TABLE)?
            .unwrap_or(default.table_elements),
        core_instances: section
            .count("core_instances", INSTANCES)?
            .unwrap_or(default.core_instances),
        message_bytes: section
            .size("message", MESSAGE_BYTES)?
            .unwrap_or(default.message_bytes),
        inbox: section.count("inbox", INBOX)?.unwrap_or(default.inbox),
        turn: section.time("turn", PHASE)?.unwrap_or(default.turn),
        restore: section.time("restore", PHASE)?.unwrap_or(default.restore),
        drain: section.time("drain", PHASE)?.unwrap_or(default.drain),
        open_asks: section
            .count("open_asks", OPEN)?
            .unwrap_or(default.open_asks),
        open_calls: section
            .count("open_calls", OPEN)?
            .unwrap_or(default.open_calls),
        timers: section.count("timers", TIMERS)?.unwrap_or(default.timers),
        channels: section
            .count("channels", CHANNELS)?
            .unwrap_or(default.channels),
        refresh_above: section.size("refresh_above", BYTES)?,
        send_wait: section
            .time("send_wait", WAIT)?
            .unwrap_or(default.send_wait),
        ..default
    };
    match limits.refresh_above {
        Some(above) if above >= limits.memory_bytes => Err(SidecarError::RefreshTooLate {
            above,
            memory: limits.memory_bytes,
        }),
        _ => Ok(limits),
    }
}

fn probation(table: &Table) -> Result<Probation, SidecarError> {
    let section = Section::of(table, "probation", PROBATION)?;
    let default = Probation::default();
    Ok(Probation {
        messages: section.count("messages", KEPT)?.unwrap_or(default.messages),
        time: section.time("time", WAIT)?.unwrap_or(default.time),
        bytes: section.size("bytes", KEPT_BYTES)?.unwrap_or(default.bytes),
    })
}

fn checkpoint(table: &Table) -> Result<Checkpoint, SidecarError> {
    let section = Section::of(table, "checkpoint", CHECKPOINT)?;
    Ok(Checkpoint {
        messages: section
            .count("messages", COPIED)?
            .map(|messages| messages as u64),
        time: section.time("time", COPIED_AFTER)?,
    })
}

fn rehearsal(table: &Table) -> Result<Rehearsed, SidecarError> {
    let section = Section::of(table, "rehearsal", REHEARSAL)?;
    let messages = section.count("messages", REHEARSED)?;
    Ok(messages.map_or_else(Rehearsed::default, |messages| Rehearsed { messages }))
}

/// The parser's own text spans lines and draws arrows; here it becomes one line.
fn syntax(text: &str, error: &toml::de::Error) -> SidecarError {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.as_bytes().iter().take(start);
    SidecarError::Syntax {
        line: 1 + before.filter(|byte| **byte == b'\n').count(),
        reason: error.message().replace('\n', " "),
    }
}

#[cfg(test)]
#[path = "sidecar_tests.rs"]
mod tests;
