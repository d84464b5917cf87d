//! Latch task: stands in one election through one session, for somebody who asks for it.
//!
//! The rules are [`super::latch`]'s. What is special here
//! 1. Leading is doubted with the first lost connection, and over when the session is, or the node.
//! 2. `Renewed` is the answer to a write that was sent after the order came: a write goes through most of
//!    the servers, a read only to one, which may have been cut off from the others. The write changes nothing: it
//!    is a transaction that only checks that the node is there.
//! 3. A request whose outcome is unknown is no failure: a node of ours may be there. All names of ours begin with the
//!    same UUID, so they are found, kept or removed, before anything else is made.
//! 4. Who asks may be frozen: a leader who is not asked to renew for a session's time is removed.
//!
//! Not here: for how long one may count on what is said ([`FromLatch::Renewed`] has it), and what a leader does.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;
use zookeeper_client::{Client, CreateMode, Error, EventType, WatchedEvent};

use super::latch::{self, FromLatch, Place, ToLatch};
use super::leadership::{Candidate, Participant};
use crate::zookeeper::back_off::BackOff;
use crate::zookeeper::request::{RequestError, within};
use crate::zookeeper::session::{Session, SessionState};

/// How often the others are looked at, for people.
const ROLL_CALL: Duration = Duration::from_secs(1);

/// More participants than this are not read.
const PARTICIPANTS_MAX: usize = 64;

