//! A store by itself. With endpoints, and killed: `tests/tests/persistence.rs`.

use std::path::Path;
use std::time::Duration;

use redb::Database;

use super::*;

fn open(directory: &Path) -> Arc<Store> {
    let backend = Backend::File(Arc::new(FileStore::open(directory).unwrap()));
    Arc::new(Store { backend })
}

fn writes(kept: &EndpointStore, of: &[(&str, Option<&'static str>)]) -> Writes {
    let mut writes = Writes::default();
    for (name, value) in of {
        let value = value.map(Bytes::from);
        writes.put(kept, (*name).to_owned(), value).unwrap();
    }
    writes
}

async fn all(kept: &EndpointStore) -> Vec<(String, String)> {
    let found = kept.read("").await.unwrap();
    let text = |value: Bytes| String::from_utf8(value.to_vec()).unwrap();
    found
        .into_iter()
        .map(|(name, value)| (name, text(value)))
        .collect()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

async fn written(mut ticket: Ticket) -> Result<(), RpcError> {
    let waited = tokio::time::timeout(Duration::from_secs(60), ticket.wait());
    waited.await.unwrap()
}

#[tokio::test]
async fn what_was_submitted_is_read_at_once_and_what_was_written_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let kept = store.of("e");
    let mut tickets = Vec::new();
    for round in ["1", "2", "3"] {
        let round: &'static str = round;
        tickets.push(kept.submit(
            writes(&kept, &[("a", Some(round)), ("gone", Some("x"))]),
            None,
        ));
        assert_eq!(all(&kept).await, pairs(&[("a", round), ("gone", "x")]));
    }
    tickets.push(kept.submit(writes(&kept, &[("gone", None), ("never", None)]), None));
    assert_eq!(all(&kept).await, pairs(&[("a", "3")]));
    for ticket in tickets {
        written(ticket).await.unwrap();
    }
    let usage = kept.usage();
    assert_eq!((usage.entries, usage.bytes), (1, 2));
    store.close().await;
    let store = open(folder.path());
    let kept = store.of("e");
    assert_eq!(kept.usage(), usage);
    assert_eq!(all(&kept).await, pairs(&[("a", "3")]));
    store.close().await;
}

#[tokio::test]
async fn closing_writes_what_waits_and_what_comes_later_fails() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let kept = store.of("e");
    let tickets: Vec<_> = (0..200)
        .map(|number| {
            let mut writes = Writes::default();
            let value = Some(Bytes::from("v"));
            writes.put(&kept, format!("{number}"), value).unwrap();
            kept.submit(writes, None)
        })
        .collect();
    store.close().await;
    for ticket in tickets {
        written(ticket).await.unwrap();
    }
    let late = kept.submit(writes(&kept, &[("late", Some("v"))]), None);
    assert_eq!(written(late).await.unwrap_err().code(), "persistence");
    assert_eq!(kept.read("").await.unwrap_err().code(), "persistence");
    assert_eq!(kept.usage().entries, 200, "what failed is not kept");
    let store = open(folder.path());
    assert_eq!(store.of("e").usage().entries, 200);
}

#[tokio::test]
async fn within_the_limit_a_value_can_always_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let kept = store.of("e");
    let full = limits::ENTRIES_MAX;
    let mut writes = Writes::default();
    for number in 0..full {
        let value = Some(Bytes::from("1"));
        writes.put(&kept, format!("{number}"), value).unwrap();
    }
    let more = |writes: &mut Writes, name: &str| {
        writes.put(&kept, name.to_owned(), Some(Bytes::from("2")))
    };
    assert_eq!(more(&mut writes, "more").unwrap_err().code(), "denied");
    more(&mut writes, "7").unwrap();
    written(kept.submit(writes, None)).await.unwrap();
    let mut writes = Writes::default();
    assert_eq!(more(&mut writes, "more").unwrap_err().code(), "denied");
    more(&mut writes, "7").unwrap();
    writes.put(&kept, "8".to_owned(), None).unwrap();
    more(&mut writes, "more").unwrap();
    assert_eq!(more(&mut writes, "8").unwrap_err().code(), "denied");
    // Another endpoint has limits of its own.
    let other = store.of("other");
    let value = Some(Bytes::from("1"));
    Writes::default()
        .put(&other, "more".to_owned(), value)
        .unwrap();
}

#[tokio::test]
async fn a_turn_has_a_limit_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let kept = store.of("e");
    let value = Bytes::from(vec![0; limits::VALUE_BYTES_MAX]);
    let mut writes = Writes::default();
    let mut put = |name: &str| writes.put(&kept, name.to_owned(), Some(value.clone()));
    for name in ["a", "b", "c"] {
        put(name).unwrap();
    }
    // The names count, too.
    assert_eq!(put("d").unwrap_err().code(), "too-large");
    put("a").unwrap();
    writes.put(&kept, "a".to_owned(), None).unwrap();
    writes.put(&kept, "d".to_owned(), Some(value)).unwrap();
    assert_eq!(writes.all().len(), 4);
}

