//! EndpointRef: the handle by which everybody talks to an endpoint, the same for a local and a
//! remote one. Source: RpcEndpointRef of Spark.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::oneshot;

use crate::address::EndpointAddress;
use crate::clock::Stretch;
use crate::endpoint::outgoing::{Forget, Outgoing as _};
use crate::error::RpcError;
use crate::message::Message;
use crate::responder::{Outcome, Responder};
use crate::rpc_env::RpcEnv;

/// A handle of an endpoint. Cloning is cheap. Equal where name and location are: a reference to a
/// restarted or replaced endpoint equals the one from before.
///
/// On the wire: name and location as text, like the guest kit's reference. Reading one back needs
/// [`RpcEnv::deserialize`].
#[derive(Clone)]
pub struct EndpointRef {
    address: Arc<EndpointAddress>,
    env: RpcEnv,
}

impl EndpointRef {
    pub(crate) fn new(address: EndpointAddress, env: RpcEnv) -> Self {
        Self {
            address: Arc::new(address),
            env,
        }
    }

    /// Where the endpoint is.
    pub fn address(&self) -> &EndpointAddress {
        &self.address
    }

    /// Name of the endpoint.
    pub fn name(&self) -> &str {
        &self.address.name
    }

    /// Sends a message that wants no answer, waiting for room where there is none. At most once.
    ///
    /// # Errors
    /// [`RpcError::EndpointNotFound`] for a local name that nobody has, [`RpcError::Stopped`],
    /// [`RpcError::TooLarge`], [`RpcError::Network`] for a client that is not connected. What a peer
    /// does with the message is not told.
    ///
    /// # Cancellation
    /// Dropping the future sends nothing, or has sent all.
    pub async fn send(&self, message: Message) -> Result<(), RpcError> {
        let dispatcher = self.env.dispatcher();
        dispatcher.check_size(message.len())?;
        let room = dispatcher.reserve_wait(&self.address).await?;
        room.fill(&self.address, message)
    }

    /// Sends a message that wants no answer, or fails where there is no room.
    ///
    /// # Errors
    /// As [`EndpointRef::send`], and [`RpcError::InboxFull`], [`RpcError::OutboxFull`].
    pub fn try_send(&self, message: Message) -> Result<(), RpcError> {
        let dispatcher = self.env.dispatcher();
        dispatcher.check_size(message.len())?;
        let room = dispatcher.reserve(&self.address)?;
        room.fill(&self.address, message)
    }

    /// Asks for one answer, waiting at most the setting `ask_timeout`. Asked once, never again.
    ///
    /// # Errors
    /// Every [`RpcError`]. After [`RpcError::Timeout`] and [`RpcError::Network`] the handler may
    /// have run: ask again only if that is harmless.
    ///
    /// # Cancellation
    /// Dropping the future forgets the ask; the handler may run all the same.
    pub async fn ask(&self, message: Message) -> Result<Message, RpcError> {
        let timeout = self.env.settings().ask_timeout;
        self.ask_within(message, timeout, "ask_timeout").await
    }

    /// Asks for one answer, waiting at most `timeout` from now, time in the inbox included. Time for
    /// which the endpoint stands still to be swapped is not counted, here and on other hosts.
    ///
    /// # Errors
    /// As [`EndpointRef::ask`].
    ///
    /// # Cancellation
    /// As [`EndpointRef::ask`].
    pub async fn ask_with_timeout(
        &self,
        message: Message,
        timeout: Duration,
    ) -> Result<Message, RpcError> {
        self.ask_within(message, timeout, "timeout").await
    }

    pub(crate) async fn ask_within(
        &self,
        message: Message,
        timeout: Duration,
        setting: &str,
    ) -> Result<Message, RpcError> {
        let stretch = Stretch::begin(self.env.dispatcher().pauses_of(&self.address));
        let ask = self.ask_abortable(message);
        tokio::select! {
            biased;
            outcome = ask.outcome() => outcome,
            () = stretch.over(timeout) => Err(RpcError::Timeout {
                who: self.to_string(),
                after: timeout,
                setting: setting.to_owned(),
            }),
        }
    }

    /// Asks for one answer, without a time limit, in a way that can be given up from elsewhere.
    pub fn ask_abortable(&self, message: Message) -> AbortableAsk {
        let (told, outcome) = oneshot::channel();
        let told = Arc::new(Mutex::new(Some(told)));
        let responder = {
            let told = Arc::clone(&told);
            Responder::new(move |outcome| tell(&told, outcome)).or_else(RpcError::Unanswered {
                endpoint: self.name().to_owned(),
            })
        };
        let forget = self.env.dispatcher().ask(&self.address, message, responder);
        let abort = AbortHandle {
            told,
            forget: Arc::new(Mutex::new(forget)),
        };
        AbortableAsk {
            outcome,
            abort,
            who: self.to_string(),
        }
    }

