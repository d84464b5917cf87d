//! Settings: what the configuration of a master says. Every bad value is refused with its key, the
//! value, and what is expected; so is a key that nothing reads.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use super::ids::IdPattern;
use super::policy::Policy;
use super::policy::selection::Selection;

/// Where a master writes down what the next one must know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecoveryMode {
    /// Nowhere.
    #[default]
    None,
    /// In the store of its host.
    Filesystem,
    /// In ZooKeeper, by the store of its host: several masters, of which one leads.
    ZooKeeper,
}

impl RecoveryMode {
    /// True where something is written down.
    pub fn keeps(self) -> bool {
        self != Self::None
    }
}

impl FromStr for RecoveryMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "none" => Ok(Self::None),
            "filesystem" => Ok(Self::Filesystem),
            "zookeeper" => Ok(Self::ZooKeeper),
            _ => Err("it is one of `none`, `filesystem`, `zookeeper`".to_owned()),
        }
    }
}

/// What the configuration says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Where a master writes down what the next one must know.
    pub recovery_mode: RecoveryMode,
    /// Silence after which a worker is lost.
    pub worker_timeout: Duration,
    /// Time-outs for which a lost worker is still listed.
    pub dead_worker_persistence: u32,
    /// Applications that ended and are still listed.
    pub retained_applications: u32,
    /// Drivers that ended and are still listed.
    pub retained_drivers: u32,
    /// Executors of an application that may fail one after the other; none: any number.
    pub max_executor_retries: Option<u32>,
    /// Cores of an application that does not say how many it wants; none: all.
    pub default_cores: Option<u32>,
    /// Drivers that run at once; none: any number.
    pub max_drivers: Option<u32>,
    /// A driver goes to the next worker in turn, not to the first one that fits.
    pub spread_out_drivers: bool,
    /// Which workers are looked at first.
    pub selection: Selection,
    /// How executors are placed, if not as the build says.
    pub policy: Option<Policy>,
    /// How ids of applications look.
    pub app_id_pattern: IdPattern,
    /// How ids of drivers look.
    pub driver_id_pattern: IdPattern,
    /// Numbers of applications begin again at 0 after so many.
    pub app_number_modulo: Option<u32>,
    /// The id of an application is its name.
    pub use_app_name_as_app_id: bool,
    /// The name of a submitted application is the id of its driver.
    pub use_driver_id_as_app_name: bool,
    /// How long recovery waits for those that do not answer.
    pub recovery_timeout: Duration,
}

impl Settings {
    /// The settings in a configuration.
    ///
    /// # Errors
    /// [`Failure::FAILED`] names key, value and what is expected.
    pub fn read(config: &[(String, String)]) -> Result<Self, Failure> {
        let mut reader = Reader {
            config,
            known: Vec::new(),
        };
        let settings = reader.settings()?;
        let unknown = config
            .iter()
            .find(|(key, _)| !reader.known.contains(&key.as_str()));
        if let Some((key, value)) = unknown {
            let known = reader.known.join(", ");
            return Err(refused(
                key,
                value,
                &format!("nothing reads it; known are {known}"),
            ));
        }
        Ok(settings)
    }

    /// How executors are placed.
    pub fn policy(&self) -> Policy {
        self.policy.unwrap_or(Policy::OF_THIS_BUILD)
    }

    /// How often it is checked who is silent: so many times in a time-out that a silent worker is
    /// found after 1 to 1.25 time-outs.
    pub fn check_every(&self) -> Duration {
        self.worker_timeout / CHECKS_PER_TIMEOUT
    }

    /// Checks after which a lost worker is forgotten.
    pub fn checks_until_forgotten(&self) -> u64 {
        (u64::from(self.dead_worker_persistence) + 1) * u64::from(CHECKS_PER_TIMEOUT)
    }
}

/// See [`Settings::check_every`].
pub const CHECKS_PER_TIMEOUT: u32 = 4;

struct Reader<'a> {
    config: &'a [(String, String)],
    known: Vec<&'static str>,
}

