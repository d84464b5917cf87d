//! Grant: writes into the text of a sidecar what an approval granted. Pure.
//!
//! Invariants
//! 1. What a person wrote stays: comments, order, layout, and every grant that is there.
//! 2. The result is a sidecar that [`Sidecar::parse`] takes, and that grants what was asked for.

use toml_edit::{Array, DocumentMut, Item, Table, TableLike, Value, value};

use super::quantity::size_text;
use super::sidecar::{Sidecar, SidecarError};
use crate::endpoint::settings::EndpointSettings;

/// The text of a sidecar that grants at least what `settings` grant, memory included.
///
/// # Errors
/// `text` is no sidecar, or would be none any more.
pub(crate) fn grant(text: &str, settings: &EndpointSettings) -> Result<String, SidecarError> {
    let before = Sidecar::parse(text)?.settings;
    let (head, body) = text.split_at(head(text));
    let mut document: DocumentMut =
        body.parse()
            .map_err(|error: toml_edit::TomlError| SidecarError::Unreadable {
                reason: error.message().replace('\n', " "),
            })?;
    let missing: Vec<&String> = settings.grants.difference(&before.grants).collect();
    let more_memory = settings.limits.memory_bytes > before.limits.memory_bytes;
    if missing.is_empty() && !more_memory {
        return Ok(text.to_owned());
    }
    if !missing.is_empty() {
        let grants = document
            .entry("grants")
            .or_insert_with(|| value(Array::new()));
        if let Some(grants) = grants.as_array_mut() {
            for right in missing {
                push(grants, right);
            }
        }
    }
    if more_memory {
        let limits = document
            .entry("limits")
            .or_insert_with(|| Item::Table(Table::new()));
        if let Some(limits) = limits.as_table_like_mut() {
            set(
                limits,
                "memory",
                &size_text(settings.limits.memory_bytes as u64),
            );
        }
    }
    let text = format!("{head}{document}");
    let after = Sidecar::parse(&text)?.settings;
    let granted = after.grants.is_superset(&settings.grants);
    if granted && after.limits.memory_bytes >= settings.limits.memory_bytes {
        return Ok(text);
    }
    Err(SidecarError::Unreadable {
        reason: "the grants cannot be added to it".to_owned(),
    })
}

/// Adds a text to a list, in the layout of the one before.
fn push(list: &mut Array, text: &str) {
    let mut new = Value::from(text);
    let last = list.iter().last().and_then(|last| last.decor().prefix());
    match last.and_then(|prefix| prefix.as_str()) {
        // A line of its own; a comment in front of the one before is about that one.
        Some(prefix) if prefix.contains('\n') => {
            let indent = prefix.rsplit_once('\n').map_or("", |(_, indent)| indent);
            new.decor_mut().set_prefix(format!("\n{indent}"));
            list.push_formatted(new);
        }
        _ => list.push(new),
    }
}

/// Sets a value and keeps what stands around it.
fn set(table: &mut dyn TableLike, key: &str, text: &str) {
    let mut new = Value::from(text);
    match table.get_mut(key) {
        Some(item) => {
            if let Some(old) = item.as_value() {
                *new.decor_mut() = old.decor().clone();
            }
            *item = Item::Value(new);
        }
        None => {
            table.insert(key, Item::Value(new));
        }
    }
}

/// The bytes of a comment at the top that an empty line sets apart: it is about the file, not about
/// the first thing in it, so nothing is put in front of it.
fn head(text: &str) -> usize {
    let mut bytes = 0;
    for line in text.split_inclusive('\n') {
        let is_end = line.trim().is_empty();
        if !is_end && !line.starts_with('#') {
            return 0;
        }
        bytes += line.len();
        if is_end {
            return bytes;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted(grants: &[&str], memory: usize) -> EndpointSettings {
        let mut settings = EndpointSettings {
            grants: grants.iter().map(|grant| (*grant).to_owned()).collect(),
            ..EndpointSettings::default()
        };
        settings.limits.memory_bytes = memory;
        settings
    }

    fn check(before: &str, grants: &[&str], memory: usize, after: &str) {
        assert_eq!(grant(before, &wanted(grants, memory)).unwrap(), after);
    }

    #[test]
    fn a_sidecar_that_was_not_there_holds_the_grants_alone() {
        let grants = "grants = [\"clock\", \"registry\"]\n";
        check("", &["clock", "registry"], 64 << 20, grants);
        check("", &[], 96 << 20, "[limits]\nmemory = \"96 MiB\"\n");
    }

    #[test]
    fn what_a_person_wrote_stays_as_it_is() {
        check(
            "# who may what\ngrants = [\"clock\"] # the time\n\n[config] # ours\nk   =  1\n",
            &["message:a.B"],
            64 << 20,
            "# who may what\ngrants = [\"clock\", \"message:a.B\"] # the time\n\n[config] # ours\nk   =  1\n",
        );
        check(
            "[limits]\ninbox = 7 # few\nmemory = \"64 MiB\" # much\n",
            &[],
            65 << 20,
            "[limits]\ninbox = 7 # few\nmemory = \"65 MiB\" # much\n",
        );
        check(
            "[config]\n# what it says\ngreeting = 'hello'\n",
            &["clock"],
            64 << 20,
            "grants = [\"clock\"]\n[config]\n# what it says\ngreeting = 'hello'\n",
        );
        check(
            "# About this file,\n# in two lines.\n\n# the text\n[config]\nk = 1\n",
            &["clock"],
            64 << 20,
            "# About this file,\n# in two lines.\n\ngrants = [\"clock\"]\n# the text\n[config]\nk = 1\n",
        );
    }

    #[test]
    fn a_list_with_a_line_for_each_gets_another_line() {
        check(
            "grants = [\n    # for the log\n    \"clock\",\n]\n[config]\na = 1\n",
            &["registry"],
            64 << 20,
            "grants = [\n    # for the log\n    \"clock\",\n    \"registry\",\n]\n[config]\na = 1\n",
        );
    }

    #[test]
    fn what_is_there_is_neither_doubled_nor_lowered() {
        let text = "grants = ['clock']\nlimits.memory = '1 GiB'";
        check(text, &["clock"], 64 << 20, text);
    }

    #[test]
    fn a_sidecar_that_cannot_be_read_is_not_written() {
        let error = grant("grants = 1", &wanted(&["clock"], 64 << 20)).unwrap_err();
        assert!(error.to_string().contains("`grants`: expected"), "{error}");
        let too_much = wanted(&["clock"], 5 << 30);
        assert!(grant("", &too_much).is_err(), "more than a sidecar may say");
    }

    fn sidecar() -> impl Strategy<Value = String> {
        let line = prop::sample::select(vec![
            "# a comment",
            "",
            "endpoints = ['a']",
            "grants = []",
            "grants = ['clock', # why\n  'registry'\n]",
            "limits.inbox = 4",
            "limits = { memory = 65536 }",
            "[limits]",
            "memory = '1 MiB'",
            "[config]",
            "[config.deep]",
            "text = '''\n]'''",
        ]);
        prop::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #[test]
        fn whatever_a_sidecar_says_it_says_the_rest_as_before(text in sidecar(), more: bool) {
            let Ok(before) = Sidecar::parse(&text) else { return Ok(()) };
            let mut wanted = before.settings.clone();
            wanted.grants.insert("message:a.B".to_owned());
            if more {
                wanted.limits.memory_bytes += 1 << 20;
            }
            let after = Sidecar::parse(&grant(&text, &wanted).unwrap()).unwrap();
            prop_assert_eq!(after.settings, wanted);
            prop_assert_eq!(after.endpoints, before.endpoints);
        }
    }
}
