//! Decommissioning: the worker takes no new executors; what runs works on. Spark: 4.8 of the specification.
//!
//! Spark has a signal for an operator and a message for the master. A component gets no signals, so the
//! message serves both, and its first receipt is always told to the master: it may not have sent it. A
//! master that is adopted later is told, too.

use deploy_protocol::WorkerDecommissioning;

use super::Core;
use super::effect::{Effects, ToMaster};

impl Core {
    /// Takes no new work from now on, if that is allowed.
    pub fn decommission(&mut self, out: &mut Effects) {
        if !self.settings.decommission_enabled {
            log::warn!(
                "decommissioning is off here; switch it on with `decommission_enabled = true`"
            );
            return;
        }
        if std::mem::replace(&mut self.decommissioned, true) {
            return;
        }
        log::info!(
            "decommissioned: {} executors work on, none is added",
            self.executors.len()
        );
        self.tell_decommissioned(out);
    }

    pub(super) fn tell_decommissioned(&self, out: &mut Effects) {
        let decommissioning = WorkerDecommissioning {
            id: self.identity.id.clone(),
            worker: self.identity.this.clone(),
        };
        self.tell(ToMaster::Decommissioning(decommissioning), out);
    }
}
