//! Applications come and end.

use deploy_protocol::{
    ApplicationDescription, ApplicationFinished, ApplicationRemoved, ApplicationState,
    KillApplicationResponse, RegisterApplication, RegisteredApplication, RequestKillApplication,
    UnregisterApplication, not_alive,
};
use instar_sdk::Failure;

use super::application::Application;
use super::entries::app_name;
use super::ids::{AppKey, from_name};
use super::resources::merge;
use super::turn::{Effect, Turn};
use super::{Core, ids};

/// Active applications that a master takes, at most.
const APPLICATIONS_MAX: usize = 100_000;

impl Core {
    /// `RegisterApplication`.
    ///
    /// The same application of the same client again is the one that it is already: nothing is written
    /// down a second time, and one that recovery waits for has answered with it. Another application of
    /// the same client means that the one before is over.
    pub fn register_application(&mut self, turn: &mut Turn<'_>, mut message: RegisterApplication) {
        if !self.leads() {
            self.knocked.client(&message.driver);
            return;
        }
        merge(&mut message.application.default_profile.resources);
        if let Some(key) = self.apps.by_driver(&message.driver) {
            // One whose client was gone is over, though its end may be left to do.
            if self.is_same(key, &message.application) && !self.left.ends(key) {
                self.application_answered(key);
                self.acknowledge_application(turn, key);
                self.tell_executors(turn, key);
                return;
            }
            self.end_application(turn, key, ApplicationState::Finished, "");
        }
        let driver = message.driver.clone();
        match self.new_application(turn, message) {
            Ok(key) => self.acknowledge_application(turn, key),
            Err(failure) => {
                log::warn!("application of {driver} is refused: {failure}");
                let message = format!("{}: {failure}", ApplicationState::Failed);
                let app_id = String::new();
                turn.send(&driver, ApplicationRemoved { app_id, message });
            }
        }
    }

    fn is_same(&self, key: AppKey, description: &ApplicationDescription) -> bool {
        let app = self.apps.get(key);
        app.is_some_and(|app| *app.description == *description)
    }

    fn new_application(
        &mut self,
        turn: &mut Turn<'_>,
        message: RegisterApplication,
    ) -> Result<AppKey, Failure> {
        if self.apps.count() >= APPLICATIONS_MAX {
            let text = format!("this master has {APPLICATIONS_MAX} applications and takes no more");
            return Err(Failure::new(text));
        }
        let id = self.new_app_id(turn.now, &message.application.name);
        self.keep_counters(turn)?;
        let mut app = Application::new(
            id,
            message.application,
            message.driver,
            turn.now,
            self.settings.default_cores,
        );
        app.kept = self.keep(turn, &app_name(&app.id), &app.entry(self.recoveries)?)?;
        log::info!(
            "application {} registered: {}",
            app.id,
            app.description.name
        );
        Ok(self.apps.add(app))
    }

    fn acknowledge_application(&self, turn: &mut Turn<'_>, key: AppKey) {
        if let Some(app) = self.apps.get(key) {
            turn.send(
                &app.driver,
                RegisteredApplication {
                    app_id: app.id.clone(),
                    master: self.me.clone(),
                },
            );
        }
    }

    /// Writes down what changed of an application.
    pub(super) fn keep_changed_application(&mut self, turn: &mut Turn<'_>, key: AppKey) {
        let Some(app) = self.apps.get(key) else {
            return;
        };
        let (name, kept) = (app_name(&app.id), app.kept);
        let entry = app.entry(self.recoveries);
        match entry.and_then(|entry| self.keep_changed(turn, &name, kept, &entry)) {
            Ok(kept) => {
                self.apps.change(key, |app| app.kept = kept);
            }
            Err(failure) => log::error!("`{name}` stays as it was: {failure}"),
        }
    }

    /// A client that registers again may know nothing of what it had before.
    fn tell_executors(&self, turn: &mut Turn<'_>, key: AppKey) {
        let Some(app) = self.apps.get(key) else {
            return;
        };
        for (number, executor) in &app.executors {
            self.tell_added(turn, app, *number, executor);
        }
    }

