//! Where a host listens and what it calls itself.

use super::*;
use crate::transport::TransportError;
use crate::transport::listener::next_port;

async fn refused(listen: Listen, port_retries: u16) -> TransportError {
    let settings = TransportSettings {
        listen: Some(listen),
        port_retries,
        ..quick()
    };
    let incoming = Recorder::new(None);
    Transport::start(settings, incoming).await.unwrap_err()
}

#[tokio::test]
async fn a_taken_port_leads_to_a_later_one() {
    let first = Host::server().await;
    let second = Host::start(TransportSettings {
        listen: Some(Listen::local(first.address().port())),
        ..quick()
    })
    .await;
    assert_ne!(second.address().port(), first.address().port());
    let client = Host::client().await;
    client.ask(&first.location(), "echo", "").await.unwrap();
    client.ask(&second.location(), "echo", "").await.unwrap();
}

#[tokio::test]
async fn without_retries_a_taken_port_is_an_error_that_names_it() {
    let first = Host::server().await;
    let port = first.address().port();
    let error = refused(Listen::local(port), 0).await;
    assert!(matches!(error, TransportError::Bind { .. }));
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}

#[test]
fn the_port_after_the_last_is_the_first_that_needs_no_privilege() {
    assert_eq!(next_port(7077), 7078);
    assert_eq!(next_port(65_535), 1024);
    assert_eq!(next_port(0), 0);
}

#[tokio::test]
async fn a_privileged_port_is_refused() {
    let error = refused(Listen::local(80), 0).await.to_string();
    assert!(
        error.contains("`port` is 80") && error.contains("1024"),
        "{error}"
    );
}

#[tokio::test]
async fn a_host_is_known_by_its_advertised_name_and_bound_port() {
    let server = Host::start(TransportSettings {
        listen: Some(Listen {
            advertise: Some("localhost".to_owned()),
            ..Listen::local(0)
        }),
        ..quick()
    })
    .await;
    assert_eq!(server.address().host(), "localhost");
    assert_ne!(server.address().port(), 0);
    let client = Host::client().await;
    client.ask(&server.location(), "echo", "").await.unwrap();
    // What it sends comes from that name.
    let other = Host::server().await;
    server.send(&other.location(), "notes", note(1)).unwrap();
    until("the message", || other.recorder.received() == 1).await;
    assert_eq!(other.recorder.told().messages[0].0, server.location());
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused_unless_allowed() {
    let everywhere = |insecure, advertise: Option<&str>| Listen {
        host: "0.0.0.0".to_owned(),
        port: 0,
        advertise: advertise.map(str::to_owned),
        insecure,
    };
    let error = refused(everywhere(false, Some("h")), 0).await.to_string();
    assert!(error.contains("`--insecure`"), "{error}");
    let error = refused(everywhere(true, None), 0).await.to_string();
    assert!(error.contains("`--advertise HOST`"), "{error}");
    let server = Host::start(TransportSettings {
        listen: Some(everywhere(true, Some("127.0.0.1"))),
        ..quick()
    })
    .await;
    let client = Host::client().await;
    client.ask(&server.location(), "echo", "").await.unwrap();
}

#[tokio::test]
async fn an_impossible_setting_is_refused_by_name() {
    let settings = TransportSettings {
        frame_bytes_max: 10,
        ..quick()
    };
    let error = Transport::start(settings, Recorder::new(None)).await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("`frame_bytes_max` is 10"), "{text}");

    let settings = TransportSettings {
        idle_timeout: Duration::from_secs(5),
        ..quick()
    };
    let error = Transport::start(settings, Recorder::new(None)).await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("`keep_alive` is 20s"), "{text}");
    assert!(text.contains("less than `idle_timeout`, 5s"), "{text}");
}

#[tokio::test]
async fn more_dialled_connections_than_allowed_are_denied() {
    let (first, second) = (Host::server().await, Host::server().await);
    let client = Host::start(TransportSettings {
        connections_max: 1,
        ..quick()
    })
    .await;
    client.ask(&first.location(), "echo", "").await.unwrap();
    let error = client.ask(&second.location(), "echo", "").await;
    assert_eq!(error.unwrap_err().code(), "denied");
}
