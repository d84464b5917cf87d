//! Counting: an application whose result is known, on a cluster of several masters.

use anyhow::Context as _;
use serde_json::Value;
use tokio::process::Child;

use crate::component_path;
use crate::ha_cluster::HaCluster;

/// Longest that it may take, with faults.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(300);

/// How much is to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// About a second of work.
    Small,
    /// Some seconds.
    Medium,
    /// Twice to three times as much.
    Large,
}

impl Size {
    /// A limit, and how many primes there are up to it.
    fn known(self) -> (u64, u64) {
        match self {
            Self::Small => (1_000_000_000, 50_847_534),
            Self::Medium => (4_000_000_000, 189_961_812),
            Self::Large => (10_000_000_000, 455_052_511),
        }
    }
}

/// Primes are being counted.
pub struct Counting {
    submitted: Child,
    primes: u64,
}

impl Counting {
    /// Submits it, in small tasks.
    ///
    /// # Errors
    /// It does not start.
    pub fn begin(cluster: &HaCluster, size: Size) -> anyhow::Result<Self> {
        let (limit, primes) = size.known();
        let limit = format!("limit={limit}");
        let path = |name| component_path(name).display().to_string();
        let (executor, driver) = (path("primes-executor"), path("primes-driver"));
        let mut arguments = vec!["--executor-memory", "64M"];
        arguments.extend(["--conf", &limit, "--conf", "range=10000000"]);
        arguments.extend(["--executor", &executor, &driver]);
        let submitted = cluster.submit(&arguments)?;
        Ok(Self { submitted, primes })
    }

    /// Waits for the result.
    ///
    /// # Errors
    /// It is another one, or there is none in time; what was said is in the error.
    pub async fn finish(self) -> anyhow::Result<()> {
        let ended = tokio::time::timeout(PATIENCE, self.submitted.wait_with_output()).await;
        let output = ended.with_context(|| format!("no result within {PATIENCE:?}"))??;
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{}: {said}", output.status);
        let outcome: Value = serde_json::from_slice(&output.stdout).context(said.clone())?;
        let result = outcome.get("result").and_then(Value::as_str);
        let right = result.is_some_and(|text| text.contains(&self.primes.to_string()));
        anyhow::ensure!(right, "expected {} primes: {said}", self.primes);
        Ok(())
    }
}
