//! `instar up`: runs a host with the plugins of a directory, until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::control::UpControl;
use super::exit::BadInput;
use super::output::{Output, line};
use crate::address::RpcAddress;
use crate::admin::AdminServer;
use crate::admin::token::state_dir;
use crate::component::engine::EngineSettings;
use crate::plugins::{Options, PluginDirectory};
use crate::rpc_env::{RpcEnv, RpcSettings};
use crate::transport::{Listen, TransportSettings};

/// Run a host with the plugins of a directory.
///
/// A `.wasm` that appears in the directory is started as an endpoint, one that changes is swapped, one
/// that goes is stopped. `NAME.toml` beside it is what you say about it, `NAME.status.json` what became
/// of it.
///
/// Example: instar up --plugins ./plugins --listen 127.0.0.1:7077
#[derive(Args)]
pub(super) struct Up {
    /// The plugin directory. It may be made later.
    #[arg(long)]
    plugins: PathBuf,
    /// Where to listen for messages: HOST:PORT. Port 0 takes any free one; a taken one is followed
    /// by the next.
    #[arg(long, default_value = "127.0.0.1:7077")]
    listen: String,
    /// The host name under which others reach this host, if it is another than in --listen.
    #[arg(long)]
    advertise: Option<String>,
    /// Where the admin API listens, on loopback; `off` for none.
    #[arg(long, default_value = crate::admin::api::DEFAULT_LISTEN)]
    admin: String,
    /// Where the admin token lies. Default: $XDG_STATE_HOME/instar or ~/.local/state/instar.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where compiled code is kept. Default: $XDG_CACHE_HOME/instar or ~/.cache/instar.
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Listen also where others can reach this host, though nothing is encrypted and nobody has to
    /// say who they are.
    #[arg(long)]
    insecure: bool,
}

/// What is printed when the host is ready.
#[derive(Serialize)]
struct Ready {
    listen: String,
    admin: Option<String>,
    plugins: PathBuf,
    token_file: Option<PathBuf>,
}

impl Up {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<()> {
        let listen: RpcAddress = self.listen.parse()?;
        let admin = self.admin_address()?;
        let settings = RpcSettings {
            transport: TransportSettings {
                listen: Some(Listen {
                    host: listen.host().trim_matches(['[', ']']).to_owned(),
                    port: listen.port(),
                    advertise: self.advertise.clone(),
                    insecure: self.insecure,
                }),
                ..TransportSettings::default()
            },
            engine_settings: EngineSettings {
                cache: self.cache.clone().or_else(default_cache),
                ..EngineSettings::default()
            },
            ..RpcSettings::default()
        };
        // Before anything is opened: a signal that comes early is not lost.
        let mut stop = Stop::new()?;
        let env = RpcEnv::create(settings).await.context("start the host")?;
        let directory = PluginDirectory::start(env.clone(), &self.plugins, Options::default());
        let control = Arc::new(UpControl::new(env.clone(), directory.clone()));
        let admin = match admin {
            Some(address) => {
                let data = state_dir(self.data.as_deref())?;
                match AdminServer::start(address, &data, control).await {
                    Ok(server) => Some(server),
                    Err(error) => {
                        directory.shutdown().await;
                        env.shutdown().await;
                        return Err(error)
                            .context("start the admin API; --admin names another address");
                    }
                }
            }
            None => None,
        };
        let ready = Ready {
            listen: env.location().to_string(),
            admin: admin
                .as_ref()
                .map(|admin| format!("http://{}", admin.address())),
            plugins: self.plugins,
            token_file: admin.as_ref().map(|admin| admin.token_path().to_owned()),
        };
        line(&match output.json {
            true => serde_json::to_string(&ready)?,
            false => format!(
                "ready: messages on {}, admin API {}, plugins in {}",
                ready.listen,
                ready
                    .admin
                    .as_ref()
                    .map_or("off".to_owned(), |admin| format!("on {admin}")),
                ready.plugins.display()
            ),
        })?;
        stop.wait().await;
        tracing::info!("stopping; a second signal ends at once");
        let orderly = async {
            if let Some(admin) = admin {
                admin.shutdown().await;
            }
            directory.shutdown().await;
            env.shutdown().await;
        };
        tokio::select! {
            () = orderly => Ok(()),
            () = stop.wait() => Err(super::exit::Interrupted.into()),
        }
    }

    fn admin_address(&self) -> anyhow::Result<Option<SocketAddr>> {
        if self.admin == "off" {
            return Ok(None);
        }
        let parsed = self.admin.parse();
        let wrong = |_| {
            BadInput(format!(
                "--admin is `{}`; expected an address like 127.0.0.1:7078, or `off`",
                self.admin
            ))
        };
        Ok(Some(parsed.map_err(wrong)?))
    }
}

/// By the XDG rules; none where there is no home.
pub(super) fn default_cache() -> Option<PathBuf> {
    let absolute = |name| {
        let path = std::env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(base.join("instar"))
}

/// Ctrl-C or SIGTERM.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("listen for Ctrl-C")?,
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
