//! The memory of one queue pair: both rings, the shadow page and a scratch page, private to one function.
//!
//! Each life of a function has its own, in a file of its own, so it needs no fence: a
//! card that writes late writes what nobody reads.
//!
//! Owns layout and access. Invariant: every access is in bounds by construction, because
//! indices are masked with the size that the memory was laid out for; the card's side is
//! read with atomics only. It deliberately does not know what entries mean, nor orderings
//! between cells: those are `crate::rings`' own.
//!
// UNSAFETY: this module turns ring indices into pointers within its own mapping.
#![expect(unsafe_code, reason = "device memory is reached through raw pointers")]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use faam_hwif::completion::{COMPLETION_BYTES, PHASE_WORD_OFFSET};
use faam_hwif::doorbell::SHADOW_BYTES;
use faam_hwif::submission::SUBMISSION_BYTES;
use faam_hwif::{Iova, QueueEntries};

use super::shared_memory::{PAGE_BYTES, SharedMemory, SharedMemoryError};

/// Bytes of the scratch page.
const SCRATCH_BYTES: u32 = 4096;
const _: () = assert!(SCRATCH_BYTES as usize == PAGE_BYTES);

/// Where the parts of a queue pair's memory lie, bytes from its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueMemoryLayout {
    /// Entries of both rings.
    pub(crate) entries: QueueEntries,
    completions: usize,
    shadow: usize,
    scratch: usize,
    total: usize,
}

impl QueueMemoryLayout {
    pub(crate) fn new(entries: QueueEntries) -> Self {
        // From u32 to usize: this crate is for 64-bit targets alone.
        let count = entries.count() as usize;
        let completions = (count * SUBMISSION_BYTES).next_multiple_of(PAGE_BYTES);
        let shadow = (completions + count * COMPLETION_BYTES).next_multiple_of(PAGE_BYTES);
        Self {
            entries,
            completions,
            shadow,
            scratch: shadow + PAGE_BYTES,
            total: shadow + 2 * PAGE_BYTES,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.total
    }
}

/// Rings and shadow page.
#[derive(Debug)]
pub(crate) struct QueueMemory {
    memory: SharedMemory,
    layout: QueueMemoryLayout,
    iova: Iova,
}

impl QueueMemory {
    /// Zeroed memory that the device will see at `iova`.
    pub(crate) fn new(layout: QueueMemoryLayout, iova: Iova) -> Result<Self, SharedMemoryError> {
        Ok(Self {
            memory: SharedMemory::new("faam-queue", layout.bytes())?,
            layout,
            iova,
        })
    }

    pub(crate) fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    pub(crate) fn entries(&self) -> QueueEntries {
        self.layout.entries
    }

    pub(crate) fn submissions_iova(&self) -> Iova {
        self.iova
    }

    pub(crate) fn completions_iova(&self) -> Iova {
        Iova(self.iova.0 + self.layout.completions as u64)
    }

    pub(crate) fn shadow_iova(&self) -> Iova {
        Iova(self.iova.0 + self.layout.shadow as u64)
    }

    /// The scratch page, which admin commands write their structures to, and its length.
    pub(crate) fn scratch_iova(&self) -> (Iova, u32) {
        let iova = Iova(self.iova.0 + self.layout.scratch as u64);
        (iova, SCRATCH_BYTES)
    }

    /// Copy out of the scratch page; what lies beyond it reads as zero.
    pub(crate) fn read_scratch(&self, offset: usize, bytes: &mut [u8]) {
        bytes.fill(0);
        let left = PAGE_BYTES.saturating_sub(offset);
        let wanted = bytes.len().min(left);
        if let Some(bytes) = bytes.get_mut(..wanted).filter(|bytes| !bytes.is_empty()) {
            let from = self
                .memory
                .base()
                .wrapping_add(self.layout.scratch + offset);
            // SAFETY: `offset + bytes.len()` is within the scratch page, which the layout made room for in this mapping.
            unsafe { super::copy::from_device(bytes, from) };
        }
    }

    /// Write the entry at a free-running index. Unordered: the tail's Release store publishes it.
    pub(crate) fn write_submission(&self, index: u32, entry: &[u8; SUBMISSION_BYTES]) {
        let start = self.layout.entries.slot(index) as usize * SUBMISSION_BYTES;
        for (n, word) in entry.as_chunks::<8>().0.iter().enumerate() {
            self.word64(start + n * 8)
                .store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        }
    }

    /// Load the phase word of the completion at a free-running index. Acquire: its partner is the card's Release
    /// store of it, written last, so who sees the phase sees the rest.
    pub(crate) fn phase_word(&self, index: u32) -> u32 {
        self.word32(self.completion_start(index) + PHASE_WORD_OFFSET)
            .load(Ordering::Acquire)
    }

    /// Copy the completion whose phase word was just loaded. The word is not loaded again.
    pub(crate) fn read_completion(&self, index: u32, phase_word: u32) -> [u8; COMPLETION_BYTES] {
        let start = self.completion_start(index);
        let mut entry = [0; COMPLETION_BYTES];
        let (words, _) = entry.as_chunks_mut::<4>();
        for (n, word) in words.iter_mut().enumerate() {
            let value = match n * 4 {
                PHASE_WORD_OFFSET => phase_word,
                at => self.word32(start + at).load(Ordering::Relaxed),
            };
            *word = value.to_ne_bytes();
        }
        entry
    }

    /// The shadow page's cell at `offset`, a multiple of 4 below the page's size.
    pub(crate) fn shadow_cell(&self, offset: u32) -> &AtomicU32 {
        self.word32(self.layout.shadow + (offset % SHADOW_BYTES) as usize)
    }

    /// What a card does with the page, for tests that play one.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn read_submission(&self, index: u32) -> [u8; SUBMISSION_BYTES] {
        let start = self.layout.entries.slot(index) as usize * SUBMISSION_BYTES;
        let mut entry = [0; SUBMISSION_BYTES];
        for (n, word) in entry.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *word = self
                .word64(start + n * 8)
                .load(Ordering::Relaxed)
                .to_ne_bytes();
        }
        entry
    }

    /// Write a completion as a card does: the phase word last, with Release.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn write_completion(&self, index: u32, entry: &[u8; COMPLETION_BYTES]) {
        let start = self.completion_start(index);
        for (n, word) in entry.as_chunks::<4>().0.iter().enumerate() {
            let order = match n * 4 {
                PHASE_WORD_OFFSET => Ordering::Release,
                _ => Ordering::Relaxed,
            };
            self.word32(start + n * 4)
                .store(u32::from_ne_bytes(*word), order);
        }
    }

    fn completion_start(&self, index: u32) -> usize {
        self.layout.completions + self.layout.entries.slot(index) as usize * COMPLETION_BYTES
    }

    fn word32(&self, offset: usize) -> &AtomicU32 {
        debug_assert!(offset.is_multiple_of(4) && offset + 4 <= self.layout.total);
        // SAFETY: `offset` is in bounds and aligned: callers add a masked index times an entry's size, and a multiple
        // of four below it, to the start of a part that the layout made room for; the memory is at least
        // `layout.total` long, page-aligned, lives as long as `self`, and this process reaches it by atomics only.
        unsafe { AtomicU32::from_ptr(self.memory.base().wrapping_add(offset).cast()) }
    }

    fn word64(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset.is_multiple_of(8) && offset + 8 <= self.layout.total);
        // SAFETY: as for `word32`, with multiples of eight. Words that are accessed in this width (submissions) are
        // never accessed in the other.
        unsafe { AtomicU64::from_ptr(self.memory.base().wrapping_add(offset).cast()) }
    }
}
