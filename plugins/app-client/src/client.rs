//! Client: the application, as it talks with masters. Source: `StandaloneAppClient` of Spark.
//!
//! Before it: [`crate::listener`], which hands it what came in, and does and tells what it returns.
//! It decides only: no clock, no sending, so that it can be kept in a driver's state.
//!
//! Invariants
//! 1. After `stop` or `Dead` it tells and sends nothing more, except that a registration which comes
//!    late is taken back.
//! 2. It is registered as one application at a time.
//! 3. A timer or an answer of an earlier round does nothing. One timer is of the current round, until it
//!    ends: it registers, searches, or checks from time to time.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use deploy_protocol::{
    ApplicationDescription, ApplicationRemoved, ExecutorAdded, ExecutorState, ExecutorUpdated,
    MasterChanged, RegisteredApplication, WorkerRemoved,
};
use instar_sdk::EndpointRef;
use serde::{Deserialize, Serialize};

/// Ids that the application had before, and whose executors may still work for it.
const FORMER_MAX: usize = 16;

/// How often and how long a client tries to reach a master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    /// Tries to register. Default 3.
    pub attempts: u32,
    /// Time from one to the next, and from a lost connection to the search for a master. Default 20 s.
    pub interval: Duration,
    /// Time from one question to its master whether it still knows the application to the next. Default 60 s.
    pub check: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 3,
            interval: Duration::from_secs(20),
            check: Duration::from_secs(60),
        }
    }
}

/// The client of one application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Client {
    application: ApplicationDescription,
    driver: EndpointRef,
    masters: Vec<EndpointRef>,
    patience: Patience,
    standing: Standing,
    round: u64,
    former: Vec<String>,
    executors: BTreeMap<u32, Executor>,
}

/// How a client stands with its masters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Standing {
    /// Asks all masters to be registered.
    Registering {
        attempt: u32,
        /// It was registered before, so it never gives up: its executors may still work.
        again: bool,
    },
    Registered {
        app_id: String,
        master: EndpointRef,
        connected: bool,
    },
    Ended,
}

/// Which executor of which application.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExecutorName {
    /// The application.
    pub app_id: String,
    /// Its number in that application.
    pub executor_id: u32,
}

impl fmt::Display for ExecutorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.app_id, self.executor_id)
    }
}

/// An executor that the master gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executor {
    /// Its worker.
    pub worker_id: String,
    /// Where its slots are.
    pub host_port: String,
    /// Its cores, each of them a slot.
    pub cores: u32,
    /// Its memory in MB.
    pub memory_mb: u32,
    /// How it is.
    pub state: ExecutorState,
}

/// What a client wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Send `RegisterApplication`.
    Register {
        /// To whom.
        master: EndpointRef,
    },
    /// Send `UnregisterApplication`.
    Unregister {
        /// To whom.
        master: EndpointRef,
        /// Which.
        app_id: String,
    },
    /// Send `MasterChangeAcknowledged`.
    Acknowledge {
        /// To whom.
        master: EndpointRef,
        /// Which application.
        app_id: String,
    },
    /// Ask whether it leads; the answer goes to [`Client::leads`].
    AskWhetherItLeads(Search),
    /// Ask whether it knows the application; the answer goes to [`Client::knows_us`].
    AskWhetherItKnows {
        /// Whom, in which search.
        search: Search,
        /// Which application.
        app_id: String,
    },
    /// Call [`Client::due`] with this round, so much later.
    Wake {
        /// Which.
        round: u64,
        /// When.
        after: Duration,
    },
    /// Tell the listener.
    Tell(Event),
}

/// A master that is asked, and the round in which it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, instar_sdk::Schema)]
pub struct Search {
    /// The round.
    pub round: u64,
    /// The master.
    pub master: EndpointRef,
}

