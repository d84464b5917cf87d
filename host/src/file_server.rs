//! File server: files, jars and directories that a host offers to its peers, read with
//! [`crate::RpcEnv::open_channel`]. Source: RpcEnvFileServer of Spark.
//!
//! Invariants
//! 1. Only what was added can be read: `/files/NAME`, `/jars/NAME`, and files below a directory.
//! 2. Nothing outside of an added directory, neither by `..` nor by a symlink.
//!
//! Not here: reading a file (`reading`) and listing a directory (`listing`).

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::address::RpcAddress;

mod listing;
mod reading;

const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'.')
    .remove(b'-')
    .remove(b'_')
    .remove(b'~');

/// The files that a host offers. Changes take effect at once.
#[derive(Debug, Default)]
pub struct FileServer {
    offered: Mutex<Offered>,
}

#[derive(Debug, Default)]
struct Offered {
    files: BTreeMap<String, PathBuf>,
    jars: BTreeMap<String, PathBuf>,
    directories: BTreeMap<String, PathBuf>,
}

/// Why a file cannot be offered or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file or directory is missing or unreadable.
    #[error("cannot offer {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It has to be the other sort.
    #[error("{} is no {expected}", path.display())]
    WrongSort {
        /// Which.
        path: PathBuf,
        /// `file` or `directory`.
        expected: &'static str,
    },
    /// Another file is offered under this name; remove that first.
    #[error("`{name}` is offered already, as {}", path.display())]
    NameTaken {
        /// The name.
        name: String,
        /// What has it.
        path: PathBuf,
    },
    /// The path of a directory may not be this one.
    #[error("a directory cannot be offered as `{uri}`: {reason}")]
    BadUri {
        /// What was given.
        uri: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// Nothing is offered under this path.
    #[error("no file is offered as `{path}`")]
    NotFound {
        /// What was asked for.
        path: String,
    },
}

impl FileServer {
    /// Offers a file as `/files/NAME`, NAME being its own. The same file again changes nothing.
    ///
    /// Returns the path to append to a host's URI, percent-encoded.
    ///
    /// # Errors
    /// [`FileError::NameTaken`] where another file has the name; [`FileError::Unreadable`].
    pub fn add_file(&self, file: &Path) -> Result<String, FileError> {
        let (name, file) = named_file(file)?;
        add(&mut self.offered().files, &name, file)?;
        Ok(format!("/files/{}", encode(&name)))
    }

    /// Offers a file as `/jars/NAME`; else like [`FileServer::add_file`].
    ///
    /// # Errors
    /// As there.
    pub fn add_jar(&self, file: &Path) -> Result<String, FileError> {
        let (name, file) = named_file(file)?;
        add(&mut self.offered().jars, &name, file)?;
        Ok(format!("/jars/{}", encode(&name)))
    }

    /// Offers all files below a directory under `base`, for example `/classes`.
    ///
    /// Returns the base in normal form; append `/` and the path of a file.
    ///
    /// # Errors
    /// [`FileError::BadUri`] for `/files`, `/jars`, an empty path, and one that is offered already,
    /// however it is written; [`FileError::Unreadable`], [`FileError::WrongSort`].
    pub fn add_directory(&self, base: &str, directory: &Path) -> Result<String, FileError> {
        let (base, directory) = named_directory(base, directory)?;
        let directories = &mut self.offered().directories;
        if directories.contains_key(&base) {
            return Err(FileError::BadUri {
                uri: base,
                reason: "another directory is offered under it",
            });
        }
        directories.insert(base.clone(), directory);
        Ok(base)
    }

    /// Like [`FileServer::add_directory`], changing nothing where the base is taken.
    ///
    /// # Errors
    /// As there, but for a base that is taken.
    pub fn add_directory_if_absent(
        &self,
        base: &str,
        directory: &Path,
    ) -> Result<String, FileError> {
        let (base, directory) = named_directory(base, directory)?;
        let directories = &mut self.offered().directories;
        directories.entry(base.clone()).or_insert(directory);
        Ok(base)
    }

