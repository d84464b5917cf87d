//! The directory as a whole: real files, real notifications, a host that records.
//!
//! Nothing here sleeps: a test waits for a call or a status, with a deadline. That something does
//! *not* happen is shown by what happens after it: work on one plugin is done in order.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use super::fake_host::{FakeHost, PATIENCE, plugin};
use super::*;
use crate::endpoint::record::SwapOutcome;
use crate::endpoint::status::EndpointState;

#[path = "operator_tests.rs"]
mod operator;

#[path = "approval_tests.rs"]
mod approval;

#[path = "drift_tests.rs"]
mod drift;

#[path = "together_tests.rs"]
mod together;

struct Fixture {
    host: FakeHost,
    directory: PluginDirectory,
    path: PathBuf,
    _temp: TempDir,
}

fn options() -> Options {
    Options {
        gone_after: Duration::from_millis(300),
        rescan: Duration::from_millis(100),
        ..Options::default()
    }
}

fn fixture_with(options: Options) -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("plugins");
    std::fs::create_dir(&path).unwrap();
    let host = FakeHost::new();
    let directory = PluginDirectory::start(host.clone(), &path, options);
    let _temp = temp;
    Fixture {
        host,
        directory,
        path,
        _temp,
    }
}

fn fixture() -> Fixture {
    fixture_with(options())
}

impl Fixture {
    /// Writes a file in place.
    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path.join(name), bytes).unwrap();
    }

    /// Writes a file under a hidden name and renames it.
    fn rename_in(&self, name: &str, bytes: impl AsRef<[u8]>) {
        rename_into(&self.path, name, bytes);
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.path.join(name)).unwrap();
    }

    /// Waits for a status of `name`.
    async fn status(&self, name: &str, wanted: impl Fn(&PluginStatus) -> bool) -> PluginStatus {
        let find = |all: Vec<PluginStatus>| all.into_iter().find(|status| status.plugin == name);
        let mut directory = self.directory.clone();
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(found) = find(directory.status()).filter(|status| wanted(status)) {
                    return found;
                }
                assert!(directory.changed().await, "the directory ended");
            }
        });
        let failed = |_| panic!("{:?}; {:?}", self.directory.status(), self.host.calls());
        waited.await.unwrap_or_else(failed)
    }

    async fn state(&self, name: &str, state: PluginState) -> PluginStatus {
        self.status(name, |status| status.state == state).await
    }

    /// Waits until the directory has seen everything that lies there now.
    async fn fence(&self, name: &str) {
        self.write(&format!("{name}.wasm"), plugin(&format!("{name} 1")));
        self.host.called(&format!("setup {name} 1")).await;
    }
}

fn rename_into(directory: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let hidden = directory.join(format!(".{name}.new"));
    std::fs::write(&hidden, bytes).unwrap();
    std::fs::rename(hidden, directory.join(name)).unwrap();
}

/// Waits for something in the file system, which tells nobody.
async fn eventually(what: &str, mut reached: impl FnMut() -> bool) {
    let mut look = tokio::time::interval(Duration::from_millis(2));
    let waited = tokio::time::timeout(PATIENCE, async {
        while !reached() {
            look.tick().await;
        }
    });
    assert!(waited.await.is_ok(), "not reached: {what}");
}

#[tokio::test]
async fn a_file_that_appears_changes_and_goes_is_loaded_swapped_and_stopped() {
    let at = fixture();
    at.rename_in("a.wasm", plugin("x 1"));
    at.host.called("setup x 1").await;
    at.rename_in("a.wasm", plugin("x 2"));
    at.host.called("swap x 2").await;
    let status = at.status("a", |status| status.version == "2").await;
    assert_eq!(status.endpoints, ["x"]);
    assert_eq!(status.last_swap.unwrap().outcome, SwapOutcome::Swapped);
    assert_eq!(at.directory.plugin_of("x").as_deref(), Some("a"));
    at.remove("a.wasm");
    at.host.called("stop x").await;
    assert_eq!(at.host.calls(), ["setup x 1", "swap x 2", "stop x"]);
}

#[tokio::test]
async fn the_status_file_tells_what_became_of_a_plugin_and_goes_with_it() {
    let at = fixture();
    let file = at.path.join("a.status.json");
    let read = || serde_json::from_slice::<PluginStatus>(&std::fs::read(&file).ok()?).ok();
    at.rename_in("a.wasm", plugin("x 1"));
    eventually("loaded", || {
        read().is_some_and(|status| status.state == PluginState::Loaded)
    })
    .await;
    at.rename_in("a.wasm", plugin("x bad"));
    eventually("rejected", || {
        read().is_some_and(|status| status.state == PluginState::Rejected)
    })
    .await;
    let status = read().unwrap();
    assert_eq!(
        status.reason.as_deref(),
        Some("endpoint `x`: cannot compile")
    );
    assert_eq!(status.version, "1");
    at.remove("a.wasm");
    eventually("removed", || !file.exists()).await;
    assert_eq!(
        std::fs::read_dir(&at.path).unwrap().count(),
        0,
        "nothing is left behind"
    );
}

