//! Install together: runs several plugins' new code and puts it into the directory, or does neither.
//!
//! The order is that of a single install ([`super::actions::install`]): all files aside, one swap of
//! all, all renames. A rename that fails takes everything back: the files that were renamed already get
//! the code that ran, and so do the endpoints.

use std::path::Path;
use std::sync::Arc;

use super::actions::{blocking, kept, wasm_aside};
use super::aside::{Aside, WriteError};
use super::directory::InstallError;
use super::facts::{Acted, Deployment, Mark, SidecarNow, Wrote};
use super::host::{Host, HostError, SwapOrder};
use super::track::Seen;
use crate::component::code::Code;
use crate::endpoint::record::SwapRecord;
use crate::endpoint::settings::EndpointSettings;

/// An endpoint, and the record of its swap.
pub(crate) type Swapped = (String, SwapRecord);

/// What one plugin is to become.
pub(crate) struct Part {
    pub(crate) plugin: String,
    pub(crate) from: Deployment,
    /// The same endpoints as `from`.
    pub(crate) to: Deployment,
    pub(crate) code: Code,
    /// The sidecar whose settings are in `to`, and its digest.
    pub(crate) sidecar: (Option<Seen>, Option<String>),
}

/// A plugin, what became of it, and its record.
pub(crate) type PartEffect = (String, Acted, Option<SwapRecord>);

type Swaps = Vec<(String, Code, Option<EndpointSettings>)>;

/// Installs all parts and swaps `others`, endpoints of no plugin, with them.
pub(crate) async fn install<H: Host>(
    host: &H,
    directory: Arc<Path>,
    parts: Vec<Part>,
    others: Vec<(String, Code)>,
) -> (Vec<PartEffect>, Result<Vec<Swapped>, InstallError>) {
    let files = {
        let directory = Arc::clone(&directory);
        let all = codes(&parts);
        blocking(move || Ok(aside(&directory, &all)?)).await
    };
    let files: Vec<Aside> = match files {
        Ok(files) => files,
        Err(error) => return (unchanged(parts), Err(error)),
    };
    let (to, back) = swaps(host, &parts, &others);
    let names: Vec<_> = to.iter().map(|(name, ..)| name.clone()).collect();
    let records = match host.swap_together(to, SwapOrder::admin(false)).await {
        Ok(records) => records,
        Err(error) => {
            let discarded = blocking(move || {
                files.into_iter().for_each(Aside::discard);
                Ok::<(), InstallError>(())
            });
            // The error that matters is the host's.
            let _ = discarded.await;
            return (unchanged(parts), Err(of_host(error)));
        }
    };
    let swapped: Vec<Swapped> = names.into_iter().zip(records).collect();
    let before = befores(&parts, &back);
    let placed = blocking(move || Ok::<_, InstallError>(place(&directory, files, &before))).await;
    match placed {
        Ok(Ok(seen)) => (done(parts, seen, &swapped), Ok(swapped)),
        Ok(Err((restored, error))) => {
            let gone_back = host.swap_together(back, SwapOrder::DIRECTORY).await;
            if let Err(error) = &gone_back {
                tracing::error!(%error, "cannot go back after a failed write");
            }
            let effects = taken_back(parts, restored, gone_back.is_ok(), &swapped);
            (effects, Err(error.into()))
        }
        Err(error) => (done(parts, Vec::new(), &swapped), Err(error)),
    }
}

fn codes(parts: &[Part]) -> Vec<(String, Code)> {
    let code = |part: &Part| (part.plugin.clone(), part.code.clone());
    parts.iter().map(code).collect()
}

/// Writes all of them, or none.
fn aside(directory: &Path, all: &[(String, Code)]) -> Result<Vec<Aside>, WriteError> {
    let mut files = Vec::new();
    for (plugin, code) in all {
        match wasm_aside(directory, plugin, code) {
            Ok(file) => files.push(file),
            Err(error) => {
                files.into_iter().for_each(Aside::discard);
                return Err(error);
            }
        }
    }
    Ok(files)
}

