//! Workload: what the host is told to run, made of what a master ordered.
//!
//! Not here: whether it is run ([`super::executors`], [`super::drivers`]).

use std::collections::BTreeMap;

use deploy_protocol as deploy;
use deploy_protocol::{Command, ResourceInformation, executor_endpoint};
use instar_sdk::launching::{ComponentFile, Program, Workload};

use super::Core;
use super::drivers::Driver;
use super::executors::Executor;
use super::resources;
use super::substitution::Substitution;

/// Under this key stand the arguments of an endpoint, as a JSON array.
const ARGUMENTS: &str = "arguments";
/// Under this key stand the other resources of an endpoint, as JSON.
const RESOURCES: &str = "resources";
/// Under this name stand those of a command, in its environment.
const RESOURCES_VARIABLE: &str = "INSTAR_RESOURCES";

/// What of a workload depends on what it is for.
struct Frame<'a> {
    folder: String,
    cores: u32,
    memory_mb: u32,
    command: &'a Command,
    resources: &'a [ResourceInformation],
    substitution: Substitution,
    names: Vec<String>,
    /// Further configuration of an endpoint.
    config: Vec<(&'static str, String)>,
}

impl Core {
    /// An executor: one endpoint for each core, or one command.
    pub(super) fn executor_workload(&self, executor: &Executor, command: &Command) -> Workload {
        let of = &executor.info.description;
        let id = of.executor_id;
        let mut known = self.known_of_all(of.cores);
        known.extend([
            ("APP_ID", of.app_id.clone()),
            ("EXECUTOR_ID", id.to_string()),
            ("RESOURCE_PROFILE_ID", of.resource_profile_id.to_string()),
        ]);
        self.workload(Frame {
            folder: format!("{}/{id}", of.app_id),
            cores: of.cores,
            memory_mb: of.memory_mb,
            command,
            resources: &executor.resources,
            substitution: Substitution(known),
            names: (0..of.cores)
                .map(|slot| executor_endpoint(&of.app_id, id, slot))
                .collect(),
            config: Vec::new(),
        })
    }

    /// A driver: one endpoint with its name, or one command.
    pub(super) fn driver_workload(&self, driver: &Driver) -> Workload {
        let (id, of) = (&driver.info.driver_id, &driver.info.description);
        let mut known = self.known_of_all(of.cores);
        known.push(("DRIVER_ID", id.clone()));
        let environment = &of.command.environment;
        let mut config = vec![("driver_id", id.clone())];
        // Who submitted it may know better; a driver that knows only one master ends with it.
        for (key, value) in [
            ("masters", self.every_address().join(",")),
            ("app_name", id.clone()),
        ] {
            if !environment.contains_key(key) {
                config.push((key, value));
            }
        }
        self.workload(Frame {
            folder: id.clone(),
            cores: of.cores,
            memory_mb: of.memory_mb,
            command: &of.command,
            resources: &driver.resources,
            substitution: Substitution(known),
            names: vec![id.clone()],
            config,
        })
    }

    fn known_of_all(&self, cores: u32) -> Vec<(&'static str, String)> {
        vec![
            ("WORKER_URL", self.identity.this.to_string()),
            ("HOSTNAME", self.identity.host.clone()),
            ("CORES", cores.to_string()),
        ]
    }

    fn workload(&self, frame: Frame<'_>) -> Workload {
        let Frame {
            folder,
            cores,
            memory_mb,
            command,
            resources,
            substitution,
            names,
            config,
        } = frame;
        let of = |text: &String| substitution.of(text);
        let arguments: Vec<String> = command.arguments.iter().map(of).collect();
        let mut environment: BTreeMap<String, String> = command
            .environment
            .iter()
            .map(|(key, value)| (key.clone(), of(value)))
            .collect();
        let resources = resources::json(resources);
        let program = match command.program {
            deploy::Program::Endpoint => {
                let further = config.into_iter();
                environment.extend(further.map(|(key, value)| (key.to_owned(), value)));
                let arguments = serde_json::Value::from(arguments).to_string();
                environment.insert(ARGUMENTS.to_owned(), arguments);
                environment.extend(resources.map(|json| (RESOURCES.to_owned(), json)));
                Program::Endpoint {
                    names,
                    config: environment,
                }
            }
            deploy::Program::Command => {
                environment.extend(resources.map(|json| (RESOURCES_VARIABLE.to_owned(), json)));
                let name = folder.clone();
                Program::Command {
                    arguments: std::iter::once(name).chain(arguments).collect(),
                    environment,
                }
            }
        };
        Workload {
            folder,
            component: ComponentFile {
                uri: command.component.uri.clone(),
                sha256: command.component.sha256.clone(),
            },
            memory_mb,
            cpu_percent: cores.saturating_mul(self.settings.cpu_percent_per_core),
            program,
        }
    }
}
