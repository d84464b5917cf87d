//! Control: what the admin API of `instar up` does. An endpoint that comes from a plugin file is
//! changed through the plugin directory, so that the file on disk stays what runs.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::admin::api::HostStatus;
use crate::admin::{Control, ControlError, Pending};
use crate::component::code::Code;
use crate::component::metadata::Metadata;
use crate::endpoint::SwapError;
use crate::endpoint::record::SwapRecord;
use crate::endpoint::status::EndpointStatus;
use crate::error::with_causes;
use crate::plugins::{InstallError, Installed, PluginDirectory, PluginError};
use crate::rpc_env::{ENDPOINT_VERIFIER, RpcEnv};

pub(super) struct UpControl {
    env: RpcEnv,
    directory: PluginDirectory,
    started: Instant,
}

impl UpControl {
    pub(super) fn new(env: RpcEnv, directory: PluginDirectory) -> Self {
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

impl Control for UpControl {
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
        let all = self.directory.status();
        // Plain data always has a JSON form.
        all.iter()
            .filter_map(|plugin| serde_json::to_value(plugin).ok())
            .collect()
    }

    fn swap(&self, name: &str, bytes: Bytes) -> Pending<SwapRecord> {
        let (env, directory) = (self.env.clone(), self.directory.clone());
        let (name, missing) = (name.to_owned(), self.not_found(name));
        Box::pin(async move {
            let Some(plugin) = directory.plugin_of(&name) else {
                let code = Code::from_bytes(bytes);
                let swapped = env.swap(&name, &code, None, "admin").await;
                return swapped.map_err(|error| of_swap(error, missing));
            };
            match directory.install(&plugin, bytes).await {
                Ok(Installed::Swapped(record)) => Ok(*record),
                Ok(Installed::Started(version) | Installed::Unchanged(version)) => {
                    Err(ControlError::Refused {
                        reason: format!(
                            "`{name}` runs version {} of this very content already",
                            version.version
                        ),
                        record: None,
                    })
                }
                Err(InstallError::Plugin(error)) => Err(of_plugin(error)),
                Err(error @ InstallError::Write { .. }) => Err(ControlError::Failed {
                    reason: with_causes(&error),
                }),
                Err(error) => Err(ControlError::Refused {
                    reason: error.to_string(),
                    record: None,
                }),
            }
        })
    }

    fn rollback(&self, name: &str, to: Option<&str>) -> Pending<SwapRecord> {
        let (env, directory) = (self.env.clone(), self.directory.clone());
        let (name, missing) = (name.to_owned(), self.not_found(name));
        let to = to.map(str::to_owned);
        Box::pin(async move {
            match directory.plugin_of(&name) {
                Some(plugin) => {
                    let back = directory.rollback(&plugin, to.as_deref()).await;
                    back.map_err(of_plugin)
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
            let stopped = directory
                .status()
                .into_iter()
                .find(|plugin| plugin.plugin == name);
            match directory
                .plugin_of(&name)
                .or(stopped.map(|plugin| plugin.plugin))
            {
                Some(plugin) => directory.restart(&plugin).await.map_err(of_plugin),
                None => env.restart(&name).await.map_err(|_| missing),
            }
        })
    }

    fn stop(&self, name: &str) -> Pending<()> {
        let (env, directory) = (self.env.clone(), self.directory.clone());
        let (name, missing) = (name.to_owned(), self.not_found(name));
        Box::pin(async move {
            if name == ENDPOINT_VERIFIER {
                return Err(ControlError::Refused {
                    reason: format!("`{name}` is what looking endpoints up needs; it stays"),
                    record: None,
                });
            }
            match directory.plugin_of(&name) {
                Some(plugin) => directory.stop(&plugin).await.map_err(of_plugin),
                None if env.stop(&name).await => Ok(()),
                None => Err(missing),
            }
        })
    }
}

fn of_plugin(error: PluginError) -> ControlError {
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
        PluginError::Unknown { .. } => ControlError::Refused {
            reason: text,
            record: None,
        },
        PluginError::Busy { .. } | PluginError::Closed => ControlError::Failed { reason: text },
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
        SwapError::AlreadyRuns { .. } | SwapError::NoSuchVersion { .. } => ControlError::Refused {
            reason,
            record: None,
        },
        SwapError::Stopped { .. } => ControlError::Failed { reason },
    }
}
