//! Metrics: the state of the endpoints as Prometheus text, format version 0.0.4.
//!
//! The metrics of guests keep their name as a label, not as the name of a family: two guests may use
//! one name for different sorts, and a family has one sort only.

use std::fmt::{self, Write as _};

use super::api::HostStatus;
use crate::endpoint::status::{EndpointState, EndpointStatus, Metric};

/// The content type of [`render`].
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes all families, each once, with a line for each endpoint.
pub(super) fn render(host: &HostStatus, endpoints: &[EndpointStatus]) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = write_host(&mut page, host);
    let _ = write_endpoints(&mut page, endpoints);
    let _ = write_guests(&mut page, endpoints);
    page
}

fn write_host(page: &mut String, host: &HostStatus) -> fmt::Result {
    family(page, "instar_host_info", "gauge", "The host; always 1.")?;
    let labels = labels(&[("version", &host.version), ("address", &host.address)]);
    writeln!(page, "instar_host_info{labels} 1")?;
    family(
        page,
        "instar_host_up_seconds",
        "gauge",
        "Since when the host runs.",
    )?;
    writeln!(page, "instar_host_up_seconds {}", host.up.as_secs_f64())
}

/// One number of an endpoint: name, sort, help, and how to read it.
type Family = (
    &'static str,
    &'static str,
    &'static str,
    fn(&EndpointStatus) -> f64,
);

const FAMILIES: &[Family] = &[
    (
        "up_seconds",
        "gauge",
        "Since when the host has the endpoint.",
        |e| e.up.as_secs_f64(),
    ),
    ("inbox_messages", "gauge", "Messages that wait.", |e| {
        e.inbox as f64
    }),
    (
        "inbox_limit_messages",
        "gauge",
        "Messages that may wait.",
        |e| e.inbox_limit as f64,
    ),
    (
        "memory_bytes",
        "gauge",
        "Linear memory of the instance.",
        |e| e.memory_bytes as f64,
    ),
    ("memory_limit_bytes", "gauge", "Its limit.", |e| {
        e.memory_limit_bytes as f64
    }),
    (
        "table_elements",
        "gauge",
        "Elements of the tables of the instance.",
        |e| e.table_elements as f64,
    ),
    ("table_elements_limit", "gauge", "Their limit.", |e| {
        e.table_elements_limit as f64
    }),
    (
        "core_instances",
        "gauge",
        "Core instances that the instance is made of.",
        |e| e.core_instances as f64,
    ),
    ("core_instances_limit", "gauge", "Their limit.", |e| {
        e.core_instances_limit as f64
    }),
    (
        "message_bytes",
        "gauge",
        "The largest message to the endpoint so far.",
        |e| e.message_bytes as f64,
    ),
    ("message_limit_bytes", "gauge", "Its limit.", |e| {
        e.message_bytes_limit as f64
    }),
    (
        "longest_turn_seconds",
        "gauge",
        "The longest turn of the instance, in ticks of 1 ms.",
        |e| e.longest_turn.as_secs_f64(),
    ),
    ("turn_limit_seconds", "gauge", "Its limit.", |e| {
        e.turn_limit.as_secs_f64()
    }),
    (
        "open_calls",
        "gauge",
        "Calls that wait for an answer.",
        |e| e.open_calls as f64,
    ),
    ("open_calls_limit", "gauge", "Their limit.", |e| {
        e.open_calls_limit as f64
    }),
    ("open_asks", "gauge", "Answers that it waits for.", |e| {
        e.open_asks as f64
    }),
    ("open_asks_limit", "gauge", "Their limit.", |e| {
        e.open_asks_limit as f64
    }),
    ("timers", "gauge", "Timers that run.", |e| e.timers as f64),
    ("timers_limit", "gauge", "Their limit.", |e| {
        e.timers_limit as f64
    }),
    (
        "turns_total",
        "counter",
        "Turns: messages, answers, timers, notices.",
        |e| e.turns as f64,
    ),
    ("swaps_total", "counter", "Swaps that worked.", |e| {
        e.swaps as f64
    }),
    ("crashes_total", "counter", "Crashes.", |e| e.crashes as f64),
];

