//! Task: the one owner of the plugin directory. Carries out what [`super::scan`] decides.
//!
//! It never waits for a file or for the host itself: looks, reads and swaps are jobs in a [`JoinSet`],
//! at most one per plugin, and their ends come back here. So a slow plugin delays only itself.
//!
//! Jobs: a look at the directory; examining a plugin's files; applying a decision; an operator's
//! action. Whoever owns the set owns them all: dropping the task aborts them.
//!
//! Not here: any rule about what to do ([`super::scan`]); the texts of a status ([`super::status`]).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::apply;
use super::directory::{InstallError, Installed, Options, PluginError};
use super::examine::examine;
use super::facts::{Acted, Applied, Command, Deployment, Findings, Look, Pair, Rules, Trouble};
use super::host::{Host, SwapOrder};
use super::listing::{Listing, list};
use super::operator::{Action, Reply};
use super::scan::Scan;
use super::status::{self, PluginState, PluginStatus};
use super::status_file::{self, Statuses};
use super::together::{Checked, Together};
use super::watch::Watch;
use crate::component::code::Code;
use crate::endpoint::record::SwapRecord;

/// Looks are at least this far apart: a file that is written slowly makes an event per write.
const LOOK_GAP: Duration = Duration::from_millis(2);
/// When an unreadable file is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What reaches the task from its handles.
pub(crate) enum Request {
    Act { plugin: String, action: Action },
    Together(Together),
    Shutdown,
}

/// Code on its way from the file to the host, and its place among `parallel`.
pub(super) struct Loaded {
    pub(super) code: Code,
    pub(super) permit: Option<OwnedSemaphorePermit>,
    pub(super) order: SwapOrder,
}

/// How a job ended.
pub(super) enum Ended {
    Looked(Box<Listing>, Instant),
    Examined(String, Box<Findings>, Option<Loaded>),
    Applied(String, Box<apply::Done>),
    /// The bytes of an install were examined.
    Checked(
        String,
        Box<Findings>,
        Loaded,
        Reply<Result<Installed, InstallError>>,
    ),
    /// The bytes of an install of several were examined.
    CheckedTogether(Box<Checked>),
    /// An action on these plugins is done. Its caller is told when it shows in the status.
    Acted(
        Vec<(String, Acted, Option<SwapRecord>)>,
        Box<dyn FnOnce() + Send>,
    ),
}

/// See the module.
pub(crate) struct Task<H> {
    pub(super) host: H,
    pub(super) directory: Arc<Path>,
    pub(super) options: Options,
    requests: mpsc::Receiver<Request>,
    publish: watch::Sender<Statuses>,
    pub(super) scan: Scan,
    watch: Watch,
    jobs: JoinSet<Ended>,
    /// The plugins that each job is about; none for looks. For jobs that panic.
    owners: HashMap<Id, Vec<String>>,
    pub(super) permits: Arc<Semaphore>,
    /// Requests for busy plugins, in order.
    pub(super) waiting: BTreeMap<String, VecDeque<Action>>,
    /// Requests for several plugins at once, in order.
    pub(super) together: VecDeque<Together>,
    /// Restarts of plugins that did not run: answered when they do, or are refused again.
    pub(super) reviving: BTreeMap<String, Vec<Reply<Result<(), PluginError>>>>,
    swaps: BTreeMap<String, SwapRecord>,
    statuses: BTreeMap<String, PluginStatus>,
    unpublished: bool,
    told: BTreeSet<String>,
    started: Instant,
    looking: bool,
    look_at: Instant,
    looked: Instant,
}

