//! The demo of high availability: a word count on a cluster of three masters, whose leader is ended three
//! times in three ways. `make demo-ha` runs it.

mod steps;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use clap::Parser;
use instar_tests::counts;
use instar_tests::story::Story;
use instar_tests::zookeeper::Ensemble;

/// Counts the words of a folder on a cluster, while the masters that lead it are ended one after the
/// other.
#[derive(Parser)]
struct Arguments {
    /// The `instar` program.
    #[arg(long)]
    instar: PathBuf,
    /// The folder. Default: the sources in the local cargo registry.
    #[arg(long)]
    input: Option<PathBuf>,
    /// Size of a split in MB (2^20 bytes).
    #[arg(long, default_value_t = 2)]
    split_mb: u32,
    /// Part of a core that each slot of an executor gets, in percent: so there is time for all that
    /// happens.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    percent: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    let ended = tokio::select! {
        ended = run(Arguments::parse()) => ended,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo-ha: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// False where the counts differ.
async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let input = match arguments.input {
        Some(input) => input,
        None => instar_tests::corpus::registry_sources()?,
    };
    let input = input
        .canonicalize()
        .with_context(|| format!("the input {}", input.display()))?;
    let mut story = Story::begin(&input);
    let ensemble = tokio::task::spawn_blocking(Ensemble::start).await??;
    story.step("three ZooKeeper servers serve", ensemble.url());
    let mut cluster =
        steps::start(&arguments.instar, &ensemble, arguments.percent, &mut story).await?;
    let counted = steps::count(&mut cluster, &input, arguments.split_mb, &mut story).await;
    let counted = match counted {
        Ok(counted) => counted,
        Err(error) => {
            story.ended();
            eprintln!("{}", cluster.last_words());
            return Err(error);
        }
    };
    cluster.stop().await?;
    let began = Instant::now();
    let checked = tokio::task::spawn_blocking(move || counts::wc(&input)).await??;
    story.step(
        "counted again by `wc`",
        format!("in {:.1} s", began.elapsed().as_secs_f64()),
    );
    Ok(story.tell(&counted, &checked))
}
