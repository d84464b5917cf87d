//! Health: what a version says of itself counts when it says it, whatever else there is to do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use fixture_probe::GetLog;
use instar_host::endpoint::record::SwapOutcome;
use instar_host::endpoint::settings::EndpointSettings;
use instar_tests::{ask, client, component, eventually, start};

/// The time for an answer is not over before the test is: so it is the answer that counts, not that
/// the time ran out.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_says_it_is_not_well_is_rolled_back_without_waiting_for_anything() {
    let env = start(client()).await;
    let mut settings = EndpointSettings::default();
    settings.limits.turn = Duration::from_secs(3600);
    settings.probation.time = Duration::from_secs(3600);
    let probe = env
        .setup_endpoint("p", &component("probe-v1"), settings)
        .await
        .unwrap();
    let sick = component("probe-sick");
    env.swap("p", &sick, None, "test").await.unwrap();
    let record = eventually("the rollback", || async {
        let last = env.history("p")?.pop()?;
        matches!(last.outcome, SwapOutcome::RolledBack(_)).then_some(last)
    })
    .await;
    assert!(record.outcome.reason().contains("no pulse"), "{record:?}");
    let log = ask(&probe, &GetLog {}).await.unwrap();
    assert_eq!(log.version, "1.0.0");
    env.shutdown().await;
}
