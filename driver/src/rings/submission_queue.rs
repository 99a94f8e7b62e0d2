//! The submission ring: entries in, tail out.
//!
//! Owns the tail. Invariant: at most `in_use_max` commands are outstanding, written or
//! not yet published. It deliberately does not know how a doorbell is rung.

use faam_hwif::submission::SUBMISSION_BYTES;
use thiserror::Error;

use crate::dma::QueueMemory;

/// No place for another command until one completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("all {in_use_max} places of the queue are taken: wait for a completion")]
pub(crate) struct QueueFull {
    /// Commands that may be outstanding.
    pub(crate) in_use_max: u32,
}

/// Host side of a submission ring.
#[derive(Debug, Default)]
pub(crate) struct SubmissionQueue {
    /// Free-running index after the last entry written.
    tail: u32,
    /// Tail as the card was last told.
    published: u32,
    /// Commands written and not yet retired.
    outstanding: u32,
}

impl SubmissionQueue {
    /// Write an entry at the tail. It is the card's only once published.
    pub(crate) fn push(
        &mut self,
        memory: &QueueMemory,
        entry: &[u8; SUBMISSION_BYTES],
    ) -> Result<(), QueueFull> {
        let in_use_max = memory.entries().in_use_max();
        if self.outstanding >= in_use_max {
            return Err(QueueFull { in_use_max });
        }
        memory.write_submission(self.tail, entry);
        self.tail = self.tail.wrapping_add(1);
        self.outstanding += 1;
        Ok(())
    }

    /// Old and new tail if there is something to publish, which is then taken as published.
    pub(crate) fn take_unpublished(&mut self) -> Option<(u32, u32)> {
        let old = std::mem::replace(&mut self.published, self.tail);
        (old != self.tail).then_some((old, self.tail))
    }

    /// Whether a completion may say this of fetched entries. Those not fetched are outstanding, and the completed
    /// command is not among them.
    pub(crate) fn head_is_possible(&self, sq_head: u16) -> bool {
        let [low, high, ..] = self.tail.to_le_bytes();
        let unfetched = u16::from_le_bytes([low, high]).wrapping_sub(sq_head);
        u32::from(unfetched) < self.outstanding
    }

    /// A command was retired.
    pub(crate) fn retire(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn published(&self) -> u32 {
        self.published
    }

    pub(crate) fn outstanding(&self) -> u32 {
        self.outstanding
    }
}
