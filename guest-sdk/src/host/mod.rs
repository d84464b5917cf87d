//! The host as the SDK sees it: one plain function for each function of the contract.
//!
//! Behind it stand the imports of the component on wasm, and the test host of
//! [`crate::testing`] everywhere else. Nothing outside this folder knows which.

#[cfg(target_family = "wasm")]
mod wasm;
#[cfg(target_family = "wasm")]
pub(crate) use wasm::*;

#[cfg(not(target_family = "wasm"))]
mod native;
#[cfg(not(target_family = "wasm"))]
pub(crate) use native::*;
