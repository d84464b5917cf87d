//! Crashes: what is on record of them is what happened, and no more state is lost than they cost.
//!
//! A trap on probation is a rollback, and costs nothing. A crash costs the whole state where there is
//! no copy of it, else what is younger than the copy.

use super::mode::Proving;
use super::step::{Memory, Step};
use super::timeline::Ran;

/// Events that a runner hands over at once: so many may be younger than a copy is due.
const BATCH_MAX: u64 = 64;

/// # Errors
/// Which crash or rollback is on record and did not happen, or the other way round.
pub fn check(step: &Step, memory: &mut Memory) -> Result<(), String> {
    rollbacks_are_of_the_last_flip(step)?;
    every_crash_is_on_record(step)?;
    memory.copy_left |= step.flipped().iter().any(Ran::could_not_repeat);
    let outcome = a_state_is_lost_with_a_crash_only(step, memory);
    memory.went_back |= step.went_back();
    outcome
}

fn rollbacks_are_of_the_last_flip(step: &Step) -> Result<(), String> {
    // What a rollback would go back to. A refresh leaves it as it is: the probation goes on.
    let mut back_to: Option<&str> = None;
    for pair in step.timeline.windows(2) {
        let [last, ran] = pair else { continue };
        let goes_back = ran.rolled_back.is_some();
        let fits =
            ran.from == last.version && (!goes_back || back_to == Some(ran.version.as_str()));
        if !fits {
            return Err(format!("{ran:?} is on record after {last:?}"));
        }
        match (goes_back, ran.version == ran.from) {
            (true, _) => back_to = None,
            (false, true) => {}
            (false, false) => back_to = Some(&ran.from),
        }
    }
    let rollbacks = step.rollbacks();
    let why = match (step.mode.proving, step.panics, step.fragile()) {
        (Proving::Never, ..) => "there is no probation",
        (_, 0, false) => "nothing trapped",
        (Proving::Long, ..) if step.one_panic && step.before.on_probation && rollbacks != 1 => {
            return Err(format!(
                "{rollbacks} rollbacks, expected one: a version on probation trapped"
            ));
        }
        _ => return Ok(()),
    };
    match rollbacks {
        0 => Ok(()),
        _ => Err(format!("{rollbacks} rollbacks, though {why}")),
    }
}

fn every_crash_is_on_record(step: &Step) -> Result<(), String> {
    let culprits = step.after.culprits - step.before.culprits;
    let crashes = step.losing_crashes();
    let expected = match step.fragile_unproved() {
        // It traps by itself as well.
        true => crashes.is_some_and(|crashes| crashes >= step.panics),
        false => (crashes, culprits) == (Some(step.panics), step.panics_one_way),
    };
    match expected {
        true => Ok(()),
        false => Err(format!(
            "{} crashes, {} of them rolled back, and {culprits} messages lost by them are on record; \
             expected {} that were not rolled back, and {} messages",
            step.after.crashes - step.before.crashes,
            step.rollbacks(),
            step.panics,
            step.panics_one_way
        )),
    }
}

