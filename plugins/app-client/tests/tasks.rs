//! The task scheduler, as pure code: what counts, and that everything does, once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use app_client::ExecutorName;
use app_client::tasks::{Assignment, BODY_BYTES_MAX, TASKS_MAX, Tasks, Verdict};
use instar_sdk::{Bytes, EndpointRef, Failure};
use proptest::prelude::*;

fn executor(executor_id: u32) -> ExecutorName {
    ExecutorName {
        app_id: "app-1".to_owned(),
        executor_id,
    }
}

fn slot(executor_id: u32, slot: u32) -> EndpointRef {
    let name = deploy_protocol::executor_endpoint("app-1", executor_id, slot);
    EndpointRef::remote(name, format!("w{executor_id}:1"))
}

fn failure(code: &str) -> Failure {
    Failure::with_code(code, "so")
}

/// Tasks, and one slot.
fn tasks(count: u32) -> Tasks {
    let mut tasks = Tasks::new(4);
    for number in 0..count {
        let body = number.to_le_bytes();
        assert_eq!(tasks.add(Bytes::from(&body), 10), Ok(number));
    }
    tasks.slot_ready(slot(0, 0), executor(0));
    tasks
}

fn only(assignments: Vec<Assignment>) -> Assignment {
    let [one] = assignments.try_into().unwrap();
    one
}

#[test]
fn a_slot_gets_one_task_at_a_time_and_the_next_when_it_is_done() {
    let mut tasks = tasks(2);
    let first = only(tasks.assign());
    assert_eq!((first.task, first.attempt), (0, 1));
    tasks.slot_ready(slot(0, 0), executor(0));
    assert_eq!(tasks.assign(), [], "it said again that it is ready");
    assert_eq!(tasks.outcome(0, 1, Ok(())), Verdict::Counted);
    assert_eq!(tasks.outcome(0, 1, Ok(())), Verdict::Late, "a second time");
    assert_eq!(only(tasks.assign()).task, 1);
    assert_eq!((tasks.count(), tasks.size()), ((1, 2), (10, 20)));
}

#[test]
fn a_lost_executor_gives_its_task_back_without_blame_and_its_outcome_is_late() {
    let mut tasks = tasks(1);
    for attempt in 1..20 {
        let given = only(tasks.assign());
        assert_eq!(given.attempt, attempt);
        tasks.executor_lost(&executor(0));
        assert_eq!(tasks.outcome(0, attempt, Ok(())), Verdict::Late);
        assert_eq!(tasks.assign(), [], "no slot is left");
        tasks.slot_ready(slot(0, 0), executor(0));
    }
}

#[test]
fn what_happened_to_the_executor_is_not_the_tasks_failure() {
    for code in [
        Failure::NETWORK,
        Failure::STOPPED,
        Failure::ENDPOINT_NOT_FOUND,
        Failure::INBOX_FULL,
        Failure::OUTBOX_FULL,
    ] {
        let mut tasks = tasks(1);
        for attempt in 1..20 {
            only(tasks.assign());
            let lost = failure(code);
            assert_eq!(tasks.outcome(0, attempt, Err(&lost)), Verdict::PutBack);
            assert_eq!(
                tasks.assign(),
                [],
                "{code}: the slot has to come back first"
            );
            tasks.slot_ready(slot(0, 0), executor(0));
        }
    }
}

