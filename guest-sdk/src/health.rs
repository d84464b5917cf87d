//! Health: how an endpoint says whether it is well. Optional: an endpoint that handles [`Health`] is
//! asked by its host while a new version of it is on probation.
//!
//! ```
//! use instar_sdk::prelude::*;
//! use instar_sdk::{Health, Healthy};
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Serialize, Deserialize)]
//! # pub struct Counter { lines: u64, words: u64 }
//! # #[instar_sdk::endpoint(name = "counter", version = "1.0.0")]
//! # impl Counter {
//! #     #[on_start]
//! #     fn start(_ctx: &mut Context) -> Result<Self, Failure> { Ok(Self { lines: 0, words: 0 }) }
//! #[receive_and_reply]
//! fn health(&mut self, _ctx: &mut Context, _ask: Health) -> Result<Healthy, Failure> {
//!     match self.words < self.lines {
//!         true => Err(Failure::new("fewer words than lines")),
//!         false => Ok(Healthy {}),
//!     }
//! }
//! # }
//! ```

use instar_sdk::Message;
use serde::{Deserialize, Serialize};

/// Are you well? A failure, or no answer within the limit of a turn, puts the version before back.
#[derive(Clone, Debug, PartialEq, Eq, Message, Serialize, Deserialize)]
#[message(kind = "instar.Health", reply = Healthy)]
pub struct Health {}

/// The endpoint is well.
#[derive(Clone, Debug, PartialEq, Eq, Message, Serialize, Deserialize)]
#[message(kind = "instar.Healthy")]
pub struct Healthy {}
