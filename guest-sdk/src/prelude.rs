//! What nearly every endpoint uses: `use instar_sdk::prelude::*;`.

pub use crate::{
    AskId, AsyncContext, Bytes, CallContext, Context, Continuation, Endpoint, EndpointRef, Failure,
    Message, Request, Schema, TimerId,
};
