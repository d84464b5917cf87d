//! What an operator is told when a swap does not happen.

use super::super::record::SwapRecord;

/// Why the code was not replaced. The old version goes on in every case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwapError {
    /// Nothing has this name.
    #[error("no endpoint named `{endpoint}`; `instar status` lists the names")]
    NotFound {
        /// The name.
        endpoint: String,
    },
    /// The same code with the same settings: there is nothing to do.
    #[error("`{endpoint}` runs version {version} of this very content already")]
    AlreadyRuns {
        /// Whose.
        endpoint: String,
        /// Which version.
        version: String,
    },
    /// No version like this is kept.
    #[error("no earlier version {wanted} of `{endpoint}` is kept; kept are: {kept}")]
    NoSuchVersion {
        /// Whose.
        endpoint: String,
        /// What was wanted.
        wanted: String,
        /// The versions that are kept, newest first.
        kept: String,
    },
    /// The new code was refused before anything stopped.
    #[error(
        "version {} of `{endpoint}` was rejected: {reason}",
        version_or_file(record)
    )]
    Rejected {
        /// Whose.
        endpoint: String,
        /// Why.
        reason: String,
        /// The record of the try.
        record: Box<SwapRecord>,
    },
    /// The code that was to be rehearsed cannot run here at all.
    #[error("this file cannot run behind `{endpoint}`: {reason}")]
    Unfit {
        /// Whose.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// It asks for more than the running version was granted. It is held until somebody approves it.
    #[error(
        "version {} of `{endpoint}` needs approval, since it wants {}; `instar approve {endpoint}` swaps to it",
        version_or_file(record), wants.join(", ")
    )]
    NeedsApproval {
        /// Whose.
        endpoint: String,
        /// What it wants beyond what was granted.
        wants: Vec<String>,
        /// The record of the try.
        record: Box<SwapRecord>,
    },
    /// Nothing is held for this endpoint.
    #[error("no version of `{endpoint}` waits for approval")]
    NothingHeld {
        /// Whose.
        endpoint: String,
    },
    /// One endpoint of a group could not be swapped, so none was.
    #[error("none of {endpoints} was swapped: {reason}")]
    NotTogether {
        /// The endpoints.
        endpoints: String,
        /// Why.
        reason: String,
    },
    /// The endpoint stood still, the new version failed, the old one went on with its state.
    #[error(
        "the swap of `{endpoint}` to version {} was given up: {reason}",
        version_or_file(record)
    )]
    GivenUp {
        /// Whose.
        endpoint: String,
        /// Why.
        reason: String,
        /// The record of the try.
        record: Box<SwapRecord>,
    },
    /// The endpoint ended meanwhile.
    #[error("endpoint `{endpoint}` stopped meanwhile")]
    Stopped {
        /// Whose.
        endpoint: String,
    },
}

fn version_or_file(record: &SwapRecord) -> &str {
    match record.to.version.as_str() {
        "" => "of this file",
        version => version,
    }
}
