//! Options about ZooKeeper, and what becomes of what a host keeps and of who leads.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::ask::parse_duration;
use super::exit::BadInput;
use crate::zookeeper::{Credentials, TlsFiles, ZooKeeperError, ZooKeeperSettings};

/// What a host does for the time after it: how leadership is decided, and where is kept what outlives it.
/// Source: `spark.deploy.recoveryMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecoveryMode {
    /// Nothing is kept, and nobody else can lead.
    None,
    /// Kept in a directory of this machine, and nobody else can lead.
    Filesystem,
    /// Kept in ZooKeeper, which decides who leads.
    ZooKeeper,
}

impl RecoveryMode {
    const ALL: [Self; 3] = [Self::None, Self::Filesystem, Self::ZooKeeper];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Filesystem => "filesystem",
            Self::ZooKeeper => "zookeeper",
        }
    }
}

impl FromStr for RecoveryMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|mode| text.trim().eq_ignore_ascii_case(mode.name()));
        found.ok_or_else(|| "known are `none`, `filesystem` and `zookeeper`".to_owned())
    }
}

/// How ZooKeeper is reached. For recovery mode `zookeeper` only.
#[derive(Args, Clone)]
#[command(next_help_heading = "ZooKeeper, for --recovery-mode zookeeper")]
pub(super) struct ZooKeeperOptions {
    /// The servers: HOST:PORT,HOST:PORT/CHROOT; port 2181 where none is given. For TLS `tcp+tls://` before
    /// each host: it counts for the one that it stands before, and all have it or none.
    #[arg(long, value_name = "URL")]
    zookeeper_url: Option<String>,
    /// The node below which everything is kept. A Spark cluster in the same ensemble needs another.
    /// Default: /spark.
    #[arg(long, value_name = "NODE")]
    zookeeper_dir: Option<String>,
    /// How long the servers wait for a word from this host until they believe that it is gone. The
    /// servers bound it to 2 to 20 of their ticks. Default: 10s.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    zookeeper_session_timeout: Option<Duration>,
    /// File with who we are: `digest USER:PASSWORD`, or `sasl USER:PASSWORD` for DIGEST-MD5. Readable
    /// by its user only. What is made in ZooKeeper is for that user alone.
    #[arg(long, value_name = "FILE")]
    zookeeper_auth_file: Option<PathBuf>,
    /// PEM file of the authorities that are trusted to vouch for the servers.
    #[arg(long, value_name = "FILE")]
    zookeeper_tls_ca: Option<PathBuf>,
    /// PEM file of our certificate, where the servers want to know who we are.
    #[arg(long, value_name = "FILE", requires_all = ["zookeeper_tls_key", "zookeeper_tls_ca"])]
    zookeeper_tls_cert: Option<PathBuf>,
    /// PEM file of its key.
    #[arg(long, value_name = "FILE", requires = "zookeeper_tls_cert")]
    zookeeper_tls_key: Option<PathBuf>,
}

impl ZooKeeperOptions {
    /// The settings, where `mode` needs some. They are checked: a process that is given some that can never
    /// work says so once, before it starts anything.
    ///
    /// # Errors
    /// [`BadInput`] or a `ZooKeeperError` says what to give instead.
    pub(super) fn settings(&self, mode: RecoveryMode) -> anyhow::Result<Option<ZooKeeperSettings>> {
        match (mode, &self.zookeeper_url) {
            (RecoveryMode::ZooKeeper, Some(url)) => {
                let settings = self.settings_at(url)?;
                settings.check()?;
                Ok(Some(settings))
            }
            (RecoveryMode::ZooKeeper, None) => Err(bad(
                "--recovery-mode zookeeper needs --zookeeper-url HOST:PORT,...".to_owned(),
            )),
            (other, _) => match self.given() {
                Some(option) => Err(unused(option, other)),
                None => Ok(None),
            },
        }
    }

