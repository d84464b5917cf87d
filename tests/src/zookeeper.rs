//! ZooKeeper: real servers for tests, one alone or an ensemble of three, that can be killed, frozen and
//! started again.
//!
//! A server listens on loopback only, on ports of its own, and keeps its data in a folder of its own. It
//! ends with its [`ZooKeeperServer`], and also with the process that started it. What is here blocks its
//! thread; starting takes half a second.
//!
//! The servers are those of Debian's package `zookeeper`, which is installed where it is missing and we are root.
//! Of this crate only [`super::packages`] is used: the unit tests of the host include this file.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "whoever includes this file needs a part of it"
)]

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{Error, Read as _, Result, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::packages::Packages;

/// How long a server may take to serve, and to do what it is told.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often we look.
const EACH: Duration = Duration::from_millis(10);

/// How long a server may take to answer a question about itself.
const ANSWER: Duration = Duration::from_secs(2);

/// The longest session; the shortest is two ticks.
pub const LONGEST_SESSION: Duration = Duration::from_secs(180);

/// Sessions are as exact as this.
pub const TICK: Duration = Duration::from_millis(200);

/// The packages, and what of them is needed.
const PACKAGES: Packages = Packages {
    what: "high availability",
    names: "zookeeper default-jre-headless",
    files: &[JAR, LOGGER],
    programs: &["java"],
};
/// It names all others.
const JAR: &str = "/usr/share/java/zookeeper.jar";
/// Writes the log to standard error, without any file of settings. A dependency of the package.
const LOGGER: &str = "/usr/share/java/slf4j-simple.jar";

/// What a server is told beside what all are told.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether an answer waits until the disk has it. Not needed for tests, which kill processes and not
    /// machines; needed for numbers.
    pub force_sync: bool,
    /// The largest request, in bytes: ZooKeeper's own limit is 1,048,575.
    pub jute_max_buffer: Option<u32>,
    /// Memory for its data, in megabytes.
    pub heap: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            force_sync: false,
            jute_max_buffer: None,
            heap: 128,
        }
    }
}

/// A server. Dropping it kills its process and deletes its data.
pub struct ZooKeeperServer {
    folder: TempDir,
    port: u16,
    options: Options,
    running: Option<Running>,
    frozen: bool,
}

/// Three servers, of which two are needed.
pub struct Ensemble {
    /// All of them, also those that do not run.
    pub servers: Vec<ZooKeeperServer>,
}

struct Running {
    server: Child,
    /// Kills the server when this process is gone, however that ended: it reads a pipe that we hold.
    watchdog: Child,
}

impl ZooKeeperServer {
    /// Starts a server that stands alone, and waits until it serves.
    ///
    /// # Errors
    /// ZooKeeper is not installed and cannot be, or it does not serve in time: with what it logged.
    pub fn start() -> Result<Self> {
        Self::start_with(Options::default())
    }

    /// As [`ZooKeeperServer::start`].
    ///
    /// # Errors
    /// As [`ZooKeeperServer::start`].
    pub fn start_with(options: Options) -> Result<Self> {
        PACKAGES.install()?;
        until_ports_are_ours(|| {
            let [port] = free_ports()?;
            let mut server = Self::prepare(port, options, "")?;
            server.restart()?;
            Ok(server)
        })
    }

    /// Writes the settings.
    fn prepare(port: u16, options: Options, more: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("zookeeper-").tempdir()?;
        let data = folder.path().join("data");
        std::fs::create_dir(&data)?;
        let settings = format!(
            "dataDir={}\nclientPortAddress=127.0.0.1\nclientPort={port}\nmaxClientCnxns=0\n\
             tickTime={}\nminSessionTimeout={}\nmaxSessionTimeout={}\n\
             admin.enableServer=false\n4lw.commands.whitelist=ruok,srvr,mntr,conf\n{more}",
            data.display(),
            TICK.as_millis(),
            2 * TICK.as_millis(),
            LONGEST_SESSION.as_millis(),
        );
        std::fs::write(folder.path().join("zoo.cfg"), settings)?;
        Ok(Self {
            folder,
            port,
            options,
            running: None,
            frozen: false,
        })
    }

