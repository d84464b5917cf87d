//! The second version: counts the asks as well.

use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Ask, Common, Due, GetTotals, Keep, Number, Seen, Totals, v1};

const VERSION: &str = "2.0.0";

/// State version 2.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Soak {
    /// What all versions keep.
    pub common: Common,
    /// Asks since a version that counts them first ran.
    pub asks: u64,
}

#[instar_sdk::endpoint(
    name = "soak",
    version = "2.0.0",
    about = "Notices what a swap must not do",
    state_version = 2
)]
impl Soak {
    #[on_start]
    fn start(ctx: &mut Context) -> Result<Self, Failure> {
        let common = Common::start(ctx)?;
        Ok(Self {
            common,
            ..Self::default()
        })
    }

    #[receive]
    fn number(&mut self, _ctx: &mut Context, number: Number) -> Result<(), Failure> {
        self.common.number(VERSION, number.sender, number.number)
    }

    #[receive_and_reply]
    fn ask(&mut self, _ctx: &mut Context, ask: Ask) -> Result<Seen, Failure> {
        self.asks += 1;
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

    #[migrate_from(1)]
    fn from_v1(old: v1::Soak) -> Result<Self, Failure> {
        Ok(Self {
            common: old.common.swapped(),
            ..Self::default()
        })
    }

    #[migrate_to(1)]
    fn to_v1(&self) -> Result<v1::Soak, Failure> {
        Ok(v1::Soak {
            common: self.common.swapped_copy(),
        })
    }
}
