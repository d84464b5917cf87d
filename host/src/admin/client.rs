//! Client: the admin API from the command line. It blocks; a command has nothing else to do.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::api::{Done, Problem, Refreshed, StatusReply, Swapped};
use super::token::{Token, TokenError};
use crate::component::metadata::Metadata;
use crate::endpoint::record::SwapRecord;
use crate::endpoint::rehearsal::Rehearsal;
use crate::endpoint::status::EndpointStatus;

/// How long reading may take.
const READ_TIME_MAX: Duration = Duration::from_secs(10);

/// How long an action may take: compiling a large component, draining, restoring.
const ACTION_TIME_MAX: Duration = Duration::from_secs(300);

/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Why a request to the admin API did not do what it was for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Write a URL like `http://127.0.0.1:7078`.
    #[error("expected an admin URL like http://127.0.0.1:7078, found {url:?}")]
    BadUrl {
        /// What was given.
        url: String,
    },
    /// Is `instar up` running, and with this `--admin`?
    #[error("cannot reach the admin API at {url}: {cause}; is `instar up` running there?")]
    Unreachable {
        /// Where.
        url: String,
        /// What happened.
        cause: String,
    },
    /// The action may have been carried out; look with `instar history`.
    #[error("the connection to {url} broke before the answer came: {cause}")]
    Broken {
        /// Where.
        url: String,
        /// What happened.
        cause: String,
    },
    /// Reading needs no token, changing does.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The host said no. Its sentence says why.
    #[error("{}", problem.error)]
    Problem {
        /// HTTP status.
        status: u16,
        /// What it said.
        problem: Box<Problem>,
    },
    /// Something else than an Instar host answers there.
    #[error("{url} answers, but not like an Instar host (status {status}): {reason}")]
    BadAnswer {
        /// Where.
        url: String,
        /// HTTP status.
        status: u16,
        /// What does not fit.
        reason: String,
    },
}

/// One admin server, and where its token lies.
#[derive(Debug)]
pub struct AdminClient {
    url: String,
    token_file: PathBuf,
    agent: Agent,
}

