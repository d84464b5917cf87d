//! Watch: whether a cluster of several masters keeps what it promises, whatever happens to it.
//!
//! All the time each master is asked for decisions: to register a worker, to take a driver. Both are members
//! of a [`Company`], so the real workers have nothing of it. Meanwhile the latch in ZooKeeper is observed.
//! At the end:
//! 1. **One decides.** Each promise is an entry in ZooKeeper, and the number of the change that wrote it is
//!    the truth about when. It must lie within the time in which the latch node of the master that promised
//!    was the first one. So two masters that promise something at the same time are found, however short that
//!    was, and so is a write of one that led before. One that says that it knew already may have found what
//!    another one wrote and did not come to say. What is answered without a write is not seen here; tests ask
//!    for it.
//! 2. **Nothing is lost.** What was promised is listed by the master that leads, and what it lists as running
//!    runs, and nothing else.
//! 3. **At most once.** No driver runs twice, and none is launched again, unless its worker was lost on
//!    purpose.
//! 4. **It recovers.** When the faults stop, a master leads, within [`DEADLINE`](crate::DEADLINE).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use deploy_protocol::{
    Command, ComponentFile, DriverDescription, DriverState, MasterStateResponse, Program,
    RequestSubmitDriver, ResourceRequirement, WorkerState,
};
use instar_host::address::{EndpointAddress, Location};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use zookeeper_client::{Client, Error};

use crate::company::{Company, Launch, Manners, PROBE, Promise};
use crate::ha_cluster::HaCluster;

/// Between two workers that register with the same master.
const WORKERS_EACH: Duration = Duration::from_millis(100);

/// So many workers for one driver.
const WORKERS_PER_DRIVER: u32 = 3;

/// The markers of drivers of a watch begin so.
const MARKER: &str = "marker-";

/// How long a master may take to answer a submission. It may stand in doubt for a session.
const ANSWER: Duration = Duration::from_secs(15);

/// How long ZooKeeper may take to answer the one that observes it.
const LOOK: Duration = Duration::from_secs(5);

/// Probes, the observed latch, and what happened.
pub struct Watch {
    company: Arc<Company>,
    masters: Vec<(String, EndpointAddress)>,
    zookeeper: String,
    dir: String,
    stop: watch::Sender<bool>,
    probing: Vec<JoinHandle<Vec<Driver>>>,
    observing: JoinHandle<()>,
    latch: Arc<Mutex<Latch>>,
    timeline: Arc<Timeline>,
    network_is_whole: bool,
}

/// What was found in order, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Workers that were promised to be registered.
    pub workers: usize,
    /// Drivers that were promised to be run.
    pub drivers: usize,
    /// Drivers that were launched.
    pub launched: usize,
    /// Times that the latch had another first node.
    pub terms: usize,
    /// Masters that promised something.
    pub masters: usize,
}

/// What happened when, for people.
#[derive(Debug)]
pub struct Timeline {
    began: Instant,
    events: Mutex<Vec<(Duration, String)>>,
}

/// A driver that was promised.
#[derive(Clone, Debug)]
struct Driver {
    marker: String,
    id: String,
    by: Location,
}

/// The latch, as it was seen.
#[derive(Debug, Default)]
struct Latch {
    nodes: BTreeMap<String, Node>,
    /// The number of the last change that was seen.
    seen: i64,
    /// First nodes, one after the other.
    firsts: Vec<String>,
}

/// A node of the latch. Numbers are those of changes.
#[derive(Clone, Debug, PartialEq)]
struct Node {
    /// Who stands: the URI of an endpoint; none where it was gone before it was read.
    candidate: Option<String>,
    created: i64,
    /// It was still there after this change.
    was_there: i64,
    /// It was gone after this change.
    gone: Option<i64>,
}

impl Watch {
    /// Begins. `zookeeper` is a connection string that no fault is to cut.
    pub async fn start(cluster: &HaCluster, zookeeper: &str) -> Self {
        let masters: Vec<_> = cluster
            .masters
            .iter()
            .map(|master| (master.name.clone(), master.endpoint()))
            .collect();
        let company = Arc::new(
            Company::start(Manners {
                masters: cluster.endpoints(),
                cores: 8,
                // Less than an executor wants.
                memory_mb: 16,
                probes: 8,
                heartbeat: Duration::from_secs(1),
                search: Duration::from_millis(500),
            })
            .await,
        );
        let timeline = Arc::new(Timeline::default());
        let latch = Arc::new(Mutex::new(Latch::default()));
        let dir = cluster.settings().dir.clone();
        let observing = tokio::spawn(observe(
            zookeeper.to_owned(),
            format!("{dir}/leader_election"),
            Arc::clone(&latch),
            Arc::clone(&timeline),
        ));
        let mut watch = Self {
            company,
            masters: Vec::new(),
            zookeeper: zookeeper.to_owned(),
            dir,
            stop: watch::Sender::new(false),
            probing: Vec::new(),
            observing,
            latch,
            timeline,
            network_is_whole: true,
        };
        for (name, address) in masters {
            watch.probe(name, address);
        }
        watch
    }

