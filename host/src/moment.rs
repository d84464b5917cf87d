//! Moment: waiting for one that may never come. For loops that have something to wait for only at times.

use tokio::time::{Instant, sleep_until};

/// Ends at that moment; for none, never. Cancel-safe.
pub(crate) async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
