//! Curator: those who stand in an election by Curator's own code, in processes of their own.
//!
//! Needs Debian's packages `libcurator-recipes-java` and a JDK, installed where they are missing and we are root.
//! Of this crate only [`super::packages`] is used: the unit tests of the host include this file.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "whoever includes this file needs a part of it"
)]

use std::io::{BufRead as _, BufReader, Error, Result, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use tempfile::TempDir;

use super::packages::Packages;

const JARS: [&str; 2] = [
    "/usr/share/java/curator-recipes.jar",
    "/usr/share/java/slf4j-simple.jar",
];
const PACKAGES: Packages = Packages {
    what: "the test with Curator",
    names: "libcurator-recipes-java default-jdk-headless",
    files: &JARS,
    programs: &["java", "javac"],
};

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
        PACKAGES.install()?;
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
