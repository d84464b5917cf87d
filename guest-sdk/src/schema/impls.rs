//! The shapes of the types that Rust and serde bring along.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::marker::PhantomData;
use std::time::Duration;

use super::{Nodes, Schema};
use crate::Bytes;
use crate::description::TypeNode;

macro_rules! leaves {
    ($($type:ty => $node:expr),* $(,)?) => {
        $(impl Schema for $type {
            fn node(_: &mut Nodes) -> TypeNode {
                $node
            }
        })*
    };
}

leaves! {
    bool => TypeNode::Boolean,
    i8 => TypeNode::Signed8,
    u8 => TypeNode::Unsigned8,
    i16 => TypeNode::Signed(16),
    i32 => TypeNode::Signed(32),
    i64 => TypeNode::Signed(64),
    i128 => TypeNode::Signed(128),
    u16 => TypeNode::Unsigned(16),
    u32 => TypeNode::Unsigned(32),
    u64 => TypeNode::Unsigned(64),
    u128 => TypeNode::Unsigned(128),
    // serde writes these as 64 bits on every machine.
    isize => TypeNode::Signed(64),
    usize => TypeNode::Unsigned(64),
    f32 => TypeNode::Float32,
    f64 => TypeNode::Float64,
    char => TypeNode::Character,
    String => TypeNode::Text,
    Box<str> => TypeNode::Text,
    Bytes => TypeNode::Bytes,
    () => TypeNode::Unit,
}

impl<T: 'static> Schema for PhantomData<T> {
    fn node(_: &mut Nodes) -> TypeNode {
        TypeNode::Unit
    }
}

impl<T: Schema> Schema for Option<T> {
    fn node(nodes: &mut Nodes) -> TypeNode {
        TypeNode::Optional(nodes.add::<T>())
    }
}

// A box is what it holds. The node is repeated under a second index, so that a box within the type
// that it holds still ends.
impl<T: Schema> Schema for Box<T> {
    fn node(nodes: &mut Nodes) -> TypeNode {
        T::node(nodes)
    }
}

macro_rules! sequences {
    ($($type:ty, [$($bounds:tt)*]);* $(;)?) => {
        $(impl<T: Schema, $($bounds)*> Schema for $type {
            fn node(nodes: &mut Nodes) -> TypeNode {
                TypeNode::Sequence(nodes.add::<T>())
            }
        })*
    };
}

sequences! {
    Vec<T>, [];
    VecDeque<T>, [];
    Box<[T]>, [];
    BTreeSet<T>, [];
    HashSet<T, S>, [S: 'static];
}

impl<K: Schema, V: Schema> Schema for BTreeMap<K, V> {
    fn node(nodes: &mut Nodes) -> TypeNode {
        TypeNode::MapOf(nodes.add::<K>(), nodes.add::<V>())
    }
}

impl<K: Schema, V: Schema, S: 'static> Schema for HashMap<K, V, S> {
    fn node(nodes: &mut Nodes) -> TypeNode {
        TypeNode::MapOf(nodes.add::<K>(), nodes.add::<V>())
    }
}

impl<T: Schema, const N: usize> Schema for [T; N] {
    fn node(nodes: &mut Nodes) -> TypeNode {
        TypeNode::TupleOf(vec![nodes.add::<T>(); N])
    }
}

impl<T: Schema, E: Schema> Schema for Result<T, E> {
    fn node(nodes: &mut Nodes) -> TypeNode {
        let cases = vec![nodes.value_case::<T>("Ok"), nodes.value_case::<E>("Err")];
        TypeNode::Enumeration {
            name: "Result".to_owned(),
            cases,
        }
    }
}

impl Schema for Duration {
    fn node(nodes: &mut Nodes) -> TypeNode {
        let fields = vec![nodes.field::<u64>("secs"), nodes.field::<u32>("nanos")];
        TypeNode::Structure {
            name: "Duration".to_owned(),
            fields,
        }
    }
}

macro_rules! tuples {
    ($(($($element:ident),+))*) => {
        $(impl<$($element: Schema),+> Schema for ($($element,)+) {
            fn node(nodes: &mut Nodes) -> TypeNode {
                TypeNode::TupleOf(vec![$(nodes.add::<$element>()),+])
            }
        })*
    };
}

tuples! {
    (A)
    (A, B)
    (A, B, C)
    (A, B, C, D)
    (A, B, C, D, E)
    (A, B, C, D, E, F)
    (A, B, C, D, E, F, G)
    (A, B, C, D, E, F, G, H)
    (A, B, C, D, E, F, G, H, I)
    (A, B, C, D, E, F, G, H, I, J)
    (A, B, C, D, E, F, G, H, I, J, K)
    (A, B, C, D, E, F, G, H, I, J, K, L)
}
