//! `instar worker`: a host that offers its cores and memory to the masters of a cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use deploy_protocol::{RequestWorkerState, WORKER, WorkerStateResponse};
use serde::Serialize;

use super::asking::{Masters, ask, parse_masters, parse_memory};
use super::role::{Role, RoleOptions, Running, check_reachable};
use crate::address::EndpointAddress;
use crate::bundled;
use crate::cli::output::{Output, line};
use crate::cli::serve::{Stop, shut_down, unless_stopped};
use crate::rpc_env::{EnvError, RpcSettings};

/// How long the worker may take to start.
const STARTS_WITHIN: Duration = Duration::from_secs(120);

/// Default work folders that are tried.
const WORK_FOLDERS_MAX: u32 = 1000;

/// Memory that is left to the machine, in MB.
const LEFT_TO_THE_MACHINE_MB: u32 = 1024;

/// Run a worker of a cluster.
///
/// It registers with all masters that are named and obeys the one that leads. What it runs are
/// components, each within the memory and the cores that it was given.
///
/// Example: instar worker 127.0.0.1:7077 --cores 4 --memory 8G
#[derive(Args)]
pub(in crate::cli) struct Worker {
    /// The masters: HOST:PORT or instar://HOST:PORT, several with commas.
    #[arg(value_parser = parse_masters)]
    masters: Masters,
    /// Port for messages; 0 takes any free one.
    #[arg(long, short, default_value_t = 0)]
    port: u16,
    /// Cores that it offers. Default: all of this machine.
    #[arg(long, short, value_parser = clap::value_parser!(u32).range(1..))]
    cores: Option<u32>,
    /// Memory that it offers, like 8G. Default: all of this machine but 1G, at least 1G.
    #[arg(long, short, value_parser = parse_memory)]
    memory: Option<u32>,
    /// Where what it runs has its folders. Default: the first of `work`, `work-2`, ... in --data that
    /// no other host uses.
    #[arg(long, short = 'd')]
    work_dir: Option<PathBuf>,
    #[command(flatten)]
    role: RoleOptions,
}

/// What is printed when the worker is ready.
#[derive(Serialize)]
struct Ready {
    worker: String,
    worker_id: String,
    masters: String,
    cores: u32,
    memory_mb: u32,
    work_dir: PathBuf,
    admin: Option<String>,
}

impl Worker {
    pub(in crate::cli) async fn run(self, output: Output) -> anyhow::Result<()> {
        let mut stop = Stop::new()?;
        let host = &self.role.host;
        check_reachable(&self.masters, host, self.role.serve.advertise.as_deref())?;
        let settings = self.role.serve.settings(&format!("{host}:{}", self.port))?;
        let cores = match self.cores {
            Some(cores) => cores,
            None => std::thread::available_parallelism()
                .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX)),
        };
        let memory_mb = match self.memory {
            Some(memory) => memory,
            None => default_memory_mb()?,
        };
        let config = [
            ("masters", self.masters.to_string()),
            ("cores", cores.to_string()),
            ("memory_mb", memory_mb.to_string()),
        ];
        let start = async |work: PathBuf| {
            let role = Role {
                name: WORKER,
                bundled: bundled::worker(),
                grants: &["launch"],
                config: config
                    .clone()
                    .map(|(key, value)| (key.to_owned(), value))
                    .into(),
                admin: "127.0.0.1:0",
                copies: true,
            };
            let settings = RpcSettings {
                work: Some(work),
                ..settings.clone()
            };
            self.start(settings, role).await
        };
        let starting = async {
            match &self.work_dir {
                Some(folder) => Ok((folder.clone(), start(folder.clone()).await?)),
                None => start_in_a_free_folder(&self.role.serve.data()?, start).await,
            }
        };
        let (work_dir, (running, state)) = unless_stopped(&mut stop, starting).await?;
        let admin = running.admin.as_ref();
        let ready = Ready {
            worker: EndpointAddress::new(WORKER, running.env.location()).to_string(),
            worker_id: state.worker_id,
            masters: self.masters.to_string(),
            cores,
            memory_mb,
            work_dir,
            admin: admin.map(|admin| format!("http://{}", admin.address())),
        };
        line(&match output.json {
            true => serde_json::to_string(&ready)?,
            false => format!(
                "ready: {} ({}), {} cores, {} MB, masters {}, work in {}, admin API {}",
                ready.worker,
                ready.worker_id,
                ready.cores,
                ready.memory_mb,
                ready.masters,
                ready.work_dir.display(),
                ready.admin.as_deref().unwrap_or("off")
            ),
        })?;
        running
            .await_termination(stop, WORKER, std::future::pending())
            .await
    }

    /// Starts the host and the worker on it. The answer of the worker says that it started.
    async fn start(
        &self,
        settings: RpcSettings,
        role: Role,
    ) -> anyhow::Result<(Running, WorkerStateResponse)> {
        let running = self.role.start_rpc_env_and_endpoint(settings, role).await?;
        let worker = EndpointAddress::new(WORKER, running.env.location());
        match ask(&running.env, worker, &RequestWorkerState {}, STARTS_WITHIN).await {
            Ok(state) => Ok((running, state)),
            Err(error) => {
                shut_down(running.admin, &running.env).await;
                Err(error).context("start the endpoint `Worker`")
            }
        }
    }
}

