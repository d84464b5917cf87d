//! What bounds launches.

use std::time::Duration;

/// Bounds of what the endpoints of a host launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchLimits {
    /// Launches of one endpoint that may go on at once. Default 4096. One more is refused with `denied`.
    pub launches_max: usize,
    /// The largest file of a component that is fetched, in bytes. Default 256 MiB.
    pub component_bytes_max: u64,
    /// How long fetching one may take. Default 10 min.
    pub fetch_time: Duration,
    /// Components that are kept, so that they need not be fetched again. Default 256. Those used
    /// longest ago go first.
    pub components_kept: usize,
    /// Bytes of each of the files `stdout` and `stderr`. Default 64 MiB. What is beyond is dropped.
    pub output_bytes_max: u64,
    /// The longest turn of an endpoint that was launched. Default 1 h: tasks are long.
    pub task_turn: Duration,
    /// How long what is killed may take to end well, before it is ended by force. Default 10 s.
    pub kill_wait: Duration,
}

impl Default for LaunchLimits {
    fn default() -> Self {
        Self {
            launches_max: 4096,
            component_bytes_max: 256 << 20,
            fetch_time: Duration::from_secs(600),
            components_kept: 256,
            output_bytes_max: 64 << 20,
            task_turn: Duration::from_secs(3600),
            kill_wait: Duration::from_secs(10),
        }
    }
}
