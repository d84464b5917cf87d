//! The contract in Rust, generated from `wit/`. Only on wasm, and the only place with `unsafe`.
#![allow(
    missing_docs,
    unsafe_code,
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used
)]

wit_bindgen::generate!({
    path: "../wit",
    // The largest world: an interface whose functions nobody calls is left out of the component.
    world: "plugin-that-keeps-entries",
    pub_export_macro: true,
    export_macro_name: "export_component",
    default_bindings_module: "instar_sdk::bindings",
});
