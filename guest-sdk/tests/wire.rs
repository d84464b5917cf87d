//! The schema of a type and the bytes that postcard makes of its values must agree: a reader that
//! knows nothing but the type tree finds every value, and nothing is left over.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt::Write;
use std::marker::PhantomData;
use std::time::Duration;

use instar_sdk::description::TypeNode;
use instar_sdk::prelude::*;
use instar_sdk::schema::tree_of;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Reads values by their type tree, as `wit/description.wit` says, and writes them as text.
struct Reader<'a> {
    nodes: &'a [TypeNode],
    bytes: &'a [u8],
    text: String,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.bytes.split_at(N);
        self.bytes = rest;
        taken.try_into().unwrap()
    }

    fn varint(&mut self, bits: u8) -> u128 {
        let mut value = 0_u128;
        for place in 0..bits.div_ceil(7) {
            let [byte] = self.take();
            value |= u128::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return value;
            }
        }
        panic!("a varint of {bits} bits has too many bytes");
    }

    fn length(&mut self) -> usize {
        usize::try_from(self.varint(64)).unwrap()
    }

    fn run(&mut self) -> Vec<u8> {
        let length = self.length();
        let (taken, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        taken.to_vec()
    }

    fn put(&mut self, value: impl std::fmt::Display) {
        write!(self.text, "{value}").unwrap();
    }

    fn list(&mut self, open: &str, close: &str, parts: impl Iterator<Item = (String, Vec<u32>)>) {
        self.put(open);
        for (index, (name, nodes)) in parts.enumerate() {
            self.put(if index == 0 { "" } else { ", " });
            self.put(name);
            for (place, node) in nodes.into_iter().enumerate() {
                self.put(if place == 0 { "" } else { ": " });
                self.value(node);
            }
        }
        self.put(close);
    }

    fn value(&mut self, node: u32) {
        let nodes = self.nodes;
        match &nodes[node as usize] {
            TypeNode::Boolean => match self.take() {
                [0] => self.put("false"),
                [1] => self.put("true"),
                [other] => panic!("{other} is no boolean"),
            },
            TypeNode::Signed8 => {
                let value = i8::from_le_bytes(self.take());
                self.put(value);
            }
            TypeNode::Unsigned8 => {
                let [value] = self.take();
                self.put(value);
            }
            TypeNode::Signed(bits) => {
                let zigzag = self.varint(*bits);
                let value = ((zigzag >> 1) as i128) ^ -((zigzag & 1) as i128);
                self.put(value);
            }
            TypeNode::Unsigned(bits) => {
                let value = self.varint(*bits);
                self.put(value);
            }
            TypeNode::Float32 => {
                let value = f32::from_le_bytes(self.take());
                self.put(value);
            }
            TypeNode::Float64 => {
                let value = f64::from_le_bytes(self.take());
                self.put(value);
            }
            TypeNode::Character => {
                let text = String::from_utf8(self.run()).unwrap();
                assert_eq!(text.chars().count(), 1);
                self.put(format!("{:?}", text.chars().next().unwrap()));
            }
            TypeNode::Text => {
                let text = String::from_utf8(self.run()).unwrap();
                self.put(format!("{text:?}"));
            }
            TypeNode::Bytes => {
                let bytes = self.run();
                self.put(format!("b{bytes:?}"));
            }
            TypeNode::Unit => self.put("()"),
            TypeNode::Optional(inner) => match self.take() {
                [0] => self.put("none"),
                [1] => {
                    self.put("some ");
                    self.value(*inner);
                }
                [other] => panic!("{other} is no option"),
            },
            TypeNode::Sequence(element) => {
                let length = self.length();
                let parts = (0..length).map(|_| (String::new(), vec![*element]));
                self.list("[", "]", parts);
            }
            TypeNode::TupleOf(elements) => {
                let parts = elements.iter().map(|node| (String::new(), vec![*node]));
                self.list("(", ")", parts);
            }
            TypeNode::MapOf(key, value) => {
                let length = self.length();
                let parts = (0..length).map(|_| (String::new(), vec![*key, *value]));
                self.list("{", "}", parts);
            }
            TypeNode::Structure { name, fields } => {
                let parts = fields
                    .iter()
                    .map(|field| (format!("{}=", field.name), vec![field.node]));
                self.list(&format!("{name}{{"), "}", parts);
            }
            TypeNode::Enumeration { name, cases } => {
                let case = self.varint(32) as usize;
                self.put(format!("{name}::{} ", cases[case].name));
                self.value(cases[case].payload);
            }
        }
    }
}

