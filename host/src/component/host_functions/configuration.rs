//! `configuration`: the values of the sidecar.

use crate::component::bindings::instar::endpoint::configuration::Host;
use crate::component::instance::HostState;

impl Host for HostState {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        Ok(self.surroundings.config().get(&key).cloned())
    }

    fn all(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        let config = self.surroundings.config();
        let pairs = config
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()));
        Ok(pairs.collect())
    }
}
