//! One test for each way in which a new version can be bad, each under load: senders on both sides of
//! a socket go on while it is tried. Afterwards the old version answers with its state, and nothing
//! was lost.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fixture_load::{Account, Release, Spoil};
use instar_host::component::code::Code;
use instar_host::endpoint::record::{SwapOutcome, SwapRecord};
use instar_host::endpoint::status::EndpointState;
use instar_host::{EndpointRef, RpcEnv};
use instar_tests::load::{Sender, Sent, account, load_endpoint, load_settings};
use instar_tests::{client, component, eventually, message, server, start};
use tokio::task::JoinHandle;

/// Where a bad version is found out.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Found {
    /// Before anything stands still.
    Before,
    /// While the endpoint stands still, before the flip.
    Frozen,
    /// Before anything stands still: it wants more than was granted, which is a person's to decide.
    Held,
}

/// The second version under the load of two senders, local and remote.
struct World {
    host: RpcEnv,
    peer: RpcEnv,
    hub: EndpointRef,
    other: EndpointRef,
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<Sent>>,
}

impl World {
    async fn start() -> Self {
        let (host, peer) = (start(server()).await, start(client()).await);
        let hub = load_endpoint(&host, "hub", "load-v2", load_settings()).await;
        let other = load_endpoint(&host, "other", "load-v1", load_settings()).await;
        let remote = peer.reference(hub.address().clone());
        let stop = Arc::new(AtomicBool::new(false));
        let senders = [&hub, &remote]
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
        let world = Self {
            host,
            peer,
            hub,
            other,
            stop,
            senders,
        };
        world.more_than(0).await;
        world
    }

    /// The account, once more numbers were handled than `handled`: the load goes on.
    async fn more_than(&self, handled: u64) -> Account {
        eventually("numbers that are handled", || async {
            let hub = account(&self.hub, 0).await;
            (hub.handled > handled).then_some(hub)
        })
        .await
    }

    /// Tries code that is expected to be refused, and returns the record and what was said.
    async fn try_bad(&self, code: &Code) -> (Option<SwapRecord>, String) {
        let mut settings = load_settings();
        settings.limits.memory_bytes = 16 << 20;
        settings.limits.restore = Duration::from_millis(300);
        let tries = self.host.history("hub").unwrap().len();
        let refused = self.host.swap("hub", code, Some(settings), "test").await;
        let error = refused.expect_err("a bad version was taken");
        let history = self.host.history("hub").unwrap();
        let record = (history.len() > tries).then(|| history.last().unwrap().clone());
        (record, error.to_string())
    }

    async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        while self.senders.iter().any(|sender| !sender.is_finished()) {
            for of in [&self.other, &self.hub] {
                of.send(message(&Release {})).await.unwrap();
            }
            tokio::task::yield_now().await;
        }
        let mut numbers = 0;
        for sender in self.senders {
            let sent = sender.await.unwrap();
            // More than the other endpoint can take at once is refused aloud, which is no loss.
            let refused = |code: &str| code == "inbox-full";
            let failed: Vec<_> = sent.failed.iter().filter(|f| !refused(f.code())).collect();
            assert!(failed.is_empty(), "calls failed: {failed:?}");
            for answered in sent.answers {
                let was_current = answered.was_current(|_| "2.0.0".to_owned());
                assert_eq!(was_current, Ok(()), "{answered:?}");
            }
            numbers += sent.numbers;
        }
        let hub = eventually("all numbers", || async {
            let hub = account(&self.hub, 0).await;
            (hub.handled >= numbers && hub.waiting.is_empty()).then_some(hub)
        })
        .await;
        let counts = (hub.handled, hub.lost, hub.doubled, hub.reordered);
        assert_eq!(counts, (numbers, 0, 0, 0), "of {numbers} numbers");
        assert_eq!((hub.strays, hub.refused), (0, 0), "answers too many");
        self.peer.shutdown().await;
        self.host.shutdown().await;
    }
}

/// The rule of this file, for one bad version.
async fn the_old_version_goes_on_after(code: Code, found: Found, reason: &str) {
    let world = World::start().await;
    let before = account(&world.hub, 0).await;
    let (record, error) = world.try_bad(&code).await;
    assert!(error.contains(reason), "{error}");
    match (found, record.map(|record| record.outcome)) {
        (Found::Before, Some(SwapOutcome::Rejected(why)))
        | (Found::Frozen, Some(SwapOutcome::GivenUp(why))) => {
            assert!(why.contains(reason), "{why}");
        }
        (Found::Held, Some(SwapOutcome::NeedsApproval(wants))) => {
            assert!(wants.contains(reason), "{wants}");
        }
        (_, outcome) => panic!("expected to be found {found:?}, found {outcome:?}"),
    }
    let after = world.more_than(before.handled).await;
    assert_eq!(after.version, "2.0.0");
    let state = (after.life, after.generation);
    assert_eq!(state, (before.life, 0), "the state is another one");
    let status = world.host.status_of("hub").unwrap();
    assert_eq!(status.state, EndpointState::Running);
    assert_eq!((status.swaps, status.crashes), (0, 0));
    assert_eq!(status.memory_limit_bytes, 64 << 20, "the old settings");
    world.finish().await;
}

