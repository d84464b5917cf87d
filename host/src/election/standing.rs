//! Standing: what a latch does while it has a node, until something ends that.
//!
//! Before it: [`super::latch_task`], which made the node and removes it afterwards. It looks where the node
//! stands, watches what may change that, proves that it leads whenever that is asked, and says who else stands.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use zookeeper_client::{Client, Error, EventType, WatchedEvent};

use super::latch::{self, FromLatch, Place, ToLatch};
use super::latch_task::Latch;
use super::leadership::{Candidate, Participant};
use crate::moment;
use crate::zookeeper::back_off::BackOff;
use crate::zookeeper::request::{RequestError, within};
use crate::zookeeper::session::SessionState;

/// How often the others are looked at, for people.
const ROLL_CALL: Duration = Duration::from_secs(1);

/// Something under way.
type Awaited<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

/// A node of ours, in a session.
pub(super) struct Standing {
    pub(super) client: Arc<Client>,
    pub(super) generation: u64,
    pub(super) name: String,
    pub(super) path: String,
    /// What is in it.
    says: Candidate,
    pub(super) leads: bool,
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
    /// The first in the line, where that goes with no session: nobody leads until somebody removes it.
    forever: Option<String>,
    /// What was said last of who stands, and of [`Standing::forever`].
    told: Option<(Vec<Participant>, Option<String>)>,
    /// Who asks counts as alive until then.
    alive_until: Instant,
    /// A request did not succeed: then it is tried again.
    again_at: Option<Instant>,
    back_off: BackOff,
}

/// What a roll call found.
struct Roll {
    /// Who stands, and what they say.
    line: Vec<(String, Option<Candidate>)>,
    /// See [`Standing::forever`].
    forever: Option<String>,
}

/// Why it stands no more with this node.
pub(super) enum End {
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

impl Standing {
    /// At first it does not know whether it leads. `node`: name and path.
    pub(super) fn new(
        client: Arc<Client>,
        generation: u64,
        (name, path): (String, String),
        says: Candidate,
        patience: Duration,
    ) -> Self {
        Self {
            client,
            generation,
            name,
            path,
            says,
            leads: false,
            doubted: false,
            suspended: false,
            own: None,
            before: None,
            asked: None,
            renewal: None,
            roll: None,
            forever: None,
            told: None,
            alive_until: Instant::now() + patience,
            again_at: None,
            back_off: BackOff::new(),
        }
    }
}

impl Latch {
    /// Until something ends it.
    pub(super) async fn stand(&mut self, s: &mut Standing) -> End {
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
                () = moment::until(s.again_at) => self.look(s).await,
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
                let reason = "the connection to ZooKeeper is lost".to_owned();
                if s.leads {
                    self.doubt(s, reason);
                } else {
                    self.in_the_way(reason);
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
                    self.doubt(s, error.to_string());
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
        let participants = latch::participants(line, &self.known);
        let forever = s.forever.clone().filter(|node| line.first() == Some(node));
        let tell = (participants, forever);
        if tell.1.is_none() {
            self.nothing_is_in_the_way();
        }
        if s.told.as_ref() == Some(&tell) {
            return;
        }
        s.told = Some(tell.clone());
        let (participants, forever) = tell;
        self.asker.tell(FromLatch::Stands {
            participants,
            place,
        });
        if let Some(node) = forever {
            let election = &self.election;
            self.in_the_way(format!(
                "`{election}/{node}` stands first and leads nothing: it goes with no session, so somebody made it \
                 by hand; remove it, nobody leads until then"
            ));
        }
    }

    fn leads(&mut self, s: &mut Standing, line: &[String]) {
        self.nothing_is_in_the_way();
        let participants = latch::participants(line, &self.known);
        let tell = (participants.clone(), None);
        let news = s.told.as_ref() != Some(&tell);
        s.told = Some(tell);
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

    /// Says why first: people read it when the doubt begins.
    fn doubt(&mut self, s: &mut Standing, reason: String) {
        if !s.doubted {
            s.doubted = true;
            self.asker.tell(FromLatch::Unreachable { reason });
            self.asker.tell(FromLatch::Doubt);
            // Who stands is said anew when it is known again: that takes the reason away.
            s.told = None;
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
                self.doubt(s, error.to_string());
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
        if !latch::may_rewrite(line, &s.name, &self.known) {
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
                .take(latch::PARTICIPANTS_MAX)
                .map(|path| client.get_data(path))
                .collect();
            let mut says = HashMap::new();
            let mut forever = None;
            for (place, (name, read)) in line.iter().zip(reads).enumerate() {
                match within(limit, read).await {
                    Ok((data, stat)) => {
                        if place == 0 && stat.ephemeral_owner == 0 {
                            forever = Some(name.clone());
                        }
                        says.insert(name, latch::candidate_of(&data))
                    }
                    Err(RequestError::Refused(_)) => None,
                    Err(error) => return Err(error),
                };
            }
            let line = line
                .iter()
                .map(|name| (name.clone(), says.remove(name).flatten()))
                .collect();
            Ok(Roll { line, forever })
        }));
    }

    async fn called(&mut self, s: &mut Standing, roll: Result<Roll, RequestError>) -> Option<End> {
        // For people only. What matters is watched, and asked for.
        let roll = roll.ok()?;
        let line: Vec<String> = roll.line.iter().map(|(name, _)| name.clone()).collect();
        self.known = roll.line.into_iter().collect();
        s.forever = roll.forever;
        match latch::place(&line, &s.name) {
            Place::First if s.leads => self.leads(s, &line),
            Place::Behind { place, .. } if !s.leads => self.stands(s, &line, place),
            // What is watched says so too, or is about to.
            _ => {}
        }
        self.rename(s, &line).await
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