#[tokio::test]
async fn a_half_written_file_is_never_loaded() {
    let at = fixture();
    let whole = plugin("x 1 and a long tail that comes later");
    let (start, end) = whole.split_at(whole.len() / 2);
    at.write("a.wasm", start);
    at.fence("fence").await;
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(at.path.join("a.wasm"))
        .unwrap();
    std::io::Write::write_all(&mut file, end).unwrap();
    at.host.called("setup x 1").await;
    assert_eq!(at.host.calls(), ["setup fence 1", "setup x 1"]);
}

#[tokio::test]
async fn other_files_and_subdirectories_are_no_plugins() {
    let at = fixture();
    for name in [
        ".a.wasm",
        "a.wasm~",
        "#a.wasm#",
        "4913",
        ".tmpQ1w2E3",
        ".a.wasm.swp",
        "a.txt",
    ] {
        at.write(name, plugin("x 1"));
    }
    std::fs::create_dir(at.path.join("dir.wasm")).unwrap();
    std::fs::write(at.path.join("dir.wasm/b.wasm"), plugin("y 1")).unwrap();
    at.write("only.toml", "nonsense");
    at.fence("fence").await;
    assert_eq!(at.host.calls(), ["setup fence 1"]);
    assert_eq!(at.directory.status().len(), 1);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_name_that_is_no_utf8_is_skipped() {
    use std::os::unix::ffi::OsStrExt as _;
    let at = fixture();
    let name = std::ffi::OsStr::from_bytes(b"\xff.wasm");
    std::fs::write(at.path.join(name), plugin("x 1")).unwrap();
    at.fence("fence").await;
    assert_eq!(at.host.calls(), ["setup fence 1"]);
}

#[cfg(unix)]
#[tokio::test]
async fn the_swap_of_a_kubernetes_volume_is_a_swap_of_its_plugins() {
    use std::os::unix::fs::symlink;
    let at = fixture();
    for version in ["1", "2"] {
        let dir = at.path.join(format!("..2024_{version}"));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("a.wasm"), plugin(&format!("x {version}"))).unwrap();
    }
    symlink("..2024_1", at.path.join("..data")).unwrap();
    symlink("..data/a.wasm", at.path.join("a.wasm")).unwrap();
    at.host.called("setup x 1").await;
    symlink("..2024_2", at.path.join("..data_tmp")).unwrap();
    std::fs::rename(at.path.join("..data_tmp"), at.path.join("..data")).unwrap();
    at.host.called("swap x 2").await;
    assert_eq!(at.host.calls(), ["setup x 1", "swap x 2"]);
}

#[tokio::test]
async fn the_same_content_again_is_no_swap() {
    let at = fixture();
    at.rename_in("a.wasm", plugin("x 1"));
    at.host.called("setup x 1").await;
    at.rename_in("a.wasm", plugin("x 1"));
    at.write("a.wasm", plugin("x 1"));
    at.fence("fence").await;
    at.rename_in("a.wasm", plugin("x 2"));
    at.host.called("swap x 2").await;
    assert_eq!(at.host.calls(), ["setup x 1", "setup fence 1", "swap x 2"]);
}

#[tokio::test]
async fn a_file_that_is_deleted_and_written_anew_is_swapped_and_not_stopped() {
    let at = fixture_with(Options {
        gone_after: PATIENCE,
        ..options()
    });
    at.rename_in("a.wasm", plugin("x 1"));
    at.host.called("setup x 1").await;
    at.remove("a.wasm");
    at.fence("fence").await;
    at.rename_in("a.wasm", plugin("x 2"));
    at.host.called("swap x 2").await;
    assert_eq!(at.host.calls(), ["setup x 1", "setup fence 1", "swap x 2"]);
}

#[tokio::test]
async fn a_plugin_that_is_renamed_goes_on() {
    let at = fixture();
    at.rename_in("a.wasm", plugin("x 1"));
    at.host.called("setup x 1").await;
    std::fs::rename(at.path.join("a.wasm"), at.path.join("b.wasm")).unwrap();
    at.status("b", |status| status.endpoints == ["x"]).await;
    at.rename_in("b.wasm", plugin("x 2"));
    at.host.called("swap x 2").await;
    assert_eq!(at.host.calls(), ["setup x 1", "swap x 2"]);
}

