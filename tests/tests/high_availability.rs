//! Several masters of which one leads: what happens when something is killed, frozen or cut off.
//!
//! In each test real processes run with a real ZooKeeper, primes are counted, and a [`Watch`] asks all
//! masters for decisions the whole time; its rules are checked at the end of each.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::time::Duration;

use deploy_protocol::{DriverState, RecoveryState, WorkerState};
use instar_tests::counting::{Counting, Size};
use instar_tests::eventually;
use instar_tests::faults::{self, SessionFor};
use instar_tests::ha_cluster::{HaCluster, HaSettings, Part};
use instar_tests::process::{Signal, goes_on, send};
use instar_tests::proxy::Proxy;
use instar_tests::watch::{Watch, connect, standing};
use instar_tests::zookeeper::{Ensemble, LONGEST_SESSION, ZooKeeperServer};

/// A session that no test waits for: who leads after that was not waiting for it.
const ENDLESS: Duration = LONGEST_SESSION;

/// A session that is over while a test waits.
const SESSION: Duration = Duration::from_secs(2);

fn instar() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_instar-tested"))
}

/// A cluster at work.
struct Scene {
    cluster: HaCluster,
    watch: Watch,
    counting: Counting,
}

impl Scene {
    /// Masters as these settings say, so many workers, and primes are being counted. `zookeeper`: where
    /// the latch is observed.
    async fn begin(settings: HaSettings, workers: usize, zookeeper: &str) -> Self {
        let cluster = HaCluster::start(instar(), settings).await.unwrap();
        Self::go_on(cluster, workers, zookeeper).await
    }

    async fn go_on(mut cluster: HaCluster, workers: usize, zookeeper: &str) -> Self {
        for _ in 0..workers {
            add_worker(&mut cluster).await;
        }
        cluster.until_valid().await;
        let watch = Watch::start(&cluster, zookeeper).await;
        let counting = Counting::begin(&cluster, Size::Medium).unwrap();
        cluster.until_done(1).await;
        watch.until_promised(3).await;
        Self {
            cluster,
            watch,
            counting,
        }
    }

    /// Another master leads, has all workers, and decides.
    async fn until_led_by_another_than(&self, others: &[usize]) -> usize {
        let leader = self.cluster.until_led_by_another_than(others).await;
        let name = &self.cluster.masters[leader].name;
        self.watch.note(format!("{name} leads"));
        self.cluster.until_workers_are_alive().await;
        self.watch.until_promised(3).await;
        leader
    }

    /// A second client ends a session of a master.
    async fn expire(&self, zookeeper: &ZooKeeperServer, way: &Proxy, which: SessionFor) {
        let dir = &self.cluster.settings().dir;
        let ways = std::slice::from_ref(way);
        let expired = faults::expire(&zookeeper.url(), dir, ways, which).await;
        assert_eq!(expired.unwrap(), 1, "{which:?}");
    }

    /// All is in order, and was all the time.
    async fn ends_well(self) {
        let Self {
            cluster,
            watch,
            counting,
        } = self;
        if let Err(error) = counting.finish().await {
            panic!("{error:#}\n{}\n{}", watch.timeline(), cluster.last_words());
        }
        cluster.until_valid().await;
        let summary = watch
            .finish(&cluster)
            .await
            .unwrap_or_else(|e| panic!("{e:#}"));
        assert!(summary.drivers > 0, "{summary:?}");
        assert!(summary.launched > 0, "{summary:?}");
        cluster.stop().await.unwrap();
    }
}

async fn add_worker(cluster: &mut HaCluster) {
    let offers = ["--cores", "2", "--memory", "1G"];
    cluster.add_worker(&offers).await.unwrap();
}

fn sessions(settings: HaSettings, session: Duration) -> HaSettings {
    HaSettings {
        session,
        ..settings
    }
}

