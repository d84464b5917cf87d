//! How an endpoint describes itself, as plain data: the SDK's mirror of `wit/description.wit`.
//!
//! Fields and cases stand in the order of the host's own `Metadata`, so that both sides agree on
//! the postcard bytes of a description that travels in a message.

use serde::{Deserialize, Serialize};

use crate::Schema;

/// The description of one version of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Metadata {
    /// Name under which it is registered unless the sidecar says otherwise.
    pub name: String,
    /// Semantic version of the code.
    pub version: String,
    /// One sentence for people. May be empty.
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct StateSupport {
    /// The version it writes by itself.
    pub version: u32,
    /// The versions that it can take over, `version` among them.
    pub reads: Vec<u32>,
    /// The versions that it can write, `version` among them.
    pub writes: Vec<u32>,
}

/// A message that an endpoint handles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Handler {
    /// What is sent.
    pub request: MessageType,
    /// What is answered; none for one-way messages.
    pub reply: Option<MessageType>,
}

/// A message type: its stable name and its shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct MessageType {
    /// Its stable name.
    pub kind: String,
    /// One sentence for people. May be empty.
    pub about: String,
    /// The type tree; element 0 is the root. A type that contains itself is a cycle of indices.
    pub nodes: Vec<TypeNode>,
}

/// One node of a type tree, in the data model of serde as postcard writes it. A `u32` is an index
/// into the list that the node stands in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub enum TypeNode {
    /// One byte, 0 or 1.
    Boolean,
    /// One byte, as it is.
    Signed8,
    /// One byte, as it is.
    Unsigned8,
    /// Zigzag varint of 16, 32, 64 or 128 bits.
    Signed(u8),
    /// Varint of 16, 32, 64 or 128 bits.
    Unsigned(u8),
    /// Four bytes, little endian.
    Float32,
    /// Eight bytes, little endian.
    Float64,
    /// A string of one character.
    Character,
    /// Varint length, then UTF-8.
    Text,
    /// Varint length, then bytes.
    Bytes,
    /// Nothing at all.
    Unit,
    /// One byte, 0 or 1; after 1 the value.
    Optional(u32),
    /// Varint length, then the elements.
    Sequence(u32),
    /// The elements, one after the other.
    TupleOf(Vec<u32>),
    /// Varint length, then key and value in turn.
    MapOf(u32, u32),
    /// The fields in order.
    Structure {
        /// Name of the type.
        name: String,
        /// Its fields.
        fields: Vec<Field>,
    },
    /// Varint index of the case, then its payload.
    Enumeration {
        /// Name of the type.
        name: String,
        /// Its cases.
        cases: Vec<Case>,
    },
}

/// A named field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub node: u32,
}

/// One case of an enumeration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// What it carries: a unit, a tuple, a structure, or any other node for a single value.
    pub payload: u32,
}
