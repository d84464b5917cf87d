//! Entries: what is written down of workers, applications and drivers, and how it is read again.
//!
//! A value is a JSON object that says itself what it is: `{"entry": "app", "version": 1, ...}`. A
//! version only ever adds fields that may be missing, so each reads what the one before wrote; what is
//! not to be read by older ones gets another version number.
//!
//! | name | written | again | removed |
//! |---|---|---|---|
//! | `app_ID` | registered | targets change, many executors later | it ended |
//! | `driver_ID` | submitted | launched, kill wanted | it ended |
//! | `worker_ID` | registered | taken out of service, offers something else | lost |
//! | `counters` | an id is made | an id is made, recovered, all drivers are to end | never |
//!
//! A recovery writes one value, whatever it finds: that there was one more. Numbers of executors follow
//! from how many there were since an application's entry was written.

use std::collections::{BTreeMap, BTreeSet};

use deploy_protocol::{
    ApplicationDescription, DriverDescription, EndpointRef, ResourceInformation, ResourceProfile,
};
use instar_sdk::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::application::{Application, Target};
use super::driver::Driver;
use super::worker::Worker;

/// The version that is written.
pub const VERSION: u32 = 1;
/// The versions that are read.
pub const READS: [u32; 1] = [1];
const APP: &str = "app";
const DRIVER: &str = "driver";
const WORKER: &str = "worker";
/// Name of the one entry that is for no worker, application or driver.
pub(super) const COUNTERS: &str = "counters";

/// What is written down of an application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppEntry {
    pub(super) id: String,
    pub(super) submitted: u64,
    pub(super) driver: EndpointRef,
    pub(super) cores_max: Option<u32>,
    pub(super) description: ApplicationDescription,
    #[serde(default)]
    pub(super) targets: Vec<(ResourceProfile, Option<u32>)>,
    /// Number of the first executor that the master gave it that wrote this.
    #[serde(default)]
    pub(super) first_executor: u32,
    /// Recoveries there were, when this was written. Before there was such a number, each recovery wrote
    /// all entries again.
    #[serde(default)]
    pub(super) recoveries: u32,
    /// Length of the entry.
    #[serde(skip)]
    pub(super) kept: u32,
}

/// What is written down of a driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriverEntry {
    pub(super) id: String,
    pub(super) submitted: u64,
    /// Its place among those that were submitted in the same moment.
    #[serde(default)]
    pub(super) number: u32,
    #[serde(default)]
    pub(super) launched: bool,
    /// The worker that was told to run it.
    #[serde(default)]
    pub(super) worker: Option<String>,
    #[serde(default)]
    pub(super) kill_wanted: bool,
    pub(super) description: DriverDescription,
    /// Length of the entry.
    #[serde(skip)]
    pub(super) kept: u32,
}

/// What is written down of a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerEntry {
    pub(super) id: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) worker: EndpointRef,
    #[serde(default)]
    pub(super) web_ui_url: String,
    pub(super) cores: u32,
    pub(super) memory_mb: u32,
    #[serde(default)]
    pub(super) resources: Vec<ResourceInformation>,
    #[serde(default)]
    pub(super) decommissioned: bool,
    /// Length of the entry.
    #[serde(skip)]
    pub(super) kept: u32,
}

/// Which numbers ids of applications and drivers get next, and what else is about all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    #[serde(default)]
    pub(super) applications: u32,
    #[serde(default)]
    pub(super) drivers: u32,
    /// Masters that took up what was written down, one after the other.
    #[serde(default)]
    pub(super) recoveries: u32,
    /// Drivers with lower numbers are to end.
    #[serde(default)]
    pub(super) kill_drivers_below: u32,
}

impl Counters {
    pub(super) fn entry(self) -> Result<Vec<u8>, Failure> {
        encode(COUNTERS, self)
    }
}

/// What a master before wrote down.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    pub(super) apps: Vec<AppEntry>,
    pub(super) drivers: Vec<DriverEntry>,
    pub(super) workers: Vec<WorkerEntry>,
    pub(super) counters: Counters,
    /// Bytes of all entries, be they readable or not.
    pub(super) bytes: u64,
    /// Names whose values cannot be read.
    pub(super) unreadable: BTreeSet<String>,
}

impl Written {
    /// Reads what is in the store. What cannot be read is logged and left where it is: perhaps a
    /// newer version wrote it, and will lead again.
    pub fn read(entries: &[(String, Bytes)]) -> Self {
        let mut written = Self::default();
        for (name, value) in entries {
            let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
            written.bytes = written.bytes.saturating_add(length);
            if let Err(reason) = written.read_one(name, value) {
                log::error!(
                    "entry `{name}` ({} bytes) cannot be read: {reason}; it is left as it is, and what \
                     it stands for is not recovered",
                    value.len()
                );
                written.unreadable.insert(name.clone());
            }
        }
        written
            .apps
            .sort_by(|a, b| (a.submitted, &a.id).cmp(&(b.submitted, &b.id)));
        // By number first: clocks of masters differ.
        written
            .drivers
            .sort_by(|a, b| (a.number, a.submitted, &a.id).cmp(&(b.number, b.submitted, &b.id)));
        written
    }

