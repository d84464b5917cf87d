//! A master under test: the compiled component on a real host. Its peers are puppets, with sockets of
//! their own.
//!
//! Before it: the rules of `master::testing`. After it: [`RpcEnv`] and [`Puppets`].
//!
//! The rules know when a message was handled and that no more will come. Over sockets nobody does, so it
//! is made sure with what the order of connections gives:
//! 1. What was sent to the master is handled once a question that came behind it, over the same
//!    connection, is answered.
//! 2. What the master sent to a host has come once something came that it sent there later: the
//!    `ReconnectWorker` with which it answers the heartbeat of a worker that it does not know, and which
//!    changes nothing.
//!
//! Who leads says the test: its host stands in an election that is moved by hand.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use deploy_protocol::{BoundPortsRequest, EndpointRef as Reference, Heartbeat, RequestReadyz};
use instar_host::address::EndpointAddress;
use instar_host::election::leadership::Leadership;
use instar_host::election::{ElectionSettings, Elections};
use instar_host::endpoint::settings::EndpointSettings;
use instar_host::endpoint::status::EndpointState;
use instar_host::{EndpointRef, RpcEnv, RpcError, RpcSettings};
use instar_sdk::{Failure, Message, Request};
use master::testing::{MasterUnderTest, StandbyUnderTest};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::puppets::{Puppets, Received};
use crate::{ask, component, eventually, server, start};

/// How often a rule that waits for a state looks.
const MOMENT: Duration = Duration::from_millis(10);

/// Name of the endpoint.
const MASTER: &str = "Master";

/// The puppet of each host that gets what the master is made to send.
const BARRIER: &str = "barrier";

/// An election in which the test says who leads.
struct ByHand(Arc<Leadership>);

impl Elections for ByHand {
    fn of(&self, _endpoint: &str) -> Arc<Leadership> {
        Arc::clone(&self.0)
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.0.end();
        Box::pin(std::future::ready(()))
    }
}

/// The component `master` on a host of its own.
pub struct ComponentMaster {
    runtime: Runtime,
    config: BTreeMap<String, String>,
    /// What outlives a master.
    kept: Option<TempDir>,
    host: Option<RpcEnv>,
    election: Arc<Leadership>,
    peers: BTreeMap<u16, Puppets>,
    /// What came and was not asked for yet, with the number of its host.
    came: Vec<(u16, Received)>,
}

impl Default for ComponentMaster {
    fn default() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        Self {
            runtime: match runtime {
                Ok(runtime) => runtime,
                Err(error) => panic!("no runtime: {error}"),
            },
            config: BTreeMap::new(),
            kept: None,
            host: None,
            election: Leadership::new("by hand"),
            peers: BTreeMap::new(),
            came: Vec::new(),
        }
    }
}

impl Drop for ComponentMaster {
    fn drop(&mut self) {
        self.end();
        self.hang_up();
    }
}

// The host of the master.
impl ComponentMaster {
    fn host(&self) -> &RpcEnv {
        match &self.host {
            Some(host) => host,
            None => panic!("the master is started first"),
        }
    }

    fn master(&self) -> EndpointRef {
        match self.host().endpoint_ref(MASTER) {
            Some(master) => master,
            None => panic!("the host has no {MASTER}"),
        }
    }

    fn address(&self) -> EndpointAddress {
        self.master().address().clone()
    }

    /// Begins a master on a host of its own, over what is kept. It leads, or stands by.
    fn begin(&mut self, leading: bool) -> Result<(), String> {
        let store = self.kept.as_ref().map(|dir| dir.path().join("store"));
        let settings = EndpointSettings {
            config: self.config.clone(),
            grants: ["clock", "lead", "persist"].map(str::to_owned).into(),
            ..EndpointSettings::default()
        };
        let code = component("master");
        self.election = Leadership::new("by hand");
        if leading {
            self.election.begin(None, None);
        }
        let election: Arc<dyn Elections> = Arc::new(ByHand(Arc::clone(&self.election)));
        let election = ElectionSettings::By(election);
        let (host, leads) = self.runtime.block_on(async {
            let host = start(RpcSettings {
                store: store.map(Into::into),
                election,
                ..server()
            })
            .await;
            let set_up = host.setup_endpoint(MASTER, &code, settings);
            let leads = match set_up.await {
                Ok(master) => comes_to(&host, &master, leading).await,
                Err(error) => Err(error.to_string()),
            };
            (host, leads)
        });
        self.host = Some(host);
        leads
    }

