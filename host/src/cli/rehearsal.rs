//! The text of a rehearsal: what a swap would do.

use super::output::{duration, size};
use crate::endpoint::rehearsal::{Difference, Rehearsal};

/// Differences and wants that are shown; `--json` has them all.
const SHOWN_MAX: usize = 20;

pub(super) fn text(found: &Rehearsal) -> String {
    let mut lines = vec![format!(
        "`{}` {} -> {}, a dry run: nothing was changed",
        found.endpoint,
        found.from.version,
        match found.to.version.as_str() {
            "" => "the version of this file",
            version => version,
        }
    )];
    if !found.wants.is_empty() {
        lines.push("it would need approval, for it wants".to_owned());
        let shown = found.wants.iter().take(SHOWN_MAX);
        lines.extend(shown.map(|want| format!("  {want}")));
        lines.extend(more(found.wants.len()));
    }
    if let Some(reason) = &found.failure {
        lines.push(format!("the swap would fail: {reason}"));
        return lines.join("\n");
    }
    lines.push(format!(
        "state: {} -> {}, carried in state version {}; taken over in {}",
        size(found.state_bytes_old as u64),
        size(found.state_bytes_new as u64),
        found.state_version,
        duration(found.restore)
    ));
    lines.push(replayed(found));
    for difference in found.differences.iter().take(SHOWN_MAX) {
        lines.push(format!(
            "  message {} ({}):",
            difference.message, difference.kind
        ));
        lines.extend(sides(found, difference));
    }
    lines.extend(more(found.differences.len()));
    lines.join("\n")
}

/// Says how many of so many were not shown.
fn more(count: usize) -> Option<String> {
    let more = count.saturating_sub(SHOWN_MAX);
    (more > 0).then(|| format!("  and {more} more; --json shows all"))
}

fn replayed(found: &Rehearsal) -> String {
    let outcome = match found.differences.len() {
        _ if found.messages == 0 => {
            return "replayed no messages: none are kept yet (`rehearsal.messages`)".to_owned();
        }
        0 => "no differences".to_owned(),
        1 => "1 difference".to_owned(),
        count => format!("{count} differences"),
    };
    let messages = match found.messages {
        1 => "1 message".to_owned(),
        count => format!("{count} messages"),
    };
    format!(
        "replayed {messages}: {outcome}; {} took {}, {} took {}",
        found.from.version,
        duration(found.took_old),
        found.to.version,
        duration(found.took_new)
    )
}

fn sides(found: &Rehearsal, difference: &Difference) -> Vec<String> {
    let mut lines = Vec::new();
    for (version, did) in [
        (&found.from.version, &difference.old),
        (&found.to.version, &difference.new),
    ] {
        match did.as_slice() {
            [] => lines.push(format!("    {version}  nothing")),
            did => lines.extend(did.iter().map(|line| format!("    {version}  {line}"))),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::endpoint::record::VersionId;

    fn found() -> Rehearsal {
        let id = |version: &str| VersionId {
            version: version.to_owned(),
            digest: String::new(),
        };
        Rehearsal {
            endpoint: "a".to_owned(),
            from: id("1.0.0"),
            to: id("2.0.0"),
            wants: vec![],
            state_version: 2,
            state_bytes_old: 8,
            state_bytes_new: 12,
            messages: 3,
            took_old: Duration::from_micros(30),
            took_new: Duration::from_micros(40),
            restore: Duration::from_micros(50),
            differences: vec![],
            failure: None,
        }
    }

    #[test]
    fn without_differences_it_says_so() {
        assert_eq!(
            text(&found()),
            "`a` 1.0.0 -> 2.0.0, a dry run: nothing was changed\n\
             state: 8 B -> 12 B, carried in state version 2; taken over in 50 us\n\
             replayed 3 messages: no differences; 1.0.0 took 30 us, 2.0.0 took 40 us"
        );
    }

    #[test]
    fn a_difference_shows_what_each_version_did() {
        let differences = vec![Difference {
            message: 2,
            kind: "count.Add".to_owned(),
            old: vec!["answered count.Total 5".to_owned()],
            new: vec![],
        }];
        let wants = vec!["the right `clock` (for its clock)".to_owned()];
        let text = text(&Rehearsal {
            differences,
            wants,
            ..found()
        });
        assert!(
            text.contains("approval, for it wants\n  the right `clock` (for its clock)\n"),
            "{text}"
        );
        let shown = "replayed 3 messages: 1 difference; 1.0.0 took 30 us, 2.0.0 took 40 us\n  \
                     message 2 (count.Add):\n    1.0.0  answered count.Total 5\n    2.0.0  nothing";
        assert!(text.ends_with(shown), "{text}");
    }

    #[test]
    fn a_swap_that_would_fail_says_why_and_nothing_of_messages() {
        let text = text(&Rehearsal {
            failure: Some("it refused the state: too old".to_owned()),
            ..found()
        });
        assert!(
            text.ends_with("\nthe swap would fail: it refused the state: too old"),
            "{text}"
        );
    }
}
