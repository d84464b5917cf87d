//! What can be seen of an endpoint from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record::{HeldVersion, VersionId};
use crate::component::entries::EntryFormats;
use crate::election::leadership::{Certainty, Participant, Shown};

/// One endpoint, as `instar status` and the admin API show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// Its name.
    pub name: String,
    /// Its URI.
    pub uri: String,
    /// What it is doing.
    pub state: EndpointState,
    /// The code that runs.
    pub code: VersionId,
    /// Since when this host has the endpoint.
    pub up: Duration,
    /// Messages that wait.
    pub inbox: usize,
    /// Messages that may wait.
    pub inbox_limit: usize,
    /// Linear memory of the instance, in bytes.
    pub memory_bytes: usize,
    /// Its limit.
    pub memory_limit_bytes: usize,
    /// Elements of the tables of the instance.
    pub table_elements: usize,
    /// Their limit.
    pub table_elements_limit: usize,
    /// Core instances that the instance is made of.
    pub core_instances: usize,
    /// Their limit.
    pub core_instances_limit: usize,
    /// The largest message to the endpoint so far, in bytes.
    pub message_bytes: usize,
    /// Its limit.
    pub message_bytes_limit: usize,
    /// The longest turn of the instance, counted as its limit is: in ticks of 1 ms of the engine's
    /// clock, the time included in which other guests had the thread.
    pub longest_turn: Duration,
    /// Its limit.
    pub turn_limit: Duration,
    /// Calls that wait for an answer.
    pub open_calls: usize,
    /// Their limit.
    pub open_calls_limit: usize,
    /// Answers that it waits for.
    pub open_asks: usize,
    /// Their limit.
    pub open_asks_limit: usize,
    /// Timers that run.
    pub timers: usize,
    /// Their limit.
    pub timers_limit: usize,
    /// Turns since the start: messages, answers, timers, notices.
    pub turns: u64,
    /// A version that waits for approval.
    #[serde(default)]
    pub held: Option<HeldVersion>,
    /// The running version is on probation.
    #[serde(default)]
    pub probation: Option<OnProbation>,
    /// How it stands to the election; none for one that never stood.
    #[serde(default)]
    pub election: Option<ElectionStatus>,
    /// Age of the last copy of the state, in the endpoint's own time, if there is one.
    #[serde(default)]
    pub checkpoint_age: Option<Duration>,
    /// Swaps that worked.
    pub swaps: u64,
    /// Crashes since the start.
    pub crashes: u64,
    /// Messages to this endpoint that could not be handled, by reason.
    pub dead_letters: BTreeMap<String, u64>,
    /// The metrics of the guest.
    pub metrics: BTreeMap<String, Metric>,
}

/// A version that has to prove itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnProbation {
    /// The version that comes back if it fails.
    pub back_to: VersionId,
    /// Messages that it has handled.
    pub messages: u64,
    /// Messages after which it has passed; it passes earlier when its time is over.
    pub messages_limit: u64,
}

/// What an endpoint is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is", content = "reason")]
pub enum EndpointState {
    /// Handles messages.
    Running,
    /// Stands still for a swap, or drains for one.
    Swapping,
    /// Waits before the next try after a crash.
    Restarting(String),
    /// Crashed too often; its callers are answered at once. A new file or `instar restart` revives it.
    Failed(String),
    /// Handles what is queued, then ends.
    Stopping,
}

/// A number that a guest keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "sort")]
pub enum Metric {
    /// Only grows.
    Counter {
        /// Its value.
        value: u64,
    },
    /// Goes up and down.
    Gauge {
        /// Its value.
        value: f64,
    },
    /// Observations, in buckets whose bound doubles.
    Histogram {
        /// How many.
        count: u64,
        /// Their sum.
        sum: f64,
        /// Upper bound of each bucket, and how many fell into it and not into a lower one.
        buckets: Vec<(f64, u64)>,
    },
}

/// How an endpoint stands to the election of its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElectionStatus {
    /// How it is decided: `none`, `zookeeper`.
    pub mode: String,
    /// What it is.
    pub role: Role,
    /// The term that goes on here, if one does.
    pub term: Option<u64>,
    /// Its place among those who stand: 0 leads.
    pub place: Option<usize>,
    /// All who stand, the leader first. Empty where there is no election.
    pub participants: Vec<Participant>,
    /// What keeps it from standing, or from knowing.
    pub trouble: Option<String>,
    /// For one that stands by: whether it can read what the leader writes; none where that is not known.
    pub can_read_the_leader: Option<bool>,
    /// The same for people. Empty for one that leads.
    pub reading: String,
}

