//! The promises of a swap, under load: real components, a real socket, senders on both sides of it.
//! `tests/README.md` says which test holds which promise.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fixture_load::{Forward, Ping, Release};
use instar_host::endpoint::SwapError;
use instar_host::endpoint::record::SwapOutcome;
use instar_host::{EndpointRef, RpcEnv};
use instar_sdk::EndpointRef as GuestRef;
use instar_tests::load::{
    Answered, Sender, Sent, account, ask_noting_within, load_endpoint, load_settings,
};
use instar_tests::{client, component, eventually, message, server, start};
use tokio::task::JoinHandle;

/// Components in the order in which they take turns, and what they call themselves.
const TURNS: [(&str, &str); 3] = [
    ("load-v1", "1.0.0"),
    ("load-v2", "2.0.0"),
    ("load-v3", "3.0.0"),
];

/// A host with the endpoint that is swapped, `hub`, and another one that it asks, `other`; a second
/// host; four senders, two on each.
struct World {
    host: RpcEnv,
    peer: RpcEnv,
    hub: EndpointRef,
    remote: EndpointRef,
    other: EndpointRef,
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<Sent>>,
}

impl World {
    async fn start() -> Self {
        let (host, peer) = (start(server()).await, start(client()).await);
        let hub = load_endpoint(&host, "hub", "load-v1", load_settings()).await;
        let other = load_endpoint(&host, "other", "load-v1", load_settings()).await;
        let remote = peer
            .setup_endpoint_ref_by_uri(&hub.to_string())
            .await
            .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let senders = [&hub, &hub, &remote, &remote]
            .into_iter()
            .zip(0..)
            .map(|(to, sender)| Sender {
                sender,
                to: to.clone(),
                other: "other".to_owned(),
                host: host.clone(),
                stop: Arc::clone(&stop),
            })
            .map(|sender| tokio::spawn(sender.run()))
            .collect();
        Self {
            host,
            peer,
            hub,
            remote,
            other,
            stop,
            senders,
        }
    }

    async fn swap(&self, to: &str) {
        let swapped = self.host.swap("hub", &component(to), None, "test").await;
        assert_eq!(swapped.unwrap().outcome, SwapOutcome::Swapped);
    }

    /// Lets all calls be answered that wait for it, at either end.
    async fn release(&self) {
        for of in [&self.other, &self.hub] {
            of.send(message(&Release {})).await.unwrap();
        }
    }

    /// Ends the traffic, waits for all that is open, and checks what every test of this file
    /// promises: nothing lost, doubled or reordered, every call answered once. Returns the answers.
    async fn finish(self) -> Vec<Answered> {
        self.stop.store(true, Ordering::Relaxed);
        while self.senders.iter().any(|sender| !sender.is_finished()) {
            self.release().await;
            tokio::task::yield_now().await;
        }
        let (mut numbers, mut answers) = (0, Vec::new());
        for sender in self.senders {
            let sent = sender.await.unwrap();
            assert!(sent.failed.is_empty(), "calls failed: {:?}", sent.failed);
            numbers += sent.numbers;
            answers.extend(sent.answers);
        }
        let hub = eventually("all numbers", || async {
            let hub = account(&self.hub, 0).await;
            (hub.handled >= numbers && hub.waiting.is_empty()).then_some(hub)
        })
        .await;
        let counts = (hub.handled, hub.lost, hub.doubled, hub.reordered);
        assert_eq!(counts, (numbers, 0, 0, 0), "of {numbers} numbers");
        assert_eq!((hub.strays, hub.refused), (0, 0), "answers too many");
        let other = account(&self.other, 0).await;
        // The other one sees only what is passed on, so there are gaps: but nothing twice, and in order.
        assert_eq!((other.doubled, other.reordered), (0, 0));
        let status = self.host.status_of("hub").unwrap();
        let open = (status.open_calls, status.open_asks, status.timers);
        assert_eq!(open, (0, 0, 1), "calls, asks, timers");
        assert_eq!(status.crashes, 0);
        assert!(status.dead_letters.is_empty(), "{:?}", status.dead_letters);
        let asked: BTreeSet<_> = answers
            .iter()
            .map(|answered| (answered.seen.sender, answered.seen.number))
            .collect();
        assert_eq!(asked.len(), answers.len(), "answers to other calls");
        self.peer.shutdown().await;
        self.host.shutdown().await;
        answers
    }
}