    fn read_one(&mut self, name: &str, value: &[u8]) -> Result<(), String> {
        let kept = u32::try_from(value.len()).unwrap_or(u32::MAX);
        if name == COUNTERS {
            self.counters = decode(COUNTERS, value)?;
            // It is there always, and counts for nothing.
            self.bytes = self.bytes.saturating_sub(u64::from(kept));
            return Ok(());
        }
        match name.split_once('_') {
            Some((APP, _)) => {
                let mut entry: AppEntry = decode(APP, value)?;
                same_name(name, app_name(&entry.id))?;
                entry.kept = kept;
                self.apps.push(entry);
            }
            Some((DRIVER, _)) => {
                let mut entry: DriverEntry = decode(DRIVER, value)?;
                same_name(name, driver_name(&entry.id))?;
                entry.kept = kept;
                self.drivers.push(entry);
            }
            Some((WORKER, _)) => {
                let mut entry: WorkerEntry = decode(WORKER, value)?;
                same_name(name, worker_name(&entry.id))?;
                entry.kept = kept;
                self.workers.push(entry);
            }
            _ => return Err(
                "its name is not `counters` and begins with none of `app_`, `driver_`, `worker_`"
                    .to_owned(),
            ),
        }
        Ok(())
    }
}

/// The beginning of every value.
#[derive(Serialize, Deserialize)]
struct Tagged<T> {
    entry: String,
    version: u32,
    #[serde(flatten)]
    value: T,
}

#[derive(Deserialize)]
struct Tag {
    entry: String,
    version: u32,
}

fn encode<T: Serialize>(entry: &str, value: T) -> Result<Vec<u8>, Failure> {
    let tagged = Tagged {
        entry: entry.to_owned(),
        version: VERSION,
        value,
    };
    serde_json::to_vec(&tagged)
        .map_err(|error| Failure::new(format!("the entry cannot be written as JSON: {error}")))
}

fn decode<T: DeserializeOwned>(entry: &str, value: &[u8]) -> Result<T, String> {
    let tag: Tag = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    if tag.entry != entry || !READS.contains(&tag.version) {
        return Err(format!(
            "it is `{}` of version {}, expected is `{entry}` of a version that is one of {READS:?}",
            tag.entry, tag.version
        ));
    }
    serde_json::from_slice(value).map_err(|error| error.to_string())
}

fn same_name(found: &str, expected: String) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("the value is that of `{expected}`"))
}

pub(super) fn app_name(id: &str) -> String {
    format!("{APP}_{id}")
}

pub(super) fn driver_name(id: &str) -> String {
    format!("{DRIVER}_{id}")
}

pub(super) fn worker_name(id: &str) -> String {
    format!("{WORKER}_{id}")
}

impl Application {
    /// Its entry after so many recoveries.
    pub(super) fn entry(&self, recoveries: u32) -> Result<Vec<u8>, Failure> {
        self.entry_with(&self.targets, recoveries)
    }

    /// The entry that it would have with these targets.
    pub(super) fn entry_with(
        &self,
        targets: &BTreeMap<u32, Target>,
        recoveries: u32,
    ) -> Result<Vec<u8>, Failure> {
        let targets = targets.values();
        encode(
            APP,
            AppEntry {
                id: self.id.clone(),
                submitted: self.submitted,
                driver: self.driver.clone(),
                cores_max: self.cores_max,
                description: (*self.description).clone(),
                targets: targets
                    .map(|target| (target.profile.clone(), target.executors))
                    .collect(),
                first_executor: self.first_executor,
                recoveries,
                kept: 0,
            },
        )
    }
}

impl Driver {
    pub(super) fn entry(&self) -> Result<Vec<u8>, Failure> {
        encode(
            DRIVER,
            DriverEntry {
                id: self.id.clone(),
                submitted: self.submitted,
                number: self.number,
                launched: self.launched,
                worker: self.worker_id.clone(),
                kill_wanted: self.kill_wanted,
                description: self.description.clone(),
                kept: 0,
            },
        )
    }
}

impl Worker {
    pub(super) fn entry(&self) -> Result<Vec<u8>, Failure> {
        encode(
            WORKER,
            WorkerEntry {
                id: self.id.to_string(),
                host: self.host.clone(),
                port: self.port,
                worker: self.reference.clone(),
                web_ui_url: self.web_ui_url.clone(),
                cores: self.cores,
                memory_mb: self.memory_mb,
                resources: self.resources.all(),
                decommissioned: self.decommissioned,
                kept: 0,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER_1: &str = r#"{"entry":"worker","version":1,"id":"w","host":"h","port":7,
        "worker":{"name":"Worker","address":"h:7"},"cores":4,"memory_mb":512,"added_later":[1]}"#;

    fn read(name: &str, value: &str) -> Written {
        Written::read(&[(name.to_owned(), Bytes::from(value))])
    }

    #[test]
    fn fields_that_are_missing_or_unknown_do_not_matter() {
        let written = read("worker_w", WORKER_1);
        assert!(written.unreadable.is_empty());
        assert_eq!(
            (written.workers[0].cores, written.workers[0].decommissioned),
            (4, false)
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (name, value) in [
            ("worker_w", "{"),
            ("worker_w", r#"{"entry":"worker","version":1}"#),
            (
                "worker_w",
                &WORKER_1.replace("\"version\":1", "\"version\":2"),
            ),
            ("worker_other", WORKER_1),
            ("app_w", WORKER_1),
            ("something", WORKER_1),
        ] {
            let written = read(name, value);
            assert_eq!(
                written.unreadable,
                BTreeSet::from([name.to_owned()]),
                "{value}"
            );
            assert!(written.workers.is_empty() && written.apps.is_empty());
        }
    }
}
