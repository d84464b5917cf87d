//! Reading: what the file server gives, piece by piece, to a peer or to an endpoint of this host.
//!
//! Before it: a path and a range. After it: [`super::listing`] where the path is a directory.

use std::io::{self, SeekFrom};

use bytes::{Bytes, BytesMut};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::FileServer;
use super::listing::Listing;
use crate::transport::{BoxFuture, FileBytes, FileRange};

impl FileServer {
    /// Opens what is offered as `path`; one that ends with `/` is a directory, of which the files are
    /// listed. The text of an error is for whoever asked.
    pub(crate) async fn open(
        &self,
        path: &str,
        range: FileRange,
    ) -> Result<Box<dyn FileBytes>, String> {
        if path.ends_with('/') {
            if !range.is_all() {
                return Err(format!("`{path}` is a directory, which has no ranges"));
            }
            let directory = self.resolve_directory(path);
            let (root, directory) = directory.map_err(|error| error.to_string())?;
            let listing = Listing::begin(root, directory).await;
            let listing = listing.map_err(|error| format!("cannot list `{path}`: {error}"))?;
            return Ok(Box::new(listing));
        }
        let file = self.resolve(path).map_err(|error| error.to_string())?;
        let opened = Ranged::open(&file, range).await;
        let opened = opened.map_err(|error| format!("cannot open `{path}`: {error}"))?;
        Ok(Box::new(opened))
    }
}

/// A range of a file.
struct Ranged {
    file: File,
    left: u64,
}

impl Ranged {
    async fn open(path: &std::path::Path, range: FileRange) -> io::Result<Self> {
        let mut file = File::open(path).await?;
        if range.offset > 0 {
            // Beyond the end there is nothing to read; how far beyond a system can seek differs.
            let end = file.metadata().await?.len();
            file.seek(SeekFrom::Start(range.offset.min(end))).await?;
        }
        Ok(Self {
            file,
            left: range.length.unwrap_or(u64::MAX),
        })
    }
}

impl FileBytes for Ranged {
    fn next(&mut self, bytes_max: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(async move {
            let wanted = self.left.min(u64::try_from(bytes_max).unwrap_or(u64::MAX));
            let mut bytes = BytesMut::with_capacity(usize::try_from(wanted).unwrap_or(bytes_max));
            let read = (&mut self.file).take(wanted).read_buf(&mut bytes).await?;
            self.left = self.left.saturating_sub(read as u64);
            Ok(bytes.freeze())
        })
    }
}
