//! Latch: the rules of Curator's LeaderLatch, and what is said between a latch and who asks for it. Pure.
//!
//! Each who stands has a node below the election's path, `_c_<uuid>-latch-<number>`, ephemeral: it goes with
//! its session. The number is the server's and grows. Whoever has the lowest one leads; everyone else watches
//! the one right before it, and looks again when that is gone.
//!
//! A name without `latch-` and a number at its end is somebody else's, and does not stand: Curator lets it stand
//! behind or before all others by chance of its letters. Before all others nobody of Curator's ever leads; so
//! to ignore it never makes two leaders.
//!
//! Not here: the requests ([`super::latch_task`]).

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::leadership::{Candidate, Participant};

/// Of so many who stand people see what they say. Of the others it is not read: whoever has the right to stand
/// can make any number of nodes.
pub(super) const PARTICIPANTS_MAX: usize = 64;

/// Longest name of a node that people see as it is, in characters. Ours have 57.
const NAME_MAX: usize = 128;

/// Largest data that is taken for what one of us says, in bytes.
const DATA_BYTES_MAX: usize = 8 << 10;

/// What stands before the number.
const MARK: &str = "latch-";

/// What is asked of a latch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToLatch {
    /// Stand for election as this one, and go on until `Withdraw`. Again: as another one, at the same place.
    Contend(Candidate),
    /// Whether it leads still. While it leads this must come again and again: after a session's time without it the
    /// node is removed, since who asks is frozen.
    Renew {
        /// Comes back in the answer.
        number: u64,
    },
    /// Give up what is led, and stand at the end of the line.
    Resign,
    /// Stand no more.
    Withdraw,
}

/// What a latch says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FromLatch {
    /// It stands, and somebody else leads.
    Stands {
        /// In their order: the first one leads.
        participants: Vec<Participant>,
        /// Its own place among them, never 0.
        place: usize,
    },
    /// It leads: the fence is this node, as the path for a client of the same URL. For how long says a `Renewed`.
    Leads {
        /// Its path.
        node: String,
        /// As above.
        participants: Vec<Participant>,
    },
    /// It leads still, and others came, went or changed.
    Participants(Vec<Participant>),
    /// It led after the order `Renew` with this number had come.
    Renewed {
        /// Of the order.
        number: u64,
        /// It leads for at least this time from the moment at which the order was *sent*.
        lease: Duration,
    },
    /// It led, and may or may not lead still. Ends with `Renewed` or `Lost`.
    Doubt,
    /// It leads no more. It stands anew by itself.
    Lost {
        /// Why.
        reason: String,
    },
    /// Its node is gone, as was asked.
    Withdrawn,
    /// It cannot stand, or does not know its place.
    Unreachable {
        /// What is in the way.
        reason: String,
    },
}

/// What the name of a node begins with, before its number: by the UUID its maker finds it again, where the
/// answer to its creation was lost.
pub(crate) fn name_prefix(maker: Uuid) -> String {
    format!("_c_{maker}-{MARK}")
}

/// Those of the children that stand, in their order.
pub(crate) fn line(children: impl IntoIterator<Item = String>) -> Vec<String> {
    let numbered = children
        .into_iter()
        .filter_map(|name| Some((number(&name)?, name)));
    let mut line: Vec<(i64, String)> = numbered.collect();
    // The server counts in 32 bits, and after 2,147,483,647 comes -2,147,483,648: where both ends are there, the
    // negative ones are the younger.
    let high = line
        .iter()
        .any(|(number, _)| *number > i64::from(i32::MAX / 2));
    if high {
        for (number, _) in &mut line {
            if *number < i64::from(i32::MIN / 2) {
                *number += 1 << 32;
            }
        }
    }
    line.sort_unstable();
    line.into_iter().map(|(_, name)| name).collect()
}

/// What stands after the last mark, where that is a number as the server writes it.
fn number(name: &str) -> Option<i64> {
    let (_, number) = name.rsplit_once(MARK)?;
    let digits = number.strip_prefix('-').unwrap_or(number);
    // Ten digits, or 19 of a server that counts in 64 bits.
    let is_number = digits.len() >= 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| number.parse().ok()).flatten()
}

/// Where a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It does not: somebody removed it, or its session is over.
    Missing,
    /// It leads.
    First,
    /// Others are before it.
    Behind {
        /// How many.
        place: usize,
        /// The name of the one right before it, the only one to be watched.
        before: String,
    },
}

/// Where a node stands in a line.
pub(crate) fn place(line: &[String], own: &str) -> Place {
    let Some(place) = line.iter().position(|name| name == own) else {
        return Place::Missing;
    };
    match place.checked_sub(1).and_then(|before| line.get(before)) {
        None => Place::First,
        Some(before) => Place::Behind {
            place,
            before: before.clone(),
        },
    }
}

