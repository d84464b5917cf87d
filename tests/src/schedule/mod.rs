//! Schedule: random traffic and random trouble on one endpoint, and a model of what may come of it.
//!
//! In the order of a schedule: [`rng`] (one seed for every choice) - [`plan`] (what is done in which
//! step) - [`world`] (does it, with real hosts, components and sockets) - [`step`] (what was seen) -
//! and then one property per file: [`order`], [`exactly_once`], [`answers`], [`currency`], [`timers`].
//!
//! The rule that all of them serve: *each message is in the state exactly once, or it was lost with a
//! crash or a connection whose end is on record, or its sender was told; each call is answered exactly
//! once, by a version that is current.*
//!
//! The seed fixes the plan, not the threads: the same plan may have to run several times to fail again.

pub mod rng;

pub mod plan;

mod traffic;

pub mod world;

pub mod step;

pub mod order;

pub mod exactly_once;

pub mod answers;

pub mod currency;

pub mod timers;

use plan::Plan;
use step::{Memory, Step};
use world::World;

/// What a schedule broke, and how to repeat it.
#[derive(Debug)]
pub struct Violation {
    /// The seed.
    pub seed: u64,
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
            step,
            planned,
            reason,
        } = self;
        write!(
            f,
            "{reason}\nin step {step} of the schedule with seed {seed}: {planned}\nrepeat with \
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
    let mut world = World::start().await;
    for (number, planned) in plan.steps.iter().enumerate() {
        let outcome = match world.perform(planned).await {
            Ok(step) => check(&step, &mut memory),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = outcome {
            return Err(Violation {
                seed,
                step: number,
                planned: format!("{planned:?}"),
                reason,
            });
        }
    }
    world.end().await;
    Ok(())
}
