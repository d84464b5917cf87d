//! The backend with real servers. The rules of a lane by itself: `lane_tests.rs`.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use zookeeper_client::{Acls, CreateMode};

use super::lane::{Answer, Lane, Turn};
use super::*;
use crate::store::{Backend, EndpointStore, Store, limits};
use crate::zookeeper::Credentials;
use crate::zookeeper::tests::expire_all;
use crate::zookeeper::tests::proxy::Proxy;
use crate::zookeeper::tests::server::{Ensemble, Options, ZooKeeperServer};

/// A long time: until then a test waits for what has to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server of all tests that do not harm it. It ends with this process.
fn shared() -> &'static ZooKeeperServer {
    static SERVER: OnceLock<ZooKeeperServer> = OnceLock::new();
    SERVER.get_or_init(|| ZooKeeperServer::start().unwrap())
}

/// A part of the shared server for one test.
fn part() -> String {
    static PARTS: AtomicU32 = AtomicU32::new(0);
    let number = PARTS.fetch_add(1, Ordering::Relaxed);
    format!("{}/part-{number}", shared().url())
}

fn settings(url: &str) -> ZooKeeperSettings {
    ZooKeeperSettings {
        url: url.to_owned(),
        session_timeout: Duration::from_secs(4),
        ..ZooKeeperSettings::default()
    }
}

fn store(settings: &ZooKeeperSettings) -> Arc<Store> {
    store_with(settings, PATIENCE)
}

fn store_with(settings: &ZooKeeperSettings, patience: Duration) -> Arc<Store> {
    let mut store = ZooKeeperStore::open(settings).unwrap();
    store.read_patience = patience;
    store.close_limit = patience;
    let backend = Backend::ZooKeeper(store);
    Arc::new(Store { backend })
}

/// Somebody else at the same place.
async fn hand(url: &str) -> Client {
    Client::connect(url).await.unwrap()
}

const STATUS: &str = "/spark/master_status";

async fn raise(hand: &Client, fence: &str) {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    hand.create(fence, b"", &options).await.unwrap();
}

async fn create(hand: &Client, path: &str, data: &[u8]) {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    hand.create(path, data, &options).await.unwrap();
}

/// A store that leads: its chroot is there by the time when the fence is.
async fn leading(url: &str) -> (Arc<Store>, EndpointStore, Client) {
    let store = store(&settings(url));
    let kept = store.of("Master");
    assert!(kept.read("").await.unwrap().is_empty());
    let hand = hand(url).await;
    raise(&hand, "/fence").await;
    (store, kept, hand)
}

fn put(kept: &EndpointStore, fence: &str, of: &[(&str, Option<&str>)]) -> Ticket {
    let mut writes = Writes::default();
    for (name, value) in of {
        let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
        writes.put(kept, (*name).to_owned(), value).unwrap();
    }
    kept.submit(writes, Some(fence.into()))
}

async fn told(mut ticket: Ticket) -> Result<(), RpcError> {
    timeout(PATIENCE, ticket.wait()).await.unwrap()
}

/// What the failure says.
async fn fails(ticket: Ticket) -> String {
    let error = told(ticket).await.unwrap_err();
    assert_eq!(error.code(), "persistence", "{error}");
    error.to_string()
}

async fn all(kept: &EndpointStore) -> Vec<(String, String)> {
    let found = kept.read("").await.unwrap();
    let text = |value: Bytes| String::from_utf8(value.to_vec()).unwrap();
    found
        .into_iter()
        .map(|(name, value)| (name, text(value)))
        .collect()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing in: {text}");
    }
}

