//! Neighbour: an endpoint that behaves, asked without a pause while another one does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fixture_probe::Echo;
use instar_host::RpcEnv;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::{ask, component};

/// Answers that are waited for at least, before and after the trouble.
const ANSWERS_LEAST: usize = 20;

/// A neighbour that is being asked.
pub struct Neighbour {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<Vec<Duration>>,
}

impl Neighbour {
    /// Sets up the endpoint `neighbour` and begins to ask it. It has answered before this returns.
    ///
    /// # Panics
    /// Where it does not start.
    pub async fn of(env: &RpcEnv) -> Self {
        let code = component("probe-v1");
        let made = env
            .setup_endpoint("neighbour", &code, Default::default())
            .await;
        let neighbour = match made {
            Ok(neighbour) => neighbour,
            Err(error) => panic!("no neighbour: {error}"),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let (began, begun) = tokio::sync::oneshot::channel();
        let asking = tokio::spawn({
            let stop = Arc::clone(&stop);
            async move {
                let (mut began, mut took) = (Some(began), Vec::new());
                // Once more after the end of the trouble.
                let mut rest = ANSWERS_LEAST;
                while rest > 0 {
                    rest -= usize::from(stop.load(Ordering::Relaxed));
                    let text = format!("question {}", took.len());
                    let asked = Instant::now();
                    match ask(&neighbour, &Echo { text: text.clone() }).await {
                        Ok(answer) => assert_eq!(answer.text, text),
                        Err(error) => panic!("the neighbour failed: {error}"),
                    }
                    took.push(asked.elapsed());
                    if took.len() == ANSWERS_LEAST
                        && let Some(began) = began.take()
                    {
                        // Whoever waits for it may have failed.
                        let _ = began.send(());
                    }
                }
                took
            }
        });
        if begun.await.is_err() {
            panic!("the neighbour does not answer");
        }
        Self { stop, asking }
    }

    /// Ends the asking: every question was answered, before, during and after the trouble. Prints how
    /// long it took; no limit is asserted, since machines are busy.
    ///
    /// # Panics
    /// Where a question was not answered, or wrongly.
    pub async fn was_answered(self, during: &str) {
        self.stop.store(true, Ordering::Relaxed);
        let mut took = match self.asking.await {
            Ok(took) => took,
            Err(error) => panic!("{during}: {error}"),
        };
        took.sort_unstable();
        let at = |percent: usize| took.get((took.len() - 1) * percent / 100).copied();
        println!(
            "{during}: {} answers of the neighbour, p50 {:?}, p99 {:?}",
            took.len(),
            at(50).unwrap_or_default(),
            at(99).unwrap_or_default()
        );
    }
}
