//! The memory of what was done to an endpoint: one record per try to swap it.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// One try to replace the code of an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SwapRecord {
    /// Counts the tries on this endpoint, from 1.
    pub number: u64,
    /// When it began.
    pub at: SystemTime,
    /// Who asked: `plugin directory`, `admin`, `rollback`, or what the caller of the library said.
    pub by: String,
    /// The version before.
    pub from: VersionId,
    /// The version that was to come. Its `version` is empty if the file could not be read that far.
    pub to: VersionId,
    /// How it ended.
    pub outcome: SwapOutcome,
    /// Where the time went.
    pub phases: SwapPhases,
    /// Messages that waited when the endpoint stood still.
    pub queue_depth: usize,
    /// Size of the state that was carried, in bytes.
    pub state_bytes: usize,
    /// The state version in which it was carried.
    pub state_version: u32,
    /// Calls that the new version has to answer.
    pub open_calls: usize,
    /// Answers that the new version will get.
    pub open_asks: usize,
    /// Timers that went on.
    pub timers: usize,
}

/// Code, by what it says of itself and by what it is.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VersionId {
    /// Semantic version from its metadata.
    pub version: String,
    /// SHA-256 of the file, in hex.
    pub digest: String,
}

/// How a try to swap ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "result", content = "reason")]
pub enum SwapOutcome {
    /// The new version works.
    Swapped,
    /// Nothing stopped: the file was refused before the endpoint stood still.
    Rejected(String),
    /// The endpoint stood still, the new version failed, the old one went on with its state.
    GivenUp(String),
    /// It wants this beyond what was granted. It is held until somebody approves it.
    NeedsApproval(String),
    /// The new version failed on probation: the one before is back, with its state and all that came
    /// since.
    RolledBack(String),
}

impl SwapOutcome {
    /// Why it is not simply swapped; empty if it is.
    pub fn reason(&self) -> &str {
        match self {
            Self::Swapped => "",
            Self::Rejected(reason)
            | Self::GivenUp(reason)
            | Self::NeedsApproval(reason)
            | Self::RolledBack(reason) => reason,
        }
    }
}

impl SwapRecord {
    /// A try that begins now.
    pub(crate) fn new(by: &str, from: VersionId, to_digest: &str) -> Self {
        Self {
            number: 0,
            at: SystemTime::now(),
            by: by.to_owned(),
            from,
            to: VersionId {
                version: String::new(),
                digest: to_digest.to_owned(),
            },
            outcome: SwapOutcome::Swapped,
            phases: SwapPhases::default(),
            queue_depth: 0,
            state_bytes: 0,
            state_version: 0,
            open_calls: 0,
            open_asks: 0,
            timers: 0,
        }
    }
}

/// Where the time of a swap went. Only freeze to resume is the pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SwapPhases {
    /// Compiling, or loading compiled code. The endpoint works meanwhile.
    pub compile: Duration,
    /// Instantiating and reading metadata. The endpoint works meanwhile.
    pub instantiate: Duration,
    /// From the request until the endpoint stood still: the end of its running turn.
    pub freeze: Duration,
    /// `snapshot` of the old version.
    pub snapshot: Duration,
    /// `restore` of the new version.
    pub restore: Duration,
    /// Flip and the probe that proves that the new version answers.
    pub flip: Duration,
    /// From standing still to going on: snapshot, restore, flip and what lies between.
    pub pause: Duration,
}

/// A version that waits until somebody approves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldVersion {
    /// Which.
    pub id: VersionId,
    /// What it wants beyond what was granted, one phrase each.
    pub wants: Vec<String>,
}
