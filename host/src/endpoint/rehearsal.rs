//! Rehearsal: what a swap would do, found out on copies. Nothing of the running endpoint changes.
//!
//! A copy of the state goes to two instances aside, one of the running code and one of the new. Both
//! handle the last messages that the endpoint handled; what each would have sent, asked and answered is
//! written down instead of carried out, and compared.
//!
//! Not here: copying the state, which the endpoint itself does at a message boundary (module `swap`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::SwapError;
use super::handle::{Endpoint, lock};
use super::record::VersionId;
use super::settings::EndpointSettings;
use super::surroundings::EndpointSurroundings;
use super::swap::approval::{self, Looked};
use super::swap::{StateCopy, Wanted, copy_state, state_version};
use crate::address::EndpointAddress;
use crate::component::effect::{Effect, Reservation, Room};
use crate::component::event::Event;
use crate::component::instance::{self, Instance, StateError};
use crate::component::metadata::Metadata;
use crate::component::surroundings::{LogLevel, LogLine, Observation, Surroundings};
use crate::component::workload::Workload;
use crate::error::{RpcError, with_causes};
use crate::message::Message;
use crate::store::EndpointStore;
use crate::transport::{BoxFuture, FileBytes, FileRange};

/// Differences that are told; there may be more.
const DIFFERENCES_MAX: usize = 100;

/// What a swap would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rehearsal {
    /// The endpoint.
    pub endpoint: String,
    /// The running version.
    pub from: VersionId,
    /// The version that was tried.
    pub to: VersionId,
    /// What it wants beyond what was granted, one phrase each: a swap would wait for approval.
    pub wants: Vec<String>,
    /// The state version in which the state would be carried.
    pub state_version: u32,
    /// Size of the state after the replay as the running version writes it, in bytes.
    pub state_bytes_old: usize,
    /// Size of the state after the replay as the new version writes it, in bytes.
    pub state_bytes_new: usize,
    /// Messages that both handled once more.
    pub messages: usize,
    /// How long the running version took for them.
    pub took_old: Duration,
    /// How long the new version took for them.
    pub took_new: Duration,
    /// How long `restore` of the new version took.
    pub restore: Duration,
    /// Messages at which the two did not do the same, at most 100.
    pub differences: Vec<Difference>,
    /// Why the swap would fail; then nothing was replayed.
    pub failure: Option<String>,
}

/// A message at which two versions did not do the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Its number among those that were replayed, from 1.
    pub message: usize,
    /// Its kind.
    pub kind: String,
    /// What the running version did, a line each.
    pub old: Vec<String>,
    /// What the new version did, a line each.
    pub new: Vec<String>,
}

/// What one version did with the messages, and how it came out.
struct Played {
    did: Vec<Vec<String>>,
    took: Duration,
    state_bytes: usize,
}

