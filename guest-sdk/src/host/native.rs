//! The host of an endpoint that runs in a test: the one of the [`crate::testing::TestEndpoint`] that
//! drives it on this thread.

use std::cell::RefCell;
use std::rc::Rc;

use crate::description::Metadata;
use crate::launching::Workload;
use crate::logging::Level;
use crate::message::Raw;
use crate::testing::host::{OpenAsk, Sent, TestHost, Timer};
use crate::testing::{LogLine, Observed};
use crate::{EndpointRef, Failure};

thread_local! {
    static CURRENT: RefCell<Option<Rc<RefCell<TestHost>>>> = const { RefCell::new(None) };
}

/// Runs `f` with `host` as the host of this thread.
pub(crate) fn within<T>(host: &Rc<RefCell<TestHost>>, f: impl FnOnce() -> T) -> T {
    struct Leave(Option<Rc<RefCell<TestHost>>>);
    impl Drop for Leave {
        fn drop(&mut self) {
            CURRENT.replace(self.0.take());
        }
    }
    let _leave = Leave(CURRENT.replace(Some(Rc::clone(host))));
    f()
}

fn with<T>(f: impl FnOnce(&mut TestHost) -> T) -> T {
    let host = CURRENT.with_borrow(Clone::clone);
    match host {
        Some(host) => f(&mut host.borrow_mut()),
        None => panic!(
            "there is no host here: natively, handlers run only within a \
             `instar_sdk::testing::TestEndpoint`"
        ),
    }
}

/// Like [`with`], for what destructors do: without a host there is nobody to tell, and a panic in a
/// destructor would hide the one that matters.
fn try_with<T>(f: impl FnOnce(&mut TestHost) -> T) -> Option<T> {
    let host = CURRENT.with_borrow(Clone::clone)?;
    let result = f(&mut host.borrow_mut());
    Some(result)
}

pub(crate) fn begin(_index: u32) -> bool {
    true
}

fn raw(kind: &str, body: Vec<u8>) -> Raw {
    Raw {
        kind: kind.to_owned(),
        body,
    }
}

pub(crate) fn send(to: &EndpointRef, kind: &str, body: Vec<u8>, wait: bool) -> Result<(), Failure> {
    with(|host| {
        if let (false, Some(failure)) = (wait, &host.full) {
            return Err(failure.clone());
        }
        host.sent.push(Sent {
            to: to.clone(),
            message: raw(kind, body),
        });
        Ok(())
    })
}

pub(crate) fn ask(
    to: &EndpointRef,
    kind: &str,
    body: Vec<u8>,
    token: &[u8],
    timeout_ms: Option<u64>,
) -> Result<u64, Failure> {
    with(|host| {
        if let Some(failure) = &host.ask_failure {
            return Err(failure.clone());
        }
        let id = host.new_id();
        let ask = OpenAsk {
            to: to.clone(),
            request: raw(kind, body),
            token: token.to_vec(),
            due: host.after_ms(timeout_ms.unwrap_or(TestHost::ASK_TIMEOUT_MS)),
        };
        host.asks.insert(id, ask);
        Ok(id)
    })
}

pub(crate) fn abort(ask: u64) -> bool {
    try_with(|host| host.asks.remove(&ask).is_some()).unwrap_or(false)
}

pub(crate) fn self_ref() -> EndpointRef {
    with(|host| EndpointRef::remote(host.name.clone(), "test-host:7077"))
}

pub(crate) fn stop_self() {
    with(|host| host.stopped = true);
}

pub(crate) fn reply(call: u64, kind: &str, body: Vec<u8>) -> Result<(), Failure> {
    with(|host| host.answer(call, Ok(raw(kind, body))))
}

pub(crate) fn fail(call: u64, failure: Failure) -> Result<(), Failure> {
    try_with(|host| host.answer(call, Err(failure))).unwrap_or_else(|| {
        let text = format!("call {call} is not open: its test is over");
        Err(Failure::with_code(Failure::UNANSWERED, text))
    })
}

pub(crate) fn sender(call: u64) -> Option<String> {
    with(|host| host.is_open(call).then(|| TestHost::SENDER.to_owned()))
}

pub(crate) fn start_timer(
    token: &[u8],
    delay_ms: u64,
    period_ms: Option<u64>,
) -> Result<u64, Failure> {
    with(|host| {
        let id = host.new_id();
        let timer = Timer {
            token: token.to_vec(),
            due: host.after_ms(delay_ms),
            period_ms,
        };
        host.timers.insert(id, timer);
        Ok(id)
    })
}