#[tokio::test]
async fn each_value_is_a_node_as_it_is_and_the_next_store_finds_it() {
    let url = part();
    let (store, kept, hand) = leading(&url).await;
    let names = ["app_1", "a/b", ".", "100%", "größe"];
    for name in names {
        told(put(&kept, "/fence", &[(name, Some("{\"v\":1}"))]))
            .await
            .unwrap();
    }
    let (data, _) = hand.get_data(&format!("{STATUS}/app_1")).await.unwrap();
    assert_eq!(data, b"{\"v\":1}");
    assert_eq!(hand.list_children(STATUS).await.unwrap().len(), names.len());
    let usage = kept.usage();
    store.close().await;
    has(
        &fails(put(&kept, "/fence", &[("late", Some("v"))])).await,
        &["closed"],
    );
    let store = super::tests::store(&settings(&url));
    let kept = store.of("Master");
    let mut expected = names.map(|name| (name.to_owned(), "{\"v\":1}".to_owned()));
    expected.sort();
    assert_eq!(all(&kept).await, expected);
    assert_eq!(kept.usage(), usage);
    assert_eq!(kept.read("app_").await.unwrap().len(), 1);
    // Another endpoint has a folder of its own.
    let other = store.of("other");
    told(put(&other, "/fence", &[("app_1", Some("x"))]))
        .await
        .unwrap();
    let (data, _) = hand.get_data("/spark/other/status/app_1").await.unwrap();
    assert_eq!(data, b"x");
    assert_eq!(other.usage().entries, 1);
    store.close().await;
}

#[tokio::test]
async fn what_was_submitted_is_read_and_counted_and_a_turn_is_whole() {
    let (store, kept, _hand) = leading(&part()).await;
    let mut tickets = Vec::new();
    for round in ["1", "2", "3"] {
        let round: &'static str = round;
        tickets.push(put(
            &kept,
            "/fence",
            &[("a", Some(round)), ("gone", Some("x"))],
        ));
        assert_eq!(kept.usage().entries, 2);
        assert_eq!(all(&kept).await, pairs(&[("a", round), ("gone", "x")]));
    }
    tickets.push(put(&kept, "/fence", &[("gone", None), ("never", None)]));
    tickets.push(put(
        &kept,
        "/fence",
        &[("b", Some("")), ("gone", Some("again"))],
    ));
    for ticket in tickets {
        told(ticket).await.unwrap();
    }
    assert_eq!(
        all(&kept).await,
        pairs(&[("a", "3"), ("b", ""), ("gone", "again")])
    );
    assert_eq!(kept.size_of("gone"), Some(5));
    store.close().await;
}

#[tokio::test]
async fn who_does_not_lead_reads_and_writes_nothing() {
    let (store, kept, hand) = leading(&part()).await;
    assert_eq!(kept.check_writable(None).unwrap_err().code(), "denied");
    kept.check_writable(Some("/fence")).unwrap();
    let mut writes = Writes::default();
    writes.put(&kept, "a".to_owned(), Some("v".into())).unwrap();
    let denied = told(kept.submit(writes, None)).await.unwrap_err();
    assert_eq!(denied.code(), "denied");
    has(
        &denied.to_string(),
        &["only an endpoint that leads", "`lead`"],
    );
    assert!(kept.read("").await.unwrap().is_empty());
    assert_eq!(hand.check_stat(STATUS).await.unwrap(), None);
    store.close().await;
}

/// A leader that was stopped and goes on: its session lives, its leadership does not.
#[tokio::test]
async fn nothing_is_written_once_the_fence_is_gone() {
    let url = part();
    let (first, one, hand) = leading(&url).await;
    told(put(&one, "/fence", &[("a", Some("1")), ("b", Some("1"))]))
        .await
        .unwrap();
    hand.delete("/fence", None).await.unwrap();
    let late = fails(put(&one, "/fence", &[("a", Some("late"))])).await;
    has(
        &late,
        &["leadership", "/fence", "nothing of this turn was written"],
    );
    assert_eq!(all(&one).await, pairs(&[("a", "1"), ("b", "1")]));
    assert_eq!(one.usage().bytes, 4, "what failed does not count");
    // Somebody else leads meanwhile.
    raise(&hand, "/fence-2").await;
    let second = store(&settings(&url));
    let two = second.of("Master");
    assert_eq!(all(&two).await, pairs(&[("a", "1"), ("b", "1")]));
    let new = [("a", None), ("c", Some("2"))];
    told(put(&two, "/fence-2", &new)).await.unwrap();
    let late = put(&one, "/fence", &[("a", Some("late"))]);
    let later = put(&one, "/fence", &[("d", Some("late"))]);
    fails(late).await;
    fails(later).await;
    assert_eq!(all(&two).await, pairs(&[("b", "1"), ("c", "2")]));
    // And the first one leads again, and knows what happened since.
    hand.delete("/fence-2", None).await.unwrap();
    raise(&hand, "/fence-3").await;
    let third = [("a", Some("3")), ("b", Some("3")), ("c", Some("3"))];
    told(put(&one, "/fence-3", &third)).await.unwrap();
    assert_eq!(
        all(&two).await,
        pairs(&[("a", "3"), ("b", "3"), ("c", "3")])
    );
    assert_eq!(one.usage(), two.usage());
    first.close().await;
    second.close().await;
}

