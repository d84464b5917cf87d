//! Word count: the application of the demos, how it is submitted, and what it says.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use app_client::Progress;
use serde::Deserialize;

use crate::component_path;
use crate::counts::Counts;

/// The longest that no split may be done.
const STALLED_MAX: Duration = Duration::from_secs(120);

/// What `instar submit --json` prints.
#[derive(Deserialize)]
struct Outcome {
    result: Option<String>,
}

/// Arguments of `instar submit`, for splits of so many MB.
pub fn arguments(input: &Path, split_mb: u32) -> Vec<String> {
    let path = |path: PathBuf| path.display().to_string();
    let split = format!("split_mb={split_mb}");
    let (executor, driver) = (
        path(component_path("wordcount-executor")),
        path(component_path("wordcount-driver")),
    );
    let input = path(input.to_owned());
    let arguments = ["--executor-memory", "256M", "--conf", &split];
    let components = ["--executor", &executor, "--input", &input, &driver];
    let all = arguments.iter().chain(&components);
    all.map(|&argument| argument.to_owned()).collect()
}

/// What was counted, as `instar submit` says it.
///
/// # Errors
/// It failed, or said something else.
pub fn counted(output: &Output) -> anyhow::Result<Counts> {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "`instar submit` ended with {}: {errors}",
        output.status
    );
    let outcome: Outcome = serde_json::from_str(&text).with_context(|| text.to_string())?;
    let result = outcome.result.context("the word count has no result")?;
    Counts::parse(&result)
}

/// Splits that were done, and since when.
pub struct Moved {
    done: u64,
    since: Instant,
}

impl Default for Moved {
    fn default() -> Self {
        Self {
            done: 0,
            since: Instant::now(),
        }
    }
}

impl Moved {
    /// So it is now.
    ///
    /// # Errors
    /// Nothing was done for too long, or the word count failed.
    pub fn goes_on(&mut self, progress: &Progress) -> anyhow::Result<()> {
        if let Some(reason) = &progress.failed {
            anyhow::bail!("the word count failed: {reason}");
        }
        if progress.done > self.done {
            *self = Self {
                done: progress.done,
                since: Instant::now(),
            };
        }
        anyhow::ensure!(
            self.since.elapsed() < STALLED_MAX,
            "no split was done for {STALLED_MAX:?}, after {} of {} (phase `{}`, {} slots)",
            progress.done,
            progress.total,
            progress.phase,
            progress.slots
        );
        Ok(())
    }
}
