//! What the author of an Instar endpoint depends on. Start here.
//!
//! An endpoint is a type: its value is the state, its methods are the handlers.
//!
//! ```
//! use instar_sdk::prelude::*;
//! use serde::{Deserialize, Serialize};
//!
//! /// Adds to the sum.
//! #[derive(Message, Serialize, Deserialize)]
//! #[message(kind = "sum.Add")]
//! pub struct Add {
//!     pub number: u64,
//! }
//!
//! /// Asks for the sum.
//! #[derive(Message, Serialize, Deserialize)]
//! #[message(kind = "sum.GetSum", reply = Sum)]
//! pub struct GetSum {}
//!
//! /// The sum.
//! #[derive(Message, Serialize, Deserialize, Debug, PartialEq)]
//! #[message(kind = "sum.Sum")]
//! pub struct Sum {
//!     pub value: u64,
//! }
//!
//! #[derive(Default, Serialize, Deserialize)]
//! pub struct Adder {
//!     sum: u64,
//! }
//!
//! #[instar_sdk::endpoint(name = "adder", version = "1.0.0", about = "Adds numbers.")]
//! impl Adder {
//!     #[on_start]
//!     fn start(_: &mut Context) -> Result<Self, Failure> {
//!         Ok(Self::default())
//!     }
//!
//!     #[receive]
//!     fn add(&mut self, _: &mut Context, add: Add) -> Result<(), Failure> {
//!         self.sum = self.sum.checked_add(add.number).ok_or("the sum is too large")?;
//!         Ok(())
//!     }
//!
//!     #[receive_and_reply]
//!     fn sum(&mut self, _: &mut Context, _: GetSum) -> Result<Sum, Failure> {
//!         Ok(Sum { value: self.sum })
//!     }
//! }
//!
//! instar_sdk::export!(Adder); // the component; natively nothing
//!
//! // What follows is a test. It runs natively, with the same dispatch as in the host.
//! use instar_sdk::testing::TestEndpoint;
//!
//! let mut adder = TestEndpoint::<Adder>::start();
//! adder.send(&Add { number: 4 });
//! adder.send(&Add { number: 3 });
//! assert_eq!(adder.ask(&GetSum {}), Ok(Sum { value: 7 }));
//!
//! let mut next = adder.upgrade::<Adder>().unwrap(); // the state goes along
//! assert_eq!(next.ask(&GetSum {}), Ok(Sum { value: 7 }));
//! ```
//!
//! | I want to | see |
//! |---|---|
//! | write handlers | [`macro@endpoint`] |
//! | define messages | [`Message`], [`Request`], [`Continuation`] |
//! | send, ask, start timers, read configuration | [`Context`] |
//! | answer later | [`CallContext`] |
//! | write `async` handlers | [`AsyncContext`] |
//! | run other components | [`launching`] |
//! | lead, or stand by | [`leadership`] |
//! | carry state to the next version, and back | [`state`] |
//! | read files of hosts | [`Context::open_channel`] |
//! | keep values that outlive the host's process | [`Context::persistence`] |
//! | test | [`testing`] |

// The order in which an event travels: described, told, dispatched, handled, carried on.

extern crate self as instar_sdk; // the macros write this name, here as elsewhere

pub mod description;

pub mod schema;

mod message;

mod bytes;

mod failure;

mod endpoint_ref;

mod export;

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod bindings;

#[cfg(target_family = "wasm")]
mod convert;

#[cfg(target_family = "wasm")]
mod component;

mod event;

mod runtime;

mod endpoint;

mod executor;

mod token;

mod context;

mod async_context;

mod call;

pub mod metrics;

mod registry;

mod channels;

mod persistence;

pub mod launching;

pub mod leadership;

mod logging;

mod health;

mod host;

pub mod state;

pub mod prelude;

#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use async_context::{Answer, AsyncContext, Sleep};
pub use bytes::Bytes;
pub use call::CallContext;
pub use channels::Channel;
pub use context::{AskId, Context, TimerId};
pub use endpoint::{Endpoint, EntryFormats, metadata_of};
pub use endpoint_ref::EndpointRef;
pub use failure::Failure;
pub use health::{Health, Healthy};
pub use instar_sdk_macros::{Message, Schema, endpoint};
pub use logging::Level;
pub use message::{Continuation, Message, Request, type_of};
pub use persistence::Persistence;
pub use registry::Registry;
pub use schema::Schema;

/// What the macros of this crate write. Not for people, and may change with every version.
#[doc(hidden)]
pub mod __private {
    #[cfg(target_family = "wasm")]
    pub mod component {
        pub use crate::component::{entries, handle, metadata, restore, snapshot};
    }
    pub use crate::endpoint::all_different;
    pub use crate::message::Raw;
    pub use crate::runtime::{ReplyTo, Runtime};
    pub use crate::state::{decode, encode};
}
