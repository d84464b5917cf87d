//! Folders: the work folders below the root of a host, and which of them are in use.
//!
//! Invariants
//! 1. Nothing outside of the root is made, opened or removed: a folder is a relative path of plain
//!    names, and each step of it is a real directory, never a link.
//! 2. A folder in use is not removed. It is moved aside first, so that it is gone at once and whole.
//! 3. Names that begin with a dot are the host's own.
//! 4. The root belongs to one host, and never had anything in it that no host made: what lies in it is
//!    removed when it is old.
//!
//! Everything here blocks.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::dir_lock::{self, NotTaken, Taken};

/// Longest name of one folder, in bytes; file systems know no longer ones.
const NAME_BYTES_MAX: usize = 255;
/// Folders in each other.
const DEPTH_MAX: usize = 8;

/// The file by which a host has the root.
const LOCK: &str = ".lock";
/// Where hosts keep components; one that knew no lock made this as the first.
pub(super) const COMPONENTS: &str = ".components";

/// The work folders of a host.
pub(super) struct WorkFolders {
    root: PathBuf,
    /// None when the host has ended.
    taken: Mutex<Option<Taken>>,
    in_use: Mutex<BTreeMap<PathBuf, usize>>,
}

/// Why a root cannot be used.
#[derive(Debug)]
pub(crate) enum RootError {
    /// By another host.
    InUse { by: String },
    /// No host made what is in it.
    OtherFiles,
    /// The disk, or the rights of this user.
    Unusable(io::Error),
}

impl From<io::Error> for RootError {
    fn from(error: io::Error) -> Self {
        Self::Unusable(error)
    }
}

impl From<NotTaken> for RootError {
    fn from(error: NotTaken) -> Self {
        match error {
            NotTaken::InUse { by } => Self::InUse { by },
            NotTaken::Unusable { source, .. } => Self::Unusable(source),
        }
    }
}

/// A work folder in use, until this is dropped.
pub(super) struct WorkFolder {
    folders: Arc<WorkFolders>,
    relative: PathBuf,
    path: PathBuf,
}

/// The names in a relative path, or why it is none.
pub(super) fn parts(folder: &str) -> Result<Vec<&str>, String> {
    let wrong = |reason: &str| {
        Err(format!(
            "`{folder}` is no work folder: {reason}; expected names separated by `/`, relative to the \
             host's"
        ))
    };
    if folder.starts_with('/') {
        return wrong("it is absolute");
    }
    let parts: Vec<&str> = folder.split('/').collect();
    if parts.len() > DEPTH_MAX {
        return wrong(&format!("it is more than {DEPTH_MAX} deep"));
    }
    for part in &parts {
        match *part {
            "" => return wrong("a name in it is empty"),
            "." | ".." => return wrong("`.` and `..` are no names"),
            part if part.starts_with('.') => return wrong("names with a dot are the host's"),
            part if part.len() > NAME_BYTES_MAX => return wrong("a name in it is too long"),
            part if part.chars().any(char::is_control) => {
                return wrong("it has control characters");
            }
            _ => {}
        }
    }
    Ok(parts)
}

/// Makes a directory that only this user can use, unless it is there. Not through a link.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    match path.symlink_metadata()?.is_dir() {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::NotADirectory,
            format!("{} is in the way: it is no directory", path.display()),
        )),
    }
}

impl WorkFolders {
    /// The folders below `root`, which is made where it is missing and taken until
    /// [`WorkFolders::give_back`], or until this is dropped.
    ///
    /// # Errors
    /// [`RootError`]; then nothing in it is changed.
    pub(super) fn open(root: &Path) -> Result<Self, RootError> {
        if has_other_files(root)? {
            return Err(RootError::OtherFiles);
        }
        let taken = dir_lock::take(root, LOCK)?;
        let root = root.canonicalize()?;
        let folders = Self {
            root,
            taken: Mutex::new(Some(taken)),
            in_use: Mutex::default(),
        };
        folders.finish_removals()?;
        Ok(folders)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Leaves the root to whoever wants it next.
    pub(super) fn give_back(&self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.take();
    }

    /// Makes a folder where it is missing, and keeps it from being removed.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn make(self: &Arc<Self>, folder: &str) -> Result<WorkFolder, String> {
        let mut in_use = self.lock();
        let (mut path, mut relative) = (self.root.clone(), PathBuf::new());
        for part in parts(folder)? {
            path.push(part);
            relative.push(part);
            make_private(&path)
                .map_err(|error| format!("cannot make the work folder `{folder}`: {error}"))?;
        }
        *in_use.entry(relative.clone()).or_default() += 1;
        Ok(WorkFolder {
            folders: Arc::clone(self),
            relative,
            path,
        })
    }

    /// True where something runs in the folder, below it, or above it.
    pub(super) fn is_in_use(&self, folder: &str) -> bool {
        is_in_use(&self.lock(), Path::new(folder))
    }

    /// Removes a folder with all that is in it. False where there was none.
    ///
    /// # Errors
    /// One sentence: it is in use, or the disk refuses.
    pub(super) fn remove(&self, folder: &str) -> Result<bool, String> {
        let failed =
            |error: io::Error| format!("cannot remove the work folder `{folder}`: {error}");
        let aside = {
            let in_use = self.lock();
            let mut path = self.root.clone();
            for part in parts(folder)? {
                path.push(part);
                match path.symlink_metadata() {
                    Ok(found) if found.is_dir() => {}
                    Ok(_) => return Err(format!("`{folder}` is no work folder: a link or file")),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                    Err(error) => return Err(failed(error)),
                }
            }
            if is_in_use(&in_use, Path::new(folder)) {
                return Err(format!("the work folder `{folder}` is in use"));
            }
            let aside = self.root.join(format!(".removed-{}", uuid::Uuid::new_v4()));
            fs::rename(&path, &aside).map_err(failed)?;
            aside
        };
        // Links in it are removed, not followed.
        fs::remove_dir_all(&aside).map_err(failed)?;
        Ok(true)
    }

