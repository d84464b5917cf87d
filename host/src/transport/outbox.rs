//! Outbox: all that waits to leave over one connection, and the requests that are open on it. Beside
//! the queue: what both sides tell of endpoints that stand still ([`super::untold`], [`crate::clocks`]).
//!
//! Before it: [`super::Transport`] reserves a place and sends; [`super::reader`] brings answers and
//! begins requests. After it: [`super::writer`] takes the frames. It is made before its connection
//! is up, so that messages can wait for it.
//!
//! Invariants
//! 1. Frames leave in the order in which they were put in.
//! 2. Messages are bounded in number and bytes. A place is free again when its message is written.
//! 3. Every responder of an open request is told exactly once: by the answer, or by the end.
//! 4. A reply always finds room: requests whose reply is not yet written are bounded instead.
//! 5. Nobody is told anything while the lock is held.
//!
//! Not here: which outbox a location has ([`super::peers`]), reconnecting, retries: there are none.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::Notify;
use uuid::Uuid;

use super::clocks::Clocks;
use super::frame::{Frame, RequestId};
use super::incoming::Incoming;
use super::info::{ConnectionInfo, Direction};
use super::names::Names;
use super::permit::OutboxPermit;
use super::settings::TransportSettings;
use super::standing::Standing;
use super::untold::Untold;
use crate::address::Location;
use crate::error::RpcError;
use crate::message::Message;
use crate::responder::{Outcome, Responder};

/// What frames take of the bounds of an outbox.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    messages: usize,
    message_bytes: usize,
    replies: usize,
    reply_bytes: usize,
}

impl Load {
    pub(super) fn add(&mut self, frame: &Frame) {
        match frame {
            Frame::OneWay { .. } | Frame::Request { .. } => {
                self.messages += 1;
                self.message_bytes += frame.length();
            }
            Frame::Reply { .. } | Frame::Failure { .. } => {
                self.replies += 1;
                self.reply_bytes += frame.length();
            }
            // Bounded by the requests that they belong to.
            _ => {}
        }
    }
}

/// Why there is no place.
pub(super) enum NoPlace {
    /// Not now.
    Full(RpcError),
    /// Never again in this outbox.
    Ended(RpcError),
}

enum Phase {
    Connecting,
    Connected,
    /// The host stops: what waits still leaves, nothing is added but replies.
    Closing(RpcError),
    Ended(RpcError),
}

struct State {
    phase: Phase,
    frame_bytes_max: usize,
    queue: VecDeque<Frame>,
    /// The writer found nothing and waits for `work`.
    writer_waits: bool,
    load: Load,
    /// Places that permits hold.
    reserved: usize,
    asked: HashMap<RequestId, Responder>,
    last_id: u64,
    answering: HashSet<RequestId>,
    names: Names,
}

pub(super) struct Outbox {
    pub(super) number: u64,
    pub(super) peer: Location,
    pub(super) direction: Direction,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    settings: Arc<TransportSettings>,
    incoming: Arc<dyn Incoming>,
    standing: Arc<Standing>,
    untold: Untold,
    clocks: Clocks,
    state: Mutex<State>,
    work: Notify,
    room: Notify,
    answer_room: Notify,
}

