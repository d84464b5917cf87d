//! A master under test: its handlers, natively.

use std::collections::BTreeMap;
use std::time::Duration;

use instar_sdk::prelude::*;
use instar_sdk::testing::TestEndpoint;

use super::{MasterUnderTest, StandbyUnderTest};
use crate::Master;

/// How much time is in [`MasterUnderTest::moment`].
pub const MOMENT: Duration = Duration::from_millis(50);

/// The handlers of this crate, in a test host.
#[derive(Default)]
pub struct Native {
    config: Vec<(String, String)>,
    /// The last term, of all masters.
    term: u64,
    master: Option<TestEndpoint<Master>>,
    /// What was sent to others than those who were asked about, with its kind, as JSON.
    kept: Vec<(EndpointRef, &'static str, serde_json::Value)>,
}

impl Native {
    /// The endpoint, for what only a native test looks at.
    ///
    /// # Panics
    /// Where it was not started.
    pub fn endpoint(&mut self) -> &mut TestEndpoint<Master> {
        self.master.as_mut().expect("the master is started")
    }

    /// Starts a master that finds these values in its store. It does not lead yet.
    pub fn start_with(&mut self, config: &[(&str, &str)], persisted: BTreeMap<String, Bytes>) {
        self.remember(config);
        self.master = Some(TestEndpoint::start_with_persisted(config, persisted));
    }

    fn remember(&mut self, config: &[(&str, &str)]) {
        let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        self.config = config.iter().map(owned).collect();
        self.kept.clear();
    }

    /// It leads from now on, in a term of its own.
    pub fn let_it_lead(&mut self) {
        self.term += 1;
        let term = self.term;
        self.endpoint().elected(term);
        self.go_on();
    }

    /// Lets the master do what it left to later turns.
    fn go_on(&mut self) {
        self.endpoint().advance(Duration::ZERO);
    }
}

impl MasterUnderTest for Native {
    fn start(&mut self, config: &[(&str, &str)]) -> Result<(), String> {
        self.remember(config);
        let master = TestEndpoint::try_start(config).map_err(|failure| failure.to_string())?;
        self.master = Some(master);
        self.let_it_lead();
        Ok(())
    }

    fn restart(&mut self) {
        let persisted = self.endpoint().persisted();
        let config = self.config.clone();
        let config: Vec<(&str, &str)> = config
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        self.start_with(&config, persisted);
        self.let_it_lead();
    }

    fn swap(&mut self) {
        let master = self.master.take().expect("the master is started");
        self.master = Some(master.upgrade().expect("its own state is read"));
    }

    fn peer(&mut self, name: &str, host: u16) -> EndpointRef {
        EndpointRef::remote(name, address(host))
    }

    fn send<M: Message>(&mut self, _from: &EndpointRef, message: &M) {
        self.endpoint().send(message);
    }

    fn ask<R: Request>(&mut self, _from: &EndpointRef, request: &R) -> Result<R::Reply, Failure> {
        self.endpoint().ask(request)
    }

    fn received<M: Message>(&mut self, at: &EndpointRef, count: usize) -> Vec<M> {
        for (to, message) in self.endpoint().sent::<M>() {
            let message = serde_json::to_value(&message).expect("a message is plain data");
            self.kept.push((to, M::KIND, message));
        }
        let kept = std::mem::take(&mut self.kept).into_iter();
        let (found, kept): (Vec<_>, Vec<_>) =
            kept.partition(|(to, kind, _)| (to, *kind) == (at, M::KIND));
        self.kept = kept;
        assert_eq!(found.len(), count, "messages `{}` to {at}", M::KIND);
        let messages = found.into_iter();
        messages
            .map(|(_, _, message)| serde_json::from_value(message).expect("it was one"))
            .collect()
    }

    fn restart_without(&mut self, host: u16) {
        self.restart();
        self.endpoint()
            .network_error(&address(host), "connection refused");
    }

    fn disconnect(&mut self, host: u16) {
        self.endpoint().disconnected(&address(host));
    }

    fn moment(&mut self) {
        self.endpoint().advance(MOMENT);
    }
}

impl StandbyUnderTest for Native {
    fn start_standby(&mut self, config: &[(&str, &str)]) {
        self.start_with(config, BTreeMap::new());
    }

    fn elect(&mut self) {
        self.let_it_lead();
    }

    fn elect_again(&mut self) {
        let term = self.term;
        self.endpoint().elected(term);
        self.go_on();
    }

    fn revoke(&mut self) {
        self.endpoint().revoked("the test says so");
    }
}

fn address(host: u16) -> String {
    format!("peer-{host}:{}", 7000 + u32::from(host))
}
