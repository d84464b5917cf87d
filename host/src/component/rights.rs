//! Rights: which imports need a grant, and whether it was given.
//!
//! What a component may do is decided by what it imports: an interface that it does not import, it
//! cannot call. So the check is made once, before anything of it runs.

use std::collections::BTreeSet;

use wasmtime::component::Component;

use super::code::LoadError;

/// The rights that a sidecar can grant, and what each opens.
pub(super) const KNOWN: &[(&str, &str)] = &[
    ("registry", "the names of this host's endpoints"),
    ("channel", "files that hosts offer, this one included"),
    (
        "persist",
        "values in this host's store, under names of its own",
    ),
    ("clock", "the time of day and a monotonic clock"),
    ("launch", "starting other components on this host"),
    (
        "lead",
        "standing for election, and being told that it leads",
    ),
];

/// The rights of what an endpoint launches. A host that does not know one of them grants the others.
const OF_WORKLOADS: [&str; 2] = ["clock", "channel"];

/// The rights of what an endpoint launches.
pub(super) fn of_workloads() -> impl Iterator<Item = &'static str> {
    let known = |right: &&str| KNOWN.iter().any(|(known, _)| known == right);
    OF_WORKLOADS.into_iter().filter(known)
}

/// A right that a component needs, and the import that needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Needed {
    pub(crate) right: &'static str,
    pub(crate) import: String,
}

enum Need {
    Nothing,
    Right(&'static str),
    NotOffered,
}

fn need_of(import: &str) -> Need {
    let interface = import.split_once('@').map_or(import, |(name, _)| name);
    match interface {
        "instar:endpoint/registry" => Need::Right("registry"),
        "instar:endpoint/channels" => Need::Right("channel"),
        "instar:endpoint/persistence" => Need::Right("persist"),
        "instar:endpoint/launching" => Need::Right("launch"),
        "instar:endpoint/leadership" => Need::Right("lead"),
        "wasi:clocks/wall-clock" | "wasi:clocks/monotonic-clock" => Need::Right("clock"),
        // What `std` cannot do without: output streams, exit, and arguments, environment and
        // directories, which are all empty here. Randomness opens nothing.
        _ if [
            "instar:endpoint/",
            "wasi:cli/",
            "wasi:io/",
            "wasi:filesystem/",
            "wasi:random/",
        ]
        .iter()
        .any(|prefix| interface.starts_with(prefix)) =>
        {
            Need::Nothing
        }
        _ => Need::NotOffered,
    }
}

/// The rights that the imports of `component` need.
pub(crate) fn needed(
    component: &Component,
    engine: &wasmtime::Engine,
) -> Result<Vec<Needed>, LoadError> {
    let mut needed = Vec::new();
    for (import, _) in component.component_type().imports(engine) {
        match need_of(import) {
            Need::Nothing => {}
            Need::Right(right) => needed.push(Needed {
                right,
                import: import.to_owned(),
            }),
            Need::NotOffered => {
                return Err(LoadError::UnknownRight {
                    what: import.to_owned(),
                });
            }
        }
    }
    Ok(needed)
}

/// Checks what a component needs and says that it wants against what was granted.
pub(crate) fn check(
    needed: &[Needed],
    wanted: &[String],
    granted: &BTreeSet<String>,
) -> Result<(), LoadError> {
    for right in wanted {
        if !KNOWN.iter().any(|(known, _)| known == right) {
            return Err(LoadError::UnknownRight {
                what: right.clone(),
            });
        }
        if !granted.contains(right) {
            return Err(LoadError::MissingRight {
                right: right.clone(),
                reason: "its metadata".to_owned(),
            });
        }
    }
    match needed.iter().find(|need| !granted.contains(need.right)) {
        Some(need) => Err(LoadError::MissingRight {
            right: need.right.to_owned(),
            reason: format!("the import `{}`", need.import),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_that_is_wanted_or_imported_must_be_granted() {
        let granted = BTreeSet::from(["clock".to_owned()]);
        let registry = Needed {
            right: "registry",
            import: "instar:endpoint/registry@0.1.0".to_owned(),
        };
        assert!(check(&[], &["clock".to_owned()], &granted).is_ok());
        let error = check(&[registry], &[], &granted).unwrap_err().to_string();
        assert!(
            error.contains("registry") && error.contains("grants"),
            "{error}"
        );
        assert!(check(&[], &["registry".to_owned()], &granted).is_err());
    }

    #[test]
    fn a_right_that_no_host_knows_is_refused_even_if_granted() {
        let granted = BTreeSet::from(["teleport".to_owned()]);
        let error = check(&[], &["teleport".to_owned()], &granted).unwrap_err();
        assert!(matches!(error, LoadError::UnknownRight { .. }));
    }

    #[test]
    fn sockets_and_http_are_not_offered() {
        assert!(matches!(
            need_of("wasi:sockets/tcp@0.2.6"),
            Need::NotOffered
        ));
        assert!(matches!(need_of("wasi:http/types@0.2.0"), Need::NotOffered));
        assert!(matches!(need_of("wasi:cli/stdout@0.2.6"), Need::Nothing));
    }
}
