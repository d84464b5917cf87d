//! Exit codes, and which error has which.

use std::io::ErrorKind;

use crate::admin::AdminError;
use crate::admin::client::ClientError;
use crate::component::code::LoadError;
use crate::endpoint::SwapError;
use crate::error::RpcError;
use crate::file_server::FileError;
use crate::rpc_env::EnvError;
use crate::schema::SchemaError;
use crate::store::StoreError;
use crate::transport::TransportError;
use crate::zookeeper::ZooKeeperError;

/// The help text about exit codes.
pub const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 bad arguments or input, 3 not found, \
                              4 host not reached, 5 refused or held for approval, also in \
                              a dry run (what ran goes on), 130 interrupted";

pub(super) const FAILED: u8 = 1;
pub(super) const BAD_INPUT: u8 = 2;
pub(super) const NOT_FOUND: u8 = 3;
pub(super) const NOT_REACHED: u8 = 4;
pub(super) const REFUSED: u8 = 5;
pub(super) const INTERRUPTED: u8 = 130;

/// Wrong input, said by the command line itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadInput(pub(super) String);

/// A dry run found that the swap would not be made. Why stands in what it printed.
#[derive(Debug, thiserror::Error)]
pub(super) enum WouldNotSwap {
    #[error("the swap of `{endpoint}` would fail")]
    Fail { endpoint: String },
    #[error("the swap of `{endpoint}` would wait for approval")]
    Wait { endpoint: String },
}

/// What was named does not exist.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotFound(pub(super) String);

/// Ctrl-C.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(super) struct Interrupted;

/// Another process did the work, and ended like this.
#[derive(Debug, thiserror::Error)]
#[error("{}", reason.as_deref().unwrap_or("the child process failed"))]
pub(super) struct Ended {
    /// The exit code.
    pub(super) code: u8,
    /// Why, where it could not say so itself.
    pub(super) reason: Option<String>,
}

/// True where somebody else has said already what is wrong.
pub(super) fn was_told(error: &anyhow::Error) -> bool {
    let ended = error.downcast_ref::<Ended>();
    ended.is_some_and(|ended| ended.reason.is_none())
}

/// The exit code of an error: that of the first cause that has one.
pub(super) fn code_of(error: &anyhow::Error) -> u8 {
    error.chain().find_map(code_of_one).unwrap_or(FAILED)
}

fn code_of_one(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if cause.is::<BadInput>()
        || cause.is::<SchemaError>()
        || cause.is::<crate::address::AddressError>()
    {
        return Some(BAD_INPUT);
    }
    if let Some(AdminError::NotLoopback { .. }) = cause.downcast_ref() {
        return Some(BAD_INPUT);
    }
    // It stands for the error of the transport, which is then no cause of its own.
    if let Some(EnvError::Transport(error)) = cause.downcast_ref() {
        return code_of_transport(error);
    }
    if let Some(error) = cause.downcast_ref() {
        return code_of_transport(error);
    }
    if cause.is::<NotFound>() {
        return Some(NOT_FOUND);
    }
    if cause.is::<ZooKeeperError>() {
        // What can never work: what does not work now is no error there.
        return Some(BAD_INPUT);
    }
    if let Some(EnvError::ZooKeeper(_) | EnvError::Store(StoreError::ZooKeeper { .. })) =
        cause.downcast_ref()
    {
        return Some(BAD_INPUT);
    }
    if let Some(ended) = cause.downcast_ref::<Ended>() {
        return Some(ended.code);
    }
    if cause.is::<WouldNotSwap>() {
        return Some(REFUSED);
    }
    if cause.is::<Interrupted>() {
        return Some(INTERRUPTED);
    }
    if let Some(error) = cause.downcast_ref::<RpcError>() {
        return Some(match error {
            RpcError::EndpointNotFound { .. } => NOT_FOUND,
            RpcError::Network { .. } | RpcError::Stopped { .. } => NOT_REACHED,
            RpcError::Undecodable { .. } | RpcError::Unsupported { .. } => BAD_INPUT,
            RpcError::Denied { .. } => REFUSED,
            RpcError::Failed { code, .. } if code == "invalid-address" => BAD_INPUT,
            _ => FAILED,
        });
    }
    if let Some(error) = cause.downcast_ref::<ClientError>() {
        return Some(match error {
            ClientError::BadUrl { .. } => BAD_INPUT,
            ClientError::Unreachable { .. } | ClientError::Broken { .. } => NOT_REACHED,
            ClientError::Problem {
                status: 400 | 413, ..
            } => BAD_INPUT,
            ClientError::Token(_) => REFUSED,
            ClientError::Problem { status: 404, .. } => NOT_FOUND,
            ClientError::Problem {
                status: 401 | 403 | 409,
                ..
            } => REFUSED,
            _ => FAILED,
        });
    }
    if let Some(error) = cause.downcast_ref::<FileError>() {
        return Some(match error {
            FileError::Unreadable { source, .. } if source.kind() == ErrorKind::NotFound => {
                NOT_FOUND
            }
            FileError::Unreadable { .. } => FAILED,
            _ => BAD_INPUT,
        });
    }
    if let Some(error) = cause.downcast_ref::<LoadError>() {
        return Some(match error {
            LoadError::Read { source, .. } if source.kind() == ErrorKind::NotFound => NOT_FOUND,
            LoadError::Read { .. } => FAILED,
            _ => REFUSED,
        });
    }
    cause.is::<SwapError>().then_some(REFUSED)
}

fn code_of_transport(error: &TransportError) -> Option<u8> {
    let input = matches!(
        error,
        TransportError::NotLoopback { .. }
            | TransportError::AdvertiseMissing { .. }
            | TransportError::Setting { .. }
    );
    input.then_some(BAD_INPUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_code_under_added_context() {
        let not_found = RpcError::EndpointNotFound {
            endpoint: "x".to_owned(),
            host: "h:1".to_owned(),
        };
        let check = |error: anyhow::Error, code| assert_eq!(code_of(&error), code, "{error:#}");
        check(anyhow::Error::from(not_found).context("ask"), NOT_FOUND);
        check(
            anyhow::Error::from(BadInput("no".to_owned())).context("read"),
            BAD_INPUT,
        );
        check(anyhow::anyhow!("something else"), FAILED);
        check(Interrupted.into(), INTERRUPTED);
        let open = TransportError::NotLoopback {
            host: "0.0.0.0".to_owned(),
        };
        check(
            anyhow::Error::from(EnvError::from(open)).context("start"),
            BAD_INPUT,
        );
        let unreachable = ClientError::Unreachable {
            url: "http://h:1".to_owned(),
            cause: "refused".to_owned(),
        };
        check(unreachable.into(), NOT_REACHED);
        let endpoint = "a".to_owned();
        check(WouldNotSwap::Fail { endpoint }.into(), REFUSED);
        let endpoint = "a".to_owned();
        check(WouldNotSwap::Wait { endpoint }.into(), REFUSED);
        let port = TransportError::Setting {
            setting: "port",
            found: "1".to_owned(),
            expected: "another".to_owned(),
        };
        check(anyhow::Error::from(port).context("start"), BAD_INPUT);
        let never = || ZooKeeperError::Digest;
        check(anyhow::Error::from(never()).context("start"), BAD_INPUT);
        check(
            anyhow::Error::from(EnvError::from(never())).context("start"),
            BAD_INPUT,
        );
        let store = StoreError::ZooKeeper {
            url: "one:x".to_owned(),
            source: ZooKeeperError::Digest,
        };
        check(
            anyhow::Error::from(EnvError::from(store)).context("start"),
            BAD_INPUT,
        );
    }
}
