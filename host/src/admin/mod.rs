//! Admin: the HTTP API of one host, for its operator on the same machine.
//!
//! | Method and path | Token | Body | Answer |
//! |---|---|---|---|
//! | `GET /healthz` | no | - | `200 ok` |
//! | `GET /metrics` | no | - | Prometheus text, version 0.0.4 |
//! | `GET /v1/status` | no | - | [`api::StatusReply`] |
//! | `GET /v1/plugins` | no | - | list of what the plugin directory says of its files |
//! | `GET /v1/endpoints/NAME` | no | - | [`EndpointStatus`](crate::endpoint::status::EndpointStatus) |
//! | `GET /v1/endpoints/NAME/history` | no | - | list of [`SwapRecord`](crate::endpoint::record::SwapRecord), oldest first |
//! | `GET /v1/endpoints/NAME/metadata` | no | - | [`Metadata`](crate::component::metadata::Metadata) |
//! | `POST /v1/endpoints/NAME/swap?force=true` | yes | the component; `force` may be left out | `SwapRecord` |
//! | `POST /v1/swap?NAME=BYTES&NAME=BYTES` | yes | the components, one after the other, of so many bytes each | list of [`api::Swapped`], all or none |
//! | `POST /v1/endpoints/NAME/rehearse` | yes | the component | [`Rehearsal`](crate::endpoint::rehearsal::Rehearsal): what a swap would do; nothing is changed |
//! | `POST /v1/endpoints/NAME/approve` | yes | - | `SwapRecord` of the swap to the version that is held |
//! | `POST /v1/endpoints/NAME/refresh` | yes | - | [`api::Refreshed`]: the same code in a new instance |
//! | `POST /v1/endpoints/NAME/rollback?to=VERSION` | yes | - | `SwapRecord`; without `to` the version before |
//! | `POST /v1/endpoints/NAME/restart` | yes | - | [`api::Done`] |
//! | `POST /v1/endpoints/NAME/stop` | yes | - | [`api::Done`] |
//!
//! Everything but `/healthz` and `/metrics` is JSON. What went wrong is an [`api::Problem`] with a
//! status: 400 bad name, 401 no or wrong token, 403 foreign host or origin, 404 no such endpoint,
//! 408 body too slow, 409 refused (the old version goes on), 413 body too large, 500 anything else.
//!
//! Invariants
//! 1. It listens on loopback only, and answers only requests that name a loopback host and come from
//!    no other origin: a page in a browser on this machine cannot read or change anything.
//! 2. What changes something needs the token, which only this user's processes can read.
//! 3. An action that began is carried out, whether or not its asker stays.
//!
//! Not here: what the actions do. They go through [`Control`], which the `up` command implements, so
//! that the file in the plugin directory stays what runs.

pub mod api;

pub mod client;

mod control;
pub use control::{Control, ControlError, Pending};

mod server;
pub use server::{AdminError, AdminServer};

pub mod token;

mod body;
mod failure;
mod guard;
mod listener;
mod metrics;

#[cfg(test)]
pub(crate) mod fake_control;

#[cfg(test)]
mod tests;
