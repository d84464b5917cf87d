//! Process: `instar` in processes of their own, for demos and for tests with faults.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use instar_host::admin::client::{AdminClient, port_of};
use instar_host::admin::token::token_path;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// How long starting and stopping may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process of `instar`, and the line `R` that it printed when it was ready.
///
/// Dropping it kills the process.
pub struct Program<R> {
    child: Child,
    /// What it said when it was ready.
    pub ready: R,
    data: PathBuf,
    log: PathBuf,
}

/// The line of `instar master --json`.
#[derive(Clone, Debug, Deserialize)]
pub struct ReadyMaster {
    /// The endpoint: `instar://Master@HOST:PORT`.
    pub master: String,
    /// Port for messages.
    pub rpc_port: u16,
    /// The admin API.
    pub admin: Option<String>,
    /// The process of the host, where that is a child of the process that was started.
    #[serde(default)]
    pub host_pid: Option<u32>,
}

/// The line of `instar worker --json`.
#[derive(Clone, Debug, Deserialize)]
pub struct ReadyWorker {
    /// The endpoint: `instar://Worker@HOST:PORT`.
    pub worker: String,
    /// Its id.
    pub worker_id: String,
    /// Where what it runs has its folders.
    pub work_dir: PathBuf,
    /// The admin API.
    pub admin: Option<String>,
}

/// A signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Signal {
    Terminate,
    Kill,
    Stop,
    Continue,
}

/// A program that does as `instar`, under other circumstances: `before` is what the shell does first, and `with`
/// what stands behind its arguments.
///
/// # Errors
/// It cannot be written to the folder.
pub fn under(instar: &Path, folder: &Path, before: &str, with: &str) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join("instar");
    let program = instar.display();
    let script = format!("#!/bin/sh\n{before}\nexec '{program}' \"$@\" {with}\n");
    std::fs::write(&path, script)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
    Ok(path)
}

/// Sends a signal to these very processes, all at once.
///
/// # Errors
/// One of them has ended.
pub fn send(signal: Signal, to: &[u32]) -> anyhow::Result<()> {
    let name = match signal {
        Signal::Terminate => "-TERM",
        Signal::Kill => "-KILL",
        Signal::Stop => "-STOP",
        Signal::Continue => "-CONT",
    };
    let ids: Vec<String> = to.iter().map(u32::to_string).collect();
    let told = std::process::Command::new("kill")
        .arg(name)
        .args(&ids)
        .stderr(Stdio::null())
        .status()?;
    anyhow::ensure!(told.success(), "`kill {name} {}` failed", ids.join(" "));
    Ok(())
}

/// The processes that this process started and that go on.
pub fn children(of: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| parent(*id) == Some(of)).collect()
}

/// Whether this process goes on, be it frozen.
pub fn goes_on(id: u32) -> bool {
    parent(id).is_some()
}

/// The parent of a process that goes on.
fn parent(of: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{of}/stat")).ok()?;
    // `ID (NAME) STATE PARENT`, and a name may hold anything.
    let mut after = stat.rsplit_once(')')?.1.split_whitespace();
    let (state, parent) = (after.next()?, after.next()?);
    // One that has ended and was not waited for is none.
    parent.parse().ok().filter(|_| !["Z", "X"].contains(&state))
}

impl Program<ReadyMaster> {
    /// Starts `instar master` on a free port, with more arguments. `scratch` is where it keeps things.
    ///
    /// # Errors
    /// It does not start, or not in time; what it logged is in the error.
    pub async fn master(instar: &Path, scratch: &Path, more: &[&str]) -> anyhow::Result<Self> {
        let mut arguments = vec!["master"];
        if !more.contains(&"--admin") {
            arguments.extend(["--admin", "127.0.0.1:0"]);
        }
        if !more.contains(&"--port") {
            arguments.extend(["--port", "0"]);
        }
        arguments.extend(more);
        Self::start(instar, scratch, "master", &arguments).await
    }
}

impl Program<ReadyWorker> {
    /// Starts `instar worker` for these masters, with more arguments.
    ///
    /// # Errors
    /// As [`Program::master`].
    pub async fn worker(
        instar: &Path,
        scratch: &Path,
        masters: &str,
        more: &[&str],
    ) -> anyhow::Result<Self> {
        let mut arguments = vec!["worker", masters];
        arguments.extend(more);
        Self::start(instar, scratch, "worker", &arguments).await
    }
}