    /// One that was given, if any was.
    fn given(&self) -> Option<&'static str> {
        let options = [
            ("--zookeeper-url", self.zookeeper_url.is_some()),
            ("--zookeeper-dir", self.zookeeper_dir.is_some()),
            (
                "--zookeeper-session-timeout",
                self.zookeeper_session_timeout.is_some(),
            ),
            ("--zookeeper-auth-file", self.zookeeper_auth_file.is_some()),
            ("--zookeeper-tls-ca", self.zookeeper_tls_ca.is_some()),
            ("--zookeeper-tls-cert", self.zookeeper_tls_cert.is_some()),
            ("--zookeeper-tls-key", self.zookeeper_tls_key.is_some()),
        ];
        let given = options.into_iter().find(|(_, given)| *given);
        given.map(|(option, _)| option)
    }

    fn settings_at(&self, url: &str) -> anyhow::Result<ZooKeeperSettings> {
        let credentials = self.zookeeper_auth_file.as_deref();
        let identity = self.zookeeper_tls_cert.clone();
        let default = ZooKeeperSettings::default();
        Ok(ZooKeeperSettings {
            url: url.to_owned(),
            dir: self.zookeeper_dir.clone().unwrap_or(default.dir),
            session_timeout: self
                .zookeeper_session_timeout
                .unwrap_or(default.session_timeout),
            credentials: credentials.map(read_credentials).transpose()?,
            tls: self.zookeeper_tls_ca.clone().map(|authorities| TlsFiles {
                authorities,
                identity: identity.zip(self.zookeeper_tls_key.clone()),
            }),
        })
    }
}

/// The refusal of an option that `mode` has no use for: whoever gave it believes in another mode.
pub(super) fn unused(option: &str, mode: RecoveryMode) -> anyhow::Error {
    bad(format!(
        "{option} is for --recovery-mode zookeeper; it is `{}`: give that mode, or leave the option out",
        mode.name()
    ))
}

fn bad(text: String) -> anyhow::Error {
    BadInput(text).into()
}

/// Reads the file of `--zookeeper-auth-file`. What is in it is never shown.
fn read_credentials(file: &Path) -> anyhow::Result<Credentials> {
    let shown = file.display();
    let unreadable = |source| ZooKeeperError::Read {
        path: file.to_owned(),
        source,
    };
    let about = fs::metadata(file).map_err(unreadable)?;
    let mode = about.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(bad(format!(
            "others can read the credentials in {shown} (mode {mode:o}); run `chmod 600 {shown}`"
        )));
    }
    let text = fs::read_to_string(file).map_err(unreadable)?;
    parse_credentials(&text).ok_or_else(|| {
        bad(format!(
            "{shown} holds no credentials; expected one line, `digest USER:PASSWORD` or `sasl USER:PASSWORD`"
        ))
    })
}

fn parse_credentials(text: &str) -> Option<Credentials> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let (scheme, who) = lines.next()?.trim().split_once(' ')?;
    if lines.next().is_some() {
        return None;
    }
    let who = who.trim();
    let (user, password) = who.split_once(':')?;
    if user.is_empty() || password.is_empty() {
        return None;
    }
    match scheme {
        "digest" => Some(Credentials::Digest(who.to_owned())),
        "sasl" => Some(Credentials::SaslDigestMd5 {
            user: user.to_owned(),
            password: password.to_owned(),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_recovery_mode_is_told_which_there_are() {
        assert_eq!(" ZooKeeper ".parse(), Ok(RecoveryMode::ZooKeeper));
        let error = "rocksdb".parse::<RecoveryMode>().unwrap_err();
        assert!(
            RecoveryMode::ALL
                .iter()
                .all(|mode| error.contains(mode.name())),
            "{error}"
        );
    }

    #[test]
    fn credentials_are_one_line() {
        assert!(matches!(
            parse_credentials("\n digest master:a b:c \n"),
            Some(Credentials::Digest(who)) if who == "master:a b:c"
        ));
        assert!(matches!(
            parse_credentials("sasl master:secret"),
            Some(Credentials::SaslDigestMd5 { user, password }) if user == "master" && password == "secret"
        ));
        for wrong in [
            "",
            "digest",
            "digest master",
            "digest :x",
            "digest m:",
            "plain m:x",
            "digest m:x\ndigest m:y",
        ] {
            assert!(parse_credentials(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn credentials_that_others_can_read_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("auth");
        fs::write(&file, "digest master:secret").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let error = read_credentials(&file).unwrap_err().to_string();
        assert!(
            error.contains("chmod 600") && !error.contains("secret"),
            "{error}"
        );
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(read_credentials(&file).is_ok());
    }
}
