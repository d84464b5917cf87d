//! What endpoints keep outlives the process, and nothing of a turn shows before it does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use fixture_reader_writer::{
    Forget, GetLog, List, Note, Put, PutAndPanic, PutAndTell, PutForgetList, PutMany,
};
use instar_host::endpoint::record::SwapOutcome;
use instar_host::endpoint::settings::{Checkpoint, EndpointSettings};
use instar_host::{EndpointRef, EnvError, RpcEnv, RpcError, RpcSettings};
use instar_sdk::EndpointRef as GuestRef;
use instar_tests::schedule::rng::Rng;
use instar_tests::{ask, client, component, eventually, message, server, start};

fn granted() -> EndpointSettings {
    EndpointSettings {
        grants: ["channel", "persist"].map(str::to_owned).into(),
        ..EndpointSettings::default()
    }
}

async fn host(store: &Path) -> RpcEnv {
    start(RpcSettings {
        store: Some(store.to_owned().into()),
        ..server()
    })
    .await
}

async fn setup(env: &RpcEnv, name: &str) -> EndpointRef {
    let code = component("reader-writer-v1");
    env.setup_endpoint(name, &code, granted()).await.unwrap()
}

async fn put(to: &EndpointRef, name: &str, value: &str) -> Result<(), RpcError> {
    let put = Put {
        name: name.to_owned(),
        value: value.as_bytes().into(),
    };
    ask(to, &put).await.map(drop)
}

async fn list(of: &EndpointRef, prefix: &str) -> Vec<(String, String)> {
    let prefix = prefix.to_owned();
    let values = ask(of, &List { prefix }).await.unwrap().values;
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    values
        .iter()
        .map(|(name, v)| (name.clone(), text(v)))
        .collect()
}

async fn names(of: &EndpointRef, prefix: &str) -> Vec<String> {
    list(of, prefix)
        .await
        .into_iter()
        .map(|(name, _)| name)
        .collect()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect()
}

async fn log(of: &EndpointRef) -> Vec<String> {
    ask(of, &GetLog {}).await.unwrap().lines
}

