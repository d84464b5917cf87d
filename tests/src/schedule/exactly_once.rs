//! Exactly once: each message is in the state once, or it was lost with a crash or a connection whose
//! end is on record, or its sender was told.
//!
//! A crash loses what was handled before it, and nothing behind it: of each sender the new state has
//! everything from some message on. What a turn sent on reaches the other endpoint once.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::What;
use super::step::{Item, Key, Memory, Step, Told, counts};

/// # Errors
/// Which message, and what became of it.
pub fn check(step: &Step, memory: &mut Memory) -> Result<(), String> {
    a_state_is_lost_with_a_crash_only(step)?;
    let handled = counts(&step.log);
    nothing_comes_from_nowhere(step, &handled, memory)?;
    for item in &step.items {
        let times = handled.get(&item.key).copied().unwrap_or(0);
        once(step, item, times, memory).map_err(|reason| {
            format!("{item:?} was handled {times} times by the state that is left: {reason}")
        })?;
    }
    a_crash_loses_nothing_behind_it(step, &handled)?;
    what_is_passed_on_comes_once(step, &handled, memory)
}

fn a_state_is_lost_with_a_crash_only(step: &Step) -> Result<(), String> {
    let (before, after) = (&step.before, &step.after);
    if step.life_changed() != step.lost_its_state() {
        return Err(format!(
            "the state is {} one, with {} crashes and {} restarts",
            if step.life_changed() {
                "another"
            } else {
                "the same"
            },
            after.crashes - before.crashes,
            step.restarts
        ));
    }
    let crashes = after.crashes - before.crashes;
    let culprits = after.culprits - before.culprits;
    let expected = match step.fragile {
        // It traps by itself as well.
        true => crashes >= step.panics,
        false => (crashes, culprits) == (step.panics, step.panics_one_way),
    };
    if expected {
        return Ok(());
    }
    Err(format!(
        "{crashes} crashes and {culprits} messages lost by them are on record, expected {} and {}",
        step.panics, step.panics_one_way
    ))
}

fn nothing_comes_from_nowhere(
    step: &Step,
    handled: &BTreeMap<Key, u64>,
    memory: &mut Memory,
) -> Result<(), String> {
    let sent: BTreeSet<Key> = step.items.iter().map(|item| item.key).collect();
    for (key, times) in handled {
        let late = !sent.contains(key) && *times == 1 && memory.limbo.remove(key);
        if !late && !sent.contains(key) {
            return Err(format!(
                "{key:?} was handled {times} times in a step in which nobody sent it"
            ));
        }
    }
    Ok(())
}

fn once(step: &Step, item: &Item, times: u64, memory: &mut Memory) -> Result<(), String> {
    if times > 1 {
        return Err("doubled".to_owned());
    }
    match &item.told {
        Told::Answered(seen) => {
            let expected = u64::from(seen.life == step.after.life);
            match times == expected {
                true => Ok(()),
                false => Err(format!(
                    "expected {expected}: answered by life {}",
                    seen.life
                )),
            }
        }
        Told::Refused(code) => {
            // Whether a message was handled whose connection broke, nobody can know.
            let unknown = matches!(code.as_str(), "network" | "stopped" | "aborted")
                || matches!(item.what, What::Forward(_)) && code != "crashed";
            if unknown && times == 0 && item.is_remote() {
                memory.limbo.insert(item.key);
            }
            match unknown || times == 0 {
                true => Ok(()),
                false => Err("its sender was told that it was not".to_owned()),
            }
        }
        Told::Accepted | Told::Open if times == 1 => Ok(()),
        Told::Accepted | Told::Open if item.is_remote() && step.cuts > 0 => {
            memory.limbo.insert(item.key);
            Ok(())
        }
        Told::Accepted if step.lost_its_state() => Ok(()),
        Told::Accepted => Err("lost, without a crash".to_owned()),
        Told::Open => Err("lost, and its caller still waits".to_owned()),
    }
}

