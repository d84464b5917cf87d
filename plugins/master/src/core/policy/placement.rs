//! Placement: which worker runs a driver.

use super::super::ids::WorkerKey;

/// Spread out: the first worker that fits, looked for from behind the worker that got a driver last,
/// at most once around. `workers` are in ascending order.
///
/// Spark begins each time at a random worker instead, so that the first one does not get all drivers;
/// going on from the last one does the same without chance.
pub fn in_turn(
    workers: &[WorkerKey],
    last: Option<WorkerKey>,
    mut fits: impl FnMut(WorkerKey) -> bool,
) -> Option<WorkerKey> {
    let start = match last {
        None => 0,
        Some(last) => workers.partition_point(|worker| *worker <= last),
    };
    let (before, behind) = workers.split_at_checked(start)?;
    let mut around = behind.iter().chain(before).copied();
    around.find(|worker| fits(*worker))
}

/// Packed: the first worker that fits.
pub fn first_fit(
    workers: &[WorkerKey],
    mut fits: impl FnMut(WorkerKey) -> bool,
) -> Option<WorkerKey> {
    workers.iter().copied().find(|worker| fits(*worker))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_go_around() {
        let workers = [2, 5, 9].map(WorkerKey);
        for (last, taken, expected) in [
            (None, 0, Some(2)),
            (Some(2), 0, Some(5)),
            (Some(3), 5, Some(9)),
            (Some(9), 0, Some(2)),
            (Some(11), 2, Some(5)),
        ] {
            let found = in_turn(&workers, last.map(WorkerKey), |worker| worker.0 != taken);
            assert_eq!(found, expected.map(WorkerKey), "{last:?}");
        }
        assert_eq!(in_turn(&workers, None, |_| false), None);
        assert_eq!(in_turn(&[], Some(WorkerKey(1)), |_| true), None);
    }
}
