//! `instar inspect` as its user runs it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::process::Command;

use instar_host::bundled;
use instar_host::component::code::Code;
use serde_json::{Value, json};

fn inspect(code: &Code, options: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("inspected.wasm");
    std::fs::write(&file, code.bytes()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_instar"))
        .arg("inspect")
        .arg(&file)
        .args(options)
        // Compiled once for all runs of the tests.
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn formats_of_entries_are_shown_for_a_component_that_says_something_about_them() {
    let check = |code: &Code, expected_json: Value, expected: Option<&str>| {
        let report: Value = serde_json::from_str(&inspect(code, &["--json"])).unwrap();
        assert_eq!(report["entries"], expected_json);
        let text = inspect(code, &[]);
        let line = text.lines().find(|line| line.starts_with("  entries"));
        assert_eq!(line, expected, "{text}");
    };
    check(
        &bundled::master(),
        json!({"writes": 1, "reads": [1]}),
        Some("  entries     writes 1; reads 1"),
    );
    check(&bundled::endpoint_verifier(), Value::Null, None);
}
