//! Key: which keys of a map have a text form, so that the map can be a JSON object.

use serde_json::{Number, Value};

use super::number::Integer;
use super::tree::Tree;
use crate::component::metadata::TypeNode;

/// True if every value of the node at `index` has a text of its own.
pub(super) fn has_text(tree: Tree<'_>, index: u32) -> bool {
    match tree.node(index) {
        TypeNode::Text | TypeNode::Character | TypeNode::Boolean => true,
        TypeNode::Float32 | TypeNode::Float64 => true,
        TypeNode::Enumeration { cases, .. } => cases.iter().all(|case| tree.is_unit_case(case)),
        node => Integer::of(node).is_some(),
    }
}

/// The text of a key that was decoded; `None` if it has none, which [`has_text`] excludes.
pub(super) fn to_text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

/// The JSON value that `text` stands for as a key of type `node`. What cannot be read stays a string,
/// which the encoder then refuses with a reason.
pub(super) fn from_text(node: &TypeNode, text: &str) -> Value {
    let parsed = match node {
        TypeNode::Boolean => text.parse().ok().map(Value::Bool),
        TypeNode::Float32 | TypeNode::Float64 => {
            let number = text.parse().ok().and_then(Number::from_f64);
            number.map(Value::Number)
        }
        node => Integer::of(node)
            .and_then(|integer| integer.parse(text))
            .map(super::number::Whole::to_json),
    };
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}
