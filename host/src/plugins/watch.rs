//! Watch: wakes the scanner when something happens in the directory. It decides nothing.
//!
//! The system tells of changes, but may tell too much, too late or nothing at all (a network file
//! system, a full queue, no watches left). So an event is only a reason to look again, and
//! [`super::task`] looks once in a while without any. One thing a look cannot see is taken from the
//! events: that a file was *renamed* in, which means that it is whole.
//!
//! While the directory does not exist, its parent is watched.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::aside::is_incoming;
use super::status_file::is_status_file;

/// The most names that are remembered between two looks. Files beyond it are taken a little later.
const RENAMED_MAX: usize = 4096;

/// What is watched now.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// The directory, known by device and inode: a new one of the same name is another.
    Directory((u64, u64)),
    Parent,
}

/// The watcher of one directory. Dropping it ends its thread.
pub(crate) struct Watch {
    directory: Arc<Path>,
    watcher: Option<RecommendedWatcher>,
    target: Option<Target>,
    shared: Arc<Shared>,
    told: bool,
}

#[derive(Default)]
struct Shared {
    changed: Notify,
    renamed: Mutex<BTreeSet<String>>,
}

impl Watch {
    /// Watches nothing yet.
    pub(crate) fn new(directory: Arc<Path>) -> Self {
        Self {
            directory,
            watcher: None,
            target: None,
            shared: Arc::default(),
            told: false,
        }
    }

    /// Waits until something happened. Cancel-safe: what happened meanwhile is reported next time.
    pub(crate) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// The names of files that were renamed into the directory since the last call.
    pub(crate) fn take_renamed(&self) -> BTreeSet<String> {
        let mut renamed = lock(&self.shared.renamed);
        std::mem::take(&mut *renamed)
    }

    /// Watches the directory if it exists (`identity`), else its parent. Wakes when that is new, for
    /// something may have happened just before. Called after each look; does nothing if all is well.
    pub(crate) fn follow(&mut self, identity: Option<(u64, u64)>) {
        let target = identity.map_or(Target::Parent, Target::Directory);
        if self.target.as_ref() == Some(&target) {
            return;
        }
        // A fresh watcher each time: the old one may hold a watch on a directory that is gone.
        (self.watcher, self.target) = (None, None);
        let path: PathBuf = match (&target, self.directory.parent()) {
            (Target::Parent, Some(parent)) if !parent.as_os_str().is_empty() => parent.into(),
            (Target::Parent, _) => ".".into(),
            (Target::Directory(_), _) => self.directory.to_path_buf(),
        };
        match self.watch(&path) {
            Ok(watcher) => {
                (self.watcher, self.target) = (Some(watcher), Some(target));
                self.told = false;
                self.shared.changed.notify_one();
            }
            // Not even the parent exists: the next look tries again.
            Err(_) if !path.exists() => {}
            Err(error) if !self.told => {
                self.told = true;
                tracing::warn!(
                    directory = %path.display(), %error,
                    "cannot watch the plugin directory; changes are found by looking every so often \
                     (raise fs.inotify.max_user_instances and max_user_watches to have them at once)"
                );
            }
            Err(_) => {}
        }
    }

    fn watch(&self, path: &Path) -> notify::Result<RecommendedWatcher> {
        let shared = Arc::clone(&self.shared);
        let name = self.directory.file_name().map(|name| name.to_owned());
        let in_parent = *path != *self.directory;
        let mut told = false;
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            match event {
                Ok(event) if in_parent => {
                    let ours = |path: &PathBuf| path.file_name() == name.as_deref();
                    if event.paths.is_empty() || event.paths.iter().any(ours) {
                        shared.changed.notify_one();
                    }
                }
                Ok(event) => shared.take_in(&event),
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "the plugin directory's watcher failed; looking goes on");
                    }
                    shared.changed.notify_one();
                }
            }
        })?;
        watcher.watch(path, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }
}

impl Shared {
    fn take_in(&self, event: &Event) {
        // Looking itself opens the directory: waking for that would never end.
        let finished_write = EventKind::Access(AccessKind::Close(AccessMode::Write));
        if matches!(event.kind, EventKind::Access(_)) && event.kind != finished_write {
            return;
        }
        let names: Vec<&str> = event
            .paths
            .iter()
            .filter_map(|path| path.file_name()?.to_str())
            .collect();
        let ours = |name: &&str| is_status_file(name) || is_incoming(name);
        if !names.is_empty() && names.iter().all(ours) {
            return;
        }
        let mut renamed = lock(&self.renamed);
        match event.kind {
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) if renamed.len() < RENAMED_MAX => {
                renamed.extend(names.iter().map(|name| (*name).to_owned()));
            }
            // Written after it was renamed: no longer known to be whole.
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_)) => {
                for name in names {
                    renamed.remove(name);
                }
            }
            _ => {}
        }
        drop(renamed);
        self.changed.notify_one();
    }
}

/// The set is whole after any panic: each change to it is one call.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use notify::event::{CreateKind, DataChange};

    use super::*;

    fn wakes(kind: EventKind, name: &str) -> (bool, bool) {
        let shared = Shared::default();
        shared.take_in(&Event::new(kind).add_path(Path::new("/plugins").join(name)));
        let changed = pin!(shared.changed.notified());
        let woken = changed
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready();
        (woken, lock(&shared.renamed).contains(name))
    }

    #[test]
    fn a_rename_into_the_directory_wakes_and_is_remembered() {
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        assert_eq!(wakes(renamed, "a.wasm"), (true, true));
    }

    #[test]
    fn what_we_write_and_read_ourselves_wakes_nobody() {
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        for name in [
            "a.status.json",
            ".a.status.json.tmp",
            ".a.wasm.incoming",
            ".a.toml.incoming",
        ] {
            assert_eq!(wakes(renamed, name), (false, false), "{name}");
        }
        let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
        assert_eq!(wakes(opened, "a.wasm"), (false, false));
    }

    #[test]
    fn a_file_that_is_written_after_its_rename_is_no_longer_known_to_be_whole() {
        let shared = Shared::default();
        for kind in [
            EventKind::Modify(ModifyKind::Name(RenameMode::To)),
            EventKind::Modify(ModifyKind::Data(DataChange::Any)),
        ] {
            shared.take_in(&Event::new(kind).add_path("/plugins/a.wasm".into()));
        }
        assert!(lock(&shared.renamed).is_empty());
        assert_eq!(
            wakes(EventKind::Create(CreateKind::File), "a.wasm"),
            (true, false)
        );
    }
}
