//! A latch that a parent holds for its child, and one that a host holds itself: agents, latches and a real
//! server together. Both processes are within this one; the socket between them is real.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use zookeeper_client::Client;

use super::latches::Latches;
use super::leadership::{Candidate, Certainty, Leadership};
use super::parent::{HeldLatch, hold_latch};
use super::under_parent::UnderParent;
use super::{ElectionSettings, Elections};
use crate::zookeeper::ZooKeeperSettings;
use crate::zookeeper::tests::server::{LONGEST_SESSION, ZooKeeperServer};
use crate::zookeeper::tests::{DEADLINE, expire_all, proxy_to, settings};

/// No session is over by itself.
const SESSION: Duration = LONGEST_SESSION;

const MASTER: &str = "Master";

fn candidate(id: &str) -> Candidate {
    Candidate {
        id: id.to_owned(),
        ..Candidate::default()
    }
}

/// Waits until there is a term that is certain.
async fn until_leads(leadership: &Arc<Leadership>) -> u64 {
    let leads = || {
        let number = leadership.term()?.number;
        (leadership.certainty(number) == Certainty::Certain).then_some(number)
    };
    until(leadership, "leading", leads).await
}

async fn until<T>(leadership: &Leadership, what: &str, is: impl Fn() -> Option<T>) -> T {
    let mut changes = leadership.changes();
    let wait = async {
        loop {
            if let Some(found) = is() {
                return found;
            }
            changes.changed().await.unwrap();
        }
    };
    let waited = tokio::time::timeout(DEADLINE, wait).await;
    waited.unwrap_or_else(|_| panic!("not {what}: {:?}", leadership.shown()))
}

/// A child and its parent.
struct Family {
    child: Arc<UnderParent>,
    held: HeldLatch,
    leadership: Arc<Leadership>,
}

impl Family {
    fn start(settings: &ZooKeeperSettings, id: &str) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let held = hold_latch(ours, MASTER, settings).unwrap();
        let child = UnderParent::start(theirs, MASTER, settings.clone());
        let leadership = child.of(MASTER);
        leadership.contend(candidate(id));
        Self {
            child,
            held,
            leadership,
        }
    }
}

/// A host that holds its latch itself.
async fn alone(settings: &ZooKeeperSettings, id: &str) -> (Arc<dyn Elections>, Arc<Leadership>) {
    let elections = ElectionSettings::ZooKeeper(settings.clone())
        .elections()
        .unwrap();
    let leadership = elections.of(MASTER);
    leadership.contend(candidate(id));
    (elections, leadership)
}

