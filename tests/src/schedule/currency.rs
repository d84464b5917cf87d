//! Currency: no answer comes from a version that is no longer current.
//!
//! An answer says from which start its state comes and how many times that was read since. With the
//! swaps that are on record this is the place of the instance in the history of the endpoint: each swap
//! is one place further. It must lie between what was known to run when it was asked and what was known
//! to run when it was answered. A rollback reads the state of the flip once more: the version that comes
//! back has the place of the one that failed, whose answers come from before the rollback. A copy may be
//! read many times; where that happened only the version is judged.

use fixture_load::Seen;

use super::step::{Item, Memory, Picture, Step, Told};

/// # Errors
/// Which answer, and what ran at that time.
pub fn check(step: &Step, memory: &Memory) -> Result<(), String> {
    let (before, after) = (&step.before, &step.after);
    let Some(running) = step.timeline.last() else {
        return Err("nothing is on record".to_owned());
    };
    if (running.swaps, &running.version) != (after.swaps, &after.version) {
        return Err(format!(
            "{} answers after {} swaps, but {running:?} is on record",
            after.version, after.swaps
        ));
    }
    // A swap of an endpoint that crashed reads the copy as well.
    let copy_read =
        step.losing_crashes() != Some(0) && (step.mode.every.is_some() || memory.copy_left);
    if !step.life_changed() && !copy_read {
        let swapped = after.swaps - before.swaps;
        if after.generation != before.generation + swapped {
            return Err(format!(
                "the state went from generation {} to {} in {swapped} swaps",
                before.generation, after.generation
            ));
        }
    }
    // An answer to a call of an earlier step may have been on its way since then, in whatever place.
    let copies = step.mode.every.is_some() || memory.copy_left;
    let of_this_step = step.items.iter().map(|item| (item, copy_read));
    let of_earlier = step.ended.iter().map(|item| (item, copies));
    for (item, anywhere) in of_this_step.chain(of_earlier) {
        if let Told::Answered(seen) = &item.told {
            let place = match anywhere {
                true => None,
                false => place(seen, before).or_else(|| place(seen, after)),
            };
            answer(step, item, seen, place).map_err(|reason| format!("{item:?}: {reason}"))?;
        }
    }
    Ok(())
}

/// After how many swaps the instance of an answer began. None for a life that began and ended within
/// the step.
fn place(seen: &Seen, picture: &Picture) -> Option<i64> {
    let born = picture.swaps as i64 - picture.generation as i64;
    (picture.life == seen.life).then_some(born + seen.generation as i64)
}

fn answer(step: &Step, item: &Item, seen: &Seen, place: Option<i64>) -> Result<(), String> {
    // One flip more may be done than is known to be.
    let span = item.before..=item.after + 1;
    let mut ran = span
        .clone()
        .filter_map(|flip| step.timeline.get(flip as usize));
    let fits = ran.any(|ran| {
        ran.version == seen.version && place.is_none_or(|place| ran.swaps as i64 == place)
    });
    match fits {
        true => Ok(()),
        false => Err(format!(
            "answered by {} in the place after {place:?} swaps, which did not run within flips {span:?}",
            seen.version
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::What;
    use super::super::step::examples::{quiet, seen};
    use super::super::timeline::Ran;
    use super::*;

    /// A step with one swap, from 1.0.0 to 2.0.0, and one call that was answered.
    fn swapped(version: &str, generation: u64, before: u64, after: u64) -> Step {
        let mut step = quiet(1);
        step.after.version = "2.0.0".to_owned();
        (step.after.swaps, step.after.generation) = (1, 1);
        step.after.flips = 1;
        step.timeline.push(Ran {
            from: "1.0.0".to_owned(),
            swaps: 1,
            ..Ran::first("2.0.0")
        });
        step.items[0].what = What::Count;
        (step.items[0].before, step.items[0].after) = (before, after);
        step.items[0].told = Told::Answered(Seen {
            version: version.to_owned(),
            generation,
            ..seen((0, 0))
        });
        step
    }

    fn checked(step: &Step) -> Result<(), String> {
        check(step, &Memory::default())
    }

    #[test]
    fn either_version_may_answer_while_the_swap_is_under_way() {
        assert_eq!(checked(&swapped("1.0.0", 0, 0, 0)), Ok(()));
        assert_eq!(checked(&swapped("2.0.0", 1, 0, 0)), Ok(()));
        assert_eq!(checked(&swapped("2.0.0", 1, 0, 1)), Ok(()));
    }

    #[test]
    fn the_old_version_may_not_answer_what_was_asked_after_the_swap() {
        let error = checked(&swapped("1.0.0", 0, 1, 1)).unwrap_err();
        assert!(error.contains("did not run within flips 1..=2"), "{error}");
    }

    #[test]
    fn an_instance_that_claims_another_version_is_found() {
        let error = checked(&swapped("1.0.0", 1, 0, 1)).unwrap_err();
        assert!(error.contains("did not run"), "{error}");
    }

    #[test]
    fn a_swap_that_the_state_did_not_go_through_is_found() {
        let mut step = swapped("2.0.0", 1, 0, 1);
        step.after.generation = 0;
        assert!(checked(&step).unwrap_err().contains("generation"));
    }

    /// 2.0.0 took over and failed: 1.0.0 is back, in the same place.
    fn rolled_back(version: &str, before: u64, after: u64) -> Step {
        let mut step = swapped(version, 1, before, after);
        step.after.version = "1.0.0".to_owned();
        step.after.flips = 2;
        step.timeline.push(Ran {
            version: "1.0.0".to_owned(),
            from: "2.0.0".to_owned(),
            swaps: 1,
            rolled_back: Some("it trapped".to_owned()),
        });
        step
    }

    #[test]
    fn the_version_that_came_back_may_answer_and_the_one_that_failed_may_not() {
        assert_eq!(checked(&rolled_back("1.0.0", 2, 2)), Ok(()));
        assert_eq!(checked(&rolled_back("2.0.0", 1, 2)), Ok(()));
        let error = checked(&rolled_back("2.0.0", 2, 2)).unwrap_err();
        assert!(error.contains("did not run within"), "{error}");
    }
}