    /// Removes what a host before was removing when it ended.
    fn finish_removals(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)?.flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(".removed-") {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, usize>> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True where a directory has something in it, but no host ever had it.
fn has_other_files(root: &Path) -> io::Result<bool> {
    let mut entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    let marked = |name: &str| root.join(name).symlink_metadata().is_ok();
    Ok(entries.next().is_some() && !marked(LOCK) && !marked(COMPONENTS))
}

fn is_in_use(in_use: &BTreeMap<PathBuf, usize>, folder: &Path) -> bool {
    let touches = |used: &PathBuf| used.starts_with(folder) || folder.starts_with(used);
    in_use.keys().any(touches)
}

impl WorkFolder {
    /// Absolute.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        let mut in_use = self.folders.lock();
        if let Some(count) = in_use.get_mut(&self.relative) {
            *count -= 1;
            if *count == 0 {
                in_use.remove(&self.relative);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn folders() -> (tempfile::TempDir, Arc<WorkFolders>) {
        let dir = tempfile::tempdir().unwrap();
        let folders = WorkFolders::open(&dir.path().join("work")).unwrap();
        (dir, Arc::new(folders))
    }

    #[test]
    fn a_folder_is_a_relative_path_of_plain_names() {
        assert_eq!(parts("app-1/0").unwrap(), ["app-1", "0"]);
        let long = "x".repeat(256);
        let deep = ["x"; 9].join("/");
        for wrong in [
            "", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", ".cache", "a/.b",
            "a\0b", "a\nb", &long, &deep,
        ] {
            assert!(parts(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn only_its_user_can_enter_what_is_made() {
        let (_dir, folders) = folders();
        let made = folders.make("app/0").unwrap();
        for path in [made.path(), made.path().parent().unwrap(), folders.root()] {
            let mode = path.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", path.display());
        }
    }

    #[test]
    fn a_link_is_no_way_out_of_the_root() {
        let (dir, folders) = folders();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "precious").unwrap();
        symlink(&outside, folders.root().join("link")).unwrap();
        for folder in ["link", "link/x"] {
            assert!(folders.make(folder).is_err(), "{folder}");
            assert!(folders.remove(folder).is_err(), "{folder}");
        }
        let made = folders.make("app").unwrap();
        symlink(&outside, made.path().join("inner")).unwrap();
        drop(made);
        assert_eq!(folders.remove("app"), Ok(true));
        assert_eq!(
            fs::read_to_string(outside.join("file")).unwrap(),
            "precious"
        );
    }

    #[test]
    fn a_folder_in_use_is_not_removed_nor_what_is_above_and_below_it() {
        let (_dir, folders) = folders();
        let (first, second) = (folders.make("a/b").unwrap(), folders.make("a/b").unwrap());
        fs::create_dir(first.path().join("c")).unwrap();
        for folder in ["a", "a/b", "a/b/c"] {
            assert!(folders.is_in_use(folder), "{folder}");
            let reason = folders.remove(folder).unwrap_err();
            assert!(reason.contains("in use"), "{reason}");
        }
        assert!(!folders.is_in_use("a/bb"));
        drop(first);
        assert!(folders.is_in_use("a"));
        drop(second);
        assert_eq!(folders.remove("a"), Ok(true));
        assert_eq!(folders.remove("a"), Ok(false));
    }

    #[test]
    fn what_a_host_was_removing_is_removed_by_the_next() {
        let (_dir, folders) = folders();
        let left = folders.root().join(".removed-x");
        fs::create_dir_all(left.join("deep")).unwrap();
        folders.give_back();
        WorkFolders::open(folders.root()).unwrap();
        assert!(!left.exists());
    }

    #[test]
    fn a_root_is_of_one_host_until_that_gives_it_back() {
        let (_dir, folders) = folders();
        let left = folders.root().join(".removed-x");
        fs::create_dir(&left).unwrap();
        let Err(RootError::InUse { by }) = WorkFolders::open(folders.root()) else {
            panic!("two hosts have it");
        };
        assert_eq!(by, format!("process {}", std::process::id()));
        assert!(left.exists(), "nothing of it was touched");
        folders.give_back();
        let next = WorkFolders::open(folders.root()).unwrap();
        drop(next);
        WorkFolders::open(folders.root()).unwrap();
    }

    #[test]
    fn a_root_with_files_that_no_host_made_is_refused_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::write(root.join("letters"), "precious").unwrap();
        let refused = WorkFolders::open(root).err().unwrap();
        assert!(matches!(refused, RootError::OtherFiles), "{refused:?}");
        assert_eq!(fs::read_dir(root).unwrap().count(), 1);
        // A host that knew no lock left this.
        fs::create_dir(root.join(COMPONENTS)).unwrap();
        drop(WorkFolders::open(root).unwrap());
        fs::remove_dir(root.join(COMPONENTS)).unwrap();
        WorkFolders::open(root).unwrap();
    }
}
