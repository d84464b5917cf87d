//! `instar swap`, `rollback`, `history`, `restart`, `stop`: what an operator does to an endpoint,
//! through the admin API of its host.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use indicatif::ProgressBar;

use super::Admin;
use super::output::{Output, duration, short, size, table};
use crate::admin::api::Done;
use crate::component::code::Code;
use crate::endpoint::record::{SwapOutcome, SwapRecord};

/// Replaces the code of an endpoint while it works. If the endpoint comes from a plugin directory,
/// the file there is replaced as well.
#[derive(Args)]
pub(super) struct Swap {
    /// The endpoint.
    name: String,
    /// The component.
    file: PathBuf,
    #[command(flatten)]
    admin: Admin,
}

/// Goes back to an earlier version that the host keeps.
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

/// Shows the swaps that were tried on an endpoint, oldest first.
#[derive(Args)]
pub(super) struct History {
    /// The endpoint.
    name: String,
    #[command(flatten)]
    admin: Admin,
}

/// Gives an endpoint a fresh instance: its state is gone, queued messages stay. Revives one that
/// failed, and starts a plugin that was stopped.
#[derive(Args)]
pub(super) struct Restart {
    /// The endpoint, or the plugin if it was stopped.
    name: String,
    #[command(flatten)]
    admin: Admin,
}

/// Stops an endpoint after what is queued. Its plugin starts again with a new file or `restart`.
#[derive(Args)]
pub(super) struct Stop {
    /// The endpoint.
    name: String,
    #[command(flatten)]
    admin: Admin,
}

impl Swap {
    pub(super) fn run(self, output: Output) -> anyhow::Result<()> {
        let code = Code::from_file(&self.file)?;
        let client = self.admin.client()?;
        let working = spinner(&format!("swapping `{}`", self.name));
        let record = client.swap(&self.name, code.bytes());
        working.finish_and_clear();
        output.print(&record?, swapped)
    }
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

impl History {
    pub(super) fn run(self, output: Output) -> anyhow::Result<()> {
        let records = self.admin.client()?.history(&self.name)?;
        output.print(&records, |records| match records.is_empty() {
            true => format!("`{}` was never swapped", self.name),
            false => history(records),
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
fn spinner(text: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(text.to_owned());
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

fn swapped(record: &SwapRecord) -> String {
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

fn history(records: &[SwapRecord]) -> String {
    let head = [
        "#", "ago", "by", "from", "to", "digest", "pause", "state", "outcome",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for record in records {
        let ago = SystemTime::now()
            .duration_since(record.at)
            .unwrap_or_default();
        let outcome = match &record.outcome {
            SwapOutcome::Swapped => "swapped".to_owned(),
            SwapOutcome::Rejected(reason) => format!("rejected: {reason}"),
            SwapOutcome::GivenUp(reason) => format!("given up: {reason}"),
            SwapOutcome::NeedsApproval(reason) => format!("needs approval: {reason}"),
            SwapOutcome::RolledBack(reason) => reason.clone(),
        };
        rows.push(vec![
            record.number.to_string(),
            duration(ago),
            record.by.clone(),
            record.from.version.clone(),
            record.to.version.clone(),
            short(&record.to.digest).to_owned(),
            duration(record.phases.pause),
            size(record.state_bytes as u64),
            outcome,
        ]);
    }
    table(&rows)
}
