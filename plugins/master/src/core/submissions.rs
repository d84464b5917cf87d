//! Submissions: drivers that clients want to run, to end, or to know about. Only a master that is
//! ALIVE does that; another answers so that the client asks another one.

use deploy_protocol::{
    ClearedCompleted, DriverDescription, DriverState, DriverStatusResponse, KillAllDriversResponse,
    KillDriver, KillDriverResponse, RequestClearCompletedDriversAndApps, RequestDriverStatus,
    RequestKillAllDrivers, RequestKillDriver, RequestSubmitDriver, SubmitDriverResponse, not_alive,
};
use instar_sdk::Failure;

use super::Core;
use super::driver::Driver;
use super::ids::DriverKey;
use super::resources::merge;
use super::rounds::Part;
use super::turn::Turn;

/// Drivers that wait at once, at most.
const WAITING_DRIVERS_MAX: usize = 10_000;

impl Core {
    /// `RequestSubmitDriver`. Answered when it is queued.
    pub fn submit_driver(
        &mut self,
        turn: &mut Turn<'_>,
        ask: RequestSubmitDriver,
    ) -> SubmitDriverResponse {
        let outcome = match self.is_alive() {
            true => self.queue_driver(turn, ask.description),
            false => Err(Failure::new(not_alive(self.status))),
        };
        let (driver_id, message) = match outcome {
            Ok(id) => (Some(id.clone()), format!("driver submitted as {id}")),
            Err(failure) => (None, failure.text),
        };
        SubmitDriverResponse {
            master: self.me.clone(),
            success: driver_id.is_some(),
            driver_id,
            message,
        }
    }

    fn queue_driver(
        &mut self,
        turn: &mut Turn<'_>,
        mut description: DriverDescription,
    ) -> Result<String, Failure> {
        merge(&mut description.resources);
        if description.cores == 0 || description.memory_mb == 0 {
            return Err(Failure::new(format!(
                "a driver needs 1 core and 1 MB at least, found {} and {}",
                description.cores, description.memory_mb
            )));
        }
        if self.drivers.waiting_count() >= WAITING_DRIVERS_MAX {
            return Err(Failure::new(format!(
                "{WAITING_DRIVERS_MAX} drivers wait already; try again when some run"
            )));
        }
        let key = self.new_driver(turn, description)?;
        let driver = self.drivers.get(key);
        Ok(driver.map(|driver| driver.id.clone()).unwrap_or_default())
    }

    /// `RequestKillDriver`.
    pub fn kill_driver(
        &mut self,
        turn: &mut Turn<'_>,
        ask: RequestKillDriver,
    ) -> KillDriverResponse {
        let (success, message) = if !self.is_alive() {
            (false, not_alive(self.status))
        } else {
            match self.drivers.by_id(&ask.driver_id) {
                Some(key) => {
                    self.end_on_request(turn, key);
                    (
                        true,
                        format!("the kill of driver {} is passed on", ask.driver_id),
                    )
                }
                None => (
                    false,
                    format!("driver {} has finished or does not exist", ask.driver_id),
                ),
            }
        };
        KillDriverResponse {
            master: self.me.clone(),
            driver_id: ask.driver_id,
            success,
            message,
        }
    }

    /// `RequestKillAllDrivers`.
    pub fn kill_all_drivers(
        &mut self,
        turn: &mut Turn<'_>,
        _ask: RequestKillAllDrivers,
    ) -> KillAllDriversResponse {
        let (success, message) = match self.is_alive() {
            false => (false, not_alive(self.status)),
            true => match self.end_all_drivers(turn) {
                Ok(count) => (
                    true,
                    format!("the kill of all drivers, {count}, is passed on"),
                ),
                Err(failure) => (false, failure.text),
            },
        };
        KillAllDriversResponse {
            master: self.me.clone(),
            success,
            message,
        }
    }

    /// That they all are to end is written down as one number, so it is durable before it is answered,
    /// however many they are.
    fn end_all_drivers(&mut self, turn: &mut Turn<'_>) -> Result<usize, Failure> {
        let before = self.kill_drivers_below;
        self.kill_drivers_below = self.next_driver_number;
        if let Err(failure) = self.keep_counters(turn) {
            self.kill_drivers_below = before;
            return Err(failure);
        }
        let keys: Vec<DriverKey> = self.drivers.active().map(|(key, _)| key).collect();
        for key in &keys {
            if let Some(driver) = self.drivers.get_mut(*key) {
                driver.kill_wanted = true;
            }
            self.left.push(Part::EndDriver(*key));
        }
        Ok(keys.len())
    }

    pub(super) fn end_on_request(&mut self, turn: &mut Turn<'_>, key: DriverKey) {
        let Some(driver) = self.drivers.get(key) else {
            return;
        };
        let worker = driver.worker.and_then(|worker| self.workers.get(worker));
        let Some(worker) = worker else {
            self.end_driver(
                turn,
                key,
                DriverState::Killed,
                "killed before it was launched",
            );
            return;
        };
        let kill = KillDriver {
            driver_id: driver.id.clone(),
        };
        turn.send(&worker.reference, kill);
        if driver.number < self.kill_drivers_below {
            return;
        }
        // So that it does not live again elsewhere if its worker is lost, or this master.
        let persisted = self.persist_driver(turn, key, |driver| driver.kill_wanted = true);
        if let Err(failure) = persisted {
            log::error!("that a driver is to end cannot be persisted: {failure}");
        }
        if let Some(driver) = self.drivers.get_mut(key) {
            driver.kill_wanted = true;
        }
    }

    /// `RequestDriverStatus`.
    pub fn driver_status(&self, ask: &RequestDriverStatus) -> DriverStatusResponse {
        if !self.is_alive() {
            return DriverStatusResponse {
                found: false,
                state: None,
                worker_id: None,
                worker_host_port: None,
                message: not_alive(self.status),
                exit_status: None,
                relaunched_as: None,
            };
        }
        let active = self.drivers.by_id(&ask.driver_id);
        let driver = match active.and_then(|key| self.drivers.get(key)) {
            Some(driver) => Some(driver),
            None => self.drivers.completed_by_id(&ask.driver_id),
        };
        self.status_of(driver)
    }

    fn status_of(&self, driver: Option<&Driver>) -> DriverStatusResponse {
        let worker = driver.and_then(|driver| driver.worker);
        let worker = worker.and_then(|worker| self.workers.get(worker));
        DriverStatusResponse {
            found: driver.is_some(),
            state: driver.map(|driver| driver.state),
            worker_id: driver.and_then(|driver| driver.worker_id.clone()),
            worker_host_port: worker.map(|worker| format!("{}:{}", worker.host, worker.port)),
            message: driver
                .map(|driver| driver.message.clone())
                .unwrap_or_default(),
            exit_status: driver.and_then(|driver| driver.exit_status),
            relaunched_as: driver.and_then(|driver| driver.relaunched_as.clone()),
        }
    }

    /// `RequestClearCompletedDriversAndApps`. In every state: it only forgets what is for people.
    pub fn clear_completed(
        &mut self,
        _ask: RequestClearCompletedDriversAndApps,
    ) -> ClearedCompleted {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        ClearedCompleted {
            drivers: count(self.drivers.clear_completed()),
            applications: count(self.apps.clear_completed()),
        }
    }
}
