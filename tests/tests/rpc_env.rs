//! RpcEnv: sends, asks, lifecycle, names. The numbers are those of `tests/README.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use fixture_probe::{
    DropCall, Echo, Fail, GetLog, Keep, Note, Panic, Spin, StopYourself, Text, WhoAmI, WhoAreYou,
};
use instar_host::address::EndpointAddress;
use instar_host::endpoint::settings::EndpointSettings;
use instar_host::{EndpointRef, Message, RpcEnv, RpcError, SetupError};
use instar_tests::{ask, client, component, eventually, message, server, start};

async fn probe_with(env: &RpcEnv, name: &str, config: &[(&str, &str)]) -> EndpointRef {
    let config = config
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let settings = EndpointSettings {
        config: config.collect(),
        ..EndpointSettings::default()
    };
    env.setup_endpoint(name, &component("probe-v1"), settings)
        .await
        .unwrap()
}

async fn probe(env: &RpcEnv, name: &str) -> EndpointRef {
    probe_with(env, name, &[]).await
}

fn note(text: &str) -> Message {
    message(&Note {
        text: text.to_owned(),
    })
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

fn echo(text: &str) -> Echo {
    Echo {
        text: text.to_owned(),
    }
}

/// R1
#[tokio::test]
async fn a_message_to_a_local_endpoint_reaches_receive() {
    let env = start(client()).await;
    let probe = probe(&env, "p").await;
    probe.send(note("hello")).await.unwrap();
    assert_eq!(log(&probe).await, ["start p", "hello"]);
    env.shutdown().await;
}

/// R2
#[tokio::test]
async fn a_message_from_a_client_to_a_server_reaches_it() {
    let (host, peer) = (start(server()).await, start(client()).await);
    let local = probe(&host, "p").await;
    let remote = peer
        .setup_endpoint_ref_by_uri(&local.to_string())
        .await
        .unwrap();
    remote.send(note("from afar")).await.unwrap();
    logged(&local, "from afar").await;
    peer.shutdown().await;
    host.shutdown().await;
}

/// R3: the reference in an answer can be used at once, also over the wire.
#[tokio::test]
async fn an_endpoint_may_answer_with_its_own_reference() {
    let (host, peer) = (start(server()).await, start(client()).await);
    let local = probe(&host, "p").await;
    let remote = peer
        .setup_endpoint_ref_by_uri(&local.to_string())
        .await
        .unwrap();
    let answer = remote.ask(message(&WhoAreYou {})).await.unwrap();
    let me: EndpointRef = peer
        .deserialize(|| postcard::from_bytes(&answer.body))
        .unwrap();
    assert_eq!(me, remote);
    assert_eq!(ask(&me, &echo("x")).await.unwrap().text, "x");
    peer.shutdown().await;
    host.shutdown().await;
}

/// R4, R5, R17, R18
#[tokio::test]
async fn an_ask_returns_the_answer_locally_and_remotely() {
    let (host, peer) = (start(server()).await, start(client()).await);
    let local = probe(&host, "p").await;
    let remote = peer
        .setup_endpoint_ref_by_uri(&local.to_string())
        .await
        .unwrap();
    for of in [&local, &remote] {
        assert_eq!(
            ask(of, &echo("hello")).await.unwrap(),
            Text {
                text: "hello".to_owned()
            }
        );
    }
    peer.shutdown().await;
    host.shutdown().await;
}

/// R6, R37, R38: the text names who, how long, and which limit it was.
#[tokio::test]
async fn an_ask_that_is_not_answered_in_time_fails_and_names_the_limit() {
    let (host, peer) = (start(server()).await, start(client()).await);
    let local = probe(&host, "p").await;
    let remote = peer
        .setup_endpoint_ref_by_uri(&local.to_string())
        .await
        .unwrap();
    for of in [&local, &remote] {
        let limit = Duration::from_millis(1);
        let error = of
            .ask_with_timeout(message(&Keep {}), limit)
            .await
            .unwrap_err();
        let RpcError::Timeout {
            who,
            after,
            setting,
        } = &error
        else {
            panic!("{error:?}");
        };
        assert_eq!((who.as_str(), *after), (of.to_string().as_str(), limit));
        assert_eq!(error.to_string().matches(setting.as_str()).count(), 1);
    }
    peer.shutdown().await;
    host.shutdown().await;
}

/// R32 to R35: which setting limits which ask. Settings are typed here: none can be missing.
#[tokio::test]
async fn an_ask_without_a_limit_of_its_own_is_limited_by_ask_timeout() {
    let mut settings = client();
    settings.timeouts.ask_timeout = Duration::from_millis(1);
    let env = start(settings).await;
    let error = probe(&env, "p")
        .await
        .ask(message(&Keep {}))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("`ask_timeout`"), "{error}");
    env.shutdown().await;
}

