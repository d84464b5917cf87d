//! Currency: no answer comes from a version that is no longer current.
//!
//! An answer says from which start its state comes and how many swaps that went through. With the
//! swaps that are on record this is the place of the instance in the history of the endpoint. It must
//! lie between what was known to run when it was asked and what was known to run when it was answered.

use fixture_load::Seen;

use super::step::{Item, Memory, Picture, Step, Told};

/// # Errors
/// Which answer, and what ran at that time.
pub fn check(step: &Step, _: &Memory) -> Result<(), String> {
    let Some(running) = step.versions.get(step.after.swaps as usize) else {
        let (swaps, known) = (step.after.swaps, step.versions.len());
        return Err(format!("{swaps} swaps, but {known} versions are on record"));
    };
    if *running != step.after.version {
        return Err(format!(
            "{} answers, but {running} is on record",
            step.after.version
        ));
    }
    if !step.life_changed() {
        let swapped = step.after.swaps - step.before.swaps;
        if step.after.generation != step.before.generation + swapped {
            return Err(format!(
                "the state went from generation {} to {} in {swapped} swaps",
                step.before.generation, step.after.generation
            ));
        }
    }
    for item in step.items.iter().chain(&step.ended) {
        if let Told::Answered(seen) = &item.told {
            answer(step, item, seen).map_err(|reason| format!("{item:?}: {reason}"))?;
        }
    }
    Ok(())
}

fn answer(step: &Step, item: &Item, seen: &Seen) -> Result<(), String> {
    // One swap more may be done than is known to be.
    let span = item.before..=item.after + 1;
    let of = |picture: &Picture| {
        let born = picture.swaps.checked_sub(picture.generation)?;
        (picture.life == seen.life).then_some(born + seen.generation)
    };
    let placed = of(&step.before).or_else(|| of(&step.after));
    let places = match placed {
        Some(place) if !span.contains(&place) => {
            return Err(format!(
                "answered by the instance after swap {place}, expected one of {span:?}"
            ));
        }
        Some(place) => place..=place,
        // A life that began and ended within the step: its version is all that can be judged.
        None => span,
    };
    let ran = |place: u64| step.versions.get(place as usize) == Some(&seen.version);
    match places.clone().any(ran) {
        true => Ok(()),
        false => Err(format!(
            "{} did not run after swap {places:?}",
            seen.version
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::What;
    use super::super::step::examples::{quiet, seen};
    use super::*;

    /// A step with one swap, from 1.0.0 to 2.0.0, and one call that was answered.
    fn swapped(version: &str, generation: u64, before: u64, after: u64) -> Step {
        let mut step = quiet(1);
        step.after.version = "2.0.0".to_owned();
        (step.after.swaps, step.after.generation) = (1, 1);
        step.versions.push("2.0.0".to_owned());
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
        assert!(
            error.contains("after swap 0, expected one of 1..=2"),
            "{error}"
        );
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
}
