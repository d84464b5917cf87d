//! Random schedules: traffic and trouble as a seed says, every property checked after every step.
//!
//! `INSTAR_SEED` gives the seed of the first schedule, `INSTAR_RUNS` how many there are, each with the
//! next seed. Without them: a seed of the clock, and a few. A failure prints what repeats it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::{SystemTime, UNIX_EPOCH};

use instar_tests::schedule;

const RUNS: u64 = 8;
const STEPS: usize = 60;

fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|error| panic!("{name} is `{text}`, which is no number: {error}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_schedules_break_no_promise() {
    let clock = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_micros() as u64 % 1_000_000_000
    };
    let first = from_env("INSTAR_SEED").unwrap_or_else(clock);
    let runs = from_env("INSTAR_RUNS").unwrap_or(RUNS);
    for seed in first..first + runs {
        println!("schedule with INSTAR_SEED={seed}");
        // A task of its own: a panic of the harness is told with the seed as well.
        match tokio::spawn(schedule::run(seed, STEPS)).await {
            Ok(Ok(())) => {}
            Ok(Err(violation)) => panic!("{violation}"),
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
}
