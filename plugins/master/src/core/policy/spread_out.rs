//! Spread out: one step for each worker in turn, until there is nothing left to give.

use super::{Candidate, Grant, Granting, Need};

/// Grants round by round.
pub fn grant(need: &Need, candidates: impl Iterator<Item = Candidate>) -> Vec<Grant> {
    let mut granting = Granting::new(need);
    let mut candidates = candidates;
    let mut round = Vec::new();
    while granting.goes_on() {
        let Some(candidate) = candidates.next() else {
            break;
        };
        round.extend(granting.first_step(candidate));
    }
    if need.cores_per_executor.is_none() {
        // Rounds of one core each, whose end is known.
        granting.level();
        return granting.done();
    }
    while !round.is_empty() {
        round.retain(|&place| granting.step(place));
    }
    granting.done()
}
