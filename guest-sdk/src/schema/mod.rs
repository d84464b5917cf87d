//! Schema: the shape of a type, so that a host can show it and a person can write it as JSON.
//!
//! Beside it: [`crate::Message`] (a shape with a name), [`crate::description`] (the nodes).
//!
//! Invariants
//! 1. The nodes describe exactly the bytes that serde and postcard make of the type.
//! 2. Each type stands in the list once; whoever contains it points at it. So a type that contains
//!    itself ends as a cycle of indices, never as an endless list.
//!
//! A type that contains itself is decoded by recursion, as deep as the bytes say. Keep such types
//! out of messages that strangers send: a long enough one ends the stack, which is a crash.
//!
//! Not here: reading values by a schema. That is the host's.

mod impls;

use std::any::TypeId;

use crate::description::{Case, Field, TypeNode};

/// A type whose shape is known. Derive it: `#[derive(Schema)]`; `#[derive(Message)]` does it too.
///
/// Attributes of serde that make the bytes differ from the fields do not compile:
///
/// ```compile_fail
/// use serde::{Deserialize, Serialize};
///
/// #[derive(instar_sdk::Schema, Serialize, Deserialize)]
/// struct Point {
///     x: f64,
///     #[serde(skip)] // refused: the schema would show a field that the bytes have not
///     y: f64,
/// }
/// ```
///
/// Written by hand only where serde's traits are written by hand as well.
#[diagnostic::on_unimplemented(
    message = "the shape of `{Self}` is not known",
    note = "derive it with `#[derive(instar_sdk::Schema)]`, beside serde's `Serialize` and `Deserialize`"
)]
pub trait Schema: 'static {
    /// The node of this type. Adds the types that it contains to `nodes`.
    fn node(nodes: &mut Nodes) -> TypeNode;
}

/// The type tree while it grows.
#[derive(Default)]
pub struct Nodes {
    nodes: Vec<TypeNode>,
    known: Vec<(TypeId, u32)>,
}

impl Nodes {
    /// The index of `T`, which is added if it is new.
    pub fn add<T: Schema>(&mut self) -> u32 {
        let id = TypeId::of::<T>();
        // A list, not a map: message types have few parts, and a map costs a guest some KiB.
        if let Some((_, index)) = self.known.iter().find(|(known, _)| *known == id) {
            return *index;
        }
        // The place is taken before its parts are looked at: the root comes first, and a type that
        // contains itself finds itself.
        let index = self.push(TypeNode::Unit);
        self.known.push((id, index));
        let node = T::node(self);
        if let Some(place) = self.nodes.get_mut(index as usize) {
            *place = node;
        }
        index
    }

    /// The index of a node that is no type of its own, such as the payload of a case.
    pub fn push(&mut self, node: TypeNode) -> u32 {
        self.nodes.push(node);
        (self.nodes.len() - 1) as u32
    }

    /// A field of a structure.
    pub fn field<T: Schema>(&mut self, name: &str) -> Field {
        Field {
            name: name.to_owned(),
            node: self.add::<T>(),
        }
    }

    /// A case without payload.
    pub fn unit_case(&mut self, name: &str) -> Case {
        let payload = self.add::<()>();
        case(name, payload)
    }

    /// A case that holds one value.
    pub fn value_case<T: Schema>(&mut self, name: &str) -> Case {
        let payload = self.add::<T>();
        case(name, payload)
    }

    /// A case that holds the elements of a tuple.
    pub fn tuple_case(&mut self, name: &str, elements: Vec<u32>) -> Case {
        let payload = self.push(TypeNode::TupleOf(elements));
        case(name, payload)
    }

    /// A case that holds named fields.
    pub fn structure_case(&mut self, name: &str, fields: Vec<Field>) -> Case {
        let payload = self.push(TypeNode::Structure {
            name: name.to_owned(),
            fields,
        });
        case(name, payload)
    }
}

fn case(name: &str, payload: u32) -> Case {
    Case {
        name: name.to_owned(),
        payload,
    }
}

/// The type tree of `T`; element 0 is its root.
///
/// ```
/// use instar_sdk::description::TypeNode;
///
/// let tree = instar_sdk::schema::tree_of::<Vec<u64>>();
/// assert_eq!(tree, [TypeNode::Sequence(1), TypeNode::Unsigned(64)]);
/// ```
pub fn tree_of<T: Schema>() -> Vec<TypeNode> {
    let mut nodes = Nodes::default();
    nodes.add::<T>();
    nodes.nodes
}
