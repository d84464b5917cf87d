//! Control: what the admin API of a host does. An endpoint that comes from a plugin file is changed
//! through the plugin directory, so that the file on disk stays what runs.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::admin::api::{HostStatus, Refreshed, Swapped};
use crate::admin::{Control, ControlError, Pending};
use crate::component::code::Code;
use crate::component::metadata::Metadata;
use crate::endpoint::SwapError;
use crate::endpoint::record::SwapRecord;
use crate::endpoint::rehearsal::Rehearsal;
use crate::endpoint::status::EndpointStatus;
use crate::error::{RpcError, with_causes};
use crate::plugins::{InstallError, Installed, PluginDirectory, PluginError, SwapOrder};
use crate::rpc_env::{ENDPOINT_VERIFIER, RpcEnv, VERIFIER_KINDS};

pub(super) struct HostControl {
    env: RpcEnv,
    /// None for a host without one.
    directory: Option<PluginDirectory>,
    started: Instant,
}

impl HostControl {
    pub(super) fn new(env: RpcEnv, directory: Option<PluginDirectory>) -> Self {
        Self {
            env,
            directory,
            started: Instant::now(),
        }
    }

    fn not_found(&self, name: &str) -> ControlError {
        ControlError::not_found(name, &self.env.status())
    }
}

