//! Which formats of entries a version writes and reads, as plain data: the host's mirror of
//! `wit/entries.wit`.
//!
//! Not here: who compares them ([`crate::election`], and the swap of [`crate::endpoint`]).

use serde::{Deserialize, Serialize};

/// More formats of entries than any endpoint needs.
const FORMATS_MAX: usize = 64;

/// Which formats of entries a version writes and reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryFormats {
    /// The format that it writes.
    pub writes: u32,
    /// The formats that it reads.
    pub reads: Vec<u32>,
}

impl EntryFormats {
    /// Whether what a component says makes sense.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn check(&self) -> Result<(), String> {
        let count = self.reads.len();
        if count > FORMATS_MAX {
            return Err(format!(
                "it reads {count} formats of entries, more than {FORMATS_MAX}"
            ));
        }
        match self.reads.contains(&self.writes) {
            true => Ok(()),
            false => Err(format!(
                "the format {} of its entries is not among those it reads: {:?}",
                self.writes, self.reads
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_reads_the_entries_that_it_writes() {
        let check = |writes, reads: &[u32]| {
            let reads = reads.to_vec();
            EntryFormats { writes, reads }.check()
        };
        assert_eq!(check(2, &[1, 2]), Ok(()));
        assert!(check(3, &[1, 2]).is_err());
        let many: Vec<u32> = (0..=64).collect();
        assert!(check(0, &many).is_err());
    }
}
