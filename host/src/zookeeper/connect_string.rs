//! The address of ZooKeeper as people write it: `HOST:PORT,tcp+tls://HOST:PORT/CHROOT`.
//!
//! The client library reads the same text by itself; here it is read to refuse early what can never work,
//! and to know the servers' names and the chroot.

use super::error::ZooKeeperError;
use super::paths;

const PORT: u16 = 2181;

/// What the text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectString {
    pub(super) servers: Vec<Server>,
    /// None where it is the root.
    pub(crate) chroot: Option<String>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
}

impl ConnectString {
    pub(crate) fn parse(url: &str) -> Result<Self, ZooKeeperError> {
        let wrong = |reason: String| ZooKeeperError::Url {
            url: url.to_owned(),
            reason,
        };
        // The chroot stands behind the last server; a scheme has slashes too.
        let last = url.rfind(',').map_or(0, |comma| comma + 1);
        let scheme = url.get(last..).and_then(|last| last.find("://"));
        let after = last + scheme.map_or(0, |at| at + 3);
        let slash = url.get(after..).and_then(|rest| rest.find('/'));
        let (servers, chroot) = url.split_at(slash.map_or(url.len(), |at| after + at));
        if chroot.len() > 1 {
            paths::check(chroot).map_err(|reason| wrong(format!("chroot `{chroot}`: {reason}")))?;
        }
        let servers = servers.split(',').map(|server| {
            server_of(server).map_err(|reason| wrong(format!("server `{server}`: {reason}")))
        });
        let read = Self {
            servers: servers.collect::<Result<_, _>>()?,
            chroot: (chroot.len() > 1).then(|| chroot.to_owned()),
        };
        read.is_all_tls_or_none()?;
        Ok(read)
    }

    /// The prefix is easily taken for one of the whole text, and passwords would go to the others as they are.
    fn is_all_tls_or_none(&self) -> Result<(), ZooKeeperError> {
        let find = |tls| self.servers.iter().find(|server| server.tls == tls);
        match (find(true), find(false)) {
            (Some(tls), Some(plain)) => Err(ZooKeeperError::Mixed {
                tls: tls.to_string(),
                plain: plain.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// The servers, for people.
    pub(super) fn servers(&self) -> String {
        let names: Vec<_> = self.servers.iter().map(Server::to_string).collect();
        names.join(", ")
    }
}

fn server_of(text: &str) -> Result<Server, &'static str> {
    let (tls, address) = match text.split_once("://") {
        None => (false, text),
        Some(("tcp", address)) => (false, address),
        Some(("tcp+tls", address)) => (true, address),
        Some(_) => return Err("only tcp:// and tcp+tls:// are known"),
    };
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("`[` without `]`")?;
            match rest.strip_prefix(':') {
                Some(port) => (host, port),
                None if rest.is_empty() => (host, ""),
                None => return Err("after `]` comes `:PORT`"),
            }
        }
        None => address.rsplit_once(':').unwrap_or((address, "")),
    };
    if host.is_empty() {
        return Err("it has no name");
    }
    if host.contains('/') {
        return Err("a chroot stands behind the last server only");
    }
    let port = match port {
        "" => PORT,
        port => match port.parse() {
            Ok(port) if port > 0 => port,
            _ => return Err("its port is no number from 1 to 65535"),
        },
    };
    Ok(Server {
        host: host.to_owned(),
        port,
        tls,
    })
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.tls {
            f.write_str("tcp+tls://")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_chroot_are_read_as_the_library_reads_them() {
        let read = |url| {
            let read = ConnectString::parse(url).unwrap();
            (read.servers(), read.chroot)
        };
        assert_eq!(read("one"), ("one:2181".to_owned(), None));
        assert_eq!(read("one/"), ("one:2181".to_owned(), None));
        let several = read("one:1,tcp://two/a/b");
        let names = "one:1, two:2181".to_owned();
        assert_eq!(several, (names, Some("/a/b".to_owned())));
        let secured = read("tcp+tls://one,tcp+tls://two:2/a");
        let names = "tcp+tls://one:2181, tcp+tls://two:2".to_owned();
        assert_eq!(secured, (names, Some("/a".to_owned())));
        let six = read("[::1]:5,[::2]");
        assert_eq!(six, ("[::1]:5, [::2]:2181".to_owned(), None));
    }

    #[test]
    fn what_can_never_work_is_refused() {
        for url in [
            "",
            "one,,two",
            ":1",
            "one:0",
            "one:x",
            "one:65536",
            "http://one",
            "one/a/",
            "one//a",
            "one/a,two",
            "[::1",
            "[::1]5",
            "one/..",
        ] {
            let error = ConnectString::parse(url).expect_err(url).to_string();
            assert!(error.contains("expected HOST:PORT"), "{error}");
        }
    }

    #[test]
    fn some_servers_by_tls_and_some_in_plain_text_are_refused() {
        for url in ["tcp+tls://one:1,two", "tcp://two,tcp+tls://one:1/a"] {
            let error = ConnectString::parse(url).expect_err(url).to_string();
            for expected in ["`tcp+tls://one:1`", "`two:2181`", "before each"] {
                assert!(error.contains(expected), "{error}");
            }
        }
    }
}
