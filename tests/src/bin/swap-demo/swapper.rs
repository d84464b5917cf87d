//! Swapper: drops version after version into the plugin directory, as an operator would: written
//! aside, then renamed over the file that is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use instar_tests::component_path;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The versions, in the order in which they follow the first one.
const TURNS: [&str; 3] = ["wordcount-v2", "wordcount-v3", "wordcount-v1"];

pub(crate) struct Swapper {
    dropped: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    task: JoinHandle<anyhow::Result<()>>,
}

/// Puts a component under the name of a plugin file, at once and whole.
pub(crate) fn drop_file(component: &str, plugin: &Path) -> anyhow::Result<()> {
    let aside = plugin.with_file_name(".wordcount.next");
    std::fs::copy(component_path(component), &aside)
        .and_then(|_| std::fs::rename(&aside, plugin))
        .with_context(|| format!("drop {component} as {}", plugin.display()))
}

impl Swapper {
    pub(crate) fn start(plugin: PathBuf, per_second: u32) -> Self {
        let dropped = Arc::new(AtomicU64::new(0));
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn({
            let dropped = Arc::clone(&dropped);
            async move {
                let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
                ticks.tick().await;
                for component in TURNS.iter().cycle() {
                    tokio::select! {
                        _ = stopped.changed() => break,
                        _ = ticks.tick() => drop_file(component, &plugin)?,
                    }
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }
        });
        Self {
            dropped,
            stop,
            task,
        }
    }

    /// Files that were dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Stops, and returns how many files were dropped.
    pub(crate) async fn stop(self) -> anyhow::Result<u64> {
        // It may have ended by an error, which is told next.
        let _ = self.stop.send(true);
        self.task.await??;
        Ok(self.dropped.load(Ordering::Relaxed))
    }
}
