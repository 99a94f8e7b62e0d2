//! The completion ring: what the card wrote, in order.
//!
//! Owns the head. Invariant: an entry is taken only if its phase is the one that this lap
//! writes, and it is copied once: what the card does to it later changes nothing.
//! It deliberately judges nothing else: `crate::command_table` does.

use faam_hwif::CompletionEntry;

use crate::dma::QueueMemory;

/// Host side of a completion ring.
#[derive(Debug, Default)]
pub(crate) struct CompletionQueue {
    /// Free-running index of the first entry not yet taken.
    head: u32,
    /// Head as the card was last told.
    published: u32,
}

impl CompletionQueue {
    /// Whether an entry waits.
    pub(crate) fn is_ready(&self, memory: &QueueMemory) -> bool {
        let word = memory.phase_word(self.head);
        CompletionEntry::phase_of_word(word) == memory.entries().phase(self.head)
    }

    /// Take the next entry.
    pub(crate) fn take(&mut self, memory: &QueueMemory) -> Option<CompletionEntry> {
        let word = memory.phase_word(self.head);
        if CompletionEntry::phase_of_word(word) != memory.entries().phase(self.head) {
            return None;
        }
        let bytes = memory.read_completion(self.head, word);
        self.head = self.head.wrapping_add(1);
        Some(CompletionEntry::from_bytes(&bytes))
    }

    /// The head, if the card has not been told of it, which is then taken as told.
    pub(crate) fn take_unpublished(&mut self) -> Option<u32> {
        let old = std::mem::replace(&mut self.published, self.head);
        (old != self.head).then_some(self.head)
    }

    pub(crate) fn head(&self) -> u32 {
        self.head
    }
}
