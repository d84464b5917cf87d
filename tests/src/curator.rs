//! Curator: those who stand in an election by Curator's own code, in processes of their own.
//!
//! Needs Debian's packages `libcurator-recipes-java` and a JDK, which are installed where they are missing.
//! No other module of this crate is used: the unit tests of the host include this file.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "whoever includes this file needs a part of it"
)]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Error, Result, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use tempfile::TempDir;

const JARS: [&str; 2] = [
    "/usr/share/java/curator-recipes.jar",
    "/usr/share/java/slf4j-simple.jar",
];
const PACKAGES: &str = "libcurator-recipes-java default-jdk-headless";

/// The compiled program.
pub struct Curator {
    classes: TempDir,
}

/// One who stands. Dropping it kills its process, and its session goes on for its time.
pub struct CuratorLatch {
    process: Child,
    orders: ChildStdin,
}

impl Curator {
    /// Compiles it. `source`: `tests/fixtures/curator/LatchClient.java`.
    ///
    /// # Errors
    /// Curator or `javac` is missing and cannot be installed.
    pub fn compile(source: &Path) -> Result<Self> {
        install()?;
        let classes = tempfile::Builder::new().prefix("curator-").tempdir()?;
        let compiled = Command::new("javac")
            .args(["-cp", &JARS.join(":"), "-d"])
            .arg(classes.path())
            .arg(source)
            .output()?;
        if !compiled.status.success() {
            let words = String::from_utf8_lossy(&compiled.stderr);
            return Err(Error::other(format!("javac: {words}")));
        }
        Ok(Self { classes })
    }

    /// Starts one. `hears` is told each line that it says, by a thread of its own.
    ///
    /// # Errors
    /// There is no Java.
    pub fn start(
        &self,
        url: &str,
        election: &str,
        id: &str,
        claim: &str,
        mut hears: impl FnMut(String) + Send + 'static,
    ) -> Result<CuratorLatch> {
        let path = format!("{}:{}", self.classes.path().display(), JARS.join(":"));
        let mut process = Command::new("java")
            .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx64m"])
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=off")
            .args(["-cp", &path, "LatchClient", url, election, id, claim])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(orders), Some(says)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(Error::other("no pipes"));
        };
        std::thread::spawn(move || {
            for line in BufReader::new(says).lines().map_while(Result::ok) {
                hears(line);
            }
        });
        Ok(CuratorLatch { process, orders })
    }
}

impl CuratorLatch {
    /// Gives an order: `join`, `leave`, `participants`, `quit`.
    ///
    /// # Errors
    /// Its process has ended.
    pub fn order(&mut self, order: &str) -> Result<()> {
        writeln!(self.orders, "{order}")?;
        self.orders.flush()
    }
}

impl Drop for CuratorLatch {
    fn drop(&mut self) {
        // It ended before, where this fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn install() -> Result<()> {
    if is_installed() {
        return Ok(());
    }
    let lock_path = std::env::temp_dir().join("install-zookeeper.lock");
    let lock = File::options().create(true).append(true).open(&lock_path)?;
    // One at a time, of all processes. It goes with `lock`.
    lock.lock()?;
    if is_installed() {
        return Ok(());
    }
    let script =
        format!("apt-get update -q && apt-get install -q -y --no-install-recommends {PACKAGES}");
    let done = Command::new("sh")
        .args(["-c", &script])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()?;
    if done.status.success() && is_installed() {
        return Ok(());
    }
    Err(Error::other(format!(
        "the test with Curator needs {} and `javac`; install as root: {script}\nthat was tried here: {}\n{}",
        JARS.join(" "),
        done.status,
        String::from_utf8_lossy(&done.stderr)
    )))
}

fn is_installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has =
        |program: &str| std::env::split_paths(&path).any(|f: PathBuf| f.join(program).is_file());
    JARS.iter().all(|jar| Path::new(jar).is_file()) && has("java") && has("javac")
}
