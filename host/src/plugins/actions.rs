//! Actions: what an operator does to a plugin, carried out on host and file together.
//!
//! Before it: [`super::task`] reserved the plugin, so nothing else works on it. After it:
//! [`super::scan`] takes in what runs and what we wrote, so that our own write is no news.
//!
//! Invariant: what runs is what lies in the directory. So an install writes a hidden file first (what
//! can fail, fails before anything runs) and renames it when the host has accepted the code.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::apply;
use super::directory::{InstallError, Installed, PluginError};
use super::facts::{Acted, Deployment, Mark, Trouble, Wrote};
use super::host::Host;
use super::listing;
use super::track::Seen;
use crate::component::code::Code;
use crate::endpoint::record::{SwapRecord, VersionId};

const INCOMING: &str = ".wasm.incoming";

/// True for the hidden files that are written here.
pub(crate) fn is_incoming(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(INCOMING)
}

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
    } = install;
    let incoming = {
        let (name, code) = (plugin.clone(), code.clone());
        blocking(move || Incoming::write(&directory, &name, &code)).await
    };
    let incoming = match incoming {
        Ok(incoming) => incoming,
        Err(error) => return (kept(from), None, Err(error)),
    };
    let before = from
        .iter()
        .flat_map(|from| &from.endpoints)
        .find_map(|name| host.code(name));
    let done = apply::apply(host, from.clone(), to, Some(code)).await;
    if let Some(trouble) = done.trouble {
        let discarded = blocking(move || {
            incoming.discard();
            Ok(())
        });
        // The error that matters is the host's.
        let _ = discarded.await;
        let error = refusal(&plugin, trouble, done.record.clone());
        return (kept(done.now), done.record, Err(error.into()));
    }
    let now = done.now;
    let wasm = match blocking(move || incoming.place()).await {
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
        wasm,
        sidecar: Some(sidecar),
    });
    let mark = Mark::Clean;
    (Acted { now, wrote, mark }, done.record, Ok(installed))
}

/// The file could not be put in place at the last moment: what ran before runs again.
async fn take_back<H: Host>(
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
            let done = apply::apply(host, Some(now), from, before).await;
            if let Some(trouble) = done.trouble {
                tracing::error!(
                    reason = trouble.reason,
                    "cannot go back after a failed install"
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
    let placed = blocking(move || Incoming::write(&directory, &name, &code)?.place()).await;
    let (wrote, mark) = match placed {
        Ok(wasm) => {
            let sidecar = None;
            (Some(Wrote { wasm, sidecar }), Mark::Clean)
        }
        Err(error) => {
            let reason = format!(
                "went back to version {}, but {}; the file's version runs again when the file \
                 changes or the host is started anew",
                record.to.version,
                chain(&error)
            );
            (
                None,
                Mark::Refused(Trouble {
                    reason,
                    gave_up: true,
                }),
            )
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
    let (plugin, record) = (plugin.to_owned(), record.map(Box::new));
    let reason = trouble.reason;
    match trouble.gave_up {
        true => PluginError::GivenUp {
            plugin,
            reason,
            record,
        },
        false => PluginError::Refused {
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

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// A component that lies in the directory under a hidden name, whole and on the disk.
struct Incoming {
    hidden: PathBuf,
    target: PathBuf,
}

impl Incoming {
    fn write(directory: &Path, plugin: &str, code: &Code) -> Result<Self, InstallError> {
        let incoming = Self {
            hidden: directory.join(format!(".{plugin}{INCOMING}")),
            target: directory.join(format!("{plugin}.wasm")),
        };
        let written = std::fs::File::create(&incoming.hidden).and_then(|mut file| {
            file.write_all(code.bytes())?;
            // Renaming a file whose content is not on the disk yet may leave an empty one behind.
            file.sync_all()
        });
        match written {
            Ok(()) => Ok(incoming),
            Err(source) => {
                let path = incoming.hidden.clone();
                incoming.discard();
                Err(InstallError::Write { path, source })
            }
        }
    }

    /// Gives it its name. Says how it looks: a rename changes neither size, time nor inode.
    fn place(self) -> Result<Seen, InstallError> {
        let placed = std::fs::metadata(&self.hidden).and_then(|metadata| {
            std::fs::rename(&self.hidden, &self.target)?;
            Ok(Seen::File(listing::stamp(&metadata)))
        });
        placed.map_err(|source| {
            let path = self.target.clone();
            self.discard();
            InstallError::Write { path, source }
        })
    }

    /// Removes it. One that stays is hidden, and the next install of this plugin overwrites it.
    fn discard(self) {
        let _ = std::fs::remove_file(&self.hidden);
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, InstallError> + Send + 'static,
) -> Result<T, InstallError> {
    // Only the end of the runtime ends a blocking thread's work.
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(PluginError::Closed.into()))
}
