//! Files of hosts, as endpoints read them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::time::Duration;

use fixture_reader_writer::{Close, Content, GetLog, Open, Ping, Read, ReadOn};
use instar_host::endpoint::settings::EndpointSettings;
use instar_host::{EndpointRef, RpcEnv, RpcError, RpcSettings};
use instar_tests::proxy::Proxy;
use instar_tests::{ask, client, component, eventually, server, start};
use tokio::io::AsyncReadExt as _;

fn granted() -> EndpointSettings {
    EndpointSettings {
        grants: ["channel", "persist"].map(str::to_owned).into(),
        ..EndpointSettings::default()
    }
}

async fn reader(env: &RpcEnv, settings: EndpointSettings) -> EndpointRef {
    let code = component("reader-writer-v1");
    env.setup_endpoint("rw", &code, settings).await.unwrap()
}

async fn read(by: &EndpointRef, uri: &str) -> Result<Content, RpcError> {
    read_range(by, uri, 0, None).await
}

async fn read_range(
    by: &EndpointRef,
    uri: &str,
    offset: u64,
    length: Option<u64>,
) -> Result<Content, RpcError> {
    let uri = uri.to_owned();
    let read = Read {
        uri,
        offset,
        length,
    };
    ask(by, &read).await
}

/// What a reader should see of these bytes.
fn content(bytes: &[u8]) -> Content {
    let terms = bytes.iter().zip(1_u64..);
    let sum = terms.map(|(byte, place)| place.wrapping_mul(u64::from(*byte)));
    Content {
        bytes: bytes.len() as u64,
        sum: sum.fold(0, u64::wrapping_add),
        first: bytes[..bytes.len().min(4096)].into(),
    }
}

/// A file of the host: its uri for peers.
fn offer(env: &RpcEnv, folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    let path = env.file_server().add_file(&path).unwrap();
    env.file_uri(&path).unwrap()
}

/// R36: what is read of a peer is what is there, and the same of the host itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_peer_and_one_of_the_own_host_are_read_byte_by_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (host, peer) = (start(server()).await, start(client()).await);
    let here = reader(&host, granted()).await;
    let there = reader(&peer, granted()).await;
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    for (name, bytes) in [
        ("empty", &[][..]),
        ("a file", b"some bytes"),
        ("large", &large),
    ] {
        let uri = offer(&host, folder.path(), name, bytes);
        assert_eq!(read(&there, &uri).await.unwrap(), content(bytes), "{name}");
        assert_eq!(read(&here, &uri).await.unwrap(), content(bytes), "{name}");
    }
    // Files make no events.
    assert_eq!(ask(&here, &GetLog {}).await.unwrap().lines, ["start"]);
    host.shutdown().await;
    peer.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_range_nothing_else_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (host, peer) = (start(server()).await, start(client()).await);
    let readers = [
        reader(&host, granted()).await,
        reader(&peer, granted()).await,
    ];
    let bytes: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 253) as u8).collect();
    let uri = offer(&host, folder.path(), "file", &bytes);
    let ranges = [
        (0, Some(1)),
        (1_000_000, Some(700_000)),
        (1_999_999, None),
        (1_999_999, Some(u64::MAX)),
        (2_000_000, None),
        (u64::MAX, None),
        (7, Some(0)),
    ];
    for (offset, length) in ranges {
        let from = bytes.len().min(usize::try_from(offset).unwrap());
        let to = offset.saturating_add(length.unwrap_or(u64::MAX));
        let to = bytes.len().min(usize::try_from(to).unwrap());
        for reader in &readers {
            let read = read_range(reader, &uri, offset, length).await.unwrap();
            assert_eq!(read, content(&bytes[from..to]), "{offset} {length:?}");
        }
    }
    let mut stream = host
        .open_channel_range(
            &uri,
            instar_host::transport::FileRange {
                offset: 10,
                length: Some(5),
            },
        )
        .await
        .unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, bytes[10..15]);
    host.shutdown().await;
    peer.shutdown().await;
}