    /// Asks one more master for decisions.
    pub fn probe(&mut self, name: String, master: EndpointAddress) {
        let probing = probe(
            Arc::clone(&self.company),
            self.masters.len(),
            master.clone(),
            self.stop.subscribe(),
        );
        self.masters.push((name, master));
        self.probing.push(tokio::spawn(probing));
    }

    /// The ways between masters and their workers are cut on purpose: a master may lose a worker that is
    /// there.
    pub fn network_is_cut(&mut self) {
        self.network_is_whole = false;
    }

    /// What happened when. Whoever does something notes it there.
    pub fn timeline(&self) -> Arc<Timeline> {
        Arc::clone(&self.timeline)
    }

    /// Something happened.
    pub fn note(&self, what: impl Into<String>) {
        self.timeline.note(what);
    }

    /// How many workers were promised to be registered so far.
    pub fn promised(&self) -> usize {
        self.company.diary().promises.len()
    }

    /// Waits until so many more workers were promised to be registered.
    ///
    /// # Panics
    /// After [`crate::DEADLINE`].
    pub async fn until_promised(&self, more: usize) {
        let wanted = self.promised() + more;
        let promised = self.company.until_promised(wanted);
        if tokio::time::timeout(crate::DEADLINE, promised)
            .await
            .is_err()
        {
            panic!(
                "not within {:?}: {more} more workers are registered\n{}",
                crate::DEADLINE,
                self.timeline
            );
        }
    }

    /// Drivers that are written down and that no worker was told to run so far: their ids. `client`: of
    /// ZooKeeper.
    ///
    /// # Errors
    /// ZooKeeper does not say.
    pub async fn unsaid(&self, client: &Client) -> anyhow::Result<Vec<String>> {
        let (names, _) = client
            .get_children(&format!("{}/master_status", self.dir))
            .await?;
        let launches = self.company.diary().launches;
        let said: BTreeSet<_> = launches.iter().map(|l| l.driver_id.as_str()).collect();
        let drivers = names.iter().filter_map(|name| name.strip_prefix("driver_"));
        let unsaid = drivers.filter(|id| !said.contains(id));
        Ok(unsaid.map(str::to_owned).collect())
    }

    /// Ends: asks no more, waits until a master leads, and looks at what is there.
    ///
    /// # Errors
    /// All that is not as promised, and what happened when.
    pub async fn finish(mut self, cluster: &HaCluster) -> anyhow::Result<Summary> {
        self.stop.send_replace(true);
        let mut drivers = Vec::new();
        for probing in self.probing.drain(..) {
            drivers.extend(probing.await.context("a probe")?);
        }
        self.note("the watch asks no more");
        let mut wrong = Vec::new();
        let workers = self.nothing_is_lost(cluster, &drivers, &mut wrong).await;
        self.at_most_once(&mut wrong);
        self.one_decides(&workers, &drivers, &mut wrong).await;
        self.observing.abort();
        let diary = self.company.diary();
        if self.network_is_whole {
            let forgotten = diary.forgotten.iter();
            wrong.extend(forgotten.map(|who| format!("forgotten although it was promised: {who}")));
        }
        wrong.extend(diary.refused.iter().map(|who| format!("refused: {who}")));
        let by = |location: &Location| location.to_string();
        let masters: BTreeSet<_> = workers.iter().map(|promise| by(&promise.by)).collect();
        let summary = Summary {
            workers: workers.len(),
            drivers: drivers.len(),
            launched: diary.launches.len(),
            terms: lock(&self.latch).firsts.len(),
            masters: masters.len(),
        };
        if wrong.is_empty() {
            return Ok(summary);
        }
        let all = wrong.len();
        wrong.truncate(30);
        anyhow::bail!(
            "{all} promises were broken:\n  {}\n{}\n{}\n{}",
            wrong.join("\n  "),
            self.timeline,
            lock(&self.latch).text(&self.masters),
            cluster.last_words()
        )
    }

