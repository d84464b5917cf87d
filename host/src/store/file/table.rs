//! The file of a store: opening it, reading it, writing it. Everything here blocks.
//!
//! Layout: the directory has `store.redb`, and `lock`, which is locked by the process that has the store
//! and says which that is. A table has the values, by endpoint and name; another the format and the number
//! of the last commit.
//!
//! Invariants
//! 1. Opening verifies every page. What does not fit is an error and stays as it is.
//! 2. `store.redb` is there with its tables, or not at all: it is made beside and renamed.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::{
    Builder, Database, DatabaseError, Durability, ReadableDatabase as _, ReadableTable as _,
    TableDefinition,
};

use crate::dir_lock::{self, NotTaken, Taken};
use crate::store::error::StoreError;
use crate::store::kept::Sizes;
use crate::store::limits::{CACHE_BYTES, READ_BYTES_MAX};

const VALUES: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("values");
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");

/// The file by which the directory is taken.
const LOCK: &str = "lock";

/// Key in `about`: how everything else is to be read.
const FORMAT: &str = "format";
/// The format that this host writes.
const FORMAT_KNOWN: u64 = 1;
/// Key in `about`: the number of the last commit.
const COMMIT: &str = "commit";

/// An open file, and what is in it.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) sizes: HashMap<String, Sizes>,
    /// The number of the last commit.
    pub(super) commit: u64,
}

/// The file in which a store in `directory` has its values.
pub(in crate::store) fn path_in(directory: &Path) -> PathBuf {
    directory.join("store.redb")
}

/// Takes the directory for this process.
pub(super) fn take(directory: &Path) -> Result<Taken, StoreError> {
    dir_lock::take(directory, LOCK).map_err(|error| match error {
        NotTaken::InUse { by } => StoreError::InUse {
            path: directory.to_owned(),
            by,
        },
        NotTaken::Unusable { path, source } => StoreError::Unusable { path, source },
    })
}

/// Opens the file, which is made where it is missing, and looks at all of it.
pub(super) fn open(path: &Path) -> Result<Opened, StoreError> {
    let exists = path.try_exists();
    if !exists.map_err(|source| unusable(path, source))? {
        create(path)?;
    }
    // A file that something else wrote may surprise the library in ways that it did not think of.
    let opened = catch_unwind(AssertUnwindSafe(|| open_and_look(path)));
    opened.unwrap_or_else(|_| Err(damaged(path, "it cannot be understood at all")))
}

fn open_and_look(path: &Path) -> Result<Opened, StoreError> {
    let database = Builder::new()
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true)
        .open(path);
    let database = database.map_err(|error| of_opening(path, error))?;
    let looked = look(&database).map_err(|error| of_reading(path, error))?;
    let (found, commit, sizes) = looked;
    if found != FORMAT_KNOWN {
        return Err(StoreError::Format {
            path: path.to_owned(),
            found,
            known: FORMAT_KNOWN,
        });
    }
    Ok(Opened {
        database,
        sizes,
        commit,
    })
}

fn look(database: &Database) -> Result<(u64, u64, HashMap<String, Sizes>), redb::Error> {
    let reading = database.begin_read()?;
    let about = reading.open_table(ABOUT)?;
    let number = |key| Ok::<_, redb::Error>(about.get(key)?.map_or(0, |found| found.value()));
    let (format, commit) = (number(FORMAT)?, number(COMMIT)?);
    let mut sizes: HashMap<String, Sizes> = HashMap::new();
    if format == FORMAT_KNOWN {
        for entry in reading.open_table(VALUES)?.iter()? {
            let (key, value) = entry?;
            let (endpoint, name) = key.value();
            let of = match sizes.get_mut(endpoint) {
                Some(of) => of,
                None => sizes.entry(endpoint.to_owned()).or_default(),
            };
            of.insert(name.to_owned(), value.value().len());
        }
    }
    Ok((format, commit, sizes))
}

fn create(path: &Path) -> Result<(), StoreError> {
    let beside = path.with_extension("new");
    let create = || {
        if beside.try_exists()? {
            // Left over from a process that was killed here: nobody was told that anything is in it.
            fs::remove_file(&beside)?;
        }
        let database = Builder::new().set_cache_size(CACHE_BYTES).create(&beside)?;
        let writing = database.begin_write()?;
        writing.open_table(ABOUT)?.insert(FORMAT, FORMAT_KNOWN)?;
        writing.open_table(VALUES)?;
        writing.commit()?;
        drop(database);
        fs::rename(&beside, path)?;
        let directory = path.parent().unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()?;
        Ok(())
    };
    create().map_err(|error| of_reading(path, error))
}

/// Writes everything in one commit, which is durable when this returns.
pub(super) fn write<'a>(
    database: &Database,
    commit: u64,
    writes: impl Iterator<Item = (&'a str, &'a BTreeMap<String, Option<Bytes>>)>,
) -> Result<(), redb::Error> {
    let mut writing = database.begin_write()?;
    writing.set_durability(Durability::Immediate)?;
    // Else a last commit that is damaged could not be told from one that was never finished, and would be
    // taken back without a word.
    writing.set_two_phase_commit(true);
    {
        let mut values = writing.open_table(VALUES)?;
        for (endpoint, writes) in writes {
            for (name, value) in writes {
                let key = (endpoint, name.as_str());
                match value {
                    Some(value) => drop(values.insert(key, &**value)?),
                    None => drop(values.remove(key)?),
                }
            }
        }
        writing.open_table(ABOUT)?.insert(COMMIT, commit)?;
    }
    writing.commit()?;
    Ok(())
}

/// The values of an endpoint whose names begin with `prefix`, in order of name. `None` where they are more
/// than may be read at once.
pub(super) fn read(
    database: &Database,
    endpoint: &str,
    prefix: &str,
) -> Result<Option<BTreeMap<String, Bytes>>, redb::Error> {
    let reading = database.begin_read()?;
    let values = reading.open_table(VALUES)?;
    let (mut found, mut bytes) = (BTreeMap::new(), 0_usize);
    for entry in values.range((endpoint, prefix)..)? {
        let (key, value) = entry?;
        let (of, name) = key.value();
        if of != endpoint || !name.starts_with(prefix) {
            break;
        }
        let value = value.value();
        bytes = bytes.saturating_add(name.len() + value.len());
        if bytes > READ_BYTES_MAX {
            return Ok(None);
        }
        found.insert(name.to_owned(), Bytes::copy_from_slice(value));
    }
    Ok(Some(found))
}

fn unusable(path: &Path, source: std::io::Error) -> StoreError {
    StoreError::Unusable {
        path: path.to_owned(),
        source,
    }
}

fn damaged(path: &Path, reason: impl ToString) -> StoreError {
    StoreError::Damaged {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

fn of_opening(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse {
            path: path.to_owned(),
            by: "another process".to_owned(),
        },
        error => of_reading(path, error.into()),
    }
}

fn of_reading(path: &Path, error: redb::Error) -> StoreError {
    match error {
        // So the library tells of bytes that are none of its own, or of which some are missing.
        redb::Error::Io(source)
            if matches!(
                source.kind(),
                ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof
            ) =>
        {
            damaged(path, source)
        }
        redb::Error::Io(source) => unusable(path, source),
        error => damaged(path, error),
    }
}
