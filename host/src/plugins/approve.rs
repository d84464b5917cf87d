//! Approve: swaps a plugin to the version that is held, and lets the grant last.
//!
//! What it wanted is written into the sidecar, else the next start of the host would refuse it. The
//! order: write both files aside, swap, rename the sidecar, rename the component. So a failure before
//! the swap changes nothing, and a host that dies between the renames finds the old version with a
//! grant more, never the new one with a grant less.
//!
//! Before it: [`super::task`] reserved the plugin. Not here: what is written ([`super::grant`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::actions::{Effect, blocking, kept, refusal, take_back, wasm_aside};
use super::apply::{self, Approved};
use super::aside::{Aside, WriteError};
use super::directory::PluginError;
use super::examine::hex;
use super::facts::{Acted, Deployment, Mark, SidecarNow, Trouble, Wrote};
use super::grant::grant;
use super::host::Host;
use super::listing;
use super::sidecar::{Sidecar, SidecarError};
use super::track::Seen;
use crate::component::code::Code;
use crate::endpoint::record::SwapRecord;
use crate::endpoint::settings::EndpointSettings;

/// Swaps all endpoints of `from` to the version that is held under one of them. `file`: digest of what
/// the file holds, as far as that is known.
pub(crate) async fn approve<H: Host>(
    host: &H,
    directory: Arc<Path>,
    plugin: &str,
    from: Deployment,
    file: Option<String>,
) -> Effect<Result<SwapRecord, PluginError>> {
    let held = |endpoint: &String| Some((endpoint.clone(), host.held(endpoint)?));
    let Some((endpoint, (code, settings))) = from.endpoints.iter().find_map(held) else {
        let plugin = plugin.to_owned();
        return (
            kept(Some(from)),
            None,
            Err(PluginError::NothingHeld { plugin }),
        );
    };
    let in_file = file.as_deref() == Some(code.digest());
    let files = {
        let (plugin, settings) = (plugin.to_owned(), settings.clone());
        // Where the file holds the version already, it is left alone: it may be a link.
        let code = (!in_file).then(|| code.clone());
        blocking(move || GrantFiles::write(&directory, &plugin, &settings, code.as_ref())).await
    };
    let files = match files {
        Ok(files) => files,
        Err(error) => return (kept(Some(from)), None, Err(error)),
    };
    let before = host.code(&endpoint);
    let Approved { record, now } = match apply::approve(host, &from, &endpoint, &code).await {
        Ok(approved) => approved,
        Err(done) => {
            let discarded = blocking(move || {
                files.discard();
                Ok::<(), PluginError>(())
            });
            // The error that matters is the host's.
            let _ = discarded.await;
            let Some(trouble) = done.trouble else {
                return (kept(done.now), done.record, Err(PluginError::Closed));
            };
            let mut acted = kept(done.now);
            if done.record.is_some() && in_file {
                // It was tried: it no longer waits for an approval, it failed.
                acted.mark = Mark::Refused(trouble.clone());
            }
            let error = refusal(plugin, trouble, done.record.clone());
            return (acted, done.record, Err(error));
        }
    };
    let granted = now.settings.clone();
    let endpoints = now.endpoints.clone();
    match blocking(move || files.place(&granted, &endpoints)).await {
        Ok(wrote) => {
            let (now, wrote, mark) = (Some(now), Some(wrote), Mark::Clean);
            (Acted { now, wrote, mark }, Some(record.clone()), Ok(record))
        }
        Err(error) => {
            let now = take_back(host, Some(now), Some(from), before).await;
            // The host no longer holds it: what the file holds is tried again, and held again.
            let (wrote, mark) = (None, Mark::Again);
            (Acted { now, wrote, mark }, Some(record), Err(error))
        }
    }
}

/// Both files, written aside.
struct GrantFiles {
    plugin: String,
    directory: PathBuf,
    sidecar: Aside,
    /// What the sidecar held before, and how it looked; `None`: there was none.
    before: Option<(Vec<u8>, Seen)>,
    /// What it holds then.
    text: String,
    component: Option<Aside>,
}

