//! Listing: the files below an offered directory, as lines `SIZE PATH`, made while they are walked.
//!
//! Invariants
//! 1. In order of path, byte by byte: of equal trees the lists are equal.
//! 2. What is kept is the entries of the directories from the root down to where the walk is, not the tree.
//! 3. Nothing outside of the offered directory: a symlink is listed where it leads to a file inside, and
//!    none is walked through.
//!
//! A file that goes away meanwhile is left out. Every other error ends the list, told.

use std::io;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};

use super::encode;
use crate::transport::{BoxFuture, FileBytes};

/// Bytes of lines that are gathered before they are given away.
const LINES_BYTES: usize = 32 << 10;

/// A walk through a directory.
pub(super) struct Listing {
    /// The offered directory, canonical.
    root: PathBuf,
    /// What is left of each directory from the first down to where the walk is.
    open: Vec<Open>,
    lines: BytesMut,
}

struct Open {
    directory: PathBuf,
    /// What stands before the names in it, encoded.
    prefix: String,
    entries: std::vec::IntoIter<Entry>,
}

struct Entry {
    name: String,
    /// None: a directory.
    size: Option<u64>,
}

impl Listing {
    /// Begins a walk of `directory`, which is `root` or below it.
    pub(super) async fn begin(root: PathBuf, directory: PathBuf) -> io::Result<Self> {
        let entries = entries(&root, &directory).await?;
        Ok(Self {
            root,
            open: vec![Open {
                directory,
                prefix: String::new(),
                entries: entries.into_iter(),
            }],
            lines: BytesMut::new(),
        })
    }

    /// Gathers lines until there are enough for one piece, or no more.
    async fn gather(&mut self) -> io::Result<()> {
        while self.lines.len() < LINES_BYTES {
            let Some(open) = self.open.last_mut() else {
                break;
            };
            let Some(entry) = open.entries.next() else {
                self.open.pop();
                continue;
            };
            let path = format!("{}{}", open.prefix, encode(&entry.name));
            match entry.size {
                Some(size) => self
                    .lines
                    .extend_from_slice(format!("{size} {path}\n").as_bytes()),
                None => {
                    let directory = open.directory.join(&entry.name);
                    match entries(&self.root, &directory).await {
                        Ok(entries) => self.open.push(Open {
                            directory,
                            prefix: format!("{path}/"),
                            entries: entries.into_iter(),
                        }),
                        Err(error) if is_gone(&error) => {}
                        Err(error) => return Err(at(&directory, &error)),
                    }
                }
            }
        }
        Ok(())
    }
}

impl FileBytes for Listing {
    fn next(&mut self, bytes_max: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(async move {
            if self.lines.is_empty() {
                self.gather().await?;
            }
            let count = self.lines.len().min(bytes_max);
            Ok(self.lines.split_to(count).freeze())
        })
    }
}

/// The entries of one directory, in the order of the paths that they lead to.
async fn entries(root: &Path, directory: &Path) -> io::Result<Vec<Entry>> {
    let (root, directory) = (root.to_owned(), directory.to_owned());
    let read = tokio::task::spawn_blocking(move || read(&root, &directory));
    read.await.map_err(io::Error::other)?
}

fn read(root: &Path, directory: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let size = match size(root, &entry) {
            Ok(Some(size)) => size,
            Ok(None) => continue,
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(at(&path, &error)),
        };
        let Ok(name) = entry.file_name().into_string() else {
            let error = io::Error::new(io::ErrorKind::InvalidData, "its name is no UTF-8");
            return Err(at(&path, &error));
        };
        entries.push(Entry { name, size });
    }
    // The paths below `a` begin with `a/`, so `a.txt` stands before them.
    let path = |entry: &Entry| match entry.size {
        Some(_) => entry.name.clone(),
        None => format!("{}/", entry.name),
    };
    entries.sort_by_cached_key(path);
    Ok(entries)
}

