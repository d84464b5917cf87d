//! Tasks: which task is at which slot, and which outcome counts.
//!
//! Before it: [`crate::job`], which asks the slots and hands the outcomes back. It decides only.
//!
//! Invariants
//! 1. A task is waiting, at one slot, or done; it is counted when it becomes done, so once.
//! 2. An outcome counts for the attempt that is open. A task that was put back has none.
//! 3. A slot has one task at most.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use instar_sdk::{Bytes, EndpointRef, Failure};
use serde::{Deserialize, Serialize};

use crate::ExecutorName;

/// Most tasks of an application.
pub const TASKS_MAX: usize = 100_000;
/// Most bytes of the bodies of tasks that are not done.
pub const BODY_BYTES_MAX: usize = 32 << 20;

/// The tasks of an application, and the slots that do them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tasks {
    failures_max: u32,
    tasks: Vec<Task>,
    waiting: VecDeque<u32>,
    slots: BTreeMap<EndpointRef, Slot>,
    body_bytes: usize,
    done: u64,
    size: u64,
    size_done: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Task {
    body: Bytes,
    size: u64,
    attempt: u32,
    failures: u32,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Place {
    Waiting,
    At(EndpointRef),
    Done,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Slot {
    executor: ExecutorName,
    task: Option<u32>,
}

/// A task that a slot is to do now.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The slot.
    pub slot: EndpointRef,
    /// The task.
    pub task: u32,
    /// How often it was given out, this time included.
    pub attempt: u32,
    /// What is to be done.
    pub body: Bytes,
}

/// What an outcome means.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The task is done: count it.
    Counted,
    /// The attempt is not open any more: nothing to do.
    Late,
    /// The task waits again.
    PutBack,
    /// The task failed too often; the text says how.
    GivenUp(String),
}

impl Tasks {
    /// No tasks yet. A task that failed `failures_max` times is given up.
    pub fn new(failures_max: u32) -> Self {
        Self {
            failures_max,
            tasks: Vec::new(),
            waiting: VecDeque::new(),
            slots: BTreeMap::new(),
            body_bytes: 0,
            done: 0,
            size: 0,
            size_done: 0,
        }
    }

    /// Adds a task, which counts for `size` in the progress. Returns its number.
    ///
    /// # Errors
    /// There are [`TASKS_MAX`] tasks: make larger ones. With the code [`Failure::TOO_LARGE`]: their bodies
    /// have [`BODY_BYTES_MAX`] bytes, which larger tasks need not change.
    pub fn add(&mut self, body: Bytes, size: u64) -> Result<u32, Failure> {
        let bytes = self.body_bytes + body.len();
        if self.tasks.len() >= TASKS_MAX {
            return Err(Failure::new(format!(
                "more than {TASKS_MAX} tasks; split the work into larger tasks"
            )));
        }
        if bytes > BODY_BYTES_MAX {
            return Err(Failure::with_code(
                Failure::TOO_LARGE,
                format!(
                    "the bodies of {} tasks have {bytes} bytes together, more than {BODY_BYTES_MAX}; say in \
                     fewer bytes what is to be done, or make several applications of it",
                    self.tasks.len() + 1
                ),
            ));
        }
        // No more than TASKS_MAX.
        let number = u32::try_from(self.tasks.len()).unwrap_or(u32::MAX);
        self.body_bytes = bytes;
        self.size = self.size.saturating_add(size);
        self.waiting.push_back(number);
        self.tasks.push(Task {
            body,
            size,
            attempt: 0,
            failures: 0,
            place: Place::Waiting,
        });
        Ok(number)
    }

    /// A slot is ready. One that is known keeps its task.
    pub fn slot_ready(&mut self, slot: EndpointRef, executor: ExecutorName) {
        let ready = Slot {
            executor,
            task: None,
        };
        self.slots.entry(slot).or_insert(ready);
    }

    /// An executor is lost: its slots are forgotten, their tasks wait again.
    pub fn executor_lost(&mut self, name: &ExecutorName) {
        self.forget(|_, slot| slot.executor == *name);
    }

    /// A host cannot be reached: its idle slots are forgotten until they say again that they are ready.
    /// Those that have a task are left to its outcome.
    pub fn host_lost(&mut self, address: &str) {
        self.forget(|reference, slot| {
            slot.task.is_none() && reference.address.as_deref() == Some(address)
        });
    }

