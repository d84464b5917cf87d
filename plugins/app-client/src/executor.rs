//! Executor: the other side of a driver. Each slot is an endpoint that does one task at a time.
//!
//! [`Slot`] decides whether the driver is there: it says now and then that it is ready, and ends
//! itself when the driver was gone for the grace time, as nobody would want its results.
//!
//! Invariants
//! 1. One announcement is on its way, or one timer for the next; not both, and never neither until it
//!    ends. What belongs to an earlier round does nothing.
//! 2. A driver that is busy is not gone: only what says so counts.

use std::time::Duration;

use instar_sdk::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{RunTask, SlotAnswer, SlotNoted, SlotReady, TaskDone, needed, setting_as};

type Done = Result<(), Failure>;

/// What an executor does. The value is kept from task to task, and through a swap.
pub trait Task: Default + Serialize + DeserializeOwned + 'static {
    /// Does one task.
    ///
    /// # Errors
    /// Why it could not be done. The driver gives it to another slot, up to a limit.
    fn run(&mut self, ctx: &mut Context, body: &[u8]) -> Result<Vec<u8>, Failure>;
}

/// How long it waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// From one announcement to the next, while all is well. Default 5 s.
    pub announce: Duration,
    /// From one to the next, while the driver is gone. Default 1 s.
    pub retry: Duration,
    /// How long the driver may be gone. Default 10 s.
    pub grace: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            announce: Duration::from_secs(5),
            retry: Duration::from_secs(1),
            grace: Duration::from_secs(10),
        }
    }
}

/// A slot of an executor, and whether its driver is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    driver: EndpointRef,
    ready: SlotReady,
    waits: Waits,
    round: u64,
    /// The round of the grace time that runs.
    gone: Option<u64>,
    ended: bool,
}

/// What a slot wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Ask the driver to note it; the outcome goes to [`Slot::answered`].
    Announce {
        /// The round.
        round: u64,
    },
    /// Call [`Slot::due`], so much later.
    AnnounceAfter {
        /// When.
        after: Duration,
        /// The round.
        round: u64,
    },
    /// Call [`Slot::grace_over`], so much later.
    EndAfter {
        /// When.
        after: Duration,
        /// The round.
        round: u64,
    },
    /// End.
    End {
        /// Why.
        reason: &'static str,
    },
}

/// What became of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The driver said something.
    Said(SlotAnswer),
    /// The driver is not there.
    Gone,
    /// Nothing was learnt.
    None,
}

impl Slot {
    /// A slot that begins to look for its driver.
    pub fn new(driver: EndpointRef, ready: SlotReady, waits: Waits) -> (Self, Vec<Act>) {
        let mut slot = Self {
            driver,
            ready,
            waits,
            round: 0,
            gone: None,
            ended: false,
        };
        let acts = vec![slot.announce()];
        (slot, acts)
    }

    fn announce(&mut self) -> Act {
        self.round += 1;
        Act::Announce { round: self.round }
    }

    fn announce_after(&mut self, after: Duration) -> Act {
        self.round += 1;
        let round = self.round;
        Act::AnnounceAfter { after, round }
    }

    /// An announcement has an outcome.
    pub fn answered(&mut self, round: u64, news: News) -> Vec<Act> {
        if self.ended || round != self.round {
            return Vec::new();
        }
        match news {
            News::Said(SlotAnswer::Noted) => {
                self.gone = None;
                vec![self.announce_after(self.waits.announce)]
            }
            News::Said(SlotAnswer::Ended) => self.end("the application ended"),
            News::Said(SlotAnswer::Unknown) | News::Gone => {
                let mut acts = self.begin_grace();
                acts.push(self.announce_after(self.waits.retry));
                acts
            }
            News::None => vec![self.announce_after(self.waits.retry)],
        }
    }

    /// It is time for the next announcement.
    pub fn due(&mut self, round: u64) -> Vec<Act> {
        match !self.ended && round == self.round {
            true => vec![self.announce()],
            false => Vec::new(),
        }
    }

    /// The connection with a peer went down. If it is the driver's, it may come back.
    pub fn peer_disconnected(&mut self, address: &str) -> Vec<Act> {
        if self.ended || self.driver.address.as_deref() != Some(address) {
            return Vec::new();
        }
        let mut acts = self.begin_grace();
        acts.push(self.announce());
        acts
    }

    fn begin_grace(&mut self) -> Vec<Act> {
        if self.gone.is_some() {
            return Vec::new();
        }
        self.round += 1;
        self.gone = Some(self.round);
        vec![Act::EndAfter {
            after: self.waits.grace,
            round: self.round,
        }]
    }