    /// Asks until an answer comes, at most `num_retries` times with `retry_wait` between.
    ///
    /// **At least once**: the handler may run for every try, so it must not matter how often it
    /// does. Prefer [`EndpointRef::ask`]. An answer that says that the handler refused or does not
    /// know the message is final; it is not asked again.
    ///
    /// # Errors
    /// The error of the last try.
    ///
    /// # Cancellation
    /// As [`EndpointRef::ask`], for the try under way.
    pub async fn ask_with_retry(&self, message: Message) -> Result<Message, RpcError> {
        let settings = self.env.settings();
        let tries = settings.num_retries.max(1);
        let mut tried = 1;
        loop {
            let error = match self.ask(message.clone()).await {
                Err(error) if may_pass(&error) => error,
                outcome => return outcome,
            };
            if tried >= tries {
                return Err(error);
            }
            tracing::warn!(endpoint = %self, %error, tried, tries, "asking again");
            tried += 1;
            tokio::time::sleep(settings.retry_wait).await;
        }
    }
}

/// Whether asking again can help.
fn may_pass(error: &RpcError) -> bool {
    !matches!(
        error,
        RpcError::Unsupported { .. }
            | RpcError::Undecodable { .. }
            | RpcError::TooLarge { .. }
            | RpcError::Denied { .. }
            | RpcError::Failed { .. }
    )
}

type Told = Arc<Mutex<Option<oneshot::Sender<Outcome>>>>;

fn tell(told: &Told, outcome: Outcome) {
    let sender = told.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(sender) = sender {
        // Whoever asked may have gone.
        let _ = sender.send(outcome);
    }
}

/// An ask that waits for its answer. Dropping it forgets the ask.
pub struct AbortableAsk {
    outcome: oneshot::Receiver<Outcome>,
    abort: AbortHandle,
    who: String,
}

/// Gives an ask up.
#[derive(Clone)]
pub struct AbortHandle {
    told: Told,
    forget: Arc<Mutex<Option<Forget>>>,
}

impl AbortableAsk {
    /// What gives this ask up, from anywhere.
    pub fn abort_handle(&self) -> AbortHandle {
        self.abort.clone()
    }

    /// Waits for the outcome, for as long as it takes.
    ///
    /// # Errors
    /// As [`EndpointRef::ask`] but for the timeout; [`RpcError::Aborted`] after an abort.
    ///
    /// # Cancellation
    /// Dropping the future forgets the ask.
    pub async fn outcome(mut self) -> Result<Message, RpcError> {
        match (&mut self.outcome).await {
            Ok(outcome) => outcome,
            Err(_gone) => Err(RpcError::Unanswered {
                endpoint: self.who.clone(),
            }),
        }
    }
}

impl Drop for AbortableAsk {
    fn drop(&mut self) {
        self.abort.forget();
    }
}

impl AbortHandle {
    /// Gives the ask up with a reason. A later answer is ignored; the handler may run all the same.
    pub fn abort(&self, cause: &str) {
        let cause = cause.to_owned();
        tell(&self.told, Err(RpcError::Aborted { cause }));
        self.forget();
    }

    fn forget(&self) {
        let forget = self
            .forget
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(forget) = forget {
            forget();
        }
    }
}

impl fmt::Display for EndpointRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl fmt::Debug for EndpointRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndpointRef({})", self.address)
    }
}

impl PartialEq for EndpointRef {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

impl Eq for EndpointRef {}

impl Hash for EndpointRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address.hash(state);
    }
}

/// The form in which a reference travels.
#[derive(Serialize, Deserialize)]
#[serde(rename = "EndpointRef")]
struct OnTheWire {
    name: String,
    address: Option<String>,
}

impl Serialize for EndpointRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let wire = OnTheWire {
            name: self.address.name.clone(),
            address: Some(self.address.location.to_string()),
        };
        wire.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for EndpointRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let wire = OnTheWire::deserialize(deserializer)?;
        let env = RpcEnv::current().ok_or_else(|| {
            D::Error::custom("a reference can only be read within `RpcEnv::deserialize`")
        })?;
        let location = match wire.address {
            Some(text) => text.parse().map_err(D::Error::custom)?,
            None => env.location(),
        };
        Ok(Self::new(EndpointAddress::new(wire.name, location), env))
    }
}
