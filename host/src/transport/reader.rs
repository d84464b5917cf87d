//! Reader: takes frames out of the socket and gives them to whom they are for.
//!
//! Before it: the socket. After it: [`Incoming`] for messages, [`super::outbox`] for answers.
//!
//! Invariants
//! 1. One frame after the other, in the order of the peer.
//! 2. While a message waits to be taken nothing is read, so that the peer's writer is slowed.
//! 3. What is read ahead is bounded by the largest frame and one read.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;

use super::frame::{self, Decoder, Frame, FrameError};
use super::incoming::{Accepted, Incoming};
use super::life::{End, Life, Waits};
use super::outbox::{Blocked, Outbox};
use super::socket;

/// First size of a read; doubled whenever a read fills it.
const READ_BYTES_LEAST: usize = 8 * 1024;
/// Largest read of small frames, and largest step of memory for a large one.
const READ_BYTES_MOST: usize = 256 * 1024;

pub(super) struct Reader {
    socket: OwnedReadHalf,
    decoder: Decoder,
    buffer: BytesMut,
    read_bytes: usize,
    outbox: Arc<Outbox>,
    life: Arc<Life>,
    incoming: Arc<dyn Incoming>,
    /// The peer as failures name it.
    peer: String,
}

impl Reader {
    /// `limit`: largest frame in bytes.
    pub(super) fn new(
        socket: OwnedReadHalf,
        limit: usize,
        outbox: Arc<Outbox>,
        life: Arc<Life>,
        incoming: Arc<dyn Incoming>,
    ) -> Self {
        let peer = outbox.peer.to_string();
        Self {
            socket,
            decoder: Decoder::new(limit),
            buffer: BytesMut::new(),
            read_bytes: READ_BYTES_LEAST,
            outbox,
            life,
            incoming,
            peer,
        }
    }

    /// Reads until the connection ends, and returns the socket for what [`socket::linger`] does.
    pub(super) async fn run(mut self) -> OwnedReadHalf {
        let life = Arc::clone(&self.life);
        tokio::select! {
            biased;
            () = life.ended() => {}
            end = self.read() => life.end(end),
        }
        self.socket
    }

    async fn read(&mut self) -> End {
        loop {
            loop {
                match self.decoder.decode(&mut self.buffer) {
                    Ok(Some(frame)) => {
                        if let Err(end) = self.handle(frame).await {
                            return end;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return self.violation(&error),
                }
            }
            if let Err(end) = self.fill().await {
                return end;
            }
        }
    }

    /// Reads more bytes. Memory grows with what has arrived, not with what a length promises.
    async fn fill(&mut self) -> Result<(), End> {
        let missing = self.decoder.missing(&self.buffer);
        let step = READ_BYTES_MOST.max(self.buffer.len());
        let wanted = missing.clamp(self.read_bytes, step.max(self.read_bytes));
        // What is left of a buffer is used up before there is a new one, unless it is tiny.
        let room = self.buffer.capacity() - self.buffer.len();
        if room < wanted && (missing > room || room < self.read_bytes / 4) {
            self.buffer.reserve(wanted);
        }
        let room = self.buffer.capacity() - self.buffer.len();
        match self.socket.read_buf(&mut self.buffer).await {
            Ok(0) if self.buffer.is_empty() => Err(End::Closed),
            Ok(0) => Err(End::Broken(
                "connection closed by the peer inside a frame".to_owned(),
            )),
            Ok(count) => {
                self.life.received();
                let bytes = &self.outbox.bytes_in;
                bytes.fetch_add(count as u64, Ordering::Relaxed);
                if count == room {
                    self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MOST);
                }
                Ok(())
            }
            Err(error) => Err(End::Broken(socket::cause(&error))),
        }
    }

    async fn handle(&mut self, frame: Frame) -> Result<(), End> {
        match frame {
            Frame::OneWay { endpoint, message } => {
                let peer = &self.outbox.peer;
                match self.incoming.one_way(peer, &endpoint, message) {
                    Accepted::Done => {}
                    Accepted::Wait(room) => self.wait(Waits::ForUs, room).await,
                }
            }
            Frame::Request {
                id,
                endpoint,
                message,
            } => {
                self.answer_room().await;
                let Some(responder) = self.outbox.begin_answer(id) else {
                    return Err(self.forbidden(format!("{id} was used twice")));
                };
                self.outbox.tell_if_still(&endpoint);
                let peer = &self.outbox.peer;
                let accepted = self.incoming.request(peer, &endpoint, message, responder);
                if let Accepted::Wait(room) = accepted {
                    self.wait(Waits::ForUs, room).await;
                }
            }
            Frame::Reply { id, message } => self.outbox.answered(id, Ok(message)),
            Frame::Failure { id, error } => {
                let error = frame::failure_of(&error, &self.peer);
                self.outbox.answered(id, Err(error));
            }
            Frame::Forget { id } => self.outbox.forgotten(id),
            Frame::Ping => {
                self.life.owe_pong();
                self.outbox.wake_writer();
            }
            Frame::Pong => {}
            Frame::StandsStill { endpoint } => self.outbox.clocks().stands_still(&endpoint),
            Frame::GoesOn { endpoint, pause } => {
                let pause = Duration::from_micros(pause);
                self.outbox.clocks().goes_on(&endpoint, pause);
            }
            Frame::Bye { reason } => return Err(End::Bye(frame::text(&reason))),
            Frame::Open { .. }
            | Frame::OpenRange { .. }
            | Frame::Chunk { .. }
            | Frame::End
            | Frame::StreamFailure { .. } => {
                let what = "a frame of a file on a connection for messages";
                return Err(self.forbidden(what.to_owned()));
            }
        }
        Ok(())
    }

    /// Waits for something else than the socket; meanwhile the silence of the peer is not its fault.
    async fn wait(&self, why: Waits, what: impl Future<Output = ()>) {
        self.life.waits(why);
        what.await;
        self.life.received();
        self.life.waits(Waits::No);
    }

    async fn answer_room(&self) {
        while let Err(blocked) = self.outbox.answer_room() {
            let why = match blocked {
                Blocked::ByRequests => Waits::ForUs,
                Blocked::ByReplies => Waits::ForPeer,
            };
            self.wait(why, self.outbox.answer_room_changed()).await;
        }
    }

    fn violation(&self, error: &FrameError) -> End {
        let peer = &self.peer;
        match error {
            FrameError::TooLarge { bytes, limit } => {
                tracing::warn!(%peer, bytes, limit, "frame too large, closing the connection");
            }
            FrameError::Malformed { reason } => {
                tracing::warn!(%peer, reason, "malformed frame, closing the connection");
            }
        }
        End::Violation(error.to_string())
    }

    fn forbidden(&self, what: String) -> End {
        tracing::warn!(peer = %self.peer, what, "peer broke the protocol, closing the connection");
        End::Violation(what)
    }
}
