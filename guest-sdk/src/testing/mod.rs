//! Testing: an endpoint's handlers, natively, in `cargo test`.
//!
//! [`TestEndpoint`] drives the very code that runs in the component, with a host of its own: it
//! keeps what the endpoint sends, lets the test answer what it asks, and moves time by hand.
//!
//! ```
//! # use instar_sdk::prelude::*;
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Message, Serialize, Deserialize)]
//! # #[message(kind = "t.Add")]
//! # struct Add { by: u64 }
//! # #[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
//! # #[message(kind = "t.Value")]
//! # struct Value { value: u64 }
//! # #[derive(Message, Serialize, Deserialize)]
//! # #[message(kind = "t.Get", reply = Value)]
//! # struct Get {}
//! # mod v1 {
//! #     use super::*;
//! #     #[derive(Serialize, Deserialize)]
//! #     pub struct Counter { pub value: u64 }
//! #     #[instar_sdk::endpoint(name = "counter", version = "1.0.0")]
//! #     impl Counter {
//! #         #[on_start]
//! #         fn start(_: &mut Context) -> Result<Self, Failure> { Ok(Self { value: 0 }) }
//! #         #[receive]
//! #         fn add(&mut self, _: &mut Context, add: Add) -> Result<(), Failure> {
//! #             self.value += add.by;
//! #             Ok(())
//! #         }
//! #     }
//! # }
//! # mod v2 {
//! #     use super::*;
//! #     #[derive(Serialize, Deserialize)]
//! #     pub struct Counter { value: u64, adds: u64 }
//! #     #[instar_sdk::endpoint(name = "counter", version = "2.0.0", state_version = 2)]
//! #     impl Counter {
//! #         #[on_start]
//! #         fn start(_: &mut Context) -> Result<Self, Failure> { Ok(Self { value: 0, adds: 0 }) }
//! #         #[receive_and_reply]
//! #         fn get(&mut self, _: &mut Context, _: Get) -> Result<Value, Failure> {
//! #             Ok(Value { value: self.value })
//! #         }
//! #         #[migrate_from(1)]
//! #         fn from_v1(old: v1::Counter) -> Result<Self, Failure> {
//! #             Ok(Self { value: old.value, adds: 0 })
//! #         }
//! #     }
//! # }
//! # fn main() {
//! use instar_sdk::testing::TestEndpoint;
//!
//! let mut counter = TestEndpoint::<v1::Counter>::start();
//! counter.send(&Add { by: 3 });
//! // The next version goes on with the state of this one.
//! let mut counter = counter.upgrade::<v2::Counter>().expect("version 2 reads state version 1");
//! assert_eq!(counter.ask(&Get {}), Ok(Value { value: 3 }));
//! # }
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;

pub(crate) mod host;

mod launching;

mod leadership;

mod upgrade;

pub use upgrade::Refused;

use self::host::{Due, TestHost};
use crate::description::Metadata;
use crate::endpoint::metadata_of;
use crate::event::Event;
use crate::host::within;
use crate::logging::Level;
use crate::message::{Message, Raw, Request, decode, encode};
use crate::runtime::{Runtime, decode_reply};
use crate::{Bytes, Endpoint, EndpointRef, Failure};

/// An endpoint that runs in a test, on this thread.
pub struct TestEndpoint<E: Endpoint> {
    runtime: Rc<Runtime<E>>,
    host: Rc<RefCell<TestHost>>,
}

/// A call that the endpoint has not answered yet, or has; see [`TestEndpoint::outcome`].
#[derive(Debug)]
pub struct TestCall<R: Request> {
    id: u64,
    _answered_with: PhantomData<R>,
}

/// A request of the endpoint that waits for an answer of the test.
#[derive(Debug)]
pub struct TestAsk<R: Request> {
    id: u64,
    /// Whom the endpoint asked.
    pub to: EndpointRef,
    /// What it asked.
    pub request: R,
}

/// A line that the endpoint logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// Where it comes from.
    pub target: String,
    /// What it says.
    pub text: String,
    /// Further values.
    pub fields: Vec<(String, String)>,
}

/// A metric of the endpoint.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed {
    /// Its sum.
    Counter(u64),
    /// Its last value.
    Gauge(f64),
    /// All values.
    Histogram(Vec<f64>),
}

impl<E: Endpoint> TestEndpoint<E> {
    /// Starts an endpoint without configuration: runs `on_start`.
    ///
    /// # Panics
    /// Where `on_start` fails; see [`TestEndpoint::try_start`].
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts an endpoint with a configuration.
    ///
    /// # Panics
    /// Where `on_start` fails.
    pub fn start_with(config: &[(&str, &str)]) -> Self {
        match Self::try_start(config) {
            Ok(endpoint) => endpoint,
            Err(failure) => panic!("`{}` did not start: {failure}", E::NAME),
        }
    }

    /// Starts an endpoint with a configuration.
    ///
    /// # Errors
    /// What `on_start` fails with.
    pub fn try_start(config: &[(&str, &str)]) -> Result<Self, Failure> {
        Self::begin(config, BTreeMap::new())
    }

