//! The executor: reads the pieces of a split and counts them, with one buffer in memory.

use std::io::BufRead;

use app_client::Task;
use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use super::count::{Count, Counter};
use super::splits::{Piece, Split};

/// Reads and counts splits.
#[derive(Default, Serialize, Deserialize)]
pub struct Reads {}

impl Task for Reads {
    fn run(&mut self, ctx: &mut Context, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let split: Split = postcard::from_bytes(body)
            .map_err(|error| format!("a task of {} bytes is no split: {error}", body.len()))?;
        let mut total = Count::default();
        for piece in &split.pieces {
            let uri = format!("{}{}", split.directory, piece.path);
            total.add(&count(ctx, &uri, piece)?);
        }
        postcard::to_stdvec(&total).map_err(|error| Failure::new(error.to_string()))
    }
}

/// Counts a piece. One within a file is read from the byte before it: whether a word goes on there
/// or begins is to be seen at it.
fn count(ctx: &Context, uri: &str, piece: &Piece) -> Result<Count, Failure> {
    let before = u64::from(piece.offset > 0);
    let mut channel = ctx.open_channel_range(
        uri,
        piece.offset - before,
        Some(piece.length.saturating_add(before)),
    )?;
    let mut counter = None;
    loop {
        let bytes = channel
            .fill_buf()
            .map_err(|error| format!("cannot read {uri}: {error}"))?;
        let length = bytes.len();
        let Some(first) = bytes.first() else { break };
        match &mut counter {
            Some(counter) => Counter::count(counter, bytes),
            None => {
                let skip = usize::from(piece.offset > 0);
                let mut begun = Counter::after((skip == 1).then_some(*first));
                begun.count(bytes.get(skip..).unwrap_or_default());
                counter = Some(begun);
            }
        }
        channel.consume(length);
    }
    let count = counter.map(Counter::counted).unwrap_or_default();
    match count.bytes == piece.length {
        true => Ok(count),
        false => Err(Failure::new(format!(
            "{uri} has {} bytes from {} on, {} when it was listed: it was changed meanwhile; start again",
            count.bytes, piece.offset, piece.length
        ))),
    }
}

app_client::executor! {
    #[instar_sdk::endpoint(
        name = "wordcount-executor",
        version = "1.0.0",
        about = "Counts lines, words and bytes of pieces of files",
        rights = ["channel"]
    )]
    pub struct Executor(Reads);
}
