//! Approval: whether a version asks for more than the running one was granted.
//!
//! Four things count: rights, memory that it needs to start, kinds of messages that it handles, and a format
//! of what it persists that others who stand for the same election cannot read. What a version asks for
//! beyond what was granted is a decision for a person: the version is held.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::super::handle::Endpoint;
use super::super::record::{HeldVersion, VersionId};
use super::super::settings::EndpointSettings;
use super::super::trial::HEALTH;
use crate::component::code::{Code, LoadError};
use crate::component::entries::EntryFormats;
use crate::component::instance::{self, Prepared};
use crate::component::surroundings::Surroundings;
use crate::election::leadership::Candidate;

impl Held {
    /// The code, and the settings with everything granted that it wants.
    pub(in super::super) fn granted(&self) -> (Code, EndpointSettings) {
        (self.code.clone(), widen(&self.settings, &self.wants))
    }

    /// As an operator sees it.
    pub(in super::super) fn version(&self) -> HeldVersion {
        HeldVersion {
            id: self.id.clone(),
            wants: self.wants.iter().map(Want::to_string).collect(),
        }
    }
}

/// In the grants of a sidecar: this kind of messages may be handled. `message:*` means any.
pub(crate) const MESSAGE_GRANT: &str = "message:";

/// In the grants of a sidecar: entries may be written in this format, whoever cannot read it.
pub(crate) const ENTRIES_GRANT: &str = "entries:";

/// A version that waits for approval.
pub(crate) struct Held {
    pub(crate) id: VersionId,
    pub(crate) code: Code,
    pub(crate) settings: EndpointSettings,
    pub(crate) wants: Vec<Want>,
}

/// Something that was not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Right {
        right: String,
        reason: String,
    },
    Memory {
        needs: usize,
        granted: usize,
    },
    Message {
        kind: String,
    },
    /// To write entries that `who` cannot read, who may have to lead next.
    Entries {
        format: u32,
        who: String,
        reads: Vec<u32>,
    },
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Right { right, reason } => write!(f, "the right `{right}` (for {reason})"),
            Self::Memory { needs, granted } => write!(
                f,
                "{needs} bytes of memory to start, where {granted} are granted"
            ),
            Self::Message { kind } => write!(f, "to handle messages `{kind}`"),
            Self::Entries { format, who, reads } => write!(
                f,
                "to write entries in format {format}, which {who} cannot read (it reads {reads:?}) and could \
                 not lead with"
            ),
        }
    }
}

/// The settings with everything granted that is wanted.
pub(crate) fn widen(settings: &EndpointSettings, wants: &[Want]) -> EndpointSettings {
    let mut settings = settings.clone();
    for want in wants {
        match want {
            Want::Right { right, .. } => {
                settings.grants.insert(right.clone());
            }
            Want::Memory { needs, .. } => {
                settings.limits.memory_bytes = settings.limits.memory_bytes.max(*needs);
            }
            Want::Message { kind } => {
                settings.grants.insert(format!("{MESSAGE_GRANT}{kind}"));
            }
            Want::Entries { format, .. } => {
                settings.grants.insert(format!("{ENTRIES_GRANT}{format}"));
            }
        }
    }
    settings
}

/// The kinds among `handles` that nobody granted: not by the settings, and not by an earlier version
/// that handled them.
fn new_kinds(
    handles: impl Iterator<Item = String>,
    grants: &BTreeSet<String>,
    known: &BTreeSet<String>,
) -> Vec<Want> {
    let granted = |kind: &str| {
        known.contains(kind)
            || grants.contains(&format!("{MESSAGE_GRANT}*"))
            || grants.contains(&format!("{MESSAGE_GRANT}{kind}"))
    };
    handles
        // What the host itself asks is nobody's to grant.
        .filter(|kind| kind != HEALTH && !granted(kind))
        .map(|kind| Want::Message { kind })
        .collect()
}

