//! Versions that want more than is granted: held, approved for good, and what a failure leaves.

use super::host::SwapOrder;
use super::*;

const REASON: &str = "needs approval: version 2-greedy wants the right `clock` (for its clock); \
                      `instar approve x` swaps to it";

/// `a.wasm` runs as `x 1`, and its next version waits.
async fn with_held(options: Options, sidecar: Option<&str>) -> Fixture {
    let at = fixture_with(options);
    if let Some(sidecar) = sidecar {
        at.write("a.toml", sidecar);
    }
    at.rename_in("a.wasm", plugin("x 1"));
    at.state("a", PluginState::Loaded).await;
    at.rename_in("a.wasm", plugin("x 2-greedy"));
    at.state("a", PluginState::NeedsApproval).await;
    at
}

impl Fixture {
    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path.join(name)).unwrap()
    }
}

#[tokio::test]
async fn a_version_that_wants_more_waits_and_the_one_before_goes_on() {
    let at = with_held(options(), None).await;
    let status = &at.directory.status()[0];
    assert_eq!(status.reason.as_deref(), Some(REASON));
    assert_eq!(
        (status.version.as_str(), &status.endpoints[..]),
        ("1", &["x".to_owned()][..])
    );
    let last = status.last_swap.as_ref().unwrap();
    assert!(matches!(last.outcome, SwapOutcome::NeedsApproval(_)));
    eventually("told", || {
        at.text("a.status.json").contains("needs approval: version")
    })
    .await;
    at.rename_in("a.wasm", plugin("x 2-greedy"));
    at.fence("fence").await;
    assert_eq!(
        at.host.calls(),
        ["setup x 1", "swap x 2-greedy", "setup fence 1"],
        "not tried again"
    );
}

#[tokio::test]
async fn a_sidecar_that_grants_what_it_wants_lets_it_in() {
    let at = with_held(options(), None).await;
    at.rename_in("a.toml", "[config]\nk = 1");
    at.fence("fence").await;
    at.state("a", PluginState::NeedsApproval).await;
    let tries = |call: &String| call == "swap x 2-greedy";
    assert_eq!(at.host.calls().into_iter().filter(tries).count(), 2);
    at.rename_in("a.toml", "grants = ['clock']");
    at.state("a", PluginState::Loaded).await;
    assert_eq!(at.host.version("x").as_deref(), Some("2-greedy"));
}

#[tokio::test]
async fn a_plugin_that_starts_afresh_and_lacks_a_right_is_refused() {
    let at = fixture();
    at.rename_in("a.wasm", plugin("x 2-greedy"));
    let status = at.state("a", PluginState::Rejected).await;
    assert!(
        status
            .reason
            .unwrap()
            .contains("it wants the right `clock`")
    );
    assert!(matches!(
        at.directory.approve("a").await,
        Err(PluginError::Unknown { .. })
    ));
}

#[tokio::test]
async fn an_approval_swaps_and_lets_the_grant_last() {
    let at = with_held(options(), None).await;
    let record = at.directory.approve("a").await.unwrap();
    assert_eq!(
        (record.by.as_str(), record.to.version.as_str()),
        ("approval", "2-greedy")
    );
    assert_eq!(at.text("a.toml"), "grants = [\"clock\"]\n");
    let status = &at.directory.status()[0];
    assert_eq!(
        (status.state, status.version.as_str()),
        (PluginState::Loaded, "2-greedy")
    );
    at.fence("fence").await;
    let calls = at.host.calls();
    let since = &calls[2..];
    assert_eq!(
        since,
        ["approve x", "swap x 2-greedy", "setup fence 1"],
        "no news of our own"
    );
    at.rename_in("a.wasm", plugin("x 3-greedy"));
    at.state("a", PluginState::Loaded).await;
    at.host.called("swap x 3-greedy").await;
    at.status("a", |status| status.version == "3-greedy").await;
}

#[tokio::test]
async fn an_approval_keeps_what_the_sidecar_says() {
    let sidecar = "# ours\nendpoints = ['x', 'y']\n[config]\nk = 1 # one\n";
    let at = with_held(options(), Some(sidecar)).await;
    at.directory.approve("a").await.unwrap();
    assert_eq!(
        at.text("a.toml"),
        "# ours\nendpoints = ['x', 'y']\ngrants = [\"clock\"]\n[config]\nk = 1 # one\n"
    );
    for endpoint in ["x", "y"] {
        assert_eq!(at.host.version(endpoint).as_deref(), Some("2-greedy"));
        let settings = at.host.settings(endpoint);
        assert!(settings.grants.contains("clock") && settings.config["k"] == "1");
    }
}

