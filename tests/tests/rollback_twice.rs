//! Whoever goes back after a version was taken back gets a version that worked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use fixture_probe::Note;
use instar_host::endpoint::record::SwapOutcome;
use instar_host::endpoint::settings::EndpointSettings;
use instar_tests::{client, component, eventually, message, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_does_not_go_back_to_what_failed_on_probation() {
    let env = start(client()).await;
    let settings = EndpointSettings::default();
    let probe = env
        .setup_endpoint("p", &component("probe-v1"), settings)
        .await
        .unwrap();
    for to in ["probe-v2", "probe-faulty"] {
        env.swap("p", &component(to), None, "test").await.unwrap();
    }
    let text = "fault".to_owned();
    probe.send(message(&Note { text })).await.unwrap();
    eventually("the version before", || async {
        let last = env.history("p")?.pop()?;
        matches!(last.outcome, SwapOutcome::RolledBack(_)).then_some(())
    })
    .await;
    let record = env.rollback("p", None).await.unwrap();
    assert_eq!(record.to.version, "1.0.0", "not what failed: {record:?}");
    env.shutdown().await;
}
