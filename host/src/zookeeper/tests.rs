//! Sessions with a real server.

use std::time::Duration;

use zookeeper_client::{Acls, CreateMode, Error};

use super::request::within;
use super::session::{Session, SessionState};
use super::{Credentials, TlsFiles, ZooKeeperError, ZooKeeperSettings};

use self::proxy::Proxy;
use self::server::{LONGEST_SESSION, ZooKeeperServer};

#[path = "../../../tests/src/packages.rs"]
pub(crate) mod packages;

#[path = "../../../tests/src/zookeeper.rs"]
pub(crate) mod server;

#[path = "../../../tests/src/proxy.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part of it is enough here")]
pub(crate) mod proxy;

#[path = "../../../tests/src/second_client.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part of it is enough here")]
pub(crate) mod second_client;

/// The longest that a test waits for a state.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Settings for a server at `url`, with a session of this time.
pub(crate) fn settings(url: &str, session_timeout: Duration) -> ZooKeeperSettings {
    ZooKeeperSettings {
        url: url.to_owned(),
        session_timeout,
        ..ZooKeeperSettings::default()
    }
}

/// A way to a server that can be cut.
pub(crate) async fn proxy_to(server: &ZooKeeperServer) -> Proxy {
    Proxy::to(([127, 0, 0, 1], server.port()).into()).await
}

/// Another client ends all sessions that were given through a way to this server. How many there were.
pub(crate) async fn expire_all(proxy: &Proxy, server: &ZooKeeperServer) -> usize {
    let at = ([127, 0, 0, 1], server.port()).into();
    let mut expired = 0;
    for session in second_client::sessions_through(proxy) {
        let was_there = second_client::expire(at, &session).await.unwrap();
        expired += usize::from(was_there);
    }
    expired
}

/// Waits until a session is as it should be.
pub(crate) async fn until(session: &Session, what: &str, is: impl Fn(&SessionState) -> bool) {
    let mut states = session.state();
    let wait = states.wait_for(|state| is(state));
    if tokio::time::timeout(DEADLINE, wait).await.is_err() {
        panic!("not {what}: {session:?}");
    }
}

fn is_connected(state: &SessionState) -> bool {
    matches!(state, SessionState::Connected { .. })
}

fn trouble(session: &Session) -> String {
    match &*session.state().borrow() {
        SessionState::Connecting {
            trouble: Some(text),
        } => text.clone(),
        other => panic!("no trouble: {other:?}"),
    }
}

async fn until_trouble(session: &Session) -> String {
    let is = |state: &SessionState| matches!(state, SessionState::Connecting { trouble: Some(_) });
    until(session, "in trouble", is).await;
    trouble(session)
}

const LONG: Duration = Duration::from_secs(30);

/// Whoever starts before the servers do works as soon as they do, and says meanwhile what it waits for.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_waits_for_its_server() {
    let mut server = ZooKeeperServer::start().unwrap();
    server.kill();
    let session = Session::start(&settings(&server.url(), LONG), "test").unwrap();
    let text = until_trouble(&session).await;
    assert!(text.contains(&server.url()), "{text}");
    assert!(
        text.contains("refused") && text.contains("check that it runs"),
        "{text}"
    );
    server.restart().unwrap();
    until(&session, "connected", is_connected).await;
    session.close().await;
}

/// The library would call it over only after 7/5 of its time, and somebody else has what was ours by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_over_when_its_time_has_passed_and_another_one_comes() {
    let server = ZooKeeperServer::start().unwrap();
    let proxy = proxy_to(&server).await;
    let url = format!("127.0.0.1:{}", proxy.port());
    let session = Session::start(&settings(&url, Duration::from_secs(2)), "test").unwrap();
    until(&session, "connected", is_connected).await;
    let first = session.client().unwrap();
    proxy.break_off().await;
    let suspended =
        |state: &SessionState| matches!(state, SessionState::Suspended { generation: 1, .. });
    until(&session, "suspended", suspended).await;
    let over = |state: &SessionState| matches!(state, SessionState::Connecting { .. });
    until(&session, "over", over).await;
    assert!(session.client().is_none() && session.client_of(1).is_none());
    proxy.mend();
    until(&session, "connected", |state| {
        *state == SessionState::Connected { generation: 2 }
    })
    .await;
    assert_ne!(session.client().unwrap().session_id(), first.session_id());
    session.close().await;
}

