//! The real host behind the directory: [`RpcEnv`] as a [`Host`].
//!
//! Only translation. Texts that name the endpoint are cut to their reason, because the directory
//! names the endpoint itself.

use super::host::{Host, HostError, Running, SwapOrder};
use crate::RpcEnv;
use crate::component::code::Code;
use crate::component::metadata::Metadata;
use crate::endpoint::SwapError;
use crate::endpoint::record::{SwapOutcome, SwapRecord};
use crate::endpoint::settings::EndpointSettings;

impl Host for RpcEnv {
    async fn inspect(&self, code: &Code) -> Result<Metadata, HostError> {
        let inspected = RpcEnv::inspect(self, code).await;
        inspected.map_err(|error| HostError::refused(error.to_string()))
    }

    async fn setup(
        &self,
        endpoint: &str,
        code: &Code,
        settings: EndpointSettings,
    ) -> Result<(), HostError> {
        match self.setup_endpoint(endpoint, code, settings).await {
            Ok(_reference) => Ok(()),
            Err(error) => Err(HostError::refused(error.to_string())),
        }
    }

    async fn swap(
        &self,
        endpoint: &str,
        code: &Code,
        settings: Option<EndpointSettings>,
        order: SwapOrder,
    ) -> Result<SwapRecord, HostError> {
        let SwapOrder { by, force } = order;
        let swapped = match force {
            true => self.swap_by_force(endpoint, code, settings, by).await,
            false => RpcEnv::swap(self, endpoint, code, settings, by).await,
        };
        swapped.map_err(swap_error)
    }

    async fn rollback(&self, endpoint: &str, to: Option<&str>) -> Result<SwapRecord, HostError> {
        let rolled = RpcEnv::rollback(self, endpoint, to).await;
        rolled.map_err(swap_error)
    }

    async fn swap_together(
        &self,
        swaps: Vec<(String, Code, Option<EndpointSettings>)>,
        order: SwapOrder,
    ) -> Result<Vec<SwapRecord>, HostError> {
        let swapped = RpcEnv::swap_together(self, swaps, order.by).await;
        swapped.map_err(|error| {
            // Whole, for it says which of the endpoints it was.
            let mut reason = error.to_string();
            if let SwapError::NeedsApproval { endpoint, .. } = &error {
                reason = format!(
                    "{reason} alone; grant it in the sidecar of `{endpoint}` to swap all together"
                );
            }
            match error {
                SwapError::GivenUp { record, .. } => HostError::GivenUp {
                    reason,
                    record: Some(record),
                },
                SwapError::Rejected { record, .. } | SwapError::NeedsApproval { record, .. } => {
                    HostError::Refused {
                        reason,
                        record: Some(record),
                    }
                }
                _ => HostError::refused(reason),
            }
        })
    }

    fn held(&self, endpoint: &str) -> Option<(Code, EndpointSettings)> {
        RpcEnv::held(self, endpoint)
    }

    async fn approve(&self, endpoint: &str) -> Result<(SwapRecord, EndpointSettings), HostError> {
        let approved = RpcEnv::approve(self, endpoint, "approval").await;
        approved.map_err(swap_error)
    }

    async fn restart(&self, endpoint: &str) -> Result<(), HostError> {
        let restarted = RpcEnv::restart(self, endpoint).await;
        restarted.map_err(|error| HostError::refused(error.to_string()))
    }

    async fn stop(&self, endpoint: &str) -> bool {
        RpcEnv::stop(self, endpoint).await
    }

    fn running(&self, endpoint: &str) -> Option<Running> {
        let status = self.status_of(endpoint)?;
        Some(Running {
            code: status.code,
            state: status.state,
        })
    }

    fn code(&self, endpoint: &str) -> Option<Code> {
        RpcEnv::code(self, endpoint)
    }

    fn settings(&self, endpoint: &str) -> Option<EndpointSettings> {
        let settings = self.endpoint_settings(endpoint)?;
        Some(EndpointSettings::clone(&settings))
    }

    fn rolled_back(&self, endpoint: &str) -> Option<SwapRecord> {
        let last = self.history(endpoint)?.pop()?;
        matches!(last.outcome, SwapOutcome::RolledBack(_)).then_some(last)
    }
}

fn swap_error(error: SwapError) -> HostError {
    match error {
        SwapError::Rejected { reason, record, .. } => HostError::Refused {
            reason,
            record: Some(record),
        },
        SwapError::GivenUp { reason, record, .. } => HostError::GivenUp {
            reason,
            record: Some(record),
        },
        SwapError::NeedsApproval { wants, record, .. } => HostError::NeedsApproval {
            wants,
            record: Some(record),
        },
        other => HostError::refused(other.to_string()),
    }
}