impl<H: Host> Task<H> {
    /// Nothing is watched or read before [`Task::run`].
    pub(crate) fn new(
        host: H,
        directory: Arc<Path>,
        mut options: Options,
        requests: mpsc::Receiver<Request>,
        publish: watch::Sender<Statuses>,
    ) -> Self {
        options.rescan = options.rescan.max(Duration::from_millis(10));
        let rules = Rules {
            settle: options.settle,
            cut_patience: options.cut_patience,
            gone_after: options.gone_after,
            retry: RETRY,
            plugins_max: options.plugins_max,
        };
        let permits = options.parallel.clamp(1, Semaphore::MAX_PERMITS);
        let now = Instant::now();
        Self {
            host,
            watch: Watch::new(Arc::clone(&directory)),
            directory,
            options,
            requests,
            publish,
            scan: Scan::new(rules),
            jobs: JoinSet::new(),
            owners: HashMap::new(),
            permits: Arc::new(Semaphore::new(permits)),
            waiting: BTreeMap::new(),
            together: VecDeque::new(),
            reviving: BTreeMap::new(),
            swaps: BTreeMap::new(),
            statuses: BTreeMap::new(),
            unpublished: false,
            told: BTreeSet::new(),
            started: now,
            looking: false,
            look_at: now,
            looked: now,
        }
    }

    /// Runs until it is shut down or the last handle is gone.
    pub(crate) async fn run(mut self) {
        let (directory, statuses) = (Arc::clone(&self.directory), self.publish.subscribe());
        let files = status_file::keep(directory, statuses);
        let decisions = async move {
            self.decide().await;
            self.finish().await; // drops the sender, which ends the status files
        };
        tokio::join!(files, decisions);
    }

    async fn decide(&mut self) {
        loop {
            tokio::select! {
                biased; // stopping and operators win over files
                request = self.requests.recv() => match request {
                    Some(Request::Act { plugin, action }) => self.request(plugin, action),
                    Some(Request::Together(together)) => self.request_together(together),
                    Some(Request::Shutdown) | None => return,
                },
                Some(ended) = self.jobs.join_next_with_id() => self.ended(ended),
                () = self.watch.changed() => self.wake(),
                () = tokio::time::sleep_until(self.look_at), if !self.looking => self.look(),
            }
        }
    }

