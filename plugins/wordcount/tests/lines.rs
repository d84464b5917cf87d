//! The three versions count alike, and each can take the place of each other in the middle of a text.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use instar_sdk::Endpoint;
use instar_sdk::testing::TestEndpoint;
use wordcount::{GetTotals, Line, Reset, Totals, v1, v2, v3};

fn feed<E: Endpoint>(counter: &mut TestEndpoint<E>, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let text = format!("line {number} of\ta text").into();
        let source = 3;
        counter.send(&Line {
            source,
            number,
            text,
        });
    }
}

fn totals<E: Endpoint>(counter: &mut TestEndpoint<E>) -> Totals {
    counter.ask(&GetTotals {}).unwrap()
}

fn counts<E: Endpoint>() {
    let mut counter = TestEndpoint::<E>::start();
    feed(&mut counter, 0..10);
    let expected = Totals {
        version: E::VERSION.to_owned(),
        lines: 10,
        words: 50,
        bytes: 10 * ("line 0 of\ta text".len() as u64 + 1),
        lost: 0,
        doubled: 0,
        out_of_order: 0,
    };
    assert_eq!(totals(&mut counter), expected);
    counter.send(&Reset {});
    assert_eq!(totals(&mut counter).lines, 0);
}

#[test]
fn every_version_counts_alike_and_names_itself() {
    counts::<v1::WordCount>();
    counts::<v2::WordCount>();
    counts::<v3::WordCount>();
}

/// Counts in `A`, goes on in `B`, and back in `A`.
fn there_and_back<A: Endpoint, B: Endpoint>() {
    let mut first = TestEndpoint::<A>::start();
    feed(&mut first, 0..10);
    let mut second = first.upgrade::<B>().unwrap();
    assert_eq!(totals(&mut second).version, B::VERSION);
    feed(&mut second, 10..20);
    let mut third = second.upgrade::<A>().unwrap();
    feed(&mut third, 20..30);
    let totals = totals(&mut third);
    assert_eq!((totals.lines, totals.words), (30, 150));
    // Which line is next went along, so nothing seems lost or doubled.
    assert_eq!(
        (totals.lost, totals.doubled, totals.out_of_order),
        (0, 0, 0)
    );
}

#[test]
fn every_version_takes_the_place_of_every_other() {
    there_and_back::<v1::WordCount, v2::WordCount>();
    there_and_back::<v1::WordCount, v3::WordCount>();
    there_and_back::<v2::WordCount, v1::WordCount>();
    there_and_back::<v2::WordCount, v3::WordCount>();
    there_and_back::<v3::WordCount, v1::WordCount>();
    there_and_back::<v3::WordCount, v2::WordCount>();
    there_and_back::<v3::WordCount, v3::WordCount>();
}

#[test]
fn the_longest_line_survives_the_next_version_but_not_the_way_through_the_first() {
    let mut counter = TestEndpoint::<v2::WordCount>::start();
    feed(&mut counter, 0..1);
    let counter = counter.upgrade::<v3::WordCount>().unwrap();
    assert_eq!(counter.with(|state| state.longest_line), 16);
    let counter = counter.upgrade::<v1::WordCount>().unwrap();
    let counter = counter.upgrade::<v3::WordCount>().unwrap();
    assert_eq!(counter.with(|state| state.longest_line), 0);
}

#[test]
fn lengths_of_words_are_counted_up_to_a_last_class() {
    let mut counter = TestEndpoint::<v3::WordCount>::start();
    let text = format!("a bb bb {}", "x".repeat(1000)).into();
    counter.send(&Line {
        source: 0,
        number: 0,
        text,
    });
    let lengths = counter.with(|state| state.lengths.clone());
    assert_eq!((lengths[0], lengths[1]), (1, 2));
    assert_eq!(lengths.last(), Some(&1));
    assert_eq!(lengths.iter().sum::<u64>(), 4);
}
