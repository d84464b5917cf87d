//! History: what was done to an endpoint, and the versions that one can go back to. Both bounded.

use std::collections::VecDeque;

use super::record::{SwapOutcome, SwapRecord, VersionId};
use crate::component::code::Code;

/// Swap records that are kept for each endpoint.
const RECORDS_MAX: usize = 256;
/// Versions that are kept for the way back, the running one included.
const VERSIONS_MAX: usize = 5;

/// The memory of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct History {
    records: VecDeque<SwapRecord>,
    tried: u64,
    swapped: u64,
    versions: VecDeque<(VersionId, Code)>,
}

impl History {
    /// Remembers code that runs now, as the newest version.
    pub(crate) fn runs(&mut self, id: VersionId, code: Code) {
        self.versions.retain(|(known, _)| known.digest != id.digest);
        self.versions.push_front((id, code));
        self.versions.truncate(VERSIONS_MAX);
    }

    /// A version failed: it is the last one to go back to.
    pub(crate) fn failed(&mut self, digest: &str) {
        let at = self.versions.iter().position(|(id, _)| id.digest == digest);
        let failed = at.and_then(|at| self.versions.remove(at));
        self.versions.extend(failed);
    }

    /// Files a record and gives it its number.
    pub(crate) fn file(&mut self, mut record: SwapRecord) -> SwapRecord {
        self.tried += 1;
        record.number = self.tried;
        self.swapped += u64::from(record.outcome == SwapOutcome::Swapped);
        if self.records.len() == RECORDS_MAX {
            self.records.pop_front();
        }
        self.records.push_back(record.clone());
        record
    }

    /// All records that are kept, oldest first.
    pub(crate) fn records(&self) -> Vec<SwapRecord> {
        self.records.iter().cloned().collect()
    }

    /// Swaps that worked, also those whose records are gone.
    pub(crate) fn swapped(&self) -> u64 {
        self.swapped
    }

    /// Versions that are kept, newest first; the first one runs.
    pub(crate) fn versions(&self) -> Vec<VersionId> {
        self.versions.iter().map(|(id, _)| id.clone()).collect()
    }

    /// The code of `version` (version or beginning of a digest), or of the one before the running one.
    pub(crate) fn earlier(&self, version: Option<&str>) -> Option<Code> {
        let mut earlier = self.versions.iter().skip(1);
        let found = match version {
            None => earlier.next(),
            Some(wanted) => earlier.find(|(id, _)| {
                id.version == wanted || (wanted.len() >= 8 && id.digest.starts_with(wanted))
            }),
        };
        found.map(|(_, code)| code.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: usize) -> (VersionId, Code) {
        let code = Code::from_bytes(vec![number as u8]);
        let id = VersionId {
            version: format!("{number}.0.0"),
            digest: code.digest().to_owned(),
        };
        (id, code)
    }

    #[test]
    fn the_way_back_leads_to_the_version_before_or_the_one_that_is_named() {
        let mut history = History::default();
        for number in 1..=9 {
            let (id, code) = version(number);
            history.runs(id, code);
        }
        assert_eq!(history.versions().len(), VERSIONS_MAX);
        assert_eq!(history.earlier(None), Some(version(8).1));
        assert_eq!(history.earlier(Some("6.0.0")), Some(version(6).1));
        assert_eq!(
            history.earlier(Some(version(7).1.digest())),
            Some(version(7).1)
        );
        assert_eq!(history.earlier(Some("9.0.0")), None, "it runs already");
        assert_eq!(history.earlier(Some("1.0.0")), None, "it is kept no longer");
    }

    #[test]
    fn what_failed_is_the_last_one_to_go_back_to() {
        let mut history = History::default();
        for number in [1, 2, 3] {
            let (id, code) = version(number);
            history.runs(id, code);
        }
        let (back, code) = version(2);
        history.runs(back, code);
        history.failed(version(3).1.digest());
        let kept = [2, 1, 3].map(|number| version(number).0);
        assert_eq!(history.versions(), kept);
        assert_eq!(history.earlier(None), Some(version(1).1));
    }

    #[test]
    fn going_back_makes_the_older_version_the_newest_one_kept() {
        let mut history = History::default();
        for number in [1, 2, 1] {
            let (id, code) = version(number);
            history.runs(id, code);
        }
        assert_eq!(history.versions(), [version(1).0, version(2).0]);
    }
}