/// P1, P4
#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_read_by_prefix_in_order_and_outlives_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("is/not/there");
    let env = host(&store).await;
    let rw = setup(&env, "rw").await;
    assert!(list(&rw, "").await.is_empty());
    for (name, value) in [
        ("worker_1", "c"),
        ("app_2", "b"),
        ("app_1", "a"),
        ("app_1", "A"),
    ] {
        put(&rw, name, value).await.unwrap();
    }
    assert_eq!(
        list(&rw, "app_").await,
        pairs(&[("app_1", "A"), ("app_2", "b")])
    );
    env.shutdown().await;
    let env = host(&store).await;
    let rw = setup(&env, "rw").await;
    let all = pairs(&[("app_1", "A"), ("app_2", "b"), ("worker_1", "c")]);
    assert_eq!(list(&rw, "").await, all);
    for name in ["app_1", "app_2", "worker_1", "never"] {
        let name = name.to_owned();
        ask(&rw, &Forget { name }).await.unwrap();
    }
    assert!(list(&rw, "").await.is_empty());
    env.shutdown().await;
    let env = host(&store).await;
    assert!(list(&setup(&env, "rw").await, "").await.is_empty());
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_belong_to_an_endpoint_and_not_to_its_host() {
    let folder = tempfile::tempdir().unwrap();
    let env = host(folder.path()).await;
    let (one, two) = (setup(&env, "one").await, setup(&env, "two").await);
    put(&one, "name", "of one").await.unwrap();
    put(&two, "name", "of two").await.unwrap();
    assert_eq!(list(&one, "").await, pairs(&[("name", "of one")]));
    assert_eq!(list(&two, "").await, pairs(&[("name", "of two")]));
    env.stop("one").await;
    // The name of the endpoint is what counts: the next of this name goes on with it.
    assert_eq!(names(&setup(&env, "one").await, "").await, ["name"]);
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_reads_what_it_wrote_itself_and_a_crashed_turn_wrote_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let env = host(folder.path()).await;
    let rw = setup(&env, "rw").await;
    put(&rw, "b", "old").await.unwrap();
    put(&rw, "c", "old").await.unwrap();
    let in_turn = PutForgetList {
        put: "a".to_owned(),
        forget: "b".to_owned(),
    };
    let values = ask(&rw, &in_turn).await.unwrap().values;
    let seen: Vec<_> = values.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(seen, ["a", "c"]);
    let name = "d".to_owned();
    let error = ask(&rw, &PutAndPanic { name }).await.unwrap_err();
    assert_eq!(error.code(), "crashed");
    assert_eq!(list(&rw, "").await, pairs(&[("a", "new"), ("c", "old")]));
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_nothing_can_be_kept_and_the_failure_says_how_to_get_one() {
    let env = start(server()).await;
    let rw = setup(&env, "rw").await;
    let error = put(&rw, "a", "b").await.unwrap_err();
    assert_eq!(error.code(), "denied");
    assert!(error.to_string().contains("RpcSettings::store"), "{error}");
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_is_needed() {
    let env = start(server()).await;
    let code = component("reader-writer-v1");
    let mut settings = granted();
    settings.grants.remove("persist");
    let error = env.setup_endpoint("rw", &code, settings).await.unwrap_err();
    assert!(error.to_string().contains("`persist`"), "{error}");
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beyond_a_limit_is_refused_by_name_and_the_turn_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let env = host(folder.path()).await;
    let rw = setup(&env, "rw").await;
    for name in [String::new(), "x".repeat(256)] {
        let error = put(&rw, &name, "v").await.unwrap_err();
        assert_eq!(error.code(), "too-large");
    }
    put(&rw, &"x".repeat(255), "v").await.unwrap();
    let many = |name: String, count, bytes| PutMany { name, count, bytes };
    let too_large = many("a".to_owned(), 1, (16 << 20) + 1);
    assert_eq!(ask(&rw, &too_large).await.unwrap_err().code(), "too-large");
    // The hundredth name is too long. A handler that fails is a turn that ended well: what it kept before
    // is kept.
    let too_long = many("y".repeat(252), 101, 1);
    assert_eq!(ask(&rw, &too_long).await.unwrap_err().code(), "too-large");
    assert_eq!(names(&rw, "y").await.len(), 100);
    let starts = log(&rw)
        .await
        .iter()
        .filter(|line| *line == "start")
        .count();
    assert_eq!(starts, 1, "nothing crashed");
    env.shutdown().await;
}

/// The answer is the proof that it is durable; what others are told comes after it, in order.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_turn_does_after_it_persisted_happens_then_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let env = host(folder.path()).await;
    let (rw, other) = (setup(&env, "rw").await, setup(&env, "other").await);
    let mut asks = Vec::new();
    for number in 0..100 {
        let put = PutAndTell {
            name: format!("{number:03}"),
            bytes: 10,
            to: GuestRef::local("other"),
        };
        asks.push(rw.ask_abortable(message(&put)));
    }
    for ask in asks {
        ask.outcome().await.unwrap();
    }
    let expected: Vec<String> = (0..100)
        .flat_map(|n| [format!("before {n:03}"), format!("after {n:03}")])
        .collect();
    assert_eq!(log(&other).await[1..], expected);
    eventually("the outcomes of all asks and timers", || async {
        let lines = log(&rw).await;
        let count = |text| lines.iter().filter(|line| *line == text).count();
        (count("pinged") == 100 && count("due") == 100).then_some(())
    })
    .await;
    assert_eq!(names(&rw, "").await.len(), 100);
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_on_stop_keeps_is_kept_and_told_before_the_endpoint_ends() {
    let folder = tempfile::tempdir().unwrap();
    let env = host(folder.path()).await;
    let other = setup(&env, "other").await;
    let mut settings = granted();
    let config = [("put_at_stop", "last"), ("tell_stop_to", "other")];
    for (key, value) in config {
        settings.config.insert(key.to_owned(), value.to_owned());
    }
    let code = component("reader-writer-v1");
    env.setup_endpoint("rw", &code, settings).await.unwrap();
    assert!(env.stop("rw").await);
    assert_eq!(log(&other).await, ["start", "stopped"]);
    assert_eq!(
        list(&setup(&env, "rw").await, "").await,
        pairs(&[("last", "stopped")])
    );
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn swaps_lose_and_double_nothing_of_what_is_being_kept() {
    let folder = tempfile::tempdir().unwrap();
    let env = host(folder.path()).await;
    let (rw, other) = (setup(&env, "rw").await, setup(&env, "other").await);
    let mut asks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let rw = rw.clone();
        let put = PutAndTell {
            name: format!("{number:03}"),
            bytes: 10,
            to: GuestRef::local("other"),
        };
        asks.spawn(async move { ask(&rw, &put).await });
        if number % 20 == 0 {
            let to = ["reader-writer-v2", "reader-writer-v1"][number / 20 % 2];
            let swapped = env.swap("rw", &component(to), None, "test").await.unwrap();
            assert_eq!(swapped.outcome, SwapOutcome::Swapped);
        }
    }
    while let Some(answer) = asks.join_next().await {
        answer.unwrap().unwrap();
    }
    let mut told = log(&other).await;
    told.retain(|line| line.starts_with("after"));
    told.sort();
    let expected: Vec<String> = (0..200).map(|n| format!("after {n:03}")).collect();
    assert_eq!(told, expected);
    assert_eq!(names(&rw, "").await.len(), 200);
    env.shutdown().await;
}

/// The version before handles again what the newer one had handled, and does not keep it again: a name
/// that was forgotten since stays forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_keeps_what_was_kept_and_keeps_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let env = host(folder.path()).await;
    let (rw, other) = (setup(&env, "rw").await, setup(&env, "other").await);
    let faulty = component("reader-writer-faulty");
    env.swap("rw", &faulty, None, "test").await.unwrap();
    put(&rw, "a", "1").await.unwrap();
    put(&rw, "b", "2").await.unwrap();
    let name = "a".to_owned();
    ask(&rw, &Forget { name }).await.unwrap();
    let tell = PutAndTell {
        name: "c".to_owned(),
        bytes: 1,
        to: GuestRef::local("other"),
    };
    ask(&rw, &tell).await.unwrap();
    // The same batch: what was kept before the fault is answered once, the fault by the version before.
    let (before, fault) = tokio::join!(put(&rw, "d", "4"), put(&rw, "fault", "5"));
    before.unwrap();
    fault.unwrap();
    let answer = ask(&rw, &GetLog {}).await.unwrap();
    assert_eq!(answer.version, "1.0.0");
    let puts: Vec<_> = answer
        .lines
        .iter()
        .filter(|line| line.starts_with("put"))
        .collect();
    assert_eq!(puts, ["put a", "put b", "put d", "put fault"]);
    assert_eq!(names(&rw, "").await, ["b", "c", "d", "fault"]);
    assert_eq!(log(&other).await, ["start", "before c", "after c"]);
    env.shutdown().await;
}

/// What ended well takes effect, though the instance crashed at the next message of the same batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_the_next_message_takes_back_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let env = host(folder.path()).await;
    let code = component("reader-writer-v1");
    let mut settings = granted();
    settings.checkpoint = Checkpoint {
        messages: Some(1),
        time: None,
    };
    let other = setup(&env, "other").await;
    for (name, settings) in [("plain", granted()), ("copied", settings)] {
        let rw = env.setup_endpoint(name, &code, settings).await.unwrap();
        let tell = PutAndTell {
            name: name.to_owned(),
            bytes: 1,
            to: GuestRef::local("other"),
        };
        let panic = PutAndPanic {
            name: "never".to_owned(),
        };
        let (kept, crashed) = tokio::join!(ask(&rw, &tell), ask(&rw, &panic));
        kept.unwrap();
        assert_eq!(crashed.unwrap_err().code(), "crashed");
        assert_eq!(names(&rw, "").await, [name]);
    }
    let expected = [
        "start",
        "before plain",
        "after plain",
        "before copied",
        "after copied",
    ];
    assert_eq!(log(&other).await, expected);
    env.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_keeps_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let env = host(folder.path()).await;
    let rw = setup(&env, "rw").await;
    put(&rw, "a", "1").await.unwrap();
    let name = "a".to_owned();
    ask(&rw, &Forget { name }).await.unwrap();
    let new = component("reader-writer-v2");
    let rehearsal = env.rehearse("rw", &new, None).await.unwrap();
    assert!(rehearsal.differences.is_empty(), "{rehearsal:?}");
    assert!(list(&rw, "").await.is_empty());
    env.shutdown().await;
}

