//! Facts: what [`super::scan`] is told and what it orders, as plain data.
//!
//! Everything that crosses the line between decisions and the world has its type here, so that the
//! line can be seen: files and host on one side, rules on the other.

use std::collections::BTreeMap;
use std::time::Duration;

use super::component_file::Shape;
use super::sidecar::{Sidecar, SidecarError};
use super::track::{Glance, Seen};
use crate::endpoint::settings::EndpointSettings;

/// The times and bounds that decisions depend on.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// How long a file must look the same before it is read, unless it is quiet.
    pub(crate) settle: Duration,
    /// How long a file whose end is missing must look the same before it is refused.
    pub(crate) cut_patience: Duration,
    /// How long a file must be away before it counts as gone.
    pub(crate) gone_after: Duration,
    /// When an unreadable file is tried again. `chmod` changes nothing that a look sees.
    pub(crate) retry: Duration,
    /// How many plugins there may be.
    pub(crate) plugins_max: usize,
}

/// What lies in the directory at one moment, by plugin name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    /// When, since the start.
    pub(crate) at: Duration,
    /// `None`: the directory could not be read, so nothing is known. A directory that does not exist
    /// is an empty one.
    pub(crate) files: Option<BTreeMap<String, Files>>,
}

/// The files of one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    /// `NAME.wasm`.
    pub(crate) wasm: Option<Glance>,
    /// `NAME.toml`.
    pub(crate) sidecar: Option<Glance>,
}

/// What one plugin runs, or should run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Deployment {
    /// SHA-256 of the code, in hex.
    pub(crate) digest: String,
    /// What the code calls itself; empty if it could not say.
    pub(crate) own_name: String,
    /// Its semantic version; empty if it could not say.
    pub(crate) version: String,
    /// Under which names it runs.
    pub(crate) endpoints: Vec<String>,
    /// The settings of each.
    pub(crate) settings: EndpointSettings,
}

/// The files as they were when they were read.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Pair {
    pub(crate) wasm: Option<Seen>,
    pub(crate) sidecar: Option<Seen>,
}

/// The contents of both files, by digest. `None`: there is no sidecar.
pub(crate) type Contents = (String, Option<String>);

/// What reading the files of one plugin found.
#[derive(Clone, Debug)]
pub(crate) struct Findings {
    /// As what they were to be read; anything else is [`WasmFound::Moving`].
    pub(crate) pair: Pair,
    /// The component.
    pub(crate) wasm: WasmFound,
    /// Digest and meaning of the sidecar, if there is one.
    pub(crate) sidecar: SidecarFound,
}

/// Digest and meaning of a sidecar; `None` if there is none.
pub(crate) type SidecarFound = Option<(String, Result<Sidecar, SidecarError>)>;

/// What was found behind `NAME.wasm`.
#[derive(Clone, Debug)]
pub(crate) enum WasmFound {
    /// It was not read: only the sidecar differs, the code is the one that runs.
    AsRunning,
    /// It was read whole.
    Read {
        /// SHA-256 of the bytes, in hex.
        digest: String,
        /// What the bytes look like.
        shape: Shape,
        /// Name and version from its metadata, or why there are none.
        about: Result<(String, String), String>,
    },
    /// It changed or vanished meanwhile.
    Moving,
    /// The system does not let us read it; may pass.
    Unreadable(String),
    /// It will not be read as it is.
    Refused(String),
}

/// What is to be done. At most one per plugin is under way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    /// Read the files; then [`super::scan::Scan::examined`].
    Examine {
        plugin: String,
        /// As what the last look saw them.
        pair: Pair,
        /// False: the code is known, only the sidecar needs reading.
        wasm: bool,
    },
    /// Start it; then [`super::scan::Scan::applied`].
    Load { plugin: String, to: Deployment },
    /// Replace its code, and its settings with it; then [`super::scan::Scan::applied`].
    Swap {
        plugin: String,
        from: Deployment,
        to: Deployment,
    },
    /// Same code, other settings or names; then [`super::scan::Scan::applied`].
    Resettle {
        plugin: String,
        from: Deployment,
        to: Deployment,
    },
    /// Its file is gone: stop its endpoints; then [`super::scan::Scan::applied`].
    Stop { plugin: String, from: Deployment },
    /// Nothing of it is left; nobody needs to be told when this is done.
    Forget { plugin: String },
}

/// How a piece of work ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Applied {
    /// What runs now.
    pub(crate) now: Option<Deployment>,
    /// Why that is not what was wanted.
    pub(crate) trouble: Option<Trouble>,
}

/// Why something is not as the files want it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// For people.
    pub(crate) reason: String,
    /// What became of the version that was to run.
    pub(crate) fate: Fate,
}

/// What became of a version that does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was refused before anything stopped.
    Refused,
    /// The endpoint stood still for it, or an operator chose another one.
    GivenUp,
    /// It ran for a while and failed on probation.
    TakenBack,
    /// The host holds it until somebody approves it.
    NeedsApproval,
}

impl Trouble {
    /// Nothing stopped.
    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        let (reason, fate) = (reason.into(), Fate::Refused);
        Self { reason, fate }
    }

    /// What ran stood still for it.
    pub(crate) fn given_up(reason: impl Into<String>) -> Self {
        let (reason, fate) = (reason.into(), Fate::GivenUp);
        Self { reason, fate }
    }
}

/// What an operator did to a plugin.
#[derive(Clone, Debug)]
pub(crate) struct Acted {
    /// What runs now.
    pub(crate) now: Option<Deployment>,
    /// The files as we wrote them; `None`: they were not touched.
    pub(crate) wrote: Option<Wrote>,
    /// What to think of the files from now on.
    pub(crate) mark: Mark,
}

/// What we wrote into the directory ourselves.
#[derive(Clone, Debug)]
pub(crate) struct Wrote {
    /// How the component looks now; `None`: it was not written, the file holds what runs.
    pub(crate) wasm: Option<Seen>,
    /// The sidecar that goes with it.
    pub(crate) sidecar: SidecarNow,
}

/// What is known of a sidecar after an operator acted.
#[derive(Clone, Debug)]
pub(crate) enum SidecarNow {
    /// The one that was known.
    Known,
    /// It was read for the action: how it looked, and its digest.
    Read(Option<Seen>, Option<String>),
    /// We wrote it: how it looks now, and its digest.
    Written(Seen, String),
}

/// What to think of the files after an operator acted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// As before.
    Keep,
    /// Leave these contents alone: the operator stopped the plugin.
    Held,
    /// Leave the contents from before the action alone: something else was chosen to run.
    Refused(Trouble),
    /// What runs is what the files say.
    Clean,
    /// Look at them afresh.
    Again,
}
