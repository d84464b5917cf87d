//! The third version: counts the calls that it keeps as well.

use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Ask, Common, Due, GetTotals, Keep, Number, Seen, Totals, v1, v2};

const VERSION: &str = "3.0.0";

/// State version 3.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Soak {
    /// What all versions keep.
    pub common: Common,
    /// Asks since a version that counts them first ran.
    pub asks: u64,
    /// Calls kept since this version first ran, by how: by a timer, with the next number.
    pub kept: [u64; 2],
}

#[instar_sdk::endpoint(
    name = "soak",
    version = "3.0.0",
    about = "Notices what a swap must not do",
    state_version = 3
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
        let [by_timer, with_next] = &mut self.kept;
        let kept = match keep.after_ms {
            Some(_) => by_timer,
            None => with_next,
        };
        *kept += 1;
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

    #[migrate_from(2)]
    fn from_v2(old: v2::Soak) -> Result<Self, Failure> {
        Ok(Self {
            common: old.common.swapped(),
            asks: old.asks,
            ..Self::default()
        })
    }

    #[migrate_to(1)]
    fn to_v1(&self) -> Result<v1::Soak, Failure> {
        Ok(v1::Soak {
            common: self.common.swapped_copy(),
        })
    }

    #[migrate_to(2)]
    fn to_v2(&self) -> Result<v2::Soak, Failure> {
        Ok(v2::Soak {
            common: self.common.swapped_copy(),
            asks: self.asks,
        })
    }
}