/// What only an administrator does: the servers say so at once, long before its time has passed.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_another_client_ends_is_over_at_once_and_another_one_comes() {
    let server = ZooKeeperServer::start().unwrap();
    let proxy = proxy_to(&server).await;
    let url = format!("127.0.0.1:{}", proxy.port());
    let session = Session::start(&settings(&url, LONGEST_SESSION), "test").unwrap();
    for generation in 1..=3 {
        until(&session, "connected", |state| {
            *state == SessionState::Connected { generation }
        })
        .await;
        let client = session.client().unwrap();
        let ephemeral = CreateMode::Ephemeral.with_acls(session.acls());
        let made = client.create("/here", b"", &ephemeral).await;
        made.expect("that of the session before is gone");
        assert_eq!(expire_all(&proxy, &server).await, 1);
    }
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_when_its_connection_comes_back_in_time() {
    let server = ZooKeeperServer::start().unwrap();
    let proxy = proxy_to(&server).await;
    let url = format!("127.0.0.1:{}", proxy.port());
    let session = Session::start(&settings(&url, LONG), "test").unwrap();
    until(&session, "connected", is_connected).await;
    proxy.break_off().await;
    until(&session, "suspended", |state| {
        matches!(state, SessionState::Suspended { .. })
    })
    .await;
    proxy.mend();
    until(&session, "connected", |state| {
        *state == SessionState::Connected { generation: 1 }
    })
    .await;
    session.close().await;
}

/// What is ephemeral goes at once when a session is closed in order.
#[tokio::test(flavor = "multi_thread")]
async fn closing_does_not_wait_for_the_sessions_time() {
    let server = ZooKeeperServer::start().unwrap();
    let (one, two) = (
        Session::start(&settings(&server.url(), LONGEST_SESSION), "one").unwrap(),
        Session::start(&settings(&server.url(), LONGEST_SESSION), "two").unwrap(),
    );
    until(&one, "connected", is_connected).await;
    until(&two, "connected", is_connected).await;
    let ephemeral = CreateMode::Ephemeral.with_acls(one.acls());
    let made = one.client().unwrap();
    made.create("/here", b"", &ephemeral).await.unwrap();
    drop(made);
    let watching = two.client().unwrap();
    let (stat, watcher) = watching.check_and_watch_stat("/here").await.unwrap();
    assert!(stat.is_some());
    one.close().await;
    let event = tokio::time::timeout(DEADLINE, watcher.changed())
        .await
        .unwrap();
    assert_eq!(event.event_type, zookeeper_client::EventType::NodeDeleted);
    two.close().await;
}

/// A chroot that is missing is no reason to fail, today or when somebody removes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_chroot_is_made_where_it_is_missing() {
    let server = ZooKeeperServer::start().unwrap();
    let url = format!("{}/some/where", server.url());
    let session = Session::start(&settings(&url, LONG), "test").unwrap();
    until(&session, "connected", is_connected).await;
    let client = session.client().unwrap();
    session
        .make(&client, "/a/b", CreateMode::Container)
        .await
        .unwrap();
    let plain = zookeeper_client::Client::connect(&server.url())
        .await
        .unwrap();
    assert!(plain.check_stat("/some/where/a/b").await.unwrap().is_some());
    for path in ["/some/where/a/b", "/some/where/a", "/some/where", "/some"] {
        plain.delete(path, None).await.unwrap();
    }
    for path in ["/a/b/c", "/c"] {
        session
            .make(&client, path, CreateMode::Persistent)
            .await
            .unwrap();
        let below = format!("/some/where{path}");
        assert!(plain.check_stat(&below).await.unwrap().is_some());
        if path == "/a/b/c" {
            for path in ["/a/b/c", "/a/b", "/a", ""] {
                plain
                    .delete(&format!("/some/where{path}"), None)
                    .await
                    .unwrap();
            }
        }
    }
    drop(client);
    session.close().await;
}

