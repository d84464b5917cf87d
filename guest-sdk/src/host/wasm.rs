//! The imports of the component, with the SDK's types on this side.

use crate::bindings::instar::endpoint as wit;
use crate::description::Metadata;
use crate::launching::Workload;
use crate::logging::Level;
use crate::{EndpointRef, Failure, convert};

pub(crate) fn begin(index: u32) -> bool {
    wit::turns::begin(index)
}

pub(crate) fn send(to: &EndpointRef, kind: &str, body: Vec<u8>, wait: bool) -> Result<(), Failure> {
    let full = if wait {
        wit::messaging::WhenFull::Wait
    } else {
        wit::messaging::WhenFull::Fail
    };
    wit::messaging::send(&convert::reference(to), &message(kind, body), full)
        .map_err(convert::failure_in)
}

pub(crate) fn ask(
    to: &EndpointRef,
    kind: &str,
    body: Vec<u8>,
    token: &[u8],
    timeout_ms: Option<u64>,
) -> Result<u64, Failure> {
    wit::messaging::ask(
        &convert::reference(to),
        &message(kind, body),
        token,
        timeout_ms,
    )
    .map_err(convert::failure_in)
}

pub(crate) fn abort(ask: u64) -> bool {
    wit::messaging::abort(ask)
}

pub(crate) fn self_ref() -> EndpointRef {
    let this = wit::messaging::self_ref();
    EndpointRef {
        name: this.name,
        address: this.address,
    }
}

pub(crate) fn stop_self() {
    wit::messaging::stop_self();
}

pub(crate) fn reply(call: u64, kind: &str, body: Vec<u8>) -> Result<(), Failure> {
    wit::calls::reply(call, &message(kind, body)).map_err(convert::failure_in)
}

pub(crate) fn fail(call: u64, failure: Failure) -> Result<(), Failure> {
    wit::calls::fail(call, &convert::failure_out(failure)).map_err(convert::failure_in)
}

pub(crate) fn sender(call: u64) -> Option<String> {
    wit::calls::sender(call)
}

pub(crate) fn start_timer(
    token: &[u8],
    delay_ms: u64,
    period_ms: Option<u64>,
) -> Result<u64, Failure> {
    wit::timers::start(token, delay_ms, period_ms).map_err(convert::failure_in)
}

pub(crate) fn cancel_timer(timer: u64) -> bool {
    wit::timers::cancel(timer)
}

pub(crate) fn config_get(key: &str) -> Option<String> {
    wit::configuration::get(key)
}

pub(crate) fn config_all() -> Vec<(String, String)> {
    wit::configuration::all()
}

pub(crate) fn log_enabled(level: Level) -> bool {
    wit::logging::enabled(convert::level(level))
}

pub(crate) fn log(level: Level, target: &str, text: &str, fields: &[(String, String)]) {
    wit::logging::log(convert::level(level), target, text, fields);
}

pub(crate) fn add_counter(name: &str, by: u64) {
    wit::metrics::add_counter(name, by);
}

pub(crate) fn set_gauge(name: &str, value: f64) {
    wit::metrics::set_gauge(name, value);
}

pub(crate) fn record_histogram(name: &str, value: f64) {
    wit::metrics::record_histogram(name, value);
}

pub(crate) fn registry_exists(name: &str) -> bool {
    wit::registry::exists(name)
}

pub(crate) fn registry_describe(name: &str) -> Option<Metadata> {
    wit::registry::describe(name).map(convert::metadata_in)
}

pub(crate) fn registry_names() -> Vec<String> {
    wit::registry::names()
}

/// An open channel of the host.
pub(crate) struct Channel(wit::channels::Channel);

impl Channel {
    pub(crate) fn read(&self, max_bytes: u32) -> Result<Vec<u8>, Failure> {
        self.0.read(max_bytes).map_err(convert::failure_in)
    }
}

pub(crate) fn open_channel(
    uri: &str,
    offset: u64,
    length: Option<u64>,
) -> Result<Channel, Failure> {
    wit::channels::open(uri, offset, length)
        .map(Channel)
        .map_err(convert::failure_in)
}

pub(crate) fn persist(name: &str, value: &[u8]) -> Result<(), Failure> {
    wit::persistence::persist(name, value).map_err(convert::failure_in)
}

pub(crate) fn unpersist(name: &str) -> Result<(), Failure> {
    wit::persistence::unpersist(name).map_err(convert::failure_in)
}

pub(crate) fn read_persisted(prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    wit::persistence::read(prefix).map_err(convert::failure_in)
}

pub(crate) fn launch(workload: &Workload, token: &[u8]) -> Result<u64, Failure> {
    wit::launching::launch(&convert::workload(workload), token).map_err(convert::failure_in)
}

pub(crate) fn kill_launch(launch: u64) -> bool {
    wit::launching::kill(launch)
}

pub(crate) fn launched() -> Vec<(u64, Vec<u8>)> {
    wit::launching::launched()
}

pub(crate) fn clean_work(keep: &[String], unused_ms: u64) {
    wit::launching::clean(keep, unused_ms);
}

pub(crate) fn remove_work_folder(folder: &str) {
    wit::launching::remove_folder(folder);
}

pub(crate) fn contend() {
    wit::leadership::contend();
}

pub(crate) fn resign() {
    wit::leadership::resign();
}

fn message(kind: &str, body: Vec<u8>) -> wit::types::Message {
    wit::types::Message {
        kind: kind.to_owned(),
        body,
    }
}
