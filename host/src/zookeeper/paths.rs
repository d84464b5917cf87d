//! Paths: where in ZooKeeper what is kept. Pure.
//!
//! Below `dir` (default `/spark`) the endpoint `Master` has `leader_election` and `master_status`, as the
//! original has; any other endpoint has a folder of its name with `leader_election` and `status`.
//!
//! Names are percent-encoded where ZooKeeper forbids what is in them, and where they would be taken for
//! something of `Master`'s.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::error::ZooKeeperError;

/// What has no name of its own in front of its nodes.
const MASTER: &str = "Master";

const ELECTION: &str = "leader_election";

const MASTER_STATUS: &str = "master_status";

const STATUS: &str = "status";

/// Beyond control characters. All that is not ASCII is encoded as well: some of it is forbidden.
const FORBIDDEN: &AsciiSet = &CONTROLS.add(b'/').add(b'%');

/// The nodes of all endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paths {
    /// Without a slash at its end: empty for the root.
    dir: String,
}

impl Paths {
    /// Below `dir`, which begins with a slash.
    pub(crate) fn new(dir: &str) -> Result<Self, ZooKeeperError> {
        let dir = dir.trim_end_matches('/');
        if !dir.is_empty() {
            check(dir).map_err(|reason| ZooKeeperError::Path {
                path: dir.to_owned(),
                reason,
            })?;
        }
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// Where an endpoint's latch nodes are.
    pub(crate) fn election(&self, endpoint: &str) -> String {
        match endpoint {
            MASTER => format!("{}/{ELECTION}", self.dir),
            other => format!("{}/{}/{ELECTION}", self.dir, encode(other)),
        }
    }

    /// Where an endpoint's entries are.
    pub(crate) fn status(&self, endpoint: &str) -> String {
        match endpoint {
            MASTER => format!("{}/{MASTER_STATUS}", self.dir),
            other => format!("{}/{}/{STATUS}", self.dir, encode(other)),
        }
    }

    /// Where an entry of an endpoint is.
    pub(crate) fn entry(&self, endpoint: &str, name: &str) -> String {
        format!("{}/{}", self.status(endpoint), encode(name))
    }
}

/// A name as the name of a node. [`decode`] gives it back.
pub(crate) fn encode(name: &str) -> Cow<'_, str> {
    match name {
        "." => "%2E".into(),
        ".." => "%2E%2E".into(),
        // The server has a node of this name at its root.
        "zookeeper" => "%7Aookeeper".into(),
        ELECTION => "%6Ceader_election".into(),
        MASTER_STATUS => "%6Daster_status".into(),
        // An empty name is none, and `%` alone is what no other name becomes.
        "" => "%".into(),
        name => utf8_percent_encode(name, FORBIDDEN).into(),
    }
}

/// The name that became this name of a node.
pub(crate) fn decode(node: &str) -> Cow<'_, str> {
    match node {
        "%" => "".into(),
        node => percent_decode_str(node).decode_utf8_lossy(),
    }
}

/// Whether it is a path in ZooKeeper, or what is wrong with it.
pub(super) fn check(path: &str) -> Result<(), &'static str> {
    let Some(below) = path.strip_prefix('/') else {
        return Err("it does not begin with `/`");
    };
    for name in below.split('/') {
        match name {
            "" => return Err("a name in it is empty"),
            "." | ".." => return Err("`.` and `..` are no names"),
            name if name.chars().any(is_forbidden) => {
                return Err("ZooKeeper forbids a character in it");
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_forbidden(character: char) -> bool {
    character.is_control() || matches!(character, '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_master_has_the_nodes_of_the_original() {
        let paths = Paths::new("/spark").unwrap();
        assert_eq!(paths.election("Master"), "/spark/leader_election");
        assert_eq!(paths.status("Master"), "/spark/master_status");
        let app = paths.entry("Master", "app_app-1");
        assert_eq!(app, "/spark/master_status/app_app-1");
    }

    #[test]
    fn others_have_a_folder_of_their_own() {
        let paths = Paths::new("/a/b/").unwrap();
        assert_eq!(paths.election("counter"), "/a/b/counter/leader_election");
        assert_eq!(paths.entry("counter", "n"), "/a/b/counter/status/n");
        let root = Paths::new("/").unwrap();
        assert_eq!(root.election("Master"), "/leader_election");
        assert_eq!(root.status("counter"), "/counter/status");
    }

    #[test]
    fn names_survive_and_never_meet_another_endpoints_nodes() {
        let names = [
            "",
            ".",
            "..",
            "zookeeper",
            "leader_election",
            "master_status",
            "a/b",
            "100%",
            "%2E",
            "\u{1}",
            "größe",
            "\u{f8ff}",
            "a b",
            "-",
        ];
        for name in names {
            let node = encode(name);
            assert_eq!(decode(&node), name);
            let path = format!("/{node}");
            check(&path).unwrap_or_else(|reason| panic!("{name:?} -> {node:?}: {reason}"));
            for taken in ["zookeeper", "leader_election", "master_status"] {
                assert_ne!(node, taken);
            }
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for dir in ["spark", "/a//b", "/a/../b", "/a\u{7f}"] {
            let error = Paths::new(dir).unwrap_err().to_string();
            assert!(error.contains("expected one like /spark"), "{error}");
        }
    }
}
