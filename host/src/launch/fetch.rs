//! Fetch: the bytes of a file of a host, written to a file aside and hashed on the way.
//!
//! Not here: where they are kept ([`super::components`]).

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// A file aside. It is removed when this is dropped, unless it was put in its place.
pub(super) struct Aside {
    path: PathBuf,
    placed: bool,
}

impl Aside {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            placed: false,
        }
    }

    /// Puts the file in its place. Blocks, for a moment only.
    pub(super) fn place(mut self, at: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, at)?;
        self.placed = true;
        Ok(())
    }

    /// Fills it with what `from` brings, at most `limit` bytes. Returns their SHA-256.
    ///
    /// # Errors
    /// One sentence. What `from` says of its peer is part of it.
    ///
    /// # Cancellation
    /// Safe: the file goes with this value.
    pub(super) async fn fill(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        limit: u64,
    ) -> Result<String, String> {
        let disk = |error: io::Error| format!("cannot keep it: {error}");
        let mut file = tokio::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.path)
            .await
            .map_err(disk)?;
        let (mut hash, mut bytes) = (Sha256::new(), 0_u64);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = from
                .read(&mut chunk)
                .await
                .map_err(|error| format!("broken off after {bytes} bytes: {error}"))?;
            let read = chunk.get(..count).unwrap_or_default();
            if read.is_empty() {
                break;
            }
            bytes += count as u64;
            if bytes > limit {
                return Err(format!(
                    "it has more than {limit} bytes (limit `component_bytes_max`)"
                ));
            }
            hash.update(read);
            file.write_all(read).await.map_err(disk)?;
        }
        file.flush().await.map_err(disk)?;
        let digest = hash.finalize();
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.placed {
            // Where it was never made there is nothing to remove.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_as_large_as_may_be_is_kept_and_one_byte_more_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (path, place) = (dir.path().join("aside"), dir.path().join("place"));
        let bytes = vec![7; CHUNK_BYTES + 1];
        let aside = Aside::new(path.clone());
        let limit = bytes.len() as u64;
        let digest = aside.fill(&mut bytes.as_slice(), limit).await.unwrap();
        assert_eq!(
            digest,
            crate::component::code::Code::from_bytes(bytes.clone()).digest()
        );
        aside.place(&place).unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), bytes);

        let aside = Aside::new(path.clone());
        let reason = aside
            .fill(&mut bytes.as_slice(), limit - 1)
            .await
            .unwrap_err();
        assert!(reason.contains("`component_bytes_max`"), "{reason}");
        assert!(path.exists());
        drop(aside);
        assert!(!path.exists());
    }
}