impl<R: DeserializeOwned> Program<R> {
    async fn start<A: AsRef<OsStr>>(
        instar: &Path,
        scratch: &Path,
        what: &str,
        arguments: &[A],
    ) -> anyhow::Result<Self> {
        let data = scratch.join("data");
        std::fs::create_dir_all(&data)?;
        let log = tempfile::Builder::new()
            .prefix(what)
            .suffix(".log")
            .tempfile_in(scratch)?;
        let (log_file, log) = log.keep()?;
        let mut child = Command::new(instar)
            .arg("--json")
            .args(arguments)
            .arg("--data")
            .arg(&data)
            .arg("--cache")
            .arg(compiled())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .kill_on_drop(true)
            // Ctrl-C is for whoever started it, which then ends it.
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", instar.display()))?;
        let output = child.stdout.take().context("it has no output")?;
        let mut line = String::new();
        let mut output = BufReader::new(output);
        let read = tokio::time::timeout(PATIENCE, output.read_line(&mut line)).await;
        let read = read.with_context(|| format!("the {what} did not get ready\n{}", tail(&log)))?;
        read.with_context(|| format!("read the first line of the {what}"))?;
        let ready = serde_json::from_str(&line).with_context(|| {
            format!(
                "the {what} said {line:?} where it should say that it is ready\n{}",
                tail(&log)
            )
        })?;
        Ok(Self {
            child,
            ready,
            data,
            log,
        })
    }
}

impl<R> Program<R> {
    /// Its admin API.
    ///
    /// # Errors
    /// It has none.
    pub fn admin_at(&self, url: Option<&str>) -> anyhow::Result<AdminClient> {
        let url = url.context("its admin API is off")?;
        let port = port_of(url).with_context(|| format!("no port in {url}"))?;
        Ok(AdminClient::new(url, token_path(&self.data, port))?)
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Resident memory, in bytes.
    ///
    /// # Errors
    /// It has ended.
    pub fn resident(&self) -> anyhow::Result<u64> {
        let id = self.id().context("the process has ended")?;
        let path = format!("/proc/{id}/status");
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB"));
        let kilobytes: u64 = kilobytes.context("no VmRSS")?.trim().parse()?;
        Ok(kilobytes * 1024)
    }

    /// Sends a signal to this very process.
    ///
    /// # Errors
    /// It has ended.
    pub async fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        send(signal, &[self.id().context("the process has ended")?])
    }

    /// Kills it at once and waits for its end.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("kill it")
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// It does not end, or not well; what it logged last is in the error.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.signal(Signal::Terminate).await?;
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = ended.with_context(|| format!("it did not stop\n{}", self.last_words()))??;
        if !status.success() {
            bail!("it ended with {status}\n{}", self.last_words());
        }
        Ok(())
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// It does not within [`crate::DEADLINE`].
    pub async fn ended(&mut self) -> anyhow::Result<std::process::ExitStatus> {
        let ended = tokio::time::timeout(crate::DEADLINE, self.child.wait()).await;
        Ok(ended.with_context(|| format!("it did not end\n{}", self.last_words()))??)
    }

    /// All that it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last that it logged.
    pub fn last_words(&self) -> String {
        tail(&self.log)
    }
}

impl Program<ReadyMaster> {
    /// Its admin API.
    ///
    /// # Errors
    /// It has none.
    pub fn admin(&self) -> anyhow::Result<AdminClient> {
        self.admin_at(self.ready.admin.as_deref())
    }
}

impl Program<ReadyWorker> {
    /// Its admin API.
    ///
    /// # Errors
    /// It has none.
    pub fn admin(&self) -> anyhow::Result<AdminClient> {
        self.admin_at(self.ready.admin.as_deref())
    }
}

/// Where compiled code is kept: one place for all, so that each component is compiled once.
pub fn compiled() -> PathBuf {
    PathBuf::from(env!("INSTAR_COMPONENTS")).join("compiled")
}

fn tail(log: &Path) -> String {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let last = lines.get(lines.len().saturating_sub(20)..);
    let last: Vec<_> = last
        .unwrap_or_default()
        .iter()
        .map(|l| readable(l))
        .collect();
    format!("its last lines:\n{}", last.join("\n"))
}

/// A line of a log in JSON, for people; any other line as it is.
fn readable(line: &str) -> String {
    let read = || {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let text = |key| line.get(key).and_then(serde_json::Value::as_str);
        let (at, level) = (text("timestamp")?, text("level")?);
        let at = at.split('T').nth(1)?.trim_end_matches('Z');
        let fields = line.get("fields")?.as_object()?;
        let said = fields.get("message").and_then(serde_json::Value::as_str);
        let names = ["message", "endpoint", "version", "target", "fields"];
        let more = fields
            .iter()
            .filter(|(key, _)| !names.contains(&key.as_str()));
        let more = more.map(|(key, value)| format!(" {key}={value}"));
        let said = said.unwrap_or_default();
        Some(format!("{at} {level} {said}{}", more.collect::<String>()))
    };
    read().unwrap_or_else(|| line.to_owned())
}
