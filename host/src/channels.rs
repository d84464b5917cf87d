//! Channels: the way from a uri to the bytes of a file, of this host or of another.
//!
//! Before it: [`crate::component`] (what guests open). After it: [`crate::file_server`] for this host's own
//! files, [`crate::transport`] for those of peers.

use std::sync::{Arc, Weak};

use crate::address::{Location, RpcAddress};
use crate::component::channels::ChannelSource;
use crate::dispatcher::Dispatcher;
use crate::error::RpcError;
use crate::file_server::{self, FileServer};
use crate::transport::{BoxFuture, FileBytes, FileRange, StreamError};

/// Opens files of all hosts.
pub(crate) struct FilesOfHosts {
    // Weak: the dispatcher holds this.
    dispatcher: Weak<Dispatcher>,
    files: Arc<FileServer>,
}

impl FilesOfHosts {
    pub(crate) fn new(dispatcher: &Arc<Dispatcher>, files: &Arc<FileServer>) -> Self {
        Self {
            dispatcher: Arc::downgrade(dispatcher),
            files: Arc::clone(files),
        }
    }
}

impl ChannelSource for FilesOfHosts {
    fn open_channel(
        &self,
        uri: &str,
        range: FileRange,
    ) -> BoxFuture<'static, Result<Box<dyn FileBytes>, RpcError>> {
        let uri = uri.to_owned();
        let (dispatcher, files) = (self.dispatcher.upgrade(), Arc::clone(&self.files));
        Box::pin(async move {
            let (address, path) = file_server::parse_uri(&uri)
                .map_err(|error| failed("invalid-address", error.to_string()))?;
            let dispatcher = dispatcher.ok_or_else(|| RpcError::Stopped {
                what: "this host".to_owned(),
            })?;
            if is_here(&dispatcher, &address) {
                let opened = files.open(&path, range).await;
                return opened.map_err(|reason| failed("refused", format!("`{uri}`: {reason}")));
            }
            let transport = dispatcher.transport()?;
            let opened = transport.open_stream(&address, &path, range).await;
            let stream = opened.map_err(|error| match error {
                StreamError::Stopped { host } => RpcError::Stopped {
                    what: format!("host {host}"),
                },
                StreamError::Refused { reason, .. } => {
                    failed("refused", format!("`{uri}`: {reason}"))
                }
                StreamError::PathTooLong { .. } => {
                    failed("invalid-address", format!("`{uri}`: {error}"))
                }
                StreamError::Network { cause, .. } => {
                    failed("network", format!("cannot read `{uri}`: {cause}"))
                }
            })?;
            Ok(Box::new(stream) as Box<dyn FileBytes>)
        })
    }
}

fn is_here(dispatcher: &Dispatcher, address: &RpcAddress) -> bool {
    matches!(dispatcher.location(), Location::Listening(here) if here == *address)
}

fn failed(code: &str, text: String) -> RpcError {
    RpcError::Failed {
        code: code.to_owned(),
        text,
    }
}
