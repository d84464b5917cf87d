//! Control: what the admin server needs from the host, and nothing more.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use super::api::{HostStatus, Refreshed, Swapped};
use crate::component::metadata::Metadata;
use crate::endpoint::record::SwapRecord;
use crate::endpoint::rehearsal::Rehearsal;
use crate::endpoint::status::EndpointStatus;

/// The outcome of an action, later. Owned, so that it goes on when its asker has gone.
pub type Pending<T> = Pin<Box<dyn Future<Output = Result<T, ControlError>> + Send>>;

/// A host, as its operator sees it. Reading is immediate; actions wait for the endpoint.
pub trait Control: Send + Sync + 'static {
    /// The host itself.
    fn host(&self) -> HostStatus;

    /// All endpoints, by name.
    fn status(&self) -> Vec<EndpointStatus>;

    /// The tries to swap an endpoint, oldest first; `None` if nothing has that name.
    fn history(&self, name: &str) -> Option<Vec<SwapRecord>>;

    /// What an endpoint says of itself; `None` if nothing has that name.
    fn metadata(&self, name: &str) -> Option<Arc<Metadata>>;

    /// The state of each plugin file, as the plugin directory tells it.
    fn plugins(&self) -> Vec<serde_json::Value>;

    /// Replaces the code of an endpoint by the component in `bytes`. `force`: what does not end within
    /// the drain limit is ended, instead of the swap being given up.
    ///
    /// # Errors
    /// [`ControlError::Refused`] and [`ControlError::GivenUp`]: the old version goes on. A record whose
    /// outcome is not `Swapped` may be returned either way.
    fn swap(&self, name: &str, bytes: Bytes, force: bool) -> Pending<SwapRecord>;

    /// Replaces the code of several endpoints, all or none, frozen together. Gives each endpoint that was
    /// swapped.
    ///
    /// # Errors
    /// As [`Control::swap`]; then nothing was swapped.
    fn swap_together(&self, swaps: Vec<(String, Bytes)>) -> Pending<Vec<Swapped>>;

    /// Tries a swap to the component in `bytes`, and changes nothing. That the swap would fail is an
    /// answer, not an error.
    ///
    /// # Errors
    /// [`ControlError::NotFound`]; [`ControlError::Refused`] where there is nothing to try.
    fn rehearse(&self, name: &str, bytes: Bytes) -> Pending<Rehearsal>;

    /// Swaps to the version that is held, and grants for good what it wants.
    ///
    /// # Errors
    /// [`ControlError::NothingHeld`]; else as [`Control::swap`].
    fn approve(&self, name: &str) -> Pending<SwapRecord>;

    /// Puts the same code with the same state into a new instance, which gives memory back.
    ///
    /// # Errors
    /// As [`Control::swap`].
    fn refresh(&self, name: &str) -> Pending<Refreshed>;

    /// Goes back to `to`, a version or digest that was kept, or to the version before.
    ///
    /// # Errors
    /// As [`Control::swap`]; refused as well if no such version is kept.
    fn rollback(&self, name: &str, to: Option<&str>) -> Pending<SwapRecord>;

    /// Puts a fresh instance of the same code behind the endpoint; revives one that failed.
    ///
    /// # Errors
    /// [`ControlError::Refused`] if the fresh instance does not start.
    fn restart(&self, name: &str) -> Pending<()>;

    /// Stops an endpoint and waits until its `on-stop` has run.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] if nothing has that name.
    fn stop(&self, name: &str) -> Pending<()>;
}

/// Why an action was not carried out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Nothing has this name; choose one of those that exist.
    #[error("no endpoint named `{name}` on this host; it has {known}")]
    NotFound {
        /// The name that was looked for.
        name: String,
        /// The names there are, or `none`.
        known: String,
    },
    /// Nothing stopped. The text says what was wrong.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: String,
        /// The record of the try, if it got that far.
        record: Option<Box<SwapRecord>>,
    },
    /// Nothing stopped: it wants more than is granted, and is held until it is approved.
    #[error("{reason}")]
    NeedsApproval {
        /// What it wants.
        reason: String,
        /// The record of the try.
        record: Option<Box<SwapRecord>>,
    },
    /// There is nothing to approve.
    #[error("{reason}")]
    NothingHeld {
        /// Of which endpoint.
        reason: String,
    },
    /// The endpoint stood still, the new version failed, the old one went on with its state.
    #[error("{reason}")]
    GivenUp {
        /// Why.
        reason: String,
        /// The record of the try.
        record: Option<Box<SwapRecord>>,
    },
    /// Something that has nothing to do with the new code.
    #[error("{reason}")]
    Failed {
        /// What.
        reason: String,
    },
}

impl ControlError {
    /// Nothing is called `name`, and these are the names there are.
    pub fn not_found(name: &str, endpoints: &[EndpointStatus]) -> Self {
        const SHOWN_MAX: usize = 16;
        let quoted = |endpoint: &EndpointStatus| format!("`{}`", endpoint.name);
        let shown: Vec<String> = endpoints.iter().take(SHOWN_MAX).map(quoted).collect();
        let known = match endpoints.len().saturating_sub(SHOWN_MAX) {
            0 if shown.is_empty() => "none".to_owned(),
            0 => shown.join(", "),
            more => format!("{} and {more} more", shown.join(", ")),
        };
        Self::NotFound {
            name: name.to_owned(),
            known,
        }
    }
}
