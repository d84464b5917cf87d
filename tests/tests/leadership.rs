//! Leadership: an endpoint is told whether it leads, and what it decided while it led shows only as long as
//! it is known to lead. The election is moved by hand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fixture_candidate::{Decide, Decided, Forge, GetLog, Kept, Later, Note, Panic, Resign, WAITS};
use instar_host::election::Elections;
use instar_host::election::leadership::{Candidate, EntryFormats, Leadership, Participant};
use instar_host::endpoint::SwapError;
use instar_host::endpoint::record::SwapOutcome;
use instar_host::endpoint::settings::EndpointSettings;
use instar_host::endpoint::status::{EndpointState, Metric, Role};
use instar_host::zookeeper::ZooKeeperSettings;
use instar_host::{ElectionSettings, EndpointRef, RpcEnv, RpcError, RpcSettings, StoreSettings};
use instar_sdk::leadership::{ElectedLeader, RevokedLeadership};
use instar_tests::zookeeper::free_ports;
use instar_tests::{DEADLINE, ask, client, component, eventually, message, server, start};
use tokio::task::JoinHandle;

const HOUR: Duration = Duration::from_secs(3600);

/// One election, moved by a test.
struct ByHand(Arc<Leadership>);

impl Elections for ByHand {
    fn of(&self, _endpoint: &str) -> Arc<Leadership> {
        Arc::clone(&self.0)
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

/// A host with the candidate `c` and its sink `sink`, which hears what that is told and decides.
struct Host {
    env: RpcEnv,
    candidate: EndpointRef,
    sink: EndpointRef,
    election: Arc<Leadership>,
}

type Asked = JoinHandle<Result<Decided, RpcError>>;

fn granted(config: &[(&str, &str)]) -> EndpointSettings {
    let pairs = config
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let mut settings = EndpointSettings {
        grants: ["lead", "persist", "registry"].map(str::to_owned).into(),
        config: pairs.collect(),
        ..EndpointSettings::default()
    };
    // A turn of a test waits for the test.
    settings.limits.turn = HOUR;
    settings
}

impl Host {
    async fn start() -> Self {
        Self::start_with(server(), |_| {}).await
    }

    async fn start_with(settings: RpcSettings, limit: impl FnOnce(&mut EndpointSettings)) -> Self {
        let election = Leadership::new("by hand");
        let by_hand = ByHand(Arc::clone(&election));
        let env = start(RpcSettings {
            election: ElectionSettings::By(Arc::new(by_hand)),
            ..settings
        })
        .await;
        let code = component("candidate-v1");
        let aside = granted(&[("stands", "no")]);
        let sink = env.setup_endpoint("sink", &code, aside).await.unwrap();
        let mut settings = granted(&[("sink", "sink")]);
        limit(&mut settings);
        let candidate = env.setup_endpoint("c", &code, settings).await.unwrap();
        let host = Self {
            env,
            candidate,
            sink,
            election,
        };
        host.stands("1.0.0").await;
        host
    }

    /// Waits until it stands for election as this version.
    async fn stands(&self, version: &str) {
        eventually(&format!("it stands as {version}"), || async {
            let candidate = self.election.wishes().borrow().candidate.clone()?;
            (candidate.version == version).then_some(())
        })
        .await;
    }

    async fn stands_no_more(&self) {
        eventually("it stands no more", || async {
            let wishes = self.election.wishes();
            let stands = wishes.borrow().candidate.is_some();
            (!stands).then_some(())
        })
        .await;
    }

    /// A term that is certain as long as nobody says otherwise.
    fn elect(&self) {
        self.election
            .begin(Some("/fence".into()), Some(Instant::now() + HOUR));
    }

    /// What the sink heard.
    async fn heard(&self) -> Vec<String> {
        eventually("room at the sink", || async {
            match ask(&self.sink, &GetLog {}).await {
                Err(RpcError::InboxFull { .. }) => None,
                log => Some(log.unwrap().lines),
            }
        })
        .await
    }

    async fn hears(&self, lines: &[&str]) {
        eventually(&format!("the sink hears {lines:?}"), || async {
            (self.heard().await == lines).then_some(())
        })
        .await;
    }

    async fn log(&self) -> Vec<String> {
        ask(&self.candidate, &GetLog {}).await.unwrap().lines
    }

    fn decide(&self, decide: Decide) -> Asked {
        let candidate = self.candidate.clone();
        tokio::spawn(async move { ask(&candidate, &decide).await })
    }

    /// A decision whose turn has begun, and ends with [`Host::let_go`].
    async fn deciding(&self, decide: Decide) -> Asked {
        let when = decide.text.clone();
        let waiting = self.waiting();
        let asked = self.decide(Decide { when, ..decide });
        eventually("its turn has begun", || async {
            (self.waiting() > waiting).then_some(())
        })
        .await;
        asked
    }

    fn waiting(&self) -> u64 {
        let status = self.env.status_of("c").unwrap();
        match status.metrics.get(WAITS) {
            Some(Metric::Counter { value }) => *value,
            _ => 0,
        }
    }

    fn turns(&self) -> u64 {
        self.env.status_of("c").unwrap().turns
    }

    /// Lets a turn end that waits for it, and waits until it has ended.
    async fn let_go(&self, text: &str) {
        let turns = self.turns();
        let settings = granted(&[("stands", "no")]);
        let code = component("candidate-v1");
        self.env
            .setup_endpoint(text, &code, settings)
            .await
            .unwrap();
        eventually("its turn has ended", || async {
            (self.turns() > turns).then_some(())
        })
        .await;
    }

    fn role(&self) -> Role {
        self.env.status_of("c").unwrap().election.unwrap().role
    }

    fn dead_letters(&self, code: &str) -> u64 {
        let status = self.env.status_of("c").unwrap();
        status.dead_letters.get(code).copied().unwrap_or_default()
    }
}

fn noting(text: &str, notes: u64) -> Decide {
    Decide {
        text: text.to_owned(),
        notes,
        ..Decide::default()
    }
}

async fn refused(asked: Asked) {
    let error = asked.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "leadership", "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn elected_and_revoked_come_at_once_and_in_turn() {
    let host = Host::start().await;
    assert_eq!(host.role(), Role::StandsBy);
    // Told without any message of anybody.
    host.elect();
    host.hears(&["elected 1"]).await;
    assert_eq!(host.role(), Role::Leads);
    assert_eq!(host.log().await, ["elected 1"]);
    host.election.end();
    host.hears(&["elected 1", "revoked"]).await;
    assert_eq!(host.role(), Role::StandsBy);
    host.elect();
    host.hears(&["elected 1", "revoked", "elected 2"]).await;
    // A term that follows at once.
    host.elect();
    let all = ["elected 1", "revoked", "elected 2", "revoked", "elected 3"];
    host.hears(&all).await;
    assert_eq!(host.log().await, all);
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_stand_hears_of_nothing() {
    let host = Host::start().await;
    host.elect();
    host.hears(&["elected 1"]).await;
    assert!(host.env.status_of("sink").unwrap().election.is_none());
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_election_it_leads_at_once() {
    let env = start(server()).await;
    let code = component("candidate-v1");
    let candidate = env.setup_endpoint("c", &code, granted(&[])).await.unwrap();
    eventually("it leads", || async {
        let log = ask(&candidate, &GetLog {}).await.unwrap();
        (log.lines == ["elected 1"]).then_some(())
    })
    .await;
    let status = env.status_of("c").unwrap().election.unwrap();
    assert_eq!((status.mode.as_str(), status.role), ("none", Role::Leads));
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loses_what_was_told_and_the_next_instance_is_told_again() {
    let host = Host::start().await;
    host.elect();
    host.hears(&["elected 1"]).await;
    host.candidate.send(message(&Panic {})).await.unwrap();
    host.hears(&["elected 1", "elected 1"]).await;
    // The next instance is told before everything that waits.
    assert_eq!(host.log().await, ["elected 1", "error crashed"]);
    assert_eq!(host.env.status_of("c").unwrap().crashes, 1);
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_crashes_too_often_leads_no_more_until_it_is_revived() {
    let host = Host::start().await;
    host.elect();
    host.hears(&["elected 1"]).await;
    for _ in 0..6 {
        host.candidate.send(message(&Panic {})).await.unwrap();
    }
    eventually("it has failed", || async {
        let state = host.env.status_of("c")?.state;
        matches!(state, EndpointState::Failed(_)).then_some(())
    })
    .await;
    host.stands_no_more().await;
    host.election.end();
    host.env.restart("c").await.unwrap();
    host.stands("1.0.0").await;
    host.elect();
    eventually("it is told", || async {
        (host.log().await == ["elected 2"]).then_some(())
    })
    .await;
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leading_survives_a_swap_and_the_others_see_the_new_version() {
    let host = Host::start().await;
    host.elect();
    host.hears(&["elected 1"]).await;
    let record = host
        .env
        .swap("c", &component("candidate-v2"), None, "test")
        .await;
    assert_eq!(record.unwrap().outcome, SwapOutcome::Swapped);
    host.stands("2.0.0").await;
    let candidate = host.election.wishes().borrow().candidate.clone().unwrap();
    assert_eq!(candidate.id, host.candidate.to_string());
    let entries = candidate.entries.unwrap();
    assert_eq!((entries.writes, entries.reads), (2, vec![1, 2]));
    assert_eq!(host.log().await, ["elected 1"]);
    host.election.end();
    host.hears(&["elected 1", "revoked"]).await;
    host.env.rollback("c", None).await.unwrap();
    host.stands("1.0.0").await;
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_cannot_stand_stands_no_more() {
    let host = Host::start().await;
    let mut settings = granted(&[]);
    settings.grants.insert("message:*".to_owned());
    // Its state, a number, is written like that of a candidate that was told nothing.
    let code = component("wider-narrow");
    let swapped = host.env.swap("c", &code, Some(settings), "test").await;
    assert_eq!(swapped.unwrap().outcome, SwapOutcome::Swapped);
    host.stands_no_more().await;
    assert_eq!(host.role(), Role::DoesNotStand);
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_does_not_stand_withdraws_what_the_one_before_wanted() {
    let host = Host::start().await;
    host.elect();
    host.hears(&["elected 1"]).await;
    let settings = granted(&[("sink", "sink"), ("stands", "no")]);
    let code = component("candidate-v1");
    host.env
        .swap("c", &code, Some(settings), "test")
        .await
        .unwrap();
    assert_eq!(host.role(), Role::Leads, "a swap is no beginning");
    host.env.restart("c").await.unwrap();
    host.stands_no_more().await;
    assert_eq!(host.role(), Role::DoesNotStand);
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_doubt_answers_and_sends_wait_and_leave_in_order_when_it_leads_again() {
    let host = Host::start().await;
    host.elect();
    host.hears(&["elected 1"]).await;
    let first = host.deciding(noting("first", 3)).await;
    let second = host.decide(noting("second", 1));
    host.election.doubt();
    host.let_go("first").await;
    assert_eq!(host.role(), Role::InDoubt);
    // Nothing of it shows, and no other turn begins.
    let turns = host.turns();
    assert_eq!(host.heard().await, ["elected 1"]);
    assert!(!first.is_finished() && !second.is_finished());
    assert_eq!(host.turns(), turns);
    host.election.renew(Instant::now() + HOUR);
    assert_eq!(first.await.unwrap().unwrap().text, "first");
    assert_eq!(second.await.unwrap().unwrap().text, "second");
    host.hears(&["elected 1", "first 0", "first 1", "first 2", "second 0"])
        .await;
    assert_eq!(
        host.log().await,
        ["elected 1"],
        "it never heard of the doubt"
    );
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doubt_that_begins_while_it_sleeps_lets_no_turn_begin() {
    let host = Host::start().await;
    for leads_again in [true, false] {
        host.elect();
        eventually("it leads", || async {
            // Told and revoked in turn.
            let told = host.log().await.len();
            (told % 2 == 1).then_some(())
        })
        .await;
        // It grows old by itself: nobody tells.
        host.election.renew(Instant::now());
        assert_eq!(host.role(), Role::InDoubt);
        let asked = host.decide(noting("late", 1));
        // It sleeps, and takes the message out of its inbox to keep it; or has seen the doubt before.
        eventually("the message has arrived", || async {
            let status = host.env.status_of("c")?;
            (status.open_calls + status.inbox == 1).then_some(())
        })
        .await;
        assert!(!asked.is_finished());
        match leads_again {
            true => host.election.renew(Instant::now() + HOUR),
            false => host.election.end(),
        }
        // Of a turn that had begun as the leader's nothing would be left.
        assert_eq!(asked.await.unwrap().unwrap().text, "late");
        if leads_again {
            host.election.end();
            host.hears(&["elected 1", "late 0", "revoked"]).await;
        }
    }
    let all = [
        "elected 1",
        "late 0",
        "revoked",
        "elected 2",
        "revoked",
        "late 0",
    ];
    host.hears(&all).await;
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_is_dropped_when_the_term_is_over_and_all_who_wait_are_told() {
    let host = Host::start().await;
    host.elect();
    host.hears(&["elected 1"]).await;
    let decide = Decide {
        timer: true,
        asks: true,
        ..noting("first", 2)
    };
    let first = host.deciding(decide).await;
    host.election.doubt();
    host.let_go("first").await;
    host.election.end();
    refused(first).await;
    host.hears(&["elected 1", "revoked"]).await;
    assert_eq!(host.dead_letters("leadership"), 2);
    // What only the endpoint itself sees is as it believes: the timer runs, the ask has its outcome.
    eventually("timer and ask", || async {
        let log = host.log().await;
        let has = |line: &str| log.iter().any(|l| l == line);
        (has("timer of first") && has("ask of first: leadership")).then_some(())
    })
    .await;
    assert_eq!(host.log().await[..2], ["elected 1", "revoked"]);
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_late_lets_nothing_out() {
    let host = Host::start().await;
    host.elect();
    host.hears(&["elected 1"]).await;
    let first = host.deciding(noting("first", 1)).await;
    // As after a stop of the whole process: its time is over, and nobody told it yet.
    host.election.renew(Instant::now());
    host.let_go("first").await;
    assert_eq!(host.heard().await, ["elected 1"]);
    assert!(!first.is_finished());
    host.election.end();
    refused(first).await;
    host.hears(&["elected 1", "revoked"]).await;
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_under_one_term_does_not_count_under_the_next() {
    let host = Host::start().await;
    host.elect();
    host.hears(&["elected 1"]).await;
    // The term ends within the turn.
    let within = host.deciding(noting("within", 1)).await;
    host.election.end();
    host.elect();
    host.let_go("within").await;
    refused(within).await;
    host.hears(&["elected 1", "revoked", "elected 2"]).await;
    // The term ends while it waits.
    let waits = host.deciding(noting("waits", 1)).await;
    host.election.doubt();
    host.let_go("waits").await;
    host.elect();
    refused(waits).await;
    let all = ["elected 1", "revoked", "elected 2", "revoked", "elected 3"];
    host.hears(&all).await;
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_room_is_dropped_as_well_and_revoked_comes_all_the_same() {
    let host = Host::start().await;
    host.elect();
    host.hears(&["elected 1"]).await;
    // The sink is busy, and takes no more than a few messages.
    let small = {
        let mut settings = granted(&[("stands", "no")]);
        settings.limits.inbox = 1;
        settings
    };
    let code = component("candidate-v1");
    host.env
        .swap("sink", &code, Some(small), "test")
        .await
        .unwrap();
    let busy = {
        let sink = host.sink.clone();
        let decide = Decide {
            when: "open".to_owned(),
            ..noting("busy", 0)
        };
        tokio::spawn(async move { ask(&sink, &decide).await })
    };
    eventually("the sink is busy", || async {
        let status = host.env.status_of("sink")?;
        status.metrics.contains_key(WAITS).then_some(())
    })
    .await;
    let asked = host.deciding(noting("many", 100)).await;
    host.let_go("many").await;
    assert!(!asked.is_finished());
    host.election.end();
    refused(asked).await;
    assert!(host.dead_letters("leadership") > 0);
    assert!(!busy.is_finished());
    let settings = granted(&[("stands", "no")]);
    host.env
        .setup_endpoint("open", &code, settings)
        .await
        .unwrap();
    busy.await.unwrap().unwrap();
    eventually("it is revoked", || async {
        let heard = host.heard().await;
        (heard.last().map(String::as_str) == Some("revoked")).then_some(())
    })
    .await;
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_in_doubt_and_nothing_of_a_term_that_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let settings = RpcSettings {
        store: Some(folder.path().to_owned().into()),
        ..server()
    };
    let host = Host::start_with(settings, |_| {}).await;
    host.elect();
    host.hears(&["elected 1"]).await;
    let persist = |text: &str| Decide {
        persist: text.to_owned(),
        ..noting(text, 1)
    };
    let first = host.deciding(persist("first")).await;
    host.election.doubt();
    host.let_go("first").await;
    assert!(!first.is_finished());
    host.election.renew(Instant::now() + HOUR);
    first.await.unwrap().unwrap();
    let second = host.deciding(persist("second")).await;
    host.election.doubt();
    host.let_go("second").await;
    host.election.end();
    refused(second).await;
    let third = host.deciding(persist("third")).await;
    host.election.end();
    host.let_go("third").await;
    // It was decided by one that stands by, which this store does not mind.
    third.await.unwrap().unwrap();
    let kept = ask(&host.candidate, &Kept {}).await.unwrap().lines;
    assert_eq!(kept, ["first", "third"]);
    host.hears(&["elected 1", "first 0", "revoked", "third 0"])
        .await;
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_goes_on_in_doubt_and_what_waits_goes_with_it() {
    let host = Host::start().await;
    host.elect();
    host.hears(&["elected 1"]).await;
    for (text, leads_again) in [("first", true), ("second", false)] {
        let asked = host.deciding(noting(text, 1)).await;
        host.election.doubt();
        host.let_go(text).await;
        let to = match leads_again {
            true => "candidate-v2",
            false => "candidate-v1",
        };
        let record = host
            .env
            .swap("c", &component(to), None, "test")
            .await
            .unwrap();
        assert_eq!(record.outcome, SwapOutcome::Swapped);
        assert!(!asked.is_finished());
        match leads_again {
            true => {
                host.election.renew(Instant::now() + HOUR);
                asked.await.unwrap().unwrap();
            }
            false => {
                host.election.end();
                refused(asked).await;
            }
        }
    }
    host.hears(&["elected 1", "first 0", "revoked"]).await;
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_that_waits_for_a_continuation_in_doubt_is_given_up_at_its_limit() {
    let host = Host::start_with(server(), |settings| {
        settings.limits.drain = Duration::from_millis(100);
    })
    .await;
    host.elect();
    host.hears(&["elected 1"]).await;
    let later = {
        let (candidate, when) = (host.candidate.clone(), "later".to_owned());
        tokio::spawn(async move { ask(&candidate, &Later { when }).await })
    };
    eventually("it waits", || async {
        (host.env.status_of("c")?.open_asks == 1).then_some(())
    })
    .await;
    host.election.doubt();
    let code = component("candidate-v1");
    let settings = granted(&[("stands", "no")]);
    host.env
        .setup_endpoint("later", &code, settings)
        .await
        .unwrap();
    // The answer has come, and is not handled.
    let swapped = host
        .env
        .swap("c", &component("candidate-v2"), None, "test")
        .await;
    let Err(SwapError::GivenUp { reason, .. }) = swapped else {
        panic!("not given up: {swapped:?}");
    };
    assert!(!later.is_finished(), "{reason}");
    host.election.renew(Instant::now() + HOUR);
    later.await.unwrap().unwrap();
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_doubt_begins_afresh_and_what_waits_is_still_in_doubt() {
    let host = Host::start().await;
    host.elect();
    host.hears(&["elected 1"]).await;
    let first = host.deciding(noting("first", 1)).await;
    host.election.doubt();
    host.let_go("first").await;
    host.env.restart("c").await.unwrap();
    assert!(!first.is_finished());
    assert_eq!(host.heard().await, ["elected 1"]);
    host.election.renew(Instant::now() + HOUR);
    first.await.unwrap().unwrap();
    host.hears(&["elected 1", "first 0", "elected 1"]).await;
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ends_hands_over() {
    let host = Host::start().await;
    host.elect();
    host.hears(&["elected 1"]).await;
    assert!(host.env.stop("c").await);
    let wishes = host.election.wishes();
    assert!(wishes.borrow().candidate.is_none());
    // The next of its name has its place.
    let code = component("candidate-v1");
    let next = host
        .env
        .setup_endpoint("c", &code, granted(&[]))
        .await
        .unwrap();
    host.stands("1.0.0").await;
    host.env.shutdown().await;
    assert!(wishes.borrow().candidate.is_none(), "{next}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_of_its_name_does_not_lead_before_the_one_before_has_ended() {
    let host = Host::start().await;
    host.elect();
    host.hears(&["elected 1"]).await;
    let first = host.deciding(noting("first", 1)).await;
    let stopping = {
        let env = host.env.clone();
        tokio::spawn(async move { env.stop("c").await })
    };
    eventually("its name is free", || async {
        host.env.endpoint_ref("c").is_none().then_some(())
    })
    .await;
    let code = component("candidate-v1");
    let next = host.env.setup_endpoint("c", &code, granted(&[])).await;
    let next = next.unwrap();
    // It stands, as far as it can, and is told nothing.
    for _ in 0..3 {
        assert!(ask(&next, &GetLog {}).await.unwrap().lines.is_empty());
    }
    assert_eq!(host.role(), Role::StandsBy);
    let settings = granted(&[("stands", "no")]);
    host.env
        .setup_endpoint("first", &code, settings)
        .await
        .unwrap();
    first.await.unwrap().unwrap();
    assert!(stopping.await.unwrap());
    eventually("the next one leads", || async {
        let log = ask(&next, &GetLog {}).await.unwrap();
        (log.lines == ["elected 1"]).then_some(())
    })
    .await;
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_to_stop_in_doubt_stops_when_its_time_is_over() {
    let host = Host::start_with(server(), |settings| {
        settings.limits.drain = Duration::from_millis(100);
    })
    .await;
    host.elect();
    host.hears(&["elected 1"]).await;
    let first = host.deciding(noting("first", 1)).await;
    let queued = host.decide(noting("queued", 1));
    host.election.doubt();
    host.let_go("first").await;
    assert!(host.env.stop("c").await);
    refused(first).await;
    assert_eq!(queued.await.unwrap().unwrap_err().code(), "stopped");
    assert!(host.election.wishes().borrow().candidate.is_none());
    host.hears(&["elected 1", "revoked"]).await;
    host.env.shutdown().await;
}

/// The turn that is the last one decides, and then it is in doubt.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_turns_wait_for_an_election_no_longer_than_the_time_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let settings = RpcSettings {
        store: Some(folder.path().to_owned().into()),
        ..server()
    };
    let host = Host::start_with(settings, |settings| {
        settings.limits.drain = Duration::from_millis(100);
    })
    .await;
    host.elect();
    host.hears(&["elected 1"]).await;
    let decide = Decide {
        persist: "first".to_owned(),
        ..noting("first", 1)
    };
    let first = host.deciding(decide).await;
    let stopping = {
        let env = host.env.clone();
        tokio::spawn(async move { env.stop("c").await })
    };
    eventually("its name is free", || async {
        host.env.endpoint_ref("c").is_none().then_some(())
    })
    .await;
    host.election.doubt();
    let settings = granted(&[("stands", "no")]);
    let code = component("candidate-v1");
    host.env
        .setup_endpoint("first", &code, settings)
        .await
        .unwrap();
    assert!(stopping.await.unwrap());
    refused(first).await;
    assert_eq!(
        host.heard().await.first().map(String::as_str),
        Some("elected 1")
    );
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resigning_is_a_wish_and_not_yet_an_end() {
    let host = Host::start().await;
    host.elect();
    host.hears(&["elected 1"]).await;
    host.candidate.send(message(&Resign {})).await.unwrap();
    eventually("it resigns", || async {
        let wishes = host.election.wishes();
        let resigned = wishes.borrow().resigned;
        (resigned == 1).then_some(())
    })
    .await;
    assert_eq!(host.role(), Role::Leads);
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_on_probation_gives_back_one_that_knows_that_it_leads() {
    let host = Host::start().await;
    let faulty = component("candidate-faulty");
    host.env.swap("c", &faulty, None, "test").await.unwrap();
    host.stands("3.0.0").await;
    // Told to the newer version, and to the older one only in what it repeats.
    host.elect();
    host.hears(&["elected 1"]).await;
    let text = "fault".to_owned();
    host.candidate.send(message(&Note { text })).await.unwrap();
    host.stands("1.0.0").await;
    assert_eq!(host.log().await, ["elected 1", "fault"]);
    assert_eq!(host.heard().await, ["elected 1"], "and not told twice");
    assert_eq!(host.role(), Role::Leads);
    host.election.end();
    host.hears(&["elected 1", "revoked"]).await;
    host.env.shutdown().await;
}

/// A term within probation, and a rollback in doubt: what the newer version decided waits on.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_in_doubt_keeps_what_waits() {
    let host = Host::start().await;
    let faulty = component("candidate-faulty");
    host.env.swap("c", &faulty, None, "test").await.unwrap();
    host.elect();
    host.hears(&["elected 1"]).await;
    let first = host.deciding(noting("first", 1)).await;
    let text = "fault".to_owned();
    host.candidate.send(message(&Note { text })).await.unwrap();
    host.election.doubt();
    host.let_go("first").await;
    assert!(!first.is_finished());
    host.election.renew(Instant::now() + HOUR);
    first.await.unwrap().unwrap();
    host.stands("1.0.0").await;
    host.hears(&["elected 1", "first 0"]).await;
    assert_eq!(host.log().await, ["elected 1", "fault"]);
    host.env.shutdown().await;
}

fn other(version: &str, entries: Option<(u32, &[u32])>) -> Participant {
    let entries = entries.map(|(writes, reads)| EntryFormats {
        writes,
        reads: reads.to_vec(),
    });
    Participant {
        node: "n".to_owned(),
        candidate: Some(Candidate {
            id: "instar://c@elsewhere:7077".to_owned(),
            version: version.to_owned(),
            entries,
        }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_entries_another_candidate_cannot_read_waits_for_approval() {
    let host = Host::start().await;
    let own = Participant {
        node: "own".to_owned(),
        candidate: host.election.wishes().borrow().candidate.clone(),
    };
    let old = other("1.0.0", Some((1, &[1])));
    host.election
        .show(|shown| shown.participants = vec![own, old]);
    let refused = host
        .env
        .swap("c", &component("candidate-v2"), None, "test")
        .await;
    let Err(SwapError::NeedsApproval { wants, .. }) = refused else {
        panic!("not held: {refused:?}");
    };
    assert_eq!(wants.len(), 1, "{wants:?}");
    assert!(
        wants[0].contains("format 2") && wants[0].contains("elsewhere"),
        "{wants:?}"
    );
    let (_, settings) = host.env.approve("c", "test").await.unwrap();
    assert!(settings.grants.contains("entries:2"));
    host.stands("2.0.0").await;
    // The way back needs none: all can read what that writes.
    host.env.rollback("c", None).await.unwrap();
    host.stands("1.0.0").await;
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stands_by_says_whether_it_can_read_what_the_leader_writes() {
    let host = Host::start().await;
    let leader = |entries| {
        let leader = other("2.0.0", entries);
        host.election.show(|shown| {
            shown.participants = vec![leader];
            shown.place = Some(1);
        });
        let election = host.env.status_of("c").unwrap().election.unwrap();
        (election.can_read_the_leader, election.reading)
    };
    assert_eq!(leader(Some((1, &[1]))).0, Some(true));
    let (can, reading) = leader(Some((2, &[1, 2])));
    assert_eq!(can, Some(false));
    assert!(
        reading.contains("version 2.0.0") && reading.contains("[1]"),
        "{reading}"
    );
    assert_eq!(leader(None).0, None);
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_host_can_tell_it() {
    let host = Host::start().await;
    let forged = ask(&host.candidate, &Forge {}).await.unwrap().lines;
    assert_eq!(forged, ["denied", "denied"]);
    let peer = start(client()).await;
    let uri = host.candidate.to_string();
    let remote = peer.setup_endpoint_ref_by_uri(&uri).await.unwrap();
    remote
        .send(message(&ElectedLeader { term: 1 }))
        .await
        .unwrap();
    let reason = "forged".to_owned();
    remote
        .send(message(&RevokedLeadership { reason }))
        .await
        .unwrap();
    let asked = remote.ask(message(&ElectedLeader { term: 1 })).await;
    assert_eq!(asked.unwrap_err().code(), "denied");
    // What was sent before has arrived.
    assert!(
        ask(&remote, &GetLog {})
            .await
            .unwrap()
            .lines
            .iter()
            .all(|line| line.contains("connected"))
    );
    assert!(host.heard().await.is_empty());
    peer.shutdown().await;
    host.env.shutdown().await;
}

/// A store in a ZooKeeper of which no server answers, though another process proves that this one leads.
fn store_out_of_reach() -> RpcSettings {
    let [nobody] = free_ports().unwrap();
    let zookeeper = ZooKeeperSettings {
        url: format!("127.0.0.1:{nobody}"),
        session_timeout: Duration::from_secs(1),
        ..ZooKeeperSettings::default()
    };
    RpcSettings {
        store: Some(StoreSettings::ZooKeeper(zookeeper)),
        ..server()
    }
}

fn keeping(text: &str) -> Decide {
    Decide {
        persist: text.to_owned(),
        ..noting(text, 1)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_writes_are_not_done_makes_way_for_another() {
    let host = Host::start_with(store_out_of_reach(), |_| {}).await;
    host.elect();
    host.hears(&["elected 1"]).await;
    let asked = host.decide(keeping("a"));
    eventually("it resigns", || async {
        (host.election.wishes().borrow().resigned == 1).then_some(())
    })
    .await;
    // As an agent does then.
    host.election.end();
    refused(asked).await;
    host.hears(&["elected 1", "revoked"]).await;
    host.env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_stops_does_not_wait_for_ever_for_writes_that_are_not_done() {
    let drain = |settings: &mut EndpointSettings| settings.limits.drain = Duration::from_millis(1);
    let host = Host::start_with(store_out_of_reach(), drain).await;
    host.elect();
    host.hears(&["elected 1"]).await;
    let turns = host.turns();
    let asked = host.decide(keeping("a"));
    eventually("it was decided", || async {
        (host.turns() > turns).then_some(())
    })
    .await;
    let stopped = tokio::time::timeout(DEADLINE, host.env.shutdown()).await;
    stopped.expect("it stops, whatever waits");
    let error = asked.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "persistence", "{error}");
}
