//! Encode: a JSON value becomes the postcard bytes of a type.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::budget::Budget;
use super::error::SchemaError;
use super::number::{self, Integer, Whole};
use super::path::{Path, Step};
use super::pseudocode::short;
use super::tree::Tree;
use super::{base64, key, varint};
use crate::component::metadata::{Case, Field, MessageType, TypeNode};

/// Writes `value` as a message of type `message`.
///
/// Fields may come in any order; one that is optional may be left out. Maps are written in the order
/// of the text of their keys.
///
/// # Errors
/// [`SchemaError`] with the path to the first value that does not fit; [`SchemaError::BadSchema`] if
/// the tree itself is wrong.
pub fn encode(message: &MessageType, value: &Value) -> Result<Bytes, SchemaError> {
    let mut encoder = Encoder {
        tree: Tree::checked(message)?,
        out: Vec::new(),
        path: Path::default(),
        budget: Budget::new(),
    };
    encoder.node(Tree::ROOT, value)?;
    Ok(encoder.out.into())
}

struct Encoder<'a> {
    tree: Tree<'a>,
    out: Vec<u8>,
    path: Path<'a>,
    budget: Budget,
}

type Outcome = Result<(), SchemaError>;

impl<'a> Encoder<'a> {
    fn node(&mut self, index: u32, value: &'a Value) -> Outcome {
        self.budget.enter(&self.path)?;
        match self.tree.node(index) {
            TypeNode::Boolean => self.boolean(value)?,
            TypeNode::Float32 | TypeNode::Float64 => self.float(index, value)?,
            TypeNode::Character => self.character(value)?,
            TypeNode::Text => match value {
                Value::String(text) => self.data(text.as_bytes())?,
                _ => return Err(self.mismatch("a string", value)),
            },
            TypeNode::Bytes => self.bytes(value)?,
            TypeNode::Unit => match value {
                Value::Null => {}
                _ => return Err(self.mismatch("null", value)),
            },
            TypeNode::Optional(inner) => match value {
                Value::Null => self.out.push(0),
                _ => {
                    self.out.push(1);
                    self.node(*inner, value)?;
                }
            },
            TypeNode::Sequence(inner) => {
                let values = self.array(index, value)?;
                self.length(values.len());
                self.elements(values.iter().map(|value| (*inner, value)))?;
            }
            TypeNode::TupleOf(parts) => {
                let values = self.array(index, value)?;
                if values.len() != parts.len() {
                    let expected = format!("{} elements, {}", parts.len(), short(self.tree, index));
                    return Err(self.mismatch(&expected, value));
                }
                self.elements(parts.iter().copied().zip(values))?;
            }
            TypeNode::MapOf(key, inner) => self.map(index, (*key, *inner), value)?,
            TypeNode::Structure { name, fields } => {
                let name = self.tree.name_of(index, name);
                match value {
                    Value::Object(given) => self.structure(name, fields, given)?,
                    _ => {
                        let expected = format!("an object, {}", short(self.tree, index));
                        return Err(self.mismatch(&expected, value));
                    }
                }
            }
            TypeNode::Enumeration { name, cases } => {
                let name = self.tree.name_of(index, name);
                self.enumeration(index, name, cases, value)?;
            }
            node @ (TypeNode::Signed8
            | TypeNode::Unsigned8
            | TypeNode::Signed(_)
            | TypeNode::Unsigned(_)) => self.integer(node, value)?,
        }
        self.budget.leave();
        Ok(())
    }

    fn boolean(&mut self, value: &Value) -> Outcome {
        match value {
            Value::Bool(flag) => {
                self.out.push(u8::from(*flag));
                Ok(())
            }
            _ => Err(self.mismatch("true or false", value)),
        }
    }

    fn integer(&mut self, node: &TypeNode, value: &Value) -> Outcome {
        let Some(integer) = Integer::of(node) else {
            return Err(self.mismatch("a number", value));
        };
        let Some(whole) = integer.read_json(value) else {
            return Err(self.mismatch(&integer.expected(), value));
        };
        match (integer.bits, whole) {
            // One byte as it is, not a varint. The range was checked: nothing is cut off.
            (8, Whole::Signed(number)) => self.out.push(number as u8),
            (8, Whole::Unsigned(number)) => self.out.push(number as u8),
            (_, Whole::Signed(number)) => varint::write(&mut self.out, varint::zigzag(number)),
            (_, Whole::Unsigned(number)) => varint::write(&mut self.out, number),
        }
        Ok(())
    }

