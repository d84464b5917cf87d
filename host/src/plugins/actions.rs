//! Actions: what an operator does to a plugin, carried out on host and file together.
//!
//! Before it: [`super::task`] reserved the plugin, so nothing else works on it. After it:
//! [`super::scan`] takes in what runs and what we wrote, so that our own write is no news.
//!
//! Invariant: what runs is what lies in the directory. So an install writes a hidden file first (what
//! can fail, fails before anything runs) and renames it when the host has accepted the code.

use std::path::Path;
use std::sync::Arc;

use super::apply;
use super::aside::{Aside, WriteError};
use super::directory::{InstallError, Installed, PluginError};
use super::facts::{Acted, Deployment, Fate, Mark, SidecarNow, Trouble, Wrote};
use super::host::{Host, SwapOrder};
use super::track::Seen;
use crate::component::code::Code;
use crate::endpoint::record::{SwapRecord, VersionId};

/// What an install is to do.
pub(crate) struct Install {
    pub(crate) plugin: String,
    /// What runs before it.
    pub(crate) from: Option<Deployment>,
    /// What shall run after it.
    pub(crate) to: Deployment,
    pub(crate) code: Code,
    /// The sidecar whose settings are in `to`, and its digest.
    pub(crate) sidecar: (Option<Seen>, Option<String>),
    pub(crate) order: SwapOrder,
}

/// An action's effect on what is known, its swap record, and its answer.
pub(crate) type Effect<T> = (Acted, Option<SwapRecord>, T);

/// Runs the code and puts it into the directory, or does neither.
pub(crate) async fn install<H: Host>(
    host: &H,
    directory: Arc<Path>,
    install: Install,
) -> Effect<Result<Installed, InstallError>> {
    let Install {
        plugin,
        from,
        to,
        code,
        sidecar,
        order,
    } = install;
    let incoming = {
        let (name, code) = (plugin.clone(), code.clone());
        blocking(move || Ok(wasm_aside(&directory, &name, &code)?)).await
    };
    let incoming = match incoming {
        Ok(incoming) => incoming,
        Err(error) => return (kept(from), None, Err(error)),
    };
    let before = from
        .iter()
        .flat_map(|from| &from.endpoints)
        .find_map(|name| host.code(name));
    let done = apply::apply(host, from.clone(), to, Some(code), order).await;
    if let Some(trouble) = done.trouble {
        let discarded = blocking(move || {
            incoming.discard();
            Ok::<(), InstallError>(())
        });
        // The error that matters is the host's.
        let _ = discarded.await;
        let error = refusal(&plugin, trouble, done.record.clone());
        return (kept(done.now), done.record, Err(error.into()));
    }
    let now = done.now;
    let wasm = match blocking(move || Ok(incoming.place()?)).await {
        Ok(wasm) => wasm,
        Err(error) => {
            let now = take_back(host, now, from, before).await;
            return (kept(now), done.record, Err(error));
        }
    };
    let version = now.as_ref().map(version_id).unwrap_or_default();
    let installed = match (&from, done.record.clone()) {
        (None, _) => Installed::Started(version),
        (Some(_), Some(record)) => Installed::Swapped(Box::new(record)),
        (Some(_), None) => Installed::Unchanged(version),
    };
    let wrote = Some(Wrote {
        wasm: Some(wasm),
        sidecar: SidecarNow::Read(sidecar.0, sidecar.1),
    });
    let mark = Mark::Clean;
    (Acted { now, wrote, mark }, done.record, Ok(installed))
}

/// A file could not be put in place at the last moment: what ran before runs again.
pub(crate) async fn take_back<H: Host>(
    host: &H,
    now: Option<Deployment>,
    from: Option<Deployment>,
    before: Option<Code>,
) -> Option<Deployment> {
    let now = now?;
    match from {
        None => {
            apply::stop(host, &now).await;
            None
        }
        Some(from) => {
            let done = apply::apply(host, Some(now), from, before, SwapOrder::DIRECTORY).await;
            if let Some(trouble) = done.trouble {
                tracing::error!(
                    reason = trouble.reason,
                    "cannot go back after a failed write"
                );
            }
            done.now
        }
    }
}

