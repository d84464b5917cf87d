//! Tag: the data of the node under which an endpoint's values are: who wrote last, and which of its commits
//! that was. By it a writer that got no answer learns what became of its commits.

use serde::{Deserialize, Serialize};

/// See above.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tag {
    /// Another one for each writer, for ever.
    pub(super) writer: String,
    /// The number of its last commit.
    pub(super) commit: u64,
}

impl Tag {
    /// None where that is none: nobody has written yet, or something else did.
    pub(super) fn parse(data: &[u8]) -> Option<Self> {
        serde_json::from_slice(data).ok()
    }

    pub(super) fn data(&self) -> Vec<u8> {
        serde_json::json!({"writer": self.writer, "commit": self.commit})
            .to_string()
            .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_what_was_written_or_none() {
        let tag = Tag {
            writer: "w".to_owned(),
            commit: 7,
        };
        assert_eq!(Tag::parse(&tag.data()), Some(tag));
        for other in [&b""[..], b"127.0.0.1", b"{}", b"\xff"] {
            assert_eq!(Tag::parse(other), None);
        }
    }
}
