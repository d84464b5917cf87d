//! What does it cost to reach an endpoint? A local ask, a local send, an ask and a send over
//! loopback, and a swap, beside a bare wasmtime call and a raw TCP ping-pong in the same run.
//!
//! Each figure is the median of several rounds, all kinds taking turns within a round: the machine
//! is noisy, so the relations count, not the values. Run it with `make bench`.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use echo::Say;
use instar_host::endpoint::record::SwapRecord;
use instar_host::{EndpointRef, RpcEnv};
use instar_tests::{client, component, component_path, message, server, start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use wordcount::{GetTotals, Line};

const ROUNDS: usize = 9;
const ASKS: u32 = 2_000;
const SENDS: u32 = 50_000;
const SWAPS: usize = 50;

fn main() -> anyhow::Result<()> {
    // Cargo passes flags of its own test harness; none of them concerns this one.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let bare = Bare::new().await?;
    let ping = PingPong::start().await?;
    let host = start(server()).await;
    let peer = start(client()).await;
    let echo = host
        .setup_endpoint("echo", &component("echo"), Default::default())
        .await?;
    let counter = component("wordcount-v1");
    let counter = host
        .setup_endpoint("wordcount", &counter, Default::default())
        .await?;
    let far_echo = peer.setup_endpoint_ref_by_uri(&echo.to_string()).await?;
    let far_counter = peer.reference(counter.address().clone());
    let say = message(&Say {
        text: "x".repeat(64),
    });

    let mut table = Table::default();
    let (mut bare, mut ping) = (bare, ping);
    for _ in 0..ROUNDS {
        table.add("bare wasmtime call", bare.round().await?);
        table.add("raw TCP ping-pong", ping.round().await?);
        for (name, to) in [("local ask", &echo), ("ask over loopback", &far_echo)] {
            let asking = async {
                for _ in 0..ASKS {
                    to.ask(say.clone()).await?;
                }
                anyhow::Ok(())
            };
            table.add(name, each(ASKS, asking).await?);
        }
        for (name, to) in [
            ("local send", &counter),
            ("send over loopback", &far_counter),
        ] {
            table.add(name, each(SENDS, send_all(to)).await?);
        }
    }
    let pauses = swap_pauses(&host, &counter).await?;
    table.print(&pauses);
    peer.shutdown().await;
    host.shutdown().await;
    Ok(())
}

/// Sends lines and waits until the last one was handled.
async fn send_all(to: &EndpointRef) -> anyhow::Result<()> {
    for number in 0..SENDS {
        let line = Line {
            source: 0,
            number: u64::from(number),
            text: vec![b'x'; 64].into(),
        };
        to.send(message(&line)).await?;
    }
    to.ask(message(&GetTotals {})).await?;
    Ok(())
}

/// Time for each of `count` things.
async fn each(
    count: u32,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Duration> {
    let began = Instant::now();
    work.await?;
    Ok(began.elapsed() / count)
}

/// Swaps back and forth while another task sends as fast as it can.
async fn swap_pauses(host: &RpcEnv, counter: &EndpointRef) -> anyhow::Result<Vec<Duration>> {
    let load = tokio::spawn({
        let counter = counter.clone();
        async move {
            loop {
                if send_all(&counter).await.is_err() {
                    return;
                }
            }
        }
    });
    let mut pauses = Vec::new();
    for turn in 0..SWAPS {
        let version = if turn % 2 == 0 {
            "wordcount-v2"
        } else {
            "wordcount-v1"
        };
        let record: SwapRecord = host
            .swap("wordcount", &component(version), None, "bench")
            .await
            .with_context(|| format!("swap to {version}"))?;
        pauses.push(record.phases.pause);
    }
    load.abort();
    pauses.sort();
    Ok(pauses)
}

#[derive(Default)]
struct Table {
    rows: Vec<(&'static str, Vec<Duration>)>,
}

impl Table {
    fn add(&mut self, name: &'static str, time: Duration) {
        match self.rows.iter_mut().find(|(known, _)| *known == name) {
            Some((_, times)) => times.push(time),
            None => self.rows.push((name, vec![time])),
        }
    }

    fn median(&self, name: &str) -> f64 {
        let times = self.rows.iter().find(|(known, _)| *known == name);
        let mut times = times.map(|(_, times)| times.clone()).unwrap_or_default();
        times.sort();
        times
            .get(times.len() / 2)
            .map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
    }

    fn print(&self, pauses: &[Duration]) {
        let baseline = |name: &str| match name {
            _ if name.starts_with("local") => Some("bare wasmtime call"),
            _ if name.contains("loopback") => Some("raw TCP ping-pong"),
            _ => None,
        };
        println!(
            "{:<22} {:>12} {:>26}   beside",
            "64 bytes each", "median", "range"
        );
        for (name, times) in &self.rows {
            let micros = |time: Option<&Duration>| time.map_or(f64::NAN, |t| t.as_secs_f64() * 1e6);
            let range = format!(
                "{:.2} - {:.2} us",
                micros(times.iter().min()),
                micros(times.iter().max())
            );
            let median = self.median(name);
            let beside = baseline(name).map_or(String::new(), |base| {
                format!("{:.2} x {base}", median / self.median(base))
            });
            println!("{name:<22} {median:>9.2} us {range:>26}   {beside}");
        }
        let at = |quantile: f64| {
            let last = pauses.len().saturating_sub(1);
            let index = (last as f64 * quantile).round() as usize;
            pauses
                .get(index)
                .map_or(f64::NAN, |pause| pause.as_secs_f64() * 1e3)
        };
        println!(
            "swap pause under load: p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms ({} swaps)",
            at(0.5),
            at(0.99),
            at(1.0),
            pauses.len()
        );
    }
}

/// The same component under bare wasmtime: one call of `snapshot`, on a fiber, without a host.
struct Bare {
    store: wasmtime::Store<()>,
    call: wasmtime::component::TypedFunc<(u32,), (Result<Vec<u8>, String>,)>,
}

impl Bare {
    async fn new() -> anyhow::Result<Self> {
        let mut config = wasmtime::Config::new();
        config.concurrency_support(false).epoch_interruption(true);
        let engine = wasmtime::Engine::new(&config)?;
        let bytes = std::fs::read(component_path("contract-0-1-0"))?;
        let component = wasmtime::component::Component::new(&engine, bytes)?;
        let mut linker = wasmtime::component::Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component)?;
        let mut store = wasmtime::Store::new(&engine, ());
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = linker.instantiate_async(&mut store, &component).await?;
        let export = "instar:endpoint/endpoint@0.1.0";
        let (_, interface) = instance
            .get_export(&mut store, None, export)
            .with_context(|| format!("the component has no export {export}"))?;
        let (_, snapshot) = instance
            .get_export(&mut store, Some(&interface), "snapshot")
            .context("the component has no export snapshot")?;
        let call = instance.get_typed_func(&mut store, snapshot)?;
        Ok(Self { store, call })
    }

    async fn round(&mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        for _ in 0..ASKS {
            let (state,) = self.call.call_async(&mut self.store, (1,)).await?;
            state.map_err(anyhow::Error::msg)?;
        }
        Ok(began.elapsed() / ASKS)
    }
}

/// 64 bytes there and back over loopback, from task to task.
struct PingPong {
    socket: TcpStream,
}

impl PingPong {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let socket = TcpStream::connect(listener.local_addr()?).await?;
        let (mut other, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        other.set_nodelay(true)?;
        tokio::spawn(async move {
            let mut buffer = [0; 64];
            while other.read_exact(&mut buffer).await.is_ok() {
                if other.write_all(&buffer).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { socket })
    }

    async fn round(&mut self) -> anyhow::Result<Duration> {
        let mut buffer = [7; 64];
        let began = Instant::now();
        for _ in 0..ASKS {
            self.socket.write_all(&buffer).await?;
            self.socket.read_exact(&mut buffer).await?;
        }
        Ok(began.elapsed() / ASKS)
    }
}
