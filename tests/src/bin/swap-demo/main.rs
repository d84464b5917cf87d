//! The demo: one process counts the words of a folder of text, the other reads the folder and sends
//! its lines, while the counter's code is replaced ten times a second by files that are dropped into
//! its plugin directory. At the end nothing may be lost, doubled or out of order, and the count must
//! be that of `wc -w` on the same bytes.

mod feeder;
mod host;
mod report;
mod swapper;
mod wc;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use instar_host::address::{EndpointAddress, RpcAddress};
use instar_tests::{client, start};

/// A folder that is read before so many versions took turns is read again.
const SWAPS_LEAST: u64 = 10;

/// Counts the words of a folder while the counter is replaced under full load.
#[derive(Parser)]
struct Args {
    /// The binary `instar`.
    #[arg(long)]
    instar: PathBuf,
    /// The folder to read. Default: the sources in the local cargo registry.
    #[arg(long)]
    input: Option<PathBuf>,
    /// Stop reading after this many seconds; 0 reads everything.
    #[arg(long, default_value_t = 25)]
    seconds: u64,
    /// Replacements a second.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    swaps_per_second: u32,
}

/// Ctrl-C. What was started ends with this process.
#[derive(Debug)]
struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let done = runtime
        .context("start the runtime")
        .and_then(|runtime| runtime.block_on(run(Args::parse())));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("swap-demo: {error:#}");
            ExitCode::from(if error.is::<Interrupted>() { 130 } else { 2 })
        }
    }
}

async fn run(args: Args) -> anyhow::Result<bool> {
    let input = match args.input {
        Some(input) => input,
        None => instar_tests::corpus::registry_sources()?,
    };
    if !input.is_dir() {
        bail!("{} is no folder; name one with INPUT=DIR", input.display());
    }
    let scratch = tempfile::tempdir().context("make a scratch folder")?;
    let host = host::Host::start(&args.instar, scratch.path()).await?;
    println!(
        "counting the words of {} at {}; versions 1, 2, 3 take turns {} times a second",
        input.display(),
        host.endpoint_uri(),
        args.swaps_per_second
    );
    let env = start(client()).await;
    let address: RpcAddress = host.listen().parse()?;
    let counter = env.reference(EndpointAddress::new("wordcount", address));
    let limit = (args.seconds > 0).then(|| Duration::from_secs(args.seconds));
    let bar = progress_bar(limit);
    let progress = Arc::new(feeder::Progress::default());
    let began = Instant::now();
    let swapper = swapper::Swapper::start(host.plugin_file(), args.swaps_per_second);
    let enough = || swapper.dropped() >= SWAPS_LEAST;
    let feeding = feeder::feed(&counter, &input, limit, enough, Arc::clone(&progress));
    let fed = tokio::select! {
        fed = feeding => fed,
        _ = tokio::signal::ctrl_c() => Err(Interrupted.into()),
        never = show(&bar, &progress, &swapper, began) => match never {},
    };
    bar.finish_and_clear();
    let dropped = swapper.stop().await?;
    let fed = fed.map_err(|error| match error.is::<Interrupted>() {
        true => error,
        false => error.context(host.last_words()),
    })?;
    let took = began.elapsed();
    let history = host.history(dropped).await?;
    let good = report::print(&fed, &history, dropped, took);
    env.shutdown().await;
    host.stop().await?;
    Ok(good)
}

/// A bar of the time that is allowed, or a spinner where all is read: how much that is, is not known.
fn progress_bar(limit: Option<Duration>) -> ProgressBar {
    let (bar, template) = match limit {
        Some(limit) => (
            ProgressBar::new(limit.as_millis() as u64),
            "[{bar:30}] {elapsed_precise} {msg}",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {elapsed_precise} {msg}",
        ),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_never) => bar,
    }
}

/// Shows how far it is, ten times a second on a terminal and every five seconds elsewhere.
async fn show(
    bar: &ProgressBar,
    progress: &feeder::Progress,
    swapper: &swapper::Swapper,
    began: Instant,
) -> std::convert::Infallible {
    let hidden = bar.is_hidden();
    let period = Duration::from_millis(if hidden { 5000 } else { 100 });
    let mut ticks = tokio::time::interval(period);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let (lines, bytes) = progress.read();
        let rate = lines as f64 / began.elapsed().as_secs_f64();
        let text = format!(
            "{:.1} MB, {rate:.0} lines/s, {} swaps",
            bytes as f64 / 1e6,
            swapper.dropped()
        );
        match hidden {
            true => println!("{text}"),
            false => {
                bar.set_message(text);
                let position = began.elapsed().as_millis() as u64;
                bar.set_position(position.min(bar.length().unwrap_or(position)));
            }
        }
    }
}