/// Goes back to a kept version and puts its bytes into the directory, if that can be written.
pub(crate) async fn roll_back<H: Host>(
    host: &H,
    directory: Arc<Path>,
    plugin: &str,
    from: Deployment,
    to: Option<&str>,
) -> Effect<Result<SwapRecord, PluginError>> {
    let (code, record) = match apply::roll_back(host, &from, to).await {
        Ok(rolled) => rolled,
        Err(done) => {
            let error = match done.trouble {
                Some(trouble) => refusal(plugin, trouble, done.record.clone()),
                None => PluginError::Closed,
            };
            return (kept(done.now), done.record, Err(error));
        }
    };
    let now = Some(Deployment {
        digest: code.digest().to_owned(),
        version: record.to.version.clone(),
        ..from
    });
    let name = plugin.to_owned();
    let placed = blocking(move || Ok(wasm_aside(&directory, &name, &code)?.place()?)).await;
    let (wrote, mark) = match placed {
        Ok(wasm) => {
            let (wasm, sidecar) = (Some(wasm), SidecarNow::Known);
            (Some(Wrote { wasm, sidecar }), Mark::Clean)
        }
        Err::<_, InstallError>(error) => {
            let reason = format!(
                "went back to version {}, but {}; the file's version runs again when the file \
                 changes or the host is started anew",
                record.to.version,
                chain(&error)
            );
            (None, Mark::Refused(Trouble::given_up(reason)))
        }
    };
    (Acted { now, wrote, mark }, Some(record.clone()), Ok(record))
}

/// Stops what runs and remembers that it was meant.
pub(crate) async fn stop<H: Host>(host: &H, from: &Deployment) -> Acted {
    apply::stop(host, from).await;
    Acted {
        now: None,
        wrote: None,
        mark: Mark::Held,
    }
}

/// Fresh instances for all endpoints of a plugin; ends at the first that does not start.
pub(crate) async fn restart<H: Host>(
    host: &H,
    plugin: &str,
    from: &Deployment,
) -> Result<(), PluginError> {
    for endpoint in &from.endpoints {
        if let Err(error) = host.restart(endpoint).await {
            let (trouble, record) = apply::explain(endpoint, error);
            return Err(refusal(plugin, trouble, record));
        }
    }
    Ok(())
}

/// What an operator is told of trouble.
pub(crate) fn refusal(plugin: &str, trouble: Trouble, record: Option<SwapRecord>) -> PluginError {
    // Named once is enough.
    let named = format!("endpoint `{plugin}`: ");
    let reason = trouble.reason.strip_prefix(&named);
    let reason = reason.unwrap_or(&trouble.reason).to_owned();
    let (plugin, record) = (plugin.to_owned(), record.map(Box::new));
    match trouble.fate {
        Fate::GivenUp | Fate::TakenBack => PluginError::GivenUp {
            plugin,
            reason,
            record,
        },
        Fate::NeedsApproval => PluginError::NeedsApproval {
            plugin,
            reason,
            record,
        },
        Fate::Refused => PluginError::Refused {
            plugin,
            reason,
            record,
        },
    }
}

/// Nothing came of it.
pub(crate) fn kept(now: Option<Deployment>) -> Acted {
    Acted {
        now,
        wrote: None,
        mark: Mark::Keep,
    }
}

fn version_id(deployment: &Deployment) -> VersionId {
    VersionId {
        version: deployment.version.clone(),
        digest: deployment.digest.clone(),
    }
}

/// The component of a plugin, on its way into the directory.
pub(crate) fn wasm_aside(directory: &Path, plugin: &str, code: &Code) -> Result<Aside, WriteError> {
    Aside::write(directory, &format!("{plugin}.wasm"), code.bytes())
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Runs what blocks on the file system.
pub(crate) async fn blocking<T: Send + 'static, E: From<PluginError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    // Only the end of the runtime ends a blocking thread's work.
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(PluginError::Closed.into()))
}
