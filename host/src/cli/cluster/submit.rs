//! `instar submit`: runs a driver, in this process or on a worker, and shows how far it is.

mod client_mode;
mod cluster_mode;

use std::collections::BTreeMap;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use deploy_protocol::Program;
use serde::Serialize;

use super::asking::{MasterOptions, bad, parse_memory, parse_pair};
use super::offered::{self, Offered};
use super::role::check_reachable;
use crate::admin::AdminServer;
use crate::cli::exit::Interrupted;
use crate::cli::output::Output;
use crate::cli::serve::{HostOptions, Stop, end, shut_down, unless_stopped};
use crate::rpc_env::RpcEnv;

/// How long a driver that has its result waits for somebody to take it, in milliseconds.
const LINGER_MS: u32 = 30_000;

/// Run an application or a batch job on a cluster.
///
/// COMPONENT is the driver: an endpoint that registers an application and tells its executors what to
/// do, or a `wasi:cli` command (cluster mode only). Local files are offered to the workers by this
/// process, which therefore stays until the driver has ended.
///
/// Example: instar submit --executor wordcount-executor.wasm --input ~/texts wordcount-driver.wasm
#[derive(Args)]
pub(in crate::cli) struct Submit {
    /// The driver: a file, or the instar:// URI of one that a host offers.
    component: String,
    /// Arguments of the driver.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
    #[command(flatten)]
    masters: MasterOptions,
    /// Where the driver runs: in this process, or on a worker.
    #[arg(long, value_enum, default_value_t = DeployMode::Client)]
    deploy_mode: DeployMode,
    /// Name of the application. Default: what the driver calls itself.
    #[arg(long)]
    name: Option<String>,
    /// What the executors run: a file, or an instar:// URI.
    #[arg(long, value_name = "COMPONENT")]
    executor: Option<String>,
    /// Input: a folder, which this process offers to the executors, or an instar:// URI that ends with
    /// `/`. The driver finds it as setting `input`.
    #[arg(long, value_name = "FOLDER")]
    input: Option<String>,
    /// A setting of the driver; may be given several times. Its README lists them.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    conf: Vec<(String, String)>,
    /// Cores of all executors together. Default: as many as there are.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    total_executor_cores: Option<u32>,
    /// Cores of each executor. Default: all that its worker has free.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    executor_cores: Option<u32>,
    /// Memory of each executor.
    #[arg(long, value_parser = parse_memory, default_value = "1G")]
    executor_memory: u32,
    /// Executors to begin with. Default: as many as fit.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    num_executors: Option<u32>,
    /// Cores of the driver, in cluster mode.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    driver_cores: u32,
    /// Memory of the driver.
    #[arg(long, value_parser = parse_memory, default_value = "1G")]
    driver_memory: u32,
    /// Restart the driver where it fails, in cluster mode.
    #[arg(long)]
    supervise: bool,
    /// Return when the driver is queued, in cluster mode. Only where all components are URIs.
    #[arg(long)]
    no_wait: bool,
    /// Host name or address on which this process listens, for workers and executors.
    #[arg(long, short = 'H', default_value = "127.0.0.1")]
    host: String,
    /// Port on which it listens; 0 takes any free one.
    #[arg(long, short, default_value_t = 0)]
    port: u16,
    #[command(flatten)]
    serve: HostOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DeployMode {
    Client,
    Cluster,
}

/// How a submission ended.
#[derive(Serialize)]
struct Outcome {
    /// The driver, where a worker ran it.
    driver_id: Option<String>,
    /// Its last state.
    state: String,
    /// What it says came out.
    result: Option<String>,
    /// How long it took, for people.
    took: String,
}

/// What a submission has begun, and must be ended or told of.
#[derive(Default)]
struct Begun {
    admin: Option<AdminServer>,
    driver_id: Option<String>,
}

/// What a submission has made ready.
struct Ready {
    driver: Offered,
    program: Program,
    /// Settings of the driver.
    config: BTreeMap<String, String>,
}

impl Submit {
    pub(in crate::cli) async fn run(self, output: Output) -> anyhow::Result<()> {
        self.check()?;
        let mut stop = Stop::new()?;
        let settings = self
            .serve
            .settings(&format!("{}:{}", self.host, self.port))?;
        let env = RpcEnv::create(settings).await?;
        let mut begun = Begun::default();
        let outcome = unless_stopped(&mut stop, self.submit(&env, &mut begun)).await;
        let interrupted = outcome
            .as_ref()
            .is_err_and(|error| error.is::<Interrupted>());
        let outcome = match begun.driver_id {
            Some(id) if interrupted => outcome.context(format!(
                "driver {id} goes on, but without the files of this process; `instar kill {id}` ends it"
            )),
            _ => outcome,
        };
        // A driver of this process takes its application back in its `on_stop`.
        end(stop, shut_down(begun.admin, &env)).await?;
        output.print(&outcome?, |outcome| {
            let id = outcome.driver_id.as_deref();
            let id = id.map_or("application".to_owned(), |id| format!("driver {id}"));
            let head = format!("{id}: {} after {}", outcome.state, outcome.took);
            match &outcome.result {
                Some(result) => format!("{result}\n{head}"),
                None => head,
            }
        })
    }