fn refusal(created: Result<RpcEnv, EnvError>) -> String {
    match created {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.to_string(),
    }
}

async fn open(store: &Path) -> Result<RpcEnv, EnvError> {
    RpcEnv::create(RpcSettings {
        store: Some(store.to_owned().into()),
        ..client()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_has_one_host_and_a_second_one_is_told_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let env = open(folder.path()).await.unwrap();
    let refused = refusal(open(folder.path()).await);
    assert!(
        refused.contains(&format!("process {}", std::process::id())),
        "{refused}"
    );
    env.shutdown().await;
    open(folder.path()).await.unwrap().shutdown().await;
    // A process that is killed gives it back, too.
    let mut child = StoreHost::start(folder.path());
    let refused = refusal(open(folder.path()).await);
    assert!(
        refused.contains(&format!("process {}", child.process.id())),
        "{refused}"
    );
    child.kill();
    open(folder.path()).await.unwrap().shutdown().await;
}

#[cfg(unix)]
#[tokio::test]
async fn the_directory_is_made_for_this_user_alone_and_may_be_a_symlink() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    open(&real).await.unwrap().shutdown().await;
    let mode = std::fs::metadata(&real).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    std::os::unix::fs::symlink(&real, &link).unwrap();
    open(&link).await.unwrap().shutdown().await;
}

/// Whatever is done to the file, opening it gives an error that names it, or all that was in it; and
/// nothing is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_told_by_its_path_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let env = host(folder.path()).await;
    let rw = setup(&env, "rw").await;
    let many = PutMany {
        name: "x".to_owned(),
        count: 200,
        bytes: 1000,
    };
    ask(&rw, &many).await.unwrap();
    env.shutdown().await;
    let path = folder.path().join("store.redb");
    let whole = std::fs::read(&path).unwrap();
    let mut damaged = vec![
        b"not a store at all".to_vec(),
        vec![0; whole.len()],
        whole[..whole.len() / 2].to_vec(),
        whole[..100].to_vec(),
    ];
    let seed = seed();
    let mut rng = Rng::new(seed);
    for _ in 0..40 {
        let mut changed = whole.clone();
        let place = rng.below(changed.len() as u64) as usize;
        let end = (place + 64).min(changed.len());
        changed[place..end]
            .iter_mut()
            .for_each(|byte| *byte ^= 0xa5);
        damaged.push(changed);
    }
    let mut refused = 0;
    for bytes in damaged {
        std::fs::write(&path, &bytes).unwrap();
        match open(folder.path()).await {
            Ok(env) => {
                // It hit what is not used.
                let code = component("reader-writer-v1");
                let rw = env.setup_endpoint("rw", &code, granted()).await.unwrap();
                assert_eq!(names(&rw, "").await.len(), 200, "seed {seed}");
                env.shutdown().await;
            }
            Err(error) => {
                let text = error.to_string();
                assert!(
                    text.contains(&path.display().to_string()),
                    "seed {seed}: {text}"
                );
                assert!(text.contains("nothing was deleted"), "seed {seed}: {text}");
                assert!(
                    std::fs::read(&path).unwrap().len() >= bytes.len(),
                    "seed {seed}"
                );
                refused += 1;
            }
        }
    }
    assert!(refused >= 4, "seed {seed}: only {refused}");
}

