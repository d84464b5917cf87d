//! ZooKeeper: the one place that makes sessions, and knows what the client library does not do by itself.
//!
//! Those who read and write do so with the library's own client and its types, by the rules of `session.rs`.
//!
//! Not here: who leads ([`crate::election`]) and what is kept ([`crate::store`]).

mod settings;

pub(crate) mod connect_string;

mod connector;

mod tls;

pub(crate) mod session;

pub(crate) mod paths;

pub(crate) mod request;

pub(crate) mod back_off;

mod error;

#[cfg(test)]
pub(crate) mod tests;

pub use self::error::ZooKeeperError;
pub use self::settings::{Credentials, TlsFiles, ZooKeeperSettings};
