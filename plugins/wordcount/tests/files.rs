//! The application: every byte is read exactly once, and what is counted is what `wc` counts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use app_client::{GetProgress, RunTask, SlotAnswer, SlotReady, TaskDone};
use deploy_protocol::{MASTER, RegisteredApplication};
use instar_sdk::prelude::*;
use instar_sdk::testing::TestEndpoint;
use proptest::prelude::*;
use wordcount::files::count::{Count, Counter};
use wordcount::files::splits::{Piece, Split, Splitter};
use wordcount::files::{Counts, Driver, Executor, GetCounts};

const DIRECTORY: &str = "instar://h:1/texts/";

/// Counted in the simplest way.
fn straight(text: &[u8]) -> Count {
    let is_space = |byte: &u8| [b' ', b'\t', b'\n', 0x0b, 0x0c, b'\r'].contains(byte);
    let words = text.split(is_space).filter(|word| !word.is_empty());
    Count {
        lines: text.iter().filter(|byte| **byte == b'\n').count() as u64,
        words: words.count() as u64,
        bytes: text.len() as u64,
    }
}

fn splits(files: &[(String, u64)], bytes_max: u64) -> Vec<Split> {
    let mut splits = Vec::new();
    let mut splitter = Splitter::new(DIRECTORY.to_owned(), bytes_max);
    for (path, size) in files {
        let add = |split| {
            splits.push(split);
            Ok::<(), ()>(())
        };
        splitter.file(path, *size, add).unwrap();
    }
    splits.extend(splitter.finish());
    splits
}

/// A text of few letters and much white space, so that cuts fall everywhere.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop::sample::select(b"ab \n\t\r\x0b\x0c\x00\xff".to_vec());
    prop::collection::vec(byte, 0..200)
}

fn executor(files: &[(String, Vec<u8>)]) -> TestEndpoint<Executor> {
    let executor = TestEndpoint::start_with(&[
        ("driver", "instar://d@d:1"),
        ("app_id", "app-1"),
        ("executor_id", "0"),
        ("slot", "0"),
    ]);
    for (path, text) in files {
        executor.set_file(&format!("{DIRECTORY}{path}"), text);
    }
    executor
}

fn run(executor: &mut TestEndpoint<Executor>, split: &Split) -> Result<Count, Failure> {
    let done = executor.ask(&RunTask {
        task: 0,
        attempt: 1,
        body: postcard::to_stdvec(split).unwrap().into(),
    })?;
    Ok(postcard::from_bytes(&done.body).unwrap())
}

