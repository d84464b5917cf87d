//! Heartbeats: the worker says that it is alive, as long as its master is there. Each beat is also the
//! moment to compare what is launched with what is known ([`super::finding`]).

use std::time::Duration;

use deploy_protocol::Heartbeat;
use instar_sdk::Bytes;
use instar_sdk::launching::LaunchId;

use super::Core;
use super::effect::{Effect, Effects, ToMaster};
use crate::messages::Wake;

impl Core {
    /// Beats at once and from then on, once in a life.
    pub(super) fn start_beating(&mut self, out: &mut Effects) {
        if std::mem::replace(&mut self.beats, true) {
            return;
        }
        let every = Duration::from_millis(self.settings.heartbeat_interval_ms);
        out.push(Effect::WakeEvery(every, Wake::Heartbeat));
        self.beat(out);
    }

    /// The next beat is due; `launched` is what goes on.
    pub(super) fn heartbeat_due(&mut self, launched: &[(LaunchId, Bytes)], out: &mut Effects) {
        self.beat(out);
        self.take_up_unknown(launched, out);
        self.give_up_missing(launched, out);
    }

    pub(super) fn beat(&self, out: &mut Effects) {
        if self.connected_master().is_some() {
            let heartbeat = Heartbeat {
                worker_id: self.identity.id.clone(),
                worker: self.identity.this.clone(),
            };
            self.tell(ToMaster::Heartbeat(heartbeat), out);
        }
    }
}
