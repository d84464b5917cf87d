//! Report: the numbers at the end, as a table and as JSON, and what is wrong with them. Pure.

use serde::Serialize;

use super::load::{Outcome, Rate, WARM_UP_SWAPS};
use super::messages::Totals;
use super::phases::Spread;
use super::tally::version_after;

/// Swaps that are needed before a growth of memory says anything.
const GROWTH_SWAPS: u64 = 2000;

/// The numbers at the end.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    messages: u64,
    lost: u64,
    doubled: u64,
    reordered: u64,
    asks_answered: u64,
    asks_failed: u64,
    answered_by_later_version: u64,
    answered_by_outdated_version: u64,
    swaps: u64,
    swaps_failed: u64,
    state_bytes: u64,
    phases: Vec<Spread>,
    /// Messages a second.
    throughput_without_swaps: f64,
    throughput_with_swaps: f64,
    swaps_per_second: f64,
    /// In bytes; none before there were [`WARM_UP_SWAPS`], or where the system does not say.
    resident_after_500_swaps: Option<u64>,
    resident_at_end: Option<u64>,
    growth_percent: Option<f64>,
    interrupted: bool,
    /// What is wrong, for people. Empty if all is well.
    wrong: Vec<String>,
}

impl Report {
    /// Sums up. More growth of memory than `growth_percent_max` is wrong.
    pub(super) fn new(outcome: Outcome, growth_percent_max: f64) -> Self {
        let Outcome {
            tally,
            totals,
            state_bytes,
            swapped,
            baseline,
            swapping,
            interrupted,
        } = outcome;
        let (totals, silent) = match totals {
            Ok(totals) => (totals, None),
            Err(error) => (Totals::default(), Some(error.to_string())),
        };
        let fate = tally.fate(&totals);
        let growth = growth_percent(swapped.memory_early, swapped.memory_late);
        let mut report = Self {
            messages: tally.sent,
            lost: fate.lost,
            doubled: fate.doubled,
            reordered: fate.reordered,
            asks_answered: tally.answered,
            asks_failed: tally.failed,
            answered_by_later_version: tally.by_later,
            answered_by_outdated_version: tally.outdated,
            swaps: swapped.done,
            swaps_failed: swapped.failed,
            state_bytes,
            phases: swapped.phases.spreads(),
            throughput_without_swaps: per_second(baseline),
            throughput_with_swaps: per_second(swapping),
            swaps_per_second: per_second(Rate {
                messages: swapped.done,
                ..swapping
            }),
            resident_after_500_swaps: swapped.memory_early,
            resident_at_end: swapped.memory_late,
            growth_percent: growth,
            interrupted,
            wrong: Vec::new(),
        };
        let first = |what: &str, failure: &Option<String>| match failure {
            Some(failure) => format!("{what}; the first: {failure}"),
            None => what.to_owned(),
        };
        report.check(growth_percent_max);
        let told = silent.is_none();
        let wrong = &mut report.wrong;
        wrong.extend(silent.map(|error| format!("the endpoint does not tell its totals: {error}")));
        if tally.failed > 0 {
            wrong.push(first("asks failed", &tally.failure));
        }
        if swapped.failed > 0 {
            wrong.push(first("swaps failed", &swapped.failure));
        }
        if told {
            wrong.extend(wrong_state(&totals, swapped.done, state_bytes));
        }
        report
    }

    fn check(&mut self, growth_percent_max: f64) {
        let growth = self
            .growth_percent
            .filter(|_| self.swaps >= GROWTH_SWAPS)
            .unwrap_or(0.0);
        // Who interrupts may have done so before there was anything.
        let early = self.interrupted;
        let checks = [
            (self.messages > 0 || early, "no message was sent"),
            (
                self.swaps + self.swaps_failed > 0 || early,
                "nothing was swapped: give it more time with --for",
            ),
            (self.lost == 0, "messages were lost"),
            (self.doubled == 0, "messages were doubled"),
            (self.reordered == 0, "messages were reordered"),
            (
                self.answered_by_outdated_version == 0,
                "answers came from a version that was not current",
            ),
        ];
        let bad = checks.into_iter().filter(|(good, _)| !good);
        self.wrong = bad.map(|(_, what)| what.to_owned()).collect();
        if growth > growth_percent_max {
            self.wrong.push(format!(
                "resident memory grew by {growth:.1} %, more than the {growth_percent_max} % of --memory-growth"
            ));
        }
    }

