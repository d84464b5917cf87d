//! Latches with a real server, and with Curator's own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;
use zookeeper_client::{Acls, Client, CreateMode, Error};

use super::latch::{self, FromLatch, ToLatch};
use super::latch_task::run;
use super::leadership::{Candidate, Participant};
use crate::zookeeper::session::Session;
use crate::zookeeper::tests::proxy::Proxy;
use crate::zookeeper::tests::server::{Ensemble, LONGEST_SESSION, ZooKeeperServer};
use crate::zookeeper::tests::{DEADLINE, expire_all, packages, proxy_to, settings};
use crate::zookeeper::{Credentials, ZooKeeperSettings};

use self::curator::Curator;

#[path = "../../../tests/src/curator.rs"]
mod curator;

const ELECTION: &str = "/spark/leader_election";

/// Longer than a busy machine needs, so that no session is over by chance.
const LONG: Duration = Duration::from_secs(30);

/// As short as the server allows with room for a busy machine, where a session is to be over.
const SHORT: Duration = Duration::from_secs(2);

fn candidate(id: &str) -> Candidate {
    Candidate {
        id: id.to_owned(),
        version: "1.0.0".to_owned(),
        entries: None,
    }
}

/// One who asks for a latch.
struct Asker {
    session: Session,
    orders: mpsc::Sender<ToLatch>,
    news: mpsc::Receiver<FromLatch>,
    task: JoinHandle<()>,
}

impl Asker {
    fn start(settings: &ZooKeeperSettings) -> Self {
        let session = Session::start(settings, "latch").unwrap();
        let (orders, ours) = mpsc::channel(8);
        let (theirs, news) = mpsc::channel(8);
        let task = tokio::spawn(run(session.clone(), ELECTION.to_owned(), ours, theirs));
        Self {
            session,
            orders,
            news,
            task,
        }
    }

    /// Asks to renew, again and again, from number 1,000,000 on.
    fn keep_asking(&self) -> AbortOnDropHandle<()> {
        let orders = self.orders.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut each = tokio::time::interval(Duration::from_millis(100));
            for number in 1_000_000.. {
                each.tick().await;
                if orders.send(ToLatch::Renew { number }).await.is_err() {
                    return;
                }
            }
        }))
    }

    /// Stands as `id`, at a server.
    async fn contend(server: &ZooKeeperServer, time: Duration, id: &str) -> Self {
        let asker = Self::start(&settings(&server.url(), time));
        asker.order(ToLatch::Contend(candidate(id))).await;
        asker
    }

    async fn order(&self, order: ToLatch) {
        self.orders.send(order).await.unwrap();
    }

    /// The first news of which `is` says something. Others are passed over.
    async fn until<T>(&mut self, what: &str, mut is: impl FnMut(&FromLatch) -> Option<T>) -> T {
        let mut heard = Vec::new();
        let wait = async {
            loop {
                let news = self.news.recv().await.expect("the latch ended");
                let found = is(&news);
                heard.push(news);
                if let Some(found) = found {
                    return found;
                }
            }
        };
        match tokio::time::timeout(DEADLINE, wait).await {
            Ok(found) => found,
            Err(_) => panic!("not {what}; heard {heard:#?}"),
        }
    }

    async fn until_leads(&mut self) -> String {
        let leads = |news: &FromLatch| match news {
            FromLatch::Leads { node, .. } => Some(node.clone()),
            _ => None,
        };
        self.until("leading", leads).await
    }

    async fn until_stands(&mut self, at: usize) -> Vec<Participant> {
        let stands = |news: &FromLatch| match news {
            FromLatch::Stands {
                participants,
                place,
            } if *place == at => Some(participants.clone()),
            _ => None,
        };
        self.until(&format!("at place {at}"), stands).await
    }

    /// While it leads.
    async fn until_participants(&mut self, expected: &[&str]) {
        let are = |news: &FromLatch| match news {
            FromLatch::Participants(all) => (ids(all) == expected).then_some(()),
            _ => None,
        };
        self.until(&format!("among {expected:?}"), are).await;
    }

    async fn until_lost(&mut self) -> String {
        let lost = |news: &FromLatch| match news {
            FromLatch::Lost { reason } => Some(reason.clone()),
            _ => None,
        };
        self.until("lost", lost).await
    }

    async fn until_in_trouble(&mut self) -> String {
        let reason = |news: &FromLatch| match news {
            FromLatch::Unreachable { reason } => Some(reason.clone()),
            _ => None,
        };
        self.until("in trouble", reason).await
    }

    async fn until_it_is(&mut self, expected: FromLatch) {
        let is = |news: &FromLatch| (*news == expected).then_some(());
        self.until(&format!("{expected:?}"), is).await;
    }

    /// Asks to renew, until that is answered.
    async fn until_renewed(&mut self, number: u64) -> Duration {
        self.order(ToLatch::Renew { number }).await;
        let renewed = |news: &FromLatch| match news {
            FromLatch::Renewed { number: of, lease } if *of == number => Some(*lease),
            _ => None,
        };
        self.until("renewed", renewed).await
    }

    async fn withdraw(&mut self) {
        self.order(ToLatch::Withdraw).await;
        self.until_it_is(FromLatch::Withdrawn).await;
    }

    async fn end(self) {
        drop(self.orders);
        self.task.await.unwrap();
        self.session.close().await;
    }
}

