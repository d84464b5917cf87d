//! Driver and executor together: primes against known values.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use app_client::{GetProgress, RunTask, SlotReady};
use deploy_protocol::{MASTER, RegisteredApplication};
use instar_sdk::prelude::*;
use instar_sdk::testing::TestEndpoint;
use primes::{Count, Driver, Executor, GetCount};

fn count(limit: u64, range: u64) -> (TestEndpoint<Driver>, u64) {
    let mut driver = TestEndpoint::<Driver>::start_with(&[
        ("masters", "m:7077"),
        ("executor_uri", "instar://h:1/e.wasm"),
        ("executor_sha256", "00"),
        ("limit", &limit.to_string()),
        ("range", &range.to_string()),
    ]);
    let mut executor = TestEndpoint::<Executor>::start_with(&[
        ("driver", "instar://d@d:1"),
        ("app_id", "app-1"),
        ("executor_id", "0"),
        ("slot", "0"),
    ]);
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
    driver.ask(&ready).unwrap();
    driver.advance(Duration::ZERO);
    let mut tasks = 0;
    while let Some(run) = driver.asked::<RunTask>().pop() {
        let outcome = executor.ask(&run.request);
        driver.answer(&run, outcome);
        tasks += 1;
    }
    (driver, tasks)
}

#[test]
fn ranges_of_any_size_add_up_to_the_known_number_of_primes() {
    for (limit, range, tasks, primes) in [
        (0, 10, 1, 0),
        (2, 1, 3, 1),
        (100, 7, 15, 25),
        (1_000_000, 99_999, 11, 78_498),
        (1_000_000, 10_000_000, 1, 78_498),
        (10_000_000, 1_000_000, 11, 664_579),
    ] {
        let (mut driver, given) = count(limit, range);
        assert_eq!(given, tasks);
        let complete = true;
        assert_eq!(
            driver.ask(&GetCount {}),
            Ok(Count {
                primes,
                complete,
                limit
            })
        );
        let progress = driver.ask(&GetProgress {}).unwrap();
        assert_eq!(progress.bytes_done, limit + 1);
        assert_eq!(
            progress.result.unwrap(),
            format!("{primes} primes are not greater than {limit}")
        );
    }
}

#[test]
fn more_ranges_than_tasks_may_be_fail_with_what_to_set() {
    let (mut driver, _) = count(1_000_000_000, 10);
    let failed = driver.ask(&GetProgress {}).unwrap().failed.unwrap();
    assert!(failed.contains("set `range` higher than 10"), "{failed}");
}