const STATES: [&str; 5] = ["running", "swapping", "restarting", "failed", "stopping"];

fn write_endpoints(page: &mut String, endpoints: &[EndpointStatus]) -> fmt::Result {
    const INFO: &str = "instar_endpoint_info";
    family(page, INFO, "gauge", "The code that runs; always 1.")?;
    for endpoint in endpoints {
        let code = &endpoint.code;
        let labels = labels(&[
            ("endpoint", &endpoint.name),
            ("version", &code.version),
            ("digest", &code.digest),
        ]);
        writeln!(page, "{INFO}{labels} 1")?;
    }
    const STATE: &str = "instar_endpoint_state";
    family(
        page,
        STATE,
        "gauge",
        "1 for the state that the endpoint is in, 0 for the others.",
    )?;
    for endpoint in endpoints {
        let current = state(&endpoint.state);
        for state in STATES {
            let labels = labels(&[("endpoint", &endpoint.name), ("state", state)]);
            writeln!(page, "{STATE}{labels} {}", u8::from(state == current))?;
        }
    }
    for (name, sort, help, read) in FAMILIES {
        let name = format!("instar_endpoint_{name}");
        family(page, &name, sort, help)?;
        for endpoint in endpoints {
            let labels = labels(&[("endpoint", &endpoint.name)]);
            writeln!(page, "{name}{labels} {}", number(read(endpoint)))?;
        }
    }
    const DEAD: &str = "instar_endpoint_dead_letters_total";
    family(page, DEAD, "counter", "Messages that could not be handled.")?;
    for endpoint in endpoints {
        for (reason, count) in &endpoint.dead_letters {
            let labels = labels(&[("endpoint", &endpoint.name), ("reason", reason)]);
            writeln!(page, "{DEAD}{labels} {count}")?;
        }
    }
    Ok(())
}

fn write_guests(page: &mut String, endpoints: &[EndpointStatus]) -> fmt::Result {
    let all = || {
        let of = |e: &'_ EndpointStatus| e.name.clone();
        endpoints.iter().flat_map(move |e| {
            e.metrics
                .iter()
                .map(move |(name, metric)| (of(e), name, metric))
        })
    };
    const COUNTER: &str = "instar_guest_counter_total";
    family(
        page,
        COUNTER,
        "counter",
        "A counter of a guest; its name is the label `name`.",
    )?;
    for (endpoint, name, metric) in all() {
        if let Metric::Counter { value } = metric {
            let labels = labels(&[("endpoint", &endpoint), ("name", name)]);
            writeln!(page, "{COUNTER}{labels} {value}")?;
        }
    }
    const GAUGE: &str = "instar_guest_gauge";
    family(
        page,
        GAUGE,
        "gauge",
        "A gauge of a guest; its name is the label `name`.",
    )?;
    for (endpoint, name, metric) in all() {
        if let Metric::Gauge { value } = metric {
            let labels = labels(&[("endpoint", &endpoint), ("name", name)]);
            writeln!(page, "{GAUGE}{labels} {}", number(*value))?;
        }
    }
    const HISTOGRAM: &str = "instar_guest_histogram";
    family(
        page,
        HISTOGRAM,
        "histogram",
        "Observations of a guest; its name is the label `name`.",
    )?;
    for (endpoint, name, metric) in all() {
        let Metric::Histogram {
            count,
            sum,
            buckets,
        } = metric
        else {
            continue;
        };
        let pair = [("endpoint", endpoint.as_str()), ("name", name.as_str())];
        // Prometheus counts in each bucket what lies in the lower ones too, and wants them in order.
        let mut buckets: Vec<(f64, u64)> = buckets.clone();
        buckets.retain(|(bound, _)| bound.is_finite());
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut below = 0_u64;
        for (bound, inside) in buckets {
            below = below.saturating_add(inside);
            let bound = number(bound);
            let labels = labels(&[pair[0], pair[1], ("le", &bound)]);
            writeln!(page, "{HISTOGRAM}_bucket{labels} {below}")?;
        }
        let infinite = labels(&[pair[0], pair[1], ("le", "+Inf")]);
        writeln!(page, "{HISTOGRAM}_bucket{infinite} {count}")?;
        let labels = labels(&pair);
        writeln!(page, "{HISTOGRAM}_sum{labels} {}", number(*sum))?;
        writeln!(page, "{HISTOGRAM}_count{labels} {count}")?;
    }
    Ok(())
}