fn ids(participants: &[Participant]) -> Vec<&str> {
    participants
        .iter()
        .map(|p| p.candidate.as_ref().map_or("?", |c| c.id.as_str()))
        .collect()
}

async fn children(client: &Client) -> Vec<String> {
    client.list_children(ELECTION).await.unwrap_or_default()
}

/// Who leaves in order hands over at once, and comes back at the end of the line.
#[tokio::test(flavor = "multi_thread")]
async fn who_came_first_leads_and_hands_over_when_it_withdraws() {
    let server = ZooKeeperServer::start().unwrap();
    let mut one = Asker::contend(&server, LONGEST_SESSION, "one").await;
    let fence = one.until_leads().await;
    assert!(fence.starts_with(&format!("{ELECTION}/_c_")), "{fence}");
    let lease = one.until_renewed(7).await;
    assert!(
        lease < LONGEST_SESSION && lease > LONGEST_SESSION / 2,
        "{lease:?}"
    );
    let mut two = Asker::contend(&server, LONGEST_SESSION, "two").await;
    assert_eq!(ids(&two.until_stands(1).await), ["one", "two"]);
    let mut three = Asker::contend(&server, LONGEST_SESSION, "three").await;
    let all = |news: &FromLatch| match news {
        FromLatch::Stands {
            participants,
            place: 2,
        } => (ids(participants) == ["one", "two", "three"]).then_some(()),
        _ => None,
    };
    three.until("behind one and two", all).await;
    one.until_participants(&["one", "two", "three"]).await;
    one.withdraw().await;
    two.until_leads().await;
    three.until_stands(1).await;
    one.order(ToLatch::Contend(candidate("one"))).await;
    one.until_stands(2).await;
    // Nobody gives orders any more: the node goes.
    two.end().await;
    three.until_leads().await;
    one.until_stands(1).await;
    three.session.close().await;
    one.until_leads().await;
    one.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_resigns_goes_to_the_end_of_the_line() {
    let server = ZooKeeperServer::start().unwrap();
    let mut one = Asker::contend(&server, LONG, "one").await;
    let first = one.until_leads().await;
    // Alone, the end is the beginning; but it is another term.
    one.order(ToLatch::Resign).await;
    one.until_lost().await;
    assert_ne!(one.until_leads().await, first);
    let mut two = Asker::contend(&server, LONG, "two").await;
    two.until_stands(1).await;
    one.order(ToLatch::Resign).await;
    two.until_leads().await;
    assert_eq!(ids(&one.until_stands(1).await), ["two", "one"]);
    one.end().await;
    two.end().await;
}

/// A node names one term: writes of that term may still be on their way.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_left_is_never_led_with_again() {
    let server = ZooKeeperServer::start().unwrap();
    let proxy = proxy_to(&server).await;
    let url = format!("127.0.0.1:{}", proxy.port());
    let mut one = Asker::start(&settings(&url, LONG));
    one.order(ToLatch::Contend(candidate("one"))).await;
    let operator = Client::connect(&server.url()).await.unwrap();
    let mut left = vec![one.until_leads().await];
    for _ in 0..10 {
        // What would remove it is on its way soon after, and lost. Where it is not yet, it is sent later.
        proxy.hold();
        one.order(ToLatch::Resign).await;
        one.until_lost().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        proxy.cut().await;
        assert_eq!(children(&operator).await.len(), 1);
        proxy.mend();
        let node = one.until_leads().await;
        assert!(!left.contains(&node), "{node} again");
        assert_eq!(children(&operator).await.len(), 1);
        left.push(node);
    }
    one.end().await;
}

