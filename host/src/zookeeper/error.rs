//! Why ZooKeeper can never be reached with these settings.

use std::path::PathBuf;

/// Settings that can never work, so that trying again is of no use. That servers do not answer is not
/// among them: that is waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZooKeeperError {
    /// Correct the URL.
    #[error("`{url}` is no address of ZooKeeper: {reason}; expected HOST:PORT,HOST:PORT/CHROOT")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Write `tcp+tls://` before each server, or before none.
    #[error(
        "`{tls}` is to be reached by TLS, and `{plain}` in plain text: `tcp+tls://` counts for the one server \
         that it stands before; write it before each server, or before none"
    )]
    Mixed {
        /// A server with it.
        tls: String,
        /// A server without.
        plain: String,
    },
    /// Correct the path.
    #[error("`{path}` is no path in ZooKeeper: {reason}; expected one like /spark")]
    Path {
        /// What was given.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Correct the credentials.
    #[error(
        "credentials of scheme digest are USER:PASSWORD, and there is no `:` in what was given"
    )]
    Digest,
    /// Name the files, or take `tcp+tls://` away.
    #[error(
        "`{server}` is to be reached by TLS, and no certificates of authorities are named: they say whom we trust"
    )]
    NoAuthorities {
        /// Its address.
        server: String,
    },
    /// Write `tcp+tls://` before the servers, or name no files.
    #[error(
        "files for TLS are named, but no server of `{url}` has `tcp+tls://` before it: it would be plain text"
    )]
    TlsUnused {
        /// What was given.
        url: String,
    },
    /// See to it that the file can be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Give files in PEM form.
    #[error("{} cannot be used for TLS", path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What the library says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Take the right of others to read it away.
    #[error(
        "others can read the key in {} (mode {mode:o}); run `chmod 600 {}`",
        path.display(),
        path.display()
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Who may do what with it.
        mode: u32,
    },
    /// Name the key with which the certificate was asked for.
    #[error(
        "the key in {} is not that of the certificate in {}",
        key.display(),
        certificate.display()
    )]
    KeyMismatch {
        /// The file with the key.
        key: PathBuf,
        /// The file with the certificate.
        certificate: PathBuf,
    },
}
