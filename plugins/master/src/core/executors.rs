//! Executors: how many an application wants, which it wants no more, and how they end.

use std::collections::BTreeMap;

use deploy_protocol::{
    Acknowledged, ApplicationState, ExecutorState, ExecutorStateChanged, ExecutorStateNoted,
    ExecutorUpdated, KillExecutor, KillExecutors, RequestExecutors, ResourceProfile,
};
use instar_sdk::Failure;

use super::Core;
use super::application::{Executor, RemovedExecutor, Target};
use super::entries::app_name;
use super::ids::AppKey;
use super::resources::merge;
use super::turn::Turn;

/// Resource profiles of an application, at most.
const PROFILES_MAX: usize = 256;

// What an application wants.
impl Core {
    /// `RequestExecutors`: targets, absolute. Lowering one kills nothing.
    ///
    /// # Errors
    /// Too many profiles, or the targets cannot be persisted.
    pub fn request_executors(
        &mut self,
        turn: &mut Turn<'_>,
        ask: RequestExecutors,
    ) -> Result<Acknowledged, Failure> {
        let app = match self.leads() {
            true => self.apps.by_id(&ask.app_id),
            false => None,
        };
        let Some(key) = app else {
            return Ok(Acknowledged {
                acknowledged: false,
            });
        };
        self.set_targets(turn, key, ask.totals)?;
        Ok(Acknowledged { acknowledged: true })
    }

    fn set_targets(
        &mut self,
        turn: &mut Turn<'_>,
        key: AppKey,
        totals: BTreeMap<ResourceProfile, u32>,
    ) -> Result<(), Failure> {
        let Some(app) = self.apps.get(key) else {
            return Ok(());
        };
        // A copy, as nothing may have changed where it cannot be persisted.
        let mut targets = app.targets.clone();
        for (mut profile, total) in totals {
            merge(&mut profile.resources);
            let target = targets.entry(profile.id).or_insert(Target {
                profile,
                executors: None,
                running: 0,
            });
            target.executors = Some(total);
        }
        if targets.len() > PROFILES_MAX {
            return Err(Failure::new(format!(
                "application {} asks for more than {PROFILES_MAX} resource profiles",
                app.id
            )));
        }
        let (name, kept, entry) = (
            app_name(&app.id),
            app.kept,
            app.entry_with(&targets, self.recoveries)?,
        );
        let kept = self.keep_changed(turn, &name, kept, &entry)?;
        self.apps.change(key, |app| {
            app.targets = targets;
            app.kept = kept;
        });
        Ok(())
    }

    /// `KillExecutors`. Those that an application does not have are passed over.
    pub fn kill_executors(&mut self, turn: &mut Turn<'_>, ask: KillExecutors) -> Acknowledged {
        let app = match self.leads() {
            true => self.apps.by_id(&ask.app_id),
            false => None,
        };
        let Some(key) = app else {
            return Acknowledged {
                acknowledged: false,
            };
        };
        for number in ask.executor_ids {
            let killed = self.kill_executor(turn, key, number);
            if killed {
                self.tell_driver(
                    turn,
                    key,
                    number,
                    ExecutorState::Killed,
                    "its application asked for it",
                );
            } else {
                log::info!(
                    "application {} has no executor {number} to kill",
                    ask.app_id
                );
            }
        }
        Acknowledged { acknowledged: true }
    }

    fn tell_driver(
        &self,
        turn: &mut Turn<'_>,
        key: AppKey,
        executor_id: u32,
        state: ExecutorState,
        message: &str,
    ) {
        if let Some(app) = self.apps.get(key) {
            turn.send(
                &app.driver,
                ExecutorUpdated {
                    app_id: app.id.to_string(),
                    executor_id,
                    state,
                    message: message.to_owned(),
                    exit_status: None,
                    worker_host: None,
                },
            );
        }
    }
}

// How they go.
impl Core {
    /// `ExecutorStateChanged`.
    ///
    /// # Errors
    /// This master does not lead: the worker keeps the report, and tells the one that does.
    pub fn executor_state_changed(
        &mut self,
        turn: &mut Turn<'_>,
        ask: ExecutorStateChanged,
    ) -> Result<ExecutorStateNoted, Failure> {
        if !self.leads() {
            return Err(self.is_not_the_leader());
        }
        let key = self.apps.by_id(&ask.app_id);
        let known = key.and_then(|key| {
            let executor = self.apps.get(key)?.executors.get(&ask.executor_id)?;
            Some((key, executor.state))
        });
        match known {
            Some((key, before)) => self.note_executor_state(turn, key, before, ask),
            // Perhaps its worker has not told yet that it has it: the report has to come again.
            None if !self.is_alive() => return Ok(ExecutorStateNoted { noted: false }),
            None => log::info!(
                "{}/{} is {}, but gone already",
                ask.app_id,
                ask.executor_id,
                ask.state
            ),
        }
        Ok(ExecutorStateNoted { noted: true })
    }

