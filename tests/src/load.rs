//! Load: traffic on an endpoint of `fixture-load`, and what it makes of it.
//!
//! Not here: swaps and other trouble - the tests make it - and what follows from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fixture_load::{Account, Count, Forward, Keep, Number, Report, Seen};
use instar_host::endpoint::settings::EndpointSettings;
use instar_host::{EndpointRef, RpcEnv, RpcError};
use instar_sdk::EndpointRef as GuestRef;
use tokio::task::JoinSet;

use crate::{DEADLINE, ask, component, eventually, message};

/// Calls that one sender leaves open at most.
const OPEN_MAX: usize = 16;

/// Settings of an endpoint of `fixture-load` with a timer that fires every few milliseconds.
/// Versions may handle different kinds.
pub fn load_settings() -> EndpointSettings {
    EndpointSettings {
        config: [("tick_ms".to_owned(), "5".to_owned())].into(),
        grants: ["message:*".to_owned()].into(),
        ..EndpointSettings::default()
    }
}

/// Sets up a version of `fixture-load`.
///
/// # Panics
/// Where it does not start.
pub async fn load_endpoint(
    env: &RpcEnv,
    name: &str,
    component_name: &str,
    settings: EndpointSettings,
) -> EndpointRef {
    let code = component(component_name);
    match env.setup_endpoint(name, &code, settings).await {
        Ok(made) => made,
        Err(error) => panic!("`{component_name}` does not start: {error}"),
    }
}

/// The account of an endpoint, with its log from entry `from` on. Asked again while there is no room.
pub async fn account(of: &EndpointRef, from: u64) -> Account {
    eventually(&format!("an account of {of}"), || async {
        ask(of, &Report { from }).await.ok()
    })
    .await
}

/// What a call ended with, and which swaps were done before and after.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Swaps that were known to be done when it was asked.
    pub before: u64,
    /// Swaps that were known to be done when the answer was there.
    pub after: u64,
    /// The answer.
    pub seen: Seen,
}

impl Answered {
    /// Why this answer did not come from a version that was current at that time, if so. `versions`:
    /// what ran after how many swaps, of one state that was never lost.
    ///
    /// # Errors
    /// One sentence.
    pub fn was_current(&self, version_after: impl Fn(u64) -> String) -> Result<(), String> {
        let Seen {
            generation,
            version,
            ..
        } = &self.seen;
        let expected = version_after(*generation);
        // One swap more may be done than is known to be.
        let span = self.before..=self.after + 1;
        if *version == expected && span.contains(generation) {
            return Ok(());
        }
        Err(format!(
            "answered by {version} after {generation} swaps; expected {expected} and one of {span:?}"
        ))
    }
}

/// One sender that sends and asks, mixed, until it is told to stop. Numbers all in one sequence.
pub struct Sender {
    /// Its number.
    pub sender: u32,
    /// To whom.
    pub to: EndpointRef,
    /// Whom `to` asks on its behalf; an endpoint of the same host.
    pub other: String,
    /// The host of `to`, which knows how many swaps are done.
    pub host: RpcEnv,
    /// The end.
    pub stop: Arc<AtomicBool>,
}

/// What a sender did.
#[derive(Debug, Default)]
pub struct Sent {
    /// Numbers that it used.
    pub numbers: u64,
    /// Answers to its calls.
    pub answers: Vec<Answered>,
    /// Calls that failed.
    pub failed: Vec<RpcError>,
}

