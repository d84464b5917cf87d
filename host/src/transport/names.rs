//! A small cache of endpoint names and message kinds, so that a busy connection allocates none of
//! them per message.
//!
//! Invariant: at most [`SLOTS`] texts of at most 255 bytes are kept, whatever a peer sends. A text
//! that meets another one in its slot takes the slot; the only cost is an allocation.

use std::sync::Arc;

use super::frame::NAME_BYTES_MAX;

/// More than the kinds that one peer sends in a stretch; a power of two.
const SLOTS: usize = 128;

/// The cache. Not shared: each reader and each outbox has its own.
#[derive(Debug)]
pub(super) struct Names {
    slots: Box<[Option<Arc<str>>; SLOTS]>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self {
            slots: Box::new([const { None }; SLOTS]),
        }
    }

    /// The shared form of `text`.
    pub(super) fn get(&mut self, text: &str) -> Arc<str> {
        // What is too long to travel is not worth keeping; its sender is about to hear so.
        let slot = match text.len() {
            ..=NAME_BYTES_MAX => self.slots.get_mut(slot_of(text.as_bytes())),
            _ => None,
        };
        match slot {
            Some(Some(known)) if **known == *text => Arc::clone(known),
            Some(slot) => Arc::clone(slot.insert(Arc::from(text))),
            None => Arc::from(text),
        }
    }

    /// The shared form of `text`, or `None` if that is no UTF-8. What is known was checked before.
    pub(super) fn get_bytes(&mut self, text: &[u8]) -> Option<Arc<str>> {
        if let Some(Some(known)) = self.slots.get(slot_of(text))
            && known.as_bytes() == text
        {
            return Some(Arc::clone(known));
        }
        std::str::from_utf8(text).ok().map(|text| self.get(text))
    }
}

/// FNV-1a, folded. A peer that makes texts collide slows only its own connection.
fn slot_of(text: &[u8]) -> usize {
    let hash = text.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    (hash ^ (hash >> 16)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_shared_and_any_text_comes_back_as_it_was() {
        let mut names = Names::new();
        let first = names.get("deploy.RegisterWorker");
        let again = names.get_bytes(b"deploy.RegisterWorker").unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        for number in 0..10 * SLOTS {
            let text = format!("kind-{number}");
            assert_eq!(*names.get(&text), *text);
            assert_eq!(names.get_bytes(text.as_bytes()).as_deref(), Some(&*text));
        }
        assert_eq!(names.get_bytes(&[0xff, 0xfe]), None);
    }
}