impl Control for HostControl {
    fn host(&self) -> HostStatus {
        HostStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: self.env.location().to_string(),
            up: self.started.elapsed(),
        }
    }

    fn status(&self) -> Vec<EndpointStatus> {
        self.env.status()
    }

    fn history(&self, name: &str) -> Option<Vec<SwapRecord>> {
        self.env.history(name)
    }

    fn metadata(&self, name: &str) -> Option<Arc<Metadata>> {
        self.env.metadata(name)
    }

    fn plugins(&self) -> Vec<serde_json::Value> {
        let all = self.directory.as_ref().map(PluginDirectory::status);
        let all = all.unwrap_or_default();
        // Plain data always has a JSON form.
        all.iter()
            .filter_map(|plugin| serde_json::to_value(plugin).ok())
            .collect()
    }

    fn swap(&self, name: &str, bytes: Bytes, force: bool) -> Pending<SwapRecord> {
        let (env, directory) = (self.env.clone(), self.directory.clone());
        let (name, missing) = (name.to_owned(), self.not_found(name));
        Box::pin(async move {
            let Some((plugin, directory)) = plugin_of(directory, &name) else {
                let code = Code::from_bytes(bytes);
                if name == ENDPOINT_VERIFIER {
                    stays_a_verifier(&env, &code).await?;
                }
                let swapped = match force {
                    true => env.swap_by_force(&name, &code, None, "admin").await,
                    false => env.swap(&name, &code, None, "admin").await,
                };
                return swapped.map_err(|error| of_swap(error, missing));
            };
            match directory
                .install(&plugin, bytes, SwapOrder::admin(force))
                .await
            {
                Ok(Installed::Swapped(record)) => Ok(*record),
                Ok(Installed::Unchanged(version)) => Err(refused(format!(
                    "`{name}` runs this very file already, as version {}",
                    version.version
                ))),
                // It stopped since we looked.
                Ok(Installed::Started(version)) => Err(ControlError::Failed {
                    reason: format!(
                        "`{name}` did not run; version {} was started, without a state to carry",
                        version.version
                    ),
                }),
                Err(error) => Err(of_install(error, missing)),
            }
        })
    }

    fn swap_together(&self, swaps: Vec<(String, Bytes)>) -> Pending<Vec<Swapped>> {
        let (env, directory) = (self.env.clone(), self.directory.clone());
        let unknown = swaps.iter().find(|(name, _)| env.status_of(name).is_none());
        let unknown = unknown.map(|(name, _)| self.not_found(name));
        let first = swaps.first().map(|(name, _)| name.as_str());
        let missing = self.not_found(first.unwrap_or_default());
        Box::pin(async move {
            if let Some(unknown) = unknown {
                return Err(unknown);
            }
            let Parted { plugins, others } = Parted::of(swaps, |name| {
                plugin_of(directory.clone(), name).map(|(plugin, _)| plugin)
            })?;
            for (name, code) in &others {
                if name == ENDPOINT_VERIFIER {
                    stays_a_verifier(&env, code).await?;
                }
            }
            let Some(directory) = directory.filter(|_| !plugins.is_empty()) else {
                let names: Vec<_> = others.iter().map(|(name, _)| name.clone()).collect();
                let swaps = others.into_iter().map(|(name, code)| (name, code, None));
                let records = env.swap_together(swaps.collect(), "admin").await;
                let records = records.map_err(|error| of_swap(error, missing))?;
                return Ok(swapped(names.into_iter().zip(records)));
            };
            let installed = directory.install_together(plugins, others).await;
            let installed = installed.map_err(|error| of_install(error, missing))?;
            Ok(swapped(installed.into_iter()))
        })
    }

    fn rehearse(&self, name: &str, bytes: Bytes) -> Pending<Rehearsal> {
        let (env, directory) = (self.env.clone(), self.directory.clone());
        let (name, missing) = (name.to_owned(), self.not_found(name));
        Box::pin(async move {
            let code = Code::from_bytes(bytes);
            // What a swap would take them from.
            let settings = match plugin_of(directory, &name) {
                Some((plugin, directory)) => match directory.settings_of(&plugin).await {
                    Ok(settings) => Some(settings),
                    Err(error) => return Err(of_plugin(error, missing)),
                },
                None => None,
            };
            let rehearsed = env.rehearse(&name, &code, settings).await;
            rehearsed.map_err(|error| of_swap(error, missing))
        })
    }

    fn approve(&self, name: &str) -> Pending<SwapRecord> {
        let (env, directory) = (self.env.clone(), self.directory.clone());
        let (name, missing) = (name.to_owned(), self.not_found(name));
        Box::pin(async move {
            match plugin_of(directory, &name) {
                Some((plugin, directory)) => {
                    let approved = directory.approve(&plugin).await;
                    approved.map_err(|error| of_plugin(error, missing))
                }
                None => {
                    if let (ENDPOINT_VERIFIER, Some((code, _))) = (name.as_str(), env.held(&name)) {
                        stays_a_verifier(&env, &code).await?;
                    }
                    match env.approve(&name, "approval").await {
                        Ok((record, _granted)) => Ok(record),
                        Err(error) => Err(of_swap(error, missing)),
                    }
                }
            }
        })
    }

    fn refresh(&self, name: &str) -> Pending<Refreshed> {
        let env = self.env.clone();
        let (name, missing) = (name.to_owned(), self.not_found(name));
        Box::pin(async move {
            let memory = || env.status_of(&name).map(|status| status.memory_bytes);
            let memory_before = memory().unwrap_or_default();
            let record = env.refresh(&name, "refresh").await;
            let record = record.map_err(|error| of_swap(error, missing))?;
            let memory_after = memory().unwrap_or_default();
            Ok(Refreshed {
                record,
                memory_before,
                memory_after,
            })
        })
    }

    fn rollback(&self, name: &str, to: Option<&str>) -> Pending<SwapRecord> {
        let (env, directory) = (self.env.clone(), self.directory.clone());
        let (name, missing) = (name.to_owned(), self.not_found(name));
        let to = to.map(str::to_owned);
        Box::pin(async move {
            match plugin_of(directory, &name) {
                Some((plugin, directory)) => {
                    let back = directory.rollback(&plugin, to.as_deref()).await;
                    back.map_err(|error| of_plugin(error, missing))
                }
                None => {
                    let back = env.rollback(&name, to.as_deref()).await;
                    back.map_err(|error| of_swap(error, missing))
                }
            }
        })
    }

    fn restart(&self, name: &str) -> Pending<()> {
        let (env, directory) = (self.env.clone(), self.directory.clone());
        let (name, missing) = (name.to_owned(), self.not_found(name));
        Box::pin(async move {
            // A plugin that was stopped has no endpoint any more: it goes by its own name.
            let found = plugin_of(directory.clone(), &name).or_else(|| {
                let directory = directory?;
                let all = directory.status().into_iter();
                let stopped = all
                    .map(|plugin| plugin.plugin)
                    .find(|plugin| *plugin == name);
                Some((stopped?, directory))
            });
            match found {
                Some((plugin, directory)) => {
                    let restarted = directory.restart(&plugin).await;
                    restarted.map_err(|error| of_plugin(error, missing))
                }
                None => env.restart(&name).await.map_err(|error| match error {
                    RpcError::EndpointNotFound { .. } => missing,
                    error => ControlError::Failed {
                        reason: error.to_string(),
                    },
                }),
            }
        })
    }

    fn stop(&self, name: &str) -> Pending<()> {
        let (env, directory) = (self.env.clone(), self.directory.clone());
        let (name, missing) = (name.to_owned(), self.not_found(name));
        Box::pin(async move {
            if name == ENDPOINT_VERIFIER {
                let reason = format!("`{name}` is what looking endpoints up needs; it stays");
                return Err(refused(reason));
            }
            match plugin_of(directory, &name) {
                Some((plugin, directory)) => {
                    let stopped = directory.stop(&plugin).await;
                    stopped.map_err(|error| of_plugin(error, missing))
                }
                None if env.stop(&name).await => Ok(()),
                None => Err(missing),
            }
        })
    }
}

