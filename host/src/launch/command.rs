//! A workload that is a command: one instance, run to its end.

use super::folders::WorkFolder;
use super::workload;
use crate::component::code::Code;
use crate::component::command::{Command, CommandSetup, Ended};
use crate::component::output_files::OutputFiles;
use crate::component::workload::{Program, Workload};
use crate::endpoint::launches::LaunchChange;
use crate::rpc_env::RpcEnv;

/// Instantiates the command of a workload.
///
/// # Errors
/// One sentence.
pub(super) async fn start(
    env: &RpcEnv,
    code: &Code,
    workload: &Workload,
    folder: &WorkFolder,
    output: OutputFiles,
) -> Result<Command, String> {
    let (arguments, environment) = match &workload.program {
        Program::Command {
            arguments,
            environment,
        } => (arguments.clone(), environment.clone()),
        Program::Endpoint { .. } => return Err("it is no command".to_owned()),
    };
    let setup = CommandSetup {
        arguments,
        environment,
        folder: folder.path().to_owned(),
        output,
        limits: workload::limits(workload, 1),
        channels: env.channel_source(),
    };
    let made = Command::instantiate(env.engine(), code, setup).await;
    made.map_err(|error| workload::not_loaded(&error))
}

/// What is told of how it ended.
pub(super) fn told(ended: Ended) -> LaunchChange {
    let (status, reason) = match ended {
        Ended::Status(status) => (status, String::new()),
        Ended::Trapped(reason) => (super::launcher::PANICKED, reason),
        Ended::Limit(reason) => (super::launcher::MET_A_LIMIT, reason),
    };
    LaunchChange::Exited { status, reason }
}
