//! Task: carries the writes of one [`Lane`] to the servers, for as long as the store is open.
//!
//! The order in which commits are made into futures is the order in which they are sent, so a commit is
//! never waited for before the next is made. Whatever goes wrong has one way out: wait until there is a
//! connection, look at the folder, and go on from what is there.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use zookeeper_client::{Acls, Client, CreateMode, Error, MultiWriteError, MultiWriter, Stat};

use super::fetch::{self, FetchError};
use super::lane::{Action, Answer, BAR, Group, Lane, Turn};
use super::tag::Tag;
use super::{Place, Shared, Valid};
use crate::error::RpcError;
use crate::store::kept::Sizes;
use crate::store::{failure, lock};
use crate::zookeeper::paths;
use crate::zookeeper::request::{RequestError, within};
use crate::zookeeper::session::{Session, SessionState};

/// Between two looks at a folder where nothing gets better. The first look is at once.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// What the task is to do.
pub(super) enum Order {
    Write(Turn, oneshot::Sender<Result<(), RpcError>>),
    /// Write what waits, and end.
    Close,
}

/// See above.
pub(super) struct Task {
    pub(super) place: Place,
    pub(super) session: Session,
    pub(super) shared: Arc<Shared>,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    pub(super) lane: Lane,
    /// Whoever waits for a turn, oldest first, by its number.
    pub(super) waiting: VecDeque<(u64, oneshot::Sender<Result<(), RpcError>>)>,
    /// The last turn that came.
    pub(super) last: u64,
    pub(super) closing: bool,
}

/// A commit that is on its way.
type OnItsWay<'c> = Pin<Box<dyn Future<Output = Answer> + Send + 'c>>;

/// Why it cannot go on as it did: look again.
struct Trouble(String);

impl Task {
    /// Until the store is closed and all is written.
    ///
    /// # Cancellation
    /// What waits is told that the store is closed.
    pub(super) async fn run(mut self) {
        let mut states = self.session.state();
        let mut said = false;
        let mut pause = Duration::ZERO;
        loop {
            if self.lane.is_idle() {
                if self.closing {
                    return;
                }
                match self.orders.recv().await {
                    Some(order) => self.obey(order),
                    None => return,
                }
                continue;
            }
            // What was seen of the state so far is what this looks at.
            states.borrow_and_update();
            let Some(client) = self.connected() else {
                tokio::select! {
                    changed = states.changed() => if changed.is_err() { return },
                    Some(order) = self.orders.recv() => self.obey(order),
                }
                continue;
            };
            let served = self.serve(&client, &mut states).await;
            drop(client);
            match served {
                Ok(()) if self.lane.is_careful() => {}
                Ok(()) => {
                    pause = Duration::ZERO;
                    if std::mem::take(&mut said) {
                        tracing::info!(endpoint = %self.place.endpoint, "writes to ZooKeeper go on");
                    }
                }
                Err(Trouble(reason)) => {
                    if !self.lane.is_careful() {
                        pause = Duration::ZERO;
                    }
                    self.lane.trouble();
                    if !std::mem::replace(&mut said, true) {
                        tracing::warn!(endpoint = %self.place.endpoint, reason, "writes to ZooKeeper wait");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE);
                }
            }
        }
    }