    fn float(&mut self, index: u32, value: &Value) -> Outcome {
        let expected = "a number, \"NaN\", \"inf\" or \"-inf\"";
        let Some(number) = number::float_from_json(value) else {
            return Err(self.mismatch(expected, value));
        };
        if matches!(self.tree.node(index), TypeNode::Float64) {
            self.out.extend(number.to_le_bytes());
            return Ok(());
        }
        match number::narrow(number) {
            Some(number) => self.out.extend(number.to_le_bytes()),
            None => return Err(self.mismatch("f32 (at most 3.4e38)", value)),
        }
        Ok(())
    }

    fn character(&mut self, value: &Value) -> Outcome {
        match value {
            Value::String(text) if text.chars().nth(1).is_none() && !text.is_empty() => {
                self.data(text.as_bytes())
            }
            _ => Err(self.mismatch("a string of one character", value)),
        }
    }

    /// Text, a list of numbers, or `{"base64": "..."}`.
    fn bytes(&mut self, value: &Value) -> Outcome {
        const EXPECTED: &str = "a string, a list of numbers 0 to 255, or {\"base64\": \"...\"}";
        match value {
            Value::String(text) => self.data(text.as_bytes()),
            Value::Array(numbers) => {
                let byte = |number: &Value| number.as_u64().and_then(|n| u8::try_from(n).ok());
                match numbers.iter().map(byte).collect::<Option<Vec<u8>>>() {
                    Some(bytes) => self.data(&bytes),
                    None => Err(self.mismatch(EXPECTED, value)),
                }
            }
            Value::Object(fields) if fields.len() == 1 => {
                let text = fields.get("base64").and_then(Value::as_str);
                match text.map(base64::decode) {
                    Some(Some(bytes)) => self.data(&bytes),
                    Some(None) => {
                        let found = "a string that is no base64".to_owned();
                        Err(self.mismatch_with("base64 with + and /", found))
                    }
                    None => Err(self.mismatch(EXPECTED, value)),
                }
            }
            _ => Err(self.mismatch(EXPECTED, value)),
        }
    }

    fn map(&mut self, index: u32, (key, inner): (u32, u32), value: &'a Value) -> Outcome {
        match value {
            Value::Object(entries) if key::has_text(self.tree, key) => {
                self.length(entries.len());
                for (text, value) in entries {
                    self.path.push(Step::Name(text.into()));
                    self.key(key, text)?;
                    self.node(inner, value)?;
                    self.path.pop();
                }
                Ok(())
            }
            Value::Array(pairs) if !key::has_text(self.tree, key) => {
                self.length(pairs.len());
                for (position, pair) in pairs.iter().enumerate() {
                    self.path.push(Step::Index(position));
                    match pair.as_array().map(Vec::as_slice) {
                        Some([first, second]) => {
                            self.elements([(key, first), (inner, second)].into_iter())?;
                        }
                        _ => return Err(self.mismatch("[key, value]", pair)),
                    }
                    self.path.pop();
                }
                Ok(())
            }
            _ => {
                let form = match key::has_text(self.tree, key) {
                    true => "an object",
                    false => "an array of [key, value]",
                };
                let expected = format!("{form}, {}", short(self.tree, index));
                Err(self.mismatch(&expected, value))
            }
        }
    }

    /// A key lives only as long as this call, so it is walked with a walk of its own.
    fn key(&mut self, index: u32, text: &str) -> Outcome {
        let tree = self.tree;
        let value = key::from_text(tree.node(index), text);
        let mut encoder = Encoder {
            tree,
            out: std::mem::take(&mut self.out),
            path: Path::default(),
            budget: Budget::new(),
        };
        let outcome = encoder.node(index, &value);
        self.out = encoder.out;
        self.budget.enter(&self.path)?;
        self.budget.leave();
        outcome.map_err(|_| {
            let expected = format!("a key of type {}", short(tree, index));
            self.mismatch_with(&expected, format!("the key {}", quoted(text)))
        })
    }

