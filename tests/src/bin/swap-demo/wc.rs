//! The second, independent way to count: the program `wc`, fed with the very bytes that were sent.
//!
//! A word is a longest run of bytes that are not ASCII white space. What `wc -w` counts depends on
//! its version and on the locale for bytes that are not printable ASCII, so `tr` makes a letter of
//! each of those first; white space and its number stay what they were.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use anyhow::{Context as _, bail};

/// Pieces that wait for `wc`.
const QUEUE: usize = 64;
/// Bytes of one piece.
const PIECE: usize = 1 << 16;

pub(crate) struct Wc {
    piece: Vec<u8>,
    queue: SyncSender<Vec<u8>>,
    writer: JoinHandle<std::io::Result<()>>,
    child: Child,
}

impl Wc {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut child = Command::new("sh")
            .args(["-c", r"tr '\000-\010\016-\037\177-\377' '[x*]' | wc -w"])
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the demo: without input this ends by itself.
            .process_group(0)
            .spawn()
            .context("start `tr | wc -w`")?;
        let mut input = child.stdin.take().context("`wc` has no input")?;
        let (queue, pieces) = sync_channel::<Vec<u8>>(QUEUE);
        let writer = std::thread::spawn(move || {
            for piece in pieces {
                input.write_all(&piece)?;
            }
            Ok(())
        });
        Ok(Self {
            piece: Vec::with_capacity(PIECE),
            queue,
            writer,
            child,
        })
    }

    /// Feeds one line. Waits where `wc` is slower.
    pub(crate) fn line(&mut self, line: &[u8]) -> anyhow::Result<()> {
        self.piece.extend_from_slice(line);
        self.piece.push(b'\n');
        if self.piece.len() >= PIECE {
            let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
            self.queue.send(piece).context("`wc` ended early")?;
        }
        Ok(())
    }

    /// The number of words. Blocks until `wc` has read everything.
    pub(crate) fn finish(self) -> anyhow::Result<u64> {
        self.queue.send(self.piece).context("`wc` ended early")?;
        drop(self.queue);
        match self.writer.join() {
            Ok(written) => written.context("write to `wc`")?,
            Err(_panic) => bail!("the writer to `wc` panicked"),
        }
        let output = self.child.wait_with_output().context("wait for `wc`")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let words = text.trim().parse();
        words.with_context(|| format!("`wc -w` printed {text:?}, expected a number"))
    }
}
