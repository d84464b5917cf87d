//! How a transport stops.

use super::*;

#[tokio::test]
async fn a_stop_fails_what_waits_for_a_connection() {
    // It accepts and never speaks.
    let (_silent, to) = stranger().await;
    let client = Host::client().await;
    client.send(&to, "notes", note(1)).unwrap();
    let asked = client.ask_later(&to, "echo", "");
    soon(client.transport.shutdown()).await;
    assert_eq!(soon(asked).await.unwrap().unwrap_err().code(), "stopped");
    let events = client.recorder.events();
    assert!(
        matches!(&events[..], [Event::Undeliverable { reason, .. }] if reason.code() == "stopped"),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_stop_lets_what_was_sent_leave_first() {
    let (server, client) = (Host::server().await, Host::client().await);
    client.ask(&server.location(), "echo", "").await.unwrap();
    for number in 0..1_000 {
        client
            .send(&server.location(), "notes", note(number))
            .unwrap();
    }
    soon(client.transport.shutdown()).await;
    until("all messages", || server.recorder.received() == 1_000).await;
    assert_eq!(client.recorder.events().len(), 2, "nothing undeliverable");
}

#[tokio::test]
async fn a_stop_fails_what_a_slow_peer_does_not_take_in_time() {
    let (server, client) = (Host::server().await, Host::client().await);
    server.recorder.open_gate(false);
    let to = server.location();
    let mut sent = 0;
    // More than the buffers of both sockets hold.
    while sent < 60 {
        let message = Message::new("test.Large", vec![0; 1 << 20]);
        match client.send(&to, "notes", message) {
            Ok(()) => sent += 1,
            Err(error) => panic!("{error}"),
        }
    }
    until("a message", || server.recorder.received() == 1).await;
    soon(client.transport.shutdown()).await;
    let failed = client
        .recorder
        .events()
        .iter()
        .filter(|event| matches!(event, Event::Undeliverable { .. }))
        .count();
    assert!(failed > 0, "{failed} of {sent}");
    server.recorder.open_gate(true);
    until("the end", || server.transport.connections().is_empty()).await;
    // Each message either arrived or was told; the last one that left may not have been whole.
    assert_eq!(server.recorder.received() + failed, sent);
}

#[tokio::test]
async fn after_a_stop_everything_is_refused_as_stopped() {
    let (server, client) = (Host::server().await, Host::client().await);
    let (to, address) = (server.location(), server.address());
    let asked = client.ask_later(&to, "hold", "");
    until("the request", || server.recorder.held() == 1).await;
    let permit = client.transport.reserve(&to).unwrap();
    soon(client.transport.shutdown()).await;
    soon(client.transport.shutdown()).await;

    assert_eq!(soon(asked).await.unwrap().unwrap_err().code(), "stopped");
    assert_eq!(permit.send("notes", note(1)).unwrap_err().code(), "stopped");
    assert_eq!(client.transport.reserve(&to).unwrap_err().code(), "stopped");
    let waited = soon(client.transport.reserve_wait(&to)).await;
    assert_eq!(waited.unwrap_err().code(), "stopped");
    let outcome = client.ask(&to, "echo", "").await;
    assert_eq!(outcome.unwrap_err().code(), "stopped");
    let error = client
        .transport
        .open_stream(&address, "x", FileRange::default())
        .await;
    assert!(error.unwrap_err().to_string().contains("is stopped"));
    assert!(client.transport.connections().is_empty());
}

#[tokio::test]
async fn a_stopped_host_no_longer_listens() {
    let server = Host::server().await;
    let address = server.address().to_string();
    soon(server.transport.shutdown()).await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn those_who_wait_for_a_place_are_told_of_the_stop() {
    let (_silent, to) = stranger().await;
    let client = Host::start(TransportSettings {
        outbox_messages_max: 1,
        ..quick()
    })
    .await;
    let _permit = client.transport.reserve(&to).unwrap();
    let waiting = client.transport.reserve_wait(&to);
    let (waited, ()) = soon(async { tokio::join!(waiting, client.transport.shutdown()) }).await;
    assert_eq!(waited.unwrap_err().code(), "stopped");
}

/// A test or a tool that forgets to stop its transport leaves no connection behind.
#[tokio::test]
async fn dropping_the_last_clone_closes_the_connections() {
    let (server, client) = (Host::server().await, Host::client().await);
    client.ask(&server.location(), "echo", "").await.unwrap();
    drop(client);
    until("the end", || server.transport.connections().is_empty()).await;
}
