//! What the plugin directory needs from the host, and nothing more.
//!
//! The directory decides *which* code should run under *which* names; the host runs it. The trait
//! stands between them so that the directory's rules are tested with a double that records calls.
//!
//! Not here: how a swap works ([`crate::endpoint`]), who else may swap (admin, library).

use std::future::Future;

use crate::component::code::Code;
use crate::component::metadata::Metadata;
use crate::endpoint::record::{SwapRecord, VersionId};
use crate::endpoint::settings::EndpointSettings;
use crate::endpoint::status::EndpointState;

/// The host, as the plugin directory sees it. A clone is a handle to the same host.
///
/// Calls for one endpoint are made one after the other; calls for different plugins at once.
/// A dropped future must leave the endpoint in one of its two versions, working.
pub trait Host: Clone + Send + Sync + 'static {
    /// Reads what the code says of itself, on an instance of its own that is dropped again.
    ///
    /// # Errors
    /// [`HostError::Refused`] if it does not compile, is of another world, or fails to start.
    fn inspect(&self, code: &Code) -> impl Future<Output = Result<Metadata, HostError>> + Send;

    /// Starts a new endpoint.
    ///
    /// # Errors
    /// [`HostError::Refused`]: the name is taken, a right is missing, or the code does not start.
    fn setup(
        &self,
        endpoint: &str,
        code: &Code,
        settings: EndpointSettings,
    ) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Replaces the code of an endpoint, its settings, or both. `None` keeps the settings. The same
    /// code with other settings is a swap as well: the state is carried. A failed endpoint is revived.
    ///
    /// Also called with code that could not be inspected, so that the host records the try.
    ///
    /// # Errors
    /// [`HostError::Refused`] and [`HostError::GivenUp`]: the version before goes on.
    /// A record whose outcome is not `Swapped` may be returned either way.
    fn swap(
        &self,
        endpoint: &str,
        code: &Code,
        settings: Option<EndpointSettings>,
        order: SwapOrder,
    ) -> impl Future<Output = Result<SwapRecord, HostError>> + Send;

    /// Goes back to a version that was kept: `to` (a version or a digest), or the one before.
    ///
    /// # Errors
    /// As [`Host::swap`]; [`HostError::Refused`] also if no such version is kept.
    fn rollback(
        &self,
        endpoint: &str,
        to: Option<&str>,
    ) -> impl Future<Output = Result<SwapRecord, HostError>> + Send;

    /// Replaces the code of several endpoints, all or none, frozen together. Records in the same order.
    ///
    /// # Errors
    /// As [`Host::swap`]; then nothing was swapped, and the text names the endpoint.
    fn swap_together(
        &self,
        swaps: Vec<(String, Code, Option<EndpointSettings>)>,
        order: SwapOrder,
    ) -> impl Future<Output = Result<Vec<SwapRecord>, HostError>> + Send;

    /// What waits for approval under a name: code, and the settings that grant what it wants.
    fn held(&self, endpoint: &str) -> Option<(Code, EndpointSettings)>;

    /// Swaps to what is held; gives the record and the settings that it runs with.
    ///
    /// # Errors
    /// As [`Host::swap`]; [`HostError::Refused`] also if nothing is held.
    fn approve(
        &self,
        endpoint: &str,
    ) -> impl Future<Output = Result<(SwapRecord, EndpointSettings), HostError>> + Send;

    /// Replaces the instance of an endpoint by a fresh one of the same code; revives a failed one.
    ///
    /// # Errors
    /// [`HostError::Refused`] if the fresh instance does not start.
    fn restart(&self, endpoint: &str) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Stops an endpoint and waits until its `on-stop` has run. False: nothing has that name.
    fn stop(&self, endpoint: &str) -> impl Future<Output = bool> + Send;

    /// What runs under a name; `None` if nothing does. Called about once a second for each endpoint.
    fn running(&self, endpoint: &str) -> Option<Running>;

    /// The code that runs under a name; `None` if nothing does.
    fn code(&self, endpoint: &str) -> Option<Code>;

    /// The settings with which it runs.
    fn settings(&self, endpoint: &str) -> Option<EndpointSettings>;

    /// The last record of an endpoint, if it says that a version failed on probation and the one
    /// before came back by itself.
    fn rolled_back(&self, endpoint: &str) -> Option<SwapRecord>;
}

/// Who asks for a swap, and how urgently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwapOrder {
    /// Who, for the record.
    pub by: &'static str,
    /// What does not end within the drain limit is ended, instead of the swap being given up.
    pub force: bool,
}

impl SwapOrder {
    /// A file was found.
    pub const DIRECTORY: Self = Self {
        by: "plugin directory",
        force: false,
    };

    /// An operator asks for it.
    pub const fn admin(force: bool) -> Self {
        Self { by: "admin", force }
    }
}

/// What runs under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The code.
    pub code: VersionId,
    /// What the endpoint is doing.
    pub state: EndpointState,
}

/// Why the host did not do what it was asked for. What ran before goes on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// Nothing stopped: the code, a right or the name was refused. The text says what to do.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: String,
        /// The record of the try, if it got far enough to have one.
        record: Option<Box<SwapRecord>>,
    },
    /// Nothing stopped: it wants more than is granted. It is held until somebody approves it.
    #[error("it wants {}", wanted(wants))]
    NeedsApproval {
        /// What it wants, a phrase each.
        wants: Vec<String>,
        /// The record of the try.
        record: Option<Box<SwapRecord>>,
    },
    /// The endpoint stood still, the new version failed, the old one went on with its state.
    #[error("{reason}")]
    GivenUp {
        /// Why.
        reason: String,
        /// The record of the try.
        record: Option<Box<SwapRecord>>,
    },
}

impl HostError {
    /// A refusal without a record.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self::Refused {
            reason: reason.into(),
            record: None,
        }
    }
}

/// Phrases that are told; a component of another kind may handle hundreds of other messages.
const WANTS_TOLD: usize = 8;

/// What a held version wants, as one phrase for people.
pub(crate) fn wanted(wants: &[String]) -> String {
    let more = wants.len().saturating_sub(WANTS_TOLD);
    let told: Vec<_> = wants.iter().take(WANTS_TOLD).map(String::as_str).collect();
    match more {
        0 => told.join(" and "),
        more => format!("{} and {more} more things", told.join(" and ")),
    }
}