/// The value as text, read from its bytes by its type tree alone.
fn read<T: Schema + Serialize>(value: &T) -> String {
    let nodes = tree_of::<T>();
    let bytes = postcard::to_stdvec(value).unwrap();
    let mut reader = Reader {
        nodes: &nodes,
        bytes: &bytes,
        text: String::new(),
    };
    reader.value(0);
    assert_eq!(reader.bytes, b"", "bytes are left over");
    reader.text
}

fn check<T: Schema + Serialize + DeserializeOwned>(value: T, expected: &str) {
    assert_eq!(read(&value), expected);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Named {
    first: u8,
    r#type: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Newtype(Named);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Pair(u16, String);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Nothing;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Empty {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema)]
struct EmptyTuple();

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema)]
enum Shape {
    Point,
    Circle(f64),
    Square(f32, f32),
    Text { size: u32, text: String },
    Within(Newtype),
    Hollow(),
    Bare {},
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Generic<T> {
    items: [T; 2],
    more: Vec<T>,
}

#[test]
fn numbers_are_read_from_what_postcard_writes() {
    check(true, "true");
    check((i8::MIN, u8::MAX), "(-128, 255)");
    check((i16::MIN, i16::MAX, u16::MAX), "(-32768, 32767, 65535)");
    check(
        (i32::MIN, i32::MAX, u32::MAX),
        "(-2147483648, 2147483647, 4294967295)",
    );
    check(
        (i64::MIN, u64::MAX),
        "(-9223372036854775808, 18446744073709551615)",
    );
    check((0_u128, u128::MAX), &format!("(0, {})", u128::MAX));
    check(
        (i128::MIN, -1_i128, i128::MAX),
        &format!("({}, -1, {})", i128::MIN, i128::MAX),
    );
    check(
        (usize::MAX, isize::MIN),
        &format!("({}, {})", u64::MAX, i64::MIN),
    );
    check((1.5_f32, -0.25_f64), "(1.5, -0.25)");
}

#[test]
fn texts_and_collections_are_read_from_what_postcard_writes() {
    check(('a', 'é', '😀'), "('a', 'é', '😀')");
    check(
        (String::from("naïve"), Box::<str>::from("")),
        "(\"naïve\", \"\")",
    );
    check(Bytes::from(&[1, 255]), "b[1, 255]");
    check(vec![Some(1_u8), None], "[some 1, none]");
    check([300_u16; 2], "(300, 300)");
    check(VecDeque::from([Box::new(7_u8)]), "[7]");
    check(BTreeSet::from([1_u8, 2]), "[1, 2]");
    check(BTreeMap::from([(1_u8, 'x'), (2, 'y')]), "{1: 'x', 2: 'y'}");
    check(HashMap::from([(String::from("k"), ())]), "{\"k\": ()}");
    check(((), PhantomData::<u64>), "((), ())");
    check(Duration::new(3, 7), "Duration{secs=3, nanos=7}");
    check(Ok::<u8, String>(1), "Result::Ok 1");
    check(Err::<u8, String>("e".into()), "Result::Err \"e\"");
    check(vec![9_u8; 200], &format!("[{}]", vec!["9"; 200].join(", ")));
}

#[test]
fn structures_are_read_from_what_postcard_writes() {
    let named = Named {
        first: 1,
        r#type: -2,
    };
    check(named.clone(), "Named{first=1, type=-2}");
    check(Newtype(named.clone()), "Named{first=1, type=-2}");
    check(Pair(9, "p".into()), "(9, \"p\")");
    check((Nothing, EmptyTuple(), Empty {}), "((), (), Empty{})");
    let generic = Generic {
        items: [named.clone(), named],
        more: vec![],
    };
    let one = "Named{first=1, type=-2}";
    check(
        generic,
        &format!("Generic{{items=({one}, {one}), more=[]}}"),
    );
}

#[test]
fn every_form_of_case_is_read_from_what_postcard_writes() {
    check(Shape::Point, "Shape::Point ()");
    check(Shape::Circle(2.0), "Shape::Circle 2");
    check(Shape::Square(1.0, 2.0), "Shape::Square (1, 2)");
    let text = Shape::Text {
        size: 500,
        text: "t".into(),
    };
    check(text, "Shape::Text Text{size=500, text=\"t\"}");
    let within = Shape::Within(Newtype(Named {
        first: 0,
        r#type: 0,
    }));
    check(within, "Shape::Within Named{first=0, type=0}");
    check(Shape::Hollow(), "Shape::Hollow ()");
    check(Shape::Bare {}, "Shape::Bare Bare{}");
}

#[test]
fn types_of_the_sdk_are_read_from_what_postcard_writes() {
    check(
        EndpointRef::local("a"),
        "EndpointRef{name=\"a\", address=none}",
    );
    check(Failure::new("t"), "Failure{code=\"failed\", text=\"t\"}");
    check(CallContext::<Failing>::from_id(300), "300");
    assert_eq!(tree_of::<TimerId>(), [TypeNode::Unsigned(64)]);
    assert_eq!(tree_of::<AskId>(), [TypeNode::Unsigned(64)]);
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "wire.Failing")]
struct Failing {}

