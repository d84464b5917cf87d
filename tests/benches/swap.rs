//! What does a swap cost those who are there? The pause of the endpoint, its throughput, its
//! neighbours' answers, and how fast an endpoint starts from cached code.
//!
//! Each figure is the median of several rounds, with and without the disturbance taking turns within a
//! round: the machine is noisy, so the relations count, not the values. Run it with `make bench`.

#![expect(clippy::indexing_slicing, reason = "a bench fails by panicking")]

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use echo::Say;
use fixture_probe::{Panic, Spin};
use instar_host::bundled;
use instar_host::component::code::Code;
use instar_host::component::engine::{Engine, EngineSettings};
use instar_host::endpoint::settings::EndpointSettings;
use instar_host::{EndpointRef, RpcEnv, RpcSettings};
use instar_tests::{client, component, eventually, message, server, start};
use soak::{GetTotals, Number, Totals};
use tokio::task::{AbortHandle, JoinSet};

const ROUNDS: usize = 5;
/// Swaps in a round, for each size of state.
const SWAPS: usize = 200;
/// The pause between those: the load is at full speed again.
const BETWEEN_SWAPS: Duration = Duration::from_millis(10);
/// How long throughput is measured, without and with swaps.
const THROUGHPUT: Duration = Duration::from_secs(3);
/// How long a neighbour is asked, for each disturbance.
const NEIGHBOUR: Duration = Duration::from_secs(1);
/// The turn limit of the endpoint that spins: hit often in that time.
const TURN: Duration = Duration::from_millis(100);
const STARTS: usize = 20;

fn main() -> anyhow::Result<()> {
    // Cargo passes flags of its own test harness; none of them concerns this one.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        pauses().await?;
        throughput().await?;
        neighbour().await?;
        starts().await
    })
}

/// An endpoint that four senders keep as busy as it can be: two local, two over loopback.
struct Loaded {
    host: RpcEnv,
    peer: RpcEnv,
    endpoint: EndpointRef,
    versions: [Code; 3],
    swaps: usize,
    senders: JoinSet<()>,
}

impl Loaded {
    async fn start(state_bytes: usize) -> anyhow::Result<Self> {
        let (host, peer) = (start(server()).await, start(client()).await);
        let versions = bundled::soak();
        for version in &versions {
            host.inspect(version).await?;
        }
        let endpoint = idle(&host, &versions, state_bytes).await?;
        let remote = peer.reference(endpoint.address().clone());
        let mut senders = JoinSet::new();
        for (sender, to) in [&endpoint, &remote, &endpoint, &remote]
            .into_iter()
            .enumerate()
        {
            senders.spawn(send_for_ever(sender as u32, to.clone()));
        }
        Ok(Self {
            host,
            peer,
            endpoint,
            versions,
            swaps: 0,
            senders,
        })
    }

    async fn swap(&mut self) -> anyhow::Result<Duration> {
        self.swaps += 1;
        swap(&self.host, &self.versions, self.swaps).await
    }

    fn turns(&self) -> u64 {
        let status = self.host.status_of("soak");
        status.map_or(0, |status| status.turns)
    }

    /// Ends the load. Nothing may be lost, doubled or reordered by what was measured.
    async fn finish(mut self) -> anyhow::Result<()> {
        self.senders.shutdown().await;
        // The inbox may be full still.
        let ask = || async { self.endpoint.ask(message(&GetTotals {})).await.ok() };
        let answer = eventually("an answer", ask).await;
        let totals: Totals = postcard::from_bytes(&answer.body)?;
        let wrong = (totals.lost, totals.doubled, totals.reordered);
        anyhow::ensure!(wrong == (0, 0, 0), "lost, doubled, reordered: {wrong:?}");
        self.peer.shutdown().await;
        self.host.shutdown().await;
        Ok(())
    }
}

async fn idle(host: &RpcEnv, versions: &[Code; 3], state: usize) -> anyhow::Result<EndpointRef> {
    let settings = EndpointSettings {
        config: [("ballast".to_owned(), state.to_string())].into(),
        ..EndpointSettings::default()
    };
    Ok(host.setup_endpoint("soak", &versions[0], settings).await?)
}

/// The pause of the swap that is this many-th.
async fn swap(host: &RpcEnv, versions: &[Code; 3], number: usize) -> anyhow::Result<Duration> {
    let version = &versions[number % versions.len()];
    let record = host.swap("soak", version, None, "bench").await;
    Ok(record.context("swap")?.phases.pause)
}

async fn send_for_ever(sender: u32, to: EndpointRef) {
    for number in 0.. {
        if to.send(message(&Number { sender, number })).await.is_err() {
            return;
        }
    }
}

