//! What a sidecar may say, and how it is told what is wrong with it.

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Sidecar {
    Sidecar::parse(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

fn refused(text: &str, expected: &str) {
    let error = Sidecar::parse(text).expect_err(text).to_string();
    assert!(
        error.contains(expected),
        "expected {expected:?} in {error:?}"
    );
}

#[test]
fn an_empty_sidecar_means_the_defaults() {
    assert_eq!(read(""), Sidecar::default());
}

#[test]
fn each_key_is_read() {
    let sidecar = read(
        r#"
        endpoints = ["a", "b"]
        grants = ["clock", "registry", "message:count.Reset", "message:*", "entries:2"]
        [config]
        greeting = "hello"
        [limits]
        memory = "32 MiB"
        table_elements = 500
        core_instances = 6
        message = "2 MiB"
        inbox = 8
        turn = "1s"
        restore = "2s"
        drain = "3s"
        open_asks = 4
        open_calls = 5
        timers = 0
        channels = 3
        refresh_above = "16 MiB"
        send_wait = "0s"
        [probation]
        messages = 6
        time = "7s"
        bytes = "8 MiB"
        [checkpoint]
        messages = 9
        time = "10s"
        [rehearsal]
        messages = 11
        "#,
    );
    assert_eq!(sidecar.endpoints, ["a", "b"]);
    for grant in [
        "clock",
        "registry",
        "message:count.Reset",
        "message:*",
        "entries:2",
    ] {
        assert!(sidecar.settings.grants.contains(grant), "{grant}");
    }
    assert_eq!(sidecar.settings.config["greeting"], "hello");
    let expected = Limits {
        memory_bytes: 32 << 20,
        table_elements: 500,
        core_instances: 6,
        message_bytes: 2 << 20,
        inbox: 8,
        turn: Duration::from_secs(1),
        restore: Duration::from_secs(2),
        drain: Duration::from_secs(3),
        open_asks: 4,
        open_calls: 5,
        timers: 0,
        channels: 3,
        refresh_above: Some(16 << 20),
        send_wait: Duration::ZERO,
        cpu_percent: None,
    };
    assert_eq!(sidecar.settings.limits, expected);
    let expected = Probation {
        messages: 6,
        time: Duration::from_secs(7),
        bytes: 8 << 20,
    };
    assert_eq!(sidecar.settings.probation, expected);
    let expected = Checkpoint {
        messages: Some(9),
        time: Some(Duration::from_secs(10)),
    };
    assert_eq!(sidecar.settings.checkpoint, expected);
    assert_eq!(sidecar.settings.rehearsal, Rehearsed { messages: 11 });
}

/// No probation and no rehearsal are choices; a copy after no message would never end.
#[test]
fn what_can_be_switched_off_is_switched_off_with_a_zero() {
    let sidecar = read("[probation]\nmessages = 0\ntime = '0s'\n[rehearsal]\nmessages = 0");
    let probation = sidecar.settings.probation;
    assert_eq!((probation.messages, probation.time), (0, Duration::ZERO));
    assert_eq!(sidecar.settings.rehearsal.messages, 0);
    assert_eq!(sidecar.settings.checkpoint, Checkpoint::default());
    refused(
        "[checkpoint]\nmessages = 0",
        "`checkpoint.messages` is 0; expected 1 to",
    );
}

#[test]
fn configuration_reaches_the_endpoint_as_flat_text() {
    let sidecar = read(
        r#"
        [config]
        count = 3
        share = 0.5
        on = true
        day = 2026-01-02
        list = [1, "two", [3.5], { four = inf }]
        [config.log]
        level = "info"
        sink.path = "x"
        "#,
    );
    let found: Vec<_> = sidecar.settings.config.into_iter().collect();
    let expected = [
        ("count", "3"),
        ("day", "2026-01-02"),
        ("list", r#"[1,"two",[3.5],{"four":"inf"}]"#),
        ("log.level", "info"),
        ("log.sink.path", "x"),
        ("on", "true"),
        ("share", "0.5"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(found, expected);
}

#[test]
fn what_is_wrong_is_named_with_key_expected_and_found() {
    refused(
        "endpoint = 'a'",
        "unknown key `endpoint`; known: `endpoints`, `config`",
    );
    refused(
        "[limits]\nmem = 1",
        "unknown key `limits.mem`; known: `memory`",
    );
    refused(
        "endpoints = 'a'",
        "`endpoints`: expected a list of texts, found text \"a\"",
    );
    refused("endpoints = [1]", "found number 1");
    refused(
        "endpoints = []",
        "`endpoints` has 0 names; expected 1 to 64",
    );
    refused("endpoints = ['a', 'a']", "names `a` twice");
    refused("endpoints = ['a b']", "not allowed in an endpoint name");
    refused("grants = ['files']", "unknown right `files`; known: `");
    refused("config = 1", "`config`: expected a table, found number 1");
    refused("limits = []", "`limits`: expected a table, found a list");
    refused(
        "[limits]\nmemory = '1 MB'",
        "expected bytes as a number, or text like",
    );
    refused(
        "[limits]\nmemory = 1",
        "`limits.memory` is 1 B; expected 64 KiB to 4 GiB",
    );
    refused(
        "[limits]\nmemory = '5 GiB'",
        "is 5 GiB; expected 64 KiB to 4 GiB",
    );
    refused(
        "[limits]\nmessage = 0",
        "`limits.message` is 0 B; expected 1 KiB to 1 GiB",
    );
    refused("[limits]\nmessage = '1 MB'", "expected bytes as a number");
    refused(
        "[limits]\ntable_elements = 20001",
        "`limits.table_elements` is 20001; expected 1 to 20000",
    );
    refused(
        "[limits]\ncore_instances = 0",
        "`limits.core_instances` is 0; expected 1 to 64",
    );
    refused(
        "[limits]\ninbox = 0",
        "`limits.inbox` is 0; expected 1 to 1048576",
    );
    refused("[limits]\ninbox = -1", "`limits.inbox` is -1");
    refused(
        "[limits]\ninbox = 1.5",
        "expected a whole number, found number 1.5",
    );
    refused(
        "[limits]\nturn = 10",
        "expected text like \"10s\" (units ms, s, min, h)",
    );
    refused(
        "[limits]\nturn = '2h'",
        "`limits.turn` is 2h; expected 1ms to 1h",
    );
    refused(
        "[probation]\nmessage = 1",
        "unknown key `probation.message`",
    );
    refused(
        "[probation]\nmessages = 2000000",
        "`probation.messages` is 2000000; expected 0 to 1048576",
    );
    refused("[probation]\nbytes = 1", "expected 64 KiB to 1 GiB");
    refused("[checkpoint]\ntime = '1ms'", "expected 100ms to 24h");
    refused("[rehearsal]\nmessages = 5000", "expected 0 to 4096");
    refused("rehearsal = 5", "`rehearsal`: expected a table");
    refused(
        "grants = ['message:']",
        "unknown right `message:`; known: `",
    );
    refused("grants = ['mesage:a']", "`message:KIND`, `message:*`");
    refused("grants = ['entries:02']", "`entries:FORMAT`");
    refused(
        "[limits]\nrefresh_above = '64 MiB'",
        "`limits.refresh_above` is 64 MiB; expected less than `limits.memory`, which is 64 MiB",
    );
    refused("a = 1\nb = = 2", "line 2: ");
    refused("[config]\n'a.b' = 1\na.b = 2", "the key `a.b` twice");
}

#[test]
fn a_sidecar_that_is_too_large_or_too_deep_is_refused() {
    refused(&"#".repeat(70_000), "larger than the limit of 65536 bytes");
    refused(
        &format!("config.{}x = 1", "a.".repeat(20)),
        "deeper than 16 tables",
    );
    assert!(Sidecar::parse(&format!("x = {}", "[".repeat(60_000))).is_err());
    assert!(Sidecar::parse(&format!("{}x = 1", "a.".repeat(30_000))).is_err());
    assert!(
        Sidecar::parse(&format!(
            "config.a = {}1{}",
            "[".repeat(3000),
            "]".repeat(3000)
        ))
        .is_err()
    );
}

fn toml_like() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("[config]".to_owned()),
        Just("[limits]".to_owned()),
        Just("[probation]".to_owned()),
        "(endpoints|grants|memory|messages|turn|inbox|config\\.a|[a-z]{1,3}) = [-\\[\\]\"'0-9a-z. ]{0,12}",
        any::<String>(),
    ];
    prop::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in toml_like()) {
        if let Ok(sidecar) = Sidecar::parse(&text) {
            // What is accepted holds the bounds that the rest relies on.
            prop_assert!(sidecar.endpoints.len() <= Sidecar::ENDPOINTS_MAX);
            prop_assert!(sidecar.settings.limits.inbox >= 1);
        }
    }
}
