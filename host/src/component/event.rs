//! What goes into a component: the host's own form, and the form that crosses into the guest.
//!
//! The crossing form is written by hand and not by `bindgen!`, so that kinds and bodies are lowered
//! straight from the host's buffers: the generated types own what they carry.

use bytes::Bytes;
use wasmtime::component::{ComponentType, Lower};

use crate::error::RpcError;
use crate::message::Message;
use crate::responder::Outcome;

/// One thing that happened to an endpoint, in the order in which it will be told.
#[derive(Clone, Debug)]
pub enum Event {
    /// First event of an endpoint that starts fresh.
    Start,
    /// Last event.
    Stop,
    /// The host could not do something and has nobody else to tell.
    Error(RpcError),
    /// A connection came up; the text form of the peer's location.
    Connected(String),
    /// A connection went down.
    Disconnected(String),
    /// A connection broke.
    NetworkError {
        /// The peer's location.
        address: String,
        /// What happened.
        cause: String,
    },
    /// A message that wants no answer.
    Receive(Message),
    /// A message that wants an answer.
    Call {
        /// The open call.
        id: u64,
        /// The request.
        message: Message,
    },
    /// The outcome of an ask.
    Reply {
        /// The ask.
        ask: u64,
        /// The guest's continuation.
        token: Bytes,
        /// What came back.
        outcome: Outcome,
    },
    /// A timer is due.
    Timer {
        /// The timer.
        timer: u64,
        /// The guest's continuation.
        token: Bytes,
    },
}

impl Event {
    /// A short name for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Start => "on-start",
            Self::Stop => "on-stop",
            Self::Error(_) => "on-error",
            Self::Connected(_) => "on-connected",
            Self::Disconnected(_) => "on-disconnected",
            Self::NetworkError { .. } => "on-network-error",
            Self::Receive(_) => "receive",
            Self::Call { .. } => "receive-and-reply",
            Self::Reply { .. } => "on-reply",
            Self::Timer { .. } => "on-timer",
        }
    }

    /// True for a message of somebody, as opposed to what the host tells.
    pub fn is_message(&self) -> bool {
        matches!(self, Self::Receive(_) | Self::Call { .. })
    }

    /// Bytes that it carries, for bounds.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Receive(message) | Self::Call { message, .. } => message.len(),
            Self::Reply { token, outcome, .. } => {
                token.len() + outcome.as_ref().map_or(0, crate::message::Message::len)
            }
            Self::Timer { token, .. } => token.len(),
            _ => 0,
        }
    }

    /// The same with the kind of its message: `receive wordcount.Line`.
    pub fn label(&self) -> String {
        match self {
            Self::Receive(message) | Self::Call { message, .. } => {
                format!("{} {}", self.name(), message.kind)
            }
            _ => self.name().to_owned(),
        }
    }
}

// The crossing form. Names and order are those of `wit/endpoint.wit`; wasmtime checks them against
// the component when the function is looked up.

#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct GuestMessage<'a> {
    kind: &'a str,
    body: &'a [u8],
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct GuestFailure<'a> {
    code: &'a str,
    text: String,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct GuestCall<'a> {
    id: u64,
    message: GuestMessage<'a>,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct GuestReply<'a> {
    ask: u64,
    token: &'a [u8],
    outcome: Result<GuestMessage<'a>, GuestFailure<'a>>,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct GuestTimer<'a> {
    timer: u64,
    token: &'a [u8],
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct GuestBroken<'a> {
    address: &'a str,
    cause: &'a str,
}

#[derive(ComponentType, Lower)]
#[component(variant)]
pub(super) enum GuestEvent<'a> {
    #[component(name = "on-start")]
    Start,
    #[component(name = "on-stop")]
    Stop,
    #[component(name = "on-error")]
    Error(GuestFailure<'a>),
    #[component(name = "on-connected")]
    Connected(&'a str),
    #[component(name = "on-disconnected")]
    Disconnected(&'a str),
    #[component(name = "on-network-error")]
    NetworkError(GuestBroken<'a>),
    #[component(name = "receive")]
    Receive(GuestMessage<'a>),
    #[component(name = "receive-and-reply")]
    Call(GuestCall<'a>),
    #[component(name = "on-reply")]
    Reply(GuestReply<'a>),
    #[component(name = "on-timer")]
    Timer(GuestTimer<'a>),
}

fn message(message: &Message) -> GuestMessage<'_> {
    GuestMessage {
        kind: &message.kind,
        body: &message.body,
    }
}

fn failure(error: &RpcError) -> GuestFailure<'_> {
    GuestFailure {
        code: error.code(),
        text: error.to_string(),
    }
}

impl<'a> From<&'a Event> for GuestEvent<'a> {
    fn from(event: &'a Event) -> Self {
        match event {
            Event::Start => Self::Start,
            Event::Stop => Self::Stop,
            Event::Error(error) => Self::Error(failure(error)),
            Event::Connected(peer) => Self::Connected(peer),
            Event::Disconnected(peer) => Self::Disconnected(peer),
            Event::NetworkError { address, cause } => {
                Self::NetworkError(GuestBroken { address, cause })
            }
            Event::Receive(received) => Self::Receive(message(received)),
            Event::Call {
                id,
                message: request,
            } => Self::Call(GuestCall {
                id: *id,
                message: message(request),
            }),
            Event::Reply {
                ask,
                token,
                outcome,
            } => Self::Reply(GuestReply {
                ask: *ask,
                token,
                outcome: match outcome {
                    Ok(answer) => Ok(message(answer)),
                    Err(error) => Err(failure(error)),
                },
            }),
            Event::Timer { timer, token } => Self::Timer(GuestTimer {
                timer: *timer,
                token,
            }),
        }
    }
}