/// Lists end in themselves: the tree has a cycle, not endless nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Tree {
    value: u8,
    left: Option<Box<Tree>>,
    others: Vec<Tree>,
}

#[test]
fn a_type_that_contains_itself_has_a_finite_tree_with_a_cycle() {
    assert!(tree_of::<Tree>().len() <= 6, "{:?}", tree_of::<Tree>());
    let leaf = |value| Tree {
        value,
        left: None,
        others: vec![],
    };
    let tree = Tree {
        value: 1,
        left: Some(Box::new(leaf(2))),
        others: vec![leaf(3)],
    };
    let text =
        |value, left, others| format!("Tree{{value={value}, left={left}, others=[{others}]}}");
    let (two, three) = (text(2, "none", ""), text(3, "none", ""));
    check(tree, &text(1, &format!("some {two}"), &three));
}

#[test]
fn a_type_that_is_used_twice_stands_in_the_tree_once() {
    let nodes = tree_of::<(Named, Named)>();
    let structures = nodes
        .iter()
        .filter(|node| matches!(node, TypeNode::Structure { .. }));
    assert_eq!(structures.count(), 1);
}

fn shapes() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Point),
        any::<f64>().prop_map(Shape::Circle),
        any::<(f32, f32)>().prop_map(|(a, b)| Shape::Square(a, b)),
        (any::<u32>(), ".*").prop_map(|(size, text)| Shape::Text { size, text }),
        any::<(u8, i64)>()
            .prop_map(|(first, r#type)| Shape::Within(Newtype(Named { first, r#type }))),
    ]
}

proptest! {
    #[test]
    fn any_value_is_read_to_its_last_byte(
        shapes in proptest::collection::vec(shapes(), 0..8),
        numbers in any::<(i8, i16, i32, i64, i128, u16, u32, u64, u128)>(),
        map in proptest::collection::btree_map(any::<u32>(), any::<Option<char>>(), 0..8),
        bytes in any::<Vec<u8>>(),
    ) {
        read(&(shapes, numbers, map, Bytes::from(bytes)));
    }

    /// Bytes from a peer may be anything.
    #[test]
    fn no_bytes_make_decoding_panic(bytes in any::<Vec<u8>>()) {
        let _ = postcard::from_bytes::<(Vec<Shape>, Bytes, Tree)>(&bytes);
    }
}
