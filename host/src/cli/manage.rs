//! `instar rollback`, `approve`, `refresh`, `restart`, `stop`: what an operator does to an endpoint that
//! takes no more than its name, through the admin API of its host.

use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;

use super::Admin;
use super::output::{Output, duration, size};
use crate::admin::api::Done;
use crate::endpoint::record::SwapRecord;

/// Go back to an earlier version of an endpoint.
///
/// The host keeps the last versions of each endpoint while it runs. If the endpoint comes from a plugin
/// directory, the file there is replaced as well.
#[derive(Args)]
pub(super) struct Rollback {
    /// The endpoint.
    name: String,
    /// A version, or the beginning of a digest. Default: the version before.
    #[arg(long)]
    to: Option<String>,
    #[command(flatten)]
    admin: Admin,
}

/// Swap to the version that waits for approval, and grant what it wants.
///
/// If the endpoint comes from a plugin directory, the grants are written into `NAME.toml` there, so that
/// they last; all endpoints of that plugin are swapped.
#[derive(Args)]
pub(super) struct Approve {
    /// The endpoint. `instar status` shows what waits.
    name: String,
    #[command(flatten)]
    admin: Admin,
}

/// Give memory back: the same code with the same state in a new instance.
///
/// A component never gives back memory that it took once. `limits.refresh_above` in `NAME.toml` does this
/// by itself.
#[derive(Args)]
pub(super) struct Refresh {
    /// The endpoint.
    name: String,
    #[command(flatten)]
    admin: Admin,
}

/// Give an endpoint a fresh instance; revives one that failed.
///
/// Its state is gone, queued messages stay. Also starts a plugin that was stopped.
#[derive(Args)]
pub(super) struct Restart {
    /// The endpoint, or the plugin if it was stopped.
    name: String,
    #[command(flatten)]
    admin: Admin,
}

/// Stop an endpoint after what is queued.
///
/// Its plugin starts again with a new file, with `instar restart`, or with the host.
#[derive(Args)]
pub(super) struct Stop {
    /// The endpoint.
    name: String,
    #[command(flatten)]
    admin: Admin,
}

impl Rollback {
    pub(super) fn run(self, output: Output) -> anyhow::Result<()> {
        let client = self.admin.client()?;
        let working = spinner(&format!("going back with `{}`", self.name));
        let record = client.rollback(&self.name, self.to.as_deref());
        working.finish_and_clear();
        output.print(&record?, swapped)
    }
}

impl Approve {
    pub(super) fn run(self, output: Output) -> anyhow::Result<()> {
        let client = self.admin.client()?;
        let working = spinner(&format!("approving the held version of `{}`", self.name));
        let record = client.approve(&self.name);
        working.finish_and_clear();
        output.print(&record?, swapped)
    }
}

impl Refresh {
    pub(super) fn run(self, output: Output) -> anyhow::Result<()> {
        let client = self.admin.client()?;
        let working = spinner(&format!("refreshing `{}`", self.name));
        let refreshed = client.refresh(&self.name);
        working.finish_and_clear();
        output.print(&refreshed?, |refreshed| {
            format!(
                "`{}` {} of memory -> {}: stood still for {}; {} of state",
                self.name,
                size(refreshed.memory_before as u64),
                size(refreshed.memory_after as u64),
                duration(refreshed.record.phases.pause),
                size(refreshed.record.state_bytes as u64)
            )
        })
    }
}

impl Restart {
    pub(super) fn run(self, output: Output) -> anyhow::Result<()> {
        let done = self.admin.client()?.restart(&self.name)?;
        output.print(&done, done_text)
    }
}

impl Stop {
    pub(super) fn run(self, output: Output) -> anyhow::Result<()> {
        let done = self.admin.client()?.stop(&self.name)?;
        output.print(&done, done_text)
    }
}

fn done_text(done: &Done) -> String {
    format!("`{}` {}", done.name, done.done)
}

/// Shown on a terminal only, and only if it takes a moment.
pub(super) fn spinner(text: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(text.to_owned());
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

pub(super) fn swapped(record: &SwapRecord) -> String {
    let phases = &record.phases;
    format!(
        "{} -> {}: stood still for {} (snapshot {}, restore {}, flip {}); {} of state, {} messages waited",
        record.from.version,
        record.to.version,
        duration(phases.pause),
        duration(phases.snapshot),
        duration(phases.restore),
        duration(phases.flip),
        size(record.state_bytes as u64),
        record.queue_depth
    )
}
