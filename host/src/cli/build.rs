//! `instar build`: builds the plugin of a folder and checks what came out.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;

use super::exit::BadInput;
use super::inspect;
use super::output::Output;

const TARGET: &str = "wasm32-wasip2";

/// Build the plugin of a folder and check the result.
///
/// Lays NAME.wasm into the folder, loads it and shows what it says of itself.
#[derive(Args)]
pub(super) struct Build {
    /// The folder of the plugin.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Build without optimisation: faster to build, slower to run, larger.
    #[arg(long)]
    debug: bool,
}

/// A line of `cargo build --message-format json`, as far as it is of interest.
#[derive(Deserialize)]
struct CargoMessage {
    reason: String,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

impl Build {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<()> {
        let manifest = self.path.join("Cargo.toml");
        if !manifest.is_file() {
            let text = format!(
                "{} has no Cargo.toml; `instar new NAME` makes the folder of a plugin",
                self.path.display()
            );
            return Err(BadInput(text).into());
        }
        check_target()?;
        let built = self.cargo(&manifest)?;
        let name = built
            .file_stem()
            .map(|name| name.to_string_lossy().replace('_', "-"));
        let name = name.context("the component has no name")?;
        let target = self.path.join(format!("{name}.wasm"));
        // Read before it is laid down: what cannot be loaded does not replace what can.
        let report = inspect::report(built.clone()).await;
        let report = report.with_context(|| format!("check {}", built.display()))?;
        place(&built, &target)?;
        output.print(&report, |report| {
            format!("{}\n\nbuilt {}", inspect::text(report), target.display())
        })
    }

    /// Runs cargo, whose messages go to stderr, and returns the component that it made.
    fn cargo(&self, manifest: &Path) -> anyhow::Result<PathBuf> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--lib", "--target", TARGET]);
        cargo.args(["--message-format", "json-render-diagnostics"]);
        cargo.arg("--manifest-path").arg(manifest);
        if !self.debug {
            cargo.arg("--release");
        }
        let cargo = cargo.stdout(Stdio::piped()).stderr(Stdio::inherit());
        let output = cargo
            .spawn()
            .and_then(std::process::Child::wait_with_output);
        let output = output.context("run cargo; is Rust installed? https://rustup.rs")?;
        if !output.status.success() {
            anyhow::bail!("cargo failed ({}); its messages are above", output.status);
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let messages = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let artifacts = messages.filter(|m: &CargoMessage| m.reason == "compiler-artifact");
        let files = artifacts.flat_map(|message| message.filenames);
        let mut components = files.filter(|file| file.extension().is_some_and(|e| e == "wasm"));
        components.next_back().context(
            "cargo made no component; the manifest needs `[lib] crate-type = [\"cdylib\", \"rlib\"]`",
        )
    }
}

/// Looks for the target's standard library first: without it, cargo's messages are about crates.
fn check_target() -> anyhow::Result<()> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    let output = rustc.output();
    let output = output.context("run rustc; is Rust installed? https://rustup.rs")?;
    let folder = String::from_utf8_lossy(&output.stdout);
    // A rustc that cannot say it (an old one, or a wrapper) is left to cargo.
    if output.status.success() && !Path::new(folder.trim()).is_dir() {
        let text = format!("the target {TARGET} is not installed; `rustup target add {TARGET}`");
        return Err(BadInput(text).into());
    }
    Ok(())
}

/// Copies at once and whole: a host may watch this very folder.
fn place(built: &Path, target: &Path) -> anyhow::Result<()> {
    let aside = target.with_extension("wasm.tmp");
    std::fs::copy(built, &aside)
        .and_then(|_| std::fs::rename(&aside, target))
        .with_context(|| format!("write {}", target.display()))
}
