//! The master: `instar master` in a process of its own, and its other build to swap to.

use std::path::Path;

use anyhow::Context as _;
use instar_host::admin::client::AdminClient;
use instar_host::endpoint::record::SwapRecord;
use instar_tests::component_path;
use instar_tests::process::{Program, ReadyMaster};

pub(crate) struct MasterProcess {
    program: Program<ReadyMaster>,
    admin: std::sync::Arc<AdminClient>,
    /// Components to swap to in turn.
    builds: [std::sync::Arc<[u8]>; 2],
}

impl MasterProcess {
    /// Starts a master. What it compiles is kept in `scratch`.
    pub(crate) async fn start(instar: &Path, scratch: &Path) -> anyhow::Result<Self> {
        let program = Program::<ReadyMaster>::master(instar, scratch, &[]).await?;
        let admin = program.admin()?;
        let read = |name| anyhow::Ok(std::fs::read(component_path(name))?.into());
        Ok(Self {
            admin: std::sync::Arc::new(admin),
            builds: [read("master-consolidate")?, read("master")?],
            program,
        })
    }

    /// Address `HOST:PORT` of the master.
    pub(crate) fn address(&self) -> anyhow::Result<String> {
        let uri = &self.program.ready.master;
        let address = uri.split('@').nth(1);
        Ok(address
            .with_context(|| format!("no address in {uri}"))?
            .to_owned())
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        self.program.resident()
    }

    /// Swaps to the build that is not running.
    pub(crate) async fn swap(&self, number: u32) -> anyhow::Result<SwapRecord> {
        let admin = std::sync::Arc::clone(&self.admin);
        let [other, own] = &self.builds;
        let build = std::sync::Arc::clone(if number.is_multiple_of(2) { other } else { own });
        let swapping = tokio::task::spawn_blocking(move || admin.swap("Master", &build, false));
        swapping.await?.context("swap the master")
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.program.stop().await
    }
}
