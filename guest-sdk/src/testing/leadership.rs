//! The election of an endpoint in a test: the test says who leads.

use super::{TestEndpoint, raw};
use crate::Endpoint;
use crate::event::Event;
use crate::leadership::{ElectedLeader, RevokedLeadership};

/// What one endpoint in a test wants of its election.
#[derive(Default)]
pub(crate) struct TestElection {
    pub(crate) contends: bool,
    pub(crate) resigned: u64,
}

impl<E: Endpoint> TestEndpoint<E> {
    /// True where the endpoint stands for election. Goes on through an upgrade, ends with a restart.
    pub fn contends(&self) -> bool {
        self.host.borrow().election.contends
    }

    /// How often the endpoint gave up what it led. It is not revoked by that: the test says so.
    pub fn resigned(&self) -> u64 {
        self.host.borrow().election.resigned
    }

    /// Tells the endpoint that it leads.
    ///
    /// # Panics
    /// Where it does not stand for election: a host does not tell it then. Where the handler panics.
    pub fn elected(&mut self, term: u64) {
        assert!(self.contends(), "`{}` does not stand for election", E::NAME);
        self.deliver(Event::Receive(raw(&ElectedLeader { term })));
    }

    /// Tells the endpoint that it leads no more.
    ///
    /// # Panics
    /// Where the handler panics.
    pub fn revoked(&mut self, reason: &str) {
        let reason = reason.to_owned();
        self.deliver(Event::Receive(raw(&RevokedLeadership { reason })));
    }
}
