//! Session: a session with ZooKeeper, made anew when it is over, for as long as somebody wants one.
//!
//! What the client library does not do by itself, and is done here:
//! 1. It gives up when no server is there: here it tries for ever.
//! 2. A client whose session is over is dead for good: here comes another one, of the next generation.
//! 3. It calls a session over only after 7/5 of its time, when somebody else may long have what was ours:
//!    here it is over when its time has passed since the connection was lost.
//! 4. It takes a chroot that is missing for a node that is missing, for ever: here it is made.
//!
//! Rules for those who use the client
//! - Only one-shot watches: the library loses others at each reconnect. Read anew after each `Connected`.
//! - No request without a limit ([`within`]).
//! - Never its `lock()`: whoever needs a latch uses [`crate::election`].
//!
//! Not here: what is read and written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zookeeper_client::{Acls, Client, CreateMode, CreateOptions, Error, StateWatcher};

use super::back_off::BackOff;
use super::connect_string::{ConnectString, Server};
use super::connector::connector;
use super::error::ZooKeeperError;
use super::request::{RequestError, within};
use super::settings::ZooKeeperSettings;
use super::tls::Handshake;
use crate::moment::until;

/// Between two tries with credentials that were refused.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

/// How long a server has to take a connection, and to agree on TLS, when we look for the reason why there is no session.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// How long the end of a session may take in [`Session::close`].
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// A session that is made anew when it is over. Clone = same. With the last clone it ends.
#[derive(Clone)]
pub(crate) struct Session {
    shared: Arc<Shared>,
    owner: Arc<Owner>,
}

/// How a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SessionState {
    /// There is none. What was ephemeral in the last one is gone, or will be.
    Connecting {
        /// What is in the way, and what to do about it; none until the first try has failed.
        trouble: Option<String>,
    },
    /// There is one. Seen anew after each reconnect, be the state the same.
    Connected {
        /// Grows with each session.
        generation: u64,
    },
    /// There was one a moment ago, and no server can be reached now: it may be over, or go on.
    Suspended {
        /// Of the session.
        generation: u64,
        /// When that was noticed.
        since: Instant,
    },
}

struct Shared {
    settings: ZooKeeperSettings,
    servers: ConnectString,
    what: &'static str,
    state: watch::Sender<SessionState>,
    now: Mutex<Now>,
}

struct Now {
    client: Option<Arc<Client>>,
    timeout: Duration,
}

/// Dropped with the last handle: the task ends then.
struct Owner {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Session {
    /// Begins to try, and goes on for ever. `what`: what it is for, in logs. Within a runtime.
    ///
    /// # Errors
    /// Only what can never work: see [`ZooKeeperError`].
    pub(crate) fn start(
        settings: &ZooKeeperSettings,
        what: &'static str,
    ) -> Result<Self, ZooKeeperError> {
        let servers = ConnectString::parse(&settings.url)?;
        connector(settings, &servers)?;
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            servers,
            what,
            state: watch::Sender::new(SessionState::Connecting { trouble: None }),
            now: Mutex::new(Now {
                client: None,
                timeout: settings.session_timeout,
            }),
        });
        let owner = Owner {
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let work = keep(shared.clone(), owner.stop.clone());
        owner.tasks.spawn(work);
        owner.tasks.close();
        Ok(Self {
            shared,
            owner: Arc::new(owner),
        })
    }

    /// How it is, and each change.
    pub(crate) fn state(&self) -> watch::Receiver<SessionState> {
        self.shared.state.subscribe()
    }

    /// The client of the present generation, connected or suspended.
    pub(crate) fn client(&self) -> Option<Arc<Client>> {
        self.shared.now().client.clone()
    }

    /// The client of a generation, if that is the present one.
    pub(crate) fn client_of(&self, generation: u64) -> Option<Arc<Client>> {
        let state = self.shared.state.borrow();
        match *state {
            SessionState::Connected { generation: now }
            | SessionState::Suspended {
                generation: now, ..
            } if now == generation => self.shared.now().client.clone(),
            _ => None,
        }
    }

