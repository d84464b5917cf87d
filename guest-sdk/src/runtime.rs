//! Runtime: one instance of an endpoint. It turns events into handler calls.
//!
//! Before it: the component's exports on wasm, [`crate::testing`] elsewhere; both drive this very
//! code. After it: the plugin's handlers, chosen by kind in code that the `endpoint` attribute wrote.
//!
//! Invariants
//! 1. A message reaches the handler of its kind, or none; what reaches none is told: to its asker,
//!    and to `on_error`.
//! 2. Each call is answered, failed, or given to somebody who will.
//! 3. The state is lent to one handler at a time, and never across an await.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

use crate::endpoint::log_error;
use crate::event::Event;
use crate::executor::{Executor, Origin, WaitFor};
use crate::message::{Continuation, Message, Raw, Request, decode, decode_own, encode};
use crate::token::Token;
use crate::{AsyncContext, CallContext, Context, Endpoint, Failure, call, host, logging, state};

/// One instance of an endpoint.
#[doc(hidden)]
pub struct Runtime<E: Endpoint> {
    state: RefCell<Option<E>>,
    pub(crate) executor: Rc<Executor>,
    logging: Cell<bool>,
}

// What a host does to an instance.
impl<E: Endpoint> Runtime<E> {
    /// An instance without state: `Start` or `restore` comes first.
    #[must_use]
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            state: RefCell::new(None),
            executor: Rc::default(),
            logging: Cell::new(false),
        })
    }

    /// Handles a batch, as far as the host lets it. Returns how many `async` handlers wait.
    pub(crate) fn handle(self: &Rc<Self>, batch: impl Iterator<Item = Event>) -> u32 {
        self.install_logging();
        for (index, event) in batch.enumerate() {
            // A batch is far shorter than that.
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            if !host::begin(index) {
                break;
            }
            self.deliver(event);
        }
        self.pending()
    }

    pub(crate) fn pending(&self) -> u32 {
        u32::try_from(self.executor.pending()).unwrap_or(u32::MAX)
    }

    pub(crate) fn snapshot(&self, version: u32) -> Result<Vec<u8>, String> {
        match self.state.borrow().as_ref() {
            Some(state) => state::write(state, version),
            None => Err(format!("`{}` has no state: it was never started", E::NAME)),
        }
    }

    pub(crate) fn restore(&self, version: u32, bytes: &[u8]) -> Result<(), String> {
        self.install_logging();
        let state = state::read(bytes, version)?;
        self.state.replace(Some(state));
        Ok(())
    }

    pub(crate) fn start(&self) -> Result<(), Failure> {
        let state = E::start(&mut Context::new())?;
        self.state.replace(Some(state));
        Ok(())
    }

    fn install_logging(&self) {
        if !self.logging.replace(true) {
            logging::install();
        }
    }

    fn deliver(self: &Rc<Self>, event: Event) {
        let outcome = match event {
            Event::Receive(message) => E::receive(self, message),
            Event::ReceiveAndReply { call, message } => E::receive_and_reply(self, call, message)
                .inspect_err(|failure| {
                    tell_asker(call, failure);
                }),
            Event::Reply {
                ask,
                token,
                outcome,
            } => self.replied(ask, &token, outcome),
            Event::Timer { timer, token } => self.due(timer, &token),
            Event::Start => match self.start() {
                Ok(()) => Ok(()),
                // There is no endpoint without a state. A trap is how the host learns of it.
                Err(failure) => panic!("`{}` did not start: {failure}", E::NAME),
            },
            Event::Stop => self.with_state(|state, ctx| state.on_stop(ctx)),
            Event::Error(cause) => {
                self.tell_error(cause);
                Ok(())
            }
            Event::Connected(address) => {
                self.with_state(|state, ctx| state.on_connected(ctx, address))
            }
            Event::Disconnected(address) => {
                self.with_state(|state, ctx| state.on_disconnected(ctx, address))
            }
            Event::NetworkError { address, cause } => {
                self.with_state(|state, ctx| state.on_network_error(ctx, address, cause))
            }
        };
        if let Err(cause) = outcome {
            self.tell_error(cause);
        }
        self.executor.run();
    }

    fn replied(
        self: &Rc<Self>,
        ask: u64,
        token: &[u8],
        outcome: Result<Raw, Failure>,
    ) -> Result<(), Failure> {
        match Token::from_bytes(token)? {
            Token::Continuation { kind, body } => E::on_reply(self, kind, body, outcome),
            Token::Volatile { handler, call } => {
                if self.executor.resolve(WaitFor::Ask(ask), outcome) {
                    return Ok(());
                }
                Err(lost("an answer", handler, call))
            }
        }
    }

    fn due(self: &Rc<Self>, timer: u64, token: &[u8]) -> Result<(), Failure> {
        match Token::from_bytes(token)? {
            Token::Continuation { kind, body } => E::on_timer(self, kind, body),
            Token::Volatile { handler, call } => {
                let nothing = Raw {
                    kind: String::new(),
                    body: Vec::new(),
                };
                if self.executor.resolve(WaitFor::Timer(timer), Ok(nothing)) {
                    return Ok(());
                }
                Err(lost("a timer", handler, call))
            }
        }
    }

    pub(crate) fn with_state<T>(&self, f: impl FnOnce(&mut E, &mut Context) -> T) -> T {
        match self.state.borrow_mut().as_mut() {
            Some(state) => f(state, &mut Context::new()),
            // A host that does this breaks the contract; nothing could be right afterwards.
            None => panic!("`{}` got an event before on-start or restore", E::NAME),
        }
    }

    pub(crate) fn tell_error(&self, cause: Failure) {
        // An error of the error handler has nobody else to go to than the log.
        if let Err(another) = self.with_state(|state, ctx| state.on_error(ctx, cause)) {
            log_error(E::NAME, &another);
        }
    }
}