async fn pauses() -> anyhow::Result<()> {
    println!(
        "pause of a swap under full load, {ROUNDS} rounds of {SWAPS} swaps\n{:<28} {:>12} {:>12} {:>12}   target of p99",
        "", "p50", "p99", "max"
    );
    let sizes = [
        (1 << 10, "1 KiB of state", "1 ms"),
        (1 << 20, "1 MiB of state", "5 ms"),
    ];
    let mut spreads = sizes.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((bytes, ..), spreads) in sizes.iter().zip(&mut spreads) {
            spreads.push(swap_round(*bytes).await?);
        }
    }
    for ((_, name, target), spreads) in sizes.iter().zip(&spreads) {
        let Spread { p50, p99, max } = medians(spreads);
        println!("{name:<28} {p50:>9.3} ms {p99:>9.3} ms {max:>9.3} ms   {target}");
    }
    println!();
    Ok(())
}

async fn swap_round(state_bytes: usize) -> anyhow::Result<Spread> {
    let mut loaded = Loaded::start(state_bytes).await?;
    let mut pauses = Vec::with_capacity(SWAPS);
    for _ in 0..SWAPS {
        tokio::time::sleep(BETWEEN_SWAPS).await;
        pauses.push(loaded.swap().await?);
    }
    loaded.finish().await?;
    Ok(spread(pauses))
}

async fn throughput() -> anyhow::Result<()> {
    let mut loaded = Loaded::start(1 << 10).await?;
    let (mut without, mut with, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let undisturbed = turns_per_second(&mut loaded, None).await?;
        let swapped = turns_per_second(&mut loaded, Some(Duration::from_millis(100))).await?;
        without.push(undisturbed);
        with.push(swapped);
        ratios.push(swapped / undisturbed * 100.0);
    }
    loaded.finish().await?;
    println!("throughput, {ROUNDS} rounds");
    println!(
        "{:<28} {:>12.0} messages/s",
        "without swaps",
        median(without)
    );
    println!(
        "{:<28} {:>12.0} messages/s {:>8.1} %   target 90 %",
        "with 10 swaps a second",
        median(with),
        median(ratios)
    );
    println!();
    Ok(())
}

async fn turns_per_second(loaded: &mut Loaded, period: Option<Duration>) -> anyhow::Result<f64> {
    let (began, before) = (Instant::now(), loaded.turns());
    match period {
        None => tokio::time::sleep(THROUGHPUT).await,
        Some(period) => {
            let mut ticks = tokio::time::interval(period);
            while began.elapsed() < THROUGHPUT {
                ticks.tick().await;
                loaded.swap().await?;
            }
        }
    }
    let turns = (loaded.turns() - before) as f64;
    Ok(turns / began.elapsed().as_secs_f64())
}

/// What else goes on in the host while the neighbour is asked.
#[derive(Clone, Copy)]
enum Beside {
    Nothing,
    Spinning,
    Trapping,
    Swapping,
}

impl Beside {
    const ALL: [(Self, &str); 4] = [
        (Self::Nothing, "undisturbed"),
        (Self::Spinning, "another one spins for ever"),
        (Self::Trapping, "another one traps in a loop"),
        (Self::Swapping, "another one is swapped"),
    ];

    /// Starts it. It goes on until it is dropped.
    fn start(self, host: &RpcEnv) -> Option<Disturbance> {
        let host = host.clone();
        let task = match self {
            Self::Nothing => return None,
            Self::Spinning => {
                let spin = message(&Spin { turns: u64::MAX });
                tokio::spawn(crash_for_ever(host, "spinner", spin))
            }
            Self::Trapping => {
                let text = "again".to_owned();
                let panic = message(&Panic { text });
                tokio::spawn(crash_for_ever(host, "trapper", panic))
            }
            Self::Swapping => tokio::spawn(async move {
                let versions = bundled::soak();
                // Where the last one stopped is not known: one swap may be none.
                for number in 0.. {
                    let version = &versions[number % versions.len()];
                    let _ = host.swap("soak", version, None, "bench").await;
                }
            }),
        };
        Some(Disturbance(task.abort_handle()))
    }
}

struct Disturbance(AbortHandle);