/// What happened to an application.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// It is registered.
    Connected {
        /// Its id.
        app_id: String,
    },
    /// Its master is lost. Its executors work on.
    Disconnected,
    /// It ended, and nothing more comes.
    Dead {
        /// Why.
        reason: String,
    },
    /// It has an executor.
    ExecutorAdded {
        /// Which.
        name: ExecutorName,
        /// What it is.
        executor: Executor,
    },
    /// It lost an executor.
    ExecutorRemoved {
        /// Which.
        name: ExecutorName,
        /// What the master says of it.
        update: ExecutorUpdated,
    },
    /// The worker of an executor takes no new work.
    ExecutorDecommissioned {
        /// Which.
        name: ExecutorName,
        /// What the master says of it.
        update: ExecutorUpdated,
    },
    /// A worker is lost, which need not have been one of this application.
    WorkerRemoved(WorkerRemoved),
}

impl Client {
    /// A client that begins to register with all `masters`.
    pub fn start(
        application: ApplicationDescription,
        driver: EndpointRef,
        masters: Vec<EndpointRef>,
        patience: Patience,
    ) -> (Self, Vec<Act>) {
        let mut client = Self {
            application,
            driver,
            masters,
            patience,
            standing: Standing::Ended,
            round: 0,
            former: Vec::new(),
            executors: BTreeMap::new(),
        };
        let acts = client.register(1, false);
        (client, acts)
    }

    fn register(&mut self, attempt: u32, again: bool) -> Vec<Act> {
        self.standing = Standing::Registering { attempt, again };
        let masters = self.masters.iter().cloned();
        let mut acts: Vec<Act> = masters.map(|master| Act::Register { master }).collect();
        acts.push(self.wake_after(self.patience.interval));
        acts
    }

    fn wake_after(&mut self, after: Duration) -> Act {
        self.round += 1;
        Act::Wake {
            round: self.round,
            after,
        }
    }

    fn wake_for_check(&mut self) -> Act {
        self.wake_after(self.patience.check)
    }

    /// It is time.
    pub fn due(&mut self, round: u64) -> Vec<Act> {
        if round != self.round {
            return Vec::new();
        }
        match &self.standing {
            Standing::Registering { attempt, again } => {
                let (attempt, again) = (*attempt, *again);
                if attempt < self.patience.attempts || again {
                    return self.register(attempt.saturating_add(1), again);
                }
                let masters: Vec<&str> = self
                    .masters
                    .iter()
                    .filter_map(|master| master.address.as_deref())
                    .collect();
                self.end(format!(
                    "all masters are unresponsive: none of {} registered the application in {attempt} \
                     attempts; check that one of them leads and can reach {}",
                    masters.join(", "),
                    self.driver
                ))
            }
            Standing::Registered {
                connected: true, ..
            } => {
                let mut acts = vec![self.wake_for_check()];
                acts.extend(self.ask_whether_it_knows());
                acts
            }
            Standing::Registered { .. } => self.search(),
            Standing::Ended => Vec::new(),
        }
    }

    fn search(&mut self) -> Vec<Act> {
        let mut acts = vec![self.wake_after(self.patience.interval)];
        let round = self.round;
        let masters = self.masters.iter().cloned();
        acts.extend(masters.map(|master| Act::AskWhetherItLeads(Search { round, master })));
        acts
    }

    /// A master registered the application. The first one counts; any other registration is taken
    /// back, so that no application is left at a master without a driver.
    pub fn registered(&mut self, message: RegisteredApplication) -> Vec<Act> {
        let RegisteredApplication { app_id, master } = message;
        match &mut self.standing {
            Standing::Registering { .. } => {
                self.standing = Standing::Registered {
                    app_id: app_id.clone(),
                    master,
                    connected: true,
                };
                vec![
                    self.wake_for_check(),
                    Act::Tell(Event::Connected { app_id }),
                ]
            }
            Standing::Registered {
                app_id: ours,
                master: at,
                connected,
            } if *ours == app_id => {
                let is_another = *at != master;
                (*at, *connected) = (master, true);
                let mut acts = vec![self.wake_for_check()];
                // One of the two does not lead any more, and was slow.
                acts.extend(self.ask_whether_it_knows().filter(|_| is_another));
                acts
            }
            Standing::Registered { .. } | Standing::Ended => {
                vec![Act::Unregister { master, app_id }]
            }
        }
    }

