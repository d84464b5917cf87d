//! Files for TLS, and what a handshake says. The certificates are each signed by itself; `here` is for
//! 127.0.0.1, `elsewhere` for another name. They are for these tests only, and valid until the year 2126.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, ServerConnection};
use tempfile::TempDir;

use super::*;

const HERE: (&str, &str) = (
    include_str!("tests/here.pem"),
    include_str!("tests/here.key"),
);
const ELSEWHERE: (&str, &str) = (
    include_str!("tests/elsewhere.pem"),
    include_str!("tests/elsewhere.key"),
);

/// Longer than any handshake takes, where it ends by itself.
const LONG: std::time::Duration = std::time::Duration::from_secs(60);

/// A folder with files for TLS, of which the key is for us alone.
fn files(authorities: &str, identity: Option<(&str, &str)>) -> (TempDir, TlsFiles) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    };
    let files = TlsFiles {
        authorities: file("ca.pem", authorities),
        identity: identity.map(|(pem, key)| (file("our.pem", pem), file("our.key", key))),
    };
    (folder, files)
}

fn refusal(files: &TlsFiles) -> String {
    match read(files) {
        Ok(_) => panic!("taken: {files:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_key_that_is_not_that_of_its_certificate_is_refused() {
    let (_folder, ours) = files(HERE.0, Some(HERE));
    assert!(read(&ours).is_ok());
    let (_folder, mixed) = files(HERE.0, Some((HERE.0, ELSEWHERE.1)));
    let error = refusal(&mixed);
    for expected in ["our.key", "is not that of", "our.pem"] {
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let (_folder, ours) = files(HERE.0, Some(HERE));
    let (_, key) = ours.identity.as_ref().unwrap();
    fs::set_permissions(key, Permissions::from_mode(0o644)).unwrap();
    let error = refusal(&ours);
    assert!(error.contains("(mode 644); run `chmod 600"), "{error}");
}

#[test]
fn a_file_without_what_it_should_hold_is_named() {
    let (_folder, no_key) = files(HERE.0, Some((HERE.0, "")));
    assert!(refusal(&no_key).contains("our.key"));
    let (_folder, no_certificate) = files(HERE.0, Some(("", HERE.1)));
    assert!(refusal(&no_certificate).contains("our.pem"));
    let (_folder, no_authority) = files("", None);
    assert!(refusal(&no_authority).contains("ca.pem"));
}

/// A server with this certificate, which wants one of its clients that is `wanted`.
fn server((pem, key): (&str, &str), wanted: Option<&str>) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = match wanted {
        None => config.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(all::<CertificateDer<'_>>(pem).unwrap());
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            config.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = Arc::new(config.with_single_cert(all(pem).unwrap(), key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut connection = ServerConnection::new(config).unwrap();
        // As ZooKeeper: it says nothing before the client has, and hangs up where they do not agree.
        while connection
            .complete_io(&mut stream)
            .is_ok_and(|(read, _)| read > 0)
        {}
        // What it said last is to arrive: no reset for what it did not read.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    address
}

/// What is said of a server, by one with these files.
async fn said_of(address: SocketAddr, files: &TlsFiles) -> String {
    let (_, handshake) = read(files).unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let limit = Instant::now() + LONG;
    handshake.diagnose("127.0.0.1", stream, limit).await
}

#[tokio::test]
async fn who_signed_a_certificate_is_to_be_trusted() {
    let (_folder, ours) = files(ELSEWHERE.0, None);
    let said = said_of(server(HERE, None), &ours).await;
    for expected in [
        "not trusted (UnknownIssuer)",
        "ca.pem",
        "--zookeeper-tls-ca",
    ] {
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_said_to_be_one() {
    let (_folder, ours) = files(ELSEWHERE.0, None);
    let said = said_of(server(ELSEWHERE, None), &ours).await;
    for expected in ["another name", "127.0.0.1", "elsewhere.example"] {
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_of_ours_is_said_to_want_it() {
    let (_folder, ours) = files(HERE.0, None);
    let said = said_of(server(HERE, Some(HERE.0)), &ours).await;
    assert!(
        said.contains("does it want a certificate of ours"),
        "{said}"
    );
    let (_folder, ours) = files(HERE.0, Some(ELSEWHERE));
    let said = said_of(server(HERE, Some(HERE.0)), &ours).await;
    assert!(said.contains("signed our certificate"), "{said}");
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_said_not_to_speak_tls() {
    let (_folder, ours) = files(HERE.0, None);
    for answer in [&b""[..], b"HTTP/1.1 400 Bad Request\r\n\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(answer).unwrap();
        });
        let said = said_of(address, &ours).await;
        assert!(said.contains("speak TLS on this port"), "{said}");
    }
}

/// Then something else is the matter.
#[tokio::test]
async fn a_server_that_agrees_is_waited_for_until_the_limit_only() {
    let (_folder, ours) = files(HERE.0, Some(HERE));
    let (_, handshake) = read(&ours).unwrap();
    let mut said = String::new();
    // A busy machine may need longer for the handshake than the limit.
    for limit in [1, 4, 16] {
        let address = server(HERE, Some(HERE.0));
        let stream = TcpStream::connect(address).await.unwrap();
        let limit = Instant::now() + std::time::Duration::from_secs(limit);
        said = handshake.diagnose("127.0.0.1", stream, limit).await;
        if said.contains("agrees on TLS") {
            return;
        }
    }
    panic!("{said}");
}