/// The seed of this run: INSTAR_SEED, or a new one.
fn seed() -> u64 {
    let given = std::env::var("INSTAR_SEED").ok();
    let seed = given.and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("INSTAR_SEED={seed}");
    seed
}

/// A host in a process of its own.
struct StoreHost {
    process: Child,
    uri: String,
}

impl StoreHost {
    fn start(store: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_store-host"));
        command.arg(store);
        Self::run(command)
    }

    /// One that can write no file of more than about 8 MiB.
    fn start_with_little_room(store: &Path) -> Self {
        let mut command = Command::new("sh");
        let script = "trap '' XFSZ; ulimit -S -f 16384; exec \"$0\" \"$1\"";
        command
            .args(["-c", script, env!("CARGO_BIN_EXE_store-host")])
            .arg(store);
        Self::run(command)
    }

    fn run(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut uri = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut uri).unwrap();
        let uri = uri.trim().to_owned();
        assert!(uri.starts_with("instar://"), "{uri}");
        Self { process, uri }
    }

    /// Files may be as large as they like again.
    fn give_room(&self) {
        let id = self.process.id().to_string();
        let mut prlimit = Command::new("prlimit");
        let given = prlimit.args(["--pid", &id, "--fsize=unlimited:"]).status();
        assert!(given.unwrap().success());
    }

    /// Ends it at once, as a power cut would.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for StoreHost {
    fn drop(&mut self) {
        // A test that fails leaves no process behind; one that was killed is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Killed at any instant, a host loses nothing of which the caller was told that it is kept; and what it
/// has beyond that is what somebody wanted, and all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_killed_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let seed = seed();
    let mut rng = Rng::new(seed);
    let (mut acknowledged, mut asked) = (0_u64, 0_u64);
    let mut kept = BTreeSet::new();
    for _ in 0..8 {
        let mut child = StoreHost::start(folder.path());
        let env = start(client()).await;
        let rw = env.setup_endpoint_ref_by_uri(&child.uri).await.unwrap();
        let found = whole_turns(&rw, seed).await;
        assert!(
            kept.is_subset(&found),
            "seed {seed}: of {acknowledged} some are lost"
        );
        assert!(found.len() as u64 <= asked, "seed {seed}");
        kept = found;
        let die_after = acknowledged + rng.below(120);
        let mut asks = tokio::task::JoinSet::new();
        for _ in 0..10 {
            asked += 1;
            asks.spawn(keep(rw.clone(), format!("{asked:06}")));
        }
        while let Some(answer) = asks.join_next().await {
            if let Ok(name) = answer.unwrap() {
                acknowledged += 1;
                kept.insert(name);
                if acknowledged >= die_after {
                    break;
                }
                asked += 1;
                asks.spawn(keep(rw.clone(), format!("{asked:06}")));
            }
        }
        child.kill();
        // What was answered before the kill, and is only now heard.
        while let Some(answer) = asks.join_next().await {
            if let Ok(name) = answer.unwrap() {
                acknowledged += 1;
                kept.insert(name);
            }
        }
        env.shutdown().await;
    }
    let child = StoreHost::start(folder.path());
    let env = start(client()).await;
    let rw = env.setup_endpoint_ref_by_uri(&child.uri).await.unwrap();
    let found = whole_turns(&rw, seed).await;
    assert!(kept.is_subset(&found), "seed {seed}");
    env.shutdown().await;
}