/// Anybody who may stand can make nodes.
#[tokio::test(flavor = "multi_thread")]
async fn many_and_large_nodes_of_others_harm_nobody() {
    let server = ZooKeeperServer::start().unwrap();
    let mut one = Asker::contend(&server, LONG, "one").await;
    one.until_leads().await;
    let operator = Client::connect(&server.url()).await.unwrap();
    let large = latch::data_of(&candidate(&"x".repeat(600_000)));
    let stranger = format!("{ELECTION}/stranger-latch-");
    let options = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
    operator.create(&stranger, &large, &options).await.unwrap();
    for _ in 0..2 * latch::PARTICIPANTS_MAX {
        operator.create(&stranger, b"", &options).await.unwrap();
    }
    let shown = |news: &FromLatch| match news {
        FromLatch::Participants(all) if all.len() == latch::PARTICIPANTS_MAX => Some(all.clone()),
        _ => None,
    };
    let shown = one.until("told of the first", shown).await;
    assert_eq!(ids(&shown)[..2], ["one", "?"]);
    // One who stands behind them all goes on as well.
    let mut two = Asker::contend(&server, LONG, "two").await;
    two.until_stands(2 * latch::PARTICIPANTS_MAX + 2).await;
    one.until_renewed(1).await;
    one.end().await;
    two.end().await;
}

/// A swap of the endpoint changes what it says of itself, and not who leads.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_says_anew_what_it_is_and_leads_on() {
    let server = ZooKeeperServer::start().unwrap();
    let mut one = Asker::contend(&server, LONG, "one").await;
    one.until_leads().await;
    let mut two = Asker::contend(&server, LONG, "two").await;
    two.until_stands(1).await;
    one.order(ToLatch::Contend(candidate("one, swapped"))).await;
    let renamed = |news: &FromLatch| match news {
        FromLatch::Stands {
            participants,
            place: 1,
        } => (ids(participants)[0] == "one, swapped").then_some(()),
        _ => None,
    };
    two.until("told that one was swapped", renamed).await;
    one.until_renewed(1).await;
    one.withdraw().await;
    two.until_leads().await;
    one.end().await;
    two.end().await;
}

/// A server that is restarted within the session's time costs nothing: doubt, and then certainty.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_absence_of_the_server_is_doubt_and_no_loss() {
    let mut server = ZooKeeperServer::start().unwrap();
    let mut one = Asker::contend(&server, LONG, "one").await;
    let node = one.until_leads().await;
    let mut two = Asker::contend(&server, LONG, "two").await;
    two.until_stands(1).await;
    server.kill();
    let reason = one.until_in_trouble().await;
    assert!(reason.contains("lost"), "why it doubts: {reason}");
    one.until_it_is(FromLatch::Doubt).await;
    one.order(ToLatch::Renew { number: 1 }).await;
    server.restart().unwrap();
    // What was asked meanwhile is answered when it can be. Who stands is said anew: nothing is in the way.
    let mut said_anew = false;
    let answer = |news: &FromLatch| match news {
        FromLatch::Participants(_) => {
            said_anew = true;
            None
        }
        FromLatch::Renewed { number: 1, .. } => said_anew.then_some(()),
        FromLatch::Lost { reason } => panic!("lost: {reason}"),
        _ => None,
    };
    one.until("renewed", answer).await;
    two.until_stands(1).await;
    assert!(
        one.session
            .client()
            .unwrap()
            .check_stat(&node)
            .await
            .unwrap()
            .is_some()
    );
    one.end().await;
    two.until_leads().await;
    two.end().await;
}

