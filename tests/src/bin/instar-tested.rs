//! `instar`, as the integration tests run it in processes of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    instar_host::cli::run()
}
