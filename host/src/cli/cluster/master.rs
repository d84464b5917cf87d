//! `instar master`: main -> start_rpc_env_and_endpoint -> await_termination, as Spark's Master starts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use deploy_protocol::{BoundPortsRequest, BoundPortsResponse, MASTER, MASTER_PORT};
use serde::Serialize;

use super::asking::{ask, bad};
use super::role::{Role, RoleOptions, Running};
use crate::address::EndpointAddress;
use crate::bundled;
use crate::cli::output::{Output, line};
use crate::cli::serve::{Stop, shut_down, unless_stopped};

/// How long the master may take to start.
const STARTS_WITHIN: Duration = Duration::from_secs(120);

/// Run a master of a cluster.
///
/// Its logic is the endpoint `Master`, which can be swapped while it works: `instar swap Master FILE`.
///
/// Example: instar master --port 7077
#[derive(Args)]
pub(in crate::cli) struct Master {
    /// Port for messages; a taken one is followed by the next.
    #[arg(long, short, default_value_t = MASTER_PORT)]
    port: u16,
    /// What to keep for the next start: `none`, or `filesystem` (workers, applications and drivers).
    #[arg(long, default_value = "none")]
    recovery_mode: String,
    /// Where it is kept, by one master only. Default: `master` in --data.
    #[arg(long)]
    recovery_directory: Option<PathBuf>,
    #[command(flatten)]
    role: RoleOptions,
}

/// What is printed when the master is ready.
#[derive(Serialize)]
struct Ready {
    master: String,
    rpc_port: u16,
    web_ui_port: Option<u16>,
    rest_port: Option<u16>,
    admin: Option<String>,
}

impl Master {
    pub(in crate::cli) async fn run(self, output: Output) -> anyhow::Result<()> {
        let mut stop = Stop::new()?;
        let starting = self.start_rpc_env_and_endpoint();
        let (running, ports) = unless_stopped(&mut stop, starting).await?;
        let admin = running.admin.as_ref();
        let ready = Ready {
            master: EndpointAddress::new(MASTER, running.env.location()).to_string(),
            rpc_port: ports.rpc_port,
            web_ui_port: ports.web_ui_port,
            rest_port: ports.rest_port,
            admin: admin.map(|admin| format!("http://{}", admin.address())),
        };
        line(&match output.json {
            true => serde_json::to_string(&ready)?,
            false => text(&ready),
        })?;
        running.await_termination(stop, MASTER).await
    }

    /// Starts the host and the master on it, and asks the master for its ports: its answer says that it
    /// started.
    async fn start_rpc_env_and_endpoint(&self) -> anyhow::Result<(Running, BoundPortsResponse)> {
        let host = &self.role.host;
        let mut settings = self.role.serve.settings(&format!("{host}:{}", self.port))?;
        let recovers = self.recovery_mode.eq_ignore_ascii_case("filesystem");
        if self.recovery_directory.is_some() && !recovers {
            return Err(bad(
                "--recovery-directory is for --recovery-mode filesystem",
            ));
        }
        if recovers {
            settings.store = Some(match &self.recovery_directory {
                Some(directory) => directory.clone(),
                None => self.role.serve.data()?.join("master"),
            });
        }
        let role = Role {
            name: MASTER,
            bundled: bundled::master(),
            grants: &["persist"],
            config: BTreeMap::from([("recovery_mode".to_owned(), self.recovery_mode.clone())]),
            admin: crate::admin::api::DEFAULT_LISTEN,
            copies: !recovers,
        };
        let running = self.role.start_rpc_env_and_endpoint(settings, role).await?;
        let master = EndpointAddress::new(MASTER, running.env.location());
        match ask(&running.env, master, &BoundPortsRequest {}, STARTS_WITHIN).await {
            Ok(ports) => Ok((running, ports)),
            Err(error) => {
                shut_down(running.admin, &running.env).await;
                Err(error).context("start the endpoint `Master`")
            }
        }
    }
}

fn text(ready: &Ready) -> String {
    let port = |port: Option<u16>| port.map_or("none".to_owned(), |port| port.to_string());
    format!(
        "ready: {}, messages on port {}, pages on port {}, REST on port {}, admin API {}",
        ready.master,
        ready.rpc_port,
        port(ready.web_ui_port),
        port(ready.rest_port),
        ready.admin.as_deref().unwrap_or("off")
    )
}