    /// Rule 2, and 4. Workers that were promised.
    async fn nothing_is_lost(
        &self,
        cluster: &HaCluster,
        drivers: &[Driver],
        wrong: &mut Vec<String>,
    ) -> Vec<Promise> {
        let deadline = tokio::time::Instant::now() + crate::DEADLINE;
        loop {
            // Those that come late, too.
            let workers = self.company.diary().promises;
            let lost = match cluster.leaders_state().await {
                Some(state) => {
                    let mut lost = lost(&state, &workers, drivers);
                    lost.extend(astray(&state, &self.company.drivers()));
                    lost
                }
                None => vec!["no master leads, or more than one".to_owned()],
            };
            if lost.is_empty() {
                return workers;
            }
            if tokio::time::Instant::now() > deadline {
                wrong.extend(lost);
                return workers;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Rule 3. A worker that its master lost on purpose may still run what was launched elsewhere
    /// meanwhile, until the master is back and ends it.
    fn at_most_once(&self, wrong: &mut Vec<String>) {
        let mut launches: BTreeMap<String, Vec<Launch>> = BTreeMap::new();
        for launch in self.company.diary().launches {
            let marker = launches.entry(launch.marker.clone()).or_default();
            marker.push(launch);
        }
        for (marker, launches) in launches {
            let ids: BTreeSet<_> = launches.iter().map(|l| &l.driver_id).collect();
            let again = launches.iter().filter(|launch| !launch.killed).count() > 1
                || ids.len() < launches.len()
                || self.network_is_whole && launches.len() > 1;
            if again {
                let text = launches.iter().map(|launch| {
                    let ended = if launch.killed { ", killed" } else { "" };
                    let (id, worker) = (&launch.driver_id, &launch.worker_id);
                    format!("{id} on {worker} by {}{ended}", launch.by)
                });
                wrong.push(format!(
                    "driver {marker} was launched {} times: {}",
                    launches.len(),
                    text.collect::<Vec<_>>().join("; ")
                ));
            }
        }
    }

    /// Rule 1.
    async fn one_decides<'a>(
        &self,
        workers: &'a [Promise],
        drivers: &'a [Driver],
        wrong: &mut Vec<String>,
    ) {
        let worker = |w: &'a Promise| (format!("worker_{}", w.id), &w.by, w.known);
        let driver = |d: &'a Driver| (format!("driver_{}", d.id), &d.by, false);
        let (workers, drivers) = (workers.iter().map(worker), drivers.iter().map(driver));
        let promises: Vec<_> = workers.chain(drivers).collect();
        let written = match entries(&self.zookeeper, &format!("{}/master_status", self.dir)).await {
            Ok(written) => written,
            Err(error) => {
                wrong.push(format!("the entries cannot be read: {error:#}"));
                return;
            }
        };
        let mut anew: BTreeMap<String, Vec<Location>> = BTreeMap::new();
        for promise in self.company.diary().anew {
            let entry = format!("worker_{}", promise.id);
            anew.entry(entry).or_default().push(promise.by);
        }
        let latch = lock(&self.latch);
        for (entry, by, known) in promises {
            let Some(change) = written.get(&entry) else {
                // A driver that was launched anew has another id; its marker was looked for.
                if entry.starts_with("worker_") {
                    wrong.push(format!("{entry}, promised by {by}, is not in ZooKeeper"));
                }
                continue;
            };
            // Of a worker that was taken off the list the entry is that of a later promise.
            let later = anew.get(&entry).into_iter().flatten();
            if later.clone().any(|by| latch.led(by, *change).is_ok()) {
                continue;
            }
            let promised = match known {
                true => latch.found(by, *change),
                false => latch.led(by, *change),
            };
            if let Err(reason) = promised {
                wrong.push(format!("{entry}, promised by {by}: {reason}"));
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.observing.abort();
        for probing in &self.probing {
            probing.abort();
        }
    }
}

/// What was promised and is not listed.
fn lost(state: &MasterStateResponse, workers: &[Promise], drivers: &[Driver]) -> Vec<String> {
    let alive = state.workers.iter();
    let alive = alive.filter(|worker| worker.state == WorkerState::Alive);
    let alive: BTreeSet<_> = alive.map(|worker| worker.id.as_str()).collect();
    let all = state.active_drivers.iter().chain(&state.completed_drivers);
    let markers = all.filter_map(|driver| driver.description.command.arguments.first());
    let markers: BTreeSet<_> = markers.map(String::as_str).collect();
    let by = &state.master;
    let workers = workers.iter().filter(|w| !alive.contains(w.id.as_str()));
    let workers = workers.map(|w| format!("{}, promised by {}, is not ALIVE at {by}", w.id, w.by));
    let drivers = drivers
        .iter()
        .filter(|d| !markers.contains(d.marker.as_str()));
    let drivers = drivers.map(|d| {
        let Driver { marker, id, by } = d;
        format!("{id} ({marker}), promised by {by}, is not listed")
    });
    workers.chain(drivers).collect()
}

/// What is listed as running and does not run, and the other way round. `running`: ids and markers.
fn astray(state: &MasterStateResponse, running: &[(String, String)]) -> Vec<String> {
    let listed = state.active_drivers.iter().filter(|driver| {
        let marker = driver.description.command.arguments.first();
        marker.is_some_and(|marker| marker.starts_with(MARKER))
    });
    let listed: BTreeMap<_, _> = listed.map(|driver| (&driver.id, driver.state)).collect();
    let runs: BTreeSet<_> = running.iter().map(|(id, _)| id).collect();
    let by = &state.master;
    let idle = listed
        .iter()
        .filter(|(id, state)| **state == DriverState::Running && !runs.contains(**id));
    let idle = idle.map(|(id, _)| format!("{id} is listed as running at {by}, and does not run"));
    let stray = running.iter().filter(|(id, _)| !listed.contains_key(id));
    let stray =
        stray.map(|(id, marker)| format!("{id} ({marker}) runs, and is not listed at {by}"));
    idle.chain(stray).collect()
}

/// Asks a master for decisions until it is told to stop. Drivers that it promised to run.
async fn probe(
    company: Arc<Company>,
    number: usize,
    master: EndpointAddress,
    stop: watch::Receiver<bool>,
) -> Vec<Driver> {
    let mut ticks = tokio::time::interval(WORKERS_EACH);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut asked = Vec::new();
    let mut count: u32 = 0;
    while !*stop.borrow() {
        ticks.tick().await;
        count += 1;
        company.register_worker(&format!("probe-{}-{count}", number + 1), &master);
        if !count.is_multiple_of(WORKERS_PER_DRIVER) {
            continue;
        }
        let (company, master) = (Arc::clone(&company), master.clone());
        let marker = format!("{MARKER}{}-{count}", number + 1);
        asked.push(tokio::spawn(async move {
            let description = driver(&marker);
            let request = RequestSubmitDriver { description };
            // Who stands by, is in doubt or gone promises nothing.
            let answer = company.ask(&master, &request, ANSWER).await.ok()?;
            Some(Driver {
                marker,
                id: answer.driver_id.filter(|_| answer.success)?,
                by: master.location,
            })
        }));
    }
    let mut promised = Vec::new();
    for asked in asked {
        promised.extend(asked.await.ok().flatten());
    }
    promised
}

/// A driver that only a member of the company can run.
fn driver(marker: &str) -> DriverDescription {
    DriverDescription {
        command: Command {
            program: Program::Command,
            component: ComponentFile {
                uri: "instar://127.0.0.1:1/files/none.wasm".to_owned(),
                sha256: "0".repeat(64),
            },
            arguments: vec![marker.to_owned()],
            environment: BTreeMap::new(),
        },
        memory_mb: 1,
        cores: 1,
        // Else one whose launch was lost with its master is over.
        supervise: true,
        resources: vec![ResourceRequirement {
            name: PROBE.to_owned(),
            amount: 1,
        }],
    }
}

/// A client of ZooKeeper.
///
/// # Errors
/// There is none in time.
pub async fn connect(zookeeper: &str) -> anyhow::Result<Client> {
    let connecting = Client::connector()
        .with_session_timeout(Duration::from_secs(6))
        .connect(zookeeper);
    let connected = tokio::time::timeout(LOOK, connecting).await;
    Ok(connected.with_context(|| format!("no answer of ZooKeeper at {zookeeper}"))??)
}

/// A node of the latch, and the session that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its path.
    pub path: String,
    /// Id of the session.
    pub owner: i64,
}

/// All who stand now, the one that leads first. `dir`: the node below which all of a cluster is.
///
/// # Errors
/// ZooKeeper does not say.
pub async fn standing(client: &Client, dir: &str) -> anyhow::Result<Vec<Standing>> {
    let election = format!("{dir}/leader_election");
    let (mut names, _) = client.get_children(&election).await?;
    names.retain(|name| name.contains("latch-"));
    names.sort_by_key(|name| name.rsplit('-').next().map(str::to_owned));
    let mut all = Vec::new();
    for name in names {
        let path = format!("{election}/{name}");
        // One may leave meanwhile.
        if let Some(stat) = client.check_stat(&path).await? {
            let owner = stat.ephemeral_owner;
            all.push(Standing { path, owner });
        }
    }
    Ok(all)
}

/// Reads all entries: their names, and the number of the change that made each.
async fn entries(zookeeper: &str, folder: &str) -> anyhow::Result<BTreeMap<String, i64>> {
    let client = connect(zookeeper).await?;
    let (names, _) = client.get_children(folder).await.context("list them")?;
    // All are asked for before the first is waited for.
    let asked: Vec<_> = names
        .into_iter()
        .map(|name| {
            let stat = client.check_stat(&format!("{folder}/{name}"));
            (name, stat)
        })
        .collect();
    let mut entries = BTreeMap::new();
    for (name, stat) in asked {
        if let Some(stat) = stat.await.with_context(|| format!("read {name}"))? {
            entries.insert(name, stat.czxid);
        }
    }
    Ok(entries)
}

/// Observes the latch, for ever. A session that ends is followed by the next one.
async fn observe(
    zookeeper: String,
    election: String,
    latch: Arc<Mutex<Latch>>,
    timeline: Arc<Timeline>,
) {
    loop {
        if let Ok(client) = connect(&zookeeper).await {
            while observe_once(&client, &election, &latch, &timeline)
                .await
                .is_ok()
            {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reads the latch, and waits until it is another one.
async fn observe_once(
    client: &Client,
    election: &str,
    latch: &Mutex<Latch>,
    timeline: &Timeline,
) -> Result<(), Error> {
    let listed = client.get_and_watch_children(election);
    let listed = tokio::time::timeout(LOOK, listed).await;
    let (names, stat, watcher) = match listed.unwrap_or(Err(Error::Timeout)) {
        Ok(listed) => listed,
        Err(Error::NoNode) => {
            tokio::time::sleep(Duration::from_millis(10)).await;
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let mut new = Vec::new();
    for name in names.iter().filter(|name| name.contains("latch-")) {
        let known = lock(latch).nodes.get(name).cloned();
        if let Some(Node {
            candidate: Some(_), ..
        }) = known
        {
            continue;
        }
        match client.get_data(&format!("{election}/{name}")).await {
            Ok((data, stat)) => {
                let said: Option<serde_json::Value> = serde_json::from_slice(&data).ok();
                let id = said.as_ref().and_then(|said| said["id"].as_str());
                new.push((name.clone(), id.unwrap_or_default().to_owned(), stat.czxid));
            }
            Err(Error::NoNode) => {}
            Err(error) => return Err(error),
        }
    }
    let first = lock(latch).saw(&names, stat.pzxid, new);
    if let Some(first) = first {
        timeline.note(format!("the latch is held by {first}"));
    }
    // Also without a change: a watch that the client lost is never told.
    let _ = tokio::time::timeout(Duration::from_millis(500), watcher.changed()).await;
    Ok(())
}

impl Latch {
    /// What was there after the change `at`. The candidate of the first node, if that is another one.
    fn saw(
        &mut self,
        names: &[String],
        at: i64,
        new: Vec<(String, String, i64)>,
    ) -> Option<String> {
        // Two observers in a row may see it in any order.
        self.seen = self.seen.max(at);
        for (name, candidate, created) in new {
            self.nodes.insert(
                name,
                Node {
                    candidate: Some(candidate),
                    created,
                    was_there: at.max(created),
                    gone: None,
                },
            );
        }
        for (name, node) in &mut self.nodes {
            match names.contains(name) {
                true => node.was_there = node.was_there.max(at),
                // One that was just read and is not on the older list is there.
                false if node.created <= at && node.gone.is_none() => node.gone = Some(at),
                false => {}
            }
        }
        let there = self.nodes.iter().filter(|(_, node)| node.gone.is_none());
        let (name, node) = there.min_by_key(|(_, node)| node.created)?;
        if self.firsts.last() == Some(name) {
            return None;
        }
        self.firsts.push(name.clone());
        node.candidate.clone()
    }

    /// Whether a node of this master was the first one at the change `change`.
    fn led(&self, master: &Location, change: i64) -> Result<(), String> {
        let terms = self.terms(master);
        let in_term = |(from, to): &(i64, i64)| (*from..=*to).contains(&change);
        match terms.iter().any(in_term) {
            true => Ok(()),
            false => Err(not_in(change, &terms)),
        }
    }

    /// Whether a node of this master was the first one at the change `change`, or later.
    fn found(&self, master: &Location, change: i64) -> Result<(), String> {
        let terms = self.terms(master);
        match terms.iter().any(|(_, to)| change <= *to) {
            true => Ok(()),
            false => Err(not_in(change, &terms)),
        }
    }

    /// From which change to which nodes of this master were the first one, at most.
    fn terms(&self, master: &Location) -> Vec<(i64, i64)> {
        let of = |node: &&Node| {
            let candidate = node.candidate.as_deref().unwrap_or_default();
            candidate.ends_with(&format!("@{master}"))
        };
        let mut terms = Vec::new();
        for node in self.nodes.values().filter(of) {
            let before = self.nodes.values();
            let before = before.filter(|other| other.created < node.created);
            // At the earliest: after the last change after which an older node was still there.
            let from = before.map(|other| other.was_there).max();
            let from = from.unwrap_or_default().max(node.created);
            let to = node.gone.unwrap_or(i64::MAX);
            if from <= to {
                terms.push((from, to));
            }
        }
        terms
    }

    /// For people.
    fn text(&self, masters: &[(String, EndpointAddress)]) -> String {
        let mut nodes: Vec<_> = self.nodes.values().collect();
        nodes.sort_by_key(|node| node.created);
        let mut text = "nodes of the latch, by changes:".to_owned();
        for node in nodes {
            let id = node.candidate.as_deref().unwrap_or("?");
            let name = masters
                .iter()
                .find(|(_, address)| id == address.to_string())
                .map_or(id, |(name, _)| name);
            let gone = node.gone.map_or("there".to_owned(), |gone| {
                format!("gone at the latest at {gone:#x}")
            });
            let _ = write!(
                text,
                "\n  {name}: created {:#x}, there at {:#x}, {gone}",
                node.created, node.was_there
            );
        }
        text
    }
}

fn not_in(change: i64, terms: &[(i64, i64)]) -> String {
    let terms: Vec<_> = terms
        .iter()
        .map(|(from, to)| format!("from change {from:#x} to {to:#x}"))
        .collect();
    format!(
        "it was written by change {change:#x}, and its latch node was the first one {}",
        match terms.is_empty() {
            true => "never".to_owned(),
            false => terms.join(", "),
        }
    )
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            events: Mutex::default(),
        }
    }
}

impl Timeline {
    /// Something happened now.
    pub fn note(&self, what: impl Into<String>) {
        let at = self.began.elapsed();
        lock(&self.events).push((at, what.into()));
    }
}

impl std::fmt::Display for Timeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("what happened:")?;
        for (at, what) in lock(&self.events).iter() {
            write!(f, "\n  {:>8.3} s  {what}", at.as_secs_f64())?;
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Location {
        Location::Listening(format!("127.0.0.1:{port}").parse().unwrap())
    }

    fn new(name: &str, port: u16, created: i64) -> (String, String, i64) {
        let candidate = format!("instar://Master@127.0.0.1:{port}");
        (name.to_owned(), candidate, created)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_promise_is_in_order_while_the_node_of_its_master_was_the_first() {
        let mut latch = Latch::default();
        latch.saw(&names(&["a-latch-0"]), 10, vec![new("a-latch-0", 1, 10)]);
        let both = names(&["a-latch-0", "b-latch-1"]);
        latch.saw(&both, 20, vec![new("b-latch-1", 2, 20)]);
        latch.saw(&names(&["b-latch-1"]), 40, Vec::new());
        assert_eq!(latch.led(&at(1), 15), Ok(()));
        assert_eq!(latch.led(&at(1), 30), Ok(()), "it may have been there");
        assert_eq!(latch.led(&at(2), 30), Ok(()), "it may have been gone");
        assert!(latch.led(&at(1), 50).is_err(), "it led before");
        assert!(latch.led(&at(2), 15).is_err(), "it did not stand yet");
        assert!(latch.led(&at(2), 19).is_err());
        assert_eq!(latch.led(&at(2), 50), Ok(()));
        assert!(latch.led(&at(3), 50).is_err(), "it never stood");
        assert_eq!(latch.found(&at(2), 15), Ok(()), "written by one before it");
        assert!(latch.found(&at(1), 50).is_err(), "written by one after it");
        assert_eq!(latch.firsts, names(&["a-latch-0", "b-latch-1"]));
    }
}
