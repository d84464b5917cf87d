//! Soak: swaps a loaded endpoint as fast as it can, within one process, and counts what goes wrong.
//!
//! Half of the senders are local, half are on another host over loopback. The endpoint (`plugins/soak`,
//! three versions that take turns) notices what is lost, doubled or reordered, and says in each
//! answer which version it is and where it took the call. The first part of the time runs without swaps.
//!
//! Before it: `instar soak`. In the order in which numbers flow: [`load`] starts everything,
//! [`sender`] sends and asks, [`tally`] judges what comes back, [`report`] sums up.
//!
//! Not here: the plugin directory and the admin API. `make demo` shows those.

mod load;

mod memory;

mod messages;

mod phases;

mod report;

mod sender;

mod tally;

use std::future::Future;
use std::sync::Arc;

pub(crate) use load::{Plan, Progress, SoakError};
pub(crate) use report::Report;

/// Runs what is planned and sums up. `stop` ends it early. More growth of memory than
/// `growth_percent_max` is wrong.
///
/// # Errors
/// [`SoakError`]: there was no load. What is wrong under load is in the report.
///
/// # Cancellation
/// Dropping the future leaves the hosts to the end of the runtime.
pub(crate) async fn run(
    plan: &Plan,
    growth_percent_max: f64,
    progress: &Arc<Progress>,
    stop: impl Future<Output = ()>,
) -> Result<Report, SoakError> {
    let outcome = load::load(plan, progress, stop).await?;
    Ok(Report::new(outcome, growth_percent_max))
}