impl AdminClient {
    /// A client of the server at `url`. The token is read only when it is needed.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`].
    pub fn new(url: &str, token_file: PathBuf) -> Result<Self, ClientError> {
        if port_of(url).is_none() {
            return Err(ClientError::BadUrl {
                url: url.to_owned(),
            });
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // A proxy of the environment would get the token, and lead elsewhere.
            .proxy(None)
            .max_redirects(0)
            .build();
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            token_file,
            agent: agent.into(),
        })
    }

    /// Host and endpoints.
    ///
    /// # Errors
    /// As for every reading request: unreachable, or a bad answer.
    pub fn status(&self) -> Result<StatusReply, ClientError> {
        self.get("/v1/status")
    }

    /// One endpoint.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with status 404 if nothing has that name.
    pub fn endpoint(&self, name: &str) -> Result<EndpointStatus, ClientError> {
        self.get(&path(name, ""))
    }

    /// The tries to swap an endpoint, oldest first.
    ///
    /// # Errors
    /// As [`AdminClient::endpoint`].
    pub fn history(&self, name: &str) -> Result<Vec<SwapRecord>, ClientError> {
        self.get(&path(name, "/history"))
    }

    /// What an endpoint says of itself.
    ///
    /// # Errors
    /// As [`AdminClient::endpoint`].
    pub fn metadata(&self, name: &str) -> Result<Metadata, ClientError> {
        self.get(&path(name, "/metadata"))
    }

    /// The state of each plugin file.
    ///
    /// # Errors
    /// As [`AdminClient::status`].
    pub fn plugins(&self) -> Result<Vec<serde_json::Value>, ClientError> {
        self.get("/v1/plugins")
    }

    /// Replaces the code of an endpoint. `force`: what does not end within the drain limit is ended.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with status 409 if the host refuses it: the old version goes on.
    /// [`ClientError::Broken`]: unknown, look into the history.
    pub fn swap(
        &self,
        name: &str,
        component: &[u8],
        force: bool,
    ) -> Result<SwapRecord, ClientError> {
        let route = if force { "/swap?force=true" } else { "/swap" };
        self.post(&path(name, route), component)
    }

    /// Replaces the code of several endpoints, all or none.
    ///
    /// # Errors
    /// As [`AdminClient::swap`]; then nothing was swapped.
    pub fn swap_together(&self, swaps: &[(&str, &[u8])]) -> Result<Vec<Swapped>, ClientError> {
        let size = |(name, component): &(&str, &[u8])| {
            let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
            format!("{name}={}", component.len())
        };
        let query: Vec<_> = swaps.iter().map(size).collect();
        let body: Vec<_> = swaps.iter().map(|(_, component)| *component).collect();
        self.post(&format!("/v1/swap?{}", query.join("&")), &body.concat())
    }

    /// What a swap to `component` would do. Nothing is changed.
    ///
    /// # Errors
    /// As [`AdminClient::endpoint`].
    pub fn rehearse(&self, name: &str, component: &[u8]) -> Result<Rehearsal, ClientError> {
        self.post(&path(name, "/rehearse"), component)
    }

    /// Swaps to the version that is held, and grants what it wants.
    ///
    /// # Errors
    /// As [`AdminClient::swap`]; status 409 also if nothing is held.
    pub fn approve(&self, name: &str) -> Result<SwapRecord, ClientError> {
        self.post(&path(name, "/approve"), &[])
    }

    /// Puts the same code with the same state into a new instance.
    ///
    /// # Errors
    /// As [`AdminClient::swap`].
    pub fn refresh(&self, name: &str) -> Result<Refreshed, ClientError> {
        self.post(&path(name, "/refresh"), &[])
    }

    /// Goes back to `to`, or to the version before.
    ///
    /// # Errors
    /// As [`AdminClient::swap`].
    pub fn rollback(&self, name: &str, to: Option<&str>) -> Result<SwapRecord, ClientError> {
        let query = to.map(|to| format!("?to={}", utf8_percent_encode(to, NON_ALPHANUMERIC)));
        self.post(
            &path(name, &format!("/rollback{}", query.unwrap_or_default())),
            &[],
        )
    }

    /// Puts a fresh instance behind an endpoint.
    ///
    /// # Errors
    /// As [`AdminClient::swap`].
    pub fn restart(&self, name: &str) -> Result<Done, ClientError> {
        self.post(&path(name, "/restart"), &[])
    }

    /// Stops an endpoint.
    ///
    /// # Errors
    /// As [`AdminClient::endpoint`].
    pub fn stop(&self, name: &str) -> Result<Done, ClientError> {
        self.post(&path(name, "/stop"), &[])
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = self.agent.get(format!("{}{path}", self.url));
        let request = request.config().timeout_global(Some(READ_TIME_MAX)).build();
        self.read(request.call())
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &[u8]) -> Result<T, ClientError> {
        // An unreachable host is the more useful news than a missing token, which follows from it.
        let token = match Token::read(&self.token_file) {
            Ok(token) => token,
            Err(error) => {
                self.status()?;
                return Err(error.into());
            }
        };
        let request = self.agent.post(format!("{}{path}", self.url));
        let request = request
            .config()
            .timeout_global(Some(ACTION_TIME_MAX))
            .build();
        self.read(request.header("authorization", token.header()).send(body))
    }

    fn read<T: DeserializeOwned>(
        &self,
        outcome: Result<Response<Body>, ureq::Error>,
    ) -> Result<T, ClientError> {
        let mut response = outcome.map_err(|error| self.broken(error))?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let body = body.read_to_vec().map_err(|error| self.broken(error))?;
        let bad = |reason: serde_json::Error| ClientError::BadAnswer {
            url: self.url.clone(),
            status,
            reason: reason.to_string(),
        };
        if (200..300).contains(&status) {
            return serde_json::from_slice(&body).map_err(bad);
        }
        let problem = Box::new(serde_json::from_slice(&body).map_err(bad)?);
        Err(ClientError::Problem { status, problem })
    }

    fn broken(&self, error: ureq::Error) -> ClientError {
        use std::io::ErrorKind;
        let url = self.url.clone();
        let cause = error.to_string();
        let refused = match &error {
            ureq::Error::Io(error) => error.kind() == ErrorKind::ConnectionRefused,
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
            _ => false,
        };
        match refused {
            true => ClientError::Unreachable { url, cause },
            false => ClientError::Broken { url, cause },
        }
    }
}

/// The port of an admin URL; `None` if it is no plain `http://HOST[:PORT]`.
pub fn port_of(url: &str) -> Option<u16> {
    let authority = url.strip_prefix("http://")?.trim_end_matches('/');
    if authority.is_empty() || authority.contains(['/', '?', '#', '@']) {
        return None;
    }
    let after_v6 = authority
        .rsplit_once(']')
        .map_or(authority, |(_, rest)| rest);
    match after_v6.rsplit_once(':') {
        Some((_, port)) => port.parse().ok(),
        None => Some(80),
    }
}

fn path(name: &str, rest: &str) -> String {
    let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
    format!("/v1/endpoints/{name}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_url_is_plain_http_with_a_port() {
        assert_eq!(port_of("http://127.0.0.1:7078"), Some(7078));
        assert_eq!(port_of("http://[::1]:9/"), Some(9));
        assert_eq!(port_of("http://[::1]"), Some(80));
        for url in [
            "127.0.0.1:7078",
            "https://h:1",
            "http://",
            "http://h:x",
            "http://u@h:1",
        ] {
            assert_eq!(port_of(url), None, "{url}");
        }
    }
}