/// Longer than the session's time: it leads no more, whether anybody else does or not; and then it stands anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_absence_of_the_server_is_loss() {
    let mut server = ZooKeeperServer::start().unwrap();
    let mut one = Asker::contend(&server, SHORT, "one").await;
    let first = one.until_leads().await;
    let asking = one.keep_asking();
    server.kill();
    one.until_it_is(FromLatch::Doubt).await;
    one.until_lost().await;
    let reason = |news: &FromLatch| match news {
        FromLatch::Unreachable { reason } => Some(reason.clone()),
        _ => None,
    };
    let reason = one.until("unreachable", reason).await;
    assert!(reason.contains(&server.url()), "{reason}");
    server.restart().unwrap();
    assert_ne!(one.until_leads().await, first);
    drop(asking);
    // Its old node, which no session of the server's has ended yet, is not in its way.
    assert_eq!(children(&one.session.client().unwrap()).await.len(), 1);
    one.end().await;
}

/// Who is cut off has lost when somebody else leads, and stands behind when it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_cut_off_for_longer_than_its_session_loses() {
    let server = ZooKeeperServer::start().unwrap();
    let proxy = proxy_to(&server).await;
    let url = format!("127.0.0.1:{}", proxy.port());
    let mut one = Asker::start(&settings(&url, SHORT));
    one.order(ToLatch::Contend(candidate("one"))).await;
    one.until_leads().await;
    let mut two = Asker::contend(&server, LONG, "two").await;
    two.until_stands(1).await;
    one.until_renewed(1).await;
    proxy.hold();
    let asking = one.keep_asking();
    let mut doubted = false;
    let lost = |news: &FromLatch| {
        assert!(
            !matches!(news, FromLatch::Renewed { .. }),
            "renewed while cut off"
        );
        doubted |= *news == FromLatch::Doubt;
        matches!(news, FromLatch::Lost { .. }).then_some(())
    };
    one.until("lost", lost).await;
    assert!(doubted, "doubt comes before the loss");
    two.until_leads().await;
    proxy.mend();
    assert_eq!(ids(&one.until_stands(1).await), ["two", "one"]);
    drop(asking);
    one.end().await;
    two.end().await;
}

/// A server of three may go, and what is proved is proved by two of them.
#[tokio::test(flavor = "multi_thread")]
async fn with_three_servers_one_may_go_and_without_two_nothing_is_proved() {
    let mut ensemble = Ensemble::start().unwrap();
    let mut one = Asker::start(&settings(&ensemble.url(), LONG));
    one.order(ToLatch::Contend(candidate("one"))).await;
    let node = one.until_leads().await;
    one.until_renewed(1).await;
    let leader = ensemble.leader().unwrap();
    ensemble.servers[leader].kill();
    one.until_renewed(2).await;
    let other = ensemble.servers.iter().position(ZooKeeperServer::runs);
    ensemble.servers[other.unwrap()].kill();
    one.until_it_is(FromLatch::Doubt).await;
    one.order(ToLatch::Renew { number: 3 }).await;
    ensemble.mend().unwrap();
    let renewed = |news: &FromLatch| match news {
        FromLatch::Renewed { number: 3, .. } => Some(()),
        FromLatch::Lost { reason } => panic!("lost: {reason}"),
        _ => None,
    };
    one.until("renewed", renewed).await;
    let client = one.session.client().unwrap();
    assert!(client.check_stat(&node).await.unwrap().is_some());
    drop(client);
    one.end().await;
}

