//! Endpoints that misbehave: each costs itself, never the host and never a neighbour, which is asked
//! without a pause meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use fixture_probe::{
    Allocate, Echo, GetLog, Huge, Keep, Measure, Note, Panic, PanicOneWay, Recurse, ReplyTwice,
    SendMany, Spin, StartTimer, UseCallId, WhoAreYou,
};
use instar_host::endpoint::settings::EndpointSettings;
use instar_host::endpoint::status::{EndpointState, EndpointStatus, Metric};
use instar_host::{EndpointRef, RpcEnv, RpcError};
use instar_tests::neighbour::Neighbour;
use instar_tests::{ask, client, component, eventually, message, start};

async fn probe_with(env: &RpcEnv, name: &str, settings: EndpointSettings) -> EndpointRef {
    env.setup_endpoint(name, &component("probe-v1"), settings)
        .await
        .unwrap()
}

async fn probe(env: &RpcEnv, name: &str) -> EndpointRef {
    probe_with(env, name, EndpointSettings::default()).await
}

fn status(env: &RpcEnv, name: &str) -> EndpointStatus {
    let all = env.status();
    all.into_iter().find(|status| status.name == name).unwrap()
}

async fn is_alive(of: &EndpointRef) {
    let echo = Echo {
        text: "alive".to_owned(),
    };
    assert_eq!(ask(of, &echo).await.unwrap().text, "alive");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_spins_for_ever_is_ended_at_its_turn_limit() {
    let env = start(client()).await;
    let neighbour = Neighbour::of(&env).await;
    let mut settings = EndpointSettings::default();
    settings.limits.turn = Duration::from_millis(100);
    let (bad, good) = (
        probe_with(&env, "bad", settings).await,
        probe(&env, "good").await,
    );
    let error = ask(&bad, &Spin { turns: u64::MAX }).await.unwrap_err();
    assert!(error.to_string().contains("limit `turn`"), "{error}");
    is_alive(&good).await;
    is_alive(&bad).await;
    assert_eq!(status(&env, "bad").crashes, 1);
    neighbour.was_answered("one spins").await;
    env.shutdown().await;
}

#[tokio::test]
async fn memory_beyond_the_limit_is_refused_and_the_host_goes_on() {
    let env = start(client()).await;
    let neighbour = Neighbour::of(&env).await;
    let mut settings = EndpointSettings::default();
    settings.limits.memory_bytes = 8 << 20;
    let bad = probe_with(&env, "bad", settings).await;
    assert_eq!(ask(&bad, &Allocate { mib: 2 }).await.unwrap().text, "2 MiB");
    let error = ask(&bad, &Allocate { mib: 100 }).await.unwrap_err();
    assert!(error.to_string().contains("memory allocation"), "{error}");
    is_alive(&bad).await;
    let status = status(&env, "bad");
    assert!(status.memory_bytes <= status.memory_limit_bytes);
    neighbour.was_answered("one takes memory").await;
    env.shutdown().await;
}

#[tokio::test]
async fn endless_recursion_is_a_crash_of_the_endpoint_alone() {
    let env = start(client()).await;
    let neighbour = Neighbour::of(&env).await;
    let (bad, good) = (probe(&env, "bad").await, probe(&env, "good").await);
    let error = ask(&bad, &Recurse { depth: u64::MAX }).await.unwrap_err();
    assert_eq!(error.code(), "crashed");
    is_alive(&good).await;
    is_alive(&bad).await;
    neighbour.was_answered("one recurses").await;
    env.shutdown().await;
}

#[tokio::test]
async fn a_reply_larger_than_a_frame_is_refused_and_its_size_told() {
    let env = start(client()).await;
    let neighbour = Neighbour::of(&env).await;
    let bad = probe(&env, "bad").await;
    let blob = ask(&bad, &Huge { bytes: 1 << 20 }).await.unwrap();
    assert_eq!(blob.bytes.len(), 1 << 20);
    let error = ask(&bad, &Huge { bytes: 20 << 20 }).await.unwrap_err();
    assert!(error.to_string().contains("frame_bytes_max"), "{error}");
    is_alive(&bad).await;
    neighbour.was_answered("one answers with too much").await;
    env.shutdown().await;
}

#[tokio::test]
async fn a_second_answer_and_an_answer_to_a_stale_call_are_refused() {
    let env = start(client()).await;
    let neighbour = Neighbour::of(&env).await;
    let bad = probe(&env, "bad").await;
    assert_eq!(ask(&bad, &ReplyTwice {}).await.unwrap().text, "once");
    let log = ask(&bad, &GetLog {}).await.unwrap().lines;
    assert_eq!(log[1], "second answer refused");
    for id in [0, 1, u64::MAX] {
        let error = ask(&bad, &UseCallId { id }).await.unwrap_err();
        assert!(error.to_string().contains("not open"), "{error}");
    }
    neighbour
        .was_answered("one answers twice, and what it was not asked")
        .await;
    env.shutdown().await;
}

#[tokio::test]
async fn a_handler_that_traps_is_restarted_and_nobody_else_notices() {
    let env = start(client()).await;
    let neighbour = Neighbour::of(&env).await;
    let bad = probe(&env, "bad").await;
    let text = "asked to panic".to_owned();
    for _ in 0..3 {
        let panic = Panic { text: text.clone() };
        let error = ask(&bad, &panic).await.unwrap_err();
        assert!(error.to_string().contains(&text), "{error}");
        is_alive(&bad).await;
    }
    assert_eq!(status(&env, "bad").crashes, 3);
    assert_eq!(status(&env, "neighbour").crashes, 0);
    neighbour.was_answered("one traps").await;
    env.shutdown().await;
}

#[tokio::test]
async fn calls_that_are_never_answered_fill_their_own_limit_only() {
    let env = start(client()).await;
    let neighbour = Neighbour::of(&env).await;
    let mut settings = EndpointSettings::default();
    settings.limits.open_calls = 50;
    let bad = probe_with(&env, "bad", settings).await;
    let never: Vec<_> = (0..50)
        .map(|_| bad.ask_abortable(message(&Keep {})))
        .collect();
    eventually("50 open calls", || async {
        (status(&env, "bad").open_calls == 50).then_some(())
    })
    .await;
    let refused = ask(&bad, &Keep {}).await.unwrap_err();
    assert!(refused.to_string().contains("open_calls"), "{refused}");
    neighbour.was_answered("one never answers").await;
    let stopped = tokio::spawn({
        let env = env.clone();
        async move { env.shutdown().await }
    });
    for never in never {
        let told = never.outcome().await.unwrap_err();
        assert_eq!(told.code(), "stopped", "the end is told: {told}");
    }
    stopped.await.unwrap();
}

/// An endpoint knows the ids of its own calls only. That of another one's open call opens nothing.
#[tokio::test]
async fn the_call_of_a_neighbour_cannot_be_answered_by_its_id() {
    let env = start(client()).await;
    let neighbour = Neighbour::of(&env).await;
    let (bad, good) = (probe(&env, "bad").await, probe(&env, "good").await);
    let kept = good.ask_abortable(message(&Keep {}));
    eventually("an open call", || async {
        (status(&env, "good").open_calls == 1).then_some(())
    })
    .await;
    // Ids are small numbers, counted by each endpoint for itself.
    let own = 1..=20;
    for id in own {
        // One of these is the very call that asks: its answer is its own.
        if let Ok(answer) = ask(&bad, &UseCallId { id }).await {
            assert!(answer.text == "stale" || answer.text == "taken");
        }
    }
    assert_eq!(status(&env, "good").open_calls, 1);
    let answer = fixture_probe::AnswerKept {
        text: "mine".to_owned(),
    };
    good.send(message(&answer)).await.unwrap();
    let told = kept.outcome().await.unwrap();
    let told: fixture_probe::Text = postcard::from_bytes(&told.body).unwrap();
    assert_eq!(told.text, "mine by 1.0.0");
    neighbour.was_answered("one guesses ids").await;
    env.shutdown().await;
}

#[tokio::test]
async fn a_crash_costs_the_message_that_did_it_and_none_behind_it() {
    let env = start(client()).await;
    let probe = probe(&env, "p").await;
    // One batch: they are all queued before the first is handled.
    let crash = message(&PanicOneWay {
        text: "in the middle".to_owned(),
    });
    for number in 0..10 {
        let text = format!("n{number}");
        probe.send(message(&Note { text })).await.unwrap();
        if number == 4 {
            probe.send(crash.clone()).await.unwrap();
        }
    }
    let lines = ask(&probe, &GetLog {}).await.unwrap().lines;
    let notes: Vec<_> = lines.iter().filter(|line| line.starts_with('n')).collect();
    assert_eq!(
        notes,
        ["n5", "n6", "n7", "n8", "n9"],
        "the state before is gone: {lines:?}"
    );
    let told = lines
        .iter()
        .any(|line| line.starts_with("error crashed") && line.contains("middle"));
    assert!(told, "the next instance is told: {lines:?}");
    let letters = status(&env, "p").dead_letters;
    assert_eq!(letters.get("crashed"), Some(&1));
    env.shutdown().await;
}

#[tokio::test]
async fn a_crash_fails_the_calls_that_only_the_lost_state_could_answer() {
    let env = start(client()).await;
    let probe = probe(&env, "p").await;
    let kept = tokio::spawn({
        let probe = probe.clone();
        async move { ask(&probe, &Keep {}).await }
    });
    eventually("an open call", || async {
        (status(&env, "p").open_calls == 1).then_some(())
    })
    .await;
    ask(
        &probe,
        &Panic {
            text: "gone".to_owned(),
        },
    )
    .await
    .unwrap_err();
    let error = kept.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("lost"), "{error}");
    env.shutdown().await;
}

