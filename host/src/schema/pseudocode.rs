//! Pseudocode: a message type as a person reads it, for `instar inspect` and for errors.

use std::fmt::{self, Write as _};

use super::limits::{DEPTH_MAX, PSEUDOCODE_BYTES_MAX};
use super::number::Integer;
use super::tree::Tree;
use crate::component::metadata::{Case, Field, MessageType, TypeNode};

/// Writes the type in one line: `wordcount.Line { number: u64, text: bytes }`.
///
/// Takes any tree, also one that [`check`](super::check) refuses: what cannot be shown is `?`, a type
/// inside itself is its name, and after [`PSEUDOCODE_BYTES_MAX`] bytes the text ends with `...`.
pub fn pseudocode(message: &MessageType) -> String {
    let tree = Tree::unchecked(message);
    let mut writer = Writer::new(tree, PSEUDOCODE_BYTES_MAX);
    let outcome = if message.nodes.is_empty() {
        writer
            .name(tree.kind)
            .and_then(|()| writer.write_str(" = ?"))
    } else {
        writer.root()
    };
    writer.finish(outcome)
}

/// The type of one node, short, as errors name it.
pub(super) fn short(tree: Tree<'_>, index: u32) -> String {
    const SHORT: usize = 120;
    let mut writer = Writer::new(tree, SHORT);
    let outcome = writer.node(index);
    writer.finish(outcome)
}

/// Appends until the limit; an error means that the limit was reached.
struct Writer<'a> {
    tree: Tree<'a>,
    text: String,
    limit: usize,
    /// The nodes around the one being written.
    around: Vec<u32>,
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.text.len() + part.len() > self.limit {
            return Err(fmt::Error);
        }
        self.text.push_str(part);
        Ok(())
    }
}

impl<'a> Writer<'a> {
    fn new(tree: Tree<'a>, limit: usize) -> Self {
        Self {
            tree,
            text: String::new(),
            limit,
            around: Vec::new(),
        }
    }

    fn finish(mut self, outcome: fmt::Result) -> String {
        if outcome.is_err() {
            self.text.push_str("...");
        }
        self.text
    }

    /// The root: its name is the kind, whatever it is called in its language.
    fn root(&mut self) -> fmt::Result {
        let tree = self.tree;
        self.name(tree.kind)?;
        self.around.push(Tree::ROOT);
        match tree.node(Tree::ROOT) {
            TypeNode::Unit => Ok(()),
            TypeNode::Structure { fields, .. } => {
                self.write_char(' ')?;
                self.fields(fields)
            }
            TypeNode::TupleOf(parts) => self.list("(", parts, ")"),
            TypeNode::Enumeration { cases, .. } => {
                self.write_str(" = ")?;
                self.cases(cases)
            }
            _ => {
                self.around.clear();
                self.write_str(" = ")?;
                self.node(Tree::ROOT)
            }
        }
    }

    fn node(&mut self, index: u32) -> fmt::Result {
        if self.around.len() >= DEPTH_MAX {
            return self.write_str("...");
        }
        let node = self.tree.node(index);
        if self.around.contains(&index) {
            return match node {
                TypeNode::Structure { name, .. } | TypeNode::Enumeration { name, .. } => {
                    self.name(self.tree.name_of(index, name))
                }
                _ => self.write_str("..."),
            };
        }
        self.around.push(index);
        let outcome = self.shape(index, node);
        self.around.pop();
        outcome
    }

    fn shape(&mut self, index: u32, node: &'a TypeNode) -> fmt::Result {
        match node {
            TypeNode::Boolean => self.write_str("bool"),
            TypeNode::Float32 => self.write_str("f32"),
            TypeNode::Float64 => self.write_str("f64"),
            TypeNode::Character => self.write_str("char"),
            TypeNode::Text => self.write_str("string"),
            TypeNode::Bytes => self.write_str("bytes"),
            TypeNode::Unit => self.write_str("()"),
            TypeNode::Optional(inner) => self.list("option<", &[*inner], ">"),
            TypeNode::Sequence(inner) => self.list("list<", &[*inner], ">"),
            TypeNode::MapOf(key, value) => self.list("map<", &[*key, *value], ">"),
            TypeNode::TupleOf(parts) => self.list("(", parts, ")"),
            TypeNode::Structure { name, fields } => {
                self.name(self.tree.name_of(index, name))?;
                self.write_char(' ')?;
                self.fields(fields)
            }
            TypeNode::Enumeration { cases, .. } => self.cases(cases),
            TypeNode::Signed8
            | TypeNode::Unsigned8
            | TypeNode::Signed(_)
            | TypeNode::Unsigned(_) => match Integer::of(node) {
                Some(Integer { bits, signed: true }) => write!(self, "i{bits}"),
                Some(Integer { bits, .. }) => write!(self, "u{bits}"),
                None => self.write_char('?'),
            },
        }
    }

