//! `instar kill`: ends a driver or an application.

use clap::Args;
use deploy_protocol::{RequestKillAllDrivers, RequestKillApplication, RequestKillDriver};
use serde_json::json;

use super::asking::{MasterOptions, ask_masters, bad, client};
use crate::cli::exit::NotFound;
use crate::cli::output::Output;

/// End a driver or an application.
///
/// A driver that runs is told to end; `instar drivers` shows when it did.
///
/// Example: instar kill driver-20260101120000-0000
#[derive(Args)]
pub(in crate::cli) struct Kill {
    /// Id of a driver or of an application.
    #[arg(
        required_unless_present = "all_drivers",
        conflicts_with = "all_drivers"
    )]
    id: Option<String>,
    /// End all drivers.
    #[arg(long)]
    all_drivers: bool,
    #[command(flatten)]
    masters: MasterOptions,
}

impl Kill {
    pub(in crate::cli) async fn run(self, output: Output) -> anyhow::Result<()> {
        let env = client().await?;
        let masters = &self.masters.master;
        let message = match self.id {
            None if self.all_drivers => {
                let answer = ask_masters(&env, masters, &RequestKillAllDrivers {}).await?;
                if !answer.success {
                    anyhow::bail!("{}", answer.message);
                }
                answer.message
            }
            None => return Err(bad("which? give an id, or --all-drivers")),
            Some(id) => {
                let request = RequestKillDriver {
                    driver_id: id.clone(),
                };
                let driver = ask_masters(&env, masters, &request).await?;
                match driver.success {
                    true => driver.message,
                    false => {
                        let request = RequestKillApplication { app_id: id.clone() };
                        let application = ask_masters(&env, masters, &request).await?;
                        if !application.success {
                            return Err(NotFound(format!(
                                "neither a driver nor an application `{id}`: {}; {}",
                                driver.message, application.message
                            ))
                            .into());
                        }
                        application.message
                    }
                }
            }
        };
        env.shutdown().await;
        output.print(&json!({ "message": message }), |_| message.clone())
    }
}
