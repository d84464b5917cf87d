//! `registry`: the names of this host. The import itself is the right; see `rights`.

use crate::component::bindings::instar::endpoint::description::Metadata;
use crate::component::bindings::instar::endpoint::registry::Host;
use crate::component::convert::metadata_out;
use crate::component::instance::HostState;

impl Host for HostState {
    fn exists(&mut self, name: String) -> wasmtime::Result<bool> {
        Ok(self.surroundings.describe(&name).is_some())
    }

    fn describe(&mut self, name: String) -> wasmtime::Result<Option<Metadata>> {
        let metadata = self.surroundings.describe(&name);
        Ok(metadata.map(|metadata| metadata_out(&metadata)))
    }

    fn names(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.surroundings.names())
    }
}