    /// Waits for what is under way, refuses what waits.
    async fn finish(mut self) {
        self.requests.close();
        while let Ok(request) = self.requests.try_recv() {
            match request {
                Request::Act { action, .. } => action.refuse(PluginError::Closed),
                Request::Together(together) => together.refuse(PluginError::Closed),
                Request::Shutdown => {}
            }
        }
        for together in std::mem::take(&mut self.together) {
            together.refuse(PluginError::Closed);
        }
        for action in std::mem::take(&mut self.waiting).into_values().flatten() {
            action.refuse(PluginError::Closed);
        }
        let deadline = Instant::now() + self.options.stop_wait;
        while let Ok(Some(ended)) =
            tokio::time::timeout_at(deadline, self.jobs.join_next_with_id()).await
        {
            // What follows from it is for the next start of the host; how it ended is still told.
            match ended {
                Ok((_, Ended::Applied(plugin, done))) => {
                    self.remember(&plugin, done.record);
                    let (now, trouble) = (done.now, done.trouble);
                    self.scan.applied(&plugin, Applied { now, trouble });
                    self.refresh(&plugin);
                }
                Ok((_, Ended::Acted(effects, tell))) => {
                    for (plugin, acted, record) in effects {
                        self.remember(&plugin, record);
                        self.scan.acted(&plugin, acted, self.now());
                        self.refresh(&plugin);
                    }
                    tell();
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "plugin work panicked"),
            }
        }
        self.publish();
        if !self.jobs.is_empty() {
            let left = self.jobs.len();
            tracing::warn!(left, "plugin work did not end in time and is aborted");
            self.jobs.shutdown().await;
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Something happened: look soon.
    fn wake(&mut self) {
        self.look_at = self.look_at.min(self.looked + LOOK_GAP);
    }

    fn look(&mut self) {
        self.looking = true;
        // Until the look is over only an event can make another one due.
        self.look_at = Instant::now() + self.options.rescan;
        let directory = Arc::clone(&self.directory);
        let (renamed, settle) = (self.watch.take_renamed(), self.options.settle);
        let job = self.jobs.spawn_blocking(move || {
            let at = Instant::now();
            Ended::Looked(Box::new(list(&directory, &renamed, settle)), at)
        });
        self.owners.insert(job.id(), Vec::new());
    }

    fn ended(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let ended = match ended {
            Ok((id, ended)) => {
                self.owners.remove(&id);
                ended
            }
            Err(error) => return self.panicked(&error),
        };
        match ended {
            Ended::Looked(listing, at) => self.looked(*listing, at),
            Ended::Examined(plugin, found, loaded) => {
                let commands = self.scan.examined(&plugin, &found, self.now());
                self.carry_out(commands, loaded);
                self.settle(&plugin);
            }
            Ended::Applied(plugin, done) => {
                self.remember(&plugin, done.record);
                let (now, trouble) = (done.now, done.trouble);
                let commands = self.scan.applied(&plugin, Applied { now, trouble });
                self.carry_out(commands, None);
                self.settle(&plugin);
            }
            Ended::Checked(plugin, found, loaded, reply) => {
                self.checked(plugin, &found, loaded, reply);
            }
            Ended::CheckedTogether(checked) => self.checked_together(*checked),
            Ended::Acted(effects, tell) => {
                for (plugin, acted, record) in effects {
                    self.remember(&plugin, record);
                    let commands = self.scan.acted(&plugin, acted, self.now());
                    self.carry_out(commands, None);
                    self.settle(&plugin);
                }
                tell();
            }
        }
    }

    /// A bug in the host or in here must not leave a plugin busy for ever.
    fn panicked(&mut self, error: &JoinError) {
        let owners = self.owners.remove(&error.id()).unwrap_or_default();
        tracing::error!(plugins = ?owners, %error, "plugin work panicked");
        if owners.is_empty() {
            self.looking = false;
        }
        for plugin in owners {
            let known = self.scan.plugin(&plugin);
            let now = known.and_then(|known| known.runs.clone());
            let reason = "the host failed on it, see its log; save the file again";
            let trouble = Some(Trouble::refused(reason));
            let commands = self.scan.applied(&plugin, Applied { now, trouble });
            self.carry_out(commands, None);
            self.settle(&plugin);
        }
    }

    fn looked(&mut self, listing: Listing, at: Instant) {
        self.looking = false;
        self.looked = Instant::now();
        self.look_at = self.look_at.max(self.looked + LOOK_GAP);
        let at = at.duration_since(self.started);
        self.watch.follow(listing.identity);
        let files = listing.files;
        let commands = self.scan.look(Look { at, files });
        self.carry_out(commands, None);
        let mut oddities = listing.oddities;
        if self.scan.beyond_limit() > 0 {
            let most = self.options.plugins_max;
            oddities.insert(format!(
                "more than {most} plugins (`plugins_max`); the rest is left out"
            ));
        }
        for oddity in oddities.difference(&self.told) {
            let directory = self.directory.display();
            tracing::warn!(%directory, oddity, "odd plugin directory");
        }
        self.told = oddities;
        if let Some(wake) = self.scan.wake() {
            self.look_at = self.look_at.min(self.started + wake);
        }
        // The health of endpoints changes without any file.
        let names: Vec<_> = self.scan.plugins().map(|(name, _)| name.clone()).collect();
        for name in names {
            self.follow_rollback(&name);
            self.refresh(&name);
        }
        self.publish();
    }

    pub(super) fn carry_out(&mut self, commands: Vec<Command>, mut loaded: Option<Loaded>) {
        for command in commands {
            match command {
                Command::Examine { plugin, pair, wasm } => self.examine(plugin, pair, wasm),
                Command::Load { plugin, to } => self.apply(plugin, None, to, loaded.take()),
                Command::Swap { plugin, from, to } | Command::Resettle { plugin, from, to } => {
                    self.apply(plugin, Some(from), to, loaded.take());
                }
                Command::Stop { plugin, from } => {
                    let (host, name) = (self.host.clone(), plugin.clone());
                    self.spawn(vec![plugin], async move {
                        apply::stop(&host, &from).await;
                        Ended::Applied(name, Box::default())
                    });
                }
                Command::Forget { plugin } => {
                    self.settle(&plugin);
                    self.swaps.remove(&plugin);
                }
            }
        }
    }

    fn examine(&mut self, plugin: String, pair: Pair, wasm: bool) {
        let (host, directory) = (self.host.clone(), Arc::clone(&self.directory));
        let (permits, most) = (Arc::clone(&self.permits), self.options.file_bytes_max);
        let name = plugin.clone();
        self.spawn(vec![plugin], async move {
            let permit = permits.acquire_owned().await.ok(); // never closed
            let (found, code) = examine(&host, &directory, &name, pair, wasm, most).await;
            let order = SwapOrder::DIRECTORY;
            let loaded = code.map(|code| Loaded {
                code,
                permit,
                order,
            });
            Ended::Examined(name, Box::new(found), loaded)
        });
    }

    fn apply(
        &mut self,
        plugin: String,
        from: Option<Deployment>,
        to: Deployment,
        loaded: Option<Loaded>,
    ) {
        let (host, name) = (self.host.clone(), plugin.clone());
        self.spawn(vec![plugin], async move {
            let (code, _permit) = loaded.map(|loaded| (loaded.code, loaded.permit)).unzip();
            let done = apply::apply(&host, from, to, code, SwapOrder::DIRECTORY).await;
            Ended::Applied(name, Box::new(done))
        });
    }

    pub(super) fn spawn(
        &mut self,
        owners: Vec<String>,
        job: impl Future<Output = Ended> + Send + 'static,
    ) {
        let job = self.jobs.spawn(job);
        self.owners.insert(job.id(), owners);
    }

    fn remember(&mut self, plugin: &str, record: Option<SwapRecord>) {
        if let Some(record) = record {
            self.swaps.insert(plugin.to_owned(), record);
        }
    }

    /// After every change of one plugin: its status, who waits for it, what is due.
    pub(super) fn settle(&mut self, plugin: &str) {
        self.follow_rollback(plugin);
        self.refresh(plugin);
        self.publish();
        self.revived(plugin);
        self.next_together();
        self.next_request(plugin);
        if let Some(wake) = self.scan.wake() {
            self.look_at = self.look_at.min(self.started + wake);
        }
    }

    /// Brings the status of one plugin up to date, and logs what people should know of it.
    fn refresh(&mut self, name: &str) {
        let before = self.statuses.get(name);
        let now = self
            .scan
            .plugin(name)
            .and_then(|plugin| status::of(name, plugin, &self.host, self.swaps.get(name), before));
        if now.as_ref() == before {
            return;
        }
        self.unpublished = true;
        match now {
            Some(now) => {
                log_change(&now);
                self.statuses.insert(name.to_owned(), now);
            }
            None => {
                tracing::info!(plugin = name, "plugin gone");
                self.statuses.remove(name);
            }
        }
    }

    fn publish(&mut self) {
        if std::mem::take(&mut self.unpublished) {
            self.publish.send_replace(Arc::new(self.statuses.clone()));
        }
    }
}

fn log_change(status: &PluginStatus) {
    let (plugin, version, digest) = (&status.plugin, &status.version, &status.digest);
    let (reason, endpoints) = (
        status.reason.as_deref().unwrap_or_default(),
        &status.endpoints,
    );
    match status.state {
        PluginState::Loaded => {
            tracing::info!(%plugin, %version, %digest, ?endpoints, "plugin loaded");
        }
        PluginState::Stopped => tracing::info!(%plugin, reason, "plugin stopped"),
        PluginState::Rejected => {
            tracing::warn!(%plugin, running = %version, reason, "plugin file rejected");
        }
        PluginState::NeedsApproval => {
            tracing::warn!(%plugin, running = %version, reason, "plugin file waits for approval");
        }
        PluginState::RolledBack => {
            tracing::warn!(%plugin, running = %version, reason, "plugin rolled back");
        }
        PluginState::Failed => tracing::error!(%plugin, %version, reason, "plugin failed"),
    }
}
