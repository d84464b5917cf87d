//! `turns`: where in its batch the guest is, and the end of each turn.

use crate::component::bindings::instar::endpoint::turns::Host;
use crate::component::instance::HostState;

impl Host for HostState {
    fn begin(&mut self, index: u32) -> wasmtime::Result<bool> {
        let expected = self.turn.index.map_or(0, |current| current + 1);
        if self.turn.stopped {
            wasmtime::bail!("called `turns.begin` after it had answered false");
        }
        if index != expected || index >= self.turn.len {
            wasmtime::bail!(
                "called `turns.begin({index})`, expected {expected} of a batch of {}",
                self.turn.len
            );
        }
        self.note_turn();
        // The turn before has ended well: now it takes effect.
        let may_go_on = self.commit() && !self.surroundings.interrupted();
        if may_go_on {
            self.turn.index = Some(index);
            self.restart_clock();
        } else {
            self.turn.stopped = true;
        }
        Ok(may_go_on)
    }
}
