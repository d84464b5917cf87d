//! Settings of an application: what stands in the configuration of its driver.
//!
//! A key that is not configured may stand among the arguments, as `KEY=VALUE`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use deploy_protocol::{
    ApplicationDescription, Command, ComponentFile, MASTER, Program, ResourceProfile,
};
use instar_sdk::{Context, EndpointRef, Failure};

/// With it begin keys whose rest is a key in the configuration of each executor.
const FOR_EXECUTORS: &str = "executor.";

/// The value of `key`: from the configuration, else from the arguments.
///
/// # Errors
/// The arguments are no JSON array of texts.
pub fn setting(ctx: &Context, key: &str) -> Result<Option<String>, Failure> {
    if let Some(value) = ctx.config(key) {
        return Ok(Some(value));
    }
    let Some(arguments) = ctx.config("arguments") else {
        return Ok(None);
    };
    let arguments: Vec<String> = serde_json::from_str(&arguments).map_err(|error| {
        Failure::new(format!(
            "configuration `arguments` is `{arguments}`, expected a JSON array of texts: {error}"
        ))
    })?;
    let found = arguments.iter().find_map(|argument| {
        let (found, value) = argument.split_once('=')?;
        (found == key).then(|| value.to_owned())
    });
    Ok(found)
}

/// Like [`setting`], read as a `T`.
///
/// # Errors
/// It is no `T`; the text names key, value and reason.
pub fn setting_as<T: FromStr>(ctx: &Context, key: &str) -> Result<Option<T>, Failure>
where
    T::Err: Display,
{
    let Some(value) = setting(ctx, key)? else {
        return Ok(None);
    };
    value.parse().map(Some).map_err(|error| {
        let expected = std::any::type_name::<T>();
        Failure::new(format!(
            "setting `{key}` is `{value}`, expected a {expected}: {error}"
        ))
    })
}

/// Like [`setting`], for what an application cannot do without.
///
/// # Errors
/// It is not set; the text says how to.
pub fn needed(ctx: &Context, key: &str) -> Result<String, Failure> {
    setting(ctx, key)?.ok_or_else(|| {
        Failure::new(format!(
            "setting `{key}` is missing; set it in the driver's configuration, \
             or give the argument `{key}=VALUE`"
        ))
    })
}

/// The masters of setting `masters`: `HOST:PORT`, separated by commas.
///
/// # Errors
/// It is missing, or one of them is no address.
pub(crate) fn masters(ctx: &Context) -> Result<Vec<EndpointRef>, Failure> {
    let text = needed(ctx, "masters")?;
    let addresses = text.split(',').map(str::trim).filter(|one| !one.is_empty());
    let masters = addresses
        .map(|address| format!("instar://{MASTER}@{address}").parse())
        .collect::<Result<Vec<_>, _>>()?;
    if masters.is_empty() {
        return Err(Failure::new(
            "setting `masters` names none; expected HOST:PORT, separated by commas",
        ));
    }
    Ok(masters)
}

/// The application as its settings describe it, with executors that report to `driver`.
///
/// # Errors
/// A setting is missing or wrong, or nobody can reach the driver.
pub(crate) fn application(
    ctx: &Context,
    driver: &EndpointRef,
) -> Result<ApplicationDescription, Failure> {
    if driver.address.as_deref().is_none_or(|a| !a.contains(':')) {
        return Err(Failure::new(format!(
            "executors cannot reach the driver at `{driver}`: its host does not listen; \
             start it with an address to listen on"
        )));
    }
    let mut environment = BTreeMap::from([
        ("driver".to_owned(), driver.to_string()),
        ("app_id".to_owned(), "{{APP_ID}}".to_owned()),
        ("executor_id".to_owned(), "{{EXECUTOR_ID}}".to_owned()),
        ("cores".to_owned(), "{{CORES}}".to_owned()),
    ]);
    for (key, value) in ctx.config_all() {
        if let Some(key) = key.strip_prefix(FOR_EXECUTORS) {
            environment.insert(key.to_owned(), value);
        }
    }
    Ok(ApplicationDescription {
        name: setting(ctx, "app_name")?.unwrap_or_else(|| driver.name.clone()),
        max_cores: setting_as(ctx, "cores_max")?,
        command: Command {
            program: Program::Endpoint,
            component: ComponentFile {
                uri: needed(ctx, "executor_uri")?,
                sha256: needed(ctx, "executor_sha256")?,
            },
            arguments: Vec::new(),
            environment,
        },
        ui_url: setting(ctx, "ui_url")?.unwrap_or_default(),
        default_profile: ResourceProfile {
            id: 0,
            cores: setting_as(ctx, "executor_cores")?,
            memory_mb: setting_as(ctx, "executor_memory_mb")?,
            resources: Vec::new(),
        },
        initial_executor_limit: setting_as(ctx, "executors")?,
        user: setting(ctx, "user")?.unwrap_or_default(),
    })
}