/// Starts in the first default work folder that no other host has: a worker that is started again finds
/// its folders.
async fn start_in_a_free_folder<T>(
    data: &Path,
    start: impl AsyncFn(PathBuf) -> anyhow::Result<T>,
) -> anyhow::Result<(PathBuf, T)> {
    let mut number = 1;
    loop {
        let folder = data.join(match number {
            1 => "work".to_owned(),
            _ => format!("work-{number}"),
        });
        match start(folder.clone()).await {
            Ok(started) => return Ok((folder, started)),
            Err(error) if is_in_use(&error) && number < WORK_FOLDERS_MAX => number += 1,
            Err(error) => return Err(error),
        }
    }
}

fn is_in_use(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<EnvError>();
    matches!(error, Some(EnvError::WorkInUse { .. }))
}

/// Memory of this machine but 1 GiB, at least 1 GiB, in MB.
fn default_memory_mb() -> anyhow::Result<u32> {
    let path = "/proc/meminfo";
    let text = std::fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let total = total_mb(&text)
        .with_context(|| format!("{path} has no line `MemTotal`; say how much with --memory"))?;
    Ok(total.saturating_sub(LEFT_TO_THE_MACHINE_MB).max(1024))
}

fn total_mb(meminfo: &str) -> Option<u32> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    u32::try_from(kilobytes / 1024).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc_env::RpcEnv;

    #[tokio::test]
    async fn each_worker_takes_the_first_work_folder_that_is_free_and_finds_it_again() {
        let data = tempfile::tempdir().unwrap();
        let create = async |folder| {
            let settings = RpcSettings {
                work: Some(folder),
                ..RpcSettings::default()
            };
            RpcEnv::create(settings).await.context("start the host")
        };
        let start = || start_in_a_free_folder(data.path(), create);
        let (first, first_env) = start().await.unwrap();
        let (second, second_env) = start().await.unwrap();
        assert_eq!(first, data.path().join("work"));
        assert_eq!(second, data.path().join("work-2"));
        let refused = create(first.clone()).await.err().unwrap();
        let expected = format!("is in use by process {}; give another", std::process::id());
        assert!(format!("{refused:#}").contains(&expected), "{refused:#}");
        first_env.shutdown().await;
        let (again, again_env) = start().await.unwrap();
        assert_eq!(again, first, "`first_env` is there, but ended");
        for env in [second_env, again_env] {
            env.shutdown().await;
        }
    }

    #[tokio::test]
    async fn a_default_work_folder_with_other_files_is_an_error_and_not_passed_by() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("work");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("letters"), "precious").unwrap();
        let create = async |folder| {
            let settings = RpcSettings {
                work: Some(folder),
                ..RpcSettings::default()
            };
            Ok(RpcEnv::create(settings).await?)
        };
        let refused = start_in_a_free_folder(data.path(), create).await;
        let refused = refused.err().unwrap().to_string();
        assert!(refused.contains("holds other files"), "{refused}");
    }

    #[test]
    fn the_memory_of_the_machine_is_read_in_megabytes() {
        let text = "MemFree: 1 kB\nMemTotal:       24673280 kB\n";
        assert_eq!(total_mb(text), Some(24_095));
        assert_eq!(total_mb("MemTotal: many kB"), None);
        assert_eq!(total_mb(""), None);
    }
}
