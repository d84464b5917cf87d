//! Index: finds keys by a text that stands in what they stand for. It keeps only hashes of the texts:
//! whoever asks compares what is found.
//!
//! An index is made anew in the pause of a swap, for all workers. Hashes are made and sorted in a
//! fraction of the time that copies of the texts need.

use std::collections::BTreeSet;

/// Keys by hash.
#[derive(Clone, Debug)]
pub struct Index<K>(BTreeSet<(u64, K)>);

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<K: Copy + Ord + Default> Index<K> {
    /// Lists a key under a hash.
    pub fn insert(&mut self, hash: u64, key: K) {
        self.0.insert((hash, key));
    }

    /// Lists it there no more.
    pub fn remove(&mut self, hash: u64, key: K) {
        self.0.remove(&(hash, key));
    }

    /// The keys that are listed under a hash, least first. Other texts may have the same hash.
    pub fn at(&self, hash: u64) -> impl Iterator<Item = K> {
        // No key is less than the default one.
        let from = self.0.range((hash, K::default())..);
        from.take_while(move |(at, _)| *at == hash)
            .map(|(_, key)| *key)
    }
}

impl<K: Ord> FromIterator<(u64, K)> for Index<K> {
    fn from_iter<T: IntoIterator<Item = (u64, K)>>(listed: T) -> Self {
        Self(listed.into_iter().collect())
    }
}

/// The hash of some texts in this order.
pub fn hash(texts: &[&str]) -> u64 {
    let mut hash = 0;
    for text in texts {
        for chunk in text.as_bytes().chunks(8) {
            let word = match <[u8; 8]>::try_from(chunk) {
                Ok(word) => u64::from_le_bytes(word),
                Err(_) => chunk
                    .iter()
                    .fold(1, |word, byte| word << 8 | u64::from(*byte)),
            };
            hash = mix(hash ^ word);
        }
        hash = mix(hash ^ 0xff);
    }
    hash
}

/// Every bit of the word has a say in every bit of the result.
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word ^ (word >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_look_alike_have_other_hashes() {
        let mut hashes = BTreeSet::new();
        for number in 0..100_000 {
            hashes.insert(hash(&[&format!(
                "worker-20260102030405-host-{number}-7078"
            )]));
        }
        hashes.extend([&["a", "b"][..], &["ab"], &["b", "a"], &["a"], &[]].map(hash));
        assert_eq!(hashes.len(), 100_005);
    }

    #[test]
    fn keys_with_one_hash_are_all_found() {
        let mut index: Index<u32> = [(7, 2), (8, 1), (7, 0), (6, 9)].into_iter().collect();
        assert_eq!(index.at(7).collect::<Vec<_>>(), [0, 2]);
        index.insert(7, 1);
        index.remove(7, 0);
        assert_eq!(index.at(7).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(index.at(5).count(), 0);
    }
}
