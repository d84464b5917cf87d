//! `launching`: what is to be run beside the endpoint. The import itself is the right; see `rights`.

use std::time::Duration;

use bytes::Bytes;

use crate::component::bindings::instar::endpoint::launching::{Host, Workload};
use crate::component::bindings::instar::endpoint::types::Failure;
use crate::component::convert::{failure_out, workload_in};
use crate::component::effect::Effect;
use crate::component::instance::HostState;
use crate::component::workload::Cleaning;

use super::messaging::count;

impl Host for HostState {
    fn launch(
        &mut self,
        workload: Workload,
        token: Vec<u8>,
    ) -> wasmtime::Result<Result<u64, Failure>> {
        let (workload, token) = (workload_in(workload), Bytes::from(token));
        let in_turn = count(self, |effect| matches!(effect, Effect::Launch { .. }));
        let bytes = workload.text_bytes().saturating_add(token.len());
        let admitted = self
            .surroundings
            .check_size(bytes)
            .and_then(|()| self.surroundings.admit_launch(&workload, &token, in_turn));
        Ok(match admitted {
            Ok(id) => {
                self.effects.push_back(Effect::Launch {
                    id,
                    workload: Box::new(workload),
                    token,
                });
                Ok(id)
            }
            Err(error) => Err(failure_out(&error)),
        })
    }

    fn kill(&mut self, launch: u64) -> wasmtime::Result<bool> {
        // One of this turn is launched and then killed: so its end is told, as of every other.
        let in_turn =
            |effect: &Effect| matches!(effect, Effect::Launch { id, .. } if *id == launch);
        let goes_on = self.surroundings.launch_goes_on(launch) || self.wanted().any(in_turn);
        if goes_on {
            self.effects.push_back(Effect::Kill { launch });
        }
        Ok(goes_on)
    }

    fn launched(&mut self) -> wasmtime::Result<Vec<(u64, Vec<u8>)>> {
        let in_turn = self.wanted().filter_map(|effect| match effect {
            Effect::Launch { id, token, .. } => Some((*id, token.clone())),
            _ => None,
        });
        let all = self.surroundings.launched().into_iter().chain(in_turn);
        Ok(all.map(|(id, token)| (id, token.to_vec())).collect())
    }

    fn clean(&mut self, keep: Vec<String>, unused_ms: u64) -> wasmtime::Result<()> {
        self.effects.push_back(Effect::Clean(Cleaning {
            keep,
            unused: Duration::from_millis(unused_ms),
        }));
        Ok(())
    }

    fn remove_folder(&mut self, folder: String) -> wasmtime::Result<()> {
        self.effects.push_back(Effect::RemoveFolder { folder });
        Ok(())
    }
}
