//! Together: the part of [`super::task`] that installs several plugins, all or none.
//!
//! It waits until none of them is busy, takes them all at once, and is the only one that ever has more
//! than one: so two of these cannot wait for each other. What it then does is in
//! [`super::install_together`].

use std::sync::Arc;

use bytes::Bytes;

use super::actions;
use super::directory::{InstallError, PluginError};
use super::examine::{inspect, read_sidecar_now};
use super::facts::{Findings, Pair};
use super::host::Host;
use super::install_together::{self, Part, Swapped};
use super::operator::Reply;
use super::scan::Verdict;
use super::task::{Ended, Task};
use crate::component::code::Code;

/// Requests of this sort that wait.
const WAITING_MAX: usize = 16;

/// Several plugins to install, with endpoints of no plugin that are swapped with them.
pub(crate) struct Together {
    pub(crate) plugins: Vec<(String, Bytes)>,
    pub(crate) others: Vec<(String, Code)>,
    pub(crate) reply: Reply<Result<Vec<Swapped>, InstallError>>,
}

/// What was found of the bytes.
pub(crate) struct Checked {
    parts: Vec<(String, Findings, Code)>,
    others: Vec<(String, Code)>,
    reply: Reply<Result<Vec<Swapped>, InstallError>>,
}

impl Together {
    pub(super) fn refuse(self, error: impl Into<InstallError>) {
        // A caller that went away needs no answer.
        let _ = self.reply.send(Err(error.into()));
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.plugins.iter().map(|(plugin, _)| plugin)
    }
}

impl<H: Host> Task<H> {
    /// An operator asks for it: now, or when none of the plugins is busy.
    pub(super) fn request_together(&mut self, together: Together) {
        let waiting = self.together.len();
        if waiting >= WAITING_MAX {
            let plugin = together.names().next().cloned().unwrap_or_default();
            return together.refuse(PluginError::Busy { plugin, waiting });
        }
        self.together.push_back(together);
        self.next_together();
    }

    /// Starts those whose turn it is.
    pub(super) fn next_together(&mut self) {
        while let Some(next) = self.together.front() {
            let known = |name: &String| self.scan.plugin(name);
            if next.names().filter_map(known).any(|known| known.is_busy()) {
                return;
            }
            if let Some(next) = self.together.pop_front() {
                self.check_together(next);
            }
        }
    }

    /// First half: what are these bytes?
    fn check_together(&mut self, together: Together) {
        let owners: Vec<_> = together.names().cloned().collect();
        let runs = |name: &&String| self.scan.plugin(name).is_some_and(|p| p.runs.is_some());
        if let Some(stopped) = owners.iter().find(|name| !runs(name)) {
            let (plugin, directory) = (stopped.clone(), self.directory.to_path_buf());
            return together.refuse(PluginError::Unknown { plugin, directory });
        }
        for plugin in &owners {
            self.scan.reserve(plugin);
        }
        let (host, permits) = (self.host.clone(), Arc::clone(&self.permits));
        let directory = Arc::clone(&self.directory);
        self.spawn(owners, async move {
            let _permit = permits.acquire_owned().await; // never closed
            let Together {
                plugins,
                others,
                reply,
            } = together;
            let read = tokio::task::spawn_blocking(move || {
                let read = |(plugin, bytes): (String, Bytes)| {
                    let sidecar = read_sidecar_now(&directory.join(format!("{plugin}.toml")));
                    (plugin, Code::from_bytes(bytes), sidecar)
                };
                plugins.into_iter().map(read).collect::<Vec<_>>()
            });
            let mut parts = Vec::new();
            // Nothing is read only when the runtime ends; the caller learns it from its closed reply.
            for (plugin, code, (seen, sidecar)) in read.await.unwrap_or_default() {
                let pair = Pair {
                    wasm: None,
                    sidecar: seen,
                };
                let wasm = inspect(&host, &code).await;
                let found = Findings {
                    pair,
                    wasm,
                    sidecar,
                };
                parts.push((plugin, found, code));
            }
            Ended::CheckedTogether(Box::new(Checked {
                parts,
                others,
                reply,
            }))
        });
    }

    /// Second half: run them, if the rules allow it for each.
    pub(super) fn checked_together(&mut self, checked: Checked) {
        let Checked {
            parts,
            others,
            reply,
        } = checked;
        let owners: Vec<_> = parts.iter().map(|(plugin, ..)| plugin.clone()).collect();
        let judged: Result<Vec<_>, _> = parts
            .into_iter()
            .map(|(plugin, found, code)| self.judge_part(plugin, &found, code))
            .collect();
        let parts = match judged {
            Ok(parts) => parts,
            Err(reason) => {
                for plugin in &owners {
                    let runs = self
                        .scan
                        .plugin(plugin)
                        .and_then(|known| known.runs.clone());
                    let commands = self.scan.acted(plugin, actions::kept(runs), self.now());
                    self.carry_out(commands, None);
                    self.settle(plugin);
                }
                let _ = reply.send(Err(InstallError::together(reason)));
                return;
            }
        };
        for part in &parts {
            self.scan.announce(&part.plugin, part.to.clone());
        }
        let (host, directory) = (self.host.clone(), Arc::clone(&self.directory));
        self.spawn(owners, async move {
            let (effects, answer) =
                install_together::install(&host, directory, parts, others).await;
            let tell = Box::new(move || {
                let _ = reply.send(answer);
            });
            Ended::Acted(effects, tell)
        });
    }

    fn judge_part(&self, plugin: String, found: &Findings, code: Code) -> Result<Part, String> {
        let runs = self
            .scan
            .plugin(&plugin)
            .and_then(|known| known.runs.clone());
        let from = runs.ok_or_else(|| format!("`{plugin}` stopped meanwhile"))?;
        let judgement = self.scan.judge(&plugin, found, true);
        let to = match judgement.verdict {
            Verdict::Apply(to) if judgement.adopt.is_none() => *to,
            Verdict::Same => {
                let version = &from.version;
                return Err(format!(
                    "`{plugin}` runs version {version} of this very content already"
                ));
            }
            Verdict::Refuse { reason, .. } => return Err(format!("`{plugin}`: {reason}")),
            Verdict::Apply(_) | Verdict::Nothing => {
                return Err(format!("`{plugin}` is just changing; try again"));
            }
        };
        if to.endpoints != from.endpoints {
            // Starting and stopping cannot be frozen together with a swap.
            return Err(format!(
                "`{plugin}` runs as {}, but {plugin}.toml names {}; save the sidecar first, then swap",
                from.endpoints.join(", "),
                to.endpoints.join(", ")
            ));
        }
        let digest = found.sidecar.as_ref().map(|(digest, _)| digest.clone());
        Ok(Part {
            plugin,
            from,
            to,
            code,
            sidecar: (found.pair.sidecar.clone(), digest),
        })
    }
}
