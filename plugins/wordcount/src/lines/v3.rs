//! The third version: knows how long words are as well.

use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{GetTotals, Line, Reset, Tally, Totals, v1, v2};

/// Lengths of words that are told apart; the last takes all longer ones.
const LENGTHS: usize = 32;

/// State version 3.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct WordCount {
    /// What was counted.
    pub tally: Tally,
    /// The longest line since a version that knows it first ran, in bytes.
    pub longest_line: u64,
    /// How many words have each length in bytes, since this version first ran: element 0 for length 1.
    pub lengths: Vec<u64>,
}

impl Default for WordCount {
    fn default() -> Self {
        Self {
            tally: Tally::default(),
            longest_line: 0,
            lengths: vec![0; LENGTHS],
        }
    }
}

#[instar_sdk::endpoint(
    name = "wordcount",
    version = "3.0.0",
    about = "Counts lines, words and bytes, and knows the longest line and the lengths of words",
    state_version = 3
)]
impl WordCount {
    #[on_start]
    fn start(_ctx: &mut Context) -> Result<Self, Failure> {
        Ok(Self::default())
    }

    #[receive]
    fn line(&mut self, _ctx: &mut Context, line: Line) -> Result<(), Failure> {
        self.longest_line = self.longest_line.max(line.text.len() as u64);
        let lengths = &mut self.lengths;
        self.tally.count(&line, |length| {
            let index = length.min(LENGTHS) - 1;
            if let Some(count) = lengths.get_mut(index) {
                *count += 1;
            }
        });
        Ok(())
    }

    #[receive]
    fn reset(&mut self, _ctx: &mut Context, _reset: Reset) -> Result<(), Failure> {
        *self = Self::default();
        Ok(())
    }

    #[receive_and_reply]
    fn totals(&mut self, _ctx: &mut Context, _ask: GetTotals) -> Result<Totals, Failure> {
        Ok(self.tally.totals("3.0.0"))
    }

    #[migrate_from(1)]
    fn from_v1(old: v1::WordCount) -> Result<Self, Failure> {
        Ok(Self {
            tally: old.tally,
            ..Self::default()
        })
    }

    #[migrate_from(2)]
    fn from_v2(old: v2::WordCount) -> Result<Self, Failure> {
        Ok(Self {
            tally: old.tally,
            longest_line: old.longest_line,
            ..Self::default()
        })
    }

    #[migrate_to(1)]
    fn to_v1(&self) -> Result<v1::WordCount, Failure> {
        Ok(v1::WordCount {
            tally: self.tally.clone(),
        })
    }

    #[migrate_to(2)]
    fn to_v2(&self) -> Result<v2::WordCount, Failure> {
        Ok(v2::WordCount {
            tally: self.tally.clone(),
            longest_line: self.longest_line,
        })
    }
}
