//! Plugins that the host carries in itself. The build script builds them from `plugins/`.

use crate::component::code::Code;

/// The plugin behind the endpoint `endpoint-verifier`.
pub fn endpoint_verifier() -> Code {
    Code::from_bytes(&include_bytes!(concat!(env!("OUT_DIR"), "/endpoint_verifier.wasm"))[..])
}

/// The three versions of the plugin that `instar soak` swaps: 1.0.0, 2.0.0, 3.0.0.
pub fn soak() -> [Code; 3] {
    let v1 = &include_bytes!(concat!(env!("OUT_DIR"), "/soak_v1.wasm"))[..];
    let v2 = &include_bytes!(concat!(env!("OUT_DIR"), "/soak_v2.wasm"))[..];
    let v3 = &include_bytes!(concat!(env!("OUT_DIR"), "/soak_v3.wasm"))[..];
    [v1, v2, v3].map(Code::from_bytes)
}

/// The plugin behind the endpoint `Master`.
pub fn master() -> Code {
    Code::from_bytes(&include_bytes!(concat!(env!("OUT_DIR"), "/master.wasm"))[..])
}

/// The plugin behind the endpoint `Worker`.
pub fn worker() -> Code {
    Code::from_bytes(&include_bytes!(concat!(env!("OUT_DIR"), "/worker.wasm"))[..])
}