/// The format that a version writes, where it is not the one that is written now and some of the others
/// who stand for the same election cannot read it.
fn unreadable(
    new: Option<&EntryFormats>,
    running: Option<&EntryFormats>,
    others: &[Candidate],
    grants: &BTreeSet<String>,
) -> Option<Want> {
    let format = new?.writes;
    let written = running.is_some_and(|running| running.writes == format);
    if written || grants.contains(&format!("{ENTRIES_GRANT}{format}")) {
        return None;
    }
    others.iter().find_map(|other| {
        let reads = &other.entries.as_ref()?.reads;
        (!reads.contains(&format)).then(|| Want::Entries {
            format,
            who: format!("{} (version {})", other.id, other.version),
            reads: reads.clone(),
        })
    })
}

/// What a look at a version found.
pub(in super::super) enum Looked {
    /// It asks for nothing new.
    Fits(Box<Prepared>),
    /// It asks for more, and that is granted by these settings now.
    Granted(Box<Prepared>, Box<EndpointSettings>),
    /// It asks for more.
    WantsMore { version: String, wants: Vec<Want> },
}

/// What an instance that is made aside will see of the host.
pub(in super::super) type Aside<'a> =
    dyn Fn(&EndpointSettings) -> Arc<dyn Surroundings> + Send + Sync + 'a;

/// Loads code aside and compares what it asks for with what `settings` grant.
///
/// # Errors
/// [`LoadError`]: it cannot run here at all.
pub(in super::super) async fn look(
    endpoint: &Arc<Endpoint>,
    code: &Code,
    settings: &EndpointSettings,
    approved: bool,
    surroundings: &Aside<'_>,
) -> Result<Looked, LoadError> {
    let asked = instance::asks_for(&endpoint.engine, code).await?;
    let mut wants: Vec<Want> = Vec::new();
    wants.extend(missing_rights(asked.rights, &settings.grants));
    let granted = settings.limits.memory_bytes;
    if asked.memory_bytes > granted {
        wants.push(Want::Memory {
            needs: asked.memory_bytes,
            granted,
        });
    }
    // Only aside, only to read its metadata: it handles nothing under these settings unless approved.
    let mut widened = widen(settings, &wants);
    let trial = everything(&widened);
    let mut prepared = prepare(endpoint, code, &trial, surroundings).await?;
    prepared.compile += asked.took;
    let metadata = Arc::clone(prepared.instance.metadata());
    let stated = metadata.rights.iter().map(|right| {
        let reason = "what it says of itself".to_owned();
        (right.clone(), reason)
    });
    for want in missing_rights(stated.collect(), &widened.grants) {
        wants.push(want);
    }
    let handles = metadata.handles.iter().map(|h| h.request.kind.clone());
    let known = super::super::handle::lock(&endpoint.known_kinds).clone();
    wants.extend(new_kinds(handles, &settings.grants, &known));
    wants.extend(unreadable(
        prepared.instance.entries(),
        endpoint.running().entries.as_ref(),
        &endpoint.election.others(&endpoint.address().to_string()),
        &settings.grants,
    ));
    if wants.is_empty() {
        return Ok(Looked::Fits(Box::new(prepared)));
    }
    if !approved {
        return Ok(Looked::WantsMore {
            version: metadata.version.clone(),
            wants,
        });
    }
    widened = widen(settings, &wants);
    let compile = prepared.compile;
    let mut prepared = prepare(endpoint, code, &widened, surroundings).await?;
    prepared.compile += compile;
    Ok(Looked::Granted(Box::new(prepared), Box::new(widened)))
}

fn everything(settings: &EndpointSettings) -> EndpointSettings {
    let mut settings = settings.clone();
    settings
        .grants
        .extend(crate::component::known_rights().map(str::to_owned));
    settings
}

