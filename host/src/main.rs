//! The binary `instar`. Everything is in the library; this reads the command line and sets the exit
//! status.

use std::process::ExitCode;

fn main() -> ExitCode {
    instar_host::cli::run()
}
