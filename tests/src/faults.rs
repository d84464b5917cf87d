//! Faults: what a seed says happens to a cluster of three masters and three ZooKeeper servers, and the
//! watch over it.
//!
//! A plan is a list of faults, each with the time of its begin and its length, so that several are there at
//! once. Lengths are shorter and longer than a session. The seed fixes the plan, not the processes: a
//! failure may need some runs to come again.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::counting::{Counting, Size};
use crate::ha_cluster::{HaCluster, HaSettings, Part};
use crate::process::{Signal, send};
use crate::proxy::Proxy;
use crate::schedule::rng::Rng;
use crate::second_client;
use crate::watch::{Summary, Watch, connect, standing};
use crate::zookeeper::Ensemble;

/// Sessions of the masters.
const SESSION: Duration = Duration::from_secs(2);

/// Masters, and ZooKeeper servers.
const THREE: usize = 3;

/// How long a swap may take on a busy machine.
const SWAP: Duration = Duration::from_secs(60);

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A master is stopped in order, and started again at the end.
    Stop(Who),
    /// A part of it is killed, and it is started again at the end.
    Kill(Who, Part),
    /// A part of it is frozen.
    Freeze(Who, Part),
    /// What it and ZooKeeper say to each other waits.
    Hold(Who),
    /// It cannot connect to ZooKeeper.
    CutOff(Who),
    /// Its connections with ZooKeeper are cut, once.
    Cut(Who),
    /// Its session with ZooKeeper is ended by another client.
    Expire(Who, SessionFor),
    /// Its logic is swapped.
    Swap(Who),
    /// The way to it is cut, for all who do not listen elsewhere: only in plans with fronts.
    Unreachable(Who),
    /// The first latch node is deleted.
    DeleteLatch,
    /// A ZooKeeper server is killed.
    KillServer(usize),
    /// The ZooKeeper server that leads is killed.
    KillLeadingServer,
    /// A ZooKeeper server is frozen.
    FreezeServer(usize),
    /// Two of three are killed.
    LoseQuorum(usize),
    /// All of ZooKeeper is killed.
    KillZooKeeper,
    /// A worker is killed, and another one started.
    ReplaceWorker,
}

/// A master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The one that leads when the fault begins.
    Leader,
    /// This one.
    Master(usize),
}

/// A session of a master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionFor {
    /// In which it stands for election: that of the parent, where there is one.
    Latch,
    /// In which the host reads and writes.
    Store,
}

/// A fault, and when.
#[derive(Clone, Copy, Debug)]
struct Planned {
    begins: Duration,
    length: Duration,
    fault: Fault,
}

/// What a seed says.
#[derive(Clone, Debug)]
pub struct Plan {
    seed: u64,
    parent: bool,
    fronts: bool,
    faults: Vec<Planned>,
}