proptest! {
    #[test]
    fn splits_cover_each_byte_exactly_once_and_are_no_larger_than_they_may(
        sizes in prop::collection::vec(prop_oneof![0..20u64, 0..5000u64], 0..60),
        bytes_max in 1..2000u64,
    ) {
        let files: Vec<(String, u64)> =
            sizes.iter().enumerate().map(|(number, size)| (format!("f{number}"), *size)).collect();
        let mut next: BTreeMap<String, u64> = BTreeMap::new();
        for split in splits(&files, bytes_max) {
            prop_assert!((1..=bytes_max).contains(&split.bytes()));
            for piece in split.pieces {
                let next = next.entry(piece.path).or_default();
                prop_assert_eq!(piece.offset, *next, "no gap and nothing twice");
                prop_assert!(piece.length > 0);
                *next += piece.length;
            }
        }
        for (path, size) in files {
            prop_assert_eq!(next.remove(&path).unwrap_or_default(), size);
        }
        prop_assert!(next.is_empty());
    }

    #[test]
    fn a_text_cut_anywhere_counts_like_the_whole(
        text in text(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let (mut total, mut in_one) = (Count::default(), Counter::after(None));
        for cut in cuts.windows(2) {
            let part = &text[cut[0]..cut[1]];
            let mut counter = Counter::after(cut[0].checked_sub(1).map(|before| text[before]));
            counter.count(part);
            total.add(&counter.counted());
            in_one.count(part);
        }
        prop_assert_eq!(total, straight(&text));
        prop_assert_eq!(in_one.counted(), straight(&text));
    }

    #[test]
    fn executors_count_files_in_splits_of_any_size_like_the_whole(
        texts in prop::collection::vec(text(), 0..8),
        bytes_max in 1..150u64,
    ) {
        let files: Vec<(String, Vec<u8>)> =
            texts.iter().enumerate().map(|(number, text)| (format!("f{number}"), text.clone())).collect();
        let sizes: Vec<(String, u64)> =
            files.iter().map(|(path, text)| (path.clone(), text.len() as u64)).collect();
        let mut executor = executor(&files);
        let (mut total, mut expected) = (Count::default(), Count::default());
        for split in splits(&sizes, bytes_max) {
            total.add(&run(&mut executor, &split).unwrap());
        }
        texts.iter().for_each(|text| expected.add(&straight(text)));
        prop_assert_eq!(total, expected);
    }
}

#[test]
fn a_file_that_fits_into_one_split_is_not_cut() {
    let files = [("a", 60), ("b", 60), ("c", 40), ("d", 250)];
    let files = files.map(|(path, size)| (path.to_owned(), size));
    let splits: Vec<Vec<String>> = splits(&files, 100)
        .into_iter()
        .map(|split| {
            let pieces = split.pieces.iter();
            pieces
                .map(|piece| format!("{} {}+{}", piece.path, piece.offset, piece.length))
                .collect()
        })
        .collect();
    assert_eq!(
        splits,
        [
            vec!["a 0+60"],
            vec!["b 0+60", "c 0+40"],
            vec!["d 0+100"],
            vec!["d 100+100"],
            vec!["d 200+50"]
        ]
    );
}

#[test]
fn many_small_files_make_tasks_of_bounded_size() {
    let files = (0..200_000).map(|number| (format!("folder/{number:060}"), 1));
    let splits = splits(&files.collect::<Vec<_>>(), 8 << 20);
    assert!((100..=200).contains(&splits.len()), "{}", splits.len());
    for split in splits {
        assert!(postcard::to_stdvec(&split).unwrap().len() < 400 << 10);
    }
}

#[test]
fn a_file_that_changed_since_it_was_listed_is_an_error_and_not_a_wrong_count() {
    let mut executor = executor(&[("a".to_owned(), b"one two".to_vec())]);
    let (path, offset) = ("a".to_owned(), 4);
    let pieces = vec![Piece {
        path,
        offset,
        length: 10,
    }];
    let directory = DIRECTORY.to_owned();
    let failure = run(&mut executor, &Split { directory, pieces }).unwrap_err();
    assert!(
        failure
            .text
            .contains("has 3 bytes from 4 on, 10 when it was listed"),
        "{failure}"
    );
}

/// Drives driver and executor by hand: what one asks, the other is asked.
fn count(files: &[(String, Vec<u8>)], split_mb: &str) -> (TestEndpoint<Driver>, u64) {
    let mut driver = TestEndpoint::<Driver>::start_with(&[
        ("masters", "m:7077"),
        ("executor_uri", "instar://h:1/e.wasm"),
        ("executor_sha256", "00"),
        ("input", DIRECTORY),
        ("split_mb", split_mb),
    ]);
    let mut executor = executor(files);
    for (path, text) in files {
        driver.set_file(&format!("{DIRECTORY}{path}"), text);
    }
    driver.send(&RegisteredApplication {
        app_id: "app-1".to_owned(),
        master: EndpointRef::remote(MASTER, "m:7077"),
    });
    let ready = SlotReady {
        app_id: "app-1".to_owned(),
        executor_id: 0,
        slot: 0,
        reference: EndpointRef::remote("app-1.0.0", "w:1"),
    };
    assert_eq!(driver.ask(&ready).unwrap().answer, SlotAnswer::Noted);
    driver.advance(std::time::Duration::ZERO);
    let mut tasks = 0;
    while let Some(run) = driver.asked::<RunTask>().pop() {
        let outcome: Result<TaskDone, Failure> = executor.ask(&run.request);
        driver.answer(&run, outcome);
        tasks += 1;
    }
    (driver, tasks)
}

#[test]
fn a_directory_is_listed_split_counted_and_told_as_text_and_as_message() {
    let big = b"some words in lines\n".repeat(150_000);
    let files = [
        ("a.txt".to_owned(), b"one two\nthree".to_vec()),
        ("big.txt".to_owned(), big.clone()),
        ("empty.txt".to_owned(), Vec::new()),
        ("sub/b%20c.txt".to_owned(), b" x \n".to_vec()),
    ];
    let (mut driver, tasks) = count(&files, "1");
    assert_eq!(tasks, 3, "small files fill up what the big one leaves");
    let mut expected = Count::default();
    files
        .iter()
        .for_each(|(_, text)| expected.add(&straight(text)));
    let Count {
        lines,
        words,
        bytes,
    } = expected;
    let counts = Counts {
        files: 4,
        lines,
        words,
        bytes,
        complete: true,
    };
    assert_eq!(driver.ask(&GetCounts {}), Ok(counts));
    let progress = driver.ask(&GetProgress {}).unwrap();
    assert_eq!((progress.done, progress.bytes_done), (3, bytes));
    assert_eq!(
        progress.result.unwrap(),
        format!("{lines} lines, {words} words, {bytes} bytes in 4 files")
    );
}

/// Larger splits would not help.
#[test]
fn more_names_than_there_is_room_for_are_refused_with_what_helps() {
    let files: Vec<(String, Vec<u8>)> = (0..600)
        .map(|number| (format!("{number:0>60000}"), b"x".to_vec()))
        .collect();
    let (mut driver, tasks) = count(&files, "1");
    assert_eq!(tasks, 0);
    let failed = driver.ask(&GetProgress {}).unwrap().failed.unwrap();
    assert!(failed.contains("names of the files"), "{failed}");
    assert!(!failed.contains("split_mb"), "{failed}");
}

#[test]
fn an_input_that_is_no_directory_of_a_host_is_refused_with_what_is() {
    for input in ["/home/texts/", "instar://h:1/texts"] {
        let refused = TestEndpoint::<Driver>::try_start(&[("input", input)]);
        let Err(failure) = refused else {
            panic!("{input} was accepted");
        };
        assert!(
            failure.text.contains("instar://HOST:PORT/PATH/"),
            "{failure}"
        );
    }
    let (mut driver, _) = count(&[], "1");
    let failed = driver.ask(&GetProgress {}).unwrap().failed.unwrap();
    assert!(failed.contains(DIRECTORY), "{failed}");
}
