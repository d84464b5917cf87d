//! Wordcount: counts lines, words and bytes. Two ways to use it:
//!
//! - [`lines`]: one endpoint that is sent lines, in three versions that can replace each other.
//! - [`files`]: an application that counts the files of a directory on a cluster: a driver, executors.

pub mod lines;
pub use lines::{GetTotals, Line, Reset, Tally, Totals, v1, v2, v3};

pub mod files;

// Which component it is: the last of the features that are on.

#[cfg(not(any(
    feature = "v2",
    feature = "v3",
    feature = "driver",
    feature = "executor"
)))]
instar_sdk::export!(v1::WordCount);

#[cfg(all(
    feature = "v2",
    not(any(feature = "v3", feature = "driver", feature = "executor"))
))]
instar_sdk::export!(v2::WordCount);

#[cfg(all(feature = "v3", not(any(feature = "driver", feature = "executor"))))]
instar_sdk::export!(v3::WordCount);

#[cfg(all(feature = "driver", not(feature = "executor")))]
instar_sdk::export!(files::Driver);

#[cfg(feature = "executor")]
instar_sdk::export!(files::Executor);
