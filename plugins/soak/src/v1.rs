//! The first version: only what all have.

use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Ask, Common, Due, GetTotals, Keep, Number, Seen, Totals};

const VERSION: &str = "1.0.0";

/// State version 1.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Soak {
    /// What all versions keep.
    pub common: Common,
}

#[instar_sdk::endpoint(
    name = "soak",
    version = "1.0.0",
    about = "Notices what a swap must not do",
    state_version = 1
)]
impl Soak {
    #[on_start]
    fn start(ctx: &mut Context) -> Result<Self, Failure> {
        let common = Common::start(ctx)?;
        Ok(Self { common })
    }

    #[receive]
    fn number(&mut self, _ctx: &mut Context, number: Number) -> Result<(), Failure> {
        self.common.number(VERSION, number.sender, number.number)
    }

    #[receive_and_reply]
    fn ask(&mut self, _ctx: &mut Context, ask: Ask) -> Result<Seen, Failure> {
        Ok(self.common.ask(VERSION, ask.sender))
    }

    #[receive_and_reply]
    fn keep(
        &mut self,
        ctx: &mut Context,
        keep: Keep,
        call: CallContext<Seen>,
    ) -> Result<(), Failure> {
        self.common.keep(ctx, keep, call)
    }

    #[on_timer]
    fn due(&mut self, _ctx: &mut Context, due: Due) -> Result<(), Failure> {
        self.common.due(VERSION, due)
    }

    #[receive_and_reply]
    fn totals(&mut self, _ctx: &mut Context, _ask: GetTotals) -> Result<Totals, Failure> {
        Ok(self.common.totals(VERSION))
    }
}
