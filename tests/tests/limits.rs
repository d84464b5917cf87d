//! Limits: each refuses at its bound, names the setting, and shows how much of it is used.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use fixture_probe::{Allocate, AskKeeping, Echo, GetLog, Keep, Note, Spin, WhoAreYou};
use instar_host::endpoint::SwapError;
use instar_host::endpoint::settings::{EndpointSettings, Limits};
use instar_host::endpoint::status::EndpointStatus;
use instar_host::{EndpointRef, Message, RpcEnv, RpcError};
use instar_tests::{ask, client, component, eventually, message, server, start};

fn limited(change: impl FnOnce(&mut Limits)) -> EndpointSettings {
    let mut settings = EndpointSettings::default();
    change(&mut settings.limits);
    settings
}

async fn probe_with(env: &RpcEnv, name: &str, settings: EndpointSettings) -> EndpointRef {
    let code = component("probe-v1");
    env.setup_endpoint(name, &code, settings).await.unwrap()
}

fn status(env: &RpcEnv, name: &str) -> EndpointStatus {
    env.status_of(name).unwrap()
}

/// What the host says of code that is refused for want of what `change` takes away.
async fn refused(env: &RpcEnv, change: impl FnOnce(&mut Limits)) -> String {
    let code = component("probe-v1");
    let made = env.setup_endpoint("refused", &code, limited(change)).await;
    let error = anyhow::Error::from(made.expect_err("it fits"));
    format!("{error:#}")
}

#[tokio::test]
async fn code_that_needs_more_than_a_limit_is_not_loaded_and_the_limit_named() {
    let env = start(client()).await;
    probe_with(&env, "p", EndpointSettings::default()).await;
    let usual = status(&env, "p");
    assert!((2..=6).contains(&usual.core_instances), "{usual:?}");
    assert!((10..2000).contains(&usual.table_elements), "{usual:?}");
    let (instances, elements) = (usual.core_instances, usual.table_elements);

    let reason = refused(&env, |limits| limits.core_instances = instances - 1).await;
    assert!(reason.contains("limit `core_instances`"), "{reason}");
    let reason = refused(&env, |limits| limits.table_elements = elements - 1).await;
    assert!(reason.contains("limit `table_elements`"), "{reason}");
    let reason = refused(&env, |limits| limits.memory_bytes = 64 << 10).await;
    assert!(reason.contains("limit `memory`"), "{reason}");

    let exact = limited(|limits| {
        limits.core_instances = instances;
        limits.table_elements = elements;
        limits.memory_bytes = usual.memory_bytes;
    });
    probe_with(&env, "exact", exact).await;
    env.shutdown().await;
}

#[tokio::test]
async fn a_crash_for_want_of_memory_names_the_limit() {
    let env = start(client()).await;
    let settings = limited(|limits| limits.memory_bytes = 8 << 20);
    let probe = probe_with(&env, "p", settings).await;
    let error = ask(&probe, &Allocate { mib: 100 }).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("memory allocation"), "{text}");
    assert!(
        text.contains("8388608 bytes of memory (limit `memory`)"),
        "{text}"
    );
    env.shutdown().await;
}

/// A message to the probe whose kind and body are `bytes` long together.
fn sized(bytes: usize) -> Message {
    let fits = |text: usize| {
        let text = "x".repeat(text);
        message(&Echo { text })
    };
    // The length of the text is a varint: its size changes with it.
    let text = (0..bytes).rev().find(|text| fits(*text).len() == bytes);
    fits(text.unwrap())
}

