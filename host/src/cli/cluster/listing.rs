//! `instar apps`, `instar drivers`, `instar workers`: what the leading master knows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use deploy_protocol::{
    ApplicationInfo, DriverInfo, MasterStateResponse, RequestMasterState, WorkerInfo,
};

use super::asking::{MasterOptions, ask_masters, client};
use crate::cli::output::{Output, brief, cut, table};

/// Show the applications of a cluster.
#[derive(Args)]
pub(in crate::cli) struct Apps {
    /// Also those that ended.
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    masters: MasterOptions,
}

/// Show the drivers of a cluster.
#[derive(Args)]
pub(in crate::cli) struct Drivers {
    /// Also those that ended.
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    masters: MasterOptions,
}

/// Show the workers of a cluster.
#[derive(Args)]
pub(in crate::cli) struct Workers {
    #[command(flatten)]
    masters: MasterOptions,
}

impl Apps {
    pub(in crate::cli) async fn run(self, output: Output) -> anyhow::Result<()> {
        let state = state(&self.masters).await?;
        let mut apps = state.active_apps.clone();
        if self.all {
            apps.extend(state.completed_apps.iter().cloned());
        }
        output.print(&apps, |apps| {
            listed(&state, &apps_table(apps), apps.is_empty(), "application")
        })
    }
}

impl Drivers {
    pub(in crate::cli) async fn run(self, output: Output) -> anyhow::Result<()> {
        let state = state(&self.masters).await?;
        let mut drivers = state.active_drivers.clone();
        if self.all {
            drivers.extend(state.completed_drivers.iter().cloned());
        }
        output.print(&drivers, |drivers| {
            listed(
                &state,
                &drivers_table(drivers),
                drivers.is_empty(),
                "driver",
            )
        })
    }
}

impl Workers {
    pub(in crate::cli) async fn run(self, output: Output) -> anyhow::Result<()> {
        let state = state(&self.masters).await?;
        output.print(&state.workers, |workers| {
            listed(
                &state,
                &workers_table(workers),
                workers.is_empty(),
                "worker",
            )
        })
    }
}

async fn state(masters: &MasterOptions) -> anyhow::Result<MasterStateResponse> {
    let env = client().await?;
    let state = ask_masters(&env, &masters.master, &RequestMasterState {}).await;
    env.shutdown().await;
    state
}

fn listed(state: &MasterStateResponse, rows: &[Vec<String>], empty: bool, what: &str) -> String {
    let head = format!(
        "{} is {} (version {}, {})\n\n",
        state.master, state.status, state.version, state.policy
    );
    match empty {
        true => format!("{head}no {what}"),
        false => head + &table(rows),
    }
}

fn row<const N: usize>(cells: [String; N]) -> Vec<String> {
    cells.to_vec()
}

fn head<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// Time since a moment in milliseconds since 1970.
fn since(moment: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
        .saturating_sub(Duration::from_millis(moment))
}

fn apps_table(apps: &[ApplicationInfo]) -> Vec<Vec<String>> {
    let mut rows = vec![head([
        "id",
        "name",
        "state",
        "cores",
        "MB/executor",
        "executors",
        "submitted",
        "user",
    ])];
    rows.extend(apps.iter().map(|app| {
        row([
            app.id.clone(),
            cut(&app.description.name, 24),
            app.state.to_string(),
            app.cores_granted.to_string(),
            app.description.memory_per_executor_mb().to_string(),
            app.executors.len().to_string(),
            format!("{} ago", brief(since(app.submitted))),
            app.description.user.clone(),
        ])
    }));
    rows
}

fn drivers_table(drivers: &[DriverInfo]) -> Vec<Vec<String>> {
    let mut rows = vec![head([
        "id",
        "state",
        "cores",
        "MB",
        "supervised",
        "submitted",
        "worker",
        "note",
    ])];
    rows.extend(drivers.iter().map(|driver| {
        row([
            driver.id.clone(),
            driver.state.to_string(),
            driver.description.cores.to_string(),
            driver.description.memory_mb.to_string(),
            if driver.description.supervise {
                "yes"
            } else {
                "no"
            }
            .to_owned(),
            format!("{} ago", brief(since(driver.submitted))),
            driver.worker_id.clone().unwrap_or("-".to_owned()),
            cut(&driver.message, 60),
        ])
    }));
    rows
}

fn workers_table(workers: &[WorkerInfo]) -> Vec<Vec<String>> {
    let mut rows = vec![head([
        "id",
        "address",
        "state",
        "cores",
        "MB",
        "executors",
        "drivers",
        "last heard of",
    ])];
    rows.extend(workers.iter().map(|worker| {
        row([
            worker.id.clone(),
            format!("{}:{}", worker.host, worker.port),
            worker.state.to_string(),
            format!("{}/{}", worker.cores_used, worker.cores),
            format!("{}/{}", worker.memory_used_mb, worker.memory_mb),
            worker.executors.len().to_string(),
            worker.drivers.len().to_string(),
            format!("{} ago", brief(since(worker.last_heartbeat))),
        ])
    }));
    rows
}
