//! Apply: brings the host from one deployment of a plugin to the next, all of it or nothing.
//!
//! A plugin can run under several names. They are one file, so they must not end in different
//! versions: when one refuses the new version, those that took it go back, with their state.
//!
//! Order: names that stay are swapped, new names are set up, names that go are stopped. The last is
//! the only step without a way back, so it comes when nothing can fail any more.

use super::facts::{Deployment, Fate, Trouble};
use super::host::{Host, HostError, SwapOrder, wanted};
use crate::component::code::Code;
use crate::endpoint::record::{SwapOutcome, SwapRecord};
use crate::endpoint::settings::EndpointSettings;

/// How it ended.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// What runs now.
    pub(crate) now: Option<Deployment>,
    /// Why that is not what was wanted.
    pub(crate) trouble: Option<Trouble>,
    /// The record of the swap: of the first name, or of the one that failed.
    pub(crate) record: Option<SwapRecord>,
}

/// A way back from a step.
enum Undo {
    SwapBack(String, Code),
    Stop(String),
}

/// Brings the host from `from` to `to`. `code`: of `to`; `None` if it is the code that runs.
pub(crate) async fn apply<H: Host>(
    host: &H,
    from: Option<Deployment>,
    mut to: Deployment,
    code: Option<Code>,
    order: SwapOrder,
) -> Done {
    let code = code.or_else(|| {
        let runs = from.iter().flat_map(|from| &from.endpoints);
        runs.filter_map(|endpoint| host.code(endpoint)).next()
    });
    let Some(code) = code else {
        return failed(
            from,
            "its code is no longer running; save the file again".to_owned(),
        );
    };
    let old_settings = from.as_ref().map(|from| from.settings.clone());
    let mut undo = Vec::new();
    let mut first_record = None;
    for endpoint in &to.endpoints {
        match advance(host, endpoint, &code, from.is_some(), &to.settings, order).await {
            Ok((step, record)) => {
                undo.extend(step);
                first_record = first_record.or(record);
            }
            Err(error) => {
                let (trouble, record) = explain(endpoint, error);
                let settings = old_settings.unwrap_or_default();
                let trouble = go_back(host, undo, &settings, trouble).await;
                return Done {
                    now: from,
                    trouble: Some(trouble),
                    record: record.or(first_record),
                };
            }
        }
    }
    for endpoint in from.iter().flat_map(|from| &from.endpoints) {
        if !to.endpoints.contains(endpoint) {
            host.stop(endpoint).await;
        }
    }
    if let Some(record) = &first_record
        && to.version.is_empty()
    {
        to.version.clone_from(&record.to.version);
    }
    Done {
        now: Some(to),
        trouble: None,
        record: first_record,
    }
}

/// Goes back to a kept version of `from`: first under its first name, then under the others.
/// Gives the code that runs then.
pub(crate) async fn roll_back<H: Host>(
    host: &H,
    from: &Deployment,
    version: Option<&str>,
) -> Result<(Code, SwapRecord), Done> {
    let gone = || {
        failed(
            Some(from.clone()),
            "nothing runs that could go back".to_owned(),
        )
    };
    let (first, others) = from.endpoints.split_first().ok_or_else(gone)?;
    let before = host.code(first).ok_or_else(gone)?;
    let fail = |(trouble, record)| Done {
        now: Some(from.clone()),
        trouble: Some(trouble),
        record,
    };
    let rolled = settled(host.rollback(first, version).await);
    let record = rolled.map_err(|error| fail(explain(first, error)))?;
    let code = host.code(first).ok_or_else(gone)?;
    let mut undo = vec![Undo::SwapBack(first.to_owned(), before)];
    for endpoint in others {
        match advance(
            host,
            endpoint,
            &code,
            true,
            &from.settings,
            SwapOrder::DIRECTORY,
        )
        .await
        {
            Ok((step, _)) => undo.extend(step),
            Err(error) => {
                let (trouble, record) = explain(endpoint, error);
                let trouble = go_back(host, undo, &from.settings, trouble).await;
                return Err(fail((trouble, record)));
            }
        }
    }
    Ok((code, record))
}

/// What came of an approval.
pub(crate) struct Approved {
    /// Of the endpoint under which the version was held.
    pub(crate) record: SwapRecord,
    /// What runs now.
    pub(crate) now: Deployment,
}

