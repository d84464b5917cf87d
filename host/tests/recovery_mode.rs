//! Options about ZooKeeper as their user meets them: what can never work ends the program at once, with exit
//! status 2, and is said once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

const UP: &[&str] = &["up", "--plugins", "none", "--listen", "127.0.0.1:0"];
const MASTER: &[&str] = &["master", "--port", "0"];

/// Expects that the program refuses its arguments, and says `expected` once.
fn refused(command: &[&str], options: &[&str], expected: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_instar"))
        .args(command)
        .args(options)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{options:?}: {errors}");
    assert_eq!(errors.matches(expected).count(), 1, "{options:?}: {errors}");
}

#[test]
fn settings_that_can_never_work_are_bad_input_and_said_once() {
    let refused = |options: &[&str], expected| {
        let options = [&["--recovery-mode", "zookeeper"], options].concat();
        refused(UP, &options, expected);
        refused(MASTER, &options, expected);
        // That was a parent, before its child; this is one process.
        refused(MASTER, &[&["--no-parent"], &*options].concat(), expected);
    };
    refused(&[], "needs --zookeeper-url");
    refused(&["--zookeeper-url", "one:x"], "is no address of ZooKeeper");
    let url = ["--zookeeper-url", "127.0.0.1:1"];
    let with = |option, value| [&url[..], &[option, value]].concat();
    refused(&with("--zookeeper-dir", "a//b"), "is no path in ZooKeeper");
    refused(
        &with("--zookeeper-auth-file", "/missing"),
        "cannot read /missing",
    );
    refused(
        &with("--zookeeper-tls-ca", "/missing"),
        "it would be plain text",
    );
    let tls = ["--zookeeper-url", "tcp+tls://127.0.0.1:1"];
    refused(&tls, "no certificates of authorities are named");
    refused(
        &[&tls[..], &["--zookeeper-tls-ca", "/missing"]].concat(),
        "cannot read /missing",
    );
}

#[test]
fn an_option_that_the_mode_has_no_use_for_is_refused() {
    let option_and_mode = |option, mode| {
        format!("{option} is for --recovery-mode zookeeper; it is `{mode}`: give that mode")
    };
    for (option, value) in [
        ("--zookeeper-url", "127.0.0.1:1"),
        ("--zookeeper-dir", "/spark"),
        ("--zookeeper-session-timeout", "10s"),
        ("--zookeeper-auth-file", "/missing"),
        ("--zookeeper-tls-ca", "/missing"),
    ] {
        refused(MASTER, &[option, value], &option_and_mode(option, "none"));
        refused(UP, &[option, value], &option_and_mode(option, "none"));
        let with_store = ["--store", "none", option, value];
        refused(UP, &with_store, &option_and_mode(option, "filesystem"));
    }
    let expected = option_and_mode("--no-parent", "filesystem");
    let options = ["--recovery-mode", "filesystem", "--no-parent"];
    refused(MASTER, &options, &expected);
}
