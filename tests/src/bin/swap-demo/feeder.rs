//! Feeder: sends every line and asks for the totals all the while, as fast as back-pressure lets it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use instar_host::{EndpointRef, Message, RpcError};
use instar_sdk::{Bytes, Message as _};
use instar_tests::message;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wordcount::{GetTotals, Line, Totals};

use super::wc::Wc;
use instar_tests::corpus::Lines;

/// After so many lines the totals are asked for.
const LINES_PER_ASK: u64 = 32;
/// Asks that are open at once.
const ASKS_OPEN: usize = 256;

/// How far it is, for whoever shows it.
#[derive(Default)]
pub(crate) struct Progress {
    lines: AtomicU64,
    bytes: AtomicU64,
}

impl Progress {
    pub(crate) fn read(&self) -> (u64, u64) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        (self.lines.load(Ordering::Relaxed), bytes)
    }
}

/// What was fed, and what came back.
pub(crate) struct Fed {
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
    /// How often the folder was read, the last time perhaps not to its end.
    pub(crate) readings: u64,
    /// What `wc -w` counted.
    pub(crate) wc_words: u64,
    /// What the endpoint says at the end.
    pub(crate) totals: Totals,
    pub(crate) answers: Answers,
}

/// The answers to the asks on the way.
#[derive(Default)]
pub(crate) struct Answers {
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    /// Answers whose totals are not those of exactly the lines that were sent before the ask.
    pub(crate) out_of_place: u64,
    /// The first failure.
    pub(crate) failure: Option<String>,
}

/// Feeds all files below `input`: until `limit`, or until the end of the folder. A folder that ends
/// before there is `enough` is read again, whole.
pub(crate) async fn feed(
    counter: &EndpointRef,
    input: &Path,
    limit: Option<Duration>,
    enough: impl Fn() -> bool,
    progress: Arc<Progress>,
) -> anyhow::Result<Fed> {
    let mut lines = Lines::below(input);
    let mut wc = Wc::start()?;
    let mut asks = Asks::new(counter);
    let began = Instant::now();
    let (mut number, mut bytes, mut readings) = (0_u64, 0_u64, 1_u64);
    let mut line = Vec::new();
    while limit.is_none_or(|limit| began.elapsed() < limit) {
        if !lines.next(&mut line)? {
            if number == 0 || enough() {
                break;
            }
            readings += 1;
            lines = Lines::below(input);
            continue;
        }
        wc.line(&line)?;
        bytes += line.len() as u64 + 1;
        let text = Bytes::from(std::mem::take(&mut line));
        let sent = message(&Line {
            source: 0,
            number,
            text,
        });
        counter.send(sent).await.context("send a line")?;
        number += 1;
        progress.lines.store(number, Ordering::Relaxed);
        progress.bytes.store(bytes, Ordering::Relaxed);
        if number.is_multiple_of(LINES_PER_ASK) {
            asks.ask(number).await;
        }
    }
    asks.ask(number).await;
    let answers = asks.finish().await;
    let last = counter.ask(message(&GetTotals {})).await;
    let totals = decode(last).context("ask for the totals at the end")?;
    let wc_words = tokio::task::spawn_blocking(move || wc.finish()).await??;
    Ok(Fed {
        lines: number,
        bytes,
        readings,
        wc_words,
        totals,
        answers,
    })
}

fn decode(answer: Result<Message, RpcError>) -> anyhow::Result<Totals> {
    let answer = answer?;
    anyhow::ensure!(
        *answer.kind == *Totals::KIND,
        "the answer is a {}",
        answer.kind
    );
    Ok(postcard::from_bytes(&answer.body)?)
}

/// The asks that are under way.
struct Asks {
    counter: EndpointRef,
    open: Arc<Semaphore>,
    tasks: JoinSet<(u64, anyhow::Result<Totals>)>,
    answers: Answers,
}

impl Asks {
    fn new(counter: &EndpointRef) -> Self {
        Self {
            counter: counter.clone(),
            open: Arc::new(Semaphore::new(ASKS_OPEN)),
            tasks: JoinSet::new(),
            answers: Answers::default(),
        }
    }

    /// Asks for the totals of the `lines` lines that were sent so far. The request is on its way
    /// when this returns, so it stands between the lines where it belongs.
    async fn ask(&mut self, lines: u64) {
        // Never closed, so there is always a permit some time.
        let Ok(permit) = Arc::clone(&self.open).acquire_owned().await else {
            return;
        };
        self.answers.asked += 1;
        let asked = self.counter.ask_abortable(message(&GetTotals {}));
        self.tasks.spawn(async move {
            let answer = tokio::time::timeout(Duration::from_secs(60), asked.outcome()).await;
            drop(permit);
            let totals = match answer {
                Ok(answer) => decode(answer),
                Err(elapsed) => Err(elapsed.into()),
            };
            (lines, totals)
        });
        while let Some(done) = self.tasks.try_join_next() {
            self.note(done);
        }
    }

    fn note(&mut self, done: Result<(u64, anyhow::Result<Totals>), tokio::task::JoinError>) {
        let done = done.map_err(anyhow::Error::from);
        let answers = &mut self.answers;
        match done.and_then(|(lines, totals)| Ok((lines, totals?))) {
            Ok((lines, totals)) => {
                answers.answered += 1;
                answers.out_of_place += u64::from(totals.lines != lines);
            }
            Err(error) => {
                answers.failed += 1;
                answers.failure.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }

    async fn finish(mut self) -> Answers {
        while let Some(done) = self.tasks.join_next().await {
            self.note(done);
        }
        self.answers
    }
}
