//! What travels between admin server and client, beside the records that the host keeps anyway.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::endpoint::record::SwapRecord;
use crate::endpoint::status::EndpointStatus;

/// The largest component that is taken, in bytes: what the host takes from a file.
pub const COMPONENT_BYTES_MAX: u64 = crate::component::code::Code::BYTES_MAX;

/// The most endpoints that are swapped together.
pub const TOGETHER_MAX: usize = 16;

/// The largest components that are taken together, in bytes.
pub const TOGETHER_BYTES_MAX: u64 = 4 * COMPONENT_BYTES_MAX;

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

/// One of several endpoints that were swapped together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Swapped {
    /// The endpoint.
    pub endpoint: String,
    /// Its record.
    pub record: SwapRecord,
}

/// An endpoint runs the same code with the same state in a new instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refreshed {
    /// The record of the swap to itself.
    pub record: SwapRecord,
    /// Linear memory of the old instance, in bytes.
    pub memory_before: usize,
    /// Linear memory of the new instance, in bytes.
    pub memory_after: usize,
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
    /// `needs-approval`, `nothing-held`, `too-large`, `failed`.
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
