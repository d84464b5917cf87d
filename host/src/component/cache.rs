//! Cache: compiled code on disk, so that the second start of the same plugin takes milliseconds.
//!
//! Key: digest of the component, version and configuration of the engine, and the CPU features that
//! the compiler used (wasmtime's compatibility hash has the last three in it).
//!
//! Invariants
//! 1. The directory belongs to this user and nobody else may write to it: its files run natively.
//! 2. A file appears whole or not at all (written aside, then renamed).
//! 3. A cache that cannot be written costs time, never correctness.

use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use wasmtime::component::Component;

use super::code::{Code, LoadError};

/// Files that are kept. The ones used longest ago go first.
const FILES_MAX: usize = 256;

pub(super) struct Cache {
    dir: Option<PathBuf>,
    compatibility: u64,
}

impl Cache {
    pub(super) fn open(dir: Option<&Path>, engine: &wasmtime::Engine) -> io::Result<Self> {
        if let Some(dir) = dir {
            make_private(dir)?;
        }
        // A hasher with fixed keys: the same key must come out in the next process.
        let mut hasher = std::hash::DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            dir: dir.map(Path::to_owned),
            compatibility: hasher.finish(),
        })
    }

    /// Loads the compiled form of `code` into `engine`, compiling it first if it is not there.
    /// Blocks.
    pub(super) fn load(
        &self,
        code: &Code,
        engine: &wasmtime::Engine,
        compile: impl FnOnce() -> wasmtime::Result<Vec<u8>>,
    ) -> Result<Component, LoadError> {
        let path = self.path(code);
        if let Some(path) = path.as_deref().filter(|path| path.exists()) {
            match load_file(engine, path) {
                Ok(component) => {
                    touch(path);
                    return Ok(component);
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(path = %path.display(), error, "cached code cannot be loaded, compiling again");
                }
            }
        }
        let failed = |error: wasmtime::Error| LoadError::Compile {
            reason: format!("{error:#}"),
        };
        let compiled = compile().map_err(failed)?;
        if let Some(path) = path {
            match store(&path, &compiled) {
                Ok(()) => self.forget_the_oldest(),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "compiled code cannot be kept");
                }
            }
        }
        // SAFETY: these bytes come from `precompile_component` of this very wasmtime, a line above,
        // and nobody else could change them since.
        unsafe { Component::deserialize(engine, &compiled) }.map_err(failed)
    }

    fn path(&self, code: &Code) -> Option<PathBuf> {
        let dir = self.dir.as_ref()?;
        Some(dir.join(format!(
            "{}-{:016x}.cwasm",
            code.digest(),
            self.compatibility
        )))
    }

    fn forget_the_oldest(&self) {
        let Some(entries) = self.dir.as_ref().and_then(|dir| fs::read_dir(dir).ok()) else {
            return;
        };
        let mut files: Vec<_> = entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|e| e == "cwasm"))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        let surplus = files.len().saturating_sub(FILES_MAX);
        files.sort();
        for (_, path) in files.into_iter().take(surplus) {
            // Another host may have been faster; what is gone needs no removing.
            let _ = fs::remove_file(path);
        }
    }
}

fn load_file(engine: &wasmtime::Engine, path: &Path) -> wasmtime::Result<Component> {
    check_owner(path)?;
    // SAFETY: the file lies in a directory that only this user can write to and belongs to this
    // user (checked by `make_private` and `check_owner`), under a name that only `store` gives, and
    // only to whole output of `precompile_component`. wasmtime itself refuses output of another
    // version or configuration.
    unsafe { Component::deserialize_file(engine, path) }
}

fn make_private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    check_owner(dir)?;
    let mode = fs::metadata(dir)?.permissions().mode();
    if mode & 0o022 != 0 {
        let reason = format!(
            "others may write to it (mode {:o}); `chmod go-w` it, or name another directory",
            mode & 0o777
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    Ok(())
}

/// Fails where `path` belongs to somebody else. We ourselves are known by what we make.
fn check_owner(path: &Path) -> io::Result<()> {
    let owner = fs::metadata(path)?.uid();
    let ours = fs::metadata("/proc/self")?.uid();
    if owner == ours {
        return Ok(());
    }
    let reason = format!("it belongs to user {owner}, not to user {ours} who runs this host");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
}

fn store(path: &Path, compiled: &[u8]) -> io::Result<()> {
    let aside = path.with_extension(format!("{}.tmp", uuid::Uuid::new_v4()));
    let written = fs::write(&aside, compiled).and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written
}

fn touch(path: &Path) {
    // Only the order of forgetting depends on it.
    if let Ok(file) = fs::File::options().append(true).open(path) {
        let _ = file.set_modified(std::time::SystemTime::now());
    }
}