/// Names that one turn keeps.
const NAMES_OF_A_TURN: usize = 3;

async fn keep(rw: EndpointRef, name: String) -> Result<String, RpcError> {
    let many = PutMany {
        name: name.clone(),
        count: NAMES_OF_A_TURN as u32,
        bytes: 700,
    };
    ask(&rw, &many).await.map(|_| name)
}

/// What turns kept; each of them all that it wanted to.
async fn whole_turns(rw: &EndpointRef, seed: u64) -> BTreeSet<String> {
    let mut turns = BTreeMap::new();
    for name in names(rw, "").await {
        let (turn, _) = name.rsplit_once('-').unwrap();
        *turns.entry(turn.to_owned()).or_insert(0) += 1;
    }
    for (turn, count) in &turns {
        assert_eq!(
            *count, NAMES_OF_A_TURN,
            "seed {seed}: a part of turn {turn}"
        );
    }
    turns.into_keys().collect()
}

/// A disk that fills up: what was acknowledged is there, nothing of a turn that was told to have failed is,
/// and as soon as there is room the same process goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_turns_and_loses_none_and_with_room_again_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = StoreHost::start_with_little_room(folder.path());
    let env = start(client()).await;
    let rw = env.setup_endpoint_ref_by_uri(&child.uri).await.unwrap();
    let large = |turn: usize| PutMany {
        name: format!("{turn:03}"),
        count: NAMES_OF_A_TURN as u32,
        bytes: 100_000,
    };
    let mut kept = BTreeSet::new();
    let (mut turns, mut failures) = (0, 0);
    while failures < 3 {
        turns += 1;
        assert!(turns < 200, "there is no room for that");
        match ask(&rw, &large(turns)).await {
            Ok(_) => drop(kept.insert(format!("{turns:03}"))),
            Err(error) => {
                assert_eq!(error.code(), "persistence", "{error}");
                failures += 1;
            }
        }
    }
    assert!(kept.len() > 5, "{kept:?}");
    assert_eq!(whole_turns(&rw, 0).await, kept);
    child.give_room();
    for turn in turns + 1..turns + 20 {
        ask(&rw, &large(turn)).await.unwrap();
        kept.insert(format!("{turn:03}"));
    }
    assert_eq!(whole_turns(&rw, 0).await, kept);
    child.kill();
    let child = StoreHost::start(folder.path());
    let rw = env.setup_endpoint_ref_by_uri(&child.uri).await.unwrap();
    assert_eq!(whole_turns(&rw, 0).await, kept);
    env.shutdown().await;
}

