//! What an endpoint reads of hosts and keeps in the store, without a host.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, Read as _};

use instar_sdk::prelude::*;
use instar_sdk::testing::TestEndpoint;
use serde::{Deserialize, Serialize};

#[derive(Message, Serialize, Deserialize)]
#[message(kind = "t.Copy", reply = Lines)]
struct Copy {
    uri: String,
    offset: u64,
    length: Option<u64>,
}

/// Adds all bytes up, each times its place, read in pieces of this size.
#[derive(Message, Serialize, Deserialize)]
#[message(kind = "t.Sum", reply = Lines)]
struct Sum {
    uri: String,
    piece: u32,
}

#[derive(Message, Serialize, Deserialize)]
#[message(kind = "t.Forget", reply = Lines)]
struct Forget {
    name: String,
}

#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "t.Lines")]
struct Lines {
    lines: Vec<String>,
}

/// Keeps the lines of files.
#[derive(Serialize, Deserialize)]
struct Keeper {
    found: usize,
}

#[instar_sdk::endpoint(name = "keeper", version = "1.0.0", rights = ["channel", "persist"])]
impl Keeper {
    #[on_start]
    fn start(ctx: &mut Context) -> Result<Self, Failure> {
        let found = ctx.persistence().read("line-")?.len();
        Ok(Self { found })
    }

    #[receive_and_reply]
    fn copy(&mut self, ctx: &mut Context, copy: Copy) -> Result<Lines, Failure> {
        let channel = ctx.open_channel_range(&copy.uri, copy.offset, copy.length)?;
        let lines = channel.lines().collect::<Result<Vec<_>, _>>();
        let lines = lines.map_err(|error| error.to_string())?;
        for (number, line) in lines.iter().enumerate() {
            let name = format!("line-{number}");
            ctx.persistence().persist(&name, line.as_bytes())?;
        }
        Ok(Lines { lines })
    }

    #[receive_and_reply]
    fn sum(&mut self, ctx: &mut Context, sum: Sum) -> Result<Lines, Failure> {
        let mut channel = ctx.open_channel(&sum.uri)?;
        let mut piece = vec![0; sum.piece as usize];
        let (mut bytes, mut total) = (0_u64, 0_u64);
        loop {
            let count = channel.read(&mut piece).map_err(|e| e.to_string())?;
            if count == 0 {
                let lines = vec![format!("{bytes} {total}")];
                return Ok(Lines { lines });
            }
            for byte in &piece[..count] {
                bytes += 1;
                total += bytes * u64::from(*byte);
            }
        }
    }

    #[receive_and_reply]
    fn forget(&mut self, ctx: &mut Context, forget: Forget) -> Result<Lines, Failure> {
        ctx.persistence().unpersist(&forget.name)?;
        let left = ctx.persistence().read("")?;
        let lines = left.into_iter().map(|(name, _)| name).collect();
        Ok(Lines { lines })
    }
}

const URI: &str = "instar://host:7077/files/text";

fn copy(uri: &str, offset: u64, length: Option<u64>) -> Copy {
    let uri = uri.to_owned();
    Copy {
        uri,
        offset,
        length,
    }
}

fn lines(of: &[&str]) -> Lines {
    Lines {
        lines: of.iter().map(|&line| line.to_owned()).collect(),
    }
}

#[test]
fn a_file_of_the_test_is_read_and_what_is_kept_can_be_looked_at() {
    let mut keeper = TestEndpoint::<Keeper>::start();
    keeper.set_file(URI, b"to be\nor not\n");
    let copied = keeper.ask(&copy(URI, 0, None));
    assert_eq!(copied, Ok(lines(&["to be", "or not"])));
    let expected = BTreeMap::from([
        ("line-0".to_owned(), Bytes::from("to be")),
        ("line-1".to_owned(), Bytes::from("or not")),
    ]);
    assert_eq!(keeper.persisted(), expected);
    assert_eq!(keeper.ask(&copy(URI, 3, Some(5))), Ok(lines(&["be", "or"])));
    assert_eq!(keeper.ask(&copy(URI, 100, None)), Ok(lines(&[])));
}

#[test]
fn a_directory_of_the_test_is_listed() {
    let mut keeper = TestEndpoint::<Keeper>::start();
    keeper.set_file("instar://host:7077/dir/b", b"xx");
    keeper.set_file("instar://host:7077/dir/a/c", b"");
    let listed = keeper.ask(&copy("instar://host:7077/dir/", 0, None));
    assert_eq!(listed, Ok(lines(&["0 a/c", "2 b"])));
    let missing = keeper.ask(&copy("instar://host:7077/none/", 0, None));
    assert_eq!(missing.unwrap_err().code, Failure::REFUSED);
}

#[test]
fn what_is_kept_survives_restart_and_upgrade_and_another_start() {
    let mut keeper = TestEndpoint::<Keeper>::start();
    keeper.set_file(URI, b"1\n2\n3\n");
    keeper.ask(&copy(URI, 0, None)).unwrap();
    keeper.restart();
    assert_eq!(keeper.with(|keeper| keeper.found), 3);
    let mut keeper = keeper.upgrade::<Keeper>().unwrap();
    let name = "line-1".to_owned();
    let left = keeper.ask(&Forget { name });
    assert_eq!(left, Ok(lines(&["line-0", "line-2"])));
    let kept = keeper.persisted();
    let next = TestEndpoint::<Keeper>::start_with_persisted(&[], kept);
    assert_eq!(next.with(|keeper| keeper.found), 2);
}

#[test]
fn a_store_that_fails_is_a_failure_of_the_handler() {
    let mut keeper = TestEndpoint::<Keeper>::start();
    keeper.set_store_failure(Some(Failure::with_code(Failure::DENIED, "no store")));
    let name = "x".to_owned();
    let failed = keeper.ask(&Forget { name }).unwrap_err();
    assert_eq!(failed.code, Failure::DENIED);
    keeper.set_store_failure(None);
    let name = "x".repeat(256);
    let failed = keeper.ask(&Forget { name }).unwrap_err();
    assert_eq!(failed.code, Failure::TOO_LARGE);
}

/// At the edges of the buffer no byte is lost or seen twice.
#[test]
fn small_and_large_reads_see_every_byte_once() {
    let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let terms = bytes.iter().zip(1_u64..);
    let total: u64 = terms.map(|(byte, place)| place * u64::from(*byte)).sum();
    let mut keeper = TestEndpoint::<Keeper>::start();
    keeper.set_file(URI, &bytes);
    for piece in [1, 7, 65_535, 65_536, 300_000] {
        let uri = URI.to_owned();
        let summed = keeper.ask(&Sum { uri, piece });
        assert_eq!(summed, Ok(lines(&[&format!("200000 {total}")])), "{piece}");
    }
}
