//! Launching: what an endpoint launches runs beside it, within its limits, and each end is told once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fixture_launcher::{
    Clean, Forge, Forget, GetLaunched, GetNotices, Kill, Launch, LaunchAndKill, LaunchAndPanic,
    Panic, RemoveFolder, Spin, Was,
};
use fixture_probe as probe;
use instar_host::component::code::Code;
use instar_host::endpoint::settings::EndpointSettings;
use instar_host::launch::settings::LaunchLimits;
use instar_host::{EndpointRef, RpcEnv, RpcError, RpcSettings};
use instar_sdk::Bytes;
use instar_sdk::launching::{
    ComponentFile, LaunchChange, LaunchChanged, LaunchId, Program, Workload,
};
use instar_tests::proxy::Proxy;
use instar_tests::{ask, client, component, component_path, eventually, message, server, start};
use tempfile::TempDir;

/// A host whose endpoint `launcher` launches, and one that offers files.
struct Hosts {
    env: RpcEnv,
    launcher: EndpointRef,
    files: RpcEnv,
    dir: TempDir,
}

fn granted() -> EndpointSettings {
    EndpointSettings {
        grants: ["launch".to_owned()].into(),
        ..EndpointSettings::default()
    }
}

impl Hosts {
    async fn new() -> Self {
        Self::with(LaunchLimits::default(), granted()).await
    }

    async fn limited(change: impl FnOnce(&mut LaunchLimits)) -> Self {
        let mut limits = LaunchLimits::default();
        change(&mut limits);
        Self::with(limits, granted()).await
    }

