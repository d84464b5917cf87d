//! Exactly once: each message is in the state once, or it was lost with a crash or a connection whose
//! end is on record, or its sender was told.
//!
//! A crash loses what was handled before it, and nothing behind it: of each sender the new state has
//! everything from some message on. Where there are copies of the state, the loss is a gap for each
//! crash. A rollback loses nothing. What a turn sent on reaches the other endpoint once; what it asked
//! may be asked again by a rollback.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::What;
use super::step::{Item, Key, Memory, Step, Told, counts};

/// # Errors
/// Which message, and what became of it.
pub fn check(step: &Step, memory: &mut Memory) -> Result<(), String> {
    let handled = counts(&step.log);
    nothing_comes_from_nowhere(step, &handled, memory)?;
    for item in &step.items {
        let times = handled.get(&item.key).copied().unwrap_or(0);
        once(step, item, times, memory).map_err(|reason| {
            format!("{item:?} was handled {times} times by the state that is left: {reason}")
        })?;
    }
    a_crash_loses_nothing_behind_it(step, &handled, memory)?;
    what_is_passed_on_comes_once(step, &handled, memory)
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
            let lost = times == 0 && step.went_back();
            match times == expected || lost {
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
        Told::Accepted if step.losses() > 0 => Ok(()),
        Told::Accepted => Err("lost, without a crash".to_owned()),
        Told::Open => Err("lost, and its caller still waits".to_owned()),
    }
}

fn a_crash_loses_nothing_behind_it(
    step: &Step,
    handled: &BTreeMap<Key, u64>,
    memory: &Memory,
) -> Result<(), String> {
    let copies = step.mode.every.is_some() || memory.copy_left;
    // Without a copy, what is lost is what is oldest.
    let most = match copies {
        true => step.losses(),
        false => 1,
    };
    let mut senders: BTreeMap<u32, Gaps> = BTreeMap::new();
    for item in &step.items {
        if matches!(item.told, Told::Refused(_)) || item.is_remote() && step.cuts > 0 {
            continue;
        }
        let there = handled.contains_key(&item.key);
        let gaps = senders.entry(item.key.0).or_default();
        gaps.count += u64::from(!gaps.open && !there);
        gaps.open = !there;
        gaps.behind |= there;
        if !there && (gaps.count > most || gaps.behind && !copies) {
            return Err(format!(
                "{item:?} is lost, though the state has older ones of its sender, with {} crashes \
                 and restarts",
                step.losses()
            ));
        }
    }
    Ok(())
}

/// What is missing of one sender.
#[derive(Default)]
struct Gaps {
    count: u64,
    /// The last message is missing.
    open: bool,
    /// Some message is there.
    behind: bool,
}

fn what_is_passed_on_comes_once(
    step: &Step,
    handled: &BTreeMap<Key, u64>,
    memory: &mut Memory,
) -> Result<(), String> {
    let asked = step
        .items
        .iter()
        .filter(|item| matches!(item.what, What::Forward(_)));
    memory.forwarded.extend(asked.map(|item| item.key));
    for (key, times) in counts(&step.other_log) {
        let again = times - u64::from(memory.passed.insert(key));
        let most = match memory.forwarded.contains(&key) {
            // Whatever it is answered, the endpoint is told once.
            true => step.rollbacks(),
            false => 0,
        };
        if again > most {
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
        found(&step, "older ones");
    }

    #[test]
    fn with_copies_a_crash_is_one_gap() {
        let mut step = crashed(quiet(6));
        step.after.life = step.before.life;
        step.mode.every = Some(3);
        step.log = vec![(0, 0), (0, 1), (0, 4), (0, 5)];
        assert_eq!(checked(&step), Ok(()));
        step.log = vec![(0, 0), (0, 2), (0, 4)];
        found(&step, "older ones");
    }

    #[test]
    fn a_rollback_loses_nothing_and_may_ask_again_but_not_send_again() {
        let mut step = quiet(2);
        step.mode.proving = super::super::mode::Proving::Long;
        step.after.crashes = 1;
        step.timeline.push(super::super::timeline::Ran {
            rolled_back: Some("trapped".to_owned()),
            ..super::super::timeline::Ran::first("1.0.0")
        });
        step.items[0].what = What::Forward(None);
        step.items[1].what = What::Pass;
        step.other_log = vec![(0, 0), (0, 1), (0, 0)];
        assert_eq!(checked(&step), Ok(()));
        step.other_log = vec![(0, 0), (0, 1), (0, 1)];
        found(&step, "passed on twice");
        step.other_log = vec![(0, 1)];
        step.log.pop();
        found(&step, "lost, without a crash");
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