impl Reader<'_> {
    fn settings(&mut self) -> Result<Settings, Failure> {
        let worker_timeout = self.milliseconds("worker_timeout", 60_000)?;
        let recovery_timeout = self.get("recovery_timeout", MILLISECONDS, milliseconds)?;
        Ok(Settings {
            recovery_mode: self.or("recovery_mode", RecoveryMode::None)?,
            worker_timeout,
            dead_worker_persistence: self.number("dead_worker_persistence", 15)?,
            retained_applications: self.number("retained_applications", 200)?,
            retained_drivers: self.number("retained_drivers", 200)?,
            max_executor_retries: self.max_executor_retries()?,
            default_cores: self.get("default_cores", AT_LEAST_ONE, at_least_one)?,
            max_drivers: self.get("max_drivers", AT_LEAST_ONE, at_least_one)?,
            spread_out_drivers: self.flag("spread_out_drivers")?.unwrap_or(true),
            selection: self.or("worker_selection_policy", Selection::default())?,
            policy: self.flag("spread_out_apps")?.map(|spread| match spread {
                true => Policy::SpreadOut,
                false => Policy::Consolidate,
            }),
            app_id_pattern: self.pattern("app_id_pattern", "app-%s-%04d")?,
            driver_id_pattern: self.pattern("driver_id_pattern", "driver-%s-%04d")?,
            app_number_modulo: self.get(
                "app_number_modulo",
                "a whole number, at least 1000",
                |text| text.parse().ok().filter(|modulo| *modulo >= 1000),
            )?,
            use_app_name_as_app_id: self.flag("use_app_name_as_app_id")?.unwrap_or(false),
            use_driver_id_as_app_name: self.flag("use_driver_id_as_app_name")?.unwrap_or(false),
            recovery_timeout: recovery_timeout.unwrap_or(worker_timeout),
        })
    }

    fn text(&mut self, key: &'static str) -> Option<&str> {
        self.known.push(key);
        let mut pairs = self.config.iter();
        pairs
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    fn get<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let Some(text) = self.text(key) else {
            return Ok(None);
        };
        match read(text.trim()) {
            Some(value) => Ok(Some(value)),
            None => Err(refused(key, text, &format!("expected is {expected}"))),
        }
    }

    fn or<T>(&mut self, key: &'static str, default: T) -> Result<T, Failure>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        match self.text(key) {
            None => Ok(default),
            Some(text) => text
                .trim()
                .parse()
                .map_err(|reason: T::Err| refused(key, text, &reason.to_string())),
        }
    }

    fn pattern(&mut self, key: &'static str, default: &str) -> Result<IdPattern, Failure> {
        let text = self.text(key).unwrap_or(default);
        text.parse()
            .map_err(|reason: String| refused(key, text, &reason))
    }

    fn number(&mut self, key: &'static str, default: u32) -> Result<u32, Failure> {
        let number = self.get(key, "a whole number, 0 or more", |text| text.parse().ok())?;
        Ok(number.unwrap_or(default))
    }

    fn milliseconds(&mut self, key: &'static str, default: u64) -> Result<Duration, Failure> {
        let duration = self.get(key, MILLISECONDS, milliseconds)?;
        Ok(duration.unwrap_or(Duration::from_millis(default)))
    }

    fn flag(&mut self, key: &'static str) -> Result<Option<bool>, Failure> {
        self.get(key, "`true` or `false`", |text| {
            text.to_ascii_lowercase().parse().ok()
        })
    }

    fn max_executor_retries(&mut self) -> Result<Option<u32>, Failure> {
        let expected = "a whole number; a negative one means no limit";
        let number: Option<i64> =
            self.get("max_executor_retries", expected, |text| text.parse().ok())?;
        match number {
            None => Ok(Some(10)),
            Some(number) => Ok(u32::try_from(number).ok()),
        }
    }
}

const MILLISECONDS: &str = "a whole number of milliseconds, 4 to 604800000";
const AT_LEAST_ONE: &str = "a whole number, at least 1";

fn milliseconds(text: &str) -> Option<Duration> {
    let number: u64 = text.parse().ok()?;
    (4..=604_800_000)
        .contains(&number)
        .then(|| Duration::from_millis(number))
}

fn at_least_one(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number >= 1)
}

fn refused(key: &str, value: &str, reason: &str) -> Failure {
    Failure::new(format!(
        "configuration `{key}` is `{value}`: {reason}; correct it in the sidecar or with --config"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, Failure> {
        let config: Vec<(String, String)> = pairs
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Settings::read(&config)
    }

    #[test]
    fn what_is_not_said_is_as_in_spark() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.worker_timeout, Duration::from_secs(60));
        assert_eq!(settings.recovery_timeout, Duration::from_secs(60));
        assert_eq!(settings.check_every(), Duration::from_secs(15));
        assert_eq!(settings.checks_until_forgotten(), 64);
        assert_eq!(settings.max_executor_retries, Some(10));
        assert_eq!(settings.recovery_mode, RecoveryMode::None);
        assert_eq!(settings.policy(), Policy::OF_THIS_BUILD);
    }

    #[test]
    fn case_and_space_do_not_matter_and_a_negative_number_of_retries_is_no_limit() {
        let settings = read(&[
            ("recovery_mode", " FileSystem "),
            ("worker_selection_policy", "memory_free_asc"),
            ("max_executor_retries", "-1"),
            ("spread_out_apps", "FALSE"),
            ("worker_timeout", "1000"),
        ])
        .unwrap();
        assert_eq!(settings.recovery_mode, RecoveryMode::Filesystem);
        assert_eq!(settings.selection, Selection::MemoryFreeAsc);
        assert_eq!(settings.max_executor_retries, None);
        assert_eq!(settings.policy(), Policy::Consolidate);
        assert_eq!(settings.recovery_timeout, Duration::from_secs(1));
    }

    #[test]
    fn a_bad_value_is_refused_with_key_value_and_what_is_expected() {
        for (key, value, expected) in [
            (
                "recovery_mode",
                "rocksdb",
                "`none`, `filesystem`, `zookeeper`",
            ),
            ("worker_timeout", "1m", "milliseconds"),
            ("worker_timeout", "3", "4 to"),
            ("recovery_timeout", "-1", "milliseconds"),
            ("dead_worker_persistence", "-1", "0 or more"),
            ("retained_applications", "many", "0 or more"),
            ("retained_drivers", "", "0 or more"),
            ("max_executor_retries", "ten", "negative"),
            ("default_cores", "0", "at least 1"),
            ("max_drivers", "0", "at least 1"),
            ("spread_out_drivers", "1", "`true`"),
            ("spread_out_apps", "yes", "`true`"),
            (
                "worker_selection_policy",
                "RANDOM",
                "CORES_FREE_DESC, CORES_FREE_ASC",
            ),
            ("app_id_pattern", "my app-%d", "white space"),
            ("driver_id_pattern", "driver", "number"),
            ("app_number_modulo", "999", "at least 1000"),
            ("use_app_name_as_app_id", "no", "`true`"),
            ("use_driver_id_as_app_name", "no", "`true`"),
            (
                "worker_time_out",
                "1000",
                "nothing reads it; known are worker_timeout",
            ),
        ] {
            let text = read(&[(key, value)]).unwrap_err().text;
            let named = text.contains(&format!("`{key}` is `{value}`"));
            let where_to = text.contains("in the sidecar or with --config");
            assert!(named && where_to && text.contains(expected), "{text}");
        }
    }
}
