//! Operator: the part of [`super::task`] that takes what operators ask for.
//!
//! A request waits for the work that is under way for its plugin, and for nothing else. What it then
//! does is in [`super::actions`]; here it is ordered, started and answered.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::actions::{self, Install};
use super::approve::approve;
use super::directory::{InstallError, Installed, PluginError};
use super::examine::{inspect, read_sidecar_now};
use super::facts::{Acted, Findings, Mark, Pair, Trouble};
use super::host::{Host, SwapOrder};
use super::scan::Verdict;
use super::task::{Ended, Loaded, Task};
use crate::component::code::Code;
use crate::endpoint::record::SwapRecord;

/// Requests that wait for one busy plugin.
const WAITING_MAX: usize = 16;

/// Takes the one answer to a request.
pub(crate) type Reply<T> = oneshot::Sender<T>;

/// What an operator wants of a plugin. A reply that nobody awaits any more is dropped.
pub(crate) enum Action {
    Install {
        bytes: Bytes,
        order: SwapOrder,
        reply: Reply<Result<Installed, InstallError>>,
    },
    RollBack {
        to: Option<String>,
        reply: Reply<Result<SwapRecord, PluginError>>,
    },
    Approve {
        reply: Reply<Result<SwapRecord, PluginError>>,
    },
    Stop {
        reply: Reply<Result<(), PluginError>>,
    },
    Restart {
        reply: Reply<Result<(), PluginError>>,
    },
}

impl Action {
    pub(super) fn refuse(self, error: PluginError) {
        // A caller that went away needs no answer.
        let _ = match self {
            Self::Install { reply, .. } => reply.send(Err(error.into())).map_err(drop),
            Self::RollBack { reply, .. } | Self::Approve { reply } => {
                reply.send(Err(error)).map_err(drop)
            }
            Self::Stop { reply } | Self::Restart { reply } => reply.send(Err(error)).map_err(drop),
        };
    }
}

impl<H: Host> Task<H> {
    /// An operator asks for something: now, or after what is under way for this plugin.
    pub(super) fn request(&mut self, plugin: String, action: Action) {
        let busy = self
            .scan
            .plugin(&plugin)
            .is_some_and(|plugin| plugin.is_busy());
        if !busy {
            return self.act(plugin, action);
        }
        let queue = self.waiting.entry(plugin.clone()).or_default();
        if queue.len() < WAITING_MAX {
            return queue.push_back(action);
        }
        let waiting = queue.len();
        action.refuse(PluginError::Busy { plugin, waiting });
    }

    /// Starts an action on a plugin that is not busy.
    fn act(&mut self, plugin: String, action: Action) {
        let known = self.scan.plugin(&plugin);
        let runs = known.and_then(|known| known.runs.clone());
        let host = self.host.clone();
        let directory = Arc::clone(&self.directory);
        let name = plugin.clone();
        match (action, runs) {
            (
                Action::Install {
                    bytes,
                    order,
                    reply,
                },
                _,
            ) => self.check(plugin, bytes, order, reply),
            (Action::RollBack { to, reply }, Some(from)) => self.reserved(plugin, async move {
                let (acted, record, answer) =
                    actions::roll_back(&host, directory, &name, from, to.as_deref()).await;
                acted_job(name, acted, record, reply, answer)
            }),
            (Action::Approve { reply }, Some(from)) => {
                let file = known.and_then(|known| known.file_digest().map(str::to_owned));
                self.reserved(plugin, async move {
                    let (acted, record, answer) =
                        approve(&host, directory, &name, from, file).await;
                    acted_job(name, acted, record, reply, answer)
                });
            }
            (Action::Stop { reply }, Some(from)) => self.reserved(plugin, async move {
                let acted = actions::stop(&host, &from).await;
                acted_job(name, acted, None, reply, Ok(()))
            }),
            (Action::Restart { reply }, Some(from)) => self.reserved(plugin, async move {
                let answer = actions::restart(&host, &name, &from).await;
                acted_job(name, actions::kept(Some(from)), None, reply, answer)
            }),
            // Known, but not running: stopped, or refused. Its files get another chance.
            (Action::Restart { reply }, None) if known.is_some() => {
                self.reviving.entry(plugin.clone()).or_default().push(reply);
                let (now, wrote, mark) = (None, None, Mark::Again);
                self.scan.reserve(&plugin);
                let commands = self
                    .scan
                    .acted(&plugin, Acted { now, wrote, mark }, self.now());
                self.carry_out(commands, None);
                self.settle(&plugin);
            }
            (action, None) => {
                let directory = self.directory.to_path_buf();
                action.refuse(PluginError::Unknown { plugin, directory });
            }
        }
    }

    /// The plugin is known and not busy, so reserving it cannot fail.
    fn reserved(&mut self, plugin: String, job: impl Future<Output = Ended> + Send + 'static) {
        self.scan.reserve(&plugin);
        self.spawn(vec![plugin], job);
    }

