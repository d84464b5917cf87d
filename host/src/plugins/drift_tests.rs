//! Rollbacks that the host makes by itself, and what they leave in the directory.

use super::host::SwapOrder;
use super::*;
use crate::endpoint::settings::EndpointSettings;

/// `a.wasm` runs as `x 2`, and did as `x 1` before.
async fn with_second(at: &Fixture) {
    at.rename_in("a.wasm", plugin("x 1"));
    at.state("a", PluginState::Loaded).await;
    at.rename_in("a.wasm", plugin("x 2"));
    at.status("a", |status| status.version == "2").await;
}

impl Fixture {
    fn component(&self) -> Vec<u8> {
        std::fs::read(self.path.join("a.wasm")).unwrap()
    }
}

#[tokio::test]
async fn the_file_holds_the_version_that_came_back() {
    let at = fixture();
    with_second(&at).await;
    at.host.roll_back("x");
    let status = at.state("a", PluginState::RolledBack).await;
    assert_eq!(status.version, "1");
    assert_eq!(
        status.reason.as_deref(),
        Some(
            "rolled back to 1 because 2: trap in its third message; a.wasm holds version 1 again, \
             and what failed is not tried again by itself"
        )
    );
    assert_eq!(at.component(), plugin("x 1"));
    let last = status.last_swap.unwrap();
    assert!(matches!(last.outcome, SwapOutcome::RolledBack(_)));
    at.fence("fence").await;
    let calls = ["setup x 1", "swap x 2", "setup fence 1"];
    assert_eq!(at.host.calls(), calls, "no news of our own");
    at.rename_in("a.wasm", plugin("x 1"));
    at.fence("second").await;
    let told = at.directory.status()[0].reason.clone().unwrap();
    assert!(told.starts_with("rolled back to 1"), "{told}");
}

#[tokio::test]
async fn what_failed_on_probation_is_not_tried_again_by_itself_and_a_new_file_is() {
    let at = fixture();
    with_second(&at).await;
    at.host.roll_back("x");
    at.state("a", PluginState::RolledBack).await;
    at.rename_in("a.wasm", plugin("x 2"));
    let again = |status: &PluginStatus| {
        let reason = status.reason.clone().unwrap_or_default();
        reason.contains("the version in a.wasm is not tried again until the file changes")
    };
    at.status("a", again).await;
    at.fence("fence").await;
    assert_eq!(at.host.calls(), ["setup x 1", "swap x 2", "setup fence 1"]);
    at.rename_in("a.wasm", plugin("x 3"));
    at.state("a", PluginState::Loaded).await;
    assert_eq!(at.host.version("x").as_deref(), Some("3"));
}

/// Whoever asks for it by hand gets it.
#[tokio::test]
async fn what_failed_on_probation_can_be_installed_again() {
    let at = fixture();
    with_second(&at).await;
    at.host.roll_back("x");
    at.state("a", PluginState::RolledBack).await;
    at.directory
        .install("a", plugin("x 2"), SwapOrder::admin(false))
        .await
        .unwrap();
    let status = at.state("a", PluginState::Loaded).await;
    assert_eq!((status.version.as_str(), status.reason), ("2", None));
    assert_eq!(at.component(), plugin("x 2"));
}

