//! `instar soak`: the numbers of a loaded endpoint that is swapped as fast as it goes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::ask::parse_duration;
use super::exit::Interrupted;
use super::output::Output;
use super::serve::default_cache;
use crate::plugins::quantity;
use crate::soak::{Plan, Progress, run};

/// The shortest time: some of it runs without swaps.
const TIME_LEAST: Duration = Duration::from_secs(1);
/// The longest.
const TIME_MOST: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The largest state.
const STATE_MOST: u64 = 64 << 20;

/// Swaps an endpoint under full load, within this process, and shows what it costs and whether
/// anything is lost, doubled or reordered. Not 0 where something is wrong.
///
/// Example: instar soak --swaps 10000 --for 60s
#[derive(Args)]
pub(super) struct Soak {
    /// Swaps, at most.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    swaps: u64,
    /// Time, at most, like 60s or 10min. A tenth of it, at most 5 s, runs without swaps.
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    time: Duration,
    /// Size of the state that each swap carries, like "1 KiB" or "1 MiB".
    #[arg(long, value_name = "SIZE", default_value = "1 KiB", value_parser = parse_state)]
    state: u64,
    /// Senders; every second one is on another host, over loopback.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    senders: u32,
    /// Growth of resident memory, in percent from the 500th swap to the last, above which the run is
    /// bad. Looked at after 2000 swaps or more.
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, value_parser = parse_percent)]
    memory_growth: f64,
}

impl Soak {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<()> {
        let plan = Plan {
            swaps: self.swaps,
            time: self.time,
            state_bytes: self.state,
            senders: self.senders,
            cache: default_cache(),
            numbering: |place| place,
        };
        let progress = Arc::new(Progress::default());
        let bar = match output.json {
            true => ProgressBar::hidden(),
            false => progress_bar(),
        };
        let mut interrupts = signal(SignalKind::interrupt()).context("listen for Ctrl-C")?;
        let (told, stop) = oneshot::channel();
        let stop = async {
            // Without a teller, there is nobody who could want to stop it.
            if stop.await.is_err() {
                std::future::pending().await
            }
        };
        let twice = async {
            interrupts.recv().await;
            // The load may have ended by itself.
            let _ = told.send(());
            interrupts.recv().await;
        };
        let report = tokio::select! {
            report = run(&plan, self.memory_growth, &progress, stop) => report,
            never = show(&bar, &plan, &progress) => match never {},
            () = twice => return Err(Interrupted.into()),
        };
        bar.finish_and_clear();
        let report = report.context("soak")?;
        output.print(&report, |report| report.text())?;
        match report.wrong() {
            _ if report.is_interrupted() => Err(Interrupted.into()),
            Some(wrong) => Err(anyhow::anyhow!("soak: {wrong}")),
            None => Ok(()),
        }
    }
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(1000).with_message("compiling");
    match ProgressStyle::with_template("[{bar:30}] {elapsed_precise} {msg}") {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_never) => bar,
    }
}

/// Shows how far it is, on a terminal.
async fn show(bar: &ProgressBar, plan: &Plan, progress: &Progress) -> Infallible {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut began = None;
    loop {
        ticks.tick().await;
        let (messages, swaps) = (progress.messages(), progress.swaps_done());
        bar.tick();
        if messages == 0 {
            continue;
        }
        let began = *began.get_or_insert_with(Instant::now);
        let of_time = began.elapsed().as_secs_f64() / plan.time.as_secs_f64();
        let of_swaps = swaps as f64 / plan.swaps as f64;
        bar.set_position((of_time.max(of_swaps).min(1.0) * 1000.0) as u64);
        bar.set_message(format!("{messages} messages, {swaps} swaps"));
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    match (TIME_LEAST..=TIME_MOST).contains(&time) {
        true => Ok(time),
        false => Err("expected 1s to 30 days (720h)".to_owned()),
    }
}

fn parse_state(text: &str) -> Result<u64, String> {
    let size = quantity::size(text).ok_or_else(|| format!("expected {}", quantity::SIZE))?;
    match size <= STATE_MOST {
        true => Ok(size),
        false => Err("expected at most 64 MiB".to_owned()),
    }
}

fn parse_percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if percent.is_finite() && percent >= 0.0 => Ok(percent),
        _ => Err("expected a percentage like 5, not negative".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_refused_with_what_is_expected() {
        assert_eq!(parse_time("60s"), Ok(Duration::from_secs(60)));
        assert!(parse_time("10ms").unwrap_err().contains("1s"));
        assert!(parse_time("721h").unwrap_err().contains("30 days"));
        assert!(parse_time("soon").unwrap_err().contains("soon"));
        assert_eq!(parse_state("1 MiB"), Ok(1 << 20));
        assert!(parse_state("1 MB").unwrap_err().contains("MiB"));
        assert!(parse_state("65 MiB").unwrap_err().contains("64 MiB"));
        assert_eq!(parse_percent("7.5"), Ok(7.5));
        for wrong in ["-1", "NaN", "inf", "5%"] {
            assert!(parse_percent(wrong).is_err(), "{wrong}");
        }
    }
}
