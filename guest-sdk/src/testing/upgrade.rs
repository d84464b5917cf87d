//! Upgrade: state, open calls, open asks and timers go from one version of the code to another.

use std::fmt;
use std::rc::Rc;

use super::TestEndpoint;
use crate::endpoint::metadata_of;
use crate::event::Event;
use crate::host::within;
use crate::runtime::Runtime;
use crate::{Endpoint, state};

/// An upgrade that was refused. The version before goes on, as it does in a real host.
pub struct Refused<E: Endpoint> {
    /// The version before, with its state.
    pub endpoint: TestEndpoint<E>,
    /// Why.
    pub reason: String,
}

impl<E: Endpoint> fmt::Debug for Refused<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused: {}", self.reason)
    }
}

impl<E: Endpoint> TestEndpoint<E> {
    /// Swaps the code: the state goes over as in a real host, with open calls, asks and timers.
    /// Works in both directions.
    ///
    /// # Errors
    /// [`Refused`] gives the old version back: no state version in common, a state that does not
    /// decode, a migration that fails, or async handlers that still wait.
    pub fn upgrade<N: Endpoint>(self) -> Result<TestEndpoint<N>, Refused<E>> {
        match self.carry::<N>() {
            Ok(runtime) => {
                let host = Rc::clone(&self.host);
                // A real host drops the old instance without running destructors: calls that the
                // state holds stay open.
                std::mem::forget(self);
                Ok(TestEndpoint { runtime, host })
            }
            Err(reason) => Err(Refused {
                endpoint: self,
                reason,
            }),
        }
    }

    fn carry<N: Endpoint>(&self) -> Result<Rc<Runtime<N>>, String> {
        let (old, new) = (metadata_of::<E>().state, metadata_of::<N>().state);
        let version = state::negotiate(&old, &new).ok_or_else(|| {
            format!(
                "version {} reads state versions {:?}, version {} writes {:?}: none in common",
                N::VERSION,
                new.reads,
                E::VERSION,
                old.writes
            )
        })?;
        if self.pending() > 0 {
            return Err(format!("{} async handlers still wait", self.pending()));
        }
        within(&self.host, || {
            let state = self.runtime.snapshot(version)?;
            let runtime = Runtime::<N>::new();
            runtime.restore(version, &state)?;
            Ok(runtime)
        })
    }

    /// The state, written in one of the versions that this code writes.
    ///
    /// # Errors
    /// The state cannot be written in that version; the text says why.
    pub fn snapshot(&self, version: u32) -> Result<Vec<u8>, String> {
        within(&self.host, || self.runtime.snapshot(version))
    }

    /// Loses the instance, as a crash does, and starts the next one with `on_start`. Open calls,
    /// asks and timers are the host's and go on. Whether it stands for election the next one says itself.
    ///
    /// # Panics
    /// Where `on_start` fails.
    pub fn restart(&mut self) {
        // A crash runs no destructors either.
        std::mem::forget(std::mem::replace(&mut self.runtime, Runtime::new()));
        self.host.borrow_mut().election.contends = false;
        self.deliver(Event::Start);
    }
}
