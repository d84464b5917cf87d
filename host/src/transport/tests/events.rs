//! What a host is told about its connections, and what becomes of those who wait.

use tokio::io::AsyncReadExt;

use super::*;
use crate::transport::frame::Frame;

/// All that a host still says, until it closes.
async fn rest(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    soon(socket.read_to_end(&mut bytes)).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn both_sides_hear_of_a_connection_exactly_once_and_of_its_end_exactly_once() {
    let (server, client) = (Host::server().await, Host::client().await);
    let (s, c) = (server.location(), client.location());
    client.ask(&s, "echo", "").await.unwrap();
    client.ask(&s, "echo", "").await.unwrap();
    assert_eq!(client.recorder.events(), [Event::Connected(s.clone())]);
    assert_eq!(server.recorder.events(), [Event::Connected(c.clone())]);
    server.transport.shutdown().await;
    until("the end", || client.recorder.events().len() == 2).await;
    client.transport.shutdown().await;
    let of = |peer: Location| [Event::Connected(peer.clone()), Event::Disconnected(peer)];
    assert_eq!(client.recorder.events(), of(s));
    assert_eq!(server.recorder.events(), of(c));
}

#[tokio::test]
async fn every_open_request_is_told_when_the_connection_ends() {
    let (server, client) = (Host::server().await, Host::client().await);
    let asked: Vec<_> = (0..100)
        .map(|_| client.ask_later(&server.location(), "hold", ""))
        .collect();
    until("all requests", || server.recorder.held() == 100).await;
    server.transport.shutdown().await;
    for answer in asked {
        let error = soon(answer).await.unwrap().unwrap_err();
        assert_eq!(error.code(), "network");
        let text = error.to_string();
        assert!(text.contains(&server.location().to_string()), "{text}");
        assert!(text.contains("the host stops"), "{text}");
    }
    assert!(client.transport.connections().is_empty());
}

#[tokio::test]
async fn the_next_use_after_a_restart_of_the_peer_makes_a_new_connection() {
    let (server, client) = (Host::server().await, Host::client().await);
    let to = server.location();
    client.ask(&to, "echo", "1").await.unwrap();
    server.transport.shutdown().await;
    until("the end", || client.transport.connections().is_empty()).await;
    let error = client.ask(&to, "echo", "2").await.unwrap_err();
    assert!(error.to_string().contains("cannot connect"), "{error}");

    let again = Host::start(TransportSettings {
        listen: Some(Listen::local(server.address().port())),
        port_retries: 0,
        ..quick()
    })
    .await;
    client.ask(&to, "echo", "3").await.unwrap();
    let connected = Event::Connected(to);
    let events = client.recorder.events();
    assert_eq!(events.iter().filter(|e| **e == connected).count(), 2);
    drop(again);
}

#[tokio::test]
async fn messages_to_a_host_that_cannot_be_reached_fail_aloud_and_it_is_a_network_error() {
    let (gone, to) = stranger().await;
    drop(gone);
    let client = Host::client().await;
    client.send(&to, "notes", note(1)).unwrap();
    let outcome = client.ask(&to, "echo", "").await;
    assert_eq!(outcome.unwrap_err().code(), "network");
    until("both", || client.recorder.events().len() == 2).await;
    let events = client.recorder.events();
    assert!(
        matches!(&events[..], [Event::Undeliverable { endpoint, kind, reason }, Event::NetworkError(peer, _)]
            if endpoint == "notes" && kind == "test.Note" && reason.code() == "network" && *peer == to),
        "{events:?}"
    );
    assert!(client.transport.connections().is_empty());
}

#[tokio::test]
async fn a_connection_that_breaks_inside_a_frame_is_a_network_error_before_its_end() {
    let server = Host::server().await;
    let mut peer = puppet(&server).await.0;
    until("it", || server.recorder.events().len() == 1).await;
    peer.write_all(&[200, 0, 0, 0, 1, 2]).await.unwrap();
    drop(peer);
    until("the end", || server.recorder.events().len() == 3).await;
    let events = server.recorder.events();
    assert!(
        matches!(&events[..], [Event::Connected(a), Event::NetworkError(b, cause), Event::Disconnected(c)]
            if a == b && b == c && cause.contains("inside a frame")),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_peer_that_sends_too_large_a_frame_is_told_why_and_closed() {
    let server = Host::server().await;
    let mut peer = puppet(&server).await.0;
    // More than this peer itself announced as its limit.
    peer.write_all(&(1_u32 << 24).to_le_bytes()).await.unwrap();
    let last_words = rest(&mut peer).await;
    assert!(last_words.contains("`frame_bytes_max`"), "{last_words}");
    drop(peer);
    until("the end", || server.recorder.events().len() == 3).await;
    let events = server.recorder.events();
    assert!(
        matches!(&events[1], Event::NetworkError(_, cause) if cause.contains("16777216")),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_peer_that_breaks_the_protocol_is_told_why_and_closed() {
    for (bytes, why) in [
        (&[1, 0, 0, 0, 99][..], "unknown tag 99"),
        (&[0, 0, 0, 0], "without a tag"),
        (&[2, 0, 0, 0, 6, 1], "bytes too many"),
        (&[1, 0, 0, 0, 11], "frame of a file"),
    ] {
        let server = Host::server().await;
        let mut peer = puppet(&server).await.0;
        peer.write_all(bytes).await.unwrap();
        let last_words = rest(&mut peer).await;
        assert!(last_words.contains(why), "{why}: {last_words}");
    }
}

#[tokio::test]
async fn a_request_id_that_is_still_open_cannot_be_used_again() {
    use crate::transport::frame::RequestId;
    let server = Host::server().await;
    let mut peer = puppet(&server).await.0;
    let request = Frame::Request {
        id: RequestId(7),
        endpoint: "hold".into(),
        message: note(1),
    };
    say(&mut peer, &request).await;
    say(&mut peer, &request).await;
    assert!(rest(&mut peer).await.contains("used twice"));
    assert_eq!(server.recorder.held(), 1);
}

#[tokio::test]
async fn a_reply_to_no_request_is_ignored() {
    use crate::transport::frame::RequestId;
    let server = Host::server().await;
    let mut peer = puppet(&server).await.0;
    let (id, message) = (RequestId(1), note(1));
    say(&mut peer, &Frame::Reply { id, message }).await;
    let (endpoint, message) = ("notes".into(), note(2));
    say(&mut peer, &Frame::OneWay { endpoint, message }).await;
    until("the message", || server.recorder.received() == 1).await;
}

#[tokio::test]
async fn a_silent_peer_that_owes_an_answer_is_given_up() {
    let server = Host::start(TransportSettings {
        idle_timeout: Duration::from_millis(100),
        keep_alive: Duration::from_millis(99),
        ..listening()
    })
    .await;
    let peer = puppet(&server).await.0;
    until("it", || server.recorder.events().len() == 1).await;
    let Event::Connected(location) = server.recorder.events().remove(0) else {
        panic!("not connected first");
    };
    let error = server.ask(&location, "any", "").await.unwrap_err();
    assert!(error.to_string().contains("`idle_timeout`"), "{error}");
    until("the end", || server.recorder.events().len() == 3).await;
    drop(peer);
}

/// An answer may take longer than the idle timeout, as long as the peer shows that it lives.
#[tokio::test]
async fn signs_of_life_keep_a_connection_on_which_an_answer_is_owed() {
    let settings = |base: TransportSettings| TransportSettings {
        idle_timeout: Duration::from_millis(200),
        keep_alive: Duration::from_millis(10),
        ..base
    };
    let server = Host::start(settings(listening())).await;
    let client = Host::start(settings(quick())).await;
    let answer = client.ask_later(&server.location(), "hold", "");
    until("the request", || server.recorder.held() == 1).await;
    let enough = Instant::now() + Duration::from_millis(600);
    until("three times the limit", || Instant::now() > enough).await;
    let held = server.recorder.told().held.remove(0);
    held.tell(Ok(Message::new("done", "")));
    soon(answer).await.unwrap().unwrap();
    assert_eq!(client.recorder.events().len(), 1);
}

#[tokio::test]
async fn a_ping_is_answered() {
    let server = Host::server().await;
    let mut peer = puppet(&server).await.0;
    say(&mut peer, &Frame::Ping).await;
    let mut pong = [0; 5];
    soon(peer.read_exact(&mut pong)).await.unwrap();
    assert_eq!(pong, [1, 0, 0, 0, 7]);
}
