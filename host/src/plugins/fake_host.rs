//! A host for tests: records what it is asked for, and runs nothing.
//!
//! A component's content is the text `NAME VERSION`. Versions that are words misbehave: `bad` cannot
//! be inspected, `trap` fails when it is swapped in, `panic` panics in `inspect`, and what ends with
//! `greedy` wants the right `clock`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::component_file::tests::component;
use super::host::{Host, HostError, Running, SwapOrder};
use crate::component::code::Code;
use crate::component::metadata::{Metadata, StateSupport};
use crate::endpoint::record::{SwapOutcome, SwapRecord, VersionId};
use crate::endpoint::settings::EndpointSettings;
use crate::endpoint::status::EndpointState;

/// The longest that a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// See the module.
#[derive(Clone)]
pub(crate) struct FakeHost {
    state: Arc<watch::Sender<State>>,
}

#[derive(Clone, Default)]
pub(crate) struct State {
    /// What was asked for, and when: `setup x 1`, `swap x 2`, `resettle x 2`, `stop x`, `restart x`,
    /// `approve x 2`, `together x 2, y 2`.
    pub(crate) calls: Vec<(String, Instant)>,
    /// What runs under each name; the last version is the current one.
    pub(crate) endpoints: BTreeMap<String, Endpoint>,
    /// Names whose inspection does not end before they are taken out.
    pub(crate) held: BTreeSet<String>,
    /// A sidecar that somebody edits while an approval swaps.
    pub(crate) edit_on_approval: Option<PathBuf>,
    /// What is approved fails when it is swapped in.
    pub(crate) approval_traps: bool,
}

#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) versions: Vec<Code>,
    pub(crate) settings: EndpointSettings,
    pub(crate) state: EndpointState,
    pub(crate) waits: Option<Code>,
    pub(crate) rolled_back: Option<SwapRecord>,
}

fn name_and_version(code: &Code) -> (String, String) {
    // Preamble, section id, its length (tests stay below 128), the length and name of the section.
    let text = code
        .bytes()
        .get(12..)
        .map(String::from_utf8_lossy)
        .unwrap_or_default();
    let (name, version) = text.split_once(' ').unwrap_or((&text, ""));
    let version = version.split(' ').next().unwrap_or_default();
    (name.to_owned(), version.to_owned())
}

fn record(by: &str, from: &Code, to: &Code) -> SwapRecord {
    let id = |code: &Code| VersionId {
        version: name_and_version(code).1,
        digest: code.digest().to_owned(),
    };
    SwapRecord {
        to: id(to),
        state_version: 1,
        ..SwapRecord::new(by, id(from), to.digest())
    }
}

fn rolled_back(failed: &Code, back: &Code) -> SwapRecord {
    let mut record = record("probation", failed, back);
    let (failed, back) = (&record.from.version, &record.to.version);
    let reason = format!("rolled back to {back} because {failed}: trap in its third message");
    record.outcome = SwapOutcome::RolledBack(reason);
    record
}

/// The right that greedy versions want.
const CLOCK: &str = "clock";
const WANTS: &str = "the right `clock` (for its clock)";

impl FakeHost {
    pub(crate) fn new() -> Self {
        Self {
            state: Arc::new(watch::Sender::new(State::default())),
        }
    }

