//! The states of masters, workers, applications, executors and drivers.

use std::fmt;

use instar_sdk::Schema;
use serde::{Deserialize, Serialize};

macro_rules! states {
    ($(#[$about:meta])* $name:ident { $($(#[$case_about:meta])* $case:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Schema,
        )]
        pub enum $name {
            $($(#[$case_about])* $case,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$case),+];

            /// The name that Spark gives it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$case => $text,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

states! {
    /// Of a master.
    RecoveryState {
        /// Another master leads, or nobody yet.
        Standby = "STANDBY",
        /// Leads.
        Alive = "ALIVE",
        /// Leads, and waits for the workers and applications that were persisted.
        Recovering = "RECOVERING",
        /// Leads, and gives up those that did not answer.
        CompletingRecovery = "COMPLETING_RECOVERY",
    }
}

states! {
    /// Of a worker, as its master sees it.
    WorkerState {
        /// Takes work.
        Alive = "ALIVE",
        /// Lost.
        Dead = "DEAD",
        /// Works on, takes no new work.
        Decommissioned = "DECOMMISSIONED",
        /// Was persisted and has not answered yet.
        Unknown = "UNKNOWN",
    }
}

states! {
    /// Of an application.
    ApplicationState {
        /// Has no executor yet.
        Waiting = "WAITING",
        /// Has had an executor.
        Running = "RUNNING",
        /// Ended by itself.
        Finished = "FINISHED",
        /// Its executors failed too often.
        Failed = "FAILED",
        /// Ended by somebody else.
        Killed = "KILLED",
        /// Was persisted and has not answered yet.
        Unknown = "UNKNOWN",
    }
}

states! {
    /// Of an executor.
    ExecutorState {
        /// Its worker was told to start it.
        Launching = "LAUNCHING",
        /// Runs.
        Running = "RUNNING",
        /// Ended because its application or an operator wanted it.
        Killed = "KILLED",
        /// Could not be started.
        Failed = "FAILED",
        /// Its worker is lost.
        Lost = "LOST",
        /// Ended by itself.
        Exited = "EXITED",
        /// Its worker takes no new work; it works on.
        Decommissioned = "DECOMMISSIONED",
    }
}

states! {
    /// Of a driver.
    DriverState {
        /// Waits for a worker.
        Submitted = "SUBMITTED",
        /// Its worker runs it.
        Running = "RUNNING",
        /// Ended by itself, well.
        Finished = "FINISHED",
        /// Its worker is lost; another driver takes its place.
        Relaunching = "RELAUNCHING",
        /// Nobody knows.
        Unknown = "UNKNOWN",
        /// Ended because somebody wanted it.
        Killed = "KILLED",
        /// Ended by itself, badly.
        Failed = "FAILED",
        /// Could not be run, or its worker is lost.
        Error = "ERROR",
    }
}

impl ExecutorState {
    /// True where it runs no more and never will.
    pub const fn is_finished(self) -> bool {
        matches!(
            self,
            Self::Killed | Self::Failed | Self::Lost | Self::Exited
        )
    }
}

impl DriverState {
    /// True where it runs no more and never will, as a worker reports it.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Error | Self::Finished | Self::Killed | Self::Failed
        )
    }
}

impl ApplicationState {
    /// True where it ended.
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Killed)
    }
}
