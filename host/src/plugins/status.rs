//! Status: what became of each plugin, for `instar status`, the admin API and the status files.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::facts::Fate;
use super::host::Host;
use super::scan::Plugin;
use crate::endpoint::record::SwapRecord;
use crate::endpoint::status::EndpointState;

/// One plugin. Also the content of `NAME.status.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PluginStatus {
    /// Its name: the file name without `.wasm`.
    pub plugin: String,
    /// How it is.
    pub state: PluginState,
    /// Why it is not simply loaded, and what to do; `None` if it is.
    pub reason: Option<String>,
    /// Semantic version of the code that runs; empty if none does.
    pub version: String,
    /// SHA-256 of the code that runs, in hex; of the file if none runs; empty if that was not read.
    pub digest: String,
    /// The endpoints that run from it, in the order of the sidecar.
    pub endpoints: Vec<String>,
    /// Since when all of the above is so.
    pub since: SystemTime,
    /// The last try to swap it from the directory, whatever its outcome.
    pub last_swap: Option<SwapRecord>,
}

/// How a plugin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginState {
    /// What the files say runs.
    Loaded,
    /// The files were refused before anything stopped. What ran before, if anything, still runs.
    Rejected,
    /// The file's version wants more than is granted. What ran before still runs; `instar approve`
    /// grants it.
    NeedsApproval,
    /// A version was tried and failed, at once or on probation, and the one before runs; or an
    /// operator went back and the file could not be written.
    RolledBack,
    /// An endpoint crashed too often. A new file or `instar restart` revives it.
    Failed,
    /// Stopped by an operator; a new file or `instar restart` starts it.
    Stopped,
}

/// The status of a plugin; `None` while nothing has become of it yet.
///
/// `before`: the last status; `since` stays as long as nothing but the last swap differs.
pub(crate) fn of<H: Host>(
    name: &str,
    plugin: &Plugin,
    host: &H,
    last_swap: Option<&SwapRecord>,
    before: Option<&PluginStatus>,
) -> Option<PluginStatus> {
    // While work is under way the host is between two states; the last one stands until it is done.
    if plugin.is_busy() && before.is_some() {
        return before.cloned();
    }
    let (state, reason) = state(name, plugin, host)?;
    let runs = plugin.runs.as_ref();
    let digest = runs
        .map(|runs| runs.digest.as_str())
        .or(plugin.file_digest());
    let mut status = PluginStatus {
        plugin: name.to_owned(),
        state,
        reason,
        version: runs.map(|runs| runs.version.clone()).unwrap_or_default(),
        digest: digest.unwrap_or_default().to_owned(),
        endpoints: runs.map(|runs| runs.endpoints.clone()).unwrap_or_default(),
        since: SystemTime::now(),
        last_swap: last_swap.cloned(),
    };
    if let Some(before) = before {
        let now = std::mem::replace(&mut status.since, before.since);
        let last_swap = std::mem::replace(&mut status.last_swap, before.last_swap.clone());
        if status != *before {
            status.since = now;
        }
        status.last_swap = last_swap;
    }
    Some(status)
}

fn state<H: Host>(name: &str, plugin: &Plugin, host: &H) -> Option<(PluginState, Option<String>)> {
    let health = plugin.runs.as_ref().and_then(|runs| {
        let broken = |endpoint: &String| broken(host, endpoint, &runs.digest);
        runs.endpoints.iter().find_map(broken)
    });
    match (health, &plugin.refused, &plugin.held) {
        (Some((state, reason)), None, _) => Some((state, Some(reason))),
        (Some((state, reason)), Some(refused), _) => {
            let both = format!("{reason}; and the file is not taken: {}", refused.reason);
            Some((state, Some(both)))
        }
        (None, Some(refused), _) => {
            let reason = refused.reason.clone();
            Some(match refused.fate {
                Fate::Refused => (PluginState::Rejected, Some(reason)),
                Fate::GivenUp => (PluginState::RolledBack, Some(reason)),
                Fate::NeedsApproval => (PluginState::NeedsApproval, Some(reason)),
                Fate::TakenBack => {
                    let reason = format!("{reason}; {}", in_file(name, plugin));
                    (PluginState::RolledBack, Some(reason))
                }
            })
        }
        (None, None, Some(_)) => {
            let reason = "stopped by an operator; `instar restart` or a new file starts it";
            Some((PluginState::Stopped, Some(reason.to_owned())))
        }
        (None, None, None) => plugin.runs.as_ref().map(|_| (PluginState::Loaded, None)),
    }
}

/// What the file holds of a plugin that went back.
fn in_file(name: &str, plugin: &Plugin) -> String {
    match &plugin.runs {
        Some(runs) if plugin.file_digest() == Some(runs.digest.as_str()) => format!(
            "{name}.wasm holds version {} again, and what failed is not tried again by itself",
            runs.version
        ),
        _ => format!(
            "the version in {name}.wasm is not tried again until the file changes or the host is \
             started anew"
        ),
    }
}

/// `digest`: of what should run.
fn broken<H: Host>(host: &H, endpoint: &str, digest: &str) -> Option<(PluginState, String)> {
    let running = host.running(endpoint);
    match running.map(|running| (running.state, running.code)) {
        Some((EndpointState::Failed(reason), _)) => Some((
            PluginState::Failed,
            format!("endpoint `{endpoint}`: {reason}"),
        )),
        Some((_, code)) if code.digest != digest => {
            let reason = format!(
                "endpoint `{endpoint}` runs version {}, but not through its directory; the file's \
                 version runs again when the file changes",
                code.version
            );
            Some((PluginState::RolledBack, reason))
        }
        None => {
            let reason =
                format!("endpoint `{endpoint}` was stopped, but not through its directory");
            Some((PluginState::Stopped, reason))
        }
        Some(_) => None,
    }
}
