//! `instar new`: the folder of a new plugin, which builds and tests at once.
//!
//! The SDK is in no registry. So this binary carries its sources and the contract, and lays them
//! beside the plugin in `.instar/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::exit::BadInput;
use super::output::Output;
use crate::sdk_sources;

const TEMPLATES: [(&str, &str); 4] = [
    (
        "Cargo.toml",
        include_str!("../../templates/plugin/Cargo.toml.txt"),
    ),
    (
        "src/lib.rs",
        include_str!("../../templates/plugin/lib.rs.txt"),
    ),
    (
        "{{name}}.toml",
        include_str!("../../templates/plugin/sidecar.toml.txt"),
    ),
    (
        "README.md",
        include_str!("../../templates/plugin/README.md.txt"),
    ),
];

/// Make the folder of a new plugin, with a handler of each sort, a state, and tests.
#[derive(Args)]
pub(super) struct New {
    /// Its name: lower-case letters, digits and `-`, beginning with a letter.
    name: String,
    /// In which folder. Default: here.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// The folder `guest-sdk` of a checkout, to depend on instead of the sources in this binary.
    #[arg(long)]
    sdk: Option<PathBuf>,
}

impl New {
    pub(super) fn run(self, output: Output) -> anyhow::Result<()> {
        check_name(&self.name)?;
        let folder = self.dir.join(&self.name);
        if folder.exists() {
            let text = format!("{} exists already; choose another name", folder.display());
            return Err(BadInput(text).into());
        }
        let sdk = match &self.sdk {
            Some(sdk) => own_sdk(sdk)?,
            None => ".instar/guest-sdk".to_owned(),
        };
        // With its quotes, as the manifest needs it.
        let sdk = toml::Value::String(sdk).to_string();
        let fill = |text: &str| {
            text.replace("{{name}}", &self.name)
                .replace("{{Name}}", &type_name(&self.name))
                .replace("{{sdk}}", &sdk)
        };
        let ignored = format!("/target\n/{}.wasm\n", self.name);
        let lay = || {
            for (path, text) in TEMPLATES {
                write(&folder.join(fill(path)), fill(text).as_bytes())?;
            }
            write(&folder.join(".gitignore"), ignored.as_bytes())?;
            let carried = match self.sdk {
                None => sdk_sources::files(),
                Some(_) => &[],
            };
            for (path, bytes) in carried {
                write(&folder.join(".instar").join(path), bytes)?;
            }
            anyhow::Ok(())
        };
        if let Err(error) = lay() {
            // Half a folder would only be in the way of the next try. It was not there before.
            let _ = fs::remove_dir_all(&folder);
            return Err(error);
        }
        let made = json!({ "name": self.name, "folder": folder });
        output.print(&made, |_| {
            format!(
                "made {0}; next:\n  cd {0}\n  cargo test\n  instar build",
                folder.display()
            )
        })
    }
}

fn check_name(name: &str) -> Result<(), BadInput> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    let free = name != crate::rpc_env::ENDPOINT_VERIFIER;
    if free && begins && name.len() <= 64 && name.chars().all(allowed) && !name.ends_with('-') {
        return Ok(());
    }
    Err(BadInput(format!(
        "`{name}` cannot be the name of a plugin; expected 1 to 64 lower-case letters, digits and \
         `-`, beginning with a letter, and not the reserved `endpoint-verifier`"
    )))
}

/// `word-count` -> `WordCountEndpoint`. The ending keeps it apart from the messages of the template
/// and from the names of the SDK.
fn type_name(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    words.chain(["Endpoint".to_owned()]).collect()
}

fn own_sdk(sdk: &Path) -> anyhow::Result<String> {
    let manifest = sdk.join("Cargo.toml");
    let text = fs::read_to_string(&manifest);
    let text = text.with_context(|| format!("--sdk: cannot read {}", manifest.display()))?;
    if !text.contains("name = \"instar-sdk\"") {
        let text = format!(
            "--sdk: {} is not the manifest of instar-sdk",
            manifest.display()
        );
        return Err(BadInput(text).into());
    }
    let absolute = sdk.canonicalize()?;
    match absolute.to_str() {
        Some(path) => Ok(path.replace('\\', "/")),
        None => Err(BadInput(format!("--sdk: {} is no UTF-8", sdk.display())).into()),
    }
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_must_do_for_a_crate_an_endpoint_and_a_folder() {
        for good in ["a", "word-count", "v2"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "endpoint-verifier",
            "Word",
            "2d",
            "-a",
            "a-",
            "a b",
            "../a",
            "a/b",
            "é",
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_type_is_named_after_the_plugin() {
        assert_eq!(type_name("word-count"), "WordCountEndpoint");
        assert_eq!(type_name("greet"), "GreetEndpoint");
    }

    #[test]
    fn the_binary_carries_all_that_a_plugin_needs() {
        let paths: Vec<&str> = sdk_sources::files().iter().map(|(path, _)| *path).collect();
        for needed in [
            "Cargo.toml",
            "guest-sdk/Cargo.toml",
            "guest-sdk/src/lib.rs",
            "guest-sdk/macros/src/lib.rs",
            "wit/world.wit",
        ] {
            assert!(paths.contains(&needed), "{needed} is missing in {paths:?}");
        }
    }
}
