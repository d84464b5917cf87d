//! Phases: where the time of all swaps went, exactly. Its room is taken at the start: a table that
//! grows with the swaps would look like a leak.

use std::time::Duration;

use serde::Serialize;

use crate::endpoint::record::SwapPhases;

/// The names, in the order of [`of`].
const NAMES: [&str; 5] = ["pause", "freeze", "snapshot", "restore", "flip"];

fn of(phases: &SwapPhases) -> [Duration; 5] {
    let SwapPhases {
        pause,
        freeze,
        snapshot,
        restore,
        flip,
        ..
    } = *phases;
    [pause, freeze, snapshot, restore, flip]
}

/// One column for each phase, in nanoseconds.
pub(super) struct Phases {
    taken: usize,
    columns: [Vec<u64>; 5],
}

/// How long one phase took, over all swaps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// Its name.
    pub(super) phase: &'static str,
    /// Half of the swaps took at most so long, in milliseconds.
    pub(super) p50_ms: f64,
    /// 99 of 100 took at most so long.
    pub(super) p99_ms: f64,
    /// None took longer.
    pub(super) max_ms: f64,
}

impl Phases {
    /// Room for so many swaps.
    pub(super) fn with_room(swaps: usize) -> Self {
        // Written to, so that it is resident from now on.
        let column = |_| vec![u64::MAX; swaps];
        Self {
            taken: 0,
            columns: [0, 1, 2, 3, 4].map(column),
        }
    }

    /// Takes the phases of a swap. Those beyond the room are left out.
    pub(super) fn take(&mut self, phases: &SwapPhases) {
        for (column, phase) in self.columns.iter_mut().zip(of(phases)) {
            if let Some(cell) = column.get_mut(self.taken) {
                *cell = u64::try_from(phase.as_nanos()).unwrap_or(u64::MAX);
            }
        }
        self.taken += 1;
    }

    /// How long each phase took. Nothing where nothing was swapped.
    pub(super) fn spreads(mut self) -> Vec<Spread> {
        let mut spreads = Vec::new();
        for (phase, column) in NAMES.into_iter().zip(&mut self.columns) {
            column.truncate(self.taken);
            column.sort_unstable();
            let at = |quantile: f64| {
                let rank = (column.len() as f64 * quantile).ceil() as usize;
                let nanoseconds = column.get(rank.saturating_sub(1)).copied()?;
                Some(nanoseconds as f64 / 1e6)
            };
            if let (Some(p50_ms), Some(p99_ms), Some(max_ms)) = (at(0.5), at(0.99), at(1.0)) {
                spreads.push(Spread {
                    phase,
                    p50_ms,
                    p99_ms,
                    max_ms,
                });
            }
        }
        spreads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swap(milliseconds: u64) -> SwapPhases {
        SwapPhases {
            pause: Duration::from_millis(milliseconds),
            ..SwapPhases::default()
        }
    }

    #[test]
    fn quantiles_are_exact_and_never_too_low() {
        let mut phases = Phases::with_room(1000);
        for milliseconds in (1..=200).rev() {
            phases.take(&swap(milliseconds));
        }
        let spreads = phases.spreads();
        let pause = spreads.first().unwrap();
        assert_eq!(
            (pause.phase, pause.p50_ms, pause.p99_ms, pause.max_ms),
            ("pause", 100.0, 198.0, 200.0)
        );
        assert_eq!(spreads.len(), NAMES.len());
    }

    #[test]
    fn without_a_swap_there_is_nothing_to_tell() {
        assert_eq!(Phases::with_room(10).spreads(), []);
    }

    #[test]
    fn one_more_than_there_is_room_for_is_left_out() {
        let mut phases = Phases::with_room(1);
        phases.take(&swap(1));
        phases.take(&swap(9));
        assert_eq!(phases.spreads().first().unwrap().max_ms, 1.0);
    }
}
