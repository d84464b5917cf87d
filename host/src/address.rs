//! Addresses: of hosts (`HOST:PORT`, `client-ID`) and of endpoints (`instar://NAME@HOST:PORT`).
//!
//! Everything here is plain data with one text form each, so that an address can stand in a message,
//! in state, in a file or on a command line. Source: RpcAddress and RpcEndpointAddress of Spark.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where a host listens.
///
/// Text: `HOST:PORT`, with an IPv6 host in brackets and in canonical form (`[::1]:7077`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RpcAddress {
    host: String,
    port: u16,
}

/// The location of a host: one that listens, or one that can be reached only over the connection
/// that it opened itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Location {
    /// A host that listens. Text: `HOST:PORT`.
    Listening(RpcAddress),
    /// A host that does not listen. Text: `client-ID`. The id is random and lasts as long as the host.
    Client(Uuid),
}

/// Where an endpoint is: its name and the location of its host.
///
/// Text: `instar://NAME@HOST:PORT`, or `instar-client://NAME@ID` for a host that does not listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointAddress {
    /// Name of the endpoint on its host.
    pub name: String,
    /// The host.
    pub location: Location,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Write it in the expected form.
    #[error("invalid address `{text}`: {reason}; expected {expected}")]
    Invalid {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
        /// The form that is understood.
        expected: &'static str,
    },
}

const HOST_PORT: &str = "HOST:PORT";
const LOCATION: &str = "HOST:PORT or client-ID";
const ENDPOINT_URI: &str = "instar://NAME@HOST:PORT";

fn invalid(text: &str, reason: impl Into<String>, expected: &'static str) -> AddressError {
    AddressError::Invalid {
        text: text.to_owned(),
        reason: reason.into(),
        expected,
    }
}

impl RpcAddress {
    /// An address from host and port. A bare IPv6 host is canonicalised and put in brackets.
    pub fn new(host: &str, port: u16) -> Self {
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        let host = match bare.parse::<Ipv6Addr>() {
            Ok(v6) => format!("[{v6}]"),
            Err(_) => host.to_owned(),
        };
        Self { host, port }
    }

    /// Host name or IP address; an IPv6 address stands in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `instar://HOST:PORT`.
    pub fn to_uri(&self) -> String {
        format!("instar://{self}")
    }

    /// Reads `instar://HOST:PORT`; user, path, query and fragment are refused.
    ///
    /// # Errors
    /// [`AddressError::Invalid`] quotes the text.
    pub fn from_uri(text: &str) -> Result<Self, AddressError> {
        const EXPECTED: &str = "instar://HOST:PORT";
        let rest = text
            .strip_prefix("instar://")
            .ok_or_else(|| invalid(text, "the scheme is not `instar://`", EXPECTED))?;
        if rest.contains('@') {
            return Err(invalid(text, "it names an endpoint", EXPECTED));
        }
        parse_host_port(text, rest, EXPECTED)
    }
}

impl From<std::net::SocketAddr> for RpcAddress {
    fn from(socket: std::net::SocketAddr) -> Self {
        Self::new(&socket.ip().to_string(), socket.port())
    }
}

fn parse_host_port(
    whole: &str,
    text: &str,
    expected: &'static str,
) -> Result<RpcAddress, AddressError> {
    if let Some(found) = text.find(|c: char| "/?#@ \t\r\n".contains(c)) {
        let rest = text.get(found..).unwrap_or_default();
        return Err(invalid(whole, format!("unexpected `{rest}`"), expected));
    }
    let (host, port) = text
        .rsplit_once(':')
        .ok_or_else(|| invalid(whole, "the port is missing", expected))?;
    if host.is_empty() {
        return Err(invalid(whole, "the host is empty", expected));
    }
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if bracketed {
        let inner = host.trim_start_matches('[').trim_end_matches(']');
        if inner.parse::<Ipv6Addr>().is_err() {
            let reason = format!("`{inner}` is no IPv6 address");
            return Err(invalid(whole, reason, expected));
        }
    } else if host.contains([':', '[', ']']) {
        let reason = "an IPv6 host stands in brackets, like [::1]:7077";
        return Err(invalid(whole, reason, expected));
    }
    let port = port
        .parse::<u16>()
        .map_err(|_| invalid(whole, format!("`{port}` is no port (0 to 65535)"), expected))?;
    Ok(RpcAddress::new(host, port))
}

impl FromStr for RpcAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse_host_port(text, text, HOST_PORT)
    }
}

impl fmt::Display for RpcAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for Location {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix("client-") {
            // `client-1.example:7077` is a host name, so what has a port is tried as one.
            Some(id) if !id.contains(':') => id
                .parse()
                .map(Self::Client)
                .map_err(|_| invalid(text, format!("`{id}` is no client id"), LOCATION)),
            _ => parse_host_port(text, text, LOCATION).map(Self::Listening),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening(address) => address.fmt(f),
            Self::Client(id) => write!(f, "client-{id}"),
        }
    }
}

impl From<RpcAddress> for Location {
    fn from(address: RpcAddress) -> Self {
        Self::Listening(address)
    }
}