#[tokio::test]
async fn writes_of_two_leaderships_that_wait_together_end_each_as_it_should() {
    let (store, kept, hand) = leading(&part()).await;
    raise(&hand, "/fence-2").await;
    hand.delete("/fence", None).await.unwrap();
    let old: Vec<_> = (0..20)
        .map(|_| put(&kept, "/fence", &[("a", Some("old"))]))
        .collect();
    let new: Vec<_> = (0..20)
        .map(|_| put(&kept, "/fence-2", &[("b", Some("new"))]))
        .collect();
    for ticket in old {
        fails(ticket).await;
    }
    for ticket in new {
        told(ticket).await.unwrap();
    }
    assert_eq!(all(&kept).await, pairs(&[("b", "new")]));
    store.close().await;
}

#[tokio::test]
async fn what_cannot_fit_is_refused_before_and_what_just_fits_is_written() {
    let (store, kept, _hand) = leading(&part()).await;
    let name = "n".repeat(limits::NAME_BYTES_MAX);
    let largest = Bytes::from(vec![b'x'; limits::ZOOKEEPER_VALUE_BYTES_MAX]);
    let mut writes = Writes::default();
    writes
        .put(&kept, "kept".to_owned(), Some("v".into()))
        .unwrap();
    let larger = Bytes::from(vec![b'x'; limits::ZOOKEEPER_VALUE_BYTES_MAX + 1]);
    let error = writes.put(&kept, name.clone(), Some(larger)).unwrap_err();
    assert_eq!(error.code(), "too-large");
    has(
        &error.to_string(),
        &["983041", "983040", "largest value in ZooKeeper"],
    );
    writes.put(&kept, name, Some(largest.clone())).unwrap();
    let error = writes
        .put(&kept, "m".to_owned(), Some(largest))
        .unwrap_err();
    assert_eq!(error.code(), "too-large");
    has(&error.to_string(), &["largest turn in ZooKeeper"]);
    told(kept.submit(writes, Some("/fence".into())))
        .await
        .unwrap();
    // Nothing of small values but paths: the whole of it is one request all the same.
    let mut writes = Writes::default();
    let mut count = 0;
    let full = loop {
        match writes.put(&kept, format!("{count}"), Some(Bytes::new())) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full.code(), "too-large");
    assert!(count > 5000, "{count}");
    told(kept.submit(writes, Some("/fence".into())))
        .await
        .unwrap();
    assert_eq!(kept.read("").await.unwrap().len(), count + 2);
    // All of them gone in one turn, and both limits hold for names.
    let mut writes = Writes::default();
    for number in 0..count {
        writes.put(&kept, format!("{number}"), None).unwrap();
    }
    told(kept.submit(writes, Some("/fence".into())))
        .await
        .unwrap();
    assert_eq!(kept.usage().entries, 2);
    store.close().await;
}