    /// Another master leads, and knows the application, or that it wants to be registered.
    ///
    /// It is adopted at once, whatever the connection with the one before is like: that one may be frozen,
    /// or stand by. Its call may be a late one, so it is asked whether it knows the application: one that
    /// does not lead says no, and the search for the one that leads begins at once.
    pub fn master_changed(&mut self, message: MasterChanged) -> Vec<Act> {
        let master = message.master;
        match self.standing {
            // Without an id there is nothing to acknowledge. The next attempt would be long after.
            Standing::Registering { .. } => vec![Act::Register { master }],
            Standing::Registered { .. } => {
                let mut acts = self.adopt(master);
                acts.extend(self.ask_whether_it_knows());
                acts
            }
            Standing::Ended => Vec::new(),
        }
    }

    /// Asks its master, in the round that goes on.
    fn ask_whether_it_knows(&self) -> Option<Act> {
        let search = Search {
            round: self.round,
            master: self.master()?.clone(),
        };
        let app_id = self.app_id()?.to_owned();
        Some(Act::AskWhetherItKnows { search, app_id })
    }

    fn adopt(&mut self, new: EndpointRef) -> Vec<Act> {
        let Standing::Registered {
            app_id,
            master,
            connected,
        } = &mut self.standing
        else {
            return Vec::new();
        };
        (*master, *connected) = (new.clone(), true);
        let app_id = app_id.clone();
        vec![
            self.wake_for_check(),
            Act::Acknowledge {
                master: new,
                app_id,
            },
        ]
    }

    /// The connection with a peer went down.
    pub fn peer_disconnected(&mut self, address: &str) -> Vec<Act> {
        match &mut self.standing {
            Standing::Registered {
                master, connected, ..
            } if *connected && master.address.as_deref() == Some(address) => {
                *connected = false;
                vec![
                    self.wake_after(self.patience.interval),
                    Act::Tell(Event::Disconnected),
                ]
            }
            _ => Vec::new(),
        }
    }

    /// The master says that it does not know the application, or its host that there is no master any
    /// more: the connection with the host says nothing of it. Whether another one leads, or this one
    /// came back without its state, the search finds out.
    fn master_lost(&mut self) -> Vec<Act> {
        if let Standing::Registered { connected, .. } = &mut self.standing {
            *connected = false;
        }
        let mut acts = self.search();
        acts.push(Act::Tell(Event::Disconnected));
        acts
    }

    /// The master of `search` was asked what it knows, and is not there.
    pub fn is_gone(&mut self, search: &Search) -> Vec<Act> {
        match self.is_connected() && search.round == self.round {
            true => self.master_lost(),
            // The next search asks again.
            false => Vec::new(),
        }
    }

    fn searches(&self, round: u64) -> Option<&str> {
        match &self.standing {
            Standing::Registered {
                app_id, connected, ..
            } if !connected && round == self.round => Some(app_id),
            _ => None,
        }
    }

    /// Whether the master of `search` leads.
    pub fn leads(&mut self, search: Search, leads: bool) -> Vec<Act> {
        match self.searches(search.round) {
            Some(app_id) if leads => vec![Act::AskWhetherItKnows {
                app_id: app_id.to_owned(),
                search,
            }],
            _ => Vec::new(),
        }
    }

    /// Whether the master of `search` knows the application. If one that was found to lead does not, it
    /// never will: it came back without its state, or gave the application up when it lost us.
    pub fn knows_us(&mut self, search: Search, knows: bool) -> Vec<Act> {
        if self.is_connected() {
            return match search.round == self.round && !knows {
                true => self.master_lost(),
                false => Vec::new(),
            };
        }
        let Some(app_id) = self.searches(search.round).map(str::to_owned) else {
            return Vec::new();
        };
        if knows {
            return self.adopt(search.master);
        }
        if self.former.len() >= FORMER_MAX {
            self.former.remove(0);
        }
        self.former.push(app_id);
        // Nobody will tell of them any more; what they do counts as long as they do it.
        self.executors.clear();
        self.register(1, true)
    }