impl Plan {
    /// The plan of a seed, for so long.
    pub fn new(seed: u64, long: Duration) -> Self {
        let mut rng = Rng::new(seed);
        // Four seeds in a row have every mode.
        let (parent, fronts) = (seed % 4 != 1, seed % 4 == 2);
        let mut faults = Vec::new();
        let mut begins = Duration::from_millis(rng.below(1000));
        while begins < long {
            let length = match rng.below(3) {
                0 => rng.below(300),
                1 => rng.below(2000),
                _ => 2000 + rng.below(4000),
            };
            if let Some(fault) = fault(&mut rng, fronts) {
                faults.push(Planned {
                    begins,
                    length: Duration::from_millis(length),
                    fault,
                });
            }
            begins += Duration::from_millis(200 + rng.below(4000));
        }
        Self {
            seed,
            parent,
            fronts,
            faults,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parent = if self.parent { "with" } else { "without" };
        write!(f, "seed {}: masters {parent} a parent, ", self.seed)?;
        let ways = if self.fronts {
            "can be cut"
        } else {
            "are whole"
        };
        write!(f, "ways between masters and workers {ways}")?;
        for Planned {
            begins,
            length,
            fault,
        } in &self.faults
        {
            let (begins, length) = (begins.as_secs_f64(), length.as_secs_f64());
            write!(f, "\n  {begins:>7.3} s, for {length:.3} s: {fault:?}")?;
        }
        Ok(())
    }
}

fn fault(rng: &mut Rng, fronts: bool) -> Option<Fault> {
    let master = usize::try_from(rng.below(THREE as u64)).unwrap_or_default();
    let server = usize::try_from(rng.below(THREE as u64)).unwrap_or_default();
    let who = rng.choose(&[(3, Who::Leader), (1, Who::Master(master))])?;
    let part = rng.choose(&[(2, Part::Host), (1, Part::Parent), (1, Part::Tree)])?;
    let session = rng.choose(&[(1, SessionFor::Latch), (1, SessionFor::Store)])?;
    rng.choose(&[
        (2, Fault::Stop(who)),
        (4, Fault::Kill(who, part)),
        (4, Fault::Freeze(who, part)),
        (2, Fault::Hold(who)),
        (2, Fault::CutOff(who)),
        (2, Fault::Cut(who)),
        (2, Fault::Expire(who, session)),
        (2, Fault::Swap(who)),
        (if fronts { 4 } else { 0 }, Fault::Unreachable(who)),
        (1, Fault::DeleteLatch),
        (1, Fault::KillServer(server)),
        (1, Fault::KillLeadingServer),
        (1, Fault::FreezeServer(server)),
        (1, Fault::LoseQuorum(server)),
        (1, Fault::KillZooKeeper),
        (1, Fault::ReplaceWorker),
    ])
}

/// Does what the seed says, for so long, and checks all promises. `instar` is the program.
///
/// # Errors
/// What is not as promised, with the plan and what happened when.
pub async fn run(instar: &Path, seed: u64, long: Duration) -> anyhow::Result<Summary> {
    let plan = Plan::new(seed, long);
    let repeat = format!("repeat it with INSTAR_SEED={seed}\n{plan}");
    let mut world = World::build(instar, &plan)
        .await
        .with_context(|| repeat.clone())?;
    match world.play(&plan).await {
        Ok(()) => world.end().await.with_context(|| repeat),
        Err(error) => {
            let words = world.cluster.last_words();
            Err(error.context(format!("{}\n{words}\n{repeat}", world.watch.timeline())))
        }
    }
}

/// Another client ends a session of the master that reaches ZooKeeper by these ways. How many: there is none
/// for a moment where one has just ended. `zookeeper`: its connection string; `dir`: the node below which all is.
///
/// # Errors
/// ZooKeeper does not answer.
pub async fn expire(
    zookeeper: &str,
    dir: &str,
    ways: &[Proxy],
    which: SessionFor,
) -> anyhow::Result<usize> {
    let client = connect(zookeeper).await?;
    let stand = standing(&client, dir).await?;
    let mut expired = 0;
    for session in ways.iter().flat_map(second_client::sessions_through) {
        let latch = stand.iter().any(|standing| standing.owner == session.id);
        if latch != (which == SessionFor::Latch) {
            continue;
        }
        let mut outcome = Err(std::io::ErrorKind::NotConnected.into());
        for way in ways {
            // Any server will do.
            outcome = second_client::expire(way.far_end(), &session).await;
            if outcome.is_ok() {
                break;
            }
        }
        expired += usize::from(outcome?);
    }
    Ok(expired)
}

/// A cluster at work, and ways to harm it.
struct World {
    cluster: HaCluster,
    watch: Watch,
    ensemble: Ensemble,
    /// For each master the ways to the ZooKeeper servers.
    ways: Vec<Vec<Proxy>>,
    counting: JoinHandle<anyhow::Result<()>>,
    counted: usize,
    /// Masters that something is being done to.
    busy: [bool; THREE],
    zookeeper_is_busy: bool,
    builds: usize,
}

/// What the end of a fault undoes.
enum Undo {
    Start(usize),
    Thaw(usize, Vec<u32>),
    MendWays(usize),
    MendFront(usize),
    Idle(usize),
    MendZooKeeper,
}

impl World {
    async fn build(instar: &Path, plan: &Plan) -> anyhow::Result<Self> {
        let ensemble = tokio::task::spawn_blocking(Ensemble::start).await??;
        let mut ways = Vec::new();
        for _ in 0..THREE {
            let mut to_all = Vec::new();
            for server in &ensemble.servers {
                to_all.push(Proxy::to(SocketAddr::from(([127, 0, 0, 1], server.port()))).await);
            }
            ways.push(to_all);
        }
        let url = |ways: &Vec<Proxy>| {
            let ports = ways.iter().map(|way| format!("127.0.0.1:{}", way.port()));
            ports.collect::<Vec<_>>().join(",")
        };
        let settings = HaSettings {
            masters: THREE,
            session: SESSION,
            parent: plan.parent,
            fronts: plan.fronts,
            zookeeper: ways.iter().map(url).collect(),
            ..HaSettings::new("")
        };
        let mut cluster = HaCluster::start(instar, settings).await?;
        for _ in 0..2 {
            cluster.add_worker(&OFFERS).await?;
        }
        cluster.until_valid().await;
        let mut watch = Watch::start(&cluster, &ensemble.url()).await;
        if plan.fronts {
            watch.network_is_cut();
        }
        let counting = Counting::begin(&cluster, Size::Medium)?;
        Ok(Self {
            counting: tokio::spawn(counting.finish()),
            cluster,
            watch,
            ensemble,
            ways,
            counted: 0,
            busy: [false; THREE],
            zookeeper_is_busy: false,
            builds: 0,
        })
    }