#[tokio::test]
async fn somebodys_hand_is_found_out() {
    let (store, kept, hand) = leading(&part()).await;
    let at = |name: &str| format!("{STATUS}/{name}");
    told(put(&kept, "/fence", &[("a", Some("1")), ("b", Some("1"))]))
        .await
        .unwrap();
    hand.delete(&at("a"), None).await.unwrap();
    create(&hand, &at("c"), b"hand").await;
    told(put(&kept, "/fence", &[("a", Some("2")), ("c", Some("2"))]))
        .await
        .unwrap();
    hand.delete(&at("b"), None).await.unwrap();
    told(put(&kept, "/fence", &[("b", None)])).await.unwrap();
    assert_eq!(all(&kept).await, pairs(&[("a", "2"), ("c", "2")]));
    // The folder itself changed, and gone.
    hand.set_data(STATUS, b"hand", None).await.unwrap();
    told(put(&kept, "/fence", &[("c", None)])).await.unwrap();
    hand.delete(&at("a"), None).await.unwrap();
    hand.delete(STATUS, None).await.unwrap();
    told(put(&kept, "/fence", &[("a", Some("3"))]))
        .await
        .unwrap();
    assert_eq!(all(&kept).await, pairs(&[("a", "3")]));
    // What cannot be mended fails the turn that it is about, and says where.
    create(&hand, &at("a/below"), b"hand").await;
    let before = put(&kept, "/fence", &[("x", Some("1"))]);
    let stuck = put(&kept, "/fence", &[("a", None), ("y", Some("1"))]);
    let after = put(&kept, "/fence", &[("z", Some("1"))]);
    told(before).await.unwrap();
    has(
        &fails(stuck).await,
        &["/spark/master_status/a", "not empty", "127.0.0.1"],
    );
    told(after).await.unwrap();
    assert_eq!(
        all(&kept).await,
        pairs(&[("a", "3"), ("x", "1"), ("z", "1")])
    );
    store.close().await;
}

#[tokio::test]
async fn what_is_made_is_for_us_alone_and_what_is_not_ours_to_read_is_named() {
    let url = part();
    let mut ours = settings(&url);
    ours.credentials = Some(Credentials::Digest("us:secret".to_owned()));
    let store = store(&ours);
    let kept = store.of("Master");
    kept.read("").await.unwrap();
    let hand = Client::connector()
        .with_auth("digest", b"us:secret")
        .connect(&url)
        .await
        .unwrap();
    raise(&hand, "/fence").await;
    told(put(&kept, "/fence", &[("a", Some("1"))]))
        .await
        .unwrap();
    let stranger = super::tests::hand(&url).await;
    let path = format!("{STATUS}/a");
    let refused = stranger.get_data(&path).await.unwrap_err();
    assert_eq!(refused, zookeeper_client::Error::NoAuth);
    let theirs = super::tests::store(&settings(&url));
    let error = theirs.of("Master").read("").await.unwrap_err();
    has(
        &error.to_string(),
        &["not authorized", "/spark/master_status"],
    );
    // A single node.
    let stranger = Client::connector()
        .with_auth("digest", b"them:secret")
        .connect(&url)
        .await
        .unwrap();
    let everyone: Vec<_> = Acls::anyone_all().iter().cloned().collect();
    hand.set_acl(STATUS, &everyone, None).await.unwrap();
    let options = CreateMode::Persistent.with_acls(Acls::creator_all());
    stranger
        .create(&format!("{STATUS}/b"), b"x", &options)
        .await
        .unwrap();
    let error = kept.read("").await.unwrap_err();
    has(
        &error.to_string(),
        &["not authorized", "/spark/master_status/b"],
    );
    theirs.close().await;
    store.close().await;
}

/// A server that takes less than we think: the turn that is too large is told so, and others go on.
#[tokio::test]
async fn a_server_that_takes_less_than_others_is_named_as_the_reason() {
    let options = Options {
        jute_max_buffer: Some(100_000),
        ..Options::default()
    };
    let server = ZooKeeperServer::start_with(options).unwrap();
    let (store, kept, _hand) = leading(&server.url()).await;
    let large = "x".repeat(200_000);
    let before = put(&kept, "/fence", &[("a", Some("1"))]);
    let turn = put(&kept, "/fence", &[("large", Some(large.as_str()))]);
    let after = put(&kept, "/fence", &[("b", Some("1"))]);
    told(before).await.unwrap();
    has(
        &fails(turn).await,
        &["jute.maxbuffer", "nothing of this turn"],
    );
    told(after).await.unwrap();
    assert_eq!(all(&kept).await, pairs(&[("a", "1"), ("b", "1")]));
    store.close().await;
}

