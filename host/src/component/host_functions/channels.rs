//! `channels`: files of hosts. Opening and reading wait; what bounds a turn bounds the wait.

use wasmtime::component::Resource;

use crate::component::bindings::instar::endpoint::channels::{Host, HostChannel};
use crate::component::bindings::instar::endpoint::types::Failure;
use crate::component::channels::OpenChannel;
use crate::component::instance::HostState;

impl Host for HostState {
    async fn open(
        &mut self,
        uri: String,
        offset: u64,
        length: Option<u64>,
    ) -> wasmtime::Result<Result<Resource<OpenChannel>, Failure>> {
        let over = self.turn_over();
        tokio::select! {
            opened = Host::open(&mut self.channels, uri, offset, length) => opened,
            () = over => self.overruns(),
        }
    }
}

impl HostChannel for HostState {
    async fn read(
        &mut self,
        channel: Resource<OpenChannel>,
        max_bytes: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, Failure>> {
        let over = self.turn_over();
        tokio::select! {
            biased;
            read = HostChannel::read(&mut self.channels, channel, max_bytes) => read,
            () = over => self.overruns(),
        }
    }

    fn drop(&mut self, channel: Resource<OpenChannel>) -> wasmtime::Result<()> {
        HostChannel::drop(&mut self.channels, channel)
    }
}
