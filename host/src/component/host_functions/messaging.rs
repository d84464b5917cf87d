//! `messaging`: messages that leave the endpoint when the turn ends.

use std::time::Duration;

use crate::component::bindings::instar::endpoint::messaging::{Host, WhenFull};
use crate::component::bindings::instar::endpoint::types::{EndpointRef, Failure, Message};
use crate::component::convert::{address_in, failure_out, message_in, reference_out};
use crate::component::effect::Effect;
use crate::component::instance::HostState;
use crate::error::RpcError;

impl Host for HostState {
    fn send(
        &mut self,
        to: EndpointRef,
        message: Message,
        full: WhenFull,
    ) -> wasmtime::Result<Result<(), Failure>> {
        let here = self.surroundings.address();
        let (to, message) = match (address_in(to, &here.location), message_in(message)) {
            (Ok(to), Ok(message)) => (to, message),
            (Err(failure), _) | (_, Err(failure)) => return Ok(Err(failure)),
        };
        let checked = message
            .check_sender_may(false)
            .and_then(|()| self.surroundings.check_receiver(&to))
            .and_then(|()| self.surroundings.check_size(message.len()));
        // An endpoint that waits for room in its own inbox would wait for ever.
        let must_reserve = matches!(full, WhenFull::Fail) || to == here;
        let room = match checked {
            Err(error) => Err(error),
            Ok(()) if must_reserve => self.surroundings.reserve(&to).map(Some),
            Ok(()) => Ok(None),
        };
        Ok(match room {
            Ok(room) => {
                self.effects.push_back(Effect::Send { room, to, message });
                Ok(())
            }
            Err(error) => Err(failure_out(&error)),
        })
    }

    fn ask(
        &mut self,
        to: EndpointRef,
        message: Message,
        token: Vec<u8>,
        timeout_ms: Option<u64>,
    ) -> wasmtime::Result<Result<u64, Failure>> {
        let here = self.surroundings.address();
        let (to, message) = match (address_in(to, &here.location), message_in(message)) {
            (Ok(to), Ok(message)) => (to, message),
            (Err(failure), _) | (_, Err(failure)) => return Ok(Err(failure)),
        };
        let in_turn = count(self, |effect| matches!(effect, Effect::Ask { .. }));
        let bytes = message.len().saturating_add(token.len());
        let admitted = message
            .check_sender_may(true)
            .and_then(|()| self.surroundings.check_size(bytes))
            .and_then(|()| self.surroundings.admit_ask(in_turn));
        Ok(match admitted {
            Ok(id) => {
                self.effects.push_back(Effect::Ask {
                    id,
                    to,
                    message,
                    token: token.into(),
                    timeout: timeout_ms.map(Duration::from_millis),
                });
                Ok(id)
            }
            Err(error) => Err(failure_out(&error)),
        })
    }

    fn abort(&mut self, ask: u64) -> wasmtime::Result<bool> {
        let in_turn = self.effects.len();
        // An ask of this very turn never left: taking it back is all there is to do.
        self.effects
            .retain(|effect| !matches!(effect, Effect::Ask { id, .. } if *id == ask));
        if self.effects.len() < in_turn {
            return Ok(true);
        }
        let aborted = |effect: &Effect| matches!(effect, Effect::Abort { ask: id } if *id == ask);
        let held = |effect: &Effect| matches!(effect, Effect::Ask { id, .. } if *id == ask);
        let open = (self.surroundings.ask_is_open(ask) || self.wanted().any(held))
            && !self.wanted().any(aborted);
        if open {
            self.effects.push_back(Effect::Abort { ask });
        }
        Ok(open)
    }

    fn self_ref(&mut self) -> wasmtime::Result<EndpointRef> {
        Ok(reference_out(&self.surroundings.address()))
    }

    fn stop_self(&mut self) -> wasmtime::Result<()> {
        self.effects.push_back(Effect::StopSelf);
        Ok(())
    }
}

/// How many effects that were not carried out are of one sort.
pub(super) fn count(state: &HostState, sort: impl Fn(&Effect) -> bool) -> usize {
    state.wanted().filter(|effect| sort(effect)).count()
}

/// The failure for an id that this endpoint does not hold.
pub(super) fn not_open(what: &str) -> Failure {
    failure_out(&RpcError::Failed {
        code: "unanswered".to_owned(),
        text: format!(
            "{what} is not open: answered before, given up by its caller, or never this endpoint's"
        ),
    })
}
