//! Role: a host with one endpoint that the binary carries, be it a master or a worker.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::asking::{Masters, bad, parse_pair};
use crate::admin::AdminServer;
use crate::cli::control::HostControl;
use crate::cli::serve::{HostOptions, Stop, end, shut_down};
use crate::component::code::Code;
use crate::endpoint::settings::{Checkpoint, EndpointSettings, Limits};
use crate::endpoint::status::EndpointState;
use crate::rpc_env::{RpcEnv, RpcSettings};

/// How often to look whether the endpoint of a role has ended.
const LOOK: Duration = Duration::from_millis(500);

/// Options of a role.
#[derive(Args, Clone)]
pub(super) struct RoleOptions {
    /// Host name or address to listen on.
    #[arg(long, short = 'H', default_value = "127.0.0.1")]
    pub(super) host: String,
    /// The component to run instead of the one that this program carries.
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,
    /// A setting of the endpoint; may be given several times. Its README lists them.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    config: Vec<(String, String)>,
    #[command(flatten)]
    pub(super) serve: HostOptions,
}

/// A host that runs a role.
pub(super) struct Running {
    pub(super) env: RpcEnv,
    pub(super) admin: Option<AdminServer>,
}

/// What a role is made of.
pub(super) struct Role {
    /// Name of its endpoint.
    pub(super) name: &'static str,
    /// The code that the binary carries.
    pub(super) bundled: Code,
    /// Rights beside those that every endpoint has.
    pub(super) grants: &'static [&'static str],
    /// Configuration that follows from arguments; `--config` overrides it.
    pub(super) config: BTreeMap<String, String>,
    /// Where the admin API listens, if nobody said.
    pub(super) admin: &'static str,
    /// After a crash it comes back with a copy of its state, two seconds old at most. Not for one that
    /// finds all it needs in its store: a copy knows less.
    pub(super) copies: bool,
}

impl RoleOptions {
    /// What `--config` says for a key.
    pub(super) fn setting(&self, key: &str) -> Option<&str> {
        let last = self.config.iter().rfind(|(name, _)| name == key);
        last.map(|(_, value)| value.as_str())
    }

    /// Creates the host and sets the endpoint of the role up on it.
    pub(super) async fn start_rpc_env_and_endpoint(
        &self,
        settings: RpcSettings,
        role: Role,
    ) -> anyhow::Result<Running> {
        self.serve.admin_address(role.admin)?;
        let code = match &self.plugin {
            Some(file) => Code::from_file(file)?,
            None => role.bundled.clone(),
        };
        let env = RpcEnv::create(settings).await.context("start the host")?;
        let mut config = role.config.clone();
        config.extend(self.config.iter().cloned());
        let started = async {
            let settings = endpoint_settings(config, &role);
            let setup = env.setup_endpoint(role.name, &code, settings).await;
            setup.with_context(|| format!("set up the endpoint `{}`", role.name))?;
            let control = Arc::new(HostControl::new(env.clone(), None));
            self.serve.admin(role.admin, control).await
        };
        match started.await {
            Ok(admin) => Ok(Running { env, admin }),
            Err(error) => {
                env.shutdown().await;
                Err(error)
            }
        }
    }
}

impl Running {
    /// Ends when the endpoint has ended by itself or failed for good, with the reason.
    pub(super) async fn ended(&self, name: &str) -> String {
        loop {
            tokio::time::sleep(LOOK).await;
            match self.env.status_of(name).map(|status| status.state) {
                None => return format!("the endpoint `{name}` was stopped, or stopped itself"),
                Some(EndpointState::Failed(reason)) => {
                    return format!("the endpoint `{name}` failed: {reason}");
                }
                Some(_) => {}
            }
        }
    }

    /// Runs until a signal comes, `over` is over or the endpoint has ended, then ends in order.
    ///
    /// # Errors
    /// The endpoint ended by itself.
    pub(super) async fn await_termination(
        self,
        mut stop: Stop,
        name: &str,
        over: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let ended = tokio::select! {
            () = stop.wait() => None,
            () = over => None,
            reason = self.ended(name) => Some(reason),
        };
        end(stop, shut_down(self.admin, &self.env)).await?;
        match ended {
            None => Ok(()),
            Some(reason) => Err(anyhow::anyhow!("{reason}; the log says more")),
        }
    }
}

/// Refuses to be reached under a name of this machine only by masters of other machines.
///
/// # Errors
/// What to give instead.
pub(super) fn check_reachable(
    masters: &Masters,
    host: &str,
    advertise: Option<&str>,
) -> anyhow::Result<()> {
    let remote = masters.0.iter().find(|master| !is_loopback(master.host()));
    match remote {
        Some(master) if is_loopback(advertise.unwrap_or(host)) => Err(bad(format!(
            "the master {master} is on another machine, which cannot reach `{}` here; give --host ADDRESS, \
             and --insecure in a network that you trust",
            advertise.unwrap_or(host)
        ))),
        _ => Ok(()),
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    let address = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// What a role may use: as much as a large cluster needs.
fn endpoint_settings(config: BTreeMap<String, String>, role: &Role) -> EndpointSettings {
    let always = ["clock", "message:*"];
    EndpointSettings {
        config,
        grants: always
            .iter()
            .chain(role.grants)
            .map(|&right| right.to_owned())
            .collect(),
        limits: Limits {
            memory_bytes: 1 << 30,
            inbox: 65_536,
            ..Limits::default()
        },
        checkpoint: Checkpoint {
            time: role.copies.then_some(Duration::from_secs(2)),
            messages: None,
        },
        ..EndpointSettings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::cluster::asking::parse_masters;

    #[test]
    fn a_master_elsewhere_must_be_able_to_reach_this_host() {
        let (here, there) = ("localhost:7077,[::1]:7077", "127.0.0.1:7077,10.0.0.5:7077");
        let check = |masters, host, advertise| {
            check_reachable(&parse_masters(masters).unwrap(), host, advertise).is_ok()
        };
        assert!(check(here, "127.0.0.1", None));
        assert!(!check(there, "127.0.0.1", None));
        assert!(!check(there, "0.0.0.0", Some("localhost")));
        assert!(check(there, "10.0.0.6", None));
        assert!(check(there, "127.0.0.1", Some("worker-6")));
    }
}
