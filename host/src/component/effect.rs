//! What comes out of a turn: what the guest wants to happen, kept until its turn has ended well.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::workload::{Cleaning, Workload};
use crate::address::EndpointAddress;
use crate::error::RpcError;
use crate::message::Message;
use crate::store::{Ticket, Writes};

/// Something that a guest asked for within a turn. Carried out in order when the turn ends, by
/// [`crate::endpoint`]; a turn that traps leaves none.
#[derive(Debug)]
pub enum Effect {
    /// Send a message for which room was reserved, or for which the turn's end waits.
    Send {
        /// The room that was reserved; none where the guest chose to wait for it.
        room: Option<Room>,
        /// The receiver.
        to: EndpointAddress,
        /// What is sent.
        message: Message,
    },
    /// Ask for an answer.
    Ask {
        /// Under which id the outcome is awaited.
        id: u64,
        /// The receiver.
        to: EndpointAddress,
        /// The request.
        message: Message,
        /// The guest's continuation.
        token: Bytes,
        /// How long to wait; none for the host's default.
        timeout: Option<Duration>,
    },
    /// Forget an ask.
    Abort {
        /// The ask.
        ask: u64,
    },
    /// Answer a call.
    Answer {
        /// The call.
        call: u64,
        /// The answer.
        outcome: Result<Message, RpcError>,
    },
    /// Start a timer.
    StartTimer {
        /// Its id.
        id: u64,
        /// The guest's continuation.
        token: Bytes,
        /// When it is due first.
        delay: Duration,
        /// When it is due again.
        period: Option<Duration>,
    },
    /// Cancel a timer.
    CancelTimer {
        /// The timer.
        timer: u64,
    },
    /// Run something beside this endpoint.
    Launch {
        /// Its id.
        id: u64,
        /// What is run.
        workload: Box<Workload>,
        /// What comes with each notice about it.
        token: Bytes,
    },
    /// End a launch.
    Kill {
        /// Which.
        launch: u64,
    },
    /// Remove work folders that nobody uses.
    Clean(Cleaning),
    /// Remove a work folder.
    RemoveFolder {
        /// Which.
        folder: String,
    },
    /// Write this. What stands behind it in its turn waits until it is durable.
    Persist(Writes),
    /// What a turn does when its writes are durable.
    WhenDurable {
        /// Its writes.
        ticket: Ticket,
        /// What it does then, in order. Never again something that waits like this.
        then: VecDeque<Effect>,
    },
    /// Stand for election.
    Contend,
    /// Give up what is led, and stand again at the end of the line.
    Resign,
    /// Stop this endpoint.
    StopSelf,
}

impl Effect {
    /// This one, and those that wait with it.
    pub(crate) fn with_those_behind(&self) -> impl Iterator<Item = &Effect> {
        let behind = match self {
            Self::WhenDurable { then, .. } => Some(then),
            _ => None,
        };
        std::iter::once(self).chain(behind.into_iter().flatten())
    }

    /// Drops those that `keep` says no to, those that wait with others included.
    pub(crate) fn retain(effects: &mut VecDeque<Self>, mut keep: impl FnMut(&Self) -> bool) {
        effects.retain_mut(|effect| match effect {
            Self::WhenDurable { then, .. } => {
                then.retain(&mut keep);
                true
            }
            effect => keep(effect),
        });
    }
}

/// Room for one message in an inbox or an outbox. Dropping it gives the room back.
pub trait Reservation: Send + std::fmt::Debug {
    /// Fills the room.
    ///
    /// # Errors
    /// What became impossible since: the receiver stopped, the connection went.
    fn fill(self: Box<Self>, to: &EndpointAddress, message: Message) -> Result<(), RpcError>;
}

/// Some [`Reservation`].
pub type Room = Box<dyn Reservation>;
