//! Keeping: what is written down is bounded and counted, so that the next master can read it in one
//! piece; and the numbers of ids, so that the next master uses none again.
//!
//! Invariant: `kept_bytes` is the sum of what the store has of this master, and of what it cannot read.

use instar_sdk::Failure;

use super::Core;
use super::entries::{COUNTERS, Counters};
use super::turn::Turn;

/// Longest entry of something new.
const ENTRY_BYTES_MAX: usize = 64 << 10;
/// Longest entry of something that changes. With it, what a turn writes stays below what ZooKeeper takes.
const CHANGED_ENTRY_BYTES_MAX: usize = 192 << 10;
/// All entries together, with which something new is taken. A host reads 64 MiB at once.
const KEPT_BYTES_MAX: u64 = 48 << 20;
/// The same for what changes.
const CHANGED_BYTES_MAX: u64 = 56 << 20;

impl Core {
    /// Writes something new down. Returns its length.
    pub(super) fn keep(
        &mut self,
        turn: &mut Turn<'_>,
        name: &str,
        value: &[u8],
    ) -> Result<u32, Failure> {
        if value.len() > ENTRY_BYTES_MAX {
            return Err(Failure::new(format!(
                "its description has {} bytes, expected are {ENTRY_BYTES_MAX} at most; leave out \
                 arguments, or give the environment in a file",
                value.len()
            )));
        }
        self.write_down(turn, name, 0, value, KEPT_BYTES_MAX)
    }

    /// Writes something down that is kept, with so many bytes, already. Returns its length.
    pub(super) fn keep_changed(
        &mut self,
        turn: &mut Turn<'_>,
        name: &str,
        kept: u32,
        value: &[u8],
    ) -> Result<u32, Failure> {
        if value.len() > CHANGED_ENTRY_BYTES_MAX {
            return Err(Failure::new(format!(
                "`{name}` would have {} bytes, expected are {CHANGED_ENTRY_BYTES_MAX} at most; ask for \
                 fewer resource profiles",
                value.len()
            )));
        }
        self.write_down(turn, name, kept, value, CHANGED_BYTES_MAX)
    }

    fn write_down(
        &mut self,
        turn: &mut Turn<'_>,
        name: &str,
        kept: u32,
        value: &[u8],
        max: u64,
    ) -> Result<u32, Failure> {
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        let before = self.kept_bytes.saturating_sub(u64::from(kept));
        let after = before.saturating_add(u64::from(length));
        if after > max {
            return Err(Failure::new(format!(
                "what this master keeps would have {after} bytes, expected are {max} at most; try again \
                 when some of it has ended"
            )));
        }
        turn.persist(name, value)?;
        self.kept_bytes = after;
        Ok(length)
    }

    /// Something that is kept, with so many bytes, is over.
    pub(super) fn forget(&mut self, turn: &mut Turn<'_>, name: &str, kept: u32) {
        turn.unpersist(name);
        self.kept_bytes = self.kept_bytes.saturating_sub(u64::from(kept));
    }

    /// Writes down which numbers come next.
    pub(super) fn keep_counters(&self, turn: &mut Turn<'_>) -> Result<(), Failure> {
        let counters = Counters {
            applications: self.next_app_number,
            drivers: self.next_driver_number,
            recoveries: self.recoveries,
            kill_drivers_below: self.kill_drivers_below,
        };
        turn.persist(COUNTERS, &counters.entry()?)
    }
}