/// Checks the name of an endpoint: 1 to 64 of letters, digits, `-`, `_` and `.`, not beginning with a dot.
///
/// # Errors
/// [`AddressError::Invalid`] quotes the name.
pub fn check_endpoint_name(name: &str) -> Result<(), AddressError> {
    const EXPECTED: &str = "1 to 64 letters, digits, `-`, `_` or `.`";
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 64 {
        let reason = format!("the endpoint name has {} bytes", name.len());
        return Err(invalid(name, reason, EXPECTED));
    }
    if name.starts_with('.') {
        return Err(invalid(
            name,
            "an endpoint name does not begin with a dot",
            EXPECTED,
        ));
    }
    match name.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(invalid(
            name,
            format!("{c:?} is not allowed in an endpoint name"),
            EXPECTED,
        )),
        None => Ok(()),
    }
}

impl EndpointAddress {
    /// The address of endpoint `name` at `location`.
    pub fn new(name: impl Into<String>, location: impl Into<Location>) -> Self {
        Self {
            name: name.into(),
            location: location.into(),
        }
    }
}

impl FromStr for EndpointAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(rest) = text.strip_prefix("instar-client://") {
            const EXPECTED: &str = "instar-client://NAME@ID";
            let (name, id) = rest
                .split_once('@')
                .ok_or_else(|| invalid(text, "the endpoint name is missing", EXPECTED))?;
            check_endpoint_name(name)?;
            let id = id
                .parse()
                .map_err(|_| invalid(text, format!("`{id}` is no client id"), EXPECTED))?;
            return Ok(Self::new(name, Location::Client(id)));
        }
        let rest = text
            .strip_prefix("instar://")
            .ok_or_else(|| invalid(text, "the scheme is not `instar://`", ENDPOINT_URI))?;
        let (name, address) = rest
            .split_once('@')
            .ok_or_else(|| invalid(text, "the endpoint name is missing", ENDPOINT_URI))?;
        check_endpoint_name(name)?;
        Ok(Self::new(
            name,
            parse_host_port(text, address, ENDPOINT_URI)?,
        ))
    }
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Location::Listening(address) => write!(f, "instar://{}@{address}", self.name),
            Location::Client(id) => write!(f, "instar-client://{}@{id}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<EndpointAddress>().unwrap_err().to_string()
    }

    /// RA1, RA2, RA5
    #[test]
    fn an_rpc_address_has_one_text_form_and_one_uri() {
        let address = RpcAddress::new("1.2.3.4", 1234);
        assert_eq!(address.to_string(), "1.2.3.4:1234");
        assert_eq!(address.to_uri(), "instar://1.2.3.4:1234");
        assert_eq!(RpcAddress::from_uri("instar://1.2.3.4:1234"), Ok(address));
    }

    /// RA3, RA4
    #[test]
    fn a_wrong_uri_is_refused_with_its_text() {
        for text in [
            "instar::1.2.3.4:1234",
            "akka://1.2.3.4:1234",
            "instar://x@1.2.3.4:1",
            "instar://1.2.3.4:1/path",
            "instar://1.2.3.4:1?q",
            "instar://1.2.3.4:1#f",
            "instar://1.2.3.4",
            "instar://:7",
            "instar://h:70000",
        ] {
            let error = RpcAddress::from_uri(text).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    /// RA6 to RA10
    #[test]
    fn an_ipv6_host_is_bracketed_and_canonical() {
        assert_eq!(RpcAddress::new("::0:1", 1).to_string(), "[::1]:1");
        assert_eq!(
            RpcAddress::new("2001:db8:0:0::", 1).to_string(),
            "[2001:db8::]:1"
        );
        let parsed = RpcAddress::from_uri("instar://[::0:1]:7077").unwrap();
        assert_eq!(parsed.to_uri(), "instar://[::1]:7077");
        assert!("::1:7077".parse::<RpcAddress>().is_err());
    }

    /// RA11, RA12
    #[test]
    fn an_endpoint_address_names_endpoint_and_host() {
        let listening = EndpointAddress::new("echo", RpcAddress::new("localhost", 12345));
        assert_eq!(listening.to_string(), "instar://echo@localhost:12345");
        assert_eq!(listening.to_string().parse(), Ok(listening));
        let client = EndpointAddress::new("echo", Location::Client(Uuid::from_u128(7)));
        assert!(client.to_string().starts_with("instar-client://echo@"));
        assert_eq!(client.to_string().parse(), Ok(client));
    }

    #[test]
    fn a_wrong_endpoint_address_is_refused_with_a_reason() {
        assert!(refused("spark://a@h:1").contains("scheme"));
        assert!(refused("instar://h:1").contains("name is missing"));
        assert!(refused("instar://a b@h:1").contains("not allowed"));
        assert!(refused("instar://../x@h:1").contains("dot"));
        assert!(refused("instar-client://a@b").contains("no client id"));
    }

    #[test]
    fn a_location_reads_back_from_its_text() {
        for location in [
            Location::Client(Uuid::from_u128(9)),
            RpcAddress::new("client-1.example", 7).into(),
            RpcAddress::new("::1", 7).into(),
        ] {
            assert_eq!(location.to_string().parse(), Ok(location));
        }
    }
}