    /// How long the servers keep a session that they do not hear of. What was negotiated last, else what is asked for.
    pub(crate) fn timeout(&self) -> Duration {
        self.shared.now().timeout
    }

    /// How long one may count on what a write proved, from the moment before the write was sent. Less than
    /// the session's time: a server that a client is connected to tells the leader of the servers of a client's
    /// word only twice a tick, and a session's time has at least two ticks.
    pub(crate) fn lease(&self) -> Duration {
        self.timeout() * 2 / 3
    }

    /// For one request: [`within`].
    pub(crate) fn limit(&self) -> Duration {
        self.timeout() / 2
    }

    /// What all that we make is made with: with credentials for us alone, else for everyone.
    pub(crate) fn acls(&self) -> Acls<'static> {
        self.shared.acls()
    }

    /// Makes a node and all above it, where they are missing. `mode` is the last one's; a server that does
    /// not know container nodes makes a persistent one.
    pub(crate) async fn make(
        &self,
        client: &Client,
        path: &str,
        mode: CreateMode,
    ) -> Result<(), RequestError> {
        let limit = self.limit();
        let persistent = CreateMode::Persistent.with_acls(self.acls());
        match self.shared.make(client, path, mode, limit).await {
            Err(error) if error.is_no_node() => {}
            done => return done,
        }
        // The chroot is gone: somebody removed it while we were connected.
        self.shared.make_chroot(client, limit).await?;
        match path.rsplit_once('/') {
            Some((above, _)) if !above.is_empty() => {
                within(limit, client.mkdir(above, &persistent)).await?;
            }
            _ => {}
        }
        self.shared.make(client, path, mode, limit).await
    }

    /// Ends the session in order, so that the servers need not wait for its time; within a bound.
    /// Whoever still holds the client keeps it open until then.
    ///
    /// # Cancellation
    /// It ends by itself soon after.
    pub(crate) async fn close(&self) {
        self.owner.stop.cancel();
        if timeout(CLOSE_LIMIT * 2, self.owner.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(what = self.shared.what, "a session's end takes too long");
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("what", &self.shared.what)
            .field("state", &*self.shared.state.borrow())
            .finish_non_exhaustive()
    }
}

/// Why there is no session.
enum Trouble {
    /// Soon tried again.
    Passing(String),
    /// It will not change by itself.
    Refused(String),
}