/// Without a server: who reads is told after a while, who writes waits.
#[tokio::test]
async fn before_there_is_a_server_reads_fail_in_time_and_writes_wait() {
    let mut server = ZooKeeperServer::start().unwrap();
    let client = hand(&server.url()).await;
    raise(&client, "/fence").await;
    drop(client);
    server.kill();
    let store = store_with(&settings(&server.url()), Duration::from_millis(300));
    let kept = store.of("Master");
    let error = kept.read("").await.unwrap_err().to_string();
    has(&error, &["waited 300ms for a server", &server.url()]);
    let mut ticket = put(&kept, "/fence", &[("a", Some("1"))]);
    let error = kept.read("").await.unwrap_err().to_string();
    has(&error, &["written before this read"]);
    assert!(ticket.look().is_none());
    server.restart().unwrap();
    told(ticket).await.unwrap();
    assert_eq!(all(&kept).await, pairs(&[("a", "1")]));
    server.kill();
    let ticket = put(&kept, "/fence", &[("a", Some("2"))]);
    store.close().await;
    assert!(fails(ticket).await.contains("closed"));
}

/// What was lost on its way because a session ended is written in the next session.
#[tokio::test]
async fn a_session_that_expires_loses_nothing() {
    let at = SocketAddr::from(([127, 0, 0, 1], shared().port()));
    let proxy = Proxy::to(at).await;
    let part = part();
    let (_, chroot) = part.split_once('/').unwrap();
    let (_store, _kept, hand) = leading(&part).await;
    let mut through = settings(&format!("127.0.0.1:{}/{chroot}", proxy.port()));
    through.session_timeout = Duration::from_millis(600);
    let store = store(&through);
    let kept = store.of("Master");
    told(put(&kept, "/fence", &[("a", Some("0"))]))
        .await
        .unwrap();
    let Backend::ZooKeeper(backend) = &store.backend else {
        unreachable!()
    };
    let mut states = backend.session.state();
    proxy.hold();
    let tickets: Vec<_> = (0..50)
        .map(|_| put(&kept, "/fence", &[("a", Some("1")), ("b", Some("1"))]))
        .collect();
    let over = states.wait_for(|state| matches!(state, SessionState::Connecting { .. }));
    timeout(PATIENCE, over).await.unwrap().unwrap();
    proxy.mend();
    for ticket in tickets {
        told(ticket).await.unwrap();
    }
    // The same, but leadership went as well.
    proxy.hold();
    let sent = put(&kept, "/fence", &[("a", Some("2"))]);
    let over = states.wait_for(|state| matches!(state, SessionState::Connecting { .. }));
    timeout(PATIENCE, over).await.unwrap().unwrap();
    hand.delete("/fence", None).await.unwrap();
    proxy.mend();
    has(&fails(sent).await, &["leadership"]);
    let found = all(&kept).await;
    // What was held may have arrived with the old session, before the fence went.
    assert!(found == pairs(&[("a", "1"), ("b", "1")]) || found == pairs(&[("a", "2"), ("b", "1")]));
    store.close().await;
}

/// A generator: what it gives follows from the seed.
struct Random(u64);

