//! Load: starts two hosts, an endpoint and its senders, lets them run without swaps for a while, then
//! swaps until there is enough, and takes everything down again.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::memory;
use super::messages::{GET_TOTALS, Totals};
use super::phases::Phases;
use super::sender::{IN_FLIGHT_MAX, Sender, decode, within};
use super::tally::Tally;
use crate::bundled;
use crate::component::code::{Code, LoadError};
use crate::component::engine::EngineSettings;
use crate::endpoint::settings::{EndpointSettings, Limits};
use crate::endpoint_ref::EndpointRef;
use crate::error::{RpcError, with_causes};
use crate::message::Message;
use crate::rpc_env::{EnvError, RpcEnv, RpcSettings, SetupError};
use crate::transport::{Listen, TransportSettings};

/// The endpoint.
const NAME: &str = "soak";
/// The part of the time that runs without swaps, and its most.
const BASELINE: u32 = 10;
const BASELINE_MOST: Duration = Duration::from_secs(5);
/// After so many swaps the process has its working size.
pub(super) const WARM_UP_SWAPS: u64 = 500;
/// Swaps that fail one after the other. The next would fail as well.
const FAILURES_IN_A_ROW_MAX: u64 = 10;

/// What is wanted.
pub(crate) struct Plan {
    /// Swaps, at most.
    pub(crate) swaps: u64,
    /// Time, at most; compiling comes before.
    pub(crate) time: Duration,
    /// Ballast in the state, in bytes.
    pub(crate) state_bytes: u64,
    /// Senders. Every second one is on another host.
    pub(crate) senders: u32,
    /// Where compiled code is kept.
    pub(crate) cache: Option<PathBuf>,
    /// Which number stands at which place: the place itself. Only tests want another.
    pub(crate) numbering: fn(u64) -> u64,
}

/// How far it is. The senders read it, and whoever shows it.
#[derive(Default)]
pub(crate) struct Progress {
    sent: AtomicU64,
    swaps_begun: AtomicU64,
    swaps_done: AtomicU64,
    stopped: AtomicBool,
}

/// What came out.
pub(super) struct Outcome {
    pub(super) tally: Tally,
    /// What the endpoint counted, or why it does not say.
    pub(super) totals: Result<Totals, RpcError>,
    pub(super) state_bytes: u64,
    pub(super) swapped: Swapped,
    pub(super) baseline: Rate,
    pub(super) swapping: Rate,
    pub(super) interrupted: bool,
}

/// What the swaps came to.
pub(super) struct Swapped {
    pub(super) done: u64,
    pub(super) failed: u64,
    /// The first failure.
    pub(super) failure: Option<String>,
    pub(super) phases: Phases,
    /// Resident memory after [`WARM_UP_SWAPS`], and after the last one.
    pub(super) memory_early: Option<u64>,
    pub(super) memory_late: Option<u64>,
}

/// Messages in a time.
#[derive(Clone, Copy, Default)]
pub(super) struct Rate {
    pub(super) messages: u64,
    pub(super) time: Duration,
}