    fn structure(
        &mut self,
        name: &str,
        fields: &'a [Field],
        given: &'a Map<String, Value>,
    ) -> Outcome {
        let unknown = |found: &&String| fields.iter().all(|field| field.name != **found);
        if let Some(field) = given.keys().find(unknown) {
            return Err(SchemaError::UnknownField {
                path: self.path.text(),
                structure: name.to_owned(),
                field: clipped(field),
                known: listed(fields.iter().map(|field| format!("`{}`", field.name))),
            });
        }
        let optional = |field: &Field| matches!(self.tree.node(field.node), TypeNode::Optional(_));
        let mut missing = fields
            .iter()
            .filter(|field| !given.contains_key(&field.name) && !optional(field))
            .peekable();
        if missing.peek().is_some() {
            let typed =
                |field: &Field| format!("`{}`: {}", field.name, short(self.tree, field.node));
            return Err(SchemaError::MissingFields {
                path: self.path.text(),
                structure: name.to_owned(),
                missing: listed(missing.map(typed)),
            });
        }
        for field in fields {
            self.path.push(Step::Name(field.name.as_str().into()));
            self.node(field.node, given.get(&field.name).unwrap_or(&Value::Null))?;
            self.path.pop();
        }
        Ok(())
    }

    fn enumeration(
        &mut self,
        index: u32,
        name: &str,
        cases: &'a [Case],
        value: &'a Value,
    ) -> Outcome {
        let (case, payload) = match value {
            Value::String(case) => (case.as_str(), None),
            Value::Object(fields) => match fields.iter().next() {
                Some((case, payload)) if fields.len() == 1 => (case.as_str(), Some(payload)),
                _ => return Err(self.mismatch("an object with one field, the case", value)),
            },
            _ => {
                let expected = format!("a case of {}", short(self.tree, index));
                return Err(self.mismatch(&expected, value));
            }
        };
        let Some(position) = cases.iter().position(|known| known.name == case) else {
            return Err(SchemaError::UnknownCase {
                path: self.path.text(),
                enumeration: name.to_owned(),
                case: clipped(case),
                known: listed(cases.iter().map(|case| format!("`{}`", case.name))),
            });
        };
        let Some(known) = cases.get(position) else {
            return Ok(());
        };
        self.length(position);
        let payload = match payload {
            Some(payload) => payload,
            None if self.tree.is_unit_case(known) => &Value::Null,
            None => {
                let shape = short(self.tree, known.payload);
                let expected = format!("{{{}: ...}} with {shape}", quoted(case));
                return Err(self.mismatch(&expected, value));
            }
        };
        self.path.push(Step::Name(known.name.as_str().into()));
        self.node(known.payload, payload)?;
        self.path.pop();
        Ok(())
    }

    fn array(&self, index: u32, value: &'a Value) -> Result<&'a [Value], SchemaError> {
        match value {
            Value::Array(values) => Ok(values),
            _ => {
                let expected = format!("an array, {}", short(self.tree, index));
                Err(self.mismatch(&expected, value))
            }
        }
    }

    fn elements(&mut self, values: impl Iterator<Item = (u32, &'a Value)>) -> Outcome {
        for (position, (node, value)) in values.enumerate() {
            self.path.push(Step::Index(position));
            self.node(node, value)?;
            self.path.pop();
        }
        Ok(())
    }

    fn length(&mut self, length: usize) {
        varint::write(&mut self.out, length as u128);
    }

    fn data(&mut self, bytes: &[u8]) -> Outcome {
        self.budget.bytes(bytes.len(), &self.path)?;
        self.length(bytes.len());
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn mismatch(&self, expected: &str, found: &Value) -> SchemaError {
        self.mismatch_with(expected, describe(found))
    }

    fn mismatch_with(&self, expected: &str, found: String) -> SchemaError {
        SchemaError::Mismatch {
            path: self.path.text(),
            expected: expected.to_owned(),
            found,
        }
    }
}

/// What a JSON value is, short enough for an error.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("the string {}", quoted(text)),
        Value::Array(values) => format!("an array of {}", values.len()),
        Value::Object(fields) => {
            let names = listed(fields.keys().map(|name| format!("`{}`", clipped(name))));
            format!("an object with {names}")
        }
    }
}

fn quoted(text: &str) -> String {
    format!("{:?}", clipped(text))
}

fn clipped(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// `a, b and 7 more`; `nothing` for none.
fn listed(mut names: impl Iterator<Item = String>) -> String {
    const SHOWN_MAX: usize = 24;
    let shown: Vec<String> = names.by_ref().take(SHOWN_MAX).collect();
    match (shown.is_empty(), names.count()) {
        (true, _) => "nothing".to_owned(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
}
