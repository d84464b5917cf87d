//! Offered: components and folders that a submission needs elsewhere, under URIs.
//!
//! A local file is offered by this process's file server, as long as it runs. A URI stays what it is; its
//! file is read once, for its digest.

use std::path::Path;

use anyhow::Context as _;
use deploy_protocol::{ComponentFile, Program};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;

use super::asking::bad;
use crate::component::code::Code;
use crate::file_server;
use crate::launch::settings::LaunchLimits;
use crate::rpc_env::RpcEnv;

/// Where folders of input are offered.
const INPUT: &str = "/input";

/// A component that others can fetch.
pub(super) struct Offered {
    pub(super) file: ComponentFile,
    /// True where this process offers it.
    pub(super) here: bool,
    /// Its bytes.
    pub(super) code: Code,
}

/// Offers a component: a path, or the URI of one that a host offers already.
pub(super) async fn component(env: &RpcEnv, what: &str) -> anyhow::Result<Offered> {
    if what.starts_with("instar://") {
        let most = LaunchLimits::default().component_bytes_max;
        let mut stream = env.open_channel(what).await?.take(most + 1);
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes).await;
        read.with_context(|| format!("read {what}"))?;
        if bytes.len() as u64 > most {
            return Err(bad(format!(
                "{what} is larger than {most} bytes, the limit of components"
            )));
        }
        return Ok(Offered {
            file: ComponentFile {
                uri: what.to_owned(),
                sha256: digest(&bytes),
            },
            here: false,
            code: Code::from_bytes(bytes),
        });
    }
    let path = Path::new(what);
    let code = Code::from_file(path)?;
    let offered = env.file_server().add_file(path)?;
    Ok(Offered {
        file: ComponentFile {
            uri: uri(env, &offered)?,
            sha256: digest(code.bytes()),
        },
        here: true,
        code,
    })
}

/// Offers a folder; its URI ends with `/`, for listing it. A URI stays what it is.
pub(super) fn folder(env: &RpcEnv, what: &str) -> anyhow::Result<String> {
    if what.starts_with("instar://") {
        return match what.ends_with('/') {
            true => Ok(what.to_owned()),
            false => Err(bad(format!(
                "`{what}` is the URI of a file; that of a folder ends with `/`"
            ))),
        };
    }
    let base = env.file_server().add_directory(INPUT, Path::new(what))?;
    Ok(format!("{}/", uri(env, &base)?))
}

fn uri(env: &RpcEnv, path: &str) -> anyhow::Result<String> {
    let address = env.address().context("a client offers no files")?;
    Ok(file_server::uri(&address, path))
}

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Which sort of component it is, by what it exports.
///
/// # Errors
/// It is neither.
pub(super) fn program(code: &Code) -> anyhow::Result<Program> {
    let exports = exports(code.bytes())?;
    let has = |prefix: &str| exports.iter().any(|name| name.starts_with(prefix));
    match (has("instar:endpoint/endpoint"), has("wasi:cli/run")) {
        (true, _) => Ok(Program::Endpoint),
        (false, true) => Ok(Program::Command),
        (false, false) => Err(bad(format!(
            "the component exports neither `instar:endpoint/endpoint` (an endpoint) nor `wasi:cli/run` \
             (a command), but: {}",
            match exports.is_empty() {
                true => "nothing".to_owned(),
                false => exports.join(", "),
            }
        ))),
    }
}

fn exports(bytes: &[u8]) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut depth = 0_usize;
    for payload in wasmparser::Parser::new(0).parse_all(bytes) {
        match payload.context("read the component")? {
            wasmparser::Payload::Version { .. } => depth += 1,
            wasmparser::Payload::End(_) => depth = depth.saturating_sub(1),
            wasmparser::Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    names.push(export.context("read its exports")?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundled;

    #[test]
    fn an_endpoint_is_known_by_what_it_exports() {
        assert_eq!(program(&bundled::master()).unwrap(), Program::Endpoint);
        let empty = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];
        let error = program(&Code::from_bytes(empty.to_vec())).unwrap_err();
        assert!(error.to_string().contains("nothing"), "{error}");
    }

    #[test]
    fn a_digest_is_written_as_sha256sum_does() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest(b""), empty);
    }
}
