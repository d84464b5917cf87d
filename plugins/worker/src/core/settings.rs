//! Settings: the configuration, read once at the start, checked, and from then on part of the state.
//!
//! A value that makes no sense is refused with its key, the value and what was expected; so is a key
//! that nobody reads, as it is a mistake more often than not.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use deploy_protocol::MASTER;
use instar_sdk::EndpointRef;
use serde::{Deserialize, Serialize};

use super::{ids, resources};

/// The longest time that a setting may say, about a year: so that sums of times stay in bounds.
const MS_MAX: u64 = 366 * 86_400_000;

/// How a worker is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Addresses `HOST:PORT` of the masters, at least one, each once.
    pub masters: Vec<String>,
    /// Cores that it offers.
    pub cores: u32,
    /// Memory that it offers, in MB.
    pub memory_mb: u32,
    /// Other resources that it offers: name to addresses.
    pub resources: BTreeMap<String, Vec<String>>,
    /// Time between heartbeats.
    pub heartbeat_interval_ms: u64,
    /// Attempts to register after which it tries more slowly.
    pub initial_registration_retries: u32,
    /// Attempts to register after which it gives up.
    pub max_registration_retries: u32,
    /// Time between the first attempts, before jitter.
    pub registration_fast_interval_ms: u64,
    /// Time between later attempts, before jitter.
    pub registration_slow_interval_ms: u64,
    /// Chooses the jitter; none: by chance.
    pub jitter_seed: Option<u64>,
    /// Old work folders are removed.
    pub cleanup_enabled: bool,
    /// Time between clean-ups.
    pub cleanup_interval_ms: u64,
    /// Time for which a work folder stays that is not used any more.
    pub app_data_ttl_ms: u64,
    /// Executors that ended and are still shown.
    pub retained_executors: u32,
    /// Drivers that ended and are still shown.
    pub retained_drivers: u32,
    /// Failures of one report after which the worker registers again.
    pub executor_state_sync_max_attempts: u32,
    /// What a core is worth in percent of a processor.
    pub cpu_percent_per_core: u32,
    /// `DecommissionWorker` is obeyed.
    pub decommission_enabled: bool,
    /// Pattern of its id: time, host, port.
    pub worker_id_pattern: String,
    /// A master that is lost is looked for where it was found, not where it says that it is.
    pub prefer_configured_master_address: bool,
    /// Where it shows pages; empty for nowhere.
    pub web_ui_url: String,
}

impl Settings {
    /// Reads the configuration, given as keys and values.
    ///
    /// # Errors
    /// The first value that makes no sense.
    pub fn read(config: impl IntoIterator<Item = (String, String)>) -> Result<Self, String> {
        let mut config = Config(config.into_iter().collect());
        let settings = Self {
            masters: masters(&config.needed("masters", "the masters, like `h1:7077,h2:7077`")?)?,
            cores: config.needed_number("cores", 1..=10_000)?,
            memory_mb: config.needed_number("memory_mb", 1..=u32::MAX)?,
            resources: resources::read(&config.text("resources", "{}"))?,
            heartbeat_interval_ms: config.number("heartbeat_interval", 15_000, 1..=MS_MAX)?,
            initial_registration_retries: config.number(
                "initial_registration_retries",
                6,
                0..=10_000,
            )?,
            max_registration_retries: config.number("max_registration_retries", 16, 0..=10_000)?,
            registration_fast_interval_ms: config.number(
                "registration_fast_interval",
                10_000,
                1..=MS_MAX,
            )?,
            registration_slow_interval_ms: config.number(
                "registration_slow_interval",
                60_000,
                1..=MS_MAX,
            )?,
            jitter_seed: config.optional_number("jitter_seed")?,
            cleanup_enabled: config.switch("cleanup_enabled", true)?,
            cleanup_interval_ms: config.number("cleanup_interval", 1_800_000, 1..=MS_MAX)?,
            app_data_ttl_ms: config.number("app_data_ttl", 604_800_000, 0..=MS_MAX)?,
            retained_executors: config.number("retained_executors", 1000, 0..=1_000_000)?,
            retained_drivers: config.number("retained_drivers", 1000, 0..=1_000_000)?,
            executor_state_sync_max_attempts: config.number(
                "executor_state_sync_max_attempts",
                5,
                1..=10_000,
            )?,
            cpu_percent_per_core: config.number("cpu_percent_per_core", 100, 1..=100_000)?,
            decommission_enabled: config.switch("decommission_enabled", false)?,
            worker_id_pattern: ids::pattern(config.text("worker_id_pattern", ids::WORKER_PATTERN))?,
            prefer_configured_master_address: config
                .switch("prefer_configured_master_address", false)?,
            web_ui_url: config.text("web_ui_url", ""),
        };
        config.nothing_is_left()?;
        settings.checked()
    }