/// Whoever stood before the servers were there leads as soon as they are.
#[tokio::test(flavor = "multi_thread")]
async fn who_stands_before_the_server_is_there_leads_when_it_is() {
    let mut server = ZooKeeperServer::start().unwrap();
    server.kill();
    let mut one = Asker::contend(&server, LONG, "one").await;
    let reason = |news: &FromLatch| match news {
        FromLatch::Unreachable { reason } => Some(reason.clone()),
        _ => None,
    };
    let reason = one.until("unreachable", reason).await;
    assert!(reason.contains("check that it runs"), "{reason}");
    server.restart().unwrap();
    one.until_leads().await;
    one.end().await;
}

/// An operator's `delete` and `deleteall` are noticed at once.
#[tokio::test(flavor = "multi_thread")]
async fn whose_node_is_removed_by_somebody_loses_and_stands_anew() {
    let server = ZooKeeperServer::start().unwrap();
    let mut one = Asker::contend(&server, LONG, "one").await;
    let node = one.until_leads().await;
    let mut two = Asker::contend(&server, LONG, "two").await;
    two.until_stands(1).await;
    let operator = Client::connect(&server.url()).await.unwrap();
    operator.delete(&node, None).await.unwrap();
    let reason = one.until_lost().await;
    assert!(reason.contains("removed"), "{reason}");
    two.until_leads().await;
    one.until_stands(1).await;
    // The whole path, as far as it goes: those who stand are back sooner than it can be removed.
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        for name in children(&operator).await {
            let _ = operator.delete(&format!("{ELECTION}/{name}"), None).await;
        }
        match operator.delete(ELECTION, None).await {
            Ok(()) => break,
            Err(Error::NotEmpty) if std::time::Instant::now() < deadline => {}
            Err(error) => panic!("{error}"),
        }
    }
    two.until_lost().await;
    // Exactly one of them leads again.
    tokio::select! {
        _ = one.until_leads() => { two.until_stands(1).await; }
        _ = two.until_leads() => { one.until_stands(1).await; }
    }
    one.end().await;
    two.end().await;
}

/// However much of its time is left: who has its session no more leads no more, and stands anew in the next one.
#[tokio::test(flavor = "multi_thread")]
async fn whose_session_is_ended_by_another_client_loses_and_stands_anew() {
    let server = ZooKeeperServer::start().unwrap();
    let (way_of_one, way_of_two) = (proxy_to(&server).await, proxy_to(&server).await);
    let through = |way: &Proxy| settings(&format!("127.0.0.1:{}", way.port()), LONGEST_SESSION);
    let mut one = Asker::start(&through(&way_of_one));
    one.order(ToLatch::Contend(candidate("one"))).await;
    let first = one.until_leads().await;
    let mut two = Asker::start(&through(&way_of_two));
    two.order(ToLatch::Contend(candidate("two"))).await;
    two.until_stands(1).await;
    assert_eq!(expire_all(&way_of_one, &server).await, 1);
    let reason = one.until_lost().await;
    assert!(reason.contains("session"), "{reason}");
    two.until_leads().await;
    two.until_renewed(1).await;
    assert_eq!(ids(&one.until_stands(1).await), ["two", "one"]);
    assert_eq!(expire_all(&way_of_two, &server).await, 1);
    two.until_lost().await;
    assert_ne!(one.until_leads().await, first);
    one.until_renewed(2).await;
    assert_eq!(ids(&two.until_stands(1).await), ["one", "two"]);
    assert_eq!(children(&one.session.client().unwrap()).await.len(), 2);
    one.end().await;
    two.end().await;
}

