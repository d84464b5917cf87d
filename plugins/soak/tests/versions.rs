//! Each of the three versions can take the place of each other, with state, open calls and timers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use instar_sdk::Endpoint;
use instar_sdk::testing::TestEndpoint;
use soak::{Ask, GetTotals, Keep, Number, v1, v2, v3};

const SENDER: u32 = 3;

fn feed<E: Endpoint>(soak: &mut TestEndpoint<E>, numbers: std::ops::Range<u64>) {
    for number in numbers {
        soak.send(&Number {
            sender: SENDER,
            number,
        });
    }
}

/// Starts in `A`, goes on in `B`, and back in `A`.
fn there_and_back<A: Endpoint, B: Endpoint>() {
    let mut first = TestEndpoint::<A>::start_with(&[("ballast", "5000")]);
    feed(&mut first, 0..10);
    let after_ms = Some(5);
    let (sender, with_next) = (SENDER, None);
    let by_timer = first.call(&Keep { sender, after_ms });
    let by_next = first.call(&Keep {
        sender,
        after_ms: with_next,
    });

    let mut second = first.upgrade::<B>().unwrap();
    let seen = second.ask(&Ask { sender }).unwrap();
    assert_eq!(
        (seen.version.as_str(), seen.swaps, seen.taken, seen.position),
        (B::VERSION, 1, 1, 10)
    );
    assert_eq!(second.open_calls(), 2, "a migration closes no call");

    let mut third = second.upgrade::<A>().unwrap();
    third.advance(Duration::from_millis(5));
    feed(&mut third, 10..20);
    for kept in [by_timer, by_next] {
        let seen = third.outcome(&kept).unwrap().unwrap();
        assert_eq!(
            (seen.version.as_str(), seen.swaps, seen.taken, seen.position),
            (A::VERSION, 2, 0, 10)
        );
    }
    let totals = third.ask(&GetTotals {}).unwrap();
    assert_eq!((totals.messages, totals.swaps, totals.waiting), (20, 2, 0));
    assert_eq!(
        (totals.lost, totals.doubled, totals.reordered),
        (0, 0, 0),
        "what comes next went along"
    );
    assert_eq!((totals.ballast, totals.intact), (5000, true));
}

#[test]
fn every_version_takes_the_place_of_every_other() {
    there_and_back::<v1::Soak, v2::Soak>();
    there_and_back::<v1::Soak, v3::Soak>();
    there_and_back::<v2::Soak, v1::Soak>();
    there_and_back::<v2::Soak, v3::Soak>();
    there_and_back::<v3::Soak, v1::Soak>();
    there_and_back::<v3::Soak, v2::Soak>();
}

#[test]
fn an_upgrade_that_is_refused_leaves_the_state_as_it_was() {
    let mut soak = TestEndpoint::<v3::Soak>::start();
    feed(&mut soak, 0..3);
    soak.snapshot(1).unwrap();
    assert_eq!(soak.ask(&GetTotals {}).unwrap().swaps, 0);
}