/// Tries a swap on copies.
///
/// # Errors
/// [`SwapError::Unfit`] where the code cannot run here at all; what else would make
/// the swap fail stands in [`Rehearsal::failure`].
///
/// # Cancellation
/// Dropping the future ends the try; the endpoint goes on.
pub(crate) async fn rehearse(wanted: &Wanted) -> Result<Rehearsal, SwapError> {
    let (endpoint, code) = (&wanted.endpoint, &wanted.code);
    let old = endpoint.running();
    let settings = match &wanted.settings {
        Some(settings) => settings.clone(),
        None => (*old.settings).clone(),
    };
    let stages = Mutex::new(Vec::new());
    let surroundings = |settings: &EndpointSettings| -> Arc<dyn Surroundings> {
        let stage = Stage::new(endpoint, settings);
        lock(&stages).push(Arc::clone(&stage));
        stage
    };
    let rejected = |reason: String| SwapError::Unfit {
        endpoint: endpoint.name().to_owned(),
        reason,
    };
    let wants = match approval::look(endpoint, code, &settings, false, &surroundings).await {
        Ok(Looked::WantsMore { wants, .. }) => wants.iter().map(ToString::to_string).collect(),
        Ok(Looked::Fits(_) | Looked::Granted(..)) => Vec::new(),
        Err(error) => return Err(rejected(with_causes(&error))),
    };
    let looked = approval::look(endpoint, code, &settings, true, &surroundings).await;
    let prepared = match looked {
        Ok(Looked::Fits(prepared) | Looked::Granted(prepared, _)) => prepared,
        Ok(Looked::WantsMore { .. }) => return Err(rejected("it wants ever more".to_owned())),
        Err(error) => return Err(rejected(with_causes(&error))),
    };
    let new_stage = lock(&stages).pop();
    let metadata = Arc::clone(prepared.instance.metadata());
    let mut rehearsal = Rehearsal {
        endpoint: endpoint.name().to_owned(),
        from: old.id.clone(),
        to: VersionId {
            version: metadata.version.clone(),
            digest: code.digest().to_owned(),
        },
        wants,
        state_version: 0,
        state_bytes_old: 0,
        state_bytes_new: 0,
        messages: 0,
        took_old: Duration::ZERO,
        took_new: Duration::ZERO,
        restore: Duration::ZERO,
        differences: Vec::new(),
        failure: None,
    };
    let carried = match state_version(&old.metadata.state, &metadata.state) {
        Ok(version) => version,
        Err(reason) => return Ok(rehearsal.failed(reason)),
    };
    rehearsal.state_version = carried;
    let own = old.metadata.state.version;
    let copied = copy_state(endpoint, vec![carried, own]).await;
    let StateCopy { states, recent } = match copied {
        Ok(copy) => copy,
        Err(reason) => return Ok(rehearsal.failed(reason)),
    };
    let [new_state, old_state] = states.as_slice() else {
        return Ok(rehearsal.failed("the endpoint has no state yet".to_owned()));
    };
    let mut new = prepared.instance;
    let began = Instant::now();
    if let Err(error) = new.restore(carried, new_state).await {
        return Ok(rehearsal.failed(said(error, "refused the state", "crashed in restore")));
    }
    rehearsal.restore = began.elapsed();
    if let Err(reason) = new.probe().await {
        return Ok(rehearsal.failed(reason));
    }
    let old_stage = Stage::new(endpoint, &old.settings);
    let surroundings = Arc::clone(&old_stage) as Arc<dyn Surroundings>;
    let prepared = instance::prepare(&endpoint.engine, &old.code, &old.settings, surroundings);
    let mut first = match prepared.await {
        Ok(prepared) => prepared.instance,
        Err(error) => return Ok(rehearsal.failed(with_causes(&error))),
    };
    if let Err(error) = first.restore(own, old_state).await {
        let reason = said(error, "refused its own state", "crashed in restore");
        return Ok(rehearsal.failed(format!("the running version {reason}")));
    }
    let before = play(&mut first, &old_stage, &recent, own).await;
    let Some(new_stage) = new_stage else {
        return Ok(rehearsal.failed("no instance was made".to_owned()));
    };
    let after = play(&mut new, &new_stage, &recent, metadata.state.version).await;
    rehearsal.messages = recent.len();
    rehearsal.differences = differences(&recent, &before.did, &after.did);
    (rehearsal.took_old, rehearsal.took_new) = (before.took, after.took);
    rehearsal.state_bytes_old = before.state_bytes;
    rehearsal.state_bytes_new = after.state_bytes;
    Ok(rehearsal)
}

impl Rehearsal {
    fn failed(mut self, reason: String) -> Self {
        self.failure = Some(reason);
        self
    }
}

fn said(error: StateError, refused: &str, crashed: &str) -> String {
    match error {
        StateError::Refused(reason) => format!("{refused}: {reason}"),
        StateError::Crashed(reason) => format!("{crashed}: {reason}"),
    }
}

