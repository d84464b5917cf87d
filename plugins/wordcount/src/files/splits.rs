//! Splits: which task reads which bytes of which files.
//!
//! Small files are put together, big ones are cut. What a task has to read is bounded, and so is what
//! it takes to say it.

use serde::{Deserialize, Serialize};

/// Most pieces of a split: a task with many small files opens one channel for each.
const PIECES_MAX: usize = 2000;
/// Most bytes of paths of a split. A path that is longer is alone.
const PATH_BYTES_MAX: usize = 256 << 10;

/// A run of bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The file, percent-encoded, relative to the directory.
    pub path: String,
    /// Where it begins.
    pub offset: u64,
    /// How long it is, at least 1.
    pub length: u64,
}

/// What one task reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The directory: `instar://HOST:PORT/PATH/`.
    pub directory: String,
    /// The pieces, in order of path and place.
    pub pieces: Vec<Piece>,
}

impl Split {
    /// Bytes to read.
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.length).sum()
    }
}

/// Makes splits of files that come one after the other.
#[derive(Debug)]
pub struct Splitter {
    directory: String,
    bytes_max: u64,
    pieces: Vec<Piece>,
    bytes: u64,
    path_bytes: usize,
}

impl Splitter {
    /// Makes splits of at most `bytes_max` bytes (at least 1).
    pub fn new(directory: String, bytes_max: u64) -> Self {
        Self {
            directory,
            bytes_max: bytes_max.max(1),
            pieces: Vec::new(),
            bytes: 0,
            path_bytes: 0,
        }
    }

    /// The next file. Hands each split that is complete to `complete`.
    ///
    /// # Errors
    /// What `complete` fails with.
    pub fn file<E>(
        &mut self,
        path: &str,
        size: u64,
        mut complete: impl FnMut(Split) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut offset, mut left) = (0, size);
        while left > 0 {
            let room = self.bytes_max - self.bytes;
            let is_crowded = self.pieces.len() >= PIECES_MAX
                || (self.path_bytes + path.len() > PATH_BYTES_MAX && !self.pieces.is_empty());
            // What fits into a split of its own is not cut to fill this one.
            if room == 0 || is_crowded || (room < left && left <= self.bytes_max) {
                self.finish().map_or(Ok(()), &mut complete)?;
                continue;
            }
            let length = left.min(room);
            self.pieces.push(Piece {
                path: path.to_owned(),
                offset,
                length,
            });
            self.bytes += length;
            self.path_bytes += path.len();
            offset += length;
            left -= length;
        }
        Ok(())
    }

    /// The last split, if there is one.
    pub fn finish(&mut self) -> Option<Split> {
        (self.bytes, self.path_bytes) = (0, 0);
        let pieces = std::mem::take(&mut self.pieces);
        (!pieces.is_empty()).then(|| Split {
            directory: self.directory.clone(),
            pieces,
        })
    }
}
