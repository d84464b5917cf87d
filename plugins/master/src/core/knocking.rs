//! Knocking: workers and clients that come to a standby are called when it comes to lead. Between two
//! leaders all masters stand by: who comes then would wait for its next try, of which there is one in ten
//! seconds or twenty.
//!
//! Nothing is known of them but where they are, and nothing is written down. A worker is asked to register,
//! a client is told of the new master, as if they were known: both register then.

use std::collections::BTreeSet;

use deploy_protocol::EndpointRef;
use serde::{Deserialize, Serialize};

use super::Core;
use super::turn::Turn;

/// Of each sort, at most. Further ones try again by themselves.
const KNOCKED_MAX: usize = 10_000;

/// Who came.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Knocked {
    workers: BTreeSet<EndpointRef>,
    clients: BTreeSet<EndpointRef>,
}

impl Knocked {
    /// A worker came.
    pub fn worker(&mut self, worker: &EndpointRef) {
        note(&mut self.workers, worker);
    }

    /// The client of an application came.
    pub fn client(&mut self, client: &EndpointRef) {
        note(&mut self.clients, client);
    }
}

fn note(knocked: &mut BTreeSet<EndpointRef>, who: &EndpointRef) {
    if knocked.len() < KNOCKED_MAX {
        knocked.insert(who.clone());
    }
}

impl Core {
    /// It leads: who came before is called, but for those that are called already as they are known.
    pub(super) fn call_who_knocked(&mut self, turn: &mut Turn<'_>) {
        let Knocked { workers, clients } = std::mem::take(&mut self.knocked);
        for worker in workers {
            if self.workers.by_reference(&worker).is_none() {
                self.ask_to_reconnect(turn, &worker);
            }
        }
        for client in clients {
            if self.apps.by_driver(&client).is_none() {
                self.announce(turn, &client);
            }
        }
    }
}
