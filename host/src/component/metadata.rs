//! What a component says of itself, as plain data: the host's mirror of `wit/description.wit`.
//!
//! Types of the contract are never the types inside: [`crate::component`] converts at the edge.

use serde::{Deserialize, Serialize};

/// The description of one version of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Name under which it is registered unless the sidecar says otherwise.
    pub name: String,
    /// Semantic version of the code.
    pub version: String,
    /// One sentence for people.
    pub about: String,
    /// Which states it can exchange with other versions.
    pub state: StateSupport,
    /// The rights it needs beyond the interfaces of world `plugin`.
    pub rights: Vec<String>,
    /// The messages it handles.
    pub handles: Vec<Handler>,
    /// The kit it was built with.
    pub built_with: String,
}

/// The state versions that one version of the code reads and writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSupport {
    /// The version it writes by itself.
    pub version: u32,
    /// The versions that it can take over.
    pub reads: Vec<u32>,
    /// The versions that it can write.
    pub writes: Vec<u32>,
}

/// A message that the endpoint handles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handler {
    /// What is sent.
    pub request: MessageType,
    /// What is answered; none for one-way messages.
    pub reply: Option<MessageType>,
}

/// A message type: name and shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageType {
    /// Its stable name.
    pub kind: String,
    /// One sentence for people.
    pub about: String,
    /// The type tree; element 0 is the root.
    pub nodes: Vec<TypeNode>,
}

/// One node of a type tree; a `u32` is an index into the same list. The encoding of each is
/// written in `wit/description.wit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "each is documented at its counterpart in the contract"
)]
pub enum TypeNode {
    Boolean,
    Signed8,
    Unsigned8,
    /// The width in bits: 16, 32, 64 or 128.
    Signed(u8),
    /// The width in bits: 16, 32, 64 or 128.
    Unsigned(u8),
    Float32,
    Float64,
    Character,
    Text,
    Bytes,
    Unit,
    Optional(u32),
    Sequence(u32),
    TupleOf(Vec<u32>),
    MapOf(u32, u32),
    Structure {
        name: String,
        fields: Vec<Field>,
    },
    Enumeration {
        name: String,
        cases: Vec<Case>,
    },
}

/// A named field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub node: u32,
}

/// One case of an enumeration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// What it carries.
    pub payload: u32,
}

/// More nodes than any message type needs; a hostile component could send millions.
const NODES_MAX: usize = 4096;
/// More kinds than any endpoint needs.
const HANDLES_MAX: usize = 1024;

impl Metadata {
    /// Checks what can be checked without running anything.
    ///
    /// # Errors
    /// One sentence about the first thing that makes no sense.
    pub fn check(&self) -> Result<(), String> {
        crate::address::check_endpoint_name(&self.name).map_err(|error| error.to_string())?;
        if let Err(error) = self.version.parse::<semver::Version>() {
            return Err(format!(
                "`{}` is no semantic version: {error}",
                self.version
            ));
        }
        let state = &self.state;
        for (list, what) in [(&state.reads, "reads"), (&state.writes, "writes")] {
            if !list.contains(&state.version) {
                return Err(format!(
                    "its state version {} is not among those it {what}: {list:?}",
                    state.version
                ));
            }
        }
        if self.handles.len() > HANDLES_MAX {
            let count = self.handles.len();
            return Err(format!("{count} message kinds, more than {HANDLES_MAX}"));
        }
        let mut kinds = std::collections::BTreeSet::new();
        for handler in &self.handles {
            if !kinds.insert(&handler.request.kind) {
                return Err(format!("kind `{}` is handled twice", handler.request.kind));
            }
            handler.request.check_nodes()?;
            if let Some(reply) = &handler.reply {
                reply.check_nodes()?;
            }
        }
        Ok(())
    }
}

impl MessageType {
    fn check_nodes(&self) -> Result<(), String> {
        let count = self.nodes.len();
        let bytes = self.kind.len();
        if bytes == 0 || bytes > crate::message::Message::KIND_BYTES_MAX {
            return Err(format!("a kind has {bytes} bytes, expected 1 to 255"));
        }
        if count == 0 || count > NODES_MAX {
            let kind = &self.kind;
            return Err(format!(
                "`{kind}` has {count} type nodes, expected 1 to {NODES_MAX}"
            ));
        }
        let outside = |index: &u32| *index as usize >= count;
        match self.nodes.iter().flat_map(TypeNode::children).find(outside) {
            Some(index) => Err(format!(
                "a type node of `{}` names node {index} of {count}",
                self.kind
            )),
            None => Ok(()),
        }
    }
}

impl TypeNode {
    /// The nodes that this one names.
    pub fn children(&self) -> Vec<u32> {
        match self {
            Self::Optional(node) | Self::Sequence(node) => vec![*node],
            Self::TupleOf(nodes) => nodes.clone(),
            Self::MapOf(key, value) => vec![*key, *value],
            Self::Structure { fields, .. } => fields.iter().map(|field| field.node).collect(),
            Self::Enumeration { cases, .. } => cases.iter().map(|case| case.payload).collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        Metadata {
            name: "echo".to_owned(),
            version: "1.2.3".to_owned(),
            about: String::new(),
            state: StateSupport {
                version: 2,
                reads: vec![1, 2],
                writes: vec![2],
            },
            rights: Vec::new(),
            handles: vec![Handler {
                request: MessageType {
                    kind: "echo.Say".to_owned(),
                    about: String::new(),
                    nodes: vec![TypeNode::Optional(1), TypeNode::Text],
                },
                reply: None,
            }],
            built_with: "test".to_owned(),
        }
    }

    #[test]
    fn metadata_that_makes_sense_passes() {
        assert_eq!(metadata().check(), Ok(()));
    }

    #[test]
    fn metadata_that_makes_no_sense_is_refused_with_the_reason() {
        let check = |change: fn(&mut Metadata), expected: &str| {
            let mut wrong = metadata();
            change(&mut wrong);
            let error = wrong.check().unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check(|m| m.name = "a b".to_owned(), "a b");
        check(|m| m.version = "new".to_owned(), "semantic version");
        check(|m| m.state.version = 7, "state version 7");
        check(|m| m.handles.push(m.handles[0].clone()), "twice");
        check(|m| m.handles[0].request.nodes.clear(), "0 type nodes");
        check(
            |m| m.handles[0].request.nodes = vec![TypeNode::Sequence(9)],
            "names node 9",
        );
        check(|m| m.handles[0].request.kind.clear(), "0 bytes");
    }
}
