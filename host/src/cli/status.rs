//! `instar status`: the endpoints of a running host, and what became of its plugin files.

use clap::Args;
use serde_json::json;

use super::Admin;
use super::output::{Output, duration, line, short, size, table};
use crate::admin::api::StatusReply;
use crate::endpoint::status::{ElectionStatus, EndpointState, EndpointStatus, Metric, Role};
use crate::plugins::wanted;

/// Show the endpoints of a running host, or everything about one of them.
///
/// Below the table stands what you should know: files that were refused, that wait for approval or were
/// rolled back, and versions on probation.
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
        let mut lines = vec![all(&status)];
        let told = |endpoint: &EndpointStatus| plugins.iter().any(|plugin| waits(plugin, endpoint));
        let notes = |endpoint| notes(endpoint, !told(endpoint));
        let notes = status.endpoints.iter().flat_map(notes);
        let notes: Vec<_> = notes.chain(plugins.iter().filter_map(plugin)).collect();
        if !notes.is_empty() {
            lines.push(String::new());
            lines.extend(notes);
        }
        line(&lines.join("\n"))
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

/// What an endpoint is beside the others of its name; nothing where it is the only one.
fn leads(endpoint: &EndpointStatus) -> &'static str {
    let election = endpoint.election.as_ref();
    match election.filter(|election| election.mode != ALONE) {
        None => "",
        Some(election) => match election.role {
            Role::Leads => ", leads",
            Role::InDoubt => ", IN DOUBT whether it leads",
            Role::StandsBy => ", stands by",
            Role::DoesNotStand => "",
        },
    }
}

/// The mode of an election in which nobody else can lead.
const ALONE: &str = "none";

/// How an endpoint stands to its election, as rows of a table.
fn election(election: &ElectionStatus) -> Vec<Vec<String>> {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let of = match (election.place, election.participants.len()) {
        (Some(place), most) if most > 0 => format!(" as number {} of {most}", place + 1),
        _ => String::new(),
    };
    let term = election.term.map(|term| format!(" (term {term})"));
    let role = match election.role {
        Role::Leads => format!("leads{of}{}", term.unwrap_or_default()),
        Role::InDoubt => format!(
            "in doubt whether it leads{}: it stands still",
            term.unwrap_or_default()
        ),
        Role::StandsBy => format!("stands by{of}"),
        Role::DoesNotStand => "does not stand".to_owned(),
    };
    let mut rows = vec![row("election", format!("{}: {role}", election.mode))];
    if let Some(trouble) = &election.trouble {
        rows.push(row("election trouble", trouble.clone()));
    }
    if !election.reading.is_empty() {
        rows.push(row("election reads", election.reading.clone()));
    }
    for (place, participant) in election.participants.iter().enumerate() {
        let what = match &participant.candidate {
            None => format!("node {}", participant.node),
            Some(candidate) => {
                let entries = candidate.entries.as_ref().map(|entries| {
                    format!(
                        ", entries: writes {}, reads {:?}",
                        entries.writes, entries.reads
                    )
                });
                let entries = entries.unwrap_or_default();
                format!("{}, version {}{entries}", candidate.id, candidate.version)
            }
        };
        rows.push(row(&format!("candidate {}", place + 1), what));
    }
    rows
}

/// What became of a plugin file, if it is not simply loaded.
fn plugin(plugin: &serde_json::Value) -> Option<String> {
    let reason = plugin["reason"].as_str()?;
    let name = plugin["plugin"].as_str().unwrap_or("?");
    let state = plugin["state"].as_str().unwrap_or("?").replace('-', " ");
    // Some reasons begin with the state, for they stand alone elsewhere.
    let rest = reason.strip_prefix(&state);
    Some(
        match rest.is_some_and(|rest| rest.starts_with([':', ' '])) {
            true => format!("plugin {name}: {reason}"),
            false => format!("plugin {name}: {state}: {reason}"),
        },
    )
}

/// True if the plugin file of this endpoint is the version that waits: then its line says so.
fn waits(plugin: &serde_json::Value, endpoint: &EndpointStatus) -> bool {
    let names = plugin["endpoints"].as_array();
    let ours = names.is_some_and(|names| names.iter().any(|name| *name == *endpoint.name));
    ours && plugin["state"] == "needs-approval"
}