    /// A grace time is over.
    pub fn grace_over(&mut self, round: u64) -> Vec<Act> {
        match self.gone == Some(round) {
            true => self.end("the driver is gone"),
            false => Vec::new(),
        }
    }

    fn end(&mut self, reason: &'static str) -> Vec<Act> {
        if std::mem::replace(&mut self.ended, true) {
            return Vec::new();
        }
        vec![Act::End { reason }]
    }
}

/// An announcement is on its way.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "app.Announced", continues = SlotReady)]
pub struct Announced {
    /// Of which round.
    pub round: u64,
}

/// The time for the next announcement.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "app.AnnounceDue")]
pub struct AnnounceDue {
    /// Of which round.
    pub round: u64,
}

/// The driver was gone for the grace time.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "app.GraceOver")]
pub struct GraceOver {
    /// Of which round.
    pub round: u64,
}

// What `executor!` makes of what comes in.

#[doc(hidden)]
pub fn start(ctx: &mut Context) -> Result<Slot, Failure> {
    let me = ctx.self_ref();
    let in_name = || me.name.rsplit_once('.').and_then(|(_, n)| n.parse().ok());
    // A worker gives all slots of an executor one configuration: their names tell them apart.
    let slot = setting_as(ctx, "slot")?.or_else(in_name).ok_or_else(|| {
        Failure::new(format!(
            "endpoint `{}` is no slot of an executor; expected the name APP.EXECUTOR.SLOT",
            me.name
        ))
    })?;
    let ready = SlotReady {
        app_id: needed(ctx, "app_id")?,
        executor_id: setting_as(ctx, "executor_id")?
            .ok_or("setting `executor_id` is missing; a worker sets it")?,
        slot,
        reference: me,
    };
    let milliseconds = |ctx: &Context, key: &str, default: Duration| {
        setting_as(ctx, key).map(|set| set.map_or(default, Duration::from_millis))
    };
    let waits = Waits::default();
    let waits = Waits {
        announce: milliseconds(ctx, "announce_interval", waits.announce)?,
        retry: milliseconds(ctx, "announce_retry", waits.retry)?,
        grace: milliseconds(ctx, "grace", waits.grace)?,
    };
    let driver = needed(ctx, "driver")?.parse()?;
    let (slot, acts) = Slot::new(driver, ready, waits);
    perform(&slot, ctx, acts)?;
    Ok(slot)
}

#[doc(hidden)]
pub fn carry_out(
    slot: &mut Slot,
    ctx: &mut Context,
    decide: impl FnOnce(&mut Slot) -> Vec<Act>,
) -> Done {
    let acts = decide(slot);
    perform(slot, ctx, acts)
}

fn perform(slot: &Slot, ctx: &mut Context, acts: Vec<Act>) -> Done {
    for act in acts {
        match act {
            Act::Announce { round } => {
                if let Err(failure) = ctx.ask(&slot.driver, &slot.ready, Announced { round }) {
                    log::warn!("cannot ask {}: {failure}", slot.driver);
                    ctx.start_timer(slot.waits.retry, AnnounceDue { round })?;
                }
            }
            Act::AnnounceAfter { after, round } => {
                ctx.start_timer(after, AnnounceDue { round })?;
            }
            Act::EndAfter { after, round } => {
                ctx.start_timer(after, GraceOver { round })?;
            }
            Act::End { reason } => {
                log::info!("slot {} ends: {reason}", slot.ready.reference.name);
                ctx.stop_self();
            }
        }
    }
    Ok(())
}

#[doc(hidden)]
pub fn announced(
    slot: &mut Slot,
    ctx: &mut Context,
    then: Announced,
    outcome: Result<SlotNoted, Failure>,
) -> Done {
    let news = match outcome {
        Ok(noted) => News::Said(noted.answer),
        Err(failure) => match failure.code.as_str() {
            Failure::NETWORK | Failure::STOPPED | Failure::ENDPOINT_NOT_FOUND => News::Gone,
            _ => News::None,
        },
    };
    carry_out(slot, ctx, |slot| slot.answered(then.round, news))
}

/// Does a task. Whatever code the task's failure has, the driver gets [`Failure::FAILED`]: other
/// codes say that something happened to the executor.
#[doc(hidden)]
pub fn run<T: Task>(task: &mut T, ctx: &mut Context, ask: &RunTask) -> Result<TaskDone, Failure> {
    match task.run(ctx, &ask.body) {
        Ok(body) => Ok(TaskDone { body: body.into() }),
        Err(failure) if failure.code == Failure::FAILED => Err(failure),
        Err(failure) => Err(Failure::new(format!("{} ({})", failure.text, failure.code))),
    }
}