    fn connected(&self) -> Option<Arc<Client>> {
        let state = self.session.state();
        let connected = matches!(*state.borrow(), SessionState::Connected { .. });
        connected.then(|| self.session.client()).flatten()
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Write(turn, tell) => {
                self.last = turn.number;
                self.waiting.push_back((turn.number, tell));
                self.lane.push(turn);
            }
            Order::Close => self.closing = true,
        }
    }

    /// Writes all that waits. Ends when nothing does.
    async fn serve(
        &mut self,
        client: &Client,
        states: &mut watch::Receiver<SessionState>,
    ) -> Result<(), Trouble> {
        if !self.lane.is_open() {
            let opened = tokio::select! {
                biased;
                opened = self.open(client) => opened,
                _ = states.changed() => Err(Trouble("the connection changed".to_owned())),
            };
            self.tell();
            opened?;
        }
        let mut on_their_way: VecDeque<OnItsWay<'_>> = VecDeque::new();
        loop {
            while let Ok(order) = self.orders.try_recv() {
                self.obey(order);
            }
            let (place, acls) = (&self.place, self.session.acls());
            let patience = self.session.timeout();
            loop {
                let known = lock(&self.shared.known);
                let durable = |name: &str| known.kept.is_durable(&place.endpoint, name);
                let Some(group) = self.lane.next(durable) else {
                    break;
                };
                drop(known);
                on_their_way.push_back(send(client, place, group, &acls, patience));
            }
            let Some(first) = on_their_way.front_mut() else {
                return Ok(());
            };
            let answer = tokio::select! {
                biased;
                answer = first => answer,
                _ = states.changed() => Answer::Unknown {
                    reason: "the connection changed".to_owned(),
                },
                order = self.orders.recv(), if !self.closing => {
                    match order {
                        Some(order) => self.obey(order),
                        None => self.closing = true,
                    }
                    continue;
                }
            };
            on_their_way.pop_front();
            let reason = match &answer {
                Answer::Unknown { reason }
                | Answer::Surprise { reason, .. }
                | Answer::Refused { reason, .. } => reason.clone(),
                Answer::FenceGone => "leadership is over".to_owned(),
                Answer::Moved => format!("somebody else changed {}", place.folder),
                Answer::Done => String::new(),
            };
            if matches!(answer, Answer::Surprise { .. }) {
                lock(&self.shared.known).valid = None;
            }
            let goes_on = self.lane.answered(answer);
            if goes_on && let Some(valid) = &mut lock(&self.shared.known).valid {
                valid.version = valid.version.wrapping_add(1);
            }
            self.tell();
            if !goes_on {
                return Err(Trouble(reason));
            }
        }
    }

    /// Looks at the folder, learns what became of what was on its way, and makes sure that nothing of it
    /// comes later.
    async fn open(&mut self, client: &Client) -> Result<(), Trouble> {
        let (tag, stat) = self.look(client).await?;
        let here = Valid {
            czxid: stat.czxid,
            version: stat.version,
        };
        let made = self.lane.resolve(tag.as_ref());
        self.move_on(made);
        self.tell();
        let mut version = stat.version;
        while let Some((fence, tag)) = self.lane.bar() {
            match self.make_bar(client, &fence, &tag, version).await {
                Answer::Done => {
                    self.lane.barred();
                    version = version.wrapping_add(BAR);
                    self.move_on(BAR);
                }
                // The next on their way may have another.
                Answer::FenceGone => self.lane.lost(&fence),
                Answer::Refused { reason, .. } | Answer::Surprise { reason, .. } => {
                    self.lane.refused(&reason);
                }
                Answer::Moved => return Err(Trouble("the folder changed meanwhile".to_owned())),
                Answer::Unknown { reason } => return Err(Trouble(reason)),
            }
        }
        let here = Valid { version, ..here };
        let valid = lock(&self.shared.known).valid;
        if valid != Some(here) {
            self.load(client, here).await?;
        }
        self.lane.open_at(version);
        Ok(())
    }

    /// The folder moved by so much, and by us.
    fn move_on(&self, by: i32) {
        if let Some(valid) = &mut lock(&self.shared.known).valid {
            valid.version = valid.version.wrapping_add(by);
        }
    }

    /// The folder, which is made where it is missing.
    async fn look(&mut self, client: &Client) -> Result<(Option<Tag>, Stat), Trouble> {
        let (folder, limit) = (self.place.folder.clone(), self.session.limit());
        for _ in 0..3 {
            let (sync, get) = (client.sync(&folder), client.get_data(&folder));
            let both = async {
                sync.await?;
                get.await
            };
            let trouble = match within(limit, both).await {
                Ok((data, stat)) => return Ok((Tag::parse(&data), stat)),
                Err(error) if error.is_no_node() => {
                    let made = self.session.make(client, &folder, CreateMode::Persistent);
                    match made.await {
                        Ok(()) => continue,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            return Err(self.in_the_way(&folder, &trouble));
        }
        Err(Trouble(format!(
            "{folder} is deleted as soon as it is made"
        )))
    }

    /// What is refused for good ends all that waits: nobody is to wait for what does not come.
    fn in_the_way(&mut self, path: &str, error: &RequestError) -> Trouble {
        let reason = format!("node {path}: {error}");
        if let RequestError::Refused(refusal) = error
            && *refusal != Error::Throttled
        {
            self.lane.refused(&reason);
        }
        Trouble(reason)
    }

    async fn make_bar(&self, client: &Client, fence: &str, tag: &Tag, version: i32) -> Answer {
        let mut writer = client.new_multi_writer();
        let (folder, data) = (&self.place.folder, tag.data());
        let added = || -> Result<(), Error> {
            writer.add_check_version(fence, -1)?;
            writer.add_set_data(folder, &data, Some(version))?;
            for _ in 1..BAR {
                writer.add_set_data(folder, &data, None)?;
            }
            Ok(())
        };
        if let Err(error) = { added }() {
            return refused(format!("node {fence}: {error}"));
        }
        let limit = self.session.limit();
        match tokio::time::timeout(limit, writer.commit()).await {
            Ok(Ok(_)) => Answer::Done,
            Ok(Err(error)) => understand(error, folder, fence, |_| None),
            Err(_) => Answer::Unknown {
                reason: format!("no answer within {limit:?}"),
            },
        }
    }

    /// Learns names and sizes of all that is there.
    async fn load(&mut self, client: &Client, here: Valid) -> Result<(), Trouble> {
        let (folder, limit) = (self.place.folder.clone(), self.session.limit());
        let mut sizes = Sizes::new();
        let loaded = async {
            let Some((_, nodes)) = fetch::list(client, &folder, limit).await? else {
                return Ok(());
            };
            let take = |name: &str, data: Vec<u8>| {
                sizes.insert(name.to_owned(), data.len());
                true
            };
            fetch::values(client, &folder, &nodes, limit, take).await
        };
        match loaded.await {
            Ok(()) => {}
            Err(FetchError::Node { path, error }) => return Err(self.in_the_way(&path, &error)),
            Err(FetchError::Enough) => {}
        }
        let mut known = lock(&self.shared.known);
        known.kept.found_of(&self.place.endpoint, sizes);
        known.valid = Some(here);
        Ok(())
    }

    /// Tells those whose turns have ended.
    fn tell(&mut self) {
        let ended = self.lane.take_ended();
        if ended.is_empty() {
            return;
        }
        let mut outcomes = Vec::with_capacity(ended.len());
        let mut known = lock(&self.shared.known);
        for ended in ended {
            let (turn, durable) = (&ended.turn, ended.outcome.is_ok());
            let writes = turn.writes.all();
            let endpoint = &self.place.endpoint;
            known.kept.end(endpoint, turn.number, writes, durable);
            known.waiting -= turn.writes.bytes();
            outcomes.push((turn.number, ended.outcome));
        }
        drop(known);
        for (number, outcome) in outcomes {
            let place = self.waiting.iter().position(|(of, _)| *of == number);
            if let Some((_, tell)) = place.and_then(|place| self.waiting.remove(place)) {
                let outcome = outcome.map_err(|reason| failure(&self.with_servers(&reason)));
                // Whoever wrote it may have ended.
                let _ = tell.send(outcome);
            }
        }
        let settled = self.lane.oldest().map_or(self.last, |oldest| oldest - 1);
        self.shared.settled.send_replace(settled);
    }

    fn with_servers(&self, reason: &str) -> String {
        format!("ZooKeeper at {}: {reason}", self.place.servers)
    }
}

/// Makes a commit into a future, which is on its way from now on. `patience`: its outcome is unknown where it is
/// not answered within this time after those before it.
pub(super) fn send<'c>(
    client: &'c Client,
    place: &Place,
    group: &Group,
    acls: &Acls<'_>,
    patience: Duration,
) -> OnItsWay<'c> {
    let mut writer = client.new_multi_writer();
    let fence = match group.turns.first() {
        Some(turn) => Arc::clone(&turn.fence),
        None => return Box::pin(std::future::ready(Answer::Done)),
    };
    if let Err(answer) = fill(&mut writer, place, group, &fence, acls) {
        return Box::pin(std::future::ready(answer));
    }
    let commit = writer.commit();
    let names: Vec<String> = group
        .operations
        .iter()
        .map(|operation| paths::encode(&operation.name).into_owned())
        .collect();
    let sizes: Vec<usize> = group
        .operations
        .iter()
        .map(|operation| group.value(operation).map_or(0, |value| value.len()))
        .collect();
    let folder = place.folder.clone();
    Box::pin(async move {
        match tokio::time::timeout(patience, commit).await {
            Err(_) => Answer::Unknown {
                reason: format!("no answer within {patience:?}"),
            },
            Ok(Ok(_)) => Answer::Done,
            Ok(Err(error)) => understand(error, &folder, &fence, |operation| {
                let (name, size) = (names.get(operation)?, sizes.get(operation)?);
                Some(format!("node {folder}/{name} ({size} bytes)"))
            }),
        }
    })
}

