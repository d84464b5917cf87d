//! How ZooKeeper is reached.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::connect_string::ConnectString;
use super::connector::connector;
use super::error::ZooKeeperError;
use super::paths::Paths;

/// How ZooKeeper is reached, and where in it an ensemble of hosts has its nodes.
#[derive(Clone, Debug)]
pub struct ZooKeeperSettings {
    /// `HOST:PORT,HOST:PORT/CHROOT`; `tcp+tls://` before each host for TLS. The chroot may be missing.
    pub url: String,
    /// The node below which all is that we write, below the chroot. Default `/spark`.
    pub dir: String,
    /// After this time without a word from us the servers believe that we are gone. The servers bound it
    /// (2 to 20 of their ticks). Default 10 s.
    pub session_timeout: Duration,
    /// Who we are to the servers. With it, what we make is for us alone.
    pub credentials: Option<Credentials>,
    /// TLS, for hosts with `tcp+tls://`.
    pub tls: Option<TlsFiles>,
}

/// Who we are to ZooKeeper.
#[derive(Clone)]
pub enum Credentials {
    /// Scheme `digest`: `USER:PASSWORD`.
    Digest(String),
    /// SASL with DIGEST-MD5.
    SaslDigestMd5 {
        /// Name.
        user: String,
        /// Password.
        password: String,
    },
}

/// Files in PEM form.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificates of authorities that we trust.
    pub authorities: PathBuf,
    /// Our certificate and its key, where the servers want to know who we are.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Default for ZooKeeperSettings {
    fn default() -> Self {
        Self {
            url: "127.0.0.1:2181".to_owned(),
            dir: "/spark".to_owned(),
            session_timeout: Duration::from_secs(10),
            credentials: None,
            tls: None,
        }
    }
}

impl ZooKeeperSettings {
    /// Refuses what can never work. Asks no server: that one does not answer is waited for.
    ///
    /// # Errors
    /// See [`ZooKeeperError`].
    pub fn check(&self) -> Result<(), ZooKeeperError> {
        Paths::new(&self.dir)?;
        connector(self, &ConnectString::parse(&self.url)?)?;
        Ok(())
    }
}

impl fmt::Debug for Credentials {
    /// Never the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(_) => f.write_str("Digest(..)"),
            Self::SaslDigestMd5 { .. } => f.write_str("SaslDigestMd5(..)"),
        }
    }
}
