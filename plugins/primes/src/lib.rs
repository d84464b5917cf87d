//! Primes: counts the primes up to a limit, on a cluster. Each task is a range of numbers.
//!
//! The smallest whole application: [`Driver`] gives ranges out and adds up, [`Executor`] sieves one.

pub mod sieve;

use app_client::{Job, Task, setting_as};
use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// Asks for the count so far.
#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "primes.GetCount", reply = Count)]
pub struct GetCount {}

/// The count so far.
#[derive(Clone, Debug, PartialEq, Eq, Message, Serialize, Deserialize)]
#[message(kind = "primes.Count")]
pub struct Count {
    /// Primes that were counted.
    pub primes: u64,
    /// They are all that are not greater than `limit`.
    pub complete: bool,
    /// Up to which number it counts.
    pub limit: u64,
}

/// The driver's state.
#[derive(Serialize, Deserialize)]
pub struct Driver {
    job: Job,
    limit: u64,
    range: u64,
    primes: u64,
}

app_client::driver! {
    #[instar_sdk::endpoint(
        name = "primes-driver",
        version = "1.0.0",
        about = "Counts the primes up to a limit, on a cluster"
    )]
    impl Driver {
        #[on_start]
        fn start(ctx: &mut Context) -> Result<Self, Failure> {
            let range: u64 = setting_as(ctx, "range")?.unwrap_or(10_000_000);
            Ok(Self {
                job: Job::start(ctx)?,
                limit: setting_as(ctx, "limit")?.unwrap_or(1_000_000_000),
                range: range.max(1),
                primes: 0,
            })
        }

        #[receive_and_reply]
        fn count(&mut self, _: &mut Context, _: GetCount) -> Result<Count, Failure> {
            let complete = self.job.is_finished();
            Ok(Count { primes: self.primes, complete, limit: self.limit })
        }
    }
}

impl app_client::Driver for Driver {
    fn job(&mut self) -> &mut Job {
        &mut self.job
    }

    fn prepare(&mut self, _: &mut Context) -> Result<(), Failure> {
        let end = self.limit.checked_add(1).ok_or("`limit` is too large")?;
        let mut from = 0;
        while from < end {
            let to = end.min(from.saturating_add(self.range));
            let body = [from.to_le_bytes(), to.to_le_bytes()].concat();
            self.job.add(body, to - from).map_err(|failure| {
                Failure::new(format!("{failure}; set `range` higher than {}", self.range))
            })?;
            from = to;
        }
        Ok(())
    }

    fn task_done(&mut self, _: &mut Context, _: u32, body: &[u8]) -> Result<(), Failure> {
        self.primes += number(body)?.0;
        Ok(())
    }

    fn result(&mut self, _: &mut Context) -> Result<String, Failure> {
        Ok(format!(
            "{} primes are not greater than {}",
            self.primes, self.limit
        ))
    }
}

/// Sieves ranges.
#[derive(Default, Serialize, Deserialize)]
pub struct Sieves {}

impl Task for Sieves {
    fn run(&mut self, _: &mut Context, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let (from, rest) = number(body)?;
        let (to, _) = number(rest)?;
        Ok(sieve::primes_in(from..to).to_le_bytes().to_vec())
    }
}

/// The number at the beginning, and what follows it.
fn number(body: &[u8]) -> Result<(u64, &[u8]), Failure> {
    let wrong = || Failure::new(format!("{} bytes, expected a number of 8", body.len()));
    let (number, rest) = body.split_first_chunk().ok_or_else(wrong)?;
    Ok((u64::from_le_bytes(*number), rest))
}

app_client::executor! {
    #[instar_sdk::endpoint(
        name = "primes-executor",
        version = "1.0.0",
        about = "Counts the primes of ranges of numbers"
    )]
    pub struct Executor(Sieves);
}

#[cfg(not(feature = "executor"))]
instar_sdk::export!(Driver);

#[cfg(feature = "executor")]
instar_sdk::export!(Executor);
