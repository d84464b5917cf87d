//! Decode: postcard bytes of a type become a JSON value.

use serde_json::{Map, Value};

use super::budget::Budget;
use super::error::SchemaError;
use super::number::{self, Integer, Whole};
use super::path::{Path, Step};
use super::pseudocode::short;
use super::tree::Tree;
use super::varint::{self, BadVarint};
use super::{base64, key};
use crate::component::metadata::{Case, Field, MessageType, TypeNode};

/// Reads `bytes` as a message of type `message`, to the last byte.
///
/// # Errors
/// [`SchemaError::BadBytes`] and [`SchemaError::Trailing`] if sender and tree disagree,
/// [`SchemaError::TooLarge`] at a limit, [`SchemaError::BadSchema`] if the tree itself is wrong.
pub fn decode(message: &MessageType, bytes: &[u8]) -> Result<Value, SchemaError> {
    let mut decoder = Decoder {
        tree: Tree::checked(message)?,
        bytes,
        at: 0,
        path: Path::default(),
        budget: Budget::new(),
    };
    let value = decoder.node(Tree::ROOT)?;
    match bytes.len() - decoder.at {
        0 => Ok(value),
        left => Err(SchemaError::Trailing {
            kind: message.kind.clone(),
            left,
            at: decoder.at,
        }),
    }
}

struct Decoder<'a> {
    tree: Tree<'a>,
    bytes: &'a [u8],
    /// Never beyond the end of `bytes`.
    at: usize,
    path: Path<'a>,
    budget: Budget,
}

type Outcome<T> = Result<T, SchemaError>;

impl<'a> Decoder<'a> {
    fn node(&mut self, index: u32) -> Outcome<Value> {
        self.budget.enter(&self.path)?;
        let value = match self.tree.node(index) {
            TypeNode::Boolean => Value::Bool(self.flag("a bool, 0 or 1")?),
            TypeNode::Float32 => {
                let number = f32::from_le_bytes(self.fixed("f32")?);
                number::float_to_json(number.into())
            }
            TypeNode::Float64 => number::float_to_json(f64::from_le_bytes(self.fixed("f64")?)),
            TypeNode::Character => self.character()?,
            TypeNode::Text => Value::String(self.text("a string")?.to_owned()),
            TypeNode::Bytes => self.bytes()?,
            TypeNode::Unit => Value::Null,
            TypeNode::Optional(inner) => match self.flag("an option, 0 or 1")? {
                true => self.node(*inner)?,
                false => Value::Null,
            },
            TypeNode::Sequence(inner) => {
                let length = self.length("the length of a list")?;
                // Not allocated by the length that is claimed: see `limits::VALUES_MAX`.
                self.elements((0..length).map(|_| *inner))?
            }
            TypeNode::TupleOf(parts) => self.elements(parts.iter().copied())?,
            TypeNode::MapOf(key, inner) if key::has_text(self.tree, *key) => {
                self.object(*key, *inner)?
            }
            TypeNode::MapOf(key, inner) => self.pairs(*key, *inner)?,
            TypeNode::Structure { fields, .. } => self.structure(fields)?,
            TypeNode::Enumeration { cases, .. } => self.enumeration(index, cases)?,
            node @ (TypeNode::Signed8
            | TypeNode::Unsigned8
            | TypeNode::Signed(_)
            | TypeNode::Unsigned(_)) => self.integer(node)?,
        };
        self.budget.leave();
        Ok(value)
    }

    fn integer(&mut self, node: &TypeNode) -> Outcome<Value> {
        let Some(Integer { bits, signed }) = Integer::of(node) else {
            return Err(self.bad("a number", "another type".to_owned()));
        };
        let whole = match (bits, signed) {
            (8, true) => Whole::Signed(i8::from_le_bytes(self.fixed("i8")?).into()),
            (8, false) => Whole::Unsigned(u8::from_le_bytes(self.fixed("u8")?).into()),
            (_, true) => Whole::Signed(varint::unzigzag(self.varint(bits, "a number")?)),
            (_, false) => Whole::Unsigned(self.varint(bits, "a number")?),
        };
        Ok(whole.to_json())
    }

    /// Like postcard: at most four bytes, of which the first character counts.
    fn character(&mut self) -> Outcome<Value> {
        const EXPECTED: &str = "a character of 1 to 4 bytes";
        let start = self.at;
        let text = self.text(EXPECTED)?;
        match text.chars().next() {
            Some(first) if text.len() <= 4 => Ok(Value::String(first.to_string())),
            _ => {
                let found = format!("text of {} bytes", text.len());
                self.at = start;
                Err(self.bad(EXPECTED, found))
            }
        }
    }

    fn bytes(&mut self) -> Outcome<Value> {
        let length = self.length("the length of bytes")?;
        let bytes = self.take(length, "bytes")?;
        // Base64 is longer than what it stands for.
        self.budget.bytes(bytes.len().div_ceil(3) * 4, &self.path)?;
        Ok(match std::str::from_utf8(bytes) {
            Ok(text) => Value::String(text.to_owned()),
            Err(_) => Value::Object(Map::from_iter([(
                "base64".to_owned(),
                Value::String(base64::encode(bytes)),
            )])),
        })
    }

