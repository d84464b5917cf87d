//! `calls`: answers, which leave when the turn ends.

use crate::component::bindings::instar::endpoint::calls::Host;
use crate::component::bindings::instar::endpoint::types::{Failure, Message};
use crate::component::convert::{failure_out, message_in};
use crate::component::effect::Effect;
use crate::component::instance::HostState;
use crate::error::RpcError;

use super::messaging::not_open;

impl Host for HostState {
    fn reply(&mut self, call: u64, message: Message) -> wasmtime::Result<Result<(), Failure>> {
        if !self.call_is_open(call) {
            return Ok(Err(not_open(&format!("call {call}"))));
        }
        let message = match message_in(message) {
            Ok(message) => message,
            Err(failure) => return Ok(Err(failure)),
        };
        if let Err(error) = self.surroundings.check_size(message.len()) {
            return Ok(Err(failure_out(&error)));
        }
        self.answer(call, Ok(message));
        Ok(Ok(()))
    }

    fn fail(&mut self, call: u64, failure: Failure) -> wasmtime::Result<Result<(), Failure>> {
        if !self.call_is_open(call) {
            return Ok(Err(not_open(&format!("call {call}"))));
        }
        let Failure { code, text } = failure;
        if let Err(error) = self.surroundings.check_size(code.len() + text.len()) {
            return Ok(Err(failure_out(&error)));
        }
        self.answer(call, Err(RpcError::Failed { code, text }));
        Ok(Ok(()))
    }

    fn sender(&mut self, call: u64) -> wasmtime::Result<Option<String>> {
        Ok(self.surroundings.call_sender(call))
    }
}

impl HostState {
    /// Open at the host, and not answered earlier in this turn.
    fn call_is_open(&self, id: u64) -> bool {
        let answered =
            |effect: &Effect| matches!(effect, Effect::Answer { call, .. } if *call == id);
        self.surroundings.call_sender(id).is_some() && !self.wanted().any(answered)
    }

    fn answer(&mut self, call: u64, outcome: Result<crate::message::Message, RpcError>) {
        self.effects.push_back(Effect::Answer { call, outcome });
    }
}
