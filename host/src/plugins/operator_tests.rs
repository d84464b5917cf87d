//! What operators do to plugins: what runs is what lies in the directory, or it is said why not.

use super::host::SwapOrder;
use super::*;

impl Fixture {
    fn file(&self) -> Vec<u8> {
        std::fs::read(self.path.join("a.wasm")).unwrap()
    }
}

async fn with_a() -> Fixture {
    let at = fixture();
    at.rename_in("a.wasm", plugin("x 1"));
    at.state("a", PluginState::Loaded).await;
    at
}

#[tokio::test]
async fn an_install_runs_and_then_lies_in_the_directory() {
    let at = fixture();
    let installed = at
        .directory
        .install("a", plugin("x 1"), SwapOrder::admin(false))
        .await
        .unwrap();
    assert!(matches!(installed, Installed::Started(id) if id.version == "1"));
    let installed = at
        .directory
        .install("a", plugin("x 2"), SwapOrder::admin(false))
        .await
        .unwrap();
    assert!(matches!(installed, Installed::Swapped(record) if record.to.version == "2"));
    let installed = at
        .directory
        .install("a", plugin("x 2"), SwapOrder::admin(false))
        .await
        .unwrap();
    assert!(matches!(installed, Installed::Unchanged(id) if id.version == "2"));
    assert_eq!(at.file(), plugin("x 2"));
    at.fence("fence").await;
    assert_eq!(
        at.host.calls(),
        ["setup x 1", "swap x 2", "setup fence 1"],
        "no news of our own"
    );
}

#[tokio::test]
async fn a_refused_install_leaves_endpoint_and_file_as_they_were() {
    let at = with_a().await;
    let refused = at
        .directory
        .install("a", plugin("x bad"), SwapOrder::admin(false))
        .await
        .unwrap_err();
    assert!(matches!(
        &refused,
        InstallError::Plugin(PluginError::Refused {
            record: Some(_),
            ..
        })
    ));
    let given_up = at
        .directory
        .install("a", plugin("x trap"), SwapOrder::admin(false))
        .await
        .unwrap_err();
    assert!(matches!(
        given_up,
        InstallError::Plugin(PluginError::GivenUp { .. })
    ));
    let taken = at
        .directory
        .install("b", plugin("x 2"), SwapOrder::admin(false))
        .await
        .unwrap_err();
    assert!(taken.to_string().contains("belongs to `a.wasm`"), "{taken}");
    let name = at
        .directory
        .install("../a", plugin("x 2"), SwapOrder::admin(false))
        .await
        .unwrap_err();
    assert!(matches!(name, InstallError::Name(_)));
    assert_eq!(at.file(), plugin("x 1"));
    let status = at.directory.status();
    assert_eq!((status.len(), status[0].state), (1, PluginState::Loaded));
}

#[tokio::test]
async fn an_install_takes_its_settings_from_the_sidecar() {
    let at = fixture();
    at.write("a.toml", "endpoints = ['y']\n[config]\nk = 1");
    at.directory
        .install("a", plugin("x 1"), SwapOrder::admin(false))
        .await
        .unwrap();
    assert_eq!(at.host.settings("y").config["k"], "1");
}

#[tokio::test]
async fn an_install_that_cannot_be_written_does_not_run() {
    let at = with_a().await;
    std::fs::create_dir(at.path.join(".a.wasm.incoming")).unwrap();
    let error = at
        .directory
        .install("a", plugin("x 2"), SwapOrder::admin(false))
        .await
        .unwrap_err();
    assert!(matches!(error, InstallError::Write { .. }));
    assert_eq!(at.host.calls(), ["setup x 1"]);
}

/// The last step fails when the host runs the new code already.
#[tokio::test]
async fn an_install_that_cannot_be_put_in_place_is_taken_back() {
    let at = fixture();
    std::fs::create_dir(at.path.join("a.wasm")).unwrap();
    let error = at
        .directory
        .install("a", plugin("x 1"), SwapOrder::admin(false))
        .await
        .unwrap_err();
    assert!(matches!(error, InstallError::Write { .. }));
    assert_eq!(at.host.calls(), ["setup x 1", "stop x"]);
}