    fn elements(&mut self, nodes: impl Iterator<Item = u32>) -> Outcome<Value> {
        let mut values = Vec::new();
        for (position, node) in nodes.enumerate() {
            self.path.push(Step::Index(position));
            values.push(self.node(node)?);
            self.path.pop();
        }
        Ok(Value::Array(values))
    }

    fn object(&mut self, key: u32, inner: u32) -> Outcome<Value> {
        let mut object = Map::new();
        for position in 0..self.length("the length of a map")? {
            self.path.push(Step::Index(position));
            let start = self.at;
            let text = key::to_text(self.node(key)?).unwrap_or_default();
            self.path.pop();
            if object.contains_key(&text) {
                // Showing one of the two would hide the other.
                self.at = start;
                return Err(self.bad("a map with different keys", format!("{text:?} twice")));
            }
            self.path.push(Step::Name(text.clone().into()));
            let value = self.node(inner)?;
            self.path.pop();
            object.insert(text, value);
        }
        Ok(Value::Object(object))
    }

    fn pairs(&mut self, key: u32, inner: u32) -> Outcome<Value> {
        let mut pairs = Vec::new();
        for position in 0..self.length("the length of a map")? {
            self.path.push(Step::Index(position));
            pairs.push(self.elements([key, inner].into_iter())?);
            self.path.pop();
        }
        Ok(Value::Array(pairs))
    }

    fn structure(&mut self, fields: &'a [Field]) -> Outcome<Value> {
        let mut object = Map::new();
        for field in fields {
            self.budget.bytes(field.name.len(), &self.path)?;
            self.path.push(Step::Name(field.name.as_str().into()));
            let value = self.node(field.node)?;
            self.path.pop();
            object.insert(field.name.clone(), value);
        }
        Ok(Value::Object(object))
    }

    fn enumeration(&mut self, index: u32, cases: &'a [Case]) -> Outcome<Value> {
        let start = self.at;
        let position = self.varint(32, "the number of a case")?;
        let case = usize::try_from(position).ok().and_then(|at| cases.get(at));
        let Some(case) = case else {
            self.at = start;
            let expected = format!("a case of {}", short(self.tree, index));
            return Err(self.bad(&expected, format!("number {position} of {}", cases.len())));
        };
        self.budget.bytes(case.name.len(), &self.path)?;
        if self.tree.is_unit_case(case) {
            return Ok(Value::String(case.name.clone()));
        }
        self.path.push(Step::Name(case.name.as_str().into()));
        let payload = self.node(case.payload)?;
        self.path.pop();
        Ok(Value::Object(Map::from_iter([(
            case.name.clone(),
            payload,
        )])))
    }

    fn text(&mut self, expected: &str) -> Outcome<&'a str> {
        let length = self.length(expected)?;
        let start = self.at;
        let bytes = self.take(length, expected)?;
        self.budget.bytes(length, &self.path)?;
        std::str::from_utf8(bytes).map_err(|error| {
            self.at = start + error.valid_up_to();
            self.bad(expected, "bytes that are not UTF-8".to_owned())
        })
    }

    fn flag(&mut self, expected: &str) -> Outcome<bool> {
        match self.fixed(expected)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => {
                self.at -= 1;
                Err(self.bad(expected, other.to_string()))
            }
        }
    }

    fn length(&mut self, expected: &str) -> Outcome<usize> {
        let length = self.varint(64, expected)?;
        // Only where addresses have less than 64 bits can this differ; the length is refused there.
        Ok(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn varint(&mut self, bits: u32, expected: &str) -> Outcome<u128> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match varint::read(rest, bits) {
            Ok((number, length)) => {
                self.at += length;
                Ok(number)
            }
            Err(BadVarint::Truncated) => Err(self.bad(expected, "the end of the bytes".to_owned())),
            Err(BadVarint::TooLong) => {
                let found = format!("a number of more than {bits} bits");
                Err(self.bad(expected, found))
            }
        }
    }

    fn fixed<const N: usize>(&mut self, expected: &str) -> Outcome<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N, expected)?);
        Ok(bytes)
    }

    fn take(&mut self, length: usize, expected: &str) -> Outcome<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match rest.get(..length) {
            Some(bytes) => {
                self.at += length;
                Ok(bytes)
            }
            None => {
                let found = match rest.len() {
                    0 => "the end of the bytes".to_owned(),
                    left => format!("only {left} of {length} bytes"),
                };
                Err(self.bad(expected, found))
            }
        }
    }

    fn bad(&self, expected: &str, found: String) -> SchemaError {
        SchemaError::BadBytes {
            path: self.path.text(),
            expected: expected.to_owned(),
            found,
            at: self.at,
        }
    }
}
