//! Clean-up: old work folders. Spark: 4.7 of the specification.
//!
//! The folder of an application or a driver stays as long as something of it runs here, and then until
//! nothing in it was changed for `app_data_ttl`. Also after `ApplicationFinished`: people want to read
//! `stdout` and `stderr` of what ended. Nothing else of an application is kept outside of its folder, so
//! there is nothing that could go earlier.

use std::collections::BTreeSet;
use std::time::Duration;

use deploy_protocol::ApplicationFinished;

use super::Core;
use super::effect::{Effect, Effects, Subject};
use crate::messages::Wake;

impl Core {
    /// Cleans up from now on, once in a life.
    pub(super) fn start_cleaning(&mut self, out: &mut Effects) {
        if !self.settings.cleanup_enabled || std::mem::replace(&mut self.cleans, true) {
            return;
        }
        let every = Duration::from_millis(self.settings.cleanup_interval_ms);
        out.push(Effect::WakeEvery(every, Wake::CleanUp));
    }

    pub(super) fn clean_up_due(&self, out: &mut Effects) {
        let unused = Duration::from_millis(self.settings.app_data_ttl_ms);
        let keep = self.folders_in_use().into_iter().collect();
        out.push(Effect::CleanUp { keep, unused });
    }

    /// An application ended.
    pub fn application_finished(&self, message: &ApplicationFinished) {
        let app_id = &message.app_id;
        let left = self.executors_of(app_id).count();
        log::info!(
            "application {app_id} is finished; {left} executors of it run here, and its folder stays \
             until nothing in it was changed for {} ms",
            self.settings.app_data_ttl_ms
        );
    }

    fn folders_in_use(&self) -> BTreeSet<String> {
        let folder = |subject: &Subject| match subject {
            Subject::Executor { app_id, .. } => app_id.clone(),
            Subject::Driver(id) => id.clone(),
        };
        let running = self.executors.keys().map(folder);
        running.chain(self.drivers.keys().cloned()).collect()
    }

    fn executors_of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Subject> {
        self.executors.keys().filter(
            move |subject| matches!(subject, Subject::Executor { app_id, .. } if app_id == id),
        )
    }
}
