//! What arrives, in which order, how large.

use super::*;

#[tokio::test]
async fn one_way_messages_arrive_in_the_order_in_which_they_were_sent() {
    let (server, client) = (Host::server().await, Host::client().await);
    for number in 0..10_000 {
        let permit = soon(client.transport.reserve_wait(&server.location())).await;
        permit.unwrap().send("notes", note(number)).unwrap();
    }
    until("all messages", || server.recorder.received() == 10_000).await;
    for (number, (from, endpoint, message)) in (0..).zip(&server.recorder.told().messages) {
        assert_eq!((from, &**endpoint), (&client.location(), "notes"));
        assert_eq!(*message, note(number));
    }
}

/// One queue, one connection: kinds of frames do not overtake each other.
#[tokio::test]
async fn a_request_does_not_overtake_a_message_that_was_sent_before() {
    let (server, client) = (Host::server().await, Host::client().await);
    for number in 0..500 {
        client
            .send(&server.location(), "notes", note(number))
            .unwrap();
        client.ask(&server.location(), "echo", "now").await.unwrap();
        assert_eq!(server.recorder.received() as u64, number + 1);
    }
}

#[tokio::test]
async fn many_requests_on_one_connection_each_get_their_own_answer() {
    let (server, client) = (Host::server().await, Host::client().await);
    let asked: Vec<_> = (0..5_000)
        .map(|n| client.ask_later(&server.location(), "echo", format!("{n}")))
        .collect();
    for (number, answer) in asked.into_iter().enumerate() {
        let answer = soon(answer).await.unwrap().unwrap();
        assert_eq!(answer.body, format!("{number}"));
    }
    assert_eq!(client.transport.connections().len(), 1);
    until("no open requests", || {
        let [ours, theirs] = [&client, &server].map(|host| host.transport.connections().remove(0));
        ours.outstanding == 0 && ours.queued == 0 && theirs.answering == 0
    })
    .await;
}

#[tokio::test]
async fn a_failure_of_the_endpoint_reaches_the_asker_as_it_was_told() {
    let (server, client) = (Host::server().await, Host::client().await);
    let outcome = client.ask(&server.location(), "deny", "").await;
    let reason = "as asked".to_owned();
    assert_eq!(outcome, Err(RpcError::Denied { reason }));
}