/// Why there is no load. What is wrong under load is in the report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SoakError {
    /// A host does not start.
    #[error("cannot start a host")]
    Host(#[from] EnvError),
    /// The bundled code does not load.
    #[error("cannot load the bundled plugin")]
    Load(#[from] LoadError),
    /// The endpoint does not start.
    #[error("cannot set the endpoint up")]
    Setup(#[from] SetupError),
    /// The other host does not find it.
    #[error("cannot reach the endpoint over loopback")]
    Reach(#[from] RpcError),
}

impl Progress {
    /// Ends the load.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// A number was sent.
    pub(super) fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Numbers that were sent.
    pub(crate) fn messages(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Swaps that were done for certain.
    pub(crate) fn swaps_done(&self) -> u64 {
        self.swaps_done.load(Ordering::Acquire)
    }

    /// Swaps that may be done.
    pub(super) fn swaps_begun(&self) -> u64 {
        self.swaps_begun.load(Ordering::Acquire)
    }
}

/// Runs the load. `stop` ends it early; what was done so far is told.
///
/// # Errors
/// [`SoakError`]: there was no load.
///
/// # Cancellation
/// Dropping the future leaves the hosts to the end of the runtime.
pub(super) async fn load(
    plan: &Plan,
    progress: &Arc<Progress>,
    stop: impl Future<Output = ()>,
) -> Result<Outcome, SoakError> {
    let host = RpcEnv::create(settings(plan)).await?;
    let peer = RpcEnv::create(RpcSettings {
        engine: Some(host.engine().clone()),
        ..RpcSettings::default()
    });
    let peer = match peer.await {
        Ok(peer) => peer,
        Err(error) => {
            host.shutdown().await;
            return Err(error.into());
        }
    };
    let outcome = between(&host, &peer, plan, progress, stop).await;
    peer.shutdown().await;
    host.shutdown().await;
    outcome
}

fn settings(plan: &Plan) -> RpcSettings {
    RpcSettings {
        transport: TransportSettings {
            listen: Some(Listen::local(0)),
            ..TransportSettings::default()
        },
        engine_settings: EngineSettings {
            cache: plan.cache.clone(),
            ..EngineSettings::default()
        },
        ..RpcSettings::default()
    }
}

/// The load between two hosts that are there.
async fn between(
    host: &RpcEnv,
    peer: &RpcEnv,
    plan: &Plan,
    progress: &Arc<Progress>,
    stop: impl Future<Output = ()>,
) -> Result<Outcome, SoakError> {
    let code = bundled::soak();
    // Compiled now, so that no swap waits for it.
    for version in &code {
        host.inspect(version).await?;
    }
    let [first, ..] = &code;
    let local = host
        .setup_endpoint(NAME, first, endpoint_settings(plan))
        .await?;
    let remote = peer.setup_endpoint_ref_by_uri(&local.to_string()).await?;
    let mut senders = JoinSet::new();
    for (id, to) in (0..plan.senders).zip([&local, &remote].into_iter().cycle()) {
        let sender = Sender::new(id, to.clone(), Arc::clone(progress), plan.numbering);
        senders.spawn(sender.run());
    }
    let (measured, interrupted) = {
        let measuring = measure(host, &code, plan, progress);
        tokio::pin!(measuring);
        tokio::select! {
            measured = &mut measuring => (measured, false),
            () = stop => {
                // A swap that is under way comes to its end.
                progress.stop();
                (measuring.await, true)
            }
        }
    };
    progress.stop();
    let mut tally = Tally::default();
    while let Some(done) = senders.join_next().await {
        match done {
            Ok(sender) => tally.add(sender),
            Err(error) => tally.failed(|| format!("a sender ended: {error}")),
        }
    }
    let totals = totals(&local).await;
    let (baseline, swapping, swapped) = measured;
    Ok(Outcome {
        tally,
        totals,
        state_bytes: plan.state_bytes,
        swapped,
        baseline,
        swapping,
        interrupted,
    })
}

fn endpoint_settings(plan: &Plan) -> EndpointSettings {
    let state = usize::try_from(plan.state_bytes).unwrap_or(usize::MAX);
    let defaults = Limits::default();
    EndpointSettings {
        config: [("ballast".to_owned(), plan.state_bytes.to_string())].into(),
        limits: Limits {
            // A migration has the state several times over, besides the copy that is handed over.
            memory_bytes: defaults
                .memory_bytes
                .saturating_add(state.saturating_mul(8)),
            inbox: defaults.inbox.max(plan.senders as usize * IN_FLIGHT_MAX),
            ..defaults
        },
        ..EndpointSettings::default()
    }
}

/// The part without swaps, and then the swaps.
async fn measure(
    host: &RpcEnv,
    code: &[Code; 3],
    plan: &Plan,
    progress: &Progress,
) -> (Rate, Rate, Swapped) {
    let began = Instant::now();
    // Taken before the load runs, so that it does not count as growth.
    let mut swapped = Swapped::with_room(plan.swaps);
    let baseline = rate(progress, async {
        let end = began + (plan.time / BASELINE).min(BASELINE_MOST);
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while Instant::now() < end && !progress.is_stopped() {
            ticks.tick().await;
        }
    });
    let baseline = baseline.await;
    let end = began + plan.time;
    let swapping = rate(progress, async {
        let mut failures_in_a_row = 0;
        while swapped.done < plan.swaps
            && failures_in_a_row < FAILURES_IN_A_ROW_MAX
            && Instant::now() < end
            && !progress.is_stopped()
        {
            failures_in_a_row = match swapped.one_more(host, code, progress).await {
                true => 0,
                false => failures_in_a_row + 1,
            };
        }
    });
    let swapping = swapping.await;
    swapped.memory_late = memory::resident();
    (baseline, swapping, swapped)
}

async fn rate(progress: &Progress, work: impl Future<Output = ()>) -> Rate {
    let (before, began) = (progress.messages(), Instant::now());
    work.await;
    Rate {
        messages: progress.messages() - before,
        time: began.elapsed(),
    }
}

impl Swapped {
    fn with_room(swaps: u64) -> Self {
        Self {
            done: 0,
            failed: 0,
            failure: None,
            phases: Phases::with_room(usize::try_from(swaps).unwrap_or(usize::MAX)),
            memory_early: None,
            memory_late: None,
        }
    }

    /// One more swap. False if it failed.
    async fn one_more(&mut self, host: &RpcEnv, code: &[Code; 3], progress: &Progress) -> bool {
        let next = self.done + 1;
        let mut turns = code.iter().cycle().skip((next % 3) as usize);
        let Some(version) = turns.next() else {
            return false;
        };
        progress.swaps_begun.store(next, Ordering::Release);
        match host.swap(NAME, version, None, "soak").await {
            Ok(record) => {
                self.done = next;
                progress.swaps_done.store(next, Ordering::Release);
                self.phases.take(&record.phases);
                if next == WARM_UP_SWAPS {
                    self.memory_early = memory::resident();
                }
                true
            }
            Err(error) => {
                self.failed += 1;
                self.failure.get_or_insert_with(|| with_causes(&error));
                false
            }
        }
    }
}

async fn totals(of: &EndpointRef) -> Result<Totals, RpcError> {
    let question = Message::new(GET_TOTALS, Vec::new());
    let answer = within(of.ask(question), "its totals").await?;
    decode(&answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(swaps: u64, numbering: fn(u64) -> u64) -> Plan {
        Plan {
            swaps,
            time: Duration::from_secs(2),
            state_bytes: 1000,
            senders: 2,
            cache: Some(concat!(env!("OUT_DIR"), "/compiled").into()),
            numbering,
        }
    }

    async fn fate(plan: &Plan) -> (u64, u64, u64) {
        let progress = Arc::new(Progress::default());
        let outcome = load(plan, &progress, std::future::pending()).await.unwrap();
        let fate = outcome.tally.fate(&outcome.totals.unwrap());
        (fate.lost, fate.doubled, fate.reordered)
    }

    /// The proof that the checks see what they are there for, through real hosts and a real component.
    #[tokio::test(flavor = "multi_thread")]
    async fn numbers_that_are_missing_twice_or_late_are_found() {
        assert_eq!(fate(&plan(5, |place| place)).await, (0, 0, 0));
        let (lost, doubled, _) = fate(&plan(5, |place| place + u64::from(place == 9))).await;
        assert_eq!(
            (lost, doubled),
            (2, 2),
            "9 is missing and 10 comes twice, of each"
        );
        let swap = |place| match place {
            9 => 10,
            10 => 9,
            _ => place,
        };
        let (lost, doubled, reordered) = fate(&plan(5, swap)).await;
        assert_eq!((lost, doubled), (0, 0));
        assert!(reordered >= 2, "{reordered}");
    }
}
