//! `instar history`: what was done to an endpoint. No line is wider than a terminal of 120 columns.

use std::time::{Duration, SystemTime};

use clap::Args;

use super::Admin;
use super::output::{Output, brief, cut, duration, size, table, wrap};
use crate::endpoint::record::{SwapOutcome, SwapRecord};

/// The widest line.
const COLUMNS: usize = 120;
/// Wider cells are cut; `--json` has them whole.
const BY_MAX: usize = 16;
const VERSION_MAX: usize = 9;
/// As much of a digest as `instar rollback --to` takes.
const DIGEST: usize = 8;

/// Show the swaps that were tried on an endpoint.
///
/// Oldest first: when, who, from which version to which, how long the endpoint stood still, and what it
/// carried over. Why one did not work stands below it.
#[derive(Args)]
pub(super) struct History {
    /// The endpoint.
    name: String,
    /// Show where the time went instead: compile and instantiate while the endpoint works, freeze until
    /// it stands still, snapshot, restore and flip while it does.
    #[arg(long)]
    phases: bool,
    #[command(flatten)]
    admin: Admin,
}

impl History {
    pub(super) fn run(self, output: Output) -> anyhow::Result<()> {
        let records = self.admin.client()?.history(&self.name)?;
        output.print(&records, |records| {
            match (records.is_empty(), self.phases) {
                (true, _) => format!("`{}` was never swapped", self.name),
                (false, true) => phases(records),
                (false, false) => carried(records, SystemTime::now()),
            }
        })
    }
}

fn carried(records: &[SwapRecord], now: SystemTime) -> String {
    let head = [
        "#", "ago", "by", "from", "to", "digest", "pause", "queue", "state", "calls", "asks",
        "outcome",
    ];
    let row = |record: &SwapRecord| {
        vec![
            record.number.to_string(),
            brief(now.duration_since(record.at).unwrap_or_default()),
            cut(&record.by, BY_MAX),
            cut(&record.from.version, VERSION_MAX),
            version(&record.to.version),
            record.to.digest.chars().take(DIGEST).collect(),
            time(record.phases.pause),
            record.queue_depth.to_string(),
            size(record.state_bytes as u64),
            record.open_calls.to_string(),
            record.open_asks.to_string(),
            outcome(&record.outcome).to_owned(),
        ]
    };
    with_reasons(&head, records, row)
}

fn phases(records: &[SwapRecord]) -> String {
    let head = [
        "#", "to", "compile", "inst.", "freeze", "snapshot", "restore", "flip", "pause", "timers",
        "outcome",
    ];
    let row = |record: &SwapRecord| {
        let phases = &record.phases;
        vec![
            record.number.to_string(),
            version(&record.to.version),
            time(phases.compile),
            time(phases.instantiate),
            time(phases.freeze),
            time(phases.snapshot),
            time(phases.restore),
            time(phases.flip),
            time(phases.pause),
            record.timers.to_string(),
            outcome(&record.outcome).to_owned(),
        ]
    };
    with_reasons(&head, records, row)
}

/// A table with the reason of each record that has one below its row.
fn with_reasons(
    head: &[&str],
    records: &[SwapRecord],
    row: impl Fn(&SwapRecord) -> Vec<String>,
) -> String {
    let mut rows = vec![head.iter().map(|cell| (*cell).to_owned()).collect()];
    rows.extend(records.iter().map(row));
    let table = table(&rows);
    let mut lines = table.lines();
    let mut text: Vec<String> = lines.next().into_iter().map(str::to_owned).collect();
    for (line, record) in lines.zip(records) {
        text.push(line.to_owned());
        let reason = record.outcome.reason();
        if !reason.is_empty() {
            text.extend(wrap(reason, "      ", COLUMNS));
        }
    }
    text.join("\n")
}

/// Nothing for a file that could not say which version it is.
fn version(version: &str) -> String {
    match version {
        "" => "-".to_owned(),
        version => cut(version, VERSION_MAX),
    }
}

/// Nothing for a phase that was not reached.
fn time(time: Duration) -> String {
    match time.is_zero() {
        true => "-".to_owned(),
        false => duration(time),
    }
}

fn outcome(outcome: &SwapOutcome) -> &'static str {
    match outcome {
        SwapOutcome::Swapped => "swapped",
        SwapOutcome::Rejected(_) => "rejected",
        SwapOutcome::GivenUp(_) => "given up",
        SwapOutcome::NeedsApproval(_) => "held",
        SwapOutcome::RolledBack(_) => "rolled back",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::record::{SwapPhases, VersionId};

    fn record(outcome: SwapOutcome) -> SwapRecord {
        let id = |version: &str| VersionId {
            version: version.to_owned(),
            digest: "ab".repeat(32),
        };
        let time = Duration::from_micros(123_456);
        SwapRecord {
            number: 1000,
            at: SystemTime::UNIX_EPOCH,
            by: "plugin directory".to_owned(),
            from: id("10.20.3000-alpha.1"),
            to: id("10.20.3001-alpha.1"),
            outcome,
            phases: SwapPhases {
                compile: Duration::from_millis(123_456),
                instantiate: time,
                freeze: time,
                snapshot: time,
                restore: time,
                flip: time,
                pause: time,
            },
            queue_depth: 4096,
            state_bytes: 1_023 << 20,
            state_version: 12,
            open_calls: 65_536,
            open_asks: 4096,
            timers: 4096,
        }
    }

    /// Wide values, and a reason of several lines.
    #[test]
    fn no_line_is_wider_than_120_columns() {
        let reason =
            "the right `clock` (for the import `wasi:clocks/wall-clock@0.2.6`) and ".repeat(5);
        let records = [
            record(SwapOutcome::NeedsApproval(reason)),
            record(SwapOutcome::Swapped),
        ];
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400 * 999);
        for text in [carried(&records, now), phases(&records)] {
            for line in text.lines() {
                assert!(
                    line.chars().count() <= COLUMNS,
                    "{} in {line}",
                    line.chars().count()
                );
            }
        }
    }

    #[test]
    fn it_shows_what_was_carried_and_why_something_was_not() {
        let records = [record(SwapOutcome::RolledBack("it trapped".to_owned()))];
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(7200);
        let text = carried(&records, now);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>().join(" "),
            "1000 2 h plugin directory 10.20.30… 10.20.30… abababab 123.456 ms 4096 1023.0 MiB 65536 4096 \
             rolled back"
        );
        assert_eq!(lines[2], "      it trapped");
    }
}