/// R36
#[tokio::test]
async fn an_answer_within_a_long_limit_is_returned() {
    let env = start(client()).await;
    let limit = Duration::from_secs(600);
    let probe = probe(&env, "p").await;
    let answer = probe
        .ask_with_timeout(message(&echo("now")), limit)
        .await
        .unwrap();
    assert_eq!(&*answer.kind, "probe.Text");
    env.shutdown().await;
}

/// R7
#[tokio::test]
async fn an_aborted_ask_fails_with_the_cause_of_the_abort() {
    let (host, peer) = (start(server()).await, start(client()).await);
    let local = probe(&host, "p").await;
    let remote = peer
        .setup_endpoint_ref_by_uri(&local.to_string())
        .await
        .unwrap();
    for of in [&local, &remote] {
        let pending = of.ask_abortable(message(&Keep {}));
        pending.abort_handle().abort("changed my mind");
        let cause = "changed my mind".to_owned();
        assert_eq!(pending.outcome().await, Err(RpcError::Aborted { cause }));
    }
    peer.shutdown().await;
    host.shutdown().await;
}

/// R8, R16, RI1: what is told to another endpoint in `on-stop` proves that it ran, and how often.
#[tokio::test]
async fn an_endpoint_that_is_stopped_at_once_has_started_and_stops_once() {
    let env = start(client()).await;
    let witness = probe(&env, "witness").await;
    probe_with(&env, "p", &[("tell_stop_to", "witness")]).await;
    assert!(env.stop("p").await);
    assert!(!env.stop("p").await, "nothing has the name any more");
    assert_eq!(log(&witness).await, ["start witness", "stop p"]);
    env.shutdown().await;
}

/// R9 is different here: an endpoint that cannot start does not linger half-made. It crashes, is
/// tried again, and then is failed: loud, and its callers are answered.
#[tokio::test]
async fn an_endpoint_whose_start_fails_answers_its_callers_with_the_reason() {
    let env = start(client()).await;
    let probe = probe_with(&env, "p", &[("start_fails", "no luck today")]).await;
    let error = ask(&probe, &echo("x")).await.unwrap_err();
    assert_eq!(error.code(), "crashed");
    assert!(error.to_string().contains("no luck today"), "{error}");
    env.shutdown().await;
}

/// R10
#[tokio::test]
async fn a_failure_in_on_stop_reaches_on_error() {
    let env = start(client()).await;
    let witness = probe(&env, "witness").await;
    let config = [("stop_fails", "yes"), ("tell_stop_to", "witness")];
    probe_with(&env, "p", &config).await;
    env.stop("p").await;
    let seen = log(&witness).await;
    assert_eq!(
        seen,
        ["start witness", "stop p", "error asked to fail in on-stop"]
    );
    env.shutdown().await;
}

/// R11: and the next message is handled.
#[tokio::test]
async fn a_failure_in_receive_reaches_on_error_and_the_endpoint_goes_on() {
    let env = start(client()).await;
    let probe = probe(&env, "p").await;
    let fail = fixture_probe::FailOneWay {
        text: "bad day".to_owned(),
    };
    probe.send(message(&fail)).await.unwrap();
    probe.send(note("next")).await.unwrap();
    let log = log(&probe).await;
    assert!(
        log[1].starts_with("error ") && log[1].ends_with("bad day"),
        "{log:?}"
    );
    assert_eq!(log[2], "next");
    env.shutdown().await;
}