#[tokio::test]
async fn an_endpoint_that_crashes_too_often_fails_loudly_and_is_revived_by_hand_or_by_new_code() {
    let env = start(client()).await;
    let probe = probe(&env, "p").await;
    let crash = Panic {
        text: "again".to_owned(),
    };
    for _ in 0..6 {
        ask(&probe, &crash).await.unwrap_err();
    }
    let EndpointState::Failed(reason) = status(&env, "p").state else {
        panic!("{:?}", status(&env, "p").state);
    };
    assert!(
        reason.contains("again") && reason.contains("restart"),
        "{reason}"
    );
    let refused = ask(
        &probe,
        &Echo {
            text: "x".to_owned(),
        },
    )
    .await
    .unwrap_err();
    assert!(matches!(refused, RpcError::Crashed { .. }), "{refused:?}");
    env.restart("p").await.unwrap();
    is_alive(&probe).await;
    for _ in 0..6 {
        ask(&probe, &crash).await.unwrap_err();
    }
    env.swap("p", &component("probe-v2"), None, "test")
        .await
        .unwrap();
    is_alive(&probe).await;
    assert_eq!(status(&env, "p").state, EndpointState::Running);
    env.shutdown().await;
}

#[tokio::test]
async fn a_full_inbox_refuses_an_ask_at_once_and_names_its_capacity() {
    let env = start(client()).await;
    let mut settings = EndpointSettings::default();
    settings.limits.inbox = 2;
    let busy = probe_with(&env, "busy", settings).await;
    let spinning = busy.ask_abortable(message(&Spin { turns: 50_000_000 }));
    eventually("the spinning to begin", || async {
        (status(&env, "busy").open_calls == 1).then_some(())
    })
    .await;
    let note = message(&Note {
        text: "x".to_owned(),
    });
    while busy.try_send(note.clone()).is_ok() {}
    let error = ask(&busy, &GetLog {}).await.unwrap_err();
    let expected = RpcError::InboxFull {
        endpoint: "busy".to_owned(),
        capacity: 2,
    };
    assert_eq!(error, expected);
    spinning.outcome().await.unwrap();
    env.shutdown().await;
}

