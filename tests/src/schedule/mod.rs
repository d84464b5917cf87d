//! Schedule: random traffic and random trouble on one endpoint, and a model of what may come of it.
//!
//! In the order of a schedule: [`rng`] (one seed for every choice) - [`mode`] (probation, checkpoints) -
//! [`plan`] (what is done in which step) - [`world`] (real hosts, components and sockets; what is done to them is `happen`) -
//! [`timeline`] (which version ran when) - [`step`] (what was seen) - and then one property per file:
//! [`order`], [`crashes`], [`exactly_once`], [`answers`], [`currency`], [`timers`].
//!
//! The rule that all of them serve: *each message is in the state exactly once, or it was lost with a
//! crash or a connection whose end is on record, or its sender was told; each call is answered exactly
//! once, by a version that is current.* What probation and checkpoints do to it says [`mode`].
//!
//! The seed fixes the plan, not the threads: the same plan may have to run several times to fail again.

pub mod rng;

pub mod mode;

pub mod plan;

pub mod timeline;

mod traffic;

mod happen;

pub mod world;

pub mod step;

pub mod order;

pub mod crashes;

pub mod exactly_once;

pub mod answers;

pub mod currency;

pub mod timers;

use mode::Mode;
use plan::Plan;
use step::{Memory, Step};
use world::World;

/// What a schedule broke, and how to repeat it.
#[derive(Debug)]
pub struct Violation {
    /// The seed.
    pub seed: u64,
    /// What was switched on.
    pub mode: Mode,
    /// Counts the steps, from 0.
    pub step: usize,
    /// What was planned for it.
    pub planned: String,
    /// Which property does not hold, and why.
    pub reason: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            seed,
            mode,
            step,
            planned,
            reason,
        } = self;
        write!(
            f,
            "{reason}\nin step {step} of the schedule with seed {seed} ({mode:?}): {planned}\nrepeat with \
             INSTAR_SEED={seed} INSTAR_RUNS=1 cargo test -p instar-tests --test schedules random"
        )
    }
}

/// Checks one step against every property.
///
/// # Errors
/// Which property does not hold, and why.
pub fn check(step: &Step, memory: &mut Memory) -> Result<(), String> {
    let named = |property: &str, outcome: Result<(), String>| {
        outcome.map_err(|reason| format!("{property}: {reason}"))
    };
    named("order", order::check(step, memory))?;
    named("crashes", crashes::check(step, memory))?;
    named("exactly once", exactly_once::check(step, memory))?;
    named("answers", answers::check(step, memory))?;
    named("currency", currency::check(step, memory))?;
    named("timers", timers::check(step))
}

/// Runs the schedule of a seed.
///
/// # Errors
/// The first [`Violation`].
pub async fn run(seed: u64, steps: usize) -> Result<(), Violation> {
    let plan = Plan::new(seed, steps);
    let mut memory = Memory::default();
    let mut world = World::start(plan.mode).await;
    for (number, planned) in plan.steps.iter().enumerate() {
        let outcome = match world.perform(planned).await {
            Ok(step) => {
                check(&step, &mut memory).map_err(|reason| format!("{reason}\n{}", step.in_short()))
            }
            Err(reason) => Err(reason),
        };
        if let Err(reason) = outcome {
            return Err(Violation {
                seed,
                mode: plan.mode,
                step: number,
                planned: format!("{planned:?}"),
                reason,
            });
        }
    }
    world.end().await;
    Ok(())
}
