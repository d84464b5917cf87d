//! The driver: lists a directory, gives its splits out, adds up what comes back.

use std::io::{BufRead, Read};

use app_client::Job;
use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use super::count::Count;
use super::splits::{Split, Splitter};

/// The longest line of a listing, in bytes.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// Asks for the counts so far.
#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "wordcount.GetCounts", reply = Counts)]
pub struct GetCounts {}

/// The counts so far.
#[derive(Clone, Debug, PartialEq, Eq, Message, Serialize, Deserialize)]
#[message(kind = "wordcount.Counts")]
pub struct Counts {
    /// Files of the directory.
    pub files: u64,
    /// Newlines.
    pub lines: u64,
    /// Words: longest runs of bytes that are not ASCII white space.
    pub words: u64,
    /// Bytes.
    pub bytes: u64,
    /// Everything was counted.
    pub complete: bool,
}

/// The driver's state.
#[derive(Serialize, Deserialize)]
pub struct Driver {
    job: Job,
    input: String,
    split_bytes: u64,
    files: u64,
    count: Count,
}

app_client::driver! {
    #[instar_sdk::endpoint(
        name = "wordcount-driver",
        version = "1.0.0",
        about = "Counts lines, words and bytes of the files of a directory, on a cluster",
        rights = ["channel"]
    )]
    impl Driver {
        #[on_start]
        fn start(ctx: &mut Context) -> Result<Self, Failure> {
            let input = app_client::needed(ctx, "input")?;
            if !input.starts_with("instar://") || !input.ends_with('/') {
                return Err(Failure::new(format!(
                    "setting `input` is `{input}`, expected a directory that a host offers: \
                     instar://HOST:PORT/PATH/"
                )));
            }
            let split_mb: u64 = app_client::setting_as(ctx, "split_mb")?.unwrap_or(8);
            Ok(Self {
                job: Job::start(ctx)?,
                input,
                split_bytes: split_mb.clamp(1, 1 << 20) << 20,
                files: 0,
                count: Count::default(),
            })
        }

        #[receive_and_reply]
        fn counts(&mut self, _: &mut Context, _: GetCounts) -> Result<Counts, Failure> {
            let Count { lines, words, bytes } = self.count;
            let complete = self.job.is_finished();
            Ok(Counts { files: self.files, lines, words, bytes, complete })
        }
    }
}

impl app_client::Driver for Driver {
    fn job(&mut self) -> &mut Job {
        &mut self.job
    }

    fn prepare(&mut self, ctx: &mut Context) -> Result<(), Failure> {
        let mut listing = ctx.open_channel(&self.input)?;
        let mut splitter = Splitter::new(self.input.clone(), self.split_bytes);
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut bounded = listing.by_ref().take(LINE_BYTES_MAX);
            bounded
                .read_until(b'\n', &mut line)
                .map_err(|error| format!("cannot list {}: {error}", self.input))?;
            if line.is_empty() {
                break;
            }
            let (size, path) = listed(&line).ok_or_else(|| {
                let line = line.escape_ascii();
                format!(
                    "`{line}` in the listing of {}, expected `SIZE PATH`",
                    self.input
                )
            })?;
            self.files += 1;
            splitter.file(path, size, |split| add(&mut self.job, &split))?;
        }
        splitter
            .finish()
            .map_or(Ok(()), |split| add(&mut self.job, &split))
    }

    fn task_done(&mut self, _: &mut Context, _: u32, body: &[u8]) -> Result<(), Failure> {
        let count: Count = postcard::from_bytes(body)
            .map_err(|error| format!("{} bytes are no count: {error}", body.len()))?;
        self.count.add(&count);
        Ok(())
    }

    fn result(&mut self, _: &mut Context) -> Result<String, Failure> {
        let Count {
            lines,
            words,
            bytes,
        } = self.count;
        Ok(format!(
            "{lines} lines, {words} words, {bytes} bytes in {} files",
            self.files
        ))
    }
}

/// Size and path of a line of a listing.
fn listed(line: &[u8]) -> Option<(u64, &str)> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (size, path) = line.split_once(' ')?;
    Some((size.parse().ok()?, path))
}

fn add(job: &mut Job, split: &Split) -> Result<(), Failure> {
    let bytes = split.bytes();
    let body = postcard::to_stdvec(split).map_err(|error| Failure::new(error.to_string()))?;
    job.add(body, bytes).map(|_| ()).map_err(|failure| {
        let advice = match failure.code.as_str() {
            Failure::TOO_LARGE => {
                "those are the names of the files: put files together, shorten their paths, or count \
                 parts of the directory on their own"
                    .to_owned()
            }
            _ => format!("set `split_mb` higher than {}", bytes >> 20),
        };
        Failure::new(format!("{failure}; {advice}"))
    })
}