fn fill(
    writer: &mut MultiWriter<'_>,
    place: &Place,
    group: &Group,
    fence: &str,
    acls: &Acls<'_>,
) -> Result<(), Answer> {
    let wrong = |what: &str, error: Error| refused(format!("node {what}: {error}"));
    let added = writer.add_check_version(fence, -1);
    added.map_err(|error| wrong(fence, error))?;
    let folder = &place.folder;
    let added = writer.add_set_data(folder, &group.tag.data(), Some(group.expects));
    added.map_err(|error| wrong(folder, error))?;
    for (index, operation) in group.operations.iter().enumerate() {
        let path = place.path(&operation.name);
        let value = group.value(operation).map_or(&[][..], |value| value);
        let added = match operation.action {
            Action::Create => {
                let options = CreateMode::Persistent.with_acls(*acls);
                writer.add_create(&path, value, &options)
            }
            Action::Set => writer.add_set_data(&path, value, None),
            Action::Delete => writer.add_delete(&path, None),
        };
        added.map_err(|error| Answer::Refused {
            operation: Some(index),
            reason: format!("node {path}: {error}"),
        })?;
    }
    Ok(())
}

fn refused(reason: String) -> Answer {
    Answer::Refused {
        operation: None,
        reason,
    }
}

/// What an error says of a commit. `name`: of a node, by the operation.
fn understand(
    error: MultiWriteError,
    folder: &str,
    fence: &str,
    name: impl Fn(usize) -> Option<String>,
) -> Answer {
    let (index, source) = match error {
        MultiWriteError::RequestFailed { source } => {
            return match source.into() {
                RequestError::Refused(error) if error != Error::Throttled => {
                    refused(format!("below {folder}: {error}"))
                }
                unknown => Answer::Unknown {
                    reason: unknown.to_string(),
                },
            };
        }
        MultiWriteError::OperationFailed { index, source } => (index, source),
    };
    // Fence and folder come first.
    let operation = index.checked_sub(2);
    match (index, source) {
        (0, Error::NoNode) => Answer::FenceGone,
        (0, error) => refused(format!("node {fence}: {error}")),
        (1, Error::NoNode | Error::BadVersion) => Answer::Moved,
        (1, error) => refused(format!("node {folder}: {error}")),
        (_, error) => {
            let node = operation.and_then(name);
            let node = node.unwrap_or_else(|| format!("below {folder}"));
            let reason = format!("{node}: {error}");
            match (error, operation) {
                (Error::NodeExists | Error::NoNode, Some(operation)) => {
                    let reason = format!("{reason}; somebody else writes there");
                    Answer::Surprise { operation, reason }
                }
                (Error::UnexpectedErrorCode(_) | Error::Throttled, _) => Answer::Unknown { reason },
                (_, operation) => Answer::Refused { operation, reason },
            }
        }
    }
}