/// A write that fails is told to everybody who would have learned of it, and to the endpoint; what the
/// turn did before stays, what comes later works again.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_drops_the_rest_of_its_turn_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = StoreHost::start_with_little_room(folder.path());
    let env = start(server()).await;
    let other = setup(&env, "other").await;
    let rw = env.setup_endpoint_ref_by_uri(&child.uri).await.unwrap();
    put(&rw, "small", "1").await.unwrap();
    let here = env.address().unwrap().to_string();
    let tell = |name: &str, bytes| PutAndTell {
        name: name.to_owned(),
        bytes,
        to: GuestRef::remote("other", &here),
    };
    ask(&rw, &tell("fits", 10)).await.unwrap();
    // The message before it is another turn, and is kept; so is the one after it.
    let large = tell("large", 15 << 20);
    let (before, large, after) = tokio::join!(
        put(&rw, "before", "2"),
        ask(&rw, &large),
        put(&rw, "after", "3")
    );
    let error = large.unwrap_err();
    assert_eq!(error.code(), "persistence", "{error}");
    let path = folder.path().join("store.redb").display().to_string();
    assert!(error.to_string().contains(&path), "{error}");
    let told = eventually("the endpoint knows", || async {
        let lines = log(&rw).await;
        let knows = lines
            .iter()
            .any(|line| line.starts_with("error persistence"));
        let asked = lines.iter().any(|line| line == "not pinged: persistence");
        (knows && asked).then_some(lines)
    })
    .await;
    assert_eq!(
        told.iter().filter(|line| *line == "due").count(),
        1,
        "{told:?}"
    );
    put(&rw, "later", "4").await.unwrap();
    let told = log(&other).await;
    assert_eq!(told, ["start", "before fits", "after fits", "before large"]);
    let mut expected = vec!["fits", "later", "small"];
    // Those may have shared the commit that failed: then they were told so.
    for (name, outcome) in [("before", before), ("after", after)] {
        match outcome {
            Ok(()) => expected.push(name),
            Err(error) => assert_eq!(error.code(), "persistence"),
        }
    }
    expected.sort_unstable();
    assert_eq!(names(&rw, "").await, expected);
    child.kill();
    let child = StoreHost::start(folder.path());
    let rw = env.setup_endpoint_ref_by_uri(&child.uri).await.unwrap();
    assert_eq!(names(&rw, "").await, expected);
    env.shutdown().await;
}

/// Many endpoints at once share commits, and each gets what is its own.
#[tokio::test(flavor = "multi_thread")]
async fn many_writers_at_once_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let env = host(folder.path()).await;
    let mut asks = tokio::task::JoinSet::new();
    for endpoint in 0..8 {
        let rw = setup(&env, &format!("rw-{endpoint}")).await;
        for number in 0..50 {
            let rw = rw.clone();
            let value = format!("{endpoint}");
            asks.spawn(async move { put(&rw, &format!("{number:02}"), &value).await });
        }
    }
    while let Some(answer) = asks.join_next().await {
        answer.unwrap().unwrap();
    }
    for endpoint in 0..8 {
        let rw = env.endpoint_ref(&format!("rw-{endpoint}")).unwrap();
        let all = list(&rw, "").await;
        assert_eq!(all.len(), 50);
        assert!(all.iter().all(|(_, value)| *value == format!("{endpoint}")));
    }
    // One-way messages keep, too.
    let rw = env.endpoint_ref("rw-0").unwrap();
    let text = "still here".to_owned();
    rw.send(message(&Note { text })).await.unwrap();
    assert_eq!(log(&rw).await.last().unwrap(), "still here");
    env.shutdown().await;
}
