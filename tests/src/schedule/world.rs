//! World: two hosts, the way between them, and what a plan does to them.
//!
//! The endpoint under test is `hub` on a host that listens; it asks and sends to `other` on the same
//! host, whose inbox is small, so that what `hub` sends often has to wait. Senders 0 and 1 are on that
//! host, the others on one that comes over a [`Proxy`].

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use fixture_load::{Account, Crash, CrashAsked, Ping, Release};
use instar_host::address::{EndpointAddress, RpcAddress};
use instar_host::endpoint::record::SwapOutcome;
use instar_host::endpoint::settings::EndpointSettings;
use instar_host::endpoint::status::EndpointState;
use instar_host::{EndpointRef, RpcEnv};

use super::plan::{FRAGILE, Happening, LOCAL_SENDERS, Planned, SENDERS};
use super::step::{Item, Key, Picture, Step, Told};
use super::traffic::{Burst, Route, Traffic, Waiting};
use crate::load::{load_endpoint, load_settings};
use crate::proxy::Proxy;
use crate::{ask, client, component, message, server, start};

/// The endpoint under test.
pub(super) const HUB: &str = "hub";
/// The one that it asks and sends to.
pub(super) const OTHER: &str = "other";
/// How long a step may take to come to rest.
pub(super) const REST: std::time::Duration = std::time::Duration::from_secs(30);

/// Everything.
pub struct World {
    host: RpcEnv,
    peer: RpcEnv,
    proxy: Proxy,
    hub: EndpointRef,
    other: EndpointRef,
    /// The way of the local senders.
    near: Route,
    /// That of the others.
    far: Route,
    numbers: Vec<u64>,
    waiting: Vec<Waiting>,
    picture: Picture,
    other_seen: u64,
    hub_seen: u64,
    fragile: bool,
}

/// What happened beside the traffic.
#[derive(Default)]
struct Happened {
    cuts: u32,
    restarts: u32,
    panics: u64,
    panics_one_way: u64,
}

