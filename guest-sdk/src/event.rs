//! Event: one thing that happened, as the host tells it.

use crate::Failure;
use crate::message::Raw;

/// One element of a batch. The names are those of `wit/endpoint.wit`.
pub(crate) enum Event {
    Start,
    Stop,
    Error(Failure),
    Connected(String),
    Disconnected(String),
    NetworkError {
        address: String,
        cause: String,
    },
    Receive(Raw),
    ReceiveAndReply {
        call: u64,
        message: Raw,
    },
    Reply {
        ask: u64,
        token: Vec<u8>,
        outcome: Result<Raw, Failure>,
    },
    Timer {
        timer: u64,
        token: Vec<u8>,
    },
}