/// What an operator should know of an endpoint beyond its numbers.
fn notes(endpoint: &EndpointStatus, with_held: bool) -> Vec<String> {
    let name = &endpoint.name;
    let probation =
        probation(endpoint).map(|text| format!("endpoint {name}: on probation: {text}"));
    let held = held(endpoint).filter(|_| with_held).map(|text| {
        format!("endpoint {name}: needs approval: {text}; `instar approve {name}` swaps to it")
    });
    let election = endpoint.election.as_ref();
    let trouble = election.and_then(|election| election.trouble.as_ref());
    let trouble = trouble.map(|trouble| format!("endpoint {name}: election: {trouble}"));
    let cannot = election.filter(|election| election.can_read_the_leader == Some(false));
    let cannot = cannot.map(|election| format!("endpoint {name}: {}", election.reading));
    let notes = probation.into_iter().chain(held);
    notes.chain(trouble).chain(cannot).collect()
}

fn probation(endpoint: &EndpointStatus) -> Option<String> {
    let probation = endpoint.probation.as_ref()?;
    Some(format!(
        "{} of {} messages; version {} would come back",
        probation.messages, probation.messages_limit, probation.back_to.version
    ))
}

fn held(endpoint: &EndpointStatus) -> Option<String> {
    let held = endpoint.held.as_ref()?;
    Some(format!(
        "version {} wants {}",
        held.id.version,
        wanted(&held.wants)
    ))
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
            state(&endpoint.state) + leads(endpoint),
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
        row("swaps", endpoint.swaps.to_string()),
        row("crashes", endpoint.crashes.to_string()),
    ];
    let more = [
        ("probation", probation(endpoint)),
        ("needs approval", held(endpoint)),
        (
            "checkpoint",
            endpoint
                .checkpoint_age
                .map(|age| format!("{} ago", duration(age))),
        ),
    ];
    rows.extend(
        more.into_iter()
            .filter_map(|(name, value)| Some(row(name, value?))),
    );
    rows.extend(endpoint.election.iter().flat_map(election));
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
    format!("{}\n\n{}", table(&rows), table(&limits(endpoint)))
}

