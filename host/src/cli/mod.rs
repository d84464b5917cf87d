//! The command line. One file per subcommand; each is a thin use of the library or of the admin API.
//!
//! Commands on messages (`ask`, `send`) talk to the endpoint's host like any other client. Commands
//! on a running host (`swap`, `status`, ...) use its admin API on loopback.

mod ask;
mod build;
mod cluster;
mod control;
mod exit;
mod history;
mod inspect;
mod manage;
mod new;
mod output;
mod rehearsal;
mod serve;
mod soak;
mod status;
mod swap;
mod up;
mod zookeeper;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use tracing_subscriber::EnvFilter;

use self::output::Output;
use crate::admin::client::{AdminClient, port_of};
use crate::admin::token::{state_dir, token_path};
pub use exit::EXIT_CODES;

/// A host for RPC endpoints that are WebAssembly components, replaced while they work.
#[derive(Parser)]
#[command(name = "instar", version, after_help = EXIT_CODES, propagate_version = true)]
struct Cli {
    /// Print JSON instead of text; errors as well, on stderr.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// What `--help` says of a command stands at its arguments.
#[derive(Subcommand)]
enum Command {
    Up(up::Up),
    Status(status::Status),
    Ask(ask::Ask),
    Send(ask::Send),
    Swap(swap::Swap),
    Approve(manage::Approve),
    Rollback(manage::Rollback),
    History(history::History),
    Refresh(manage::Refresh),
    Restart(manage::Restart),
    Stop(manage::Stop),
    Inspect(inspect::Inspect),
    Master(cluster::Master),
    Worker(cluster::Worker),
    Submit(cluster::Submit),
    Kill(cluster::Kill),
    Apps(cluster::Apps),
    Drivers(cluster::Drivers),
    Workers(cluster::Workers),
    Soak(soak::Soak),
    New(new::New),
    Build(build::Build),
    /// Print the completions of a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

/// Where the admin API of a running host is.
#[derive(Args, Clone)]
struct Admin {
    /// The admin API of the host.
    #[arg(long, env = "INSTAR_ADMIN", default_value = "http://127.0.0.1:7078")]
    admin: String,
    /// The file with its token. Default: where `instar up` leaves it.
    #[arg(long, env = "INSTAR_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

impl Admin {
    fn client(&self) -> anyhow::Result<AdminClient> {
        let token_file = match (&self.token_file, port_of(&self.admin)) {
            (Some(file), _) => file.clone(),
            (None, Some(port)) => token_path(&state_dir(None)?, port),
            // The client itself says what is wrong with the URL.
            (None, None) => PathBuf::new(),
        };
        Ok(AdminClient::new(&self.admin, token_file)?)
    }
}

/// Runs the command of this process's arguments. The exit status is one of [`EXIT_CODES`].
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error),
    };
    let output = Output { json: cli.json };
    start_logging(&cli);
    let done = match cli.command {
        Command::Up(up) => block_on(up.run(output)),
        Command::Status(status) => status.run(output),
        Command::Ask(ask) => block_on(ask.run(output)),
        Command::Send(send) => block_on(send.run(output)),
        Command::Swap(swap) => swap.run(output),
        Command::Approve(approve) => approve.run(output),
        Command::Refresh(refresh) => refresh.run(output),
        Command::Rollback(rollback) => rollback.run(output),
        Command::History(history) => history.run(output),
        Command::Restart(restart) => restart.run(output),
        Command::Stop(stop) => stop.run(output),
        Command::Inspect(inspect) => block_on(inspect.run(output)),
        Command::Master(master) => block_on(master.run(output)),
        Command::Worker(worker) => block_on(worker.run(output)),
        Command::Submit(submit) => block_on(submit.run(output)),
        Command::Kill(kill) => block_on(kill.run(output)),
        Command::Apps(apps) => block_on(apps.run(output)),
        Command::Drivers(drivers) => block_on(drivers.run(output)),
        Command::Workers(workers) => block_on(workers.run(output)),
        Command::Soak(soak) => block_on(soak.run(output)),
        Command::New(new) => new.run(output),
        Command::Build(build) => block_on(build.run(output)),
        Command::Completions { shell } => {
            // Written by us: `generate` takes a closed pipe for a reason to panic.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "instar", &mut script);
            output::line(String::from_utf8_lossy(&script).trim_end())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = exit::code_of(&error);
            if !exit::was_told(&error) {
                output.error(&error, code);
            }
            ExitCode::from(code)
        }
    }
}

fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(command);
    // Whoever presses Ctrl-C twice does not wait for a compilation that nobody needs any more.
    runtime.shutdown_background();
    done
}

/// Arguments that make no sense, `--help` and `--version`. With `--json`, errors are JSON here, too.
fn not_understood(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|word| word == "--json");
    if !error.use_stderr() || !json {
        // A closed stdout is nobody's error.
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::FAILED));
    }
    let text = anyhow::anyhow!(error.render().to_string().trim_end().to_owned());
    Output { json }.error(&text, exit::BAD_INPUT);
    ExitCode::from(exit::BAD_INPUT)
}

/// Log lines go to stderr. A host tells what happens, the other commands only what is wrong.
fn start_logging(cli: &Cli) {
    let default = match cli.command {
        Command::Up(_) | Command::Master(_) | Command::Worker(_) => "info,zookeeper_client=error",
        _ => "error",
    };
    let filter = EnvFilter::try_from_env("INSTAR_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would be said on stderr, too, with a panic where that cannot be written.
        .log_internal_errors(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    match cli.json {
        true => lines.json().init(),
        false => lines.init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_that_talks_to_a_host_takes_json() {
        for words in [
            &["instar", "--json", "status"][..],
            &["instar", "ask", "instar://a@h:1", "a.Kind", "{}", "--json"],
            &["instar", "history", "a", "--json"],
            &["instar", "history", "a", "--phases", "--json"],
            &["instar", "swap", "a", "a.wasm", "--dry-run", "--json"],
            &["instar", "swap", "a=a.wasm", "b=b.wasm", "--json"],
            &["instar", "approve", "a", "--json"],
            &["instar", "refresh", "a", "--json"],
            &["instar", "inspect", "a.wasm", "--json"],
        ] {
            assert!(
                Cli::try_parse_from(words).is_ok_and(|cli| cli.json),
                "{words:?}"
            );
        }
    }
}
