//! Aside: a file of the directory, written whole under a hidden name and renamed when it counts.
//!
//! So nobody reads half of it, and what can fail (no room, no permission) fails before anything runs.
//! [`super::watch`] does not wake for the hidden names. All functions here block.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::listing;
use super::track::Seen;

const ENDINGS: [&str; 2] = [".wasm.incoming", ".toml.incoming"];

/// True for the hidden files that are written here.
pub(crate) fn is_incoming(name: &str) -> bool {
    name.starts_with('.') && ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Why a file could not be written.
#[derive(Debug)]
pub(crate) struct WriteError {
    pub(crate) path: PathBuf,
    pub(crate) source: std::io::Error,
}

/// A file that lies in the directory under a hidden name, whole and on the disk.
#[derive(Debug)]
pub(crate) struct Aside {
    hidden: PathBuf,
    target: PathBuf,
}

impl Aside {
    /// Writes `bytes`, which are to be `name`. A file that has the name lends its permissions.
    pub(crate) fn write(directory: &Path, name: &str, bytes: &[u8]) -> Result<Self, WriteError> {
        let aside = Self {
            hidden: directory.join(format!(".{name}.incoming")),
            target: directory.join(name),
        };
        let written = std::fs::File::create(&aside.hidden).and_then(|mut file| {
            file.write_all(bytes)?;
            if let Ok(old) = std::fs::metadata(&aside.target)
                && old.is_file()
            {
                file.set_permissions(old.permissions())?;
            }
            // Renaming a file whose content is not on the disk yet may leave an empty one behind.
            file.sync_all()
        });
        match written {
            Ok(()) => Ok(aside),
            Err(source) => {
                let path = aside.hidden.clone();
                aside.discard();
                Err(WriteError { path, source })
            }
        }
    }

    /// Gives it its name. Says how it looks: a rename changes neither size, time nor inode.
    pub(crate) fn place(self) -> Result<Seen, WriteError> {
        let placed = std::fs::metadata(&self.hidden).and_then(|metadata| {
            std::fs::rename(&self.hidden, &self.target)?;
            Ok(Seen::File(listing::stamp(&metadata)))
        });
        placed.map_err(|source| {
            let path = self.target.clone();
            self.discard();
            WriteError { path, source }
        })
    }

    /// Removes it. One that stays is hidden, and the next of its name overwrites it.
    pub(crate) fn discard(self) {
        let _ = std::fs::remove_file(&self.hidden);
    }
}
