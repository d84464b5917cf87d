//! The fleet simulator: thousands of workers and applications that are no processes, against one master
//! that is. Says what the master takes, and how long it stands still for a swap.
//!
//! `make fleet` runs it in a release build.

mod crowd;
mod master;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use instar_tests::table::{Table, median};

use crowd::Crowd;
use master::MasterProcess;

/// Measures one master with many workers and applications.
#[derive(Parser)]
struct Arguments {
    /// The `instar` program.
    #[arg(long)]
    instar: PathBuf,
    /// Workers.
    #[arg(long, default_value_t = 10_000)]
    workers: u32,
    /// Applications.
    #[arg(long, default_value_t = 1_000)]
    applications: u32,
    /// Times that the master is started, for the time until it is ALIVE.
    #[arg(long, default_value_t = 10)]
    launches: u32,
    /// Times that everything else is measured.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Swaps per round.
    #[arg(long, default_value_t = 40)]
    swaps: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleet: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut table = Table::default();
    let scratch = tempfile::tempdir()?;
    // The first one compiles; what it compiled is what the others start from.
    MasterProcess::start(&arguments.instar, scratch.path())
        .await?
        .stop()
        .await?;
    let mut launches = Vec::new();
    for _ in 0..arguments.launches {
        let began = Instant::now();
        let master = MasterProcess::start(&arguments.instar, scratch.path()).await?;
        let crowd = Crowd::new(&master).await;
        crowd.wait_until_alive().await?;
        launches.push(began.elapsed());
        table.keep("resident, empty", master.resident()?);
        master.stop().await?;
    }
    table.times("launch to ALIVE", &launches);
    for round in 1..=arguments.rounds {
        eprintln!("round {round} of {}", arguments.rounds);
        measure(arguments, &mut table, scratch.path()).await?;
    }
    table.print();
    Ok(())
}

async fn measure(
    arguments: &Arguments,
    table: &mut Table,
    scratch: &std::path::Path,
) -> anyhow::Result<()> {
    let master = MasterProcess::start(&arguments.instar, scratch).await?;
    let crowd = Crowd::new(&master).await;
    crowd.wait_until_alive().await?;
    let first = arguments.workers.min(1000);
    crowd.register_workers(0..first).await?;
    table.keep("resident, 1,000 workers", master.resident()?);
    let rest = first..arguments.workers;
    let registering = crowd.register_workers(rest.clone()).await?;
    table.rate("worker registrations", rest.len(), registering);
    let heartbeats = 5 * arguments.workers;
    let beating = crowd.heartbeats(arguments.workers, heartbeats).await?;
    table.rate("heartbeats", heartbeats as usize, beating);
    let applications = crowd.register_applications(arguments.applications).await?;
    table.rate(
        "application registrations",
        arguments.applications as usize,
        applications,
    );
    table.keep("resident, all of them", master.resident()?);
    table.times("question with nothing to do", &crowd.questions(200).await?);
    table.times("one schedule() pass", &crowd.passes(200).await?);
    let mut pauses: Vec<Duration> = Vec::new();
    let (mut snapshots, mut restores) = (Vec::new(), Vec::new());
    let mut state = 0;
    for swap in 0..arguments.swaps {
        let record = master.swap(swap).await?;
        pauses.push(record.phases.pause);
        snapshots.push(record.phases.snapshot);
        restores.push(record.phases.restore);
        state = record.state_bytes;
        // The fleet goes on meanwhile.
        crowd
            .heartbeats(arguments.workers, arguments.workers / 10)
            .await?;
    }
    table.times("swap pause", &pauses);
    table.times("of it: writing the state", &snapshots);
    table.times("of it: reading it", &restores);
    table.keep("state that a swap carries", state as u64);
    let lost = crowd
        .lost(arguments.workers, arguments.applications)
        .await?;
    anyhow::ensure!(
        lost == 0,
        "{lost} workers or applications were lost by swaps"
    );
    master.stop().await?;
    eprintln!("  swap pause p50 {:?}", median(&pauses));
    Ok(())
}
