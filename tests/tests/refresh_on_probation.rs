//! A refresh does not make a version trustworthy: what was on probation before it can still go back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use fixture_probe::{GetLog, Note};
use instar_host::endpoint::settings::EndpointSettings;
use instar_tests::{ask, client, component, message, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_refreshed_on_probation_is_still_rolled_back() {
    let env = start(client()).await;
    let settings = EndpointSettings::default();
    let probe = env
        .setup_endpoint("p", &component("probe-v1"), settings)
        .await
        .unwrap();
    let faulty = component("probe-faulty");
    env.swap("p", &faulty, None, "test").await.unwrap();
    // Refused until the probation is over would be as good.
    let _refreshed = env.refresh("p", "test").await;
    for text in ["kept", "fault"] {
        let text = text.to_owned();
        probe.send(message(&Note { text })).await.unwrap();
    }
    let log = ask(&probe, &GetLog {}).await.unwrap();
    assert_eq!(log.version, "1.0.0");
    assert_eq!(log.lines, ["start p", "kept", "fault"]);
    env.shutdown().await;
}
