//! State: how it goes from one version of the code to the next.
//!
//! Each version of the code writes its state in its own state version, and perhaps in older ones
//! (`#[migrate_to]`); it reads its own and perhaps others (`#[migrate_from]`). Host and
//! [`crate::testing`] choose the version by [`negotiate`].
//!
//! Invariant: a state is read completely or not at all. Bytes that are left over are an error.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::description::StateSupport;
use crate::message::{from_bytes, to_bytes};
use crate::{Endpoint, Failure, call};

/// The state version in which `old` hands its state to `new`: the own version of `new` if `old`
/// can write it, else the highest that `old` writes and `new` reads. None where there is none.
///
/// ```
/// use instar_sdk::description::StateSupport;
/// use instar_sdk::state::negotiate;
///
/// let v1 = StateSupport { version: 1, reads: vec![1], writes: vec![1] };
/// let v2 = StateSupport { version: 2, reads: vec![2, 1], writes: vec![2, 1] };
/// assert_eq!(negotiate(&v1, &v2), Some(1)); // the new one migrates
/// assert_eq!(negotiate(&v2, &v1), Some(1)); // the old one migrates: the way back
/// assert_eq!(negotiate(&v2, &v2), Some(2));
/// ```
pub fn negotiate(old: &StateSupport, new: &StateSupport) -> Option<u32> {
    let both = |version: &u32| new.reads.contains(version);
    if old.writes.contains(&new.version) && both(&new.version) {
        return Some(new.version);
    }
    old.writes
        .iter()
        .copied()
        .filter(|version| both(version))
        .max()
}

/// The state in one of the versions that `E` writes.
pub(crate) fn write<E: Endpoint>(state: &E, version: u32) -> Result<Vec<u8>, String> {
    let written = if version == E::STATE_VERSION {
        encode(state)
    } else {
        // What the older state borrows from this one stays this one's.
        call::keeping_open(|| state.migrate_to(version)).unwrap_or_else(|| {
            let known = E::WRITES;
            Err(Failure::new(format!("this version writes only {known:?}")))
        })
    };
    written.map_err(|failure| {
        format!(
            "`{}` {} (state version {}) cannot write state version {version}: {failure}",
            E::NAME,
            E::VERSION,
            E::STATE_VERSION
        )
    })
}

/// The state from one of the versions that `E` reads.
pub(crate) fn read<E: Endpoint>(bytes: &[u8], version: u32) -> Result<E, String> {
    let read = call::failing_drops_on_success(|| {
        if version == E::STATE_VERSION {
            decode(bytes)
        } else {
            E::migrate_from(version, bytes).unwrap_or_else(|| {
                let known = E::READS;
                Err(Failure::new(format!("this version reads only {known:?}")))
            })
        }
    });
    read.map_err(|failure| {
        format!(
            "`{}` {} (state version {}) cannot read state version {version}: {failure}",
            E::NAME,
            E::VERSION,
            E::STATE_VERSION
        )
    })
}

/// postcard bytes of a state.
#[doc(hidden)]
pub fn encode<S: Serialize>(state: &S) -> Result<Vec<u8>, Failure> {
    to_bytes(state).map_err(|error| Failure::new(format!("it cannot be encoded: {error}")))
}

/// A state from exactly these bytes.
#[doc(hidden)]
pub fn decode<S: DeserializeOwned>(bytes: &[u8]) -> Result<S, Failure> {
    from_bytes(bytes).map_err(|reason| {
        let length = bytes.len();
        Failure::with_code(
            Failure::UNDECODABLE,
            format!("{length} bytes do not decode: {reason}"),
        )
    })
}
