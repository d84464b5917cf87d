//! Answers: each call is answered exactly once, and fails only for a reason that is on record.
//!
//! At the end of a step every call that still waits is held by the guest, and every call that the
//! guest holds is open at the host: so none waits for nothing, and none is answered twice. Only a state
//! that went back to a copy holds calls again that a later one has answered; they are never more than
//! when it went back.

use super::plan::What;
use super::step::{Item, Memory, Step, Told};

/// # Errors
/// Which call, and what became of it.
pub fn check(step: &Step, memory: &mut Memory) -> Result<(), String> {
    for item in step.items.iter().chain(&step.ended) {
        outcome(step, item).map_err(|reason| format!("{item:?}: {reason}"))?;
    }
    let after = &step.after;
    if after.open_asks != after.waiting {
        return Err(format!(
            "the host holds {} asks open, the guest {}",
            after.open_asks, after.waiting
        ));
    }
    let ghosts = after.held.len().checked_sub(after.open_calls);
    let bound = match (step.went_back(), step.life_changed()) {
        (true, _) => None,
        (false, true) => Some(0),
        (false, false) => Some(memory.ghosts),
    };
    match ghosts {
        Some(ghosts) if bound.is_none_or(|most| ghosts <= most) => memory.ghosts = ghosts,
        _ => {
            return Err(format!(
                "the host holds {} calls open, the guest {}; expected the same, but for as many as a \
                 state that went back may hold again: {bound:?}",
                after.open_calls,
                after.held.len()
            ));
        }
    }
    if after.strays > 0 {
        return Err(format!("{} answers came uncalled or twice", after.strays));
    }
    if after.refused > 0 && !memory.went_back {
        return Err(format!(
            "{} answers were refused, though their calls were open",
            after.refused
        ));
    }
    Ok(())
}

fn outcome(step: &Step, item: &Item) -> Result<(), String> {
    match &item.told {
        Told::Answered(seen) if (seen.sender, seen.number) != item.key => {
            Err("got the answer to another call".to_owned())
        }
        Told::Refused(code) => {
            let expected = match code.as_str() {
                "crashed" => step.losses() > 0,
                "aborted" if matches!(item.what, What::Forward(_)) && step.went_back() => true,
                "network" | "stopped" | "aborted" => item.shaky,
                // An ask of the endpoint to one without room fails at once.
                "inbox-full" => matches!(item.what, What::Forward(_)),
                _ => false,
            };
            match expected {
                true => Ok(()),
                false => Err("failed, and nothing is on record for which it should".to_owned()),
            }
        }
        Told::Open if !step.after.held.contains(&item.key) => {
            Err("waits, and nobody will answer it".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::step::examples::{quiet, seen};
    use super::*;

    fn kept(told: Told) -> Step {
        let mut step = quiet(1);
        step.items[0].what = What::Keep(None);
        step.items[0].told = told;
        step
    }

    fn found(step: &Step, what: &str) {
        let error = check(step, &mut Memory::default()).unwrap_err();
        assert!(error.contains(what), "{error}");
    }

    #[test]
    fn a_call_that_waits_is_held_by_guest_and_host() {
        let mut step = kept(Told::Open);
        found(&step, "nobody will answer");
        step.after.held.insert((0, 0));
        found(&step, "the host holds 0 calls");
        step.after.open_calls = 1;
        assert_eq!(check(&step, &mut Memory::default()), Ok(()));
    }

    #[test]
    fn an_answer_to_another_call_is_found() {
        found(&kept(Told::Answered(seen((0, 4)))), "another call");
        let right = kept(Told::Answered(seen((0, 0))));
        assert_eq!(check(&right, &mut Memory::default()), Ok(()));
    }

    #[test]
    fn a_failure_without_a_reason_is_found() {
        let mut step = kept(Told::Refused("crashed".to_owned()));
        found(&step, "nothing is on record");
        step.restarts = 1;
        assert_eq!(check(&step, &mut Memory::default()), Ok(()));
        step.items[0].told = Told::Refused("network".to_owned());
        found(&step, "nothing is on record");
        step.items[0].shaky = true;
        assert_eq!(check(&step, &mut Memory::default()), Ok(()));
    }

    #[test]
    fn an_answer_too_many_is_found() {
        let mut step = quiet(0);
        step.after.strays = 1;
        found(&step, "uncalled or twice");
        let mut step = quiet(0);
        step.after.refused = 1;
        found(&step, "refused");
    }
}
