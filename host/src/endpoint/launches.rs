//! Launches: what an endpoint had launched and what goes on of it. Like its ledger it outlives a
//! version, an instance and a crash, and ends with the endpoint.
//!
//! Before it: the effects of a turn ([`super::surroundings`]). After it: a [`Launcher`], which runs what
//! was launched, and tells through a [`Launch`] what becomes of it.
//!
//! Invariants
//! 1. The last notice of a launch is its end; nothing is told after it.
//! 2. A notice waits for room in the inbox of its endpoint, and is lost only if that ends, or takes
//!    smaller messages than when it launched.
//! 3. A launch counts until its end is told: there are never more of them than the limit.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::handle::{Endpoint, lock};
use super::inbox::Posted;
use crate::component::workload::{Cleaning, Workload};
use crate::error::RpcError;
use crate::message::Message;

/// Kind of the notice about a launch. No peer and no guest can send it: it begins with `instar.`.
const LAUNCH_CHANGED: &str = "instar.LaunchChanged";
/// Launches that are remembered for a version that handles again what another had handled.
const REMEMBERED_MAX: usize = 4096;

/// Longest reason of an end that is told, in bytes. The rest is cut off.
const REASON_BYTES_MAX: usize = 4096;
/// The largest notice without its token, in bytes: a reason or the path of a folder, and numbers.
const NOTICE_BYTES_MAX: usize = 8 << 10;

/// Runs what endpoints launch.
pub(crate) trait Launcher: Send + Sync + 'static {
    /// Fails where a workload cannot be run here, whatever happens.
    fn check(&self, workload: &Workload) -> Result<(), RpcError>;

    /// How many launches one endpoint may have at once.
    fn launches_max(&self) -> usize;

    /// Begins. `launch` is told how it goes on, to its end.
    fn start(&self, workload: Workload, launch: Launch);

    /// Tells that it does not begin, and why.
    fn refuse(&self, launch: Launch, reason: String);

    /// Removes work folders that nobody uses.
    fn clean(&self, cleaning: Cleaning);

    /// Removes a work folder, unless something runs in it.
    fn remove_folder(&self, folder: String);
}

/// The launches of one endpoint.
#[derive(Default)]
pub(crate) struct Launches {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    going: BTreeMap<u64, Going>,
    /// The last ones, ended or not.
    begun: VecDeque<Begun>,
    closed: bool,
}

/// What was launched under an id, ended or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) id: u64,
    pub(super) fingerprint: u64,
}

struct Going {
    token: Bytes,
    kill: CancellationToken,
    /// Its end waits to be told.
    ended: bool,
}

/// One launch, as whoever runs it sees it.
pub(crate) struct Launch {
    owner: Weak<Endpoint>,
    name: String,
    id: u64,
    token: Bytes,
    kill: CancellationToken,
}

/// What happened to a launch. Postcard of it is what `instar_sdk::launching::LaunchChange` reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum LaunchChange {
    Running { folder: String },
    Exited { status: i32, reason: String },
    Killed,
    Failed { reason: String },
}

#[derive(Serialize)]
struct LaunchChanged<'a> {
    launch: u64,
    token: &'a Bytes,
    change: &'a LaunchChange,
}

impl LaunchChange {
    /// The same, short enough to be told.
    fn cut(mut self) -> Self {
        if let Self::Exited { reason, .. } | Self::Failed { reason } = &mut self
            && reason.len() > REASON_BYTES_MAX
        {
            reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
            reason.push_str(" ... (cut)");
        }
        self
    }

    fn is_end(&self) -> bool {
        !matches!(self, Self::Running { .. })
    }
}

impl Launches {
    /// Fails where the notices about a launch would be larger than its endpoint takes.
    pub(super) fn check_token(token: &Bytes, limit: usize) -> Result<(), RpcError> {
        let bytes = token.len().saturating_add(NOTICE_BYTES_MAX);
        if bytes <= limit {
            return Ok(());
        }
        Err(RpcError::TooLarge {
            what: format!("a notice about the launch (its token and {NOTICE_BYTES_MAX} bytes)"),
            bytes: bytes as u64,
            limit: limit as u64,
            setting: "message".to_owned(),
        })
    }

