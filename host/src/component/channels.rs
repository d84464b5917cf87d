//! Channels: the files that one instance has open. Whatever runs an instance can hold one: endpoints do,
//! and so can what runs commands.
//!
//! Before it: `instar:endpoint/channels`. After it: a [`ChannelSource`].
//!
//! Invariants
//! 1. A failed channel stays failed: its end is only ever the end of the file.
//! 2. No more of them are open than the limit, and no more is read at once than `READ_BYTES_MAX`.
//!
//! Not here: how long a read may take. The caller ends it by dropping it.

use std::sync::Arc;

use wasmtime::component::{Resource, ResourceTable};

use super::bindings::instar::endpoint::channels::{Host, HostChannel};
use super::bindings::instar::endpoint::types::{self, Failure};
use super::convert::failure_out;
use crate::error::RpcError;
use crate::transport::{BoxFuture, FileBytes, FileRange};

/// Bytes that one read gives at most.
pub(crate) const READ_BYTES_MAX: usize = 1 << 20;

/// Where files are opened.
pub trait ChannelSource: Send + Sync + 'static {
    /// Opens a range of a file, or the list of a directory.
    fn open_channel(
        &self,
        uri: &str,
        range: FileRange,
    ) -> BoxFuture<'static, Result<Box<dyn FileBytes>, RpcError>>;
}

/// The files that an instance has open.
pub(crate) struct Channels {
    source: Arc<dyn ChannelSource>,
    table: ResourceTable,
    open: usize,
    limit: usize,
}

/// One of them.
pub struct OpenChannel {
    uri: String,
    bytes: Box<dyn FileBytes>,
    failed: Option<Failure>,
}

impl Channels {
    /// None yet, and at most `limit` at once.
    pub(crate) fn new(source: Arc<dyn ChannelSource>, limit: usize) -> Self {
        Self {
            source,
            table: ResourceTable::new(),
            open: 0,
            limit,
        }
    }
}

// An interface of types only, which `channels` uses.
impl types::Host for Channels {}

impl Host for Channels {
    async fn open(
        &mut self,
        uri: String,
        offset: u64,
        length: Option<u64>,
    ) -> wasmtime::Result<Result<Resource<OpenChannel>, Failure>> {
        if self.open >= self.limit {
            let reason = format!(
                "{} channels are open, the limit is {} (`channels` in the sidecar); drop those that \
                 are of no more use",
                self.open, self.limit
            );
            return Ok(Err(failure_out(&RpcError::Denied { reason })));
        }
        let range = FileRange { offset, length };
        Ok(match self.source.open_channel(&uri, range).await {
            Ok(bytes) => {
                let channel = self.table.push(OpenChannel {
                    uri,
                    bytes,
                    failed: None,
                })?;
                self.open += 1;
                Ok(channel)
            }
            Err(error) => Err(failure_out(&error)),
        })
    }
}

impl HostChannel for Channels {
    async fn read(
        &mut self,
        channel: Resource<OpenChannel>,
        max_bytes: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, Failure>> {
        let channel = self.table.get_mut(&channel)?;
        if let Some(failure) = &channel.failed {
            return Ok(Err(failure.clone()));
        }
        let wanted = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        let read = channel.bytes.next(wanted.clamp(1, READ_BYTES_MAX)).await;
        Ok(read.map(|bytes| bytes.to_vec()).map_err(|error| {
            let failure = failure_out(&RpcError::Failed {
                code: "network".to_owned(),
                text: format!("reading `{}`: {error}", channel.uri),
            });
            channel.failed.insert(failure).clone()
        }))
    }

    fn drop(&mut self, channel: Resource<OpenChannel>) -> wasmtime::Result<()> {
        self.table.delete(channel)?;
        self.open -= 1;
        Ok(())
    }
}