/// More than six times the memory that the endpoint may have.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_larger_than_the_memory_is_streamed_through() {
    let folder = tempfile::tempdir().unwrap();
    let (host, peer) = (start(server()).await, start(client()).await);
    let path = folder.path().join("sparse");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(100 << 20).unwrap();
    let path = host.file_server().add_file(&path).unwrap();
    let uri = host.file_uri(&path).unwrap();
    let mut settings = granted();
    settings.limits.memory_bytes = 16 << 20;
    settings.limits.turn = Duration::from_secs(50);
    for env in [&host, &peer] {
        let rw = reader(env, settings.clone()).await;
        let read = read(&rw, &uri).await.unwrap();
        assert_eq!((read.bytes, read.sum), (100 << 20, 0));
        assert!(env.status_of("rw").unwrap().memory_bytes <= 16 << 20);
    }
    host.shutdown().await;
    peer.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_below_a_directory_are_listed_in_order_and_each_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("classes");
    for (path, size) in [("b/x", 3), ("b.txt", 2), ("a b/é", 1), ("b/c/deep", 4)] {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, vec![b'x'; size]).unwrap();
    }
    std::os::unix::fs::symlink(folder.path(), root.join("out")).unwrap();
    let (host, peer) = (start(server()).await, start(client()).await);
    let readers = [
        reader(&host, granted()).await,
        reader(&peer, granted()).await,
    ];
    let base = host
        .file_server()
        .add_directory("/app/classes", &root)
        .unwrap();
    let uri = host.file_uri(&format!("{base}/")).unwrap();
    let lines = "1 a%20b/%C3%A9\n2 b.txt\n4 b/c/deep\n3 b/x\n";
    for reader in &readers {
        assert_eq!(read(reader, &uri).await.unwrap(), content(lines.as_bytes()));
        let below = read(reader, &format!("{uri}b/")).await.unwrap();
        assert_eq!(below, content(b"4 c/deep\n3 x\n"));
        for line in lines.lines() {
            let (size, path) = line.split_once(' ').unwrap();
            let read = read(reader, &format!("{uri}{path}")).await.unwrap();
            assert_eq!(read.bytes.to_string(), size, "{path}");
        }
        for (path, reason) in [
            ("missing/", "no file"),
            ("out/", "no file"),
            ("b.txt/", "no file"),
        ] {
            let error = read(reader, &format!("{uri}{path}")).await.unwrap_err();
            assert_eq!(error.code(), "refused", "{path}");
            assert!(error.to_string().contains(reason), "{error}");
        }
        let error = read_range(reader, &uri, 1, None).await.unwrap_err();
        assert!(error.to_string().contains("no ranges"), "{error}");
    }
    host.shutdown().await;
    peer.shutdown().await;
}

/// R39: a failure names what was asked for, and is one that a program can tell apart.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_is_a_failure_with_uri_and_cause() {
    let (host, peer) = (start(server()).await, start(server()).await);
    let rw = reader(&host, granted()).await;
    let gone = peer.file_uri("/files/x").unwrap();
    let own = host.file_uri("/files/missing").unwrap();
    let missing = read(&rw, &gone).await.unwrap_err();
    assert_eq!(missing.code(), "refused");
    assert!(missing.to_string().contains(&gone), "{missing}");
    let missing = read(&rw, &own).await.unwrap_err();
    assert_eq!(missing.code(), "refused");
    assert!(missing.to_string().contains(&own), "{missing}");
    peer.shutdown().await;
    let error = read(&rw, &gone).await.unwrap_err();
    assert_eq!(error.code(), "network");
    assert!(error.to_string().contains(&gone), "{error}");
    for bad in [
        "",
        "x",
        "instar://host/x",
        "instar://host:0/x",
        "http://a:1/x",
        "instar://a:1/",
    ] {
        let error = read(&rw, bad).await.unwrap_err();
        assert_eq!(error.code(), "invalid-address", "{bad}");
    }
    host.shutdown().await;
}

