//! Settings of the transport, with their bounds.

use std::io;
use std::time::Duration;

/// Smallest frame limit: heads and reasons always fit in it.
pub(super) const FRAME_BYTES_MAX_LEAST: usize = 4 * 1024;
/// Largest frame limit.
pub(super) const FRAME_BYTES_MAX_MOST: usize = 1024 * 1024 * 1024;
/// Longest of all times: far from where clocks overflow.
const TIME_MOST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Limits and times of a [`super::Transport`]. They hold for each connection of its own. Times are
/// more than 0 and at most 30 days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportSettings {
    /// Where to listen. `None`, the default: a client, reachable only over connections that it opens.
    pub listen: Option<Listen>,
    /// How many more ports to try if the first is taken. Default 16; 0 tries none.
    pub port_retries: u16,
    /// Most connections that are open at once, counted apart for those that peers opened (one more
    /// is refused and told why) and those that this host opened (one more is
    /// [`crate::error::RpcError::Denied`]). Default 1024, at least 1.
    pub connections_max: usize,
    /// Largest frame, in bytes: a message with its names. The smaller value of both sides holds.
    /// Default 16 MiB, 4 KiB to 1 GiB. More is refused by the sender, and ends a connection at the receiver.
    pub frame_bytes_max: usize,
    /// Most messages that wait for one peer. Default 16384, at least 1; one more is
    /// [`crate::error::RpcError::OutboxFull`]. Replies are not counted, see `requests_max`.
    pub outbox_messages_max: usize,
    /// Once so many bytes wait for one peer, its outbox is full. Messages whose place was reserved
    /// before are still taken. Default 64 MiB, at least 1. The same for replies: above it, no more
    /// requests are read.
    pub outbox_bytes_max: usize,
    /// Most unanswered requests on one connection in each direction. Default 65536, at least 1. From
    /// the peer: beyond it, the connection is not read. To the peer: one more is
    /// [`crate::error::RpcError::OutboxFull`].
    pub requests_max: usize,
    /// Longest time to connect to a peer. Default 10 s.
    pub connect_timeout: Duration,
    /// Longest time until both sides have introduced themselves. Default 10 s.
    pub handshake_timeout: Duration,
    /// After so long without sending anything a sign of life is sent. Default 20 s, shorter than
    /// `idle_timeout`; that of the peer has to be longer too.
    pub keep_alive: Duration,
    /// A peer that owes an answer and from which nothing at all has come for so long is given up.
    /// Connections on which nothing is owed stay open. Default 120 s.
    pub idle_timeout: Duration,
    /// At shutdown: longest time to send what waits, and as long again for the peer to close. Default 2 s.
    pub shutdown_timeout: Duration,
}

impl Default for TransportSettings {
    fn default() -> Self {
        Self {
            listen: None,
            port_retries: 16,
            connections_max: 1024,
            frame_bytes_max: 16 * 1024 * 1024,
            outbox_messages_max: 16_384,
            outbox_bytes_max: 64 * 1024 * 1024,
            requests_max: 65_536,
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(120),
            shutdown_timeout: Duration::from_secs(2),
        }
    }
}

/// Where a host listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Name or address to bind.
    pub host: String,
    /// Port to bind: 0 for any free one, otherwise 1024 to 65535.
    pub port: u16,
    /// Host under which peers reach this one; `None`: `host`. Needed if `host` means every interface.
    pub advertise: Option<String>,
    /// Whether to listen where other machines can connect, although nothing is encrypted and nobody
    /// has to prove who they are.
    pub insecure: bool,
}

impl Listen {
    /// Loopback only, on `port`.
    pub fn local(port: u16) -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port,
            advertise: None,
            insecure: false,
        }
    }
}

/// Why a transport does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// Change the setting.
    #[error("setting `{setting}` is {found}; expected {expected}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What is possible.
        expected: String,
    },
    /// Check the name, or give an address.
    #[error("cannot resolve host `{host}`")]
    Resolve {
        /// What was looked up.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// Listen on a loopback address, or say that you know what you do.
    #[error(
        "refusing to listen on `{host}`, which other machines can reach: connections are neither encrypted nor \
         authenticated yet; listen on 127.0.0.1, or allow it with `--insecure` in a network that you trust"
    )]
    NotLoopback {
        /// The host of [`Listen::host`].
        host: String,
    },
    /// Give the name under which peers reach this host.
    #[error(
        "`{host}` means every interface, and no peer can connect to that; say how peers reach this host with `--advertise HOST`"
    )]
    AdvertiseMissing {
        /// The host of [`Listen::host`].
        host: String,
    },
    /// Free a port, choose another one, or 0 for any.
    #[error("cannot listen on `{host}`, ports tried: {tried}")]
    Bind {
        /// The host of [`Listen::host`].
        host: String,
        /// The port, or the first and the last.
        tried: String,
        /// What the system said about the last one.
        source: io::Error,
    },
}

impl TransportSettings {
    /// Checks every bound that does not need the network.
    pub(super) fn check(&self) -> Result<(), TransportError> {
        let frames = FRAME_BYTES_MAX_LEAST..=FRAME_BYTES_MAX_MOST;
        if !frames.contains(&self.frame_bytes_max) {
            let expected = format!("{} to {} bytes", frames.start(), frames.end());
            return Err(wrong("frame_bytes_max", self.frame_bytes_max, expected));
        }
        for (setting, value) in [
            ("connections_max", self.connections_max),
            ("outbox_messages_max", self.outbox_messages_max),
            ("outbox_bytes_max", self.outbox_bytes_max),
            ("requests_max", self.requests_max),
        ] {
            if value == 0 {
                return Err(wrong(setting, value, "at least 1"));
            }
        }
        for (setting, value) in [
            ("connect_timeout", self.connect_timeout),
            ("handshake_timeout", self.handshake_timeout),
            ("keep_alive", self.keep_alive),
            ("idle_timeout", self.idle_timeout),
            ("shutdown_timeout", self.shutdown_timeout),
        ] {
            if value.is_zero() || value > TIME_MOST {
                let found = format!("{value:?}");
                return Err(wrong(setting, found, "more than 0 and at most 30 days"));
            }
        }
        if self.keep_alive >= self.idle_timeout {
            let expected = format!("less than `idle_timeout`, {:?}", self.idle_timeout);
            return Err(wrong(
                "keep_alive",
                format!("{:?}", self.keep_alive),
                expected,
            ));
        }
        match &self.listen {
            Some(Listen { port, .. }) if (1..1024).contains(port) => {
                Err(wrong("port", port, "0 for any free port, or 1024 to 65535"))
            }
            _ => Ok(()),
        }
    }
}

fn wrong(
    setting: &'static str,
    found: impl ToString,
    expected: impl Into<String>,
) -> TransportError {
    TransportError::Setting {
        setting,
        found: found.to_string(),
        expected: expected.into(),
    }
}