/// The word for a state, without its reason.
fn state(state: &EndpointState) -> &'static str {
    match state {
        EndpointState::Running => "running",
        EndpointState::Swapping => "swapping",
        EndpointState::Restarting(_) => "restarting",
        EndpointState::Failed(_) => "failed",
        EndpointState::Stopping => "stopping",
    }
}

fn family(page: &mut String, name: &str, sort: &str, help: &str) -> fmt::Result {
    writeln!(page, "# HELP {name} {help}")?;
    writeln!(page, "# TYPE {name} {sort}")
}

/// `{a="1",b="2"}`, with backslash, quote and line break escaped, as the format wants.
fn labels(pairs: &[(&str, &str)]) -> String {
    let mut text = String::from("{");
    for (index, (name, value)) in pairs.iter().enumerate() {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{name}=\"{value}\"");
    }
    text.push('}');
    text
}

/// Prometheus' words for what is no number.
fn number(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::fake_control;

    fn page(metrics: &[(&str, Metric)]) -> String {
        let mut endpoint = fake_control::endpoint("count\"er");
        endpoint.dead_letters.insert("back\\slash\nline".into(), 3);
        endpoint.metrics = metrics
            .iter()
            .map(|(name, metric)| ((*name).to_owned(), metric.clone()))
            .collect();
        render(&fake_control::host(), &[endpoint])
    }

    #[test]
    fn labels_are_escaped() {
        let page = page(&[]);
        let dead = r#"instar_endpoint_dead_letters_total{endpoint="count\"er",reason="back\\slash\nline"} 3"#;
        assert!(page.contains(dead), "{page}");
        let running = r#"instar_endpoint_state{endpoint="count\"er",state="running"} 1"#;
        assert!(page.contains(running), "{page}");
    }

    #[test]
    fn every_use_stands_beside_its_limit() {
        let page = page(&[]);
        for line in [
            "table_elements{",
            "table_elements_limit{",
            "core_instances_limit{",
            "message_limit_bytes{",
            "open_calls_limit{",
            "open_asks_limit{",
            "timers_limit{",
        ] {
            assert!(
                page.contains(&format!("\ninstar_endpoint_{line}")),
                "{line}"
            );
        }
        let turn = r#"instar_endpoint_longest_turn_seconds{endpoint="count\"er"} 0.003"#;
        assert!(page.contains(turn), "{page}");
    }

    #[test]
    fn buckets_are_cumulative_and_end_with_infinity() {
        let histogram = Metric::Histogram {
            count: 6,
            sum: 7.5,
            buckets: vec![(2.0, 3), (1.0, 2)],
        };
        let page = page(&[
            ("lag", histogram),
            ("depth", Metric::Gauge { value: f64::NAN }),
        ]);
        let name = r#"{endpoint="count\"er",name="lag""#;
        for line in [
            format!(r#"_bucket{name},le="1"}} 2"#),
            format!(r#"_bucket{name},le="2"}} 5"#),
            format!(r#"_bucket{name},le="+Inf"}} 6"#),
            format!("_sum{name}}} 7.5"),
            format!("_count{name}}} 6"),
        ] {
            assert!(
                page.contains(&format!("instar_guest_histogram{line}\n")),
                "{page}"
            );
        }
        assert!(page.contains(r#"name="depth"} NaN"#), "{page}");
    }

    #[test]
    fn every_family_is_declared_once_and_every_line_is_of_a_declared_family() {
        let page = page(&[("n", Metric::Counter { value: 1 })]);
        let declared: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        let distinct: std::collections::BTreeSet<&str> = declared.iter().copied().collect();
        assert_eq!(declared.len(), distinct.len());
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(
                name.starts_with("instar_") && distinct.contains(name),
                "{line}"
            );
        }
    }
}
