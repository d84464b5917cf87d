//! Latch task: stands in one election through one session, for somebody who asks for it.
//!
//! The rules are [`super::latch`]'s. What is special here
//! 1. Leading is doubted with the first lost connection, and over when the session is, or the node.
//! 2. `Renewed` is the answer to a write that was sent after the order came: a write goes through most of
//!    the servers, a read only to one, which may have been cut off from the others. The write changes nothing: it
//!    is a transaction that only checks that the node is there.
//! 3. A request whose outcome is unknown is no failure: a node of ours may be there. Each has a UUID of its own in
//!    its name, so it is found, kept or removed, before another one is made.
//! 4. A node that was left is never led with again: its path names one term, and writes of that term may be on
//!    their way. Kept is only one that nobody heard of yet.
//! 5. Who asks may be frozen: a leader who is not asked to renew for a session's time is removed.
//!
//! Not here: what it does while it stands ([`super::standing`]), for how long one may count on what is said ([`FromLatch::Renewed`] has it), and what a leader does.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;
use zookeeper_client::{Client, CreateMode, Error};

use super::latch::{self, FromLatch, ToLatch};
use super::leadership::Candidate;
use super::standing::{End, Standing};
use crate::zookeeper::back_off::BackOff;
use crate::zookeeper::request::{RequestError, within};
use crate::zookeeper::session::{Session, SessionState};

/// Until nobody gives orders any more: then its node is removed. `election`: the election's path, see
/// [`crate::zookeeper::paths`].
///
/// # Cancellation
/// Its node stays until the session ends.
pub(crate) async fn run(
    session: Session,
    election: String,
    orders: mpsc::Receiver<ToLatch>,
    news: mpsc::Sender<FromLatch>,
) {
    let mut latch = Latch {
        states: session.state(),
        session,
        election,
        asker: Asker {
            orders,
            news,
            unsaid: VecDeque::new(),
        },
        wish: None,
        asleep: false,
        asked_to_leave: false,
        gone: false,
        unheard: None,
        litter: Vec::new(),
        known: HashMap::new(),
        trouble: None,
    };
    while !latch.gone {
        latch.note_next().await;
        if latch.wish.is_some() {
            latch.contend().await;
            latch.clear().await;
        }
        if latch.asked_to_leave {
            latch.asked_to_leave = false;
            latch.asker.tell(FromLatch::Withdrawn);
        }
    }
}

pub(super) struct Latch {
    pub(super) session: Session,
    pub(super) states: watch::Receiver<SessionState>,
    pub(super) election: String,
    pub(super) asker: Asker,
    /// None: it does not stand.
    pub(super) wish: Option<Candidate>,
    /// Who asks is frozen: it stands again when an order comes.
    asleep: bool,
    /// `Withdrawn` is to be said.
    asked_to_leave: bool,
    /// Nobody gives orders any more.
    gone: bool,
    /// What the name of a node begins with whose creation was not answered.
    unheard: Option<String>,
    /// Names of nodes that were left, and may be there still.
    litter: Vec<String>,
    /// What the others said of themselves, by their nodes.
    pub(super) known: HashMap<String, Option<Candidate>>,
    /// What was said last of what is in the way.
    pub(super) trouble: Option<String>,
}

/// Who gives orders, and hears. Nothing here waits for it: it may be frozen.
pub(super) struct Asker {
    orders: mpsc::Receiver<ToLatch>,
    news: mpsc::Sender<FromLatch>,
    unsaid: VecDeque<FromLatch>,
}

impl Latch {
    /// Takes an order while it does not stand.
    pub(super) fn note(&mut self, order: Option<ToLatch>) {
        self.asleep = false;
        match order {
            None => {
                self.gone = true;
                self.wish = None;
            }
            Some(ToLatch::Contend(candidate)) => self.wish = Some(candidate),
            Some(ToLatch::Withdraw) => {
                self.asked_to_leave = true;
                self.wish = None;
            }
            Some(ToLatch::Renew { .. } | ToLatch::Resign) => {}
        }
    }

    async fn note_next(&mut self) {
        let order = self.asker.order().await;
        self.note(order);
    }

    /// Stands until that is wished no more. Its node may be there still.
    async fn contend(&mut self) {
        let mut back_off = BackOff::new();
        while let Some(candidate) = self.wish.clone() {
            if self.asleep {
                self.clear().await;
                self.note_next().await;
                continue;
            }
            let Some((generation, client)) = self.until_connected().await else {
                continue;
            };
            let name = match self.enter(generation, &client, &candidate).await {
                Ok(name) => name,
                Err(error) => {
                    self.unreachable(&error);
                    self.rest(back_off.pause()).await;
                    continue;
                }
            };
            back_off.reset();
            self.nothing_is_in_the_way();
            let path = format!("{}/{name}", self.election);
            let patience = self.session.timeout();
            let mut standing = Standing::new(client, generation, (name, path), candidate, patience);
            let end = self.stand(&mut standing).await;
            self.leave(standing, end).await;
        }
    }

