//! Tests of the transport over real sockets on this machine. Nothing sleeps for a fixed time: what is
//! waited for is a state, with a deadline.

mod backpressure;

mod events;

mod file_streams;

mod frames;

mod handshakes;

mod listening;

mod messages;

mod pauses;

mod stopping;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};

use super::frame::Frame;
use super::handshake::{self, Introduction, Purpose};
use super::{
    Accepted, BoxFuture, FileBytes, FileRange, Incoming, Listen, Transport, TransportSettings,
};
use crate::address::{Location, RpcAddress};
use crate::error::RpcError;
use crate::message::Message;
use crate::responder::{Outcome, Responder};

/// Far more than anything here takes, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `state` holds.
async fn until(what: &str, mut state: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !state() {
        assert!(Instant::now() < deadline, "never seen: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits for `what`, which must happen.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("takes too long")
}

/// What a host was told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Connected(Location),
    Disconnected(Location),
    NetworkError(Location, String),
    Undeliverable {
        endpoint: String,
        kind: String,
        reason: RpcError,
    },
}

/// The part of a host behind the transport: it records what it is told. Requests to `echo` are
/// answered with themselves, to `large` with as many bytes as the body says, to `deny` with a
/// failure; those to `hold` wait in `held`.
struct Recorder {
    told: Mutex<Told>,
    gate: watch::Sender<bool>,
    directory: Option<PathBuf>,
}

#[derive(Default)]
struct Told {
    events: Vec<Event>,
    messages: Vec<(Location, String, Message)>,
    held: Vec<Responder>,
}

impl Recorder {
    fn new(directory: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self {
            told: Mutex::default(),
            gate: watch::Sender::new(true),
            directory,
        })
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }

    fn events(&self) -> Vec<Event> {
        self.told().events.clone()
    }

    fn received(&self) -> usize {
        self.told().messages.len()
    }

    fn held(&self) -> usize {
        self.told().held.len()
    }

    /// Whether messages are taken without waiting.
    fn open_gate(&self, open: bool) {
        self.gate.send_replace(open);
    }
}

/// A file that was read already.
struct InMemory(Bytes);

impl FileBytes for InMemory {
    fn next(&mut self, bytes_max: usize) -> BoxFuture<'_, std::io::Result<Bytes>> {
        let count = self.0.len().min(bytes_max);
        let next = self.0.split_to(count);
        Box::pin(async move { Ok(next) })
    }
}

impl Incoming for Recorder {
    fn one_way(&self, from: &Location, endpoint: &str, message: Message) -> Accepted {
        let entry = (from.clone(), endpoint.to_owned(), message);
        self.told().messages.push(entry);
        let mut gate = self.gate.subscribe();
        if *gate.borrow() {
            return Accepted::Done;
        }
        Accepted::Wait(Box::pin(async move {
            let _ = gate.wait_for(|open| *open).await;
        }))
    }

    fn request(&self, _: &Location, to: &str, message: Message, responder: Responder) -> Accepted {
        match to {
            "echo" => responder.tell(Ok(message)),
            "large" => {
                let size = std::str::from_utf8(&message.body).unwrap().parse().unwrap();
                responder.tell(Ok(Message::new("large", vec![7; size])));
            }
            "deny" => responder.tell(Err(RpcError::Denied {
                reason: "as asked".to_owned(),
            })),
            _ => self.told().held.push(responder),
        }
        Accepted::Done
    }

    fn connected(&self, peer: &Location) {
        self.told().events.push(Event::Connected(peer.clone()));
    }

    fn disconnected(&self, peer: &Location) {
        self.told().events.push(Event::Disconnected(peer.clone()));
    }

    fn network_error(&self, peer: &Location, cause: &str) {
        let event = Event::NetworkError(peer.clone(), cause.to_owned());
        self.told().events.push(event);
    }

