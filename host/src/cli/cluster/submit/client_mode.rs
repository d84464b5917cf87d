//! Client mode: the driver is an endpoint of this process.

use std::time::Duration;

use app_client::{Finish, GetProgress, Progress};

use super::{Begun, Outcome, Ready, Submit};
use crate::address::EndpointAddress;
use crate::cli::cluster::asking::{ask, send};
use crate::cli::cluster::progress::Bar;
use crate::cli::control::HostControl;
use crate::endpoint::settings::{EndpointSettings, Limits};
use crate::endpoint::status::EndpointState;
use crate::error::RpcError;
use crate::rpc_env::RpcEnv;

/// How often the driver is asked how far it is.
const POLL: Duration = Duration::from_millis(200);
/// How long it may take to answer: it may be listing a large input.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

pub(super) async fn run(
    submit: &Submit,
    env: &RpcEnv,
    ready: Ready,
    begun: &mut Begun,
) -> anyhow::Result<Outcome> {
    let code = &ready.driver.code;
    let name = env.inspect(code).await?.name;
    let mut config = ready.config;
    config
        .entry("app_name".to_owned())
        .or_insert_with(|| name.clone());
    let arguments = serde_json::to_string(&submit.arguments)?;
    config.insert("arguments".to_owned(), arguments);
    let settings = EndpointSettings {
        config,
        grants: ["clock", "channel", "message:*"].map(str::to_owned).into(),
        limits: Limits {
            memory_bytes: (submit.driver_memory as usize) << 20,
            turn: Duration::from_secs(3600),
            ..Limits::default()
        },
        ..EndpointSettings::default()
    };
    env.setup_endpoint(&name, code, settings).await?;
    let control = std::sync::Arc::new(HostControl::new(env.clone(), None));
    begun.admin = submit.serve.admin("off", control).await?;
    let bar = Bar::new(&format!("starting `{name}`"));
    let ended = follow(env, &name, &bar).await;
    Ok(Outcome {
        driver_id: None,
        state: "FINISHED".to_owned(),
        took: bar.ends(),
        result: ended?.and_then(|progress| progress.result),
    })
}

/// Ends when the driver has ended, with the last that it said of itself.
async fn follow(env: &RpcEnv, name: &str, bar: &Bar) -> anyhow::Result<Option<Progress>> {
    let driver = EndpointAddress::new(name, env.location());
    let (mut last, mut asks) = (None, true);
    loop {
        let Some(status) = env.status_of(name) else {
            return Ok(last);
        };
        if let EndpointState::Failed(reason) | EndpointState::Restarting(reason) = status.state {
            anyhow::bail!("the driver failed: {reason}");
        }
        if asks {
            match ask(env, driver.clone(), &GetProgress {}, ANSWER_WITHIN).await {
                Ok(progress) => {
                    bar.shows(&progress);
                    if let Some(reason) = &progress.failed {
                        anyhow::bail!("the application failed: {reason}");
                    }
                    if progress.result.is_some() {
                        // It waits for this; if it has ended already, that is as well.
                        let _ = send(env, driver.clone(), &Finish {}).await;
                    }
                    last = Some(progress);
                }
                // A driver need not say how far it is; then its end is all there is to wait for.
                Err(RpcError::Unsupported { .. }) => asks = false,
                // It has just ended, or is in a long turn; its state says whether it failed.
                Err(
                    RpcError::EndpointNotFound { .. }
                    | RpcError::Stopped { .. }
                    | RpcError::Timeout { .. },
                ) => {}
                Err(error) => anyhow::bail!("the driver failed: {error}"),
            }
        }
        tokio::time::sleep(POLL).await;
    }
}