/// A version that came through an install does not lie in the directory while it waits.
#[tokio::test]
async fn an_approved_install_lies_in_the_directory() {
    let at = fixture();
    at.rename_in("a.wasm", plugin("x 1"));
    at.state("a", PluginState::Loaded).await;
    let error = at
        .directory
        .install("a", plugin("x 2-greedy"), SwapOrder::admin(false))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), format!("`a` {REASON}"));
    assert_eq!(
        std::fs::read(at.path.join("a.wasm")).unwrap(),
        plugin("x 1")
    );
    at.directory.approve("a").await.unwrap();
    assert_eq!(
        std::fs::read(at.path.join("a.wasm")).unwrap(),
        plugin("x 2-greedy")
    );
    at.fence("fence").await;
    let calls = at.host.calls();
    assert_eq!(
        calls[2..],
        ["approve x", "swap x 2-greedy", "setup fence 1"],
        "no news of our own"
    );
}

#[tokio::test]
async fn where_nothing_waits_nothing_can_be_approved() {
    let at = fixture();
    at.rename_in("a.wasm", plugin("x 1"));
    at.state("a", PluginState::Loaded).await;
    let error = at.directory.approve("a").await.unwrap_err().to_string();
    assert!(
        error.contains("no version of `a` waits for approval"),
        "{error}"
    );
}

#[tokio::test]
async fn an_approval_that_cannot_be_written_does_not_run() {
    let at = with_held(options(), None).await;
    std::fs::create_dir(at.path.join(".a.toml.incoming")).unwrap();
    let error = at.directory.approve("a").await.unwrap_err().to_string();
    assert!(
        error.contains("cannot write") && error.contains("grants = [\"clock\"]"),
        "{error}"
    );
    assert_eq!(at.host.version("x").as_deref(), Some("1"));
    assert_eq!(at.directory.status()[0].state, PluginState::NeedsApproval);
}

#[tokio::test]
async fn a_sidecar_that_is_wrong_is_corrected_before_an_approval() {
    let at = with_held(options(), None).await;
    at.write("a.toml", "grants = 1");
    let error = at.directory.approve("a").await.unwrap_err().to_string();
    assert!(
        error.contains("a.toml: `grants`: expected") && error.contains("approve again"),
        "{error}"
    );
    assert_eq!(
        (at.host.version("x").as_deref(), at.text("a.toml").as_str()),
        (Some("1"), "grants = 1")
    );
}

/// The last step fails when the host runs the new version already and the sidecar grants it.
#[tokio::test]
async fn an_approval_that_cannot_be_put_in_place_is_taken_back() {
    let at = fixture_with(Options {
        gone_after: PATIENCE,
        ..options()
    });
    at.write("a.toml", "# ours");
    at.rename_in("a.wasm", plugin("x 1"));
    at.state("a", PluginState::Loaded).await;
    let _waits = at
        .directory
        .install("a", plugin("x 2-greedy"), SwapOrder::admin(false))
        .await;
    at.remove("a.wasm");
    std::fs::create_dir(at.path.join("a.wasm")).unwrap();
    let error = at.directory.approve("a").await.unwrap_err();
    assert!(matches!(error, PluginError::NotWritten { .. }), "{error}");
    assert_eq!(at.text("a.toml"), "# ours");
    assert_eq!(at.host.version("x").as_deref(), Some("1"));
    assert!(at.host.settings("x").grants.is_empty());
}

/// It waits again, though the approval took it from the host: nobody has to copy it anew.
#[tokio::test]
async fn a_version_whose_approval_was_taken_back_waits_again() {
    let at = with_held(options(), Some("# ours")).await;
    let sidecar = at.path.join("a.toml");
    at.host
        .change(|state| state.edit_on_approval = Some(sidecar));
    let error = at.directory.approve("a").await.unwrap_err().to_string();
    assert!(
        error.contains("a.toml changed meanwhile; approve again"),
        "{error}"
    );
    at.host.change(|state| state.edit_on_approval = None);
    at.fence("fence").await;
    at.state("a", PluginState::NeedsApproval).await;
    at.directory.approve("a").await.unwrap();
    assert_eq!(at.text("a.toml"), "grants = [\"clock\"]\n# edited and");
    assert_eq!(at.host.version("x").as_deref(), Some("2-greedy"));
}

#[tokio::test]
async fn an_approved_version_that_fails_is_told_with_its_reason() {
    let at = with_held(options(), None).await;
    at.host.change(|state| state.approval_traps = true);
    let error = at.directory.approve("a").await.unwrap_err();
    assert!(matches!(error, PluginError::GivenUp { .. }), "{error}");
    let status = at.state("a", PluginState::RolledBack).await;
    assert_eq!(
        status.reason.as_deref(),
        Some("endpoint `x`: trap in restore")
    );
    assert!(!at.path.join("a.toml").exists());
}