/// R12, R13 (R14: there is no null here; `on-stop` may still name its endpoint, see above.)
#[tokio::test]
async fn an_endpoint_knows_itself_in_on_start_and_in_handlers() {
    let env = start(client()).await;
    let probe = probe(&env, "p").await;
    assert_eq!(log(&probe).await, ["start p"]);
    assert_eq!(ask(&probe, &WhoAreYou {}).await.unwrap().me.name, "p");
    env.shutdown().await;
}

/// R15
#[tokio::test(flavor = "multi_thread")]
async fn ten_senders_of_a_hundred_messages_are_counted_to_a_thousand_every_time() {
    let env = start(client()).await;
    for round in 0..20 {
        let name = format!("p{round}");
        let probe = probe(&env, &name).await;
        let senders: Vec<_> = (0..10)
            .map(|sender| {
                let probe = probe.clone();
                tokio::spawn(async move {
                    for number in 0..100 {
                        let text = format!("{sender} {number}");
                        probe.send(note(&text)).await.unwrap();
                    }
                })
            })
            .collect();
        for sender in senders {
            sender.await.unwrap();
        }
        let log = log(&probe).await;
        assert_eq!(log.len(), 1001);
        // One sender's messages stay in their order.
        let of_three: Vec<_> = log
            .iter()
            .filter_map(|line| line.strip_prefix("3 "))
            .collect();
        let in_order: Vec<_> = (0..100).map(|number| number.to_string()).collect();
        assert_eq!(of_three, in_order);
        env.stop(&name).await;
    }
    env.shutdown().await;
}

/// R19, R20: a failure keeps its code and text, locally and remotely.
#[tokio::test]
async fn a_failure_of_the_handler_reaches_the_asker_as_it_is() {
    let (host, peer) = (start(server()).await, start(client()).await);
    let local = probe(&host, "p").await;
    let remote = peer
        .setup_endpoint_ref_by_uri(&local.to_string())
        .await
        .unwrap();
    for of in [&local, &remote] {
        let fail = Fail {
            code: "no-such-worker".to_owned(),
            text: "worker 7 is unknown".to_owned(),
        };
        let error = ask(of, &fail).await.unwrap_err();
        assert_eq!(error.code(), "no-such-worker");
        assert_eq!(error.to_string(), "worker 7 is unknown");
    }
    peer.shutdown().await;
    host.shutdown().await;
}

/// R24 has no counterpart: every failure can be sent. What can fail is decoding, see below.
#[tokio::test]
async fn a_kind_that_is_not_handled_and_a_body_that_does_not_decode_are_named() {
    let env = start(client()).await;
    let probe = probe(&env, "p").await;
    let unknown = Message::new("probe.Nonsense", Vec::new());
    let expected = RpcError::Unsupported {
        endpoint: "p".to_owned(),
        kind: "probe.Nonsense".to_owned(),
    };
    assert_eq!(probe.ask(unknown).await, Err(expected));
    let broken = Message::new("probe.Echo", vec![9, 9]);
    let error = probe.ask(broken).await.unwrap_err();
    assert_eq!(error.code(), "undecodable");
    assert!(error.to_string().contains("probe.Echo"), "{error}");
    env.shutdown().await;
}

/// R25
#[tokio::test]
async fn a_second_host_on_a_taken_port_takes_another_one() {
    let first = start(server()).await;
    let port = first.address().unwrap().port();
    let mut settings = server();
    settings.transport.listen = Some(instar_host::transport::Listen::local(port));
    let second = start(settings).await;
    assert_ne!(second.address().unwrap().port(), port);
    first.shutdown().await;
    second.shutdown().await;
}

/// R44: the end runs `on-stop`, and tells nobody of connections that go down with it.
#[tokio::test]
async fn shutdown_runs_on_stop_once_and_answers_what_waits() {
    let env = start(server()).await;
    let peer = start(server()).await;
    let witness = probe(&peer, "witness").await;
    let probe = probe(&env, "p").await;
    let kept = tokio::spawn({
        let probe = probe.clone();
        async move { ask(&probe, &Keep {}).await }
    });
    eventually("an open call", || async {
        env.status()
            .iter()
            .any(|status| status.open_calls == 1)
            .then_some(())
    })
    .await;
    env.shutdown().await;
    env.shutdown().await;
    env.await_termination().await;
    assert_eq!(kept.await.unwrap().unwrap_err().code(), "stopped");
    assert_eq!(ask(&probe, &echo("x")).await.unwrap_err().code(), "stopped");
    assert_eq!(log(&witness).await, ["start witness"]);
    peer.shutdown().await;
}

