//! The parent of a master's host: a process that holds the latch and does nothing else, so that it
//! hardly ever fails. Its one child is this program again, with the same arguments.
//!
//! Invariants
//! 1. When the child has ended, however it ended, the latch is given back at once.
//! 2. What the child is to be told to end is told to this process: it passes it on.
//!
//! The child's standard input is a socket to this process; see [`crate::election`].

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as Socket;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{ExitStatus, Stdio};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixStream;
use tokio::process::Child;

use crate::cli::exit::Ended;
use crate::cli::serve::Stop;
use crate::election::parent::hold_latch;
use crate::zookeeper::ZooKeeperSettings;

/// The argument that says to the child that it is one.
pub(super) const UNDER_PARENT: &str = "--under-parent";

/// Starts the child, holds the latch for it, and ends as it ends.
///
/// # Errors
/// [`Ended`], with the exit status of the child, if that is not 0; or it cannot be started.
pub(super) async fn run(endpoint: &str, settings: &ZooKeeperSettings) -> anyhow::Result<()> {
    let mut stop = Stop::new()?;
    let (ours, theirs) = Socket::pair().context("make a socket to the child process")?;
    ours.set_nonblocking(true)?;
    let socket = UnixStream::from_std(ours)?;
    // Before there is a child: what fails here leaves none behind.
    let latch = hold_latch(socket, endpoint, settings)?;
    let mut child = start(theirs)?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.context("wait for the child process")?,
            () = stop.wait() => pass_on(&child),
        }
    };
    latch.give_back().await;
    end_as(status)
}

/// The socket to the parent.
///
/// # Errors
/// The standard input is none: the argument was given by hand.
pub(super) fn socket_to_parent() -> anyhow::Result<UnixStream> {
    let not_a_child = || {
        format!("{UNDER_PARENT} is for the child process that `instar master` starts; leave it out")
    };
    let input: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned()?;
    rustix::net::getsockname(&input).with_context(not_a_child)?;
    let socket = Socket::from(input);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket).with_context(not_a_child)
}

fn start(socket: Socket) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("find this program")?;
    let mut command = std::process::Command::new(&program);
    command
        .args(std::env::args_os().skip(1))
        .arg(UNDER_PARENT)
        .stdin(Stdio::from(OwnedFd::from(socket)))
        // Ctrl-C in a terminal is for the parent, which passes it on: once, not twice.
        .process_group(0);
    let child = tokio::process::Command::from(command).spawn();
    child.with_context(|| format!("start {} as a child process", program.display()))
}

/// Signals to this process are meant for the child.
fn pass_on(child: &Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        // An error means that it has ended, which is what is wanted.
        let _ = kill_process(pid, Signal::TERM);
    }
}

fn end_as(status: ExitStatus) -> anyhow::Result<()> {
    if status.success() {
        return Ok(());
    }
    let reason = match (status.code(), status.signal()) {
        (Some(_), _) => None,
        (None, Some(signal)) => Some(format!(
            "the host of this master was ended by signal {signal}"
        )),
        (None, None) => Some(format!("the host of this master ended: {status}")),
    };
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Err(Ended {
        code: u8::try_from(code).unwrap_or(1),
        reason,
    }
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::code_of;

    #[test]
    fn it_ends_as_its_child_ended() {
        assert!(end_as(ExitStatus::from_raw(0)).is_ok());
        let code = |raw| code_of(&end_as(ExitStatus::from_raw(raw)).unwrap_err());
        assert_eq!(code(3 << 8), 3);
        assert_eq!(code(9), 137, "killed");
    }
}