/// R40: a peer that goes away in between is an error, never an end, and stays one.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_dies_in_between_is_an_error_and_no_end() {
    let folder = tempfile::tempdir().unwrap();
    let (host, peer) = (start(server()).await, start(client()).await);
    let rw = reader(&peer, granted()).await;
    // Far more than sockets hold.
    let path = folder.path().join("large");
    std::fs::File::create(&path)
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    let path = host.file_server().add_file(&path).unwrap();
    let address = host.address().unwrap();
    let proxy = Proxy::to(format!("127.0.0.1:{}", address.port()).parse().unwrap()).await;
    let uri = format!("instar://127.0.0.1:{}{path}", proxy.port());
    ask(&rw, &Open { uri, times: 1 }).await.unwrap();
    let bytes = 1 << 20;
    let read = ask(&rw, &ReadOn { bytes }).await.unwrap();
    assert_eq!(read.count, 1 << 20);
    proxy.cut().await;
    for _ in 0..2 {
        let error = ask(&rw, &ReadOn { bytes: 1 << 40 }).await.unwrap_err();
        assert!(error.to_string().contains("reading `instar://"), "{error}");
    }
    host.shutdown().await;
    peer.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_channels_than_the_limit_are_refused_until_some_are_closed() {
    let folder = tempfile::tempdir().unwrap();
    let host = start(server()).await;
    let mut settings = granted();
    settings.limits.channels = 3;
    let rw = reader(&host, settings).await;
    let uri = offer(&host, folder.path(), "file", b"x");
    let open = |times| Open {
        uri: uri.clone(),
        times,
    };
    assert_eq!(ask(&rw, &open(3)).await.unwrap().count, 3);
    let error = ask(&rw, &open(1)).await.unwrap_err();
    assert_eq!(error.code(), "denied");
    assert!(error.to_string().contains("`channels`"), "{error}");
    ask(&rw, &Close {}).await.unwrap();
    assert_eq!(ask(&rw, &open(3)).await.unwrap().count, 3);
    host.shutdown().await;
}

/// A host that takes a connection and never answers.
async fn silent_host() -> (tokio::net::TcpListener, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, format!("instar://127.0.0.1:{port}/files/x"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_a_turn_counts_while_it_waits() {
    let (_silent, uri) = silent_host().await;
    let host = start(server()).await;
    let mut settings = granted();
    settings.limits.turn = Duration::from_millis(100);
    let rw = reader(&host, settings).await;
    let error = read(&rw, &uri).await.unwrap_err();
    assert_eq!(error.code(), "crashed");
    assert!(error.to_string().contains("(limit `turn`)"), "{error}");
    ask(&rw, &Ping {}).await.unwrap();
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_by_force_ends_the_wait() {
    let (_silent, uri) = silent_host().await;
    let host = start(server()).await;
    let mut settings = granted();
    settings.limits.turn = Duration::from_secs(3600);
    settings.limits.drain = Duration::from_millis(50);
    let rw = reader(&host, settings).await;
    let waiting = tokio::spawn({
        let rw = rw.clone();
        async move { read(&rw, &uri).await }
    });
    eventually("the turn began", || async {
        (host.status_of("rw")?.open_calls == 1).then_some(())
    })
    .await;
    let code = component("reader-writer-v2");
    host.swap_by_force("rw", &code, None, "test").await.unwrap();
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "crashed");
    assert!(error.to_string().contains("forced swap"), "{error}");
    assert_eq!(ask(&rw, &GetLog {}).await.unwrap().version, "2.0.0");
    host.shutdown().await;
}

/// While one endpoint waits for a file, others go on, on however few threads.
#[tokio::test]
async fn a_wait_holds_nobody_else_up() {
    let (_silent, uri) = silent_host().await;
    let host = start(RpcSettings { ..server() }).await;
    let rw = reader(&host, granted()).await;
    let code = component("reader-writer-v1");
    let other = host
        .setup_endpoint("other", &code, granted())
        .await
        .unwrap();
    let waiting = tokio::spawn(async move { read(&rw, &uri).await });
    eventually("the turn began", || async {
        (host.status_of("rw")?.open_calls == 1).then_some(())
    })
    .await;
    for _ in 0..100 {
        ask(&other, &Ping {}).await.unwrap();
    }
    assert!(!waiting.is_finished());
    waiting.abort();
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_is_needed() {
    let host = start(server()).await;
    let mut settings = granted();
    settings.grants.remove("channel");
    let code = component("reader-writer-v1");
    let error = host
        .setup_endpoint("rw", &code, settings)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("`channel`"), "{error}");
    host.shutdown().await;
}
