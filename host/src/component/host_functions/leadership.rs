//! `leadership`: whether the endpoint stands for election, from the end of the turn on. The import itself
//! is the right; see `rights`.

use crate::component::bindings::instar::endpoint::leadership::Host;
use crate::component::effect::Effect;
use crate::component::instance::HostState;

impl Host for HostState {
    fn contend(&mut self) -> wasmtime::Result<()> {
        self.effects.push_back(Effect::Contend);
        Ok(())
    }

    fn resign(&mut self) -> wasmtime::Result<()> {
        self.effects.push_back(Effect::Resign);
        Ok(())
    }
}
