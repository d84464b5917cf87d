//! Sender: sends numbers and asks between them, as fast as the endpoint answers.
//!
//! Invariants
//! 1. What is on its way is bounded by the window, so that no inbox is full: a full one would refuse
//!    local asks, and that would be no fault of a swap.
//! 2. It ends: each step has a limit of its own.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::load::Progress;
use super::messages::{ASK, Ask, KEEP, Keep, NUMBER, Number, Seen};
use super::tally::{Asked, Tally};
use crate::endpoint_ref::EndpointRef;
use crate::error::RpcError;
use crate::message::Message;

/// After so many numbers the sender asks.
const NUMBERS_PER_ASK: u64 = 32;
/// Of so many asks, one is a call that is answered with the next number.
const ASKS_PER_KEEP: u64 = 4;
/// Asks that are open at once.
const ASKS_OPEN: usize = 16;
/// Calls that wait for a timer at once. They are outside of the window: they are slow on purpose.
const TIMED_OPEN: usize = 2;
/// How long those wait: some swaps.
const TIMED_MS: u32 = 10;
/// How long one step may take. Far more than needed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Messages of one sender that may wait in the inbox.
pub(super) const IN_FLIGHT_MAX: usize =
    (NUMBERS_PER_ASK as usize + 1) * (ASKS_OPEN + 1) + TIMED_OPEN;

pub(super) struct Sender {
    id: u32,
    to: EndpointRef,
    progress: Arc<Progress>,
    /// Which number stands at which place.
    numbering: fn(u64) -> u64,
    window: Arc<Semaphore>,
    timed: Arc<Semaphore>,
    calls: JoinSet<Came>,
    kinds: [Arc<str>; 3],
    asked: u64,
    tally: Tally,
}

/// How a call ended, and how many swaps could be done then.
struct Came {
    asked: Asked,
    outcome: Result<Seen, RpcError>,
    swaps_begun: u64,
}

/// How a call wants to be answered.
enum Answer {
    AtOnce,
    WithNext,
    ByTimer,
}

impl Sender {
    pub(super) fn new(
        id: u32,
        to: EndpointRef,
        progress: Arc<Progress>,
        numbering: fn(u64) -> u64,
    ) -> Self {
        Self {
            id,
            to,
            progress,
            numbering,
            window: Arc::new(Semaphore::new(ASKS_OPEN)),
            timed: Arc::new(Semaphore::new(TIMED_OPEN)),
            calls: JoinSet::new(),
            kinds: [NUMBER, ASK, KEEP].map(Arc::from),
            asked: 0,
            tally: Tally::default(),
        }
    }

    /// Sends until the load is stopped, and then waits for the answers that are still to come.
    pub(super) async fn run(mut self) -> Tally {
        while !self.progress.is_stopped() && self.number().await {
            if self.tally.sent.is_multiple_of(NUMBERS_PER_ASK) {
                self.ask().await;
                while let Some(done) = self.calls.try_join_next() {
                    self.note(done);
                }
            }
        }
        // Calls that wait for the next number get theirs.
        self.number().await;
        while let Some(done) = self.calls.join_next().await {
            self.note(done);
        }
        self.tally
    }

    /// Sends the next number. False where that is no use any more.
    async fn number(&mut self) -> bool {
        let [kind, ..] = &self.kinds;
        let number = Number {
            sender: self.id,
            number: (self.numbering)(self.tally.sent),
        };
        let sent = async { self.to.send(message(kind, &number)?).await };
        match within(sent, "sending").await {
            Ok(()) => {
                self.tally.sent += 1;
                self.progress.sent();
                true
            }
            Err(error) => {
                let id = self.id;
                let reason = || format!("sender {id} gave up: {error}");
                self.tally.failed(reason);
                false
            }
        }
    }

    async fn ask(&mut self) {
        self.asked += 1;
        let answer = match self.asked.is_multiple_of(ASKS_PER_KEEP) {
            true => Answer::WithNext,
            false => Answer::AtOnce,
        };
        self.call(answer).await;
        if self.timed.available_permits() > 0 {
            self.call(Answer::ByTimer).await;
        }
    }

    /// Calls. The request is on its way when this returns: it stands between the numbers where it
    /// belongs.
    async fn call(&mut self, answer: Answer) {
        let room = match answer {
            Answer::ByTimer => &self.timed,
            _ => &self.window,
        };
        // Never closed, so there is a permit some time.
        let Ok(permit) = Arc::clone(room).acquire_owned().await else {
            return;
        };
        let asked = Asked {
            position: self.tally.sent,
            swaps_done: self.progress.swaps_done(),
        };
        let [_, ask, keep] = &self.kinds;
        let sender = self.id;
        let after_ms = matches!(answer, Answer::ByTimer).then_some(TIMED_MS);
        let request = match answer {
            Answer::AtOnce => message(ask, &Ask { sender }),
            _ => message(keep, &Keep { sender, after_ms }),
        };
        let call = request.map(|request| self.to.ask_abortable(request));
        let progress = Arc::clone(&self.progress);
        self.calls.spawn(async move {
            let outcome = async { decode(&call?.outcome().await?) };
            let outcome = within(outcome, "an answer").await;
            drop(permit);
            Came {
                asked,
                outcome,
                swaps_begun: progress.swaps_begun(),
            }
        });
    }

    fn note(&mut self, done: Result<Came, tokio::task::JoinError>) {
        match done {
            Ok(Came {
                asked,
                outcome: Ok(seen),
                swaps_begun,
            }) => self.tally.answered(asked, &seen, swaps_begun),
            Ok(Came {
                outcome: Err(error),
                ..
            }) => self.tally.failed(|| error.to_string()),
            Err(error) => self.tally.failed(|| error.to_string()),
        }
    }
}

/// The message of a value.
fn message(kind: &Arc<str>, value: &impl Serialize) -> Result<Message, RpcError> {
    match postcard::to_stdvec(value) {
        Ok(body) => Ok(Message::new(Arc::clone(kind), body)),
        Err(error) => Err(undecodable(kind, &error)),
    }
}

/// The value of an answer.
pub(super) fn decode<'a, A: serde::Deserialize<'a>>(answer: &'a Message) -> Result<A, RpcError> {
    postcard::from_bytes(&answer.body).map_err(|error| undecodable(&answer.kind, &error))
}

fn undecodable(kind: &str, error: &postcard::Error) -> RpcError {
    RpcError::Undecodable {
        what: format!("`{kind}`"),
        reason: error.to_string(),
    }
}

/// The outcome of a step, at the latest after [`PATIENCE`].
pub(super) async fn within<T>(
    step: impl Future<Output = Result<T, RpcError>>,
    what: &str,
) -> Result<T, RpcError> {
    let waited = tokio::time::timeout(PATIENCE, step).await;
    waited.unwrap_or_else(|_elapsed| {
        Err(RpcError::Timeout {
            who: format!("the endpoint, for {what}"),
            after: PATIENCE,
            setting: "patience of the soak".to_owned(),
        })
    })
}