    async fn submit(&self, env: &RpcEnv, begun: &mut Begun) -> anyhow::Result<Outcome> {
        let ready = self.offer(env).await?;
        match self.deploy_mode {
            DeployMode::Client => client_mode::run(self, env, ready, begun).await,
            DeployMode::Cluster => cluster_mode::run(self, env, ready, begun).await,
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.deploy_mode == DeployMode::Client && (self.supervise || self.no_wait) {
            return Err(bad(
                "--supervise and --no-wait are for a driver that a worker runs: --deploy-mode cluster",
            ));
        }
        if self.deploy_mode == DeployMode::Cluster && self.serve.admin.is_some() {
            return Err(bad(
                "--admin is for a driver of this process: --deploy-mode client",
            ));
        }
        let advertise = self.serve.advertise.as_deref();
        check_reachable(&self.masters.master, &self.host, advertise)
    }

    async fn offer(&self, env: &RpcEnv) -> anyhow::Result<Ready> {
        let driver = offered::component(env, &self.component).await?;
        let program = offered::program(&driver.code)?;
        if self.deploy_mode == DeployMode::Client && program == Program::Command {
            return Err(bad(format!(
                "`{}` is a command, which a worker runs: --deploy-mode cluster",
                self.component
            )));
        }
        let mut needed = driver.here && self.deploy_mode == DeployMode::Cluster;
        let mut config = BTreeMap::new();
        let mut set = |key: &str, value: String| {
            config.insert(key.to_owned(), value);
        };
        set("masters", self.masters.master.to_string());
        if let Some(executor) = &self.executor {
            let executor = offered::component(env, executor).await?;
            needed |= executor.here;
            set("executor_uri", executor.file.uri);
            set("executor_sha256", executor.file.sha256);
        }
        if let Some(input) = &self.input {
            needed |= !input.starts_with("instar://");
            set("input", offered::folder(env, input)?);
        }
        set("linger", LINGER_MS.to_string());
        set("executor_memory_mb", self.executor_memory.to_string());
        for (key, value) in [
            ("cores_max", self.total_executor_cores),
            ("executor_cores", self.executor_cores),
            ("executors", self.num_executors),
        ] {
            if let Some(value) = value {
                set(key, value.to_string());
            }
        }
        if let Some(name) = &self.name {
            set("app_name", name.clone());
        }
        config.extend(self.conf.iter().cloned());
        if self.no_wait && needed {
            return Err(bad(
                "--no-wait: the workers need the local files of this process; offer them on a host that \
                 stays, and give their instar:// URIs",
            ));
        }
        Ok(Ready {
            driver,
            program,
            config,
        })
    }
}
