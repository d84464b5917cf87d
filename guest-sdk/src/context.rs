//! Context: what a handler can ask its host for, during its turn.
//!
//! Before it: [`crate::runtime`] lends it to each handler. After it: [`crate::host`].
//!
//! Sends, asks, answers and timers leave when the turn ends; a turn that panics leaves none.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::launching::Launching;
use crate::leadership::Leadership;
use crate::message::{Continuation, Message, encode};
use crate::metrics::{Counter, Gauge, Histogram};
use crate::registry::Registry;
use crate::token::hand_over;
use crate::{EndpointRef, Failure, Schema, host};

/// The host, as a handler sees it during its turn.
pub struct Context {
    _made_by_the_runtime: (),
}

/// An answer that an endpoint waits for. It survives a swap, so it may be kept in state.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Schema,
)]
pub struct AskId(pub(crate) u64);

/// A timer of an endpoint. It survives a swap, so it may be kept in state.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Schema,
)]
pub struct TimerId(pub(crate) u64);

impl Context {
    pub(crate) fn new() -> Self {
        Self {
            _made_by_the_runtime: (),
        }
    }

    /// Sends a message that wants no answer. Where the receiver has no room, this turn ends only
    /// when there is: back-pressure. The host gives up after its `send-wait` limit and then tells
    /// `on_error`. At most once; whether it was handled is not told.
    ///
    /// # Errors
    /// [`Failure::ENDPOINT_NOT_FOUND`] (an endpoint of this host that does not exist),
    /// [`Failure::TOO_LARGE`], and, from an endpoint to itself, [`Failure::INBOX_FULL`].
    pub fn send<M: Message>(&mut self, to: &EndpointRef, message: &M) -> Result<(), Failure> {
        host::send(to, M::KIND, encode(message)?, true)
    }

    /// Like [`Context::send`], but fails at once where there is no room.
    ///
    /// # Errors
    /// [`Failure::INBOX_FULL`], [`Failure::OUTBOX_FULL`]: back off and try again. The others as
    /// with [`Context::send`].
    pub fn try_send<M: Message>(&mut self, to: &EndpointRef, message: &M) -> Result<(), Failure> {
        host::send(to, M::KIND, encode(message)?, false)
    }

    /// Asks for one answer, within the host's ask timeout, and returns at once. The outcome, every
    /// failure included, comes to the `#[on_reply]` handler for `then`, in this version or the next.
    ///
    /// # Errors
    /// [`Failure::TOO_LARGE`], [`Failure::DENIED`] (too many open asks). No outcome comes then, and
    /// a call that `then` holds fails.
    pub fn ask<C: Continuation>(
        &mut self,
        to: &EndpointRef,
        request: &C::Asked,
        then: C,
    ) -> Result<AskId, Failure> {
        self.ask_within(to, request, then, None)
    }

    /// Like [`Context::ask`], with a limit of its own: from now until the answer, in steps of a
    /// millisecond, rounded up.
    ///
    /// # Errors
    /// As with [`Context::ask`].
    pub fn ask_with_timeout<C: Continuation>(
        &mut self,
        to: &EndpointRef,
        request: &C::Asked,
        then: C,
        timeout: Duration,
    ) -> Result<AskId, Failure> {
        self.ask_within(to, request, then, Some(milliseconds(timeout)))
    }

    fn ask_within<C: Continuation>(
        &mut self,
        to: &EndpointRef,
        request: &C::Asked,
        then: C,
        timeout_ms: Option<u64>,
    ) -> Result<AskId, Failure> {
        let body = encode(request)?;
        let kind = <C::Asked as Message>::KIND;
        hand_over(then, |token| host::ask(to, kind, body, token, timeout_ms)).map(AskId)
    }

    /// Forgets an ask: its continuation is gone, and a call that it held stays open until its
    /// caller gives up. False where there was none. The receiver may have handled it already.
    pub fn abort(&mut self, ask: AskId) -> bool {
        host::abort(ask.0)
    }