/// What an operator makes by hand goes with no session, and whoever is behind it waits for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_node_that_goes_with_no_session_is_named() {
    let server = ZooKeeperServer::start().unwrap();
    let operator = Client::connect(&server.url()).await.unwrap();
    let folder = CreateMode::Persistent.with_acls(Acls::anyone_all());
    operator.mkdir(ELECTION, &folder).await.unwrap();
    let by_hand = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
    let path = format!("{ELECTION}/_c_x-latch-");
    let (_, number) = operator.create(&path, b"", &by_hand).await.unwrap();
    let path = format!("{path}{number}");
    let named = |reason: String| {
        let is = reason.contains(&path) && reason.contains("remove it");
        assert!(is, "{reason}");
    };
    let mut one = Asker::contend(&server, LONG, "one").await;
    named(one.until_in_trouble().await);
    // Also by one that has another one before it.
    let mut two = Asker::contend(&server, LONG, "two").await;
    named(two.until_in_trouble().await);
    operator.delete(&path, None).await.unwrap();
    one.until_leads().await;
    two.until_stands(1).await;
    one.end().await;
    two.end().await;
}

/// A host that stands still behind a parent that lives must not lead for ever.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_falls_silent_loses_until_it_asks_again() {
    let server = ZooKeeperServer::start().unwrap();
    let mut one = Asker::contend(&server, SHORT, "one").await;
    one.until_leads().await;
    let mut two = Asker::contend(&server, LONG, "two").await;
    let reason = one.until_lost().await;
    assert!(reason.contains("did not say"), "{reason}");
    two.until_leads().await;
    assert_eq!(children(&two.session.client().unwrap()).await.len(), 1);
    one.order(ToLatch::Renew { number: 1 }).await;
    one.until_stands(1).await;
    one.end().await;
    two.end().await;
}

/// With credentials a stranger can neither remove a latch node nor stand.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_told_that_it_is_one() {
    let server = ZooKeeperServer::start().unwrap();
    let with = |digest: &str| ZooKeeperSettings {
        credentials: Some(Credentials::Digest(digest.to_owned())),
        ..settings(&server.url(), LONG)
    };
    let mut one = Asker::start(&with("one:secret"));
    one.order(ToLatch::Contend(candidate("one"))).await;
    let node = one.until_leads().await;
    let operator = Client::connect(&server.url()).await.unwrap();
    assert_eq!(operator.delete(&node, None).await, Err(Error::NoAuth));
    let mut other = Asker::start(&with("one:guessed"));
    other.order(ToLatch::Contend(candidate("other"))).await;
    let reason = other.until_in_trouble().await;
    assert!(
        reason.contains("denies") && reason.contains("credentials"),
        "{reason}"
    );
    one.until_renewed(1).await;
    other.withdraw().await;
    other.end().await;
    one.end().await;
}

/// Whatever is cut and whenever: in the end there is one node for one who stands, and none for one who does not.
#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_leave_no_node_behind() {
    let server = ZooKeeperServer::start().unwrap();
    let proxy = proxy_to(&server).await;
    let url = format!("127.0.0.1:{}", proxy.port());
    let mut one = Asker::start(&settings(&url, LONG));
    let operator = Client::connect(&server.url()).await.unwrap();
    for _ in 0..20 {
        one.order(ToLatch::Contend(candidate("one"))).await;
        // Somewhere between the request to make it and the answer, or before, or after.
        proxy.cut().await;
        one.until_leads().await;
        assert_eq!(children(&operator).await.len(), 1);
        one.order(ToLatch::Withdraw).await;
        proxy.cut().await;
        one.until_it_is(FromLatch::Withdrawn).await;
        assert_eq!(children(&operator).await.len(), 0);
    }
    one.end().await;
}

fn latch_client() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/curator/LatchClient.java")
}

/// What is said in an election with Curator, by whom.
type Said = (usize, String);

/// One of four who stand in the same election.
enum Contender {
    Curator(curator::CuratorLatch),
    Ours(mpsc::Sender<ToLatch>),
}

impl Contender {
    async fn join(&mut self, who: usize, round: usize) {
        match self {
            Self::Curator(latch) => latch.order("join").unwrap(),
            Self::Ours(orders) => {
                let candidate = Candidate {
                    version: round.to_string(),
                    ..candidate(&who.to_string())
                };
                orders.send(ToLatch::Contend(candidate)).await.unwrap();
            }
        }
    }

