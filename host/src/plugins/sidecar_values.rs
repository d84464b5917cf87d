//! Values: one value of a sidecar, read as what its key wants, or named with what was expected.
//!
//! Not here: which keys there are and their bounds; that is `sidecar`, one file up.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::{Table, Value};

use super::SidecarError;
use crate::plugins::quantity;

/// One table of a sidecar. One that is missing is empty.
pub(super) struct Section<'a> {
    name: &'static str,
    table: Option<&'a Table>,
}

impl<'a> Section<'a> {
    /// The table `name` of `sidecar`, in which only `known` keys may stand.
    pub(super) fn of(
        sidecar: &'a Table,
        name: &'static str,
        known: &[&str],
    ) -> Result<Self, SidecarError> {
        let table = match sidecar.get(name) {
            None => None,
            Some(Value::Table(table)) => Some(table),
            Some(other) => return Err(wrong_type(name, "a table", other)),
        };
        if let Some(table) = table {
            only_known(&format!("{name}."), table, known)?;
        }
        Ok(Self { name, table })
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.table?.get(key)
    }

    /// A size in bytes: a number, or text with a unit.
    pub(super) fn size(
        &self,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<usize>, SidecarError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let key = format!("{}.{key}", self.name);
        let bytes = match value {
            Value::Integer(bytes) => Some(*bytes),
            Value::String(text) => {
                let bytes = quantity::size(text);
                bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
            }
            _ => None,
        };
        let bytes = bytes.ok_or_else(|| wrong_type(&key, quantity::SIZE, value))?;
        in_range(&key, bytes, range, quantity::size_text).map(Some)
    }

    /// A whole number.
    pub(super) fn count(
        &self,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<usize>, SidecarError> {
        let value = self.get(key);
        let key = format!("{}.{key}", self.name);
        match value {
            None => Ok(None),
            Some(Value::Integer(number)) => {
                in_range(&key, *number, range, |number| number.to_string()).map(Some)
            }
            Some(other) => Err(wrong_type(&key, "a whole number", other)),
        }
    }

    /// A duration: text with a unit.
    pub(super) fn time(
        &self,
        key: &str,
        range: RangeInclusive<Duration>,
    ) -> Result<Option<Duration>, SidecarError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let key = format!("{}.{key}", self.name);
        let read = match value {
            Value::String(text) => quantity::duration(text),
            _ => None,
        };
        let read = read.ok_or_else(|| wrong_type(&key, quantity::DURATION, value))?;
        if range.contains(&read) {
            return Ok(Some(read));
        }
        Err(SidecarError::OutOfRange {
            key,
            value: quantity::duration_text(read),
            least: quantity::duration_text(*range.start()),
            most: quantity::duration_text(*range.end()),
        })
    }
}

/// `text`: how a number of this key is written.
fn in_range(
    key: &str,
    number: i64,
    range: RangeInclusive<u64>,
    text: impl Fn(u64) -> String,
) -> Result<usize, SidecarError> {
    u64::try_from(number)
        .ok()
        .filter(|number| range.contains(number))
        .and_then(|number| usize::try_from(number).ok())
        .ok_or_else(|| SidecarError::OutOfRange {
            key: key.to_owned(),
            value: u64::try_from(number).map_or_else(|_| number.to_string(), &text),
            least: text(*range.start()),
            most: text(*range.end()),
        })
}

pub(super) fn texts(key: &str, value: &Value) -> Result<Vec<String>, SidecarError> {
    const EXPECTED: &str = "a list of texts";
    let Value::Array(items) = value else {
        return Err(wrong_type(key, EXPECTED, value));
    };
    items
        .iter()
        .map(|item| match item {
            Value::String(text) => Ok(text.clone()),
            other => Err(wrong_type(key, EXPECTED, other)),
        })
        .collect()
}

pub(super) fn only_known(prefix: &str, table: &Table, known: &[&str]) -> Result<(), SidecarError> {
    match table.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(SidecarError::UnknownKey {
            key: format!("{prefix}{key}"),
            known: listed(known),
        }),
        None => Ok(()),
    }
}

pub(super) fn listed(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

pub(super) fn wrong_type(key: &str, expected: &'static str, found: &Value) -> SidecarError {
    let found = match found {
        // The text itself is what helps; its start, for it may be long.
        Value::String(text) => format!("text {:?}", text.chars().take(40).collect::<String>()),
        Value::Integer(number) => format!("number {number}"),
        Value::Float(number) => format!("number {number}"),
        Value::Boolean(value) => value.to_string(),
        Value::Datetime(time) => format!("date or time {time}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    };
    SidecarError::WrongType {
        key: key.to_owned(),
        expected,
        found,
    }
}