#[test]
fn a_file_of_a_later_format_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let path = file::table::path_in(folder.path());
    let about = redb::TableDefinition::<'_, &str, u64>::new("about");
    let database = Database::open(&path).unwrap();
    let writing = database.begin_write().unwrap();
    writing
        .open_table(about)
        .unwrap()
        .insert("format", 7)
        .unwrap();
    writing.commit().unwrap();
    drop(database);
    let error = FileStore::open(folder.path()).err().unwrap();
    assert!(
        matches!(
            error,
            StoreError::Format {
                found: 7,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_store_whose_making_was_cut_short_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let half = file::table::path_in(folder.path()).with_extension("new");
    std::fs::write(&half, "half of it").unwrap();
    drop(open(folder.path()));
    assert!(!half.exists());
}

#[cfg(unix)]
#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "").unwrap();
    let error = FileStore::open(&path.join("below")).err().unwrap();
    assert!(matches!(error, StoreError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("file/below"), "{error}");
}

/// What was told to be durable is there, or the file is said to be damaged: also the last commit of a process
/// that was killed.
#[tokio::test]
async fn a_byte_that_changes_in_a_file_that_was_left_open_takes_no_commit_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let kept = store.of("e");
    let values: Vec<_> = (0..4).map(|number| format!("value {number}")).collect();
    for value in &values {
        let mut writes = Writes::default();
        let value = Some(Bytes::from(value.clone()));
        writes.put(&kept, "a".to_owned(), value).unwrap();
        written(kept.submit(writes, None)).await.unwrap();
    }
    // As a kill leaves it.
    let left = std::fs::read(file::table::path_in(folder.path())).unwrap();
    store.close().await;
    let places: Vec<_> = (0..left.len()).filter(|place| left[*place] != 0).collect();
    let (mut damaged, step) = (0, places.len().div_ceil(150));
    for place in places.into_iter().step_by(step) {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = left.clone();
        bytes[place] ^= 0x10;
        std::fs::write(file::table::path_in(folder.path()), bytes).unwrap();
        match FileStore::open(folder.path()) {
            Ok(opened) => {
                let found = opened.read("e", "").unwrap();
                assert_eq!(found["a"], values[3].as_bytes(), "byte {place}");
            }
            Err(StoreError::Damaged { .. } | StoreError::Format { .. }) => damaged += 1,
            Err(error) => panic!("byte {place}: {error}"),
        }
    }
    assert!(damaged > 0);
}

/// Bytes that change while the file is open: whoever reads is told or gets values, the process goes on, and
/// opening it anew says that it is damaged, or all is there; nothing is deleted.
#[tokio::test]
async fn a_file_that_is_damaged_while_it_is_open_ends_nothing() {
    use std::os::unix::fs::FileExt as _;
    let given = std::env::var("INSTAR_SEED").ok();
    let given = given.and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
    println!("INSTAR_SEED={seed}");
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % bound
    };
    for _ in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let path = file::table::path_in(folder.path());
        let store = open(folder.path());
        let kept = store.of("e");
        let mut writes = Writes::default();
        // More than the library keeps in memory.
        for number in 0..320 {
            let value = Some(Bytes::from(vec![7; 64 << 10]));
            writes.put(&kept, format!("{number}"), value).unwrap();
        }
        written(kept.submit(writes, None)).await.unwrap();
        let damaged = std::fs::File::options().write(true).open(&path).unwrap();
        let length = damaged.metadata().unwrap().len();
        for _ in 0..1 + below(200) {
            damaged
                .write_all_at(&[0xa5; 64], below(length - 64))
                .unwrap();
        }
        match kept.read("").await {
            Ok(_) => {}
            Err(error) => assert_eq!(error.code(), "persistence", "INSTAR_SEED={seed}: {error}"),
        }
        let mut more = Writes::default();
        more.put(&kept, "more".to_owned(), Some("v".into()))
            .unwrap();
        let more = written(kept.submit(more, None)).await;
        store.close().await;
        match FileStore::open(folder.path()) {
            Ok(opened) => {
                let found = opened.read("e", "").unwrap();
                let expected = 320 + usize::from(more.is_ok());
                assert_eq!(found.len(), expected, "INSTAR_SEED={seed}");
            }
            Err(error) => {
                assert!(
                    matches!(error, StoreError::Damaged { .. }),
                    "INSTAR_SEED={seed}: {error}"
                );
                assert!(
                    std::fs::metadata(&path).unwrap().len() >= length,
                    "INSTAR_SEED={seed}"
                );
            }
        }
    }
}
