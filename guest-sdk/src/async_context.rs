//! AsyncContext: what an `async` handler has instead of `&mut self` and `&mut Context`.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use crate::context::milliseconds;
use crate::executor::{Wait, WaitFor};
use crate::message::{Request, encode};
use crate::runtime::{Runtime, decode_reply};
use crate::{Context, Endpoint, EndpointRef, Failure, host};

/// The host and the state, as an `async` handler sees them. Cloning is cheap.
///
/// Between two awaits other messages are handled, so the state may be another one after each. A
/// swap waits until all `async` handlers are done; for waits that may take long, use a
/// continuation ([`Context::ask`]), which survives the swap.
pub struct AsyncContext<E: Endpoint> {
    runtime: Rc<Runtime<E>>,
}

impl<E: Endpoint> Clone for AsyncContext<E> {
    fn clone(&self) -> Self {
        Self {
            runtime: Rc::clone(&self.runtime),
        }
    }
}

impl<E: Endpoint> AsyncContext<E> {
    pub(crate) fn new(runtime: &Rc<Runtime<E>>) -> Self {
        Self {
            runtime: Rc::clone(runtime),
        }
    }

    /// Lends state and host to `f`.
    ///
    /// # Panics
    /// Within another `with` of the same endpoint: there is one state, and it is lent already.
    pub fn with<T>(&self, f: impl FnOnce(&mut E, &mut Context) -> T) -> T {
        self.runtime.with_state(f)
    }

    /// Asks for one answer, within the host's ask timeout. The question leaves at once, also if
    /// the future is never awaited.
    ///
    /// # Errors
    /// Every failure of [`Context::ask`], and every failure that the endpoint answers with.
    ///
    /// # Cancellation
    /// Dropping the future aborts the ask. The receiver may have handled it already.
    pub fn ask<R: Request>(&self, to: &EndpointRef, request: &R) -> Answer<R> {
        self.ask_within(to, request, None)
    }

    /// Like [`AsyncContext::ask`], with a limit of its own.
    ///
    /// # Errors
    /// As with [`AsyncContext::ask`].
    pub fn ask_with_timeout<R: Request>(
        &self,
        to: &EndpointRef,
        request: &R,
        timeout: Duration,
    ) -> Answer<R> {
        self.ask_within(to, request, Some(milliseconds(timeout)))
    }

    fn ask_within<R: Request>(
        &self,
        to: &EndpointRef,
        request: &R,
        timeout_ms: Option<u64>,
    ) -> Answer<R> {
        let executor = &self.runtime.executor;
        let asked = executor.token().and_then(|token| {
            let body = encode(request)?;
            host::ask(to, R::KIND, body, &token, timeout_ms)
        });
        Answer {
            wait: WaitOrFailure::new(asked.map(|ask| executor.wait(WaitFor::Ask(ask)))),
            reply: PhantomData,
        }
    }

    /// Waits. The time that the endpoint stands still for a swap does not count.
    ///
    /// # Errors
    /// [`Failure::DENIED`]: the endpoint has more timers than its limit.
    ///
    /// # Cancellation
    /// Dropping the future cancels the timer.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        let executor = &self.runtime.executor;
        let started = executor
            .token()
            .and_then(|token| host::start_timer(&token, milliseconds(duration), None));
        Sleep {
            wait: WaitOrFailure::new(started.map(|timer| executor.wait(WaitFor::Timer(timer)))),
        }
    }
}

/// The answer to come. From [`AsyncContext::ask`].
#[must_use = "dropping it aborts the ask"]
pub struct Answer<R: Request> {
    wait: WaitOrFailure,
    reply: PhantomData<fn() -> R>,
}

impl<R: Request> Future for Answer<R> {
    type Output = Result<R::Reply, Failure>;

    fn poll(self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.get_mut().wait).poll(context));
        Poll::Ready(outcome.and_then(|raw| decode_reply::<R>(&raw)))
    }
}

/// The time to come. From [`AsyncContext::sleep`].
#[must_use = "dropping it cancels the timer"]
pub struct Sleep {
    wait: WaitOrFailure,
}

impl Future for Sleep {
    type Output = Result<(), Failure>;

    fn poll(self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.get_mut().wait).poll(context));
        Poll::Ready(outcome.map(|_| ()))
    }
}

/// A wait, or the reason why there is none.
enum WaitOrFailure {
    Wait(Wait),
    Failure(Option<Failure>),
}

impl WaitOrFailure {
    fn new(started: Result<Wait, Failure>) -> Self {
        match started {
            Ok(wait) => Self::Wait(wait),
            Err(failure) => Self::Failure(Some(failure)),
        }
    }
}

impl Future for WaitOrFailure {
    type Output = Result<crate::message::Raw, Failure>;

    fn poll(self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Wait(wait) => Pin::new(wait).poll(context),
            // None only where somebody polls a finished future again.
            Self::Failure(failure) => failure
                .take()
                .map_or(Poll::Pending, |f| Poll::Ready(Err(f))),
        }
    }
}