    fn begin_with(&mut self, config: &[(&str, &str)], leading: bool) -> Result<(), String> {
        self.end();
        self.hang_up();
        self.came.clear();
        let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        self.config = config.iter().map(owned).collect();
        let mode = self.config.get("recovery_mode");
        let keeps = mode.is_some_and(|mode| !mode.eq_ignore_ascii_case("none"));
        self.kept = match tempfile::tempdir() {
            Ok(dir) => keeps.then_some(dir),
            Err(error) => panic!("no directory for a store: {error}"),
        };
        self.begin(leading)
    }

    /// Waits until the master knows that the election was moved.
    fn moved(&self, leads: bool) {
        let (host, master) = (self.host(), self.master());
        if let Err(reason) = self.runtime.block_on(comes_to(host, &master, leads)) {
            panic!("the master does not go on: {reason}");
        }
    }

    fn end(&mut self) {
        if let Some(host) = self.host.take() {
            self.runtime.block_on(host.shutdown());
        }
    }

    /// As [`ComponentMaster::end`], with all taken in that it sent.
    fn end_heard(&mut self) {
        let hosts: Vec<u16> = self.peers.keys().copied().collect();
        for host in hosts {
            self.take_in(host);
        }
        self.end();
    }

    /// On another host, at another address: peers hear from it, or look where it is.
    fn begin_again(&mut self) {
        if let Err(reason) = self.begin(true) {
            panic!("the master does not start again: {reason}");
        }
    }

    fn turns(&self) -> u64 {
        let status = self.host().status_of(MASTER);
        status.map_or(0, |status| status.turns)
    }
}

/// Waits until a master leads, or stands by.
///
/// # Errors
/// Why it does not start.
async fn comes_to(host: &RpcEnv, master: &EndpointRef, leads: bool) -> Result<(), String> {
    let leads = eventually("the master leads, or does not", || async {
        let answer = ask(master, &RequestReadyz {}).await;
        answer.ok().filter(|answer| answer.ready == leads)
    });
    let fails = eventually("the master does not start", || async {
        match host.status_of(MASTER)?.state {
            EndpointState::Restarting(reason) | EndpointState::Failed(reason) => Some(reason),
            _ => None,
        }
    });
    tokio::select! {
        _ready = leads => Ok(()),
        reason = fails => Err(reason),
    }
}

// Its peers.
impl ComponentMaster {
    /// Starts the peers of a host, if they are asked for the first time.
    fn ensure(&mut self, host: u16) -> &Puppets {
        let start = || self.runtime.block_on(Puppets::start());
        self.peers.entry(host).or_insert_with(start)
    }

    fn puppets(&self, host: u16) -> &Puppets {
        match self.peers.get(&host) {
            Some(puppets) => puppets,
            None => panic!("nobody asked for a peer on host {host}"),
        }
    }

    /// The number of the host on which a peer is.
    fn host_of(&self, peer: &Reference) -> u16 {
        let is_there = |puppets: &Puppets| peer.address == Some(puppets.address());
        let found = self.peers.iter().find(|(_, puppets)| is_there(puppets));
        match found {
            Some((host, _)) => *host,
            None => panic!("{peer} is no peer of this master"),
        }
    }

    fn ask_from<R: Request>(&self, host: u16, request: &R) -> Result<R::Reply, RpcError> {
        let master = self.address();
        let asking = self.puppets(host).ask(&master, request);
        self.runtime.block_on(asking)
    }

    /// Sends, and waits until it is handled.
    fn tell_from<M: Message>(&self, host: u16, message: &M) {
        let master = self.address();
        let sending = self.puppets(host).send(&master, message);
        if let Err(error) = self.runtime.block_on(sending) {
            panic!("{} is not sent: {error}", M::KIND);
        }
        if let Err(error) = self.ask_from(host, &BoundPortsRequest {}) {
            panic!("after {}, the master does not answer: {error}", M::KIND);
        }
    }