    /// Changes what it is doing.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(change);
    }

    /// What was asked for, without the moments.
    pub(crate) fn calls(&self) -> Vec<String> {
        let state = self.state.borrow();
        state.calls.iter().map(|(call, _)| call.clone()).collect()
    }

    /// The version that runs under a name.
    pub(crate) fn version(&self, name: &str) -> Option<String> {
        let state = self.state.borrow();
        let code = state.endpoints.get(name)?.versions.last()?;
        Some(name_and_version(code).1)
    }

    pub(crate) fn settings(&self, name: &str) -> EndpointSettings {
        self.state.borrow().endpoints[name].settings.clone()
    }

    /// Waits until `call` was made; gives the moment of the last one.
    pub(crate) async fn called(&self, call: &str) -> Instant {
        let find = |state: &State| {
            state
                .calls
                .iter()
                .rev()
                .find(|(made, _)| made == call)
                .cloned()
        };
        let mut states = self.state.subscribe();
        let waited = tokio::time::timeout(PATIENCE, states.wait_for(|state| find(state).is_some()));
        match waited.await {
            Ok(Ok(state)) => find(&state).unwrap().1,
            _ => panic!("{call:?} was not called; calls: {:?}", self.calls()),
        }
    }

    /// The version before comes back by itself, as from probation.
    pub(crate) fn roll_back(&self, name: &str) {
        self.change(|state| {
            let endpoint = state.endpoints.get_mut(name).unwrap();
            let failed = endpoint.versions.pop().unwrap();
            let back = endpoint.versions.last().unwrap();
            endpoint.rolled_back = Some(rolled_back(&failed, back));
        });
    }

    /// The same version comes back by itself with the settings of before.
    pub(crate) fn roll_back_settings(&self, name: &str, before: EndpointSettings) {
        self.change(|state| {
            let endpoint = state.endpoints.get_mut(name).unwrap();
            endpoint.settings = before;
            let code = endpoint.versions.last().unwrap();
            endpoint.rolled_back = Some(rolled_back(code, code));
        });
    }

    fn record(&self, call: String) {
        self.change(|state| state.calls.push((call, Instant::now())));
    }

    fn swap_to(
        &self,
        name: &str,
        code: &Code,
        settings: Option<EndpointSettings>,
        by: &str,
    ) -> Result<SwapRecord, HostError> {
        let version = name_and_version(code).1;
        let before = self.state.borrow().endpoints.get(name).cloned();
        let before = before.ok_or_else(|| HostError::refused("no such endpoint"))?;
        let from = before.versions.last().unwrap();
        self.record(match from == code {
            true => format!("resettle {name} {version}"),
            false => format!("swap {name} {version}"),
        });
        let mut record = record(by, from, code);
        record.number = before.versions.len() as u64;
        let granted = settings.as_ref().unwrap_or(&before.settings).grants.clone();
        match version.as_str() {
            "bad" | "" => {
                let reason = "cannot compile".to_owned();
                record.outcome = SwapOutcome::Rejected(reason.clone());
                let record = Some(Box::new(record));
                return Err(HostError::Refused { reason, record });
            }
            // Only under this name, so that a plugin with several can fail half-way.
            "trap" if name.ends_with("fragile") || !name.contains('-') => {
                record.outcome = SwapOutcome::GivenUp("trap in restore".to_owned());
                return Ok(record);
            }
            greedy if greedy.ends_with("greedy") && !granted.contains(CLOCK) => {
                self.change(|state| {
                    state.endpoints.get_mut(name).unwrap().waits = Some(code.clone());
                });
                let wants = vec![WANTS.to_owned()];
                record.outcome = SwapOutcome::NeedsApproval(WANTS.to_owned());
                let record = Some(Box::new(record));
                return Err(HostError::NeedsApproval { wants, record });
            }
            _ => {}
        }
        self.change(|state| {
            let endpoint = state.endpoints.get_mut(name).unwrap();
            (endpoint.waits, endpoint.rolled_back) = (None, None);
            endpoint.versions.push(code.clone());
            endpoint.state = EndpointState::Running;
            if let Some(settings) = settings {
                endpoint.settings = settings;
            }
        });
        Ok(record)
    }
}

impl Host for FakeHost {
    async fn inspect(&self, code: &Code) -> Result<Metadata, HostError> {
        let (name, version) = name_and_version(code);
        let mut states = self.state.subscribe();
        let _ = states.wait_for(|state| !state.held.contains(&name)).await;
        match version.as_str() {
            "bad" => return Err(HostError::refused("cannot compile")),
            "panic" => panic!("a bug in the host"),
            _ => {}
        }
        Ok(Metadata {
            name,
            version,
            about: String::new(),
            state: StateSupport {
                version: 1,
                reads: vec![1],
                writes: vec![1],
            },
            rights: Vec::new(),
            handles: Vec::new(),
            built_with: String::new(),
        })
    }

    async fn setup(
        &self,
        endpoint: &str,
        code: &Code,
        settings: EndpointSettings,
    ) -> Result<(), HostError> {
        let version = name_and_version(code).1;
        self.record(format!("setup {endpoint} {version}"));
        if self.state.borrow().endpoints.contains_key(endpoint) {
            return Err(HostError::refused("the name is taken"));
        }
        if version.ends_with("greedy") && !settings.grants.contains(CLOCK) {
            return Err(HostError::refused(format!("it wants {WANTS}")));
        }
        let new = Endpoint {
            versions: vec![code.clone()],
            settings,
            state: EndpointState::Running,
            waits: None,
            rolled_back: None,
        };
        self.change(|state| {
            state.endpoints.insert(endpoint.to_owned(), new);
        });
        Ok(())
    }

