//! Files: counts the files of a directory on a cluster, like `wc -lwc` of all of them together.
//!
//! In the order of the work: [`splits`] (who reads which bytes) - [`count`] - [`driver`] (lists, gives
//! out, adds up) - [`executor`] (reads and counts).

pub mod count;

pub mod splits;

mod driver;
pub use driver::{Counts, Driver, GetCounts};

mod executor;
pub use executor::{Executor, Reads};
