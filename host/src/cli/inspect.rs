//! `instar inspect`: what a component says of itself, without running it as an endpoint.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::output::{Output, size};
use crate::component::code::Code;
use crate::component::entries::EntryFormats;
use crate::component::metadata::Metadata;
use crate::rpc_env::{RpcEnv, RpcSettings};
use crate::schema;

/// Show what a component says of itself: name, version, state versions, rights, formats of entries, messages.
#[derive(Args)]
pub(super) struct Inspect {
    /// The component.
    file: PathBuf,
}

/// Everything that can be said of a file.
#[derive(Serialize)]
pub(super) struct Report {
    file: PathBuf,
    bytes: usize,
    digest: String,
    #[serde(flatten)]
    pub(super) metadata: Metadata,
    /// None: it says nothing about what it persists.
    entries: Option<EntryFormats>,
}

impl Inspect {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<()> {
        output.print(&report(self.file).await?, text)
    }
}

/// Loads a component aside and lets it describe itself.
pub(super) async fn report(file: PathBuf) -> anyhow::Result<Report> {
    let code = Code::from_file(&file)?;
    let env = RpcEnv::create(RpcSettings::default()).await?;
    let (metadata, entries) = env.inspect_with_entries(&code).await?;
    env.shutdown().await;
    Ok(Report {
        file,
        bytes: code.bytes().len(),
        digest: code.digest().to_owned(),
        metadata,
        entries,
    })
}

pub(super) fn text(report: &Report) -> String {
    let metadata = &report.metadata;
    let list = |versions: &[u32]| {
        let versions: Vec<String> = versions.iter().map(u32::to_string).collect();
        versions.join(", ")
    };
    let rights = match metadata.rights.is_empty() {
        true => "none".to_owned(),
        false => metadata.rights.join(", "),
    };
    let mut lines = vec![
        format!("{} {}", metadata.name, metadata.version),
        format!("  {}", metadata.about),
        format!(
            "  file        {} ({})",
            report.file.display(),
            size(report.bytes as u64)
        ),
        format!("  sha-256     {}", report.digest),
        format!("  built with  {}", metadata.built_with),
        format!(
            "  state       version {}; reads {}; writes {}",
            metadata.state.version,
            list(&metadata.state.reads),
            list(&metadata.state.writes)
        ),
        format!("  rights      {rights}"),
    ];
    if let Some(entries) = &report.entries {
        lines.push(format!(
            "  entries     writes {}; reads {}",
            entries.writes,
            list(&entries.reads)
        ));
    }
    for handler in &metadata.handles {
        lines.push(String::new());
        let request = schema::pseudocode(&handler.request);
        lines.push(match &handler.reply {
            Some(reply) => format!("  ask   {request}\n     -> {}", schema::pseudocode(reply)),
            None => format!("  send  {request}"),
        });
        if !handler.request.about.is_empty() {
            lines.push(format!("        {}", handler.request.about));
        }
    }
    lines.retain(|line| line != "  ");
    lines.join("\n")
}