macro_rules! bad {
    ($($name:ident: $code:expr, $found:ident, $reason:literal;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                the_old_version_goes_on_after($code, Found::$found, $reason).await;
            }
        )+
    };
}

fn bytes(bytes: &[u8]) -> Code {
    Code::from_bytes(bytes.to_vec())
}

fn half(name: &str) -> Code {
    let whole = component(name);
    bytes(&whole.bytes()[..whole.bytes().len() / 2])
}

bad! {
    not_wasm: bytes(b"#!/bin/sh\nexit 0\n"), Before, "23 21";
    an_empty_file: bytes(b""), Before, "empty";
    a_core_module: bytes(b"\0asm\x01\0\0\0"), Before, "core module";
    half_a_component: half("load-v1"), Before, "compile";
    a_component_with_nothing_in_it: bytes(b"\0asm\x0d\0\x01\0"), Before, "world";
    a_component_of_another_world: component("bad-other-world"), Before, "world";
    a_right_that_is_not_granted: component("bad-wants-registry"), Held, "registry";
    a_right_that_no_host_knows: component("bad-unknown-right"), Before, "teleport";
    a_trap_while_it_is_instantiated: component("bad-trap-at-load"), Before, "instantiate";
    an_endless_loop_while_it_is_instantiated: component("bad-spin-at-load"), Before, "instantiate";
    a_minimum_of_memory_beyond_the_limit: component("bad-large-memory"), Held, "memory";
    a_trap_in_its_metadata: component("bad-trap-in-describe"), Before, "asked to trap in describe";
    an_endless_loop_in_its_metadata: component("bad-spin-in-describe"), Before, "describe";
    a_state_version_that_it_cannot_read: component("bad-unreadable-state"), Before, "99";
    a_trap_in_restore: component("bad-trap-in-restore"), Frozen, "asked to trap in restore";
    a_refusal_in_restore: component("bad-refuse-in-restore"), Frozen, "asked to refuse";
    an_endless_loop_in_restore: component("bad-spin-in-restore"), Frozen, "limit `restore`";
    memory_beyond_the_limit_in_restore: component("bad-grow-in-restore"), Frozen, "memory";
    another_version_in_the_probe: component("bad-wrong-version"), Frozen, "7.7.7";
    a_trap_in_the_probe: component("bad-trap-in-probe"), Frozen, "asked to trap in the probe";
}

/// The old version may be at fault as well: one that refuses its snapshot goes on with its state.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_that_refuses_its_snapshot_goes_on() {
    let world = World::start().await;
    let before = account(&world.hub, 0).await;
    let spoil = message(&Spoil { trap: false });
    world.hub.send(spoil).await.unwrap();
    let (record, error) = world.try_bad(&component("load-v3")).await;
    assert!(error.contains("refused the snapshot"), "{error}");
    assert!(matches!(record.unwrap().outcome, SwapOutcome::GivenUp(_)));
    let after = world.more_than(before.handled).await;
    assert_eq!((after.life, after.generation), (before.life, 0));
    world.finish().await;
}

/// One that traps in its snapshot has lost its state: that is a crash, which the calls that only the
/// state could answer are told of. The old code starts afresh, answers, and can be replaced.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_that_traps_in_its_snapshot_starts_afresh_and_can_be_replaced() {
    let world = World::start().await;
    let before = account(&world.hub, 0).await;
    world
        .hub
        .send(message(&Spoil { trap: true }))
        .await
        .unwrap();
    let (record, error) = world.try_bad(&component("load-v3")).await;
    assert!(error.contains("asked to trap in snapshot"), "{error}");
    assert!(matches!(record.unwrap().outcome, SwapOutcome::GivenUp(_)));
    let after = world.more_than(0).await;
    assert_ne!(after.life, before.life);
    assert_eq!((after.version.as_str(), after.doubled), ("2.0.0", 0));
    let status = world.host.status_of("hub").unwrap();
    assert_eq!((status.swaps, status.crashes), (0, 1));
    let good = component("load-v3");
    world.host.swap("hub", &good, None, "test").await.unwrap();
    let swapped = account(&world.hub, 0).await;
    assert_eq!((swapped.life, swapped.generation), (after.life, 1));
    world.stop.store(true, Ordering::Relaxed);
    while world.senders.iter().any(|sender| !sender.is_finished()) {
        for of in [&world.other, &world.hub] {
            of.send(message(&Release {})).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
    for sender in world.senders {
        for error in sender.await.unwrap().failed {
            assert_eq!(error.code(), "crashed", "{error}");
        }
    }
    world.peer.shutdown().await;
    world.host.shutdown().await;
}

/// A bad version after a bad version: the hundredth refusal is like the first.
#[tokio::test(flavor = "multi_thread")]
async fn many_bad_versions_in_a_row_cost_nothing() {
    let world = World::start().await;
    let before = account(&world.hub, 0).await;
    for _ in 0..10 {
        for bad in [
            "bad-trap-in-restore",
            "bad-unreadable-state",
            "bad-wrong-version",
            "bad-trap-in-describe",
        ] {
            world.try_bad(&component(bad)).await;
        }
    }
    let after = world.more_than(before.handled).await;
    assert_eq!((after.life, after.generation), (before.life, 0));
    world.finish().await;
}