/// Lets an instance handle the messages, one at a time, and writes down what it did. It ends at the
/// first that traps.
async fn play(
    instance: &mut Instance,
    stage: &Stage,
    messages: &[Event],
    state_version: u32,
) -> Played {
    // What `restore` wanted to do belongs to no message.
    instance.commit();
    stage.take();
    let began = Instant::now();
    let mut did = Vec::new();
    let mut trapped = false;
    for message in messages {
        let handled = instance.handle(std::slice::from_ref(message)).await;
        let mut lines = stage.take();
        if let Err(crash) = &handled {
            lines = vec![format!("traps: {}", crash.reason)];
            trapped = true;
        }
        did.push(lines);
        if trapped {
            break;
        }
    }
    let took = began.elapsed();
    let state_bytes = match trapped {
        true => 0,
        false => instance
            .snapshot(state_version)
            .await
            .map_or(0, |state| state.len()),
    };
    Played {
        did,
        took,
        state_bytes,
    }
}

/// Where the two did not do the same. A version that trapped did nothing from there on: that is one
/// difference, not one for each message behind it.
fn differences(messages: &[Event], old: &[Vec<String>], new: &[Vec<String>]) -> Vec<Difference> {
    let both = old.iter().zip(new).zip(messages).enumerate();
    both.filter(|(_, ((old, new), _))| old != new)
        .take(DIFFERENCES_MAX)
        .map(|(index, ((old, new), message))| Difference {
            message: index + 1,
            kind: match message {
                Event::Receive(message) | Event::Call { message, .. } => message.kind.to_string(),
                other => other.name().to_owned(),
            },
            old: old.clone(),
            new: new.clone(),
        })
        .collect()
}

/// The surroundings of an instance in a rehearsal: all effects are written down, none is carried out.
struct Stage {
    real: Arc<EndpointSurroundings>,
    did: Mutex<Vec<String>>,
    /// Ids of its own: they mean nothing outside.
    ids: AtomicU64,
}

/// Room on a stage.
#[derive(Debug)]
struct OnStage;

impl Reservation for OnStage {
    fn fill(self: Box<Self>, _to: &EndpointAddress, _message: Message) -> Result<(), RpcError> {
        Ok(())
    }
}

/// Ids on a stage begin here, far beyond those of any endpoint.
const FIRST_ID: u64 = 1 << 62;

impl Stage {
    fn new(endpoint: &Arc<Endpoint>, settings: &EndpointSettings) -> Arc<Self> {
        Arc::new(Self {
            real: EndpointSurroundings::of(endpoint, settings),
            did: Mutex::default(),
            ids: AtomicU64::new(FIRST_ID),
        })
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.did))
    }
}

fn message_line(message: &Message) -> String {
    format!("{} ({})", message.kind, bytes_line(&message.body))
}

fn bytes_line(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let digest: String = digest
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{} bytes, {digest}", bytes.len())
}

fn effect_line(effect: &Effect) -> String {
    match effect {
        Effect::Send { to, message, .. } => format!("sends {} to {to}", message_line(message)),
        Effect::Ask { to, message, .. } => format!("asks {to} {}", message_line(message)),
        Effect::Abort { .. } => "gives an ask up".to_owned(),
        Effect::Answer {
            outcome: Ok(message),
            ..
        } => format!("answers {}", message_line(message)),
        Effect::Answer {
            outcome: Err(error),
            ..
        } => format!("fails the call: {error}"),
        Effect::StartTimer { delay, period, .. } => match period {
            None => format!("starts a timer of {delay:?}"),
            Some(period) => format!("starts a timer of {delay:?}, then every {period:?}"),
        },
        Effect::CancelTimer { .. } => "cancels a timer".to_owned(),
        Effect::Launch { workload, .. } => {
            let digest = &workload.component.sha256;
            format!("launches {digest} in `{}`", workload.folder)
        }
        Effect::Kill { .. } => "kills a launch".to_owned(),
        Effect::Clean(cleaning) => format!("cleans work folders: {cleaning:?}"),
        Effect::RemoveFolder { folder } => format!("removes the work folder `{folder}`"),
        Effect::Persist(writes) => {
            let lines = writes.all().iter().map(|(name, value)| match value {
                Some(value) => format!("`{name}` ({})", bytes_line(value)),
                None => format!("`{name}` forgotten"),
            });
            format!("persists {}", lines.collect::<Vec<_>>().join(", "))
        }
        Effect::WhenDurable { .. } => "waits for the disk".to_owned(),
        Effect::Contend => "stands for election".to_owned(),
        Effect::Resign => "gives up what it leads".to_owned(),
        Effect::StopSelf => "stops itself".to_owned(),
    }
}