#[tokio::test]
async fn a_directory_may_come_later_go_and_come_back() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("later/plugins");
    let host = FakeHost::new();
    let _directory = PluginDirectory::start(host.clone(), &path, options());
    for round in ["1", "2"] {
        std::fs::create_dir_all(&path).unwrap();
        rename_into(&path, "a.wasm", plugin(&format!("x {round}")));
        host.called(&format!("setup x {round}")).await;
        // Its last write here: removing a directory fails if a file appears in it meanwhile.
        eventually("told", || path.join("a.status.json").exists()).await;
        std::fs::remove_dir_all(temp.path().join("later")).unwrap();
        eventually("stopped", || host.version("x").is_none()).await;
    }
    assert_eq!(host.calls(), ["setup x 1", "stop x", "setup x 2", "stop x"]);
}

/// A link to itself cannot be read, not even by root.
#[cfg(unix)]
#[tokio::test]
async fn an_unreadable_file_leaves_what_runs_and_is_told() {
    let at = fixture();
    at.rename_in("a.wasm", plugin("x 1"));
    at.host.called("setup x 1").await;
    std::os::unix::fs::symlink("a.wasm", at.path.join("loop")).unwrap();
    std::fs::rename(at.path.join("loop"), at.path.join("a.wasm")).unwrap();
    let status = at.state("a", PluginState::Rejected).await;
    assert!(status.reason.unwrap().contains("cannot be read"));
    at.rename_in("a.wasm", plugin("x 2"));
    at.state("a", PluginState::Loaded).await;
    assert_eq!(at.host.calls(), ["setup x 1", "swap x 2"]);
}

#[tokio::test]
async fn the_second_file_with_an_endpoint_is_refused_until_the_first_goes() {
    let at = fixture();
    at.rename_in("first.wasm", plugin("x 1"));
    at.host.called("setup x 1").await;
    at.rename_in("second.wasm", plugin("x 2"));
    let status = at.state("second", PluginState::Rejected).await;
    assert!(status.reason.unwrap().contains("belongs to `first.wasm`"));
    at.remove("first.wasm");
    at.host.called("setup x 2").await;
    assert_eq!(at.host.calls(), ["setup x 1", "stop x", "setup x 2"]);
}

#[tokio::test]
async fn a_refused_file_is_not_tried_again_before_it_changes() {
    let at = fixture();
    at.rename_in("a.wasm", plugin("x 1"));
    at.host.called("setup x 1").await;
    at.rename_in("a.wasm", plugin("x trap"));
    let status = at.state("a", PluginState::RolledBack).await;
    assert_eq!(
        status.reason.as_deref(),
        Some("endpoint `x`: trap in restore")
    );
    at.rename_in("a.wasm", plugin("x trap"));
    at.fence("fence").await;
    at.rename_in("a.wasm", plugin("x 2"));
    at.state("a", PluginState::Loaded).await;
    assert_eq!(
        at.host.calls(),
        ["setup x 1", "swap x trap", "setup fence 1", "swap x 2"]
    );
}