/// The size of a file, none of a directory; nothing for what is not listed.
fn size(root: &Path, entry: &std::fs::DirEntry) -> io::Result<Option<Option<u64>>> {
    let kind = entry.file_type()?;
    if kind.is_dir() {
        return Ok(Some(None));
    }
    if !kind.is_symlink() {
        let size = entry.metadata()?.len();
        return Ok(kind.is_file().then_some(Some(size)));
    }
    let target = entry.path().canonicalize()?;
    let metadata = target.metadata()?;
    let listed = metadata.is_file() && target.starts_with(root);
    Ok(listed.then_some(Some(metadata.len())))
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn listed(root: &Path, directory: &Path, bytes_max: usize) -> io::Result<String> {
        let root = root.canonicalize()?;
        let directory = directory.canonicalize()?;
        let mut listing = Listing::begin(root, directory).await?;
        let mut text = Vec::new();
        loop {
            let piece = listing.next(bytes_max).await?;
            if piece.is_empty() {
                return Ok(String::from_utf8(text).unwrap());
            }
            assert!(piece.len() <= bytes_max);
            text.extend_from_slice(&piece);
        }
    }

    fn tree(files: &[(&str, usize)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, size) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, vec![b'x'; *size]).unwrap();
        }
        root
    }

    #[tokio::test]
    async fn files_are_listed_in_order_of_path_with_their_sizes() {
        let files = [
            ("b", 2),
            ("a/z", 1),
            ("a.txt", 3),
            ("a/b/c d", 0),
            ("a-b", 4),
        ];
        let root = tree(&files);
        std::fs::create_dir(root.path().join("empty")).unwrap();
        let expected = "4 a-b\n3 a.txt\n0 a/b/c%20d\n1 a/z\n2 b\n";
        assert_eq!(
            listed(root.path(), root.path(), 1 << 20).await.unwrap(),
            expected
        );
        assert_eq!(listed(root.path(), root.path(), 3).await.unwrap(), expected);
        let below = root.path().join("a");
        let below = listed(root.path(), &below, 1 << 20).await.unwrap();
        assert_eq!(below, "0 b/c%20d\n1 z\n");
    }

    #[tokio::test]
    async fn more_than_one_piece_of_lines_is_listed_whole() {
        let names: Vec<String> = (0..5000).map(|n| format!("d{}/{n:04}", n % 7)).collect();
        let files: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 0)).collect();
        let root = tree(&files);
        let text = listed(root.path(), root.path(), 1 << 20).await.unwrap();
        let mut expected = names.clone();
        expected.sort();
        let paths: Vec<&str> = text.lines().map(|line| &line[2..]).collect();
        assert_eq!(paths, expected);
    }

    #[tokio::test]
    async fn a_symlink_out_is_not_listed_and_none_is_walked_through() {
        let outside = tree(&[("secret", 1)]);
        let root = tree(&[("a/file", 5)]);
        let link = std::os::unix::fs::symlink::<PathBuf, PathBuf>;
        link(outside.path().join("secret"), root.path().join("out")).unwrap();
        link(outside.path().to_owned(), root.path().join("outside")).unwrap();
        link(root.path().to_owned(), root.path().join("a/round")).unwrap();
        link(root.path().join("nowhere"), root.path().join("dangling")).unwrap();
        link(root.path().join("a/file"), root.path().join("in")).unwrap();
        let text = listed(root.path(), root.path(), 1 << 20).await.unwrap();
        assert_eq!(text, "5 a/file\n5 in\n");
    }

    #[tokio::test]
    async fn a_name_that_no_uri_can_hold_is_told() {
        use std::os::unix::ffi::OsStrExt;
        let root = tree(&[("a", 1)]);
        let name = std::ffi::OsStr::from_bytes(b"\xff");
        std::fs::write(root.path().join(name), "x").unwrap();
        let error = listed(root.path(), root.path(), 1 << 20).await.unwrap_err();
        assert!(error.to_string().contains("no UTF-8"), "{error}");
    }
}
