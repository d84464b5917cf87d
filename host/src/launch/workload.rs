//! Whether a workload makes sense, whatever this host has. Pure.

use std::collections::BTreeSet;

use super::folders;
use crate::address::check_endpoint_name;
use crate::component::code::LoadError;
use crate::component::rights_of_workloads;
use crate::component::workload::{Program, Workload};
use crate::endpoint::settings::Limits;
use crate::error::with_causes;
use crate::file_server;

/// Endpoints of one workload.
const NAMES_MAX: usize = 1024;

/// One sentence about the first thing that makes no sense.
pub(super) fn check(workload: &Workload) -> Result<(), String> {
    folders::parts(&workload.folder)?;
    file_server::parse_uri(&workload.component.uri).map_err(|error| error.to_string())?;
    let digest = &workload.component.sha256;
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digest.len() != 64 || !digest.bytes().all(is_hex) {
        return Err(format!(
            "`{digest}` is no SHA-256: expected 64 lower-case hex digits"
        ));
    }
    if workload.memory_mb == 0 || workload.cpu_percent == 0 {
        return Err(format!(
            "{} MiB of memory and {} percent of a core: expected at least 1 of each",
            workload.memory_mb, workload.cpu_percent
        ));
    }
    if let Program::Endpoint { names, .. } = &workload.program {
        if names.is_empty() || names.len() > NAMES_MAX {
            return Err(format!(
                "{} endpoints: expected 1 to {NAMES_MAX}",
                names.len()
            ));
        }
        let mut seen = BTreeSet::new();
        for name in names {
            check_endpoint_name(name).map_err(|error| error.to_string())?;
            if !seen.insert(name) {
                return Err(format!("the endpoint `{name}` is named twice"));
            }
        }
    }
    Ok(())
}

/// Why the component of a workload does not run. Nobody grants a workload anything.
pub(super) fn not_loaded(error: &LoadError) -> String {
    match error {
        LoadError::MissingRight { right, reason } => {
            let rights: Vec<String> = rights_of_workloads()
                .map(|right| format!("`{right}`"))
                .collect();
            format!(
                "needs the right `{right}` (for {reason}); what is launched gets only {}",
                rights.join(" and ")
            )
        }
        error => with_causes(error),
    }
}

/// The equal part of one of `instances`.
pub(super) fn limits(workload: &Workload, instances: usize) -> Limits {
    let instances = instances.max(1);
    let memory = (workload.memory_mb as usize).saturating_mul(1 << 20);
    let percent = workload.cpu_percent as usize / instances;
    Limits {
        memory_bytes: memory / instances,
        cpu_percent: Some(u32::try_from(percent.max(1)).unwrap_or(u32::MAX)),
        ..Limits::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::workload::ComponentFile;

    fn workload() -> Workload {
        Workload {
            folder: "app-1/0".to_owned(),
            component: ComponentFile {
                uri: "instar://host:7077/files/a.wasm".to_owned(),
                sha256: "0123456789abcdef".repeat(4),
            },
            memory_mb: 64,
            cpu_percent: 150,
            program: Program::Endpoint {
                names: vec!["a".to_owned(), "b".to_owned()],
                config: Default::default(),
            },
        }
    }

    #[test]
    fn a_workload_that_makes_no_sense_is_refused_with_the_reason() {
        assert_eq!(check(&workload()), Ok(()));
        let refused = |expected: &str, change: fn(&mut Workload)| {
            let mut wrong = workload();
            change(&mut wrong);
            let reason = check(&wrong).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        };
        let names = |workload: &mut Workload, names: &[&str]| {
            workload.program = Program::Endpoint {
                names: names.iter().map(|&name| name.to_owned()).collect(),
                config: Default::default(),
            };
        };
        refused("`..`", |w| w.folder = "a/../b".to_owned());
        refused("instar://", |w| w.component.uri = "http://x/y".to_owned());
        refused("64 lower-case", |w| {
            w.component.sha256.pop().map_or((), drop)
        });
        refused("64 lower-case", |w| {
            w.component.sha256.make_ascii_uppercase()
        });
        refused("at least 1", |w| w.memory_mb = 0);
        refused("at least 1", |w| w.cpu_percent = 0);
        let mut twice = workload();
        names(&mut twice, &["a", "a"]);
        assert!(check(&twice).unwrap_err().contains("twice"));
        names(&mut twice, &[]);
        assert!(check(&twice).unwrap_err().contains("1 to 1024"));
        names(&mut twice, &["a b"]);
        assert!(check(&twice).unwrap_err().contains("a b"));
    }

    #[test]
    fn each_instance_gets_its_equal_part() {
        let limits = limits(&workload(), 2);
        assert_eq!(limits.memory_bytes, 32 << 20);
        assert_eq!(limits.cpu_percent, Some(75));
        let many = super::limits(&workload(), 1000);
        assert_eq!(many.cpu_percent, Some(1), "nobody stands still for ever");
    }
}
