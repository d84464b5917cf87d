//! Metrics: numbers that the host shows for an endpoint.
//!
//! They belong to the endpoint, not to a version, so they go on through a swap. A name is made by
//! its first use, and stays a counter, a gauge or a histogram for ever.

use crate::host;

/// A number that only grows. From [`crate::Context::counter`].
#[derive(Clone, Copy, Debug)]
pub struct Counter<'a> {
    pub(crate) name: &'a str,
}

impl Counter<'_> {
    /// Adds to it.
    pub fn add(&self, by: u64) {
        host::add_counter(self.name, by);
    }
}

/// A number that goes up and down. From [`crate::Context::gauge`].
#[derive(Clone, Copy, Debug)]
pub struct Gauge<'a> {
    pub(crate) name: &'a str,
}

impl Gauge<'_> {
    /// Sets it.
    pub fn set(&self, value: f64) {
        host::set_gauge(self.name, value);
    }
}

/// A distribution. From [`crate::Context::histogram`].
#[derive(Clone, Copy, Debug)]
pub struct Histogram<'a> {
    pub(crate) name: &'a str,
}

impl Histogram<'_> {
    /// Adds one observation.
    pub fn record(&self, value: f64) {
        host::record_histogram(self.name, value);
    }
}