pub(crate) fn cancel_timer(timer: u64) -> bool {
    try_with(|host| host.timers.remove(&timer).is_some()).unwrap_or(false)
}

pub(crate) fn config_get(key: &str) -> Option<String> {
    with(|host| host.config.get(key).cloned())
}

pub(crate) fn config_all() -> Vec<(String, String)> {
    with(|host| {
        let pairs = host.config.iter();
        pairs
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    })
}

/// True within a test endpoint. Other threads of a test may log as well; that is not the endpoint.
pub(crate) fn log_enabled(_level: Level) -> bool {
    CURRENT.with_borrow(Option::is_some)
}

pub(crate) fn log(level: Level, target: &str, text: &str, fields: &[(String, String)]) {
    if log_enabled(level) {
        with(|host| {
            host.log.push(LogLine {
                level,
                target: target.to_owned(),
                text: text.to_owned(),
                fields: fields.to_vec(),
            });
        });
    }
}

fn observe(name: &str, observed: Observed) {
    with(|host| host.observe(name, observed));
}

pub(crate) fn add_counter(name: &str, by: u64) {
    observe(name, Observed::Counter(by));
}

pub(crate) fn set_gauge(name: &str, value: f64) {
    observe(name, Observed::Gauge(value));
}

pub(crate) fn record_histogram(name: &str, value: f64) {
    observe(name, Observed::Histogram(vec![value]));
}

pub(crate) fn registry_exists(name: &str) -> bool {
    with(|host| host.registry.contains_key(name))
}

pub(crate) fn registry_describe(name: &str) -> Option<Metadata> {
    with(|host| host.registry.get(name).cloned())
}

pub(crate) fn registry_names() -> Vec<String> {
    with(|host| host.registry.keys().cloned().collect())
}

/// A file of the test, read as far as `read` says.
pub(crate) struct Channel {
    left: RefCell<Vec<u8>>,
}

impl Channel {
    pub(crate) fn read(&self, max_bytes: u32) -> Result<Vec<u8>, Failure> {
        let mut left = self.left.borrow_mut();
        let count = left.len().min(max_bytes.max(1) as usize);
        Ok(left.drain(..count).collect())
    }
}

pub(crate) fn open_channel(
    uri: &str,
    offset: u64,
    length: Option<u64>,
) -> Result<Channel, Failure> {
    let bytes = with(|host| host.file(uri, offset, length))?;
    Ok(Channel {
        left: RefCell::new(bytes),
    })
}

pub(crate) fn persist(name: &str, value: &[u8]) -> Result<(), Failure> {
    with(|host| host.persist(name, Some(value)))
}

pub(crate) fn unpersist(name: &str) -> Result<(), Failure> {
    with(|host| host.persist(name, None))
}

pub(crate) fn read_persisted(prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    with(|host| {
        if let Some(failure) = &host.read_failure {
            return Err(failure.clone());
        }
        let values = host.persisted.iter();
        let wanted = values.filter(|(name, _)| name.starts_with(prefix));
        Ok(wanted
            .map(|(name, value)| (name.clone(), value.to_vec()))
            .collect())
    })
}

pub(crate) fn launch(workload: &Workload, token: &[u8]) -> Result<u64, Failure> {
    with(|host| {
        if let Some(failure) = &host.launches.refused {
            return Err(failure.clone());
        }
        let id = host.new_id();
        host.launches.launch(id, workload.clone(), token.to_vec());
        Ok(id)
    })
}

pub(crate) fn kill_launch(launch: u64) -> bool {
    with(|host| host.launches.kill(launch))
}

pub(crate) fn launched() -> Vec<(u64, Vec<u8>)> {
    with(|host| host.launches.that_go_on())
}

pub(crate) fn clean_work(keep: &[String], unused_ms: u64) {
    with(|host| host.launches.cleans.push((keep.to_vec(), unused_ms)));
}

pub(crate) fn remove_work_folder(folder: &str) {
    with(|host| host.launches.removed_folders.push(folder.to_owned()));
}

pub(crate) fn contend() {
    with(|host| host.election.contends = true);
}

pub(crate) fn resign() {
    with(|host| host.election.resigned += 1);
}