/// The plugin file of an endpoint, if it has one, and the directory in which that is.
fn plugin_of(directory: Option<PluginDirectory>, name: &str) -> Option<(String, PluginDirectory)> {
    let directory = directory?;
    Some((directory.plugin_of(name)?, directory))
}

fn swapped(records: impl Iterator<Item = (String, SwapRecord)>) -> Vec<Swapped> {
    let swapped = records.map(|(endpoint, record)| Swapped { endpoint, record });
    swapped.collect()
}

/// Without these two messages nobody finds an endpoint on this host any more, and nobody could tell
/// what happened.
async fn stays_a_verifier(env: &RpcEnv, code: &Code) -> Result<(), ControlError> {
    let metadata = env.inspect(code).await;
    let metadata = metadata.map_err(|error| refused(with_causes(&error)))?;
    let handled = |kind: &&str| metadata.handles.iter().any(|h| h.request.kind == **kind);
    match VERIFIER_KINDS.iter().find(|kind| !handled(kind)) {
        None => Ok(()),
        Some(kind) => Err(refused(format!(
            "`{ENDPOINT_VERIFIER}` must handle `{kind}`, which `{}` {} does not",
            metadata.name, metadata.version
        ))),
    }
}

/// What is to be swapped together, by the way in which it is swapped.
struct Parted {
    plugins: Vec<(String, Bytes)>,
    others: Vec<(String, Code)>,
}

impl Parted {
    /// Endpoints of one plugin run from one file, so they can only get the same one.
    fn of(
        swaps: Vec<(String, Bytes)>,
        plugin_of: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ControlError> {
        let mut parted = Self {
            plugins: Vec::new(),
            others: Vec::new(),
        };
        for (name, bytes) in swaps {
            let Some(plugin) = plugin_of(&name) else {
                parted.others.push((name, Code::from_bytes(bytes)));
                continue;
            };
            match parted.plugins.iter().find(|(other, _)| *other == plugin) {
                None => parted.plugins.push((plugin, bytes)),
                Some((_, same)) if *same == bytes => {}
                Some(_) => {
                    return Err(refused(format!(
                        "`{name}` runs from {plugin}.wasm, for which there is another file already; \
                         give all endpoints of one plugin the same file"
                    )));
                }
            }
        }
        Ok(parted)
    }
}

fn refused(reason: String) -> ControlError {
    ControlError::Refused {
        reason,
        record: None,
    }
}

fn of_install(error: InstallError, missing: ControlError) -> ControlError {
    let reason = error.to_string();
    match error {
        InstallError::Plugin(error) => of_plugin(error, missing),
        error @ InstallError::Write { .. } => ControlError::Failed {
            reason: with_causes(&error),
        },
        InstallError::Together {
            gave_up: true,
            record,
            ..
        } => ControlError::GivenUp { reason, record },
        InstallError::Together { record, .. } => ControlError::Refused { reason, record },
        _ => refused(reason),
    }
}

fn of_plugin(error: PluginError, missing: ControlError) -> ControlError {
    let text = error.to_string();
    match error {
        PluginError::Refused { record, .. } => ControlError::Refused {
            reason: text,
            record,
        },
        PluginError::GivenUp { record, .. } => ControlError::GivenUp {
            reason: text,
            record,
        },
        PluginError::NeedsApproval { record, .. } => ControlError::NeedsApproval {
            reason: text,
            record,
        },
        PluginError::NothingHeld { .. } => ControlError::NothingHeld { reason: text },
        PluginError::Unknown { .. } => missing,
        PluginError::NotWritten { .. } | PluginError::Busy { .. } | PluginError::Closed => {
            ControlError::Failed { reason: text }
        }
    }
}

fn of_swap(error: SwapError, missing: ControlError) -> ControlError {
    let reason = error.to_string();
    match error {
        SwapError::NotFound { .. } => missing,
        SwapError::Rejected { record, .. } => ControlError::Refused {
            reason,
            record: Some(record),
        },
        SwapError::GivenUp { record, .. } => ControlError::GivenUp {
            reason,
            record: Some(record),
        },
        SwapError::NeedsApproval { record, .. } => ControlError::NeedsApproval {
            reason,
            record: Some(record),
        },
        SwapError::NothingHeld { .. } => ControlError::NothingHeld { reason },
        SwapError::AlreadyRuns { .. }
        | SwapError::NoSuchVersion { .. }
        | SwapError::Unfit { .. }
        | SwapError::NotTogether { .. } => refused(reason),
        SwapError::Stopped { .. } => ControlError::Failed { reason },
    }
}