/// R45: one busy endpoint does not hold up another one, even on a single thread.
#[tokio::test]
async fn a_busy_endpoint_does_not_hold_up_another_one() {
    let env = start(client()).await;
    let (busy, free) = (probe(&env, "busy").await, probe(&env, "free").await);
    let spinning = busy.ask_abortable(message(&Spin { turns: u64::MAX }));
    for _ in 0..10 {
        assert_eq!(ask(&free, &echo("x")).await.unwrap().text, "x");
    }
    drop(spinning);
    env.shutdown().await;
}

/// RN1
#[tokio::test]
async fn looking_a_missing_endpoint_up_fails_and_names_it() {
    let (host, peer) = (start(server()).await, start(client()).await);
    let address = EndpointAddress::new("nobody", host.address().unwrap());
    let error = peer
        .setup_endpoint_ref_by_uri(&address.to_string())
        .await
        .unwrap_err();
    let expected = RpcError::EndpointNotFound {
        endpoint: "nobody".to_owned(),
        host: host.address().unwrap().to_string(),
    };
    assert_eq!(error, expected);
    // An ask without looking it up first says the same.
    let asked = peer.reference(address).ask(note("x")).await;
    assert_eq!(asked, Err(expected));
    let bad = peer
        .setup_endpoint_ref_by_uri("spark://p@h:1")
        .await
        .unwrap_err();
    assert!(bad.to_string().contains("spark://p@h:1"), "{bad}");
    peer.shutdown().await;
    host.shutdown().await;
}

/// RN2
#[tokio::test]
async fn the_address_shows_the_advertised_host() {
    let mut settings = server();
    if let Some(listen) = &mut settings.transport.listen {
        listen.advertise = Some("localhost".to_owned());
    }
    let env = start(settings).await;
    assert_eq!(env.address().unwrap().host(), "localhost");
    env.shutdown().await;
}

/// RN4: a handler that breaks costs its own caller, every time, and nobody else.
#[tokio::test]
async fn a_crash_answers_its_caller_with_the_panic_and_the_next_ask_is_answered() {
    let env = start(client()).await;
    let probe = probe(&env, "p").await;
    for text in ["first blow", "second blow"] {
        let error = ask(
            &probe,
            &Panic {
                text: text.to_owned(),
            },
        )
        .await
        .unwrap_err();
        assert_eq!(error.code(), "crashed");
        assert!(error.to_string().contains(text), "{error}");
    }
    assert_eq!(ask(&probe, &echo("alive")).await.unwrap().text, "alive");
    env.shutdown().await;
}

/// RN5: a server asks an endpoint of a client, over the connection that the client opened.
#[tokio::test]
async fn an_endpoint_of_a_client_is_reachable_over_the_clients_connection() {
    let (host, peer) = (start(server()).await, start(client()).await);
    let local = probe(&host, "p").await;
    let of_client = probe(&peer, "c").await;
    let unreachable = host.reference(of_client.address().clone());
    let error = ask(&unreachable, &echo("x")).await.unwrap_err();
    assert_eq!(error.code(), "network");
    let remote = peer
        .setup_endpoint_ref_by_uri(&local.to_string())
        .await
        .unwrap();
    let sender = ask(&remote, &WhoAmI {}).await.unwrap().text;
    assert_eq!(sender, peer.location().to_string());
    assert_eq!(ask(&unreachable, &echo("back")).await.unwrap().text, "back");
    let limit = Duration::from_millis(1);
    let error = unreachable
        .ask_with_timeout(message(&Keep {}), limit)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains(&unreachable.to_string()),
        "{error}"
    );
    peer.shutdown().await;
    host.shutdown().await;
}