    fn forget(&mut self, lost: impl Fn(&EndpointRef, &Slot) -> bool) {
        let slots = std::mem::take(&mut self.slots);
        let (lost, kept) = slots
            .into_iter()
            .partition(|(reference, slot)| lost(reference, slot));
        self.slots = kept;
        let lost: BTreeMap<EndpointRef, Slot> = lost;
        for task in lost.into_values().filter_map(|slot| slot.task) {
            self.put_back(task);
        }
    }

    /// What was begun is done before what was not: it has waited longer.
    fn put_back(&mut self, number: u32) {
        if let Some(task) = self.tasks.get_mut(number as usize) {
            task.place = Place::Waiting;
            self.waiting.push_front(number);
        }
    }

    /// Gives waiting tasks to idle slots.
    pub fn assign(&mut self) -> Vec<Assignment> {
        let mut assignments = Vec::new();
        for (reference, slot) in &mut self.slots {
            if slot.task.is_some() {
                continue;
            }
            let Some(number) = self.waiting.pop_front() else {
                break;
            };
            let Some(task) = self.tasks.get_mut(number as usize) else {
                continue;
            };
            task.attempt = task.attempt.saturating_add(1);
            task.place = Place::At(reference.clone());
            slot.task = Some(number);
            assignments.push(Assignment {
                slot: reference.clone(),
                task: number,
                attempt: task.attempt,
                body: task.body.clone(),
            });
        }
        assignments
    }

    /// An attempt ended.
    pub fn outcome(&mut self, number: u32, attempt: u32, outcome: Result<(), &Failure>) -> Verdict {
        let Some(task) = self.tasks.get_mut(number as usize) else {
            return Verdict::Late;
        };
        let Place::At(reference) = &task.place else {
            return Verdict::Late;
        };
        if task.attempt != attempt {
            return Verdict::Late;
        }
        let reference = reference.clone();
        if let Some(slot) = self.slots.get_mut(&reference) {
            slot.task = None;
        }
        let Err(failure) = outcome else {
            task.place = Place::Done;
            self.body_bytes -= task.body.len();
            task.body = Bytes::new();
            self.done += 1;
            self.size_done = self.size_done.saturating_add(task.size);
            return Verdict::Counted;
        };
        let (blame, slot) = judge(failure);
        if slot == Fate::Forgotten {
            self.slots.remove(&reference);
        }
        if blame == Blame::Nobody {
            self.put_back(number);
            return Verdict::PutBack;
        }
        task.failures += 1;
        task.place = Place::Waiting;
        let failures = task.failures;
        // Last in the queue: what it stumbled over may have passed until then.
        self.waiting.push_back(number);
        if failures >= self.failures_max {
            return Verdict::GivenUp(format!(
                "task {number} failed {failures} times, the last time at {reference}: {failure}"
            ));
        }
        Verdict::PutBack
    }

    /// True where every task was counted.
    pub fn are_done(&self) -> bool {
        self.done == self.tasks.len() as u64
    }

    /// Tasks that are done, and all tasks.
    pub fn count(&self) -> (u64, u64) {
        (self.done, self.tasks.len() as u64)
    }

    /// Sizes of the tasks that are done, and of all tasks.
    pub fn size(&self) -> (u64, u64) {
        (self.size_done, self.size)
    }

    /// Executors that have slots, and the slots.
    pub fn slots(&self) -> (u32, u32) {
        let executors: BTreeSet<&ExecutorName> =
            self.slots.values().map(|slot| &slot.executor).collect();
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        (count(executors.len()), count(self.slots.len()))
    }
}

/// Whose failure it is.
#[derive(PartialEq)]
enum Blame {
    Task,
    Nobody,
}

/// What becomes of the slot.
#[derive(PartialEq)]
enum Fate {
    Kept,
    Forgotten,
}

/// An executor says [`Failure::FAILED`] when its task failed, whatever the task's own code was (see
/// [`crate::executor`]); so every other code comes from a host.
fn judge(failure: &Failure) -> (Blame, Fate) {
    match failure.code.as_str() {
        // The request never left: the slot knows nothing of it.
        Failure::FAILED | Failure::TOO_LARGE => (Blame::Task, Fate::Kept),
        // The executor is gone, or has no room.
        Failure::NETWORK
        | Failure::STOPPED
        | Failure::ENDPOINT_NOT_FOUND
        | Failure::INBOX_FULL
        | Failure::OUTBOX_FULL => (Blame::Nobody, Fate::Forgotten),
        // A crash, a timeout, another protocol, a limit of the slot that earlier attempts fill: the task may well be the reason.
        _ => (Blame::Task, Fate::Forgotten),
    }
}
