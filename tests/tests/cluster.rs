//! A cluster of real processes: what runs, how it ends, and what is said about it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use deploy_protocol::{
    Command, ComponentFile, DriverDescription, DriverState, ExecutorState, Program, RecoveryState,
    RequestDriverStatus, RequestSubmitDriver, WorkerState,
};
use instar_host::address::{EndpointAddress, Location};
use instar_tests::cluster::Cluster;
use instar_tests::process::{Signal, under};
use instar_tests::{ask, component_path, eventually};
use serde_json::Value;

/// Primes up to 4 * 10^9, and how many there are: some seconds of work.
const PRIMES: (&str, &str) = ("limit=4000000000", "189961812");

/// Workers that are given up after a second.
const IMPATIENT: [&str; 2] = ["--config", "worker_timeout=1000"];

fn instar() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_instar-tested"))
}

async fn cluster(master: &[&str], workers: usize) -> Cluster {
    let mut cluster = Cluster::start(instar(), master).await.unwrap();
    for _ in 0..workers {
        let arguments = [
            "--cores",
            "2",
            "--memory",
            "1G",
            "--config",
            "heartbeat_interval=250",
        ];
        cluster.add_worker(&arguments).await.unwrap();
    }
    cluster.until_alive(workers).await;
    cluster
}

fn path(component: &str) -> String {
    component_path(component).display().to_string()
}

/// Arguments that submit the counting of primes, in small tasks.
fn primes() -> Vec<String> {
    let words = [
        "--executor-memory",
        "64M",
        "--conf",
        PRIMES.0,
        "--conf",
        "range=10000000",
        "--executor",
    ];
    let words = words.map(str::to_owned).into_iter();
    words
        .chain([path("primes-executor"), path("primes-driver")])
        .collect()
}

fn strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

