//! Checkpoints: an endpoint that crashed, or whose snapshot traps, comes back with the last copy of its
//! state.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use fixture_probe::{
    AnswerKept, Arm, AskKeeping, GetLog, Keep, Note, PanicOneWay, StartTimer, WhoAreYou,
};
use instar_host::endpoint::SwapError;
use instar_host::endpoint::settings::{Checkpoint, EndpointSettings};
use instar_host::endpoint::status::EndpointState;
use instar_host::{EndpointRef, RpcEnv};
use instar_tests::load::{load_endpoint, load_settings};
use instar_tests::{ask, client, component, eventually, message, start};

fn every(messages: u64) -> EndpointSettings {
    EndpointSettings {
        checkpoint: Checkpoint {
            messages: Some(messages),
            time: None,
        },
        ..EndpointSettings::default()
    }
}

async fn setup(env: &RpcEnv, name: &str, settings: EndpointSettings) -> EndpointRef {
    env.setup_endpoint(name, &component("probe-v1"), settings)
        .await
        .unwrap()
}

async fn note(to: &EndpointRef, text: &str) {
    let text = text.to_owned();
    to.send(message(&Note { text })).await.unwrap();
}

async fn crash(of: &EndpointRef) {
    let text = "asked to".to_owned();
    of.send(message(&PanicOneWay { text })).await.unwrap();
}

/// The log without what the host told about the crash.
async fn lines(of: &EndpointRef) -> Vec<String> {
    let lines = ask(of, &GetLog {}).await.unwrap().lines;
    lines
        .into_iter()
        .filter(|line| !line.starts_with("error crashed"))
        .collect()
}

