//! `timers`: started and cancelled when the turn ends, kept by the host.

use std::time::Duration;

use crate::component::bindings::instar::endpoint::timers::Host;
use crate::component::bindings::instar::endpoint::types::Failure;
use crate::component::convert::failure_out;
use crate::component::effect::Effect;
use crate::component::instance::HostState;

use super::messaging::count;

impl Host for HostState {
    fn start(
        &mut self,
        token: Vec<u8>,
        delay_ms: u64,
        period_ms: Option<u64>,
    ) -> wasmtime::Result<Result<u64, Failure>> {
        let in_turn = count(self, |effect| matches!(effect, Effect::StartTimer { .. }));
        let admitted = self
            .surroundings
            .check_size(token.len())
            .and_then(|()| self.surroundings.admit_timer(in_turn));
        Ok(match admitted {
            Ok(id) => {
                self.effects.push_back(Effect::StartTimer {
                    id,
                    token: token.into(),
                    delay: Duration::from_millis(delay_ms),
                    period: period_ms.map(|period| Duration::from_millis(period.max(1))),
                });
                Ok(id)
            }
            Err(error) => Err(failure_out(&error)),
        })
    }

    fn cancel(&mut self, timer: u64) -> wasmtime::Result<bool> {
        let in_turn = self.effects.len();
        self.effects
            .retain(|effect| !matches!(effect, Effect::StartTimer { id, .. } if *id == timer));
        if self.effects.len() < in_turn {
            return Ok(true);
        }
        let cancelled =
            |effect: &Effect| matches!(effect, Effect::CancelTimer { timer: id } if *id == timer);
        let held =
            |effect: &Effect| matches!(effect, Effect::StartTimer { id, .. } if *id == timer);
        let running = (self.surroundings.timer_is_running(timer) || self.wanted().any(held))
            && !self.wanted().any(cancelled);
        if running {
            self.effects.push_back(Effect::CancelTimer { timer });
        }
        Ok(running)
    }
}
