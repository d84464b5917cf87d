//! Code: the bytes of a component file and their digest, which is their identity.

use std::fmt;
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// The bytes of a component. Cloning is cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct Code {
    bytes: Bytes,
    digest: String,
}

impl Code {
    /// The largest file that is read, in bytes.
    pub const BYTES_MAX: u64 = 64 << 20;

    /// Takes the bytes and computes their digest. Nothing is checked yet.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let digest = Sha256::digest(&bytes);
        let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { bytes, digest }
    }

    /// Reads a file of at most [`Code::BYTES_MAX`] bytes. Blocks.
    ///
    /// # Errors
    /// [`LoadError::Read`] and [`LoadError::TooLarge`] name the file.
    pub fn from_file(path: &Path) -> Result<Self, LoadError> {
        use std::io::Read as _;
        let failed = |source| LoadError::Read {
            path: path.display().to_string(),
            source,
        };
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(Self::BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() as u64 > Self::BYTES_MAX {
            return Err(LoadError::TooLarge {
                path: path.display().to_string(),
                limit: Self::BYTES_MAX,
            });
        }
        Ok(Self::from_bytes(bytes))
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// SHA-256 of the bytes: 64 lower-case hex digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({} B, {})", self.bytes.len(), self.digest)
    }
}

/// Why code cannot stand behind an endpoint. Whatever runs is not touched by it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file is missing or unreadable.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too large to be a plugin.
    #[error("{path} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The file.
        path: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// These bytes are something else; build with `--target wasm32-wasip2`.
    #[error("not a WebAssembly component: {found}; build it with `--target wasm32-wasip2`")]
    NotAComponent {
        /// What the bytes look like.
        found: String,
    },
    /// The component is broken, or uses a proposal that this host does not offer.
    #[error("cannot compile: {reason}")]
    Compile {
        /// What the compiler says.
        reason: String,
    },
    /// It exports or imports something else than world `plugin`.
    #[error("not of world `instar:endpoint/plugin`: {reason}")]
    WrongWorld {
        /// What does not fit.
        reason: String,
    },
    /// It is no component of world `wasi:cli/command`, as what is launched as a command has to be.
    #[error("not of world `wasi:cli/command`: {reason}")]
    NoCommand {
        /// What does not fit.
        reason: String,
    },
    /// Grant the right in the sidecar, or do not run it.
    #[error(
        "needs the right `{right}` (for {reason}), which the sidecar does not grant: add it to `grants`"
    )]
    MissingRight {
        /// The right.
        right: String,
        /// What it is needed for.
        reason: String,
    },
    /// No host of this version can give this.
    #[error("wants `{what}`, which this host does not offer")]
    UnknownRight {
        /// The right or interface.
        what: String,
    },
    /// It could not be started or did not describe itself.
    #[error("failed in `{phase}`: {reason}")]
    Broken {
        /// `instantiate` or `describe`.
        phase: &'static str,
        /// Panic text or trap.
        reason: String,
    },
    /// What it says of itself makes no sense.
    #[error("describes itself wrongly: {reason}")]
    BadMetadata {
        /// What is wrong.
        reason: String,
    },
    /// No room for one more instance.
    #[error("no room for another instance: {reason}")]
    NoRoom {
        /// Which pool is used up.
        reason: String,
    },
}

/// Says what bytes look like if they are no component, else `None`.
pub(crate) fn not_a_component(bytes: &[u8]) -> Option<String> {
    match bytes {
        [] => Some("the file is empty".to_owned()),
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => None,
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Some("a core module, not a component".to_owned()),
        [0, b'a', b's', b'm', ..] => Some("Wasm of an unknown version".to_owned()),
        [0x7f, b'E', b'L', b'F', ..] => Some("an ELF file".to_owned()),
        _ => {
            let start: String = bytes.iter().take(8).map(|b| format!("{b:02x} ")).collect();
            Some(format!("it begins with {}", start.trim_end()))
        }
    }
}
