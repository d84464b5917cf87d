//! Consolidate: a worker gives all that it can before the next one is looked at.

use super::{Candidate, Grant, Granting, Need};

/// Grants worker by worker.
pub fn grant(need: &Need, candidates: impl Iterator<Item = Candidate>) -> Vec<Grant> {
    let mut granting = Granting::new(need);
    let mut candidates = candidates;
    while granting.goes_on() {
        let Some(candidate) = candidates.next() else {
            break;
        };
        if let Some(place) = granting.first_step(candidate) {
            granting.fill(place);
        }
    }
    granting.done()
}