/// With credentials nobody else reads or removes what is ours.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_with_credentials_is_for_us_alone() {
    let server = ZooKeeperServer::start().unwrap();
    let with = |digest: &str| ZooKeeperSettings {
        credentials: Some(Credentials::Digest(digest.to_owned())),
        ..settings(&server.url(), LONG)
    };
    let ours = Session::start(&with("one:secret"), "ours").unwrap();
    let same = Session::start(&with("one:secret"), "same").unwrap();
    let other = Session::start(&with("one:guessed"), "other").unwrap();
    let nobody = Session::start(&settings(&server.url(), LONG), "nobody").unwrap();
    for session in [&ours, &same, &other, &nobody] {
        until(session, "connected", is_connected).await;
    }
    assert_eq!(nobody.acls(), Acls::anyone_all());
    let client = ours.client().unwrap();
    ours.make(&client, "/ours/one", CreateMode::Persistent)
        .await
        .unwrap();
    for stranger in [&other, &nobody] {
        let client = stranger.client().unwrap();
        assert_eq!(client.delete("/ours/one", None).await, Err(Error::NoAuth));
        assert_eq!(
            client.get_data("/ours/one").await.map(drop),
            Err(Error::NoAuth)
        );
    }
    same.client()
        .unwrap()
        .delete("/ours/one", None)
        .await
        .unwrap();
    drop(client);
    for session in [ours, same, other, nobody] {
        session.close().await;
    }
}

/// A server without SASL takes the connection and knows us as nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_sasl_off_is_said_to_have() {
    let server = ZooKeeperServer::start().unwrap();
    let sasl = ZooKeeperSettings {
        credentials: Some(Credentials::SaslDigestMd5 {
            user: "one".to_owned(),
            password: "secret".to_owned(),
        }),
        ..settings(&format!("{}/chroot", server.url()), LONG)
    };
    let session = Session::start(&sasl, "test").unwrap();
    let text = until_trouble(&session).await;
    assert!(
        text.contains("SASL is off") && text.contains("authProvider"),
        "{text}"
    );
    session.close().await;
}

/// While there is no connection the library would wait for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_a_limit_of_time() {
    let mut server = ZooKeeperServer::start().unwrap();
    let session = Session::start(&settings(&server.url(), LONG), "test").unwrap();
    until(&session, "connected", is_connected).await;
    let client = session.client().unwrap();
    server.freeze().unwrap();
    let outcome = within(Duration::from_millis(100), client.get_data("/")).await;
    assert!(
        matches!(outcome, Err(super::request::RequestError::Unknown(_))),
        "{outcome:?}"
    );
    server.thaw().unwrap();
    drop(client);
    session.close().await;
}

/// What can never work is said at the start.
#[tokio::test]
async fn settings_that_can_never_work_are_refused() {
    let tls = |authorities: &str| {
        Some(TlsFiles {
            authorities: authorities.into(),
            identity: None,
        })
    };
    let start = |change: &dyn Fn(&mut ZooKeeperSettings)| {
        let mut settings = settings("127.0.0.1:1", LONG);
        change(&mut settings);
        Session::start(&settings, "test").expect_err("refused")
    };
    let url = |url: &str| url.to_owned();
    let wrong = start(&|s| s.url = url("one:two"));
    assert!(matches!(wrong, ZooKeeperError::Url { .. }), "{wrong}");
    let wrong = start(&|s| s.credentials = Some(Credentials::Digest("nobody".to_owned())));
    assert!(matches!(wrong, ZooKeeperError::Digest), "{wrong}");
    let wrong = start(&|s| s.url = url("tcp+tls://one:1"));
    assert!(
        matches!(wrong, ZooKeeperError::NoAuthorities { .. }),
        "{wrong}"
    );
    let wrong = start(&|s| s.tls = tls("/nowhere"));
    assert!(matches!(wrong, ZooKeeperError::TlsUnused { .. }), "{wrong}");
    let wrong = start(&|s| (s.url, s.tls) = (url("tcp+tls://one:1"), tls("/nowhere")));
    assert!(matches!(wrong, ZooKeeperError::Read { .. }), "{wrong}");
    let wrong = start(&|s| (s.url, s.tls) = (url("tcp+tls://one:1"), tls("/dev/null")));
    assert!(matches!(wrong, ZooKeeperError::Pem { .. }), "{wrong}");
}