/// Swaps to the version that is held under `endpoint`, one of those of `from`, which is `code`; then
/// the other endpoints to the same code and settings.
pub(crate) async fn approve<H: Host>(
    host: &H,
    from: &Deployment,
    endpoint: &str,
    code: &Code,
) -> Result<Approved, Done> {
    let fail = |(trouble, record)| Done {
        now: Some(from.clone()),
        trouble: Some(trouble),
        record,
    };
    let before = host.code(endpoint);
    let approved = host.approve(endpoint).await;
    let approved = approved.and_then(|(record, settings)| Ok((settled(Ok(record))?, settings)));
    let (record, settings) = approved.map_err(|error| fail(explain(endpoint, error)))?;
    let back = before.map(|before| Undo::SwapBack(endpoint.to_owned(), before));
    let mut undo: Vec<_> = back.into_iter().collect();
    if record.to.digest != code.digest() {
        let trouble = Trouble::refused("another version came meanwhile; try again");
        let trouble = go_back(host, undo, &from.settings, trouble).await;
        return Err(fail((trouble, Some(record))));
    }
    for other in from.endpoints.iter().filter(|other| *other != endpoint) {
        match advance(host, other, code, true, &settings, SwapOrder::DIRECTORY).await {
            Ok((step, _)) => undo.extend(step),
            Err(error) => {
                let (trouble, record) = explain(other, error);
                let trouble = go_back(host, undo, &from.settings, trouble).await;
                return Err(fail((trouble, record)));
            }
        }
    }
    let now = Deployment {
        digest: record.to.digest.clone(),
        version: record.to.version.clone(),
        settings,
        ..from.clone()
    };
    Ok(Approved { record, now })
}

/// Stops all endpoints of a deployment, each after its `on-stop`.
pub(crate) async fn stop<H: Host>(host: &H, from: &Deployment) {
    for endpoint in &from.endpoints {
        // One that somebody else stopped meanwhile is as stopped as it should be.
        host.stop(endpoint).await;
    }
}

/// One name to its new code and settings. Nothing to do is no step. `ours`: the plugin runs already.
///
/// What the endpoint has now is asked of the host: it may have gone back by itself a moment ago.
async fn advance<H: Host>(
    host: &H,
    endpoint: &str,
    code: &Code,
    ours: bool,
    new: &EndpointSettings,
    order: SwapOrder,
) -> Result<(Option<Undo>, Option<SwapRecord>), HostError> {
    let before = host.code(endpoint).filter(|_| ours);
    let Some(before) = before else {
        // New, or stopped behind our back. A name that somebody else uses is refused by the host.
        host.setup(endpoint, code, new.clone()).await?;
        return Ok((Some(Undo::Stop(endpoint.to_owned())), None));
    };
    let same_settings = host.settings(endpoint).as_ref() == Some(new);
    if before == *code && same_settings {
        return Ok((None, None));
    }
    let settings = (!same_settings).then(|| new.clone());
    let record = settled(host.swap(endpoint, code, settings, order).await)?;
    let undo = Undo::SwapBack(endpoint.to_owned(), before);
    Ok((Some(undo), Some(record)))
}

/// Takes steps back, last one first. What cannot be taken back is added to the reason.
async fn go_back<H: Host>(
    host: &H,
    undo: Vec<Undo>,
    settings: &EndpointSettings,
    mut trouble: Trouble,
) -> Trouble {
    for step in undo.into_iter().rev() {
        match step {
            Undo::Stop(endpoint) => {
                host.stop(&endpoint).await;
            }
            Undo::SwapBack(endpoint, code) => {
                let back = host
                    .swap(
                        &endpoint,
                        &code,
                        Some(settings.clone()),
                        SwapOrder::DIRECTORY,
                    )
                    .await;
                if let Err(error) = settled(back) {
                    trouble.reason = format!(
                        "{}; and endpoint `{endpoint}` could not go back: {error}; save the file again",
                        trouble.reason
                    );
                }
            }
        }
    }
    trouble
}

/// A record that does not say `Swapped` is an error, however the host returned it.
fn settled(result: Result<SwapRecord, HostError>) -> Result<SwapRecord, HostError> {
    let record = result?;
    match &record.outcome {
        SwapOutcome::Swapped => Ok(record),
        SwapOutcome::Rejected(reason) => Err(HostError::Refused {
            reason: reason.clone(),
            record: Some(Box::new(record)),
        }),
        SwapOutcome::NeedsApproval(wants) => Err(HostError::NeedsApproval {
            wants: vec![wants.clone()],
            record: Some(Box::new(record)),
        }),
        SwapOutcome::GivenUp(reason) | SwapOutcome::RolledBack(reason) => Err(HostError::GivenUp {
            reason: reason.clone(),
            record: Some(Box::new(record)),
        }),
    }
}

/// What people and status files are told of an error.
pub(crate) fn explain(endpoint: &str, error: HostError) -> (Trouble, Option<SwapRecord>) {
    let (trouble, record) = match error {
        HostError::Refused { reason, record } => {
            let reason = format!("endpoint `{endpoint}`: {reason}");
            (Trouble::refused(reason), record)
        }
        HostError::GivenUp { reason, record } => {
            let reason = format!("endpoint `{endpoint}`: {reason}");
            (Trouble::given_up(reason), record)
        }
        HostError::NeedsApproval { wants, record } => {
            let version = record.as_ref().map(|record| record.to.version.as_str());
            let reason = format!(
                "needs approval: version {} wants {}; `instar approve {endpoint}` swaps to it",
                version.unwrap_or_default(),
                wanted(&wants)
            );
            let fate = Fate::NeedsApproval;
            (Trouble { reason, fate }, record)
        }
    };
    (trouble, record.map(|record| *record))
}

fn failed(now: Option<Deployment>, reason: String) -> Done {
    Done {
        now,
        trouble: Some(Trouble::refused(reason)),
        record: None,
    }
}