/// What an endpoint is in its election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It leads.
    Leads,
    /// It led, and whether it does is not known: it stands still.
    InDoubt,
    /// Another one leads, or nobody does.
    StandsBy,
    /// It does not stand any more.
    DoesNotStand,
}

impl ElectionStatus {
    /// `led`: the term that goes on, if it stands. `entries`: what it reads and writes itself.
    pub(super) fn new(
        stands: bool,
        led: Option<(u64, Certainty)>,
        shown: Shown,
        uri: &str,
        entries: Option<&EntryFormats>,
    ) -> Self {
        let role = match led {
            Some((_, Certainty::Certain)) => Role::Leads,
            Some((_, Certainty::Doubt)) => Role::InDoubt,
            Some((_, Certainty::Over)) | None if stands => Role::StandsBy,
            Some((_, Certainty::Over)) | None => Role::DoesNotStand,
        };
        let leader = shown.participants.first();
        let leader = leader.filter(|_| matches!(role, Role::StandsBy) && shown.place != Some(0));
        let candidate = leader.and_then(|leader| leader.candidate.as_ref());
        let candidate = candidate.filter(|candidate| candidate.id != uri);
        let writes = candidate.and_then(|leader| leader.entries.as_ref());
        let can_read = match (writes, entries) {
            (Some(leader), Some(own)) => Some(own.reads.contains(&leader.writes)),
            _ => None,
        };
        let version = candidate.map_or("", |leader| leader.version.as_str());
        let reading = match (leader, writes, entries) {
            (None, ..) => String::new(),
            (Some(_), Some(leader), Some(own)) if can_read == Some(true) => format!(
                "it can read what the leader (version {version}) writes: format {} of {:?}",
                leader.writes, own.reads
            ),
            (Some(_), Some(leader), Some(own)) => format!(
                "it CANNOT read what the leader (version {version}) writes: format {}, it reads {:?}; \
                 swap it to a version that does before it is needed",
                leader.writes, own.reads
            ),
            (Some(_), None, _) => {
                "whether it can read what the leader writes is not known: that one does not say".to_owned()
            }
            (Some(_), _, None) => {
                "whether it can read what the leader writes is not known: it does not say what it reads"
                    .to_owned()
            }
        };
        Self {
            mode: shown.mode,
            role,
            term: led.map(|(term, _)| term),
            place: shown.place,
            participants: shown.participants,
            trouble: shown.trouble,
            can_read_the_leader: can_read,
            reading,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::election::leadership::Candidate;

    fn participant(id: &str, entries: Option<(u32, &[u32])>) -> Participant {
        let entries = entries.map(|(writes, reads)| EntryFormats {
            writes,
            reads: reads.to_vec(),
        });
        Participant {
            node: format!("node of {id}"),
            candidate: Some(Candidate {
                id: id.to_owned(),
                version: "1.0.0".to_owned(),
                entries,
            }),
        }
    }

    fn standby(leader: Option<(u32, &[u32])>, own: Option<(u32, &[u32])>) -> ElectionStatus {
        let shown = Shown {
            participants: vec![participant("leader", leader), participant("own", own)],
            place: Some(1),
            ..Shown::default()
        };
        let own = own.map(|(writes, reads)| EntryFormats {
            writes,
            reads: reads.to_vec(),
        });
        ElectionStatus::new(true, None, shown, "own", own.as_ref())
    }

    #[test]
    fn one_that_stands_by_says_whether_it_can_read_what_the_leader_writes() {
        let status = standby(Some((2, &[1, 2])), Some((1, &[1])));
        assert_eq!(status.role, Role::StandsBy);
        assert_eq!(status.can_read_the_leader, Some(false));
        assert!(status.reading.contains("CANNOT"), "{}", status.reading);
        let status = standby(Some((1, &[1])), Some((2, &[1, 2])));
        assert_eq!(status.can_read_the_leader, Some(true));
        for unknown in [
            standby(None, Some((1, &[1]))),
            standby(Some((1, &[1])), None),
        ] {
            assert_eq!(unknown.can_read_the_leader, None);
            assert!(unknown.reading.contains("not known"), "{}", unknown.reading);
        }
    }

    #[test]
    fn what_it_is_follows_from_its_term() {
        let role =
            |stands, led| ElectionStatus::new(stands, led, Shown::default(), "own", None).role;
        assert_eq!(role(true, Some((1, Certainty::Certain))), Role::Leads);
        assert_eq!(role(true, Some((1, Certainty::Doubt))), Role::InDoubt);
        assert_eq!(role(true, None), Role::StandsBy);
        assert_eq!(role(false, None), Role::DoesNotStand);
    }
}
