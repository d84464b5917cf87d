//! Drivers end, or lose their worker and go elsewhere.

use deploy_protocol::{
    DriverDescription, DriverState, DriverStateChanged, DriverStateNoted, EndpointRef,
};
use instar_sdk::Failure;

use super::Core;
use super::driver::Driver;
use super::entries::driver_name;
use super::ids::{DriverKey, WorkerKey};
use super::turn::Turn;

impl Core {
    /// `DriverStateChanged`: a driver ended, its worker says.
    ///
    /// # Errors
    /// The state is none in which a driver ends, or this master does not lead.
    pub fn driver_state_changed(
        &mut self,
        turn: &mut Turn<'_>,
        ask: DriverStateChanged,
    ) -> Result<DriverStateNoted, Failure> {
        if !ask.state.is_terminal() {
            return Err(Failure::new(format!(
                "driver {} cannot have ended as {}; expected is FINISHED, FAILED, KILLED or ERROR",
                ask.driver_id, ask.state
            )));
        }
        if !self.leads() {
            return Err(self.is_not_the_leader());
        }
        match self.drivers.by_id(&ask.driver_id) {
            Some(key) => {
                if let Some(driver) = self.drivers.get_mut(key) {
                    driver.exit_status = ask.exit_status;
                }
                self.end_driver(turn, key, ask.state, &ask.message);
            }
            None => log::info!(
                "driver {} is {}, but gone already",
                ask.driver_id,
                ask.state
            ),
        }
        Ok(DriverStateNoted { noted: true })
    }

    /// A driver is over, as `state` says.
    pub(super) fn end_driver(
        &mut self,
        turn: &mut Turn<'_>,
        key: DriverKey,
        state: DriverState,
        message: &str,
    ) {
        let Some(mut driver) = self.drivers.remove(key) else {
            return;
        };
        driver.state = state;
        message.clone_into(&mut driver.message);
        log::info!("driver {} is {state} {message}", driver.id);
        self.forget(turn, &driver_name(&driver.id), driver.kept);
        if let Some(worker) = driver.worker {
            self.driver_is_no_client_any_more(turn, &driver.id, worker);
            self.workers.change(worker, |worker| {
                worker.drivers.remove(&key);
                let description = &driver.description;
                worker.cores_used = worker.cores_used.saturating_sub(description.cores);
                worker.memory_used_mb = worker.memory_used_mb.saturating_sub(description.memory_mb);
                worker.resources.give_back(&driver.resources);
            });
        }
        let retained = usize::try_from(self.settings.retained_drivers);
        self.drivers
            .complete(driver, retained.unwrap_or(usize::MAX));
    }

    /// The application that a driver registered has no client any more. Its host may stay connected, so
    /// nothing else tells.
    fn driver_is_no_client_any_more(
        &mut self,
        turn: &mut Turn<'_>,
        driver_id: &str,
        worker: WorkerKey,
    ) {
        let worker = self.workers.get(worker);
        let client = worker.map(|worker| EndpointRef {
            name: driver_id.to_owned(),
            address: worker.reference.address.clone(),
        });
        if let Some(app) = client.and_then(|client| self.apps.by_driver(&client)) {
            self.application_left(turn, app);
        }
    }

    /// The worker of a driver is lost, or does not know of it after a recovery.
    pub(super) fn driver_lost_its_worker(
        &mut self,
        turn: &mut Turn<'_>,
        key: DriverKey,
        reason: &str,
    ) {
        let Some(driver) = self.drivers.get(key) else {
            return;
        };
        if driver.kill_wanted {
            self.end_driver(turn, key, DriverState::Killed, reason);
        } else if driver.description.supervise {
            self.relaunch_driver(turn, key, reason);
        } else {
            let message = format!("its worker is lost: {reason}");
            self.end_driver(turn, key, DriverState::Error, &message);
        }
    }

    /// Under a new id, so that a late report on the old one cannot end the new one.
    fn relaunch_driver(&mut self, turn: &mut Turn<'_>, key: DriverKey, reason: &str) {
        let Some(driver) = self.drivers.get(key) else {
            return;
        };
        let (old, description) = (driver.id.clone(), driver.description.clone());
        match self.new_driver(turn, description) {
            Ok(new) => {
                let id = self.drivers.get(new).map(|driver| driver.id.clone());
                let message = format!("{reason}; relaunched as {}", id.as_deref().unwrap_or("?"));
                if let Some(driver) = self.drivers.get_mut(key) {
                    driver.relaunched_as = id;
                }
                self.end_driver(turn, key, DriverState::Relaunching, &message);
            }
            Err(failure) => {
                log::error!("driver {old} cannot be relaunched: {failure}");
                let message = format!("{reason}; it cannot be relaunched: {failure}");
                self.end_driver(turn, key, DriverState::Error, &message);
            }
        }
    }

    /// A driver, persisted and waiting.
    pub(super) fn new_driver(
        &mut self,
        turn: &mut Turn<'_>,
        mut description: DriverDescription,
    ) -> Result<DriverKey, Failure> {
        let (id, number) = self.new_driver_id(turn.now);
        if self.settings.use_driver_id_as_app_name {
            let environment = &mut description.command.environment;
            environment.insert(APP_NAME.to_owned(), id.clone());
        }
        self.keep_counters(turn)?;
        let mut driver = Driver::new(id, number, description, turn.now);
        let name = driver_name(&driver.id);
        driver.kept = self.keep(turn, &name, &driver.entry()?)?;
        let key = self.drivers.add(driver);
        self.drivers.enqueue(key);
        Ok(key)
    }

    fn new_driver_id(&mut self, now: u64) -> (String, u32) {
        loop {
            let number = self.next_driver_number;
            self.next_driver_number = number.wrapping_add(1);
            let id = self.settings.driver_id_pattern.id(now, number);
            let unreadable = self.unreadable.contains(&driver_name(&id));
            if !unreadable && !self.drivers.is_taken(&id) {
                return (id, number);
            }
        }
    }

    /// Writes down what changed of a driver.
    pub(super) fn persist_driver(
        &mut self,
        turn: &mut Turn<'_>,
        key: DriverKey,
        change: impl FnOnce(&mut Driver),
    ) -> Result<(), Failure> {
        let Some(driver) = self.drivers.get(key) else {
            return Ok(());
        };
        let mut changed = driver.clone();
        change(&mut changed);
        let (name, kept, entry) = (driver_name(&driver.id), driver.kept, changed.entry()?);
        let kept = self.keep_changed(turn, &name, kept, &entry)?;
        if let Some(driver) = self.drivers.get_mut(key) {
            driver.kept = kept;
        }
        Ok(())
    }
}

/// Under this name a driver finds in its environment or configuration what its application is called.
const APP_NAME: &str = "app_name";
