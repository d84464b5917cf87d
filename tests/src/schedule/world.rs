//! World: two hosts, the way between them, and what is seen of them. What happens to them beside the
//! traffic is [`super::happen`].
//!
//! The endpoint under test is `hub` on a host that listens; it asks and sends to `other` on the same
//! host, whose inbox is small, so that what `hub` sends often has to wait. Senders 0 and 1 are on that
//! host, the others on one that comes over a [`Proxy`].

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use fixture_load::{Account, Ping};
use instar_host::address::{EndpointAddress, RpcAddress};
use instar_host::endpoint::status::EndpointState;
use instar_host::{EndpointRef, RpcEnv};

use super::happen::Happened;
use super::mode::Mode;
use super::plan::{Happening, LOCAL_SENDERS, Planned, SENDERS};
use super::step::{FRAGILE_VERSION, Item, Key, Picture, Step, Told};
use super::timeline::timeline;
use super::traffic::{Burst, Route, Traffic, Waiting};
use crate::load::{load_endpoint, load_settings};
use crate::proxy::Proxy;
use crate::{ask, client, server, start};

/// The endpoint under test.
pub(super) const HUB: &str = "hub";
/// The one that it asks and sends to.
pub(super) const OTHER: &str = "other";
/// How long a step may take to come to rest.
pub(super) const REST: std::time::Duration = std::time::Duration::from_secs(30);

/// The version that both endpoints begin with.
pub(super) const FIRST: &str = "1.0.0";

/// Everything.
pub struct World {
    pub(super) mode: Mode,
    pub(super) host: RpcEnv,
    pub(super) peer: RpcEnv,
    pub(super) proxy: Proxy,
    pub(super) hub: EndpointRef,
    pub(super) other: EndpointRef,
    /// The way of the local senders.
    near: Route,
    /// That of the others.
    pub(super) far: Route,
    numbers: Vec<u64>,
    waiting: Vec<Waiting>,
    pub(super) picture: Picture,
    other_seen: u64,
    /// The log of this life.
    log: Vec<Key>,
    /// Crashes when the endpoint last got all its restarts again.
    pub(super) forgiven: u64,
}

impl World {
    /// Starts hosts and endpoints.
    ///
    /// # Panics
    /// Where something does not start.
    pub async fn start(mode: Mode) -> Self {
        let (host, peer) = (start(server()).await, start(client()).await);
        let mut settings = load_settings();
        settings.probation.messages = 0;
        settings.config.insert("log".to_owned(), "yes".to_owned());
        let mut hub_settings = settings.clone();
        mode.set(&mut hub_settings);
        let hub = load_endpoint(&host, HUB, "load-v1", hub_settings).await;
        settings.limits.inbox = 4;
        let other = load_endpoint(&host, OTHER, "load-v1", settings).await;
        let port = host.address().map_or(0, |address| address.port());
        let proxy = Proxy::to(([127, 0, 0, 1], port).into()).await;
        let far = way(&peer, &proxy);
        let mut world = Self {
            mode,
            near: Arc::new(Mutex::new(hub.clone())),
            far: Arc::new(Mutex::new(far)),
            host,
            peer,
            proxy,
            hub,
            other,
            numbers: vec![0; SENDERS as usize],
            waiting: Vec::new(),
            picture: Picture::default(),
            other_seen: 0,
            log: Vec::new(),
            forgiven: 0,
        };
        match world.rest(&Picture::default(), &[]).await {
            Ok(rest) => world.picture = rest.picture,
            Err(reason) => panic!("the world does not begin: {reason}"),
        }
        world
    }

