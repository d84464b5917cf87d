//! What travels between admin server and client, beside the records that the host keeps anyway.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::endpoint::record::SwapRecord;
use crate::endpoint::status::EndpointStatus;

/// The largest component that is taken, in bytes: what the host takes from a file.
pub const COMPONENT_BYTES_MAX: u64 = crate::component::code::Code::BYTES_MAX;

/// Where the server listens if nothing else is said.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7078";

/// One host and what runs on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusReply {
    /// The host.
    pub host: HostStatus,
    /// Its endpoints, by name.
    pub endpoints: Vec<EndpointStatus>,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Version of the host program.
    pub version: String,
    /// Where other hosts find it: `HOST:PORT`.
    pub address: String,
    /// Since when it runs.
    pub up: Duration,
}

/// An action without a record of its own was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The endpoint.
    pub name: String,
    /// `restarted` or `stopped`.
    pub done: String,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// One sentence for people: expected, found, next step.
    pub error: String,
    /// Stable identifier: `bad-request`, `bad-name`, `no-token`, `wrong-token`, `foreign-host`,
    /// `cross-origin`, `not-found`, `endpoint-not-found`, `too-slow`, `refused`, `given-up`,
    /// `too-large`, `failed`.
    pub code: String,
    /// The record of a swap that was refused or given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Box<SwapRecord>>,
}

impl Problem {
    /// A problem without a record.
    pub fn new(code: &str, error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            code: code.to_owned(),
            record: None,
        }
    }
}
