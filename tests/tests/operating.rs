//! What an operator does with a running endpoint beyond a plain swap: approve, rehearse, swap several
//! as one, refresh.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use fixture_probe::{Allocate, Echo, GetLog, Note};
use fixture_wider::{Count, WhatTime};
use instar_host::endpoint::SwapError;
use instar_host::endpoint::record::SwapOutcome;
use instar_host::endpoint::settings::EndpointSettings;
use instar_host::{EndpointRef, RpcEnv};
use instar_tests::{ask, client, component, eventually, message, start};

async fn setup(env: &RpcEnv, name: &str, component_name: &str) -> EndpointRef {
    let settings = EndpointSettings::default();
    env.setup_endpoint(name, &component(component_name), settings)
        .await
        .unwrap()
}

async fn note(to: &EndpointRef, text: &str) {
    let text = text.to_owned();
    to.send(message(&Note { text })).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_wants_more_is_held_with_the_difference_until_it_is_approved() {
    let env = start(client()).await;
    let counter = setup(&env, "c", "wider-narrow").await;
    ask(&counter, &Count {}).await.unwrap();
    let error = env
        .swap("c", &component("wider-wide"), None, "test")
        .await
        .unwrap_err();
    let SwapError::NeedsApproval { wants, record, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(
        wants.iter().any(|want| want.contains("`clock`")),
        "{wants:?}"
    );
    assert!(
        wants.iter().any(|want| want.contains("`wider.WhatTime`")),
        "{wants:?}"
    );
    assert!(error.to_string().contains("instar approve c"), "{error}");
    assert!(matches!(record.outcome, SwapOutcome::NeedsApproval(_)));
    let held = env.status_of("c").unwrap().held.unwrap();
    assert_eq!((held.id.version.as_str(), &held.wants), ("2.0.0", wants));
    let counted = ask(&counter, &Count {}).await.unwrap();
    assert_eq!((counted.count, counted.version.as_str()), (2, "1.0.0"));

    let (record, settings) = env.approve("c", "test").await.unwrap();
    assert_eq!(record.outcome, SwapOutcome::Swapped);
    assert!(settings.grants.contains("clock"), "{settings:?}");
    assert!(
        settings.grants.contains("message:wider.WhatTime"),
        "{settings:?}"
    );
    assert!(ask(&counter, &WhatTime {}).await.unwrap().seconds > 0);
    let counted = ask(&counter, &Count {}).await.unwrap();
    assert_eq!((counted.count, counted.version.as_str()), (3, "2.0.0"));
    assert!(env.status_of("c").unwrap().held.is_none());
    let error = env.approve("c", "test").await.unwrap_err();
    assert!(matches!(error, SwapError::NothingHeld { .. }), "{error:?}");
    // The way back and forth needs no second approval.
    env.rollback("c", None).await.unwrap();
    env.rollback("c", None).await.unwrap();
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_granted_ahead_needs_no_approval() {
    let env = start(client()).await;
    let mut settings = EndpointSettings::default();
    settings
        .grants
        .extend(["clock".to_owned(), "message:*".to_owned()]);
    env.setup_endpoint("c", &component("wider-narrow"), settings)
        .await
        .unwrap();
    let record = env.swap("c", &component("wider-wide"), None, "test").await;
    assert_eq!(record.unwrap().outcome, SwapOutcome::Swapped);
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_starts_with_more_memory_than_was_granted_is_held() {
    let env = start(client()).await;
    let counter = setup(&env, "c", "wider-narrow").await;
    ask(&counter, &Count {}).await.unwrap();
    let mut tight = EndpointSettings::default();
    tight.limits.memory_bytes = 64 << 10;
    tight
        .grants
        .extend(["clock".to_owned(), "message:*".to_owned()]);
    let error = env
        .swap("c", &component("wider-wide"), Some(tight), "test")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("bytes of memory to start"),
        "{error}"
    );
    let (_, settings) = env.approve("c", "test").await.unwrap();
    assert!(settings.limits.memory_bytes > 64 << 10);
    assert_eq!(ask(&counter, &Count {}).await.unwrap().count, 2);
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_shows_what_the_new_version_does_otherwise_and_changes_nothing() {
    let env = start(client()).await;
    let probe = setup(&env, "p", "probe-v1").await;
    note(&probe, "one").await;
    let text = "two".to_owned();
    ask(&probe, &Echo { text }).await.unwrap();
    let before = ask(&probe, &GetLog {}).await.unwrap();
    // `on-start`, two messages, and the log just now.
    let turns = 4;
    eventually("the end of these turns", || async {
        (env.status_of("p")?.turns == turns).then_some(())
    })
    .await;

    let rehearsal = env
        .rehearse("p", &component("probe-v2"), None)
        .await
        .unwrap();
    assert_eq!(rehearsal.failure, None);
    assert_eq!(rehearsal.messages, 3);
    assert_eq!(rehearsal.state_bytes_old, rehearsal.state_bytes_new);
    let [only] = rehearsal.differences.as_slice() else {
        panic!("{:?}", rehearsal.differences);
    };
    assert_eq!(
        (only.message, only.kind.as_str()),
        (3, "probe.GetLog"),
        "it says its version"
    );
    assert!(only.old[0].starts_with("answers probe.Log ("), "{only:?}");
    assert_ne!(only.old, only.new);

    assert_eq!(env.status_of("p").unwrap().turns, turns);
    assert_eq!(ask(&probe, &GetLog {}).await.unwrap(), before);
    assert!(env.history("p").unwrap().is_empty());
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_says_where_the_new_version_would_trap_and_why_a_swap_would_fail() {
    let env = start(client()).await;
    let probe = setup(&env, "p", "probe-v1").await;
    note(&probe, "fault").await;
    let rehearsal = env
        .rehearse("p", &component("probe-faulty"), None)
        .await
        .unwrap();
    assert_eq!(rehearsal.differences.len(), 1);
    let new = &rehearsal.differences[0].new;
    assert!(
        new[0].contains("traps") && new[0].contains("index out of bounds"),
        "{new:?}"
    );

    let rehearsal = env
        .rehearse("p", &component("bad-trap-in-restore"), None)
        .await
        .unwrap();
    let failure = rehearsal.failure.unwrap();
    assert!(failure.contains("asked to trap in restore"), "{failure}");
    let rehearsal = env
        .rehearse("p", &component("bad-unreadable-state"), None)
        .await
        .unwrap();
    assert!(rehearsal.failure.unwrap().contains("99"));
    let error = env
        .rehearse("p", &component("bad-trap-in-describe"), None)
        .await
        .unwrap_err();
    assert!(matches!(error, SwapError::Unfit { .. }), "{error:?}");
    let wider = setup(&env, "c", "wider-narrow").await;
    ask(&wider, &Count {}).await.unwrap();
    let rehearsal = env
        .rehearse("c", &component("wider-wide"), None)
        .await
        .unwrap();
    assert_eq!(rehearsal.wants.len(), 2, "{:?}", rehearsal.wants);
    assert!(env.status_of("c").unwrap().held.is_none());
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_endpoints_are_swapped_as_one_or_not_at_all() {
    let env = start(client()).await;
    let (a, b) = (
        setup(&env, "a", "probe-v1").await,
        setup(&env, "b", "probe-v1").await,
    );
    note(&a, "kept").await;
    let both = |to: &str| {
        vec![
            ("b".to_owned(), component(to), None),
            ("a".to_owned(), component("probe-v2"), None),
        ]
    };
    let version = async |of: &EndpointRef| ask(of, &GetLog {}).await.unwrap().version;
    let error = env
        .swap_together(both("bad-trap-in-restore"), "test")
        .await
        .unwrap_err();
    assert!(matches!(error, SwapError::NotTogether { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("`b`, `a`") && text.contains("asked to trap in restore"),
        "{text}"
    );
    assert_eq!(
        (version(&a).await.as_str(), version(&b).await.as_str()),
        ("1.0.0", "1.0.0")
    );
    for name in ["a", "b"] {
        let record = env.history(name).unwrap().pop().unwrap();
        assert!(
            matches!(record.outcome, SwapOutcome::GivenUp(_)),
            "{record:?}"
        );
    }
    let records = env.swap_together(both("probe-v2"), "test").await.unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!(
        (version(&a).await.as_str(), version(&b).await.as_str()),
        ("2.0.0", "2.0.0")
    );
    assert_eq!(
        ask(&a, &GetLog {}).await.unwrap().lines,
        ["start a", "kept"]
    );
    let twice = vec![
        ("a".to_owned(), component("probe-v1"), None),
        ("a".to_owned(), component("probe-v1"), None),
    ];
    let error = env.swap_together(twice, "test").await.unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
    env.shutdown().await;
}

/// Both ask each other meanwhile: standing still together must not become waiting for each other.
#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_talk_to_each_other_can_be_swapped_as_one_again_and_again() {
    let env = start(client()).await;
    let (a, b) = (
        setup(&env, "a", "probe-v1").await,
        setup(&env, "b", "probe-v1").await,
    );
    let talking: Vec<_> = [(a.clone(), "b"), (b.clone(), "a")]
        .into_iter()
        .map(|(of, to)| {
            let ask = fixture_probe::AskOther {
                to: instar_sdk::EndpointRef::local(to),
                text: "hello".to_owned(),
                timeout_ms: None,
            };
            tokio::spawn(async move {
                for _ in 0..300 {
                    of.send(message(&ask)).await.unwrap();
                }
            })
        })
        .collect();
    for round in 0..10 {
        let to = ["probe-v2", "probe-v1"][round % 2];
        let both = ["a", "b"].map(|name| (name.to_owned(), component(to), None));
        env.swap_together(both.into(), "test").await.unwrap();
    }
    for talking in talking {
        talking.await.unwrap();
    }
    for of in [a, b] {
        eventually("all answers", || async {
            let lines = ask(&of, &GetLog {}).await.ok()?.lines;
            (lines.len() == 301).then_some(())
        })
        .await;
    }
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_gives_memory_back_and_keeps_the_state() {
    let env = start(client()).await;
    let probe = setup(&env, "p", "probe-v1").await;
    note(&probe, "kept").await;
    ask(&probe, &Allocate { mib: 20 }).await.unwrap();
    let used = env.status_of("p").unwrap().memory_bytes;
    assert!(used > 20 << 20);
    let record = env.refresh("p", "test").await.unwrap();
    assert_eq!(record.from, record.to);
    assert!(env.status_of("p").unwrap().memory_bytes < 4 << 20);
    assert_eq!(
        ask(&probe, &GetLog {}).await.unwrap().lines,
        ["start p", "kept"]
    );
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn above_its_limit_an_endpoint_refreshes_itself() {
    let env = start(client()).await;
    let mut settings = EndpointSettings::default();
    settings.limits.refresh_above = Some(8 << 20);
    let probe = env
        .setup_endpoint("p", &component("probe-v1"), settings)
        .await
        .unwrap();
    note(&probe, "kept").await;
    ask(&probe, &Allocate { mib: 20 }).await.unwrap();
    eventually("less memory", || async {
        (env.status_of("p")?.memory_bytes < 4 << 20).then_some(())
    })
    .await;
    assert_eq!(
        ask(&probe, &GetLog {}).await.unwrap().lines,
        ["start p", "kept"]
    );
    let history = env.history("p").unwrap();
    assert_eq!(
        (history.len(), history[0].by.as_str()),
        (1, "limit `refresh_above`")
    );
    env.shutdown().await;
}
