//! A peer is told of the pauses of those whom it asks, and holds nobody up by what it tells.

use tokio::io::AsyncReadExt;

use super::backpressure::{fill, narrow};
use super::*;
use crate::clock::PauseClock;
use crate::transport::frame::{Decoder, Frame, RequestId};

const MS: Duration = Duration::from_millis(1);

fn clock(of: &str, at: &Host, on: &Host) -> Arc<PauseClock> {
    on.transport.pauses_of(&at.location(), of).unwrap()
}

/// Reads frames until one of them is `wanted`, and returns all that speak of endpoints.
async fn told(socket: &mut TcpStream, wanted: impl Fn(&Frame) -> bool) -> Vec<Frame> {
    let (mut decoder, mut buffer) = (Decoder::new(1 << 20), bytes::BytesMut::new());
    let mut frames = Vec::new();
    loop {
        while let Some(frame) = decoder.decode(&mut buffer).unwrap() {
            let last = wanted(&frame);
            if matches!(frame, Frame::StandsStill { .. } | Frame::GoesOn { .. }) {
                frames.push(frame);
            }
            if last {
                return frames;
            }
        }
        let count = soon(socket.read_buf(&mut buffer)).await.unwrap();
        assert!(count > 0, "closed before the frame came; came: {frames:?}");
    }
}

fn still(endpoint: &str) -> Frame {
    Frame::StandsStill {
        endpoint: endpoint.into(),
    }
}

fn request(number: u64, endpoint: &str) -> Frame {
    Frame::Request {
        id: RequestId(number),
        endpoint: endpoint.into(),
        message: Message::new("test.Ask", ""),
    }
}

#[tokio::test]
async fn who_waits_for_an_endpoint_of_a_peer_hears_of_its_pauses_in_both_directions() {
    let (server, client) = (Host::server().await, Host::client().await);
    client.ask(&server.location(), "echo", "").await.unwrap();
    for (asked, asker) in [(&server, &client), (&client, &server)] {
        let clock = clock("hold", asked, asker);
        let _open = asker.ask_later(&asked.location(), "hold", "");
        asked.transport.stands_still("hold");
        until("it stands still", || clock.stands_still()).await;
        // What counts is what the host of the endpoint says, not when it was heard here.
        asked.transport.goes_on("hold", MS * 12_345);
        until("it goes on", || !clock.stands_still()).await;
        assert_eq!(clock.total(), MS * 12_345);
        asked.transport.goes_on("hold", MS);
        until("a short pause", || clock.total() == MS * 12_346).await;
    }
}

#[tokio::test]
async fn who_asks_in_the_middle_of_a_pause_is_told_of_it() {
    let (server, client) = (Host::server().await, Host::client().await);
    let to = server.location();
    server.transport.stands_still("echo");
    for _new_connection_then_the_same_one in 0..2 {
        let clock = clock("echo", &server, &client);
        assert!(!clock.stands_still(), "nothing is remembered for nobody");
        client.ask(&to, "echo", "").await.unwrap();
        until("it stands still", || clock.stands_still()).await;
    }
    let (asked, other) = (
        clock("echo", &server, &client),
        clock("hold", &server, &client),
    );
    client.ask(&to, "echo", "").await.unwrap();
    until("it stands still", || asked.stands_still()).await;
    server.transport.goes_on("echo", MS);
    until("it goes on", || !asked.stands_still()).await;
    client.ask(&to, "echo", "").await.unwrap();
    assert!(!asked.stands_still() && other.total().is_zero());
}

#[tokio::test]
async fn an_endpoint_of_a_peer_that_is_gone_does_not_stand_still() {
    let (server, client) = (Host::server().await, Host::client().await);
    let clock = clock("hold", &server, &client);
    let open = client.ask_later(&server.location(), "hold", "");
    until("the request", || server.recorder.held() == 1).await;
    server.transport.stands_still("hold");
    until("it stands still", || clock.stands_still()).await;
    server.transport.shutdown().await;
    assert_eq!(soon(open).await.unwrap().unwrap_err().code(), "network");
    assert!(!clock.stands_still());
}

#[tokio::test]
async fn a_connection_that_never_comes_up_has_a_clock_that_goes() {
    let client = Host::client().await;
    let (stranger, to) = stranger().await;
    let clock = client.transport.pauses_of(&to, "e").unwrap();
    client.transport.stands_still("e");
    client.transport.goes_on("e", MS);
    drop(stranger);
    until("the end", || client.transport.connections().is_empty()).await;
    assert!(!clock.stands_still() && clock.total().is_zero());
    let nobody = Location::Client(uuid::Uuid::new_v4());
    assert!(client.transport.pauses_of(&nobody, "e").is_none());
}

/// However many pauses a peer missed while it did not read: it costs one frame for each endpoint.
#[tokio::test]
async fn a_peer_that_does_not_read_is_told_the_sum_in_the_end() {
    let server = Host::start(TransportSettings {
        listen: Some(Listen::local(0)),
        ..narrow()
    })
    .await;
    let (mut puppet, location) = puppet(&server).await;
    until("the connection", || !server.recorder.events().is_empty()).await;
    soon(fill(&server, &location)).await;
    for _ in 0..5000 {
        for endpoint in ["a", "b"] {
            server.transport.stands_still(endpoint);
            server.transport.goes_on(endpoint, MS * 2);
        }
    }
    server.transport.stands_still("b");
    let frames = told(&mut puppet, |frame| *frame == still("b")).await;
    let sum = |endpoint: &str| Frame::goes_on(endpoint.into(), MS * 10_000);
    let of_b: Vec<_> = frames.iter().filter(|frame| **frame != sum("a")).collect();
    assert_eq!(of_b, [&sum("b"), &still("b")]);
    assert!(frames.len() <= 3, "{frames:?}");
}

#[tokio::test]
async fn a_request_for_what_stands_still_is_answered_with_the_news_and_others_are_not() {
    let server = Host::server().await;
    server.transport.stands_still("hold");
    let (mut puppet, _) = puppet(&server).await;
    say(&mut puppet, &request(1, "echo")).await;
    say(&mut puppet, &request(2, "hold")).await;
    let is_news = |frame: &Frame| *frame == still("hold");
    assert_eq!(told(&mut puppet, is_news).await, [still("hold")]);
    server.transport.goes_on("hold", MS);
    say(&mut puppet, &request(3, "hold")).await;
    say(&mut puppet, &request(4, "echo")).await;
    let is_last = |frame: &Frame| matches!(frame, Frame::Reply { id, .. } if id.0 == 4);
    let frames = told(&mut puppet, is_last).await;
    assert_eq!(frames, [Frame::goes_on("hold".into(), MS)]);
}

#[tokio::test]
async fn what_a_peer_tells_of_endpoints_that_nobody_asked_for_is_ignored() {
    let server = Host::server().await;
    let (mut puppet, location) = puppet(&server).await;
    until("the connection", || !server.recorder.events().is_empty()).await;
    let asked = server.transport.pauses_of(&location, "asked").unwrap();
    for number in 0..1000 {
        say(&mut puppet, &still(&format!("e-{number}"))).await;
    }
    let forever = Frame::GoesOn {
        endpoint: "e-1".into(),
        pause: u64::MAX,
    };
    say(&mut puppet, &forever).await;
    say(&mut puppet, &still("asked")).await;
    until("the last one", || asked.stands_still()).await;
    let unasked = server.transport.pauses_of(&location, "e-1").unwrap();
    assert!(!unasked.stands_still() && unasked.total().is_zero());
    drop(puppet);
    until("the end", || !asked.stands_still()).await;
}