    /// What is wrong, in one line; none if all is well.
    pub(crate) fn wrong(&self) -> Option<String> {
        (!self.wrong.is_empty()).then(|| self.wrong.join("; "))
    }

    /// Whether Ctrl-C ended it.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    /// The table.
    pub(crate) fn text(&self) -> String {
        let mut lines = Vec::new();
        let mut row = |name: &str, value: String| lines.push(format!("  {name:<44} {value:>16}"));
        for (name, value) in [
            ("messages", self.messages),
            ("lost", self.lost),
            ("doubled", self.doubled),
            ("reordered", self.reordered),
            ("asks answered", self.asks_answered),
            ("asks failed", self.asks_failed),
            (
                "calls answered by a later version",
                self.answered_by_later_version,
            ),
            (
                "answers from a version no longer current",
                self.answered_by_outdated_version,
            ),
            ("swaps", self.swaps),
            ("swaps failed", self.swaps_failed),
        ] {
            row(name, grouped(value));
        }
        row(
            "state carried besides the counts",
            size(Some(self.state_bytes)),
        );
        let rate = |value: f64, what: &str| format!("{} {what}/s", grouped(value as u64));
        row(
            "throughput without swaps",
            rate(self.throughput_without_swaps, "messages"),
        );
        row(
            "throughput with swaps",
            rate(self.throughput_with_swaps, "messages"),
        );
        row("swaps a second", rate(self.swaps_per_second, "swaps"));
        row(
            &format!("resident memory after {WARM_UP_SWAPS} swaps"),
            match self.swaps < WARM_UP_SWAPS {
                true => "-".to_owned(),
                false => size(self.resident_after_500_swaps),
            },
        );
        row("resident memory at the end", size(self.resident_at_end));
        row(
            "growth",
            self.growth_percent
                .map_or("-".to_owned(), |percent| format!("{percent:+.1} %")),
        );
        if !self.phases.is_empty() {
            lines.push(format!(
                "\n  {:<17} {:>12} {:>12} {:>12}",
                "of a swap", "p50", "p99", "max"
            ));
        }
        for spread in &self.phases {
            lines.push(format!(
                "  {:<17} {:>9.3} ms {:>9.3} ms {:>9.3} ms",
                spread.phase, spread.p50_ms, spread.p99_ms, spread.max_ms
            ));
        }
        lines.push(String::new());
        match self.wrong.is_empty() {
            true => lines.push("nothing lost, nothing doubled, nothing reordered".to_owned()),
            false => lines.extend(self.wrong.iter().map(|what| format!("WRONG: {what}"))),
        }
        lines.join("\n")
    }
}

/// What is wrong with the state that came through all swaps.
fn wrong_state(totals: &Totals, swaps: u64, state_bytes: u64) -> Vec<String> {
    let mut wrong = Vec::new();
    if (totals.swaps, totals.version.as_str()) != (swaps, version_after(swaps)) {
        wrong.push(format!(
            "at the end version {} runs with a state of {} swaps, expected {} and {swaps}",
            totals.version,
            totals.swaps,
            version_after(swaps)
        ));
    }
    if totals.ballast != state_bytes || !totals.intact {
        wrong.push(format!(
            "the state was changed on its way: {} bytes of ballast, {}, expected {state_bytes}",
            totals.ballast,
            if totals.intact { "intact" } else { "spoilt" }
        ));
    }
    if totals.waiting > 0 {
        wrong.push(format!("{} calls were forgotten", totals.waiting));
    }
    wrong
}

fn per_second(rate: Rate) -> f64 {
    match rate.time.is_zero() {
        true => 0.0,
        false => rate.messages as f64 / rate.time.as_secs_f64(),
    }
}

fn growth_percent(early: Option<u64>, late: Option<u64>) -> Option<f64> {
    let (early, late) = (early? as f64, late? as f64);
    (early > 0.0).then(|| (late / early - 1.0) * 100.0)
}

fn size(bytes: Option<u64>) -> String {
    match bytes {
        Some(bytes) if bytes < 1 << 20 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        Some(bytes) => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        None => "unknown".to_owned(),
    }
}

fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::load::Swapped;
    use super::super::phases::Phases;
    use super::super::tally::Tally;
    use super::*;
    use crate::endpoint::record::SwapPhases;
    use crate::error::RpcError;

    /// A run in which all was well: 3000 swaps, 10 messages.
    fn good() -> Outcome {
        let mut phases = Phases::with_room(1);
        phases.take(&SwapPhases {
            pause: Duration::from_micros(250),
            ..SwapPhases::default()
        });
        Outcome {
            tally: Tally {
                sent: 1234,
                answered: 3,
                ..Tally::default()
            },
            totals: Ok(Totals {
                version: "1.0.0".to_owned(),
                swaps: 3000,
                messages: 1234,
                ballast: 1024,
                intact: true,
                ..Totals::default()
            }),
            state_bytes: 1024,
            swapped: Swapped {
                done: 3000,
                failed: 0,
                failure: None,
                phases,
                memory_early: Some(100 << 20),
                memory_late: Some(104 << 20),
            },
            baseline: Rate {
                messages: 1000,
                time: Duration::from_secs(2),
            },
            swapping: Rate::default(),
            interrupted: false,
        }
    }

    #[test]
    fn a_good_run_has_nothing_wrong() {
        let report = Report::new(good(), 5.0);
        assert_eq!(report.wrong(), None);
        let text = report.text();
        for expected in ["1 234", "0.250 ms", "500 messages/s", "+4.0 %", "1.0 KiB"] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }

    /// `spoil` makes one thing wrong; `expected` is in what is said of it.
    fn check(expected: &str, spoil: impl FnOnce(&mut Outcome)) {
        let mut outcome = good();
        spoil(&mut outcome);
        let report = Report::new(outcome, 5.0);
        let wrong = report.wrong().unwrap_or_default();
        assert!(wrong.contains(expected), "{expected} in {wrong:?}");
        assert!(report.text().contains("WRONG"), "{expected}");
    }

    fn totals(outcome: &mut Outcome) -> &mut Totals {
        outcome.totals.as_mut().unwrap()
    }

    #[test]
    fn each_thing_that_must_be_0_is_wrong_if_it_is_not() {
        check("lost", |o| totals(o).messages -= 1);
        check("doubled", |o| totals(o).messages += 1);
        check("reordered", |o| totals(o).reordered = 1);
        check("reordered", |o| o.tally.misplaced = 1);
        check("not current", |o| o.tally.outdated = 1);
        check("asks failed; the first: why", |o| {
            o.tally.failed(|| "why".to_owned());
        });
        check("swaps failed", |o| o.swapped.failed = 1);
    }

    #[test]
    fn a_state_that_did_not_come_through_is_wrong() {
        check("changed", |o| totals(o).intact = false);
        check("changed", |o| totals(o).ballast = 7);
        check("forgotten", |o| totals(o).waiting = 1);
        check("expected 1.0.0 and 3000", |o| totals(o).swaps = 2999);
        check("does not tell", |o| {
            o.totals = Err(RpcError::Unanswered {
                endpoint: "soak".to_owned(),
            });
        });
    }

    #[test]
    fn a_run_without_swaps_is_no_proof() {
        check("nothing was swapped", |o| {
            o.swapped.done = 0;
            totals(o).swaps = 0;
        });
    }

    #[test]
    fn memory_may_grow_within_the_limit_and_is_judged_after_enough_swaps() {
        let grown = |outcome: &mut Outcome| outcome.swapped.memory_late = Some(106 << 20);
        check("grew by 6.0 %", grown);
        let mut few = good();
        grown(&mut few);
        few.swapped.done = 1999;
        totals(&mut few).swaps = 1999;
        totals(&mut few).version = version_after(1999).to_owned();
        assert_eq!(Report::new(few, 5.0).wrong(), None);
        let mut allowed = good();
        grown(&mut allowed);
        assert_eq!(Report::new(allowed, 6.5).wrong(), None);
    }

    #[test]
    fn who_interrupts_gets_what_was_done_so_far() {
        let mut outcome = good();
        outcome.interrupted = true;
        outcome.swapped.done = 0;
        outcome.totals = Ok(Totals {
            version: "1.0.0".to_owned(),
            swaps: 0,
            ..good().totals.unwrap()
        });
        let report = Report::new(outcome, 5.0);
        assert_eq!((report.wrong(), report.is_interrupted()), (None, true));
    }
}
