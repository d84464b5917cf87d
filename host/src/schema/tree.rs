//! Tree: the type tree of one message, checked before anything walks it.

use std::collections::HashSet;

use super::error::SchemaError;
use super::limits::{LINKS_MAX, NAME_BYTES_MAX, NODES_MAX};
use crate::component::metadata::{Case, MessageType, TypeNode};

/// Checks that a type tree can be walked: it has a root and at most [`NODES_MAX`] nodes, every index
/// points to a node, widths are ones that postcard knows, names are short, printable, and stand once in
/// their structure. A tree may refer to itself: lists of itself are how trees are written.
///
/// # Errors
/// [`SchemaError::BadSchema`] names the node and the reason.
pub fn check(message: &MessageType) -> Result<(), SchemaError> {
    Tree::checked(message).map(|_| ())
}

/// A tree that passed [`check`].
#[derive(Clone, Copy)]
pub(super) struct Tree<'a> {
    /// The name of the message type, also that of its root if that is a structure.
    pub(super) kind: &'a str,
    nodes: &'a [TypeNode],
}

impl<'a> Tree<'a> {
    /// The index of the root.
    pub(super) const ROOT: u32 = 0;

    /// Checks `message` and wraps it.
    pub(super) fn checked(message: &'a MessageType) -> Result<Self, SchemaError> {
        let bad = |reason: String| SchemaError::BadSchema {
            kind: message.kind.clone(),
            reason,
        };
        let nodes = message.nodes.as_slice();
        if nodes.is_empty() {
            return Err(bad("it has no nodes, not even a root".to_owned()));
        }
        if nodes.len() > NODES_MAX {
            return Err(bad(format!(
                "{} nodes, the limit is {NODES_MAX}",
                nodes.len()
            )));
        }
        check_name(&message.kind).map_err(&bad)?;
        let mut links = 0_usize;
        for (index, node) in nodes.iter().enumerate() {
            let at = |reason: String| bad(format!("node {index}: {reason}"));
            check_node(node).map_err(at)?;
            for target in targets(node) {
                links += 1;
                if target as usize >= nodes.len() {
                    let count = nodes.len();
                    return Err(at(format!("it refers to node {target} of {count}")));
                }
            }
        }
        if links > LINKS_MAX {
            return Err(bad(format!(
                "{links} fields and other links, the limit is {LINKS_MAX}"
            )));
        }
        Ok(Self::unchecked(message))
    }

    /// For what only prints, and stays in bounds by itself.
    pub(super) fn unchecked(message: &'a MessageType) -> Self {
        Self {
            kind: &message.kind,
            nodes: &message.nodes,
        }
    }

    /// The node at `index`; a unit if there is none, which [`check`] excludes.
    pub(super) fn node(&self, index: u32) -> &'a TypeNode {
        self.nodes.get(index as usize).unwrap_or(&TypeNode::Unit)
    }

    /// True if the case carries nothing.
    pub(super) fn is_unit_case(&self, case: &Case) -> bool {
        matches!(self.node(case.payload), TypeNode::Unit)
    }

    /// The name of a structure or enumeration; the root is known by its kind.
    pub(super) fn name_of(&self, index: u32, name: &'a str) -> &'a str {
        if index == Self::ROOT || name.is_empty() {
            self.kind
        } else {
            name
        }
    }
}

fn check_node(node: &TypeNode) -> Result<(), String> {
    match node {
        TypeNode::Signed(bits) | TypeNode::Unsigned(bits) if ![16, 32, 64, 128].contains(bits) => {
            Err(format!(
                "a width of {bits} bits; 16, 32, 64 and 128 are possible"
            ))
        }
        TypeNode::Structure { name, fields } => {
            check_type_name(name)?;
            check_names(fields.iter().map(|field| field.name.as_str()))
        }
        TypeNode::Enumeration { name, cases } => {
            check_type_name(name)?;
            check_names(cases.iter().map(|case| case.name.as_str()))
        }
        _ => Ok(()),
    }
}

/// A type may be without name, fields and cases may not.
fn check_type_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        Ok(())
    } else {
        check_name(name)
    }
}

fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut seen = HashSet::new();
    for name in names {
        check_name(name)?;
        if !seen.insert(name) {
            return Err(format!("the name `{name}` stands twice"));
        }
    }
    Ok(())
}

/// Names are printed on terminals, so control characters are refused.
fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let length = name.len();
        return Err(format!(
            "a name of {length} bytes; 1 to {NAME_BYTES_MAX} are possible"
        ));
    }
    match name.chars().find(|c| c.is_control()) {
        Some(control) => Err(format!("a name with the control character {control:?}")),
        None => Ok(()),
    }
}

fn targets(node: &TypeNode) -> Vec<u32> {
    match node {
        TypeNode::Optional(target) | TypeNode::Sequence(target) => vec![*target],
        TypeNode::TupleOf(targets) => targets.clone(),
        TypeNode::MapOf(key, value) => vec![*key, *value],
        TypeNode::Structure { fields, .. } => fields.iter().map(|field| field.node).collect(),
        TypeNode::Enumeration { cases, .. } => cases.iter().map(|case| case.payload).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::metadata::Field;

    fn refused(nodes: Vec<TypeNode>) -> String {
        let message = MessageType {
            kind: "test.Bad".into(),
            about: String::new(),
            nodes,
        };
        check(&message).unwrap_err().to_string()
    }

    fn field(name: &str) -> Field {
        Field {
            name: name.into(),
            node: 0,
        }
    }

    #[test]
    fn a_tree_that_cannot_be_walked_is_refused_with_node_and_reason() {
        let structure = |fields| TypeNode::Structure {
            name: "S".into(),
            fields,
        };
        for (nodes, reason) in [
            (vec![], "no nodes"),
            (
                vec![TypeNode::Optional(1)],
                "node 0: it refers to node 1 of 1",
            ),
            (
                vec![TypeNode::Unit, TypeNode::Signed(8)],
                "node 1: a width of 8 bits",
            ),
            (vec![TypeNode::Unsigned(255)], "a width of 255 bits"),
            (
                vec![structure(vec![field("a"), field("a")])],
                "`a` stands twice",
            ),
            (vec![structure(vec![field("")])], "a name of 0 bytes"),
            (
                vec![structure(vec![field("\u{1b}[2J")])],
                "control character",
            ),
            (
                vec![TypeNode::Unit; NODES_MAX + 1],
                "4097 nodes, the limit is 4096",
            ),
            (
                vec![TypeNode::TupleOf(vec![0; LINKS_MAX + 1])],
                "the limit is 16384",
            ),
        ] {
            let error = refused(nodes);
            assert!(
                error.contains("test.Bad") && error.contains(reason),
                "{error}"
            );
        }
    }
}
