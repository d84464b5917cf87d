//! The transcoder against real postcard and serde types, and against strangers.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::*;
use crate::component::metadata::{Case, Field, MessageType, TypeNode};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Job {
    small: u8,
    signed: i8,
    size: u64,
    offset: i64,
    half: i16,
    ratio: f32,
    exact: f64,
    letter: char,
    name: String,
    note: Option<String>,
    list: Vec<u32>,
    pair: (bool, i32),
    nothing: (),
    by_number: BTreeMap<u16, State>,
    children: Vec<Child>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Child {
    state: State,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum State {
    Idle,
    Busy(u64),
    Moved(u8, String),
    Failed { code: i32, text: Option<String> },
}

fn field(name: &str, node: u32) -> Field {
    Field {
        name: name.into(),
        node,
    }
}

fn case(name: &str, payload: u32) -> Case {
    Case {
        name: name.into(),
        payload,
    }
}

fn message(nodes: Vec<TypeNode>) -> MessageType {
    MessageType {
        kind: "test.Message".into(),
        about: String::new(),
        nodes,
    }
}

fn structure(name: &str, fields: Vec<Field>) -> TypeNode {
    TypeNode::Structure {
        name: name.into(),
        fields,
    }
}

fn job_type() -> MessageType {
    let names = [
        ("small", 1),
        ("signed", 2),
        ("size", 3),
        ("offset", 4),
        ("half", 5),
        ("ratio", 6),
        ("exact", 7),
        ("letter", 8),
        ("name", 9),
        ("note", 10),
        ("list", 11),
        ("pair", 13),
        ("nothing", 16),
        ("by_number", 17),
        ("children", 19),
    ];
    let state = vec![
        case("Idle", 16),
        case("Busy", 3),
        case("Moved", 22),
        case("Failed", 23),
    ];
    message(vec![
        structure("Job", names.map(|(name, node)| field(name, node)).into()),
        TypeNode::Unsigned8,
        TypeNode::Signed8,
        TypeNode::Unsigned(64),
        TypeNode::Signed(64),
        TypeNode::Signed(16),
        TypeNode::Float32,
        TypeNode::Float64,
        TypeNode::Character,
        TypeNode::Text,
        TypeNode::Optional(9),
        TypeNode::Sequence(12),
        TypeNode::Unsigned(32),
        TypeNode::TupleOf(vec![14, 15]),
        TypeNode::Boolean,
        TypeNode::Signed(32),
        TypeNode::Unit,
        TypeNode::MapOf(18, 21),
        TypeNode::Unsigned(16),
        TypeNode::Sequence(20),
        structure("Child", vec![field("state", 21)]),
        TypeNode::Enumeration {
            name: "State".into(),
            cases: state,
        },
        TypeNode::TupleOf(vec![1, 9]),
        structure("", vec![field("code", 15), field("text", 10)]),
    ])
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![
        Just(State::Idle),
        any::<u64>().prop_map(State::Busy),
        any::<(u8, String)>().prop_map(|(number, text)| State::Moved(number, text)),
        any::<(i32, Option<String>)>().prop_map(|(code, text)| State::Failed { code, text }),
    ]
}

prop_compose! {
    fn job()(
        (small, signed, size, offset, half, letter) in any::<(u8, i8, u64, i64, i16, char)>(),
        ratio in proptest::num::f32::NORMAL | proptest::num::f32::ZERO,
        exact in proptest::num::f64::NORMAL | proptest::num::f64::ZERO,
        (name, note, list, pair) in any::<(String, Option<String>, Vec<u32>, (bool, i32))>(),
        by_number in proptest::collection::btree_map(any::<u16>(), state(), 0..5),
        children in proptest::collection::vec(state().prop_map(|state| Child { state }), 0..5),
    ) -> Job {
        Job {
            small, signed, size, offset, half, ratio, exact, letter, name, note, list, pair,
            nothing: (), by_number, children,
        }
    }
}

/// Bytes as they come in attacks: many of them look like lengths and cases.
fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => 0_u8..4, 1 => Just(0xff), 1 => Just(0x80), 2 => any::<u8>()];
    proptest::collection::vec(byte, 0..200)
}

