//! What is to be run: components, commands, drivers, applications, and what they need.

use std::collections::BTreeMap;

use instar_sdk::Schema;
use serde::{Deserialize, Serialize};

use crate::ExecutorState;

/// A component that is fetched from a host's file server and recognised by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct ComponentFile {
    /// `instar://HOST:PORT/PATH`.
    pub uri: String,
    /// SHA-256 of the file, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// Which sort of component it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub enum Program {
    /// An RPC endpoint, of world `instar:endpoint/plugin`. `environment` is its configuration;
    /// `arguments` are the value of the key `arguments`, as a JSON array.
    Endpoint,
    /// A command, of world `wasi:cli/command`.
    Command,
}

/// What a driver or an executor runs.
///
/// In arguments and values of the environment a worker replaces `{{WORKER_URL}}`, `{{EXECUTOR_ID}}`,
/// `{{HOSTNAME}}`, `{{CORES}}`, `{{APP_ID}}`, `{{RESOURCE_PROFILE_ID}}`, `{{DRIVER_ID}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Command {
    /// Which sort of component it is.
    pub program: Program,
    /// Its code.
    pub component: ComponentFile,
    /// Its arguments, without its name.
    pub arguments: Vec<String>,
    /// Its environment, or, for an endpoint, its configuration.
    pub environment: BTreeMap<String, String>,
}

/// A named resource beside cores and memory, and how much of it is needed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Schema)]
pub struct ResourceRequirement {
    /// Its name, for example `gpu`.
    pub name: String,
    /// How many addresses of it.
    pub amount: u32,
}

/// A named resource, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct ResourceInformation {
    /// Its name, for example `gpu`.
    pub name: String,
    /// What tells one of it from another on its worker.
    pub addresses: Vec<String>,
}

/// What an executor needs. Profile 0 is the default one of its application.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Schema)]
pub struct ResourceProfile {
    /// Tells the profiles of an application apart.
    pub id: u32,
    /// Cores of an executor. In profile 0, none: as many as its worker has free. In others, none:
    /// as in profile 0.
    pub cores: Option<u32>,
    /// Memory of an executor in MB. In profile 0, none: 1024. In others, none: as in profile 0.
    pub memory_mb: Option<u32>,
    /// Other resources, in order of name. Never taken from profile 0.
    pub resources: Vec<ResourceRequirement>,
}

/// Memory of an executor that says nothing itself, in MB.
pub const EXECUTOR_MEMORY_MB: u32 = 1024;

/// A driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct DriverDescription {
    /// What it runs.
    pub command: Command,
    /// Memory in MB, at least 1.
    pub memory_mb: u32,
    /// Cores, at least 1.
    pub cores: u32,
    /// Restart it where it fails, elsewhere where its worker is lost.
    pub supervise: bool,
    /// Other resources.
    pub resources: Vec<ResourceRequirement>,
}

/// An application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct ApplicationDescription {
    /// For people.
    pub name: String,
    /// Cores of all its executors together; none: as the master's `default_cores` says.
    pub max_cores: Option<u32>,
    /// What its executors run.
    pub command: Command,
    /// Where its driver shows pages; empty for nowhere.
    pub ui_url: String,
    /// What an executor needs, unless another profile is asked for.
    pub default_profile: ResourceProfile,
    /// Executors of the default profile to begin with; none: as many as fit.
    pub initial_executor_limit: Option<u32>,
    /// Who runs it.
    pub user: String,
}

impl ApplicationDescription {
    /// Memory of an executor of the default profile, in MB.
    pub fn memory_per_executor_mb(&self) -> u32 {
        self.default_profile.memory_mb.unwrap_or(EXECUTOR_MEMORY_MB)
    }
}

/// An executor, as worker and master tell each other of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct ExecutorDescription {
    /// Its application.
    pub app_id: String,
    /// Its number in that application.
    pub executor_id: u32,
    /// Its resource profile.
    pub resource_profile_id: u32,
    /// Its cores.
    pub cores: u32,
    /// Its memory in MB.
    pub memory_mb: u32,
    /// How it is.
    pub state: ExecutorState,
}
