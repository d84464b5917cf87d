//! Cluster mode: a worker runs the driver. Source: the driver submission client of Spark.

use std::time::Duration;

use app_client::{Finish, GetProgress, Progress};
use deploy_protocol::{
    Command, DriverDescription, DriverState, DriverStatusResponse, Program, RequestDriverStatus,
    RequestSubmitDriver,
};

use super::{Begun, Outcome, Ready, Submit};
use crate::address::{EndpointAddress, RpcAddress};
use crate::cli::cluster::asking::{ask, ask_masters, send};
use crate::cli::cluster::progress::Bar;
use crate::rpc_env::RpcEnv;

/// How often the master is asked how the driver is.
const POLL: Duration = Duration::from_millis(500);
/// How long the driver may take to say how far it is.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long no master may answer before waiting ends.
const MASTERS_AWAY_MAX: Duration = Duration::from_secs(300);

pub(super) async fn run(
    submit: &Submit,
    env: &RpcEnv,
    ready: Ready,
    begun: &mut Begun,
) -> anyhow::Result<Outcome> {
    let program = ready.program;
    let description = DriverDescription {
        command: Command {
            program,
            component: ready.driver.file,
            arguments: submit.arguments.clone(),
            environment: ready.config,
        },
        memory_mb: submit.driver_memory,
        cores: submit.driver_cores,
        supervise: submit.supervise,
        resources: Vec::new(),
    };
    let request = RequestSubmitDriver { description };
    let answer = ask_masters(env, &submit.masters.master, &request).await?;
    let driver_id = match (answer.success, answer.driver_id) {
        (true, Some(id)) => id,
        _ => anyhow::bail!("{} refused the driver: {}", answer.master, answer.message),
    };
    let bar = Bar::new(&format!("driver {driver_id}: SUBMITTED"));
    if submit.no_wait {
        let took = bar.ends();
        return Ok(Outcome {
            driver_id: Some(driver_id),
            state: DriverState::Submitted.to_string(),
            result: None,
            took,
        });
    }
    begun.driver_id = Some(driver_id.clone());
    let mut driver_id = driver_id;
    let ended = loop {
        let ended = follow(submit, env, &driver_id, program, &bar).await;
        let next = ended
            .as_ref()
            .ok()
            .and_then(|(status, _)| status.relaunched_as.clone());
        let Some(next) = next else { break ended };
        bar.says(&format!("driver {driver_id} is relaunched as {next}"));
        begun.driver_id = Some(next.clone());
        driver_id = next;
    };
    let took = bar.ends();
    let (status, progress) = ended?;
    let state = status.state.unwrap_or(DriverState::Unknown);
    if state != DriverState::Finished {
        let exit = status
            .exit_status
            .map(|status| format!(", exit status {status}"));
        anyhow::bail!(
            "driver {driver_id}: {state}{}: {}",
            exit.unwrap_or_default(),
            status.message
        );
    }
    Ok(Outcome {
        driver_id: Some(driver_id),
        state: state.to_string(),
        result: progress.and_then(|progress| progress.result),
        took,
    })
}

/// Ends when the driver has ended, with its last state and the last that it said of itself.
async fn follow(
    submit: &Submit,
    env: &RpcEnv,
    driver_id: &str,
    program: Program,
    bar: &Bar,
) -> anyhow::Result<(DriverStatusResponse, Option<Progress>)> {
    let request = RequestDriverStatus {
        driver_id: driver_id.to_owned(),
    };
    let (mut last, mut away) = (None, tokio::time::Instant::now());
    loop {
        match ask_masters(env, &submit.masters.master, &request).await {
            Ok(status) if status.found => {
                away = tokio::time::Instant::now();
                let state = status.state.unwrap_or(DriverState::Unknown);
                if state.is_terminal() || state == DriverState::Relaunching {
                    return Ok((status, last));
                }
                let progress = match program {
                    Program::Endpoint => progress(env, driver_id, &status).await,
                    Program::Command => None,
                };
                match &progress {
                    Some(progress) => bar.shows(progress),
                    None => bar.says(&format!("driver {driver_id}: {state}")),
                }
                last = progress.or(last);
            }
            Ok(status) => anyhow::bail!(
                "no master knows driver {driver_id} any more: {}",
                status.message
            ),
            // A master that is being replaced comes back, or another one does.
            Err(error) if away.elapsed() > MASTERS_AWAY_MAX => return Err(error),
            Err(error) => bar.says(&format!("driver {driver_id}: {error:#}")),
        }
        tokio::time::sleep(POLL).await;
    }
}

/// How far the driver is, if it says so.
async fn progress(
    env: &RpcEnv,
    driver_id: &str,
    status: &DriverStatusResponse,
) -> Option<Progress> {
    let location: RpcAddress = status.worker_host_port.as_ref()?.parse().ok()?;
    let driver = EndpointAddress::new(driver_id, location);
    let progress = ask(env, driver.clone(), &GetProgress {}, ANSWER_WITHIN)
        .await
        .ok()?;
    if progress.result.is_some() {
        // It lingers until somebody has its result.
        let _ = send(env, driver, &Finish {}).await;
    }
    Some(progress)
}
