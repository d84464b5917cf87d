//! Peers: which outbox leads to which location, and the dialling of new ones.
//!
//! Before it: [`super::Transport`], which asks for the outbox of a location; [`super::listener`],
//! which brings connections that peers opened. After it: [`super::connection`].
//!
//! Invariants
//! 1. One outbox per location. It leaves the map before its waiting messages are failed, so whoever
//!    tries again after a failure gets a new connection.
//! 2. A client is reached over the newest connection that it opened, never dialled. It has several
//!    where it knows this host under several names, or came back before the end of the last one was
//!    noticed.
//! 3. After [`Peers::close`] there are no new outboxes.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::connection;
use super::handshake::{self, Purpose};
use super::info::{ConnectionInfo, Direction};
use super::outbox::Outbox;
use super::shared::Shared;
use super::socket;
use crate::address::{Location, RpcAddress};
use crate::error::RpcError;

#[derive(Default)]
pub(super) struct Peers {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    closed: bool,
    last_number: u64,
    dialled: usize,
    routes: HashMap<Location, Arc<Outbox>>,
    all: HashMap<u64, Arc<Outbox>>,
}

impl Peers {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No more outboxes from now on.
    pub(super) fn close(&self) {
        self.state().closed = true;
    }

    /// Forgets an outbox whose connection has ended.
    pub(super) fn remove(&self, outbox: &Arc<Outbox>) {
        let mut state = self.state();
        if state.all.remove(&outbox.number).is_some() && outbox.direction == Direction::Dialled {
            state.dialled = state.dialled.saturating_sub(1);
        }
        let other = state.newest_of_client(&outbox.peer);
        if let Entry::Occupied(mut route) = state.routes.entry(outbox.peer.clone())
            && Arc::ptr_eq(route.get(), outbox)
        {
            match other {
                Some(other) => drop(route.insert(other)),
                None => drop(route.remove()),
            }
        }
    }

    /// All outboxes, in no order.
    pub(super) fn all(&self) -> Vec<Arc<Outbox>> {
        self.state().all.values().cloned().collect()
    }

    /// All connections, in the order in which they were begun.
    pub(super) fn list(&self) -> Vec<ConnectionInfo> {
        let mut all = self.all();
        all.sort_by_key(|outbox| outbox.number);
        all.iter().map(|outbox| outbox.info()).collect()
    }
}

impl State {
    /// The newest connection of a client; none for a host that listens.
    fn newest_of_client(&self, peer: &Location) -> Option<Arc<Outbox>> {
        if !matches!(peer, Location::Client(_)) {
            return None;
        }
        let theirs = self.all.values().filter(|outbox| outbox.peer == *peer);
        theirs.max_by_key(|outbox| outbox.number).cloned()
    }

    fn outbox(&mut self, shared: &Shared, peer: Location, direction: Direction) -> Arc<Outbox> {
        self.last_number += 1;
        let outbox = Arc::new(Outbox::new(
            self.last_number,
            peer,
            direction,
            Arc::clone(&shared.settings),
            Arc::clone(&shared.incoming),
            Arc::clone(&shared.standing),
        ));
        self.all.insert(outbox.number, Arc::clone(&outbox));
        outbox
    }
}

/// The outbox of `to`, a new one if there is none yet.
///
/// # Errors
/// [`RpcError::Stopped`]; [`RpcError::Network`] for a client that is not connected;
/// [`RpcError::Denied`] if there are too many connections.
pub(super) fn outbox_for(shared: &Arc<Shared>, to: &Location) -> Result<Arc<Outbox>, RpcError> {
    let mut state = shared.peers.state();
    if state.closed {
        return Err(shared.stopped());
    }
    if let Some(outbox) = state.routes.get(to) {
        return Ok(Arc::clone(outbox));
    }
    let address = match to {
        Location::Listening(address) => address.clone(),
        Location::Client(_) => {
            return Err(RpcError::Network {
                peer: to.to_string(),
                cause: "not connected; a host that does not listen is reachable only over the \
                        connection that it opened"
                    .to_owned(),
            });
        }
    };
    let most = shared.settings.connections_max;
    if state.dialled >= most {
        return Err(RpcError::Denied {
            reason: format!(
                "no connection to {to}: there are {most} connections to other hosts (`connections_max`)"
            ),
        });
    }
    state.dialled += 1;
    let outbox = state.outbox(shared, to.clone(), Direction::Dialled);
    state.routes.insert(to.clone(), Arc::clone(&outbox));
    // Under the lock, so that a shutdown sees either no outbox or its task.
    shared.spawn(dial(Arc::clone(shared), Arc::clone(&outbox), address));
    Ok(outbox)
}

/// Makes the outbox of a connection that `peer` opened; none where the host stops.
pub(super) fn take_in(shared: &Shared, peer: &Location) -> Option<Arc<Outbox>> {
    let mut state = shared.peers.state();
    if state.closed {
        return None;
    }
    let outbox = state.outbox(shared, peer.clone(), Direction::Accepted);
    // A host that listens is dialled for messages; what it opened carries our answers.
    if matches!(peer, Location::Client(_)) {
        state.routes.insert(peer.clone(), Arc::clone(&outbox));
    }
    Some(outbox)
}

/// Gives up an outbox whose connection did not come up.
pub(super) fn give_up(shared: &Shared, outbox: &Arc<Outbox>, error: &RpcError) {
    shared.peers.remove(outbox);
    outbox.end(error, VecDeque::new());
}

async fn dial(shared: Arc<Shared>, outbox: Arc<Outbox>, address: RpcAddress) {
    let connecting = async {
        let mut socket = socket::connect(&address, shared.settings.connect_timeout).await?;
        let ours = shared.introduction(Purpose::Messages);
        let limit = shared.settings.handshake_timeout;
        let theirs = handshake::dial(&mut socket, &ours, limit)
            .await
            .map_err(|error| error.to_string())?;
        Ok::<_, String>((socket, theirs.frame_bytes_max))
    };
    let outcome = tokio::select! {
        biased;
        () = shared.stop.cancelled() => {
            give_up(&shared, &outbox, &shared.stopped());
            return;
        }
        outcome = connecting => outcome,
    };
    match outcome {
        Ok((socket, theirs)) => {
            let limit = theirs.min(shared.settings.frame_bytes_max);
            connection::run(&shared, socket, &outbox, limit).await;
        }
        Err(cause) => {
            tracing::warn!(peer = %address, cause, "no connection");
            let error = RpcError::Network {
                peer: address.to_string(),
                cause: cause.clone(),
            };
            give_up(&shared, &outbox, &error);
            // Whoever counted on that peer learns that it is out of reach, and not only who just sent.
            shared.incoming.network_error(&outbox.peer, &cause);
        }
    }
}
