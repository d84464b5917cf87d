//! The ZooKeeper backend: each value is a node, below a folder for each endpoint, which hosts share. Only the
//! one writes that leads, and the servers see to that.
//!
//! `lane`: what goes together, in which order, and what became of it (pure). `task`: carries it out.
//! `fetch`: reading. `packet`: what fits. `tag`: what a commit leaves in the folder.
//!
//! Invariants
//! 1. Each commit has the condition that the fence is there under which its turns were decided.
//! 2. A write whose outcome is not known is never told to have failed, but for a fence that is gone.
//! 3. Whoever reads sees all that was submitted before and became durable, and nothing of what failed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zookeeper_client::Client;

use self::fetch::FetchError;
use self::lane::{Lane, Turn};
use self::task::{Order, Task};
use super::error::StoreError;
use super::kept::Kept;
use super::limits::{READ_BYTES_MAX, read_too_large};
use super::writes::{Usage, Writes};
use super::{Ticket, failure, lock};
use crate::error::RpcError;
use crate::zookeeper::ZooKeeperSettings;
use crate::zookeeper::paths::{self, Paths};
use crate::zookeeper::request::RequestError;
use crate::zookeeper::session::{Session, SessionState};

mod fetch;
mod lane;
mod packet;
mod tag;
mod task;

/// How long who reads waits for servers, and for what was written before.
const READ_PATIENCE: Duration = Duration::from_secs(2);

/// How long reading may take in all: less than a turn, which would be taken for one that does not end.
const READ_LIMIT: Duration = Duration::from_secs(7);

/// Between two tries to read.
const READ_PAUSE: Duration = Duration::from_millis(50);

/// How long what waits may still be written when the store is closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// What one endpoint may have waiting, in bytes. Beyond it a write fails at once.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// A store in ZooKeeper.
pub(super) struct ZooKeeperStore {
    session: Session,
    servers: Arc<str>,
    paths: Paths,
    /// Bytes that servers see in front of our paths.
    chroot: usize,
    /// By endpoint. None: closed.
    lanes: Mutex<Option<HashMap<Arc<str>, Arc<Handle>>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    read_patience: Duration,
    close_limit: Duration,
}

/// A task, as others see it.
struct Handle {
    place: Place,
    shared: Arc<Shared>,
    orders: mpsc::UnboundedSender<Order>,
}

/// Where the values of an endpoint are.
#[derive(Clone, Debug)]
struct Place {
    endpoint: Arc<str>,
    /// The node below which they are.
    folder: String,
    servers: Arc<str>,
    /// Of this store.
    writer: String,
}

/// What a task and those who read and submit have in common.
struct Shared {
    known: Mutex<Known>,
    /// All turns up to this number have ended.
    settled: watch::Sender<u64>,
}

#[derive(Default)]
struct Known {
    /// Of the one endpoint.
    kept: Kept,
    /// The folder that `kept` is right for. None: it was never looked at, or somebody else wrote.
    valid: Option<Valid>,
    /// Bytes that wait.
    waiting: usize,
}

/// A state of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Valid {
    /// Another one when it was deleted and made again.
    czxid: i64,
    version: i32,
}

impl Place {
    fn path(&self, name: &str) -> String {
        format!("{}/{}", self.folder, paths::encode(name))
    }
}

impl ZooKeeperStore {
    /// Opens the store, whether a server answers or not.
    pub(super) fn open(settings: &ZooKeeperSettings) -> Result<Self, StoreError> {
        let never = |error: crate::zookeeper::ZooKeeperError| StoreError::ZooKeeper {
            url: settings.url.clone(),
            source: error,
        };
        Ok(Self {
            paths: Paths::new(&settings.dir).map_err(never)?,
            session: Session::start(settings, "store").map_err(never)?,
            servers: settings.url.as_str().into(),
            chroot: packet::chroot_bytes(&settings.url),
            lanes: Mutex::new(Some(HashMap::new())),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            read_patience: READ_PATIENCE,
            close_limit: CLOSE_LIMIT,
        })
    }

    /// Writes what waits, within a bound, and ends the session. What is submitted after it fails.
    pub(super) async fn close(&self) {
        let lanes = lock(&self.lanes).take().unwrap_or_default();
        for lane in lanes.values() {
            // An error means that it has ended.
            let _ = lane.orders.send(Order::Close);
        }
        drop(lanes);
        self.tasks.close();
        if timeout(self.close_limit, self.tasks.wait()).await.is_err() {
            let state = self.state();
            tracing::warn!(
                state,
                "the store is closed, and not all that waits is written"
            );
        }
        self.stop.cancel();
        self.tasks.wait().await;
        self.session.close().await;
    }

