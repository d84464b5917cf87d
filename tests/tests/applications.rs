//! An application on real hosts: driver and executors as components. The test plays the master.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use app_client::{Finish, GetProgress, Progress};
use deploy_protocol::{MASTER, RegisteredApplication, executor_endpoint};
use instar_host::endpoint::settings::EndpointSettings;
use instar_host::{EndpointRef, RpcEnv};
use instar_tests::{ask, component, eventually, message, server, start};
use primes::{Count, GetCount};

const APP: &str = "app-1";
const LIMIT: u64 = 10_000_000;
const PRIMES: u64 = 664_579;

fn settings(config: &[(&str, &str)]) -> EndpointSettings {
    let config = config
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()));
    EndpointSettings {
        config: config.collect::<BTreeMap<_, _>>(),
        grants: ["channel".to_owned()].into(),
        ..EndpointSettings::default()
    }
}

/// A driver of primes that counts in so many tasks.
async fn driver(host: &RpcEnv, tasks: u64) -> EndpointRef {
    let (limit, range) = (LIMIT.to_string(), (LIMIT / tasks).to_string());
    driver_of(
        host,
        "primes-driver",
        &[("limit", &limit), ("range", &range)],
    )
    .await
}

async fn driver_of(host: &RpcEnv, name: &str, config: &[(&str, &str)]) -> EndpointRef {
    let address = host.address().unwrap().to_string();
    let common = [
        ("masters", address.as_str()),
        ("executor_uri", "instar://h:1/e.wasm"),
        ("executor_sha256", "00"),
        ("linger", "3600000"),
    ];
    let settings = settings(&[&common, config].concat());
    let code = component(name);
    let driver = host
        .setup_endpoint("driver", &code, settings)
        .await
        .unwrap();
    let registered = RegisteredApplication {
        app_id: APP.to_owned(),
        master: instar_sdk::EndpointRef::remote(MASTER, address),
    };
    driver.send(message(&registered)).await.unwrap();
    driver
}

/// An executor of primes with so many slots.
async fn executor(host: &RpcEnv, driver: &EndpointRef, executor_id: u32, slots: u32) {
    executor_of(host, "primes-executor", driver, executor_id, slots).await;
}

async fn executor_of(
    host: &RpcEnv,
    name: &str,
    driver: &EndpointRef,
    executor_id: u32,
    slots: u32,
) {
    let code = component(name);
    let settings = settings(&[
        ("driver", &driver.to_string()),
        ("app_id", APP),
        ("executor_id", &executor_id.to_string()),
        ("announce_interval", "50"),
        ("announce_retry", "10"),
        ("grace", "100"),
    ]);
    for slot in 0..slots {
        let name = executor_endpoint(APP, executor_id, slot);
        host.setup_endpoint(&name, &code, settings.clone())
            .await
            .unwrap();
    }
}

async fn progress(driver: &EndpointRef) -> Progress {
    ask(driver, &GetProgress {}).await.unwrap()
}

/// The progress, once so many tasks are done.
async fn done(driver: &EndpointRef, tasks: u64) -> Progress {
    eventually(&format!("{tasks} tasks done"), || async {
        let now = progress(driver).await;
        assert_eq!(now.failed, None);
        (now.done >= tasks).then_some(now)
    })
    .await
}

async fn all_left(host: &RpcEnv) {
    eventually("all endpoints have left", || async {
        let names = host.status().into_iter().map(|status| status.name);
        // The host's own stays.
        let left = names.filter(|name| name != "endpoint-verifier").count();
        (left == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn primes_are_counted_on_two_hosts_and_everybody_leaves_when_the_result_was_taken() {
    let (home, a, b) = (
        start(server()).await,
        start(server()).await,
        start(server()).await,
    );
    let driver = driver(&home, 50).await;
    executor(&a, &driver, 0, 2).await;
    executor(&b, &driver, 1, 1).await;
    let end = done(&driver, 51).await;
    assert_eq!((end.total, end.executors, end.slots), (51, 2, 3));
    assert_eq!(end.phase, "finished");
    let complete = true;
    let expected = Count {
        primes: PRIMES,
        complete,
        limit: LIMIT,
    };
    assert_eq!(ask(&driver, &GetCount {}).await.unwrap(), expected);
    all_left(&a).await;
    all_left(&b).await;
    driver.send(message(&Finish {})).await.unwrap();
    all_left(&home).await;
    for host in [home, a, b] {
        host.shutdown().await;
    }
}

/// The driver goes on in a new instance, as in a swap; one host goes down, another one comes.
#[tokio::test]
async fn each_task_counts_once_while_executors_are_lost_and_the_driver_is_swapped() {
    let (home, a, b) = (
        start(server()).await,
        start(server()).await,
        start(server()).await,
    );
    let driver = driver(&home, 200).await;
    executor(&a, &driver, 0, 2).await;
    done(&driver, 20).await;
    home.refresh("driver", "test").await.unwrap();
    a.shutdown().await;
    executor(&b, &driver, 1, 2).await;
    home.refresh("driver", "test").await.unwrap();
    let end = done(&driver, 201).await;
    assert_eq!((end.done, end.executors, end.slots), (201, 1, 2));
    let count = ask(&driver, &GetCount {}).await.unwrap();
    assert_eq!((count.primes, count.complete), (PRIMES, true));
    for host in [home, b] {
        host.shutdown().await;
    }
}

#[tokio::test]
async fn executors_end_when_their_driver_is_gone_for_the_grace_time() {
    let (home, a) = (start(server()).await, start(server()).await);
    let driver = driver(&home, 200).await;
    executor(&a, &driver, 0, 2).await;
    done(&driver, 1).await;
    home.shutdown().await;
    all_left(&a).await;
    a.shutdown().await;
}

/// Files of every sort: empty, small ones, names that have to be encoded, one that is cut in the
/// middle of words.
#[tokio::test]
async fn the_files_of_a_directory_are_counted_like_wc_does() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let line = "words of a line that has\tten of them, more or less\r\n";
    let big = line.repeat((3 << 20) / line.len());
    write("big.txt", big.as_bytes());
    write("empty.txt", b"");
    write("a folder/umlaut \u{fc} #1%.txt", b"one two\nthree");
    for number in 0..500 {
        write(&format!("small/{number}"), b" x y\n");
    }
    let (home, a) = (start(server()).await, start(server()).await);
    let offered = home.file_server().add_directory("/texts", folder.path());
    let input = format!("{}/", home.file_uri(&offered.unwrap()).unwrap());
    let config = [("input", input.as_str()), ("split_mb", "1")];
    let driver = driver_of(&home, "wordcount-driver", &config).await;
    executor_of(&a, "wordcount-executor", &driver, 0, 2).await;
    let end = eventually("a result", || async {
        let now = progress(&driver).await;
        assert_eq!(now.failed, None);
        now.result.is_some().then_some(now)
    })
    .await;
    let lines = big.matches('\n').count() as u64 + 1 + 500;
    let words = big.split_ascii_whitespace().count() as u64 + 3 + 1000;
    let bytes = big.len() as u64 + 13 + 5 * 500;
    let expected = wordcount::files::Counts {
        files: 503,
        lines,
        words,
        bytes,
        complete: true,
    };
    let counts = ask(&driver, &wordcount::files::GetCounts {}).await.unwrap();
    assert_eq!(counts, expected);
    assert_eq!((end.bytes_done, end.bytes_total), (bytes, bytes));
    for host in [home, a] {
        host.shutdown().await;
    }
}