    fn new_app_id(&mut self, now: u64, name: &str) -> String {
        if self.settings.use_app_name_as_app_id {
            let id = from_name(name);
            if ids::check(&id).is_ok() && !self.app_id_is_taken(&id) {
                return id;
            }
            let mut again = 2_u32;
            while self.app_id_is_taken(&format!("{id}-{again}")) {
                again += 1;
            }
            return format!("{id}-{again}");
        }
        let modulo = self.settings.app_number_modulo;
        // Free within a round, unless so many applications are there at once.
        for _ in 0..modulo.unwrap_or(u32::MAX) {
            let number = self.next_app_number;
            self.next_app_number = number.wrapping_add(1) % modulo.unwrap_or(u32::MAX);
            let id = self.settings.app_id_pattern.id(now, number);
            if !self.app_id_is_taken(&id) {
                return id;
            }
        }
        let mut number = modulo.unwrap_or(u32::MAX);
        loop {
            let id = self.settings.app_id_pattern.id(now, number);
            if !self.app_id_is_taken(&id) {
                return id;
            }
            number = number.wrapping_add(1);
        }
    }

    fn app_id_is_taken(&self, id: &str) -> bool {
        self.apps.is_taken(id) || self.unreadable.contains(&app_name(id))
    }

    /// `UnregisterApplication`.
    pub fn unregister_application(&mut self, turn: &mut Turn<'_>, message: UnregisterApplication) {
        if !self.leads() {
            return;
        }
        match self.apps.by_id(&message.app_id) {
            Some(key) => self.end_application(turn, key, ApplicationState::Finished, ""),
            None => log::debug!("application {} ended already", message.app_id),
        }
    }

    /// `RequestKillApplication`.
    pub fn kill_application(
        &mut self,
        turn: &mut Turn<'_>,
        ask: RequestKillApplication,
    ) -> KillApplicationResponse {
        let (success, message) = if !self.is_alive() {
            (false, not_alive(self.status))
        } else {
            match self.apps.by_id(&ask.app_id) {
                Some(key) => {
                    let reason = "somebody asked for it";
                    self.end_application(turn, key, ApplicationState::Killed, reason);
                    (true, format!("application {} was killed", ask.app_id))
                }
                None => (
                    false,
                    format!("application {} has finished or does not exist", ask.app_id),
                ),
            }
        };
        KillApplicationResponse {
            master: self.me.clone(),
            app_id: ask.app_id,
            success,
            message,
        }
    }

    /// Its client is lost.
    pub(super) fn application_left(&mut self, turn: &mut Turn<'_>, key: AppKey) {
        if let Some(app) = self.apps.get(key) {
            log::info!("the client of application {} is gone", app.id);
        }
        self.end_application(turn, key, ApplicationState::Finished, "");
    }

    /// An application is over, as `state` says.
    pub(super) fn end_application(
        &mut self,
        turn: &mut Turn<'_>,
        key: AppKey,
        state: ApplicationState,
        reason: &str,
    ) {
        let executors = match self.apps.get(key) {
            None => return,
            Some(app) => app.executors.keys().copied().collect::<Vec<u32>>(),
        };
        for number in executors {
            self.kill_executor(turn, key, number);
        }
        let Some(mut app) = self.apps.remove(key) else {
            return;
        };
        app.state = state;
        app.ended = Some(turn.now);
        log::info!("application {} is {state} {reason}", app.id);
        if state != ApplicationState::Finished {
            let message = format!("{state}: {reason}");
            let app_id = app.id.to_string();
            turn.send(&app.driver, ApplicationRemoved { app_id, message });
        }
        self.forget(turn, &app_name(&app.id), app.kept);
        // Only workers that had an executor of it have anything to clean up.
        let hosted_on = std::mem::take(&mut app.hosted_on);
        for worker in hosted_on {
            let reference = self.workers.change(worker, |worker| {
                worker.apps.remove(&key);
                worker.reference.clone()
            });
            let app_id = app.id.clone();
            if let Some(reference) = reference {
                turn.send(&reference, ApplicationFinished { app_id });
            }
        }
        turn.effect(Effect::Ended {
            state,
            runtime_ms: turn.now.saturating_sub(app.submitted),
        });
        let retained = usize::try_from(self.settings.retained_applications);
        self.apps.complete(app, retained.unwrap_or(usize::MAX));
    }

    /// The client of an application that recovery waits for is there.
    pub(super) fn application_answered(&mut self, key: AppKey) {
        self.apps.change(key, |app| {
            if app.state == ApplicationState::Unknown {
                app.state = match app.executors.is_empty() {
                    true => ApplicationState::Waiting,
                    false => ApplicationState::Running,
                };
            }
        });
    }
}