/// A name belongs to one endpoint, and is free as soon as that is stopped.
#[tokio::test]
async fn a_name_is_taken_until_its_endpoint_is_stopped() {
    let env = start(client()).await;
    probe(&env, "p").await;
    let code = component("probe-v1");
    let again = env
        .setup_endpoint("p", &code, EndpointSettings::default())
        .await;
    assert!(matches!(again, Err(SetupError::NameTaken { name }) if name == "p"));
    env.stop("p").await;
    probe(&env, "p").await;
    let bad = env
        .setup_endpoint("a/b", &code, EndpointSettings::default())
        .await;
    assert!(matches!(bad, Err(SetupError::BadName(_))));
    env.shutdown().await;
    let late = env
        .setup_endpoint("q", &code, EndpointSettings::default())
        .await;
    assert!(matches!(late, Err(SetupError::Stopped { .. })));
}

/// References are equal where name and location are, also after the endpoint was replaced.
#[tokio::test]
async fn a_reference_stays_good_when_its_endpoint_is_stopped_and_set_up_again() {
    let env = start(client()).await;
    let before = probe(&env, "p").await;
    env.stop("p").await;
    assert_eq!(
        ask(&before, &echo("x")).await.unwrap_err().code(),
        "endpoint-not-found"
    );
    let after = probe(&env, "p").await;
    assert_eq!(before, after);
    assert_eq!(ask(&before, &echo("x")).await.unwrap().text, "x");
    assert_eq!(env.endpoint_ref("p"), Some(after));
    assert_eq!(env.endpoint_ref("q"), None);
    env.shutdown().await;
}

/// What is queued before a stop is handled before it.
#[tokio::test]
async fn messages_queued_before_a_stop_are_handled_before_on_stop() {
    let env = start(client()).await;
    let witness = probe(&env, "witness").await;
    let stopping = probe_with(&env, "p", &[("tell_stop_to", "witness")]).await;
    let to_witness = message(&fixture_probe::SendMany {
        to: ask(&witness, &WhoAreYou {}).await.unwrap().me,
        count: 3,
        prefix: "m".to_owned(),
        wait: true,
    });
    stopping.send(to_witness).await.unwrap();
    env.stop("p").await;
    assert_eq!(
        log(&witness).await,
        ["start witness", "m0", "m1", "m2", "stop p"]
    );
    env.shutdown().await;
}

/// An endpoint can end itself; its name is free then.
#[tokio::test]
async fn an_endpoint_that_stops_itself_gives_its_name_back() {
    let env = start(client()).await;
    let witness = probe(&env, "witness").await;
    let probe = probe_with(&env, "p", &[("tell_stop_to", "witness")]).await;
    probe.send(message(&StopYourself {})).await.unwrap();
    logged(&witness, "stop p").await;
    assert_eq!(env.endpoint_ref("p"), None);
    env.shutdown().await;
}

/// Dropping a call fails it at once, not at the caller's deadline.
#[tokio::test]
async fn a_call_that_is_dropped_fails_at_once() {
    let env = start(client()).await;
    let probe = probe(&env, "p").await;
    let error = ask(&probe, &DropCall {}).await.unwrap_err();
    assert_eq!(error.code(), "unanswered");
    env.shutdown().await;
}

/// `ask_with_retry` asks again after what may pass, and not after what will not.
#[tokio::test]
async fn ask_with_retry_asks_again_only_where_that_can_help() {
    let mut settings = client();
    settings.timeouts.ask_timeout = Duration::from_millis(20);
    settings.timeouts.retry_wait = Duration::from_millis(1);
    let env = start(settings).await;
    let probe = probe(&env, "p").await;
    let error = probe.ask_with_retry(message(&Keep {})).await.unwrap_err();
    assert_eq!(error.code(), "timeout");
    let open = env
        .status()
        .iter()
        .find(|s| s.name == "p")
        .map(|s| s.open_calls);
    assert_eq!(
        open,
        Some(3),
        "it was asked three times: at least once, not once"
    );
    let error = probe.ask_with_retry(note("x")).await.unwrap_err();
    assert_eq!(error.code(), "unsupported");
    env.shutdown().await;
}

/// `uri_of` is the address of an endpoint as text.
#[tokio::test]
async fn uri_of_is_the_uri_of_the_endpoint() {
    let env = start(server()).await;
    let probe = probe(&env, "p").await;
    assert_eq!(
        env.uri_of("any", &env.address().unwrap(), "p"),
        probe.to_string()
    );
    env.shutdown().await;
}