fn node() -> impl Strategy<Value = TypeNode> {
    let index = || 0_u32..9;
    let some = || proptest::collection::vec(index(), 0..4);
    prop_oneof![
        Just(TypeNode::Boolean),
        Just(TypeNode::Signed8),
        Just(TypeNode::Unsigned8),
        any::<u8>().prop_map(TypeNode::Signed),
        prop_oneof![Just(16_u8), Just(32), Just(64), Just(128)].prop_map(TypeNode::Unsigned),
        prop_oneof![Just(TypeNode::Float32), Just(TypeNode::Float64)],
        prop_oneof![
            Just(TypeNode::Character),
            Just(TypeNode::Text),
            Just(TypeNode::Bytes)
        ],
        Just(TypeNode::Unit),
        index().prop_map(TypeNode::Optional),
        index().prop_map(TypeNode::Sequence),
        some().prop_map(TypeNode::TupleOf),
        (index(), index()).prop_map(|(key, value)| TypeNode::MapOf(key, value)),
        some().prop_map(|nodes| {
            let fields = nodes
                .iter()
                .enumerate()
                .map(|(at, node)| field(&format!("f{at}"), *node));
            structure("S", fields.collect())
        }),
        some().prop_map(|nodes| {
            let cases = nodes
                .iter()
                .enumerate()
                .map(|(at, node)| case(&format!("C{at}"), *node));
            TypeNode::Enumeration {
                name: "E".into(),
                cases: cases.collect(),
            }
        }),
    ]
}

fn any_message() -> impl Strategy<Value = MessageType> {
    proptest::collection::vec(node(), 0..10).prop_map(message)
}

/// A tree that can be walked, without wide numbers whose text form depends on their size.
fn good_message() -> impl Strategy<Value = MessageType> {
    any_message().prop_filter("can be walked", |message| check(message).is_ok())
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,5}".prop_map(Value::from),
        "C[0-3]".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("(f[0-3]|C[0-3]|base64|[0-9])", inner, 0..4)
                .prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn a_value_is_the_json_of_serde_json_and_the_bytes_of_postcard(job in job()) {
        let message = job_type();
        let bytes = postcard::to_stdvec(&job).unwrap();
        let value = serde_json::to_value(&job).unwrap();

        prop_assert_eq!(&decode(&message, &bytes).unwrap(), &value);
        // Maps with numbers as keys come back in another order, so the value is compared.
        let encoded = encode(&message, &value).unwrap();
        prop_assert_eq!(encoded.len(), bytes.len());
        prop_assert_eq!(postcard::from_bytes::<Job>(&encoded).unwrap(), job);
    }

    #[test]
    fn bytes_are_refused_exactly_when_postcard_refuses_them(bytes in hostile_bytes()) {
        let text = || TypeNode::Text;
        same::<(u16, i32, u64, i128)>(vec![
            TypeNode::TupleOf(vec![1, 2, 3, 4]),
            TypeNode::Unsigned(16), TypeNode::Signed(32), TypeNode::Unsigned(64), TypeNode::Signed(128),
        ], &bytes)?;
        same::<Vec<(Option<char>, bool)>>(vec![
            TypeNode::Sequence(1), TypeNode::TupleOf(vec![2, 4]), TypeNode::Optional(3),
            TypeNode::Character, TypeNode::Boolean,
        ], &bytes)?;
        same::<Vec<String>>(vec![TypeNode::Sequence(1), text()], &bytes)?;
        let mut nodes = job_type().nodes;
        if let Some(root) = nodes.first_mut() {
            *root = TypeNode::Sequence(21);
        }
        same::<Vec<State>>(nodes, &bytes)?;
    }

    #[test]
    fn no_tree_and_no_bytes_make_it_panic_or_hang(message in any_message(), bytes in hostile_bytes()) {
        let _ = pseudocode(&message);
        let _ = check(&message);
        let _ = decode(&message, &bytes);
    }

    #[test]
    fn no_tree_and_no_json_make_it_panic_or_hang(message in any_message(), value in json()) {
        let _ = encode(&message, &value);
    }

    #[test]
    fn json_that_was_printed_is_read_back(message in good_message(), bytes in hostile_bytes()) {
        if let Ok(value) = decode(&message, &bytes) {
            let encoded = encode(&message, &value).unwrap();
            prop_assert_eq!(decode(&message, &encoded).unwrap(), value);
        }
    }
}

