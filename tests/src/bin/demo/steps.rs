//! Steps: the application runs, and at parts of its way something happens to the cluster.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use app_client::{GetProgress, Progress};
use deploy_protocol::ApplicationInfo;
use instar_host::address::EndpointAddress;
use instar_host::endpoint::record::SwapRecord;
use instar_tests::ask;
use instar_tests::cluster::Cluster;
use instar_tests::counts::Counts;
use instar_tests::story::Story;
use instar_tests::word_count::{Moved, arguments, counted};

/// How often the driver is asked how far it is.
const POLL: Duration = Duration::from_millis(20);

/// What happens, after how many of hundred splits.
const STEPS: [(u64, Step); 4] = [
    (10, Step::Swap("master-consolidate")),
    (30, Step::StopAnExecutor),
    (45, Step::Swap("master")),
    (60, Step::KillAWorker),
];

#[derive(Clone, Copy)]
enum Step {
    Swap(&'static str),
    StopAnExecutor,
    KillAWorker,
}

/// Starts one master and two workers.
pub(crate) async fn start(instar: &Path, story: &mut Story) -> anyhow::Result<Cluster> {
    let mut cluster = Cluster::start(instar, &[]).await?;
    let id = |id: Option<u32>| format!("process {}", id.unwrap_or_default());
    story.step("master started", id(cluster.master()?.id()));
    for number in 1..=2 {
        let worker = cluster
            .add_worker(&["--cores", "2", "--memory", "2G"])
            .await?;
        story.step(format!("worker {number} started"), id(worker.id()));
    }
    cluster.until_alive(2).await;
    story.step("both workers are registered", "");
    Ok(cluster)
}

/// Submits the word count, does the steps, and returns what was counted.
pub(crate) async fn count(
    cluster: &mut Cluster,
    input: &Path,
    split_mb: u32,
    story: &mut Story,
) -> anyhow::Result<Counts> {
    let words = arguments(input, split_mb);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let submitted = cluster.command("submit", &words)?;
    story.step("word count submitted", "");
    let app = application(cluster).await?;
    story.step("application registered", app.id.clone());
    let driver: EndpointAddress = app.driver.to_string().parse()?;
    let (mut steps, mut since) = (STEPS.iter(), None);
    let mut moved = Moved::default();
    let mut next = steps.next();
    while next.is_some() || since.is_none() {
        let driver = cluster.env.reference(driver.clone());
        let progress = ask(&driver, &GetProgress {}).await.context(
            "the word count ended before everything had happened; is the input too small?",
        )?;
        moved.goes_on(&progress)?;
        if progress.slots > 0 && since.is_none() {
            since = Some(Instant::now());
            story.step("executors are ready", format!("{} slots", progress.slots));
        }
        if let Some(since) = since {
            story.shows(&progress, since);
        }
        let percent = (100 * progress.done)
            .checked_div(progress.total)
            .unwrap_or(0);
        if let Some((after, step)) = next
            && percent >= *after
            && since.is_some()
        {
            do_step(*step, cluster, &app, &progress, story).await?;
            next = steps.next();
        }
        tokio::time::sleep(POLL).await;
    }
    let output = loop {
        // The bar goes on until the driver has ended.
        let reference = cluster.env.reference(driver.clone());
        match (ask(&reference, &GetProgress {}).await, since) {
            (Ok(progress), Some(since)) => {
                moved.goes_on(&progress)?;
                story.shows(&progress, since);
            }
            _ => break submitted.wait_with_output().await?,
        }
        tokio::time::sleep(POLL).await;
    };
    let counted = counted(&output)?;
    let seconds = since.map_or(0.0, |since| since.elapsed().as_secs_f64());
    let rate = counted.bytes as f64 / 1e6 / seconds.max(0.001);
    story.step(
        "word count finished",
        format!("{seconds:.1} s, {rate:.0} MB/s"),
    );
    Ok(counted)
}

/// Waits for the one application of the cluster.
async fn application(cluster: &Cluster) -> anyhow::Result<ApplicationInfo> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if let Some(app) = cluster.state().await?.active_apps.into_iter().next() {
            return Ok(app);
        }
        tokio::time::sleep(POLL).await;
    }
    anyhow::bail!("no application registered within a minute")
}

async fn do_step(
    step: Step,
    cluster: &mut Cluster,
    app: &ApplicationInfo,
    progress: &Progress,
    story: &mut Story,
) -> anyhow::Result<()> {
    let at = format!("{} of {} splits done", progress.done, progress.total);
    match step {
        Step::Swap(build) => {
            let record = cluster.swap_master(build).await?;
            let policy = cluster.state().await?.policy;
            story.step(
                format!("master swapped to `{policy}`"),
                format!("{}; {at}", pause(&record)),
            );
        }
        Step::StopAnExecutor => {
            let state = cluster.state().await?;
            let known = state
                .active_apps
                .into_iter()
                .find(|known| known.id == app.id);
            let executor = known.and_then(|app| app.executors.into_iter().next());
            let executor = executor.context("the application has no executor")?;
            let number = executor.description.executor_id;
            cluster.stop_executor(&executor).await?;
            story.step(format!("executor {number} ended"), at);
        }
        Step::KillAWorker => {
            let worker = cluster.workers.pop().context("no worker is left")?;
            let id = worker.id().unwrap_or_default();
            worker.kill().await?;
            story.step("worker 2 killed (SIGKILL)", format!("process {id}; {at}"));
        }
    }
    Ok(())
}

fn pause(record: &SwapRecord) -> String {
    format!(
        "stood still {:.3} ms, {} bytes of state",
        record.phases.pause.as_secs_f64() * 1e3,
        record.state_bytes
    )
}
