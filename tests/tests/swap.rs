//! The swap: what stays, and what a bad version costs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use fixture_probe::{
    AnswerKept, AskAsync, AskKeeping, CancelTimer, Echo, GetLog, Keep, Note, Sleep, Spin,
    StartTimer, WhoAreYou,
};
use instar_host::endpoint::SwapError;
use instar_host::endpoint::record::SwapOutcome;
use instar_host::endpoint::settings::EndpointSettings;
use instar_host::{EndpointRef, RpcEnv};
use instar_tests::{ask, client, component, eventually, message, server, start};

async fn probe_with(env: &RpcEnv, name: &str, settings: EndpointSettings) -> EndpointRef {
    env.setup_endpoint(name, &component("probe-v1"), settings)
        .await
        .unwrap()
}

async fn probe(env: &RpcEnv, name: &str) -> EndpointRef {
    probe_with(env, name, EndpointSettings::default()).await
}

async fn log(of: &EndpointRef) -> Vec<String> {
    ask(of, &GetLog {}).await.unwrap().lines
}

async fn logged(of: &EndpointRef, line: &str) {
    eventually(&format!("{line:?} in the log of {of}"), || async {
        log(of)
            .await
            .iter()
            .any(|logged| logged == line)
            .then_some(())
    })
    .await;
}

async fn swap(env: &RpcEnv, name: &str, to: &str) {
    let record = env.swap(name, &component(to), None, "test").await.unwrap();
    assert_eq!(record.outcome, SwapOutcome::Swapped);
}

async fn open_calls(env: &RpcEnv, name: &str, count: usize) {
    eventually(&format!("{count} open calls at {name}"), || async {
        let status = env.status();
        let status = status.iter().find(|status| status.name == name)?;
        (status.open_calls == count).then_some(())
    })
    .await;
}

fn note(text: impl Into<String>) -> instar_host::Message {
    message(&Note { text: text.into() })
}

#[tokio::test]
async fn state_goes_to_the_next_version_and_back_as_often_as_one_likes() {
    let env = start(client()).await;
    let probe = probe(&env, "p").await;
    let mut expected = vec!["start p".to_owned()];
    for round in 0..6 {
        let text = format!("round {round}");
        probe.send(note(text.clone())).await.unwrap();
        expected.push(text);
        let (to, version) = match round % 2 {
            0 => ("probe-v2", "2.0.0"),
            _ => ("probe-v1", "1.0.0"),
        };
        swap(&env, "p", to).await;
        let log = ask(&probe, &GetLog {}).await.unwrap();
        assert_eq!((log.version.as_str(), &log.lines), (version, &expected));
    }
    let history = env.history("p").unwrap();
    let numbers: Vec<_> = history.iter().map(|record| record.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    assert!(history.iter().all(|record| record.state_version == 1));
    env.shutdown().await;
}

#[tokio::test]
async fn a_call_left_open_is_answered_by_the_next_version() {
    let (host, peer) = (start(server()).await, start(client()).await);
    let local = probe(&host, "p").await;
    let remote = peer
        .setup_endpoint_ref_by_uri(&local.to_string())
        .await
        .unwrap();
    let waiting: Vec<_> = [local.clone(), remote]
        .into_iter()
        .map(|of| tokio::spawn(async move { ask(&of, &Keep {}).await }))
        .collect();
    open_calls(&host, "p", 2).await;
    swap(&host, "p", "probe-v2").await;
    let answer = AnswerKept {
        text: "late".to_owned(),
    };
    local.send(message(&answer)).await.unwrap();
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap().unwrap().text, "late by 2.0.0");
    }
    peer.shutdown().await;
    host.shutdown().await;
}

#[tokio::test]
async fn an_answer_that_is_awaited_comes_to_the_next_version() {
    let env = start(client()).await;
    let (asker, keeper) = (probe(&env, "asker").await, probe(&env, "keeper").await);
    let to = ask(&keeper, &WhoAreYou {}).await.unwrap().me;
    asker.send(message(&AskKeeping { to })).await.unwrap();
    open_calls(&env, "keeper", 1).await;
    swap(&env, "asker", "probe-v2").await;
    let answer = AnswerKept {
        text: "at last".to_owned(),
    };
    keeper.send(message(&answer)).await.unwrap();
    logged(&asker, "2.0.0 heard at last by 1.0.0").await;
    env.shutdown().await;
}