    /// Offers a file no longer. False where it was not offered.
    pub fn remove_file(&self, name: &str) -> bool {
        self.offered().files.remove(name).is_some()
    }

    /// Offers a jar no longer. False where it was not offered.
    pub fn remove_jar(&self, name: &str) -> bool {
        self.offered().jars.remove(name).is_some()
    }

    /// The file behind a percent-encoded path that a peer sent.
    pub(crate) fn resolve(&self, path: &str) -> Result<PathBuf, FileError> {
        let not_found = || FileError::NotFound {
            path: path.to_owned(),
        };
        let decoded = percent_decode_str(path)
            .decode_utf8()
            .map_err(|_| not_found())?;
        let decoded = decoded.trim_start_matches('/');
        let (space, rest) = decoded.split_once('/').ok_or_else(not_found)?;
        let file = {
            let offered = self.offered();
            match space {
                "files" => offered.files.get(rest).cloned(),
                "jars" => offered.jars.get(rest).cloned(),
                _ => below_a_directory(&offered.directories, decoded).map(|(_, file)| file),
            }
        };
        file.filter(|file| file.is_file()).ok_or_else(not_found)
    }

    /// The offered directory that a percent-encoded path with `/` at its end is in, and the directory
    /// that it names.
    fn resolve_directory(&self, path: &str) -> Result<(PathBuf, PathBuf), FileError> {
        let not_found = || FileError::NotFound {
            path: path.to_owned(),
        };
        let decoded = percent_decode_str(path).decode_utf8();
        let decoded = decoded.map_err(|_| not_found())?;
        let decoded = decoded.trim_matches('/');
        let found = below_a_directory(&self.offered().directories, decoded);
        found
            .filter(|(_, directory)| directory.is_dir())
            .ok_or_else(not_found)
    }

    fn offered(&self) -> MutexGuard<'_, Offered> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The URI of an offered path on a host that listens.
pub(crate) fn uri(address: &RpcAddress, path: &str) -> String {
    format!("{}{path}", address.to_uri())
}

/// Splits `instar://HOST:PORT/PATH`.
pub(crate) fn parse_uri(uri: &str) -> Result<(RpcAddress, String), crate::address::AddressError> {
    use crate::address::AddressError;
    let rest = uri.strip_prefix("instar://").unwrap_or_default();
    let wrong = |reason: &str| AddressError::Invalid {
        text: uri.to_owned(),
        reason: reason.to_owned(),
        expected: "instar://HOST:PORT/PATH",
    };
    let (host, path) = rest
        .split_once('/')
        .ok_or_else(|| wrong("it has no scheme `instar://` or no path"))?;
    let parsed = host.parse::<RpcAddress>();
    let address = parsed.map_err(|error| wrong(&error.to_string()))?;
    if address.port() == 0 || path.is_empty() {
        return Err(wrong("the port or the path is empty"));
    }
    Ok((address, format!("/{path}")))
}

fn encode(name: &str) -> String {
    utf8_percent_encode(name, KEPT).to_string()
}

fn named_file(path: &Path) -> Result<(String, PathBuf), FileError> {
    let canonical = canonical(path)?;
    let name = path.file_name().and_then(|name| name.to_str());
    match name {
        Some(name) if canonical.is_file() => Ok((name.to_owned(), canonical)),
        _ => Err(FileError::WrongSort {
            path: path.to_owned(),
            expected: "file with a UTF-8 name",
        }),
    }
}

fn named_directory(base: &str, path: &Path) -> Result<(String, PathBuf), FileError> {
    let bad = |reason| FileError::BadUri {
        uri: base.to_owned(),
        reason,
    };
    let mut parts = Vec::new();
    for part in base.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(bad("`..` is not allowed")),
            part => parts.push(part),
        }
    }
    let reserved = matches!(parts.first(), Some(&"files") | Some(&"jars"));
    if parts.is_empty() || (reserved && parts.len() == 1) {
        return Err(bad("`/`, `/files` and `/jars` are reserved"));
    }
    let directory = canonical(path)?;
    if !directory.is_dir() {
        return Err(FileError::WrongSort {
            path: path.to_owned(),
            expected: "directory",
        });
    }
    Ok((format!("/{}", parts.join("/")), directory))
}