    fn note_executor_state(
        &mut self,
        turn: &mut Turn<'_>,
        key: AppKey,
        before: ExecutorState,
        ask: ExecutorStateChanged,
    ) {
        let number = ask.executor_id;
        // A report may come twice, and late. Only forward: LAUNCHING, RUNNING, finished.
        let forward = ask.state.is_finished()
            || (ask.state == ExecutorState::Running && before == ExecutorState::Launching);
        if !forward {
            log::debug!("{}/{number} stays {before}, told {}", ask.app_id, ask.state);
            return;
        }
        self.apps.change(key, |app| {
            if let Some(executor) = app.executors.get_mut(&number) {
                executor.state = ask.state;
            }
            if ask.state == ExecutorState::Running {
                app.failures = 0;
            }
        });
        if let Some(app) = self.apps.get(key) {
            turn.send(
                &app.driver,
                ExecutorUpdated {
                    app_id: app.id.to_string(),
                    executor_id: number,
                    state: ask.state,
                    message: ask.message,
                    exit_status: ask.exit_status,
                    worker_host: None,
                },
            );
        }
        if ask.state.is_finished() {
            let counts = before != ExecutorState::Decommissioned;
            self.drop_executor(key, number, ask.state, counts);
            if ask.exit_status != Some(0) && counts {
                self.count_failure(turn, key);
            }
        }
    }

    fn count_failure(&mut self, turn: &mut Turn<'_>, key: AppKey) {
        let counted = self.apps.change(key, |app| {
            app.failures = app.failures.saturating_add(1);
            let mut executors = app.executors.values();
            let runs = executors.any(|executor| executor.state == ExecutorState::Running);
            (app.failures, runs)
        });
        let Some((failures, runs)) = counted else {
            return;
        };
        let too_many = self
            .settings
            .max_executor_retries
            .is_some_and(|max| failures >= max);
        if too_many && !runs {
            let reason = format!("{failures} executors failed one after the other, and none runs");
            self.end_application(turn, key, ApplicationState::Failed, &reason);
        }
    }

    /// An executor whose worker is lost, or has lost it.
    pub(super) fn lose_executor(
        &mut self,
        turn: &mut Turn<'_>,
        key: AppKey,
        number: u32,
        message: &str,
        host: Option<&str>,
    ) {
        if let Some(app) = self.apps.get(key) {
            turn.send(
                &app.driver,
                ExecutorUpdated {
                    app_id: app.id.to_string(),
                    executor_id: number,
                    state: ExecutorState::Lost,
                    message: message.to_owned(),
                    exit_status: None,
                    worker_host: host.map(str::to_owned),
                },
            );
        }
        self.let_executor_go(key, number, ExecutorState::Lost);
    }

    /// Ends an executor without waiting for its worker. False where there is none.
    pub(super) fn kill_executor(&mut self, turn: &mut Turn<'_>, key: AppKey, number: u32) -> bool {
        let Some(app) = self.apps.get(key) else {
            return false;
        };
        let executor = app.executors.get(&number);
        let Some(worker) = executor.and_then(|executor| self.workers.get(executor.worker)) else {
            return false;
        };
        turn.send(
            &worker.reference,
            KillExecutor {
                master: self.me.clone(),
                app_id: app.id.clone(),
                executor_id: number,
            },
        );
        self.let_executor_go(key, number, ExecutorState::Killed);
        true
    }

    fn let_executor_go(&mut self, key: AppKey, number: u32, state: ExecutorState) {
        let app = self.apps.get(key);
        let executor = app.and_then(|app| app.executors.get(&number));
        if let Some(counts) = executor.map(Executor::counts) {
            self.drop_executor(key, number, state, counts);
        }
    }
}

// What they use.
impl Core {
    /// An executor uses what it says on its worker, and counts for its application.
    pub(super) fn take_for_executor(&mut self, key: AppKey, number: u32, executor: Executor) {
        let worker = executor.worker;
        self.workers.change(worker, |worker| {
            worker.executors.insert((key, number));
            worker.apps.insert(key);
            worker.cores_used = worker.cores_used.saturating_add(executor.cores);
            worker.memory_used_mb = worker.memory_used_mb.saturating_add(executor.memory_mb);
        });
        self.apps.change(key, |app| {
            app.hosted_on.insert(worker);
            if executor.counts() {
                app.cores_granted = app.cores_granted.saturating_add(executor.cores);
                if let Some(target) = app.targets.get_mut(&executor.profile) {
                    target.running = target.running.saturating_add(1);
                }
            }
            app.executors.insert(number, executor);
            app.number_is_used(number);
        });
    }

    /// An executor is gone: nothing is used for it any more. `counted`: as it was until now.
    fn drop_executor(&mut self, key: AppKey, number: u32, state: ExecutorState, counted: bool) {
        let workers = &self.workers;
        let gone = self.apps.change(key, |app| {
            let mut executor = app.executors.remove(&number)?;
            executor.state = state;
            if counted {
                app.no_longer_counts(&executor);
            }
            let worker = workers.get(executor.worker);
            app.remember(RemovedExecutor {
                number,
                executor: executor.clone(),
                worker_id: worker
                    .map(|worker| worker.id.to_string())
                    .unwrap_or_default(),
            });
            Some(executor)
        });
        let Some(executor) = gone.flatten() else {
            return;
        };
        self.workers.change(executor.worker, |worker| {
            worker.executors.remove(&(key, number));
            worker.cores_used = worker.cores_used.saturating_sub(executor.cores);
            worker.memory_used_mb = worker.memory_used_mb.saturating_sub(executor.memory_mb);
            worker.resources.give_back(&executor.resources);
        });
    }
}
