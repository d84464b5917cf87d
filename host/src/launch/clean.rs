//! Clean: removes first-level work folders that nobody needs any more. Blocks.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::folders::WorkFolders;
use crate::component::workload::Cleaning;

/// Removes what is not to be kept, not in use, and was not changed for long enough. Returns the names
/// of what went. What cannot be looked at or removed is said in the log and stays.
pub(super) fn clean(folders: &WorkFolders, cleaning: &Cleaning, now: SystemTime) -> Vec<String> {
    let mut removed = Vec::new();
    let entries = match fs::read_dir(folders.root()) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!(root = %folders.root().display(), %error, "work folders cannot be cleaned");
            return removed;
        }
    };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let is_folder = entry.file_type().is_ok_and(|sort| sort.is_dir());
        let kept = cleaning.keep.iter().any(|kept| first(kept) == name);
        if !is_folder || name.starts_with('.') || kept || folders.is_in_use(&name) {
            continue;
        }
        let since = now.checked_sub(cleaning.unused);
        match since.map_or(Ok(true), |since| changed_after(&entry.path(), since)) {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(folder = name, %error, "work folder cannot be looked at");
                continue;
            }
        }
        match folders.remove(&name) {
            Ok(true) => {
                tracing::info!(folder = name, unused = ?cleaning.unused, "work folder removed");
                removed.push(name);
            }
            Ok(false) => {}
            Err(reason) => tracing::warn!(folder = name, reason, "work folder not removed"),
        }
    }
    removed
}

/// The first-level folder of a folder.
fn first(folder: &str) -> &str {
    folder.split('/').next().unwrap_or_default()
}

/// True where the folder or anything in it was changed after a moment. Links are not followed.
fn changed_after(folder: &Path, moment: SystemTime) -> io::Result<bool> {
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = match path.symlink_metadata() {
            Ok(metadata) => metadata,
            // Gone meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if metadata.modified()? > moment {
            return Ok(true);
        }
        if metadata.is_dir() {
            for entry in fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn age(path: &Path, age: Duration) {
        let file = fs::File::open(path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    #[test]
    fn what_is_old_unused_and_not_kept_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Arc::new(WorkFolders::open(dir.path()).unwrap());
        for name in ["old", "old-but-kept", "old-with-a-new-file", "new", "used"] {
            let deep = dir.path().join(name).join("deep");
            fs::create_dir_all(&deep).unwrap();
            fs::write(deep.join("file"), "x").unwrap();
            if name != "new" {
                let file_age = if name == "old-with-a-new-file" { 1 } else { 3 };
                age(&deep.join("file"), HOUR * file_age);
                age(&deep, HOUR * 3);
                age(&dir.path().join(name), HOUR * 3);
            }
        }
        fs::create_dir(dir.path().join(".cache")).unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        let used = folders.make("used/deep").unwrap();
        for own in [".cache", "file"] {
            age(&dir.path().join(own), HOUR * 3);
        }
        let cleaning = Cleaning {
            keep: vec!["old-but-kept/deep".to_owned()],
            unused: HOUR * 2,
        };
        assert_eq!(clean(&folders, &cleaning, SystemTime::now()), ["old"]);
        drop(used);
        assert_eq!(clean(&folders, &cleaning, SystemTime::now()), ["used"]);
        for stays in [
            "old-but-kept",
            "old-with-a-new-file",
            "new",
            ".cache",
            "file",
        ] {
            assert!(dir.path().join(stays).exists(), "{stays}");
        }
    }
}