/// Two masters, each with a way to ZooKeeper of its own.
async fn with_ways(zookeeper: &ZooKeeperServer, settings: HaSettings) -> (Scene, Vec<Proxy>) {
    let mut ways = Vec::new();
    for _ in 0..2 {
        ways.push(Proxy::to(([127, 0, 0, 1], zookeeper.port()).into()).await);
    }
    let urls = ways.iter().map(|way| format!("127.0.0.1:{}", way.port()));
    let settings = HaSettings {
        masters: 2,
        zookeeper: urls.collect(),
        ..settings
    };
    (Scene::begin(settings, 2, &zookeeper.url()).await, ways)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_stopped_or_whose_host_is_killed_hands_over_before_its_session_ends() {
    let zookeeper = ZooKeeperServer::start().unwrap();
    let settings = sessions(HaSettings::new(zookeeper.url()), ENDLESS);
    let mut scene = Scene::begin(settings, 2, &zookeeper.url()).await;
    let first = scene.cluster.until_led().await;
    scene.watch.note("SIGTERM of the leader");
    scene.cluster.masters[first].stop().await.unwrap();
    let second = scene.until_led_by_another_than(&[first]).await;
    scene.cluster.start_master(first).await.unwrap();
    scene.watch.note("SIGKILL of the host of the leader");
    scene.cluster.masters[second].kill_host().await.unwrap();
    scene.until_led_by_another_than(&[second]).await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_parent_is_killed_steps_down_and_another_leads() {
    let zookeeper = ZooKeeperServer::start().unwrap();
    let mut scene = Scene::begin(HaSettings::new(zookeeper.url()), 2, &zookeeper.url()).await;
    let first = scene.cluster.until_led().await;
    let hosts = scene.cluster.masters[first].ids(Part::Host);
    scene.watch.note("SIGKILL of the parent of the leader");
    scene.cluster.masters[first]
        .signal(Part::Parent, Signal::Kill)
        .unwrap();
    let second = scene.until_led_by_another_than(&[first]).await;
    eventually("the host without a parent ends", async || {
        (!hosts.iter().any(|id| goes_on(*id))).then_some(())
    })
    .await;
    scene.cluster.start_master(first).await.unwrap();
    scene.watch.note("SIGKILL of both processes of the leader");
    scene.cluster.masters[second].kill();
    scene.until_led_by_another_than(&[second]).await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_parent_a_leader_that_is_killed_is_followed_when_its_session_ends() {
    let zookeeper = ZooKeeperServer::start().unwrap();
    let settings = HaSettings {
        parent: false,
        masters: 2,
        ..HaSettings::new(zookeeper.url())
    };
    let mut scene = Scene::begin(settings, 2, &zookeeper.url()).await;
    let first = scene.cluster.until_led().await;
    scene.watch.note("SIGKILL of the leader");
    scene.cluster.masters[first].kill();
    let second = scene.until_led_by_another_than(&[first]).await;
    scene.cluster.start_master(first).await.unwrap();
    scene.cluster.until_valid().await;
    scene.watch.note("SIGTERM of the leader");
    scene.cluster.masters[second].stop().await.unwrap();
    scene.until_led_by_another_than(&[second]).await;
    scene.ends_well().await;
}

/// Freezes a part of the leader until another one leads.
async fn frozen(part: Part, parent: bool) {
    let zookeeper = ZooKeeperServer::start().unwrap();
    let settings = HaSettings {
        parent,
        masters: 2,
        ..HaSettings::new(zookeeper.url())
    };
    let scene = Scene::begin(settings, 2, &zookeeper.url()).await;
    let first = scene.cluster.until_led().await;
    scene
        .watch
        .note(format!("SIGSTOP of the {part:?} of the leader"));
    let ids = scene.cluster.masters[first].ids(part);
    send(Signal::Stop, &ids).unwrap();
    scene.until_led_by_another_than(&[first]).await;
    scene.watch.note("SIGCONT");
    send(Signal::Continue, &ids).unwrap();
    for _ in 0..30 {
        assert!(!scene.cluster.decides(first).await, "it led before");
    }
    scene.watch.until_promised(10).await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_frozen_decides_nothing_when_it_wakes_up() {
    frozen(Part::Tree, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_host_is_replaced_although_its_parent_holds_the_latch() {
    frozen(Part::Host, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_parent_is_frozen_steps_down() {
    frozen(Part::Parent, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_parent_a_leader_that_was_frozen_decides_nothing_when_it_wakes_up() {
    frozen(Part::Tree, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zookeeper_that_restarts_costs_no_promise() {
    let mut zookeeper = ZooKeeperServer::start().unwrap();
    let scene = Scene::begin(HaSettings::new(zookeeper.url()), 2, &zookeeper.url()).await;
    scene
        .watch
        .note("ZooKeeper is killed and started again at once");
    zookeeper.kill();
    zookeeper.restart().unwrap();
    scene.cluster.until_led().await;
    scene.watch.until_promised(3).await;
    scene.watch.note("ZooKeeper is killed until nobody decides");
    zookeeper.kill();
    until_nobody_decides(&scene).await;
    zookeeper.restart().unwrap();
    scene.cluster.until_led().await;
    scene.watch.until_promised(3).await;
    scene.ends_well().await;
}

async fn until_nobody_decides(scene: &Scene) {
    eventually("nobody decides", async || {
        scene.cluster.deciders().await.is_empty().then_some(())
    })
    .await;
    scene.watch.note("nobody decides");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ensemble_that_loses_its_leader_or_its_quorum_costs_no_promise() {
    let mut ensemble = Ensemble::start().unwrap();
    let scene = Scene::begin(HaSettings::new(ensemble.url()), 2, &ensemble.url()).await;
    scene.watch.note("the leader of the ensemble is killed");
    let leader = ensemble.leader().unwrap();
    ensemble.servers[leader].kill();
    ensemble.leader().unwrap();
    scene.cluster.until_led().await;
    scene.watch.until_promised(3).await;
    ensemble.mend().unwrap();
    scene.watch.note("the quorum is lost for a moment");
    for server in &mut ensemble.servers[..2] {
        server.kill();
    }
    ensemble.mend().unwrap();
    scene.cluster.until_led().await;
    scene.watch.until_promised(3).await;
    scene.watch.note("the quorum is lost until nobody decides");
    for server in &mut ensemble.servers[1..] {
        server.kill();
    }
    until_nobody_decides(&scene).await;
    ensemble.mend().unwrap();
    scene.cluster.until_led().await;
    scene.watch.until_promised(3).await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_from_zookeeper_is_replaced_and_comes_back_as_a_standby() {
    let zookeeper = ZooKeeperServer::start().unwrap();
    let settings = HaSettings::new("");
    let (scene, ways) = with_ways(&zookeeper, settings).await;
    let first = scene.cluster.until_led().await;
    scene
        .watch
        .note("what the leader and ZooKeeper say to each other is held");
    ways[first].hold();
    let second = scene.until_led_by_another_than(&[first]).await;
    ways[first].mend();
    scene.watch.note("mended");
    scene.cluster.until_valid().await;
    scene.watch.note("the leader cannot connect to ZooKeeper");
    ways[second].break_off().await;
    scene.until_led_by_another_than(&[second]).await;
    ways[second].mend();
    scene.watch.note("mended");
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_cut_between_the_leader_and_zookeeper_changes_nothing() {
    let zookeeper = ZooKeeperServer::start().unwrap();
    let way = Proxy::to(([127, 0, 0, 1], zookeeper.port()).into()).await;
    let settings = HaSettings {
        zookeeper: vec![format!("127.0.0.1:{}", way.port())],
        ..sessions(HaSettings::new(""), ENDLESS)
    };
    let scene = Scene::begin(settings, 2, &zookeeper.url()).await;
    let first = scene.cluster.until_led().await;
    for _ in 0..3 {
        scene.watch.note("all connections with ZooKeeper are cut");
        way.cut().await;
        scene.watch.until_promised(5).await;
        assert_eq!(scene.cluster.until_led().await, first);
    }
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_cut_off_from_their_masters_come_back() {
    let zookeeper = ZooKeeperServer::start().unwrap();
    let settings = HaSettings {
        masters: 2,
        fronts: true,
        more: vec!["--config".to_owned(), "worker_timeout=4000".to_owned()],
        ..HaSettings::new(zookeeper.url())
    };
    let mut scene = Scene::begin(settings, 2, &zookeeper.url()).await;
    scene.watch.network_is_cut();
    let ways = |scene: &Scene| {
        let masters = scene.cluster.masters.len();
        let workers = scene.cluster.workers.len();
        (0..masters, 0..workers)
    };
    let (masters, workers) = ways(&scene);
    scene
        .watch
        .note("what masters and workers say to each other is held");
    for master in masters.clone() {
        scene.cluster.masters[master].front.as_ref().unwrap().hold();
    }
    for worker in workers.clone() {
        scene.cluster.workers[worker].front.as_ref().unwrap().hold();
    }
    // The way to a master is shut, so it is asked by its log.
    eventually("a master gives workers up", async || {
        let mut logs = scene.cluster.masters.iter().map(|master| master.log());
        logs.any(|log| log.contains("is lost")).then_some(())
    })
    .await;
    scene.watch.note("mended");
    for master in masters {
        scene.cluster.masters[master].front.as_ref().unwrap().mend();
    }
    for worker in workers {
        scene.cluster.workers[worker].front.as_ref().unwrap().mend();
    }
    scene.cluster.until_workers_are_alive().await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_latch_node_is_deleted_steps_down_and_stands_anew() {
    let zookeeper = ZooKeeperServer::start().unwrap();
    let settings = HaSettings {
        masters: 2,
        ..sessions(HaSettings::new(zookeeper.url()), ENDLESS)
    };
    let scene = Scene::begin(settings, 2, &zookeeper.url()).await;
    let client = connect(&zookeeper.url()).await.unwrap();
    for _ in 0..2 {
        let leader = scene.cluster.until_valid().await;
        let all = standing(&client, &scene.cluster.settings().dir).await;
        scene
            .watch
            .note("a second client deletes the latch node of the leader");
        client.delete(&all.unwrap()[0].path, None).await.unwrap();
        scene.until_led_by_another_than(&[leader]).await;
    }
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_session_is_ended_by_a_second_client_steps_down_and_may_lead_again() {
    let zookeeper = ZooKeeperServer::start().unwrap();
    let settings = sessions(HaSettings::new(""), ENDLESS);
    let (scene, ways) = with_ways(&zookeeper, settings).await;
    let masters = |scene: &Scene| {
        let masters = scene.cluster.masters.iter();
        masters.map(|m| m.ids(Part::Tree)).collect::<Vec<_>>()
    };
    let processes = masters(&scene);
    for _ in 0..2 {
        let leader = scene.cluster.until_valid().await;
        scene
            .watch
            .note("a second client ends the session of the leader's latch");
        scene
            .expire(&zookeeper, &ways[leader], SessionFor::Latch)
            .await;
        scene.until_led_by_another_than(&[leader]).await;
    }
    scene.cluster.until_valid().await;
    assert_eq!(masters(&scene), processes, "no process ends for it");
    scene.ends_well().await;
}

/// The latch is held in another session: who leads goes on, and writes again what was on its way.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_host_loses_its_session_to_a_second_client_leads_on() {
    let zookeeper = ZooKeeperServer::start().unwrap();
    let settings = sessions(HaSettings::new(""), ENDLESS);
    let (scene, ways) = with_ways(&zookeeper, settings).await;
    let client = connect(&zookeeper.url()).await.unwrap();
    let term = async |scene: &Scene| {
        let all = standing(&client, &scene.cluster.settings().dir).await;
        all.unwrap().swap_remove(0)
    };
    let leader = scene.cluster.until_led().await;
    let first = term(&scene).await;
    for _ in 0..3 {
        scene
            .watch
            .note("a second client ends the session of the leader's store");
        scene
            .expire(&zookeeper, &ways[leader], SessionFor::Store)
            .await;
        scene.watch.until_promised(5).await;
        assert_eq!(scene.cluster.until_led().await, leader);
    }
    assert_eq!(term(&scene).await, first, "one term");
    scene.ends_well().await;
}

/// Servers refuse what is written. What needs no write has to wait in doubt: an answer of what is no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_in_doubt_decides_nothing_be_there_nothing_to_write() {
    let zookeeper = ZooKeeperServer::start().unwrap();
    let settings = HaSettings {
        masters: 2,
        ..sessions(HaSettings::new(zookeeper.url()), 3 * SESSION)
    };
    let mut cluster = HaCluster::start(instar(), settings).await.unwrap();
    add_worker(&mut cluster).await;
    let first = cluster.until_valid().await;
    let parent = cluster.masters[first].ids(Part::Parent);
    send(Signal::Stop, &parent).unwrap();
    eventually("the other one decides", async || {
        cluster.decides(1 - first).await.then_some(())
    })
    .await;
    // Asked after the other one said that it does.
    assert!(!cluster.decides(first).await, "two decide");
    send(Signal::Continue, &parent).unwrap();
    cluster.until_valid().await;
    cluster.stop().await.unwrap();
}

/// It believes that it leads until its last proof is too old. All that it writes until then is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_hear_that_its_latch_is_gone_decides_nothing_more() {
    let zookeeper = ZooKeeperServer::start().unwrap();
    let settings = HaSettings {
        masters: 2,
        ..sessions(HaSettings::new(zookeeper.url()), 3 * SESSION)
    };
    let scene = Scene::begin(settings, 2, &zookeeper.url()).await;
    let client = connect(&zookeeper.url()).await.unwrap();
    let first = scene.cluster.until_valid().await;
    let all = standing(&client, &scene.cluster.settings().dir).await;
    scene
        .watch
        .note("SIGSTOP of the parent of the leader, and its latch node is deleted");
    let parent = scene.cluster.masters[first].ids(Part::Parent);
    send(Signal::Stop, &parent).unwrap();
    client.delete(&all.unwrap()[0].path, None).await.unwrap();
    scene.until_led_by_another_than(&[first]).await;
    scene.watch.note("SIGCONT");
    send(Signal::Continue, &parent).unwrap();
    scene.watch.until_promised(10).await;
    scene.ends_well().await;
}

/// A leader may end after its decision was written, and before anybody heard of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_leader_wrote_and_did_not_say_its_successor_does() {
    let zookeeper = ZooKeeperServer::start().unwrap();
    let settings = sessions(HaSettings::new(""), ENDLESS);
    let (mut scene, ways) = with_ways(&zookeeper, settings).await;
    let client = connect(&zookeeper.url()).await.unwrap();
    for _ in 0..2 {
        let leader = scene.cluster.until_valid().await;
        // That moment is up to chance, and soon there.
        let unsaid = eventually("a launch is written and not said", async || {
            ways[leader].hold_answers();
            let there_are = async || !scene.watch.unsaid(&client).await.unwrap().is_empty();
            // Who waits for an answer decides nothing.
            if there_are().await && !scene.cluster.decides(leader).await && there_are().await {
                return Some(scene.watch.unsaid(&client).await.unwrap());
            }
            ways[leader].mend();
            None
        })
        .await;
        scene.watch.note(format!(
            "SIGKILL of the host of the leader, before it says {unsaid:?}"
        ));
        scene.cluster.masters[leader]
            .signal(Part::Host, Signal::Kill)
            .unwrap();
        ways[leader].mend();
        scene.cluster.masters[leader].ended().await.unwrap();
        scene.until_led_by_another_than(&[leader]).await;
        let (state, unsaid) = (scene.cluster.leaders_state().await.unwrap(), &unsaid[0]);
        let runs = |id: &str| {
            let mut active = state.active_drivers.iter();
            active.any(|driver| driver.id == id && driver.state == DriverState::Running)
        };
        assert!(
            runs(unsaid),
            "{unsaid} does not run: {:?}",
            state.completed_drivers
        );
        scene.cluster.start_master(leader).await.unwrap();
    }
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn masters_that_start_before_zookeeper_lead_when_it_is_there() {
    let mut zookeeper = ZooKeeperServer::start().unwrap();
    zookeeper.kill();
    let settings = HaSettings {
        masters: 2,
        ..HaSettings::new(zookeeper.url())
    };
    let cluster = HaCluster::start(instar(), settings).await.unwrap();
    for master in 0..2 {
        eventually("it stands by", async || {
            let state = cluster.state(master).await?;
            (state.status == RecoveryState::Standby).then_some(())
        })
        .await;
    }
    zookeeper.restart().unwrap();
    cluster.until_led().await;
    let scene = Scene::go_on(cluster, 1, &zookeeper.url()).await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_swapped_while_it_recovers_recovers() {
    let zookeeper = ZooKeeperServer::start().unwrap();
    let settings = HaSettings {
        masters: 2,
        ..HaSettings::new(zookeeper.url())
    };
    let mut scene = Scene::begin(settings, 2, &zookeeper.url()).await;
    let first = scene.cluster.until_valid().await;
    let second = 1 - first;
    // Compiled before, so that the swap is quick.
    scene
        .cluster
        .swap_master(second, "master-consolidate")
        .await
        .unwrap();
    scene.cluster.swap_master(second, "master").await.unwrap();
    // It is waited for, as it is there and says nothing.
    let worker = scene.cluster.workers[1].program.id().unwrap();
    send(Signal::Stop, &[worker]).unwrap();
    scene
        .watch
        .note("a worker is frozen, and the leader stopped");
    scene.cluster.masters[first].stop().await.unwrap();
    eventually("it recovers", async || {
        let state = scene.cluster.state(second).await?;
        (state.status == RecoveryState::Recovering).then_some(())
    })
    .await;
    scene
        .cluster
        .swap_master(second, "master-consolidate")
        .await
        .unwrap();
    let state = scene.cluster.state(second).await.unwrap();
    assert_eq!(state.status, RecoveryState::Recovering);
    let unknown = |w: &&deploy_protocol::WorkerInfo| w.state == WorkerState::Unknown;
    assert_eq!(state.workers.iter().filter(unknown).count(), 1);
    scene
        .watch
        .note("the other one is swapped while it recovers, and the worker goes on");
    send(Signal::Continue, &[worker]).unwrap();
    scene.until_led_by_another_than(&[first]).await;
    scene.cluster.start_master(first).await.unwrap();
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_in_a_swap_is_followed_by_another() {
    let zookeeper = ZooKeeperServer::start().unwrap();
    let settings = HaSettings {
        masters: 2,
        ..sessions(HaSettings::new(zookeeper.url()), ENDLESS)
    };
    let mut scene = Scene::begin(settings, 2, &zookeeper.url()).await;
    for build in ["master-consolidate", "master"] {
        let leader = scene.cluster.until_valid().await;
        scene
            .watch
            .note("a swap of the leader begins, and its host is killed");
        let ids = scene.cluster.masters[leader].ids(Part::Host);
        let swapping = scene.cluster.swap_master(leader, build);
        let (swapped, ()) = tokio::join!(swapping, async {
            scene.watch.until_promised(1).await;
            // It may have ended by then: the moment is up to chance.
            let _ = send(Signal::Kill, &ids);
        });
        drop(swapped);
        scene.until_led_by_another_than(&[leader]).await;
        scene.cluster.start_master(leader).await.unwrap();
    }
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f1_f4_a_single_master_that_is_replaced_twice_gets_all_back() {
    let zookeeper = ZooKeeperServer::start().unwrap();
    let settings = HaSettings {
        masters: 1,
        ..HaSettings::new(zookeeper.url())
    };
    let mut scene = Scene::begin(settings, 1, &zookeeper.url()).await;
    for _ in 0..2 {
        scene
            .watch
            .note("the only master is killed and started again");
        scene.cluster.masters[0].kill();
        scene.cluster.start_master(0).await.unwrap();
        scene.until_led_by_another_than(&[]).await;
    }
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f2_f3_the_leader_of_three_is_killed_and_a_new_client_works() {
    let zookeeper = ZooKeeperServer::start().unwrap();
    let settings = sessions(HaSettings::new(zookeeper.url()), ENDLESS);
    let mut scene = Scene::begin(settings, 3, &zookeeper.url()).await;
    let leader = scene.cluster.until_led().await;
    scene.watch.note("SIGKILL of the host of the leader");
    scene.cluster.masters[leader].kill_host().await.unwrap();
    scene.until_led_by_another_than(&[leader]).await;
    let another = Counting::begin(&scene.cluster, Size::Small).unwrap();
    another.finish().await.unwrap();
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f5_f6_all_masters_and_all_workers_are_replaced() {
    let zookeeper = ZooKeeperServer::start().unwrap();
    let mut scene = Scene::begin(HaSettings::new(zookeeper.url()), 2, &zookeeper.url()).await;
    scene.watch.note("all masters and all workers are killed");
    for master in &mut scene.cluster.masters {
        master.kill();
    }
    for worker in std::mem::take(&mut scene.cluster.workers) {
        worker.program.kill().await.unwrap();
    }
    for master in 0..3 {
        scene.cluster.start_master(master).await.unwrap();
    }
    for _ in 0..2 {
        add_worker(&mut scene.cluster).await;
    }
    let leader = scene.until_led_by_another_than(&[]).await;
    scene.watch.note("the leader and all workers are killed");
    scene.cluster.masters[leader].kill_host().await.unwrap();
    for worker in std::mem::take(&mut scene.cluster.workers) {
        worker.program.kill().await.unwrap();
    }
    for _ in 0..2 {
        add_worker(&mut scene.cluster).await;
    }
    scene.until_led_by_another_than(&[leader]).await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f7_masters_are_replaced_one_after_the_other_and_the_oldest_standby_leads_next() {
    let zookeeper = ZooKeeperServer::start().unwrap();
    let settings = sessions(HaSettings::new(zookeeper.url()), ENDLESS);
    let mut scene = Scene::begin(settings, 2, &zookeeper.url()).await;
    // In the order in which they stand.
    let mut line: Vec<usize> = (0..3).collect();
    assert_eq!(scene.cluster.until_led().await, line[0]);
    for _ in 0..3 {
        let leader = line.remove(0);
        scene
            .watch
            .note("the leader is stopped, and another master added");
        scene.cluster.masters[leader].stop().await.unwrap();
        assert_eq!(scene.until_led_by_another_than(&[leader]).await, line[0]);
        let added = scene.cluster.add_master().await.unwrap();
        scene.cluster.start_master(added).await.unwrap();
        let (name, endpoint) = {
            let master = &scene.cluster.masters[added];
            (master.name.clone(), master.endpoint())
        };
        scene.watch.probe(name, endpoint);
        eventually("it stands by", async || {
            let state = scene.cluster.state(added).await?;
            (state.status == RecoveryState::Standby).then_some(())
        })
        .await;
        line.push(added);
    }
    scene.ends_well().await;
}