    /// Starts an endpoint whose host has these values in its store.
    ///
    /// # Panics
    /// Where `on_start` fails.
    pub fn start_with_persisted(
        config: &[(&str, &str)],
        persisted: BTreeMap<String, Bytes>,
    ) -> Self {
        match Self::begin(config, persisted) {
            Ok(endpoint) => endpoint,
            Err(failure) => panic!("`{}` did not start: {failure}", E::NAME),
        }
    }

    fn begin(config: &[(&str, &str)], persisted: BTreeMap<String, Bytes>) -> Result<Self, Failure> {
        let endpoint = Self {
            runtime: Runtime::new(),
            host: Rc::new(RefCell::new(TestHost::of(E::NAME))),
        };
        endpoint.host.borrow_mut().persisted = persisted;
        for (key, value) in config {
            endpoint.set_config(key, value);
        }
        within(&endpoint.host, || endpoint.runtime.start())?;
        Ok(endpoint)
    }

    fn deliver(&mut self, event: Event) {
        within(&self.host, || self.runtime.handle(std::iter::once(event)));
    }

    /// Sends a message that wants no answer; it is handled when this returns.
    ///
    /// # Panics
    /// Where the message cannot be encoded, or the handler panics.
    pub fn send<M: Message>(&mut self, message: &M) {
        let message = raw(message);
        self.deliver(Event::Receive(message));
    }

    /// Sends bytes as a message of any kind, as a peer could.
    pub fn send_raw(&mut self, kind: &str, body: &[u8]) {
        let message = Raw {
            kind: kind.to_owned(),
            body: body.to_vec(),
        };
        self.deliver(Event::Receive(message));
    }

    /// Asks, and returns the answer.
    ///
    /// # Errors
    /// What the call was failed with.
    ///
    /// # Panics
    /// Where the endpoint has not answered when its turn ends; see [`TestEndpoint::call`].
    pub fn ask<R: Request>(&mut self, request: &R) -> Result<R::Reply, Failure> {
        let call = self.call(request);
        match self.outcome(&call) {
            Some(outcome) => outcome,
            None => panic!(
                "`{}` is not answered yet; use `call` and `outcome`",
                R::KIND
            ),
        }
    }

    /// Asks; the answer may come later.
    pub fn call<R: Request>(&mut self, request: &R) -> TestCall<R> {
        let id = self.host.borrow_mut().open_call();
        let message = raw(request);
        self.deliver(Event::ReceiveAndReply { call: id, message });
        TestCall {
            id,
            _answered_with: PhantomData,
        }
    }

    /// The outcome of a call; `None` while it is open. Taken once.
    pub fn outcome<R: Request>(&mut self, call: &TestCall<R>) -> Option<Result<R::Reply, Failure>> {
        let outcome = self.host.borrow_mut().take_outcome(call.id)?;
        Some(outcome.and_then(|answer| decode_reply::<R>(&answer)))
    }

    /// Calls that wait for an answer of the endpoint.
    pub fn open_calls(&self) -> usize {
        self.host.borrow().open_calls()
    }

    /// Takes the messages of type `M` that the endpoint sent, in order, with their receivers.
    ///
    /// # Panics
    /// Where a message of this kind does not decode.
    pub fn sent<M: Message>(&mut self) -> Vec<(EndpointRef, M)> {
        let mut host = self.host.borrow_mut();
        let (taken, rest) = std::mem::take(&mut host.sent)
            .into_iter()
            .partition(|sent| sent.message.kind == M::KIND);
        host.sent = rest;
        let taken: Vec<host::Sent> = taken;
        taken
            .into_iter()
            .map(|sent| (sent.to, unwrap(decode(&sent.message.body))))
            .collect()
    }

    /// The requests of type `R` that the endpoint waits for, oldest first.
    ///
    /// # Panics
    /// Where a request of this kind does not decode.
    pub fn asked<R: Request>(&self) -> Vec<TestAsk<R>> {
        let host = self.host.borrow();
        let of_kind = host
            .asks
            .iter()
            .filter(|(_, ask)| ask.request.kind == R::KIND);
        of_kind
            .map(|(id, ask)| TestAsk {
                id: *id,
                to: ask.to.clone(),
                request: unwrap(decode(&ask.request.body)),
            })
            .collect()
    }

    /// Answers a request of the endpoint. One that it gave up meanwhile is left alone.
    pub fn answer<R: Request>(&mut self, ask: &TestAsk<R>, outcome: Result<R::Reply, Failure>) {
        let outcome = outcome.map(|reply| raw(&reply));
        self.answer_raw(ask.id, outcome);
    }

    fn answer_raw(&mut self, ask: u64, outcome: Result<Raw, Failure>) {
        let open = self.host.borrow_mut().asks.remove(&ask);
        if let Some(open) = open {
            self.deliver(Event::Reply {
                ask,
                token: open.token,
                outcome,
            });
        }
    }