fn missing_rights(needed: Vec<(String, String)>, grants: &BTreeSet<String>) -> Vec<Want> {
    let mut seen = BTreeSet::new();
    needed
        .into_iter()
        .filter(|(right, _)| !grants.contains(right) && seen.insert(right.clone()))
        .map(|(right, reason)| Want::Right { right, reason })
        .collect()
}

async fn prepare(
    endpoint: &Arc<Endpoint>,
    code: &Code,
    settings: &EndpointSettings,
    surroundings: &Aside<'_>,
) -> Result<Prepared, LoadError> {
    let surroundings = surroundings(settings);
    instance::prepare(&endpoint.engine, code, settings, surroundings).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(of: &[&str]) -> BTreeSet<String> {
        of.iter().map(|&one| one.to_owned()).collect()
    }

    fn kinds(of: &[&str]) -> impl Iterator<Item = String> {
        of.iter()
            .map(|&one| one.to_owned())
            .collect::<Vec<_>>()
            .into_iter()
    }

    #[test]
    fn a_kind_that_an_earlier_version_handled_or_that_is_granted_is_not_new() {
        let known = set(&["a.Old"]);
        let new = new_kinds(
            kinds(&["a.Old", "a.New", "a.Named"]),
            &set(&["message:a.Named"]),
            &known,
        );
        assert_eq!(
            new,
            [Want::Message {
                kind: "a.New".to_owned()
            }]
        );
        assert_eq!(
            new_kinds(kinds(&["a.New"]), &set(&["message:*"]), &known),
            []
        );
        assert_eq!(new_kinds(kinds(&[HEALTH]), &set(&[]), &known), []);
    }

    #[test]
    fn a_format_that_another_candidate_cannot_read_is_wanted() {
        let formats = |writes, reads: &[u32]| EntryFormats {
            writes,
            reads: reads.to_vec(),
        };
        let candidate = |id: &str, entries| Candidate {
            id: id.to_owned(),
            version: "1.0.0".to_owned(),
            entries,
        };
        let others = [
            candidate("silent", None),
            candidate("new", Some(formats(2, &[1, 2]))),
            candidate("old", Some(formats(1, &[1]))),
        ];
        let wanted =
            |new: Option<&EntryFormats>, running: Option<&EntryFormats>, grants: &[&str]| {
                unreadable(new, running, &others, &set(grants))
            };
        let (one, two) = (formats(1, &[1]), formats(2, &[1, 2]));
        let want = wanted(Some(&two), Some(&one), &[]).unwrap();
        assert!(matches!(&want, Want::Entries { format: 2, who, .. } if who.starts_with("old")));
        assert_eq!(wanted(Some(&two), Some(&one), &["entries:2"]), None);
        assert_eq!(
            wanted(Some(&two), Some(&two), &[]),
            None,
            "it is written already"
        );
        assert_eq!(wanted(Some(&one), Some(&two), &[]), None, "all can read it");
        assert_eq!(wanted(None, Some(&one), &[]), None);
    }

    #[test]
    fn a_right_is_wanted_once_and_only_if_it_is_not_granted() {
        let needed = ["clock", "registry", "clock"].map(|r| (r.to_owned(), "x".to_owned()));
        let wants = missing_rights(needed.to_vec(), &set(&["registry"]));
        assert_eq!(wants.len(), 1, "{wants:?}");
    }

    #[test]
    fn what_is_approved_is_granted_and_nothing_else() {
        let wants = [
            Want::Right {
                right: "clock".to_owned(),
                reason: String::new(),
            },
            Want::Memory {
                needs: 1 << 30,
                granted: 1 << 26,
            },
            Want::Message {
                kind: "a.New".to_owned(),
            },
            Want::Entries {
                format: 2,
                who: String::new(),
                reads: Vec::new(),
            },
        ];
        let widened = widen(&EndpointSettings::default(), &wants);
        assert_eq!(
            widened.grants,
            set(&["clock", "entries:2", "message:a.New"])
        );
        assert_eq!(widened.limits.memory_bytes, 1 << 30);
    }
}
