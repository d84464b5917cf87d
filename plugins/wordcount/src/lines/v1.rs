//! The first version: counts.

use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{GetTotals, Line, Reset, Tally, Totals};

/// State version 1.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WordCount {
    /// What was counted.
    pub tally: Tally,
}

#[instar_sdk::endpoint(
    name = "wordcount",
    version = "1.0.0",
    about = "Counts lines, words and bytes",
    state_version = 1
)]
impl WordCount {
    #[on_start]
    fn start(_ctx: &mut Context) -> Result<Self, Failure> {
        Ok(Self::default())
    }

    #[receive]
    fn line(&mut self, _ctx: &mut Context, line: Line) -> Result<(), Failure> {
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
        Ok(self.tally.totals("1.0.0"))
    }
}