    async fn leave(&mut self) {
        match self {
            Self::Curator(latch) => latch.order("leave").unwrap(),
            Self::Ours(orders) => orders.send(ToLatch::Withdraw).await.unwrap(),
        }
    }
}

/// Ours claims what Curator's claims: a node that is there already proves two leaders.
async fn relay(
    who: usize,
    mut news: mpsc::Receiver<FromLatch>,
    claims: Client,
    said: mpsc::UnboundedSender<Said>,
) {
    while let Some(news) = news.recv().await {
        let line = match news {
            FromLatch::Leads { .. } => {
                let ephemeral =
                    CreateMode::Ephemeral.with_acls(zookeeper_client::Acls::anyone_all());
                match claims.create("/claim", b"ours", &ephemeral).await {
                    Ok(_) => "leader".to_owned(),
                    Err(error) => format!("conflict: {error}"),
                }
            }
            FromLatch::Withdrawn => "left".to_owned(),
            FromLatch::Lost { reason } => format!("conflict: lost: {reason}"),
            _ => continue,
        };
        if said.send((who, line)).is_err() {
            return;
        }
    }
}

/// What is heard of an election, and the rule that it must keep.
struct Stage {
    seed: u64,
    random: u64,
    hears: mpsc::UnboundedReceiver<Said>,
    leader: Option<usize>,
    led: [usize; 4],
}

impl Stage {
    /// What is said next, of which `is` is true.
    async fn until(&mut self, what: &str, is: impl Fn(&Said) -> bool) -> Said {
        let seed = self.seed;
        loop {
            let hears = tokio::time::timeout(DEADLINE, self.hears.recv()).await;
            let said = hears.unwrap_or_else(|_| panic!("SEED={seed}: {what}: not heard"));
            let said = said.expect("somebody speaks");
            let is_bad = said.1.starts_with("conflict") || said.1.starts_with("failed");
            assert!(!is_bad, "SEED={seed}: {what}: {said:?}");
            if said.1 == "leader" {
                assert_eq!(self.leader, None, "SEED={seed}: {what}: {said:?}");
                self.leader = Some(said.0);
                self.led[said.0] += 1;
            }
            if is(&said) {
                return said;
            }
        }
    }

    async fn until_somebody_leads(&mut self) -> usize {
        while self.leader.is_none() {
            self.until("somebody leads", |said| said.1 == "leader")
                .await;
        }
        self.leader.unwrap()
    }

    fn chance(&mut self, of: u64) -> bool {
        self.random().is_multiple_of(of)
    }

    fn random(&mut self) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.random >> 33
    }
}

