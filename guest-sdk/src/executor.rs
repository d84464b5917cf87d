//! Executor: runs the `async` handlers of one instance, one step at a time, between events.
//!
//! Before it: [`crate::runtime`] spawns handlers and resolves what they wait for.
//!
//! Invariants
//! 1. One thread, no clock: a task goes on only when the host tells it an outcome or another task
//!    of this instance wakes it.
//! 2. A wait is known by the id that the host gave to the ask or timer. The id of an open ask is
//!    nobody else's, so an outcome for another instance is never taken for one of ours.
//! 3. A wait that is dropped aborts its ask or cancels its timer: no outcome comes for nobody.
//!
//! Not here: surviving a swap. The host drains these tasks first; what must outlive a version is a
//! typed continuation.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::message::Raw;
use crate::token::Token;
use crate::{Failure, host};

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// The tasks of one instance and what they wait for.
#[derive(Default)]
pub(crate) struct Executor {
    tasks: RefCell<BTreeMap<u64, Running>>,
    next_task: Cell<u64>,
    /// The task that is polled now.
    current: Cell<Option<Origin>>,
    ready: Arc<Ready>,
    waits: RefCell<BTreeMap<WaitFor, Rc<Slot>>>,
}

struct Running {
    /// None while it is polled.
    task: Option<Task>,
    origin: Origin,
}

/// Which message a task handles. It stands in the tokens of what the task waits for.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) kind: &'static str,
    pub(crate) call: Option<u64>,
}

/// The tasks that can go on. A mutex because wakers must be shareable between threads.
#[derive(Default)]
struct Ready(Mutex<Vec<u64>>);

struct TaskWaker {
    task: u64,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !ready.contains(&self.task) {
            ready.push(self.task);
        }
    }
}

/// What a task can wait for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WaitFor {
    Ask(u64),
    Timer(u64),
}

#[derive(Default)]
struct Slot {
    outcome: RefCell<Option<Result<Raw, Failure>>>,
    waker: RefCell<Option<Waker>>,
}

impl Executor {
    /// Starts a task; it runs until its first wait within [`Executor::run`].
    pub(crate) fn spawn(&self, origin: Origin, task: impl Future<Output = ()> + 'static) {
        let id = self.next_task.get();
        self.next_task.set(id + 1);
        let running = Running {
            task: Some(Box::pin(task)),
            origin,
        };
        self.tasks.borrow_mut().insert(id, running);
        self.waker(id).wake();
    }

    /// Runs all tasks that can go on, until none can.
    pub(crate) fn run(&self) {
        loop {
            let ready =
                std::mem::take(&mut *self.ready.0.lock().unwrap_or_else(PoisonError::into_inner));
            if ready.is_empty() {
                return;
            }
            ready.into_iter().for_each(|id| self.step(id));
        }
    }

    fn step(&self, id: u64) {
        // Nothing is borrowed while the task runs: it may wait for something new, or wake another.
        let taken = self.tasks.borrow_mut().get_mut(&id).and_then(|running| {
            let task = running.task.take()?;
            Some((task, running.origin))
        });
        let Some((mut task, origin)) = taken else {
            return; // it ended, and somebody kept its waker
        };
        self.current.set(Some(origin));
        let waker = self.waker(id);
        let polled = task.as_mut().poll(&mut Context::from_waker(&waker));
        match polled {
            Poll::Ready(()) => {
                drop(task); // while it is still the current one: its waits end now
                self.tasks.borrow_mut().remove(&id);
            }
            Poll::Pending => {
                if let Some(running) = self.tasks.borrow_mut().get_mut(&id) {
                    running.task = Some(task);
                }
            }
        }
        self.current.set(None);
    }

    fn waker(&self, task: u64) -> Waker {
        Waker::from(Arc::new(TaskWaker {
            task,
            ready: Arc::clone(&self.ready),
        }))
    }

    /// How many tasks are not done.
    pub(crate) fn pending(&self) -> usize {
        self.tasks.borrow().len()
    }

    /// The token of what the current task waits for.
    pub(crate) fn token(&self) -> Result<Vec<u8>, Failure> {
        let origin = self.current.get();
        Token::Volatile {
            handler: origin.map_or("", |origin| origin.kind),
            call: origin.and_then(|origin| origin.call),
        }
        .to_bytes()
    }

    /// A future for the outcome of an ask or timer that the host just accepted.
    pub(crate) fn wait(self: &Rc<Self>, what: WaitFor) -> Wait {
        let slot = Rc::new(Slot::default());
        self.waits.borrow_mut().insert(what, Rc::clone(&slot));
        Wait {
            what,
            slot,
            executor: Rc::clone(self),
        }
    }

    /// Hands an outcome to who waits for it. False where nobody of this instance does.
    pub(crate) fn resolve(&self, what: WaitFor, outcome: Result<Raw, Failure>) -> bool {
        let Some(slot) = self.waits.borrow_mut().remove(&what) else {
            return false;
        };
        slot.outcome.replace(Some(outcome));
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
        true
    }
}

/// Waits for one outcome.
pub(crate) struct Wait {
    what: WaitFor,
    slot: Rc<Slot>,
    executor: Rc<Executor>,
}

impl Future for Wait {
    type Output = Result<Raw, Failure>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.slot.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                self.slot.waker.replace(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if self
            .executor
            .waits
            .borrow_mut()
            .remove(&self.what)
            .is_some()
        {
            match self.what {
                WaitFor::Ask(ask) => host::abort(ask),
                WaitFor::Timer(timer) => host::cancel_timer(timer),
            };
        }
    }
}
