//! RpcEnv: one host. The only file that knows every part: it makes them, joins them, and ends them
//! in order. Source: RpcEnv of Spark.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;

use crate::address::{AddressError, EndpointAddress, Location, RpcAddress, check_endpoint_name};
use crate::bundled;
use crate::channels::FilesOfHosts;
use crate::component::channels::ChannelSource;
use crate::component::code::{Code, LoadError};
use crate::component::engine::{Engine, EngineError, EngineSettings};
use crate::component::entries::EntryFormats;
use crate::component::metadata::Metadata;
use crate::dispatcher::incoming::FromPeers;
use crate::dispatcher::{Dispatcher, RegisterError};
use crate::election::{ElectionSettings, Elections};
use crate::endpoint::SwapError;
use crate::endpoint::handle::Endpoint;
use crate::endpoint::outgoing::Outgoing;
use crate::endpoint::record::{SwapRecord, VersionId};
use crate::endpoint::rehearsal::{self, Rehearsal};
use crate::endpoint::settings::EndpointSettings;
use crate::endpoint::status::EndpointStatus;
use crate::endpoint::swap::{self, Wanted};
use crate::endpoint_ref::EndpointRef;
use crate::error::RpcError;
use crate::file_server::{self, FileServer};
use crate::launch::folders::RootError;
use crate::launch::launcher::HostLauncher;
use crate::launch::settings::LaunchLimits;
use crate::message::Message;
pub use crate::store::StoreSettings;
use crate::store::{Store, StoreError};
use crate::transport::{
    ConnectionInfo, FileRange, FileStream, StreamError, Transport, TransportError,
    TransportSettings,
};
use crate::zookeeper::ZooKeeperError;

/// Name of the endpoint that says which endpoints a host has. Reserved.
pub const ENDPOINT_VERIFIER: &str = "endpoint-verifier";

/// How a host is made.
#[derive(Clone, Default)]
pub struct RpcSettings {
    /// Sockets. With `listen` a server, without a client: it can have endpoints as well, but they
    /// are reachable only over connections that it opened itself.
    pub transport: TransportSettings,
    /// The engine to run components with; `None` makes one from `engine_settings`. One process
    /// wants one engine, also with several hosts in it.
    pub engine: Option<Engine>,
    /// Used where `engine` is `None`.
    pub engine_settings: EngineSettings,
    /// Times.
    pub timeouts: Timeouts,
    /// The store in which endpoints keep what outlives the process. `None`: they can keep nothing.
    pub store: Option<StoreSettings>,
    /// Who decides which of several hosts leads, for endpoints that stand for election.
    pub election: ElectionSettings,
    /// Root of the folders in which works what endpoints launch: new, empty, or of a host before. It
    /// belongs to this host alone. `None`: nothing can be launched.
    pub work: Option<PathBuf>,
    /// Bounds of what endpoints launch.
    pub launch: LaunchLimits,
}

/// Times of asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// How long an ask waits that says nothing itself. Default 120 s.
    pub ask_timeout: Duration,
    /// How long looking a name up waits. Default 120 s.
    pub lookup_timeout: Duration,
    /// Tries of [`EndpointRef::ask_with_retry`], the first included. Default 3, at least 1.
    pub num_retries: u32,
    /// Pause between those tries. Default 3 s.
    pub retry_wait: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            ask_timeout: Duration::from_secs(120),
            lookup_timeout: Duration::from_secs(120),
            num_retries: 3,
            retry_wait: Duration::from_secs(3),
        }
    }
}

/// Why a host does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Sockets.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// ZooKeeper, as far as it can never work. That it is not there yet is no error.
    #[error(transparent)]
    ZooKeeper(#[from] ZooKeeperError),
    /// The work folder; name another one.
    #[error("cannot use the work folder {}", path.display())]
    Work {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// One work folder belongs to one host: stop the other one, or give another folder.
    #[error(
        "the work folder {} is in use by {by}; give another (`--work-dir`, `--work`)",
        path.display()
    )]
    WorkInUse {
        /// Which.
        path: PathBuf,
        /// Who has it, as it says itself.
        by: String,
    },
    /// A host removes what is old in its work folder, so it takes none that has files of somebody else.
    #[error(
        "the work folder {} holds other files; give a new or an empty folder (`--work-dir`, `--work`)",
        path.display()
    )]
    WorkHoldsOtherFiles {
        /// Which.
        path: PathBuf,
    },
    /// The endpoint-verifier, which every server has.
    #[error("cannot start the endpoint `{ENDPOINT_VERIFIER}`")]
    Verifier(#[source] SetupError),
}

