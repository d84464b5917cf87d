//! Every value that makes no sense is refused with its key, what it is, and what was expected.

mod common;

use common::config;
use instar_sdk::testing::TestEndpoint;
use worker::Worker;
use worker::core::ids;
use worker::core::settings::Settings;

fn refused(more: &[(&str, &str)]) -> String {
    match TestEndpoint::<Worker>::try_start(&config(more)) {
        Ok(_) => panic!("{more:?} was accepted"),
        Err(failure) => failure.text,
    }
}

fn accepted(more: &[(&str, &str)]) -> Settings {
    TestEndpoint::<Worker>::start_with(&config(more))
        .with(|worker| worker.core().settings().clone())
}

#[test]
fn a_bad_value_is_refused_with_key_value_and_expectation() {
    let number = "a whole number from ";
    let switch = "`true` or `false`";
    let pattern = "no white space";
    for (key, value, expected) in [
        ("masters", "", "HOST:PORT"),
        ("masters", "m1", "HOST:PORT"),
        ("masters", "m1:7077,", "HOST:PORT"),
        ("masters", "m1:99999", "HOST:PORT"),
        ("masters", "spark://m1:7077", "HOST:PORT"),
        ("cores", "0", "1 to 10000"),
        ("cores", "two", number),
        ("cores", "-1", number),
        ("memory_mb", "0", "1 to "),
        // W19 to W22: no unit is guessed; the key says it.
        ("memory_mb", "5G", number),
        ("heartbeat_interval", "0", number),
        ("heartbeat_interval", "15s", number),
        ("initial_registration_retries", "x", number),
        ("max_registration_retries", "-1", number),
        ("registration_fast_interval", "0", number),
        ("registration_slow_interval", "1.5", number),
        ("registration_slow_interval", "99999999999999", number),
        ("jitter_seed", "x", number),
        ("cleanup_enabled", "yes", switch),
        ("cleanup_interval", "0", number),
        ("app_data_ttl", "week", number),
        ("retained_executors", "-1", number),
        ("retained_drivers", "many", number),
        ("executor_state_sync_max_attempts", "0", "1 to "),
        ("cpu_percent_per_core", "0", "1 to "),
        ("resources", "gpu", "JSON"),
        ("resources", r#"{"gpu": 2}"#, "JSON"),
        ("resources", r#"{"gpu": []}"#, "no address"),
        ("resources", r#"{"gpu": ["0", "0"]}"#, "one twice"),
        ("resources", r#"{"": ["0"]}"#, "no name"),
        ("decommission_enabled", "1", switch),
        // W17.
        ("worker_id_pattern", "worker %s", pattern),
        ("worker_id_pattern", "", pattern),
        ("worker_id_pattern", "%d-%s", pattern),
        ("worker_id_pattern", "%s-%s-%d-%d", pattern),
        ("worker_id_pattern", "100%", pattern),
        ("prefer_configured_master_address", "TRUE", switch),
    ] {
        let text = refused(&[(key, value)]);
        let named = format!("configuration `{key}` is `{value}`");
        assert!(text.contains(&named), "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_value_that_is_needed_and_missing_is_named() {
    for key in ["masters", "cores", "memory_mb"] {
        let config = config(&[]);
        let without: Vec<_> = config.into_iter().filter(|(k, _)| *k != key).collect();
        let failure = TestEndpoint::<Worker>::try_start(&without).err().unwrap();
        let named = format!("configuration `{key}` is missing");
        assert!(failure.text.contains(&named), "{failure}");
    }
}

#[test]
fn two_values_that_contradict_each_other_are_both_named() {
    let text = refused(&[("max_registration_retries", "5")]);
    assert!(
        text.contains("`initial_registration_retries` is `6`"),
        "{text}"
    );
    assert!(text.contains("`max_registration_retries` is `5`"), "{text}");
}

#[test]
fn keys_that_nobody_reads_are_refused() {
    let text = refused(&[("core", "4"), ("heartbeat", "1")]);
    assert!(text.contains("`core`, `heartbeat`"), "{text}");
}

/// W7, W8.
#[test]
fn without_further_settings_they_are_those_of_spark() {
    let settings = accepted(&[]);
    assert_eq!(settings.masters, ["m1:7077", "m2:7077"]);
    assert_eq!(settings.heartbeat_interval_ms, 15_000);
    assert_eq!(
        (
            settings.initial_registration_retries,
            settings.max_registration_retries
        ),
        (6, 16)
    );
    assert_eq!(
        (
            settings.registration_fast_interval_ms,
            settings.registration_slow_interval_ms
        ),
        (10_000, 60_000)
    );
    assert!(settings.cleanup_enabled && !settings.decommission_enabled);
    assert_eq!(
        (settings.cleanup_interval_ms, settings.app_data_ttl_ms),
        (1_800_000, 604_800_000)
    );
    assert_eq!(
        (settings.retained_executors, settings.retained_drivers),
        (1000, 1000)
    );
    assert_eq!(settings.executor_state_sync_max_attempts, 5);
    assert!(!settings.prefer_configured_master_address);
    assert!(settings.resources.is_empty());
    let settings = accepted(&[("resources", r#"{"gpu": ["0", "1"], "fpga": ["f"]}"#)]);
    assert_eq!(settings.resources["gpu"], ["0", "1"]);
    assert_eq!(settings.resources["fpga"], ["f"]);
}

#[test]
fn a_master_that_is_named_twice_is_one() {
    let settings = accepted(&[("masters", "m1:7077, m2:7077,m1:7077")]);
    assert_eq!(settings.masters, ["m1:7077", "m2:7077"]);
}

/// W16.
#[test]
fn the_id_follows_its_pattern() {
    let at = 1_795_532_400_000;
    for (pattern, id) in [
        (ids::WORKER_PATTERN, "worker-20261124150000-h-7"),
        ("my-%s", "my-20261124150000"),
        ("%s@%s", "20261124150000@h"),
        ("100%%", "100%"),
        ("w", "w"),
    ] {
        assert_eq!(ids::worker_id(pattern, at, "h", 7), id);
    }
    let mut worker = common::start(&[("worker_id_pattern", "my-worker")]);
    assert_eq!(common::look(&mut worker).worker_id, "my-worker");
    let mut worker = common::start(&[]);
    let id = common::look(&mut worker).worker_id;
    assert!(
        id.starts_with("worker-20") && id.ends_with("-test-host-7077"),
        "{id}"
    );
}
