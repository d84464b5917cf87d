//! Tally: what all versions count.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Line, Totals};

/// Missing lines that are remembered, so that a late one is told from a double. Beyond it, a late
/// line counts as doubled: still not nothing.
const MISSING_MAX: usize = 10_000;

/// Counts, and which line is next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    lines: u64,
    words: u64,
    bytes: u64,
    lost: u64,
    doubled: u64,
    out_of_order: u64,
    next: BTreeMap<u32, u64>,
    missing: BTreeSet<(u32, u64)>,
}

impl Tally {
    /// Counts a line, and tells `word` of the length of each of its words, in bytes.
    pub fn count(&mut self, line: &Line, word: impl FnMut(usize)) {
        self.place(line);
        self.lines += 1;
        self.bytes += line.text.len() as u64 + 1;
        self.words += words(&line.text, word);
    }

    fn place(&mut self, line: &Line) {
        let next = self.next.entry(line.source).or_default();
        if line.number >= *next {
            let gap = *next..line.number;
            self.lost += line.number - *next;
            let room = MISSING_MAX.saturating_sub(self.missing.len());
            let missing = gap.take(room).map(|number| (line.source, number));
            self.missing.extend(missing);
            *next = line.number.saturating_add(1);
        } else if self.missing.remove(&(line.source, line.number)) {
            self.lost -= 1;
            self.out_of_order += 1;
        } else {
            self.doubled += 1;
        }
    }

    /// The totals, as `version` tells them.
    pub fn totals(&self, version: &str) -> Totals {
        Totals {
            version: version.to_owned(),
            lines: self.lines,
            words: self.words,
            bytes: self.bytes,
            lost: self.lost,
            doubled: self.doubled,
            out_of_order: self.out_of_order,
        }
    }
}

/// Space, tab, newline, vertical tab, form feed, carriage return: what `wc` takes for white space.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn words(text: &[u8], mut word: impl FnMut(usize)) -> u64 {
    let mut count = 0;
    for found in text.split(|byte| is_space(*byte)) {
        if !found.is_empty() {
            count += 1;
            word(found.len());
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(numbers: &[u64]) -> Tally {
        let mut tally = Tally::default();
        for number in numbers {
            let text = b"a b".to_vec().into();
            let line = Line {
                source: 7,
                number: *number,
                text,
            };
            tally.count(&line, |_| {});
        }
        tally
    }

    #[test]
    fn a_word_is_a_longest_run_of_bytes_that_are_not_ascii_white_space() {
        let count = |text: &[u8]| words(text, |_| {});
        assert_eq!(count(b""), 0);
        assert_eq!(count(b" \t\x0b\x0c\r "), 0);
        assert_eq!(count(b"one"), 1);
        assert_eq!(count(b"  two\twords "), 2);
        assert_eq!(count("naïve – \u{a0}\u{2003}x".as_bytes()), 3);
        assert_eq!(count(b"\xff\x00 \x01"), 2);
    }

    #[test]
    fn lines_in_order_are_neither_lost_nor_doubled() {
        let totals = tally(&[0, 1, 2, 3]).totals("t");
        assert_eq!(
            (totals.lost, totals.doubled, totals.out_of_order),
            (0, 0, 0)
        );
        assert_eq!((totals.lines, totals.words, totals.bytes), (4, 8, 16));
    }

    #[test]
    fn a_gap_is_lost_until_the_late_line_comes_out_of_order() {
        let gap = tally(&[0, 3]).totals("t");
        assert_eq!((gap.lost, gap.out_of_order), (2, 0));
        let late = tally(&[0, 3, 1]).totals("t");
        assert_eq!((late.lost, late.out_of_order, late.doubled), (1, 1, 0));
    }

    #[test]
    fn a_line_that_comes_again_is_doubled() {
        let totals = tally(&[0, 1, 1, 0]).totals("t");
        assert_eq!((totals.doubled, totals.lost), (2, 0));
    }
}
