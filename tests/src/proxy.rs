//! Proxy: a TCP way to a host that can be cut at any moment, as a network does.
//!
//! Three ways to be bad: connections are [cut](Proxy::cut) once; the way is [broken](Proxy::break_off), as
//! when nobody listens; or it [holds](Proxy::hold), as when a cable is pulled: what is sent waits, and
//! nobody is told. It may hold only [what the far end says](Proxy::hold_answers). What the far end said first is kept: [`Proxy::first_words`].

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// So many bytes of what the far end says first are kept, of so many connections, the last ones.
const FIRST_WORDS: usize = 64;
const CONNECTIONS_KEPT: usize = 256;

/// A port behind which another one stands.
pub struct Proxy {
    at: SocketAddr,
    to: SocketAddr,
    heard: Arc<Heard>,
    connections: Arc<Mutex<JoinSet<()>>>,
    accepted: Arc<AtomicUsize>,
    way: watch::Sender<Way>,
    accepting: JoinHandle<()>,
}

/// What the far end said first on each connection.
type Heard = Mutex<VecDeque<Vec<u8>>>;

/// How the way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Open,
    /// What the far end says waits; what is said to it passes.
    AnswersHeld,
    /// Bytes wait, those of connections that are made meanwhile, too.
    Held,
    /// There are no connections.
    Broken,
}

impl Proxy {
    /// Opens a way to `to`, at a free port of 127.0.0.1.
    ///
    /// # Panics
    /// Where there is no free port.
    pub async fn to(to: SocketAddr) -> Self {
        match Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), to).await {
            Ok(proxy) => proxy,
            Err(error) => panic!("no port for a proxy: {error}"),
        }
    }

    /// Opens a way to `to`, at this address.
    ///
    /// # Errors
    /// The address is not free.
    pub async fn at(at: SocketAddr, to: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(at).await?;
        let at = listener.local_addr()?;
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let accepted = Arc::new(AtomicUsize::new(0));
        let heard = Arc::<Heard>::default();
        let (way, is) = watch::channel(Way::Open);
        let accepting = tokio::spawn({
            let (connections, accepted) = (Arc::clone(&connections), Arc::clone(&accepted));
            let heard = Arc::clone(&heard);
            async move {
                while let Ok((near, _)) = listener.accept().await {
                    accepted.fetch_add(1, Ordering::Relaxed);
                    let connection = connect(near, to, is.clone(), Arc::clone(&heard));
                    let mut all = connections.lock().unwrap_or_else(PoisonError::into_inner);
                    while all.try_join_next().is_some() {}
                    if *is.borrow() != Way::Broken {
                        all.spawn(connection);
                    }
                }
            }
        });
        Ok(Self {
            at,
            to,
            heard,
            connections,
            accepted,
            way,
            accepting,
        })
    }

    /// The port of this end.
    pub fn port(&self) -> u16 {
        self.at.port()
    }

    /// The address of the far end.
    pub fn far_end(&self) -> SocketAddr {
        self.to
    }

    /// How many connections were opened through it so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// The first bytes that the far end sent on each connection, as far as they came together: at most 64,
    /// of the last 256 connections.
    pub fn first_words(&self) -> Vec<Vec<u8>> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().cloned().collect()
    }

    /// Cuts all connections, whatever is under way on them, and waits until they are. New ones can be
    /// opened meanwhile.
    pub async fn cut(&self) {
        let mut all = {
            let mut all = self
                .connections
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *all)
        };
        all.shutdown().await;
    }

    /// Cuts all connections, and all that are opened, until it is [mended](Proxy::mend).
    pub async fn break_off(&self) {
        self.way.send_replace(Way::Broken);
        self.cut().await;
    }

    /// Lets no byte pass in either direction until it is [mended](Proxy::mend). Nobody is told.
    pub fn hold(&self) {
        self.way.send_replace(Way::Held);
    }

    /// Lets no byte of the far end pass until it is [mended](Proxy::mend): it hears, and is not heard.
    pub fn hold_answers(&self) {
        self.way.send_replace(Way::AnswersHeld);
    }

    /// Opens the way again. What was held goes on its way.
    pub fn mend(&self) {
        self.way.send_replace(Way::Open);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The connections end with the set that the task holds.
        self.accepting.abort();
    }
}

async fn connect(near: TcpStream, to: SocketAddr, way: watch::Receiver<Way>, heard: Arc<Heard>) {
    let mut open = way.clone();
    if until(&mut open, Way::lets_in).await.is_err() {
        return;
    }
    let Ok(far) = TcpStream::connect(to).await else {
        return;
    };
    // Small messages must not wait for each other: a proxy is not to be slower than a network.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    // A connection that breaks is what this is for. Each direction ends by itself, as TCP's do.
    let _ = tokio::join!(
        pass(from_near, to_far, way.clone(), Way::lets_in, None),
        pass(from_far, to_near, way, Way::lets_out, Some(heard))
    );
}

fn keep(heard: &Heard, words: &[u8]) {
    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    if heard.len() == CONNECTIONS_KEPT {
        heard.pop_front();
    }
    heard.push_back(words.iter().take(FIRST_WORDS).copied().collect());
}

impl Way {
    fn lets_in(self) -> bool {
        matches!(self, Self::Open | Self::AnswersHeld)
    }

    fn lets_out(self) -> bool {
        self == Self::Open
    }
}

async fn until(way: &mut watch::Receiver<Way>, passes: fn(Way) -> bool) -> io::Result<()> {
    let open = way.wait_for(|way| passes(*way)).await;
    open.map(drop).map_err(io::Error::other)
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
    passes: fn(Way) -> bool,
    mut heard: Option<Arc<Heard>>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = from.read(&mut buffer).await?;
        until(&mut way, passes).await?;
        match buffer.get(..length) {
            Some(read) if length > 0 => {
                // Before it is passed on: who got it may count on it that we have heard it.
                if let Some(heard) = heard.take() {
                    keep(&heard, read);
                }
                to.write_all(read).await?;
            }
            // The other side hears of the end.
            _ => return to.shutdown().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A server that sends back what it gets.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut from, mut to) = stream.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
            }
        });
        at
    }

    #[tokio::test]
    async fn what_is_held_arrives_when_the_way_is_mended_and_what_is_broken_does_not() {
        let proxy = Proxy::to(echo().await).await;
        let open = || TcpStream::connect(("127.0.0.1", proxy.port()));
        let mut stream = open().await.unwrap();
        let mut answer = [0; 1];
        stream.write_all(b"a").await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        proxy.hold();
        stream.write_all(b"b").await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut answer));
        assert!(early.await.is_err(), "it is held");
        proxy.mend();
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, *b"b");
        assert_eq!(proxy.first_words(), [b"a".to_vec()]);
        proxy.hold_answers();
        stream.write_all(b"b").await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut answer));
        assert!(early.await.is_err(), "it is held");
        proxy.mend();
        stream.read_exact(&mut answer).await.unwrap();
        proxy.break_off().await;
        assert_eq!(stream.read(&mut answer).await.unwrap_or(0), 0);
        let mut again = open().await.unwrap();
        assert_eq!(again.read(&mut answer).await.unwrap_or(0), 0);
        proxy.mend();
        let mut again = open().await.unwrap();
        again.write_all(b"c").await.unwrap();
        again.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, *b"c");
    }
}