#[track_caller]
fn assert_counted(output: &Output) {
    assert!(output.status.success(), "{}", said(output));
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    let result = outcome["result"].as_str().unwrap_or_default();
    assert!(result.contains(PRIMES.1), "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_runs_on_two_workers_while_its_master_is_swapped_twice() {
    let cluster = cluster(&[], 2).await;
    let before = cluster.state().await.unwrap();
    // Compiled before, so that the swaps come while the application runs.
    cluster.swap_master("master-consolidate").await.unwrap();
    cluster.swap_master("master").await.unwrap();
    let running = cluster.command("submit", &strs(&primes())).unwrap();
    cluster.until_done(10).await;
    let there = cluster.swap_master("master-consolidate").await.unwrap();
    assert_ne!(before.policy, cluster.state().await.unwrap().policy);
    cluster.until_done(40).await;
    cluster.swap_master("master").await.unwrap();
    assert!(there.state_bytes > 0);
    let state = cluster.state().await.unwrap();
    assert_eq!(before.policy, state.policy);
    // No worker registered again because of a swap, and no executor was started again.
    let ids = |state: &deploy_protocol::MasterStateResponse| {
        let ids = state.workers.iter().map(|worker| worker.id.clone());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(&before), ids(&state));
    let app = state.active_apps.first().expect("the application goes on");
    assert_eq!((app.executors.len(), app.removed_executors.len()), (2, 0));
    assert_counted(&running.wait_with_output().await.unwrap());
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_refreshed_keeps_its_executors() {
    let cluster = cluster(&[], 1).await;
    let running = cluster.command("submit", &strs(&primes())).unwrap();
    cluster.until_done(10).await;
    let before = cluster.worker_state(0).await.unwrap();
    let admin = cluster.workers[0].admin().unwrap();
    let refreshed = tokio::task::spawn_blocking(move || admin.refresh("Worker"));
    refreshed.await.unwrap().unwrap();
    let after = cluster.worker_state(0).await.unwrap();
    assert_eq!(before.executors, after.executors);
    assert_eq!(before.cores_used, 2);
    assert_counted(&running.wait_with_output().await.unwrap());
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_costs_time_and_no_result() {
    let mut cluster = cluster(&[], 2).await;
    let running = cluster.command("submit", &strs(&primes())).unwrap();
    cluster.until_done(10).await;
    let killed = cluster.workers.pop().unwrap();
    let id = killed.ready.worker_id.clone();
    killed.kill().await.unwrap();
    cluster
        .until("the worker is DEAD", |state| {
            let worker = state.workers.iter().find(|worker| worker.id == id);
            let dead = worker.is_none_or(|worker| worker.state == WorkerState::Dead);
            dead.then_some(())
        })
        .await;
    assert_counted(&running.wait_with_output().await.unwrap());
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_ends_is_replaced_and_its_tasks_run_again() {
    let cluster = cluster(&[], 1).await;
    let running = cluster.command("submit", &strs(&primes())).unwrap();
    cluster.until_done(10).await;
    let state = cluster.state().await.unwrap();
    let executor = state.active_apps[0].executors[0].clone();
    let id = executor.description.executor_id;
    cluster.stop_executor(&executor).await.unwrap();
    cluster
        .until("another executor", |state| {
            let app = state.active_apps.first()?;
            let another = |e: &&deploy_protocol::ExecutorInfo| e.description.executor_id != id;
            app.executors.iter().find(another).map(|_| ())
        })
        .await;
    assert_counted(&running.wait_with_output().await.unwrap());
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_drivers_host_ends_the_application_and_its_executors() {
    let cluster = cluster(&[], 1).await;
    let mut running = cluster.command("submit", &strs(&primes())).unwrap();
    cluster.until_done(5).await;
    running.kill().await.unwrap();
    cluster
        .until("the application is over", |state| {
            (state.active_apps.is_empty() && state.completed_apps.len() == 1).then_some(())
        })
        .await;
    eventually("the worker is free again", async || {
        let state = cluster.worker_state(0).await.ok()?;
        (state.cores_used == 0 && state.executors.is_empty()).then_some(())
    })
    .await;
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_worker_is_given_up_and_taken_back_when_it_returns() {
    let cluster = cluster(&IMPATIENT, 2).await;
    let running = cluster.command("submit", &strs(&primes())).unwrap();
    cluster.until_done(5).await;
    let id = cluster.workers[1].ready.worker_id.clone();
    let is = |state: WorkerState| {
        let id = id.clone();
        move |all: &deploy_protocol::MasterStateResponse| {
            let workers = all.workers.iter().filter(|worker| worker.id == id);
            let states: Vec<_> = workers.map(|worker| worker.state).collect();
            (states == [state]).then_some(())
        }
    };
    cluster.workers[1].signal(Signal::Stop).await.unwrap();
    cluster
        .until("the worker is DEAD", is(WorkerState::Dead))
        .await;
    cluster.workers[1].signal(Signal::Continue).await.unwrap();
    cluster
        .until("the worker is back, once", is(WorkerState::Alive))
        .await;
    assert_counted(&running.wait_with_output().await.unwrap());
    eventually("what was given up does not go on", async || {
        let state = cluster.worker_state(1).await.ok()?;
        state.executors.is_empty().then_some(())
    })
    .await;
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_started_anew_gets_its_workers_and_applications_back() {
    for recovery in ["none", "filesystem"] {
        let arguments = ["--recovery-mode", recovery];
        let mut cluster = Cluster::start(instar(), &arguments).await.unwrap();
        let soon = [
            "--config",
            "heartbeat_interval=250",
            "--config",
            "registration_fast_interval=300",
        ];
        let offers = ["--cores", "2", "--memory", "1G"];
        cluster.add_worker(&[offers, soon].concat()).await.unwrap();
        cluster.until_alive(1).await;
        let running = cluster.command("submit", &strs(&primes())).unwrap();
        cluster.until_done(5).await;
        let before = cluster.state().await.unwrap();
        cluster.kill_master().await.unwrap();
        cluster.start_master().await.unwrap();
        let id = cluster
            .until("the application is back", |state| {
                state.active_apps.first().map(|app| app.id.clone())
            })
            .await;
        cluster.until_alive(1).await;
        let kept = id == before.active_apps[0].id;
        assert_eq!(
            kept,
            recovery == "filesystem",
            "{id}\n{}",
            cluster.last_words()
        );
        assert_counted(&running.wait_with_output().await.unwrap());
        cluster.stop().await.unwrap();
    }
}

/// A driver with so large an argument.
fn large_driver() -> RequestSubmitDriver {
    RequestSubmitDriver {
        description: DriverDescription {
            command: Command {
                program: Program::Command,
                component: ComponentFile {
                    uri: "instar://127.0.0.1:1/files/none.wasm".to_owned(),
                    sha256: "0".repeat(64),
                },
                arguments: vec!["x".repeat(60 << 10)],
                environment: BTreeMap::new(),
            },
            memory_mb: 64,
            cores: 1,
            supervise: true,
            resources: Vec::new(),
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_whose_disk_is_full_leads_again_when_there_is_room_and_has_all_it_promised() {
    let folder = tempfile::tempdir().unwrap();
    let little_room = "trap '' XFSZ; ulimit -S -f 16384";
    let program = under(instar(), folder.path(), little_room, "").unwrap();
    let arguments = ["--recovery-mode", "filesystem"];
    let cluster = Cluster::start(&program, &arguments).await.unwrap();
    let master = cluster.env.reference(cluster.master_endpoint());
    let mut promised = Vec::new();
    // One that cannot write stands by.
    while let Ok(answer) = ask(&master, &large_driver()).await
        && answer.success
    {
        promised.extend(answer.driver_id);
        assert!(promised.len() < 700, "there is room for all");
    }
    assert!(promised.len() > 10, "{}", promised.len());
    let id = cluster.master().unwrap().id().unwrap().to_string();
    let mut prlimit = std::process::Command::new("prlimit");
    let given = prlimit.args(["--pid", &id, "--fsize=unlimited:"]).status();
    assert!(given.unwrap().success());
    let listed = cluster
        .until("it leads again", |state| {
            let is_alive = state.status == RecoveryState::Alive;
            is_alive.then(|| {
                let drivers = state.active_drivers.iter();
                drivers.map(|driver| driver.id.clone()).collect::<Vec<_>>()
            })
        })
        .await;
    assert_eq!(
        promised.iter().find(|id| !listed.contains(*id)),
        None,
        "{}",
        cluster.last_words()
    );
    let answer = ask(&master, &large_driver()).await.unwrap();
    assert!(answer.success, "{}", answer.message);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_harms_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let program = under(instar(), folder.path(), "", "2>/dev/full").unwrap();
    let mut cluster = Cluster::start(&program, &[]).await.unwrap();
    let offers = ["--cores", "2", "--memory", "1G"];
    cluster.add_worker(&offers).await.unwrap();
    cluster.until_alive(1).await;
    let output = job(&cluster, &[], &["print=hello"]).await;
    assert!(output.status.success(), "{output:?}");
    // All of them end in order.
    cluster.stop().await.unwrap();
}

/// Submits a command of the fixture `job` to the cluster.
async fn job(cluster: &Cluster, options: &[&str], arguments: &[&str]) -> Output {
    let job = path("job");
    let words = [
        &["--deploy-mode", "cluster", "--driver-memory", "64M"],
        options,
        &[job.as_str()],
        arguments,
    ];
    cluster.run("submit", &words.concat()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_on_a_worker_and_its_output_is_kept() {
    let cluster = cluster(&[], 1).await;
    let output = job(&cluster, &[], &["print=hello there"]).await;
    assert!(output.status.success(), "{}", said(&output));
    let state = cluster.worker_state(0).await.unwrap();
    let driver = state.finished_drivers.first().expect("it ended");
    assert_eq!(driver.state, DriverState::Finished);
    let text = std::fs::read_to_string(Path::new(&driver.folder).join("stdout")).unwrap();
    assert!(text.contains("hello there"), "{text}");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_is_reported_with_its_exit_status() {
    let cluster = cluster(&[], 1).await;
    // WASI 0.2 knows only success and failure: whatever a command exits with is 0 or 1.
    let output = job(&cluster, &[], &["exit=3"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let text = said(&output);
    assert!(
        text.contains("FAILED") && text.contains("exit status 1"),
        "{text}"
    );
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exceeds_its_memory_is_stopped_and_reported_with_the_reason() {
    let cluster = cluster(&[], 1).await;
    let output = job(&cluster, &[], &["allocate=256"]).await;
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("FAILED") && text.contains("memory"), "{text}");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_runs_and_one_that_waits_can_be_killed() {
    let cluster = cluster(&[], 1).await;
    let submit = |cores: &'static str| {
        let job = path("job");
        let words = [
            "--deploy-mode",
            "cluster",
            "--driver-cores",
            cores,
            &job,
            "spin",
        ];
        cluster.command("submit", &words).unwrap()
    };
    let id_of = |state: DriverState| {
        cluster.until("the driver is there", move |all| {
            let driver = all
                .active_drivers
                .iter()
                .find(|driver| driver.state == state);
            driver.map(|driver| driver.id.clone())
        })
    };
    let running = submit("2");
    let runs = id_of(DriverState::Running).await;
    let waiting = submit("1");
    let waits = id_of(DriverState::Submitted).await;
    for (id, submitted) in [(waits, waiting), (runs, running)] {
        let killed = cluster.run("kill", &[&id]).await.unwrap();
        assert!(killed.status.success(), "{}", said(&killed));
        let output = submitted.wait_with_output().await.unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("KILLED"), "{}", said(&output));
    }
    let unknown = cluster.run("kill", &["driver-nobody"]).await.unwrap();
    assert_eq!(unknown.status.code(), Some(3), "{}", said(&unknown));
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervised_driver_is_started_again_until_it_ends_well() {
    let cluster = cluster(&[], 1).await;
    // Fails until its folder has seen it twice.
    let output = job(&cluster, &["--supervise"], &["fail-until=3"]).await;
    assert!(output.status.success(), "{}", said(&output));
    let state = cluster.worker_state(0).await.unwrap();
    assert_eq!(state.finished_drivers[0].starts, 3);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervised_driver_moves_to_another_worker_under_a_new_id_when_its_worker_is_lost() {
    let mut cluster = cluster(&[], 2).await;
    let job = path("job");
    let words = ["--deploy-mode", "cluster", "--supervise", &job, "spin"];
    let running = cluster.command("submit", &words).unwrap();
    let first = cluster
        .until("the driver runs", |state| {
            let driver = state.active_drivers.first()?;
            let worker = driver.worker_id.clone()?;
            (driver.state == DriverState::Running).then(|| (driver.id.clone(), worker))
        })
        .await;
    let at = cluster
        .workers
        .iter()
        .position(|w| w.ready.worker_id == first.1);
    cluster.workers.remove(at.unwrap()).kill().await.unwrap();
    let second = cluster
        .until("another driver runs elsewhere", |state| {
            let driver = state.active_drivers.first()?;
            let moved = driver.id != first.0 && driver.worker_id.as_ref() != Some(&first.1);
            (moved && driver.state == DriverState::Running).then(|| driver.id.clone())
        })
        .await;
    cluster.run("kill", &[&second]).await.unwrap();
    // Who submitted it followed it.
    let output = running.wait_with_output().await.unwrap();
    assert!(
        said(&output).contains(&format!("driver {second}: KILLED")),
        "{}",
        said(&output)
    );
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_driven_from_a_worker_in_cluster_mode() {
    let cluster = cluster(&[], 2).await;
    let mut words = vec!["--deploy-mode".to_owned(), "cluster".to_owned()];
    words.extend(primes());
    let output = cluster.run("submit", &strs(&words)).await.unwrap();
    assert_counted(&output);
    cluster.stop().await.unwrap();
}

/// Submits a driver whose component is described by hand, and waits for its end.
async fn ends_with(cluster: &Cluster, component: ComponentFile) -> (DriverState, String) {
    let master = Location::Listening(cluster.address.clone());
    let master = cluster
        .env
        .reference(EndpointAddress::new("Master", master));
    let description = DriverDescription {
        command: Command {
            program: Program::Command,
            component,
            arguments: Vec::new(),
            environment: BTreeMap::new(),
        },
        memory_mb: 64,
        cores: 1,
        supervise: false,
        resources: Vec::new(),
    };
    let submitted = ask(&master, &RequestSubmitDriver { description })
        .await
        .unwrap();
    let request = RequestDriverStatus {
        driver_id: submitted.driver_id.expect("it is queued"),
    };
    eventually("the driver ended", async || {
        let status = ask(&master, &request).await.ok()?;
        let state = status.state.filter(|state| state.is_terminal())?;
        Some((state, status.message))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_is_missing_or_another_one_is_an_error_and_leaves_nothing() {
    let cluster = cluster(&[], 1).await;
    let files = instar_tests::start(instar_tests::server()).await;
    let offered = files
        .file_server()
        .add_file(&component_path("job"))
        .unwrap();
    let address = files.address().unwrap();
    let uri = |path: &str| format!("instar://{address}{path}");
    let component = |uri: String| ComponentFile {
        uri,
        sha256: "0".repeat(64),
    };
    for (uri, reason) in [
        (uri(&offered), "SHA-256"),
        (uri("/files/nothing.wasm"), "nothing.wasm"),
        (
            "instar://127.0.0.1:1/files/a.wasm".to_owned(),
            "127.0.0.1:1",
        ),
    ] {
        let (state, message) = ends_with(&cluster, component(uri)).await;
        assert_eq!(state, DriverState::Error, "{message}");
        assert!(message.contains(reason), "{message}");
    }
    let state = cluster.worker_state(0).await.unwrap();
    assert_eq!((state.cores_used, state.memory_used_mb), (0, 0));
    files.shutdown().await;
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_can_be_killed_by_its_id() {
    let cluster = cluster(&[], 1).await;
    let running = cluster.command("submit", &strs(&primes())).unwrap();
    cluster.until_done(5).await;
    let id = cluster.state().await.unwrap().active_apps[0].id.clone();
    let killed = cluster.run("kill", &[&id]).await.unwrap();
    assert!(killed.status.success(), "{}", said(&killed));
    let output = running.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("KILLED"), "{}", said(&output));
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lists_show_workers_drivers_and_applications() {
    let cluster = cluster(&[], 1).await;
    job(&cluster, &[], &["exit=0"]).await;
    let list = async |command: &str, arguments: &[&str]| -> Vec<Value> {
        let output = cluster.run(command, arguments).await.unwrap();
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!(
        list("workers", &[]).await[0]["id"],
        *cluster.workers[0].ready.worker_id
    );
    assert_eq!(list("drivers", &["--all"]).await[0]["state"], "Finished");
    assert!(list("drivers", &[]).await.is_empty());
    assert!(list("apps", &["--all"]).await.is_empty());
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn executors_that_cannot_start_fail_the_application_after_ten() {
    let cluster = cluster(&[], 1).await;
    // A command that is no executor: it ends at once, and badly.
    let (driver, executor) = (path("primes-driver"), path("job"));
    let words = ["--conf", PRIMES.0, "--executor", &executor, &driver];
    let output = cluster.run("submit", &words).await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("FAILED"), "{}", said(&output));
    let state = cluster.state().await.unwrap();
    let app = state.completed_apps.first().expect("it failed");
    assert!(app.removed_executors.len() >= 10 || app.executors.len() >= 10);
    let failed = app.removed_executors.iter().chain(&app.executors);
    assert!(
        failed
            .clone()
            .all(|e| e.description.state != ExecutorState::Running)
    );
    cluster.stop().await.unwrap();
}
