//! TLS: what its files must be, and why a server and we do not agree.
//!
//! The client library reads the same files by itself, but finds out late that a key is not that of its
//! certificate, and tells only its log why a handshake failed. Here the first is refused at the start; the
//! second is found by a handshake of our own, once an attempt of the library's has failed.
//!
//! Invariant: what is trusted here is what the library trusts, so that both fail for the same reason.

use std::io::{Error as IoError, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Error, InconsistentKeys, RootCertStore,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use zookeeper_client::TlsOptions;

use super::error::ZooKeeperError;
use super::settings::TlsFiles;

/// Reads the files: for the library, and for a handshake of our own.
///
/// # Errors
/// What can never work with these files.
pub(super) fn read(files: &TlsFiles) -> Result<(TlsOptions, Handshake), ZooKeeperError> {
    let authorities = text(&files.authorities)?;
    let mut options = TlsOptions::new()
        .with_pem_ca(&authorities)
        .map_err(|error| unusable(&files.authorities, error))?;
    let trusting = trusting(&authorities).map_err(|error| unusable(&files.authorities, error))?;
    let config = match &files.identity {
        None => trusting.with_no_client_auth(),
        Some((certificate, key)) => {
            not_for_others(key)?;
            let (chain, secret) = (text(certificate)?, text(key)?);
            let certificates: Vec<_> = all(&chain).map_err(|error| unusable(certificate, error))?;
            let private = PrivateKeyDer::from_pem_slice(secret.as_bytes())
                .map_err(|error| unusable(key, error))?;
            options = options
                .with_pem_identity(&chain, &secret)
                .map_err(|error| unusable(certificate, error))?;
            let config = trusting.with_client_auth_cert(certificates, private);
            config.map_err(|error| match error {
                Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    ZooKeeperError::KeyMismatch {
                        key: key.clone(),
                        certificate: certificate.clone(),
                    }
                }
                error => unusable(certificate, error),
            })?
        }
    };
    let handshake = Handshake {
        config: Arc::new(config),
        authorities: files.authorities.clone(),
        has_identity: files.identity.is_some(),
    };
    Ok((options, handshake))
}

type Trusting = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

/// As the library does it.
fn trusting(authorities: &str) -> Result<Trusting, Box<dyn std::error::Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(all::<CertificateDer<'_>>(authorities)?);
    let revoked: Vec<CertificateRevocationListDer<'_>> = all(authorities)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
    let verifier = verifier.with_crls(revoked).build()?;
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions()?;
    Ok(config.with_webpki_verifier(verifier))
}

/// All of one kind.
fn all<T: PemObject>(pem: &str) -> Result<Vec<T>, rustls::pki_types::pem::Error> {
    T::pem_slice_iter(pem.as_bytes()).collect()
}

fn unusable(
    path: &Path,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> ZooKeeperError {
    ZooKeeperError::Pem {
        path: path.to_owned(),
        source: error.into(),
    }
}

fn text(path: &Path) -> Result<String, ZooKeeperError> {
    std::fs::read_to_string(path).map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, source: IoError) -> ZooKeeperError {
    ZooKeeperError::Read {
        path: path.to_owned(),
        source,
    }
}

fn not_for_others(key: &Path) -> Result<(), ZooKeeperError> {
    let about = std::fs::metadata(key).map_err(|error| unreadable(key, error))?;
    let mode = about.permissions().mode() & 0o777;
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(ZooKeeperError::Exposed {
            path: key.to_owned(),
            mode,
        }),
    }
}

/// A handshake that is made only to see how it ends.
pub(super) struct Handshake {
    config: Arc<ClientConfig>,
    authorities: PathBuf,
    has_identity: bool,
}

/// How one ended.
enum End {
    /// One of both refuses.
    Refused(Error),
    /// The connection is at its end.
    Closed(Option<IoError>),
}

impl Handshake {
    /// Why a server at the other end of this connection gives no session; no later than `limit`.
    pub(super) async fn diagnose(
        &self,
        host: &str,
        mut stream: TcpStream,
        limit: Instant,
    ) -> String {
        let Ok(name) = ServerName::try_from(host.to_owned()) else {
            return format!("no certificate can be for the name `{host}`");
        };
        let mut connection = match ClientConnection::new(self.config.clone(), name) {
            Ok(connection) => connection,
            Err(error) => return format!("cannot begin TLS: {error}"),
        };
        let end = timeout_at(limit, shake(&mut connection, &mut stream)).await;
        match (end, connection.is_handshaking()) {
            (Ok(End::Refused(error)), _) => self.refusal(&error),
            (Ok(End::Closed(error)), true) => format!(
                "it ends the connection{} when we begin TLS: does it speak TLS on this port",
                because(error)
            ),
            (Ok(End::Closed(error)), false) => format!(
                "it ends the connection{} after the TLS handshake: {}",
                because(error),
                self.who_we_are()
            ),
            (Err(_), true) => {
                "it takes connections, but does not answer when we begin TLS: does it speak TLS on this port"
                    .to_owned()
            }
            (Err(_), false) => {
                "it agrees on TLS, but gives no session: it starts, or lacks a quorum".to_owned()
            }
        }
    }

    fn refusal(&self, error: &Error) -> String {
        match error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => format!(
                "its certificate is not trusted (UnknownIssuer): is the authority that signed it in {} \
                 (--zookeeper-tls-ca)",
                self.authorities.display()
            ),
            Error::InvalidCertificate(
                cause @ (CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. }),
            ) => {
                format!(
                    "its certificate is for another name ({cause}): use one of its names as the address"
                )
            }
            Error::InvalidCertificate(cause) => format!("its certificate is not valid ({cause})"),
            Error::AlertReceived(alert) => {
                format!(
                    "it refuses our TLS handshake ({alert:?}): {}",
                    self.who_we_are()
                )
            }
            Error::InvalidMessage(_) => {
                format!("it does not speak TLS on this port ({error})")
            }
            error => format!("the TLS handshake fails ({error})"),
        }
    }

    fn who_we_are(&self) -> &'static str {
        match self.has_identity {
            true => {
                "does it trust the authority that signed our certificate (--zookeeper-tls-cert)"
            }
            false => "does it want a certificate of ours (--zookeeper-tls-cert)",
        }
    }
}

fn because(error: Option<IoError>) -> String {
    error.map_or_else(String::new, |error| format!(" ({error})"))
}

/// Until it ends. After a handshake that succeeded it waits on: by TLS 1.3 a server says only then what it
/// thinks of our certificate.
async fn shake(connection: &mut ClientConnection, stream: &mut TcpStream) -> End {
    let mut buffer = [0; 4096];
    loop {
        if let Err(error) = flush(connection, stream).await {
            return End::Closed(Some(error));
        }
        let mut read = match stream.read(&mut buffer).await {
            Ok(0) => return End::Closed(None),
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            Err(error) => return End::Closed(Some(error)),
        };
        while !read.is_empty() {
            match connection.read_tls(&mut read) {
                Ok(0) => return End::Closed(None),
                Ok(_) => {}
                Err(error) => return End::Closed(Some(error)),
            }
            if let Err(error) = connection.process_new_packets() {
                // For the log of the server.
                let _ = flush(connection, stream).await;
                return End::Refused(error);
            }
        }
    }
}

async fn flush(connection: &mut ClientConnection, stream: &mut TcpStream) -> Result<(), IoError> {
    let mut bytes = Vec::new();
    while connection.wants_write() {
        if connection.write_tls(&mut bytes)? == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
    }
    stream.write_all(&bytes).await
}

#[cfg(test)]
mod tests;
