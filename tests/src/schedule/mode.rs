//! Mode: what a schedule switches on beside the swaps themselves. Follows from the seed alone; eight
//! seeds in a row have every mode.
//!
//! What the properties may expect in which mode:
//! - *Probation*: a version that traps on probation is no crash that anybody sees. The version before
//!   is back with the state of the flip and all that came since: each message is in the state once, also
//!   the one at which it trapped; each call is answered once; what was sent on is not sent on again;
//!   what was asked ends once, though the other endpoint may have been asked again; timers go on. Where
//!   the old version traps at it too, that is a crash like any other.
//! - *Checkpoints*: a crash takes the state back to the last copy. What was handled since is lost with
//!   that crash; calls that only the lost state knew are failed; those of the copy are still answered.
//! - A restart by an operator is afresh in every mode.

use std::time::Duration;

use instar_host::endpoint::settings::{Checkpoint, EndpointSettings, Probation};

/// How long a new version has to prove itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proving {
    /// Not at all.
    #[default]
    Never,
    /// So short that it passes now and then.
    Short,
    /// So long that it passes hardly ever.
    Long,
}

/// What is switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// Probation.
    pub proving: Proving,
    /// A copy of the state after so many messages.
    pub every: Option<u64>,
}

/// Messages of a short probation.
const SHORT: usize = 20;
/// A slow machine does not end a probation by its time.
const LONG: Duration = Duration::from_secs(600);

impl Mode {
    /// The mode of a seed.
    pub fn of(seed: u64) -> Self {
        let (proving, every) = match seed % 8 {
            0 | 4 => (Proving::Never, None),
            1 => (Proving::Long, None),
            2 => (Proving::Short, None),
            3 => (Proving::Never, Some(1 + seed / 8 % 7)),
            5 => (Proving::Long, Some(1 + seed / 8 % 30)),
            6 => (Proving::Short, Some(1 + seed / 8 % 30)),
            _ => (Proving::Never, Some(10 + seed / 8 % 50)),
        };
        Self { proving, every }
    }

    /// Sets it.
    pub fn set(&self, settings: &mut EndpointSettings) {
        settings.probation = Probation {
            messages: match self.proving {
                Proving::Never => 0,
                Proving::Short => SHORT,
                Proving::Long => Probation::default().messages,
            },
            time: LONG,
            ..Probation::default()
        };
        settings.checkpoint = Checkpoint {
            messages: self.every,
            time: None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_seeds_in_a_row_have_every_mode() {
        for first in 0..20 {
            let modes: Vec<_> = (first..first + 8).map(Mode::of).collect();
            for proving in [Proving::Never, Proving::Short, Proving::Long] {
                for copies in [false, true] {
                    let has =
                        |mode: &&Mode| (mode.proving, mode.every.is_some()) == (proving, copies);
                    assert!(
                        modes.iter().any(|mode| has(&mode)),
                        "{proving:?} {copies} {first}"
                    );
                }
            }
        }
    }
}
