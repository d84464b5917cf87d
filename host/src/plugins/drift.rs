//! Drift: the part of [`super::task`] that sees code which went back behind the directory's back.
//!
//! A version on probation that fails is exchanged by the host for the one before. The directory takes
//! that in: it is said why, the other endpoints of the plugin follow, and the file's version stays away
//! until the file or its sidecar changes. Where somebody else swapped, only the status says so.

use super::actions;
use super::facts::{Acted, Deployment, Mark, Trouble};
use super::host::Host;
use super::task::{Ended, Task};
use crate::endpoint::record::SwapRecord;

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
            (running != from.digest).then_some(())?;
            let record = self.host.rolled_back(endpoint)?;
            // The record is about this very exchange, not about one long ago.
            let about = [&record.from.digest, &record.to.digest];
            let ours = about.contains(&&running) && about.contains(&&from.digest);
            ours.then(|| (endpoint.clone(), record))
        });
        let Some((endpoint, record)) = drifted else {
            return;
        };
        let (host, name) = (self.host.clone(), plugin.to_owned());
        self.scan.reserve(plugin);
        self.spawn(vec![name.clone()], async move {
            let acted = follow(&host, from, &endpoint, &record).await;
            Ended::Acted(vec![(name, acted, Some(record))], Box::new(|| ()))
        });
    }
}

/// `endpoint` runs an earlier version again: so do the others of its plugin.
async fn follow<H: Host>(host: &H, from: Deployment, endpoint: &str, record: &SwapRecord) -> Acted {
    let running = host.running(endpoint).map(|running| running.code);
    let found = running
        .zip(host.code(endpoint))
        .zip(host.settings(endpoint));
    let Some(((id, code), settings)) = found else {
        return actions::kept(Some(from));
    };
    let mut reason = format!(
        "rolled back: version {} of endpoint `{endpoint}` failed on probation: {}; version {} is back, \
         and the file's version stays away until the file changes or the host is started anew",
        from.version,
        record.outcome.reason(),
        id.version
    );
    for other in from.endpoints.iter().filter(|other| *other != endpoint) {
        let runs = host.running(other).map(|running| running.code.digest);
        if runs.is_none_or(|digest| digest == id.digest) {
            continue;
        }
        if let Err(error) = host.swap(other, &code, Some(settings.clone())).await {
            reason = format!("{reason}; endpoint `{other}` could not go back: {error}");
        }
    }
    let now = Some(Deployment {
        digest: id.digest,
        version: id.version,
        settings,
        ..from
    });
    let (wrote, mark) = (None, Mark::Refused(Trouble::given_up(reason)));
    Acted { now, wrote, mark }
}