/// Something under way.
type Awaited<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

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
    let maker = Uuid::new_v4();
    let mut latch = Latch {
        states: session.state(),
        session,
        election,
        prefix: latch::name_prefix(maker),
        asker: Asker {
            orders,
            news,
            unsaid: VecDeque::new(),
        },
        wish: None,
        asleep: false,
        asked_to_leave: false,
        gone: false,
        litter: false,
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

struct Latch {
    session: Session,
    states: watch::Receiver<SessionState>,
    election: String,
    /// Of the names of all nodes that this latch ever makes.
    prefix: String,
    asker: Asker,
    /// None: it does not stand.
    wish: Option<Candidate>,
    /// Who asks is frozen: it stands again when an order comes.
    asleep: bool,
    /// `Withdrawn` is to be said.
    asked_to_leave: bool,
    /// Nobody gives orders any more.
    gone: bool,
    /// There may be nodes of ours that we do not know of.
    litter: bool,
    /// What the others said of themselves, by their nodes.
    known: HashMap<String, Option<Candidate>>,
    /// What was said last of what is in the way.
    trouble: Option<String>,
}

/// Who gives orders, and hears. Nothing here waits for it: it may be frozen.
struct Asker {
    orders: mpsc::Receiver<ToLatch>,
    news: mpsc::Sender<FromLatch>,
    unsaid: VecDeque<FromLatch>,
}

/// A node of ours, in a session.
struct Standing {
    client: Arc<Client>,
    generation: u64,
    name: String,
    path: String,
    /// What is in it.
    says: Candidate,
    leads: bool,
    doubted: bool,
    /// The connection is lost.
    suspended: bool,
    /// Of the node itself, and of the one before it.
    own: Awaited<WatchedEvent>,
    before: Awaited<WatchedEvent>,
    /// The order to renew that is not answered yet, and what was sent for it.
    asked: Option<u64>,
    renewal: Awaited<(u64, Result<(), RequestError>)>,
    roll: Awaited<Result<Roll, RequestError>>,
    /// What was said last of who stands.
    told: Option<Vec<Participant>>,
    /// Who asks counts as alive until then.
    alive_until: Instant,
    /// A request did not succeed: then it is tried again.
    again_at: Option<Instant>,
    back_off: BackOff,
}

/// Who stands, and what they say.
type Roll = Vec<(String, Option<Candidate>)>;

/// Why it stands no more with this node.
enum End {
    /// As it was asked; nobody need be told.
    Wished,
    /// It goes to the end of the line, and leads no more.
    Resigned,
    /// As another candidate, from the end of the line.
    Renamed,
    /// Who asks is frozen.
    Silent,
    /// The node or the session is gone.
    Gone(String),
}

impl Latch {
    /// Takes an order while it does not stand.
    fn note(&mut self, order: Option<ToLatch>) {
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
            self.trouble = None;
            let mut standing = Standing {
                path: format!("{}/{name}", self.election),
                client,
                generation,
                name,
                says: candidate,
                leads: false,
                doubted: false,
                suspended: false,
                own: None,
                before: None,
                asked: None,
                renewal: None,
                roll: None,
                told: None,
                alive_until: Instant::now() + self.session.timeout(),
                again_at: None,
                back_off: BackOff::new(),
            };
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
        if self.litter
            && let Some(name) = self.sweep(generation, client, Some(&data)).await?
        {
            return Ok(name);
        }
        let path = format!("{}/{}", self.election, self.prefix);
        let options = CreateMode::EphemeralSequential.with_acls(self.session.acls());
        // From here on one may be there.
        self.litter = true;
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
        let (_, number) = made.inspect_err(|error| {
            self.litter = !matches!(error, RequestError::Refused(_));
        })?;
        self.litter = false;
        Ok(format!("{}{number}", self.prefix))
    }

    /// Removes all nodes of ours, but for one of this session that says what it should, if there is one.
    async fn sweep(
        &mut self,
        generation: u64,
        client: &Client,
        data: Option<&[u8]>,
    ) -> Result<Option<String>, RequestError> {
        let line = match self.line(generation, client).await {
            Err(error) if error.is_no_node() => Vec::new(),
            line => line?,
        };
        let mut kept = None;
        for name in line.iter().filter(|name| name.starts_with(&self.prefix)) {
            let path = format!("{}/{name}", self.election);
            let here = match self.ask(generation, client.get_data(&path)).await {
                Err(error) if error.is_no_node() => continue,
                here => here?,
            };
            let is_of_now = here.1.ephemeral_owner == client.session_id().0;
            if kept.is_none() && is_of_now && data == Some(&here.0) {
                kept = Some(name.clone());
                continue;
            }
            self.remove(generation, client, &path).await?;
        }
        self.litter = false;
        Ok(kept)
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
    async fn ask<T, E: Into<RequestError>>(
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
        self.litter = true;
        if let End::Gone(_) = end {
            // Looked for before the next one is made.
            return;
        }
        let Standing {
            client,
            generation,
            path,
            ..
        } = standing;
        // The quickest way. Where it does not succeed, `clear` or `enter` look for what is there.
        if self.remove(generation, &client, &path).await.is_ok() {
            self.litter = false;
        }
    }

    /// Removes all nodes of ours. A session that is over takes its own along.
    async fn clear(&mut self) {
        let mut back_off = BackOff::new();
        while self.litter {
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
    fn unreachable(&mut self, error: &RequestError) {
        let text = match error {
            RequestError::Refused(Error::NoAuth) => format!(
                "ZooKeeper denies us `{}`: somebody with other credentials made it; use those, or change its ACL",
                self.election
            ),
            other => format!("`{}`: {other}", self.election),
        };
        self.in_the_way(text);
    }

    fn in_the_way(&mut self, text: String) {
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

// While it stands.
impl Latch {
    async fn stand(&mut self, s: &mut Standing) -> End {
        if let Some(end) = self.look(s).await {
            return end;
        }
        let mut roll_calls = tokio::time::interval_at(Instant::now() + ROLL_CALL, ROLL_CALL);
        roll_calls.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let end = tokio::select! {
                biased;
                order = self.asker.order() => self.obey(s, order).await,
                _ = self.states.changed() => self.session_changed(s).await,
                event = answer(&mut s.before) => match event.event_type {
                    // The session is over: its state says so.
                    EventType::Session => None,
                    _ => self.look(s).await,
                },
                event = answer(&mut s.own) => match event.event_type {
                    EventType::Session => None,
                    _ => self.look(s).await,
                },
                (number, outcome) = answer(&mut s.renewal) => self.renewed(s, number, outcome),
                roll = answer(&mut s.roll) => self.called(s, roll).await,
                () = at(s.again_at) => self.look(s).await,
                () = sleep_until(s.alive_until), if s.leads => Some(End::Silent),
                _ = roll_calls.tick(), if s.roll.is_none() && !s.suspended => {
                    self.call_roll(s);
                    None
                }
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    async fn obey(&mut self, s: &mut Standing, order: Option<ToLatch>) -> Option<End> {
        s.alive_until = Instant::now() + self.session.timeout();
        match order {
            Some(ToLatch::Contend(candidate)) => {
                self.wish = Some(candidate);
                // Whether it may say so anew depends on who stands now.
                self.call_roll(s);
                None
            }
            Some(ToLatch::Renew { number }) => {
                if s.leads {
                    s.asked = Some(number);
                    self.renew(s);
                }
                None
            }
            Some(ToLatch::Resign) => Some(End::Resigned),
            other => {
                self.note(other);
                Some(End::Wished)
            }
        }
    }

    async fn session_changed(&mut self, s: &mut Standing) -> Option<End> {
        let state = self.states.borrow_and_update().clone();
        match state {
            SessionState::Connected { generation } if generation == s.generation => {
                s.suspended = false;
                // Said anew, whatever it is: it was in the way for a while.
                s.told = None;
                self.look(s).await
            }
            SessionState::Suspended { generation, .. } if generation == s.generation => {
                s.suspended = true;
                // Their outcome is unknown. What was asked is asked again when the connection is back.
                s.renewal = None;
                s.roll = None;
                s.again_at = None;
                if s.leads {
                    self.doubt(s);
                } else {
                    self.in_the_way("the connection to ZooKeeper is lost".to_owned());
                }
                None
            }
            _ => Some(End::Gone("the session with ZooKeeper is over".to_owned())),
        }
    }

    /// Looks where we stand, and watches what may change it.
    async fn look(&mut self, s: &mut Standing) -> Option<End> {
        s.again_at = None;
        if s.suspended {
            return None;
        }
        match self.find_place(s).await {
            Ok(end) => {
                if end.is_none() {
                    s.back_off.reset();
                    self.renew(s);
                    self.call_roll(s);
                }
                end
            }
            Err(RequestError::Over) => {
                Some(End::Gone("the session with ZooKeeper is over".to_owned()))
            }
            Err(error) => {
                if s.leads {
                    self.doubt(s);
                } else {
                    self.unreachable(&error);
                    s.told = None;
                }
                s.again_at = Some(Instant::now() + s.back_off.pause());
                None
            }
        }
    }

    async fn find_place(&mut self, s: &mut Standing) -> Result<Option<End>, RequestError> {
        loop {
            let client = s.client.clone();
            // Both are sent at once, and answered in this order.
            let children = client.list_children(&self.election);
            let own = client.check_and_watch_stat(&s.path);
            let children = self.ask(s.generation, children).await;
            let (stat, watcher) = self.ask(s.generation, own).await?;
            let line = match children {
                Err(error) if error.is_no_node() => Vec::new(),
                children => latch::line(children?),
            };
            let is_ours = stat.is_some_and(|stat| stat.ephemeral_owner == client.session_id().0);
            if !is_ours {
                return Ok(Some(End::Gone(
                    "its node was removed by somebody".to_owned(),
                )));
            }
            s.own = Some(Box::pin(watcher.changed()));
            self.known.insert(s.name.clone(), Some(s.says.clone()));
            match latch::place(&line, &s.name) {
                Place::Missing => {
                    return Ok(Some(End::Gone(
                        "its node was removed by somebody".to_owned(),
                    )));
                }
                Place::First => {
                    s.before = None;
                    self.leads(s, &line);
                    return Ok(None);
                }
                Place::Behind { .. } if s.leads => {
                    let reason = "somebody stands before it, though it led";
                    return Ok(Some(End::Gone(reason.to_owned())));
                }
                Place::Behind { place, before } => {
                    let path = format!("{}/{before}", self.election);
                    let watched = client.get_and_watch_data(&path);
                    let (data, _, watcher) = match self.ask(s.generation, watched).await {
                        // Gone meanwhile.
                        Err(error) if error.is_no_node() => continue,
                        watched => watched?,
                    };
                    s.before = Some(Box::pin(watcher.changed()));
                    self.known.insert(before, latch::candidate_of(&data));
                    self.stands(s, &line, place);
                    return Ok(None);
                }
            }
        }
    }

    fn stands(&mut self, s: &mut Standing, line: &[String], place: usize) {
        self.trouble = None;
        let participants = latch::participants(line, &self.known);
        if s.told.as_ref() != Some(&participants) {
            s.told = Some(participants.clone());
            self.asker.tell(FromLatch::Stands {
                participants,
                place,
            });
        }
    }

    fn leads(&mut self, s: &mut Standing, line: &[String]) {
        self.trouble = None;
        let participants = latch::participants(line, &self.known);
        let news = s.told.as_ref() != Some(&participants);
        s.told = Some(participants.clone());
        if !s.leads {
            s.leads = true;
            s.doubted = false;
            s.alive_until = Instant::now() + self.session.timeout();
            tracing::info!(election = self.election, node = s.name, "leads");
            self.asker.tell(FromLatch::Leads {
                node: s.path.clone(),
                participants,
            });
        } else if news {
            self.asker.tell(FromLatch::Participants(participants));
        }
    }

    fn doubt(&mut self, s: &mut Standing) {
        if !s.doubted {
            s.doubted = true;
            self.asker.tell(FromLatch::Doubt);
        }
    }

    /// Proves that it leads, if that was asked and nothing is under way.
    fn renew(&mut self, s: &mut Standing) {
        let Some(number) = s
            .asked
            .filter(|_| s.leads && !s.suspended && s.renewal.is_none())
        else {
            return;
        };
        let client = s.client.clone();
        let path = s.path.clone();
        let limit = self.session.limit();
        s.renewal = Some(Box::pin(async move {
            let check = async {
                let writer = client.new_check_writer(&path, None)?;
                let checked = writer.commit().await;
                checked.map(|_| ()).map_err(|error| match error {
                    zookeeper_client::CheckWriteError::CheckFailed { source } => source,
                    other => other.into(),
                })
            };
            (number, within::<(), Error>(limit, check).await)
        }));
    }

    fn renewed(
        &mut self,
        s: &mut Standing,
        number: u64,
        outcome: Result<(), RequestError>,
    ) -> Option<End> {
        match outcome {
            Ok(()) => {
                s.doubted = false;
                let lease = self.session.lease();
                self.asker.tell(FromLatch::Renewed { number, lease });
                if s.asked == Some(number) {
                    s.asked = None;
                }
                // A younger order came meanwhile: it wants a younger proof.
                self.renew(s);
                None
            }
            Err(error) if error.is_no_node() => {
                Some(End::Gone("its node was removed by somebody".to_owned()))
            }
            Err(RequestError::Over) => {
                Some(End::Gone("the session with ZooKeeper is over".to_owned()))
            }
            Err(error) => {
                tracing::debug!(election = self.election, %error, "cannot prove that it leads");
                self.doubt(s);
                // The next order, or a look that succeeds, tries again.
                s.again_at = Some(Instant::now() + s.back_off.pause());
                None
            }
        }
    }

    /// Says what it wishes to be, where that is not what is in its node. `line`: who stands, just read: a
    /// stranger who comes at this very moment is not seen.
    async fn rename(&mut self, s: &mut Standing, line: &[String]) -> Option<End> {
        let candidate = self.wish.clone().filter(|candidate| *candidate != s.says)?;
        if s.suspended {
            return None;
        }
        let mut others = latch::participants(line, &self.known);
        others.retain(|other| other.node != s.name);
        if !latch::may_rewrite(&others) {
            if !s.leads {
                return Some(End::Renamed);
            }
            let election = &self.election;
            tracing::debug!(
                election,
                "what it says of itself waits until no stranger stands"
            );
            return None;
        }
        let data = latch::data_of(&candidate);
        match self
            .ask(s.generation, s.client.set_data(&s.path, &data, None))
            .await
        {
            // What fails is tried again with the next roll call.
            Err(error) => {
                tracing::debug!(election = self.election, %error, "cannot say anew what it is")
            }
            Ok(_) => {
                self.known.insert(s.name.clone(), Some(candidate.clone()));
                s.says = candidate;
                self.call_roll(s);
            }
        }
        None
    }

    /// Reads who stands, and what they say.
    fn call_roll(&mut self, s: &mut Standing) {
        if s.suspended {
            return;
        }
        let client = s.client.clone();
        let election = self.election.clone();
        let limit = self.session.limit();
        s.roll = Some(Box::pin(async move {
            let children = within(limit, client.list_children(&election)).await?;
            let line = latch::line(children);
            let paths: Vec<_> = line
                .iter()
                .map(|name| format!("{election}/{name}"))
                .collect();
            // All are sent at once.
            let reads: Vec<_> = paths
                .iter()
                .take(PARTICIPANTS_MAX)
                .map(|path| client.get_data(path))
                .collect();
            let mut says = HashMap::new();
            for (name, read) in line.iter().zip(reads) {
                match within(limit, read).await {
                    Ok((data, _)) => says.insert(name, latch::candidate_of(&data)),
                    Err(RequestError::Refused(_)) => None,
                    Err(error) => return Err(error),
                };
            }
            let roll = line
                .iter()
                .map(|name| (name.clone(), says.remove(name).flatten()));
            Ok(roll.collect())
        }));
    }

    async fn called(&mut self, s: &mut Standing, roll: Result<Roll, RequestError>) -> Option<End> {
        // For people only. What matters is watched, and asked for.
        let roll = roll.ok()?;
        let line: Vec<String> = roll.iter().map(|(name, _)| name.clone()).collect();
        self.known = roll.into_iter().collect();
        match latch::place(&line, &s.name) {
            Place::First if s.leads => self.leads(s, &line),
            Place::Behind { place, .. } if !s.leads => self.stands(s, &line, place),
            // What is watched says so too, or is about to.
            _ => {}
        }
        self.rename(s, &line).await
    }
}

impl Asker {
    /// Says something, without waiting: what is not heard yet makes way for its like.
    fn tell(&mut self, news: FromLatch) {
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
    async fn order(&mut self) -> Option<ToLatch> {
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

/// Waits for what is under way, for ever where nothing is.
///
/// # Cancellation
/// It stays under way.
async fn answer<T>(awaited: &mut Awaited<T>) -> T {
    match awaited {
        None => std::future::pending().await,
        Some(future) => {
            let answer = future.await;
            *awaited = None;
            answer
        }
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        None => std::future::pending().await,
        Some(moment) => sleep_until(moment).await,
    }
}
