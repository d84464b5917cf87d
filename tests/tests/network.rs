//! Connections as endpoints see them, and files over the wire.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use fixture_probe::{AskOther, Echo, GetLog, Note, SendMany, Spin, WhoAreYou};
use instar_host::{EndpointRef, RpcEnv};
use instar_tests::{ask, client, component, eventually, message, server, start};
use tokio::io::AsyncReadExt as _;

async fn probe(env: &RpcEnv, name: &str) -> EndpointRef {
    let code = component("probe-v1");
    env.setup_endpoint(name, &code, Default::default())
        .await
        .unwrap()
}

/// The lines of the log about connections, once there are `count` of them.
async fn connections(of: &EndpointRef, count: usize) -> Vec<String> {
    eventually(&format!("{count} connection events at {of}"), || async {
        let mut lines = ask(of, &GetLog {}).await.unwrap().lines;
        lines.retain(|line| line.contains("connected "));
        (lines.len() >= count).then_some(lines)
    })
    .await
}

/// R21, RH1, RH2: each side sees the other one come and go, once.
#[tokio::test]
async fn two_servers_see_each_other_come_and_go_under_their_listen_addresses() {
    let (host, peer) = (start(server()).await, start(server()).await);
    let (here, there) = (probe(&host, "p").await, probe(&peer, "q").await);
    peer.setup_endpoint_ref_by_uri(&here.to_string())
        .await
        .unwrap();
    let (host_address, peer_address) = (host.address().unwrap(), peer.address().unwrap());
    assert_eq!(
        connections(&here, 1).await,
        [format!("connected {peer_address}")]
    );
    assert_eq!(
        connections(&there, 1).await,
        [format!("connected {host_address}")]
    );
    peer.shutdown().await;
    let seen = connections(&here, 2).await;
    let expected = [
        format!("connected {peer_address}"),
        format!("disconnected {peer_address}"),
    ];
    assert_eq!(seen, expected);
    host.shutdown().await;
}

/// R22, R23
#[tokio::test]
async fn a_server_and_a_client_see_each_other_come_and_go() {
    let (host, peer) = (start(server()).await, start(client()).await);
    let (here, there) = (probe(&host, "p").await, probe(&peer, "c").await);
    peer.setup_endpoint_ref_by_uri(&here.to_string())
        .await
        .unwrap();
    let host_address = host.address().unwrap();
    assert_eq!(
        connections(&there, 1).await,
        [format!("connected {host_address}")]
    );
    assert_eq!(
        connections(&here, 1).await,
        [format!("connected {}", peer.location())]
    );
    host.shutdown().await;
    let seen = connections(&there, 2).await;
    assert_eq!(seen[1], format!("disconnected {host_address}"));
    peer.shutdown().await;
}

/// The next use connects again: nothing has to be set up anew.
#[tokio::test]
async fn a_reference_connects_again_after_its_host_came_back() {
    let (host, peer) = (start(server()).await, start(client()).await);
    let local = probe(&host, "p").await;
    let port = host.address().unwrap().port();
    let remote = peer
        .setup_endpoint_ref_by_uri(&local.to_string())
        .await
        .unwrap();
    host.shutdown().await;
    let echo = Echo {
        text: "x".to_owned(),
    };
    assert!(ask(&remote, &echo).await.is_err());
    let mut settings = server();
    settings.transport.listen = Some(instar_host::transport::Listen::local(port));
    settings.transport.port_retries = 0;
    let again = start(settings).await;
    probe(&again, "p").await;
    eventually("an answer of the new host", || async {
        ask(&remote, &echo).await.ok()
    })
    .await;
    peer.shutdown().await;
    again.shutdown().await;
}

/// Whoever counts on a peer hears that it is out of reach, also who did not send just now. An endpoint that
/// is busy hears it once, however often others try meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_cannot_be_reached_is_a_network_error_for_all_and_once_for_who_is_busy() {
    let (host, gone) = (start(server()).await, start(server()).await);
    let (idle, busy) = (probe(&host, "idle").await, probe(&host, "busy").await);
    let nobody = host.reference(probe(&gone, "gone").await.address().clone());
    let address = gone.address().unwrap();
    gone.shutdown().await;
    let errors = async |of: &EndpointRef| {
        let mut lines = ask(of, &GetLog {}).await.unwrap().lines;
        lines.retain(|line| line.starts_with(&format!("network-error {address}: ")));
        lines.len()
    };
    // A turn that lasts longer than the tries, however fast this machine is.
    let mut turns = 50_000_000;
    let heard = loop {
        let before = errors(&busy).await;
        let is_busy = || host.status_of("busy").unwrap().open_calls == 1;
        let spinning = busy.ask_abortable(message(&Spin { turns }));
        eventually("the spinning to begin", || async {
            is_busy().then_some(())
        })
        .await;
        for _ in 0..20 {
            assert_eq!(
                ask(&nobody, &GetLog {}).await.unwrap_err().code(),
                "network"
            );
        }
        let was_busy = is_busy();
        spinning.outcome().await.unwrap();
        if was_busy {
            break errors(&busy).await - before;
        }
        turns *= 4;
    };
    // One that was told as the turn began, and one for all that came during it.
    assert!((1..=2).contains(&heard), "{heard}");
    eventually("the idle one hears of more", async || {
        (errors(&idle).await > 2).then_some(())
    })
    .await;
    host.shutdown().await;
}

