//! Writer: takes frames from an outbox and puts them into the socket, many per system call.
//!
//! Before it: [`super::outbox`]. After it: the kernel.
//!
//! Invariants
//! 1. Small bodies are copied next to their heads; large ones are handed to the kernel as they are.
//! 2. Frames that were not completely handed over are given back, so that their fate can be told.
//! 3. Signs of life do not depend on the reader.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::{Instant, sleep_until};

use super::frame::{Frame, LENGTH_BYTES};
use super::life::{End, Life};
use super::outbox::{Load, Outbox};
use super::settings::TransportSettings;
use super::socket;

/// A body of up to so many bytes is copied: cheaper than one more slice for the kernel.
const COPIED_BYTES_MAX: usize = 4 * 1024;
/// A round is written when it has so many bytes: large enough to make system calls rare, small
/// enough that places in the outbox become free steadily.
const ROUND_BYTES: usize = 128 * 1024;
/// Slices per system call.
const SLICES_MAX: usize = 64;

pub(super) struct Writer {
    socket: OwnedWriteHalf,
    outbox: Arc<Outbox>,
    life: Arc<Life>,
    settings: Arc<TransportSettings>,
    /// Frames taken from the outbox and not yet written.
    batch: VecDeque<Frame>,
    heads: BytesMut,
    chunks: VecDeque<Bytes>,
    last_sent: Instant,
    /// When a connection that we end stops trying to say the rest.
    deadline: Option<Instant>,
}

/// Writing stopped before all was written.
struct Cut;

impl Writer {
    pub(super) fn new(
        socket: OwnedWriteHalf,
        outbox: Arc<Outbox>,
        life: Arc<Life>,
        settings: Arc<TransportSettings>,
    ) -> Self {
        Self {
            socket,
            outbox,
            life,
            settings,
            batch: VecDeque::new(),
            heads: BytesMut::new(),
            chunks: VecDeque::new(),
            last_sent: Instant::now(),
            deadline: None,
        }
    }

    /// Writes until the connection ends, and returns what it has not written.
    pub(super) async fn run(mut self) -> VecDeque<Frame> {
        loop {
            let last_words = match self.life.get_end() {
                None => None,
                Some(End::Violation(cause)) => Some(cause.clone()),
                Some(End::Stopping) => Some("the host stops".to_owned()),
                Some(_) => break,
            };
            if self.life.take_pong() {
                Frame::Pong.encode(&mut self.heads);
            }
            if last_words.is_none() {
                self.outbox.take_untold(&mut self.heads);
            }
            if self.batch.is_empty() {
                self.outbox.take(&mut self.batch);
            }
            // After a violation nothing more is said; at a stop, all that waits is.
            let silent = matches!(self.life.get_end(), Some(End::Violation(_)));
            match last_words {
                Some(reason) if silent || self.batch.is_empty() => {
                    self.say_bye(&reason).await;
                    break;
                }
                None if self.batch.is_empty() && self.heads.is_empty() => {
                    self.wait_for_work().await;
                    continue;
                }
                _ => {}
            }
            if self.round().await.is_err() {
                break;
            }
        }
        self.batch
    }

    async fn wait_for_work(&mut self) {
        tokio::select! {
            () = self.life.ended() => {}
            () = self.outbox.work() => {}
            () = sleep_until(self.last_sent + self.settings.keep_alive) => {
                Frame::Ping.encode(&mut self.heads);
            }
        }
    }

    /// Encodes and writes the next frames of the batch.
    async fn round(&mut self) -> Result<(), Cut> {
        let signs = self.heads.len();
        let (mut frames, mut bytes, mut load) = (0, 0, Load::default());
        for frame in &self.batch {
            if bytes >= ROUND_BYTES || self.chunks.len() + 2 > SLICES_MAX {
                break;
            }
            load.add(frame);
            bytes += LENGTH_BYTES + frame.length();
            frames += 1;
            match frame.body() {
                Some(body) if body.len() > COPIED_BYTES_MAX => {
                    frame.encode_head(&mut self.heads);
                    self.chunks.push_back(self.heads.split().freeze());
                    self.chunks.push_back(body.clone());
                }
                _ => frame.encode(&mut self.heads),
            }
        }
        if !self.heads.is_empty() {
            self.chunks.push_back(self.heads.split().freeze());
        }
        let mut written = 0;
        let outcome = self.write_chunks(&mut written).await;
        if outcome.is_ok() {
            self.batch.drain(..frames);
            self.outbox.written(load, signs + bytes);
        } else {
            self.drop_written(written.saturating_sub(signs));
        }
        outcome
    }

    /// Removes the frames that were completely handed over from the front of the batch.
    fn drop_written(&mut self, mut written: usize) {
        while let Some(frame) = self.batch.front() {
            let whole = LENGTH_BYTES + frame.length();
            if whole > written {
                break;
            }
            written -= whole;
            self.batch.pop_front();
        }
    }

    async fn write_chunks(&mut self, written: &mut usize) -> Result<(), Cut> {
        while !self.chunks.is_empty() {
            match self.write_some().await {
                Ok(count) => {
                    *written += count;
                    self.last_sent = Instant::now();
                    self.life.sent();
                    advance(&mut self.chunks, count);
                }
                Err(Some(error)) => {
                    self.life.end(End::Broken(socket::cause(&error)));
                    return Err(Cut);
                }
                Err(None) => return Err(Cut),
            }
        }
        Ok(())
    }

    /// One system call. `Err(None)`: the connection ended, and what we have to say is not wanted or
    /// takes too long.
    async fn write_some(&mut self) -> Result<usize, Option<io::Error>> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(chunk);
            count += 1;
        }
        let slices = slices.get(..count).unwrap_or_default();
        loop {
            let deadline = self.deadline;
            tokio::select! {
                // Writing comes first: the rest is looked at only if the kernel has no room.
                biased;
                outcome = self.socket.write_vectored(slices) => {
                    return match outcome {
                        Ok(0) => Err(Some(io::ErrorKind::WriteZero.into())),
                        Ok(count) => Ok(count),
                        Err(error) => Err(Some(error)),
                    };
                }
                () = self.life.ended(), if deadline.is_none() => {
                    if !self.life.get_end().is_some_and(End::is_ours) {
                        return Err(None);
                    }
                    self.deadline = Some(Instant::now() + self.settings.shutdown_timeout);
                }
                () = sleep_until(deadline.unwrap_or(self.last_sent)), if deadline.is_some() => {
                    return Err(None);
                }
            }
        }
    }

    async fn say_bye(&mut self, reason: &str) {
        let mut bytes = self.heads.split();
        Frame::bye(reason).encode(&mut bytes);
        self.chunks.push_back(bytes.freeze());
        let mut written = 0;
        if self.write_chunks(&mut written).await.is_ok()
            && let Err(error) = self.socket.shutdown().await
        {
            tracing::debug!(peer = %self.outbox.peer, %error, "connection was gone before its last words");
        }
    }
}

fn advance(chunks: &mut VecDeque<Bytes>, mut count: usize) {
    while let Some(chunk) = chunks.front_mut() {
        if count < chunk.len() {
            chunk.advance(count);
            return;
        }
        count -= chunk.len();
        chunks.pop_front();
    }
}