    /// Starts the process, if it does not run, on the port and the data that it had. Does not wait.
    ///
    /// # Errors
    /// There is no Java.
    pub fn launch(&mut self) -> Result<()> {
        if self.running.is_some() {
            return Ok(());
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let sync = if self.options.force_sync { "yes" } else { "no" };
        let mut java = Command::new("java");
        java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
            .arg(format!("-Xmx{}m", self.options.heap))
            .arg(format!("-Dzookeeper.forceSync={sync}"))
            // Else each log of transactions begins with 64 MB.
            .arg("-Dzookeeper.preAllocSize=256")
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
            .arg("-Dorg.slf4j.simpleLogger.showDateTime=true")
            .arg("-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS");
        if let Some(bytes) = self.options.jute_max_buffer {
            java.arg(format!("-Djute.maxbuffer={bytes}"));
        }
        let started = java
            .args(["-cp", &format!("{JAR}:{LOGGER}")])
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(self.folder.path().join("zoo.cfg"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for whoever started it, which then ends it.
            .process_group(0)
            .spawn();
        let mut server = started.map_err(|e| Error::other(format!("start java: {e}")))?;
        let watchdog = Command::new("sh")
            .args(["-c", "read nothing; kill -KILL $0"])
            .arg(server.id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        match watchdog {
            Ok(watchdog) => self.running = Some(Running { server, watchdog }),
            Err(error) => {
                let _ = server.kill();
                let _ = server.wait();
                return Err(error);
            }
        }
        self.frozen = false;
        Ok(())
    }

    /// Starts it again, if it does not run, on the same port and data, and waits until it serves.
    ///
    /// # Errors
    /// As [`ZooKeeperServer::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.launch()?;
        self.until_serving()
    }

    /// Waits until it serves.
    ///
    /// # Errors
    /// It does not run, or not in time: with what it logged.
    pub fn until_serving(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.serves() {
            let Some(running) = &mut self.running else {
                return Err(Error::other(format!("{} does not run", self.name())));
            };
            if let Some(status) = running.server.try_wait()? {
                self.kill();
                let words = self.last_words();
                let words = format!("{} ended with {status}\n{words}", self.name());
                return Err(Error::other(words));
            }
            if Instant::now() > deadline {
                let words = format!("{} does not serve within {PATIENCE:?}", self.name());
                return Err(Error::other(format!("{words}\n{}", self.last_words())));
            }
            std::thread::sleep(EACH);
        }
        Ok(())
    }

    /// Ends its process at once. What it acknowledged is in its data.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            // First the watchdog: it must not outlive the process whose id it has. What fails here has
            // ended before.
            let _ = running.watchdog.kill();
            let _ = running.watchdog.wait();
            let _ = running.server.kill();
            let _ = running.server.wait();
        }
    }

    /// Stops its process where it is: connections stay open, and nobody answers.
    ///
    /// # Errors
    /// It does not run.
    pub fn freeze(&mut self) -> Result<()> {
        self.signal("-STOP")?;
        self.frozen = true;
        Ok(())
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It does not run.
    pub fn thaw(&mut self) -> Result<()> {
        self.frozen = false;
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let Some(running) = &self.running else {
            return Err(Error::other(format!("{} does not run", self.name())));
        };
        let id = running.server.id().to_string();
        let told = Command::new("kill").args([signal, &id]).status()?;
        if !told.success() {
            return Err(Error::other(format!("`kill {signal} {id}`: {told}")));
        }
        Ok(())
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The connection string: `127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The id of its process, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.server.id())
    }

    /// Whether it runs and was not frozen. It may still not serve, where too few of an ensemble do.
    pub fn runs(&self) -> bool {
        self.running.is_some() && !self.frozen
    }

    /// Whether it serves clients.
    pub fn serves(&self) -> bool {
        self.mode().is_some()
    }

    /// `standalone`, `leader` or `follower`; none where it does not serve.
    pub fn mode(&self) -> Option<String> {
        if !self.runs() {
            return None;
        }
        let answer = self.say("srvr").ok()?;
        let mode = answer.lines().find_map(|l| l.strip_prefix("Mode: "))?;
        let settings = self.say("conf").ok()?;
        // Else another process has our port.
        let ours = settings.contains(&self.folder.path().join("data").display().to_string());
        ours.then(|| mode.trim().to_owned())
    }

    /// What it says to a command of four letters: `ruok`, `srvr`, `mntr`, `conf`.
    ///
    /// # Errors
    /// It does not answer in time.
    pub fn say(&self, command: &str) -> Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(command.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// All that it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The last that it logged.
    pub fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(15)..);
        let last = last.unwrap_or_default().join("\n");
        format!("the last lines of {}:\n{last}", self.name())
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn name(&self) -> String {
        format!("ZooKeeper at {}", self.url())
    }
}

impl Drop for ZooKeeperServer {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Ensemble {
    /// Starts three servers, and waits until all of them serve.
    ///
    /// # Errors
    /// As [`ZooKeeperServer::start`].
    pub fn start() -> Result<Self> {
        Self::start_with(Options::default())
    }

    /// As [`Ensemble::start`].
    ///
    /// # Errors
    /// As [`ZooKeeperServer::start`].
    pub fn start_with(options: Options) -> Result<Self> {
        PACKAGES.install()?;
        until_ports_are_ours(|| {
            let [a, b, c, peers @ ..] = free_ports::<9>()?;
            // Generous limits, as machines are busy: a server that ended is noticed by its connection.
            let mut more = "initLimit=100\nsyncLimit=25\n".to_owned();
            for (number, ports) in (1..).zip(peers.chunks(2)) {
                if let [quorum, election] = ports {
                    more += &format!("server.{number}=127.0.0.1:{quorum}:{election}\n");
                }
            }
            let mut servers = Vec::new();
            for (number, port) in (1..).zip([a, b, c]) {
                let mut server = ZooKeeperServer::prepare(port, options, &more)?;
                let id: i32 = number;
                let data = server.folder.path().join("data/myid");
                std::fs::write(data, id.to_string())?;
                server.launch()?;
                servers.push(server);
            }
            let mut ensemble = Self { servers };
            ensemble.until_serving()?;
            Ok(ensemble)
        })
    }

    /// Waits until all that run serve.
    ///
    /// # Errors
    /// As [`ZooKeeperServer::until_serving`].
    pub fn until_serving(&mut self) -> Result<()> {
        let running = self.servers.iter_mut().filter(|server| server.runs());
        for server in running {
            server.until_serving()?;
        }
        Ok(())
    }

    /// Starts those that do not run, thaws those that are frozen, and waits until all serve.
    ///
    /// # Errors
    /// As [`ZooKeeperServer::until_serving`].
    pub fn mend(&mut self) -> Result<()> {
        for server in &mut self.servers {
            if server.frozen {
                server.thaw()?;
            }
            server.launch()?;
        }
        self.until_serving()
    }

    /// The place in `servers` of the one that leads, once one does.
    ///
    /// # Errors
    /// None does in time.
    pub fn leader(&self) -> Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leads = |server: &ZooKeeperServer| server.mode().as_deref() == Some("leader");
            if let Some(place) = self.servers.iter().position(leads) {
                return Ok(place);
            }
            if Instant::now() > deadline {
                let words: Vec<_> = self.servers.iter().map(|s| s.last_words()).collect();
                let words = format!("none leads within {PATIENCE:?}\n{}", words.join("\n"));
                return Err(Error::other(words));
            }
            std::thread::sleep(EACH);
        }
    }

    /// The connection string: `127.0.0.1:PORT,127.0.0.1:PORT,127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        let urls: Vec<_> = self.servers.iter().map(ZooKeeperServer::url).collect();
        urls.join(",")
    }
}

/// Tries again with other ports: between finding one free and using it, another process may take it.
fn until_ports_are_ours<T>(start: impl Fn() -> Result<T>) -> Result<T> {
    let mut tries = 0;
    loop {
        tries += 1;
        match start() {
            Ok(started) => return Ok(started),
            Err(error) if tries < 5 && error.to_string().contains(" ended with ") => {}
            Err(error) => return Err(error),
        }
    }
}

/// Ports that nobody uses, below those that the system gives to clients: so a server that was killed gets
/// its port back.
///
/// # Errors
/// There are not so many.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut free = Vec::new();
    for _ in 0..1000 {
        let random = RandomState::new().hash_one(free.len());
        let port = 10_000 + u16::try_from(random % 22_000).unwrap_or_default();
        let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) else {
            continue;
        };
        free.push((port, listener));
        if free.len() == N {
            break;
        }
    }
    let ports: Vec<u16> = free.iter().map(|(port, _)| *port).collect();
    let none = |_| Error::other(format!("no {N} free ports between 10000 and 32000"));
    ports.try_into().map_err(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_can_be_killed_frozen_and_started_again_on_its_port() -> Result<()> {
        let mut server = ZooKeeperServer::start()?;
        assert_eq!(server.mode().as_deref(), Some("standalone"));
        assert_eq!(server.say("ruok")?, "imok");
        server.freeze()?;
        assert!(!server.serves(), "it is frozen");
        server.thaw()?;
        server.until_serving()?;
        server.kill();
        assert!(server.say("ruok").is_err(), "it was killed");
        server.restart()
    }

    #[test]
    fn an_ensemble_has_another_leader_when_its_leader_is_killed() -> Result<()> {
        let mut ensemble = Ensemble::start()?;
        let first = ensemble.leader()?;
        if let Some(server) = ensemble.servers.get_mut(first) {
            server.kill();
        }
        assert_ne!(ensemble.leader()?, first);
        ensemble.mend()
    }
}
