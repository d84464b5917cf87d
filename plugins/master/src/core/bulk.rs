//! Bulk: reads maps and sets of a state in one piece. What stands in order is built without looking
//! for the place of each, which is most of the time that reading it one by one takes.
//!
//! The form is that of the maps and sets themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Entries for which room is made before they are read: a state may lie.
const ROOM_MAX: usize = 1 << 16;

/// Reads a map.
pub fn map<'de, D, K, V>(from: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    struct Pairs<K, V>(PhantomData<(K, V)>);

    impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for Pairs<K, V> {
        type Value = Vec<(K, V)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::with_capacity(map.size_hint().unwrap_or(0).min(ROOM_MAX));
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            Ok(pairs)
        }
    }

    let pairs = from.deserialize_map(Pairs(PhantomData))?;
    Ok(pairs.into_iter().collect())
}

/// Reads a set.
pub fn set<'de, D, T>(from: D) -> Result<BTreeSet<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Ord,
{
    Ok(Vec::deserialize(from)?.into_iter().collect())
}

/// Reads a text that is shared, without a copy in between.
pub fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Rc<str>, D::Error> {
    struct Text;

    impl Visitor<'_> for Text {
        type Value = Rc<str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Rc<str>, E> {
            Ok(Rc::from(text))
        }
    }

    from.deserialize_str(Text)
}
