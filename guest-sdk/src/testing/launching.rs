//! What an endpoint launches in a test: nothing runs, the test says what becomes of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{TestEndpoint, raw};
use crate::event::Event;
use crate::launching::{LaunchChange, LaunchChanged, LaunchId, Workload};
use crate::{Bytes, Endpoint, Failure};

/// The launches of one endpoint in a test.
#[derive(Default)]
pub(crate) struct TestLaunches {
    go_on: BTreeMap<u64, Vec<u8>>,
    new: Vec<(u64, Workload)>,
    kills: Vec<u64>,
    pub(crate) refused: Option<Failure>,
    pub(crate) cleans: Vec<(Vec<String>, u64)>,
    pub(crate) removed_folders: Vec<String>,
}

impl TestLaunches {
    pub(crate) fn launch(&mut self, id: u64, workload: Workload, token: Vec<u8>) {
        self.go_on.insert(id, token);
        self.new.push((id, workload));
    }

    pub(crate) fn kill(&mut self, id: u64) -> bool {
        let goes_on = self.go_on.contains_key(&id);
        if goes_on {
            self.kills.push(id);
        }
        goes_on
    }

    pub(crate) fn that_go_on(&self) -> Vec<(u64, Vec<u8>)> {
        let all = self.go_on.iter();
        all.map(|(id, token)| (*id, token.clone())).collect()
    }
}

impl<E: Endpoint> TestEndpoint<E> {
    /// Takes what the endpoint launched, in order, each with its token. They go on until
    /// [`TestEndpoint::launch_changed`] says otherwise.
    pub fn launches(&mut self) -> Vec<(LaunchId, Workload, Bytes)> {
        let launches = &mut self.host.borrow_mut().launches;
        let new = std::mem::take(&mut launches.new);
        let with_token = new.into_iter().map(|(id, workload)| {
            let token = launches.go_on.get(&id).cloned().unwrap_or_default();
            (LaunchId(id), workload, Bytes::from(token))
        });
        with_token.collect()
    }

    /// What launching fails with from now on; `None`: it works.
    pub fn refuse_launches(&self, failure: Option<Failure>) {
        self.host.borrow_mut().launches.refused = failure;
    }

    /// Takes the launches that the endpoint killed, in order. They go on until their end is told.
    pub fn kills(&mut self) -> Vec<LaunchId> {
        let kills = std::mem::take(&mut self.host.borrow_mut().launches.kills);
        kills.into_iter().map(LaunchId).collect()
    }

    /// Tells the endpoint what became of a launch. Of one that has ended already nothing is told.
    ///
    /// # Panics
    /// Where the handler panics.
    pub fn launch_changed(&mut self, launch: LaunchId, change: LaunchChange) {
        let token = {
            let go_on = &mut self.host.borrow_mut().launches.go_on;
            match change {
                LaunchChange::Running { .. } => go_on.get(&launch.0).cloned(),
                LaunchChange::Exited { .. }
                | LaunchChange::Killed
                | LaunchChange::Failed { .. } => go_on.remove(&launch.0),
            }
        };
        if let Some(token) = token {
            let notice = LaunchChanged {
                launch,
                token: Bytes::from(token),
                change,
            };
            self.deliver(Event::Receive(raw(&notice)));
        }
    }

    /// Takes what the endpoint wanted cleaned: the folders to keep, and how long the others were unused.
    pub fn cleans(&mut self) -> Vec<(Vec<String>, Duration)> {
        let cleans = std::mem::take(&mut self.host.borrow_mut().launches.cleans);
        let cleans = cleans.into_iter();
        cleans
            .map(|(keep, ms)| (keep, Duration::from_millis(ms)))
            .collect()
    }

    /// Takes the work folders that the endpoint wanted removed, in order.
    pub fn removed_folders(&mut self) -> Vec<String> {
        std::mem::take(&mut self.host.borrow_mut().launches.removed_folders)
    }
}