#[tokio::test]
async fn an_endpoint_that_floods_another_one_waits_or_is_refused_as_it_chose() {
    let env = start(client()).await;
    let neighbour = Neighbour::of(&env).await;
    let mut settings = EndpointSettings::default();
    settings.limits.inbox = 8;
    let slow = probe_with(&env, "slow", settings).await;
    let (patient, hasty) = (probe(&env, "patient").await, probe(&env, "hasty").await);
    let to = ask(&slow, &WhoAreYou {}).await.unwrap().me;
    let mut many = SendMany {
        to,
        count: 1000,
        prefix: "n".to_owned(),
        wait: true,
    };
    patient.send(message(&many)).await.unwrap();
    eventually("all of a patient sender's notes", || async {
        let lines = ask(&slow, &GetLog {}).await.ok()?.lines;
        (lines.len() == 1001).then_some(())
    })
    .await;
    many.wait = false;
    hasty.send(message(&many)).await.unwrap();
    let lines = ask(&hasty, &GetLog {}).await.unwrap().lines;
    assert!(lines[1].contains("inbox-full"), "{lines:?}");
    neighbour.was_answered("one floods another").await;
    env.shutdown().await;
}

#[tokio::test]
async fn timers_and_asks_are_bounded() {
    let env = start(client()).await;
    let mut settings = EndpointSettings::default();
    settings.limits.timers = 3;
    let probe = probe_with(&env, "p", settings).await;
    let timer = StartTimer {
        text: "late".to_owned(),
        delay_ms: 3_600_000,
        period_ms: None,
    };
    for _ in 0..5 {
        probe.send(message(&timer)).await.unwrap();
    }
    let lines = ask(&probe, &GetLog {}).await.unwrap().lines;
    let refused = lines.iter().filter(|line| line.contains("the limit is 3"));
    assert_eq!(refused.count(), 2, "{lines:?}");
    assert_eq!(status(&env, "p").timers, 3);
    env.shutdown().await;
}