fn a_state_is_lost_with_a_crash_only(step: &Step, memory: &Memory) -> Result<(), String> {
    let losses = step.losses();
    let copies = step.mode.every.is_some();
    // There was a copy all the time: a version on probation has one of its own.
    let covered = copies && (step.before.copied || step.before.on_probation) && !step.lingered;
    let new = step.life_changed();
    let expected = match (losses, step.restarts) {
        (0, _) => !new,
        (_, 1..) => new,
        _ if covered => !new,
        _ if copies || memory.copy_left => true,
        _ => new,
    };
    if !expected {
        return Err(format!(
            "the state is {} one, with {} rollbacks, {losses} crashes and restarts, {} restarts",
            if new { "another" } else { "the same" },
            step.rollbacks(),
            step.restarts
        ));
    }
    let bound = match step.mode.every {
        Some(every) if !memory.copy_left && !step.lingered => losses * (every + BATCH_MAX),
        _ if step.went_back() => u64::MAX,
        _ => 0,
    };
    match step.forgotten <= bound {
        true => Ok(()),
        false => Err(format!(
            "the state forgot {} messages of earlier steps, expected at most {bound}",
            step.forgotten
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::mode::Mode;
    use super::super::step::examples::quiet;
    use super::*;

    fn checked(step: &Step) -> Result<(), String> {
        check(step, &mut Memory::default())
    }

    fn found(step: &Step, what: &str) {
        let error = checked(step).unwrap_err();
        assert!(error.contains(what), "{error}");
    }

    fn crashed(mut step: Step) -> Step {
        step.after.life = 8;
        step.after.crashes = 1;
        step.after.culprits = 1;
        (step.panics, step.panics_one_way) = (1, 1);
        step
    }

    /// The fragile version took over before the step, on probation, and trapped in it.
    fn rolled_back() -> Step {
        let mut step = quiet(2);
        step.mode.proving = Proving::Long;
        step.before.version = "2.6.6".to_owned();
        step.before.on_probation = true;
        (step.before.flips, step.before.swaps, step.after.swaps) = (1, 1, 1);
        (step.after.flips, step.after.crashes) = (2, 1);
        let ran = |version: &str, from: &str, rolled_back: Option<&str>| Ran {
            version: version.to_owned(),
            from: from.to_owned(),
            swaps: 1,
            rolled_back: rolled_back.map(str::to_owned),
        };
        step.timeline.push(ran("2.6.6", "1.0.0", None));
        step.timeline.push(ran("1.0.0", "2.6.6", Some("trapped")));
        step
    }

    #[test]
    fn a_state_that_is_lost_without_a_crash_is_found() {
        let mut step = quiet(1);
        step.after.life = 8;
        found(&step, "another one");
        let mut step = crashed(quiet(1));
        step.panics = 0;
        found(&step, "on record");
        assert_eq!(checked(&crashed(quiet(1))), Ok(()));
    }

    #[test]
    fn a_rollback_costs_no_state() {
        assert_eq!(checked(&rolled_back()), Ok(()));
        let mut step = rolled_back();
        step.after.life = 8;
        found(&step, "another one, with 1 rollbacks");
        let mut step = rolled_back();
        step.forgotten = 1;
        found(&step, "forgot 1 messages");
    }

    #[test]
    fn a_trap_on_probation_that_is_a_plain_crash_is_found() {
        let mut step = rolled_back();
        step.timeline.pop();
        step.after.life = 8;
        found(&step, "1 crashes, 0 of them rolled back");
    }

    #[test]
    fn a_rollback_to_another_version_or_without_a_reason_is_found() {
        let mut step = rolled_back();
        step.timeline[2].version = "3.0.0".to_owned();
        found(&step, "is on record after");
        let mut step = rolled_back();
        step.mode.proving = Proving::Never;
        found(&step, "there is no probation");
    }

    #[test]
    fn a_refresh_leaves_the_version_to_go_back_to_as_it_is() {
        let mut step = rolled_back();
        let refreshed = Ran {
            from: "2.6.6".to_owned(),
            ..step.timeline[1].clone()
        };
        step.timeline.insert(2, refreshed);
        (step.before.flips, step.after.flips) = (2, 3);
        assert_eq!(checked(&step), Ok(()));
        step.timeline[3].version = "2.6.6".to_owned();
        found(&step, "is on record after");
    }

    #[test]
    fn with_a_copy_a_crash_takes_the_state_back_and_not_further() {
        let mut step = crashed(quiet(1));
        step.mode = Mode {
            proving: Proving::Never,
            every: Some(10),
        };
        step.before.copied = true;
        found(&step, "another one");
        step.after.life = step.before.life;
        step.forgotten = 74;
        assert_eq!(checked(&step), Ok(()));
        step.forgotten = 75;
        found(&step, "forgot 75");
    }
}