    async fn with(launch: LaunchLimits, settings: EndpointSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let env = start(RpcSettings {
            work: Some(dir.path().join("work")),
            launch,
            ..server()
        })
        .await;
        let code = component("launcher-v1");
        let launcher = env.setup_endpoint("launcher", &code, settings).await;
        let files = start(server()).await;
        for name in ["job", "probe-v1"] {
            let path = component_path(name);
            files.file_server().add_file(&path).unwrap();
        }
        Self {
            env,
            launcher: launcher.unwrap(),
            files,
            dir,
        }
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// The files that are kept, and those that are half there.
    fn kept(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.work().join(".components")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    /// Offers bytes under a name.
    fn offer(&self, name: &str, bytes: &[u8]) -> ComponentFile {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let path = self.files.file_server().add_file(&path).unwrap();
        ComponentFile {
            uri: self.files.file_uri(&path).unwrap(),
            sha256: Code::from_bytes(bytes.to_vec()).digest().to_owned(),
        }
    }

    /// A component that the build script built.
    fn file(&self, name: &str) -> ComponentFile {
        ComponentFile {
            uri: self.files.file_uri(&format!("/files/{name}.wasm")).unwrap(),
            sha256: component(name).digest().to_owned(),
        }
    }

    fn job(&self, folder: &str, arguments: &[&str]) -> Workload {
        let name = ["job"].iter();
        Workload {
            folder: folder.to_owned(),
            component: self.file("job"),
            memory_mb: 32,
            cpu_percent: 100,
            program: Program::Command {
                arguments: name.chain(arguments).map(|&text| text.to_owned()).collect(),
                environment: BTreeMap::from([("COLOUR".to_owned(), "green".to_owned())]),
            },
        }
    }

    fn probes(&self, folder: &str, names: &[&str]) -> Workload {
        Workload {
            component: self.file("probe-v1"),
            program: Program::Endpoint {
                names: names.iter().map(|&name| name.to_owned()).collect(),
                config: BTreeMap::from([("colour".to_owned(), "green".to_owned())]),
            },
            ..self.job(folder, &[])
        }
    }

    async fn try_launch(&self, workload: Workload) -> Result<LaunchId, RpcError> {
        let token = Bytes::from(workload.folder.clone());
        let launched = ask(&self.launcher, &Launch { workload, token }).await?;
        Ok(launched.launch)
    }

    async fn launch(&self, workload: Workload) -> LaunchId {
        self.try_launch(workload).await.unwrap()
    }

    async fn kill(&self, launch: LaunchId) -> bool {
        let Was { going_on } = ask(&self.launcher, &Kill { launch }).await.unwrap();
        going_on
    }

    async fn going_on(&self) -> Vec<(LaunchId, Bytes)> {
        ask(&self.launcher, &GetLaunched {}).await.unwrap().all
    }

    async fn notices(&self, launch: LaunchId) -> Vec<LaunchChanged> {
        let all = ask(&self.launcher, &GetNotices {}).await.unwrap().all;
        all.into_iter().filter(|n| n.launch == launch).collect()
    }

    async fn runs(&self, launch: LaunchId) -> PathBuf {
        eventually("it runs", || async {
            match self.notices(launch).await.first()?.change.clone() {
                LaunchChange::Running { folder } => Some(PathBuf::from(folder)),
                other => panic!("{other:?}"),
            }
        })
        .await
    }

    /// Waits for the end of a launch: the last notice of it, and the only one that is an end.
    async fn end(&self, launch: LaunchId) -> LaunchChange {
        let is_end =
            |notice: &LaunchChanged| !matches!(notice.change, LaunchChange::Running { .. });
        let notices = eventually("its end", || async {
            let notices = self.notices(launch).await;
            notices.iter().any(is_end).then_some(notices)
        })
        .await;
        assert_eq!(notices.iter().filter(|notice| is_end(notice)).count(), 1);
        assert!(notices.len() <= 2, "{notices:?}");
        assert!(self.going_on().await.iter().all(|(id, _)| *id != launch));
        notices.last().unwrap().change.clone()
    }

    async fn exit(&self, launch: LaunchId) -> (i32, String) {
        match self.end(launch).await {
            LaunchChange::Exited { status, reason } => (status, reason),
            other => panic!("{other:?}"),
        }
    }

    async fn failure(&self, launch: LaunchId) -> String {
        match self.end(launch).await {
            LaunchChange::Failed { reason } => reason,
            other => panic!("{other:?}"),
        }
    }

    fn output(&self, folder: &str, name: &str) -> String {
        std::fs::read_to_string(self.work().join(folder).join(name)).unwrap()
    }

    async fn shutdown(self) {
        self.env.shutdown().await;
        self.files.shutdown().await;
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_command_gets_what_was_said_and_its_end_is_told_with_the_token() {
    let hosts = Hosts::new().await;
    let job = hosts.job(
        "app/0",
        &[
            "arguments",
            "print=hello",
            "complain=dear me",
            "environment=COLOUR",
            "write=note",
            "read=note",
            "list=.",
            "time",
        ],
    );
    let launch = hosts.launch(job).await;
    assert_eq!(hosts.exit(launch).await, (0, String::new()));
    let folder = hosts.runs(launch).await;
    assert_eq!(folder, hosts.work().canonicalize().unwrap().join("app/0"));
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(
        hosts.output("app/0", "stdout"),
        "job\nhello\ngreen\nwritten by the job\n[\"note\", \"stderr\", \"stdout\"]\n"
    );
    assert_eq!(hosts.output("app/0", "stderr"), "dear me\n");
    for notice in hosts.notices(launch).await {
        assert_eq!(notice.token, Bytes::from("app/0"));
    }
    hosts.shutdown().await;
}

#[tokio::test]
async fn a_command_reads_files_of_hosts() {
    let hosts = Hosts::new().await;
    let file = hosts.offer("file", &[7; 1_000_000]);
    let fetch = format!("fetch={}", file.uri);
    let missing = format!("fetch={}", hosts.files.file_uri("/files/missing").unwrap());
    let job = hosts.job("app", &[&fetch, &missing, "fetch=nonsense"]);
    let launch = hosts.launch(job).await;
    assert_eq!(hosts.exit(launch).await, (0, String::new()));
    let output = hosts.output("app", "stdout");
    assert_eq!(output, "1000000\nrefused\ninvalid-address\n");
    hosts.shutdown().await;
}

#[tokio::test]
async fn the_status_of_a_command_is_told_as_it_is() {
    let hosts = Hosts::new().await;
    for (argument, expected) in [("exit=0", 0), ("exit=1", 1), ("exit-with-code=77", 77)] {
        let launch = hosts.launch(hosts.job("app", &[argument])).await;
        assert_eq!(hosts.exit(launch).await, (expected, String::new()));
    }
    hosts.shutdown().await;
}

#[tokio::test]
async fn a_command_that_panics_ends_with_101_and_its_last_words() {
    let hosts = Hosts::new().await;
    let launch = hosts
        .launch(hosts.job("app", &["panic=out of ideas"]))
        .await;
    let (status, reason) = hosts.exit(launch).await;
    assert_eq!(status, 101);
    assert!(reason.contains("out of ideas"), "{reason}");
    assert!(hosts.output("app", "stderr").contains("out of ideas"));
    hosts.shutdown().await;
}

#[tokio::test]
async fn a_command_that_wants_too_much_memory_ends_with_137_and_the_limit() {
    let hosts = Hosts::new().await;
    let launch = hosts.launch(hosts.job("app", &["allocate=20"])).await;
    assert_eq!(hosts.exit(launch).await.0, 0);
    let launch = hosts.launch(hosts.job("app", &["allocate=40"])).await;
    let (status, reason) = hosts.exit(launch).await;
    assert_eq!(status, 137);
    assert!(reason.contains("limit `memory`"), "{reason}");
    hosts.shutdown().await;
}

#[tokio::test]
async fn a_command_that_opens_too_many_files_ends_with_137_and_the_limit() {
    let hosts = Hosts::new().await;
    let launch = hosts.launch(hosts.job("app", &["open=1000"])).await;
    assert_eq!(hosts.exit(launch).await, (0, String::new()));
    assert_eq!(hosts.output("app", "stdout"), "1000 files\n");
    let launch = hosts.launch(hosts.job("app", &["open=1025"])).await;
    let (status, reason) = hosts.exit(launch).await;
    assert_eq!(status, 137, "{reason}");
    assert!(reason.contains("1024 open files"), "{reason}");
    assert!(reason.contains("limit `resources`"), "{reason}");
    hosts.shutdown().await;
}

#[tokio::test]
async fn nothing_outside_of_its_folder_is_there_for_a_command() {
    let hosts = Hosts::new().await;
    std::fs::write(hosts.dir.path().join("secret"), "precious").unwrap();
    for path in ["../../secret", "/etc/hostname", ".."] {
        let launch = hosts
            .launch(hosts.job("app", &[&format!("read={path}")]))
            .await;
        assert_eq!(hosts.exit(launch).await.0, 101, "{path}");
    }
    hosts.shutdown().await;
}

#[tokio::test]
async fn a_command_is_killed_whatever_it_does() {
    let hosts = Hosts::new().await;
    for what in ["spin", "sleep=3600000"] {
        let launch = hosts.launch(hosts.job("app", &[what])).await;
        hosts.runs(launch).await;
        assert_eq!(hosts.going_on().await.len(), 1);
        assert!(hosts.kill(launch).await);
        assert_eq!(hosts.end(launch).await, LaunchChange::Killed);
        assert!(!hosts.kill(launch).await, "it is over");
    }
    hosts.shutdown().await;
}

#[tokio::test]
async fn what_a_command_says_beyond_the_limit_is_dropped_and_that_is_said() {
    let hosts = Hosts::limited(|limits| limits.output_bytes_max = 10_000).await;
    let job = hosts.job("app", &["flood=15", "complain=done"]);
    let launch = hosts.launch(job).await;
    assert_eq!(hosts.exit(launch).await.0, 0);
    let text = hosts.output("app", "stdout");
    assert!(text.len() < 10_000 + 500, "{}", text.len());
    assert!(text.contains("limit `output_bytes_max`"));
    assert!(text.contains("5000 bytes were dropped"), "{text}");
    assert_eq!(hosts.output("app", "stderr"), "done\n");
    hosts.shutdown().await;
}

#[tokio::test]
async fn what_is_launched_again_appends_and_says_so() {
    let hosts = Hosts::new().await;
    for text in ["print=one", "print=two"] {
        let launch = hosts.launch(hosts.job("app", &[text])).await;
        assert_eq!(hosts.exit(launch).await.0, 0);
    }
    let text = hosts.output("app", "stdout");
    let (one, again, two) = (
        text.find("one"),
        text.find("launched again"),
        text.find("two"),
    );
    assert!(one < again && again < two, "{text}");
    hosts.shutdown().await;
}

/// Relative, and once is enough: a busy machine gives both less.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_with_a_tenth_of_a_core_does_far_less_than_one_with_a_whole() {
    let hosts = Hosts::new().await;
    let turns = async |folder: &str, cpu_percent: u32| {
        let _ = std::fs::remove_dir_all(hosts.work().join(folder));
        let job = hosts.job(folder, &["count=300"]);
        let launch = hosts.launch(Workload { cpu_percent, ..job }).await;
        assert_eq!(hosts.exit(launch).await.0, 0);
        let text = hosts.output(folder, "stdout");
        text.trim().parse::<u64>().unwrap()
    };
    eventually("a share", || async {
        let (whole, tenth) = (turns("whole", 100).await, turns("tenth", 10).await);
        (tenth < whole / 2).then_some(())
    })
    .await;
    hosts.shutdown().await;
}

#[tokio::test]
async fn a_workload_of_endpoints_is_set_up_with_its_parts_and_ends_when_all_stopped() {
    let hosts = Hosts::new().await;
    let launch = hosts.launch(hosts.probes("driver", &["a", "b"])).await;
    hosts.runs(launch).await;
    for name in ["a", "b"] {
        let settings = hosts.env.endpoint_settings(name).unwrap();
        assert_eq!(settings.limits.memory_bytes, 16 << 20);
        assert_eq!(settings.limits.cpu_percent, Some(50));
        assert!(settings.grants.contains("clock") && settings.grants.contains("message:*"));
        assert!(!settings.grants.contains("launch") && !settings.grants.contains("registry"));
    }
    let [a, b] = ["a", "b"].map(|name| hosts.env.endpoint_ref(name).unwrap());
    let colour = probe::GetConfig {
        key: "colour".to_owned(),
    };
    assert_eq!(ask(&a, &colour).await.unwrap().text, "green");
    a.send(message(&probe::StopYourself {})).await.unwrap();
    eventually("a is gone", || async {
        hosts.env.endpoint_ref("a").is_none().then_some(())
    })
    .await;
    assert_eq!(hosts.going_on().await.len(), 1, "b goes on");
    assert_eq!(ask(&b, &colour).await.unwrap().text, "green");
    b.send(message(&probe::StopYourself {})).await.unwrap();
    assert_eq!(hosts.exit(launch).await, (0, String::new()));
    assert!(hosts.env.endpoint_ref("b").is_none());
    hosts.shutdown().await;
}

#[tokio::test]
async fn the_first_endpoint_that_crashes_ends_the_workload_with_its_words() {
    let hosts = Hosts::new().await;
    let launch = hosts.launch(hosts.probes("driver", &["a", "b"])).await;
    hosts.runs(launch).await;
    let b = hosts.env.endpoint_ref("b").unwrap();
    let panic = probe::Panic {
        text: "out of ideas".to_owned(),
    };
    let error = ask(&b, &panic).await.unwrap_err();
    assert_eq!(error.code(), "crashed");
    let (status, reason) = hosts.exit(launch).await;
    assert_eq!(status, 101);
    assert!(
        reason.contains("`b`") && reason.contains("out of ideas"),
        "{reason}"
    );
    assert!(hosts.output("driver", "stderr").contains("out of ideas"));
    for name in ["a", "b"] {
        assert!(hosts.env.endpoint_ref(name).is_none(), "{name} is left");
    }
    hosts.shutdown().await;
}

#[tokio::test]
async fn an_endpoint_beyond_its_memory_or_its_turn_ends_the_workload_with_137_and_the_limit() {
    let hosts = Hosts::limited(|limits| limits.task_turn = Duration::from_millis(300)).await;
    let launch = hosts.launch(hosts.probes("driver", &["a"])).await;
    hosts.runs(launch).await;
    let a = hosts.env.endpoint_ref("a").unwrap();
    ask(&a, &probe::Allocate { mib: 100 }).await.unwrap_err();
    let (status, reason) = hosts.exit(launch).await;
    assert_eq!(status, 137);
    assert!(reason.contains("limit `memory`"), "{reason}");

    let launch = hosts.launch(hosts.probes("driver", &["a"])).await;
    hosts.runs(launch).await;
    let a = hosts.env.endpoint_ref("a").unwrap();
    ask(&a, &probe::Spin { turns: u64::MAX }).await.unwrap_err();
    let (status, reason) = hosts.exit(launch).await;
    assert_eq!(status, 137);
    assert!(reason.contains("limit `turn`"), "{reason}");
    hosts.shutdown().await;
}

#[tokio::test]
async fn an_endpoint_that_does_not_end_well_when_it_is_killed_is_ended_by_force() {
    let hosts = Hosts::limited(|limits| limits.kill_wait = Duration::from_millis(50)).await;
    let launch = hosts.launch(hosts.probes("driver", &["a", "b"])).await;
    hosts.runs(launch).await;
    let a = hosts.env.endpoint_ref("a").unwrap();
    let spinning = a.ask_abortable(message(&probe::Spin { turns: u64::MAX }));
    assert!(hosts.kill(launch).await);
    assert_eq!(hosts.end(launch).await, LaunchChange::Killed);
    drop(spinning);
    for name in ["a", "b"] {
        assert!(hosts.env.endpoint_ref(name).is_none(), "{name} is left");
    }
    hosts.shutdown().await;
}

/// It would wait for room for each of its messages, half a minute for one.
#[tokio::test]
async fn an_endpoint_whose_messages_have_no_room_is_killed_in_time() {
    let hosts = Hosts::limited(|limits| limits.kill_wait = Duration::from_millis(50)).await;
    let stuck = hosts.launch(hosts.probes("stuck", &["stuck"])).await;
    let sender = hosts.launch(hosts.probes("sender", &["sender"])).await;
    for launch in [stuck, sender] {
        hosts.runs(launch).await;
    }
    let [a, b] = ["stuck", "sender"].map(|name| hosts.env.endpoint_ref(name).unwrap());
    let spinning = a.ask_abortable(message(&probe::Spin { turns: u64::MAX }));
    let many = probe::SendMany {
        to: instar_sdk::EndpointRef::local("stuck"),
        count: 10_000,
        prefix: String::new(),
        wait: true,
    };
    b.send(message(&many)).await.unwrap();
    eventually("no room is left", || async {
        let status = hosts.env.status_of("stuck").unwrap();
        (status.inbox >= status.inbox_limit).then_some(())
    })
    .await;
    assert!(hosts.kill(sender).await);
    assert_eq!(hosts.end(sender).await, LaunchChange::Killed);
    assert!(hosts.kill(stuck).await);
    assert_eq!(hosts.end(stuck).await, LaunchChange::Killed);
    drop(spinning);
    hosts.shutdown().await;
}

#[tokio::test]
async fn a_folder_is_in_use_until_the_endpoints_that_work_in_it_have_ended() {
    let hosts = Hosts::limited(|limits| limits.kill_wait = Duration::from_secs(5)).await;
    let launch = hosts.launch(hosts.probes("driver", &["a"])).await;
    let folder = hosts.runs(launch).await;
    let other = hosts.work().join("other");
    std::fs::create_dir(&other).unwrap();
    let a = hosts.env.endpoint_ref("a").unwrap();
    let spinning = a.ask_abortable(message(&probe::Spin { turns: u64::MAX }));
    assert!(hosts.kill(launch).await);
    eventually("it is being stopped", || async {
        hosts.env.endpoint_ref("a").is_none().then_some(())
    })
    .await;
    for folder in ["driver", "other"] {
        let folder = folder.to_owned();
        let remove = message(&RemoveFolder { folder });
        hosts.launcher.send(remove).await.unwrap();
    }
    eventually("another folder is removed", || async {
        (!other.exists()).then_some(())
    })
    .await;
    assert!(folder.exists());
    assert_eq!(hosts.end(launch).await, LaunchChange::Killed);
    assert!(folder.exists());
    drop(spinning);
    hosts.shutdown().await;
}

#[tokio::test]
async fn a_name_that_is_taken_fails_the_workload_and_leaves_none_of_its_endpoints() {
    let hosts = Hosts::new().await;
    let launch = hosts
        .launch(hosts.probes("driver", &["a", "launcher"]))
        .await;
    let reason = hosts.failure(launch).await;
    assert!(reason.contains("`launcher` is taken"), "{reason}");
    assert!(hosts.env.endpoint_ref("a").is_none());
    hosts.shutdown().await;
}

#[tokio::test]
async fn what_is_launched_gets_no_right_but_those_of_workloads() {
    let hosts = Hosts::new().await;
    let wants_registry = component("bad-wants-registry");
    let file = hosts.offer("registry.wasm", wants_registry.bytes());
    let workload = Workload {
        component: file,
        ..hosts.probes("driver", &["a"])
    };
    let launch = hosts.launch(workload).await;
    let reason = hosts.failure(launch).await;
    assert!(reason.contains("`registry`"), "{reason}");
    assert!(
        reason.ends_with("gets only `clock` and `channel`"),
        "{reason}"
    );
    hosts.shutdown().await;
}

#[tokio::test]
async fn a_component_of_another_sort_fails_with_what_it_is() {
    let hosts = Hosts::new().await;
    let probe_as_command = Workload {
        component: hosts.file("probe-v1"),
        ..hosts.job("app", &[])
    };
    let job_as_endpoint = Workload {
        component: hosts.file("job"),
        ..hosts.probes("app", &["a"])
    };
    let noise = Workload {
        component: hosts.offer("noise.wasm", b"noise"),
        ..hosts.job("app", &[])
    };
    for (workload, expected) in [
        (probe_as_command, "wasi:cli/command"),
        (job_as_endpoint, "instar:endpoint/plugin"),
        (noise, "not a WebAssembly component"),
    ] {
        let launch = hosts.launch(workload).await;
        let reason = hosts.failure(launch).await;
        assert!(reason.contains(expected), "{reason}");
    }
    hosts.shutdown().await;
}

#[tokio::test]
async fn a_component_that_cannot_be_fetched_fails_with_the_reason_and_leaves_nothing() {
    let hosts = Hosts::limited(|limits| {
        limits.component_bytes_max = 1000;
        limits.fetch_time = Duration::from_millis(500);
    })
    .await;
    let small = hosts.offer("small", b"small");
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().unwrap();
    let another = ComponentFile {
        sha256: "0".repeat(64),
        ..small.clone()
    };
    let missing = ComponentFile {
        uri: hosts.files.file_uri("/files/missing").unwrap(),
        ..small.clone()
    };
    let nobody = ComponentFile {
        uri: "instar://127.0.0.1:1/files/small".to_owned(),
        ..small.clone()
    };
    let mute = ComponentFile {
        uri: format!("instar://{silent}/files/small"),
        ..small.clone()
    };
    let expected = [
        (another, &*small.sha256),
        (missing, "no file is offered"),
        (nobody, "127.0.0.1:1"),
        (hosts.offer("large", &[0; 1001]), "`component_bytes_max`"),
        (mute, "`fetch_time`"),
    ];
    for (component, expected) in expected {
        let uri = component.uri.clone();
        let workload = Workload {
            component,
            ..hosts.job("app", &[])
        };
        let launch = hosts.launch(workload).await;
        let reason = hosts.failure(launch).await;
        assert!(reason.contains(expected), "{reason}");
        assert!(reason.contains(&uri), "{reason}");
    }
    assert_eq!(hosts.kept(), Vec::<String>::new());
    assert!(!hosts.work().join("app").exists(), "no folder for nothing");
    hosts.shutdown().await;
}

/// A file so large that it does not come in one piece.
fn large_file(hosts: &Hosts, port: u16) -> ComponentFile {
    let path = hosts.dir.path().join("large.wasm");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(200 << 20).unwrap();
    let path = hosts.files.file_server().add_file(&path).unwrap();
    ComponentFile {
        uri: format!("instar://127.0.0.1:{port}{path}"),
        sha256: "0".repeat(64),
    }
}

async fn is_on_its_way(hosts: &Hosts) {
    eventually("the first bytes of the file", || async {
        let half = hosts
            .kept()
            .into_iter()
            .find(|name| name.ends_with(".half"))?;
        let path = hosts.work().join(".components").join(half);
        (path.metadata().ok()?.len() > 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_in_the_midst_of_a_file_fails_the_launch_and_nothing_is_left() {
    let hosts = Hosts::new().await;
    let to = hosts.files.address().unwrap();
    let to = format!("{}:{}", to.host(), to.port()).parse().unwrap();
    let proxy = Proxy::to(to).await;
    let workload = Workload {
        component: large_file(&hosts, proxy.port()),
        ..hosts.job("app", &[])
    };
    let launch = hosts.launch(workload).await;
    is_on_its_way(&hosts).await;
    proxy.cut().await;
    let reason = hosts.failure(launch).await;
    assert!(reason.contains("broken off after"), "{reason}");
    assert_eq!(hosts.kept(), Vec::<String>::new());
    hosts.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_that_is_killed_while_its_component_is_fetched_leaves_nothing() {
    let hosts = Hosts::new().await;
    let port = hosts.files.address().unwrap().port();
    let workload = Workload {
        component: large_file(&hosts, port),
        ..hosts.job("app", &[])
    };
    let launch = hosts.launch(workload).await;
    is_on_its_way(&hosts).await;
    assert!(hosts.kill(launch).await);
    assert_eq!(hosts.end(launch).await, LaunchChange::Killed);
    assert_eq!(hosts.kept(), Vec::<String>::new());
    hosts.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_fetched_once_however_many_want_it() {
    let hosts = Hosts::new().await;
    let to = hosts.files.address().unwrap();
    let to = format!("{}:{}", to.host(), to.port()).parse().unwrap();
    let proxy = Proxy::to(to).await;
    let job = |folder: &str| {
        let job = hosts.job(folder, &["print=hello"]);
        let uri = format!("instar://127.0.0.1:{}/files/job.wasm", proxy.port());
        let component = ComponentFile {
            uri,
            ..job.component.clone()
        };
        Workload { component, ..job }
    };
    let mut launched = Vec::new();
    for number in 0..8 {
        launched.push(hosts.launch(job(&format!("app/{number}"))).await);
    }
    for launch in launched {
        assert_eq!(hosts.exit(launch).await.0, 0);
    }
    assert_eq!(proxy.accepted(), 1);
    // Not even its host is needed.
    hosts.files.shutdown().await;
    let launch = hosts.launch(job("app/again")).await;
    assert_eq!(hosts.exit(launch).await.0, 0);
    assert_eq!(proxy.accepted(), 1);
    assert_eq!(hosts.kept().len(), 1);
    hosts.shutdown().await;
}

#[tokio::test]
async fn without_a_work_folder_nothing_is_launched_and_the_reason_says_how_to_get_one() {
    let hosts = Hosts::new().await;
    let without = start(client()).await;
    let code = component("launcher-v1");
    let made = without.setup_endpoint("launcher", &code, granted()).await;
    let launch = Launch {
        workload: hosts.job("app", &[]),
        token: Bytes::new(),
    };
    let error = ask(&made.unwrap(), &launch).await.unwrap_err();
    assert_eq!(error.code(), "denied");
    assert!(error.to_string().contains("`RpcSettings.work`"), "{error}");
    without.shutdown().await;
    hosts.shutdown().await;
}

#[tokio::test]
async fn a_workload_that_makes_no_sense_is_refused_at_once() {
    let hosts = Hosts::new().await;
    for folder in ["", "/tmp", "../outside", "a/../../b", ".components"] {
        let error = hosts.try_launch(hosts.job(folder, &[])).await.unwrap_err();
        assert_eq!(error.code(), "failed", "{folder}");
        assert!(error.to_string().contains("work folder"), "{error}");
    }
    let mut job = hosts.job("app", &[]);
    job.memory_mb = 0;
    let error = hosts.try_launch(job).await.unwrap_err();
    assert!(error.to_string().contains("at least 1"), "{error}");
    assert_eq!(hosts.going_on().await, []);
    hosts.shutdown().await;
}

#[tokio::test]
async fn without_the_right_nothing_that_launches_is_set_up() {
    let env = start(client()).await;
    let code = component("launcher-v1");
    let settings = EndpointSettings::default();
    let error = env.setup_endpoint("launcher", &code, settings).await;
    let error = error.err().unwrap().to_string();
    assert!(error.contains("right `launch`"), "{error}");
    env.shutdown().await;
}

#[tokio::test]
async fn a_turn_that_panics_launches_nothing() {
    let hosts = Hosts::new().await;
    let workload = hosts.job("app", &["spin"]);
    let error = ask(&hosts.launcher, &LaunchAndPanic { workload })
        .await
        .unwrap_err();
    assert_eq!(error.code(), "crashed");
    assert_eq!(hosts.going_on().await, []);
    hosts.shutdown().await;
}

#[tokio::test]
async fn what_is_launched_and_killed_in_one_turn_is_told_to_be_killed() {
    let hosts = Hosts::new().await;
    let workload = hosts.job("app", &["spin"]);
    let was = ask(&hosts.launcher, &LaunchAndKill { workload }).await;
    assert!(was.unwrap().going_on);
    let all = eventually("its end", || async {
        let all = ask(&hosts.launcher, &GetNotices {}).await.unwrap().all;
        (!all.is_empty()).then_some(all)
    })
    .await;
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].change, LaunchChange::Killed);
    hosts.shutdown().await;
}

#[tokio::test]
async fn beyond_the_limit_of_launches_one_more_is_denied_by_name() {
    let hosts = Hosts::limited(|limits| limits.launches_max = 2).await;
    let mut launched = Vec::new();
    for _ in 0..2 {
        launched.push(hosts.launch(hosts.job("app", &["sleep=3600000"])).await);
    }
    let error = hosts.try_launch(hosts.job("app", &[])).await.unwrap_err();
    assert_eq!(error.code(), "denied");
    assert!(error.to_string().contains("`launches_max`"), "{error}");
    hosts.kill(launched[0]).await;
    hosts.end(launched[0]).await;
    let launch = eventually("room for one more", || async {
        hosts.try_launch(hosts.job("app", &[])).await.ok()
    })
    .await;
    assert_eq!(hosts.exit(launch).await.0, 0);
    hosts.shutdown().await;
}

#[tokio::test]
async fn a_launch_goes_on_through_a_swap_and_a_crash_of_who_launched_it() {
    let hosts = Hosts::new().await;
    let launch = hosts.launch(hosts.probes("driver", &["a"])).await;
    hosts.runs(launch).await;
    let expected = vec![(launch, Bytes::from("driver"))];
    let next = component("launcher-v2");
    hosts
        .env
        .swap("launcher", &next, None, "test")
        .await
        .unwrap();
    assert_eq!(hosts.going_on().await, expected);
    let crashes = hosts.env.status_of("launcher").unwrap().crashes;
    hosts.launcher.send(message(&Panic {})).await.unwrap();
    eventually("the crash", || async {
        (hosts.env.status_of("launcher").unwrap().crashes > crashes).then_some(())
    })
    .await;
    assert_eq!(hosts.going_on().await, expected);
    let a = hosts.env.endpoint_ref("a").unwrap();
    a.send(message(&probe::StopYourself {})).await.unwrap();
    assert_eq!(hosts.exit(launch).await, (0, String::new()));
    hosts.shutdown().await;
}

#[tokio::test]
async fn a_restart_afresh_leaves_what_was_launched_too() {
    let hosts = Hosts::new().await;
    let launch = hosts.launch(hosts.job("app", &["sleep=3600000"])).await;
    hosts.runs(launch).await;
    hosts.env.restart("launcher").await.unwrap();
    assert!(hosts.notices(launch).await.is_empty(), "it knows nothing");
    assert_eq!(hosts.going_on().await, [(launch, Bytes::from("app"))]);
    assert!(hosts.kill(launch).await);
    assert_eq!(hosts.end(launch).await, LaunchChange::Killed);
    hosts.shutdown().await;
}

/// The version before handles the launch again; the component is not launched again.
#[tokio::test]
async fn a_rollback_takes_over_what_the_newer_version_launched() {
    let hosts = Hosts::new().await;
    let next = component("launcher-fragile");
    hosts
        .env
        .swap("launcher", &next, None, "test")
        .await
        .unwrap();
    let launch = hosts.launch(hosts.probes("driver", &["a"])).await;
    hosts.runs(launch).await;
    hosts.launcher.send(message(&Forget {})).await.unwrap();
    let notices = eventually("the rollback", || async {
        let notices = ask(&hosts.launcher, &GetNotices {}).await.ok()?;
        (notices.version == "1.0.0").then_some(notices)
    })
    .await;
    // It is the message that broke the newer version: the older one has forgotten.
    assert_eq!(notices.all.len(), 0);
    assert_eq!(hosts.going_on().await, [(launch, Bytes::from("driver"))]);
    assert!(hosts.kill(launch).await);
    assert_eq!(hosts.end(launch).await, LaunchChange::Killed);
    hosts.shutdown().await;
}

#[tokio::test]
async fn what_an_endpoint_launched_ends_with_it() {
    let hosts = Hosts::new().await;
    for (workload, number) in [
        (hosts.probes("driver", &["a"]), 1),
        (hosts.job("app", &["spin"]), 2),
    ] {
        let launch = hosts.launch(workload).await;
        hosts.runs(launch).await;
        assert_eq!(hosts.going_on().await.len(), number);
    }
    assert!(hosts.env.stop("launcher").await);
    eventually("the end of its endpoint", || async {
        hosts.env.endpoint_ref("a").is_none().then_some(())
    })
    .await;
    // And that of the command: a shutdown waits for it, and it spins for ever.
    hosts.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_ends_all_that_was_launched() {
    let hosts = Hosts::limited(|limits| limits.kill_wait = Duration::from_millis(50)).await;
    let launches = [
        hosts.job("app", &["spin"]),
        hosts.job("app", &["sleep=3600000"]),
        hosts.probes("driver", &["a", "b"]),
    ];
    for workload in launches {
        let launch = hosts.launch(workload).await;
        hosts.runs(launch).await;
    }
    let a = hosts.env.endpoint_ref("a").unwrap();
    let _spinning = a.ask_abortable(message(&probe::Spin { turns: u64::MAX }));
    hosts.shutdown().await;
}

/// Its inbox has room for one message, and it is busy: each notice waits for its turn.
#[tokio::test(flavor = "multi_thread")]
async fn notices_wait_for_room_and_none_is_lost() {
    let mut settings = granted();
    settings.limits.inbox = 1;
    let hosts = Hosts::with(LaunchLimits::default(), settings).await;
    let retry = async |workload: &Workload| {
        eventually("room", || async {
            hosts.try_launch(workload.clone()).await.ok()
        })
        .await
    };
    let mut launched = Vec::new();
    for number in 0..10 {
        let job = hosts.job(&format!("app/{number}"), &["print=x"]);
        launched.push(retry(&job).await);
    }
    let spin = Spin { steps: 1 << 27 };
    hosts.launcher.send(message(&spin)).await.unwrap();
    let all = eventually("all notices", || async {
        let notices = ask(&hosts.launcher, &GetNotices {}).await.ok()?;
        (notices.all.len() == 20).then_some(notices.all)
    })
    .await;
    for launch in launched {
        let of_it: Vec<_> = all.iter().filter(|n| n.launch == launch).collect();
        assert!(matches!(of_it[0].change, LaunchChange::Running { .. }));
        assert!(matches!(
            of_it[1].change,
            LaunchChange::Exited { status: 0, .. }
        ));
    }
    hosts.shutdown().await;
}

#[tokio::test]
async fn a_notice_always_fits_into_the_messages_that_its_endpoint_takes() {
    let mut settings = granted();
    settings.limits.message_bytes = (8 << 10) + 3;
    let hosts = Hosts::with(LaunchLimits::default(), settings).await;
    let words = "x".repeat(6000);
    let wordy = hosts.job("app", &[&format!("panic={words}")]);
    let launch = hosts.launch(wordy).await;
    let (status, reason) = hosts.exit(launch).await;
    assert_eq!(status, 101);
    assert!(reason.len() < 4200, "{}", reason.len());
    assert!(reason.ends_with("xxx ... (cut)"), "{reason}");
    // The token is the name of the folder here: one byte more than there is room for.
    let error = hosts.try_launch(hosts.job("apps", &[])).await.unwrap_err();
    assert_eq!(error.code(), "too-large", "{error}");
    assert_eq!(hosts.going_on().await, []);
    hosts.shutdown().await;
}

/// An endpoint may trust what it is told of its launches.
#[tokio::test]
async fn nobody_but_the_host_can_send_a_notice() {
    let hosts = Hosts::new().await;
    let launch = hosts.launch(hosts.job("app", &[])).await;
    assert_eq!(hosts.exit(launch).await.0, 0);
    let notice = LaunchChanged {
        launch,
        token: Bytes::new(),
        change: LaunchChange::Killed,
    };
    // A guest of the same host.
    let code = component("launcher-v1");
    let forger = hosts.env.setup_endpoint("forger", &code, granted()).await;
    let to = hosts.launcher.address().clone();
    let forge = Forge {
        to: instar_sdk::EndpointRef::remote(to.name.clone(), to.location.to_string()),
        notice: notice.clone(),
    };
    let refused = ask(&forger.unwrap(), &forge)
        .await
        .unwrap()
        .failure
        .unwrap();
    assert_eq!(refused.code, "denied");
    assert!(refused.text.contains("`instar.LaunchChanged`"), "{refused}");
    // A peer, in both ways.
    let peer = start(client()).await;
    let remote = peer.reference(to);
    let before = hosts.env.dead_letters();
    remote.send(message(&notice)).await.unwrap();
    eventually("a dead letter", || async {
        (hosts.env.dead_letters() > before).then_some(())
    })
    .await;
    let error = remote.ask(message(&notice)).await.unwrap_err();
    assert_eq!(error.code(), "denied");
    assert_eq!(hosts.notices(launch).await.len(), 2);
    // What a host asks of its endpoints anybody may ask.
    assert!(peer.describe(hosts.launcher.address()).await.is_ok());
    peer.shutdown().await;
    hosts.shutdown().await;
}

#[tokio::test]
async fn work_folders_are_removed_when_nobody_uses_them_and_not_before() {
    let hosts = Hosts::new().await;
    let launch = hosts.launch(hosts.job("used/0", &["sleep=3600000"])).await;
    hosts.runs(launch).await;
    for name in ["kept", "unused"] {
        std::fs::create_dir_all(hosts.work().join(name).join("deep")).unwrap();
    }
    let clean = |unused_ms| Clean {
        keep: vec!["kept".to_owned()],
        unused_ms,
    };
    let there = |name: &str| hosts.work().join(name).exists();
    let gone = async |name: &str| {
        eventually("it is gone", || async { (!there(name)).then_some(()) }).await;
    };
    // Everything is younger than that; what is removed afterwards shows that it was looked at.
    hosts
        .launcher
        .send(message(&clean(3_600_000)))
        .await
        .unwrap();
    std::fs::create_dir(hosts.work().join("one")).unwrap();
    let remove = |folder: &str| {
        message(&RemoveFolder {
            folder: folder.to_owned(),
        })
    };
    for folder in ["used/0", "used", "../work", "", "one"] {
        hosts.launcher.send(remove(folder)).await.unwrap();
    }
    gone("one").await;
    assert!(there("unused"));
    hosts.launcher.send(message(&clean(0))).await.unwrap();
    gone("unused").await;
    assert!(there("used/0") && there("kept") && there(".components"));
    hosts.kill(launch).await;
    hosts.end(launch).await;
    hosts.launcher.send(remove("used")).await.unwrap();
    gone("used").await;
    hosts.shutdown().await;
}