impl Surroundings for Stage {
    fn address(&self) -> EndpointAddress {
        self.real.address()
    }

    fn interrupted(&self) -> bool {
        false
    }

    fn commit(&self, effects: &mut VecDeque<Effect>) -> bool {
        lock(&self.did).extend(effects.drain(..).map(|effect| effect_line(&effect)));
        true
    }

    fn enlist(&self, _turn: &mut VecDeque<Effect>) {}

    fn store(&self) -> Result<EndpointStore, RpcError> {
        self.real.store()
    }

    fn check_writable(&self, _store: &EndpointStore) -> Result<(), RpcError> {
        Ok(())
    }

    fn open_channel(
        &self,
        uri: &str,
        range: FileRange,
    ) -> BoxFuture<'static, Result<Box<dyn FileBytes>, RpcError>> {
        self.real.open_channel(uri, range)
    }

    fn reserve(&self, _to: &EndpointAddress) -> Result<Room, RpcError> {
        Ok(Box::new(OnStage))
    }

    fn check_receiver(&self, to: &EndpointAddress) -> Result<(), RpcError> {
        self.real.check_receiver(to)
    }

    fn check_size(&self, bytes: usize) -> Result<(), RpcError> {
        self.real.check_size(bytes)
    }

    fn admit_ask(&self, _in_turn: usize) -> Result<u64, RpcError> {
        Ok(self.ids.fetch_add(1, Ordering::Relaxed))
    }

    fn admit_timer(&self, _in_turn: usize) -> Result<u64, RpcError> {
        Ok(self.ids.fetch_add(1, Ordering::Relaxed))
    }

    fn admit_launch(
        &self,
        _workload: &Workload,
        _token: &Bytes,
        _in_turn: usize,
    ) -> Result<u64, RpcError> {
        Ok(self.ids.fetch_add(1, Ordering::Relaxed))
    }

    fn launch_goes_on(&self, launch: u64) -> bool {
        launch >= FIRST_ID || self.real.launch_goes_on(launch)
    }

    fn launched(&self) -> Vec<(u64, Bytes)> {
        self.real.launched()
    }

    fn ask_is_open(&self, ask: u64) -> bool {
        ask >= FIRST_ID || self.real.ask_is_open(ask)
    }

    fn timer_is_running(&self, timer: u64) -> bool {
        timer >= FIRST_ID || self.real.timer_is_running(timer)
    }

    fn call_sender(&self, call: u64) -> Option<String> {
        // Every call is open here: those that are replayed were answered for real.
        Some(self.real.call_sender(call).unwrap_or_default())
    }

    fn config(&self) -> Arc<BTreeMap<String, String>> {
        self.real.config()
    }

    fn record(&self, _name: &str, _observation: Observation) {}

    fn log_enabled(&self, _level: LogLevel) -> bool {
        false
    }

    fn log(&self, _version: &str, _line: LogLine<'_>) {}

    fn describe(&self, name: &str) -> Option<Arc<Metadata>> {
        self.real.describe(name)
    }

    fn names(&self) -> Vec<String> {
        self.real.names()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|&line| line.to_owned()).collect()
    }

    #[test]
    fn only_messages_at_which_both_did_not_do_the_same_are_differences() {
        let message = |kind: &str| Event::Receive(Message::new(kind, Vec::new()));
        let messages = [message("t.A"), message("t.B"), message("t.C")];
        let old = [lines(&["x"]), lines(&[]), lines(&["z"])];
        let new = [lines(&["x"]), lines(&["traps: y"])];
        let found = differences(&messages, &old, &new);
        let [only] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!((only.message, only.kind.as_str()), (2, "t.B"));
        assert_eq!(only.new, ["traps: y"]);
    }

    #[test]
    fn two_messages_that_differ_in_their_body_are_told_apart() {
        let line = |body: &'static [u8]| message_line(&Message::new("t.A", body));
        assert_ne!(line(b"1"), line(b"2"));
        assert_eq!(line(b"1"), line(b"1"));
    }
}