    /// Does what is planned, waits until nothing is under way, and tells what was seen.
    ///
    /// # Errors
    /// What never came to rest, or a swap that ended in the wrong way.
    pub async fn perform(&mut self, planned: &Planned) -> Result<Step, String> {
        let first = self.numbers.clone();
        let mut bursts = tokio::task::JoinSet::new();
        for (sender, plan) in &planned.bursts {
            let traffic = Traffic {
                sender: *sender,
                number: self.numbers.get(*sender as usize).copied().unwrap_or(0),
                route: Arc::clone(match *sender < LOCAL_SENDERS {
                    true => &self.near,
                    false => &self.far,
                }),
                host: self.host.clone(),
            };
            bursts.spawn(traffic.run(plan.clone()));
        }
        let mut happened = Happened::default();
        self.leave_fragile(planned).await?;
        for (turns, happening) in &planned.happenings {
            for _ in 0..*turns {
                tokio::task::yield_now().await;
            }
            let outcome = self.happen(*happening, &mut happened).await;
            outcome.map_err(|reason| format!("{happening:?}: {reason}"))?;
        }
        let mut items = Vec::new();
        while let Some(burst) = bursts.join_next().await {
            let burst: Burst = burst.map_err(|error| error.to_string())??;
            let waiting = burst.waiting.iter().map(|waiting| &waiting.item);
            for item in burst.items.iter().chain(waiting) {
                let number = self.numbers.get_mut(item.key.0 as usize);
                let number = number.ok_or("an unknown sender")?;
                *number = (*number).max(item.key.1 + 1);
            }
            items.extend(burst.items);
            self.waiting.extend(burst.waiting);
        }
        let before = self.picture.clone();
        if happened.cuts > 0 {
            let mut all: Vec<_> = self
                .waiting
                .iter_mut()
                .map(|waiting| &mut waiting.item)
                .collect();
            all.extend(&mut items);
            for item in all {
                item.shaky |= item.is_remote();
            }
        }
        if happened.cuts > 0 {
            self.meet_again().await?;
        }
        let rest = self.rest(&before, &items).await?;
        let (mut ended, mut still) = (Vec::new(), Vec::new());
        for waiting in std::mem::take(&mut self.waiting) {
            let Waiting { mut item, outcome } = waiting;
            let of_this_step = first
                .get(item.key.0 as usize)
                .is_some_and(|first| item.key.1 >= *first);
            if outcome.is_finished() {
                let (told, after) = outcome.await.map_err(|error| error.to_string())?;
                (item.told, item.after) = (told, after);
                match of_this_step {
                    true => items.push(item),
                    false => ended.push(item),
                }
            } else {
                if of_this_step {
                    items.push(item.clone());
                }
                still.push(Waiting { item, outcome });
            }
        }
        self.waiting = still;
        items.sort_by_key(|item| item.key);
        self.picture = rest.picture.clone();
        let one_panic = matches!(
            planned.happenings.as_slice(),
            [(_, Happening::Crash | Happening::CrashAsked)]
        ) && happened.panics == 1;
        Ok(Step {
            before,
            after: rest.picture,
            items,
            ended,
            log: rest.log,
            other_log: rest.other_log,
            cuts: happened.cuts,
            restarts: happened.restarts,
            panics: happened.panics,
            panics_one_way: happened.panics_one_way,
            mode: self.mode,
            forgotten: rest.forgotten,
            ticks_seen: rest.ticks_seen,
            lingered: happened.lingered,
            one_panic,
            fragile_beside_crash: happened.fragile && happened.panics > 0,
            timeline: timeline(&self.host, HUB, FIRST),
        })
    }