impl Random {
    fn new() -> (Self, u64) {
        let given = std::env::var("INSTAR_SEED").ok();
        let given = given.and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
        println!("INSTAR_SEED={seed}");
        (Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1), seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Turns that are on their way, with what each of them leaves, as a model says.
struct Load {
    kept: EndpointStore,
    model: BTreeMap<String, String>,
    /// After each turn; its place is the turn's number.
    states: Vec<BTreeMap<String, String>>,
    tickets: VecDeque<Ticket>,
    acknowledged: usize,
    checked: usize,
}

impl Load {
    fn new(kept: &EndpointStore) -> Self {
        Self {
            kept: kept.clone(),
            model: BTreeMap::new(),
            states: vec![BTreeMap::new()],
            tickets: VecDeque::new(),
            acknowledged: 0,
            checked: 0,
        }
    }

    fn turn(&mut self, random: &mut Random) {
        let number = self.states.len().to_string();
        // All that a turn writes bears its number: half of a turn would be seen.
        let mut writes = vec![("turn".to_owned(), Some(number.clone()))];
        for _ in 0..random.below(4) {
            let name = format!("n{}", random.below(20));
            writes.push((name, (random.below(3) > 0).then(|| number.clone())));
        }
        let mut turn = Writes::default();
        for (name, value) in writes {
            match &value {
                Some(value) => drop(self.model.insert(name.clone(), value.clone())),
                None => drop(self.model.remove(&name)),
            }
            turn.put(&self.kept, name, value.map(Bytes::from)).unwrap();
        }
        self.states.push(self.model.clone());
        self.tickets
            .push_back(self.kept.submit(turn, Some("/fence".into())));
    }

    /// What is there, at this moment, is what one turn left, and not one before the last that was
    /// acknowledged. `direct`: of somebody who reads over another connection.
    async fn check(&mut self, direct: &EndpointStore, hand: &Client, seed: u64) {
        while let Some(first) = self.tickets.front_mut()
            && let Some(outcome) = first.look()
        {
            outcome.unwrap();
            self.tickets.pop_front();
            self.acknowledged += 1;
        }
        let before = hand.check_stat(STATUS).await.unwrap();
        let found: BTreeMap<_, _> = all(direct).await.into_iter().collect();
        let after = hand.check_stat(STATUS).await.unwrap();
        if before.map(|stat| stat.version) != after.map(|stat| stat.version) {
            // Some of it was read before a turn, and some after it.
            return;
        }
        let turn = found.get("turn").map_or(0, |turn| turn.parse().unwrap());
        let acknowledged = self.acknowledged;
        assert!(
            turn >= acknowledged,
            "INSTAR_SEED={seed}: turn {turn} of {acknowledged}"
        );
        assert_eq!(found, self.states[turn], "INSTAR_SEED={seed}: turn {turn}");
        self.checked += 1;
    }

    async fn end(&mut self, hand: &EndpointStore, seed: u64) {
        for ticket in std::mem::take(&mut self.tickets) {
            told(ticket).await.unwrap();
            self.acknowledged += 1;
        }
        assert_eq!(self.acknowledged, self.states.len() - 1);
        let found: BTreeMap<_, _> = all(hand).await.into_iter().collect();
        assert_eq!(found, self.model, "INSTAR_SEED={seed}");
    }
}

/// A commit that comes late, after others wrote, is not made; nor is one that comes twice.
#[tokio::test]
async fn a_commit_is_made_only_where_the_one_before_left_the_folder() {
    let url = part();
    let (store, kept, hand) = leading(&url).await;
    told(put(&kept, "/fence", &[("a", Some("0"))]))
        .await
        .unwrap();
    let (_, stat) = hand.get_data(STATUS).await.unwrap();
    let place = Place {
        endpoint: "Master".into(),
        folder: STATUS.to_owned(),
        servers: "".into(),
        writer: "late".to_owned(),
    };
    let acls = Acls::anyone_all();
    for (version, expected) in [
        (stat.version - 1, Answer::Moved),
        (stat.version, Answer::Done),
        (stat.version, Answer::Moved),
    ] {
        let mut writes = Writes::default();
        let value = Bytes::from(version.to_string());
        writes.put(&kept, "a".to_owned(), Some(value)).unwrap();
        let mut lane = Lane::new(place.writer.clone());
        lane.push(Turn {
            number: 1,
            fence: "/fence".into(),
            writes,
            looked: false,
            losses: 0,
        });
        // A turn before says under which fence it is opened.
        lane.open_at(version);
        let group = lane.next(|_| true).unwrap();
        let answer = task::send(&hand, &place, group, &acls, PATIENCE).await;
        assert_eq!(answer, expected, "at {version}, and it is {}", stat.version);
    }
    let (now, _) = hand.get_data(&place.path("a")).await.unwrap();
    assert_eq!(now, stat.version.to_string().into_bytes());
    store.close().await;
}

/// The connection is cut, breaks and is held, and the session is ended by another client, in the middle of many
/// writes: all of them are made, whole, in order, and none before it was acknowledged is ever missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cuts_in_the_middle_of_many_writes_lose_and_mix_nothing() {
    let (mut random, seed) = Random::new();
    let part = part();
    let (other, direct, hand) = leading(&part).await;
    let proxy = Proxy::to(SocketAddr::from(([127, 0, 0, 1], shared().port()))).await;
    let (_, chroot) = part.split_once('/').unwrap();
    let mut through = settings(&format!("127.0.0.1:{}/{chroot}", proxy.port()));
    through.session_timeout = Duration::from_secs(1);
    let store = store(&through);
    let mut load = Load::new(&store.of("Master"));
    for _ in 0..40 {
        for _ in 0..random.below(120) {
            load.turn(&mut random);
        }
        tokio::time::sleep(Duration::from_millis(random.below(15))).await;
        match random.below(4) {
            0 => proxy.cut().await,
            1 => proxy.break_off().await,
            2 => {
                expire_all(&proxy, shared()).await;
            }
            _ => {
                proxy.hold();
                load.turn(&mut random);
                if random.below(2) == 0 {
                    proxy.cut().await;
                }
            }
        }
        load.turn(&mut random);
        load.check(&direct, &hand, seed).await;
        proxy.mend();
    }
    load.end(&direct, seed).await;
    assert!(load.checked > 0, "INSTAR_SEED={seed}");
    store.close().await;
    other.close().await;
}

/// The server is killed and started again, and frozen, under load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_restarted_under_load_has_all_that_was_acknowledged() {
    let (mut random, seed) = Random::new();
    let mut server = ZooKeeperServer::start().unwrap();
    let (store, kept, _hand) = leading(&server.url()).await;
    let mut load = Load::new(&kept);
    for round in 0..4 {
        for _ in 0..300 {
            load.turn(&mut random);
        }
        tokio::time::sleep(Duration::from_millis(random.below(30))).await;
        match round % 2 {
            0 => {
                server.kill();
                load.turn(&mut random);
                server.restart().unwrap();
            }
            _ => {
                server.freeze().unwrap();
                tokio::time::sleep(Duration::from_millis(random.below(2000))).await;
                server.thaw().unwrap();
            }
        }
    }
    load.end(&kept, seed).await;
    store.close().await;
}