fn canonical(path: &Path) -> Result<PathBuf, FileError> {
    path.canonicalize().map_err(|source| FileError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn add(map: &mut BTreeMap<String, PathBuf>, name: &str, file: PathBuf) -> Result<(), FileError> {
    match map.get(name) {
        Some(path) if *path != file => Err(FileError::NameTaken {
            name: name.to_owned(),
            path: path.clone(),
        }),
        _ => {
            map.insert(name.to_owned(), file);
            Ok(())
        }
    }
}

/// The offered directory that a path is in, and what it names there: the directory itself, or what is
/// below it.
fn below_a_directory(
    directories: &BTreeMap<String, PathBuf>,
    path: &str,
) -> Option<(PathBuf, PathBuf)> {
    let path = format!("/{path}");
    let fits = |base: &str| {
        let rest = path.strip_prefix(base)?;
        let rest = match rest {
            "" => rest,
            _ => rest.strip_prefix('/')?,
        };
        Some(rest.to_owned())
    };
    let mut candidates = directories
        .iter()
        .filter_map(|(base, directory)| Some((fits(base)?, directory)));
    candidates.find_map(|(rest, directory)| {
        let rest = Path::new(&rest);
        let plain = rest.components().all(|c| matches!(c, Component::Normal(_)));
        let found = directory.join(rest).canonicalize().ok()?;
        (plain && found.starts_with(directory)).then(|| (directory.clone(), found))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_encoded_in_the_path_and_decoded_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a file+é.txt");
        std::fs::write(&file, "x").unwrap();
        let server = FileServer::default();
        let path = server.add_file(&file).unwrap();
        assert_eq!(path, "/files/a%20file%2B%C3%A9.txt");
        assert_eq!(server.resolve(&path).unwrap(), file.canonicalize().unwrap());
        assert!(server.remove_file("a file+é.txt"));
        assert!(server.resolve(&path).is_err());
    }

    #[test]
    fn another_file_under_the_same_name_is_refused_the_same_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("1"), dir.path().join("2"));
        std::fs::create_dir_all(&first).unwrap();
        std::fs::create_dir_all(&second).unwrap();
        for file in [first.join("x.jar"), second.join("x.jar")] {
            std::fs::write(file, "x").unwrap();
        }
        let server = FileServer::default();
        assert_eq!(server.add_jar(&first.join("x.jar")).unwrap(), "/jars/x.jar");
        assert!(server.add_jar(&first.join("../1/x.jar")).is_ok());
        let error = server.add_jar(&second.join("x.jar")).unwrap_err();
        assert!(matches!(error, FileError::NameTaken { .. }));
    }

    /// R41, R42
    #[test]
    fn a_directory_has_a_path_of_its_own_however_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let server = FileServer::default();
        for reserved in ["/files", "/jars/", "files", "/", "/a/../files"] {
            assert!(
                server.add_directory(reserved, dir.path()).is_err(),
                "{reserved}"
            );
        }
        assert_eq!(
            server.add_directory("/dir1/sub/", dir.path()).unwrap(),
            "/dir1/sub"
        );
        assert!(server.add_directory("//dir1/./sub", dir.path()).is_err());
        assert!(
            server
                .add_directory_if_absent("dir1/sub", dir.path())
                .is_ok()
        );
    }

    #[test]
    fn nothing_outside_of_a_directory_is_offered() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("inside");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(dir.path().join("secret"), "s").unwrap();
        std::fs::write(inside.join("open"), "o").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret"), inside.join("link")).unwrap();
        let server = FileServer::default();
        server.add_directory("/d", &inside).unwrap();
        assert!(server.resolve("/d/open").is_ok());
        for path in [
            "/d/../secret",
            "/d/%2e%2e/secret",
            "/d/link",
            "/d",
            "/d/",
            "/d//etc/passwd",
            "/etc/passwd",
            "",
        ] {
            assert!(server.resolve(path).is_err(), "{path}");
        }
    }
}
