//! `instar status`: the endpoints of a running host, and what became of its plugin files.

use clap::Args;
use serde_json::json;

use super::Admin;
use super::output::{Output, duration, line, short, size, table};
use crate::admin::api::StatusReply;
use crate::endpoint::status::{EndpointState, EndpointStatus, Metric};

/// Shows the endpoints of a running host, or everything about one of them.
#[derive(Args)]
pub(super) struct Status {
    /// Only this endpoint, with its numbers.
    name: Option<String>,
    #[command(flatten)]
    admin: Admin,
}

impl Status {
    pub(super) fn run(self, output: Output) -> anyhow::Result<()> {
        let client = self.admin.client()?;
        if let Some(name) = &self.name {
            return output.print(&client.endpoint(name)?, one);
        }
        let status = client.status()?;
        let plugins = client.plugins()?;
        if output.json {
            let all = json!({
                "host": status.host,
                "endpoints": status.endpoints,
                "plugins": plugins,
            });
            return output.print(&all, |_| String::new());
        }
        let mut text = all(&status);
        for plugin in plugins.iter().filter(|plugin| plugin["reason"].is_string()) {
            text.push_str(&format!(
                "\nplugin {}: {}: {}",
                plugin["plugin"].as_str().unwrap_or("?"),
                plugin["state"].as_str().unwrap_or("?"),
                plugin["reason"].as_str().unwrap_or("?")
            ));
        }
        line(&text)
    }
}

fn state(state: &EndpointState) -> String {
    match state {
        EndpointState::Running => "running".to_owned(),
        EndpointState::Swapping => "swapping".to_owned(),
        EndpointState::Stopping => "stopping".to_owned(),
        EndpointState::Restarting(reason) => format!("restarting: {reason}"),
        EndpointState::Failed(reason) => format!("FAILED: {reason}"),
    }
}

fn all(status: &StatusReply) -> String {
    let head = [
        "endpoint", "version", "up", "turns", "inbox", "memory", "swaps", "crashes", "state",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for endpoint in &status.endpoints {
        rows.push(vec![
            endpoint.name.clone(),
            endpoint.code.version.clone(),
            duration(endpoint.up),
            endpoint.turns.to_string(),
            format!("{}/{}", endpoint.inbox, endpoint.inbox_limit),
            format!(
                "{}/{}",
                size(endpoint.memory_bytes as u64),
                size(endpoint.memory_limit_bytes as u64)
            ),
            endpoint.swaps.to_string(),
            endpoint.crashes.to_string(),
            state(&endpoint.state),
        ]);
    }
    format!(
        "host {} (instar {}), up {}\n\n{}",
        status.host.address,
        status.host.version,
        duration(status.host.up),
        table(&rows)
    )
}

fn one(endpoint: &EndpointStatus) -> String {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        row("endpoint", endpoint.uri.clone()),
        row("state", state(&endpoint.state)),
        row("version", endpoint.code.version.clone()),
        row("digest", short(&endpoint.code.digest).to_owned()),
        row("up", duration(endpoint.up)),
        row("turns", endpoint.turns.to_string()),
        row(
            "inbox",
            format!("{} of {}", endpoint.inbox, endpoint.inbox_limit),
        ),
        row(
            "memory",
            format!(
                "{} of {}",
                size(endpoint.memory_bytes as u64),
                size(endpoint.memory_limit_bytes as u64)
            ),
        ),
        row("open calls", endpoint.open_calls.to_string()),
        row("open asks", endpoint.open_asks.to_string()),
        row("timers", endpoint.timers.to_string()),
        row("swaps", endpoint.swaps.to_string()),
        row("crashes", endpoint.crashes.to_string()),
    ];
    for (reason, count) in &endpoint.dead_letters {
        rows.push(row(&format!("dead letters ({reason})"), count.to_string()));
    }
    for (name, metric) in &endpoint.metrics {
        let value = match metric {
            Metric::Counter { value } => value.to_string(),
            Metric::Gauge { value } => value.to_string(),
            Metric::Histogram { count, sum, .. } => {
                let mean = if *count == 0 {
                    0.0
                } else {
                    sum / *count as f64
                };
                format!("{count} observations, mean {mean}")
            }
        };
        rows.push(row(name, value));
    }
    table(&rows)
}