#[tokio::test]
async fn large_and_small_bodies_arrive_as_they_were() {
    let (server, client) = (Host::server().await, Host::client().await);
    let sizes = [
        0, 1, 4_095, 4_096, 4_097, 65_536, 262_143, 1_000_003, 15_000_000, 3,
    ];
    for size in sizes {
        let body: Vec<u8> = (0..size).map(|n: usize| (n % 251) as u8).collect();
        let message = Message::new("test.Large", body);
        client.send(&server.location(), "notes", message).unwrap();
    }
    until("all messages", || server.recorder.received() == sizes.len()).await;
    for (size, (_, _, message)) in sizes.iter().zip(&server.recorder.told().messages) {
        assert_eq!(message.body.len(), *size);
        let right = |(n, byte): (usize, &u8)| *byte == (n % 251) as u8;
        assert!(message.body.iter().enumerate().all(right));
    }
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused_before_anything_is_queued() {
    let (server, client) = (Host::server().await, Host::client().await);
    let message = Message::new("test.Huge", vec![0; 16 * 1024 * 1024]);
    let error = client
        .send(&server.location(), "notes", message)
        .unwrap_err();
    assert_eq!(error.code(), "too-large");
    assert!(error.to_string().contains("`frame_bytes_max`"), "{error}");
    assert!(error.to_string().contains("test.Huge"), "{error}");
    let outcome = client
        .ask(&server.location(), "echo", vec![0; 16 * 1024 * 1024])
        .await;
    assert_eq!(outcome.unwrap_err().code(), "too-large");
    client
        .ask(&server.location(), "echo", "still here")
        .await
        .unwrap();
    assert_eq!(server.recorder.received(), 0);
}

/// The limit of the peer is known only after the handshake.
#[tokio::test]
async fn the_smaller_limit_holds_also_for_messages_that_waited_for_the_connection() {
    let server = Host::start(TransportSettings {
        frame_bytes_max: 8_192,
        ..listening()
    })
    .await;
    let client = Host::client().await;
    let asked = client.ask_later(&server.location(), "echo", vec![0; 9_000]);
    let large = Message::new("test.Large", vec![0; 9_000]);
    client.send(&server.location(), "notes", large).unwrap();
    client.send(&server.location(), "notes", note(1)).unwrap();
    assert_eq!(soon(asked).await.unwrap().unwrap_err().code(), "too-large");
    until("the small message", || server.recorder.received() == 1).await;
    let events = client.recorder.events();
    assert!(
        matches!(&events[..], [Event::Connected(_), Event::Undeliverable { kind, .. }]
            | [Event::Undeliverable { kind, .. }, Event::Connected(_)] if kind == "test.Large"),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_reply_above_the_limit_becomes_a_failure_for_the_asker() {
    let (server, client) = (Host::server().await, Host::client().await);
    let outcome = client.ask(&server.location(), "large", "20000000").await;
    let error = outcome.unwrap_err();
    assert_eq!(error.code(), "too-large");
    assert!(error.to_string().contains("reply `large`"), "{error}");
    client
        .ask(&server.location(), "echo", "again")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_forgotten_request_frees_its_place_on_both_sides_and_its_late_reply_is_dropped() {
    let (server, client) = (Host::server().await, Host::client().await);
    let (responder, outcome) = responder();
    let message = Message::new("test.Ask", "");
    let handle = client
        .transport
        .ask(&server.location(), "hold", message, responder)
        .unwrap();
    until("the request", || server.recorder.held() == 1).await;
    handle.forget();
    assert_eq!(soon(outcome).await.unwrap().unwrap_err().code(), "aborted");
    until("no request to answer", || {
        server.transport.connections()[0].answering == 0
    })
    .await;
    let late = server.recorder.told().held.remove(0);
    late.tell(Ok(Message::new("late", "")));
    client
        .ask(&server.location(), "echo", "goes on")
        .await
        .unwrap();
    assert_eq!(client.transport.connections()[0].outstanding, 0);
}

/// A host that does not listen is reached over the connection that it opened, both ways.
#[tokio::test]
async fn a_client_is_reachable_as_long_as_it_is_connected() {
    let (server, client) = (Host::server().await, Host::client().await);
    let to_client = client.location();
    let error = server.send(&to_client, "notes", note(0)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("over the connection that it opened"),
        "{error}"
    );
    client
        .ask(&server.location(), "echo", "hello")
        .await
        .unwrap();
    server.send(&to_client, "notes", note(1)).unwrap();
    until("the message", || client.recorder.received() == 1).await;
    assert_eq!(client.recorder.told().messages[0].0, server.location());
    let answer = server.ask(&to_client, "echo", "back").await.unwrap();
    assert_eq!(answer.body, "back");
    assert_eq!(server.transport.connections().len(), 1);
}

#[tokio::test]
async fn a_host_can_talk_to_itself_over_its_own_address() {
    let server = Host::server().await;
    let answer = server.ask(&server.location(), "echo", "me").await.unwrap();
    assert_eq!(answer.body, "me");
}

/// How many small messages go over one connection: run it with `--release --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_messages_arrive_and_their_rate_is_printed() {
    struct Counter(std::sync::atomic::AtomicU64, Arc<Recorder>);
    impl Incoming for Counter {
        fn one_way(&self, _: &Location, _: &str, _: Message) -> Accepted {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Accepted::Done
        }
        fn request(&self, f: &Location, e: &str, m: Message, r: Responder) -> Accepted {
            self.1.request(f, e, m, r)
        }
        fn connected(&self, _: &Location) {}
        fn disconnected(&self, _: &Location) {}
        fn network_error(&self, _: &Location, _: &str) {}
        fn open_file(
            &self,
            path: &str,
            range: FileRange,
        ) -> BoxFuture<'static, Result<Box<dyn FileBytes>, String>> {
            self.1.open_file(path, range)
        }
        fn undeliverable(&self, _: &Location, _: &str, _: &str, _: &RpcError) {}
    }
    let total: u64 = if cfg!(debug_assertions) {
        50_000
    } else {
        5_000_000
    };
    let counter = Arc::new(Counter(0.into(), Recorder::new(None)));
    let incoming: Arc<dyn Incoming> = counter.clone();
    let server = Transport::start(listening(), incoming).await.unwrap();
    let client = Host::client().await;
    let message = Message::new("test.Note", vec![1; 16]);
    let begun = Instant::now();
    for _ in 0..total {
        let permit = match client.transport.reserve(server.location()) {
            Ok(permit) => permit,
            Err(_) => soon(client.transport.reserve_wait(server.location()))
                .await
                .unwrap(),
        };
        permit.send("notes", message.clone()).unwrap();
    }
    until("all messages", || {
        counter.0.load(std::sync::atomic::Ordering::Relaxed) == total
    })
    .await;
    let rate = total as f64 / begun.elapsed().as_secs_f64();
    println!("one-way messages: {rate:.0}/s");
}
