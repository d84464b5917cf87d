//! Strangers, other versions, doubles: each costs one line of log and nothing else.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::transport::handshake::{MAGIC, VERSION};

/// Collects log lines of `warn` and above. The tests run on one thread, so that all lines are theirs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    fn start() -> (Self, DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

fn impatient() -> TransportSettings {
    TransportSettings {
        handshake_timeout: Duration::from_millis(100),
        ..listening()
    }
}

/// Connects, says `words`, and returns what the host says until it closes.
async fn call(host: &Host, words: &[u8]) -> Vec<u8> {
    let mut socket = plain_connection(host).await;
    socket.write_all(words).await.unwrap();
    let mut answer = Vec::new();
    // The host may reset the connection; what counts is what it said before.
    let _ = soon(socket.read_to_end(&mut answer)).await;
    answer
}

/// A caller that says `words` hears nothing, and leaves one line that contains `line`.
async fn check_stranger(words: &[u8], line: &str) {
    let (log, _guard) = Log::start();
    let server = Host::start(impatient()).await;
    assert_eq!(call(&server, words).await, b"");
    until("the line", || !log.lines().is_empty()).await;
    let lines = log.lines();
    assert!(lines.len() == 1 && lines[0].contains(line), "{lines:?}");
    assert!(server.recorder.events().is_empty());
    assert!(server.transport.connections().is_empty());
}

#[tokio::test]
async fn an_http_client_is_recognised() {
    let get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    check_stranger(get, "peer speaks HTTP").await;
    check_stranger(b"GET ", "peer speaks HTTP").await;
}

#[tokio::test]
async fn a_tls_client_is_recognised() {
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    check_stranger(&hello, "peer speaks TLS").await;
}

#[tokio::test]
async fn garbage_is_shown_as_it_begins() {
    check_stranger(b"\0\x01\x02 garbage", "unknown protocol (it begins with").await;
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    check_stranger(b"", "`handshake_timeout`").await;
    check_stranger(&MAGIC, "`handshake_timeout`").await;
}

#[tokio::test]
async fn an_introduction_that_is_none_is_refused() {
    let with = |rest: &[u8]| [&MAGIC[..], &VERSION.to_le_bytes(), rest].concat();
    check_stranger(&with(&[255, 255]), "65535 bytes, more than").await;
    check_stranger(&with(&[3, 0, 9, 9, 9]), "malformed introduction").await;
}

#[tokio::test]
async fn another_version_is_refused_with_both_numbers_on_both_sides() {
    let (log, _guard) = Log::start();
    let server = Host::start(impatient()).await;
    let theirs = [&MAGIC[..], &77_u16.to_le_bytes(), &[0, 0]].concat();
    let answer = call(&server, &theirs).await;
    assert_eq!(answer, [&MAGIC[..], &VERSION.to_le_bytes()].concat());
    let numbers = "version 77 of the Instar protocol, this host speaks version 1";
    until("the line", || log.lines().len() == 1).await;
    assert!(log.lines()[0].contains(numbers));

    let error = ask_a_stranger(&theirs).await;
    assert!(error.contains(numbers), "{error}");
}

/// Dials a listener that says `words`, and returns what the asker is told.
async fn ask_a_stranger(words: &[u8]) -> String {
    let (listener, to) = stranger().await;
    let client = Host::start(impatient()).await;
    let asked = client.ask_later(&to, "echo", "");
    let (mut socket, _) = soon(listener.accept()).await.unwrap();
    socket.write_all(words).await.unwrap();
    let error = soon(asked).await.unwrap().unwrap_err();
    assert_eq!(error.code(), "network");
    until("the event", || !client.recorder.events().is_empty()).await;
    let events = client.recorder.events();
    assert!(
        matches!(&events[..], [Event::NetworkError(peer, cause)]
            if *peer == to && error.to_string().contains(cause)),
        "{events:?}"
    );
    error.to_string()
}

#[tokio::test]
async fn a_host_that_dials_a_stranger_tells_its_askers_what_it_found() {
    let http = ask_a_stranger(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert!(http.contains("peer speaks HTTP"), "{http}");
    let ssh = ask_a_stranger(b"SSH-2.0-OpenSSH_9.9\r\n").await;
    assert!(ssh.contains("peer speaks SSH"), "{ssh}");
    let silence = ask_a_stranger(b"").await;
    assert!(silence.contains("`handshake_timeout`"), "{silence}");
}

#[tokio::test]
async fn a_client_that_knows_a_host_under_two_names_reaches_it_under_both() {
    let (server, client) = (Host::server().await, Host::client().await);
    let port = server.address().port();
    let other: Location = RpcAddress::new("localhost", port).into();
    assert_eq!(
        client
            .ask(&server.location(), "echo", "1")
            .await
            .unwrap()
            .body,
        "1"
    );
    assert_eq!(client.ask(&other, "echo", "2").await.unwrap().body, "2");
    assert_eq!(server.transport.connections().len(), 2);
    let back = server.ask(&client.location(), "echo", "back").await;
    assert_eq!(back.unwrap().body, "back");
}

#[tokio::test]
async fn a_client_is_reached_as_long_as_one_of_its_connections_lives() {
    use crate::transport::handshake::{self, Introduction, Purpose};
    let server = Host::server().await;
    let location = Location::Client(uuid::Uuid::new_v4());
    let ours = Introduction {
        location: location.clone(),
        purpose: Purpose::Messages,
        frame_bytes_max: 1 << 20,
    };
    let mut sockets = Vec::new();
    for count in 1..=2 {
        let mut socket = plain_connection(&server).await;
        handshake::dial(&mut socket, &ours, PATIENCE).await.unwrap();
        until("the connection", || server.recorder.events().len() == count).await;
        sockets.push(socket);
    }
    for left in [1, 0] {
        sockets.pop();
        until("the end", || server.transport.connections().len() == left).await;
        assert_eq!(server.transport.reserve(&location).is_ok(), left == 1);
    }
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_told_so() {
    let server = Host::start(TransportSettings {
        connections_max: 1,
        ..listening()
    })
    .await;
    let (first, second) = (Host::client().await, Host::client().await);
    first.ask(&server.location(), "echo", "").await.unwrap();
    let error = second.ask(&server.location(), "echo", "").await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("`connections_max`"), "{text}");
    first.transport.shutdown().await;
    until("a free place", || server.transport.connections().is_empty()).await;
    // The place is given back right after the connection has left the list.
    let deadline = Instant::now() + PATIENCE;
    while second.ask(&server.location(), "echo", "").await.is_err() {
        assert!(Instant::now() < deadline, "never taken in");
    }
}
