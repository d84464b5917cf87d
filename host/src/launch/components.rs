//! Components: the code of what is launched, kept by its hash, fetched where it is missing.
//!
//! Invariants
//! 1. A file lies under the SHA-256 of its bytes, whole, or not at all. What is read is hashed again.
//! 2. One hash is fetched once at a time; who wants it meanwhile waits for it.
//! 3. There are never more files than the limit: those used longest ago go first.
//! 4. The directory belongs to one host; what another run of it left half is removed.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::fetch::Aside;
use super::folders::{COMPONENTS, make_private};
use super::settings::LaunchLimits;
use crate::component::code::Code;
use crate::component::workload::ComponentFile;
use crate::error::with_causes;
use crate::rpc_env::RpcEnv;

/// How a file aside is called until it is whole.
const HALF: &str = "half";

/// The components of a host.
pub(super) struct Components {
    dir: PathBuf,
    limits: LaunchLimits,
    /// Who fetches which hash.
    under_way: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Components {
    /// The components below a root that is there. Blocks.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub(super) fn open(root: &Path, limits: &LaunchLimits) -> io::Result<Self> {
        let dir = root.join(COMPONENTS);
        make_private(&dir)?;
        for entry in fs::read_dir(&dir)?.flatten() {
            if entry.path().extension().is_some_and(|end| end == HALF) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self {
            dir,
            limits: limits.clone(),
            under_way: Mutex::default(),
        })
    }

    /// The code of a component: from here, or else from the host that has it.
    ///
    /// # Errors
    /// One sentence. Nothing is left behind.
    ///
    /// # Cancellation
    /// Safe: nothing is left behind.
    pub(super) async fn get(&self, env: &RpcEnv, file: &ComponentFile) -> Result<Code, String> {
        let limit = self.limits.fetch_time;
        let getting = tokio::time::timeout(limit, self.get_in_turn(env, file)).await;
        getting.unwrap_or_else(|_| {
            let uri = &file.uri;
            Err(format!(
                "cannot fetch {uri}: not here within {limit:?} (limit `fetch_time`)"
            ))
        })
    }

    async fn get_in_turn(&self, env: &RpcEnv, file: &ComponentFile) -> Result<Code, String> {
        let turn = {
            let mut under_way = self.lock();
            under_way.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(under_way.entry(file.sha256.clone()).or_default())
        };
        let _mine = turn.lock().await;
        if let Some(code) = self.kept(&file.sha256).await {
            return Ok(code);
        }
        self.fetch(env, file).await?;
        let kept = self.kept(&file.sha256).await;
        kept.ok_or_else(|| format!("{} was fetched, but cannot be read", file.uri))
    }

    async fn fetch(&self, env: &RpcEnv, file: &ComponentFile) -> Result<(), String> {
        let ComponentFile { uri, sha256 } = file;
        let failed = |reason: String| format!("cannot fetch {uri}: {reason}");
        let opened = env.open_channel(uri).await;
        let mut stream = opened.map_err(|error| failed(with_causes(&error)))?;
        let name = format!("{sha256}.{}.{HALF}", uuid::Uuid::new_v4());
        let aside = Aside::new(self.dir.join(name));
        let filled = aside.fill(&mut stream, self.limits.component_bytes_max);
        let found = filled.await.map_err(failed)?;
        if found != *sha256 {
            return Err(failed(format!(
                "its SHA-256 is {found}, expected {sha256}: the file is another one than was meant"
            )));
        }
        let placed = aside.place(&self.path(sha256));
        placed.map_err(|error| failed(format!("cannot keep it: {error}")))?;
        tracing::info!(uri, sha256, "component fetched");
        self.forget_the_oldest();
        Ok(())
    }

    /// What is kept under a hash. A file that is something else goes.
    async fn kept(&self, sha256: &str) -> Option<Code> {
        let (path, sha256) = (self.path(sha256), sha256.to_owned());
        let reading = tokio::task::spawn_blocking(move || {
            let code = Code::from_bytes(fs::read(&path).ok()?);
            if code.digest() != sha256 {
                tracing::warn!(path = %path.display(), "a kept component was changed, it is fetched again");
                let _ = fs::remove_file(&path);
                return None;
            }
            // Only the order of forgetting depends on it.
            if let Ok(file) = fs::File::options().append(true).open(&path) {
                let _ = file.set_modified(std::time::SystemTime::now());
            }
            Some(code)
        });
        reading.await.ok().flatten()
    }

    fn forget_the_oldest(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        let mut files: Vec<_> = entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|end| end == "wasm"))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort();
        let surplus = files
            .len()
            .saturating_sub(self.limits.components_kept.max(1));
        for (_, path) in files.into_iter().take(surplus) {
            let _ = fs::remove_file(path);
        }
    }

    fn path(&self, sha256: &str) -> PathBuf {
        self.dir.join(format!("{sha256}.wasm"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<()>>>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn components(dir: &Path, kept: usize) -> Components {
        let limits = LaunchLimits {
            components_kept: kept,
            ..LaunchLimits::default()
        };
        Components::open(dir, &limits).unwrap()
    }

    #[tokio::test]
    async fn a_kept_file_whose_bytes_are_others_is_not_used_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let components = components(dir.path(), 10);
        let code = Code::from_bytes(b"the code".as_slice());
        let path = components.path(code.digest());
        fs::write(&path, "the code").unwrap();
        assert_eq!(components.kept(code.digest()).await, Some(code.clone()));
        fs::write(&path, "other code").unwrap();
        assert_eq!(components.kept(code.digest()).await, None);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_beyond_the_limit_goes_the_oldest_first_and_halves_go_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let few = components(dir.path(), 2);
        for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
            let file = fs::File::create(few.path(name)).unwrap();
            let hours = std::time::Duration::from_secs(3600 * (3 - number as u64));
            file.set_modified(std::time::SystemTime::now() - hours)
                .unwrap();
        }
        few.forget_the_oldest();
        assert!(!few.path("a").exists() && few.path("b").exists() && few.path("c").exists());
        let half = few.dir.join(format!("x.y.{HALF}"));
        fs::write(&half, "half").unwrap();
        components(dir.path(), 2);
        assert!(!half.exists());
    }
}