    /// First half of an install: what are these bytes?
    fn check(
        &mut self,
        plugin: String,
        bytes: Bytes,
        order: SwapOrder,
        reply: Reply<Result<Installed, InstallError>>,
    ) {
        if !self.scan.reserve(&plugin) {
            let _ = reply.send(Err(InstallError::Full { plugin }));
            return;
        }
        let (host, permits) = (self.host.clone(), Arc::clone(&self.permits));
        let sidecar = self.directory.join(format!("{plugin}.toml"));
        let name = plugin.clone();
        self.spawn(vec![plugin], async move {
            let permit = permits.acquire_owned().await.ok(); // never closed
            let read = tokio::task::spawn_blocking(move || {
                (Code::from_bytes(bytes), read_sidecar_now(&sidecar))
            });
            let (code, (seen, sidecar)) = match read.await {
                Ok(read) => read,
                // The runtime ends; the caller learns it from its closed reply.
                Err(_) => (Code::from_bytes(Bytes::new()), (None, None)),
            };
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
            Ended::Checked(
                name,
                Box::new(found),
                Loaded {
                    code,
                    permit,
                    order,
                },
                reply,
            )
        });
    }

    /// Second half of an install: run them, if the rules allow it.
    pub(super) fn checked(
        &mut self,
        plugin: String,
        found: &Findings,
        loaded: Loaded,
        reply: Reply<Result<Installed, InstallError>>,
    ) {
        let runs = self
            .scan
            .plugin(&plugin)
            .and_then(|plugin| plugin.runs.clone());
        let judgement = self.scan.judge(&plugin, found, true);
        let (to, reason) = match (judgement.adopt, judgement.verdict) {
            (Some(holder), _) => {
                let reason =
                    format!("`{holder}.wasm` has the endpoint and is just going; try again");
                (None, reason)
            }
            (None, Verdict::Apply(to)) => (Some(*to), String::new()),
            (None, Verdict::Same) => (runs.clone(), String::new()),
            (None, Verdict::Refuse { reason, .. }) => (None, reason),
            (None, Verdict::Nothing) => (None, "it vanished meanwhile; try again".to_owned()),
        };
        let Some(to) = to else {
            let error = actions::refusal(&plugin, Trouble::refused(reason), None);
            let commands = self.scan.acted(&plugin, actions::kept(runs), self.now());
            self.carry_out(commands, None);
            self.settle(&plugin);
            let _ = reply.send(Err(error.into()));
            return;
        };
        self.scan.announce(&plugin, to.clone());
        let digest = found.sidecar.as_ref().map(|(digest, _)| digest.clone());
        let (host, directory) = (self.host.clone(), Arc::clone(&self.directory));
        let name = plugin.clone();
        let install = Install {
            plugin: plugin.clone(),
            from: runs,
            to,
            code: loaded.code,
            sidecar: (found.pair.sidecar.clone(), digest),
            order: loaded.order,
        };
        self.spawn(vec![plugin], async move {
            let _permit = loaded.permit;
            let (acted, record, answer) = actions::install(&host, directory, install).await;
            acted_job(name, acted, record, reply, answer)
        });
    }

    /// Answers restarts of plugins that did not run, once it is known what became of them.
    pub(super) fn revived(&mut self, plugin: &str) {
        let known = self.scan.plugin(plugin);
        let reason = match known {
            Some(known) if known.is_busy() => return,
            Some(known) if known.runs.is_some() => None,
            Some(known) => match &known.refused {
                Some(trouble) => Some(trouble.reason.clone()),
                None => return,
            },
            None => Some("its file is gone".to_owned()),
        };
        for reply in self.reviving.remove(plugin).into_iter().flatten() {
            let answer = match reason.clone() {
                None => Ok(()),
                Some(reason) => Err(actions::refusal(plugin, Trouble::refused(reason), None)),
            };
            let _ = reply.send(answer);
        }
    }

    /// Starts requests that waited for a plugin, until one makes it busy again.
    pub(super) fn next_request(&mut self, plugin: &str) {
        while self
            .scan
            .plugin(plugin)
            .is_none_or(|plugin| !plugin.is_busy())
        {
            let queue = self.waiting.get_mut(plugin);
            let Some(action) = queue.and_then(VecDeque::pop_front) else {
                self.waiting.remove(plugin);
                return;
            };
            self.act(plugin.to_owned(), action);
        }
    }
}

/// The end of an action, with the answer that its caller gets when it shows in the status.
fn acted_job<T: Send + 'static>(
    plugin: String,
    acted: Acted,
    record: Option<SwapRecord>,
    reply: Reply<T>,
    answer: T,
) -> Ended {
    let tell = Box::new(move || {
        // A caller that went away needs no answer.
        let _ = reply.send(answer);
    });
    Ended::Acted(vec![(plugin, acted, record)], tell)
}
