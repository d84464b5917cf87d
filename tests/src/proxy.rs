//! Proxy: a TCP way to a host that can be cut at any moment, as a network does.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A port of loopback behind which another one stands.
pub struct Proxy {
    port: u16,
    connections: Arc<Mutex<JoinSet<()>>>,
    accepted: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Opens a way to `to`.
    ///
    /// # Panics
    /// Where there is no free port.
    pub async fn to(to: SocketAddr) -> Self {
        let listener = match TcpListener::bind("127.0.0.1:0").await {
            Ok(listener) => listener,
            Err(error) => panic!("no port for a proxy: {error}"),
        };
        let port = listener.local_addr().map_or(0, |address| address.port());
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let accepted = Arc::new(AtomicUsize::new(0));
        let accepting = tokio::spawn({
            let (connections, accepted) = (Arc::clone(&connections), Arc::clone(&accepted));
            async move {
                while let Ok((mut near, _)) = listener.accept().await {
                    accepted.fetch_add(1, Ordering::Relaxed);
                    let both = async move {
                        if let Ok(mut far) = TcpStream::connect(to).await {
                            // A connection that breaks is what this is for.
                            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                        }
                    };
                    let mut all = connections.lock().unwrap_or_else(PoisonError::into_inner);
                    while all.try_join_next().is_some() {}
                    all.spawn(both);
                }
            }
        });
        Self {
            port,
            connections,
            accepted,
            accepting,
        }
    }

    /// The port of this end.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections were opened through it so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
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
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The connections end with the set that the task holds.
        self.accepting.abort();
    }
}