    fn checked(self) -> Result<Self, String> {
        let (fast, all) = (
            self.initial_registration_retries,
            self.max_registration_retries,
        );
        if fast > all {
            return Err(format!(
                "configuration `initial_registration_retries` is `{fast}` and \
                 `max_registration_retries` is `{all}`; expected the first to be at most the second"
            ));
        }
        Ok(self)
    }
}

fn masters(text: &str) -> Result<Vec<String>, String> {
    let mut masters: Vec<String> = Vec::new();
    for address in text.split(',').map(str::trim) {
        if let Err(reason) = format!("instar://{MASTER}@{address}").parse::<EndpointRef>() {
            let expected = "addresses HOST:PORT with commas between, like `h1:7077,h2:7077`";
            return Err(format!("{}: {reason}", wrong("masters", text, expected)));
        }
        if !masters.iter().any(|known| known == address) {
            masters.push(address.to_owned());
        }
    }
    Ok(masters)
}

/// What is said of a value that makes no sense.
pub(super) fn wrong(key: &str, value: &str, expected: impl Display) -> String {
    format!("configuration `{key}` is `{value}`; expected {expected}")
}

/// The keys and values that nobody has read yet.
struct Config(BTreeMap<String, String>);

impl Config {
    fn text(&mut self, key: &str, default: &str) -> String {
        self.0.remove(key).unwrap_or_else(|| default.to_owned())
    }

    fn needed(&mut self, key: &str, expected: &str) -> Result<String, String> {
        let missing = || {
            format!(
                "configuration `{key}` is missing; write {expected} into the sidecar's [config]"
            )
        };
        self.0.remove(key).ok_or_else(missing)
    }

    fn needed_number(&mut self, key: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
        let value = self.needed(key, &format!("how many, as `{key} = N`,"))?;
        number(key, &value, &range)
    }

    fn number<T>(&mut self, key: &str, default: T, range: RangeInclusive<T>) -> Result<T, String>
    where
        T: std::str::FromStr + PartialOrd + Display,
    {
        let Some(value) = self.0.remove(key) else {
            return Ok(default);
        };
        number(key, &value, &range)
    }

    fn optional_number(&mut self, key: &str) -> Result<Option<u64>, String> {
        let value = self.0.remove(key);
        value
            .map(|value| number(key, &value, &(0..=u64::MAX)))
            .transpose()
    }

    fn switch(&mut self, key: &str, default: bool) -> Result<bool, String> {
        let value = self.text(key, if default { "true" } else { "false" });
        value
            .parse()
            .map_err(|_| wrong(key, &value, "`true` or `false`"))
    }

    fn nothing_is_left(self) -> Result<(), String> {
        let left: Vec<String> = self.0.into_keys().map(|key| format!("`{key}`")).collect();
        if left.is_empty() {
            return Ok(());
        }
        Err(format!(
            "configuration has {}, which a worker does not know; its README lists the keys",
            left.join(", ")
        ))
    }
}

fn number<T>(key: &str, value: &str, range: &RangeInclusive<T>) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + Display,
{
    let expected = || format!("a whole number from {} to {}", range.start(), range.end());
    let number = value.parse().ok();
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| wrong(key, value, expected()))
}
