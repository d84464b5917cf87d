//! TestHost: what the host keeps for an endpoint, in a test.

use std::collections::BTreeMap;
use std::time::Duration;

use super::launching::TestLaunches;
use super::leadership::TestElection;
use super::{LogLine, Observed};
use crate::description::Metadata;
use crate::message::Raw;
use crate::{Bytes, EndpointRef, Failure};

/// The host of one endpoint in a test. It survives an upgrade, as the real one does.
#[derive(Default)]
pub(crate) struct TestHost {
    pub(crate) name: String,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) sent: Vec<Sent>,
    pub(crate) asks: BTreeMap<u64, OpenAsk>,
    pub(crate) timers: BTreeMap<u64, Timer>,
    pub(crate) log: Vec<LogLine>,
    pub(crate) metrics: BTreeMap<String, Observed>,
    pub(crate) registry: BTreeMap<String, Metadata>,
    pub(crate) launches: TestLaunches,
    pub(crate) election: TestElection,
    /// What a send that does not wait fails with.
    pub(crate) full: Option<Failure>,
    /// What an ask fails with at once.
    pub(crate) ask_failure: Option<Failure>,
    /// What persisting fails with.
    pub(crate) store_failure: Option<Failure>,
    /// What reading what was persisted fails with.
    pub(crate) read_failure: Option<Failure>,
    pub(crate) persisted: BTreeMap<String, Bytes>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) stopped: bool,
    pub(crate) now: Duration,
    calls: BTreeMap<u64, Option<Result<Raw, Failure>>>,
    next_id: u64,
}

pub(crate) struct Sent {
    pub(crate) to: EndpointRef,
    pub(crate) message: Raw,
}

pub(crate) struct OpenAsk {
    pub(crate) to: EndpointRef,
    pub(crate) request: Raw,
    pub(crate) token: Vec<u8>,
    pub(crate) due: Duration,
}

pub(crate) struct Timer {
    pub(crate) token: Vec<u8>,
    pub(crate) due: Duration,
    pub(crate) period_ms: Option<u64>,
}

/// What is due next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    Ask(u64),
    Timer(u64),
}

impl TestHost {
    /// How long an ask waits that says nothing itself; the real host's default.
    pub(crate) const ASK_TIMEOUT_MS: u64 = 120_000;
    /// The largest value that is persisted; that of the real host.
    pub(crate) const VALUE_BYTES_MAX: usize = 16 << 20;
    /// Where all callers are.
    pub(crate) const SENDER: &str = "test-caller:7077";

    pub(crate) fn of(endpoint: &str) -> Self {
        Self {
            name: endpoint.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn after_ms(&self, ms: u64) -> Duration {
        self.now.saturating_add(Duration::from_millis(ms))
    }

    pub(crate) fn open_call(&mut self) -> u64 {
        let id = self.new_id();
        self.calls.insert(id, None);
        id
    }

    pub(crate) fn is_open(&self, call: u64) -> bool {
        matches!(self.calls.get(&call), Some(None))
    }

    pub(crate) fn answer(
        &mut self,
        call: u64,
        outcome: Result<Raw, Failure>,
    ) -> Result<(), Failure> {
        match self.calls.get_mut(&call) {
            Some(open @ None) => {
                *open = Some(outcome);
                Ok(())
            }
            _ => Err(Failure::with_code(
                Failure::UNANSWERED,
                format!("call {call} is not open"),
            )),
        }
    }

    /// Takes the outcome of a call, if it has one.
    pub(crate) fn take_outcome(&mut self, call: u64) -> Option<Result<Raw, Failure>> {
        let outcome = self.calls.get_mut(&call)?.take()?;
        self.calls.remove(&call);
        Some(outcome)
    }

    pub(crate) fn open_calls(&self) -> usize {
        self.calls
            .values()
            .filter(|outcome| outcome.is_none())
            .count()
    }

    /// What is due at `until` or before, the earliest first.
    pub(crate) fn next_due(&self, until: Duration) -> Option<(Duration, Due)> {
        let asks = self.asks.iter().map(|(id, ask)| (ask.due, Due::Ask(*id)));
        let timers = self
            .timers
            .iter()
            .map(|(id, timer)| (timer.due, Due::Timer(*id)));
        asks.chain(timers).filter(|(due, _)| *due <= until).min()
    }

    /// Keeps a value, or forgets it, within the bounds that a real host has.
    pub(crate) fn persist(&mut self, name: &str, value: Option<&[u8]>) -> Result<(), Failure> {
        if let Some(failure) = &self.store_failure {
            return Err(failure.clone());
        }
        if name.is_empty() || name.len() > 255 {
            let text = format!("a name of {} bytes; expected 1 to 255", name.len());
            return Err(Failure::with_code(Failure::TOO_LARGE, text));
        }
        match value {
            Some(value) if value.len() > Self::VALUE_BYTES_MAX => {
                let text = format!("`{name}`: a value of {} bytes", value.len());
                return Err(Failure::with_code(Failure::TOO_LARGE, text));
            }
            Some(value) => drop(self.persisted.insert(name.to_owned(), Bytes::from(value))),
            None => drop(self.persisted.remove(name)),
        }
        Ok(())
    }

    /// A range of a file of the test; of a uri that ends with `/`, the list of the files below it.
    pub(crate) fn file(
        &self,
        uri: &str,
        offset: u64,
        length: Option<u64>,
    ) -> Result<Vec<u8>, Failure> {
        let listed = || {
            let below = self.files.iter().filter_map(|(name, bytes)| {
                let path = name.strip_prefix(uri).filter(|_| uri.ends_with('/'))?;
                Some(format!("{} {path}\n", bytes.len()))
            });
            let lines: String = below.collect();
            (!lines.is_empty()).then(|| lines.into_bytes())
        };
        let bytes = self.files.get(uri).cloned().or_else(listed);
        let Some(bytes) = bytes else {
            let text = format!("`{uri}` is no file of this test; see `TestEndpoint::set_file`");
            return Err(Failure::with_code(Failure::REFUSED, text));
        };
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        let (from, to) = (
            place(offset),
            place(offset.saturating_add(length.unwrap_or(u64::MAX))),
        );
        Ok(bytes.get(from..to).unwrap_or_default().to_vec())
    }

    pub(crate) fn observe(&mut self, name: &str, observed: Observed) {
        match (self.metrics.get_mut(name), observed) {
            (Some(Observed::Counter(value)), Observed::Counter(by)) => {
                *value = value.saturating_add(by);
            }
            (Some(Observed::Histogram(values)), Observed::Histogram(more)) => values.extend(more),
            (Some(Observed::Gauge(value)), Observed::Gauge(to)) => *value = to,
            (None, first) => {
                self.metrics.insert(name.to_owned(), first);
            }
            (Some(before), other) => panic!("metric `{name}` is {before:?}, now {other:?}"),
        }
    }
}
