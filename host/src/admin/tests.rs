//! The admin API over real HTTP, with a control that only writes down what it is asked for.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::Notify;

use super::client::{AdminClient, ClientError};
use super::fake_control::FakeControl;
use super::{AdminError, AdminServer};
use crate::endpoint::record::SwapOutcome;

struct Running {
    server: AdminServer,
    asked: Arc<Mutex<Vec<String>>>,
    done: Arc<Mutex<Vec<String>>>,
    _data: TempDir,
}

async fn start(control: FakeControl) -> Running {
    let data = tempfile::tempdir().unwrap();
    let (asked, done) = (control.asked.clone(), control.done.clone());
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = AdminServer::start(any, data.path(), Arc::new(control))
        .await
        .unwrap();
    Running {
        server,
        asked,
        done,
        _data: data,
    }
}

impl Running {
    fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    fn token(&self) -> PathBuf {
        self.server.token_path().to_owned()
    }

    /// Runs `body` with a client on a thread where blocking is allowed.
    async fn with_client<T: Send + 'static>(
        &self,
        body: impl FnOnce(AdminClient) -> T + Send + 'static,
    ) -> T {
        let client = AdminClient::new(&self.url(), self.token()).unwrap();
        tokio::task::spawn_blocking(move || body(client))
            .await
            .unwrap()
    }

    /// One request as text; the whole answer as text.
    async fn raw(&self, request: String) -> String {
        let address = self.server.address();
        let exchange = move || {
            let mut socket = TcpStream::connect(address).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            socket.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            let _ = socket.read_to_string(&mut answer);
            answer
        };
        tokio::task::spawn_blocking(exchange).await.unwrap()
    }
}

fn problem<T>(outcome: Result<T, ClientError>) -> (u16, String, String) {
    match outcome {
        Err(ClientError::Problem { status, problem }) => (status, problem.code, problem.error),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was carried out"),
    }
}

