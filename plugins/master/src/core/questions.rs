//! Questions that anybody may ask, in every state. They change nothing, and they must not end the master:
//! what describes everything is bounded by what a host gives an endpoint unless told otherwise.

use std::rc::Rc;

use deploy_protocol::{
    ApplicationInfo, BoundPortsResponse, DriverInfo, ExecutorDescription, ExecutorInfo,
    MasterStateResponse, Readyz, WorkerInfo,
};
use instar_sdk::Failure;
use serde::Serialize;

use super::Core;
use super::application::{Application, Executor};
use super::driver::Driver;
use super::ids::DriverKey;
use super::worker::Worker;

/// Largest description of everything, in bytes. With it, what it is made of and its copy on the way out,
/// the master stays within the memory that a host gives unless told otherwise (64 MiB).
pub const STATE_BYTES_MAX: usize = 6 << 20;
/// Removed executors in one description, of all applications together.
const REMOVED_TOLD_MAX: usize = 20_000;

/// Bytes that are left for a description. It is looked at while the description is made: afterwards the
/// memory would be gone.
struct Room(usize);

impl Room {
    fn take<T: Serialize>(&mut self, item: T) -> Result<T, Failure> {
        let bytes = postcard::experimental::serialized_size(&item);
        let bytes = bytes.map_err(|error| Failure::new(format!("it has no size: {error}")))?;
        self.0 = self.0.checked_sub(bytes).ok_or_else(|| {
            let text = format!(
                "all workers, applications and drivers are more than {STATE_BYTES_MAX} bytes; ask for one \
                 driver, or forget what ended (RequestClearCompletedDriversAndApps)"
            );
            Failure::with_code(Failure::TOO_LARGE, text)
        })?;
        Ok(item)
    }
}

impl Core {
    /// `RequestReadyz`.
    pub fn readyz(&self) -> Readyz {
        Readyz {
            ready: self.leads(),
        }
    }

    /// What is shown of it in numbers: Spark's source `master`, and what all applications have together.
    pub fn gauges(&self) -> [(&'static str, u64); 7] {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        [
            ("workers", count(self.workers.count())),
            ("aliveWorkers", count(self.workers.alive())),
            ("apps", count(self.apps.count())),
            ("waitingApps", count(self.apps.waiting())),
            ("applicationCores", self.apps.cores()),
            ("applicationExecutors", count(self.apps.executors())),
            ("unreadableEntries", count(self.unreadable.len())),
        ]
    }

    /// `BoundPortsRequest`.
    pub fn bound_ports(&self) -> BoundPortsResponse {
        let address = self.me.address.as_deref().unwrap_or_default();
        let port = address.rsplit_once(':').map(|(_, port)| port);
        BoundPortsResponse {
            rpc_port: port.and_then(|port| port.parse().ok()).unwrap_or(0),
            web_ui_port: None,
            rest_port: None,
        }
    }

    /// `RequestMasterState`. `version`: of the code.
    ///
    /// # Errors
    /// [`Failure::TOO_LARGE`] above [`STATE_BYTES_MAX`].
    pub fn master_state(&self, version: &str) -> Result<MasterStateResponse, Failure> {
        let mut room = Room(STATE_BYTES_MAX);
        let mut state = MasterStateResponse {
            master: self.me.clone(),
            version: version.to_owned(),
            policy: self.settings.policy().to_string(),
            status: self.status,
            workers: Vec::new(),
            active_apps: Vec::new(),
            completed_apps: Vec::new(),
            active_drivers: Vec::new(),
            completed_drivers: Vec::new(),
        };
        for (_, worker) in self.workers.all() {
            state.workers.push(room.take(self.worker_info(worker))?);
        }
        let apps = self.apps.active().count() + self.apps.completed().count();
        let removed = REMOVED_TOLD_MAX / apps.max(1);
        for (_, app) in self.apps.active() {
            state
                .active_apps
                .push(room.take(self.app_info(app, removed))?);
        }
        for app in self.apps.completed() {
            let info = self.app_info(app, removed);
            state.completed_apps.push(room.take(info)?);
        }
        for (_, driver) in self.drivers.active() {
            state.active_drivers.push(room.take(driver_info(driver))?);
        }
        for driver in self.drivers.completed() {
            state
                .completed_drivers
                .push(room.take(driver_info(driver))?);
        }
        Ok(state)
    }

    fn worker_info(&self, worker: &Worker) -> WorkerInfo {
        let executors = worker.executors.iter().filter_map(|(key, number)| {
            let app = self.apps.get(*key)?;
            Some(format!("{}/{number}", app.id))
        });
        let id = |key: &DriverKey| Some(self.drivers.get(*key)?.id.clone());
        WorkerInfo {
            id: worker.id.to_string(),
            host: worker.host.clone(),
            port: worker.port,
            web_ui_url: worker.web_ui_url.clone(),
            state: worker.state,
            cores: worker.cores,
            cores_used: worker.cores_used,
            memory_mb: worker.memory_mb,
            memory_used_mb: worker.memory_used_mb,
            resources: worker.resources.all(),
            resources_used: worker.resources.used(),
            last_heartbeat: worker.last_heartbeat,
            executors: executors.collect(),
            drivers: worker.drivers.iter().filter_map(id).collect(),
        }
    }

    /// `removed`: how many of those that were removed, the last ones.
    fn app_info(&self, app: &Application, removed: usize) -> ApplicationInfo {
        let executors = app.executors.iter().map(|(number, executor)| {
            let worker = self.workers.get(executor.worker);
            let worker_id = worker.map(|worker| Rc::clone(&worker.id));
            executor_info(
                app,
                *number,
                executor,
                worker_id.as_deref().unwrap_or_default(),
            )
        });
        let older = app.removed.len().saturating_sub(removed);
        let removed = app.removed.iter().skip(older).map(|removed| {
            executor_info(app, removed.number, &removed.executor, &removed.worker_id)
        });
        ApplicationInfo {
            id: app.id.clone(),
            description: (*app.description).clone(),
            driver: app.driver.clone(),
            state: app.state,
            submitted: app.submitted,
            ended: app.ended,
            cores_granted: app.cores_granted,
            executor_limit: app.executor_limit(),
            executors: executors.collect(),
            removed_executors: removed.collect(),
        }
    }
}

fn executor_info(
    app: &Application,
    number: u32,
    executor: &Executor,
    worker_id: &str,
) -> ExecutorInfo {
    ExecutorInfo {
        description: ExecutorDescription {
            app_id: app.id.clone(),
            executor_id: number,
            resource_profile_id: executor.profile,
            cores: executor.cores,
            memory_mb: executor.memory_mb,
            state: executor.state,
        },
        worker_id: worker_id.to_owned(),
        resources: executor.resources.clone(),
    }
}

fn driver_info(driver: &Driver) -> DriverInfo {
    DriverInfo {
        id: driver.id.clone(),
        description: driver.description.clone(),
        state: driver.state,
        submitted: driver.submitted,
        worker_id: driver.worker_id.clone(),
        resources: driver.resources.clone(),
        message: driver.message.clone(),
        exit_status: driver.exit_status,
    }
}
