//! Serve: what every command that runs a host has in common: its options, its start, its orderly end.
//!
//! Not here: which endpoints the host has. That is the command's business.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::exit::{BadInput, Interrupted};
use crate::address::RpcAddress;
use crate::admin::token::state_dir;
use crate::admin::{AdminServer, Control};
use crate::component::engine::EngineSettings;
use crate::rpc_env::{RpcEnv, RpcSettings};
use crate::transport::{Listen, TransportSettings};

/// Options of a host.
#[derive(Args, Clone)]
pub(super) struct HostOptions {
    /// The host name under which others reach this host, if it is another than in --listen.
    #[arg(long)]
    pub(super) advertise: Option<String>,
    /// Where the admin API listens, on loopback, port 0 for any; `off` for none. Default:
    /// 127.0.0.1:7078, for a worker any port, for a submission `off`.
    #[arg(long)]
    pub(super) admin: Option<String>,
    /// Where the admin token and what this host keeps lie. Default: $XDG_STATE_HOME/instar or
    /// ~/.local/state/instar.
    #[arg(long)]
    pub(super) data: Option<PathBuf>,
    /// Where compiled code is kept. Default: $XDG_CACHE_HOME/instar or ~/.cache/instar.
    #[arg(long)]
    pub(super) cache: Option<PathBuf>,
    /// Listen also where others can reach this host, though nothing is encrypted and nobody has to
    /// say who they are.
    #[arg(long)]
    pub(super) insecure: bool,
}

impl HostOptions {
    /// The settings of a host that listens on `listen`, `HOST:PORT`.
    pub(super) fn settings(&self, listen: &str) -> anyhow::Result<RpcSettings> {
        let listen: RpcAddress = listen.parse()?;
        Ok(RpcSettings {
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
        })
    }

    /// The folder in which this host keeps what it has to keep.
    pub(super) fn data(&self) -> anyhow::Result<PathBuf> {
        Ok(state_dir(self.data.as_deref())?)
    }

    /// Starts the admin API, unless it is off. `default`: where, if nobody said.
    pub(super) async fn admin(
        &self,
        default: &str,
        control: Arc<dyn Control>,
    ) -> anyhow::Result<Option<AdminServer>> {
        let Some(address) = self.admin_address(default)? else {
            return Ok(None);
        };
        let server = AdminServer::start(address, &self.data()?, control).await;
        let server = server.context("start the admin API; --admin names another address")?;
        Ok(Some(server))
    }

    /// Where the admin API is to listen; `None` for nowhere.
    pub(super) fn admin_address(&self, default: &str) -> anyhow::Result<Option<SocketAddr>> {
        let admin = self.admin.as_deref().unwrap_or(default);
        if admin == "off" {
            return Ok(None);
        }
        let wrong = |_| {
            BadInput(format!(
                "--admin is `{admin}`; expected an address like 127.0.0.1:7078, or `off`"
            ))
        };
        Ok(Some(admin.parse().map_err(wrong)?))
    }
}

/// Waits for `work`, unless a signal comes before.
pub(super) async fn unless_stopped<T>(
    stop: &mut Stop,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::select! {
        done = work => done,
        () = stop.wait() => Err(Interrupted.into()),
    }
}

/// Ends in order; a signal ends at once.
pub(super) async fn end(mut stop: Stop, orderly: impl Future<Output = ()>) -> anyhow::Result<()> {
    tracing::info!("stopping; another signal ends at once");
    tokio::select! {
        () = orderly => Ok(()),
        () = stop.wait() => Err(Interrupted.into()),
    }
}

/// Ends admin API and host.
pub(super) async fn shut_down(admin: Option<AdminServer>, env: &RpcEnv) {
    if let Some(admin) = admin {
        admin.shutdown().await;
    }
    env.shutdown().await;
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
pub(super) struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    /// To be made before anything is opened: a signal that comes early is not lost.
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("listen for Ctrl-C")?,
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
        })
    }

    /// Ends with the next signal.
    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
