//! Metrics: the numbers that a guest keeps at its host. They belong to the endpoint, not to a version.

use std::collections::BTreeMap;

use super::status::Metric;
use crate::component::surroundings::Observation;

/// Names that one endpoint may use. A guest that makes names from data would fill the host's memory.
const NAMES_MAX: usize = 256;
/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// Upper bound of the first bucket of a histogram; each next one is twice as wide.
const FIRST_BUCKET: f64 = 1e-6;
/// Buckets of a histogram; the last takes everything above.
const BUCKETS: usize = 64;

/// The metrics of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    by_name: BTreeMap<String, Cell>,
    refused: u64,
}

#[derive(Debug)]
enum Cell {
    Counter(u64),
    Gauge(f64),
    Histogram {
        count: u64,
        sum: f64,
        buckets: Box<[u64; BUCKETS]>,
    },
}

impl Metrics {
    /// Records an observation. One of another sort than the name's first, or one name too many, is
    /// counted in `instar.metrics_refused` and changes nothing else.
    pub(crate) fn record(&mut self, name: &str, observation: Observation) {
        if !self.by_name.contains_key(name) {
            let room = self.by_name.len() < NAMES_MAX;
            if !room || name.is_empty() || name.len() > NAME_BYTES_MAX {
                self.refused += 1;
                return;
            }
            self.by_name.insert(name.to_owned(), Cell::new(observation));
        }
        let accepted = self
            .by_name
            .get_mut(name)
            .is_some_and(|cell| cell.record(observation));
        self.refused += u64::from(!accepted);
    }

    /// Everything, by name.
    pub(crate) fn read(&self) -> BTreeMap<String, Metric> {
        let mut all: BTreeMap<String, Metric> = self
            .by_name
            .iter()
            .map(|(name, cell)| (name.clone(), cell.read()))
            .collect();
        if self.refused > 0 {
            let value = self.refused;
            all.insert(
                "instar.metrics_refused".to_owned(),
                Metric::Counter { value },
            );
        }
        all
    }
}

impl Cell {
    fn new(observation: Observation) -> Self {
        match observation {
            Observation::Add(_) => Self::Counter(0),
            Observation::Set(_) => Self::Gauge(0.0),
            Observation::Record(_) => Self::Histogram {
                count: 0,
                sum: 0.0,
                buckets: Box::new([0; BUCKETS]),
            },
        }
    }

    fn record(&mut self, observation: Observation) -> bool {
        match (self, observation) {
            (Self::Counter(value), Observation::Add(by)) => *value = value.saturating_add(by),
            (Self::Gauge(value), Observation::Set(to)) => *value = to,
            (
                Self::Histogram {
                    count,
                    sum,
                    buckets,
                },
                Observation::Record(value),
            ) => {
                *count += 1;
                *sum += value;
                let index = (value / FIRST_BUCKET).max(1.0).log2().ceil();
                // A cast from float saturates, and NaN becomes the first bucket.
                let index = (index as usize).min(BUCKETS - 1);
                if let Some(bucket) = buckets.get_mut(index) {
                    *bucket += 1;
                }
            }
            _ => return false,
        }
        true
    }

    fn read(&self) -> Metric {
        match self {
            Self::Counter(value) => Metric::Counter { value: *value },
            Self::Gauge(value) => Metric::Gauge { value: *value },
            Self::Histogram {
                count,
                sum,
                buckets,
            } => {
                let bounds = (0..BUCKETS).map(|n| FIRST_BUCKET * 2f64.powi(n as i32));
                let filled = bounds.zip(buckets.iter().copied());
                Metric::Histogram {
                    count: *count,
                    sum: *sum,
                    buckets: filled.filter(|(_, count)| *count > 0).collect(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_the_sort_of_its_first_use() {
        let mut metrics = Metrics::default();
        metrics.record("lines", Observation::Add(2));
        metrics.record("lines", Observation::Add(3));
        metrics.record("lines", Observation::Set(9.0));
        let read = metrics.read();
        assert_eq!(read.get("lines"), Some(&Metric::Counter { value: 5 }));
        let refused = read.get("instar.metrics_refused");
        assert_eq!(refused, Some(&Metric::Counter { value: 1 }));
    }

    #[test]
    fn names_are_bounded() {
        let mut metrics = Metrics::default();
        for n in 0..2 * NAMES_MAX {
            metrics.record(&format!("n{n}"), Observation::Set(1.0));
        }
        assert_eq!(metrics.read().len(), NAMES_MAX + 1);
    }

    #[test]
    fn a_histogram_counts_each_value_in_the_bucket_below_whose_bound_it_is() {
        let mut metrics = Metrics::default();
        for value in [0.0, 1e-6, 3e-6, 1.0, f64::INFINITY, f64::NAN, -1.0] {
            metrics.record("h", Observation::Record(value));
        }
        let Some(Metric::Histogram { count, buckets, .. }) = metrics.read().remove("h") else {
            panic!("no histogram");
        };
        assert_eq!(count, 7);
        assert_eq!(buckets.iter().map(|(_, n)| n).sum::<u64>(), 7);
        assert!(
            buckets.iter().any(|(bound, n)| *bound == 4e-6 && *n == 1),
            "{buckets:?}"
        );
    }
}