impl Sender {
    /// Sends and asks until the end; then waits for all that is open.
    ///
    /// # Panics
    /// Where a message is refused.
    pub async fn run(self) -> Sent {
        let mut sent = Sent::default();
        let mut open: JoinSet<Result<Answered, RpcError>> = JoinSet::new();
        let mut turn = 0_u64;
        while !self.stop.load(Ordering::Relaxed) {
            for _ in 0..8 {
                let number = Number {
                    sender: self.sender,
                    number: sent.next(),
                };
                if let Err(error) = self.to.send(message(&number)).await {
                    panic!("{number:?} was refused: {error}");
                }
            }
            turn += 1;
            let number = sent.next();
            match turn % 5 {
                // Left open until somebody releases them, at either end.
                1 => self.open(&mut open, self.keep(number, None)),
                2 => self.open(&mut open, self.forward(number, None)),
                3 => self.open(&mut open, self.keep(number, Some(3))),
                4 => self.open(&mut open, self.forward(number, Some(3))),
                _ => {
                    let count = Count {
                        sender: self.sender,
                        number,
                    };
                    sent.note(ask_noting(&self.host, &self.to, count).await);
                }
            }
            while open.len() > OPEN_MAX {
                sent.note_joined(open.join_next().await);
            }
        }
        while !open.is_empty() {
            sent.note_joined(open.join_next().await);
        }
        sent
    }

    fn keep(&self, number: u64, after_ms: Option<u64>) -> instar_host::Message {
        message(&Keep {
            sender: self.sender,
            number,
            after_ms,
        })
    }

    fn forward(&self, number: u64, after_ms: Option<u64>) -> instar_host::Message {
        message(&Forward {
            sender: self.sender,
            number,
            to: GuestRef::local(&self.other),
            after_ms,
            timeout_ms: None,
        })
    }

    /// Asks now, so that the order holds, and waits elsewhere.
    fn open(&self, open: &mut JoinSet<Result<Answered, RpcError>>, request: instar_host::Message) {
        let before = swaps(&self.host, self.to.name());
        let asked = self.to.ask_abortable(request);
        let (host, name) = (self.host.clone(), self.to.name().to_owned());
        open.spawn(async move {
            let answer = match tokio::time::timeout(DEADLINE, asked.outcome()).await {
                Ok(outcome) => outcome?,
                Err(_elapsed) => panic!("no answer within {DEADLINE:?}"),
            };
            let after = swaps(&host, &name);
            let seen = postcard::from_bytes(&answer.body);
            let seen = seen.unwrap_or_else(|error| panic!("no answer of ours: {error}"));
            Ok(Answered {
                before,
                after,
                seen,
            })
        });
    }
}

impl Sent {
    fn next(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers - 1
    }

    fn note(&mut self, outcome: Result<Answered, RpcError>) {
        match outcome {
            Ok(answered) => self.answers.push(answered),
            Err(error) => self.failed.push(error),
        }
    }

    fn note_joined(
        &mut self,
        joined: Option<Result<Result<Answered, RpcError>, tokio::task::JoinError>>,
    ) {
        match joined {
            Some(Ok(outcome)) => self.note(outcome),
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
}

/// Asks, and notes which swaps were done before and after.
///
/// # Errors
/// As [`ask`].
pub async fn ask_noting<R>(
    host: &RpcEnv,
    to: &EndpointRef,
    request: R,
) -> Result<Answered, RpcError>
where
    R: instar_sdk::Request<Reply = Seen>,
{
    ask_noting_within(host, to, request, DEADLINE).await
}

/// The same, within a time.
///
/// # Errors
/// As [`ask`].
pub async fn ask_noting_within<R>(
    host: &RpcEnv,
    to: &EndpointRef,
    request: R,
    within: Duration,
) -> Result<Answered, RpcError>
where
    R: instar_sdk::Request<Reply = Seen>,
{
    let before = swaps(host, to.name());
    let answer = to.ask_with_timeout(message(&request), within).await?;
    let after = swaps(host, to.name());
    let seen = postcard::from_bytes(&answer.body).map_err(|error| RpcError::Undecodable {
        what: format!("the answer to {}", R::KIND),
        reason: error.to_string(),
    })?;
    Ok(Answered {
        before,
        after,
        seen,
    })
}

/// Swaps of an endpoint that are known to be done.
pub fn swaps(host: &RpcEnv, name: &str) -> u64 {
    host.status_of(name).map_or(0, |status| status.swaps)
}
