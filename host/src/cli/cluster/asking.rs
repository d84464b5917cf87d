//! Asking masters: typed messages, and which of several masters is the one to believe.

use std::time::Duration;

use clap::Args;
use deploy_protocol::{BACKUP_PREFIX, MASTER};
use instar_sdk::Request;

use crate::address::{EndpointAddress, Location, RpcAddress};
use crate::cli::exit::BadInput;
use crate::error::RpcError;
use crate::message::Message;
use crate::rpc_env::{RpcEnv, RpcSettings};

/// How long a master may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The masters of a cluster.
#[derive(Args, Clone)]
pub(super) struct MasterOptions {
    /// The masters: HOST:PORT or instar://HOST:PORT, several with commas.
    #[arg(long, env = "INSTAR_MASTER", default_value = "127.0.0.1:7077", value_parser = parse_masters)]
    pub(super) master: Masters,
}

/// Addresses of masters, at least one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Masters(pub(super) Vec<RpcAddress>);

/// Reads `HOST:PORT`, `instar://HOST:PORT`, and several with commas.
pub(super) fn parse_masters(text: &str) -> Result<Masters, String> {
    let text = text.strip_prefix("instar://").unwrap_or(text);
    let addresses = text.split(',').map(|address| {
        let address = address.trim();
        address.parse::<RpcAddress>().map_err(|e| e.to_string())
    });
    addresses.collect::<Result<_, _>>().map(Masters)
}

impl std::fmt::Display for Masters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let addresses: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&addresses.join(","))
    }
}

/// A host that only asks.
pub(super) async fn client() -> anyhow::Result<RpcEnv> {
    Ok(RpcEnv::create(RpcSettings::default()).await?)
}

/// An answer that a master gives also if another one leads.
pub(super) trait Answer {
    /// What a master that does not lead says of itself.
    fn not_leading(&self) -> Option<&str>;
}

macro_rules! answers_with_a_message {
    ($($answer:ty),*) => {
        $(impl Answer for $answer {
            fn not_leading(&self) -> Option<&str> {
                Some(self.message.as_str()).filter(|text| text.starts_with(BACKUP_PREFIX))
            }
        })*
    };
}

answers_with_a_message!(
    deploy_protocol::SubmitDriverResponse,
    deploy_protocol::KillDriverResponse,
    deploy_protocol::KillAllDriversResponse,
    deploy_protocol::KillApplicationResponse,
    deploy_protocol::DriverStatusResponse
);

impl Answer for deploy_protocol::MasterStateResponse {
    fn not_leading(&self) -> Option<&str> {
        let standby = self.status == deploy_protocol::RecoveryState::Standby;
        standby.then(|| self.status.name())
    }
}

/// Asks one endpoint.
pub(super) async fn ask<R: Request>(
    env: &RpcEnv,
    to: EndpointAddress,
    request: &R,
    within: Duration,
) -> Result<R::Reply, RpcError> {
    let undecodable = |what: &str, error: postcard::Error| RpcError::Undecodable {
        what: format!("`{what}` of {to}"),
        reason: error.to_string(),
    };
    let body = postcard::to_stdvec(request).map_err(|error| undecodable(R::KIND, error))?;
    let message = Message::new(R::KIND, body);
    let answer = env
        .reference(to.clone())
        .ask_with_timeout(message, within)
        .await?;
    postcard::from_bytes(&answer.body).map_err(|error| undecodable(&answer.kind, error))
}

/// Sends one endpoint a message that wants no answer.
pub(super) async fn send<M: instar_sdk::Message>(
    env: &RpcEnv,
    to: EndpointAddress,
    value: &M,
) -> Result<(), RpcError> {
    let body = postcard::to_stdvec(value).map_err(|error| RpcError::Undecodable {
        what: format!("`{}`", M::KIND),
        reason: error.to_string(),
    })?;
    env.reference(to).send(Message::new(M::KIND, body)).await
}