/// All answers came from the version that was current, if the versions took turns as in [`TURNS`].
fn all_current(answers: &[Answered]) {
    let version_after = |swaps: u64| TURNS[swaps as usize % TURNS.len()].1.to_owned();
    for answered in answers {
        if let Err(reason) = answered.was_current(version_after) {
            panic!("{answered:?} was {reason}");
        }
    }
}

/// Promises 1, 2, 3, 7, 8: the thousandth swap is as good as the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_swaps_between_three_versions_lose_nothing_and_answer_everything() {
    const SWAPS: usize = 1000;
    let world = World::start().await;
    let hurried: Vec<_> = [1, 20]
        .map(|ms| {
            let (host, remote) = (world.host.clone(), world.remote.clone());
            let stop = Arc::clone(&world.stop);
            tokio::spawn(async move {
                let (mut answers, mut late) = (Vec::new(), 0);
                while !stop.load(Ordering::Relaxed) {
                    let within = Duration::from_millis(ms);
                    match ask_noting_within(&host, &remote, Ping {}, within).await {
                        Ok(answered) => answers.push(answered),
                        Err(error) => {
                            assert_eq!(error.code(), "timeout", "{error}");
                            late += 1;
                        }
                    }
                }
                (answers, late)
            })
        })
        .into();
    let (mut generation, mut ticks) = (0, 0);
    for swap in 1..=SWAPS {
        world.swap(TURNS[swap % TURNS.len()].0).await;
        if swap % 7 == 0 {
            world.release().await;
        }
        if swap % 100 == 0 {
            let hub = account(&world.hub, 0).await;
            assert!(hub.ticks > ticks, "the timer stood still for 100 swaps");
            assert!(hub.generation > generation, "the state is another one");
            (generation, ticks) = (hub.generation, hub.ticks);
        }
    }
    let records = world.host.history("hub").unwrap();
    let swaps_that_worked = world.host.status_of("hub").unwrap().swaps;
    world.stop.store(true, Ordering::Relaxed);
    for hurried in hurried {
        let (answers, late) = hurried.await.unwrap();
        all_current(&answers);
        println!("tight deadlines: {} answers, {late} late", answers.len());
    }
    let answers = world.finish().await;
    all_current(&answers);
    println!("{} answers, {SWAPS} swaps", answers.len());
    assert!(answers.len() > SWAPS / 10, "only {} answers", answers.len());
    let swapped = |record: &&instar_host::endpoint::record::SwapRecord| {
        record.outcome == SwapOutcome::Swapped
    };
    assert!(records.iter().all(|record| swapped(&record)));
    // The records are the last ones; the count is of all.
    assert_eq!(
        records.last().map(|record| record.number),
        Some(SWAPS as u64)
    );
    assert_eq!(swaps_that_worked, SWAPS as u64);
    let carried: Vec<_> = records.iter().map(|record| record.state_version).collect();
    for version in [1, 2] {
        assert!(carried.contains(&version), "no state in version {version}");
    }
    let carried = |what: fn(&instar_host::endpoint::record::SwapRecord) -> usize| {
        records.iter().map(what).sum::<usize>()
    };
    // Otherwise this was no load.
    assert!(carried(|record| record.open_calls) > 0, "no call was open");
    assert!(carried(|record| record.open_asks) > 0, "no ask waited");
    assert!(
        carried(|record| record.timers) >= records.len(),
        "no timer ran"
    );
}

