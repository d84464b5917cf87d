//! Host: the other process, `instar up`, on loopback.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use instar_host::endpoint::record::SwapRecord;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::swapper::drop_file;

/// How long starting, loading and stopping may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Host {
    child: Child,
    ready: Ready,
    plugin: PathBuf,
    log: PathBuf,
}

/// The line that `instar up --json` prints when it is ready.
#[derive(Deserialize)]
struct Ready {
    listen: String,
    admin: String,
}

impl Host {
    /// Starts `instar up` with the first version in its plugin directory, and waits until that is
    /// loaded.
    pub(crate) async fn start(instar: &Path, scratch: &Path) -> anyhow::Result<Self> {
        let plugins = scratch.join("plugins");
        std::fs::create_dir(&plugins)?;
        let plugin = plugins.join("wordcount.wasm");
        drop_file("wordcount-v1", &plugin)?;
        let log = scratch.join("host.log");
        let mut child = Command::new(instar)
            .args([
                "up",
                "--json",
                "--listen",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
            ])
            .arg("--plugins")
            .arg(&plugins)
            .arg("--data")
            .arg(scratch.join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log)?)
            .kill_on_drop(true)
            // Ctrl-C is for the demo, which then ends its host.
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", instar.display()))?;
        let output = child.stdout.take().context("the host has no output")?;
        let mut line = String::new();
        let mut output = BufReader::new(output);
        let read = tokio::time::timeout(PATIENCE, output.read_line(&mut line));
        let read = read.await.context("the host did not get ready")?;
        read.context("read the first line of the host")?;
        let mut host = Self {
            ready: serde_json::from_str(&line).with_context(|| {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                format!("the host said {line:?} where its addresses belong\n{log}")
            })?,
            child,
            plugin,
            log,
        };
        host.wait_until_loaded().await?;
        Ok(host)
    }

    async fn wait_until_loaded(&mut self) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.get("/v1/endpoints/wordcount").await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the host ended with {status}\n{}", self.last_words());
            }
            if tokio::time::Instant::now() > deadline {
                bail!("the plugin was not loaded\n{}", self.last_words());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    pub(crate) fn listen(&self) -> &str {
        &self.ready.listen
    }

    pub(crate) fn endpoint_uri(&self) -> String {
        format!("instar://wordcount@{}", self.ready.listen)
    }

    pub(crate) fn plugin_file(&self) -> PathBuf {
        self.plugin.clone()
    }

    /// The swaps of the counter, when at least one record is there for the last file dropped: a
    /// file that was dropped is swapped a moment later.
    pub(crate) async fn history(&self, dropped: u64) -> anyhow::Result<Vec<SwapRecord>> {
        let wanted = usize::try_from(dropped.min(1000))?;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(2);
        loop {
            let text = self.get("/v1/endpoints/wordcount/history").await?;
            let records: Vec<SwapRecord> = serde_json::from_str(&text)?;
            if records.len() >= wanted || tokio::time::Instant::now() > deadline {
                return Ok(records);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn get(&self, path: &str) -> anyhow::Result<String> {
        let base = match self.ready.admin.starts_with("http") {
            true => self.ready.admin.clone(),
            false => format!("http://{}", self.ready.admin),
        };
        let url = format!("{base}{path}");
        let got = tokio::task::spawn_blocking(move || {
            let mut response = ureq::get(&url).call()?;
            response.body_mut().read_to_string()
        });
        Ok(got.await??)
    }

    /// The end of the host's log.
    pub(crate) fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines
            .get(lines.len().saturating_sub(20)..)
            .unwrap_or_default();
        format!("the host's last lines:\n{}", tail.join("\n"))
    }

    /// Stops the host in order, by its own process id.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(id) = self.child.id() {
            let told = Command::new("kill")
                .args(["-TERM", &id.to_string()])
                .status();
            told.await.context("tell the host to stop")?;
        }
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = ended.context("the host did not stop")??;
        if !status.success() {
            bail!("the host ended with {status}\n{}", self.last_words());
        }
        Ok(())
    }
}