fn same<T: DeserializeOwned + Serialize>(
    nodes: Vec<TypeNode>,
    bytes: &[u8],
) -> Result<(), TestCaseError> {
    let theirs = postcard::take_from_bytes::<T>(bytes);
    let theirs = theirs.ok().filter(|(_, rest)| rest.is_empty());
    let ours = decode(&message(nodes), bytes);
    prop_assert_eq!(ours.is_ok(), theirs.is_some(), "{:?}", ours);
    Ok(())
}

fn refused(message: &MessageType, value: Value) -> String {
    encode(message, &value).unwrap_err().to_string()
}

#[test]
fn an_error_says_where_what_was_expected_and_what_was_found() {
    let child = message(vec![
        structure("Children", vec![field("items", 1)]),
        TypeNode::Sequence(2),
        structure(
            "Child",
            vec![field("name", 3), field("age", 4), field("note", 5)],
        ),
        TypeNode::Text,
        TypeNode::Unsigned8,
        TypeNode::Optional(3),
    ]);
    let whole = json!({"name": "a", "age": 1});
    assert!(encode(&child, &json!({"items": [whole]})).is_ok());
    for (item, expected) in [
        (
            json!({"name": 7, "age": 1}),
            "$.items[1].name: expected a string, found 7",
        ),
        (
            json!({"name": "a", "age": 256}),
            "$.items[1].age: expected u8 (0 to 255), found 256",
        ),
        (
            json!({"name": "a", "size": 1}),
            "$.items[1]: `Child` has no field `size`; it has `name`, `age`, `note`",
        ),
        (
            json!({"note": "x"}),
            "$.items[1]: `Child` lacks `name`: string, `age`: u8",
        ),
        (
            json!([]),
            "$.items[1]: expected an object, Child { name: string, age: u8, note: option<string> }, \
             found an array of 0",
        ),
    ] {
        assert_eq!(refused(&child, json!({"items": [whole, item]})), expected);
    }
}