/// Two of Curator's and two of ours in one election, in many orders: one leads at any time, and when it leaves
/// another one does.
#[tokio::test(flavor = "multi_thread")]
async fn with_curator_in_the_same_election_exactly_one_leads() {
    let seed: u64 = match std::env::var("SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => uuid::Uuid::new_v4().as_u64_pair().0,
    };
    println!("repeat with SEED={seed}");
    let server = ZooKeeperServer::start().unwrap();
    let program = Curator::compile(&latch_client()).unwrap();
    let (says, hears) = mpsc::unbounded_channel::<Said>();
    let mut stage = Stage {
        seed,
        random: seed,
        hears,
        leader: None,
        led: [0; 4],
    };
    let claims = Client::connect(&server.url()).await.unwrap();
    let mut contenders = Vec::new();
    let mut sessions = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    for who in 0..4 {
        let says = says.clone();
        if who % 2 == 0 {
            let tell = move |line| drop(says.send((who, line)));
            let id = format!("curator-{who}");
            let latch = program.start(&server.url(), ELECTION, &id, "/claim", tell);
            contenders.push(Contender::Curator(latch.unwrap()));
        } else {
            let session = Session::start(&settings(&server.url(), LONG), "latch").unwrap();
            let (orders, ours) = mpsc::channel(8);
            let (theirs, news) = mpsc::channel(8);
            tasks.spawn(run(session.clone(), ELECTION.to_owned(), ours, theirs));
            tasks.spawn(relay(who, news, claims.clone(), says));
            contenders.push(Contender::Ours(orders));
            sessions.push(session);
        }
    }
    for (who, contender) in contenders.iter_mut().enumerate() {
        contender.join(who, 0).await;
    }
    for round in 1..=32 {
        let leader = stage.until_somebody_leads().await;
        let mut leaving = vec![leader];
        if stage.chance(3) {
            // One of the others leaves before it.
            leaving.insert(0, (leader + 1 + stage.random() as usize % 3) % 4);
        }
        for who in leaving {
            let Some(contender) = contenders.get_mut(who) else {
                continue;
            };
            if who == leader {
                stage.leader = None;
                if let Contender::Ours(_) = contender {
                    // A leader that changes what it says of itself is still followed by whoever is behind it.
                    contender.join(who, round).await;
                    claims.delete("/claim", None).await.unwrap();
                }
            }
            contender.leave().await;
            stage
                .until("left", |said| *said == (who, "left".to_owned()))
                .await;
            contender.join(who, round).await;
        }
    }
    let leader = stage.until_somebody_leads().await;
    println!(
        "led, of curator, ours, curator, ours: {:?}; now {leader}",
        stage.led
    );
    assert!(
        stage.led.iter().all(|led| *led > 0),
        "each one, again and again: {:?}",
        stage.led
    );
    // Curator sees what ours says of itself as its id.
    let Some(Contender::Curator(latch)) = contenders.first_mut() else {
        panic!("the first one is Curator's");
    };
    latch.order("participants").unwrap();
    let all = stage
        .until("participants", |said| said.1.starts_with("participants "))
        .await;
    assert!(
        all.1.contains("curator-2") && all.1.contains(r#""id":"3""#),
        "{all:?}"
    );
    drop(contenders);
    tasks.join_all().await;
    for session in sessions {
        session.close().await;
    }
}

/// Curator watches the data of the node before it as well, once, and looks no more after it has changed: so ours
/// leaves its node as it is while a stranger may be behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_has_something_else_to_say_is_still_followed_by_curator() {
    let server = ZooKeeperServer::start().unwrap();
    let swapped = Candidate {
        version: "2.0.0".to_owned(),
        ..candidate("one")
    };
    let mut one = Asker::contend(&server, LONG, "one").await;
    one.until_leads().await;
    let program = Curator::compile(&latch_client()).unwrap();
    let (says, mut hears) = mpsc::unbounded_channel();
    let tell = move |line| drop(says.send(line));
    let curator = program.start(&server.url(), ELECTION, "curator", "/claim", tell);
    let mut curator = curator.unwrap();
    curator.order("join").unwrap();
    one.until_participants(&["one", "?"]).await;
    one.order(ToLatch::Contend(swapped.clone())).await;
    // When somebody has come and gone it has seen who stands, and decided.
    let two = Asker::contend(&server, LONG, "two").await;
    one.until_participants(&["one", "?", "two"]).await;
    two.end().await;
    one.until_participants(&["one", "?"]).await;
    one.withdraw().await;
    let leads = async { while hears.recv().await.unwrap() != "leader" {} };
    let leads = tokio::time::timeout(DEADLINE, leads).await;
    leads.expect("Curator follows");
    // With the stranger gone it says what it wanted to.
    one.order(ToLatch::Contend(candidate("one"))).await;
    one.until_stands(1).await;
    curator.order("leave").unwrap();
    one.until_leads().await;
    curator.order("join").unwrap();
    one.until_participants(&["one", "?"]).await;
    one.order(ToLatch::Contend(swapped.clone())).await;
    curator.order("leave").unwrap();
    let said = |news: &FromLatch| match news {
        FromLatch::Participants(all) => (all[0].candidate.as_ref() == Some(&swapped)).then_some(()),
        _ => None,
    };
    one.until("said to be swapped", said).await;
    one.end().await;
}