impl World {
    /// Starts hosts and endpoints.
    ///
    /// # Panics
    /// Where something does not start.
    pub async fn start() -> Self {
        let (host, peer) = (start(server()).await, start(client()).await);
        let mut settings = load_settings();
        settings.probation.messages = 0;
        settings.config.insert("log".to_owned(), "yes".to_owned());
        let hub = load_endpoint(&host, HUB, "load-v1", settings.clone()).await;
        settings.limits.inbox = 4;
        let other = load_endpoint(&host, OTHER, "load-v1", settings).await;
        let port = host.address().map_or(0, |address| address.port());
        let proxy = Proxy::to(([127, 0, 0, 1], port).into()).await;
        let far = way(&peer, &proxy);
        let mut world = Self {
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
            hub_seen: 0,
            fragile: false,
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
        let was_fragile = self.fragile;
        let mut happened = Happened::default();
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
            fragile: was_fragile || self.fragile,
            versions: self.versions(),
        })
    }

    async fn happen(
        &mut self,
        happening: Happening,
        happened: &mut Happened,
    ) -> Result<(), String> {
        match happening {
            Happening::Swap(to) => {
                self.swap(to, None).await?;
                self.fragile = false;
            }
            Happening::Fragile(at) => {
                let current = self.host.endpoint_settings(HUB).ok_or("no such endpoint")?;
                let mut settings = (*current).clone();
                settings.config.insert("trap_at".to_owned(), at.to_string());
                // From here on, even if it does not come to it.
                self.fragile = true;
                self.swap(FRAGILE, Some(settings)).await?;
            }
            Happening::Rollback => {
                let record = self.host.rollback(HUB, None).await;
                record.map_err(|error| format!("a good version was refused: {error}"))?;
                self.fragile = false;
            }
            Happening::Bad(to) => {
                let refused = self.host.swap(HUB, &component(to), None, "test").await;
                if let Ok(record) = refused {
                    return Err(format!("a bad version was taken: {record:?}"));
                }
            }
            Happening::Crash => {
                let text = "asked to crash".to_owned();
                let sent = self.hub.send(message(&Crash { text })).await;
                sent.map_err(|error| error.to_string())?;
                happened.panics += 1;
                happened.panics_one_way += 1;
            }
            Happening::CrashAsked => {
                let text = "asked to crash".to_owned();
                happened.panics += 1;
                match ask(&self.hub, &CrashAsked { text }).await {
                    Err(error) if error.code() == "crashed" => {}
                    outcome => return Err(format!("expected to be told of it, got {outcome:?}")),
                }
            }
            Happening::Restart => {
                happened.restarts += 1;
                let restarted = self.host.restart(HUB).await;
                restarted.map_err(|error| error.to_string())?;
            }
            Happening::Cut => {
                happened.cuts += 1;
                self.proxy.cut().await;
            }
            Happening::NewPeer => {
                happened.cuts += 1;
                let new = start(client()).await;
                let far = way(&new, &self.proxy);
                let old = std::mem::replace(&mut self.peer, new);
                old.shutdown().await;
                let mut route = self.far.lock().unwrap_or_else(PoisonError::into_inner);
                *route = far;
            }
            Happening::Release => release(&self.hub).await?,
            Happening::ReleaseOther => release(&self.other).await?,
        }
        Ok(())
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

    async fn swap(&self, to: &str, settings: Option<EndpointSettings>) -> Result<(), String> {
        let swapped = self.host.swap(HUB, &component(to), settings, "test").await;
        match swapped {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("a good version was refused: {error}")),
        }
    }

    /// What ran after so many swaps.
    fn versions(&self) -> Vec<String> {
        let records = self.host.history(HUB).unwrap_or_default();
        let swapped = records
            .into_iter()
            .filter(|record| record.outcome == SwapOutcome::Swapped);
        std::iter::once("1.0.0".to_owned())
            .chain(swapped.map(|record| record.to.version))
            .collect()
    }

    /// Waits until nothing is under way: every call that waits is held by the guest and open at the
    /// host, what was to be passed on has arrived, and the timer fired again.
    async fn rest(&mut self, before: &Picture, items: &[Item]) -> Result<Rest, String> {
        let began = tokio::time::Instant::now();
        let mut last = None;
        while began.elapsed() < REST {
            let Some(rest) = self.look(before).await else {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                continue;
            };
            if self.is_at_rest(before, &rest, items) {
                self.hub_seen = rest.hub_next;
                self.other_seen += rest.other_log.len() as u64;
                return Ok(rest);
            }
            last = Some(rest);
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        }
        let state = self.host.status_of(HUB).map(|status| status.state);
        let Some(rest) = last else {
            return Err(format!(
                "no account within {REST:?}; the endpoint is {state:?}"
            ));
        };
        // Not at rest: what is seen now says why, to the property that it breaks.
        tracing::warn!(?state, "the step did not come to rest");
        self.hub_seen = rest.hub_next;
        self.other_seen += rest.other_log.len() as u64;
        Ok(rest)
    }

    fn is_at_rest(&self, before: &Picture, rest: &Rest, items: &[Item]) -> bool {
        let picture = &rest.picture;
        let open = self.waiting.iter().filter(|w| !w.outcome.is_finished());
        let all_held = open
            .map(|w| w.item.key)
            .all(|key| picture.held.contains(&key));
        let books =
            (picture.open_calls, picture.open_asks) == (picture.held.len(), picture.waiting);
        let ticked =
            picture.life != before.life && picture.ticks > 0 || picture.ticks > before.ticks;
        let here: BTreeSet<_> = rest.log.iter().collect();
        let there: BTreeSet<_> = rest.other_log.iter().collect();
        let passed = items
            .iter()
            .filter(|item| item.what == super::plan::What::Pass && here.contains(&item.key))
            .all(|item| there.contains(&item.key));
        all_held && books && ticked && passed && picture.timers == 1
    }

    async fn look(&self, before: &Picture) -> Option<Rest> {
        let mut hub = ask_account(&self.hub, self.hub_seen).await?;
        if hub.life != before.life {
            hub = ask_account(&self.hub, 0).await?;
        }
        let other = ask_account(&self.other, self.other_seen).await?;
        let status = self.host.status_of(HUB)?;
        if status.state != EndpointState::Running {
            return None;
        }
        let from = match hub.life == before.life {
            true => self.hub_seen,
            false => 0,
        };
        let held = hub.kept.iter().chain(&hub.waiting).copied();
        Some(Rest {
            hub_next: from + hub.log.len() as u64,
            picture: Picture {
                held: held.collect(),
                version: hub.version,
                life: hub.life,
                generation: hub.generation,
                swaps: status.swaps,
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
            log: hub.log,
            other_log: other.log,
        })
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
    hub_next: u64,
}

fn way(peer: &RpcEnv, proxy: &Proxy) -> EndpointRef {
    let address = RpcAddress::new("127.0.0.1", proxy.port());
    peer.reference(EndpointAddress::new(HUB, address))
}

async fn release(of: &EndpointRef) -> Result<(), String> {
    let sent = of.send(message(&Release {})).await;
    sent.map_err(|error| error.to_string())
}

async fn ask_account(of: &EndpointRef, from: u64) -> Option<Account> {
    ask(of, &fixture_load::Report { from }).await.ok()
}
