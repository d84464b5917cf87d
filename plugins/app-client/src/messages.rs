//! Between a driver and its executors, and between a driver and whoever waits for its result.

use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// A slot of an executor asks its driver: note that I am ready for tasks. Said at the start, and
/// again now and then, so that a driver that lost count of its slots finds them again.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "app.SlotReady", reply = SlotNoted)]
pub struct SlotReady {
    /// The application that it was started for.
    pub app_id: String,
    /// Number of its executor in that application.
    pub executor_id: u32,
    /// Its number in the executor.
    pub slot: u32,
    /// The slot.
    pub reference: EndpointRef,
}

/// Answers `SlotReady`.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "app.SlotNoted")]
pub struct SlotNoted {
    /// What the slot is to do now.
    pub answer: SlotAnswer,
}

/// What a driver says to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub enum SlotAnswer {
    /// Tasks will come.
    Noted,
    /// The driver does not know that application, perhaps not yet: ask again.
    Unknown,
    /// There is nothing more to do: end.
    Ended,
}

/// Driver asks a slot: do this task.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "app.RunTask", reply = TaskDone)]
pub struct RunTask {
    /// Its number.
    pub task: u32,
    /// How often it was given out, this time included.
    pub attempt: u32,
    /// What is to be done, in the application's own form.
    pub body: Bytes,
}

/// Answers `RunTask`.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "app.TaskDone")]
pub struct TaskDone {
    /// What came of it, in the application's own form.
    pub body: Bytes,
}

/// Anybody asks a driver: how far is it?
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "app.GetProgress", reply = Progress)]
pub struct GetProgress {}

/// How far an application is.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "app.Progress")]
pub struct Progress {
    /// Tasks that are done.
    pub done: u64,
    /// Tasks so far; all of them once the phase is no longer `preparing`.
    pub total: u64,
    /// Bytes of the tasks that are done, or another measure of the application; 0 for none.
    pub bytes_done: u64,
    /// The same of all tasks.
    pub bytes_total: u64,
    /// Executors that have said that they are ready.
    pub executors: u32,
    /// Their slots.
    pub slots: u32,
    /// `preparing`, `registering`, `disconnected`, `waiting for executors`, `running`, `finished`, `failed`.
    pub phase: String,
    /// Why it failed, if it did.
    pub failed: Option<String>,
    /// Its result, for people, if there is one.
    pub result: Option<String>,
}

/// To a driver: its result was taken, it need not linger. Before there is one: give up.
#[derive(Clone, Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "app.Finish")]
pub struct Finish {}
