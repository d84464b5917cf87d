//! Endpoint-verifier: says which endpoints its host has, and how each describes itself. Every host
//! that listens runs it under this name; [`CheckExistence`] is what looking a reference up asks.

use instar_sdk::description::Metadata;
use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// Is an endpoint of this name registered right now?
#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "instar.CheckExistence", reply = Exists)]
pub struct CheckExistence {
    /// The name.
    pub name: String,
}

/// Whether an endpoint is registered.
#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "instar.Exists")]
pub struct Exists {
    /// True where it was when the question was handled.
    pub exists: bool,
}

/// How does an endpoint describe itself?
#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "instar.Describe", reply = Description)]
pub struct Describe {
    /// Its name.
    pub name: String,
}

/// How an endpoint describes itself.
#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "instar.Description")]
pub struct Description {
    /// The description of the version that runs; none where nothing has the name.
    pub metadata: Option<Metadata>,
}

/// Which endpoints are there?
#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "instar.ListEndpoints", reply = Endpoints)]
pub struct ListEndpoints {}

/// The names of all endpoints.
#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "instar.Endpoints")]
pub struct Endpoints {
    /// In order.
    pub names: Vec<String>,
}

/// It keeps nothing: the host knows the names.
#[derive(Serialize, Deserialize)]
pub struct Verifier;

#[instar_sdk::endpoint(
    name = "endpoint-verifier",
    version = "1.0.0",
    about = "Says which endpoints this host has",
    rights = ["registry"]
)]
impl Verifier {
    #[on_start]
    fn start(_ctx: &mut Context) -> Result<Self, Failure> {
        Ok(Self)
    }

    #[receive_and_reply]
    fn check(&mut self, ctx: &mut Context, ask: CheckExistence) -> Result<Exists, Failure> {
        let exists = ctx.registry().exists(&ask.name);
        Ok(Exists { exists })
    }

    #[receive_and_reply]
    fn describe(&mut self, ctx: &mut Context, ask: Describe) -> Result<Description, Failure> {
        let metadata = ctx.registry().describe(&ask.name);
        Ok(Description { metadata })
    }

    #[receive_and_reply]
    fn list(&mut self, ctx: &mut Context, _ask: ListEndpoints) -> Result<Endpoints, Failure> {
        let names = ctx.registry().names();
        Ok(Endpoints { names })
    }
}

instar_sdk::export!(Verifier);