/// Several servers: what one of them acknowledged another one shows to who reads there next, though it may lag
/// behind; and those who write go on with the servers that are left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_servers_each_shows_what_another_one_acknowledged() {
    let (mut random, seed) = Random::new();
    let mut ensemble = Ensemble::start().unwrap();
    let urls: Vec<_> = ensemble.servers.iter().map(ZooKeeperServer::url).collect();
    let (store, kept, _hand) = leading(&urls.join(",")).await;
    let elsewhere: Vec<_> = urls
        .iter()
        .map(|url| super::tests::store(&settings(url)))
        .collect();
    for round in 0..60 {
        let value = round.to_string();
        told(put(&kept, "/fence", &[("a", Some(&value))]))
            .await
            .unwrap();
        let other = &elsewhere[round % 3];
        assert_eq!(all(&other.of("Master")).await, pairs(&[("a", &value)]));
    }
    told(put(&kept, "/fence", &[("a", None)])).await.unwrap();
    let mut load = Load::new(&kept);
    for victim in 0..3 {
        for _ in 0..200 {
            load.turn(&mut random);
        }
        tokio::time::sleep(Duration::from_millis(random.below(20))).await;
        ensemble.servers[victim].kill();
        for _ in 0..200 {
            load.turn(&mut random);
        }
        ensemble.mend().unwrap();
    }
    load.end(&elsewhere[0].of("Master"), seed).await;
    for store in elsewhere {
        store.close().await;
    }
    store.close().await;
}
