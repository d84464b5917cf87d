//! Several plugins at once: all of them run their new code and lie in the directory, or none.

use super::host::SwapOrder;
use super::*;
use crate::component::code::Code;

impl Fixture {
    async fn together(
        &self,
        plugins: &[(&str, &str)],
        others: &[(&str, &str)],
    ) -> Result<Vec<String>, InstallError> {
        let plugins = plugins
            .iter()
            .map(|(name, text)| ((*name).to_owned(), plugin(text).into()));
        let others = others
            .iter()
            .map(|(name, text)| ((*name).to_owned(), Code::from_bytes(plugin(text))));
        let directory = self.directory.clone();
        let swapped = directory.install_together(plugins.collect(), others.collect());
        let swapped = swapped.await?.into_iter();
        Ok(swapped
            .map(|(endpoint, record)| format!("{endpoint} {}", record.to.version))
            .collect())
    }

    /// What the files of `a` and `b` hold.
    fn files(&self) -> [Vec<u8>; 2] {
        ["a.wasm", "b.wasm"].map(|name| std::fs::read(self.path.join(name)).unwrap())
    }

    /// What was asked of the host since both ran.
    fn since(&self) -> Vec<String> {
        self.host.calls().split_off(2)
    }
}

async fn with_both(options: Options) -> Fixture {
    let at = fixture_with(options);
    for (name, text) in [("a", "x 1"), ("b", "y 1")] {
        at.rename_in(&format!("{name}.wasm"), plugin(text));
        at.state(name, PluginState::Loaded).await;
    }
    at
}

#[tokio::test]
async fn plugins_that_are_installed_together_run_and_lie_in_the_directory() {
    let at = with_both(options()).await;
    let swapped = at
        .together(&[("a", "x 2"), ("b", "y 2")], &[])
        .await
        .unwrap();
    assert_eq!(swapped, ["x 2", "y 2"]);
    assert_eq!(at.files(), [plugin("x 2"), plugin("y 2")]);
    assert!(
        at.directory
            .status()
            .iter()
            .all(|status| status.version == "2")
    );
    at.fence("fence").await;
    assert_eq!(
        at.since(),
        ["together x 2, y 2", "setup fence 1"],
        "no news of our own"
    );
}

#[tokio::test]
async fn an_endpoint_of_no_plugin_goes_with_them() {
    let at = with_both(options()).await;
    let code = Code::from_bytes(plugin("z 1"));
    Host::setup(&at.host, "z", &code, Default::default())
        .await
        .unwrap();
    let swapped = at.together(&[("a", "x 2")], &[("z", "z 2")]).await.unwrap();
    assert_eq!(swapped, ["x 2", "z 2"]);
}

#[tokio::test]
async fn one_that_fails_keeps_all_as_they_were() {
    let at = with_both(options()).await;
    let error = at
        .together(&[("a", "x 2"), ("b", "y trap")], &[])
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "nothing was swapped: the swap of `y` was given up: trap in restore"
    );
    let error = at
        .together(&[("a", "x 2"), ("b", "y 1")], &[])
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`b` runs version 1 of this very content already")
    );
    let error = at
        .together(&[("a", "x 2"), ("c", "z 1")], &[])
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("no plugin named `c` runs"),
        "{error}"
    );
    assert_eq!(at.files(), [plugin("x 1"), plugin("y 1")]);
    assert_eq!(at.since(), ["together x 2, y trap"]);
    assert!(
        at.directory
            .status()
            .iter()
            .all(|status| status.state == PluginState::Loaded)
    );
}

#[tokio::test]
async fn a_file_that_cannot_be_written_keeps_all_as_they_were() {
    let at = with_both(options()).await;
    std::fs::create_dir(at.path.join(".b.wasm.incoming")).unwrap();
    let error = at
        .together(&[("a", "x 2"), ("b", "y 2")], &[])
        .await
        .unwrap_err();
    assert!(matches!(error, InstallError::Write { .. }));
    assert_eq!(at.since(), Vec::<String>::new());
    assert!(!at.path.join(".a.wasm.incoming").exists());
}

/// The last rename fails when everything runs already.
#[tokio::test]
async fn a_file_that_cannot_be_put_in_place_takes_all_back() {
    let at = with_both(Options {
        gone_after: PATIENCE,
        ..options()
    })
    .await;
    at.remove("b.wasm");
    std::fs::create_dir(at.path.join("b.wasm")).unwrap();
    let error = at
        .together(&[("a", "x 2"), ("b", "y 2")], &[])
        .await
        .unwrap_err();
    assert!(matches!(error, InstallError::Write { .. }));
    assert_eq!(
        std::fs::read(at.path.join("a.wasm")).unwrap(),
        plugin("x 1")
    );
    at.fence("fence").await;
    let expected = ["together x 2, y 2", "together x 1, y 1", "setup fence 1"];
    assert_eq!(at.since(), expected);
}

/// The sidecar is written so recently that the directory has not taken it in.
#[tokio::test]
async fn a_sidecar_that_names_other_endpoints_comes_first() {
    let at = fixture_with(Options {
        settle: PATIENCE,
        ..options()
    });
    let long_ago = std::time::SystemTime::now() - 2 * PATIENCE;
    let hidden = at.path.join(".b.new");
    std::fs::write(&hidden, plugin("y 1")).unwrap();
    let file = std::fs::File::options().write(true).open(&hidden).unwrap();
    file.set_modified(long_ago).unwrap();
    std::fs::rename(hidden, at.path.join("b.wasm")).unwrap();
    at.state("b", PluginState::Loaded).await;
    at.write("b.toml", "endpoints = ['y', 'z']");
    let error = at.together(&[("b", "y 2")], &[]).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`b` runs as y, but b.toml names y, z"),
        "{error}"
    );
    assert_eq!(at.host.calls(), ["setup y 1"]);
}

#[tokio::test]
async fn they_wait_for_what_is_under_way() {
    let at = with_both(options()).await;
    at.host.change(|state| {
        state.held.insert("y".to_owned());
    });
    let (single, together, again, ()) = tokio::join!(
        biased;
        at.directory.install("b", plugin("y 2"), SwapOrder::admin(false)),
        at.together(&[("a", "x 3"), ("b", "y 3")], &[]),
        at.together(&[("b", "y 4"), ("a", "x 4")], &[]),
        async { at.host.change(|state| state.held.clear()) },
    );
    assert!(single.is_ok() && together.is_ok() && again.is_ok());
    assert_eq!(
        at.since(),
        ["swap y 2", "together x 3, y 3", "together y 4, x 4"]
    );
}
