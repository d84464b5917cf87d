//! Who reads slowly is sent to slowly, and nothing is lost by it.

use super::*;

pub(super) fn narrow() -> TransportSettings {
    TransportSettings {
        outbox_messages_max: 64,
        ..quick()
    }
}

fn padded(number: u64) -> Message {
    let mut body = vec![0; 64 * 1024];
    body[..8].copy_from_slice(&number.to_le_bytes());
    Message::new("test.Padded", body)
}

/// Sends until the outbox is full, and returns how many were taken.
pub(super) async fn fill(client: &Host, to: &Location) -> u64 {
    let mut sent = 0;
    let mut full_since = None;
    // Full is full for good once neither socket takes more: then no byte leaves between two looks.
    loop {
        match client.send(to, "notes", padded(sent)) {
            Ok(()) => {
                sent += 1;
                full_since = None;
            }
            Err(RpcError::OutboxFull { capacity, .. }) => {
                assert_eq!(capacity, 64);
                let bytes = client.transport.connections()[0].bytes_out;
                match full_since {
                    Some((seen, times)) if seen == bytes && times > 50 => return sent,
                    Some((seen, times)) if seen == bytes => full_since = Some((seen, times + 1)),
                    _ => full_since = Some((bytes, 0)),
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_reader_that_waits_fills_the_outbox_of_the_sender_and_nothing_is_lost() {
    let (server, client) = (Host::server().await, Host::start(narrow()).await);
    let to = server.location();
    server.recorder.open_gate(false);
    let sent = soon(fill(&client, &to)).await;
    assert_eq!(server.recorder.received(), 1, "the reader stopped reading");

    let mut waiting = Box::pin(client.transport.reserve_wait(&to));
    let early = timeout(Duration::from_millis(5), &mut waiting).await;
    assert!(early.is_err(), "there is no place yet");

    server.recorder.open_gate(true);
    let permit = soon(waiting).await.unwrap();
    permit.send("notes", padded(sent)).unwrap();
    until("all messages", || {
        server.recorder.received() as u64 == sent + 1
    })
    .await;
    for (number, (_, _, message)) in (0_u64..).zip(&server.recorder.told().messages) {
        assert_eq!(message.body[..8], number.to_le_bytes());
    }
}

#[tokio::test]
async fn giving_up_waiting_for_a_place_takes_none() {
    let (server, client) = (Host::server().await, Host::start(narrow()).await);
    let to = server.location();
    let mut permits: Vec<_> = (0..64)
        .map(|_| client.transport.reserve(&to).unwrap())
        .collect();
    assert_eq!(
        client.transport.reserve(&to).unwrap_err().code(),
        "outbox-full"
    );
    for _ in 0..3 {
        let waiting = client.transport.reserve_wait(&to);
        assert!(timeout(Duration::from_millis(2), waiting).await.is_err());
    }
    drop(permits.pop());
    client.transport.reserve(&to).unwrap();
}

#[tokio::test]
async fn an_outbox_with_too_many_bytes_is_full() {
    let (stranger, to) = stranger().await;
    let client = Host::start(TransportSettings {
        outbox_bytes_max: 100_000,
        ..quick()
    })
    .await;
    // It accepts connections and never speaks: messages stay in the outbox.
    client.send(&to, "notes", padded(0)).unwrap();
    client.send(&to, "notes", padded(1)).unwrap();
    assert_eq!(
        client.transport.reserve(&to).unwrap_err().code(),
        "outbox-full"
    );
    drop(stranger);
}

/// Silence of a peer that waits for its own host is not death; the peer's pings are not needed either.
#[tokio::test]
async fn back_pressure_is_not_taken_for_a_dead_peer_on_either_side() {
    let idle_timeout = Duration::from_millis(200);
    let keep_alive = Duration::from_millis(20);
    let server = Host::start(TransportSettings {
        idle_timeout,
        keep_alive,
        ..listening()
    })
    .await;
    let client = Host::start(TransportSettings {
        idle_timeout,
        keep_alive,
        ..narrow()
    })
    .await;
    let to = server.location();
    client.ask(&to, "echo", "up").await.unwrap();
    // Both sides are owed an answer, and the reader of the server waits for its host.
    let answer = client.ask_later(&to, "hold", "");
    let back = server.ask_later(&client.location(), "hold", "");
    until("both requests", || {
        server.recorder.held() == 1 && client.recorder.held() == 1
    })
    .await;
    server.recorder.open_gate(false);
    soon(fill(&client, &to)).await;
    let enough = Instant::now() + idle_timeout * 4;
    until("four times the limit", || Instant::now() > enough).await;
    server.recorder.open_gate(true);
    for host in [&server, &client] {
        let held = host.recorder.told().held.remove(0);
        held.tell(Ok(Message::new("done", "")));
    }
    soon(answer).await.unwrap().unwrap();
    soon(back).await.unwrap().unwrap();
}

#[tokio::test]
async fn requests_beyond_the_limit_wait_in_the_socket_until_others_are_answered() {
    let server = Host::start(TransportSettings {
        requests_max: 4,
        ..listening()
    })
    .await;
    let client = Host::client().await;
    let asked: Vec<_> = (0..10)
        .map(|n| client.ask_later(&server.location(), "hold", format!("{n}")))
        .collect();
    let mut answered = 0;
    while answered < asked.len() {
        until("a request", || server.recorder.held() > 0).await;
        let held = std::mem::take(&mut server.recorder.told().held);
        assert!(held.len() <= 4, "{} at once", held.len());
        answered += held.len();
        for responder in held {
            responder.tell(Ok(Message::new("done", "")));
        }
    }
    for answer in asked {
        soon(answer).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn too_many_open_requests_to_one_peer_are_refused_at_once() {
    let server = Host::server().await;
    let client = Host::start(TransportSettings {
        requests_max: 2,
        ..quick()
    })
    .await;
    let to = server.location();
    let _open = [
        client.ask_later(&to, "hold", ""),
        client.ask_later(&to, "hold", ""),
    ];
    let outcome = client.ask(&to, "hold", "").await;
    assert_eq!(outcome.unwrap_err().code(), "outbox-full");
}