    /// Takes in all that the master sent to a host until now.
    fn take_in(&mut self, host: u16) {
        let puppets = self.puppets(host);
        let barrier = Heartbeat {
            worker_id: BARRIER.to_owned(),
            worker: puppets.reference(BARRIER),
        };
        self.tell_from(host, &barrier);
        let is_last = |received: &Received| received.to == BARRIER;
        let taking = puppets.take_until("what the master sends last", is_last);
        let taken = self.runtime.block_on(taking);
        let others = taken.into_iter().filter(|received| !is_last(received));
        self.came.extend(others.map(|received| (host, received)));
    }

    fn hang_up(&mut self) {
        for puppets in std::mem::take(&mut self.peers).into_values() {
            self.runtime.block_on(puppets.hang_up());
        }
    }

    /// Connections of the master's host with that of a peer.
    fn connections(&self, peer: &str) -> usize {
        let all = self.host().connections().into_iter();
        all.filter(|connection| connection.peer.to_string() == peer)
            .count()
    }
}

impl MasterUnderTest for ComponentMaster {
    fn start(&mut self, config: &[(&str, &str)]) -> Result<(), String> {
        self.begin_with(config, true)
    }

    fn restart(&mut self) {
        self.end_heard();
        self.begin_again();
    }

    fn restart_without(&mut self, host: u16) {
        self.end_heard();
        if let Some(puppets) = self.peers.remove(&host) {
            self.runtime.block_on(puppets.hang_up());
        }
        self.begin_again();
    }

    /// To the same code, in a new instance: with another policy, rules would expect something else.
    fn swap(&mut self) {
        let swapping = self.host().refresh(MASTER, "the test");
        if let Err(error) = self.runtime.block_on(swapping) {
            panic!("the master is not swapped: {error}");
        }
    }

    fn peer(&mut self, name: &str, host: u16) -> Reference {
        self.ensure(host).reference(name)
    }

    fn send<M: Message>(&mut self, from: &Reference, message: &M) {
        self.tell_from(self.host_of(from), message);
    }

    fn ask<R: Request>(&mut self, from: &Reference, request: &R) -> Result<R::Reply, Failure> {
        let answer = self.ask_from(self.host_of(from), request);
        answer.map_err(|error| Failure::with_code(error.code(), error.to_string()))
    }

    fn received<M: Message>(&mut self, at: &Reference, count: usize) -> Vec<M> {
        let host = self.host_of(at);
        self.take_in(host);
        let asked_for = |(place, received): &(u16, Received)| {
            (*place, received.to.as_str()) == (host, at.name.as_str())
                && *received.message.kind == *M::KIND
        };
        let came = std::mem::take(&mut self.came).into_iter();
        let (found, others): (Vec<_>, Vec<_>) = came.partition(asked_for);
        self.came = others;
        assert_eq!(found.len(), count, "messages `{}` to {at}", M::KIND);
        let found = found.iter();
        found.filter_map(|(_, received)| received.as_a()).collect()
    }

    /// The peer is there again at once, at the same address, as who is lost may be heard of.
    fn disconnect(&mut self, host: u16) {
        // After this both have a connection to the other, and one that breaks is noticed twice.
        self.take_in(host);
        let turns = self.turns();
        let (address, connections) = {
            let address = self.puppets(host).address();
            let connections = self.connections(&address);
            (address, connections)
        };
        if let Some(puppets) = self.peers.get_mut(&host) {
            self.runtime.block_on(puppets.come_back());
        }
        let noticed = turns + u64::try_from(connections).unwrap_or(0);
        self.runtime
            .block_on(eventually("the master knows of the end", || async {
                let gone = self.connections(&address) == 0;
                (gone && self.turns() >= noticed).then_some(())
            }));
    }

    /// Where a rule waits for a state, this is the time between two looks. Where it is about silence,
    /// real time has to pass: that of a host cannot be turned.
    fn moment(&mut self) {
        let pause = async { tokio::time::sleep(MOMENT).await };
        self.runtime.block_on(pause);
    }
}

impl StandbyUnderTest for ComponentMaster {
    fn start_standby(&mut self, config: &[(&str, &str)]) {
        if let Err(reason) = self.begin_with(config, false) {
            panic!("the master does not start: {reason}");
        }
    }

    fn elect(&mut self) {
        self.election.begin(None, None);
        self.moved(true);
    }

    /// A host tells an instance once. What a second time does is seen natively.
    fn elect_again(&mut self) {}

    fn revoke(&mut self) {
        self.election.end();
        self.moved(false);
    }
}
