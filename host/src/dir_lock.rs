//! Directory lock: a directory belongs to one host at a time, this process included.
//!
//! A file in it is locked by the process that has it and says which that is. The lock goes with the
//! process, however it ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// The claim of a host to a directory. Dropping it gives the directory back.
pub(crate) struct Taken(File);

impl Drop for Taken {
    fn drop(&mut self) {
        // Not left to the closing of the file: a child process that is just being made may hold it, too.
        // An error leaves it to that.
        let _ = self.0.unlock();
    }
}

/// Why a directory cannot be taken.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// Another host has it.
    InUse {
        /// Who, as it says itself.
        by: String,
    },
    /// It or its lock cannot be made or written.
    Unusable { path: PathBuf, source: io::Error },
}

/// Makes the directory, for this user alone, where it is missing, and takes it by its file `lock`.
/// Blocks, but not for who has it.
pub(crate) fn take(directory: &Path, lock: &str) -> Result<Taken, NotTaken> {
    make(directory).map_err(|source| unusable(directory, source))?;
    let path = directory.join(lock);
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let lock = opened.map_err(|source| unusable(&path, source))?;
    let mut taken = match lock.try_lock() {
        Ok(()) => Taken(lock),
        Err(TryLockError::WouldBlock) => {
            let mut by = String::new();
            // Whoever has it may be about to write its name.
            let _ = (&lock).take(200).read_to_string(&mut by);
            let by = match by.trim() {
                "" => "another process".to_owned(),
                by => by.to_owned(),
            };
            return Err(NotTaken::InUse { by });
        }
        Err(TryLockError::Error(source)) => return Err(unusable(&path, source)),
    };
    let name = format!("process {}\n", std::process::id());
    let file = &mut taken.0;
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(name.as_bytes()));
    written.map_err(|source| unusable(&path, source))?;
    Ok(taken)
}

fn make(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(directory)
}

fn unusable(path: &Path, source: io::Error) -> NotTaken {
    NotTaken::Unusable {
        path: path.to_owned(),
        source,
    }
}