/// Promises 1, 2 and 7, backwards: from the third version straight to the first, and by rollback.
#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_loses_nothing_either() {
    let world = World::start().await;
    for _ in 0..5 {
        world.swap("load-v3").await;
        world.release().await;
        world.swap("load-v1").await;
        for (to, expected) in [(None, "3.0.0"), (Some("1.0.0"), "1.0.0")] {
            let record = world.host.rollback("hub", to).await.unwrap();
            assert_eq!(record.to.version, expected);
        }
    }
    let hub = account(&world.hub, 0).await;
    assert_eq!((hub.version.as_str(), hub.generation), ("1.0.0", 20));
    let answers = world.finish().await;
    let version_after = |swaps: u64| ["1.0.0", "3.0.0"][swaps as usize % 2].to_owned();
    for answered in answers {
        assert_eq!(answered.was_current(version_after), Ok(()), "{answered:?}");
    }
}

/// Promise 6: nothing stands still for a swap that changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_under_load_is_no_swap_and_no_pause() {
    let world = World::start().await;
    let before = account(&world.hub, 0).await;
    for _ in 0..50 {
        let again = component("load-v1");
        let error = world.host.swap("hub", &again, None, "test").await;
        assert!(matches!(error, Err(SwapError::AlreadyRuns { .. })));
    }
    let after = account(&world.hub, 0).await;
    assert_eq!((after.life, after.generation), (before.life, 0));
    assert!(world.host.history("hub").unwrap().is_empty());
    all_current(&world.finish().await);
}

/// Promise 6: a swap is no restart - the state begins once, whatever is swapped.
#[tokio::test(flavor = "multi_thread")]
async fn on_start_runs_once_however_often_the_endpoint_is_swapped() {
    let world = World::start().await;
    let life = account(&world.hub, 0).await.life;
    for swap in 1..=30 {
        world.swap(TURNS[swap % 3].0).await;
        assert_eq!(account(&world.hub, 0).await.life, life);
    }
    let answers = world.finish().await;
    assert!(answers.iter().all(|answered| answered.seen.life == life));
}

/// Promise 3: the time in which an endpoint stands still is not its time. The pause here is longer
/// than the limit of the ask, and the ask is answered all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_taken_out_of_the_deadlines_of_the_asks_that_wait() {
    let limit = Duration::from_millis(2500);
    let host = start(client()).await;
    let bad = component("bad-spin-in-restore");
    // Compiled before, so that only the pause takes time.
    host.inspect(&bad).await.unwrap();
    let hub = load_endpoint(&host, "hub", "load-v1", load_settings()).await;
    let other = load_endpoint(&host, "other", "load-v1", load_settings()).await;
    let forward = hub.ask_abortable(message(&Forward {
        sender: 0,
        number: 0,
        to: GuestRef::local("other"),
        after_ms: None,
        timeout_ms: Some(limit.as_millis() as u64),
    }));
    eventually("the ask to wait", || async {
        let other = host.status_of("other")?;
        (other.open_calls == 1).then_some(())
    })
    .await;
    let mut settings = load_settings();
    settings.limits.restore = limit + Duration::from_millis(300);
    let error = host.swap("hub", &bad, Some(settings), "test").await;
    let Err(SwapError::GivenUp { record, .. }) = error else {
        panic!("{error:?}");
    };
    assert!(record.phases.pause > limit, "{:?}", record.phases.pause);
    other.send(message(&Release {})).await.unwrap();
    let answer = forward.outcome().await.unwrap();
    assert_eq!(&*answer.kind, "load.Seen");
    host.shutdown().await;
}

/// Promise 9: as many versions are kept as one may want to go back to, under load like any other time.
#[tokio::test(flavor = "multi_thread")]
async fn every_version_that_is_kept_can_be_gone_back_to() {
    let world = World::start().await;
    for to in ["load-v2", "load-v3"] {
        world.swap(to).await;
    }
    for to in ["1.0.0", "2.0.0", "3.0.0", "1.0.0"] {
        let record = world.host.rollback("hub", Some(to)).await.unwrap();
        assert_eq!(record.to.version, to);
        assert_eq!(account(&world.hub, 0).await.version, to);
    }
    let kept: Vec<_> = world.host.versions("hub").into_iter().collect();
    let kept: Vec<_> = kept.iter().map(|id| id.version.as_str()).collect();
    assert_eq!(kept, ["1.0.0", "3.0.0", "2.0.0"]);
    world.finish().await;
}