    /// Asks from the other host until it is answered: whoever sends from there now does so over a
    /// connection that was not cut.
    async fn meet_again(&self) -> Result<(), String> {
        let far = way(&self.peer, &self.proxy);
        let began = tokio::time::Instant::now();
        while began.elapsed() < REST {
            if ask(&far, &Ping {}).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        Err(format!("the hosts do not meet again within {REST:?}"))
    }

    /// Waits until nothing is under way: every call that waits is held by the guest and open at the
    /// host, what was to be passed on has arrived, and the timer fired again.
    async fn rest(&mut self, before: &Picture, items: &[Item]) -> Result<Rest, String> {
        let began = tokio::time::Instant::now();
        let mut last: Option<Rest> = None;
        while began.elapsed() < REST {
            let Some(mut rest) = self.look(before).await else {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                continue;
            };
            if let Some(last) = &last
                && last.picture.life == rest.picture.life
            {
                rest.ticks_seen = last.ticks_seen.min(rest.picture.ticks);
            }
            let is_at_rest = self.is_at_rest(before, &rest, last.as_ref(), items);
            last = Some(rest);
            if is_at_rest {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        }
        let state = self.host.status_of(HUB).map(|status| status.state);
        let Some(rest) = last else {
            return Err(format!(
                "no account within {REST:?}; the endpoint is {state:?}"
            ));
        };
        if began.elapsed() >= REST {
            // What is seen now says why, to the property that it breaks.
            tracing::warn!(?state, "the step did not come to rest");
        }
        let known = self.log.len() - rest.forgotten as usize;
        match rest.picture.life == before.life {
            true => self.log.truncate(known),
            false => self.log.clear(),
        }
        self.log.extend(&rest.log);
        self.other_seen += rest.other_log.len() as u64;
        Ok(rest)
    }

    fn is_at_rest(
        &self,
        before: &Picture,
        rest: &Rest,
        last: Option<&Rest>,
        items: &[Item],
    ) -> bool {
        let picture = &rest.picture;
        let open = self.waiting.iter().filter(|w| !w.outcome.is_finished());
        let all_held = open
            .map(|w| w.item.key)
            .all(|key| picture.held.contains(&key));
        // With copies the guest may hold calls that are not open any more: then it is at rest when
        // nothing changes.
        let same = |last: &Rest| {
            (last.picture.open_calls, &last.picture.held) == (picture.open_calls, &picture.held)
        };
        let books = picture.open_asks == picture.waiting
            && (picture.open_calls == picture.held.len()
                || picture.open_calls < picture.held.len() && last.is_some_and(same));
        let new = picture.life != before.life || picture.crashes > before.crashes;
        let ticked = match new {
            true => picture.ticks > rest.ticks_seen,
            false => picture.ticks > before.ticks,
        };
        let here: BTreeSet<_> = rest.log.iter().collect();
        let there: BTreeSet<_> = rest.other_log.iter().collect();
        let passed = items
            .iter()
            .filter(|item| item.what == super::plan::What::Pass && here.contains(&item.key))
            .all(|item| there.contains(&item.key));
        all_held && books && ticked && passed && picture.timers == 1
    }

    async fn look(&self, before: &Picture) -> Option<Rest> {
        let known = self.log.len() as u64;
        let mut hub = ask_account(&self.hub, known).await?;
        let mut log = std::mem::take(&mut hub.log);
        let mut forgotten = 0;
        let crashes = self.host.status_of(HUB)?.crashes;
        if hub.life != before.life {
            hub = ask_account(&self.hub, 0).await?;
            log.clone_from(&hub.log);
        } else if crashes != before.crashes {
            hub = ask_account(&self.hub, 0).await?;
            // Nothing comes twice: what both begin with is what was not forgotten.
            let both = self.log.iter().zip(&hub.log);
            let kept = both.take_while(|(known, now)| known == now).count();
            forgotten = known - kept as u64;
            log = hub.log.split_off(kept);
        }
        let other = ask_account(&self.other, self.other_seen).await?;
        let status = self.host.status_of(HUB)?;
        if status.state != EndpointState::Running || status.crashes != crashes {
            return None;
        }
        let held = hub.kept.iter().chain(&hub.waiting).copied();
        let proving =
            |p: &instar_host::endpoint::status::OnProbation| p.messages < p.messages_limit / 2;
        Some(Rest {
            ticks_seen: hub.ticks,
            forgotten,
            picture: Picture {
                held: held.collect(),
                version: hub.version,
                life: hub.life,
                generation: hub.generation,
                swaps: status.swaps,
                flips: super::timeline::flips(&self.host, HUB),
                on_probation: status.probation.as_ref().is_some_and(proving),
                copied: status.checkpoint_age.is_some(),
                crashes: status.crashes,
                culprits: status.dead_letters.get("crashed").copied().unwrap_or(0),
                open_calls: status.open_calls,
                open_asks: status.open_asks,
                waiting: hub.waiting.len(),
                timers: status.timers,
                ticks: hub.ticks,
                strays: hub.strays,
                refused: hub.refused,
            },
            log,
            other_log: other.log,
        })
    }

    /// A version that traps again and again is not left to it, also where a rollback put it back: that
    /// would be the end of the endpoint.
    async fn leave_fragile(&mut self, planned: &Planned) -> Result<(), String> {
        let leaves = matches!(
            planned.happenings.first(),
            Some((_, Happening::Swap(_) | Happening::Rollback))
        );
        if leaves || self.picture.version != FRAGILE_VERSION {
            return Ok(());
        }
        self.happen(
            Happening::Swap(super::plan::GOOD[0]),
            &mut Happened::default(),
        )
        .await
    }

    /// Ends the hosts. All calls that wait are told.
    pub async fn end(self) {
        self.peer.shutdown().await;
        self.host.shutdown().await;
        for waiting in self.waiting {
            if let Ok((Told::Open, _)) = waiting.outcome.await {
                panic!("{:?} was told nothing", waiting.item);
            }
        }
    }
}

struct Rest {
    picture: Picture,
    log: Vec<Key>,
    other_log: Vec<Key>,
    forgotten: u64,
    ticks_seen: u64,
}

pub(super) fn way(peer: &RpcEnv, proxy: &Proxy) -> EndpointRef {
    let address = RpcAddress::new("127.0.0.1", proxy.port());
    peer.reference(EndpointAddress::new(HUB, address))
}

async fn ask_account(of: &EndpointRef, from: u64) -> Option<Account> {
    ask(of, &fixture_load::Report { from }).await.ok()
}