#[tokio::test]
async fn timers_go_on_in_the_next_version_and_can_be_cancelled_by_it() {
    let env = start(client()).await;
    let probe = probe(&env, "p").await;
    let timer = StartTimer {
        text: "tick".to_owned(),
        delay_ms: 1,
        period_ms: Some(1),
    };
    probe.send(message(&timer)).await.unwrap();
    logged(&probe, "timer tick in 1.0.0").await;
    swap(&env, "p", "probe-v2").await;
    logged(&probe, "timer tick in 2.0.0").await;
    probe.send(message(&CancelTimer {})).await.unwrap();
    logged(&probe, "cancelled true").await;
    assert_eq!(env.status()[0].timers, 0);
    env.shutdown().await;
}

#[tokio::test]
async fn async_work_is_drained_before_the_swap() {
    let env = start(client()).await;
    let (asker, other) = (probe(&env, "asker").await, probe(&env, "other").await);
    let to = ask(&other, &WhoAreYou {}).await.unwrap().me;
    let sleeping = tokio::spawn({
        let asker = asker.clone();
        async move { ask(&asker, &Sleep { ms: 100 }).await }
    });
    open_calls(&env, "asker", 1).await;
    let text = "x".to_owned();
    asker.send(message(&AskAsync { to, text })).await.unwrap();
    swap(&env, "asker", "probe-v2").await;
    assert_eq!(sleeping.await.unwrap().unwrap().text, "slept in 1.0.0");
    let log = ask(&asker, &GetLog {}).await.unwrap();
    assert_eq!(log.version, "2.0.0");
    logged_one_of(&asker, ["async x by 1.0.0", "async x by 2.0.0"]).await;
    env.shutdown().await;
}