    async fn play(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut todo = plan.faults.iter();
        let mut next = todo.next();
        let mut undo: Vec<(Instant, Undo)> = Vec::new();
        loop {
            undo.sort_by_key(|(at, _)| *at);
            let ends = undo.first().map(|(at, _)| *at);
            let begins = next.map(|next| began + next.begins);
            let (Some(at), begins_first) = (match (ends, begins) {
                (Some(ends), Some(begins)) => (Some(ends.min(begins)), begins < ends),
                (ends, begins) => (ends.or(begins), begins.is_some()),
            }) else {
                return Ok(());
            };
            // That is how long a fault is.
            tokio::time::sleep_until(at).await;
            self.count_on().await?;
            if begins_first {
                if let Some(planned) = next
                    && let Some(what) = self.begin(planned.fault).await?
                {
                    undo.push((Instant::now() + planned.length, what));
                }
                next = todo.next();
            } else {
                let (_, what) = undo.remove(0);
                self.undo(what).await?;
            }
        }
    }

    /// A result is looked at when it is there, and the next application begins.
    async fn count_on(&mut self) -> anyhow::Result<()> {
        if !self.counting.is_finished() {
            return Ok(());
        }
        let next = tokio::spawn(Counting::begin(&self.cluster, Size::Medium)?.finish());
        std::mem::replace(&mut self.counting, next)
            .await?
            .context("an application")?;
        self.counted += 1;
        self.watch
            .note("an application has ended, with the right result");
        Ok(())
    }

    /// The master that is meant, if nothing is done to it.
    async fn victim(&self, who: Who) -> Option<usize> {
        let place = match who {
            Who::Master(place) => place,
            Who::Leader => self.cluster.deciders().await.first().copied()?,
        };
        let free = !*self.busy.get(place)? && self.cluster.masters.get(place)?.runs();
        free.then_some(place)
    }

    async fn begin(&mut self, fault: Fault) -> anyhow::Result<Option<Undo>> {
        match fault {
            Fault::Stop(who)
            | Fault::Kill(who, _)
            | Fault::Freeze(who, _)
            | Fault::Hold(who)
            | Fault::CutOff(who)
            | Fault::Cut(who)
            | Fault::Expire(who, _)
            | Fault::Swap(who)
            | Fault::Unreachable(who) => {
                let Some(place) = self.victim(who).await else {
                    return Ok(None);
                };
                let name = self.cluster.master(place)?.name.clone();
                self.watch.note(format!("{fault:?}: {name}"));
                self.harm_master(fault, place).await
            }
            Fault::ReplaceWorker => {
                self.watch.note(format!("{fault:?}"));
                if !self.cluster.workers.is_empty() {
                    let worker = self.cluster.workers.remove(0);
                    worker.program.kill().await?;
                    self.cluster.add_worker(&OFFERS).await?;
                }
                Ok(None)
            }
            Fault::DeleteLatch => {
                self.watch.note(format!("{fault:?}"));
                // Where ZooKeeper is away there is nothing to delete.
                if let Err(error) = self.delete_latch().await {
                    self.watch.note(format!("not deleted: {error:#}"));
                }
                Ok(None)
            }
            Fault::KillServer(_)
            | Fault::KillLeadingServer
            | Fault::FreezeServer(_)
            | Fault::LoseQuorum(_)
            | Fault::KillZooKeeper => self.harm_zookeeper(fault),
        }
    }

