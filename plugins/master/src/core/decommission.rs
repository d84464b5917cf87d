//! Decommission: workers that work on, but get no new work.
//!
//! What runs there does not count for its application any more: another executor may take its place
//! before it ends. The worker stays known until it leaves, and is recovered as what it is.

use std::collections::BTreeSet;

use deploy_protocol::{
    DecommissionWorker, DecommissionWorkersOnHosts, DecommissionedWorkers, ExecutorState,
    ExecutorUpdated, MasterInStandby, WorkerDecommissioning, WorkerState,
};

use super::Core;
use super::ids::{AppKey, WorkerKey};
use super::rounds::Part;
use super::turn::Turn;
use super::worker::Worker;

impl Core {
    /// `WorkerDecommissioning`: a worker takes itself out of service.
    pub fn worker_decommissioning(&mut self, turn: &mut Turn<'_>, message: WorkerDecommissioning) {
        if !self.leads() {
            turn.send(&message.worker, MasterInStandby {});
            return;
        }
        match self.workers.by_id(&message.id) {
            Some(key) if self.is_at(key, &message.worker) => {
                self.decommission(turn, key);
            }
            Some(_) => log::warn!("{} is not at {}", message.id, message.worker),
            None => log::warn!("{} goes out of service, but is not registered", message.id),
        }
    }

    /// `DecommissionWorkersOnHosts`: an operator takes them out of service.
    pub fn decommission_hosts(&mut self, ask: DecommissionWorkersOnHosts) -> DecommissionedWorkers {
        if !self.leads() {
            return DecommissionedWorkers { count: 0 };
        }
        let hosts: BTreeSet<String> = ask.hosts.iter().map(|host| host.to_lowercase()).collect();
        let there = self.workers.all().filter(|(_, worker)| {
            worker.state != WorkerState::Dead && hosts.contains(&worker.host.to_lowercase())
        });
        let there: Vec<WorkerKey> = there.map(|(key, _)| key).collect();
        for key in &there {
            self.left.push(Part::Decommission(*key));
        }
        DecommissionedWorkers {
            count: u32::try_from(there.len()).unwrap_or(u32::MAX),
        }
    }

    pub(super) fn decommission_and_tell(&mut self, turn: &mut Turn<'_>, key: WorkerKey) {
        if self.decommission(turn, key)
            && let Some(worker) = self.workers.get(key)
        {
            turn.send(&worker.reference, DecommissionWorker {});
        }
    }

    /// False where it is out of service already.
    fn decommission(&mut self, turn: &mut Turn<'_>, key: WorkerKey) -> bool {
        let known = self.workers.get(key);
        let serves = |worker: &&Worker| !worker.decommissioned && worker.state != WorkerState::Dead;
        let Some(worker) = known.filter(serves) else {
            return false;
        };
        log::info!("worker {} takes no new work", worker.id);
        let executors = worker.executors.clone();
        let host = worker.host.clone();
        self.workers.change(key, |worker| {
            worker.decommissioned = true;
            // One that recovery waits for goes on being waited for.
            if worker.state == WorkerState::Alive {
                worker.state = WorkerState::Decommissioned;
            }
        });
        self.keep_changed_worker(turn, key);
        for (app, number) in executors {
            self.decommission_executor(turn, app, number, &host);
        }
        true
    }

    fn decommission_executor(&mut self, turn: &mut Turn<'_>, key: AppKey, number: u32, host: &str) {
        self.apps.change(key, |app| {
            let Some(mut executor) = app.executors.remove(&number) else {
                return;
            };
            if executor.counts() {
                app.no_longer_counts(&executor);
            }
            executor.state = ExecutorState::Decommissioned;
            app.executors.insert(number, executor);
        });
        if let Some(app) = self.apps.get(key) {
            turn.send(
                &app.driver,
                ExecutorUpdated {
                    app_id: app.id.to_string(),
                    executor_id: number,
                    state: ExecutorState::Decommissioned,
                    message: "its worker takes no new work".to_owned(),
                    exit_status: None,
                    worker_host: Some(host.to_owned()),
                },
            );
        }
    }
}
