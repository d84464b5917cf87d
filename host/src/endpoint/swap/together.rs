//! Together: several endpoints swapped as one, all or none.
//!
//! Each is carried as far as the flip and votes; while they wait for each other they stand still. When
//! all are ready all flip, which cannot fail. If one cannot, none does.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::super::record::SwapRecord;
use super::error::SwapError;
use super::request::{Seat, Wanted};
use super::{aside, submit, wait_for};

/// Replaces the code of several endpoints, all or none: they stand still together.
///
/// # Errors
/// [`SwapError`]; every old version goes on.
///
/// # Cancellation
/// As [`swap`].
pub(crate) async fn swap_together(
    wanted: Vec<Wanted>,
    by: &str,
) -> Result<Vec<SwapRecord>, SwapError> {
    let endpoints: Vec<_> = wanted.iter().map(|w| Arc::clone(&w.endpoint)).collect();
    // One order for everybody: two groups with common endpoints do not wait for each other.
    let mut in_order = endpoints.clone();
    in_order.sort_by(|a, b| a.name().cmp(b.name()));
    let mut one_at_a_time = Vec::new();
    for endpoint in &in_order {
        one_at_a_time.push(endpoint.swapping.lock().await);
    }
    let mut ready_aside = Vec::new();
    for wanted in &wanted {
        ready_aside.push(aside(wanted, by).await?);
    }
    let (ready, mut readies) = mpsc::unbounded_channel();
    let (decide, verdict) = watch::channel(None);
    let mut reports = JoinSet::new();
    for (index, aside) in ready_aside.into_iter().enumerate() {
        let seat = Seat {
            ready: ready.clone(),
            verdict: verdict.clone(),
        };
        let mut waiting = submit(aside, Some(seat))?;
        reports.spawn(async move {
            let report = wait_for(&mut waiting.reported, &waiting.ticket, waiting.drain).await;
            (index, waiting.conclude(report))
        });
    }
    drop(ready);
    let (mut seen, mut done, mut failed) = (0, Vec::new(), None);
    loop {
        let concluded = tokio::select! {
            Some(()) = readies.recv() => {
                seen += 1;
                if seen == endpoints.len() {
                    decide.send_replace(Some(Ok(())));
                }
                continue;
            }
            concluded = reports.join_next() => concluded,
        };
        match concluded {
            None => break,
            Some(Ok((index, Ok(record)))) => done.push((index, record)),
            Some(Ok((_, Err(error)))) => {
                let reason = failed.get_or_insert_with(|| error.to_string()).clone();
                // The others give up with this reason. All that were ready have flipped otherwise.
                decide.send_if_modified(|verdict| {
                    let open = verdict.is_none();
                    verdict.get_or_insert(Err(reason));
                    open
                });
            }
            // A task that only waits neither panics nor is aborted, but for the runtime's end.
            Some(Err(_ended)) => {}
        }
    }
    match failed {
        None => {
            done.sort_by_key(|(index, _)| *index);
            Ok(done.into_iter().map(|(_, record)| record).collect())
        }
        Some(reason) => {
            let names = endpoints.iter().map(|e| format!("`{}`", e.name()));
            Err(SwapError::NotTogether {
                endpoints: names.collect::<Vec<_>>().join(", "),
                reason,
            })
        }
    }
}
