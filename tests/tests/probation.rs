//! Probation: a new version that fails soon after the flip is exchanged for the one before, and nothing
//! is lost, doubled or answered twice by it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use fixture_probe::{
    AnswerKept, AskKeeping, AskOther, Echo, GetLog, Keep, Note, PanicOneWay, SendMany, StartTimer,
    WhoAreYou,
};
use instar_host::endpoint::record::{SwapOutcome, SwapRecord};
use instar_host::endpoint::settings::EndpointSettings;
use instar_host::{EndpointRef, RpcEnv};
use instar_tests::{ask, client, component, eventually, message, server, start};

async fn setup(env: &RpcEnv, name: &str, component_name: &str) -> EndpointRef {
    let settings = EndpointSettings::default();
    setup_with(env, name, component_name, settings).await
}

async fn setup_with(
    env: &RpcEnv,
    name: &str,
    component_name: &str,
    settings: EndpointSettings,
) -> EndpointRef {
    env.setup_endpoint(name, &component(component_name), settings)
        .await
        .unwrap()
}

async fn swap(env: &RpcEnv, name: &str, to: &str) {
    let record = env.swap(name, &component(to), None, "test").await.unwrap();
    assert_eq!(record.outcome, SwapOutcome::Swapped);
}

async fn note(to: &EndpointRef, text: &str) {
    let text = text.to_owned();
    to.send(message(&Note { text })).await.unwrap();
}

async fn log(of: &EndpointRef) -> (String, Vec<String>) {
    let log = ask(of, &GetLog {}).await.unwrap();
    (log.version, log.lines)
}

/// The record of the rollback, when there is one.
async fn rolled_back(env: &RpcEnv, name: &str) -> SwapRecord {
    eventually(&format!("a rollback of {name}"), || async {
        let last = env.history(name)?.pop()?;
        matches!(last.outcome, SwapOutcome::RolledBack(_)).then_some(last)
    })
    .await
}

