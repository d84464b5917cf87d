//! Common: what all versions do and keep.

use std::time::Duration;

use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Due, Keep, Order, Seen, Totals};

/// The part of the state that all versions have.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Common {
    swaps: u64,
    order: Order,
    waiting: Vec<Waiting>,
    ballast: Bytes,
}

/// A call that waits for the next number.
#[derive(Debug, Serialize, Deserialize)]
pub struct Waiting {
    call: CallContext<Seen>,
    taken: u64,
    position: u64,
}

impl Common {
    /// The state at the start, with as much ballast as the configuration says.
    ///
    /// # Errors
    /// The configuration is no number.
    pub fn start(ctx: &Context) -> Result<Self, Failure> {
        let ballast = ctx.config_as("ballast")?.unwrap_or(0);
        Ok(Self {
            ballast: ballast_of(ballast).collect::<Vec<u8>>().into(),
            ..Self::default()
        })
    }

    /// The same state, one swap later. For a migration forward.
    pub fn swapped(mut self) -> Self {
        self.swaps += 1;
        self
    }

    /// A copy of the state, one swap later. For a migration back: the original stays as it is, and so
    /// do its calls.
    pub fn swapped_copy(&self) -> Self {
        let copy = |waiting: &Waiting| Waiting {
            call: CallContext::from_id(waiting.call.id()),
            ..*waiting
        };
        Self {
            swaps: self.swaps + 1,
            order: self.order.clone(),
            waiting: self.waiting.iter().map(copy).collect(),
            ballast: self.ballast.clone(),
        }
    }

    /// A number came.
    ///
    /// # Errors
    /// A call that waited for it is not open any more.
    pub fn number(&mut self, version: &str, sender: u32, number: u64) -> Result<(), Failure> {
        self.order.came(sender, number);
        for waiting in std::mem::take(&mut self.waiting) {
            let seen = self.seen(version, waiting.taken, waiting.position);
            waiting.call.reply(seen)?;
        }
        Ok(())
    }

    /// The answer to a call that was just taken.
    pub fn ask(&self, version: &str, sender: u32) -> Seen {
        self.seen(version, self.swaps, self.order.next(sender))
    }

    /// Keeps a call: in a timer, or in the state.
    ///
    /// # Errors
    /// There are too many timers.
    pub fn keep(
        &mut self,
        ctx: &mut Context,
        keep: Keep,
        call: CallContext<Seen>,
    ) -> Result<(), Failure> {
        let (taken, position) = (self.swaps, self.order.next(keep.sender));
        match keep.after_ms {
            Some(ms) => {
                let due = Due {
                    call,
                    taken,
                    position,
                };
                ctx.start_timer(Duration::from_millis(ms.into()), due)?;
            }
            None => self.waiting.push(Waiting {
                call,
                taken,
                position,
            }),
        }
        Ok(())
    }

    /// Answers a call whose time has come.
    ///
    /// # Errors
    /// The call is not open any more.
    pub fn due(&self, version: &str, due: Due) -> Result<(), Failure> {
        let seen = self.seen(version, due.taken, due.position);
        due.call.reply(seen)
    }

    /// The totals, as `version` tells them.
    pub fn totals(&self, version: &str) -> Totals {
        let order = &self.order;
        Totals {
            version: version.to_owned(),
            swaps: self.swaps,
            messages: order.messages,
            lost: order.lost,
            doubled: order.doubled,
            reordered: order.reordered,
            ballast: self.ballast.len() as u64,
            intact: ballast_of(self.ballast.len()).eq(self.ballast.iter().copied()),
            waiting: self.waiting.len() as u64,
        }
    }

    fn seen(&self, version: &str, taken: u64, position: u64) -> Seen {
        Seen {
            version: version.to_owned(),
            swaps: self.swaps,
            taken,
            position,
        }
    }
}

/// Bytes of which no short run repeats: a piece that is missing or in the wrong place shows.
fn ballast_of(len: usize) -> impl Iterator<Item = u8> {
    let mut seed = 1_u32;
    std::iter::repeat_with(move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    })
    .take(len)
}