/// Why an endpoint could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Choose another name, or stop the endpoint that has it.
    #[error("the name `{name}` is taken")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The name cannot be one.
    #[error(transparent)]
    BadName(#[from] AddressError),
    /// The host was stopped.
    #[error("host {host} is stopped")]
    Stopped {
        /// Which.
        host: String,
    },
    /// The code cannot stand behind an endpoint.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// One host. Cloning is cheap; all clones are the same host.
///
/// Call [`RpcEnv::shutdown`] at the end. Without it endpoints are dropped with the runtime and
/// `on-stop` does not run.
#[derive(Clone)]
pub struct RpcEnv {
    inner: Arc<Inner>,
}

struct Inner {
    timeouts: Timeouts,
    engine: Engine,
    dispatcher: Arc<Dispatcher>,
    files: Arc<FileServer>,
    store: Option<Arc<Store>>,
    elections: Arc<dyn Elections>,
    /// The runners of all endpoints.
    tasks: TaskTracker,
    launcher: Arc<HostLauncher>,
    /// The first shutdown; others wait for it.
    stopping: tokio::sync::Mutex<bool>,
}

/// A host that this does not keep.
#[derive(Clone)]
pub(crate) struct WeakRpcEnv {
    inner: Weak<Inner>,
}

impl WeakRpcEnv {
    pub(crate) fn upgrade(&self) -> Option<RpcEnv> {
        let inner = self.inner.upgrade()?;
        Some(RpcEnv { inner })
    }
}

thread_local! {
    static CURRENT: RefCell<Vec<RpcEnv>> = const { RefCell::new(Vec::new()) };
}

impl RpcEnv {
    /// Makes a host within the current tokio runtime: binds its port if it is a server, and sets up
    /// its endpoint-verifier.
    ///
    /// # Errors
    /// [`EnvError`]; what was begun is ended.
    ///
    /// # Cancellation
    /// Dropping the future closes what was opened.
    pub async fn create(settings: RpcSettings) -> Result<Self, EnvError> {
        let engine = match settings.engine {
            Some(engine) => engine,
            None => Engine::new(&settings.engine_settings)?,
        };
        let store = match settings.store {
            Some(settings) => Some(Store::open(settings).await?),
            None => None,
        };
        let elections = settings.election.elections()?;
        let tasks = TaskTracker::new();
        let work = settings.work.as_ref();
        let launcher = HostLauncher::new(work, settings.launch, tasks.clone());
        let launcher = Arc::new(launcher.map_err(|error| {
            let path = settings.work.clone().unwrap_or_default();
            match error {
                RootError::InUse { by } => EnvError::WorkInUse { path, by },
                RootError::OtherFiles => EnvError::WorkHoldsOtherFiles { path },
                RootError::Unusable(source) => EnvError::Work { path, source },
            }
        })?);
        let frame_bytes_max = settings.transport.frame_bytes_max;
        let serves = settings.transport.listen.is_some();
        let dispatcher = Arc::new(Dispatcher::new(
            settings.timeouts.ask_timeout,
            frame_bytes_max,
        ));
        let files = Arc::new(FileServer::default());
        let channels = FilesOfHosts::new(&dispatcher, &files);
        dispatcher.serves_with(store.clone(), Arc::new(channels));
        dispatcher.elects_with(Arc::clone(&elections));
        let incoming = Arc::new(FromPeers::new(&dispatcher, &files));
        let transport = Transport::start(settings.transport, incoming).await?;
        dispatcher.connect(transport);
        dispatcher.launches_with(Arc::clone(&launcher) as _);
        let inner = Inner {
            timeouts: settings.timeouts,
            engine,
            dispatcher,
            files,
            store,
            elections,
            tasks,
            launcher,
            stopping: tokio::sync::Mutex::new(false),
        };
        let env = Self {
            inner: Arc::new(inner),
        };
        env.inner.launcher.of(&env);
        if serves {
            let grants = ["registry".to_owned()].into();
            let settings = EndpointSettings {
                grants,
                ..EndpointSettings::default()
            };
            let code = bundled::endpoint_verifier();
            if let Err(error) = env.setup_endpoint(ENDPOINT_VERIFIER, &code, settings).await {
                env.shutdown().await;
                return Err(EnvError::Verifier(error));
            }
        }
        Ok(env)
    }

    /// Where this host listens; `None` for a client.
    pub fn address(&self) -> Option<RpcAddress> {
        match self.location() {
            Location::Listening(address) => Some(address),
            Location::Client(_) => None,
        }
    }

    /// Where this host is.
    pub fn location(&self) -> Location {
        self.inner.dispatcher.location()
    }

    pub(crate) fn settings(&self) -> &Timeouts {
        &self.inner.timeouts
    }

    pub(crate) fn dispatcher(&self) -> &Arc<Dispatcher> {
        &self.inner.dispatcher
    }

    /// Where what runs on this host opens files of hosts.
    pub(crate) fn channel_source(&self) -> Arc<dyn ChannelSource> {
        Arc::new(FilesOfHosts::new(&self.inner.dispatcher, &self.inner.files))
    }

    /// The engine of this host, to share it with another one.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Sets an endpoint up under `name` and returns at once: `on-start` runs soon after, before any
    /// message.
    ///
    /// # Errors
    /// [`SetupError`]; then nothing has the name that had not before.
    ///
    /// # Cancellation
    /// Dropping the future sets nothing up.
    pub async fn setup_endpoint(
        &self,
        name: &str,
        code: &Code,
        settings: EndpointSettings,
    ) -> Result<EndpointRef, SetupError> {
        let endpoint = self.set_up(name, code, settings).await?;
        Ok(EndpointRef::new(endpoint.address().clone(), self.clone()))
    }

    /// [`RpcEnv::setup_endpoint`], for who wants to see the end of it.
    pub(crate) async fn set_up(
        &self,
        name: &str,
        code: &Code,
        settings: EndpointSettings,
    ) -> Result<Arc<Endpoint>, SetupError> {
        check_endpoint_name(name)?;
        let address = EndpointAddress::new(name, self.location());
        let dispatcher = Arc::clone(&self.inner.dispatcher);
        let made = Endpoint::prepare(
            address,
            code,
            settings,
            &self.inner.engine,
            Arc::clone(&dispatcher) as _,
        );
        let (endpoint, starter) = made.await?;
        match dispatcher.register(&endpoint) {
            Ok(()) => {}
            Err(RegisterError::Taken) => {
                return Err(SetupError::NameTaken {
                    name: name.to_owned(),
                });
            }
            Err(RegisterError::Stopped) => {
                return Err(SetupError::Stopped {
                    host: self.location().to_string(),
                });
            }
        }
        starter.run(&self.inner.tasks);
        Ok(endpoint)
    }

    /// Takes the name of this very endpoint away.
    pub(crate) fn unregister(&self, endpoint: &Endpoint) {
        Outgoing::unregister(&*self.inner.dispatcher, endpoint);
    }

    pub(crate) fn downgrade(&self) -> WeakRpcEnv {
        WeakRpcEnv {
            inner: Arc::downgrade(&self.inner),
        }
    }

    /// The reference of a local endpoint, if there is one of this name.
    pub fn endpoint_ref(&self, name: &str) -> Option<EndpointRef> {
        let endpoint = self.inner.dispatcher.find(name)?;
        Some(EndpointRef::new(endpoint.address().clone(), self.clone()))
    }

    /// The reference of any endpoint, without a look whether it exists.
    pub fn reference(&self, address: EndpointAddress) -> EndpointRef {
        EndpointRef::new(address, self.clone())
    }

    /// The reference of an endpoint by its URI, after asking its host whether it exists.
    ///
    /// # Errors
    /// [`RpcError::Failed`] with code `invalid-address` for a bad URI,
    /// [`RpcError::EndpointNotFound`], [`RpcError::Network`], [`RpcError::Timeout`] naming
    /// `lookup_timeout`.
    pub async fn setup_endpoint_ref_by_uri(&self, uri: &str) -> Result<EndpointRef, RpcError> {
        let address: EndpointAddress =
            uri.parse()
                .map_err(|error: AddressError| RpcError::Failed {
                    code: "invalid-address".to_owned(),
                    text: error.to_string(),
                })?;
        self.setup_endpoint_ref(address).await
    }

    /// The reference of an endpoint, after asking its host whether it exists.
    ///
    /// # Errors
    /// As [`RpcEnv::setup_endpoint_ref_by_uri`].
    pub async fn setup_endpoint_ref(
        &self,
        address: EndpointAddress,
    ) -> Result<EndpointRef, RpcError> {
        let location = address.location.clone();
        let verifier = self.reference(EndpointAddress::new(ENDPOINT_VERIFIER, location));
        let question = CheckExistence {
            name: address.name.clone(),
        };
        let answer: Exists = self.verify(&verifier, CHECK_EXISTENCE, &question).await?;
        match answer.exists {
            true => Ok(self.reference(address)),
            false => Err(RpcError::EndpointNotFound {
                host: address.location.to_string(),
                endpoint: address.name,
            }),
        }
    }

    /// The description of an endpoint of any host, asked from that host's verifier.
    ///
    /// # Errors
    /// As [`RpcEnv::setup_endpoint_ref_by_uri`].
    pub async fn describe(&self, address: &EndpointAddress) -> Result<Metadata, RpcError> {
        let location = address.location.clone();
        let verifier = self.reference(EndpointAddress::new(ENDPOINT_VERIFIER, location));
        let question = CheckExistence {
            name: address.name.clone(),
        };
        let answer: Description = self.verify(&verifier, DESCRIBE, &question).await?;
        answer.metadata.ok_or_else(|| RpcError::EndpointNotFound {
            endpoint: address.name.clone(),
            host: address.location.to_string(),
        })
    }

    async fn verify<A: for<'de> Deserialize<'de>>(
        &self,
        verifier: &EndpointRef,
        kind: &'static str,
        question: &CheckExistence,
    ) -> Result<A, RpcError> {
        let undecodable = |reason: postcard::Error| RpcError::Undecodable {
            what: format!("`{kind}` of {verifier}"),
            reason: reason.to_string(),
        };
        let body = postcard::to_stdvec(question).map_err(undecodable)?;
        let timeout = self.inner.timeouts.lookup_timeout;
        let message = Message::new(kind, body);
        let answer = verifier
            .ask_within(message, timeout, "lookup_timeout")
            .await?;
        postcard::from_bytes(&answer.body).map_err(undecodable)
    }

    /// Replaces the code of an endpoint while it works. `settings`: the new ones, or `None` to keep
    /// those it has. `by`: who asks, for the record.
    ///
    /// # Errors
    /// [`SwapError`]; the running version goes on in every case.
    ///
    /// # Cancellation
    /// Dropping the future before the endpoint stands still withdraws the swap.
    pub async fn swap(
        &self,
        name: &str,
        code: &Code,
        settings: Option<EndpointSettings>,
        by: &str,
    ) -> Result<SwapRecord, SwapError> {
        let wanted = Wanted {
            settings,
            ..self.wanted(name, code)?
        };
        swap::swap(wanted, by).await
    }

    fn wanted(&self, name: &str, code: &Code) -> Result<Wanted, SwapError> {
        Ok(Wanted {
            endpoint: self.endpoint(name)?,
            code: code.clone(),
            settings: None,
            approved: false,
            refresh: false,
            force: false,
        })
    }

    /// [`RpcEnv::swap`], but what does not end within the drain limit is ended instead of the swap
    /// being given up: `async` handlers, whose callers are told, or the running turn, which is a crash
    /// then: its caller is told, and the new version begins with the last checkpoint, or afresh.
    ///
    /// # Errors
    /// As [`RpcEnv::swap`].
    ///
    /// # Cancellation
    /// As [`RpcEnv::swap`].
    pub async fn swap_by_force(
        &self,
        name: &str,
        code: &Code,
        settings: Option<EndpointSettings>,
        by: &str,
    ) -> Result<SwapRecord, SwapError> {
        let wanted = Wanted {
            settings,
            force: true,
            ..self.wanted(name, code)?
        };
        swap::swap(wanted, by).await
    }

    /// Replaces the code of several endpoints, all or none: they stand still together, and none goes on
    /// before all can. The records are in the order of `swaps`.
    ///
    /// # Errors
    /// [`SwapError`]; every old version goes on. [`SwapError::NotTogether`] names the first that failed.
    ///
    /// # Cancellation
    /// Dropping the future before all are ready leaves every old version running.
    pub async fn swap_together(
        &self,
        swaps: Vec<(String, Code, Option<EndpointSettings>)>,
        by: &str,
    ) -> Result<Vec<SwapRecord>, SwapError> {
        let names: BTreeSet<&str> = swaps.iter().map(|(name, ..)| name.as_str()).collect();
        if names.len() < swaps.len() {
            return Err(SwapError::NotTogether {
                endpoints: names.into_iter().collect::<Vec<_>>().join(", "),
                reason: "one of them is named twice".to_owned(),
            });
        }
        let wanted = swaps.into_iter().map(|(name, code, settings)| {
            Ok(Wanted {
                settings,
                ..self.wanted(&name, &code)?
            })
        });
        swap::swap_together(wanted.collect::<Result<_, _>>()?, by).await
    }

    /// Swaps to the version that is held, and grants it what it wants. Returns the record and the
    /// settings that the endpoint has now.
    ///
    /// # Errors
    /// [`SwapError::NothingHeld`]; else as [`RpcEnv::swap`].
    ///
    /// # Cancellation
    /// As [`RpcEnv::swap`].
    pub async fn approve(
        &self,
        name: &str,
        by: &str,
    ) -> Result<(SwapRecord, EndpointSettings), SwapError> {
        let held = self.endpoint(name)?.held();
        let (code, settings) = held.ok_or_else(|| SwapError::NothingHeld {
            endpoint: name.to_owned(),
        })?;
        let wanted = Wanted {
            settings: Some(settings.clone()),
            approved: true,
            ..self.wanted(name, &code)?
        };
        let record = swap::swap(wanted, by).await?;
        Ok((record, settings))
    }

    /// What [`RpcEnv::approve`] would swap to: the code, and the settings that grant what it wants.
    /// `None` where nothing is held.
    pub fn held(&self, name: &str) -> Option<(Code, EndpointSettings)> {
        self.inner.dispatcher.find(name)?.held()
    }

    /// Puts the running code in a new instance with the same state. Memory that Wasm took and never
    /// gives back is free then.
    ///
    /// # Errors
    /// As [`RpcEnv::swap`], without [`SwapError::AlreadyRuns`].
    ///
    /// # Cancellation
    /// As [`RpcEnv::swap`].
    pub async fn refresh(&self, name: &str, by: &str) -> Result<SwapRecord, SwapError> {
        let code = self.endpoint(name)?.running().code.clone();
        let wanted = Wanted {
            refresh: true,
            ..self.wanted(name, &code)?
        };
        swap::swap(wanted, by).await
    }

    /// Tries a swap on copies: what would be approved, whether the state goes over, and whether the new
    /// version does with the last messages what the running one does. Nothing of the endpoint changes;
    /// it stands still for as long as writing its state takes.
    ///
    /// # Errors
    /// [`SwapError::NotFound`], [`SwapError::Unfit`].
    ///
    /// # Cancellation
    /// Safe.
    pub async fn rehearse(
        &self,
        name: &str,
        code: &Code,
        settings: Option<EndpointSettings>,
    ) -> Result<Rehearsal, SwapError> {
        let wanted = Wanted {
            settings,
            ..self.wanted(name, code)?
        };
        rehearsal::rehearse(&wanted).await
    }

    /// Goes back to an earlier version that is kept: the one before the running one, or the newest
    /// whose version is `to` (or whose digest begins with it).
    ///
    /// # Errors
    /// [`SwapError::NoSuchVersion`] lists those that are kept; else as [`RpcEnv::swap`].
    pub async fn rollback(&self, name: &str, to: Option<&str>) -> Result<SwapRecord, SwapError> {
        let code = self.earlier(name, to)?;
        self.swap(name, &code, None, "rollback").await
    }

    /// The code that [`RpcEnv::rollback`] would go back to.
    ///
    /// # Errors
    /// [`SwapError::NotFound`], [`SwapError::NoSuchVersion`].
    pub fn earlier(&self, name: &str, to: Option<&str>) -> Result<Code, SwapError> {
        let endpoint = self.endpoint(name)?;
        endpoint.earlier(to).ok_or_else(|| {
            let kept = endpoint.versions();
            let kept: Vec<_> = kept.iter().map(|id| id.version.as_str()).collect();
            SwapError::NoSuchVersion {
                endpoint: name.to_owned(),
                wanted: to.unwrap_or("than the running one").to_owned(),
                kept: kept.join(", "),
            }
        })
    }

    fn endpoint(&self, name: &str) -> Result<Arc<Endpoint>, SwapError> {
        let found = self.inner.dispatcher.find(name);
        found.ok_or_else(|| SwapError::NotFound {
            endpoint: name.to_owned(),
        })
    }

    /// Gives an endpoint a fresh instance of its code. State, open asks and timers are gone, open
    /// calls are failed, queued messages stay. Revives an endpoint that failed.
    ///
    /// # Errors
    /// [`RpcError::EndpointNotFound`], [`RpcError::Stopped`].
    pub async fn restart(&self, name: &str) -> Result<(), RpcError> {
        self.inner.dispatcher.get(name)?.restart().await
    }

    /// Stops an endpoint: its name is free at once, what is queued is handled, `on-stop` runs, and
    /// then this returns. False where nothing has the name.
    ///
    /// # Cancellation
    /// Dropping the future does not stop the stopping.
    pub async fn stop(&self, name: &str) -> bool {
        match self.inner.dispatcher.unregister(name, |_| true) {
            Some(endpoint) => {
                endpoint.stop().await;
                true
            }
            None => false,
        }
    }

    /// Loads code aside and lets it describe itself. Nothing is granted and nothing stays.
    ///
    /// # Errors
    /// [`LoadError`]; not [`LoadError::MissingRight`], since rights that it wants are shown, not used.
    pub async fn inspect(&self, code: &Code) -> Result<Metadata, LoadError> {
        let (metadata, _) = self.inspect_with_entries(code).await?;
        Ok(metadata)
    }

    /// As [`RpcEnv::inspect`], with the formats of its entries, if it says something about them.
    pub(crate) async fn inspect_with_entries(
        &self,
        code: &Code,
    ) -> Result<(Metadata, Option<EntryFormats>), LoadError> {
        let all_rights = crate::component::known_rights();
        let settings = EndpointSettings {
            grants: all_rights.map(str::to_owned).collect(),
            ..EndpointSettings::default()
        };
        let address = EndpointAddress::new("inspected", self.location());
        let dispatcher = Arc::clone(&self.inner.dispatcher) as _;
        let (endpoint, _never_started) =
            Endpoint::prepare(address, code, settings, &self.inner.engine, dispatcher).await?;
        let running = endpoint.running();
        Ok((Metadata::clone(&running.metadata), running.entries.clone()))
    }

    /// The description of the version that runs behind a local name.
    pub fn metadata(&self, name: &str) -> Option<Arc<Metadata>> {
        let endpoint = self.inner.dispatcher.find(name)?;
        Some(Arc::clone(&endpoint.running().metadata))
    }

    /// The code that runs behind a local name.
    pub fn code(&self, name: &str) -> Option<Code> {
        let endpoint = self.inner.dispatcher.find(name)?;
        Some(endpoint.running().code.clone())
    }

    /// The settings of a local endpoint.
    pub fn endpoint_settings(&self, name: &str) -> Option<Arc<EndpointSettings>> {
        let endpoint = self.inner.dispatcher.find(name)?;
        Some(Arc::clone(&endpoint.running().settings))
    }

    /// The versions of an endpoint that are kept, newest first; the first one runs.
    pub fn versions(&self, name: &str) -> Vec<VersionId> {
        let endpoint = self.inner.dispatcher.find(name);
        endpoint.map_or_else(Vec::new, |endpoint| endpoint.versions())
    }

    /// All endpoints, in order of name.
    pub fn status(&self) -> Vec<EndpointStatus> {
        let all = self.inner.dispatcher.all();
        all.iter().map(|endpoint| endpoint.status()).collect()
    }

    /// One endpoint; `None` where nothing has the name.
    pub fn status_of(&self, name: &str) -> Option<EndpointStatus> {
        Some(self.inner.dispatcher.find(name)?.status())
    }

    /// The swaps that were tried on an endpoint, oldest first, at most the last 256.
    pub fn history(&self, name: &str) -> Option<Vec<SwapRecord>> {
        let endpoint = self.inner.dispatcher.find(name)?;
        Some(endpoint.records())
    }

    /// The connections of this host.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        let transport = self.inner.dispatcher.transport();
        transport.map_or_else(|_| Vec::new(), |transport| transport.connections())
    }

    /// Messages of peers and endpoints that reached nobody.
    pub fn dead_letters(&self) -> u64 {
        self.inner.dispatcher.dead_letters()
    }

    /// The files that this host offers to peers.
    pub fn file_server(&self) -> &FileServer {
        &self.inner.files
    }

    /// The URI under which peers read what [`RpcEnv::file_server`] offers as `path`; `None` for a
    /// client, whose files nobody can reach.
    pub fn file_uri(&self, path: &str) -> Option<String> {
        let address = self.address()?;
        Some(file_server::uri(&address, path))
    }

    /// Opens a file that a host offers, over a connection of its own. A failure of the host comes
    /// from here or from a read, never as an early end.
    ///
    /// # Errors
    /// [`OpenChannelError`].
    ///
    /// # Cancellation
    /// Dropping the future closes the connection.
    pub async fn open_channel(&self, uri: &str) -> Result<FileStream, OpenChannelError> {
        self.open_channel_range(uri, FileRange::default()).await
    }

    /// Like [`RpcEnv::open_channel`], but only a range of the file, and nothing else travels.
    ///
    /// # Errors
    /// As there; a host that is too old for ranges is one.
    ///
    /// # Cancellation
    /// As there.
    pub async fn open_channel_range(
        &self,
        uri: &str,
        range: FileRange,
    ) -> Result<FileStream, OpenChannelError> {
        let (address, path) = file_server::parse_uri(uri)?;
        let transport = self.inner.dispatcher.transport()?;
        Ok(transport.open_stream(&address, &path, range).await?)
    }

    /// The URI of an endpoint. `system_name` has no part in it; it is there since the API that this
    /// follows has it.
    pub fn uri_of(&self, _system_name: &str, address: &RpcAddress, name: &str) -> String {
        EndpointAddress::new(name, address.clone()).to_string()
    }

    /// Runs `action` with this host as the one whose references are read: within it, an
    /// [`EndpointRef`] can be deserialised. Can be nested.
    pub fn deserialize<T>(&self, action: impl FnOnce() -> T) -> T {
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                CURRENT.with_borrow_mut(|current| current.pop());
            }
        }
        CURRENT.with_borrow_mut(|current| current.push(self.clone()));
        let _leave = Leave;
        action()
    }

    pub(crate) fn current() -> Option<Self> {
        CURRENT.with_borrow(|current| current.last().cloned())
    }

    /// Ends the host, in order: no new names, every endpoint handles what is queued and its
    /// `on-stop`, what it led is given up, what waits in outboxes leaves, connections close. Once only; a second call waits
    /// for the first. Endpoints get no `on-disconnected`: they have ended before.
    ///
    /// # Cancellation
    /// Call it again to go on.
    pub async fn shutdown(&self) {
        let mut stopped = self.inner.stopping.lock().await;
        if *stopped {
            return;
        }
        // First: what an endpoint launched is not said to have ended by itself.
        self.inner.launcher.stop();
        let endpoints = self.inner.dispatcher.stop();
        let mut stopping = tokio::task::JoinSet::new();
        for endpoint in endpoints {
            stopping.spawn(async move { endpoint.stop().await });
        }
        while stopping.join_next().await.is_some() {}
        // What was led is given up while the last messages leave: another host need not wait for them.
        let flushed = async {
            if let Ok(transport) = self.inner.dispatcher.transport() {
                transport.shutdown().await;
            }
        };
        tokio::join!(self.inner.elections.close(), flushed);
        self.inner.dispatcher.disconnect();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.launcher.give_back();
        if let Some(store) = &self.inner.store {
            store.close().await;
        }
        *stopped = true;
    }

    /// Waits until [`RpcEnv::shutdown`] has ended the host, whoever called it.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn await_termination(&self) {
        // Closed by the shutdown, after which nothing is tracked any more.
        self.inner.tasks.wait().await;
    }
}

/// Why a file of a host could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenChannelError {
    /// The URI.
    #[error(transparent)]
    Uri(#[from] AddressError),
    /// This host is stopped.
    #[error(transparent)]
    Stopped(#[from] RpcError),
    /// The other host, or the way to it.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

// What the endpoint-verifier understands. Its plugin has the same types, in `plugins/endpoint-verifier`.

const CHECK_EXISTENCE: &str = "instar.CheckExistence";
const DESCRIBE: &str = "instar.Describe";

/// What an endpoint must handle to be the endpoint-verifier of a host.
pub(crate) const VERIFIER_KINDS: [&str; 2] = [CHECK_EXISTENCE, DESCRIBE];

#[derive(Serialize)]
struct CheckExistence {
    name: String,
}

#[derive(Deserialize)]
struct Exists {
    exists: bool,
}

#[derive(Deserialize)]
struct Description {
    metadata: Option<Metadata>,
}