    /// Hands `due` to its `#[on_timer]` handler once, after `delay` (in steps of a millisecond,
    /// rounded up). The time that the endpoint stands still for a swap does not count.
    ///
    /// # Errors
    /// [`Failure::DENIED`]: the endpoint has more timers than its limit.
    pub fn start_timer<M: Message>(&mut self, delay: Duration, due: M) -> Result<TimerId, Failure> {
        let delay_ms = milliseconds(delay);
        hand_over(due, |token| host::start_timer(token, delay_ms, None)).map(TimerId)
    }

    /// Hands `due` to its `#[on_timer]` handler after `delay`, and then every `period` (at least a
    /// millisecond) until it is cancelled. A late timer fires once, not once for each period that
    /// it missed.
    ///
    /// # Errors
    /// [`Failure::DENIED`]: the endpoint has more timers than its limit.
    pub fn start_periodic_timer<M: Message>(
        &mut self,
        delay: Duration,
        period: Duration,
        due: M,
    ) -> Result<TimerId, Failure> {
        let (delay_ms, period_ms) = (milliseconds(delay), milliseconds(period).max(1));
        hand_over(due, |token| {
            host::start_timer(token, delay_ms, Some(period_ms))
        })
        .map(TimerId)
    }

    /// Cancels a timer: it never fires again. False where there was none.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        host::cancel_timer(timer.0)
    }

    /// A value of the table `[config]` of the endpoint's sidecar. Keys of nested tables are joined
    /// with dots; numbers and booleans come as plain text, arrays as JSON.
    pub fn config(&self, key: &str) -> Option<String> {
        host::config_get(key)
    }

    /// Like [`Context::config`], read as a `T`. None where the key is not set.
    ///
    /// # Errors
    /// [`Failure::FAILED`] names key, value and reason.
    pub fn config_as<T: FromStr>(&self, key: &str) -> Result<Option<T>, Failure>
    where
        T::Err: std::fmt::Display,
    {
        let Some(value) = self.config(key) else {
            return Ok(None);
        };
        value.parse().map(Some).map_err(|error| {
            let expected = std::any::type_name::<T>();
            Failure::new(format!(
                "configuration `{key}` is `{value}`, which is no {expected}: {error}; \
                 correct it in the sidecar"
            ))
        })
    }

    /// All keys and values of the configuration, in order of key.
    pub fn config_all(&self) -> Vec<(String, String)> {
        host::config_all()
    }

    /// A number that only grows, shown for this endpoint. It goes on through a swap.
    pub fn counter<'a>(&self, name: &'a str) -> Counter<'a> {
        Counter { name }
    }

    /// A number that goes up and down, shown for this endpoint.
    pub fn gauge<'a>(&self, name: &'a str) -> Gauge<'a> {
        Gauge { name }
    }

    /// A distribution of observations, shown for this endpoint.
    pub fn histogram<'a>(&self, name: &'a str) -> Histogram<'a> {
        Histogram { name }
    }

    /// This endpoint, as others may address it.
    pub fn self_ref(&self) -> EndpointRef {
        host::self_ref()
    }

    /// Stops this endpoint after the messages that are queued now; `on_stop` comes last.
    pub fn stop_self(&mut self) {
        host::stop_self();
    }

    /// The names of this host. Needs the right `registry`; a component that calls this imports
    /// `instar:endpoint/registry`, and no other does.
    pub fn registry(&self) -> Registry {
        Registry::new()
    }

    /// Starting other components on this host. Needs the right `launch`; a component that calls this
    /// imports `instar:endpoint/launching`, and no other does.
    pub fn launching(&mut self) -> Launching {
        Launching::new()
    }

    /// Standing for election. Needs the right `lead`; a component that calls this imports
    /// `instar:endpoint/leadership`, and no other does.
    pub fn leadership(&mut self) -> Leadership {
        Leadership::new()
    }
}

/// Milliseconds, rounded up, so that nothing happens before its time.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
