//! CallContext: the right to answer one call, once.
//!
//! Before it: [`crate::runtime`] makes one for each call that a handler wants to answer later.
//! After it: the host, which owns the call and lets it survive a swap.
//!
//! Invariants
//! 1. A context is answered, failed, kept (in state or in a continuation), or dropped, and dropping
//!    fails the call at once. Nobody waits for an answer that cannot come.
//! 2. Writing it down does not disarm it: after a snapshot whose swap is given up, the old version
//!    goes on with it.
//! 3. A failed `restore` fails no call: the old version still has them all.
//! 4. It never travels in a message. Otherwise a peer could close calls by guessing their ids.
//!
//! Not here: deadlines. The host fails a call whose caller waited long enough.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::description::TypeNode;
use crate::message::{Message, encode};
use crate::schema::Nodes;
use crate::{Failure, Schema, host};

/// The right to answer one call with an `R`, once: now, later, or in the next version.
///
/// Keep it in state or in a continuation to answer later. Dropping it fails the call at once with
/// [`Failure::UNANSWERED`]; so does dropping a state that holds it.
///
/// It is the id of the call where it is written down, and cannot be written into a message.
pub struct CallContext<R> {
    id: u64,
    open: bool,
    reply: PhantomData<fn(R)>,
}

impl<R: Message> CallContext<R> {
    /// Answers the call.
    ///
    /// # Errors
    /// [`Failure::UNANSWERED`]: the call is not open any more, normally because its caller gave
    /// up. [`Failure::FAILED`]: the value cannot be encoded; the caller is told the same.
    pub fn reply(self, value: R) -> Result<(), Failure> {
        match encode(&value) {
            Ok(body) => host::reply(self.into_id(), R::KIND, body),
            Err(failure) => {
                self.fail(failure.clone())?;
                Err(failure)
            }
        }
    }
}

impl<R> CallContext<R> {
    /// Answers the call with a failure.
    ///
    /// # Errors
    /// [`Failure::UNANSWERED`]: the call is not open any more.
    pub fn fail(self, failure: Failure) -> Result<(), Failure> {
        host::fail(self.into_id(), failure)
    }

    /// The address of the caller's host: `HOST:PORT`, or `client-ID` for one that does not listen.
    /// None where the call is not open any more.
    pub fn sender_address(&self) -> Option<String> {
        host::sender(self.id)
    }

    /// The id of the call. In a `#[migrate_to]` function, [`CallContext::from_id`] makes of it the
    /// context in the older state: nothing that is dropped there fails a call.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The id of the call, for a state that keeps calls in a form of its own. The call stays open,
    /// and nothing fails it any more until [`CallContext::from_id`] takes it up again.
    #[must_use = "the call stays open until its caller gives up"]
    pub fn into_id(mut self) -> u64 {
        self.open = false;
        self.id
    }

    /// The right that [`CallContext::into_id`] gave up. For an id that is no open call of this
    /// endpoint, answering fails and dropping does nothing.
    pub fn from_id(id: u64) -> Self {
        Self {
            id,
            open: true,
            reply: PhantomData,
        }
    }
}

impl<R> Drop for CallContext<R> {
    fn drop(&mut self) {
        if self.open {
            LEDGER.with(|ledger| ledger.dropped(self.id));
        }
    }
}

impl<R> fmt::Debug for CallContext<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call-{}", self.id)
    }
}

impl<R> Serialize for CallContext<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if LEDGER.with(|ledger| ledger.outside.get()) {
            return Err(S::Error::custom("a CallContext cannot be sent"));
        }
        self.id.serialize(serializer)
    }
}

impl<'de, R> Deserialize<'de> for CallContext<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if LEDGER.with(|ledger| ledger.outside.get()) {
            return Err(D::Error::custom("a CallContext cannot be received"));
        }
        u64::deserialize(deserializer).map(Self::from_id)
    }
}

impl<R: 'static> Schema for CallContext<R> {
    fn node(_: &mut Nodes) -> TypeNode {
        TypeNode::Unsigned(64)
    }
}

thread_local! {
    static LEDGER: Ledger = const {
        Ledger {
            outside: Cell::new(false),
            drops: Cell::new(Drops::Fail),
            collected: RefCell::new(Vec::new()),
        }
    };
}

/// What dropping a context means at this moment.
#[derive(Clone, Copy)]
enum Drops {
    /// The call fails now.
    Fail,
    /// The call stays open: somebody else has the right now.
    KeepOpen,
    /// It is decided later: the ids are collected.
    Collect,
}

struct Ledger {
    /// True while a message for or from somebody else is encoded or decoded.
    outside: Cell<bool>,
    drops: Cell<Drops>,
    collected: RefCell<Vec<u64>>,
}

impl Ledger {
    fn dropped(&self, id: u64) {
        match self.drops.get() {
            Drops::Fail => fail_unanswered(id),
            Drops::KeepOpen => {}
            Drops::Collect => self.collected.borrow_mut().push(id),
        }
    }

    fn with_drops<T>(&self, drops: Drops, f: impl FnOnce() -> T) -> T {
        let before = self.drops.replace(drops);
        let result = f();
        self.drops.set(before);
        result
    }
}

fn fail_unanswered(id: u64) {
    let failure = Failure::with_code(
        Failure::UNANSWERED,
        "the handler gave the call up without an answer",
    );
    // A call that is not open any more has no caller who could miss the answer.
    let _ = host::fail(id, failure);
}

/// Runs `f`, within which a context can neither be written nor read.
pub(crate) fn outside<T>(f: impl FnOnce() -> T) -> T {
    LEDGER.with(|ledger| {
        let before = ledger.outside.replace(true);
        let result = f();
        ledger.outside.set(before);
        result
    })
}

/// Runs `f`, within which dropping a context leaves its call open.
pub(crate) fn keeping_open<T>(f: impl FnOnce() -> T) -> T {
    LEDGER.with(|ledger| ledger.with_drops(Drops::KeepOpen, f))
}

/// Runs `f`. Calls whose contexts were dropped meanwhile fail only if `f` succeeds; otherwise they
/// stay open, as whoever had them before still has them.
pub(crate) fn failing_drops_on_success<T, E>(f: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let (result, dropped) = collecting(f);
    if result.is_ok() {
        dropped.into_iter().for_each(fail_unanswered);
    }
    result
}

/// Runs a handler that has to answer `call` later. If it fails, the caller is told why, not merely
/// that there is no answer.
pub(crate) fn answering_later(
    call: u64,
    handler: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (result, dropped) = collecting(handler);
    for id in dropped {
        if id != call || result.is_ok() {
            fail_unanswered(id);
        }
    }
    result
}

fn collecting<T>(f: impl FnOnce() -> T) -> (T, Vec<u64>) {
    LEDGER.with(|ledger| {
        let result = ledger.with_drops(Drops::Collect, f);
        (result, ledger.collected.take())
    })
}
