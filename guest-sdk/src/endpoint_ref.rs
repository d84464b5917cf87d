//! EndpointRef: where an endpoint is, as plain data.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Failure, Schema};

/// Where an endpoint is. It may stand in a message, in state, in a file, and can be sent to with
/// [`crate::Context::send`]. Having one does not mean that the endpoint exists.
///
/// Text: `instar://NAME@HOST:PORT`; `instar-client://NAME@ID` for a host that does not listen; the
/// bare `NAME` for an endpoint of this host.
///
/// ```
/// use instar_sdk::EndpointRef;
///
/// let there: EndpointRef = "instar://ledger@10.0.0.7:7077".parse()?;
/// assert_eq!(there.address.as_deref(), Some("10.0.0.7:7077"));
/// assert_eq!(there.to_string(), "instar://ledger@10.0.0.7:7077");
/// assert_eq!("ledger".parse::<EndpointRef>()?, EndpointRef::local("ledger"));
/// # Ok::<(), instar_sdk::Failure>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Schema)]
pub struct EndpointRef {
    /// Name of the endpoint on its host.
    pub name: String,
    /// `HOST:PORT` of a host that listens, `client-ID` of one that does not, or none: this host.
    pub address: Option<String>,
}

impl EndpointRef {
    /// The endpoint `name` of this host.
    pub fn local(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            address: None,
        }
    }

    /// The endpoint `name` of the host at `address`, `HOST:PORT` or `client-ID`.
    pub fn remote(name: impl Into<String>, address: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            address: Some(address.into()),
        }
    }
}

impl fmt::Display for EndpointRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address.as_deref() {
            None => f.write_str(&self.name),
            // `client-1.example:7077` is a host name; the id of a client has no port.
            Some(address) => match address.strip_prefix("client-") {
                Some(id) if !id.contains(':') => write!(f, "instar-client://{}@{id}", self.name),
                _ => write!(f, "instar://{}@{address}", self.name),
            },
        }
    }
}

impl FromStr for EndpointRef {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let wrong = |reason: &str| {
            Failure::new(format!(
                "invalid address `{text}`: {reason}; expected instar://NAME@HOST:PORT, \
                 instar-client://NAME@ID, or NAME for an endpoint of this host"
            ))
        };
        let found = if let Some(rest) = text.strip_prefix("instar://") {
            let (name, address) =
                split(rest).ok_or_else(|| wrong("the endpoint name is missing"))?;
            check_host_port(address).map_err(wrong)?;
            Self::remote(name, address)
        } else if let Some(rest) = text.strip_prefix("instar-client://") {
            let (name, id) = split(rest).ok_or_else(|| wrong("the endpoint name is missing"))?;
            if id.is_empty() || !id.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
                return Err(wrong("what follows `@` is no client id"));
            }
            Self::remote(name, format!("client-{id}"))
        } else if text.contains("://") {
            return Err(wrong("the scheme is not `instar://`"));
        } else {
            Self::local(text)
        };
        check_name(&found.name).map_err(wrong)?;
        Ok(found)
    }
}

fn split(rest: &str) -> Option<(&str, &str)> {
    rest.split_once('@')
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 64 {
        return Err("an endpoint name has 1 to 64 characters");
    }
    if name.starts_with('.') || !name.chars().all(allowed) {
        return Err("an endpoint name has letters, digits, `-`, `_`, `.`, and begins with no dot");
    }
    Ok(())
}

fn check_host_port(address: &str) -> Result<(), &'static str> {
    let (host, port) = address.rsplit_once(':').ok_or("the port is missing")?;
    if host.is_empty() {
        return Err("the host is empty");
    }
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return Err("an IPv6 host stands in brackets, like [::1]:7077");
    }
    if address.contains(|c: char| "/?#@ \t\r\n".contains(c)) {
        return Err("nothing may follow the port");
    }
    port.parse::<u16>()
        .map(|_| ())
        .map_err(|_| "the port is not 0 to 65535")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_reads_back_from_its_text() {
        for reference in [
            EndpointRef::local("echo"),
            EndpointRef::remote("echo", "h:1"),
            EndpointRef::remote("echo", "[::1]:7077"),
            EndpointRef::remote("echo", "client-1.example:7"),
            EndpointRef::remote("echo", "client-00000000-0000-0000-0000-000000000007"),
        ] {
            assert_eq!(reference.to_string().parse(), Ok(reference));
        }
    }

    #[test]
    fn a_text_that_is_no_reference_is_refused_with_text_and_reason() {
        for (text, reason) in [
            ("spark://a@h:1", "scheme"),
            ("instar://h:1", "name is missing"),
            ("instar://a@h", "port is missing"),
            ("instar://a@h:70000", "port"),
            ("instar://a@::1:7", "brackets"),
            ("instar://a@h:1/x", "port"),
            ("instar-client://a@x!", "client id"),
            ("", "1 to 64"),
            ("a b", "letters"),
            (".a", "dot"),
        ] {
            let failure = text.parse::<EndpointRef>().unwrap_err().text;
            assert!(
                failure.contains(reason) && failure.contains(text),
                "{failure}"
            );
        }
    }
}