    /// The application was ended, or refused, by its master. What is said of one that it was before, or
    /// of one whose registration was taken back, is nothing to it.
    pub fn removed(&mut self, message: ApplicationRemoved) -> Vec<Act> {
        let of_this = match &self.standing {
            Standing::Registering { .. } => message.app_id.is_empty(),
            Standing::Registered { app_id, .. } => *app_id == message.app_id,
            Standing::Ended => false,
        };
        match of_this {
            true => self.end(format!(
                "the master removed the application: {}",
                message.message
            )),
            false => Vec::new(),
        }
    }

    fn end(&mut self, reason: String) -> Vec<Act> {
        self.standing = Standing::Ended;
        self.round += 1;
        vec![Act::Tell(Event::Dead { reason })]
    }

    /// Ends the application.
    pub fn stop(&mut self) -> Vec<Act> {
        let mut acts = Vec::new();
        match &self.standing {
            Standing::Ended => return acts,
            Standing::Registered { app_id, master, .. } => acts.push(Act::Unregister {
                master: master.clone(),
                app_id: app_id.clone(),
            }),
            Standing::Registering { .. } => {}
        }
        acts.extend(self.end("application stopped".to_owned()));
        acts
    }

    /// The application has an executor.
    pub fn executor_added(&mut self, message: ExecutorAdded) -> Vec<Act> {
        let Some(name) = self.name_of(&message.app_id, message.executor_id) else {
            return Vec::new();
        };
        let executor = Executor {
            worker_id: message.worker_id,
            host_port: message.host_port,
            cores: message.cores,
            memory_mb: message.memory_mb,
            state: ExecutorState::Launching,
        };
        self.executors.insert(message.executor_id, executor.clone());
        vec![Act::Tell(Event::ExecutorAdded { name, executor })]
    }

    /// An executor is in another state.
    pub fn executor_updated(&mut self, update: ExecutorUpdated) -> Vec<Act> {
        let Some(name) = self.name_of(&update.app_id, update.executor_id) else {
            return Vec::new();
        };
        if update.state.is_finished() {
            self.executors.remove(&update.executor_id);
            return vec![Act::Tell(Event::ExecutorRemoved { name, update })];
        }
        if let Some(executor) = self.executors.get_mut(&update.executor_id) {
            executor.state = update.state;
        }
        match update.state {
            ExecutorState::Decommissioned => {
                vec![Act::Tell(Event::ExecutorDecommissioned { name, update })]
            }
            _ => Vec::new(),
        }
    }

    /// None for an executor of another application: its number may be one of ours, too.
    fn name_of(&self, app_id: &str, executor_id: u32) -> Option<ExecutorName> {
        let ours = self.app_id() == Some(app_id);
        ours.then(|| ExecutorName {
            app_id: app_id.to_owned(),
            executor_id,
        })
    }

    /// A worker is lost.
    pub fn worker_removed(&mut self, message: WorkerRemoved) -> Vec<Act> {
        match self.standing {
            Standing::Ended => Vec::new(),
            _ => vec![Act::Tell(Event::WorkerRemoved(message))],
        }
    }

    /// The application.
    pub fn application(&self) -> &ApplicationDescription {
        &self.application
    }

    /// The endpoint that this client is part of.
    pub fn driver(&self) -> &EndpointRef {
        &self.driver
    }

    /// Its id, while it is registered.
    pub fn app_id(&self) -> Option<&str> {
        match &self.standing {
            Standing::Registered { app_id, .. } => Some(app_id),
            _ => None,
        }
    }

    /// True for its id, and for one that it had at a master that lost it.
    pub fn is_ours(&self, app_id: &str) -> bool {
        self.app_id() == Some(app_id) || self.former.iter().any(|former| former == app_id)
    }

    /// Its master, while it is registered.
    pub fn master(&self) -> Option<&EndpointRef> {
        match &self.standing {
            Standing::Registered { master, .. } => Some(master),
            _ => None,
        }
    }

    /// True while it is registered and its master is not lost.
    pub fn is_connected(&self) -> bool {
        matches!(
            self.standing,
            Standing::Registered {
                connected: true,
                ..
            }
        )
    }

    /// True where it ended.
    pub fn is_ended(&self) -> bool {
        self.standing == Standing::Ended
    }

    /// The executors that its master gave, by number.
    pub fn executors(&self) -> &BTreeMap<u32, Executor> {
        &self.executors
    }
}
