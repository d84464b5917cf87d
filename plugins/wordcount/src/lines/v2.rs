//! The second version: knows the longest line as well.

use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{GetTotals, Line, Reset, Tally, Totals, v1};

/// State version 2.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WordCount {
    /// What was counted.
    pub tally: Tally,
    /// The longest line since this version first ran, in bytes.
    pub longest_line: u64,
}

#[instar_sdk::endpoint(
    name = "wordcount",
    version = "2.0.0",
    about = "Counts lines, words and bytes, and knows the longest line",
    state_version = 2
)]
impl WordCount {
    #[on_start]
    fn start(_ctx: &mut Context) -> Result<Self, Failure> {
        Ok(Self::default())
    }

    #[receive]
    fn line(&mut self, _ctx: &mut Context, line: Line) -> Result<(), Failure> {
        self.longest_line = self.longest_line.max(line.text.len() as u64);
        self.tally.count(&line, |_| {});
        Ok(())
    }

    #[receive]
    fn reset(&mut self, _ctx: &mut Context, _reset: Reset) -> Result<(), Failure> {
        *self = Self::default();
        Ok(())
    }

    #[receive_and_reply]
    fn totals(&mut self, _ctx: &mut Context, _ask: GetTotals) -> Result<Totals, Failure> {
        Ok(self.tally.totals("2.0.0"))
    }

    #[migrate_from(1)]
    fn from_v1(old: v1::WordCount) -> Result<Self, Failure> {
        Ok(Self {
            tally: old.tally,
            longest_line: 0,
        })
    }

    #[migrate_to(1)]
    fn to_v1(&self) -> Result<v1::WordCount, Failure> {
        Ok(v1::WordCount {
            tally: self.tally.clone(),
        })
    }
}