impl Shared {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acls(&self) -> Acls<'static> {
        match self.settings.credentials {
            Some(_) => Acls::creator_all(),
            None => Acls::anyone_all(),
        }
    }

    /// There is no session. Said in the log where it is news.
    fn without(&self, trouble: Option<String>) {
        self.now().client = None;
        let next = SessionState::Connecting { trouble };
        self.state.send_if_modified(|state| {
            let news = *state != next;
            if news
                && let SessionState::Connecting {
                    trouble: Some(text),
                } = &next
            {
                tracing::warn!(
                    what = self.what,
                    trouble = text.as_str(),
                    "no session with ZooKeeper"
                );
            }
            *state = next;
            news
        });
    }

    async fn connect(&self) -> Result<Client, Trouble> {
        let (connector, handshake) = connector(&self.settings, &self.servers)
            .map_err(|error| Trouble::Passing(with_sources(&error)))?;
        let limit = self.settings.session_timeout + PROBE_LIMIT;
        let client = match timeout(limit, connector.connect(&self.settings.url)).await {
            Ok(Ok(client)) => client,
            Ok(Err(Error::AuthFailed)) => return Err(self.refused()),
            Ok(Err(error)) => {
                let error = error.to_string();
                let reason = self.reason(&error, handshake.as_ref());
                return Err(Trouble::Passing(reason.await));
            }
            Err(_) => {
                let reason = self.reason("no answer in time", handshake.as_ref());
                return Err(Trouble::Passing(reason.await));
            }
        };
        let limit = client.session_timeout() / 2;
        match self.make_chroot(&client, limit).await {
            Ok(()) => Ok(client),
            Err(RequestError::Over)
                if client.state() == zookeeper_client::SessionState::AuthFailed =>
            {
                Err(self.refused())
            }
            Err(error) => Err(Trouble::Passing(format!(
                "cannot make the chroot `{}` at {}: {error}; make it by hand, or use credentials that may",
                self.servers.chroot.as_deref().unwrap_or("/"),
                self.servers.servers(),
            ))),
        }
    }

    fn refused(&self) -> Trouble {
        Trouble::Refused(format!(
            "ZooKeeper at {} refuses our credentials ({}): correct user and password there or here; tried again every {} s",
            self.servers.servers(),
            match self.settings.credentials {
                Some(super::Credentials::SaslDigestMd5 { .. }) => "SASL DIGEST-MD5",
                Some(super::Credentials::Digest(_)) => "digest",
                None => "none were given",
            },
            REFUSED_PAUSE.as_secs(),
        ))
    }

    /// What the servers say to a connection of our own: the library says of all of them only that none is
    /// available.
    async fn reason(&self, error: &str, handshake: Option<&Handshake>) -> String {
        let mut reasons = Vec::new();
        for server in &self.servers.servers {
            reasons.push(format!("{server}: {}", probe(server, handshake).await));
        }
        format!(
            "ZooKeeper gives no session ({error}): {}; check that it runs and the address `{}`; tried again until it answers",
            reasons.join("; "),
            self.settings.url,
        )
    }

    async fn make_chroot(&self, client: &Client, limit: Duration) -> Result<(), RequestError> {
        let Some(chroot) = &self.servers.chroot else {
            return Ok(());
        };
        let root = match client.clone().chroot("/") {
            Ok(root) => root,
            Err(same) => same,
        };
        if within(limit, root.check_stat(chroot)).await?.is_some() {
            return Ok(());
        }
        let options = CreateMode::Persistent.with_acls(self.acls());
        within(limit, root.mkdir(chroot, &options)).await?;
        // It may be a typing error, and then this is another cluster than was meant.
        tracing::info!(
            what = self.what,
            chroot,
            "the chroot was missing in ZooKeeper, and is made"
        );
        Ok(())
    }

    /// Makes one node; what is above it persistent.
    async fn make(
        &self,
        client: &Client,
        path: &str,
        mode: CreateMode,
        limit: Duration,
    ) -> Result<(), RequestError> {
        let options = |mode: CreateMode| -> CreateOptions<'static> { mode.with_acls(self.acls()) };
        let mut mode = mode;
        let mut made_above = false;
        loop {
            match within(limit, client.create(path, b"", &options(mode))).await {
                Ok(_) | Err(RequestError::Refused(Error::NodeExists)) => return Ok(()),
                Err(RequestError::Refused(Error::Unimplemented))
                    if mode == CreateMode::Container =>
                {
                    mode = CreateMode::Persistent;
                }
                Err(error) if error.is_no_node() && !made_above => {
                    made_above = true;
                    let (above, _) = path.rsplit_once('/').unwrap_or_default();
                    if above.is_empty() {
                        return Err(error);
                    }
                    within(limit, client.mkdir(above, &options(CreateMode::Persistent))).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A session from its first to its last moment.
    async fn hold(
        &self,
        client: Client,
        generation: u64,
        stop: &CancellationToken,
    ) -> Option<Trouble> {
        let time = client.session_timeout();
        let id = client.session_id();
        let mut states = client.state_watcher();
        if time != self.now().timeout {
            let asked = self.settings.session_timeout;
            tracing::info!(what = self.what, ?asked, given = ?time, "ZooKeeper gives another session time");
        }
        *self.now() = Now {
            client: Some(Arc::new(client)),
            timeout: time,
        };
        let servers = self.servers.servers();
        let chroot = self.servers.chroot.as_deref().unwrap_or("/");
        tracing::info!(what = self.what, servers, chroot, session = %id, ?time, "session with ZooKeeper");
        self.tell(SessionState::Connected { generation });
        // The state may have changed before the watcher was there.
        let mut next = states.peek_state();
        let mut over_at = None;
        loop {
            use zookeeper_client::SessionState as Library;
            match next {
                Library::SyncConnected | Library::ConnectedReadOnly => {
                    if over_at.take().is_some() {
                        tracing::info!(what = self.what, session = %id, "ZooKeeper is back, same session");
                        self.tell(SessionState::Connected { generation });
                    }
                }
                Library::Disconnected if over_at.is_none() => {
                    let since = Instant::now();
                    over_at = Some(since + time);
                    tracing::warn!(what = self.what, session = %id, "connection to ZooKeeper lost");
                    self.tell(SessionState::Suspended { generation, since });
                }
                Library::Disconnected => {}
                Library::AuthFailed => return Some(self.refused()),
                Library::Expired | Library::Closed => {
                    tracing::warn!(what = self.what, session = %id, "session with ZooKeeper over");
                    return None;
                }
            }
            next = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.end(states).await;
                    return None;
                }
                state = states.changed() => {
                    // Two changes may be seen as one: lost and found again.
                    if state == Library::SyncConnected && over_at.is_none() {
                        self.tell(SessionState::Connected { generation });
                    }
                    state
                }
                () = until(over_at) => {
                    tracing::warn!(what = self.what, session = %id, "session with ZooKeeper over: its time has passed");
                    return None;
                }
            };
        }
    }

    /// Tells also what is the same as before: somebody may have to read anew.
    fn tell(&self, next: SessionState) {
        self.state.send_replace(next);
    }

    /// With the last handle of its client a session is closed.
    async fn end(&self, mut states: StateWatcher) {
        self.without(None);
        if states.peek_state() != zookeeper_client::SessionState::SyncConnected {
            return;
        }
        let over = async { while !states.changed().await.is_terminated() {} };
        if timeout(CLOSE_LIMIT, over).await.is_err() {
            tracing::debug!(what = self.what, "somebody holds on to a session that ends");
        }
    }
}

/// Until it is to stop: sessions, one after the other.
async fn keep(shared: Arc<Shared>, stop: CancellationToken) {
    let mut back_off = BackOff::new();
    let mut generation = 0;
    loop {
        let connected = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            connected = shared.connect() => connected,
        };
        let trouble = match connected {
            Err(trouble) => Some(trouble),
            Ok(client) => {
                generation += 1;
                let since = Instant::now();
                let trouble = shared.hold(client, generation, &stop).await;
                if trouble.is_none() && since.elapsed() > BackOff::LAST {
                    back_off.reset();
                }
                trouble
            }
        };
        if stop.is_cancelled() {
            break;
        }
        let pause = match trouble {
            None => {
                shared.without(None);
                back_off.pause()
            }
            Some(Trouble::Passing(text)) => {
                shared.without(Some(text));
                back_off.pause()
            }
            Some(Trouble::Refused(text)) => {
                shared.without(Some(text));
                REFUSED_PAUSE
            }
        };
        tokio::select! {
            () = stop.cancelled() => break,
            () = sleep(pause) => {}
        }
    }
    shared.without(None);
}

async fn probe(server: &Server, handshake: Option<&Handshake>) -> String {
    let address = (server.host.as_str(), server.port);
    let limit = Instant::now() + PROBE_LIMIT;
    match (
        timeout_at(limit, TcpStream::connect(address)).await,
        handshake,
    ) {
        (Ok(Ok(stream)), Some(handshake)) => handshake.diagnose(&server.host, stream, limit).await,
        (Ok(Ok(_)), None) => {
            "it takes connections, but gives no session: it starts, lacks a quorum, or wants TLS"
                .to_owned()
        }
        (Ok(Err(error)), _) => error.to_string(),
        (Err(_), _) => "it does not answer".to_owned(),
    }
}

/// An error and what caused it, in a line.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
