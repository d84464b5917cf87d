//! Budget: what is left of the limits of one message while it is walked.

use super::error::SchemaError;
use super::limits::{BYTES_MAX, DEPTH_MAX, VALUES_MAX};
use super::path::Path;

/// Values and bytes that the walk may still spend, and how deep it is.
pub(super) struct Budget {
    values: usize,
    bytes: usize,
    depth: usize,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            values: VALUES_MAX,
            bytes: BYTES_MAX,
            depth: 0,
        }
    }

    /// Enters one value at `path` and pays for it. After an error nothing is walked any more.
    pub(super) fn enter(&mut self, path: &Path<'_>) -> Result<(), SchemaError> {
        // Not the length of the path: an optional inside an optional adds nothing to that.
        if self.depth >= DEPTH_MAX {
            return Err(too_large(
                path,
                "the depth of values inside values",
                DEPTH_MAX,
            ));
        }
        self.depth += 1;
        match self.values.checked_sub(1) {
            Some(left) => self.values = left,
            None => return Err(too_large(path, "the number of values", VALUES_MAX)),
        }
        Ok(())
    }

    /// Leaves the value that was entered last.
    pub(super) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// Pays for `count` bytes of text, name or data.
    pub(super) fn bytes(&mut self, count: usize, path: &Path<'_>) -> Result<(), SchemaError> {
        match self.bytes.checked_sub(count) {
            Some(left) => self.bytes = left,
            None => return Err(too_large(path, "the number of bytes", BYTES_MAX)),
        }
        Ok(())
    }
}

fn too_large(path: &Path<'_>, what: &'static str, limit: usize) -> SchemaError {
    SchemaError::TooLarge {
        path: path.text(),
        what,
        limit,
    }
}
