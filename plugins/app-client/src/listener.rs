//! Listener: what a driver is told of its application, and what it can ask for.
//!
//! Between the handlers that [`crate::client!`] writes and [`crate::client`]: does what the client
//! decides, and tells the driver.

use std::collections::BTreeMap;

use deploy_protocol::{
    Acknowledged, ExecutorUpdated, KillExecutors, MasterChangeAcknowledged, Readyz,
    RegisterApplication, RequestExecutors, RequestReadyz, ResourceProfile, UnregisterApplication,
    WorkerRemoved,
};
use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::client::{Act, Client, Event, Executor, ExecutorName, Search};

type Done = Result<(), Failure>;

/// A driver: an endpoint that keeps a [`Client`] in its state. None of these may take long.
pub trait Listener: Sized {
    /// Where it keeps its client.
    fn client(&mut self) -> &mut Client;

    /// The application is registered; once for each id that it gets.
    fn connected(&mut self, _: &mut Context, _app_id: &str) -> Done {
        Ok(())
    }

    /// The master is lost; once until there is one again.
    fn disconnected(&mut self, _: &mut Context) -> Done {
        Ok(())
    }

    /// The application ended: once, and nothing comes after it.
    fn dead(&mut self, _: &mut Context, _reason: &str) -> Done {
        Ok(())
    }

    /// An executor is being started.
    fn executor_added(&mut self, _: &mut Context, _: &ExecutorName, _: &Executor) -> Done {
        Ok(())
    }

    /// An executor ended.
    fn executor_removed(&mut self, _: &mut Context, _: &ExecutorName, _: &ExecutorUpdated) -> Done {
        Ok(())
    }

    /// The worker of an executor takes no new work.
    fn executor_decommissioned(
        &mut self,
        _: &mut Context,
        _: &ExecutorName,
        _: &ExecutorUpdated,
    ) -> Done {
        Ok(())
    }

    /// A worker is lost, which need not have been one of this application.
    fn worker_removed(&mut self, _: &mut Context, _: &WorkerRemoved) -> Done {
        Ok(())
    }

    /// The answer to [`request_total_executors`].
    fn executors_requested(&mut self, _: &mut Context, _: Result<bool, Failure>) -> Done {
        Ok(())
    }

    /// The answer to [`kill_executors`].
    fn executors_killed(&mut self, _: &mut Context, _: Result<bool, Failure>) -> Done {
        Ok(())
    }

    /// The connection with a peer, be it a master or not, went down.
    fn peer_disconnected(&mut self, _: &mut Context, _address: &str) -> Done {
        Ok(())
    }
}

/// Asks the master for so many executors of each profile from now on. False at once, and nothing is
/// asked, where the application is not registered. Otherwise [`Listener::executors_requested`] is told.
pub fn request_total_executors<L: Listener>(
    listener: &mut L,
    ctx: &mut Context,
    totals: BTreeMap<ResourceProfile, u32>,
) -> Result<bool, Failure> {
    let Some((app_id, master)) = registered_at(listener) else {
        return Ok(false);
    };
    ctx.ask(
        &master,
        &RequestExecutors { app_id, totals },
        ExecutorsRequested {},
    )?;
    Ok(true)
}

/// Asks the master to end executors. False at once, and nothing is asked, where the application is
/// not registered. Otherwise [`Listener::executors_killed`] is told.
pub fn kill_executors<L: Listener>(
    listener: &mut L,
    ctx: &mut Context,
    executor_ids: Vec<u32>,
) -> Result<bool, Failure> {
    let Some((app_id, master)) = registered_at(listener) else {
        return Ok(false);
    };
    let request = KillExecutors {
        app_id,
        executor_ids,
    };
    ctx.ask(&master, &request, ExecutorsKilled {})?;
    Ok(true)
}

/// Ends the application: unregisters it, and tells [`Listener::dead`], if it was not told before.
pub fn stop<L: Listener>(listener: &mut L, ctx: &mut Context) -> Done {
    carry_out(listener, ctx, Client::stop)
}

fn registered_at<L: Listener>(listener: &mut L) -> Option<(String, EndpointRef)> {
    let client = listener.client();
    Some((client.app_id()?.to_owned(), client.master()?.clone()))
}

/// Hands something to the client, does what it wants done, and tells the listener.
#[doc(hidden)]
pub fn carry_out<L: Listener>(
    listener: &mut L,
    ctx: &mut Context,
    decide: impl FnOnce(&mut Client) -> Vec<Act>,
) -> Done {
    let client = listener.client();
    let acts = decide(client);
    let events = perform(client, ctx, acts)?;
    for event in events {
        tell(listener, ctx, &event)?;
    }
    Ok(())
}