    async fn swap(
        &self,
        endpoint: &str,
        code: &Code,
        settings: Option<EndpointSettings>,
        order: SwapOrder,
    ) -> Result<SwapRecord, HostError> {
        self.swap_to(endpoint, code, settings, order.by)
    }

    async fn rollback(&self, endpoint: &str, to: Option<&str>) -> Result<SwapRecord, HostError> {
        let found = self
            .state
            .borrow()
            .endpoints
            .get(endpoint)
            .and_then(|endpoint| {
                let mut earlier = endpoint.versions.iter().rev().skip(1);
                earlier
                    .find(|code| to.is_none_or(|to| name_and_version(code).1 == to))
                    .cloned()
            });
        let code = found.ok_or_else(|| HostError::refused("no such version is kept"))?;
        self.swap_to(endpoint, &code, None, "rollback")
    }

    async fn swap_together(
        &self,
        swaps: Vec<(String, Code, Option<EndpointSettings>)>,
        _order: SwapOrder,
    ) -> Result<Vec<SwapRecord>, HostError> {
        let all: Vec<_> = swaps
            .iter()
            .map(|(name, code, _)| format!("{name} {}", name_and_version(code).1))
            .collect();
        self.record(format!("together {}", all.join(", ")));
        let bad = |(_, code, _): &&(String, Code, _)| name_and_version(code).1 == "trap";
        if let Some((name, ..)) = swaps.iter().find(bad) {
            let reason = format!("the swap of `{name}` was given up: trap in restore");
            let record = None;
            return Err(HostError::GivenUp { reason, record });
        }
        let mut records = Vec::new();
        self.change(|state| {
            for (name, code, settings) in swaps {
                let endpoint = state.endpoints.get_mut(&name).unwrap();
                let from = endpoint.versions.last().unwrap();
                records.push(record("plugin directory", from, &code));
                endpoint.versions.push(code);
                if let Some(settings) = settings {
                    endpoint.settings = settings;
                }
            }
        });
        Ok(records)
    }

    fn held(&self, endpoint: &str) -> Option<(Code, EndpointSettings)> {
        let state = self.state.borrow();
        let endpoint = state.endpoints.get(endpoint)?;
        let mut settings = endpoint.settings.clone();
        settings.grants.insert(CLOCK.to_owned());
        Some((endpoint.waits.clone()?, settings))
    }

    async fn approve(&self, endpoint: &str) -> Result<(SwapRecord, EndpointSettings), HostError> {
        let held = Host::held(self, endpoint);
        let (code, settings) = held.ok_or_else(|| HostError::refused("nothing is held"))?;
        self.record(format!("approve {endpoint}"));
        let state = self.state.borrow().clone();
        if let Some(sidecar) = &state.edit_on_approval {
            std::fs::write(sidecar, "# edited and").unwrap();
        }
        if state.approval_traps {
            let (reason, before) = ("trap in restore".to_owned(), Host::code(self, endpoint));
            let record = Some(Box::new(record("approval", &before.unwrap(), &code)));
            return Err(HostError::GivenUp { reason, record });
        }
        let record = self.swap_to(endpoint, &code, Some(settings.clone()), "approval")?;
        Ok((record, settings))
    }

    async fn restart(&self, endpoint: &str) -> Result<(), HostError> {
        self.record(format!("restart {endpoint}"));
        Ok(())
    }

    async fn stop(&self, endpoint: &str) -> bool {
        self.record(format!("stop {endpoint}"));
        let mut found = false;
        self.change(|state| found = state.endpoints.remove(endpoint).is_some());
        found
    }

    fn running(&self, endpoint: &str) -> Option<Running> {
        let state = self.state.borrow();
        let endpoint = state.endpoints.get(endpoint)?;
        let code = endpoint.versions.last()?;
        Some(Running {
            code: VersionId {
                version: name_and_version(code).1,
                digest: code.digest().to_owned(),
            },
            state: endpoint.state.clone(),
        })
    }

    fn code(&self, endpoint: &str) -> Option<Code> {
        self.state
            .borrow()
            .endpoints
            .get(endpoint)?
            .versions
            .last()
            .cloned()
    }

    fn settings(&self, endpoint: &str) -> Option<EndpointSettings> {
        let state = self.state.borrow();
        Some(state.endpoints.get(endpoint)?.settings.clone())
    }

    fn rolled_back(&self, endpoint: &str) -> Option<SwapRecord> {
        let state = self.state.borrow();
        state.endpoints.get(endpoint)?.rolled_back.clone()
    }
}

/// A component whose metadata says `NAME VERSION`.
pub(crate) fn plugin(text: &str) -> Vec<u8> {
    component(text)
}
