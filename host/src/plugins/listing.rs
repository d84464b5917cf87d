//! Listing: one look at the directory. Only names and stamps; no file is opened.
//!
//! Links are followed, so that a Kubernetes volume (`x.wasm -> ..data/x.wasm`, `..data -> ..2024_x`)
//! shows a new file when `..data` is swapped. Subdirectories are not looked into.
//!
//! All functions here block on the file system; [`super::task`] calls them from a blocking thread.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::facts::Files;
use super::track::{Glance, Seen, Stamp};

/// The most entries of a directory that one look reads; more are left out, aloud.
const ENTRIES_MAX: usize = 65_536;

/// What one look found.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// The files by plugin name; `None` if the directory could not be read.
    pub(crate) files: Option<BTreeMap<String, Files>>,
    /// Identity of the directory itself; `None` if it does not exist.
    pub(crate) identity: Option<(u64, u64)>,
    /// What was odd, for the log. The same text each time, so that it can be told once.
    pub(crate) oddities: BTreeSet<String>,
}

/// Looks at `directory`. `renamed_in`: files that were renamed into it since the last look. Files that
/// were last written at least `settle` ago are quiet.
pub(crate) fn list(directory: &Path, renamed_in: &BTreeSet<String>, settle: Duration) -> Listing {
    let mut listing = Listing::default();
    let read = std::fs::metadata(directory).and_then(|metadata| {
        listing.identity = Some(identity(&metadata));
        std::fs::read_dir(directory)
    });
    let entries = match read {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            listing.files = Some(BTreeMap::new());
            return listing;
        }
        Err(error) => {
            listing
                .oddities
                .insert(format!("the directory cannot be read: {error}"));
            return listing;
        }
    };
    let mut files: BTreeMap<String, Files> = BTreeMap::new();
    for (count, entry) in entries.enumerate() {
        if count >= ENTRIES_MAX {
            let text = format!("more than {ENTRIES_MAX} files; the rest is not looked at");
            listing.oddities.insert(text);
            break;
        }
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                // Half a listing would make running plugins look gone.
                listing
                    .oddities
                    .insert(format!("the directory cannot be read: {error}"));
                return listing;
            }
        };
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            let text = format!("file name {name:?} is no UTF-8 and is skipped; rename it");
            listing.oddities.insert(text);
            continue;
        };
        let Some((plugin, kind)) = plugin_file(name) else {
            continue;
        };
        let renamed_in = renamed_in.contains(name);
        if let Some(glance) = glance(&entry.path(), renamed_in, settle) {
            let files = files.entry(plugin.to_owned()).or_default();
            match kind {
                Kind::Wasm => files.wasm = Some(glance),
                Kind::Sidecar => files.sidecar = Some(glance),
            }
        }
    }
    listing.files = Some(files);
    listing
}

/// What a file is to a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `NAME.wasm`
    Wasm,
    /// `NAME.toml`
    Sidecar,
}

/// Plugin and kind that a file name stands for; `None` for every other file.
///
/// Hidden files are no plugins, whatever their ending: editors, `rsync`, package managers and we
/// ourselves write them under such names first. So are `x.wasm~`, `#x.wasm#` and `4913`, by ending.
pub(crate) fn plugin_file(name: &str) -> Option<(&str, Kind)> {
    if name.starts_with(['.', '#']) {
        return None;
    }
    let (plugin, ending) = name.rsplit_once('.')?;
    match ending {
        "wasm" => Some((plugin, Kind::Wasm)),
        "toml" => Some((plugin, Kind::Sidecar)),
        _ => None,
    }
}

/// Looks at one file; `None` if it is not there or no regular file.
fn glance(path: &Path, renamed_in: bool, settle: Duration) -> Option<Glance> {
    let seen = seen(path)?;
    let quiet = match &seen {
        Seen::File(stamp) => is_older(stamp, settle),
        Seen::Unreadable(_) => true,
    };
    Some(Glance {
        seen,
        quiet,
        renamed_in,
    })
}

/// What lies at `path`, links followed; `None` if nothing does, or no regular file.
pub(crate) fn seen(path: &Path) -> Option<Seen> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Some(Seen::File(stamp(&metadata))),
        Ok(_) => None,
        // A link to nothing looks the same; both may be there at the next look.
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => Some(Seen::Unreadable(error.to_string())),
    }
}

/// A time in the future (another machine's clock) tells nothing, so such a file is not old.
fn is_older(stamp: &Stamp, settle: Duration) -> bool {
    stamp
        .modified
        .and_then(|modified| SystemTime::now().duration_since(modified).ok())
        .is_some_and(|age| age >= settle)
}

/// The stamp of a regular file.
pub(crate) fn stamp(metadata: &Metadata) -> Stamp {
    Stamp {
        bytes: metadata.len(),
        modified: metadata.modified().ok(),
        identity: identity(metadata),
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino())
}

/// Without inodes, the time of creation is what tells a new file from the old one.
#[cfg(not(unix))]
fn identity(metadata: &Metadata) -> (u64, u64) {
    let age = metadata
        .created()
        .ok()
        .and_then(|created| created.duration_since(SystemTime::UNIX_EPOCH).ok());
    (0, age.map_or(0, |age| age.as_nanos() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_visible_wasm_and_toml_files_belong_to_plugins() {
        for (name, expected) in [
            ("echo.wasm", Some(("echo", Kind::Wasm))),
            ("echo.toml", Some(("echo", Kind::Sidecar))),
            ("echo.v2.wasm", Some(("echo.v2", Kind::Wasm))),
            (".wasm", None),
            (".echo.wasm", None),
            (".echo.wasm.swp", None),
            ("echo.wasm~", None),
            ("#echo.wasm#", None),
            (".#echo.wasm", None),
            (".tmpAbC123", None),
            ("4913", None),
            ("echo.status.json", None),
            ("echo.wasm.part", None),
            ("wasm", None),
            ("..data", None),
        ] {
            assert_eq!(plugin_file(name), expected, "{name}");
        }
    }
}