/// What is swapped to what, and the way back.
fn swaps<H: Host>(host: &H, parts: &[Part], others: &[(String, Code)]) -> (Swaps, Swaps) {
    let (mut to, mut back) = (Vec::new(), Vec::new());
    for part in parts {
        let settings = |wanted: &Deployment| {
            (part.from.settings != part.to.settings).then(|| wanted.settings.clone())
        };
        for endpoint in &part.from.endpoints {
            to.push((endpoint.clone(), part.code.clone(), settings(&part.to)));
            let before = host.code(endpoint);
            back.extend(before.map(|code| (endpoint.clone(), code, settings(&part.from))));
        }
    }
    for (endpoint, code) in others {
        to.push((endpoint.clone(), code.clone(), None));
        let before = host.code(endpoint);
        back.extend(before.map(|code| (endpoint.clone(), code, None)));
    }
    (to, back)
}

/// What a file held before: the code that ran.
fn befores(parts: &[Part], back: &Swaps) -> Vec<(String, Option<Code>)> {
    let before = |part: &Part| {
        let ran = |(name, ..): &&(String, Code, _)| part.from.endpoints.contains(name);
        let code = back.iter().find(ran).map(|(_, code, _)| code.clone());
        (part.plugin.clone(), code)
    };
    parts.iter().map(before).collect()
}

/// Renames all files; gives how they look. On an error, those that were renamed hold again what ran,
/// and it is said how they look then.
fn place(
    directory: &Path,
    files: Vec<Aside>,
    before: &[(String, Option<Code>)],
) -> Result<Vec<Seen>, (Vec<Option<Seen>>, WriteError)> {
    let mut placed = Vec::new();
    let mut files = files.into_iter();
    let mut trouble = None;
    for file in files.by_ref() {
        match file.place() {
            Ok(seen) => placed.push(seen),
            Err(error) => {
                trouble = Some(error);
                break;
            }
        }
    }
    let Some(trouble) = trouble else {
        return Ok(placed);
    };
    files.for_each(Aside::discard);
    let restore = |(plugin, code): &(String, Option<Code>)| {
        let file = wasm_aside(directory, plugin, code.as_ref()?);
        match file.and_then(Aside::place) {
            Ok(seen) => Some(seen),
            Err(error) => {
                tracing::error!(plugin, error = %error.source, "its file holds a version that does not run");
                None
            }
        }
    };
    let restored = before.iter().take(placed.len()).map(restore).collect();
    Err((restored, trouble))
}

fn record_of(part: &Part, swapped: &[Swapped]) -> Option<SwapRecord> {
    let ours = |(name, _): &&Swapped| part.from.endpoints.contains(name);
    swapped.iter().find(ours).map(|(_, record)| record.clone())
}

fn done(parts: Vec<Part>, seen: Vec<Seen>, swapped: &[Swapped]) -> Vec<PartEffect> {
    let mut seen = seen.into_iter();
    let done = |part: Part| {
        let record = record_of(&part, swapped);
        let wrote = seen.next().map(|seen| Wrote {
            wasm: Some(seen),
            sidecar: SidecarNow::Read(part.sidecar.0, part.sidecar.1),
        });
        let (now, mark) = (Some(part.to), Mark::Clean);
        (part.plugin, Acted { now, wrote, mark }, record)
    };
    parts.into_iter().map(done).collect()
}

fn taken_back(
    parts: Vec<Part>,
    restored: Vec<Option<Seen>>,
    back: bool,
    swapped: &[Swapped],
) -> Vec<PartEffect> {
    let mut restored = restored.into_iter();
    let taken = |part: Part| {
        let record = record_of(&part, swapped);
        let wrote = restored.next().flatten().map(|seen| Wrote {
            wasm: Some(seen),
            sidecar: SidecarNow::Known,
        });
        let now = Some(match back {
            true => part.from,
            false => part.to,
        });
        let mark = Mark::Keep;
        (part.plugin, Acted { now, wrote, mark }, record)
    };
    parts.into_iter().map(taken).collect()
}

fn unchanged(parts: Vec<Part>) -> Vec<PartEffect> {
    let kept = |part: Part| (part.plugin, kept(Some(part.from)), None);
    parts.into_iter().map(kept).collect()
}

fn of_host(error: HostError) -> InstallError {
    let reason = error.to_string();
    let (gave_up, record) = match error {
        HostError::GivenUp { record, .. } => (true, record),
        HostError::Refused { record, .. } | HostError::NeedsApproval { record, .. } => {
            (false, record)
        }
    };
    InstallError::Together {
        reason,
        gave_up,
        record,
    }
}
