//! Traffic: one sender's part of a step.

use std::sync::{Arc, Mutex, PoisonError};

use fixture_load::{Count, Forward, Keep, Number, Pass, Seen};
use instar_host::{EndpointRef, Message, RpcEnv, RpcError};
use instar_sdk::EndpointRef as GuestRef;
use tokio::task::JoinHandle;

use super::plan::What;
use super::step::{Item, Told};
use super::timeline::flips;
use super::world::{HUB, OTHER, REST};
use crate::message;

/// The way to the endpoint; another one once another host has come.
pub(super) type Route = Arc<Mutex<EndpointRef>>;

/// A call that waits.
pub(super) struct Waiting {
    pub(super) item: Item,
    pub(super) outcome: JoinHandle<(Told, u64)>,
}

/// What one sender did.
pub(super) struct Burst {
    pub(super) items: Vec<Item>,
    pub(super) waiting: Vec<Waiting>,
}

/// A sender in one step.
pub(super) struct Traffic {
    pub(super) sender: u32,
    /// Its next number.
    pub(super) number: u64,
    pub(super) route: Route,
    pub(super) host: RpcEnv,
}

impl Traffic {
    /// Sends and asks as planned. At last asks until it is answered: then all that went the same way
    /// before has arrived.
    ///
    /// # Errors
    /// No answer for too long.
    pub(super) async fn run(mut self, plan: Vec<What>) -> Result<Burst, String> {
        let mut burst = Burst {
            items: Vec::new(),
            waiting: Vec::new(),
        };
        for what in plan {
            let mut item = self.next(what);
            let message = request(&item);
            match what {
                What::Send | What::Pass => {
                    let sent = self.to().send(message).await;
                    item.told = match sent {
                        Ok(()) => Told::Accepted,
                        Err(error) => Told::Refused(error.code().to_owned()),
                    };
                    burst.items.push(item);
                }
                What::Count => burst.items.push(self.ask(item).await?),
                What::Keep(_) | What::Forward(_) => {
                    let outcome = self.open(message);
                    burst.waiting.push(Waiting { item, outcome });
                }
            }
        }
        let asking = async {
            loop {
                let item = self.next(What::Count);
                let item = self.ask(item).await?;
                let answered = matches!(item.told, Told::Answered(_));
                burst.items.push(item);
                if answered {
                    return Ok(());
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(REST, asking).await {
            Ok(outcome) => outcome.map(|()| burst),
            Err(_elapsed) => Err(format!("sender {} is not answered any more", self.sender)),
        }
    }

    fn to(&self) -> EndpointRef {
        let route = self.route.lock().unwrap_or_else(PoisonError::into_inner);
        route.clone()
    }

    fn next(&mut self, what: What) -> Item {
        self.number += 1;
        Item {
            key: (self.sender, self.number - 1),
            what,
            told: Told::Open,
            before: flips(&self.host, HUB),
            after: 0,
            shaky: false,
        }
    }

    async fn ask(&self, mut item: Item) -> Result<Item, String> {
        let outcome = self.open(request(&item));
        match outcome.await {
            Ok((Told::Open, _)) => Err(format!("no answer to {:?} within {REST:?}", item.key)),
            Ok((told, after)) => {
                (item.told, item.after) = (told, after);
                Ok(item)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Asks now, so that the order holds, and waits elsewhere.
    fn open(&self, message: Message) -> JoinHandle<(Told, u64)> {
        let asked = self.to().ask_abortable(message);
        let host = self.host.clone();
        tokio::spawn(async move {
            let outcome = asked.outcome().await;
            let after = flips(&host, HUB);
            (told(outcome), after)
        })
    }
}

fn told(outcome: Result<Message, RpcError>) -> Told {
    match outcome {
        Ok(answer) => match postcard::from_bytes::<Seen>(&answer.body) {
            Ok(seen) => Told::Answered(seen),
            Err(error) => Told::Refused(format!("no answer of ours: {error}")),
        },
        Err(error) => Told::Refused(error.code().to_owned()),
    }
}

fn request(item: &Item) -> Message {
    let (sender, number) = item.key;
    let to = GuestRef::local(OTHER);
    match item.what {
        What::Send => message(&Number { sender, number }),
        What::Pass => message(&Pass { sender, number, to }),
        What::Count => message(&Count { sender, number }),
        What::Keep(after_ms) => message(&Keep {
            sender,
            number,
            after_ms,
        }),
        What::Forward(after_ms) => message(&Forward {
            sender,
            number,
            to,
            after_ms,
            timeout_ms: None,
        }),
    }
}
