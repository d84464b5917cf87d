//! Count: lines, words and bytes of a run of bytes that comes in parts.
//!
//! Invariant: cut a file anywhere, tell each part the byte before it, and the counts of the parts add
//! up to those of the file. A word is counted where it begins.

use serde::{Deserialize, Serialize};

use crate::lines::is_space;

/// Lines, words, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Newlines.
    pub lines: u64,
    /// Longest runs of bytes that are not ASCII white space.
    pub words: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Count {
    /// Adds another count.
    pub fn add(&mut self, other: &Self) {
        self.lines += other.lines;
        self.words += other.words;
        self.bytes += other.bytes;
    }
}

/// Counts parts that follow each other.
#[derive(Debug)]
pub struct Counter {
    count: Count,
    in_word: bool,
}

impl Counter {
    /// Before the first byte of a part that follows `before`; none: at the beginning of the file.
    pub fn after(before: Option<u8>) -> Self {
        Self {
            count: Count::default(),
            in_word: before.is_some_and(|byte| !is_space(byte)),
        }
    }

    /// Counts the next bytes.
    pub fn count(&mut self, bytes: &[u8]) {
        let (mut lines, mut words, mut in_word) = (0, 0, self.in_word);
        for byte in bytes {
            let of_word = !is_space(*byte);
            lines += u64::from(*byte == b'\n');
            words += u64::from(of_word && !in_word);
            in_word = of_word;
        }
        self.in_word = in_word;
        self.count.lines += lines;
        self.count.words += words;
        self.count.bytes += bytes.len() as u64;
    }

    /// What was counted.
    pub fn counted(self) -> Count {
        self.count
    }
}