async fn checkpointed(env: &RpcEnv, name: &str) {
    eventually(&format!("a checkpoint of {name}"), || async {
        env.status_of(name)?.checkpoint_age.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_endpoint_comes_back_with_the_last_copy_and_goes_on_with_its_queue() {
    let env = start(client()).await;
    let probe = setup(&env, "p", every(3)).await;
    for text in ["1", "2", "3"] {
        note(&probe, text).await;
    }
    checkpointed(&env, "p").await;
    note(&probe, "lost with the crash").await;
    crash(&probe).await;
    note(&probe, "behind it").await;
    assert_eq!(lines(&probe).await, ["start p", "1", "2", "3", "behind it"]);
    assert_eq!(env.status_of("p").unwrap().crashes, 1);
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_the_copy_holds_is_answered_after_the_crash_and_a_later_one_is_failed() {
    let env = start(client()).await;
    let probe = setup(&env, "p", every(1)).await;
    let held = tokio::spawn({
        let probe = probe.clone();
        async move { ask(&probe, &Keep {}).await }
    });
    checkpointed(&env, "p").await;
    // No more copies: the next call is in no image.
    let none = EndpointSettings {
        checkpoint: Checkpoint {
            messages: Some(1000),
            time: None,
        },
        ..EndpointSettings::default()
    };
    env.swap("p", &component("probe-v2"), Some(none), "test")
        .await
        .unwrap();
    env.swap(
        "p",
        &component("probe-v1"),
        Some(without_probation(1000)),
        "test",
    )
    .await
    .unwrap();
    let lost = probe.ask_abortable(message(&Keep {}));
    crash(&probe).await;
    assert_eq!(lost.outcome().await.unwrap_err().code(), "crashed");
    let text = "late".to_owned();
    probe.send(message(&AnswerKept { text })).await.unwrap();
    assert_eq!(held.await.unwrap().unwrap().text, "late by 1.0.0");
    env.shutdown().await;
}

fn without_probation(messages: u64) -> EndpointSettings {
    let mut settings = every(messages);
    settings.probation.messages = 0;
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn asks_and_timers_of_the_copy_go_on_after_the_crash() {
    let env = start(client()).await;
    let probe = setup(&env, "p", every(2)).await;
    let other = setup(&env, "other", EndpointSettings::default()).await;
    let to = ask(&other, &WhoAreYou {}).await.unwrap().me;
    probe.send(message(&AskKeeping { to })).await.unwrap();
    let timer = StartTimer {
        text: "tick".to_owned(),
        delay_ms: 1,
        period_ms: Some(5),
    };
    probe.send(message(&timer)).await.unwrap();
    checkpointed(&env, "p").await;
    crash(&probe).await;
    let text = "after all".to_owned();
    other.send(message(&AnswerKept { text })).await.unwrap();
    eventually("the answer and the timer", || async {
        let lines = lines(&probe).await;
        let ticks = lines.iter().filter(|line| line.contains("tick")).count();
        (ticks > 2 && lines.iter().any(|line| line.contains("heard after all"))).then_some(())
    })
    .await;
    env.shutdown().await;
}

/// The state still waits for the answer, though a later state had it already.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_with_a_later_state_is_told_as_a_failure() {
    let env = start(client()).await;
    let probe = setup(&env, "p", every(1000)).await;
    let other = setup(&env, "other", EndpointSettings::default()).await;
    let to = ask(&other, &WhoAreYou {}).await.unwrap().me;
    probe.send(message(&AskKeeping { to })).await.unwrap();
    eventually("the open call", || async {
        (env.status_of("other")?.open_calls == 1).then_some(())
    })
    .await;
    // A swap makes a copy, too: of the state that it carries.
    env.swap(
        "p",
        &component("probe-v2"),
        Some(without_probation(1000)),
        "test",
    )
    .await
    .unwrap();
    let text = "heard and lost".to_owned();
    other.send(message(&AnswerKept { text })).await.unwrap();
    eventually("the answer", || async {
        lines(&probe)
            .await
            .iter()
            .any(|line| line.contains("heard and lost"))
            .then_some(())
    })
    .await;
    crash(&probe).await;
    eventually("its loss", || async {
        let lines = lines(&probe).await;
        assert!(
            !lines.iter().any(|line| line.contains("heard and lost")),
            "{lines:?}"
        );
        lines
            .iter()
            .any(|line| line == "2.0.0 heard failure aborted")
            .then_some(())
    })
    .await;
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_whose_snapshot_traps_comes_back_with_the_last_copy_and_the_swap_is_given_up() {
    let env = start(client()).await;
    let probe = setup(&env, "p", every(2)).await;
    note(&probe, "1").await;
    note(&probe, "2").await;
    checkpointed(&env, "p").await;
    probe.send(message(&Arm {})).await.unwrap();
    let error = env
        .swap("p", &component("probe-v2"), None, "test")
        .await
        .unwrap_err();
    assert!(matches!(error, SwapError::GivenUp { .. }), "{error:?}");
    assert!(error.to_string().contains("the fuse is armed"), "{error}");
    assert_eq!(lines(&probe).await, ["start p", "1", "2"]);
    // And now that the fuse is out it can be swapped.
    env.swap("p", &component("probe-v2"), None, "test")
        .await
        .unwrap();
    assert_eq!(lines(&probe).await, ["start p", "1", "2"]);
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_traps_is_a_crash_that_comes_back_with_the_copy_before() {
    let env = start(client()).await;
    let probe = setup(&env, "p", every(1)).await;
    note(&probe, "1").await;
    checkpointed(&env, "p").await;
    probe.send(message(&Arm {})).await.unwrap();
    eventually("the crash", || async {
        (env.status_of("p")?.crashes == 1).then_some(())
    })
    .await;
    assert_eq!(lines(&probe).await, ["start p", "1"]);
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_made_after_some_time_if_there_was_anything_new() {
    let env = start(client()).await;
    let settings = EndpointSettings {
        checkpoint: Checkpoint {
            messages: None,
            time: Some(Duration::from_millis(20)),
        },
        ..EndpointSettings::default()
    };
    let probe = setup(&env, "p", settings).await;
    note(&probe, "1").await;
    checkpointed(&env, "p").await;
    eventually("a copy with the line", || async {
        crash(&probe).await;
        let lines = lines(&probe).await;
        assert_eq!(lines[0], "start p");
        (lines == ["start p", "1"]).then_some(())
    })
    .await;
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_by_an_operator_is_afresh_though_there_is_a_copy() {
    let env = start(client()).await;
    let probe = setup(&env, "p", every(1)).await;
    note(&probe, "1").await;
    checkpointed(&env, "p").await;
    env.restart("p").await.unwrap();
    assert_eq!(lines(&probe).await, ["start p"]);
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_endpoint_is_revived_by_a_new_version_with_the_last_copy() {
    let env = start(client()).await;
    let probe = setup(&env, "p", every(1)).await;
    note(&probe, "1").await;
    let held = probe.ask_abortable(message(&Keep {}));
    note(&probe, "2").await;
    eventually("a checkpoint that holds the call", || async {
        let lines = lines(&probe).await;
        (lines.last().map(String::as_str) == Some("2")).then_some(())
    })
    .await;
    for _ in 0..6 {
        crash(&probe).await;
    }
    eventually("the failure", || async {
        let state = env.status_of("p")?.state;
        matches!(
            state,
            instar_host::endpoint::status::EndpointState::Failed(_)
        )
        .then_some(())
    })
    .await;
    let error = held.outcome().await.unwrap_err();
    assert_eq!(
        error.code(),
        "crashed",
        "callers of a failed endpoint are told at once"
    );
    env.swap("p", &component("probe-v2"), None, "test")
        .await
        .unwrap();
    assert_eq!(lines(&probe).await, ["start p", "1", "2"]);
    env.shutdown().await;
}

/// The copy is in the third state version, which the second version does not read: the running one
/// comes back with it first, and writes it as the second one reads it.
#[tokio::test(flavor = "multi_thread")]
async fn a_swap_beside_a_copy_that_only_the_running_version_reads_waits_for_the_restart() {
    let env = start(client()).await;
    let mut settings = load_settings();
    settings.checkpoint.messages = Some(1);
    settings.probation.messages = 0;
    let load = load_endpoint(&env, "l", "load-v3", settings).await;
    let keep = fixture_load::Keep {
        sender: 0,
        number: 0,
        after_ms: None,
    };
    let held = load.ask_abortable(message(&keep));
    let life = ask(&load, &fixture_load::Ping {}).await.unwrap().life;
    checkpointed(&env, "l").await;
    // The second restart is not at once.
    for _ in 0..2 {
        let text = "asked to".to_owned();
        let sent = load.send(message(&fixture_load::Crash { text })).await;
        sent.unwrap();
    }
    eventually("the wait for the restart", || async {
        let state = env.status_of("l")?.state;
        matches!(state, EndpointState::Restarting(_)).then_some(())
    })
    .await;
    env.swap("l", &component("load-v2"), None, "test")
        .await
        .unwrap();
    let seen = ask(&load, &fixture_load::Ping {}).await.unwrap();
    assert_eq!((seen.version.as_str(), seen.life), ("2.0.0", life));
    assert_eq!(env.status_of("l").unwrap().timers, 1);
    load.send(message(&fixture_load::Release {})).await.unwrap();
    held.outcome().await.unwrap();
    env.shutdown().await;
}
