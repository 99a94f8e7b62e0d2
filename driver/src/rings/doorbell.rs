//! The shadow doorbell protocol, host side: when a kick is owed, and how an interrupt is asked for.
//!
//! Owns the two orderings on which no wake-up being lost depends. Generic over the cells,
//! so that the very source that runs over device memory also runs over loom's atomics
//! (`tests/loom.rs`), where the version with a weaker fence must fail.
//! It deliberately does not know rings or transports.

use faam_hwif::doorbell::kick_needed;

/// A cell of the host's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostCell {
    /// SQ_TAIL: the submission index after the last entry written.
    SubmissionTail,
    /// CQ_HEAD: the completion index of the first entry not yet taken.
    CompletionHead,
    /// CQ_WANT: the completion index at whose writing an interrupt is wanted.
    CompletionWant,
}

/// The shadow page as the host uses it.
pub trait ShadowCells {
    /// Store a cell of the host's line with Release: what was written before is seen by whoever reads the new value.
    fn store_release(&self, cell: HostCell, value: u32);
    /// Load SQ_EVENT, the card's only cell.
    fn load_event(&self) -> u32;
    /// Full fence: no load after it happens before a store before it.
    fn full_fence(&self);
}

/// Whether the card must be told through its MMIO doorbell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Kick {
    /// It asked to be.
    Owed,
    /// It polls, or was told before.
    NotOwed,
}

/// Publish the entries `old .. new` of the submission ring.
///
/// The fence's partner is the card's own between storing SQ_EVENT and re-reading
/// SQ_TAIL. With either weaker, the host can read the old event while the card reads the
/// old tail: the card sleeps, the host does not kick, and the entry waits for ever.
pub fn publish_submissions<C: ShadowCells + ?Sized>(cells: &C, old: u32, new: u32) -> Kick {
    cells.store_release(HostCell::SubmissionTail, new);
    cells.full_fence();
    match kick_needed(cells.load_event(), new, old) {
        true => Kick::Owed,
        false => Kick::NotOwed,
    }
}

/// Ask for one interrupt when the completion at `head` is written. The caller re-checks
/// that completion's phase before it sleeps.
///
/// The fence's partner is the card's between writing a completion and reading CQ_WANT:
/// either the card sees the wish, or the re-check sees the completion.
pub fn arm_interrupt<C: ShadowCells + ?Sized>(cells: &C, head: u32) {
    cells.store_release(HostCell::CompletionWant, head);
    cells.full_fence();
}

/// Say that no interrupt is wanted: a want behind the head lies ahead of no completion to come.
pub fn disarm_interrupt<C: ShadowCells + ?Sized>(cells: &C, head: u32) {
    cells.store_release(HostCell::CompletionWant, head.wrapping_sub(1));
}

/// Tell the card which completions were taken, so that their places may be written again.
pub fn publish_completion_head<C: ShadowCells + ?Sized>(cells: &C, head: u32) {
    cells.store_release(HostCell::CompletionHead, head);
}