#[tokio::test]
async fn reading_needs_no_token() {
    let running = start(FakeControl::default()).await;
    std::fs::remove_file(running.token()).unwrap();
    running
        .with_client(|client| {
            let status = client.status().unwrap();
            assert_eq!(status.endpoints[0].name, "counter");
            assert_eq!(client.endpoint("counter").unwrap().turns, 12);
            assert_eq!(client.history("counter").unwrap().len(), 1);
            assert_eq!(client.metadata("counter").unwrap().version, "1.0.0");
            assert_eq!(client.plugins().unwrap()[0]["file"], "counter.wasm");
            let refused = client.restart("counter").unwrap_err();
            assert!(matches!(refused, ClientError::Token(_)), "{refused}");
        })
        .await;
    assert!(running.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn actions_reach_the_control_with_their_arguments() {
    let running = start(FakeControl::default()).await;
    running
        .with_client(|client| {
            let record = client.swap("counter", &[7; 100_000], false).unwrap();
            assert_eq!(record.outcome, SwapOutcome::Swapped);
            client.rollback("counter", Some("1.0.0+build &x")).unwrap();
            client.rollback("counter", None).unwrap();
            let code: [(&str, &[u8]); 2] = [("counter", b"one"), ("other", b"second")];
            let all = client.swap_together(&code).unwrap();
            assert_eq!((all.len(), all[1].endpoint.as_str()), (2, "other"));
            assert_eq!(client.rehearse("counter", b"code").unwrap().messages, 3);
            let failure = client.rehearse("counter", b"bad").unwrap().failure;
            assert_eq!(failure.as_deref(), Some("not a component"));
            client.approve("counter").unwrap();
            assert_eq!(client.refresh("counter").unwrap().memory_before, 9 << 20);
            assert_eq!(client.restart("counter").unwrap().done, "restarted");
            assert_eq!(client.stop("counter").unwrap().done, "stopped");
        })
        .await;
    let expected = [
        "swap 100000 bytes",
        "rollback to 1.0.0+build &x",
        "rollback to the one before",
        "swap together counter 3 bytes, other 6 bytes",
        "rehearse 4 bytes",
        "rehearse 3 bytes",
        "approve",
        "refresh",
        "restart",
        "stop",
    ];
    assert_eq!(*running.done.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_refusal_says_why_and_carries_its_record() {
    let running = start(FakeControl::default()).await;
    running
        .with_client(|client| {
            let (status, code, text) = problem(client.endpoint("nobody"));
            assert_eq!((status, code.as_str()), (404, "endpoint-not-found"));
            assert!(
                text.contains("`nobody`") && text.contains("it has `counter`"),
                "{text}"
            );
            assert_eq!(problem(client.swap("nobody", b"x", false)).0, 404);
            assert_eq!(problem(client.swap("no body", b"x", false)).1, "bad-name");
            assert_eq!(problem(client.swap("counter", b"", false)).1, "bad-request");
            let ClientError::Problem { status, problem } =
                client.swap("counter", b"bad", false).unwrap_err()
            else {
                panic!("another error");
            };
            assert_eq!((status, problem.code.as_str()), (409, "refused"));
            assert!(problem.error.contains("not a component") && problem.record.is_some());
            let (status, code, text) = self::problem(client.swap("counter", b"greedy", false));
            assert_eq!((status, code.as_str()), (409, "needs-approval"), "{text}");
        })
        .await;
}

#[tokio::test]
async fn what_does_not_wait_cannot_be_approved() {
    let running = start(FakeControl {
        nothing_held: true,
        ..FakeControl::default()
    })
    .await;
    let outcome = running
        .with_client(|client| client.approve("counter"))
        .await;
    let (status, code, text) = problem(outcome);
    assert_eq!((status, code.as_str()), (409, "nothing-held"), "{text}");
}

/// The query says how the body is cut; whatever does not fit is said before anything is swapped.
#[tokio::test]
async fn components_that_come_together_are_cut_as_the_query_says() {
    let running = start(FakeControl::default()).await;
    let host = running.server.address();
    let token = std::fs::read_to_string(running.token()).unwrap();
    for (query, expected) in [
        ("", "expected 1 to 16 endpoints"),
        (
            "?counter=3",
            "the body has 4 bytes, 1 more than the 1 components together",
        ),
        (
            "?counter=5",
            "`counter`: expected a number of bytes, of which 4 are left",
        ),
        (
            "?counter=2&other=x",
            "`other`: expected a number of bytes, of which 2 are left",
        ),
        ("?counter=2&counter=2", "`counter` is named twice"),
        ("?a%20b=4", "not allowed in an endpoint name"),
        ("?nobody=4", "no endpoint named `nobody`"),
    ] {
        let request = format!(
            "POST /v1/swap{query} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Authorization: Bearer {}\r\nContent-Length: 4\r\n\r\ncode",
            token.trim()
        );
        let answer = running.raw(request).await;
        assert!(answer.contains(expected), "{query}: {answer}");
    }
    assert!(running.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_request_without_the_token_changes_nothing() {
    let running = start(FakeControl::default()).await;
    let host = running.server.address();
    for headers in [
        String::new(),
        format!("Authorization: Bearer {}\r\n", "0".repeat(64)),
    ] {
        let answer = running
            .raw(format!(
                "POST /v1/endpoints/counter/stop HTTP/1.1\r\nHost: {host}\r\n{headers}\
                 Connection: close\r\nContent-Length: 0\r\n\r\n"
            ))
            .await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    assert!(running.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_page_of_another_origin_gets_nothing() {
    let running = start(FakeControl::default()).await;
    let host = running.server.address();
    for headers in [
        "Host: evil.example\r\n".to_owned(),
        format!("Host: {host}\r\nOrigin: http://evil.example\r\n"),
    ] {
        let request = format!("GET /v1/status HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        let answer = running.raw(request).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        assert!(!answer.contains("counter"), "{answer}");
    }
}

#[tokio::test]
async fn a_component_beyond_the_limit_is_refused_before_it_is_read() {
    let running = start(FakeControl::default()).await;
    let host = running.server.address();
    let token = std::fs::read_to_string(running.token()).unwrap();
    let answer = running
        .raw(format!(
            "POST /v1/endpoints/counter/swap HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Authorization: Bearer {}\r\nContent-Length: 999999999999\r\n\r\n",
            token.trim()
        ))
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 413") && answer.contains("too-large"),
        "{answer}"
    );
}

#[tokio::test]
async fn health_and_metrics_are_plain_text() {
    let running = start(FakeControl::default()).await;
    let host = running.server.address();
    let get =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    assert!(running.raw(get("/healthz")).await.ends_with("\r\n\r\nok\n"));
    let page = running.raw(get("/metrics")).await;
    assert!(
        page.contains("instar_endpoint_turns_total{endpoint=\"counter\"} 12\n"),
        "{page}"
    );
    let nothing = running.raw(get("/v2/status")).await;
    assert!(
        nothing.starts_with("HTTP/1.1 404") && nothing.contains("not-found"),
        "{nothing}"
    );
}

#[tokio::test]
async fn an_action_goes_on_when_its_asker_leaves_and_stopping_waits_for_it() {
    let gate = Arc::new(Notify::new());
    let control = FakeControl {
        gate: Some(gate.clone()),
        ..FakeControl::default()
    };
    let running = start(control).await;
    let (asked, done) = (running.asked.clone(), running.done.clone());
    let token = std::fs::read_to_string(running.token()).unwrap();
    let address = running.server.address();
    let mut socket = TcpStream::connect(address).unwrap();
    write!(
        socket,
        "POST /v1/endpoints/counter/swap HTTP/1.1\r\nHost: {address}\r\n\
         Authorization: Bearer {}\r\nContent-Length: 4\r\n\r\ncode",
        token.trim()
    )
    .unwrap();
    until(|| !asked.lock().unwrap().is_empty()).await;
    drop(socket);

    let token_path = running.token();
    let stopping = tokio::spawn(running.server.shutdown());
    until(|| TcpStream::connect(address).is_err()).await;
    assert!(!stopping.is_finished());
    gate.notify_one();
    stopping.await.unwrap();
    assert_eq!(*done.lock().unwrap(), ["swap 4 bytes"]);
    assert!(!token_path.exists());
}

#[tokio::test]
async fn it_listens_on_loopback_only() {
    let data = tempfile::tempdir().unwrap();
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let control = Arc::new(FakeControl::default());
    let error = AdminServer::start(everywhere, data.path(), control)
        .await
        .unwrap_err();
    assert!(matches!(error, AdminError::NotLoopback { .. }), "{error}");
}

#[tokio::test]
async fn a_host_that_is_not_there_is_unreachable() {
    let running = start(FakeControl::default()).await;
    let (url, token) = (running.url(), running.token());
    running.server.shutdown().await;
    let outcome = tokio::task::spawn_blocking(move || {
        let client = AdminClient::new(&url, token).unwrap();
        [client.status().err(), client.stop("counter").err()]
    });
    for error in outcome.await.unwrap() {
        assert!(
            matches!(error, Some(ClientError::Unreachable { .. })),
            "{error:?}"
        );
    }
}

/// Waits for a state, at most ten seconds.
async fn until(state: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !state() {
        assert!(Instant::now() < deadline, "the state never came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
