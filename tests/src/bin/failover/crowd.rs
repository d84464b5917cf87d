//! Many workers and applications, which are no processes: how long the next leader takes until it has
//! them all, and how fast they register.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use deploy_protocol::{ApplicationDescription, Command, ComponentFile, Program, ResourceProfile};
use instar_tests::company::{Company, Manners};
use instar_tests::ha_cluster::{HaCluster, HaSettings};
use instar_tests::table::Table;

/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the log of a master says when the servers made it the leader, and when all is there.
const ELECTED: &str = "this host leads";
const ALIVE: &str = "it is ALIVE";

#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) workers: u32,
    pub(crate) applications: u32,
}

/// Registers a crowd, and stops the leader again and again.
pub(crate) async fn recover(
    instar: &Path,
    zookeeper: &str,
    size: Size,
    limit: &str,
    rounds: u32,
    table: &mut Table,
) -> anyhow::Result<()> {
    let Size {
        workers,
        applications,
    } = size;
    let what = format!("{workers} workers and {applications} applications");
    eprintln!("{what}");
    let mut cluster = cluster(instar, zookeeper, 2, &format!("recover-{workers}")).await?;
    let first = cluster.until_valid().await;
    let company = company(&cluster).await;
    let master = cluster.master(first)?.endpoint();
    for number in 0..workers {
        company.register_worker(&format!("Worker-{number}"), &master);
    }
    for number in 0..applications {
        company.register_application(&format!("driver-{number}"), application(number), &master);
    }
    let all = (workers + applications) as usize;
    within("all are registered", company.until_promised(all)).await?;
    let (mut stopped, mut elected) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let leader = cluster.until_valid().await;
        let next = 1 - leader;
        let began = Instant::now();
        cluster.master_mut(leader)?.stop().await?;
        let deadline = began + PATIENCE;
        while !cluster.decides(next).await {
            anyhow::ensure!(Instant::now() < deadline, "{}", cluster.last_words());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stopped.push(began.elapsed());
        let log = cluster.master(next)?.log();
        let took = logged_at(&log, ALIVE)? - logged_at(&log, ELECTED)?;
        elected.push(Duration::from_secs_f64(took.max(0.0)));
        eprintln!(
            "  round {round} of {rounds}: {:?} after SIGTERM, {took:.3} s after it was elected",
            stopped.last().copied().unwrap_or_default()
        );
        let there = company.with(&cluster.master(next)?.endpoint().location);
        anyhow::ensure!(there == all, "{there} of {all} are there");
        cluster.start_master(leader).await?;
    }
    let row = format!("elected to ALIVE, {what}");
    table.times(&row, &elected);
    table.note(&row, limit);
    table.times(&format!("SIGTERM to ALIVE, {what}"), &stopped);
    let state = cluster.leaders_state().await.context("no master leads")?;
    let known = (state.workers.len(), state.active_apps.len());
    let wanted = (workers as usize, applications as usize);
    anyhow::ensure!(known == wanted, "{known:?} are there, not {wanted:?}");
    company.close().await;
    cluster.stop().await
}

/// Registers workers, then applications, as fast as one master takes them.
pub(crate) async fn register(
    instar: &Path,
    zookeeper: &str,
    count: u32,
    rounds: u32,
    table: &mut Table,
) -> anyhow::Result<()> {
    eprintln!("{count} registrations");
    for round in 1..=rounds {
        let dir = format!("register-{round}");
        let cluster = cluster(instar, zookeeper, 1, &dir).await?;
        let first = cluster.until_valid().await;
        let company = company(&cluster).await;
        let master = cluster.master(first)?.endpoint();
        let began = Instant::now();
        for number in 0..count {
            company.register_worker(&format!("Worker-{number}"), &master);
        }
        within("workers", company.until_promised(count as usize)).await?;
        let row = "acknowledged registrations of workers";
        table.rate(row, count as usize, began.elapsed());
        let applications = count / 10;
        let (took, began) = (began.elapsed(), Instant::now());
        for number in 0..applications {
            company.register_application(&format!("driver-{number}"), application(number), &master);
        }
        let all = (count + applications) as usize;
        within("applications", company.until_promised(all)).await?;
        let row = "acknowledged registrations of applications";
        table.rate(row, applications as usize, began.elapsed());
        eprintln!(
            "  round {round} of {rounds}: {took:?}, {:?}",
            began.elapsed()
        );
        company.close().await;
        cluster.stop().await?;
    }
    table.note("acknowledged registrations of workers", "at least 5000/s");
    Ok(())
}

async fn cluster(
    instar: &Path,
    zookeeper: &str,
    masters: usize,
    dir: &str,
) -> anyhow::Result<HaCluster> {
    let settings = HaSettings {
        masters,
        session: Duration::from_secs(10),
        dir: format!("/{dir}"),
        ..HaSettings::new(zookeeper)
    };
    HaCluster::start(instar, settings).await
}

async fn company(cluster: &HaCluster) -> Company {
    Company::start(Manners {
        masters: cluster.endpoints(),
        cores: 8,
        memory_mb: 16 << 10,
        probes: 0,
        heartbeat: Duration::from_secs(15),
        // As long as a worker waits between two tries.
        search: Duration::from_secs(10),
    })
    .await
}

async fn within(what: &str, done: impl Future<Output = ()>) -> anyhow::Result<()> {
    let done = tokio::time::timeout(PATIENCE, done).await;
    done.with_context(|| format!("not within {PATIENCE:?}: {what}"))
}

/// When something was logged last: seconds of its day.
fn logged_at(log: &str, what: &str) -> anyhow::Result<f64> {
    let line = log.lines().rev().find(|line| line.contains(what));
    let line = line.with_context(|| format!("the log does not say `{what}`"))?;
    let line: serde_json::Value = serde_json::from_str(line).context("a line of the log")?;
    let at = line.get("timestamp").and_then(serde_json::Value::as_str);
    let at = at.and_then(|at| at.split('T').nth(1));
    let parts = at.unwrap_or_default().trim_end_matches('Z').split(':');
    let parts: Vec<f64> = parts.filter_map(|part| part.parse().ok()).collect();
    match parts[..] {
        [hours, minutes, seconds] => Ok(hours * 3600.0 + minutes * 60.0 + seconds),
        _ => anyhow::bail!("no time in the log: {line}"),
    }
}

fn application(number: u32) -> ApplicationDescription {
    ApplicationDescription {
        name: format!("application {number}"),
        max_cores: Some(2),
        command: Command {
            program: Program::Endpoint,
            component: ComponentFile {
                uri: "instar://127.0.0.1:1/files/none.wasm".to_owned(),
                sha256: "0".repeat(64),
            },
            arguments: Vec::new(),
            environment: BTreeMap::new(),
        },
        ui_url: String::new(),
        default_profile: ResourceProfile {
            id: 0,
            cores: Some(1),
            memory_mb: Some(1024),
            resources: Vec::new(),
        },
        initial_executor_limit: Some(1),
        user: "failover".to_owned(),
    }
}
