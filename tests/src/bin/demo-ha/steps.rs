//! Steps: the application runs, and at parts of its way the master that leads is ended.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use app_client::Progress;
use deploy_protocol::{ApplicationInfo, RecoveryState, WorkerState};
use instar_host::address::EndpointAddress;
use instar_tests::counts::Counts;
use instar_tests::ha_cluster::{HaCluster, HaSettings, Part};
use instar_tests::process::{Signal, send};
use instar_tests::story::Story;
use instar_tests::word_count::{Moved, arguments, counted};
use instar_tests::zookeeper::Ensemble;

/// How often the driver is asked how far it is.
const POLL: Duration = Duration::from_millis(20);

/// The longest that nobody may lead.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is wrong where the driver is gone.
const TOO_EARLY: &str =
    "the word count ended before everything had happened; is the input too small?";

/// The session of the masters with ZooKeeper.
const SESSION: Duration = Duration::from_secs(4);

/// What happens, after how many of hundred splits.
const STEPS: [(u64, End); 3] = [
    (10, End::Stopped),
    (25, End::HostKilled),
    // It takes a session until somebody notices.
    (40, End::Frozen),
];

/// How a master is ended.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Stopped,
    HostKilled,
    Frozen,
}

impl End {
    fn of(self, master: &str) -> String {
        match self {
            Self::Stopped => format!("{master} is told to stop (SIGTERM)"),
            Self::HostKilled => format!("the host of {master} is killed (SIGKILL)"),
            Self::Frozen => format!("all of {master} is frozen (SIGSTOP)"),
        }
    }
}

/// The application, while it runs.
struct Run<'a> {
    story: &'a mut Story,
    driver: EndpointAddress,
    since: Option<Instant>,
    moved: Moved,
    shown: Instant,
}

/// Starts three masters and two workers.
pub(crate) async fn start(
    instar: &Path,
    ensemble: &Ensemble,
    percent: u32,
    story: &mut Story,
) -> anyhow::Result<HaCluster> {
    let settings = HaSettings {
        session: SESSION,
        ..HaSettings::new(ensemble.url())
    };
    let mut cluster = HaCluster::prepare(instar, settings).await?;
    for number in 0..cluster.masters.len() {
        cluster.start_master(number).await?;
        let master = cluster.master(number)?;
        let ids: Vec<_> = master.ids(Part::Tree).iter().map(u32::to_string).collect();
        let ids = format!("processes {}", ids.join(", "));
        story.step(format!("{} started", master.name), ids);
    }
    let slow = format!("cpu_percent_per_core={percent}");
    for number in 1..=2 {
        let offers = ["--cores", "2", "--memory", "2G", "--config", &slow];
        let worker = cluster.add_worker(&offers).await?;
        let id = worker.program.id().unwrap_or_default();
        let detail = format!("process {id}; each slot gets {percent} % of a core");
        story.step(format!("worker {number} started"), detail);
    }
    let leader = cluster.until_valid().await;
    let leader = cluster.master(leader)?;
    story.step(format!("{} leads", leader.name), "both workers are there");
    Ok(cluster)
}

/// Submits the word count, ends leaders meanwhile, and returns what was counted.
pub(crate) async fn count(
    cluster: &mut HaCluster,
    input: &Path,
    split_mb: u32,
    story: &mut Story,
) -> anyhow::Result<Counts> {
    let words = arguments(input, split_mb);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let submitted = cluster.submit(&words)?;
    story.step("word count submitted", "to all three masters");
    let app = application(cluster).await?;
    story.step("application registered", app.id.clone());
    let mut run = Run {
        story,
        driver: app.driver.to_string().parse()?,
        since: None,
        moved: Moved::default(),
        shown: Instant::now(),
    };
    for (after, end) in STEPS {
        let progress = loop {
            let progress = run.show(cluster).await?.context(TOO_EARLY)?;
            let far = 100 * progress.done >= after * progress.total;
            if far && run.since.is_some() {
                break progress;
            }
            tokio::time::sleep(POLL).await;
        };
        end_the_leader(cluster, end, &app, &progress, &mut run).await?;
    }
    // The bar goes on until the driver has ended.
    while run.show(cluster).await?.is_some() {
        tokio::time::sleep(POLL).await;
    }
    let counted = counted(&submitted.wait_with_output().await?)?;
    let seconds = run.since.map_or(0.0, |since| since.elapsed().as_secs_f64());
    let rate = counted.bytes as f64 / 1e6 / seconds.max(0.001);
    run.story.step(
        "word count finished",
        format!("{seconds:.1} s, {rate:.0} MB/s"),
    );
    Ok(counted)
}

