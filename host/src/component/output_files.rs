//! Output files: what guests write to stdout and stderr, kept in two files of a folder.
//!
//! Invariants
//! 1. Both are plain files that this host made or found as such: a link that a guest put in their
//!    place is not followed.
//! 2. Each has at most its limit, and the few lines in which the host says what it did.
//! 3. What finds no room is dropped, counted, and said.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Lines of the host beyond the limit, in bytes.
const NOTES_BYTES_MAX: u64 = 4 << 10;

/// Both files. Clones are the same files.
#[derive(Clone)]
pub struct OutputFiles {
    inner: Arc<Inner>,
}

struct Inner {
    stdout: Mutex<Bounded>,
    stderr: Mutex<Bounded>,
}

struct Bounded {
    file: File,
    bytes: u64,
    limit: u64,
    dropped: u64,
}

impl OutputFiles {
    /// Opens `stdout` and `stderr` in `folder`. What they have stays, and a line says that it goes on.
    /// Blocks.
    ///
    /// # Errors
    /// One of them cannot be made, or is no plain file.
    pub(crate) fn open(folder: &Path, limit: u64) -> io::Result<Self> {
        let open = |name| Bounded::open(&folder.join(name), limit).map(Mutex::new);
        Ok(Self {
            inner: Arc::new(Inner {
                stdout: open("stdout")?,
                stderr: open("stderr")?,
            }),
        })
    }

    /// Writes what a guest wrote. A disk that refuses it is no reason to end the guest: it is dropped.
    pub(super) fn write(&self, is_err: bool, bytes: &[u8]) {
        let file = match is_err {
            true => &self.inner.stderr,
            false => &self.inner.stdout,
        };
        file.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(bytes);
    }
}

impl std::fmt::Debug for OutputFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OutputFiles")
    }
}

impl PartialEq for OutputFiles {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Bounded {
    fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let made = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        match made {
            Ok(file) => Ok(Self {
                file,
                bytes: 0,
                limit,
                dropped: 0,
            }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let mut found = Self::found(path, limit)?;
                found.note("--- launched again, what follows is of the next run ---");
                Ok(found)
            }
            Err(error) => Err(error),
        }
    }

    fn found(path: &Path, limit: u64) -> io::Result<Self> {
        let no_file = || {
            let reason = format!("{} is no plain file; remove it", path.display());
            io::Error::new(io::ErrorKind::InvalidInput, reason)
        };
        let seen = path.symlink_metadata()?;
        if !seen.is_file() {
            return Err(no_file());
        }
        let file = OpenOptions::new().append(true).open(path)?;
        let opened = file.metadata()?;
        // Exchanged in between: what was opened is not what was looked at.
        if (opened.dev(), opened.ino()) != (seen.dev(), seen.ino()) {
            return Err(no_file());
        }
        Ok(Self {
            file,
            bytes: opened.len(),
            limit,
            dropped: 0,
        })
    }

    fn write(&mut self, bytes: &[u8]) {
        let room = self.limit.saturating_sub(self.bytes);
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        let (kept, surplus) = bytes.split_at(fits);
        let written = match self.file.write_all(kept) {
            Ok(()) => kept.len(),
            Err(_) => 0,
        };
        self.bytes += written as u64;
        let first = self.dropped == 0 && !surplus.is_empty();
        self.dropped += (bytes.len() - written) as u64;
        if first {
            let limit = self.limit;
            self.note(&format!(
                "--- more than {limit} bytes (limit `output_bytes_max`), what follows is dropped ---"
            ));
        }
    }

    /// A line of the host's own.
    fn note(&mut self, text: &str) {
        let line = format!("\n{text}\n");
        if self.bytes + line.len() as u64 <= self.limit.saturating_add(NOTES_BYTES_MAX)
            && self.file.write_all(line.as_bytes()).is_ok()
        {
            self.bytes += line.len() as u64;
        }
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        if self.dropped > 0 {
            let dropped = self.dropped;
            self.note(&format!("--- {dropped} bytes were dropped ---"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(folder: &Path, name: &str) -> String {
        std::fs::read_to_string(folder.join(name)).unwrap()
    }

    #[test]
    fn what_is_beyond_the_limit_is_dropped_counted_and_said() {
        let folder = tempfile::tempdir().unwrap();
        let files = OutputFiles::open(folder.path(), 10).unwrap();
        files.write(false, b"12345678");
        files.write(false, b"90ab");
        files.write(false, b"cdef");
        files.write(true, b"short");
        drop(files);
        let text = read(folder.path(), "stdout");
        assert!(
            text.starts_with("1234567890\n--- more than 10 bytes"),
            "{text}"
        );
        assert!(text.ends_with("--- 6 bytes were dropped ---\n"), "{text}");
        assert_eq!(read(folder.path(), "stderr"), "short");
    }

    #[test]
    fn a_second_run_appends_and_a_line_says_so() {
        let folder = tempfile::tempdir().unwrap();
        for run in [b"one".as_slice(), b"two"] {
            OutputFiles::open(folder.path(), 1000)
                .unwrap()
                .write(false, run);
        }
        let text = read(folder.path(), "stdout");
        let parts: Vec<_> = text.lines().collect();
        assert_eq!(parts.len(), 3, "{text}");
        assert_eq!((parts[0], parts[2]), ("one", "two"));
        assert!(parts[1].contains("launched again"), "{text}");
    }

    #[test]
    fn however_often_it_is_launched_again_the_file_stays_bounded() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..1000 {
            OutputFiles::open(folder.path(), 100)
                .unwrap()
                .write(false, &[b'x'; 60]);
        }
        let bytes = folder.path().join("stdout").metadata().unwrap().len();
        assert!(bytes <= 100 + NOTES_BYTES_MAX, "{bytes}");
    }

    #[test]
    fn a_link_in_the_place_of_a_file_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        for target in [&victim, &folder.path().join("not there")] {
            std::fs::write(&victim, "precious").unwrap();
            std::os::unix::fs::symlink(target, folder.path().join("stdout")).unwrap();
            let error = OutputFiles::open(folder.path(), 100).unwrap_err();
            assert!(error.to_string().contains("no plain file"), "{error}");
            std::fs::remove_file(folder.path().join("stdout")).unwrap();
        }
        assert_eq!(std::fs::read_to_string(victim).unwrap(), "precious");
        assert!(!folder.path().join("not there").exists());
    }
}