    /// Moves time: what is due until then happens, in order of time.
    pub fn advance(&mut self, by: Duration) {
        let until = self.host.borrow().now + by;
        loop {
            let next = self.host.borrow().next_due(until);
            let Some((due, what)) = next else { break };
            self.host.borrow_mut().now = due;
            match what {
                Due::Ask(ask) => {
                    let failure = Failure::with_code(Failure::TIMEOUT, "no answer in time");
                    self.answer_raw(ask, Err(failure));
                }
                Due::Timer(timer) => self.fire(timer),
            }
        }
        self.host.borrow_mut().now = until;
    }

    fn fire(&mut self, id: u64) {
        let token = {
            let mut host = self.host.borrow_mut();
            let Some(timer) = host.timers.get_mut(&id) else {
                return;
            };
            let token = timer.token.clone();
            match timer.period_ms {
                Some(period) => timer.due += Duration::from_millis(period.max(1)),
                None => {
                    host.timers.remove(&id);
                }
            }
            token
        };
        self.deliver(Event::Timer { timer: id, token });
    }

    /// Timers that run.
    pub fn timers(&self) -> usize {
        self.host.borrow().timers.len()
    }

    /// Says that a connection with a peer came up.
    pub fn connected(&mut self, address: &str) {
        self.deliver(Event::Connected(address.to_owned()));
    }

    /// Says that a connection with a peer went down.
    pub fn disconnected(&mut self, address: &str) {
        self.deliver(Event::Disconnected(address.to_owned()));
    }

    /// Says that a connection with a peer broke, or could not be made.
    pub fn network_error(&mut self, address: &str, cause: &str) {
        self.deliver(Event::NetworkError {
            address: address.to_owned(),
            cause: cause.to_owned(),
        });
    }

    /// Tells the endpoint of something that nobody else can be told.
    pub fn error(&mut self, cause: Failure) {
        self.deliver(Event::Error(cause));
    }

    /// Stops the endpoint: runs `on_stop`. What it did can still be looked at.
    pub fn stop(&mut self) {
        self.deliver(Event::Stop);
    }

    /// True where the endpoint asked to be stopped.
    pub fn asked_to_stop(&self) -> bool {
        self.host.borrow().stopped
    }

    /// Sets a configuration value, from now on.
    pub fn set_config(&self, key: &str, value: &str) {
        let mut host = self.host.borrow_mut();
        host.config.insert(key.to_owned(), value.to_owned());
    }

    /// What sends that do not wait fail with from now on; `None`: they work.
    pub fn set_full(&self, failure: Option<Failure>) {
        self.host.borrow_mut().full = failure;
    }

    /// What asks fail with at once, as beyond a limit, from now on; `None`: they work.
    pub fn refuse_asks(&self, failure: Option<Failure>) {
        self.host.borrow_mut().ask_failure = failure;
    }

    /// Puts a description under a name of the host's registry.
    pub fn register(&self, name: &str, metadata: Metadata) {
        let mut host = self.host.borrow_mut();
        host.registry.insert(name.to_owned(), metadata);
    }

    /// Puts a file where `open_channel` finds it. A uri that ends with `/` lists the files below it.
    pub fn set_file(&self, uri: &str, bytes: &[u8]) {
        let mut host = self.host.borrow_mut();
        host.files.insert(uri.to_owned(), bytes.to_vec());
    }

    /// What the endpoint persisted. It survives an upgrade and a restart.
    pub fn persisted(&self) -> BTreeMap<String, Bytes> {
        self.host.borrow().persisted.clone()
    }

    /// What persisting fails with from now on; `None`: it works.
    pub fn set_store_failure(&self, failure: Option<Failure>) {
        self.host.borrow_mut().store_failure = failure;
    }

    /// What reading what was persisted fails with from now on; `None`: it works.
    pub fn set_read_failure(&self, failure: Option<Failure>) {
        self.host.borrow_mut().read_failure = failure;
    }

    /// Takes the lines that were logged.
    pub fn log(&mut self) -> Vec<LogLine> {
        std::mem::take(&mut self.host.borrow_mut().log)
    }

    /// A metric, if it was recorded.
    pub fn metric(&self, name: &str) -> Option<Observed> {
        self.host.borrow().metrics.get(name).cloned()
    }

    /// Looks at the state.
    pub fn with<T>(&self, look: impl FnOnce(&E) -> T) -> T {
        within(&self.host, || {
            self.runtime.with_state(|state, _| look(state))
        })
    }

    /// Async handlers that wait. An upgrade needs that there are none.
    pub fn pending(&self) -> u32 {
        self.runtime.pending()
    }

    /// What the endpoint says of itself.
    pub fn metadata(&self) -> Metadata {
        metadata_of::<E>()
    }
}

impl<E: Endpoint> Drop for TestEndpoint<E> {
    fn drop(&mut self) {
        // Calls in the state fail when they are dropped, which needs their host.
        let runtime = std::mem::replace(&mut self.runtime, Runtime::new());
        within(&self.host, || drop(runtime));
    }
}

fn raw<M: Message>(message: &M) -> Raw {
    Raw {
        kind: M::KIND.to_owned(),
        body: unwrap(encode(message)),
    }
}

fn unwrap<T>(result: Result<T, Failure>) -> T {
    match result {
        Ok(value) => value,
        Err(failure) => panic!("{failure}"),
    }
}
