//! Random faults: masters, ZooKeeper and the ways between them, as a seed says, while an application runs
//! and all masters are asked for decisions.
//!
//! `INSTAR_SEED` gives the seed of the first schedule; `INSTAR_FAULT_MINUTES` how long schedules are begun,
//! each with the next seed. Without them: a seed of the clock, and one schedule. A failure prints what
//! repeats it, and what happened when.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use instar_tests::faults;

/// How long the faults of a schedule are.
const LONG: Duration = Duration::from_secs(40);

fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|error| panic!("{name} is `{text}`, which is no number: {error}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_faults_break_no_promise() {
    let clock = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::try_from(now.as_micros()).unwrap_or_default() % 1_000_000_000
    };
    let instar = Path::new(env!("CARGO_BIN_EXE_instar-tested"));
    let mut seed = from_env("INSTAR_SEED").unwrap_or_else(clock);
    let minutes = from_env("INSTAR_FAULT_MINUTES").unwrap_or(0);
    let began = Instant::now();
    loop {
        println!("faults with INSTAR_SEED={seed}");
        // A task of its own: a panic of the harness is told with the seed as well.
        match tokio::spawn(faults::run(instar, seed, LONG)).await {
            Ok(Ok(summary)) => println!("  {summary:?}"),
            Ok(Err(violation)) => panic!("{violation:#}"),
            Err(error) => panic!("seed {seed}: {error}"),
        }
        seed += 1;
        if began.elapsed() >= Duration::from_secs(60 * minutes) {
            return;
        }
    }
}
