//! Drift: the part of [`super::task`] that sees what went back behind the directory's back.
//!
//! A version on probation that fails is exchanged by the host for the one before. The directory takes
//! that in: the other endpoints of the plugin follow, and the bytes of the version that is back are put
//! into the file, as after an operator's rollback. So a host that is started anew does not run what
//! failed. What failed is not tried again by itself, should the same file come once more.
//!
//! Left alone: a file that is newer than what failed, for it is tried next; a link, for somebody else
//! fills the directory; the sidecar, for it is the operator's text. Where somebody else swapped, only
//! the status says so.

use std::path::Path;
use std::sync::Arc;

use super::actions::{self, blocking, wasm_aside};
use super::aside::Aside;
use super::directory::{InstallError, PluginError};
use super::facts::{Acted, Deployment, Fate, Mark, SidecarNow, Trouble, Wrote};
use super::host::{Host, SwapOrder};
use super::listing;
use super::task::{Ended, Task};
use super::track::Seen;
use crate::component::code::Code;
use crate::endpoint::record::SwapRecord;

/// What failed, as far as the files tell.
struct Failed {
    plugin: String,
    from: Deployment,
    /// How the file looks that holds it; `None` if none does.
    file: Option<Seen>,
    /// Under which endpoint it failed, and the host's record of that.
    endpoint: String,
    record: SwapRecord,
}

impl<H: Host> Task<H> {
    /// Takes in a rollback by the host, if there was one. Then the plugin is busy with it.
    pub(super) fn follow_rollback(&mut self, plugin: &str) {
        let Some(known) = self.scan.plugin(plugin).filter(|known| !known.is_busy()) else {
            return;
        };
        let Some(from) = known.runs.clone() else {
            return;
        };
        let drifted = from.endpoints.iter().find_map(|endpoint| {
            let running = self.host.running(endpoint)?.code.digest;
            let same = running == from.digest
                && self.host.settings(endpoint).as_ref() == Some(&from.settings);
            let record = self.host.rolled_back(endpoint).filter(|_| !same)?;
            // The record is about this very exchange, not about one long ago.
            let about = [&record.from.digest, &record.to.digest];
            let ours = about.contains(&&running) && about.contains(&&from.digest);
            ours.then(|| (endpoint.clone(), record))
        });
        let Some((endpoint, record)) = drifted else {
            return;
        };
        let file = known.file_with(&from.digest).cloned();
        let failed = Failed {
            plugin: plugin.to_owned(),
            from,
            file,
            endpoint,
            record,
        };
        let (host, directory) = (self.host.clone(), Arc::clone(&self.directory));
        self.scan.reserve(plugin);
        self.spawn(vec![plugin.to_owned()], async move {
            let (name, record) = (failed.plugin.clone(), failed.record.clone());
            let acted = follow(&host, directory, failed).await;
            Ended::Acted(vec![(name, acted, Some(record))], Box::new(|| ()))
        });
    }
}

/// One endpoint went back: so do the others of its plugin, and the file.
async fn follow<H: Host>(host: &H, directory: Arc<Path>, failed: Failed) -> Acted {
    let Failed {
        plugin,
        from,
        file,
        endpoint,
        record,
    } = failed;
    let running = host.running(&endpoint).map(|running| running.code);
    let found = running
        .zip(host.code(&endpoint))
        .zip(host.settings(&endpoint));
    let Some(((id, code), settings)) = found else {
        return actions::kept(Some(from));
    };
    let mut reason = record.outcome.reason().to_owned();
    if from.endpoints.len() > 1 {
        reason = format!("endpoint `{endpoint}`: {reason}");
    }
    for other in from.endpoints.iter().filter(|other| **other != endpoint) {
        let runs = host.running(other).map(|running| running.code.digest);
        let follows =
            runs == Some(id.digest.clone()) && host.settings(other).as_ref() == Some(&settings);
        if runs.is_none() || follows {
            continue;
        }
        if let Err(error) = host
            .swap(other, &code, Some(settings.clone()), SwapOrder::DIRECTORY)
            .await
        {
            reason = format!("{reason}; endpoint `{other}` could not go back: {error}");
        }
    }
    if from.settings != settings {
        reason = format!(
            "{reason}; the settings in {plugin}.toml stay away until it changes or the host is \
             started anew"
        );
    }
    let other_code = from.digest != id.digest;
    let now = Some(Deployment {
        digest: id.digest,
        version: id.version,
        settings,
        ..from
    });
    let Some(file) = file else {
        // The file holds another version by now: what is thought of that stays.
        let (wrote, mark) = (None, Mark::Keep);
        return Acted { now, wrote, mark };
    };
    let mut wrote = None;
    if other_code {
        match put_back(directory, &plugin, file, code).await {
            Ok(Some(wasm)) => {
                let (wasm, sidecar) = (Some(wasm), SidecarNow::Known);
                wrote = Some(Wrote { wasm, sidecar });
            }
            // A newer file is looked at next.
            Ok(None) => {}
            Err(why) => reason = format!("{reason}; {plugin}.wasm was left as it is: {why}"),
        }
    }
    let fate = match other_code {
        true => Fate::TakenBack,
        false => Fate::GivenUp,
    };
    let mark = Mark::Refused(Trouble { reason, fate });
    Acted { now, wrote, mark }
}

/// Puts `code` into the file of a plugin. None where that is not the file that was seen as `before`.
async fn put_back(
    directory: Arc<Path>,
    plugin: &str,
    before: Seen,
    code: Code,
) -> Result<Option<Seen>, String> {
    let plugin = plugin.to_owned();
    let written = blocking(move || {
        let path = directory.join(format!("{plugin}.wasm"));
        if listing::seen(&path).as_ref() != Some(&before) {
            return Ok(Ok(None));
        }
        if path.is_symlink() {
            return Ok(Err("it is a link".to_owned()));
        }
        let placed = wasm_aside(&directory, &plugin, &code).and_then(Aside::place);
        let placed = placed.map_err(|error| actions::chain(&InstallError::from(error)));
        Ok::<_, PluginError>(placed.map(Some))
    });
    written.await.unwrap_or_else(|error| Err(error.to_string()))
}