    /// See [`super::EndpointStore::patience`].
    pub(super) fn patience(&self) -> Duration {
        self.session.timeout()
    }

    /// What a write costs of what a turn may have.
    pub(super) fn cost(&self, endpoint: &str, name: &str, value: usize) -> usize {
        let path = self.chroot + self.paths.entry(endpoint, name).len();
        packet::cost(path, value)
    }

    pub(super) fn submit(
        &self,
        endpoint: &Arc<str>,
        writes: Writes,
        fence: Option<Arc<str>>,
    ) -> Ticket {
        let (tell, told) = oneshot::channel();
        let ticket = Ticket { told };
        let Some(fence) = fence else {
            let _ = tell.send(Err(self.not_leading()));
            return ticket;
        };
        let Some(lane) = self.lane(endpoint) else {
            // Dropping it tells that the store is closed.
            return ticket;
        };
        // Numbered and queued under one lock: the numbers are in the order of the queue.
        let mut known = lock(&lane.shared.known);
        if known.waiting.saturating_add(writes.bytes()) > WAITING_BYTES_MAX {
            let state = self.state();
            let _ = tell.send(Err(failure(&format!(
                "{} bytes wait to be written, with this more than the limit of {WAITING_BYTES_MAX}; {state}",
                known.waiting,
            ))));
            return ticket;
        }
        known.waiting += writes.bytes();
        let number = known.kept.begin(endpoint, writes.all());
        let turn = Turn {
            number,
            fence,
            writes,
            looked: false,
            losses: 0,
        };
        let sent = lane.orders.send(Order::Write(turn, tell));
        if let Err(mpsc::error::SendError(Order::Write(turn, _tell))) = sent {
            known.kept.end(endpoint, number, turn.writes.all(), false);
            known.waiting -= turn.writes.bytes();
        }
        ticket
    }

    pub(super) fn check_writable(&self, fence: Option<&str>) -> Result<(), RpcError> {
        match fence {
            Some(_) => Ok(()),
            None => Err(self.not_leading()),
        }
    }

    pub(super) fn size_of(&self, endpoint: &str, name: &str) -> Option<usize> {
        let lane = self.lane_if_any(endpoint)?;
        lock(&lane.shared.known).kept.size_of(endpoint, name)
    }

    pub(super) fn usage(&self, endpoint: &str) -> Usage {
        let lane = self.lane_if_any(endpoint);
        lane.map_or_else(Usage::default, |lane| {
            lock(&lane.shared.known).kept.usage(endpoint)
        })
    }

    pub(super) async fn read(
        &self,
        endpoint: &Arc<str>,
        prefix: &str,
    ) -> Result<BTreeMap<String, Bytes>, RpcError> {
        let Some(lane) = self.lane(endpoint) else {
            return Err(failure("it is closed"));
        };
        let reading = async {
            let submitted = lock(&lane.shared.known).kept.last();
            let deadline = Instant::now() + self.read_patience;
            let mut settled = lane.shared.settled.subscribe();
            let before = settled.wait_for(|settled| *settled >= submitted);
            if timeout_at(deadline, before).await.is_err() {
                return Err(self.waited("for what was written before this read"));
            }
            loop {
                let Some(client) = self.connected(deadline).await else {
                    return Err(self.waited("for a server to read from"));
                };
                let error = match self.read_once(&client, &lane, prefix).await {
                    Ok(read) => return read.ok_or_else(|| read_too_large(prefix)),
                    Err(error) => error,
                };
                drop(client);
                let FetchError::Node { path, error } = error else {
                    return Err(read_too_large(prefix));
                };
                if matches!(error, RequestError::Refused(_)) || Instant::now() >= deadline {
                    let servers = &self.servers;
                    return Err(failure(&format!(
                        "ZooKeeper at {servers}: cannot read node {path}: {error}"
                    )));
                }
                tokio::time::sleep(READ_PAUSE).await;
            }
        };
        tokio::select! {
            biased;
            read = reading => read,
            () = tokio::time::sleep(READ_LIMIT) => Err(failure(&format!(
                "ZooKeeper at {}: the entries are not read within {READ_LIMIT:?}",
                self.servers
            ))),
            () = self.stop.cancelled() => Err(failure("it is closed")),
        }
    }