#[tokio::test]
async fn a_file_that_is_no_component_is_refused_with_the_way_to_build_one() {
    let at = fixture();
    at.rename_in("a.wasm", "\0asm\x01\0\0\0");
    let status = at.state("a", PluginState::Rejected).await;
    assert!(status.reason.unwrap().contains("wasm32-wasip2"));
    assert_eq!(at.host.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn a_file_that_is_too_large_is_refused_unread() {
    let at = fixture_with(Options {
        file_bytes_max: 20,
        ..options()
    });
    at.rename_in("a.wasm", plugin("x 1 0123456789"));
    let status = at.state("a", PluginState::Rejected).await;
    assert!(
        status
            .reason
            .unwrap()
            .contains("larger than the limit of 20 bytes")
    );
}

#[tokio::test]
async fn a_bad_sidecar_stops_nothing_and_a_good_one_is_applied() {
    let at = fixture();
    at.rename_in("a.wasm", plugin("x 1"));
    at.host.called("setup x 1").await;
    at.rename_in("a.toml", "[limits]\ninbox = 0");
    let status = at.state("a", PluginState::Rejected).await;
    assert!(
        status
            .reason
            .unwrap()
            .starts_with("a.toml: `limits.inbox` is 0")
    );
    at.rename_in("a.toml", "endpoints = ['x', 'y']\n[limits]\ninbox = 7");
    at.status("a", |status| status.endpoints == ["x", "y"])
        .await;
    assert_eq!(at.host.calls(), ["setup x 1", "resettle x 1", "setup y 1"]);
    assert_eq!(at.host.settings("x").limits.inbox, 7);
    assert_eq!(at.host.settings("y").limits.inbox, 7);
}

#[tokio::test]
async fn several_endpoints_of_a_plugin_never_end_in_different_versions() {
    let at = fixture();
    at.write("a.toml", "endpoints = ['x-robust', 'x-fragile']");
    at.rename_in("a.wasm", plugin("x 1"));
    at.host.called("setup x-fragile 1").await;
    at.rename_in("a.wasm", plugin("x trap"));
    at.state("a", PluginState::RolledBack).await;
    let expected = [
        "swap x-robust trap",
        "swap x-fragile trap",
        "swap x-robust 1",
    ];
    assert_eq!(at.host.calls()[2..], expected);
}

#[tokio::test]
async fn a_failed_endpoint_shows_in_the_status_and_a_new_file_revives_it() {
    let at = fixture();
    at.rename_in("a.wasm", plugin("x 1"));
    at.state("a", PluginState::Loaded).await;
    at.host.change(|state| {
        let failed = EndpointState::Failed("crashed 5 times".to_owned());
        state.endpoints.get_mut("x").unwrap().state = failed;
    });
    let status = at.state("a", PluginState::Failed).await;
    assert_eq!(
        status.reason.as_deref(),
        Some("endpoint `x`: crashed 5 times")
    );
    at.rename_in("a.wasm", plugin("x 2"));
    at.state("a", PluginState::Loaded).await;
}

#[tokio::test]
async fn plugins_beyond_the_limit_are_left_out() {
    let at = fixture_with(Options {
        plugins_max: 1,
        ..options()
    });
    at.rename_in("a.wasm", plugin("x 1"));
    at.host.called("setup x 1").await;
    at.rename_in("b.wasm", plugin("y 1"));
    at.rename_in("a.wasm", plugin("x 2"));
    at.host.called("swap x 2").await;
    at.remove("a.wasm");
    at.host.called("setup y 1").await;
    assert_eq!(
        at.host.calls(),
        ["setup x 1", "swap x 2", "stop x", "setup y 1"]
    );
}

#[tokio::test]
async fn a_slow_plugin_delays_no_other() {
    let at = fixture();
    at.host.change(|state| {
        state.held.insert("slow".to_owned());
    });
    at.rename_in("slow.wasm", plugin("slow 1"));
    at.rename_in("a.wasm", plugin("x 1"));
    at.host.called("setup x 1").await;
    at.rename_in("a.wasm", plugin("x 2"));
    at.host.called("swap x 2").await;
    at.host.change(|state| state.held.clear());
    at.host.called("setup slow 1").await;
}

#[tokio::test]
async fn a_panic_of_the_host_costs_one_try_and_not_the_plugin() {
    let at = fixture();
    at.rename_in("a.wasm", plugin("x panic"));
    at.state("a", PluginState::Rejected).await;
    at.rename_in("a.wasm", plugin("x 1"));
    at.host.called("setup x 1").await;
}

/// With the periodic look out of the way, only the notification can have been the reason. Far more
/// than ten a second must be possible; how long each takes is printed, and bounded loosely.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_many_replacements_is_seen_at_once() {
    let at = fixture_with(Options {
        rescan: PATIENCE,
        ..options()
    });
    at.rename_in("a.wasm", plugin("x 0"));
    at.host.called("setup x 0").await;
    let mut latencies = Vec::new();
    for version in 1..=50 {
        let hidden = at.path.join(".a.new");
        std::fs::write(&hidden, plugin(&format!("x {version}"))).unwrap();
        let renamed = Instant::now();
        std::fs::rename(&hidden, at.path.join("a.wasm")).unwrap();
        let called = at.host.called(&format!("swap x {version}")).await;
        latencies.push(called.duration_since(renamed));
    }
    latencies.sort();
    let (median, worst) = (latencies[25], latencies[49]);
    println!("rename to swap: median {median:?}, worst {worst:?}");
    assert!(
        median < Duration::from_millis(40),
        "median {median:?}: it waited for something"
    );
}

/// Directories in the way of the hidden files make every write fail, for root as well.
#[tokio::test]
async fn a_directory_that_cannot_be_written_is_served_all_the_same() {
    let at = fixture();
    std::fs::create_dir(at.path.join(".a.status.json.tmp")).unwrap();
    at.rename_in("a.wasm", plugin("x 1"));
    at.state("a", PluginState::Loaded).await;
    at.rename_in("a.wasm", plugin("x 2"));
    at.host.called("swap x 2").await;
    assert!(!at.path.join("a.status.json").exists());
}

#[tokio::test]
async fn shutdown_ends_the_watching_and_leaves_the_endpoints() {
    let at = fixture();
    at.rename_in("a.wasm", plugin("x 1"));
    at.state("a", PluginState::Loaded).await;
    at.directory.shutdown().await;
    at.directory.shutdown().await;
    assert_eq!(at.host.version("x").as_deref(), Some("1"));
    assert!(matches!(
        at.directory.stop("a").await,
        Err(PluginError::Closed)
    ));
    let text = std::fs::read_to_string(at.path.join("a.status.json")).unwrap();
    assert!(text.contains("loaded"), "the last status was still written");
}