impl Drop for Disturbance {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Lets an endpoint crash, and gives it a new instance so that it can crash again.
async fn crash_for_ever(host: RpcEnv, name: &str, how: instar_host::Message) {
    while let Some(endpoint) = host.endpoint_ref(name) {
        let _ = endpoint.ask(how.clone()).await;
        let _ = host.restart(name).await;
    }
}

async fn neighbour() -> anyhow::Result<()> {
    let host = start(server()).await;
    let versions = bundled::soak();
    for version in &versions {
        host.inspect(version).await?;
    }
    idle(&host, &versions, 1 << 10).await?;
    let mut settings = EndpointSettings::default();
    settings.limits.turn = TURN;
    for name in ["spinner", "trapper"] {
        let probe = component("probe-v1");
        host.setup_endpoint(name, &probe, settings.clone()).await?;
    }
    let echo = component("echo");
    let echo = host
        .setup_endpoint("echo", &echo, Default::default())
        .await?;
    let mut spreads = Beside::ALL.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((beside, _), spreads) in Beside::ALL.iter().zip(&mut spreads) {
            let disturbance = beside.start(&host);
            spreads.push(ask_round(&echo).await?);
            drop(disturbance);
            // A turn that is still under way comes to its end.
            tokio::time::sleep(2 * TURN).await;
        }
    }
    println!(
        "a neighbour's ask, {ROUNDS} rounds\n{:<28} {:>12} {:>8} {:>12} {:>8} {:>12}   target of p99: 3 x",
        "", "p50", "", "p99", "", "max"
    );
    let undisturbed = medians(&spreads[0]);
    for ((_, name), spreads) in Beside::ALL.iter().zip(&spreads) {
        let Spread { p50, p99, max } = medians(spreads);
        println!(
            "{name:<28} {:>9.1} us {:>6.1} x {:>9.1} us {:>6.1} x {:>9.1} us",
            p50 * 1e3,
            p50 / undisturbed.p50,
            p99 * 1e3,
            p99 / undisturbed.p99,
            max * 1e3
        );
    }
    println!();
    host.shutdown().await;
    Ok(())
}

async fn ask_round(echo: &EndpointRef) -> anyhow::Result<Spread> {
    let say = message(&Say {
        text: "x".repeat(64),
    });
    let (began, mut times) = (Instant::now(), Vec::new());
    while began.elapsed() < NEIGHBOUR {
        let asked = Instant::now();
        echo.ask(say.clone()).await?;
        times.push(asked.elapsed());
    }
    Ok(spread(times))
}

/// As in a process that starts again: nothing is in memory, compiled code is on disk.
async fn starts() -> anyhow::Result<()> {
    let cache = tempfile::tempdir()?;
    let code = bundled::soak();
    let mut times = vec![Vec::new(), Vec::new()];
    // The first one compiles, and is left out.
    for round in 0..=STARTS {
        let settings = EngineSettings {
            cache: Some(cache.path().join("compiled")),
            ..EngineSettings::default()
        };
        let (engine, engine_took) = timed(async { Ok(Engine::new(&settings)?) }).await?;
        let host = start(RpcSettings {
            engine: Some(engine),
            ..RpcSettings::default()
        })
        .await;
        let starting = async {
            let endpoint = host
                .setup_endpoint("soak", &code[0], Default::default())
                .await?;
            // An answer comes only after `on-start`.
            Ok(endpoint.ask(message(&GetTotals {})).await?)
        };
        let (_, took) = timed(starting).await?;
        host.shutdown().await;
        if round > 0 {
            times[0].push(took.as_secs_f64() * 1e3);
            times[1].push(engine_took.as_secs_f64() * 1e3);
        }
    }
    println!("start from cached code, median of {STARTS}");
    for (name, target) in [
        ("an endpoint, and one answer", "target 1 ms"),
        ("besides, the engine", ""),
    ] {
        println!("{name:<28} {:>9.3} ms   {target}", median(times.remove(0)));
    }
    Ok(())
}

async fn timed<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<(T, Duration)> {
    let began = Instant::now();
    let value = work.await?;
    Ok((value, began.elapsed()))
}

/// In milliseconds.
#[derive(Clone, Copy)]
struct Spread {
    p50: f64,
    p99: f64,
    max: f64,
}

fn spread(mut times: Vec<Duration>) -> Spread {
    times.sort_unstable();
    let at = |quantile: f64| {
        let rank = (times.len() as f64 * quantile).ceil() as usize;
        let time = times.get(rank.saturating_sub(1));
        time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    Spread {
        p50: at(0.5),
        p99: at(0.99),
        max: at(1.0),
    }
}

/// Of the quantiles of each round; the highest of all for the maximum.
fn medians(spreads: &[Spread]) -> Spread {
    let each = |of: fn(&Spread) -> f64| spreads.iter().map(of).collect::<Vec<_>>();
    Spread {
        p50: median(each(|spread| spread.p50)),
        p99: median(each(|spread| spread.p99)),
        max: each(|spread| spread.max).into_iter().fold(0.0, f64::max),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
