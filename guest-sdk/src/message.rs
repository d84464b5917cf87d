//! Message: a type with a stable name, and how it becomes bytes and back.
//!
//! Beside it: [`crate::schema`] (its shape), [`crate::call`] (what must not travel in it).
//!
//! Invariants
//! 1. A body is decoded only as the kind that stands beside it, and completely: bytes that are left
//!    over are an error, as they are a sign of another version of the type.
//! 2. No input makes decoding panic.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::description::MessageType;
use crate::{Failure, Schema, call, schema};

/// A type that can be sent. Derive it: `#[derive(Message)] #[message(kind = "shop.GetPrice")]`.
///
/// ```
/// use instar_sdk::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// /// Asks for a price.
/// #[derive(Message, Serialize, Deserialize)]
/// #[message(kind = "shop.GetPrice", reply = Price)]
/// pub struct GetPrice {
///     pub article: String,
/// }
///
/// /// What it costs.
/// #[derive(Message, Serialize, Deserialize)]
/// #[message(kind = "shop.Price")]
/// pub struct Price {
///     pub cents: u64,
/// }
///
/// assert_eq!(GetPrice::KIND, "shop.GetPrice");
/// assert_eq!(GetPrice::ABOUT, "Asks for a price.");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no message",
    note = "derive it: `#[derive(Message, Serialize, Deserialize)] #[message(kind = \"...\")]`"
)]
pub trait Message: Serialize + DeserializeOwned + Schema {
    /// Stable name of the type, 1 to 255 bytes. It outlives every version of the code: give a type
    /// whose fields change in a way that old readers cannot follow a new kind.
    const KIND: &'static str;
    /// One sentence for people. May be empty.
    const ABOUT: &'static str;
}

/// A message that wants exactly one answer: `#[message(kind = "...", reply = Price)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no request: nothing says what it is answered with",
    note = "name its answer: `#[message(kind = \"...\", reply = TheReply)]`"
)]
pub trait Request: Message {
    /// What it is answered with.
    type Reply: Message;
}

/// What an endpoint keeps in mind while it waits for an answer, and gets back with the answer,
/// perhaps in its next version: `#[message(kind = "...", continues = GetPrice)]`.
///
/// It never leaves the host. Calls to answer later may stand in it, see [`crate::CallContext`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no continuation: nothing says which request it waits for",
    note = "name the request: `#[message(kind = \"...\", continues = TheRequest)]`"
)]
pub trait Continuation: Message {
    /// The request whose answer it waits for.
    type Asked: Request;
}

/// A message as it travels: kind and postcard bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub struct Raw {
    pub kind: String,
    pub body: Vec<u8>,
}

/// Name, sentence and shape of a message type.
pub fn type_of<M: Message>() -> MessageType {
    MessageType {
        kind: M::KIND.to_owned(),
        about: M::ABOUT.to_owned(),
        nodes: schema::tree_of::<M>(),
    }
}

/// The bytes of a message that leaves the endpoint.
pub(crate) fn encode<M: Message>(message: &M) -> Result<Vec<u8>, Failure> {
    call::outside(|| to_bytes(message)).map_err(|error| {
        Failure::new(format!(
            "`{}` cannot be encoded: {error}; a CallContext stays with its endpoint, \
             send the answer itself instead",
            M::KIND
        ))
    })
}

/// The message in `body`, which came from outside.
pub(crate) fn decode<M: Message>(body: &[u8]) -> Result<M, Failure> {
    call::outside(|| from_bytes(body))
        .map_err(|reason| Failure::with_code(Failure::UNDECODABLE, undecodable::<M>(body, &reason)))
}

/// The continuation in `body`, which this endpoint wrote itself, in this version or another.
pub(crate) fn decode_own<M: Message>(body: &[u8]) -> Result<M, Failure> {
    from_bytes(body)
        .map_err(|reason| Failure::with_code(Failure::UNDECODABLE, undecodable::<M>(body, &reason)))
}

fn undecodable<M: Message>(body: &[u8], reason: &str) -> String {
    format!(
        "`{}` cannot be decoded from {} bytes: {reason}; sender and receiver disagree on its fields",
        M::KIND,
        body.len()
    )
}

/// postcard bytes of any value.
pub(crate) fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_stdvec(value)
}

/// A value from exactly these postcard bytes.
pub(crate) fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes are left over", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}
