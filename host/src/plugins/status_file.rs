//! Status files: `NAME.status.json` beside each plugin, so that who copies a file in sees what
//! became of it without any tool.
//!
//! One owner writes them all, from the latest statuses: what changed faster than the disk writes is
//! written once. A file is written under a hidden name and renamed, so no reader sees half of one.
//! [`super::watch`] knows both names and does not wake for them.
//!
//! A directory that cannot be written (a Kubernetes volume) is told once and changes nothing else.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use super::status::PluginStatus;

/// All statuses, by plugin.
pub(crate) type Statuses = Arc<BTreeMap<String, PluginStatus>>;

const ENDING: &str = ".status.json";
const UNFINISHED: &str = ".status.json.tmp";

/// True for the names that are written here.
pub(crate) fn is_status_file(name: &str) -> bool {
    name.ends_with(ENDING) || (name.starts_with('.') && name.ends_with(UNFINISHED))
}

/// Writes what changes until the sender is gone; what was sent last is still written.
///
/// A write that is under way when this future is dropped is finished by its thread.
pub(crate) async fn keep(directory: Arc<Path>, mut statuses: watch::Receiver<Statuses>) {
    let mut keeper = Keeper {
        directory,
        written: BTreeMap::new(),
        told: false,
    };
    let mut open = true;
    while open {
        open = statuses.changed().await.is_ok();
        let current = Arc::clone(&statuses.borrow_and_update());
        let write = tokio::task::spawn_blocking(move || {
            keeper.update(&current);
            keeper
        });
        match write.await {
            Ok(done) => keeper = done,
            // Only the end of the runtime ends a blocking thread's work.
            Err(_) => return,
        }
    }
}

struct Keeper {
    directory: Arc<Path>,
    written: BTreeMap<String, PluginStatus>,
    told: bool,
}

impl Keeper {
    /// Brings the files in line with `statuses`. Blocks.
    fn update(&mut self, statuses: &BTreeMap<String, PluginStatus>) {
        let gone: Vec<_> = self
            .written
            .keys()
            .filter(|name| !statuses.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            self.written.remove(&name);
            let removed = std::fs::remove_file(self.directory.join(format!("{name}{ENDING}")));
            self.tell(removed);
        }
        for (name, status) in statuses {
            if self.written.get(name) != Some(status) {
                // Not tried again before the next change, or a full disk would cost a write a second.
                self.written.insert(name.clone(), status.clone());
                let written = write(&self.directory, name, status);
                self.tell(written);
            }
        }
    }

    /// Tells the first failure of a row. A directory that is gone has no files to keep.
    fn tell(&mut self, result: std::io::Result<()>) {
        match result {
            Ok(()) => self.told = false,
            Err(error) if error.kind() == ErrorKind::NotFound || self.told => {}
            Err(error) => {
                self.told = true;
                tracing::warn!(
                    directory = %self.directory.display(), %error,
                    "cannot write status files; use `instar status` instead"
                );
            }
        }
    }
}

fn write(directory: &Path, name: &str, status: &PluginStatus) -> std::io::Result<()> {
    let mut text = serde_json::to_vec_pretty(status)?;
    text.push(b'\n');
    let unfinished = directory.join(format!(".{name}{UNFINISHED}"));
    std::fs::write(&unfinished, text)?;
    std::fs::rename(&unfinished, directory.join(format!("{name}{ENDING}")))
}
