//! Two masters, two workers, one application: the leader ends, the other one takes over.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use deploy_protocol::{ApplicationState, RecoveryState, WorkerState};
use instar_tests::component_path;
use instar_tests::ha_cluster::{HaCluster, HaSettings, Part};
use instar_tests::process::{Signal, send};
use instar_tests::table::Table;

/// The longest that a hand-over may take beyond its session.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a leader ends.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Way {
    Stopped,
    HostKilled,
    ParentKilled,
    Frozen,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Stopped => "SIGTERM",
            Self::HostKilled => "SIGKILL of the host",
            Self::ParentKilled => "SIGKILL of the parent",
            Self::Frozen => "all processes frozen",
        }
    }

    fn limit(self, session: Duration) -> String {
        match self {
            Self::Stopped => "at most 200 ms".to_owned(),
            Self::HostKilled => "at most 400 ms".to_owned(),
            Self::ParentKilled => String::new(),
            Self::Frozen => format!("at most {} ms", (session.as_millis()) + 500),
        }
    }
}

pub(crate) async fn measure(
    instar: &Path,
    zookeeper: &str,
    session: Duration,
    way: Way,
    rounds: u32,
    table: &mut Table,
) -> anyhow::Result<()> {
    if rounds == 0 {
        return Ok(());
    }
    let what = format!("{}, session {} s", way.name(), session.as_secs());
    eprintln!("{what}");
    let settings = HaSettings {
        masters: 2,
        session,
        dir: format!("/{}", what.replace([' ', ',', '/'], "-")),
        ..HaSettings::new(zookeeper)
    };
    let mut cluster = HaCluster::start(instar, settings).await?;
    for _ in 0..2 {
        cluster
            .add_worker(&["--cores", "2", "--memory", "1G"])
            .await?;
    }
    cluster.until_valid().await;
    let counting = endless(&cluster)?;
    cluster.until_done(0).await;
    let (mut alive, mut back) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let leader = cluster.until_valid().await;
        let next = 1 - leader;
        // What is done after the signal costs nothing that is measured: its ids are known before.
        let ids = cluster.master(leader)?.ids(match way {
            Way::Stopped | Way::ParentKilled => Part::Parent,
            Way::HostKilled => Part::Host,
            Way::Frozen => Part::Tree,
        });
        let signal = match way {
            Way::Stopped => Signal::Terminate,
            Way::HostKilled | Way::ParentKilled => Signal::Kill,
            Way::Frozen => Signal::Stop,
        };
        let began = Instant::now();
        send(signal, &ids)?;
        let deadline = began + session + PATIENCE;
        while !cluster.decides(next).await {
            anyhow::ensure!(Instant::now() < deadline, "{}", cluster.last_words());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        alive.push(began.elapsed());
        while !all_is_back(&cluster, next).await {
            anyhow::ensure!(Instant::now() < deadline, "{}", cluster.last_words());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        back.push(began.elapsed());
        eprintln!("  round {round} of {rounds}: {:?}", began.elapsed());
        match way {
            Way::Frozen => send(Signal::Continue, &ids)?,
            Way::Stopped | Way::HostKilled | Way::ParentKilled => {
                cluster.master_mut(leader)?.ended().await?;
                cluster.start_master(leader).await?;
            }
        }
    }
    drop(counting);
    let all = format!("{what}: all back");
    table.times(&format!("{what}: ALIVE"), &alive);
    table.times(&all, &back);
    table.note(&all, &way.limit(session));
    cluster.stop().await
}

/// Workers and the application are at the master that leads now.
async fn all_is_back(cluster: &HaCluster, master: usize) -> bool {
    let Some(state) = cluster.state(master).await else {
        return false;
    };
    let alive = state.workers.iter();
    let alive = alive.filter(|worker| worker.state == WorkerState::Alive);
    let running = |app: &deploy_protocol::ApplicationInfo| {
        app.state == ApplicationState::Running && !app.executors.is_empty()
    };
    state.status == RecoveryState::Alive
        && alive.count() == cluster.workers.len()
        && state.active_apps.iter().any(running)
}

/// An application that goes on until its driver is dropped.
fn endless(cluster: &HaCluster) -> anyhow::Result<tokio::process::Child> {
    let path = |name| component_path(name).display().to_string();
    let (executor, driver) = (path("primes-executor"), path("primes-driver"));
    let mut arguments = vec!["--executor-memory", "64M"];
    arguments.extend(["--conf", "limit=2000000000000", "--conf", "range=100000000"]);
    arguments.extend(["--executor", &executor, &driver]);
    cluster.submit(&arguments).context("start an application")
}