#[test]
fn a_case_is_named_with_or_without_its_payload() {
    let nodes = job_type().nodes;
    let mut nodes = nodes;
    nodes.swap(0, 21);
    let state = message(nodes);
    let round = |value: Value| decode(&state, &encode(&state, &value).unwrap()).unwrap();
    for value in [
        json!("Idle"),
        json!({"Busy": 7}),
        json!({"Moved": [1, "x"]}),
        json!({"Failed": {"code": -1, "text": null}}),
    ] {
        assert_eq!(round(value.clone()), value);
    }
    assert_eq!(round(json!({"Idle": null})), json!("Idle"));
    let unknown = refused(&state, json!("Lost"));
    assert!(
        unknown.contains("has no case `Lost`; it has `Idle`, `Busy`"),
        "{unknown}"
    );
    let bare = refused(&state, json!("Busy"));
    assert!(
        bare.contains(r#"expected {"Busy": ...} with u64"#),
        "{bare}"
    );
    let error = decode(&state, &[9]).unwrap_err().to_string();
    assert!(error.contains("number 9 of 4 at byte 0"), "{error}");
}

#[test]
fn bytes_are_text_if_they_can_be_and_base64_else() {
    let bytes = message(vec![TypeNode::Bytes]);
    let encoded = |value: Value| encode(&bytes, &value).unwrap();
    assert_eq!(decode(&bytes, b"\x02hi").unwrap(), json!("hi"));
    assert_eq!(
        decode(&bytes, b"\x02\xff\x00").unwrap(),
        json!({"base64": "/wA="})
    );
    assert_eq!(encoded(json!("hi")), b"\x02hi"[..]);
    assert_eq!(encoded(json!([104, 105])), b"\x02hi"[..]);
    assert_eq!(encoded(json!({"base64": "aGk="})), b"\x02hi"[..]);
    for wrong in [
        json!([256]),
        json!({"base64": "?"}),
        json!({"hex": ""}),
        json!(1),
    ] {
        assert!(encode(&bytes, &wrong).is_err(), "{wrong}");
    }
}

#[test]
fn keys_that_are_no_scalars_make_a_list_of_pairs() {
    let by_pair = message(vec![
        TypeNode::MapOf(1, 2),
        TypeNode::TupleOf(vec![2, 2]),
        TypeNode::Unsigned8,
    ]);
    let value = json!([[[1, 2], 3]]);
    assert_eq!(decode(&by_pair, &[1, 1, 2, 3]).unwrap(), value);
    assert_eq!(encode(&by_pair, &value).unwrap(), [1, 1, 2, 3][..]);

    let by_number = message(vec![TypeNode::MapOf(1, 1), TypeNode::Unsigned8]);
    let wrong = refused(&by_number, json!({"a": 1}));
    assert_eq!(
        wrong,
        r#"$.a: expected a key of type u8, found the key "a""#
    );
    let twice = decode(&by_number, &[2, 7, 0, 7, 1])
        .unwrap_err()
        .to_string();
    assert!(twice.contains(r#""7" twice"#), "{twice}");
}

#[test]
fn bytes_left_over_and_bytes_missing_are_errors_with_the_place() {
    let pair = message(vec![TypeNode::TupleOf(vec![1, 1]), TypeNode::Unsigned8]);
    let left = decode(&pair, &[1, 2, 3]).unwrap_err().to_string();
    assert_eq!(
        left,
        "1 bytes are left after the end of `test.Message` at byte 2"
    );
    let missing = decode(&pair, &[1]).unwrap_err().to_string();
    assert_eq!(
        missing,
        "$[1]: expected u8, found the end of the bytes at byte 1"
    );
}

#[test]
fn a_list_of_nothing_ends_at_the_limit_of_values() {
    let nothing = message(vec![TypeNode::Sequence(1), TypeNode::Unit]);
    let bytes = postcard::to_stdvec(&67_000_000_u64).unwrap();
    let error = decode(&nothing, &bytes).unwrap_err();
    assert!(
        matches!(
            error,
            SchemaError::TooLarge {
                limit: limits::VALUES_MAX,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_tuple_that_doubles_at_each_level_ends_at_the_limit_of_values() {
    let pairs = (1..50).map(|next| TypeNode::TupleOf(vec![next, next]));
    let message = message(pairs.chain([TypeNode::Unit]).collect());
    let error = decode(&message, &[]).unwrap_err();
    assert!(matches!(error, SchemaError::TooLarge { .. }), "{error}");
}

#[test]
fn a_type_inside_itself_ends_at_the_limit_of_depth() {
    let endless = message(vec![TypeNode::Optional(0)]);
    let error = decode(&endless, &[1; 1000]).unwrap_err();
    assert!(
        matches!(
            error,
            SchemaError::TooLarge {
                limit: limits::DEPTH_MAX,
                ..
            }
        ),
        "{error}"
    );
    let tree = message(vec![
        structure("Tree", vec![field("leaves", 1)]),
        TypeNode::Sequence(0),
    ]);
    assert_eq!(
        decode(&tree, &[1, 0]).unwrap(),
        json!({"leaves": [{"leaves": []}]})
    );
}