fn a_crash_loses_nothing_behind_it(
    step: &Step,
    handled: &BTreeMap<Key, u64>,
) -> Result<(), String> {
    let mut reached: BTreeMap<u32, u64> = BTreeMap::new();
    for item in &step.items {
        let (sender, number) = item.key;
        if matches!(item.told, Told::Refused(_)) || item.is_remote() && step.cuts > 0 {
            continue;
        }
        match (handled.contains_key(&item.key), reached.get(&sender)) {
            (true, None) => drop(reached.insert(sender, number)),
            (false, Some(first)) => {
                return Err(format!(
                    "{item:?} is lost, though the state has sender {sender} from {first} on"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

fn what_is_passed_on_comes_once(
    step: &Step,
    handled: &BTreeMap<Key, u64>,
    memory: &mut Memory,
) -> Result<(), String> {
    for key in &step.other_log {
        if !memory.passed.insert(*key) {
            return Err(format!("{key:?} was passed on twice"));
        }
    }
    for item in step.items.iter().chain(&step.ended) {
        let must = match (item.what, &item.told) {
            (What::Pass, _) => handled.contains_key(&item.key),
            (What::Forward(_), Told::Answered(_)) => true,
            _ => false,
        };
        if must && !memory.passed.contains(&item.key) {
            return Err(format!("{item:?} was handled and not passed on"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::step::examples::{quiet, seen};
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

    #[test]
    fn all_is_well_where_each_is_handled_once() {
        assert_eq!(checked(&quiet(5)), Ok(()));
    }

    #[test]
    fn a_lost_a_doubled_and_an_unknown_message_are_found() {
        let mut step = quiet(3);
        step.log.remove(1);
        found(&step, "lost, without a crash");
        let mut step = quiet(3);
        step.log.push((0, 1));
        found(&step, "doubled");
        let mut step = quiet(3);
        step.log.push((0, 9));
        found(&step, "nobody sent it");
    }

    #[test]
    fn a_refused_message_that_was_handled_is_found() {
        let mut step = quiet(2);
        step.items[1].told = Told::Refused("inbox-full".to_owned());
        found(&step, "told that it was not");
    }

    #[test]
    fn an_answered_call_that_the_state_forgot_is_found() {
        let mut step = quiet(2);
        step.items[1].told = Told::Answered(seen((0, 1)));
        step.log.pop();
        found(&step, "answered by life");
    }

    #[test]
    fn a_crash_may_lose_what_was_before_it() {
        let mut step = crashed(quiet(4));
        step.log = vec![(0, 2), (0, 3)];
        assert_eq!(checked(&step), Ok(()));
    }

    #[test]
    fn a_crash_that_loses_what_was_behind_it_is_found() {
        let mut step = crashed(quiet(4));
        step.log = vec![(0, 1), (0, 3)];
        found(&step, "from 1 on");
    }

    #[test]
    fn a_state_that_is_lost_without_a_crash_is_found() {
        let mut step = quiet(1);
        step.after.life = 8;
        found(&step, "another one");
        let mut step = crashed(quiet(1));
        step.panics = 0;
        found(&step, "on record");
    }

    #[test]
    fn what_a_cut_connection_lost_may_come_later_but_only_once() {
        let mut memory = Memory::default();
        let mut step = quiet(1);
        step.items[0].key = (2, 0);
        step.log.clear();
        assert!(check(&step, &mut memory).is_err());
        step.cuts = 1;
        assert_eq!(check(&step, &mut memory), Ok(()));
        let mut late = quiet(0);
        late.log = vec![(2, 0)];
        assert_eq!(check(&late, &mut memory), Ok(()));
        assert!(check(&late, &mut memory).is_err());
    }

    #[test]
    fn an_effect_that_comes_twice_or_not_at_all_is_found() {
        let mut step = quiet(1);
        step.items[0].what = What::Pass;
        found(&step, "not passed on");
        step.other_log = vec![(0, 0)];
        assert_eq!(checked(&step), Ok(()));
        step.other_log = vec![(0, 0), (0, 0)];
        found(&step, "twice");
    }
}