impl GrantFiles {
    fn write(
        directory: &Path,
        plugin: &str,
        settings: &EndpointSettings,
        code: Option<&Code>,
    ) -> Result<Self, PluginError> {
        let refused = |error: SidecarError| {
            let reason = format!("{plugin}.toml: {error}; correct it, then approve again");
            refusal(plugin, Trouble::refused(reason), None)
        };
        let path = directory.join(format!("{plugin}.toml"));
        let before = match listing::seen(&path) {
            None => None,
            Some(seen) => {
                let unreadable = |reason: String| refused(SidecarError::Unreadable { reason });
                let bytes = std::fs::read(&path).map_err(|error| unreadable(error.to_string()))?;
                Some((bytes, seen))
            }
        };
        let bytes = before
            .as_ref()
            .map_or(&[][..], |(bytes, _)| bytes.as_slice());
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let reason = format!("not UTF-8 from byte {}", error.valid_up_to());
            refused(SidecarError::Unreadable { reason })
        })?;
        let text = grant(text, settings).map_err(refused)?;
        let wrong = |error| not_written(plugin, error, settings);
        let sidecar =
            Aside::write(directory, &format!("{plugin}.toml"), text.as_bytes()).map_err(wrong)?;
        let component = match code.map(|code| wasm_aside(directory, plugin, code)) {
            None => None,
            Some(Ok(component)) => Some(component),
            Some(Err(error)) => {
                sidecar.discard();
                return Err(wrong(error));
            }
        };
        Ok(Self {
            plugin: plugin.to_owned(),
            directory: directory.to_owned(),
            sidecar,
            before,
            text,
            component,
        })
    }

    fn discard(self) {
        self.sidecar.discard();
        if let Some(component) = self.component {
            component.discard();
        }
    }

    /// Renames both, or neither. `granted` and `endpoints` are what runs: a sidecar that says something
    /// else, since it was changed meanwhile, is left for the next look to take in.
    fn place(self, granted: &EndpointSettings, endpoints: &[String]) -> Result<Wrote, PluginError> {
        let name = format!("{}.toml", self.plugin);
        let now = listing::seen(&self.directory.join(&name));
        if now.as_ref() != self.before.as_ref().map(|(_, seen)| seen) {
            let plugin = self.plugin.clone();
            self.discard();
            let reason = format!("{name} changed meanwhile; approve again");
            return Err(refusal(&plugin, Trouble::refused(reason), None));
        }
        let Self {
            plugin,
            directory,
            sidecar,
            before,
            text,
            component,
        } = self;
        let seen = match sidecar.place() {
            Ok(seen) => seen,
            Err(error) => {
                component.into_iter().for_each(Aside::discard);
                return Err(not_written(&plugin, error, granted));
            }
        };
        let wasm = match component.map(Aside::place) {
            None => None,
            Some(Ok(seen)) => Some(seen),
            Some(Err(error)) => {
                let restored = match before {
                    Some((bytes, _)) => Aside::write(&directory, &name, &bytes)
                        .and_then(Aside::place)
                        .map(drop),
                    None => {
                        let path = directory.join(&name);
                        let removed = std::fs::remove_file(&path);
                        removed.map_err(|source| WriteError { path, source })
                    }
                };
                if let Err(error) = restored {
                    tracing::error!(plugin, error = %error.source, "the sidecar keeps a grant that nothing uses");
                }
                return Err(not_written(&plugin, error, granted));
            }
        };
        let says = Sidecar::parse(&text).is_ok_and(|says| {
            says.settings == *granted && (says.endpoints.is_empty() || says.endpoints == *endpoints)
        });
        let sidecar = match says {
            true => SidecarNow::Written(seen, hex(&Sha256::digest(text.as_bytes()))),
            false => SidecarNow::Known,
        };
        Ok(Wrote { wasm, sidecar })
    }
}

fn not_written(plugin: &str, error: WriteError, wanted: &EndpointSettings) -> PluginError {
    let grants: Vec<_> = wanted.grants.iter().map(|g| format!("{g:?}")).collect();
    let reason = format!(
        "cannot write {}: {}; where the directory is filled otherwise, put grants = [{}] and a \
         `limits.memory` of {} bytes into {plugin}.toml there",
        error.path.display(),
        error.source,
        grants.join(", "),
        wanted.limits.memory_bytes
    );
    let plugin = plugin.to_owned();
    PluginError::NotWritten { plugin, reason }
}