#[tokio::test]
async fn a_message_one_byte_too_large_is_refused_here_and_from_elsewhere() {
    const LIMIT: usize = 2048;
    let (host, peer) = (start(server()).await, start(client()).await);
    let settings = limited(|limits| limits.message_bytes = LIMIT);
    let local = probe_with(&host, "p", settings).await;
    let remote = peer.reference(local.address().clone());
    for of in [&local, &remote] {
        of.ask(sized(LIMIT)).await.unwrap();
        let refusal = of.ask(sized(LIMIT + 1)).await.unwrap_err();
        let expected = RpcError::TooLarge {
            what: "message `probe.Echo` to `p`".to_owned(),
            bytes: LIMIT as u64 + 1,
            limit: LIMIT as u64,
            setting: "message".to_owned(),
        };
        assert_eq!(refusal, expected);
    }
    let note = message(&Note {
        text: "x".repeat(LIMIT),
    });
    let refusal = local.send(note.clone()).await.unwrap_err();
    assert_eq!(refusal.code(), "too-large");
    // From another host there is nobody to tell: it is counted.
    let before = host.dead_letters();
    remote.send(note).await.unwrap();
    eventually("a dead letter", || async {
        (host.dead_letters() == before + 1).then_some(())
    })
    .await;
    let status = status(&host, "p");
    assert_eq!(
        (status.message_bytes, status.message_bytes_limit),
        (LIMIT, LIMIT)
    );

    // The limit is one of the settings, which a swap changes.
    let wider = limited(|limits| limits.message_bytes = LIMIT + 1);
    let code = component("probe-v2");
    host.swap("p", &code, Some(wider), "test").await.unwrap();
    remote.ask(sized(LIMIT + 1)).await.unwrap();
    peer.shutdown().await;
    host.shutdown().await;
}

#[tokio::test]
async fn calls_and_asks_beyond_their_limits_are_refused_by_name() {
    let env = start(client()).await;
    let settings = limited(|limits| {
        limits.open_calls = 1;
        limits.open_asks = 1;
    });
    let narrow = probe_with(&env, "narrow", settings).await;
    let keeper = probe_with(&env, "keeper", EndpointSettings::default()).await;
    let to = ask(&keeper, &WhoAreYou {}).await.unwrap().me;
    for _ in 0..2 {
        let request = AskKeeping { to: to.clone() };
        narrow.send(message(&request)).await.unwrap();
    }
    eventually("the refused ask", || async {
        let lines = ask(&narrow, &GetLog {}).await.unwrap().lines;
        lines
            .iter()
            .any(|line| line.contains("`open_asks`"))
            .then_some(())
    })
    .await;
    let _kept = narrow.ask_abortable(message(&Keep {}));
    let error = ask(&narrow, &Keep {}).await.unwrap_err();
    assert!(error.to_string().contains("`open_calls`"), "{error}");
    let status = status(&env, "narrow");
    assert_eq!((status.open_calls, status.open_calls_limit), (1, 1));
    assert_eq!((status.open_asks, status.open_asks_limit), (1, 1));
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_turn_is_shown_beside_its_limit() {
    let env = start(client()).await;
    let probe = probe_with(&env, "p", EndpointSettings::default()).await;
    let mut turns = 1 << 20;
    while status(&env, "p").longest_turn.is_zero() {
        ask(&probe, &Spin { turns }).await.unwrap();
        turns *= 2;
    }
    let status = status(&env, "p");
    assert!(status.longest_turn < status.turn_limit, "{status:?}");
    assert_eq!(status.turn_limit, Duration::from_secs(10));
    env.shutdown().await;
}

/// A new version that does not fit costs a rejected swap.
#[tokio::test]
async fn a_version_that_does_not_fit_is_rejected_with_the_limit() {
    let env = start(client()).await;
    probe_with(&env, "p", EndpointSettings::default()).await;
    let settings = limited(|limits| limits.core_instances = 1);
    let code = component("probe-v2");
    let error = env
        .swap("p", &code, Some(settings), "test")
        .await
        .unwrap_err();
    let SwapError::Rejected { reason, .. } = error else {
        panic!("{error}");
    };
    assert!(reason.contains("limit `core_instances`"), "{reason}");
    env.shutdown().await;
}