impl Outbox {
    pub(super) fn new(
        number: u64,
        peer: Location,
        direction: Direction,
        settings: Arc<TransportSettings>,
        incoming: Arc<dyn Incoming>,
        standing: Arc<Standing>,
    ) -> Self {
        // A random start: an id of an earlier connection means nothing on this one.
        let (last_id, _) = Uuid::new_v4().as_u64_pair();
        let state = State {
            phase: Phase::Connecting,
            frame_bytes_max: settings.frame_bytes_max,
            queue: VecDeque::new(),
            writer_waits: false,
            load: Load::default(),
            reserved: 0,
            asked: HashMap::new(),
            last_id,
            answering: HashSet::new(),
            names: Names::new(),
        };
        Self {
            number,
            peer,
            direction,
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            settings,
            incoming,
            standing,
            untold: Untold::default(),
            clocks: Clocks::default(),
            state: Mutex::new(state),
            work: Notify::new(),
            room: Notify::new(),
            answer_room: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for one message.
    pub(super) fn reserve(self: &Arc<Self>) -> Result<OutboxPermit, NoPlace> {
        let mut state = self.state();
        state.open().map_err(NoPlace::Ended)?;
        let (messages, bytes) = (
            self.settings.outbox_messages_max,
            self.settings.outbox_bytes_max,
        );
        let taken = state.reserved + state.load.messages;
        if taken >= messages || state.load.message_bytes >= bytes {
            return Err(NoPlace::Full(RpcError::OutboxFull {
                peer: self.peer.to_string(),
                capacity: messages.min(taken),
            }));
        }
        state.reserved += 1;
        drop(state);
        Ok(OutboxPermit::new(Arc::clone(self)))
    }

    /// Ends when a place may have become free since this was called.
    pub(super) fn room(&self) -> tokio::sync::futures::Notified<'_> {
        self.room.notified()
    }

    /// Gives back a place that [`Outbox::reserve`] took and that was not used.
    pub(super) fn give_back(&self) {
        let mut state = self.state();
        state.reserved = state.reserved.saturating_sub(1);
        drop(state);
        self.room.notify_waiters();
    }

    /// Uses a place that was reserved for a message that wants no answer. On an error the place is
    /// still to be given back.
    pub(super) fn put(&self, endpoint: &str, message: Message) -> Result<(), RpcError> {
        let mut state = self.state();
        state.open()?;
        let endpoint = state.names.get(endpoint);
        let frame = Frame::OneWay { endpoint, message };
        frame.check(state.frame_bytes_max)?;
        state.reserved = state.reserved.saturating_sub(1);
        self.push(&mut state, frame);
        Ok(())
    }

    /// Uses a place that was reserved for a message that wants an answer. On an error the place is
    /// still to be given back, and the responder to be told.
    pub(super) fn put_request(
        &self,
        endpoint: &str,
        message: Message,
        responder: Responder,
    ) -> Result<RequestId, (RpcError, Responder)> {
        let mut state = self.state();
        let id = RequestId(state.last_id.wrapping_add(1));
        let endpoint = state.names.get(endpoint);
        let frame = Frame::Request {
            id,
            endpoint,
            message,
        };
        let checked = state
            .open()
            .and_then(|()| frame.check(state.frame_bytes_max))
            .and_then(|()| self.check_request_room(&state));
        if let Err(error) = checked {
            return Err((error, responder));
        }
        state.reserved = state.reserved.saturating_sub(1);
        state.last_id = id.0;
        state.asked.insert(id, responder);
        self.push(&mut state, frame);
        Ok(id)
    }

    fn check_request_room(&self, state: &State) -> Result<(), RpcError> {
        let capacity = self.settings.requests_max;
        if state.asked.len() < capacity {
            return Ok(());
        }
        Err(RpcError::OutboxFull {
            peer: self.peer.to_string(),
            capacity,
        })
    }

    /// Withdraws a request: the peer hears of it. Gives the responder, which nobody else will tell.
    pub(super) fn withdraw(&self, id: RequestId) -> Option<Responder> {
        let mut state = self.state();
        let responder = state.asked.remove(&id)?;
        self.push(&mut state, Frame::Forget { id });
        Some(responder)
    }

    fn push(&self, state: &mut State, frame: Frame) {
        state.load.add(&frame);
        state.queue.push_back(frame);
        if std::mem::take(&mut state.writer_waits) {
            self.work.notify_one();
        }
    }

    /// Queues the answer to a request of the peer. Never refused: see invariant 4.
    fn answer(&self, id: RequestId, outcome: Outcome) {
        let mut state = self.state();
        if !state.answering.remove(&id) {
            drop(state);
            tracing::debug!(peer = %self.peer, request_id = %id, "reply to a request that was given up, dropped");
            return;
        }
        let limit = state.frame_bytes_max;
        let frame = match outcome {
            Ok(message) => Frame::Reply { id, message },
            Err(error) => Frame::failure(id, &error),
        };
        let frame = match frame.check(limit) {
            Ok(()) => frame,
            Err(error) => Frame::failure(id, &error),
        };
        if matches!(state.phase, Phase::Ended(_)) {
            drop(state);
            tracing::debug!(peer = %self.peer, request_id = %id, "reply after the end of its connection, dropped");
            return;
        }
        self.push(&mut state, frame);
    }

    /// Begins a request of the peer; the responder brings its outcome back. `None`: `id` is in use.
    pub(super) fn begin_answer(self: &Arc<Self>, id: RequestId) -> Option<Responder> {
        if !self.state().answering.insert(id) {
            return None;
        }
        let outbox = Arc::clone(self);
        Some(Responder::new(move |outcome| outbox.answer(id, outcome)))
    }

    /// The peer no longer wants the answer.
    pub(super) fn forgotten(&self, id: RequestId) {
        if self.state().answering.remove(&id) {
            self.answer_room.notify_one();
        }
    }

    /// Whether another request of the peer may be begun; `Err` says if unwritten replies are why not.
    pub(super) fn answer_room(&self) -> Result<(), Blocked> {
        let state = self.state();
        let load = &state.load;
        if load.reply_bytes >= self.settings.outbox_bytes_max
            || load.replies >= self.settings.requests_max
        {
            Err(Blocked::ByReplies)
        } else if state.answering.len() + load.replies >= self.settings.requests_max {
            Err(Blocked::ByRequests)
        } else {
            Ok(())
        }
    }

    /// Ends when [`Outbox::answer_room`] may have changed. Only for the one reader.
    pub(super) async fn answer_room_changed(&self) {
        self.answer_room.notified().await;
    }

    /// Tells the asker of `id` what the peer answered.
    pub(super) fn answered(&self, id: RequestId, outcome: Outcome) {
        let responder = self.state().asked.remove(&id);
        match responder {
            Some(responder) => responder.tell(outcome),
            None => {
                tracing::debug!(peer = %self.peer, request_id = %id, "reply to no open request, dropped");
            }
        }
    }

    pub(super) fn outstanding(&self) -> usize {
        self.state().asked.len()
    }

    /// The connection is up; what waits and is too large for it fails.
    pub(super) fn connected(&self, frame_bytes_max: usize) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Connecting) {
            state.phase = Phase::Connected;
        }
        state.frame_bytes_max = state.frame_bytes_max.min(frame_bytes_max);
        let limit = state.frame_bytes_max;
        let all = std::mem::take(&mut state.queue);
        let (fit, large) = all
            .into_iter()
            .partition(|frame: &Frame| frame.length() <= limit);
        state.queue = fit;
        state.recount();
        drop(state);
        self.room.notify_waiters();
        for frame in large {
            if let Err(error) = frame.check(limit) {
                self.undelivered(frame, &error);
            }
        }
    }

    /// Gives all that waits to the writer, which has written all it had. False: nothing waits.
    pub(super) fn take(&self, into: &mut VecDeque<Frame>) -> bool {
        let mut state = self.state();
        std::mem::swap(&mut state.queue, into);
        state.writer_waits = into.is_empty();
        !into.is_empty()
    }

    /// Ends when [`Outbox::take`] may find something. Only for the one writer.
    pub(super) async fn work(&self) {
        self.work.notified().await;
    }

    /// Lets the writer look for something else than frames.
    pub(super) fn wake_writer(&self) {
        self.work.notify_one();
    }

    /// `bytes` with `load` are with the kernel.
    pub(super) fn written(&self, load: Load, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
        let mut state = self.state();
        let held = &mut state.load;
        held.messages = held.messages.saturating_sub(load.messages);
        held.message_bytes = held.message_bytes.saturating_sub(load.message_bytes);
        held.replies = held.replies.saturating_sub(load.replies);
        held.reply_bytes = held.reply_bytes.saturating_sub(load.reply_bytes);
        drop(state);
        if load.messages > 0 {
            self.room.notify_waiters();
        }
        if load.replies > 0 {
            self.answer_room.notify_one();
        }
    }

    /// The host stops: no more messages, and nobody waits for answers any longer. What waits may
    /// leave if it is quick.
    pub(super) fn close(&self, error: &RpcError) {
        let mut state = self.state();
        if !matches!(state.phase, Phase::Connecting | Phase::Connected) {
            return;
        }
        state.phase = Phase::Closing(error.clone());
        let asked = std::mem::take(&mut state.asked);
        drop(state);
        self.room.notify_waiters();
        for responder in asked.into_values() {
            responder.tell(Err(error.clone()));
        }
    }

    /// Fails all that waits, `unwritten` first. Later calls change nothing.
    pub(super) fn end(&self, error: &RpcError, unwritten: VecDeque<Frame>) {
        let mut state = self.state();
        let error = match &state.phase {
            Phase::Closing(error) | Phase::Ended(error) => error.clone(),
            Phase::Connecting | Phase::Connected => error.clone(),
        };
        state.phase = Phase::Ended(error.clone());
        let asked = std::mem::take(&mut state.asked);
        let queue = std::mem::take(&mut state.queue);
        state.answering.clear();
        state.load = Load::default();
        drop(state);
        self.clocks.end();
        self.room.notify_waiters();
        for responder in asked.into_values() {
            responder.tell(Err(error.clone()));
        }
        for frame in unwritten.into_iter().chain(queue) {
            self.undelivered(frame, &error);
        }
    }

    /// How long an endpoint of the peer stands still, for somebody who is about to ask it.
    pub(super) fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// Tells the peer that an endpoint of this host stands still.
    pub(super) fn tell_still(&self, endpoint: &Arc<str>) {
        self.tell(|untold| untold.stands_still(endpoint));
    }

    /// Tells the peer so where the endpoint that it just asked stands still.
    pub(super) fn tell_if_still(&self, endpoint: &Arc<str>) {
        let standing = &self.standing;
        standing.if_still(endpoint, || self.tell_still(endpoint));
    }

    /// Tells the peer that an endpoint of this host stood still for `pause`, and goes on.
    pub(super) fn tell_going(&self, endpoint: &Arc<str>, pause: Duration) {
        self.tell(|untold| untold.goes_on(endpoint, pause));
    }

    /// Only over a connection that is up: before, nobody waits on the other side.
    fn tell(&self, note: impl FnOnce(&Untold)) {
        if matches!(self.state().phase, Phase::Connected) {
            note(&self.untold);
            self.wake_writer();
        }
    }

    /// Writes what is to be told of endpoints behind what is in `out`. Only for the one writer.
    pub(super) fn take_untold(&self, out: &mut BytesMut) {
        self.untold.take(out);
    }

    fn undelivered(&self, frame: Frame, error: &RpcError) {
        match frame {
            Frame::OneWay { endpoint, message } => {
                self.incoming
                    .undeliverable(&self.peer, &endpoint, &message.kind, error);
            }
            // Unless its asker was told already.
            Frame::Request { id, .. } => {
                if let Some(responder) = { self.state().asked.remove(&id) } {
                    responder.tell(Err(error.clone()));
                }
            }
            Frame::Reply { id, .. } | Frame::Failure { id, .. } => {
                tracing::debug!(peer = %self.peer, request_id = %id, %error, "reply dropped");
            }
            _ => {}
        }
    }

    pub(super) fn info(&self) -> ConnectionInfo {
        let state = self.state();
        ConnectionInfo {
            peer: self.peer.clone(),
            direction: self.direction,
            connected: matches!(state.phase, Phase::Connected),
            outstanding: state.asked.len(),
            answering: state.answering.len(),
            queued: state.reserved + state.load.messages,
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        }
    }
}

impl State {
    /// Whether messages may be added.
    fn open(&self) -> Result<(), RpcError> {
        match &self.phase {
            Phase::Connecting | Phase::Connected => Ok(()),
            Phase::Closing(error) | Phase::Ended(error) => Err(error.clone()),
        }
    }

    fn recount(&mut self) {
        self.load = Load::default();
        for frame in &self.queue {
            self.load.add(frame);
        }
    }
}

/// Why no further request of the peer can be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    /// Too many are being worked on here.
    ByRequests,
    /// The peer does not take the replies that wait for it.
    ByReplies,
}
