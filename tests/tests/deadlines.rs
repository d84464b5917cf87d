//! Deadlines: time for which an endpoint stands still to be swapped counts against no caller.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use fixture_probe::{AskOther, GetLog, SLOW_RESTORE, WhoAreYou};
use instar_host::endpoint::settings::EndpointSettings;
use instar_host::endpoint::status::EndpointState;
use instar_host::{EndpointRef, RpcEnv, RpcError};
use instar_tests::{ask, client, component, eventually, message, server, start};
use tokio::task::JoinHandle;

/// Half of the pause: without what is tested here, every ask in it would fail.
const DEADLINE: Duration = Duration::from_millis(SLOW_RESTORE.as_millis() as u64 / 2);

/// What the slow version needs: to see how late it is, and to be let take so long.
fn patient() -> EndpointSettings {
    let mut settings = EndpointSettings::default();
    settings.grants.insert("clock".to_owned());
    settings.limits.restore = SLOW_RESTORE * 15;
    settings.limits.turn = SLOW_RESTORE * 15;
    settings
}

/// Asks again and again, until the answer comes from the new version.
fn caller(of: EndpointRef) -> JoinHandle<Result<u32, RpcError>> {
    tokio::spawn(async move {
        let mut answered = 0;
        loop {
            let answer = of.ask_with_timeout(message(&GetLog {}), DEADLINE).await?;
            let log: fixture_probe::Log = postcard::from_bytes(&answer.body).unwrap();
            answered += 1;
            if log.version == "6.0.0" {
                return Ok(answered);
            }
        }
    })
}

/// Compiles the slow version before anybody is in a hurry.
async fn compiled(env: &RpcEnv) {
    let code = component("probe-slow-restore");
    assert_eq!(env.inspect(&code).await.unwrap().version, "6.0.0");
}

fn slow_swap(env: &RpcEnv, name: &'static str) -> JoinHandle<Duration> {
    let env = env.clone();
    tokio::spawn(async move {
        let code = component("probe-slow-restore");
        let swapped = env.swap(name, &code, Some(patient()), "test").await;
        swapped.unwrap().phases.pause
    })
}

async fn stands_still(env: &RpcEnv, name: &str) {
    eventually("the endpoint is swapped", || async {
        let status = env.status_of(name).unwrap();
        (status.state == EndpointState::Swapping).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_caller_here_or_elsewhere_times_out_in_a_pause_longer_than_its_deadline() {
    let host = start(server()).await;
    compiled(&host).await;
    let code = component("probe-v1");
    let local = host.setup_endpoint("p", &code, patient()).await.unwrap();
    let peer = start(client()).await;
    let remote = peer.reference(local.address().clone());
    for of in [&local, &remote] {
        ask(of, &WhoAreYou {}).await.unwrap();
    }
    let mut callers: Vec<_> = [local.clone(), remote].map(caller).into();
    let swap = slow_swap(&host, "p");
    stands_still(&host, "p").await;
    // One comes in the middle of the pause, and knows nothing of its beginning.
    let late = start(client()).await;
    callers.push(caller(late.reference(local.address().clone())));
    for caller in callers {
        caller.await.unwrap().expect("no caller times out");
    }
    assert!(swap.await.unwrap() >= SLOW_RESTORE);
    for env in [late, peer, host] {
        env.shutdown().await;
    }
}

/// Endpoints that ask have the same right.
#[tokio::test(flavor = "multi_thread")]
async fn no_asking_endpoint_times_out_in_a_pause_of_whom_it_asks() {
    let (host, peer) = (start(server()).await, start(client()).await);
    compiled(&host).await;
    let code = component("probe-v1");
    let slow = host.setup_endpoint("p", &code, patient()).await.unwrap();
    let to = ask(&slow, &WhoAreYou {}).await.unwrap().me;
    let mut askers = Vec::new();
    for env in [&host, &peer] {
        let settings = EndpointSettings::default();
        askers.push(env.setup_endpoint("asker", &code, settings).await.unwrap());
    }
    for asker in &askers {
        ask(asker, &WhoAreYou {}).await.unwrap();
    }
    let swap = slow_swap(&host, "p");
    stands_still(&host, "p").await;
    for asker in &askers {
        let request = AskOther {
            to: to.clone(),
            text: "q".to_owned(),
            timeout_ms: Some(DEADLINE.as_millis() as u64),
        };
        asker.send(message(&request)).await.unwrap();
    }
    for asker in &askers {
        let outcome = eventually("an outcome", || async {
            let lines = ask(asker, &GetLog {}).await.unwrap().lines;
            lines.into_iter().find(|line| line.contains("answer"))
        });
        assert_eq!(outcome.await, "answer q to q");
    }
    assert!(swap.await.unwrap() >= SLOW_RESTORE);
    for env in [peer, host] {
        env.shutdown().await;
    }
}
