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

#[cfg(test)]
mod tests {
    use instar_sdk::metadata_of;
    use instar_sdk::testing::TestEndpoint;

    use super::*;

    fn verifier() -> TestEndpoint<Verifier> {
        let verifier = TestEndpoint::<Verifier>::start();
        verifier.register("echo", metadata_of::<Verifier>());
        verifier.register("adder", metadata_of::<Verifier>());
        verifier
    }

    #[test]
    fn a_name_exists_while_it_is_registered() {
        for (name, exists) in [("echo", true), ("ech", false), ("", false)] {
            let name = name.to_owned();
            assert_eq!(
                verifier().ask(&CheckExistence { name }),
                Ok(Exists { exists })
            );
        }
    }

    #[test]
    fn a_description_comes_as_the_endpoint_gave_it() {
        let ask = |name: &str| {
            verifier().ask(&Describe {
                name: name.to_owned(),
            })
        };
        let metadata = Some(metadata_of::<Verifier>());
        assert_eq!(ask("echo"), Ok(Description { metadata }));
        assert_eq!(ask("nobody"), Ok(Description { metadata: None }));
    }

    #[test]
    fn names_come_in_order() {
        let names = vec!["adder".to_owned(), "echo".to_owned()];
        assert_eq!(verifier().ask(&ListEndpoints {}), Ok(Endpoints { names }));
    }
}
