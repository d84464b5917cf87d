//! `instar master`: main -> start_rpc_env_and_endpoint -> await_termination, as Spark's Master starts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use deploy_protocol::{BoundPortsRequest, BoundPortsResponse, MASTER, MASTER_PORT};
use serde::Serialize;

use super::asking::{ask, bad};
use super::parent;
use super::role::{Role, RoleOptions, Running};
use crate::address::EndpointAddress;
use crate::bundled;
use crate::cli::output::{Output, line};
use crate::cli::serve::{Stop, shut_down, unless_stopped};
use crate::cli::zookeeper::{RecoveryMode, ZooKeeperOptions, unused};
use crate::election::ElectionSettings;
use crate::election::under_parent::UnderParent;
use crate::store::StoreSettings;
use crate::zookeeper::ZooKeeperSettings;

/// How long the master may take to start.
const STARTS_WITHIN: Duration = Duration::from_secs(120);

/// What the endpoint is told about it follows from an argument.
const RECOVERY_MODE: &str = "recovery_mode";

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
    /// Where workers, applications and drivers are kept: `none`, `filesystem` (for the next start), or
    /// `zookeeper` (for the next of several masters, of which ZooKeeper says who leads).
    #[arg(long, value_name = "MODE", default_value = "none")]
    recovery_mode: RecoveryMode,
    /// Where it is kept in mode `filesystem`, by one master only. Default: `master` in --data.
    #[arg(long)]
    recovery_directory: Option<PathBuf>,
    /// Run as one process in mode `zookeeper`. By default a parent process holds the latch, so that the
    /// next master need not wait for a session to expire when this one is killed.
    #[arg(long)]
    no_parent: bool,
    /// This is the child of such a parent, which its standard input leads to.
    #[arg(long, hide = true)]
    under_parent: bool,
    #[command(flatten)]
    zookeeper: ZooKeeperOptions,
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
    /// The process that runs the master: not the parent, where there is one.
    host_pid: u32,
}

/// What else a master under a parent waits for.
type Parent = Option<Arc<UnderParent>>;

impl Master {
    pub(in crate::cli) async fn run(self, output: Output) -> anyhow::Result<()> {
        self.check()?;
        let zookeeper = self.zookeeper.settings(self.recovery_mode)?;
        if self.no_parent && zookeeper.is_none() {
            return Err(unused("--no-parent", self.recovery_mode));
        }
        match &zookeeper {
            Some(settings) if !self.no_parent && !self.under_parent => {
                parent::run(MASTER, settings).await
            }
            _ => self.run_host(zookeeper, output).await,
        }
    }

    /// Refuses what the host would do one way and the endpoint another way.
    fn check(&self) -> anyhow::Result<()> {
        match self.role.setting(RECOVERY_MODE) {
            Some(mode) => Err(bad(format!(
                "{RECOVERY_MODE} is set by --recovery-mode {mode}; leave it out of --config"
            ))),
            None => Ok(()),
        }
    }

    async fn run_host(
        self,
        zookeeper: Option<ZooKeeperSettings>,
        output: Output,
    ) -> anyhow::Result<()> {
        let mut stop = Stop::new()?;
        let parent: Parent = match &zookeeper {
            Some(settings) if self.under_parent => {
                let socket = parent::socket_to_parent()?;
                Some(UnderParent::start(socket, MASTER, settings.clone()))
            }
            _ => None,
        };
        let starting = self.start_rpc_env_and_endpoint(zookeeper, parent.clone());
        let (running, ports) = unless_stopped(&mut stop, starting).await?;
        let admin = running.admin.as_ref();
        let ready = Ready {
            master: EndpointAddress::new(MASTER, running.env.location()).to_string(),
            rpc_port: ports.rpc_port,
            web_ui_port: ports.web_ui_port,
            rest_port: ports.rest_port,
            admin: admin.map(|admin| format!("http://{}", admin.address())),
            host_pid: std::process::id(),
        };
        line(&match output.json {
            true => serde_json::to_string(&ready)?,
            false => text(&ready),
        })?;
        let parent_ended = async {
            match &parent {
                Some(parent) => parent.parent_ended().await,
                None => std::future::pending().await,
            }
        };
        running.await_termination(stop, MASTER, parent_ended).await
    }

    /// Starts the host and the master on it, and asks the master for its ports: its answer says that it
    /// started.
    async fn start_rpc_env_and_endpoint(
        &self,
        zookeeper: Option<ZooKeeperSettings>,
        parent: Parent,
    ) -> anyhow::Result<(Running, BoundPortsResponse)> {
        let host = &self.role.host;
        let mut settings = self.role.serve.settings(&format!("{host}:{}", self.port))?;
        if self.recovery_directory.is_some() && self.recovery_mode != RecoveryMode::Filesystem {
            return Err(bad(
                "--recovery-directory is for --recovery-mode filesystem",
            ));
        }
        settings.store = match self.recovery_mode {
            RecoveryMode::None => None,
            RecoveryMode::Filesystem => Some(match &self.recovery_directory {
                Some(directory) => directory.clone().into(),
                None => self.role.serve.data()?.join("master").into(),
            }),
            RecoveryMode::ZooKeeper => zookeeper.clone().map(StoreSettings::ZooKeeper),
        };
        settings.election = match (zookeeper, parent) {
            (None, _) => ElectionSettings::None,
            (Some(zookeeper), None) => ElectionSettings::ZooKeeper(zookeeper),
            (Some(_), Some(parent)) => ElectionSettings::By(parent),
        };
        let role = Role {
            name: MASTER,
            bundled: bundled::master(),
            grants: &["persist", "lead"],
            config: BTreeMap::from([(
                RECOVERY_MODE.to_owned(),
                self.recovery_mode.name().to_owned(),
            )]),
            admin: crate::admin::api::DEFAULT_LISTEN,
            copies: self.recovery_mode == RecoveryMode::None,
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
    let mut text = format!(
        "ready: {}, messages on port {}",
        ready.master, ready.rpc_port
    );
    for (what, port) in [("pages", ready.web_ui_port), ("REST", ready.rest_port)] {
        if let Some(port) = port {
            text = format!("{text}, {what} on port {port}");
        }
    }
    let admin = ready.admin.as_deref().unwrap_or("off");
    format!("{text}, admin API {admin}")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::exit::{BAD_INPUT, code_of};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        master: Master,
    }

    #[test]
    fn what_a_master_does_not_have_is_not_in_its_ready_line() {
        let mut ready = Ready {
            master: "instar://Master@a:7077".to_owned(),
            rpc_port: 7077,
            web_ui_port: None,
            rest_port: None,
            admin: None,
            host_pid: 1,
        };
        let said = text(&ready);
        let expected = "ready: instar://Master@a:7077, messages on port 7077, admin API off";
        assert_eq!(said, expected);
        ready.web_ui_port = Some(8080);
        assert!(text(&ready).contains("7077, pages on port 8080, admin API off"));
    }

    #[test]
    fn the_recovery_mode_is_no_setting_of_the_endpoint() {
        for mode in ["zookeeper", "filesystem"] {
            let config = format!("recovery_mode={mode}");
            let line = Line::try_parse_from(["master", "--config", &config]).unwrap();
            let error = line.master.check().unwrap_err();
            assert_eq!(code_of(&error), BAD_INPUT);
            let expected = format!("recovery_mode is set by --recovery-mode {mode}");
            assert!(error.to_string().contains(&expected), "{error}");
        }
        let line = Line::try_parse_from(["master", "--config", "worker_timeout=1000"]);
        assert!(line.unwrap().master.check().is_ok());
    }
}
