//! Request: what is handed to the runner of an endpoint that is wanted at a message boundary, and what
//! comes back. Data only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::super::handle::{Endpoint, Running};
use super::super::ledger::Counts;
use super::super::record::{SwapOutcome, SwapPhases, SwapRecord};
use super::super::settings::EndpointSettings;
use crate::component::code::Code;
use crate::component::event::Event;
use crate::component::instance::Prepared;

/// What is to become of an endpoint.
pub(crate) struct Wanted {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) code: Code,
    /// `None`: those that it has.
    pub(crate) settings: Option<EndpointSettings>,
    /// What the version wants beyond what was granted is granted by this.
    pub(crate) approved: bool,
    /// Also if the same code runs already: a new instance gives memory back.
    pub(crate) refresh: bool,
    /// What does not end within the drain limit is ended.
    pub(crate) force: bool,
}

/// What a boundary of an endpoint is wanted for.
pub(in super::super) struct SwapRequest {
    pub(super) what: What,
    pub(super) asked: Instant,
    pub(super) drain: Duration,
    /// What does not end within it is ended, instead of the swap being given up.
    pub(super) force: bool,
    pub(super) ticket: Arc<Ticket>,
    pub(super) done: oneshot::Sender<Report>,
}

pub(super) enum What {
    /// Put this version behind the endpoint.
    Flip(Box<New>),
    /// Write the state in each of these versions, and hand it over.
    Copy(Vec<u32>, oneshot::Sender<StateCopy>),
}

/// A new version that waits aside for its turn.
pub(super) struct New {
    pub(super) prepared: Prepared,
    pub(super) running: Running,
    /// The version in which the state is carried.
    pub(super) state_version: u32,
    pub(super) seat: Option<Seat>,
    /// See [`SwapRequest::force`].
    pub(super) force: bool,
    /// The same code with the same settings: there is nothing to prove.
    pub(super) is_refresh: bool,
    /// Of the try so far. The runner files it, so that there is one though the asker went away.
    pub(super) record: SwapRecord,
}

/// A place among endpoints that are swapped together.
pub(super) struct Seat {
    pub(super) ready: mpsc::UnboundedSender<()>,
    pub(super) verdict: watch::Receiver<Option<Result<(), String>>>,
}

/// A copy of the state, and the last messages that led to it.
pub(in super::super) struct StateCopy {
    /// In each version that was wanted.
    pub(in super::super) states: Vec<Bytes>,
    pub(in super::super) recent: Vec<Event>,
}

/// Who decides about a request: the runner that takes it, or the asker that gives it up.
#[derive(Default)]
pub(super) struct Ticket(AtomicU8);

const WAITING: u8 = 0;
pub(super) const TAKEN: u8 = 1;
pub(super) const WITHDRAWN: u8 = 2;

impl Ticket {
    /// True as long as nobody decided.
    pub(super) fn waits(&self) -> bool {
        self.0.load(Ordering::Acquire) == WAITING
    }

    /// True for the one side that was first.
    pub(super) fn claim(&self, as_what: u8) -> bool {
        self.0
            .compare_exchange(WAITING, as_what, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

/// What the runner tells of a swap.
pub(super) struct Report {
    pub(super) outcome: SwapOutcome,
    pub(super) phases: SwapPhases,
    pub(super) queue_depth: usize,
    pub(super) state_bytes: usize,
    pub(super) open: Counts,
    /// As it was filed; none where the endpoint never saw the request, and for a copy.
    pub(super) record: Option<SwapRecord>,
}

impl Report {
    /// The record with what the endpoint knows of the try.
    pub(super) fn fill(&self, record: &mut SwapRecord) {
        record.outcome = self.outcome.clone();
        record.phases = SwapPhases {
            compile: record.phases.compile,
            instantiate: record.phases.instantiate,
            ..self.phases
        };
        record.queue_depth = self.queue_depth;
        record.state_bytes = self.state_bytes;
        record.open_calls = self.open.calls;
        record.open_asks = self.open.asks;
        record.timers = self.open.timers;
    }

    /// Nothing came of it, and the endpoint knows nothing of it.
    pub(super) fn withdrawn(reason: String) -> Self {
        Self {
            outcome: SwapOutcome::GivenUp(reason),
            phases: SwapPhases::default(),
            queue_depth: 0,
            state_bytes: 0,
            open: Counts::default(),
            record: None,
        }
    }
}

impl SwapRequest {
    pub(in super::super) fn refuse(self, endpoint: &Endpoint, reason: &str) {
        let mut report = Report::withdrawn(reason.to_owned());
        if let What::Flip(new) = self.what {
            let mut record = new.record;
            report.fill(&mut record);
            report.record = Some(super::file(endpoint, record));
        }
        // Whoever asked may have gone.
        let _ = self.done.send(report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_either_taken_or_withdrawn() {
        let ticket = Ticket::default();
        assert!(ticket.claim(TAKEN));
        assert!(!ticket.claim(WITHDRAWN));
    }
}