/// An endpoint asks one of another host, and the answer comes back to it.
#[tokio::test]
async fn endpoints_of_two_hosts_send_to_and_ask_each_other() {
    let (host, peer) = (start(server()).await, start(client()).await);
    let (here, there) = (probe(&host, "p").await, probe(&peer, "c").await);
    let far = ask(&here, &WhoAreYou {}).await.unwrap().me;
    let ask_it = AskOther {
        to: far.clone(),
        text: "hello".to_owned(),
        timeout_ms: None,
    };
    there.send(message(&ask_it)).await.unwrap();
    eventually("the answer in the log", || async {
        let lines = ask(&there, &GetLog {}).await.unwrap().lines;
        lines
            .iter()
            .any(|line| line == "answer hello to hello")
            .then_some(())
    })
    .await;
    let many = SendMany {
        to: far,
        count: 500,
        prefix: "n".to_owned(),
        wait: true,
    };
    there.send(message(&many)).await.unwrap();
    let lines = eventually("500 notes", || async {
        let mut lines = ask(&here, &GetLog {}).await.unwrap().lines;
        lines.retain(|line| line.starts_with('n'));
        (lines.len() == 500).then_some(lines)
    })
    .await;
    let in_order: Vec<_> = (0..500).map(|number| format!("n{number}")).collect();
    assert_eq!(lines, in_order);
    peer.shutdown().await;
    host.shutdown().await;
}

/// A peer that sends faster than an endpoint handles is slowed down, and loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_inbox_slows_the_peer_down_and_loses_nothing() {
    let (host, peer) = (start(server()).await, start(client()).await);
    let mut settings = instar_host::endpoint::settings::EndpointSettings::default();
    settings.limits.inbox = 4;
    let code = component("probe-v1");
    let local = host.setup_endpoint("p", &code, settings).await.unwrap();
    let remote = peer.reference(local.address().clone());
    for number in 0..3000 {
        let text = format!("n{number}");
        remote.send(message(&Note { text })).await.unwrap();
    }
    let mut lines = ask(&remote, &GetLog {}).await.unwrap().lines;
    lines.retain(|line| line.starts_with('n'));
    let in_order: Vec<_> = (0..3000).map(|number| format!("n{number}")).collect();
    assert!(
        lines == in_order,
        "{} lines, the last {:?}",
        lines.len(),
        lines.last()
    );
    peer.shutdown().await;
    host.shutdown().await;
}

async fn read(env: &RpcEnv, uri: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut stream = env
        .open_channel(uri)
        .await
        .map_err(|error| error.to_string())?;
    stream
        .read_to_end(&mut bytes)
        .await
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// R40
#[tokio::test]
async fn files_jars_and_directories_are_fetched_as_they_are() {
    let (host, peer) = (start(server()).await, start(client()).await);
    let dir = tempfile::tempdir().unwrap();
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
    let files = [
        ("plain", &b"hello"[..]),
        ("with a space", b"spaced"),
        ("empty", b""),
        ("large", &large),
    ];
    for (name, bytes) in files {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let uri = host.file_server().add_file(&path).unwrap();
        let uri = host.file_uri(&uri).unwrap();
        assert_eq!(read(&peer, &uri).await.unwrap(), bytes, "{uri}");
    }
    let jar = host
        .file_server()
        .add_jar(&dir.path().join("plain"))
        .unwrap();
    assert_eq!(
        read(&peer, &host.file_uri(&jar).unwrap()).await.unwrap(),
        b"hello"
    );
    for base in ["/dir1", "/dir2/sub"] {
        let base = host.file_server().add_directory(base, dir.path()).unwrap();
        let uri = host.file_uri(&format!("{base}/plain")).unwrap();
        assert_eq!(read(&peer, &uri).await.unwrap(), b"hello");
    }
    peer.shutdown().await;
    host.shutdown().await;
}

/// R43
#[tokio::test]
async fn what_is_not_offered_cannot_be_fetched() {
    let (host, peer) = (start(server()).await, start(client()).await);
    let dir = tempfile::tempdir().unwrap();
    host.file_server()
        .add_directory("/dir", dir.path())
        .unwrap();
    for path in ["/files/x", "/jars/x", "/dir/x", "/other/x"] {
        let uri = host.file_uri(path).unwrap();
        let error = read(&peer, &uri).await.unwrap_err();
        assert!(error.contains(path), "{error}");
    }
    for uri in [
        "http://h:1/x",
        "instar://h/x",
        "instar://h:0/x",
        "instar://h:1",
        "instar://h:1/",
    ] {
        assert!(read(&peer, uri).await.unwrap_err().contains(uri));
    }
    peer.shutdown().await;
    host.shutdown().await;
}