#[tokio::test]
async fn the_numbers_of_a_guest_belong_to_the_endpoint_and_survive_its_code() {
    let env = start(client()).await;
    let probe = probe(&env, "p").await;
    let measure = message(&Measure {
        counter: 2,
        gauge: 0.5,
    });
    probe.send(measure.clone()).await.unwrap();
    ask(&probe, &GetLog {}).await.unwrap();
    env.swap("p", &component("probe-v2"), None, "test")
        .await
        .unwrap();
    probe.send(measure).await.unwrap();
    ask(&probe, &GetLog {}).await.unwrap();
    let metrics = status(&env, "p").metrics;
    assert_eq!(
        metrics.get("probe.counter"),
        Some(&Metric::Counter { value: 4 })
    );
    assert_eq!(
        metrics.get("probe.gauge"),
        Some(&Metric::Gauge { value: 0.5 })
    );
    let histogram = metrics.get("probe.histogram");
    assert!(
        matches!(histogram, Some(Metric::Histogram { count: 2, .. })),
        "{histogram:?}"
    );
    env.shutdown().await;
}

#[tokio::test]
async fn a_right_that_was_not_granted_keeps_the_code_out() {
    let env = start(client()).await;
    let code = instar_host::bundled::endpoint_verifier();
    let refused = env
        .setup_endpoint("v", &code, EndpointSettings::default())
        .await;
    let text = refused.unwrap_err().to_string();
    assert!(
        text.contains("registry") && text.contains("grants"),
        "{text}"
    );
    env.shutdown().await;
}

/// A refused version changes nothing: what has failed has failed, and says so.
#[tokio::test]
async fn a_failed_endpoint_that_is_offered_a_bad_version_still_says_that_it_failed() {
    let env = start(client()).await;
    let probe = probe(&env, "p").await;
    let crash = Panic {
        text: "again".to_owned(),
    };
    for _ in 0..6 {
        ask(&probe, &crash).await.unwrap_err();
    }
    let before = status(&env, "p").state;
    assert!(matches!(before, EndpointState::Failed(_)), "{before:?}");
    let bad = component("bad-wrong-version");
    env.swap("p", &bad, None, "test").await.unwrap_err();
    assert_eq!(status(&env, "p").state, before);
    env.shutdown().await;
}