    /// Fails where `more` launches would be one too many.
    pub(super) fn admit(&self, more: usize, limit: usize) -> Result<(), RpcError> {
        let going = lock(&self.table).going.len() + more;
        if going < limit {
            return Ok(());
        }
        Err(RpcError::Denied {
            reason: format!(
                "{going} launches of this endpoint go on, the limit is {limit} (`launches_max`)"
            ),
        })
    }

    /// Notes a launch. Of an endpoint that has ended it is killed at once.
    pub(super) fn begin(
        &self,
        owner: &Arc<Endpoint>,
        id: u64,
        workload: &Workload,
        token: Bytes,
    ) -> Launch {
        let mut table = lock(&self.table);
        let kill = CancellationToken::new();
        if table.closed {
            kill.cancel();
        } else {
            let going = Going {
                token: token.clone(),
                kill: kill.clone(),
                ended: false,
            };
            table.going.insert(id, going);
            if table.begun.len() == REMEMBERED_MAX {
                table.begun.pop_front();
            }
            let fingerprint = workload.fingerprint(&token);
            table.begun.push_back(Begun { id, fingerprint });
        }
        Launch {
            owner: Arc::downgrade(owner),
            name: owner.name().to_owned(),
            id,
            token,
            kill,
        }
    }

    pub(super) fn kill(&self, id: u64) {
        if let Some(going) = lock(&self.table).going.get(&id) {
            going.kill.cancel();
        }
    }

    pub(super) fn goes_on(&self, id: u64) -> bool {
        let table = lock(&self.table);
        table.going.get(&id).is_some_and(|going| !going.ended)
    }

    /// Those that go on, oldest first.
    pub(super) fn all(&self) -> Vec<(u64, Bytes)> {
        let table = lock(&self.table);
        let going = table.going.iter().filter(|(_, going)| !going.ended);
        going
            .map(|(id, going)| (*id, going.token.clone()))
            .collect()
    }

    /// Those that were begun last and are none of `older`, oldest first.
    pub(super) fn begun(&self, older: impl Fn(u64) -> bool) -> VecDeque<Begun> {
        let table = lock(&self.table);
        let younger = table.begun.iter().filter(|begun| !older(begun.id));
        younger.copied().collect()
    }

    /// The endpoint has ended: so does everything that it launched.
    pub(super) fn close(&self) {
        let mut table = lock(&self.table);
        table.closed = true;
        for going in table.going.values() {
            going.kill.cancel();
        }
    }
}

impl Launch {
    /// The endpoint that launched it.
    pub(crate) fn owner(&self) -> &str {
        &self.name
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Cancelled when it is to end.
    pub(crate) fn kill(&self) -> &CancellationToken {
        &self.kill
    }

    /// Tells its endpoint what happened, when there is room for it.
    ///
    /// # Cancellation
    /// Dropping the future may leave it untold.
    pub(crate) async fn tell(&self, change: LaunchChange) {
        let change = &change.cut();
        let Some(owner) = self.owner.upgrade() else {
            return;
        };
        if change.is_end()
            && let Some(going) = lock(&owner.launches.table).going.get_mut(&self.id)
        {
            going.ended = true;
        }
        let notice = LaunchChanged {
            launch: self.id,
            token: &self.token,
            change,
        };
        match postcard::to_stdvec(&notice) {
            Ok(body) => {
                let message = Message::new(LAUNCH_CHANGED, body);
                let posted = owner.inbox.reserve().await;
                let posted = posted.and_then(|room| room.post(Posted::OneWay(message)));
                match posted {
                    Ok(()) => {}
                    Err(error @ RpcError::Stopped { .. }) => {
                        tracing::debug!(endpoint = self.name, launch = self.id, %error, ?change, "not told");
                    }
                    Err(error) => {
                        tracing::error!(endpoint = self.name, launch = self.id, %error, ?change, "not told");
                    }
                }
            }
            Err(error) => {
                tracing::error!(endpoint = self.name, launch = self.id, %error, "cannot be told");
            }
        }
        if change.is_end() {
            lock(&owner.launches.table).going.remove(&self.id);
        }
    }
}