    fn list(&mut self, open: &str, parts: &[u32], close: &str) -> fmt::Result {
        self.write_str(open)?;
        for (index, part) in parts.iter().enumerate() {
            self.write_str(if index == 0 { "" } else { ", " })?;
            self.node(*part)?;
        }
        self.write_str(close)
    }

    fn fields(&mut self, fields: &'a [Field]) -> fmt::Result {
        if fields.is_empty() {
            return self.write_str("{}");
        }
        for (index, field) in fields.iter().enumerate() {
            self.write_str(if index == 0 { "{ " } else { ", " })?;
            self.name(&field.name)?;
            self.write_str(": ")?;
            self.node(field.node)?;
        }
        self.write_str(" }")
    }

    fn cases(&mut self, cases: &'a [Case]) -> fmt::Result {
        if cases.is_empty() {
            return self.write_char('!');
        }
        for (index, case) in cases.iter().enumerate() {
            self.write_str(if index == 0 { "" } else { " | " })?;
            self.name(&case.name)?;
            match self.tree.node(case.payload) {
                TypeNode::Unit => {}
                TypeNode::Structure { fields, .. } if !self.around.contains(&case.payload) => {
                    self.around.push(case.payload);
                    self.write_char(' ')?;
                    self.fields(fields)?;
                    self.around.pop();
                }
                TypeNode::TupleOf(_) => self.node(case.payload)?,
                _ => self.list("(", &[case.payload], ")")?,
            }
        }
        Ok(())
    }

    /// A name of a stranger: nothing in it may move the cursor of a terminal.
    fn name(&mut self, name: &str) -> fmt::Result {
        for c in name.chars() {
            self.write_char(if c.is_control() { '?' } else { c })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(nodes: Vec<TypeNode>, expected: &str) {
        let message = MessageType {
            kind: "test.Kind".into(),
            about: String::new(),
            nodes,
        };
        assert_eq!(pseudocode(&message), expected);
    }

    fn structure(name: &str, fields: &[(&str, u32)]) -> TypeNode {
        let fields = fields.iter().map(|(name, node)| Field {
            name: (*name).into(),
            node: *node,
        });
        TypeNode::Structure {
            name: name.into(),
            fields: fields.collect(),
        }
    }

    #[test]
    fn a_type_reads_like_its_declaration() {
        let line = structure("Line", &[("number", 1), ("text", 2)]);
        let nodes = vec![line, TypeNode::Unsigned(64), TypeNode::Bytes];
        check(nodes, "test.Kind { number: u64, text: bytes }");
        check(vec![TypeNode::Unit], "test.Kind");
        check(vec![structure("Empty", &[])], "test.Kind {}");
        check(
            vec![TypeNode::TupleOf(vec![1, 1]), TypeNode::Signed8],
            "test.Kind(i8, i8)",
        );
        let nodes = vec![TypeNode::Optional(1), TypeNode::MapOf(2, 2), TypeNode::Text];
        check(nodes, "test.Kind = option<map<string, string>>");
        let case = |name: &str, payload| Case {
            name: name.into(),
            payload,
        };
        let cases = vec![
            case("Idle", 1),
            case("Busy", 2),
            case("Both", 3),
            case("Full", 4),
        ];
        let nodes = vec![
            TypeNode::Enumeration {
                name: "State".into(),
                cases,
            },
            TypeNode::Unit,
            TypeNode::Unsigned8,
            TypeNode::TupleOf(vec![2, 2]),
            structure("", &[("since", 2)]),
        ];
        check(
            nodes,
            "test.Kind = Idle | Busy(u8) | Both(u8, u8) | Full { since: u8 }",
        );
    }

    #[test]
    fn a_type_inside_itself_is_written_once() {
        let tree = structure("Tree", &[("leaves", 1)]);
        check(
            vec![tree, TypeNode::Sequence(0)],
            "test.Kind { leaves: list<test.Kind> }",
        );
        check(vec![TypeNode::Optional(0)], "test.Kind = option<...>");
    }

    #[test]
    fn a_type_that_grows_without_end_is_cut_and_a_broken_one_is_marked() {
        let deep = (1..50).map(|next| TypeNode::TupleOf(vec![next, next]));
        let message = MessageType {
            kind: "test.Deep".into(),
            about: String::new(),
            nodes: deep.chain([TypeNode::Unit]).collect(),
        };
        let text = pseudocode(&message);
        assert!(text.len() <= PSEUDOCODE_BYTES_MAX + 3 && text.ends_with("..."));
        check(vec![], "test.Kind = ?");
        check(
            vec![structure("X", &[("\u{1b}[2J", 9)])],
            "test.Kind { ?[2J: () }",
        );
    }
}