    /// The session, once there is one; none where it is wished no more.
    async fn until_connected(&mut self) -> Option<(u64, Arc<Client>)> {
        loop {
            let state = self.states.borrow_and_update().clone();
            match state {
                SessionState::Connected { generation } => {
                    if let Some(client) = self.session.client_of(generation) {
                        return Some((generation, client));
                    }
                }
                SessionState::Connecting {
                    trouble: Some(text),
                } => self.in_the_way(text),
                SessionState::Connecting { trouble: None } | SessionState::Suspended { .. } => {}
            }
            let order = tokio::select! {
                biased;
                order = self.asker.order() => Some(order),
                // It does not end as long as we have the session.
                _ = self.states.changed() => None,
            };
            if let Some(order) = order {
                self.note(order);
                self.wish.as_ref()?;
            }
        }
    }

    /// A pause. Ends early where it is wished no more.
    async fn rest(&mut self, pause: Duration) {
        let until = Instant::now() + pause;
        while self.wish.is_some() {
            let order = tokio::select! {
                biased;
                order = self.asker.order() => order,
                () = sleep_until(until) => return,
            };
            self.note(order);
        }
    }

    /// A node at the end of the line. Its name.
    async fn enter(
        &mut self,
        generation: u64,
        client: &Client,
        candidate: &Candidate,
    ) -> Result<String, RequestError> {
        let data = latch::data_of(candidate);
        if let Some(name) = self.sweep(generation, client, Some(&data)).await? {
            return Ok(name);
        }
        let prefix = latch::name_prefix(Uuid::new_v4());
        let path = format!("{}/{prefix}", self.election);
        let options = CreateMode::EphemeralSequential.with_acls(self.session.acls());
        // From here on one may be there.
        self.unheard = Some(prefix.clone());
        let mut made = self
            .ask(generation, client.create(&path, &data, &options))
            .await;
        if matches!(&made, Err(error) if error.is_no_node()) {
            let above = self
                .session
                .make(client, &self.election, CreateMode::Container);
            above.await?;
            made = self
                .ask(generation, client.create(&path, &data, &options))
                .await;
        }
        if !matches!(made, Err(RequestError::Unknown(_))) {
            self.unheard = None;
        }
        let (_, number) = made?;
        Ok(format!("{prefix}{number}"))
    }

    /// Removes the nodes of ours that may be there, but for one of which nobody heard yet, if it is of this
    /// session and says this.
    async fn sweep(
        &mut self,
        generation: u64,
        client: &Client,
        data: Option<&[u8]>,
    ) -> Result<Option<String>, RequestError> {
        if !self.may_be_there() {
            return Ok(None);
        }
        let line = match self.line(generation, client).await {
            Err(error) if error.is_no_node() => Vec::new(),
            line => line?,
        };
        let mut kept = None;
        for name in line {
            let path = format!("{}/{name}", self.election);
            let unheard = self.unheard.as_deref();
            if unheard.is_some_and(|prefix| name.starts_with(prefix)) {
                let here = match self.ask(generation, client.get_data(&path)).await {
                    Err(error) if error.is_no_node() => continue,
                    here => here?,
                };
                let is_of_now = here.1.ephemeral_owner == client.session_id().0;
                if kept.is_none() && is_of_now && data == Some(&here.0) {
                    kept = Some(name);
                    continue;
                }
            } else if !self.litter.contains(&name) {
                continue;
            }
            self.remove(generation, client, &path).await?;
        }
        self.unheard = None;
        self.litter.clear();
        Ok(kept)
    }

    /// There may be nodes of ours with which it does not stand.
    fn may_be_there(&self) -> bool {
        self.unheard.is_some() || !self.litter.is_empty()
    }

    /// All who stand, as all servers know it.
    async fn line(&self, generation: u64, client: &Client) -> Result<Vec<String>, RequestError> {
        let sync = client.sync(&self.election);
        let children = client.list_children(&self.election);
        self.ask(generation, sync).await?;
        Ok(latch::line(self.ask(generation, children).await?))
    }

    async fn remove(
        &self,
        generation: u64,
        client: &Client,
        path: &str,
    ) -> Result<(), RequestError> {
        match self.ask(generation, client.delete(path, None)).await {
            Err(error) if error.is_no_node() => Ok(()),
            done => done,
        }
    }

