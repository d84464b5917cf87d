//! The specification of a master, as functions over [`MasterUnderTest`]: natively over its handlers
//! ([`native`]), and elsewhere over the compiled component in a real host.
//! [`rules_of_masters!`](crate::rules_of_masters) makes tests of them.
//!
//! | file | rules |
//! |---|---|
//! | [`scheduling`] | which executors go where |
//! | [`drivers`] | drivers: placement, end, relaunch, kill |
//! | [`names`] | ids |
//! | [`profiles`] | resource profiles, other resources |
//! | [`workers`] | registration, heartbeats, loss |
//! | [`applications`] | registration, targets, kills, failures |
//! | [`allocation`] | targets that go up and down |
//! | [`decommission`] | workers that take no new work |
//! | [`recovery`] | what another master takes up |
//! | [`repair`] | what breaks without a message that says so |
//! | [`standby`] | what one that does not lead answers |
//! | [`leading`] | that one comes to lead, leads no more, and leads again |
//! | [`swap`] | what goes along when the code is swapped |
//!
//! The numbers in their documentation are those of `tests/README.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

pub mod allocation;

pub mod applications;

pub mod decommission;

pub mod drivers;

pub mod names;

pub mod leading;

pub mod native;

pub mod profiles;

pub mod recovery;

mod rules;

pub mod repair;

pub mod scheduling;

pub mod standby;

pub mod swap;

pub mod workers;

mod world;

pub use world::{App, Fixture, Peer, Worker, component, driver, wait_until};

use deploy_protocol::{MasterStateResponse, RequestMasterState};
use instar_sdk::prelude::*;

/// A master, and all that it deals with.
pub trait MasterUnderTest {
    /// Starts a master that has nothing persisted, instead of the one before. It leads when this
    /// returns.
    ///
    /// # Errors
    /// Why it did not start.
    fn start(&mut self, config: &[(&str, &str)]) -> Result<(), String>;

    /// The master is gone, and another one with the same configuration begins with what is persisted.
    /// It leads when this returns. Peers stay.
    fn restart(&mut self);

    /// As [`MasterUnderTest::restart`], but the peer `host` is gone for good while there is no master, and
    /// the new one finds out.
    fn restart_without(&mut self, host: u16);

    /// Another instance of the master takes over its state.
    fn swap(&mut self);

    /// Where the endpoint `name` on peer `host` is. It keeps what it receives.
    fn peer(&mut self, name: &str, host: u16) -> EndpointRef;

    /// Sends a message to the master, from the host of `from`. It is handled when this returns.
    fn send<M: Message>(&mut self, from: &EndpointRef, message: &M);

    /// Asks the master, from the host of `from`.
    ///
    /// # Errors
    /// What the master fails the call with.
    fn ask<R: Request>(&mut self, from: &EndpointRef, request: &R) -> Result<R::Reply, Failure>;

    /// Takes the messages of this kind that came to `at`, in order, once there are `count`.
    ///
    /// # Panics
    /// Where there are fewer or more.
    fn received<M: Message>(&mut self, at: &EndpointRef, count: usize) -> Vec<M>;

    /// The peer `host` breaks its connections, and the master knows.
    fn disconnect(&mut self, host: u16);

    /// Lets a moment pass: far less than a second. Where time is that of the machine, others take some of
    /// it, too: rules leave seconds where something must not be over yet.
    fn moment(&mut self);

    /// What the master knows.
    ///
    /// # Panics
    /// Where it does not answer.
    fn state(&mut self) -> MasterStateResponse {
        let observer = self.peer("observer", 0);
        self.ask(&observer, &RequestMasterState {})
            .expect("a master answers in every state")
    }
}

/// A master that can be kept from leading.
pub trait StandbyUnderTest: MasterUnderTest {
    /// As [`MasterUnderTest::start`], but it does not lead before [`StandbyUnderTest::elect`].
    fn start_standby(&mut self, config: &[(&str, &str)]);

    /// It leads from now on, in a new term. What it does for that is done when this returns.
    fn elect(&mut self);

    /// It is told a second time that it leads in the term that goes on.
    fn elect_again(&mut self);

    /// It leads no more, and knows.
    fn revoke(&mut self);
}