#[tokio::test]
async fn a_rollback_puts_the_old_bytes_back() {
    let at = with_a().await;
    at.rename_in("a.wasm", plugin("x 2"));
    at.status("a", |status| status.version == "2").await;
    let record = at.directory.rollback("a", None).await.unwrap();
    assert_eq!(
        (record.by.as_str(), record.to.version.as_str()),
        ("rollback", "1")
    );
    assert_eq!(at.file(), plugin("x 1"));
    assert_eq!(at.directory.status()[0].state, PluginState::Loaded);
    at.fence("fence").await;
    assert_eq!(
        at.host.calls().len(),
        4,
        "no news of our own: {:?}",
        at.host.calls()
    );
    assert!(at.directory.rollback("a", Some("9")).await.is_err());
}

#[tokio::test]
async fn a_rollback_that_cannot_be_written_holds_until_the_file_changes() {
    let at = with_a().await;
    at.rename_in("a.wasm", plugin("x 2"));
    at.status("a", |status| status.version == "2").await;
    std::fs::create_dir(at.path.join(".a.wasm.incoming")).unwrap();
    at.directory.rollback("a", Some("1")).await.unwrap();
    let status = &at.directory.status()[0];
    assert_eq!(
        (status.state, status.version.as_str()),
        (PluginState::RolledBack, "1")
    );
    assert!(status.reason.as_ref().unwrap().contains("cannot write"));
    at.fence("fence").await;
    assert_eq!(at.host.version("x").as_deref(), Some("1"));
    at.rename_in("a.wasm", plugin("x 3"));
    at.host.called("swap x 3").await;
}

#[tokio::test]
async fn a_stopped_plugin_stays_stopped_until_restart_or_a_new_file() {
    let at = with_a().await;
    at.directory.stop("a").await.unwrap();
    assert_eq!(at.directory.status()[0].state, PluginState::Stopped);
    at.rename_in("a.wasm", plugin("x 1"));
    at.fence("fence").await;
    assert_eq!(at.host.version("x"), None);
    at.directory.restart("a").await.unwrap();
    assert_eq!(at.host.version("x").as_deref(), Some("1"));
    at.directory.stop("a").await.unwrap();
    at.rename_in("a.wasm", plugin("x 2"));
    at.host.called("setup x 2").await;
}

#[tokio::test]
async fn a_restart_reaches_each_endpoint_and_tries_a_refused_file_again() {
    let at = with_a().await;
    at.directory.restart("a").await.unwrap();
    at.host.called("restart x").await;
    at.rename_in("b.wasm", plugin("y bad"));
    at.state("b", PluginState::Rejected).await;
    let error = at.directory.restart("b").await.unwrap_err();
    assert!(error.to_string().contains("cannot compile"), "{error}");
}

#[tokio::test]
async fn an_unknown_plugin_is_named_with_its_directory() {
    let at = fixture();
    let error = at.directory.stop("nobody").await.unwrap_err().to_string();
    assert!(
        error.contains("no plugin named `nobody` runs from"),
        "{error}"
    );
}

/// Requests for one plugin are carried out in the order in which they were made.
#[tokio::test]
async fn requests_for_a_busy_plugin_wait_for_their_turn() {
    let at = with_a().await;
    at.host.change(|state| {
        state.held.insert("x".to_owned());
    });
    let (installed, stopped, ()) = tokio::join!(
        biased;
        at.directory.install("a", plugin("x 2"), SwapOrder::admin(false)),
        at.directory.stop("a"),
        async { at.host.change(|state| state.held.clear()) },
    );
    assert!(installed.is_ok() && stopped.is_ok());
    assert_eq!(at.host.calls(), ["setup x 1", "swap x 2", "stop x"]);
}
