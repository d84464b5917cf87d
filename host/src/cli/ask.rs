//! `instar ask` and `instar send`: JSON to a message by the schema that the endpoint ships, and the
//! answer back to JSON.

use std::io::Read as _;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use super::exit::BadInput;
use super::output::Output;
use crate::address::EndpointAddress;
use crate::component::metadata::{Handler, Metadata};
use crate::message::Message;
use crate::rpc_env::{RpcEnv, RpcSettings};
use crate::schema;

/// The most JSON that is read from stdin, in bytes.
const STDIN_BYTES_MAX: u64 = 64 << 20;

/// Ask an endpoint and print its answer as JSON.
///
/// Example: instar ask instar://echo@127.0.0.1:7077 echo.Say '{"text": "hello"}'
#[derive(Args)]
pub(super) struct Ask {
    #[command(flatten)]
    message: MessageArguments,
    /// How long to wait for the answer, like 500ms, 10s or 2m.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    timeout: Duration,
}

/// Send an endpoint a message that wants no answer.
///
/// What becomes of it is not told.
///
/// Example: instar send instar://wordcount@127.0.0.1:7077 wordcount.Reset
#[derive(Args)]
pub(super) struct Send {
    #[command(flatten)]
    message: MessageArguments,
}

#[derive(Args)]
struct MessageArguments {
    /// The endpoint: instar://NAME@HOST:PORT.
    uri: String,
    /// The kind of the message. Its last part is enough where that is unique.
    kind: String,
    /// The message as JSON; `-` reads it from stdin. Default: {}.
    #[arg(value_name = "JSON")]
    body: Option<String>,
}

impl Ask {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<()> {
        let (env, address, metadata) = self.message.connect().await?;
        let handler = self.message.handler(&metadata)?;
        let Some(reply) = &handler.reply else {
            return Err(BadInput(format!(
                "`{}` wants no answer; use `instar send`",
                handler.request.kind
            ))
            .into());
        };
        let message = self.message.encode(handler)?;
        let endpoint = env.reference(address);
        let answer = endpoint
            .ask_within(message, self.timeout, "--timeout")
            .await?;
        if *answer.kind != *reply.kind {
            anyhow::bail!(
                "the answer is a `{}`, expected `{}`",
                answer.kind,
                reply.kind
            );
        }
        // Not the user's mistake, so not with the exit code of bad input.
        let value = schema::decode(reply, &answer.body).map_err(|error| {
            anyhow::anyhow!(
                "the answer is no `{}` as the endpoint describes it: {error}",
                reply.kind
            )
        })?;
        output.print(&value, |value| {
            serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
        })?;
        env.shutdown().await;
        Ok(())
    }
}

impl Send {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<()> {
        let (env, address, metadata) = self.message.connect().await?;
        let handler = self.message.handler(&metadata)?;
        if handler.reply.is_some() {
            return Err(BadInput(format!(
                "`{}` wants an answer; use `instar ask`",
                handler.request.kind
            ))
            .into());
        }
        let message = self.message.encode(handler)?;
        // The host at the other end would only count it as a dead letter.
        message.check_sender_may(false)?;
        let kind = message.kind.to_string();
        env.reference(address).send(message).await?;
        // The shutdown flushes what waits: only then it has left.
        env.shutdown().await;
        output.print(&serde_json::json!({ "sent": kind }), |_| {
            format!("sent {kind}")
        })
    }
}

impl MessageArguments {
    /// A client, the address, and what the endpoint says of itself.
    async fn connect(&self) -> anyhow::Result<(RpcEnv, EndpointAddress, Metadata)> {
        let address: EndpointAddress = self.uri.parse()?;
        let mut settings = RpcSettings::default();
        settings.timeouts.lookup_timeout = Duration::from_secs(10);
        let env = RpcEnv::create(settings).await?;
        let metadata = env.describe(&address).await?;
        Ok((env, address, metadata))
    }

    fn handler<'a>(&self, metadata: &'a Metadata) -> anyhow::Result<&'a Handler> {
        let named = |handler: &&Handler| handler.request.kind == self.kind;
        if let Some(handler) = metadata.handles.iter().find(named) {
            return Ok(handler);
        }
        let suffix = format!(".{}", self.kind);
        let mut similar = metadata
            .handles
            .iter()
            .filter(|h| h.request.kind.ends_with(&suffix));
        if let (Some(handler), None) = (similar.next(), similar.next()) {
            return Ok(handler);
        }
        let kinds = metadata.handles.iter().map(|handler| {
            let sort = if handler.reply.is_some() {
                "ask "
            } else {
                "send"
            };
            format!("  {sort}  {}", schema::pseudocode(&handler.request))
        });
        let kinds: Vec<String> = kinds.collect();
        Err(BadInput(format!(
            "`{}` {} does not handle messages of kind `{}`; it handles:\n{}",
            metadata.name,
            metadata.version,
            self.kind,
            kinds.join("\n")
        ))
        .into())
    }

    fn encode(&self, handler: &Handler) -> anyhow::Result<Message> {
        let text = match self.body.as_deref() {
            None => "{}".to_owned(),
            Some("-") => read_stdin()?,
            Some(text) => text.to_owned(),
        };
        let value: Value = serde_json::from_str(&text)
            .map_err(|error| BadInput(format!("the message is no JSON: {error}")))?;
        let value = match (self.body.as_deref(), &value) {
            // Nothing was given: fine for a type without fields, whatever its form.
            (None, _) if schema::encode(&handler.request, &Value::Null).is_ok() => Value::Null,
            _ => value,
        };
        let body = schema::encode(&handler.request, &value)
            .with_context(|| format!("expected {}", schema::pseudocode(&handler.request)))?;
        Ok(Message::new(handler.request.kind.as_str(), body))
    }
}

fn read_stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    let mut stdin = std::io::stdin().lock().take(STDIN_BYTES_MAX + 1);
    stdin
        .read_to_string(&mut text)
        .context("read the message from stdin")?;
    if text.len() as u64 > STDIN_BYTES_MAX {
        let limit = format!("the message on stdin is larger than {STDIN_BYTES_MAX} bytes");
        return Err(BadInput(limit).into());
    }
    Ok(text)
}

/// A time like `500ms`, `10s`, `2m`, `1h`; a bare number is seconds.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let wrong = || format!("`{text}` is no time; expected one like 500ms, 10s, 2m");
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit.trim() {
        "ms" => number / 1e3,
        "" | "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_or_is_in_seconds() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        for wrong in ["", "s", "-1s", "1 day", "1e9", "99999999999999999999h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
