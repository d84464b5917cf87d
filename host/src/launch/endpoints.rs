//! A workload that stands behind endpoints: set up in the ordinary way, one instance for each name, all
//! or none. It has ended when all of them have; the first that crashes ends the others.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::settings::LaunchLimits;
use super::workload;
use crate::component::code::Code;
use crate::component::output_files::OutputFiles;
use crate::component::rights_of_workloads;
use crate::component::workload::{Program, Workload};
use crate::endpoint::handle::{End, Endpoint};
use crate::endpoint::launches::LaunchChange;
use crate::endpoint::settings::EndpointSettings;
use crate::error::with_causes;
use crate::rpc_env::{RpcEnv, SetupError};

/// The endpoints of one workload.
pub(super) struct Endpoints {
    all: Vec<Arc<Endpoint>>,
    limits: LaunchLimits,
}

impl Endpoints {
    pub(super) fn new(limits: &LaunchLimits) -> Self {
        Self {
            all: Vec::new(),
            limits: limits.clone(),
        }
    }

    /// Sets all of them up.
    ///
    /// # Errors
    /// One sentence. Those that were set up are still there: [`Endpoints::stop`] ends them.
    ///
    /// # Cancellation
    /// As after an error.
    pub(super) async fn start(
        &mut self,
        env: &RpcEnv,
        code: &Code,
        workload: &Workload,
        output: OutputFiles,
    ) -> Result<(), String> {
        let (names, config) = match &workload.program {
            Program::Endpoint { names, config } => (names, config),
            Program::Command { .. } => return Err("it stands behind no endpoints".to_owned()),
        };
        let mut limits = workload::limits(workload, names.len());
        limits.turn = self.limits.task_turn;
        limits.drain = self.limits.kill_wait;
        let grants = rights_of_workloads().map(str::to_owned);
        let settings = EndpointSettings {
            config: config.clone(),
            grants: grants.chain(["message:*".to_owned()]).collect(),
            limits,
            ends_with_crash: true,
            output: Some(output),
            ..EndpointSettings::default()
        };
        for name in names {
            let made = env.set_up(name, code, settings.clone()).await;
            let endpoint = made.map_err(|error| match &error {
                SetupError::Load(error) => workload::not_loaded(error),
                error => with_causes(error),
            })?;
            self.all.push(endpoint);
        }
        Ok(())
    }

    /// Waits for the end of all of them, or for the first that crashes.
    ///
    /// # Cancellation
    /// Safe.
    pub(super) async fn ended(&self) -> LaunchChange {
        let mut ends = JoinSet::new();
        for endpoint in &self.all {
            let endpoint = Arc::clone(endpoint);
            ends.spawn(async move { (endpoint.name().to_owned(), endpoint.ended().await) });
        }
        while let Some(end) = ends.join_next().await {
            if let Ok((name, End::Crashed { reason, limit })) = end {
                let status = match limit {
                    true => super::launcher::MET_A_LIMIT,
                    false => super::launcher::PANICKED,
                };
                return LaunchChange::Exited {
                    status,
                    reason: format!("`{name}` crashed: {reason}"),
                };
            }
        }
        LaunchChange::Exited {
            status: 0,
            reason: String::new(),
        }
    }

    /// Stops those that are left: first well, then by force.
    pub(super) async fn stop(&self, env: &RpcEnv) {
        let mut stopping = JoinSet::new();
        for endpoint in &self.all {
            env.unregister(endpoint);
            let (endpoint, wait) = (Arc::clone(endpoint), self.limits.kill_wait);
            stopping.spawn(async move {
                if tokio::time::timeout(wait, endpoint.stop()).await.is_err() {
                    tracing::warn!(endpoint = endpoint.name(), ?wait, "ended by force");
                    endpoint.end_by_force();
                    endpoint.ended().await;
                }
            });
        }
        while stopping.join_next().await.is_some() {}
    }
}
