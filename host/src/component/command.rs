//! Command: a component of world `wasi:cli/command`, run once, to its end.
//!
//! Before it: [`crate::launch`] says what it gets. It runs on the serving engine like an endpoint's
//! instance: on a fiber, yielding at every tick, within limits.
//!
//! Not here: anything of an endpoint. A command has no name, no inbox and no state that goes on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::Instant;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::p2::bindings::{Command as Bindings, CommandPre};
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::bindings::instar::endpoint::{channels, types};
use super::channels::{ChannelSource, Channels};
use super::code::{Code, LoadError};
use super::engine::Engine;
use super::instance::said;
use super::limiter::{Limiter, resource_table};
use super::output::Output;
use super::output_files::OutputFiles;
use super::rights;
use super::throttle::Throttle;
use crate::endpoint::settings::Limits;

/// What a command gets.
pub(crate) struct CommandSetup {
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    /// Its directory `.`, which it may read and write.
    pub(crate) folder: PathBuf,
    pub(crate) output: OutputFiles,
    pub(crate) limits: Limits,
    /// Where it opens files.
    pub(crate) channels: Arc<dyn ChannelSource>,
}

/// A command that was instantiated and did not begin.
pub(crate) struct Command {
    store: Store<CommandState>,
    command: Bindings,
}

/// How a command ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With a status of its own.
    Status(i32),
    /// It panicked or trapped.
    Trapped(String),
    /// It trapped after it was refused what is beyond a limit.
    Limit(String),
}

/// What wasmtime keeps for a command.
pub(crate) struct CommandState {
    limiter: Limiter,
    throttle: Option<Throttle>,
    began: Instant,
    channels: Channels,
    output: Output,
    wasi: WasiCtx,
    table: ResourceTable,
}

/// What a command may import: all of WASI but sockets, whose imports [`rights`] refuses, and files of
/// hosts. The one place where more can be offered to commands.
pub(super) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<CommandState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    types::add_to_linker::<_, HasSelf<Channels>>(&mut linker, |state: &mut CommandState| {
        &mut state.channels
    })?;
    channels::add_to_linker::<_, HasSelf<Channels>>(&mut linker, |state: &mut CommandState| {
        &mut state.channels
    })?;
    Ok(linker)
}

impl Command {
    /// Loads code and instantiates it.
    ///
    /// # Errors
    /// [`LoadError`] says which step failed and why.
    ///
    /// # Cancellation
    /// Dropping the future drops the instance.
    pub(crate) async fn instantiate(
        engine: &Engine,
        code: &Code,
        setup: CommandSetup,
    ) -> Result<Self, LoadError> {
        let loaded = engine.load_command(code).await?;
        let granted = rights::of_workloads().map(str::to_owned).collect();
        rights::check(&loaded.rights, &[], &granted)?;
        let pre = CommandPre::new(loaded.pre).map_err(|error| LoadError::NoCommand {
            reason: format!("{error:#}"),
        })?;
        let mut store = Store::new(engine.wasmtime(), CommandState::new(setup)?);
        store.limiter(|state| &mut state.limiter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut context| {
            let state = context.data_mut();
            let now = state.began.elapsed();
            let pause = state.throttle.as_mut().map(|throttle| throttle.ran(now));
            Ok(match pause.filter(|pause| !pause.is_zero()) {
                Some(pause) => UpdateDeadline::YieldCustom(1, Box::pin(tokio::time::sleep(pause))),
                None => UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())),
            })
        });
        match pre.instantiate_async(&mut store).await {
            Ok(command) => Ok(Self { store, command }),
            Err(error) => {
                let text = format!("{error:#}");
                Err(
                    match text.contains("concurrent") && text.contains("limit") {
                        true => LoadError::NoRoom { reason: text },
                        false => LoadError::Broken {
                            phase: "instantiate",
                            reason: store.data().reason(&error).0,
                        },
                    },
                )
            }
        }
    }

    /// Runs it to its end.
    ///
    /// # Cancellation
    /// Dropping the future ends the command, at its next yield at the latest.
    pub(crate) async fn run(mut self) -> Ended {
        let guest = self.command.wasi_cli_run();
        match guest.call_run(&mut self.store).await {
            Ok(Ok(())) => Ended::Status(0),
            Ok(Err(())) => Ended::Status(1),
            Err(error) => match error.downcast_ref::<I32Exit>() {
                Some(I32Exit(status)) => Ended::Status(*status),
                None => match self.store.data().reason(&error) {
                    (reason, true) => Ended::Limit(reason),
                    (reason, false) => Ended::Trapped(reason),
                },
            },
        }
    }
}

impl CommandState {
    fn new(setup: CommandSetup) -> Result<Self, LoadError> {
        // Lines are kept for the reason of a trap only; they are written as they come.
        let output = Output::new(Arc::new(|_, _| {})).into_files(setup.output);
        let environment: Vec<_> = setup.environment.into_iter().collect();
        let mut wasi = WasiCtxBuilder::new();
        wasi.args(&setup.arguments)
            .envs(&environment)
            .stdout(output.stream(false))
            .stderr(output.stream(true));
        wasi.preopened_dir(&setup.folder, ".", FsPerms::ReadWrite)
            .map_err(|error| LoadError::Broken {
                phase: "open the work folder",
                reason: format!("{error:#}"),
            })?;
        Ok(Self {
            limiter: Limiter::new(&setup.limits),
            throttle: Throttle::new(setup.limits.cpu_percent),
            began: Instant::now(),
            channels: Channels::new(setup.channels, setup.limits.channels),
            output,
            wasi: wasi.build(),
            table: resource_table(),
        })
    }

    /// Why it failed, and whether for want of what a limit refused.
    fn reason(&self, error: &wasmtime::Error) -> (String, bool) {
        let trap = error.root_cause().to_string();
        if let Some(limit) = self.limiter.too_many(&trap) {
            return (limit, true);
        }
        let said = said(&self.output.take_tail(), trap);
        match self.limiter.refused() {
            Some(refused) => (format!("{said}; {refused}"), true),
            None => (said, false),
        }
    }
}

impl WasiView for CommandState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}