/// What the first in a line say of themselves, as far as that is known. For people, and of a bounded size.
pub(crate) fn participants(
    line: &[String],
    known: &HashMap<String, Option<Candidate>>,
) -> Vec<Participant> {
    let each = line.iter().take(PARTICIPANTS_MAX).map(|node| Participant {
        node: node.chars().take(NAME_MAX).collect(),
        candidate: known.get(node).cloned().flatten(),
    });
    each.collect()
}

/// What is in a node.
pub(crate) fn data_of(candidate: &Candidate) -> Vec<u8> {
    serde_json::to_vec(candidate).unwrap_or_default()
}

/// What a node says; none where it is not what one of us says.
pub(crate) fn candidate_of(data: &[u8]) -> Option<Candidate> {
    if data.len() > DATA_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(data).ok()
}

/// Whether one who stands may write anew into its own node. A one-shot watch of whoever is behind it fires then. We
/// set ours anew; Curator does not, and would never learn that the node is gone.
pub(crate) fn may_rewrite(
    line: &[String],
    own: &str,
    known: &HashMap<String, Option<Candidate>>,
) -> bool {
    let mut others = line.iter().filter(|node| *node != own);
    others.all(|other| known.get(other).is_some_and(Option::is_some))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn who_came_first_leads_whatever_stands_before_the_number() {
        let line = line(names(&[
            "_c_ff-latch-0000000003",
            "latch-0000000001",
            "_c_00-latch-0000000010",
            "n_latch-latch-0000000002",
        ]));
        let expected = names(&[
            "latch-0000000001",
            "n_latch-latch-0000000002",
            "_c_ff-latch-0000000003",
            "_c_00-latch-0000000010",
        ]);
        assert_eq!(line, expected);
        assert_eq!(place(&line, "latch-0000000001"), Place::First);
        let third = Place::Behind {
            place: 2,
            before: "n_latch-latch-0000000002".to_owned(),
        };
        assert_eq!(place(&line, "_c_ff-latch-0000000003"), third);
        assert_eq!(place(&line, "_c_ff-latch-0000000004"), Place::Missing);
        assert_eq!(place(&[], "latch-0000000001"), Place::Missing);
    }

    #[test]
    fn what_is_no_latch_node_does_not_stand() {
        let foreign = [
            "0",
            "latch-",
            "latch-x",
            "latch-1",
            "lock-0000000001",
            "_c_1-lock-0000000001",
            "latch-0000000001-lock-0000000001",
            "latch-000000000x",
            "latch--",
            "latch-99999999999999999999",
        ];
        assert_eq!(line(names(&foreign)), Vec::<String>::new());
    }

    #[test]
    fn more_than_31_bits_of_numbers_keep_their_order() {
        let check = |expected: &[&str]| {
            let mut mixed = names(expected);
            mixed.reverse();
            assert_eq!(line(mixed), names(expected));
        };
        // It wraps: the negative ones are younger.
        check(&[
            "latch-2147483646",
            "latch-2147483647",
            "latch--2147483648",
            "latch--2147483647",
        ]);
        // Long after that.
        check(&["latch--0000000002", "latch--0000000001", "latch-0000000000"]);
        check(&["latch--2147483648", "latch--2147483647", "latch-0000000001"]);
        // A server that counts in 64 bits.
        check(&["latch-2147483647", "latch-0000000002147483648"]);
    }

    #[test]
    fn a_candidate_survives_and_a_stranger_is_none() {
        let candidate = Candidate {
            id: "instar://Master@one:7077".to_owned(),
            version: "1.2.0".to_owned(),
            entries: None,
        };
        assert_eq!(candidate_of(&data_of(&candidate)), Some(candidate));
        for stranger in [&b""[..], b"curator-1", b"{}", b"\xff"] {
            assert_eq!(candidate_of(stranger), None);
        }
    }

    #[test]
    fn nobody_writes_into_a_node_that_a_stranger_may_watch() {
        let line = names(&["own", "ours"]);
        let ours = ("ours".to_owned(), Some(Candidate::default()));
        let mut known = HashMap::from([ours]);
        assert!(may_rewrite(&line[..1], "own", &known));
        assert!(may_rewrite(&line, "own", &known));
        known.insert("stranger".to_owned(), None);
        for stranger in ["stranger", "nobody read it yet"] {
            let line = names(&["own", "ours", stranger]);
            assert!(!may_rewrite(&line, "own", &known), "{stranger}");
        }
    }

    #[test]
    fn what_people_see_is_bounded_whatever_others_make() {
        let long = format!("{}-latch-0000000001", "x".repeat(10_000));
        let line: Vec<_> = std::iter::repeat_n(long.clone(), 10_000).collect();
        let shown = participants(&line, &HashMap::new());
        assert_eq!(shown.len(), PARTICIPANTS_MAX);
        assert!(shown.iter().all(|shown| shown.node.len() == NAME_MAX));
        let large = Candidate {
            id: "x".repeat(DATA_BYTES_MAX),
            ..Candidate::default()
        };
        assert_eq!(candidate_of(&data_of(&large)), None);
    }
}
