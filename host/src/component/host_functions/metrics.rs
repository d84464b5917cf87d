//! `metrics`: numbers that the host shows for the endpoint.

use crate::component::bindings::instar::endpoint::metrics::Host;
use crate::component::instance::HostState;
use crate::component::surroundings::Observation;

impl Host for HostState {
    fn add_counter(&mut self, name: String, by: u64) -> wasmtime::Result<()> {
        self.surroundings.record(&name, Observation::Add(by));
        Ok(())
    }

    fn set_gauge(&mut self, name: String, value: f64) -> wasmtime::Result<()> {
        self.surroundings.record(&name, Observation::Set(value));
        Ok(())
    }

    fn record_histogram(&mut self, name: String, value: f64) -> wasmtime::Result<()> {
        self.surroundings.record(&name, Observation::Record(value));
        Ok(())
    }
}