/// How close the endpoint is to each of its limits. The names are those of the sidecar.
fn limits(endpoint: &EndpointStatus) -> Vec<Vec<String>> {
    let row = |limit: &str, used: String, most: String| vec![limit.to_owned(), used, most];
    let bytes = |limit, used, most| row(limit, size(used as u64), size(most as u64));
    let count = |limit, used: usize, most: usize| row(limit, used.to_string(), most.to_string());
    let e = endpoint;
    let turn = match e.longest_turn.is_zero() {
        true => "below 1 ms".to_owned(),
        false => duration(e.longest_turn),
    };
    vec![
        row("limit", "used".to_owned(), "most".to_owned()),
        bytes("memory", e.memory_bytes, e.memory_limit_bytes),
        count("table_elements", e.table_elements, e.table_elements_limit),
        count("core_instances", e.core_instances, e.core_instances_limit),
        bytes("message", e.message_bytes, e.message_bytes_limit),
        row("turn", turn, duration(e.turn_limit)),
        count("inbox", e.inbox, e.inbox_limit),
        count("open_calls", e.open_calls, e.open_calls_limit),
        count("open_asks", e.open_asks, e.open_asks_limit),
        count("timers", e.timers, e.timers_limit),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admin::fake_control;
    use crate::component::entries::EntryFormats;
    use crate::election::leadership::{Candidate, Participant};
    use crate::endpoint::record::{HeldVersion, VersionId};
    use crate::endpoint::status::OnProbation;

    fn version(version: &str) -> VersionId {
        VersionId {
            version: version.to_owned(),
            digest: String::new(),
        }
    }

    fn busy() -> EndpointStatus {
        EndpointStatus {
            held: Some(HeldVersion {
                id: version("2.0.0"),
                wants: vec!["the right `clock` (for its clock)".to_owned()],
            }),
            probation: Some(OnProbation {
                back_to: version("0.9.0"),
                messages: 3,
                messages_limit: 1000,
            }),
            checkpoint_age: Some(Duration::from_secs(3)),
            ..fake_control::endpoint("counter")
        }
    }

    #[test]
    fn what_waits_and_what_is_on_probation_is_told() {
        let notes = notes(&busy(), true);
        assert_eq!(
            notes,
            [
                "endpoint counter: on probation: 3 of 1000 messages; version 0.9.0 would come back",
                "endpoint counter: needs approval: version 2.0.0 wants the right `clock` (for its clock); \
                 `instar approve counter` swaps to it",
            ]
        );
        let text = one(&busy());
        for line in ["probation", "needs approval", "checkpoint      3.0 s ago"] {
            assert!(text.contains(line), "{text}");
        }
    }

    /// The line of the file says it already.
    #[test]
    fn a_version_that_waits_is_told_once() {
        let file = json!({
            "plugin": "c", "endpoints": ["counter"], "state": "needs-approval",
            "reason": "needs approval: version 2.0.0 wants more",
        });
        assert!(waits(&file, &busy()));
        assert_eq!(notes(&busy(), false).len(), 1);
        assert_eq!(
            plugin(&file).as_deref(),
            Some("plugin c: needs approval: version 2.0.0 wants more")
        );
        let rejected = json!({ "plugin": "c", "state": "rejected", "reason": "no" });
        assert_eq!(plugin(&rejected).as_deref(), Some("plugin c: rejected: no"));
        let back =
            json!({ "plugin": "c", "state": "rolled-back", "reason": "rolled back to 1.0.0" });
        assert_eq!(
            plugin(&back).as_deref(),
            Some("plugin c: rolled back to 1.0.0")
        );
        assert_eq!(plugin(&json!({ "plugin": "c", "reason": null })), None);
    }

    #[test]
    fn an_election_is_shown_with_all_who_stand() {
        let candidate = |id: &str, reads: &[u32]| Participant {
            node: id.to_owned(),
            candidate: Some(Candidate {
                id: format!("instar://master@{id}"),
                version: "1.0.0".to_owned(),
                entries: Some(EntryFormats {
                    writes: 1,
                    reads: reads.to_vec(),
                }),
            }),
        };
        let stands_by = ElectionStatus {
            mode: "zookeeper".to_owned(),
            role: Role::StandsBy,
            term: None,
            place: Some(1),
            participants: vec![candidate("a:1", &[1]), candidate("b:1", &[1, 2])],
            trouble: Some("not connected".to_owned()),
            can_read_the_leader: Some(false),
            reading: "it CANNOT read".to_owned(),
        };
        let endpoint = EndpointStatus {
            election: Some(stands_by),
            ..fake_control::endpoint("master")
        };
        let text = one(&endpoint);
        for line in [
            "zookeeper: stands by as number 2 of 2",
            "election trouble  not connected",
            "instar://master@b:1, version 1.0.0, entries: writes 1, reads [1, 2]",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert_eq!(leads(&endpoint), ", stands by");
        assert_eq!(
            notes(&endpoint, true),
            [
                "endpoint master: election: not connected",
                "endpoint master: it CANNOT read"
            ]
        );
        assert_eq!(leads(&fake_control::endpoint("other")), "");
    }

    #[test]
    fn every_limit_is_shown_with_its_use() {
        let shown = one(&fake_control::endpoint("counter"));
        let (_, limits) = shown.split_once("\n\n").unwrap();
        let lines: Vec<Vec<&str>> = limits
            .lines()
            .map(|line| {
                line.split("  ")
                    .map(str::trim)
                    .filter(|cell| !cell.is_empty())
                    .collect()
            })
            .collect();
        assert_eq!(lines[0], ["limit", "used", "most"]);
        assert!(
            lines.contains(&vec!["memory", "1.0 MiB", "64.0 MiB"]),
            "{limits}"
        );
        assert!(
            lines.contains(&vec!["table_elements", "300", "20000"]),
            "{limits}"
        );
        assert!(
            lines.contains(&vec!["turn", "3.000 ms", "10.0 s"]),
            "{limits}"
        );
        assert!(lines.iter().all(|line| line.len() == 3), "{limits}");
    }
}