#[tokio::test]
async fn a_file_that_waits_for_approval_is_left_alone() {
    let at = fixture();
    with_second(&at).await;
    at.rename_in("a.wasm", plugin("x 3-greedy"));
    at.state("a", PluginState::NeedsApproval).await;
    at.host.roll_back("x");
    let status = at.status("a", |status| status.version == "1").await;
    assert_eq!(status.state, PluginState::NeedsApproval);
    assert_eq!(at.component(), plugin("x 3-greedy"));
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_is_left_alone() {
    let at = fixture();
    at.rename_in("a.wasm", plugin("x 1"));
    at.state("a", PluginState::Loaded).await;
    let built = at.path.join("built");
    std::fs::write(&built, plugin("x 2")).unwrap();
    std::os::unix::fs::symlink(&built, at.path.join(".link")).unwrap();
    std::fs::rename(at.path.join(".link"), at.path.join("a.wasm")).unwrap();
    at.status("a", |status| status.version == "2").await;
    at.host.roll_back("x");
    let reason = at.state("a", PluginState::RolledBack).await.reason.unwrap();
    assert!(
        reason.contains("a.wasm was left as it is: it is a link")
            && reason.contains("until the file changes or the host is started anew"),
        "{reason}"
    );
    assert!(at.path.join("a.wasm").is_symlink());
    at.fence("fence").await;
    assert_eq!(at.host.version("x").as_deref(), Some("1"));
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_told() {
    let at = fixture();
    with_second(&at).await;
    std::fs::create_dir(at.path.join(".a.wasm.incoming")).unwrap();
    at.host.roll_back("x");
    let reason = at.state("a", PluginState::RolledBack).await.reason.unwrap();
    assert!(reason.contains("cannot write"), "{reason}");
    at.fence("fence").await;
    assert_eq!(at.host.version("x").as_deref(), Some("1"));
    at.rename_in("a.wasm", plugin("x 3"));
    at.host.called("swap x 3").await;
}

/// The same code with the settings of before.
#[tokio::test]
async fn settings_that_failed_stay_away_until_the_sidecar_changes() {
    let at = fixture();
    at.rename_in("a.wasm", plugin("x 1"));
    at.state("a", PluginState::Loaded).await;
    at.rename_in("a.toml", "[config]\nk = 1");
    at.host.called("resettle x 1").await;
    at.fence("fence").await;
    at.host.roll_back_settings("x", EndpointSettings::default());
    let reason = at.state("a", PluginState::RolledBack).await.reason.unwrap();
    assert!(
        reason.ends_with(
            "; the settings in a.toml stay away until it changes or the host is started anew"
        ),
        "{reason}"
    );
    at.rename_in("a.toml", "[config]\nk = 2");
    at.state("a", PluginState::Loaded).await;
    assert_eq!(at.host.settings("x").config["k"], "2");
    at.host.roll_back_settings("x", EndpointSettings::default());
    at.state("a", PluginState::RolledBack).await;
    at.remove("a.toml");
    at.state("a", PluginState::Loaded).await;
    assert!(at.host.settings("x").config.is_empty());
}

#[tokio::test]
async fn the_other_endpoints_of_a_plugin_follow_a_rollback() {
    let at = fixture();
    at.write("a.toml", "endpoints = ['x', 'y', 'z']");
    at.rename_in("a.wasm", plugin("x 1"));
    at.state("a", PluginState::Loaded).await;
    at.rename_in("a.wasm", plugin("x 2"));
    at.status("a", |status| status.version == "2").await;
    at.host.roll_back("y");
    at.state("a", PluginState::RolledBack).await;
    for endpoint in ["x", "y", "z"] {
        assert_eq!(
            at.host.version(endpoint).as_deref(),
            Some("1"),
            "{endpoint}"
        );
    }
}

#[tokio::test]
async fn a_swap_past_the_directory_is_told_and_left_alone() {
    let at = fixture();
    at.rename_in("a.wasm", plugin("x 1"));
    at.state("a", PluginState::Loaded).await;
    let other = crate::component::code::Code::from_bytes(plugin("x 9"));
    at.host.change(|state| {
        state.endpoints.get_mut("x").unwrap().versions.push(other);
    });
    let status = at.state("a", PluginState::RolledBack).await;
    let reason = status.reason.unwrap();
    assert!(
        reason.contains("`x` runs version 9, but not through its directory"),
        "{reason}"
    );
    at.rename_in("a.wasm", plugin("x 2"));
    at.state("a", PluginState::Loaded).await;
    assert_eq!(at.host.calls(), ["setup x 1", "swap x 2"]);
}
