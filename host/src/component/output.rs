//! Output: what a guest writes to stdout and stderr becomes log lines, and the last lines of stderr
//! are kept, because a panic tells its reason there before it traps.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

use super::output_files::OutputFiles;

/// Longest line that is kept whole, in bytes. A longer one is cut into lines.
const LINE_BYTES_MAX: usize = 8 << 10;
/// Lines of stderr that are kept for the reason of a crash.
const TAIL_LINES: usize = 8;

/// Called with each whole line; true for stderr.
pub(super) type Sink = Arc<dyn Fn(bool, &str) + Send + Sync>;

/// Both output streams of one guest.
#[derive(Clone)]
pub(super) struct Output {
    lines: Arc<Mutex<Lines>>,
    sink: Sink,
    /// Where it is kept besides.
    files: Option<OutputFiles>,
}

#[derive(Default)]
struct Lines {
    out: Vec<u8>,
    err: Vec<u8>,
    tail: VecDeque<String>,
}

impl Output {
    pub(super) fn new(sink: Sink) -> Self {
        Self {
            lines: Arc::default(),
            sink,
            files: None,
        }
    }

    /// Keeps it in files, as it comes, besides.
    pub(super) fn into_files(self, files: impl Into<Option<OutputFiles>>) -> Self {
        Self {
            files: files.into(),
            ..self
        }
    }

    pub(super) fn stream(&self, is_err: bool) -> Stream {
        Stream {
            output: self.clone(),
            is_err,
        }
    }

    /// The last lines of stderr, an unfinished one included; empties them.
    pub(super) fn take_tail(&self) -> String {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let unfinished = std::mem::take(&mut lines.err);
        let mut tail: Vec<String> = lines.tail.drain(..).collect();
        if !unfinished.is_empty() {
            tail.push(String::from_utf8_lossy(&unfinished).into_owned());
        }
        tail.join("\n")
    }

    fn write(&self, is_err: bool, bytes: &[u8]) {
        if let Some(files) = &self.files {
            files.write(is_err, bytes);
        }
        let mut finished = Vec::new();
        {
            let mut guard = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            let lines = &mut *guard;
            let buffer = if is_err {
                &mut lines.err
            } else {
                &mut lines.out
            };
            for byte in bytes {
                if *byte != b'\n' {
                    buffer.push(*byte);
                }
                if *byte == b'\n' || buffer.len() >= LINE_BYTES_MAX {
                    let line = String::from_utf8_lossy(buffer).into_owned();
                    buffer.clear();
                    finished.push(line);
                }
            }
            if is_err {
                for line in &finished {
                    if lines.tail.len() == TAIL_LINES {
                        lines.tail.pop_front();
                    }
                    lines.tail.push_back(line.clone());
                }
            }
        }
        for line in finished.iter().filter(|line| !line.is_empty()) {
            (self.sink)(is_err, line);
        }
    }
}

/// One output stream.
pub(super) struct Stream {
    output: Output,
    is_err: bool,
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.output.stream(self.is_err))
    }

    // The default wraps the stream above in a task of its own, which writes some time later: a
    // panic text would miss the trap that it explains.
    fn p2_stream(&self) -> Box<dyn wasmtime_wasi::p2::OutputStream> {
        Box::new(self.output.stream(self.is_err))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.output.write(self.is_err, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[wasmtime_wasi::async_trait]
impl wasmtime_wasi::p2::Pollable for Stream {
    async fn ready(&mut self) {}
}

impl wasmtime_wasi::p2::OutputStream for Stream {
    fn write(&mut self, bytes: bytes::Bytes) -> wasmtime_wasi::p2::StreamResult<()> {
        self.output.write(self.is_err, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> wasmtime_wasi::p2::StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> wasmtime_wasi::p2::StreamResult<usize> {
        Ok(LINE_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_whole_and_the_end_of_stderr_is_kept() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = {
            let told = Arc::clone(&told);
            Arc::new(move |is_err, line: &str| told.lock().unwrap().push((is_err, line.to_owned())))
        };
        let output = Output::new(sink);
        output.write(false, b"he");
        output.write(false, b"llo\n");
        for number in 0..20 {
            output.write(true, format!("line {number}\n").as_bytes());
        }
        output.write(true, b"no newline");
        assert_eq!(
            told.lock().unwrap().first(),
            Some(&(false, "hello".to_owned()))
        );
        let tail = output.take_tail();
        assert!(
            tail.starts_with("line 12\n") && tail.ends_with("no newline"),
            "{tail}"
        );
        assert_eq!(output.take_tail(), "");
    }
}