#[test]
fn a_task_that_fails_four_times_is_given_up_with_the_last_reason() {
    for code in [
        Failure::FAILED,
        Failure::CRASHED,
        Failure::TIMEOUT,
        Failure::DENIED,
        "other",
    ] {
        let mut tasks = tasks(1);
        for attempt in 1..=4 {
            tasks.slot_ready(slot(0, 0), executor(0));
            only(tasks.assign());
            let verdict = tasks.outcome(0, attempt, Err(&failure(code)));
            match (attempt, verdict) {
                (4, Verdict::GivenUp(reason)) => {
                    assert!(reason.contains("task 0 failed 4 times"), "{reason}");
                    assert!(reason.contains("app-1.0.0") && reason.ends_with("so"));
                }
                (1..=3, Verdict::PutBack) => {}
                other => panic!("{code}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_slot_whose_task_failed_goes_on_and_one_that_crashed_does_not() {
    for (code, goes_on) in [
        (Failure::FAILED, true),
        (Failure::TOO_LARGE, true),
        (Failure::CRASHED, false),
        (Failure::TIMEOUT, false),
    ] {
        let mut tasks = tasks(2);
        tasks.assign();
        tasks.outcome(0, 1, Err(&failure(code)));
        assert_eq!(tasks.assign().len() == 1, goes_on, "{code}");
    }
}

#[test]
fn a_host_that_is_lost_costs_its_idle_slots_only() {
    let mut tasks = tasks(1);
    tasks.assign();
    tasks.slot_ready(slot(0, 1), executor(0));
    tasks.slot_ready(slot(1, 0), executor(1));
    assert_eq!(tasks.slots(), (2, 3));
    tasks.host_lost("w0:1");
    assert_eq!(tasks.slots(), (2, 2));
    assert_eq!(tasks.outcome(0, 1, Ok(())), Verdict::Counted);
}

#[test]
fn more_tasks_or_bytes_than_the_bounds_are_refused() {
    let mut by_bytes = Tasks::new(4);
    let half = Bytes::from(vec![0; BODY_BYTES_MAX / 2]);
    by_bytes.add(half.clone(), 0).unwrap();
    by_bytes.add(half.clone(), 0).unwrap();
    let refused = by_bytes.add(Bytes::from("x"), 0).unwrap_err();
    assert_eq!(refused.code, Failure::TOO_LARGE);
    assert!(refused.text.contains("fewer bytes"), "{refused}");
    let mut by_count = Tasks::new(4);
    for _ in 0..TASKS_MAX {
        by_count.add(Bytes::new(), 0).unwrap();
    }
    let refused = by_count.add(Bytes::new(), 0).unwrap_err();
    assert!(refused.text.contains("larger tasks"), "{refused}");
    // What is done needs no room.
    by_bytes.slot_ready(slot(0, 0), executor(0));
    by_bytes.assign();
    by_bytes.outcome(0, 1, Ok(()));
    by_bytes.add(half, 0).unwrap();
}

/// What may happen next, as a plan; numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    SlotReady {
        executor: u32,
        slot: u32,
    },
    ExecutorLost {
        executor: u32,
    },
    HostLost {
        executor: u32,
    },
    /// An attempt, open or given up long ago, has this outcome, and maybe once more.
    Outcome {
        which: usize,
        code: Option<&'static str>,
        again: bool,
    },
    Assign,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let code = prop::sample::select(vec![
        None,
        None,
        None,
        Some(Failure::NETWORK),
        Some(Failure::STOPPED),
        Some(Failure::CRASHED),
        Some(Failure::TIMEOUT),
    ]);
    let step = prop_oneof![
        3 => (0..4u32, 0..3u32).prop_map(|(executor, slot)| Step::SlotReady { executor, slot }),
        1 => (0..4u32).prop_map(|executor| Step::ExecutorLost { executor }),
        1 => (0..4u32).prop_map(|executor| Step::HostLost { executor }),
        6 => (any::<usize>(), code, any::<bool>())
            .prop_map(|(which, code, again)| Step::Outcome { which, code, again }),
        4 => Just(Step::Assign),
    ];
    prop::collection::vec(step, 0..300)
}

proptest! {
    /// Executors come and go, outcomes come late, twice, or not at all: in the end each task was
    /// counted exactly once, and nothing that runs was forgotten.
    #[test]
    fn under_loss_each_task_is_counted_exactly_once(count in 1..40u32, steps in steps()) {
        // Failures are not what is tested here.
        let mut tasks = Tasks::new(u32::MAX);
        for number in 0..count {
            tasks.add(Bytes::from(&number.to_le_bytes()), 1).unwrap();
        }
        let mut given: Vec<Assignment> = Vec::new();
        let mut counted: BTreeMap<u32, u32> = BTreeMap::new();
        let mut note = |tasks: &mut Tasks, of: &Assignment, outcome: Result<(), &Failure>| {
            if tasks.outcome(of.task, of.attempt, outcome) == Verdict::Counted {
                assert!(outcome.is_ok());
                *counted.entry(of.task).or_default() += 1;
            }
        };
        for step in steps {
            match step {
                Step::SlotReady { executor: e, slot: s } => {
                    tasks.slot_ready(slot(e, s), executor(e));
                }
                Step::ExecutorLost { executor: e } => tasks.executor_lost(&executor(e)),
                Step::HostLost { executor: e } => tasks.host_lost(&format!("w{e}:1")),
                Step::Assign => given.extend(tasks.assign()),
                Step::Outcome { which, code, again } => {
                    if given.is_empty() {
                        continue;
                    }
                    let of = given[which % given.len()].clone();
                    let code = code.map(failure);
                    let outcome = code.as_ref().map_or(Ok(()), Err);
                    note(&mut tasks, &of, outcome);
                    if again {
                        note(&mut tasks, &of, Ok(()));
                    }
                }
            }
        }
        // From now on nothing is lost: what is open is answered, and the rest is done.
        for of in given {
            note(&mut tasks, &of, Ok(()));
        }
        tasks.slot_ready(slot(9, 0), executor(9));
        for _ in 0..=count {
            for of in tasks.assign() {
                prop_assert_eq!(&*of.body, &of.task.to_le_bytes());
                note(&mut tasks, &of, Ok(()));
            }
        }
        prop_assert!(tasks.are_done());
        let once: BTreeMap<u32, u32> = (0..count).map(|task| (task, 1)).collect();
        prop_assert_eq!(counted, once);
    }
}
