//! `instar up`: runs a host with the plugins of a directory, until it is told to stop.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::control::HostControl;
use super::exit::BadInput;
use super::output::{Output, line};
use super::serve::{HostOptions, Stop, end, shut_down, unless_stopped};
use super::zookeeper::{RecoveryMode, ZooKeeperOptions};
use crate::admin::api::DEFAULT_LISTEN;
use crate::election::ElectionSettings;
use crate::plugins::{Options, PluginDirectory};
use crate::rpc_env::RpcEnv;
use crate::store::StoreSettings;

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
    /// Root of the folders in which works what plugins with the right `launch` launch. It belongs to
    /// this host alone. Without it nothing can be launched.
    #[arg(long)]
    work: Option<PathBuf>,
    /// Where plugins with the right `persist` keep values. It belongs to this host alone. Without it
    /// nothing can be persisted.
    #[arg(long)]
    store: Option<PathBuf>,
    /// Where plugins with the right `persist` keep values, and who decides which of several hosts leads
    /// (right `lead`): `none`, `filesystem` (a --store; nobody else can lead), `zookeeper` (both).
    /// Default: `filesystem` with --store, else `none`.
    #[arg(long, value_name = "MODE")]
    recovery_mode: Option<RecoveryMode>,
    #[command(flatten)]
    zookeeper: ZooKeeperOptions,
    #[command(flatten)]
    host: HostOptions,
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
        let mut settings = self.host.settings(&self.listen)?;
        settings.work = self.work.clone();
        (settings.store, settings.election) = self.recovery()?;
        self.host.admin_address(DEFAULT_LISTEN)?;
        let mut stop = Stop::new()?;
        let creating = async { RpcEnv::create(settings).await.context("start the host") };
        let env = unless_stopped(&mut stop, creating).await?;
        let directory = PluginDirectory::start(env.clone(), &self.plugins, Options::default());
        let control = Arc::new(HostControl::new(env.clone(), Some(directory.clone())));
        let admin = match self.host.admin(DEFAULT_LISTEN, control).await {
            Ok(admin) => admin,
            Err(error) => {
                directory.shutdown().await;
                env.shutdown().await;
                return Err(error);
            }
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
        end(stop, async {
            directory.shutdown().await;
            shut_down(admin, &env).await;
        })
        .await
    }

    /// Where is kept what outlives the host, and who decides which host leads.
    fn recovery(&self) -> anyhow::Result<(Option<StoreSettings>, ElectionSettings)> {
        let mode = self.recovery_mode.unwrap_or(match &self.store {
            Some(_) => RecoveryMode::Filesystem,
            None => RecoveryMode::None,
        });
        let zookeeper = self.zookeeper.settings(mode)?;
        match (mode, &self.store, zookeeper) {
            (RecoveryMode::None, None, _) => Ok((None, ElectionSettings::None)),
            (RecoveryMode::Filesystem, Some(store), _) => {
                Ok((Some(store.clone().into()), ElectionSettings::None))
            }
            (RecoveryMode::ZooKeeper, None, Some(zookeeper)) => {
                let store = StoreSettings::ZooKeeper(zookeeper.clone());
                Ok((Some(store), ElectionSettings::ZooKeeper(zookeeper)))
            }
            (RecoveryMode::Filesystem, None, _) => {
                let text = "--recovery-mode filesystem needs --store DIR";
                Err(BadInput(text.to_owned()).into())
            }
            _ => {
                let mode = mode.name();
                let text = format!("--store is for --recovery-mode filesystem; it is `{mode}`");
                Err(BadInput(text).into())
            }
        }
    }
}
