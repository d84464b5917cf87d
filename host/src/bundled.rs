//! Plugins that the host carries in itself. The build script builds them from `plugins/`.

use crate::component::code::Code;

/// The plugin behind the endpoint `endpoint-verifier`.
pub fn endpoint_verifier() -> Code {
    Code::from_bytes(&include_bytes!(concat!(env!("OUT_DIR"), "/endpoint_verifier.wasm"))[..])
}