    fn open_file(
        &self,
        path: &str,
        range: FileRange,
    ) -> BoxFuture<'static, Result<Box<dyn FileBytes>, String>> {
        let path = self.directory.as_ref().map(|folder| folder.join(path));
        Box::pin(async move {
            let path = path.ok_or("no files here")?;
            let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
            let bytes = Bytes::from(bytes);
            let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
            let end = range
                .offset
                .saturating_add(range.length.unwrap_or(u64::MAX));
            let wanted = bytes.slice(place(range.offset)..place(end));
            Ok(Box::new(InMemory(wanted)) as Box<dyn FileBytes>)
        })
    }

    fn undeliverable(&self, _: &Location, endpoint: &str, kind: &str, reason: &RpcError) {
        self.told().events.push(Event::Undeliverable {
            endpoint: endpoint.to_owned(),
            kind: kind.to_owned(),
            reason: reason.clone(),
        });
    }
}

/// A host: a transport and what it told.
struct Host {
    transport: Transport,
    recorder: Arc<Recorder>,
}

impl Host {
    async fn start(settings: TransportSettings) -> Self {
        Self::start_with_files(settings, None).await
    }

    async fn start_with_files(settings: TransportSettings, directory: Option<PathBuf>) -> Self {
        let recorder = Recorder::new(directory);
        let incoming: Arc<dyn Incoming> = recorder.clone();
        let transport = Transport::start(settings, incoming).await.unwrap();
        Self {
            transport,
            recorder,
        }
    }

    /// A host that listens on a free port.
    async fn server() -> Self {
        Self::start(listening()).await
    }

    /// A host that does not listen.
    async fn client() -> Self {
        Self::start(quick()).await
    }

    fn location(&self) -> Location {
        self.transport.location().clone()
    }

    fn address(&self) -> RpcAddress {
        match self.location() {
            Location::Listening(address) => address,
            Location::Client(_) => panic!("a client has no address"),
        }
    }

    fn send(&self, to: &Location, endpoint: &str, message: Message) -> Result<(), RpcError> {
        self.transport.reserve(to)?.send(endpoint, message)
    }

    async fn ask(&self, to: &Location, endpoint: &str, body: impl Into<Bytes>) -> Outcome {
        soon(self.ask_later(to, endpoint, body)).await.unwrap()
    }

    fn ask_later(
        &self,
        to: &Location,
        endpoint: &str,
        body: impl Into<Bytes>,
    ) -> oneshot::Receiver<Outcome> {
        let (responder, outcome) = responder();
        let message = Message::new("test.Ask", body);
        self.transport.ask(to, endpoint, message, responder);
        outcome
    }
}

fn responder() -> (Responder, oneshot::Receiver<Outcome>) {
    let (sender, receiver) = oneshot::channel();
    let tell = move |outcome| {
        let _ = sender.send(outcome);
    };
    (Responder::new(tell), receiver)
}

/// Settings of a client for tests.
fn quick() -> TransportSettings {
    TransportSettings {
        port_retries: 200,
        shutdown_timeout: Duration::from_millis(500),
        ..TransportSettings::default()
    }
}

/// Settings of a host for tests that listens on any port.
fn listening() -> TransportSettings {
    TransportSettings {
        listen: Some(Listen::local(0)),
        ..quick()
    }
}

fn note(number: u64) -> Message {
    Message::new("test.Note", number.to_le_bytes().to_vec())
}

/// A listening socket that is no host, and its location.
async fn stranger() -> (TcpListener, Location) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = RpcAddress::from(listener.local_addr().unwrap());
    (listener, address.into())
}

async fn plain_connection(host: &Host) -> TcpStream {
    TcpStream::connect(host.address().to_string())
        .await
        .unwrap()
}

/// A peer that speaks the protocol and is driven by hand, and its location.
async fn puppet(host: &Host) -> (TcpStream, Location) {
    let mut socket = plain_connection(host).await;
    let ours = Introduction {
        location: Location::Client(uuid::Uuid::new_v4()),
        purpose: Purpose::Messages,
        frame_bytes_max: 1 << 20,
    };
    handshake::dial(&mut socket, &ours, PATIENCE).await.unwrap();
    (socket, ours.location)
}

async fn say(socket: &mut TcpStream, frame: &Frame) {
    let mut bytes = bytes::BytesMut::new();
    frame.encode(&mut bytes);
    socket.write_all(&bytes).await.unwrap();
}