async fn logged_one_of(of: &EndpointRef, lines: [&str; 2]) {
    eventually(&format!("{lines:?} in the log of {of}"), || async {
        let log = log(of).await;
        log.iter()
            .any(|line| lines.contains(&line.as_str()))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn async_work_that_does_not_end_within_the_drain_limit_gives_the_swap_up() {
    let env = start(client()).await;
    let mut settings = EndpointSettings::default();
    settings.limits.drain = Duration::from_millis(50);
    let probe = probe_with(&env, "p", settings).await;
    let sleeping = probe.ask_abortable(message(&Sleep { ms: 3_600_000 }));
    open_calls(&env, "p", 1).await;
    let error = env
        .swap("p", &component("probe-v2"), None, "test")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("`drain`"), "{error}");
    assert_eq!(ask(&probe, &GetLog {}).await.unwrap().version, "1.0.0");
    drop(sleeping);
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_does_not_end_within_the_drain_limit_gives_the_swap_up() {
    let env = start(client()).await;
    let mut settings = EndpointSettings::default();
    settings.limits.drain = Duration::from_millis(50);
    settings.limits.turn = Duration::from_millis(500);
    let probe = probe_with(&env, "p", settings).await;
    // Compiled before, so that the swap comes while the turn runs.
    env.inspect(&component("probe-v2")).await.unwrap();
    let spinning = probe.ask_abortable(message(&Spin { turns: u64::MAX }));
    open_calls(&env, "p", 1).await;
    let error = env
        .swap("p", &component("probe-v2"), None, "test")
        .await
        .unwrap_err();
    assert!(matches!(error, SwapError::GivenUp { .. }), "{error:?}");
    let error = spinning.outcome().await.unwrap_err();
    assert!(error.to_string().contains("`turn`"), "{error}");
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_force_a_turn_that_does_not_end_is_ended_and_its_caller_told() {
    let env = start(client()).await;
    let mut settings = EndpointSettings::default();
    settings.limits.drain = Duration::from_millis(50);
    settings.limits.turn = Duration::from_secs(3600);
    let probe = probe_with(&env, "p", settings).await;
    let spinning = probe.ask_abortable(message(&Spin { turns: u64::MAX }));
    open_calls(&env, "p", 1).await;
    probe.send(note("behind it")).await.unwrap();
    let record = env
        .swap_by_force("p", &component("probe-v2"), None, "test")
        .await
        .unwrap();
    assert_eq!(record.outcome, SwapOutcome::Swapped);
    let error = spinning.outcome().await.unwrap_err();
    assert!(error.to_string().contains("forced swap"), "{error}");
    let log = ask(&probe, &GetLog {}).await.unwrap();
    assert_eq!(log.version, "2.0.0");
    assert!(log.lines.contains(&"behind it".to_owned()), "{log:?}");
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_force_async_work_that_does_not_end_is_given_up_and_the_state_kept() {
    let env = start(client()).await;
    let mut settings = EndpointSettings::default();
    settings.limits.drain = Duration::from_millis(50);
    let probe = probe_with(&env, "p", settings).await;
    probe.send(note("kept")).await.unwrap();
    let sleeping = probe.ask_abortable(message(&Sleep { ms: 200 }));
    open_calls(&env, "p", 1).await;
    env.swap_by_force("p", &component("probe-v2"), None, "test")
        .await
        .unwrap();
    let error = sleeping.outcome().await.unwrap_err();
    assert_eq!(error.code(), "aborted", "{error}");
    let log = ask(&probe, &GetLog {}).await.unwrap();
    assert_eq!(log.lines[..2], ["start p", "kept"]);
    env.shutdown().await;
}

/// The heart of it: nothing lost, doubled or reordered, whatever is swapped meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn four_senders_lose_nothing_while_three_versions_take_turns() {
    const LINES: u64 = 3000;
    let (host, peer) = (start(server()).await, start(client()).await);
    let code = component("wordcount-v1");
    let local = host
        .setup_endpoint("wordcount", &code, Default::default())
        .await
        .unwrap();
    let remote = peer
        .setup_endpoint_ref_by_uri(&local.to_string())
        .await
        .unwrap();
    let senders: Vec<_> = [local.clone(), local.clone(), remote.clone(), remote]
        .into_iter()
        .zip(0..)
        .map(|(to, source)| {
            tokio::spawn(async move {
                for number in 0..LINES {
                    let text = b"three short words".to_vec().into();
                    let line = wordcount::Line {
                        source,
                        number,
                        text,
                    };
                    to.send(message(&line)).await.unwrap();
                    if number % 50 == 0 {
                        // May find the inbox full, if it is local; then it is told so.
                        match ask(&to, &wordcount::GetTotals {}).await {
                            Ok(totals) => assert!(totals.lines > number),
                            Err(error) => assert_eq!(error.code(), "inbox-full"),
                        }
                    }
                }
            })
        })
        .collect();
    let mut swaps = 0;
    while senders.iter().any(|sender| !sender.is_finished()) {
        for to in ["wordcount-v2", "wordcount-v3", "wordcount-v1"] {
            swap(&host, "wordcount", to).await;
            swaps += 1;
        }
    }
    for sender in senders {
        sender.await.unwrap();
    }
    let totals = eventually("all lines", || async {
        let totals = ask(&local, &wordcount::GetTotals {}).await.ok()?;
        (totals.lines >= 4 * LINES).then_some(totals)
    })
    .await;
    assert!(swaps >= 3, "{swaps} swaps");
    assert_eq!((totals.lines, totals.words), (4 * LINES, 12 * LINES));
    assert_eq!(
        (totals.lost, totals.doubled, totals.out_of_order),
        (0, 0, 0)
    );
    peer.shutdown().await;
    host.shutdown().await;
}

/// What is wrong with each, where it is found, and a word of the reason.
const BAD: [(&str, bool, &str); 6] = [
    ("bad-trap-in-describe", true, "asked to trap in describe"),
    ("bad-unknown-right", true, "teleport"),
    ("bad-unreadable-state", true, "99"),
    ("bad-trap-in-restore", false, "asked to trap in restore"),
    ("bad-spin-in-restore", false, "`restore`"),
    ("bad-grow-in-restore", false, "memory"),
];

#[tokio::test(flavor = "multi_thread")]
async fn after_each_bad_version_the_old_one_goes_on_with_its_state() {
    let env = start(client()).await;
    let mut settings = EndpointSettings::default();
    settings.limits.restore = Duration::from_millis(300);
    settings.limits.memory_bytes = 16 << 20;
    let probe = probe_with(&env, "p", settings).await;
    probe.send(note("kept")).await.unwrap();
    for (bad, rejected, reason) in BAD {
        let error = env
            .swap("p", &component(bad), None, "test")
            .await
            .unwrap_err();
        assert!(error.to_string().contains(reason), "{bad}: {error}");
        assert_eq!(
            matches!(error, SwapError::Rejected { .. }),
            rejected,
            "{bad}: {error:?}"
        );
        assert_eq!(log(&probe).await, ["start p", "kept"], "after {bad}");
    }
    let history = env.history("p").unwrap();
    assert_eq!(history.len(), BAD.len());
    env.shutdown().await;
}

#[tokio::test]
async fn what_is_no_component_is_refused_with_what_it_is() {
    let env = start(client()).await;
    let probe = probe(&env, "p").await;
    let check = async |bytes: &[u8], reason: &str| {
        let code = instar_host::component::code::Code::from_bytes(bytes.to_vec());
        let error = env.swap("p", &code, None, "test").await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    };
    check(b"", "empty").await;
    check(b"#!/bin/sh", "23 21").await;
    check(b"\0asm\x01\0\0\0", "core module").await;
    let whole = component("echo");
    let half = &whole.bytes()[..whole.bytes().len() / 2];
    check(half, "compile").await;
    assert_eq!(log(&probe).await, ["start p"]);
    env.shutdown().await;
}

#[tokio::test]
async fn the_same_content_with_the_same_settings_is_no_swap() {
    let env = start(client()).await;
    probe(&env, "p").await;
    let same = component("probe-v1");
    let error = env.swap("p", &same, None, "test").await.unwrap_err();
    assert!(matches!(error, SwapError::AlreadyRuns { .. }), "{error:?}");
    assert!(env.history("p").unwrap().is_empty());
    env.shutdown().await;
}

#[tokio::test]
async fn new_settings_with_the_same_code_are_a_swap_that_keeps_the_state() {
    let env = start(client()).await;
    let probe = probe(&env, "p").await;
    probe.send(note("kept")).await.unwrap();
    let mut settings = EndpointSettings::default();
    settings
        .config
        .insert("colour".to_owned(), "green".to_owned());
    settings.limits.inbox = 7;
    env.swap("p", &component("probe-v1"), Some(settings), "test")
        .await
        .unwrap();
    let key = "colour".to_owned();
    assert_eq!(
        ask(&probe, &fixture_probe::GetConfig { key })
            .await
            .unwrap()
            .text,
        "green"
    );
    assert_eq!(log(&probe).await, ["start p", "kept"]);
    assert_eq!(env.status()[0].inbox_limit, 7);
    env.shutdown().await;
}

#[tokio::test]
async fn rollback_goes_back_to_the_version_before_with_the_state_of_now() {
    let env = start(client()).await;
    let probe = probe(&env, "p").await;
    swap(&env, "p", "probe-v2").await;
    probe.send(note("written by 2")).await.unwrap();
    let record = env.rollback("p", None).await.unwrap();
    assert_eq!(record.to.version, "1.0.0");
    let log = ask(&probe, &GetLog {}).await.unwrap();
    assert_eq!((log.version.as_str(), log.lines.len()), ("1.0.0", 2));
    env.rollback("p", Some("2.0.0")).await.unwrap();
    let error = env.rollback("p", Some("7.0.0")).await.unwrap_err();
    assert!(error.to_string().contains("2.0.0, 1.0.0"), "{error}");
    env.shutdown().await;
}

#[tokio::test]
async fn an_endpoint_whose_snapshot_traps_starts_afresh_and_the_swap_is_given_up() {
    let env = start(client()).await;
    let code = component("bad-trap-in-snapshot");
    let mut settings = EndpointSettings::default();
    settings.grants.insert("message:*".to_owned());
    env.setup_endpoint("bad", &code, settings).await.unwrap();
    eventually("on-start", || async {
        (env.status()[0].turns > 0).then_some(())
    })
    .await;
    let error = env
        .swap("bad", &component("probe-v1"), None, "test")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("asked to trap in snapshot"),
        "{error}"
    );
    eventually("a fresh instance", || async {
        let status = env.status();
        (status[0].crashes == 1 && status[0].turns > 1).then_some(())
    })
    .await;
    env.shutdown().await;
}

/// The promise of `wit/world.wit`: a component of an older contract loads, works and is swapped.
#[tokio::test]
async fn a_component_built_against_contract_0_1_0_still_loads_and_works() {
    let env = start(client()).await;
    let code = component("contract-0-1-0");
    let frozen = env
        .setup_endpoint("frozen", &code, Default::default())
        .await
        .unwrap();
    let add = instar_host::Message::new("frozen.Add", Vec::new());
    for _ in 0..300 {
        frozen.send(add.clone()).await.unwrap();
    }
    let mut settings = EndpointSettings::default();
    settings.limits.timers = 9;
    env.swap("frozen", &code, Some(settings), "test")
        .await
        .unwrap();
    let get = instar_host::Message::new("frozen.GetCount", Vec::new());
    let count = frozen.ask(get).await.unwrap();
    assert_eq!(postcard::from_bytes::<u64>(&count.body), Ok(300));
    env.shutdown().await;
}

#[tokio::test]
async fn a_swap_of_a_name_that_nobody_has_says_so() {
    let env = start(client()).await;
    let error = env
        .swap("nobody", &component("echo"), None, "test")
        .await
        .unwrap_err();
    assert!(matches!(error, SwapError::NotFound { .. }), "{error:?}");
    env.shutdown().await;
}

#[tokio::test]
async fn an_echo_is_answered_while_the_next_version_is_prepared() {
    let env = start(client()).await;
    let probe = probe(&env, "p").await;
    let swapping = tokio::spawn({
        let env = env.clone();
        async move { swap(&env, "p", "probe-v2").await }
    });
    while !swapping.is_finished() {
        let echo = Echo {
            text: "x".to_owned(),
        };
        assert_eq!(ask(&probe, &echo).await.unwrap().text, "x");
    }
    swapping.await.unwrap();
    env.shutdown().await;
}
