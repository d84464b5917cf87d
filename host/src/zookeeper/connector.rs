//! From settings to the client library's connector.

use zookeeper_client::{Client, Connector, SaslOptions};

use super::connect_string::ConnectString;
use super::error::ZooKeeperError;
use super::settings::{Credentials, ZooKeeperSettings};
use super::tls::{self, Handshake};

/// A connector for one session, and what says why TLS fails, where there is any. Files are read each time:
/// certificates change while we run.
pub(super) fn connector(
    settings: &ZooKeeperSettings,
    servers: &ConnectString,
) -> Result<(Connector, Option<Handshake>), ZooKeeperError> {
    // One round through the servers: the next try, and what is said of this one, is the session's.
    let mut connector = Client::connector()
        .with_session_timeout(settings.session_timeout)
        .with_fail_eagerly();
    match &settings.credentials {
        None => {}
        Some(Credentials::Digest(digest)) if !digest.contains(':') => {
            return Err(ZooKeeperError::Digest);
        }
        Some(Credentials::Digest(digest)) => {
            connector = connector.with_auth("digest", digest.as_bytes());
        }
        Some(Credentials::SaslDigestMd5 { user, password }) => {
            let options = SaslOptions::digest_md5(user.clone(), password.clone());
            connector = connector.with_sasl(options);
        }
    }
    let secured = servers.servers.iter().find(|server| server.tls);
    match (secured, &settings.tls) {
        (None, None) => Ok((connector, None)),
        (Some(_), Some(files)) => {
            let (options, handshake) = tls::read(files)?;
            Ok((connector.with_tls(options), Some(handshake)))
        }
        (Some(server), None) => Err(ZooKeeperError::NoAuthorities {
            server: server.to_string(),
        }),
        (None, Some(_)) => Err(ZooKeeperError::TlsUnused {
            url: settings.url.clone(),
        }),
    }
}