// What the code of the `endpoint` attribute calls: one function for each form of handler.
#[doc(hidden)]
impl<E: Endpoint> Runtime<E> {
    pub fn receive<M: Message>(
        &self,
        message: &Raw,
        handler: impl FnOnce(&mut E, &mut Context, M) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let message = decode(&message.body)?;
        self.with_state(|state, ctx| handler(state, ctx, message))
    }

    pub fn receive_async<M: Message, F>(
        self: &Rc<Self>,
        message: &Raw,
        handler: impl FnOnce(AsyncContext<E>, M) -> F,
    ) -> Result<(), Failure>
    where
        F: Future<Output = Result<(), Failure>> + 'static,
    {
        let work = handler(AsyncContext::new(self), decode(&message.body)?);
        let runtime = Rc::clone(self);
        let origin = Origin {
            kind: M::KIND,
            call: None,
        };
        self.executor.spawn(origin, async move {
            if let Err(cause) = work.await {
                runtime.tell_error(cause);
            }
        });
        Ok(())
    }

    pub fn reply<M: Request>(
        &self,
        call: u64,
        message: &Raw,
        handler: impl FnOnce(&mut E, &mut Context, M) -> Result<M::Reply, Failure>,
    ) -> Result<(), Failure> {
        let message = decode(&message.body)?;
        let value = self.with_state(|state, ctx| handler(state, ctx, message))?;
        answer(call, &value)
    }

    pub fn reply_later<M: Request>(
        &self,
        call: u64,
        message: &Raw,
        handler: impl FnOnce(&mut E, &mut Context, M, CallContext<M::Reply>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let message = decode(&message.body)?;
        call::answering_later(call, || {
            self.with_state(|state, ctx| handler(state, ctx, message, CallContext::from_id(call)))
        })
    }

    pub fn reply_async<M: Request, F>(
        self: &Rc<Self>,
        call: u64,
        message: &Raw,
        handler: impl FnOnce(AsyncContext<E>, M) -> F,
    ) -> Result<(), Failure>
    where
        F: Future<Output = Result<M::Reply, Failure>> + 'static,
    {
        let work = handler(AsyncContext::new(self), decode(&message.body)?);
        let runtime = Rc::clone(self);
        let origin = Origin {
            kind: M::KIND,
            call: Some(call),
        };
        self.executor.spawn(origin, async move {
            let outcome = work.await.and_then(|value| answer(call, &value));
            if let Err(cause) = outcome {
                tell_asker(call, &cause);
                runtime.tell_error(cause);
            }
        });
        Ok(())
    }

    pub fn go_on<C: Continuation>(
        &self,
        body: &[u8],
        outcome: Result<Raw, Failure>,
        handler: impl FnOnce(&mut E, &mut Context, C, ReplyTo<C>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let pending = decode_own(body)?;
        let outcome = outcome.and_then(|raw| decode_reply::<C::Asked>(&raw));
        self.with_state(|state, ctx| handler(state, ctx, pending, outcome))
    }

    pub fn timer<M: Message>(
        &self,
        body: &[u8],
        handler: impl FnOnce(&mut E, &mut Context, M) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let due = decode_own(body)?;
        self.with_state(|state, ctx| handler(state, ctx, due))
    }

    pub fn unsupported(&self, what: &str, kind: &str) -> Failure {
        Failure::with_code(
            Failure::UNSUPPORTED,
            format!(
                "endpoint `{}` {} has no handler for {what} of kind `{kind}`",
                E::NAME,
                E::VERSION
            ),
        )
    }
}

/// What an `#[on_reply]` handler gets: the answer to the request that `C` continues.
pub type ReplyTo<C> = Result<<<C as Continuation>::Asked as Request>::Reply, Failure>;

/// The answer to an `R` in a message that came back for it.
pub(crate) fn decode_reply<R: Request>(raw: &Raw) -> Result<R::Reply, Failure> {
    let expected = <R::Reply as Message>::KIND;
    if raw.kind != expected {
        return Err(Failure::with_code(
            Failure::UNDECODABLE,
            format!(
                "`{}` was answered with `{}` instead of `{expected}`; \
                 the endpoint that answered speaks another protocol",
                R::KIND,
                raw.kind
            ),
        ));
    }
    decode(&raw.body)
}

/// Answers a call with the value that its handler returned.
fn answer<M: Message>(call: u64, value: &M) -> Result<(), Failure> {
    match host::reply(call, M::KIND, encode(value)?) {
        // Its caller gave up meanwhile: nobody waits, and nothing is wrong with this endpoint.
        Err(failure) if failure.code == Failure::UNANSWERED => Ok(()),
        outcome => outcome,
    }
}

fn tell_asker(call: u64, failure: &Failure) {
    // Refused only where the call is not open any more: then nobody waits.
    let _ = host::fail(call, failure.clone());
}

/// Something came for an `async` handler of an instance that is gone. Its caller need not wait for
/// the deadline.
fn lost(what: &str, handler: &str, call: Option<u64>) -> Failure {
    let failure = Failure::with_code(
        Failure::ABORTED,
        format!(
            "{what} came for an async handler of `{handler}` whose instance is gone; \
             it was replaced or restarted before the handler was done"
        ),
    );
    if let Some(call) = call {
        tell_asker(call, &failure);
    }
    failure
}
