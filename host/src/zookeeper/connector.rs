//! From settings to the client library's connector.

use std::path::Path;

use zookeeper_client::{Client, Connector, SaslOptions, TlsOptions};

use super::connect_string::ConnectString;
use super::error::ZooKeeperError;
use super::settings::{Credentials, TlsFiles, ZooKeeperSettings};

/// A connector for one session. Files are read each time: certificates change while we run.
pub(super) fn connector(
    settings: &ZooKeeperSettings,
    servers: &ConnectString,
) -> Result<Connector, ZooKeeperError> {
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
        (None, None) => {}
        (Some(_), Some(files)) => connector = connector.with_tls(tls(files)?),
        (Some(server), None) => {
            return Err(ZooKeeperError::NoAuthorities {
                server: server.to_string(),
            });
        }
        (None, Some(_)) => {
            return Err(ZooKeeperError::TlsUnused {
                url: settings.url.clone(),
            });
        }
    }
    Ok(connector)
}

fn tls(files: &TlsFiles) -> Result<TlsOptions, ZooKeeperError> {
    let wrong = |path: &Path, source: zookeeper_client::Error| ZooKeeperError::Pem {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let authorities = read(&files.authorities)?;
    let options = TlsOptions::new()
        .with_pem_ca(&authorities)
        .map_err(|error| wrong(&files.authorities, error))?;
    let Some((certificate, key)) = &files.identity else {
        return Ok(options);
    };
    options
        .with_pem_identity(&read(certificate)?, &read(key)?)
        .map_err(|error| wrong(certificate, error))
}

fn read(path: &Path) -> Result<String, ZooKeeperError> {
    std::fs::read_to_string(path).map_err(|source| ZooKeeperError::Read {
        path: path.to_owned(),
        source,
    })
}
