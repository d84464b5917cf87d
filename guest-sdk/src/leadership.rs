//! Leadership: one of several endpoints of a name, each on a host of its own, leads; the others stand by.
//! Needs the right `lead`.
//!
//! ```
//! use instar_sdk::leadership::{ElectedLeader, RevokedLeadership};
//! use instar_sdk::prelude::*;
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Default, Serialize, Deserialize)]
//! # pub struct Ledger { leads: bool }
//! #[instar_sdk::endpoint(
//!     name = "ledger",
//!     version = "1.0.0",
//!     rights = ["lead", "persist"],
//!     entries(writes = 1, reads = [1])
//! )]
//! impl Ledger {
//!     #[on_start]
//!     fn begin(ctx: &mut Context) -> Result<Self, Failure> {
//!         ctx.leadership().contend();
//!         Ok(Self::default())
//!     }
//!
//!     #[receive]
//!     fn elected(&mut self, _ctx: &mut Context, _: ElectedLeader) -> Result<(), Failure> {
//!         self.leads = true; // and reads what the leader before it persisted
//!         Ok(())
//!     }
//!
//!     #[receive]
//!     fn revoked(&mut self, _ctx: &mut Context, _: RevokedLeadership) -> Result<(), Failure> {
//!         self.leads = false; // and stands by: it still stands for election
//!         Ok(())
//!     }
//! }
//! # let mut ledger = instar_sdk::testing::TestEndpoint::<Ledger>::start();
//! # assert!(ledger.contends());
//! # ledger.elected(1);
//! # assert!(ledger.with(|ledger| ledger.leads));
//! # ledger.revoked("another one leads");
//! # assert!(!ledger.with(|ledger| ledger.leads));
//! ```
//!
//! What a turn does that began while the endpoint led takes effect only while it is known to lead. While
//! that is in doubt the endpoint stands still; when it is over, what had not taken effect is dropped:
//! callers get [`Failure::LEADERSHIP`](crate::Failure::LEADERSHIP). So a handler need not look whether it
//! still leads, and an endpoint never hears of a doubt.

use instar_sdk::Message;
use serde::{Deserialize, Serialize};

use crate::host;

/// This endpoint leads from now on. The host alone can send it.
///
/// Comes once per term and instance: after a swap it is not told again, after a crash it is, once the
/// endpoint contends again.
#[derive(Clone, Debug, PartialEq, Eq, Message, Serialize, Deserialize)]
#[message(kind = "instar.ElectedLeader")]
pub struct ElectedLeader {
    /// Grows with each time that it is elected, within one process of the host.
    pub term: u64,
}

/// This endpoint leads no more. The host alone can send it, and only after [`ElectedLeader`].
///
/// It goes on standing for election.
#[derive(Clone, Debug, PartialEq, Eq, Message, Serialize, Deserialize)]
#[message(kind = "instar.RevokedLeadership")]
pub struct RevokedLeadership {
    /// One sentence.
    pub reason: String,
}

/// Standing for election. From [`crate::Context::leadership`].
#[derive(Debug)]
pub struct Leadership {
    _from_a_context: (),
}

impl Leadership {
    pub(crate) fn new() -> Self {
        Self {
            _from_a_context: (),
        }
    }

    /// Stands for election when the turn has ended. It goes on through a swap; one that stands stands.
    pub fn contend(&mut self) {
        host::contend();
    }

    /// Gives up what it leads when the turn has ended, and stands again at the end of the line. Of no
    /// effect for one that does not stand.
    pub fn resign(&mut self) {
        host::resign();
    }
}
