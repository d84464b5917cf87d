//! How long is nobody in charge? The time from the end of a leader until the next one is ALIVE and has
//! all workers and applications, for three ways to end and two lengths of session; the time that a large
//! cluster takes to recover; and how many registrations a second are kept in ZooKeeper.
//!
//! `make bench-ha` runs it in a release build. All is on one machine, one ZooKeeper server included, which
//! writes through to the disk.

mod crowd;
mod handover;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use instar_tests::table::Table;
use instar_tests::zookeeper::{Options, ZooKeeperServer};

use handover::Way;

/// Measures how a cluster of two masters passes leadership on.
#[derive(Parser)]
struct Arguments {
    /// The `instar` program.
    #[arg(long)]
    instar: PathBuf,
    /// Times that everything is measured.
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// Times that it is measured what has to wait for a session of 40 s.
    #[arg(long, default_value_t = 3)]
    long_rounds: u32,
    /// Workers of the large cluster.
    #[arg(long, default_value_t = 5_000)]
    workers: u32,
    /// Registrations that are counted.
    #[arg(long, default_value_t = 20_000)]
    registrations: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = tokio::select! {
        ended = run(&arguments) => ended,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failover: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let options = Options {
        force_sync: true,
        heap: 512,
        ..Options::default()
    };
    let zookeeper = tokio::task::spawn_blocking(move || ZooKeeperServer::start_with(options));
    let zookeeper = zookeeper.await??;
    let url = zookeeper.url();
    let mut table = Table::default();
    let short = Duration::from_secs(4);
    let long = Duration::from_secs(40);
    for (session, way, rounds) in [
        (short, Way::Stopped, arguments.rounds),
        (long, Way::Stopped, arguments.rounds),
        (short, Way::HostKilled, arguments.rounds),
        (long, Way::HostKilled, arguments.rounds),
        (short, Way::ParentKilled, arguments.rounds),
        (short, Way::Frozen, arguments.rounds),
        (long, Way::Frozen, arguments.long_rounds),
    ] {
        handover::measure(&arguments.instar, &url, session, way, rounds, &mut table).await?;
    }
    let small = 1_000.min(arguments.workers);
    for (workers, applications, limit) in [
        (small, small, "at most 1 s"),
        (arguments.workers, small, "at most 2 s"),
    ] {
        let crowd = crowd::Size {
            workers,
            applications,
        };
        crowd::recover(
            &arguments.instar,
            &url,
            crowd,
            limit,
            arguments.rounds,
            &mut table,
        )
        .await?;
    }
    crowd::register(
        &arguments.instar,
        &url,
        arguments.registrations,
        arguments.rounds,
        &mut table,
    )
    .await?;
    table.print();
    Ok(())
}
