//! The sources of the guest SDK and the contract, which `instar new` lays beside a new plugin.

/// Paths relative to the root of the project, and contents. Collected by the build script.
pub fn files() -> &'static [(&'static str, &'static [u8])] {
    FILES
}

include!(concat!(env!("OUT_DIR"), "/sdk_sources.rs"));
