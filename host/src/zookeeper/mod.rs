//! ZooKeeper: the one place that knows the client library, and what it does not do by itself.
//!
//! Not here: who leads ([`crate::election`]) and what is kept ([`crate::store`]).

mod settings;

mod connect_string;

mod connector;

pub(crate) mod session;

pub(crate) mod paths;

pub(crate) mod request;

pub(crate) mod back_off;

mod error;

#[cfg(test)]
pub(crate) mod tests;

pub use self::error::ZooKeeperError;
pub use self::settings::{Credentials, TlsFiles, ZooKeeperSettings};
