//! `instar soak` as its user runs it: the binary, its JSON and its exit status.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::process::{Command, Output};

use serde_json::Value;

fn soak(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_instar"))
        .arg("soak")
        .args(arguments)
        // Compiled once for all runs of the tests.
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap()
}

#[test]
fn a_short_run_swaps_under_load_and_nothing_is_lost_doubled_or_reordered() {
    let output = soak(&["--swaps", "30", "--for", "20s", "--json"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}{errors}");
    for name in [
        "lost",
        "doubled",
        "reordered",
        "asks_failed",
        "answered_by_outdated_version",
        "swaps_failed",
    ] {
        assert_eq!(report[name], 0, "{name} in {text}");
    }
    assert_eq!(report["wrong"], serde_json::json!([]));
    // A busy machine may not come to all of them in its time.
    let swaps = report["swaps"].as_u64().unwrap();
    assert!((1..=30).contains(&swaps), "{text}");
    for name in ["messages", "asks_answered", "answered_by_later_version"] {
        assert!(report[name].as_u64().unwrap() > 0, "{name} in {text}");
    }
    let phases = report["phases"].as_array().unwrap();
    let names: Vec<_> = phases.iter().map(|phase| &phase["phase"]).collect();
    assert_eq!(names, ["pause", "freeze", "snapshot", "restore", "flip"]);
}

#[test]
fn a_value_that_makes_no_sense_is_bad_input_and_says_what_is_expected() {
    for (arguments, expected) in [
        (["--swaps", "0"], "1..=1000000"),
        (["--for", "10ms"], "expected 1s to 30 days"),
        (["--state", "1 MB"], "units B, KiB, MiB, GiB"),
        (["--senders", "0"], "1..=256"),
        (["--memory-growth", "5%"], "expected a percentage"),
    ] {
        let output = soak(&arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(expected), "{expected} in {errors}");
    }
}
