//! Order: messages of one sender are handled in the order in which it sent them.
//!
//! Over one connection. What was under way when a connection was cut may arrive beside what its
//! sender sent over the next one; so with one cut, what arrived is at most two rising runs. With a
//! rollback what is asked of the other endpoint may be asked again later; what is sent to it has an order.

use std::collections::BTreeMap;

use std::collections::BTreeSet;

use super::plan::{LOCAL_SENDERS, What};
use super::step::{Key, Memory, Step};

/// # Errors
/// Which sender, and what came in which order.
pub fn check(step: &Step, memory: &Memory) -> Result<(), String> {
    let asked = step
        .items
        .iter()
        .filter(|item| matches!(item.what, What::Forward(_)));
    let asked: BTreeSet<Key> = asked.map(|item| item.key).collect();
    let again =
        |key: &Key| step.rollbacks() > 0 && (asked.contains(key) || memory.forwarded.contains(key));
    let theirs: Vec<Key> = step
        .other_log
        .iter()
        .copied()
        .filter(|key| !again(key))
        .collect();
    for (whose, log) in [("endpoint", &step.log), ("other endpoint", &theirs)] {
        // Late ones of a connection that was cut in an earlier step have no order here.
        let log = log.iter().filter(|key| !memory.limbo.contains(key));
        for (sender, numbers) in by_sender(log) {
            let ways = match sender < LOCAL_SENDERS {
                true => 1,
                false => 1 + step.cuts as usize,
            };
            let runs = rising_runs(&numbers);
            if runs > ways {
                return Err(format!(
                    "the {whose} handled sender {sender} in the order {numbers:?}"
                ));
            }
        }
    }
    Ok(())
}

fn by_sender<'a>(log: impl Iterator<Item = &'a Key>) -> BTreeMap<u32, Vec<u64>> {
    let mut all: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for (sender, number) in log {
        all.entry(*sender).or_default().push(*number);
    }
    all
}

/// The least number of rising runs of which `numbers` can be a mixture.
fn rising_runs(numbers: &[u64]) -> usize {
    let mut ends: Vec<u64> = Vec::new();
    for number in numbers {
        // The run that ends highest below it; ends are kept falling.
        match ends.iter_mut().find(|end| **end < *number) {
            Some(end) => *end = *number,
            None => ends.push(*number),
        }
    }
    ends.len()
}

#[cfg(test)]
mod tests {
    use super::super::step::examples::quiet;
    use super::*;

    #[test]
    fn a_message_that_overtakes_another_is_found() {
        let memory = Memory::default();
        let mut step = quiet(3);
        assert_eq!(check(&step, &memory), Ok(()));
        step.log = vec![(0, 0), (0, 2), (0, 1)];
        assert!(check(&step, &memory).unwrap_err().contains("[0, 2, 1]"));
    }

    #[test]
    fn other_senders_may_overtake() {
        let mut step = quiet(0);
        step.log = vec![(1, 5), (0, 0), (1, 6), (0, 1)];
        assert_eq!(check(&step, &Memory::default()), Ok(()));
    }

    #[test]
    fn a_cut_allows_two_runs_to_a_remote_sender_and_no_more() {
        let mut step = quiet(0);
        step.cuts = 1;
        step.log = vec![(2, 0), (2, 3), (2, 1), (2, 4), (2, 2)];
        assert_eq!(check(&step, &Memory::default()), Ok(()));
        step.log = vec![(2, 2), (2, 1), (2, 0)];
        assert!(check(&step, &Memory::default()).is_err());
        step.log = vec![(0, 1), (0, 0)];
        assert!(check(&step, &Memory::default()).is_err(), "a local sender");
    }
}