/// Asks all masters at once and returns what the leading one says, without a wait for others: one that is
/// frozen never answers.
///
/// # Errors
/// Where none leads: what each of them said.
pub(super) async fn ask_masters<R>(
    env: &RpcEnv,
    masters: &Masters,
    request: &R,
) -> anyhow::Result<R::Reply>
where
    R: Request,
    R::Reply: Answer,
{
    let asks = masters.0.iter().map(|address| async move {
        let to = EndpointAddress::new(MASTER, Location::Listening(address.clone()));
        (address, ask(env, to, request, ANSWER_WITHIN).await)
    });
    let (mut reasons, mut failures) = (Vec::new(), Vec::new());
    let leads = |(_, answer): &(_, Result<R::Reply, RpcError>)| {
        answer
            .as_ref()
            .is_ok_and(|answer| answer.not_leading().is_none())
    };
    for (address, answer) in join_until(asks, leads).await {
        match answer {
            Ok(answer) => match answer.not_leading() {
                None => return Ok(answer),
                Some(state) => reasons.push(format!("{address}: {state}")),
            },
            Err(error) => {
                reasons.push(format!("{address}: {error}"));
                failures.push(error);
            }
        }
    }
    let all_failed = failures.len() == masters.0.len();
    let text = match reasons.as_slice() {
        [_] if all_failed => format!("ask the master {masters}"),
        _ => format!(
            "no master leads; name all of them with --master: {}",
            reasons.join("; ")
        ),
    };
    match failures.pop() {
        // None was reached: that is the error, with its exit code.
        Some(error) if all_failed => Err(anyhow::Error::from(error).context(text)),
        _ => Err(anyhow::anyhow!(text)),
    }
}

/// All of them at once, until one ends with what is enough. What has ended then, in their order.
async fn join_until<F: Future>(
    futures: impl Iterator<Item = F>,
    is_enough: impl Fn(&F::Output) -> bool,
) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(move |context| {
        let (mut all, mut enough) = (true, false);
        for (future, output) in &mut running {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(ready) => {
                        enough |= is_enough(&ready);
                        *output = Some(ready);
                    }
                    std::task::Poll::Pending => all = false,
                }
            }
        }
        match all || enough {
            true => {
                let outputs = running.iter_mut().filter_map(|(_, output)| output.take());
                std::task::Poll::Ready(outputs.collect())
            }
            false => std::task::Poll::Pending,
        }
    })
    .await
}

/// `KEY=VALUE`.
pub(super) fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err(format!("`{text}` is no setting; expected KEY=VALUE")),
    }
}

/// A memory size in MB (2^20 bytes): `512M`, `4G`, `512MiB`, `4 GiB`.
pub(super) fn parse_memory(text: &str) -> Result<u32, String> {
    let wrong = || {
        format!(
            "`{text}` is no size; expected a number with its unit, like 512M or 4G, at least 1M"
        )
    };
    let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(end);
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "m" | "mb" | "mib" => 1,
        "g" | "gb" | "gib" => 1024,
        _ => return Err(wrong()),
    };
    let megabytes = number.checked_mul(factor).filter(|mb| *mb > 0);
    megabytes.ok_or_else(wrong)
}

/// What is wrong with arguments that do not go together.
pub(super) fn bad(text: impl Into<String>) -> anyhow::Error {
    BadInput(text.into()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masters_are_given_as_one_url_or_as_addresses() {
        let two = parse_masters("instar://a:1,b:2").unwrap();
        assert_eq!(two.to_string(), "a:1,b:2");
        assert_eq!(parse_masters("a:1, b:2").unwrap(), two);
        for wrong in ["", "a", "a:1,", "spark://a:1", "instar://a:1/x"] {
            assert!(parse_masters(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn memory_has_a_unit_and_is_counted_in_megabytes() {
        assert_eq!(parse_memory("5G"), Ok(5120));
        assert_eq!(parse_memory("10000M"), Ok(10_000));
        assert_eq!(parse_memory("64 MiB"), Ok(64));
        for wrong in ["10000", "0M", "M", "-1G", "1T", "9999999G"] {
            assert!(parse_memory(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_setting_has_a_key() {
        let pair = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        assert_eq!(parse_pair("a=b=c"), pair("a", "b=c"));
        assert_eq!(parse_pair("a="), pair("a", ""));
        assert!(parse_pair("=b").is_err() && parse_pair("a").is_err());
    }

    #[tokio::test]
    async fn all_futures_run_at_once_and_answer_in_order() {
        let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(3));
        let each = (0..3).map(|n| {
            let barrier = std::sync::Arc::clone(&barrier);
            async move {
                barrier.wait().await;
                n
            }
        });
        assert_eq!(join_until(each, |_| false).await, [0, 1, 2]);
    }

    #[tokio::test]
    async fn one_that_is_enough_is_not_kept_waiting_by_one_that_never_ends() {
        let each = (0..3).map(|n| async move {
            if n == 0 {
                std::future::pending::<()>().await;
            }
            n
        });
        assert_eq!(join_until(each, |n| *n == 2).await, [1, 2]);
    }
}