    /// None: too much.
    async fn read_once(
        &self,
        client: &Client,
        lane: &Handle,
        prefix: &str,
    ) -> Result<Option<BTreeMap<String, Bytes>>, FetchError> {
        let (folder, limit) = (&lane.place.folder, self.session.limit());
        let endpoint = &lane.place.endpoint;
        let (valid, last) = {
            let known = lock(&lane.shared.known);
            (known.valid, known.kept.last())
        };
        let Some((stat, mut nodes)) = fetch::list(client, folder, limit).await? else {
            return Ok(Some(BTreeMap::new()));
        };
        let here = Valid {
            czxid: stat.czxid,
            version: stat.version,
        };
        // Where somebody else wrote, all sizes are learned anew.
        let all = valid != Some(here);
        if !all {
            nodes.retain(|node| paths::decode(node).starts_with(prefix));
        }
        let (mut found, mut bytes) = (BTreeMap::new(), 0_usize);
        let mut sizes = BTreeMap::new();
        let take = |name: &str, value: Vec<u8>| {
            if all {
                sizes.insert(name.to_owned(), value.len());
            }
            if name.starts_with(prefix) {
                bytes = bytes.saturating_add(name.len() + value.len());
                found.insert(name.to_owned(), Bytes::from(value));
            }
            bytes <= READ_BYTES_MAX
        };
        match fetch::values(client, folder, &nodes, limit, take).await {
            Ok(()) => {}
            Err(FetchError::Enough) => return Ok(None),
            Err(error) => return Err(error),
        }
        if all {
            let mut known = lock(&lane.shared.known);
            // Else the task knows better.
            if known.kept.last() == last && known.waiting == 0 {
                known.kept.found_of(endpoint, sizes);
                known.valid = Some(here);
            }
        }
        Ok(Some(found))
    }

    async fn connected(&self, deadline: Instant) -> Option<Arc<Client>> {
        let mut states = self.session.state();
        let connected = async {
            loop {
                let is = matches!(*states.borrow_and_update(), SessionState::Connected { .. });
                if is && let Some(client) = self.session.client() {
                    return Some(client);
                }
                states.changed().await.ok()?;
            }
        };
        timeout_at(deadline, connected).await.ok().flatten()
    }

    fn lane_if_any(&self, endpoint: &str) -> Option<Arc<Handle>> {
        lock(&self.lanes).as_ref()?.get(endpoint).cloned()
    }

    /// None: the store is closed.
    fn lane(&self, endpoint: &Arc<str>) -> Option<Arc<Handle>> {
        let mut lanes = lock(&self.lanes);
        let lanes = lanes.as_mut()?;
        if let Some(lane) = lanes.get(endpoint) {
            return Some(Arc::clone(lane));
        }
        let (orders, queue) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            known: Mutex::default(),
            settled: watch::Sender::new(0),
        });
        let place = Place {
            endpoint: Arc::clone(endpoint),
            folder: self.paths.status(endpoint),
            servers: Arc::clone(&self.servers),
            writer: uuid::Uuid::new_v4().to_string(),
        };
        let task = Task {
            place: place.clone(),
            session: self.session.clone(),
            shared: Arc::clone(&shared),
            orders: queue,
            lane: Lane::new(place.writer.clone()),
            waiting: VecDeque::new(),
            last: 0,
            closing: false,
        };
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = task.run() => {}
            }
        });
        let lane = Arc::new(Handle {
            place,
            shared,
            orders,
        });
        lanes.insert(Arc::clone(endpoint), Arc::clone(&lane));
        Some(lane)
    }

    fn waited(&self, what: &str) -> RpcError {
        let patience = self.read_patience;
        failure(&format!("waited {patience:?} {what}; {}", self.state()))
    }

    /// How the session is, for people.
    fn state(&self) -> String {
        let servers = &self.servers;
        match &*self.session.state().borrow() {
            SessionState::Connecting { trouble: None } => {
                format!("ZooKeeper at {servers}: no session yet")
            }
            SessionState::Connecting {
                trouble: Some(trouble),
            } => trouble.clone(),
            SessionState::Connected { .. } => format!("ZooKeeper at {servers} is connected"),
            SessionState::Suspended { since, .. } => format!(
                "ZooKeeper at {servers}: connection lost {:.1} s ago",
                since.elapsed().as_secs_f64()
            ),
        }
    }

    fn not_leading(&self) -> RpcError {
        RpcError::Denied {
            reason: format!(
                "this store is in ZooKeeper at {}, which hosts share: only an endpoint that leads writes \
                 to it; stand for election (right `lead`) and persist once elected",
                self.servers
            ),
        }
    }
}

impl Drop for ZooKeeperStore {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests;
