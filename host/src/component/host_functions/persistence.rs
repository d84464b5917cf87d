//! `persistence`: what a turn wants to be durable. Handed to the store when the turn ends.

use bytes::Bytes;

use crate::component::bindings::instar::endpoint::persistence::Host;
use crate::component::bindings::instar::endpoint::types::Failure;
use crate::component::convert::failure_out;
use crate::component::effect::Effect;
use crate::component::instance::HostState;
use crate::error::RpcError;
use crate::store::Writes;

impl Host for HostState {
    fn persist(&mut self, name: String, value: Vec<u8>) -> wasmtime::Result<Result<(), Failure>> {
        let written = self.write(name, Some(value.into()));
        Ok(written.map_err(|error| failure_out(&error)))
    }

    fn unpersist(&mut self, name: String) -> wasmtime::Result<Result<(), Failure>> {
        let written = self.write(name, None);
        Ok(written.map_err(|error| failure_out(&error)))
    }

    async fn read(
        &mut self,
        prefix: String,
    ) -> wasmtime::Result<Result<Vec<(String, Vec<u8>)>, Failure>> {
        let kept = match self.surroundings.store() {
            Ok(kept) => kept,
            Err(error) => return Ok(Err(failure_out(&error))),
        };
        let over = self.turn_over();
        let read = tokio::select! {
            biased;
            read = kept.read(&prefix) => read,
            () = over => return self.overruns(),
        };
        let mut found = match read {
            Ok(found) => found,
            Err(error) => return Ok(Err(failure_out(&error))),
        };
        let in_turn = self.writes.all().range(prefix.clone()..);
        for (name, value) in in_turn.take_while(|(name, _)| name.starts_with(&prefix)) {
            match value {
                Some(value) => drop(found.insert(name.clone(), value.clone())),
                None => drop(found.remove(name)),
            }
        }
        let found = found.into_iter();
        Ok(Ok(found
            .map(|(name, value)| (name, value.to_vec()))
            .collect()))
    }
}

impl HostState {
    fn write(&mut self, name: String, value: Option<Bytes>) -> Result<(), RpcError> {
        let kept = self.surroundings.store()?;
        self.surroundings.check_writable(&kept)?;
        let is_first = self.writes.is_empty();
        self.writes.put(&kept, name, value)?;
        if is_first {
            // Its place among the effects: what comes after it waits. It is filled when the turn ends.
            self.effects.push_back(Effect::Persist(Writes::default()));
        }
        Ok(())
    }
}