async fn until_stands(leadership: &Arc<Leadership>, place: usize) {
    let stands = || (leadership.shown().place == Some(place)).then_some(());
    until(leadership, &format!("at place {place}"), stands).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_leads_by_the_latch_of_its_parent_and_hands_over_in_order() {
    let server = ZooKeeperServer::start().unwrap();
    let settings = settings(&server.url(), SESSION);
    let family = Family::start(&settings, "first");
    until_leads(&family.leadership).await;
    let fence = family.leadership.term().unwrap().fence.unwrap();
    let client = Client::connect(&server.url()).await.unwrap();
    assert!(client.check_stat(&fence).await.unwrap().is_some());
    let (others, second) = alone(&settings, "second").await;
    until_stands(&second, 1).await;
    let shown = second.shown();
    let ids = shown
        .participants
        .iter()
        .map(|one| one.candidate.as_ref().unwrap().id.as_str());
    assert_eq!(ids.collect::<Vec<_>>(), ["first", "second"]);
    // The endpoint ends, then the host, then the parent.
    family.leadership.withdraw();
    until_leads(&second).await;
    assert_eq!(family.leadership.term(), None);
    family.child.close().await;
    family.held.give_back().await;
    others.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_ends_gives_its_latch_back_though_it_said_nothing() {
    let server = ZooKeeperServer::start().unwrap();
    let settings = settings(&server.url(), SESSION);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let held = hold_latch(ours, MASTER, &settings).unwrap();
    // As a child does, until it is killed.
    let (mut news, orders) = super::pipe::join(theirs);
    let contend = super::latch::ToLatch::Contend(candidate("first"));
    orders.send(contend).await.unwrap();
    while !matches!(
        news.recv().await,
        Some(super::latch::FromLatch::Leads { .. })
    ) {}
    let (others, second) = alone(&settings, "second").await;
    until_stands(&second, 1).await;
    drop((news, orders));
    held.give_back().await;
    until_leads(&second).await;
    others.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_whose_parent_ends_leads_no_more_and_removes_the_latch_itself() {
    let server = ZooKeeperServer::start().unwrap();
    let settings = settings(&server.url(), SESSION);
    let (ours, theirs) = UnixStream::pair().unwrap();
    // The parent's session stays alive here, as that of a killed process does.
    let latches = Latches::start(&settings).unwrap();
    let (orders, mut news) = latches.join_for_tests(MASTER);
    let (mut told, tell) = super::pipe::join(ours);
    let parent = tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(order) = told.recv() => orders.send(order).await.unwrap(),
                Some(news) = news.recv() => tell.send(news).await.unwrap(),
            }
        }
    });
    let child = UnderParent::start(theirs, MASTER, settings.clone());
    let leadership = child.of(MASTER);
    leadership.contend(candidate("first"));
    until_leads(&leadership).await;
    let (others, second) = alone(&settings, "second").await;
    until_stands(&second, 1).await;
    parent.abort();
    child.parent_ended().await;
    assert_eq!(leadership.term(), None);
    until_leads(&second).await;
    child.close().await;
    others.close().await;
}

/// Doubt comes before another one leads, and ends when the servers say that the session is over: not only when
/// its time has passed.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_whose_parents_session_is_ended_by_another_client_leads_no_more_and_may_again() {
    let server = ZooKeeperServer::start().unwrap();
    let way = proxy_to(&server).await;
    let through = settings(&format!("127.0.0.1:{}", way.port()), SESSION);
    let family = Family::start(&through, "first");
    let first = Arc::clone(&family.leadership);
    let term = until_leads(&first).await;
    let (others, second) = alone(&settings(&server.url(), SESSION), "second").await;
    until_stands(&second, 1).await;
    let until_it_is = async |certainty| {
        let is = || (first.certainty(term) == certainty).then_some(());
        until(&first, &format!("{certainty:?}"), is).await;
    };
    // It cannot come back, so that it does not hear yet what happened.
    way.break_off().await;
    until_it_is(Certainty::Doubt).await;
    assert_eq!(expire_all(&way, &server).await, 1);
    until_leads(&second).await;
    assert_eq!(first.certainty(term), Certainty::Doubt);
    way.mend();
    until_it_is(Certainty::Over).await;
    until_stands(&first, 1).await;
    others.close().await;
    assert_ne!(until_leads(&first).await, term);
    family.child.close().await;
    family.held.give_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_holds_a_latch_for_one_endpoint_only() {
    let server = ZooKeeperServer::start().unwrap();
    let family = Family::start(&settings(&server.url(), SESSION), "first");
    let other = family.child.of("Other");
    other.contend(candidate("other"));
    let trouble = other.shown().trouble.unwrap();
    assert!(trouble.contains("`Master` only"), "{trouble}");
    assert_eq!(other.term(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leads_for_long_is_certain_all_the_time() {
    let server = ZooKeeperServer::start().unwrap();
    let (elections, leadership) =
        alone(&settings(&server.url(), Duration::from_secs(2)), "one").await;
    let term = until_leads(&leadership).await;
    let begin = leadership.certain_until(term).unwrap();
    // Renewed until long after the first proof has become old.
    let later = || (leadership.certain_until(term)? > begin + Duration::from_secs(2)).then_some(());
    let changes = async {
        while later().is_none() {
            assert_eq!(leadership.certainty(term), Certainty::Certain);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, changes).await.unwrap();
    elections.close().await;
}