    async fn harm_master(&mut self, fault: Fault, place: usize) -> anyhow::Result<Option<Undo>> {
        let builds = self.builds;
        let ways = self.ways.get(place).context("no such master")?;
        let master = self.cluster.master_mut(place)?;
        let undo = match fault {
            Fault::Stop(_) => {
                master.signal(Part::Parent, Signal::Terminate)?;
                Undo::Start(place)
            }
            Fault::Kill(_, part) => {
                master.signal(part, Signal::Kill)?;
                Undo::Start(place)
            }
            Fault::Freeze(_, part) => {
                let ids = master.ids(part);
                send(Signal::Stop, &ids)?;
                Undo::Thaw(place, ids)
            }
            Fault::Hold(_) => {
                ways.iter().for_each(Proxy::hold);
                Undo::MendWays(place)
            }
            Fault::CutOff(_) => {
                for way in ways {
                    way.break_off().await;
                }
                Undo::MendWays(place)
            }
            Fault::Cut(_) => {
                for way in ways {
                    way.cut().await;
                }
                return Ok(None);
            }
            Fault::Expire(_, session) => {
                let (zookeeper, dir) = (self.ensemble.url(), &self.cluster.settings().dir);
                let expiring = expire(&zookeeper, dir, ways, session);
                // Where ZooKeeper is away there is nothing to end.
                let expired = tokio::time::timeout(SESSION, expiring).await;
                let expired = expired.unwrap_or_else(|late| Err(late.into()));
                match expired {
                    Ok(count) => self.watch.note(format!("{count} sessions ended")),
                    Err(error) => self.watch.note(format!("no session ended: {error:#}")),
                }
                return Ok(None);
            }
            Fault::Unreachable(_) => {
                if let Some(front) = &master.front {
                    front.break_off().await;
                }
                Undo::MendFront(place)
            }
            _ => {
                self.builds += 1;
                let build = match builds.is_multiple_of(2) {
                    true => "master-consolidate",
                    false => "master",
                };
                let swapping = self.cluster.swap_master(place, build);
                let swapped = tokio::time::timeout(SWAP, swapping).await;
                // One that is disturbed may fail, and leaves all as it was.
                match swapped.context("no answer")? {
                    Ok(_) => self.watch.note("swapped"),
                    Err(error) => self.watch.note(format!("not swapped: {error:#}")),
                }
                Undo::Idle(place)
            }
        };
        if let Some(busy) = self.busy.get_mut(place) {
            *busy = true;
        }
        Ok(Some(undo))
    }

    fn harm_zookeeper(&mut self, fault: Fault) -> anyhow::Result<Option<Undo>> {
        if std::mem::replace(&mut self.zookeeper_is_busy, true) {
            return Ok(None);
        }
        self.watch.note(format!("{fault:?}"));
        let leader = match fault {
            Fault::KillLeadingServer => self.ensemble.leader()?,
            _ => 0,
        };
        for (place, server) in self.ensemble.servers.iter_mut().enumerate() {
            match fault {
                Fault::KillServer(which) if which == place => server.kill(),
                Fault::FreezeServer(which) if which == place => server.freeze()?,
                Fault::LoseQuorum(spared) if spared != place => server.kill(),
                Fault::KillLeadingServer if leader == place => server.kill(),
                Fault::KillZooKeeper => server.kill(),
                _ => {}
            }
        }
        Ok(Some(Undo::MendZooKeeper))
    }

    async fn delete_latch(&self) -> anyhow::Result<()> {
        let client = connect(&self.ensemble.url()).await?;
        let deleting = async {
            let all = standing(&client, &self.cluster.settings().dir).await?;
            if let Some(first) = all.first() {
                client.delete(&first.path, None).await?;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SESSION, deleting).await?
    }

    async fn undo(&mut self, what: Undo) -> anyhow::Result<()> {
        let place = match what {
            Undo::Start(place) => {
                self.cluster.start_master(place).await?;
                self.watch.note(format!("master {} is started", place + 1));
                place
            }
            Undo::Thaw(place, ids) => {
                send(Signal::Continue, &ids)?;
                self.watch.note(format!("master {} wakes up", place + 1));
                place
            }
            Undo::MendWays(place) => {
                let ways = self.ways.get(place).into_iter().flatten();
                ways.for_each(Proxy::mend);
                self.watch
                    .note(format!("master {} reaches ZooKeeper", place + 1));
                place
            }
            Undo::MendFront(place) => {
                if let Some(front) = &self.cluster.master(place)?.front {
                    front.mend();
                }
                self.watch.note(format!("master {} is reached", place + 1));
                place
            }
            Undo::Idle(place) => place,
            Undo::MendZooKeeper => {
                let ensemble = &mut self.ensemble;
                tokio::task::block_in_place(|| ensemble.mend())?;
                self.watch.note("all of ZooKeeper serves");
                self.zookeeper_is_busy = false;
                return Ok(());
            }
        };
        if let Some(busy) = self.busy.get_mut(place) {
            *busy = false;
        }
        Ok(())
    }

    /// The faults are over.
    async fn end(self) -> anyhow::Result<Summary> {
        let Self {
            cluster,
            watch,
            counting,
            ..
        } = self;
        watch.note("the faults are over");
        let timeline = watch.timeline();
        let told = || format!("{timeline}\n{}", cluster.last_words());
        counting.await?.with_context(told)?;
        watch.note("the last application has ended, with the right result");
        let summary = watch.finish(&cluster).await?;
        cluster.stop().await?;
        Ok(summary)
    }
}

/// What each worker is told.
const OFFERS: [&str; 4] = ["--cores", "2", "--memory", "1G"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_plan() {
        let plan = |seed| Plan::new(seed, Duration::from_secs(60)).to_string();
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
        assert!(plan(7).lines().count() > 10, "{}", plan(7));
    }
}
