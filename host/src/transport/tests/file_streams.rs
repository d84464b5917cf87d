//! Files over connections of their own.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::transport::StreamError;
use crate::transport::frame::Frame;
use crate::transport::handshake::{self, Introduction, Purpose};

async fn served(name: &str, content: &[u8]) -> (Host, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), content).unwrap();
    let path = folder.path().to_owned();
    let host = Host::start_with_files(listening(), Some(path)).await;
    (host, folder)
}

async fn check_identical(content: &[u8]) {
    let (server, _folder) = served("a file", content).await;
    let client = Host::client().await;
    let address = server.address();
    let opened = client
        .transport
        .open_stream(&address, "a file", FileRange::default());
    let mut stream = soon(opened).await.unwrap();
    let mut read = Vec::new();
    soon(stream.read_to_end(&mut read)).await.unwrap();
    assert!(read == content, "{} of {} bytes", read.len(), content.len());
    assert!(client.recorder.events().is_empty(), "files make no events");
    assert!(server.recorder.events().is_empty(), "files make no events");
}

#[tokio::test]
async fn an_empty_file_is_read_as_empty() {
    check_identical(b"").await;
}

#[tokio::test]
async fn a_large_file_is_read_byte_by_byte_as_it_is() {
    let content: Vec<u8> = (0..5 * 1024 * 1024_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    check_identical(&content).await;
}

#[tokio::test]
async fn a_missing_file_is_refused_by_name() {
    let (server, _folder) = served("there", b"x").await;
    let client = Host::client().await;
    let address = server.address();
    let opened = client
        .transport
        .open_stream(&address, "missing", FileRange::default());
    let error = soon(opened).await.unwrap_err();
    assert!(
        matches!(&error, StreamError::Refused { path, .. } if path == "missing"),
        "{error}"
    );
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_gives_no_file() {
    let (gone, to) = stranger().await;
    drop(gone);
    let Location::Listening(address) = to else {
        panic!("a stranger listens");
    };
    let client = Host::client().await;
    let error = soon(
        client
            .transport
            .open_stream(&address, "x", FileRange::default()),
    )
    .await;
    let error = error.unwrap_err();
    assert!(error.to_string().contains("cannot connect"), "{error}");
}

/// Takes a reader in, and sends `frames` for whatever file it asks for.
async fn begin(socket: &mut TcpStream, location: Location, frames: &[Frame]) {
    handshake::hear(socket, PATIENCE).await.unwrap();
    let ours = Introduction {
        location,
        purpose: Purpose::Files,
        frame_bytes_max: 1 << 20,
    };
    handshake::welcome(socket, &ours, PATIENCE).await.unwrap();
    let mut path = [0; 6];
    socket.read_exact(&mut path).await.unwrap();
    let mut bytes = bytes::BytesMut::new();
    for frame in frames {
        frame.encode(&mut bytes);
    }
    socket.write_all(&bytes).await.unwrap();
}

/// What a reader gets from a host that sends `frames`, and then closes.
async fn read_from_puppet(frames: &[Frame]) -> io::Result<Vec<u8>> {
    let (listener, to) = stranger().await;
    let Location::Listening(address) = to.clone() else {
        panic!("a stranger listens");
    };
    let serve = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        begin(&mut socket, to, frames).await;
    };
    let client = Host::client().await;
    let read = async {
        let mut stream = client
            .transport
            .open_stream(&address, "x", FileRange::default())
            .await
            .unwrap();
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await?;
        Ok(read)
    };
    soon(async { tokio::join!(serve, read).1 }).await
}

fn chunk() -> Frame {
    Frame::Chunk {
        bytes: "part".into(),
    }
}

#[tokio::test]
async fn a_peer_that_dies_midway_is_an_error_and_no_end() {
    let error = read_from_puppet(&[chunk(), chunk()]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert!(error.to_string().contains("before the end"), "{error}");
}

#[tokio::test]
async fn a_peer_that_fails_midway_is_an_error_in_its_words() {
    let failure = Frame::stream_failure("disk on fire");
    let error = read_from_puppet(&[chunk(), failure]).await.unwrap_err();
    assert!(error.to_string().contains("disk on fire"), "{error}");
}

#[tokio::test]
async fn a_peer_that_falls_silent_midway_is_an_error_after_the_idle_timeout() {
    let (listener, to) = stranger().await;
    let Location::Listening(address) = to.clone() else {
        panic!("a stranger listens");
    };
    let client = Host::start(TransportSettings {
        idle_timeout: Duration::from_millis(100),
        keep_alive: Duration::from_millis(50),
        ..quick()
    })
    .await;
    let serve = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        begin(&mut socket, to, &[chunk()]).await;
        socket
    };
    let opened = client
        .transport
        .open_stream(&address, "x", FileRange::default());
    let (_socket, opened) = soon(async { tokio::join!(serve, opened) }).await;
    let mut read = Vec::new();
    let error = soon(opened.unwrap().read_to_end(&mut read)).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(error.to_string().contains("`idle_timeout`"), "{error}");
    assert_eq!(read, b"part");
}

#[tokio::test]
async fn only_the_end_frame_ends_a_file() {
    let read = read_from_puppet(&[chunk(), Frame::End]).await.unwrap();
    assert_eq!(read, b"part");
    let error = read_from_puppet(&[chunk(), Frame::Ping]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn of_a_range_only_its_bytes_travel() {
    let content: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (server, _folder) = served("a file", &content).await;
    let client = Host::client().await;
    let address = server.address();
    let ranges = [
        (0, Some(10)),
        (300_000, Some(500_000)),
        (999_990, None),
        (999_990, Some(100)),
        (1_000_000, None),
        (u64::MAX, Some(u64::MAX)),
        (5, Some(0)),
    ];
    for (offset, length) in ranges {
        let range = FileRange { offset, length };
        let opened = client.transport.open_stream(&address, "a file", range);
        let mut read = Vec::new();
        let mut stream = soon(opened).await.unwrap();
        soon(stream.read_to_end(&mut read)).await.unwrap();
        let start = content.len().min(usize::try_from(offset).unwrap());
        let end = offset.saturating_add(length.unwrap_or(u64::MAX));
        let end = content.len().min(usize::try_from(end).unwrap());
        assert!(read == content[start..end], "{range:?}: {}", read.len());
    }
}

/// What an older host does: it knows no frame of this tag, and closes.
#[tokio::test]
async fn a_host_that_gives_no_ranges_is_told_apart_from_an_end() {
    let (listener, to) = stranger().await;
    let Location::Listening(address) = to.clone() else {
        panic!("a stranger listens");
    };
    let serve = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        handshake::hear(&mut socket, PATIENCE).await.unwrap();
        let ours = Introduction {
            location: to,
            purpose: Purpose::Files,
            frame_bytes_max: 1 << 20,
        };
        handshake::welcome(&mut socket, &ours, PATIENCE)
            .await
            .unwrap();
        let mut frame = [0; 22];
        socket.read_exact(&mut frame).await.unwrap();
    };
    let client = Host::client().await;
    let range = FileRange {
        offset: 1,
        length: None,
    };
    let opened = client.transport.open_stream(&address, "x", range);
    let error = soon(async { tokio::join!(serve, opened).1 }).await;
    let error = error.unwrap_err();
    assert!(error.to_string().contains("no ranges"), "{error}");
}

#[tokio::test]
async fn more_bytes_than_were_wanted_are_an_error() {
    let (listener, to) = stranger().await;
    let Location::Listening(address) = to.clone() else {
        panic!("a stranger listens");
    };
    let serve = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        begin(&mut socket, to, &[chunk(), chunk(), Frame::End]).await;
        socket
    };
    let client = Host::client().await;
    let range = FileRange {
        offset: 0,
        length: Some(6),
    };
    let opened = client.transport.open_stream(&address, "x", range);
    let (_socket, opened) = soon(async { tokio::join!(serve, opened) }).await;
    let error = soon(opened.unwrap().read_to_end(&mut Vec::new())).await;
    assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidData);
}