    /// Waits for an answer, within the limit, and no longer than the connection holds.
    pub(super) async fn ask<T, E: Into<RequestError>>(
        &self,
        generation: u64,
        request: impl Future<Output = Result<T, E>>,
    ) -> Result<T, RequestError> {
        let mut states = self.session.state();
        let lost = states.wait_for(|state| *state != SessionState::Connected { generation });
        tokio::select! {
            biased;
            answer = within(self.session.limit(), request) => answer,
            _ = lost => Err(RequestError::Unknown("the connection was lost".to_owned())),
        }
    }

    /// What follows from an end.
    async fn leave(&mut self, standing: Standing, end: End) {
        // Said first: nobody else leads before who asked knows.
        if standing.leads && !matches!(end, End::Wished) {
            let reason = match &end {
                End::Gone(reason) => reason.clone(),
                End::Silent => {
                    let time = self.session.timeout();
                    format!("who leads did not say for {time:?} that it is there")
                }
                End::Resigned | End::Renamed | End::Wished => "it resigned".to_owned(),
            };
            tracing::info!(
                election = self.election,
                node = standing.name,
                reason,
                "leads no more"
            );
            self.asker.tell(FromLatch::Lost { reason });
        }
        self.asleep = matches!(end, End::Silent);
        let Standing {
            client,
            generation,
            name,
            path,
            ..
        } = standing;
        // The quickest way. Where it does not succeed, `clear` or `enter` look for what is there.
        let is_gone = match end {
            End::Gone(_) => false,
            _ => self.remove(generation, &client, &path).await.is_ok(),
        };
        if !is_gone {
            self.litter.push(name);
        }
    }

    /// Removes all nodes of ours. A session that is over takes its own along.
    async fn clear(&mut self) {
        let mut back_off = BackOff::new();
        while self.may_be_there() {
            let state = self.states.borrow_and_update().clone();
            match state {
                SessionState::Connecting { .. } => return,
                SessionState::Suspended { .. } => {
                    let _ = self.states.changed().await;
                }
                SessionState::Connected { generation } => {
                    let Some(client) = self.session.client_of(generation) else {
                        return;
                    };
                    if let Err(error) = self.sweep(generation, &client, None).await {
                        tracing::debug!(election = self.election, %error, "cannot remove our node yet");
                        tokio::time::sleep(back_off.pause()).await;
                    }
                }
            }
        }
    }

    /// Something keeps it from standing.
    pub(super) fn unreachable(&mut self, error: &RequestError) {
        let text = match error {
            RequestError::Refused(Error::NoAuth) => format!(
                "ZooKeeper denies us `{}`: somebody with other credentials made it; use those, or change its ACL",
                self.election
            ),
            other => format!("`{}`: {other}", self.election),
        };
        self.in_the_way(text);
    }

    pub(super) fn nothing_is_in_the_way(&mut self) {
        if self.trouble.take().is_some() {
            tracing::info!(election = self.election, "stands for election again");
        }
    }

    pub(super) fn in_the_way(&mut self, text: String) {
        if self.trouble.as_ref() != Some(&text) {
            tracing::warn!(
                election = self.election,
                trouble = text,
                "cannot stand for election"
            );
            self.trouble = Some(text.clone());
        }
        self.asker.tell(FromLatch::Unreachable { reason: text });
    }
}

impl Asker {
    /// Says something, without waiting: what is not heard yet makes way for its like.
    pub(super) fn tell(&mut self, news: FromLatch) {
        let like = std::mem::discriminant(&news);
        let is_edge = matches!(news, FromLatch::Leads { .. } | FromLatch::Lost { .. });
        if !is_edge {
            self.unsaid
                .retain(|unsaid| std::mem::discriminant(unsaid) != like);
        }
        self.unsaid.push_back(news);
        while let Some(first) = self.unsaid.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(first)) = self.news.try_send(first) {
                self.unsaid.push_front(first);
                return;
            }
        }
    }

    /// The next order; none where nobody gives any more, or hears.
    ///
    /// # Cancellation
    /// Nothing is lost.
    pub(super) async fn order(&mut self) -> Option<ToLatch> {
        loop {
            tokio::select! {
                biased;
                order = self.orders.recv() => return order,
                permit = self.news.reserve(), if !self.unsaid.is_empty() => {
                    let permit = permit.ok()?;
                    if let Some(news) = self.unsaid.pop_front() {
                        permit.send(news);
                    }
                }
            }
        }
    }
}
