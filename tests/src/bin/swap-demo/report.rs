//! Report: the table at the end, and whether it is good.

use std::time::Duration;

use instar_host::endpoint::record::{SwapOutcome, SwapRecord};

use super::feeder::Fed;

/// Prints the table. False where a number that must be 0 is not, or the counts differ.
pub(crate) fn print(fed: &Fed, history: &[SwapRecord], dropped: u64, took: Duration) -> bool {
    let swapped = |record: &&SwapRecord| record.outcome == SwapOutcome::Swapped;
    let mut pauses: Vec<_> = history
        .iter()
        .filter(swapped)
        .map(|r| r.phases.pause)
        .collect();
    pauses.sort();
    let failed = history.len() - pauses.len();
    let totals = &fed.totals;
    let lost = totals.lost + fed.lines.saturating_sub(totals.lines);
    let seconds = took.as_secs_f64();
    let out_of_order = totals.out_of_order + fed.answers.out_of_place;
    let row = |name: &str, value: String| println!("  {name:<36} {value:>16}");
    println!();
    row("bytes", number(fed.bytes));
    if fed.readings > 1 {
        row("times the folder was read", number(fed.readings));
    }
    row("lines sent", number(fed.lines));
    row("asks answered", number(fed.answers.answered));
    row("asks failed", number(fed.answers.failed));
    row("lost", number(lost));
    row("doubled", number(totals.doubled));
    row("out of order", number(out_of_order));
    row("files dropped", number(dropped));
    row("swaps", number(pauses.len() as u64));
    row("swaps that failed", number(failed as u64));
    row("swap pause p50", pause(&pauses, 0.50));
    row("swap pause p99", pause(&pauses, 0.99));
    row("swap pause max", pause(&pauses, 1.0));
    row(
        "throughput",
        format!("{} lines/s", number((fed.lines as f64 / seconds) as u64)),
    );
    row("", format!("{:.1} MB/s", fed.bytes as f64 / 1e6 / seconds));
    row(
        &format!("words, endpoint (v{} at the end)", totals.version),
        number(totals.words),
    );
    row("words, wc -w", number(fed.wc_words));
    println!();
    if let Some(failure) = &fed.answers.failure {
        println!("first failed ask: {failure}");
    }
    let failures = history.iter().filter(|record| !swapped(record));
    for record in failures.take(3) {
        println!("swap {} failed: {:?}", record.number, record.outcome);
    }
    let checks = [
        (fed.lines > 0, "no line was sent: is the folder empty?"),
        (
            fed.answers.answered == fed.answers.asked,
            "not every ask was answered",
        ),
        (lost == 0, "lines were lost"),
        (totals.doubled == 0, "lines were doubled"),
        (out_of_order == 0, "lines or answers came out of order"),
        (totals.bytes == fed.bytes, "the bytes differ"),
        (totals.words == fed.wc_words, "the word counts differ"),
        (failed == 0, "swaps failed"),
        (!pauses.is_empty(), "nothing was swapped"),
    ];
    let bad: Vec<_> = checks.iter().filter(|(good, _)| !good).collect();
    for (_, what) in &bad {
        println!("WRONG: {what}");
    }
    if bad.is_empty() {
        println!("nothing lost, nothing doubled, nothing out of order, and the counts agree");
    }
    bad.is_empty()
}

fn pause(sorted: &[Duration], quantile: f64) -> String {
    let last = sorted.len().saturating_sub(1);
    let index = (last as f64 * quantile).round() as usize;
    match sorted.get(index) {
        Some(pause) => format!("{:.3} ms", pause.as_secs_f64() * 1e3),
        None => "-".to_owned(),
    }
}

fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}
