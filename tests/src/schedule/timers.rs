//! Timers: they go on, whatever is swapped or rolled back; after a crash they are those of the new start
//! or of the copy.

use super::step::Step;

/// # Errors
/// What stands still.
pub fn check(step: &Step) -> Result<(), String> {
    let (before, after) = (&step.before, &step.after);
    if after.timers != 1 {
        return Err(format!("{} timers run, expected one", after.timers));
    }
    let ticks = match (step.life_changed(), step.went_back()) {
        (true, _) => 0,
        (_, true) => step.ticks_seen,
        _ => before.ticks,
    };
    match after.ticks > ticks {
        true => Ok(()),
        false => Err(format!("the timer stands still at {ticks} ticks")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::step::examples::quiet;
    use super::*;

    #[test]
    fn a_timer_that_is_lost_doubled_or_stands_still_is_found() {
        let mut step = quiet(0);
        assert_eq!(check(&step), Ok(()));
        step.after.ticks = step.before.ticks;
        assert!(check(&step).is_err());
        for timers in [0, 2] {
            let mut step = quiet(0);
            step.after.timers = timers;
            assert!(check(&step).is_err());
        }
    }
}
