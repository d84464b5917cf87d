//! Channels: files of hosts, read as a stream. Needs the right `channel`.

use std::fmt;
use std::io::{self, BufRead, Read};

use crate::{Context, Failure, host};

/// Bytes that are fetched at once at least, so that small reads do not cross to the host each time.
const BUFFER_BYTES: usize = 64 << 10;
/// Bytes that the host gives at once at most.
const READ_BYTES_MAX: usize = 1 << 20;

/// The bytes of a file on some host, from [`Context::open_channel`]. Dropping it closes it.
///
/// Reading waits within the turn, whose limit goes on. The end that it reads is the end of the file:
/// whatever else stops the bytes is an error, with the text of the failure. It is part of no state:
/// a swap drops it.
pub struct Channel {
    uri: String,
    channel: host::Channel,
    buffer: Vec<u8>,
    read: usize,
    ended: bool,
}

impl Channel {
    /// What it was opened with.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Fetches at least one byte and at most about `wanted`, unless there is something left or the
    /// file has ended.
    fn fetch(&mut self, wanted: usize) -> io::Result<()> {
        if self.read < self.buffer.len() || self.ended {
            return Ok(());
        }
        let bytes = wanted.clamp(BUFFER_BYTES, READ_BYTES_MAX);
        // Always below 2^32.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.buffer = self.channel.read(bytes).map_err(io::Error::other)?;
        self.read = 0;
        self.ended = self.buffer.is_empty();
        Ok(())
    }

    fn left(&self) -> &[u8] {
        self.buffer.get(self.read..).unwrap_or_default()
    }
}

impl Read for Channel {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        self.fetch(out.len())?;
        let count = self.left().read(out)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Channel {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.fetch(BUFFER_BYTES)?;
        Ok(self.left())
    }

    fn consume(&mut self, count: usize) {
        self.read = self.read.saturating_add(count).min(self.buffer.len());
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel({})", self.uri)
    }
}

impl Context {
    /// Opens `instar://HOST:PORT/PATH`: a file that some host offers. Where PATH ends with `/` it is a
    /// directory, whose channel has a line `SIZE PATH` for each file below it, in order of path, PATH
    /// percent-encoded and relative to the uri.
    ///
    /// Waits within the turn until the host has opened it or refused. Needs the right `channel`; a
    /// component that calls this imports `instar:endpoint/channels`, and no other does.
    ///
    /// # Errors
    /// [`Failure::INVALID_ADDRESS`], [`Failure::NETWORK`], [`Failure::REFUSED`] (the host has no such
    /// file or does not give it), [`Failure::DENIED`] (more open channels than the limit).
    pub fn open_channel(&self, uri: &str) -> Result<Channel, Failure> {
        self.open_channel_range(uri, 0, None)
    }

    /// Like [`Context::open_channel`], but only the bytes from `offset` on, and at most `length` of
    /// them. Nothing else travels. A range beyond the end of the file is empty.
    ///
    /// # Errors
    /// As with [`Context::open_channel`]; a directory has no ranges.
    pub fn open_channel_range(
        &self,
        uri: &str,
        offset: u64,
        length: Option<u64>,
    ) -> Result<Channel, Failure> {
        Ok(Channel {
            uri: uri.to_owned(),
            channel: host::open_channel(uri, offset, length)?,
            buffer: Vec::new(),
            read: 0,
            ended: false,
        })
    }
}