impl Run<'_> {
    /// Shows how far it is. None: the driver does not say any more.
    async fn show(&mut self, cluster: &HaCluster) -> anyhow::Result<Option<Progress>> {
        self.shown = Instant::now();
        // One answer may be late, as the machine is busy.
        let mut progress = cluster.progress_of(&self.driver).await;
        if progress.is_none() {
            progress = cluster.progress_of(&self.driver).await;
        }
        let Some(progress) = progress else {
            return Ok(None);
        };
        self.moved.goes_on(&progress)?;
        if progress.slots > 0 && self.since.is_none() {
            self.since = Some(Instant::now());
            let slots = format!("{} slots", progress.slots);
            self.story.step("executors are ready", slots);
        }
        if let Some(since) = self.since {
            self.story.shows(&progress, since);
        }
        Ok(Some(progress))
    }

    /// As [`Run::show`], now and then, where it must not be over yet.
    async fn show_sometimes(&mut self, cluster: &HaCluster) -> anyhow::Result<()> {
        if self.shown.elapsed() > 5 * POLL {
            self.show(cluster).await?.context(TOO_EARLY)?;
        }
        Ok(())
    }
}

/// Ends the leader, waits for the next one, and starts what was ended again.
async fn end_the_leader(
    cluster: &mut HaCluster,
    end: End,
    app: &ApplicationInfo,
    progress: &Progress,
    run: &mut Run<'_>,
) -> anyhow::Result<()> {
    let leader = cluster.until_led().await;
    let master = cluster.master(leader)?;
    let name = master.name.clone();
    let (part, signal) = match end {
        End::Stopped => (Part::Parent, Signal::Terminate),
        End::HostKilled => (Part::Host, Signal::Kill),
        End::Frozen => (Part::Tree, Signal::Stop),
    };
    let ids = master.ids(part);
    let at = format!("{} of {} splits done", progress.done, progress.total);
    let began = Instant::now();
    send(signal, &ids)?;
    run.story.step(end.of(&name), at);
    let others: Vec<usize> = (0..cluster.masters.len())
        .filter(|m| *m != leader)
        .collect();
    let next = 'found: loop {
        for other in &others {
            if cluster.decides(*other).await {
                break 'found *other;
            }
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "nobody leads for {PATIENCE:?}");
        run.show_sometimes(cluster).await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    let alive = began.elapsed().as_millis();
    let next_name = cluster.master(next)?.name.clone();
    run.story
        .step(format!("{next_name} is ALIVE"), format!("after {alive} ms"));
    while !all_is_back(cluster, next, app).await {
        anyhow::ensure!(
            began.elapsed() < PATIENCE,
            "not all is back in {PATIENCE:?}"
        );
        run.show_sometimes(cluster).await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let back = began.elapsed().as_millis();
    run.story.step(
        "workers and application are back",
        format!("after {back} ms"),
    );
    match end {
        End::Frozen => {
            send(Signal::Continue, &ids)?;
            while cluster.state(leader).await.map(|state| state.status)
                != Some(RecoveryState::Standby)
            {
                anyhow::ensure!(began.elapsed() < 2 * PATIENCE, "{name} does not stand by");
                run.show_sometimes(cluster).await?;
                tokio::time::sleep(POLL).await;
            }
            run.story
                .step(format!("{name} wakes up (SIGCONT)"), "and stands by");
        }
        End::Stopped | End::HostKilled => {
            cluster.master_mut(leader)?.ended().await?;
            cluster.start_master(leader).await?;
            run.story
                .step(format!("{name} is started again"), "and stands by");
        }
    }
    Ok(())
}

/// The workers and the application are at the master that leads now.
async fn all_is_back(cluster: &HaCluster, master: usize, app: &ApplicationInfo) -> bool {
    let Some(state) = cluster.state(master).await else {
        return false;
    };
    let alive = state.workers.iter();
    let alive = alive.filter(|worker| worker.state == WorkerState::Alive);
    let back = |known: &ApplicationInfo| known.id == app.id && !known.executors.is_empty();
    alive.count() == cluster.workers.len() && state.active_apps.iter().any(back)
}

/// Waits for the one application of the cluster.
async fn application(cluster: &HaCluster) -> anyhow::Result<ApplicationInfo> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(state) = cluster.leaders_state().await
            && let Some(app) = state.active_apps.into_iter().next()
        {
            return Ok(app);
        }
        tokio::time::sleep(POLL).await;
    }
    anyhow::bail!("no application registered within {PATIENCE:?}")
}