async fn open_calls(env: &RpcEnv, name: &str, count: usize) {
    eventually(&format!("{count} open calls at {name}"), || async {
        (env.status_of(name)?.open_calls == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_puts_the_version_before_back_which_handles_the_message_that_did_it() {
    let (host, peer) = (start(server()).await, start(client()).await);
    let local = setup(&host, "p", "probe-v1").await;
    let remote = peer
        .setup_endpoint_ref_by_uri(&local.to_string())
        .await
        .unwrap();
    for number in 0..5 {
        note(&local, &format!("before {number}")).await;
    }
    swap(&host, "p", "probe-faulty").await;
    for number in 0..5 {
        note(&remote, &format!("after {number}")).await;
    }
    let kept = tokio::spawn({
        let remote = remote.clone();
        async move { ask(&remote, &Keep {}).await }
    });
    open_calls(&host, "p", 1).await;
    assert_eq!(log(&remote).await.0, "3.0.0");
    note(&remote, "the fault").await;
    note(&remote, "and on").await;
    let record = rolled_back(&host, "p").await;
    let reason = record.outcome.reason();
    assert!(
        reason
            .starts_with("rolled back to 1.0.0 because 3.0.0 trapped at message 8 (probe.Note): "),
        "{reason}"
    );
    assert!(reason.contains("index out of bounds"), "{reason}");
    assert_eq!(record.by, "probation");
    let (version, lines) = log(&remote).await;
    assert_eq!(version, "1.0.0");
    let mut expected = vec!["start p".to_owned()];
    expected.extend((0..5).map(|n| format!("before {n}")));
    expected.extend((0..5).map(|n| format!("after {n}")));
    expected.extend(["the fault", "and on"].map(str::to_owned));
    let lines: Vec<_> = lines
        .into_iter()
        .filter(|line| !line.contains("connected"))
        .collect();
    assert_eq!(lines, expected);
    let text = "at last".to_owned();
    remote.send(message(&AnswerKept { text })).await.unwrap();
    assert_eq!(kept.await.unwrap().unwrap().text, "at last by 1.0.0");
    let status = host.status_of("p").unwrap();
    assert_eq!((status.code.version.as_str(), status.crashes), ("1.0.0", 1));
    assert!(status.probation.is_none());
    peer.shutdown().await;
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_new_version_had_sent_and_answered_is_not_sent_or_answered_again() {
    let env = start(client()).await;
    let (probe, other) = (
        setup(&env, "p", "probe-v1").await,
        setup(&env, "other", "probe-v1").await,
    );
    let to = ask(&other, &WhoAreYou {}).await.unwrap().me;
    swap(&env, "p", "probe-faulty").await;
    let many = SendMany {
        to,
        count: 3,
        prefix: "n".to_owned(),
        wait: false,
    };
    probe.send(message(&many)).await.unwrap();
    let text = "x".to_owned();
    assert_eq!(ask(&probe, &Echo { text }).await.unwrap().text, "x");
    note(&probe, "fault").await;
    rolled_back(&env, "p").await;
    note(&other, "end").await;
    assert_eq!(
        log(&other).await.1,
        ["start other", "n0", "n1", "n2", "end"]
    );
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ask_of_the_new_version_ends_once_for_the_old_one_whether_answered_or_still_open() {
    let env = start(client()).await;
    let (probe, other) = (
        setup(&env, "p", "probe-v1").await,
        setup(&env, "other", "probe-v1").await,
    );
    let to = ask(&other, &WhoAreYou {}).await.unwrap().me;
    // Open at the flip, and answered in the trial.
    probe
        .send(message(&AskKeeping { to: to.clone() }))
        .await
        .unwrap();
    open_calls(&env, "other", 1).await;
    swap(&env, "p", "probe-faulty").await;
    let answer = |text: &str| {
        message(&AnswerKept {
            text: text.to_owned(),
        })
    };
    other.send(answer("early")).await.unwrap();
    // Asked and answered in the trial.
    let asking = AskOther {
        to: to.clone(),
        text: "y".to_owned(),
        timeout_ms: None,
    };
    probe.send(message(&asking)).await.unwrap();
    eventually("both answers", || async {
        let lines = log(&probe).await.1;
        (lines.len() == 3).then_some(())
    })
    .await;
    // Asked in the trial and open at its end.
    probe.send(message(&AskKeeping { to })).await.unwrap();
    open_calls(&env, "other", 1).await;
    note(&probe, "fault").await;
    rolled_back(&env, "p").await;
    open_calls(&env, "other", 2).await;
    other.send(answer("late")).await.unwrap();
    let lines = eventually("the last answer", || async {
        let lines = log(&probe).await.1;
        (lines.len() >= 5).then_some(lines)
    })
    .await;
    let mut sorted = lines[1..3].to_vec();
    sorted.sort();
    assert_eq!(sorted, ["1.0.0 heard early by 1.0.0", "answer y to y"]);
    assert_eq!(lines[3..], ["fault", "1.0.0 heard late by 1.0.0"]);
    let status = env.status_of("p").unwrap();
    assert_eq!(status.open_asks, 0);
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timers_of_the_new_version_fire_once_and_periodic_ones_go_on() {
    let env = start(client()).await;
    let probe = setup(&env, "p", "probe-v1").await;
    swap(&env, "p", "probe-faulty").await;
    let timer = |text: &str, delay_ms, period_ms| {
        message(&StartTimer {
            text: text.to_owned(),
            delay_ms,
            period_ms,
        })
    };
    probe.send(timer("once", 1, None)).await.unwrap();
    probe.send(timer("often", 1, Some(5))).await.unwrap();
    let fired = |lines: &[String], text: &str| {
        let line = format!("timer {text} ");
        lines.iter().filter(|l| l.starts_with(&line)).count()
    };
    eventually("both timers", || async {
        let lines = log(&probe).await.1;
        (fired(&lines, "once") == 1 && fired(&lines, "often") >= 2).then_some(())
    })
    .await;
    note(&probe, "fault").await;
    rolled_back(&env, "p").await;
    let at_rollback = fired(&log(&probe).await.1, "often");
    eventually("the periodic timer goes on", || async {
        (fired(&log(&probe).await.1, "often") > at_rollback + 2).then_some(())
    })
    .await;
    assert_eq!(fired(&log(&probe).await.1, "once"), 1);
    assert_eq!(env.status_of("p").unwrap().timers, 1);
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_takes_too_long_is_a_failure_like_a_trap() {
    let env = start(client()).await;
    let mut settings = EndpointSettings::default();
    settings.limits.turn = Duration::from_millis(200);
    let probe = setup_with(&env, "p", "probe-v1", settings).await;
    swap(&env, "p", "probe-spinning").await;
    note(&probe, "fault").await;
    let record = rolled_back(&env, "p").await;
    assert!(record.outcome.reason().contains("`turn`"), "{record:?}");
    assert_eq!(log(&probe).await.1, ["start p", "fault"]);
    env.shutdown().await;
}

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

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_passed_its_probation_is_not_rolled_back() {
    let env = start(client()).await;
    let mut settings = EndpointSettings::default();
    settings.probation.messages = 3;
    let probe = setup_with(&env, "p", "probe-v1", settings).await;
    swap(&env, "p", "probe-faulty").await;
    let on_probation = env.status_of("p").unwrap().probation.unwrap();
    assert_eq!(on_probation.back_to.version, "1.0.0");
    for number in 0..3 {
        note(&probe, &number.to_string()).await;
    }
    eventually("the end of the probation", || async {
        env.status_of("p")?.probation.is_none().then_some(())
    })
    .await;
    note(&probe, "fault").await;
    let (version, lines) = log(&probe).await;
    assert_eq!(version, "3.0.0");
    assert_eq!(lines[0], "start p", "afresh, as after any crash: {lines:?}");
    assert_eq!(env.history("p").unwrap().len(), 1);
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_and_the_third_rollback_are_as_good_as_the_first() {
    let env = start(client()).await;
    let probe = setup(&env, "p", "probe-v1").await;
    let mut expected = vec!["start p".to_owned()];
    for round in 0..3 {
        swap(&env, "p", "probe-faulty").await;
        for text in [format!("fine {round}"), format!("fault {round}")] {
            note(&probe, &text).await;
            expected.push(text);
        }
        eventually("the old version", || async {
            (env.status_of("p")?.code.version == "1.0.0").then_some(())
        })
        .await;
        assert_eq!(log(&probe).await.1, expected);
    }
    swap(&env, "p", "probe-v2").await;
    assert_eq!(log(&probe).await, ("2.0.0".to_owned(), expected));
    env.shutdown().await;
}

/// The old version traps where the new one did not.
#[tokio::test(flavor = "multi_thread")]
async fn where_the_old_version_cannot_repeat_it_the_state_of_the_flip_comes_back() {
    let env = start(client()).await;
    let probe = setup(&env, "p", "probe-faulty").await;
    note(&probe, "before").await;
    swap(&env, "p", "probe-v2").await;
    note(&probe, "a fault that v2 can handle").await;
    let kept = probe.ask_abortable(message(&Keep {}));
    open_calls(&env, "p", 1).await;
    let text = "oh".to_owned();
    probe.send(message(&PanicOneWay { text })).await.unwrap();
    let record = rolled_back(&env, "p").await;
    assert!(
        record.outcome.reason().contains("could not repeat"),
        "{record:?}"
    );
    let error = kept.outcome().await.unwrap_err();
    assert_eq!(
        error.code(),
        "crashed",
        "the call that only the lost state knew"
    );
    let (version, lines) = log(&probe).await;
    assert_eq!(version, "3.0.0");
    assert_eq!(lines[..2], ["start p", "before"]);
    assert!(lines[2].starts_with("error crashed: "), "{lines:?}");
    // Once only: without checkpoints that state would grow older and older.
    let text = "again".to_owned();
    probe.send(message(&PanicOneWay { text })).await.unwrap();
    let lines = log(&probe).await.1;
    assert!(!lines.contains(&"before".to_owned()), "{lines:?}");
    env.shutdown().await;
}

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