/// Does what a client wants done, and returns what is to be told.
pub(crate) fn perform(
    client: &Client,
    ctx: &mut Context,
    acts: Vec<Act>,
) -> Result<Vec<Event>, Failure> {
    let mut events = Vec::new();
    for act in acts {
        match act {
            Act::Register { master } => {
                let message = RegisterApplication {
                    application: client.application().clone(),
                    driver: client.driver().clone(),
                };
                send(ctx, &master, &message);
            }
            Act::Unregister { master, app_id } => {
                send(ctx, &master, &UnregisterApplication { app_id });
            }
            Act::Acknowledge { master, app_id } => {
                send(ctx, &master, &MasterChangeAcknowledged { app_id });
            }
            Act::AskWhetherItLeads(search) => {
                let master = search.master.clone();
                let asked = ctx.ask(&master, &RequestReadyz {}, LeadershipAsked { search });
                note(&master, asked);
            }
            Act::AskWhetherItKnows { search, app_id } => {
                let master = search.master.clone();
                // To end no executor at all is a question that changes nothing.
                let question = KillExecutors {
                    app_id,
                    executor_ids: Vec::new(),
                };
                let asked = ctx.ask(&master, &question, KnowledgeAsked { search });
                note(&master, asked);
            }
            Act::Wake { round, after } => {
                ctx.start_timer(after, ClientDue { round })?;
            }
            Act::Tell(event) => events.push(event),
        }
    }
    Ok(events)
}

/// A master that cannot be sent to is one that does not answer: the next attempt is for that.
fn send<M: Message>(ctx: &mut Context, to: &EndpointRef, message: &M) {
    if let Err(failure) = ctx.send(to, message) {
        log::warn!("cannot send `{}` to {to}: {failure}", M::KIND);
    }
}

/// The same for one that cannot be asked, be it that this endpoint asks too much at once.
fn note(master: &EndpointRef, asked: Result<AskId, Failure>) {
    if let Err(failure) = asked {
        log::warn!("cannot ask {master}: {failure}");
    }
}

fn tell<L: Listener>(listener: &mut L, ctx: &mut Context, event: &Event) -> Done {
    match event {
        Event::Connected { app_id } => {
            log::info!("registered as {app_id}");
            listener.connected(ctx, app_id)
        }
        Event::Disconnected => {
            log::warn!("the master is lost; executors work on");
            listener.disconnected(ctx)
        }
        Event::Dead { reason } => {
            log::info!("the application ended: {reason}");
            listener.dead(ctx, reason)
        }
        Event::ExecutorAdded { name, executor } => {
            log::info!(
                "executor {name} with {} cores at {}",
                executor.cores,
                executor.host_port
            );
            listener.executor_added(ctx, name, executor)
        }
        Event::ExecutorRemoved { name, update } => {
            log::info!("executor {name} is {}: {}", update.state, update.message);
            listener.executor_removed(ctx, name, update)
        }
        Event::ExecutorDecommissioned { name, update } => {
            log::info!("executor {name} is decommissioned: {}", update.message);
            listener.executor_decommissioned(ctx, name, update)
        }
        Event::WorkerRemoved(worker) => {
            log::info!("worker {} is lost: {}", worker.id, worker.message);
            listener.worker_removed(ctx, worker)
        }
    }
}

/// The client's own timer.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "app.ClientDue")]
pub struct ClientDue {
    /// Of which round.
    pub round: u64,
}

/// A master was asked whether it leads.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "app.LeadershipAsked", continues = RequestReadyz)]
pub struct LeadershipAsked {
    /// Which.
    pub search: Search,
}

/// A master was asked whether it knows the application.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "app.KnowledgeAsked", continues = KillExecutors)]
pub struct KnowledgeAsked {
    /// Which.
    pub search: Search,
}

/// The master was asked for executors.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "app.ExecutorsRequested", continues = RequestExecutors)]
pub struct ExecutorsRequested {}

/// The master was asked to end executors.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "app.ExecutorsKilled", continues = KillExecutors)]
pub struct ExecutorsKilled {}

/// What [`crate::client!`] makes of `Readyz`.
#[doc(hidden)]
pub fn leadership<L: Listener>(
    listener: &mut L,
    ctx: &mut Context,
    then: LeadershipAsked,
    outcome: Result<Readyz, Failure>,
) -> Done {
    // Who does not answer does not lead; the next search asks again.
    let leads = outcome.is_ok_and(|answer| answer.ready);
    carry_out(listener, ctx, |client| client.leads(then.search, leads))
}

/// What [`crate::client!`] makes of the answer of a master that leads.
#[doc(hidden)]
pub fn knowledge<L: Listener>(
    listener: &mut L,
    ctx: &mut Context,
    then: KnowledgeAsked,
    outcome: Result<Acknowledged, Failure>,
) -> Done {
    match outcome {
        Ok(answer) => carry_out(listener, ctx, |client| {
            client.knows_us(then.search, answer.acknowledged)
        }),
        Err(failure) => match failure.code.as_str() {
            Failure::ENDPOINT_NOT_FOUND | Failure::STOPPED | Failure::LEADERSHIP => {
                carry_out(listener, ctx, |client| client.is_gone(&then.search))
            }
            // A lost connection is told by itself; who is slow is asked again.
            _ => Ok(()),
        },
    }
}

/// What [`crate::client!`] makes of a lost connection.
#[doc(hidden)]
pub fn disconnected<L: Listener>(listener: &mut L, ctx: &mut Context, address: &str) -> Done {
    carry_out(listener, ctx, |client| client.peer_disconnected(address))?;
    listener.peer_disconnected(ctx, address)
}
