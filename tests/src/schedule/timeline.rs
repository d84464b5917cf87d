//! Timeline: which version ran when, as the endpoint's own history tells it. A *flip* is what puts a
//! version in place: a swap, or a rollback by probation.

use instar_host::RpcEnv;
use instar_host::endpoint::record::SwapOutcome;

/// A version that ran from one flip to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Which.
    pub version: String,
    /// The one before it.
    pub from: String,
    /// Swaps of the endpoint when it began. A rollback is none.
    pub swaps: u64,
    /// The version before it failed on probation, for this reason.
    pub rolled_back: Option<String>,
}

impl Ran {
    /// The version with which an endpoint begins.
    pub fn first(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            from: String::new(),
            swaps: 0,
            rolled_back: None,
        }
    }

    /// The version of the flip could not repeat what was handled since.
    pub fn could_not_repeat(&self) -> bool {
        let reason = self.rolled_back.as_deref();
        reason.is_some_and(|reason| reason.contains("could not repeat"))
    }
}

/// All versions of an endpoint so far, `first` first.
pub(super) fn timeline(host: &RpcEnv, name: &str, first: &str) -> Vec<Ran> {
    let mut ran = vec![Ran::first(first)];
    let mut swaps = 0;
    for record in host.history(name).unwrap_or_default() {
        let rolled_back = match record.outcome {
            SwapOutcome::Swapped => None,
            SwapOutcome::RolledBack(reason) => Some(reason),
            _ => continue,
        };
        swaps += u64::from(rolled_back.is_none());
        ran.push(Ran {
            version: record.to.version,
            from: record.from.version,
            swaps,
            rolled_back,
        });
    }
    ran
}

/// Flips that are known to be done.
pub(super) fn flips(host: &RpcEnv, name: &str) -> u64 {
    timeline(host, name, "").len() as u64 - 1
}
