//! Packages: what tests, benches and demos need of Debian. Who runs as root gets what is missing; everybody else
//! is told the command.
//!
//! No other module of this crate is used: the unit tests of the host include this file.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "whoever includes this file needs a part of it"
)]

use std::fs::File;
use std::io::{Error, Result};
use std::path::Path;
use std::process::{Command, Stdio};

/// Packages, and how to see whether they are there.
pub struct Packages {
    /// What needs them, for people.
    pub what: &'static str,
    /// Their names in Debian, with a blank between them.
    pub names: &'static str,
    /// Files that are there when they are.
    pub files: &'static [&'static str],
    /// Programs that are there when they are.
    pub programs: &'static [&'static str],
}

impl Packages {
    /// Installs them with `apt-get`, if anything is missing.
    ///
    /// # Errors
    /// It cannot be installed here, for example because this is not root. Says what to do.
    pub fn install(&self) -> Result<()> {
        if self.missing().is_empty() {
            return Ok(());
        }
        // One at a time, of all processes. It goes with `lock`.
        let path = std::env::temp_dir().join("install-packages.lock");
        let lock = File::options().create(true).append(true).open(path)?;
        lock.lock()?;
        let missing = self.missing();
        if missing.is_empty() {
            return Ok(());
        }
        let names = self.names;
        let script =
            format!("apt-get update -q && apt-get install -q -y --no-install-recommends {names}");
        let done = Command::new("sh")
            .args(["-c", &script])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output()?;
        if done.status.success() && self.missing().is_empty() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&done.stderr);
        let tried = format!("{}, {}", done.status, said.trim());
        Err(Error::other(self.what_to_do(&missing, &tried)))
    }

    fn missing(&self) -> Vec<&'static str> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let has = |program: &str| std::env::split_paths(&path).any(|f| f.join(program).is_file());
        let files = self.files.iter().filter(|file| !Path::new(file).is_file());
        let programs = self.programs.iter().filter(|program| !has(program));
        files.chain(programs).copied().collect()
    }

    fn what_to_do(&self, missing: &[&str], tried: &str) -> String {
        format!(
            "{} needs {}; install Debian's packages:\n  \
             sudo apt-get update && sudo apt-get install --no-install-recommends {}\n\
             tried here without sudo: {tried}",
            self.what,
            missing.join(", "),
            self.names
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_install_is_told_what_is_missing_and_the_command() {
        let packages = Packages {
            what: "this test",
            names: "one two",
            files: &["/proc/self/exe", "/no/such/file"],
            programs: &["sh", "no-such-program"],
        };
        let missing = packages.missing();
        assert_eq!(missing, ["/no/such/file", "no-such-program"]);
        let text = packages.what_to_do(&missing, "exit status: 100, are you root?");
        let command =
            "\n  sudo apt-get update && sudo apt-get install --no-install-recommends one two\n";
        for expected in ["/no/such/file, no-such-program", command, "are you root?"] {
            assert!(text.contains(expected), "{text}");
        }
    }
}
