//! One buffer of the arena.
//!
//! Owns a run of pages until dropped, when they go back to the pool, or until
//! quarantined. Invariant: every access is bounds-checked and copies; nothing borrows
//! the memory. A buffer named by an unfinished command must be quarantined, not dropped.
//!
// UNSAFETY: this module turns page numbers into pointers within the arena's mapping.
#![expect(unsafe_code, reason = "device memory is reached through raw pointers")]

use std::sync::Arc;

use faam_hwif::Iova;
use thiserror::Error;

use super::arena::Arena;
use super::copy;
use super::fence::Incarnation;
use super::pages::PageRun;
use super::shared_memory::PAGE_BYTES;

/// An access beyond the end of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected an access within {len} bytes, got {wanted} bytes at {offset}")]
pub struct OutOfBounds {
    /// Where it began.
    pub offset: usize,
    /// How much it wanted.
    pub wanted: usize,
    /// What the buffer has.
    pub len: usize,
}

/// A page-aligned buffer that all functions can reach.
#[derive(Debug)]
pub struct DmaBuffer {
    arena: Arc<Arena>,
    /// `None` once quarantined.
    run: Option<PageRun>,
    first: usize,
    len: usize,
}

impl DmaBuffer {
    pub(super) fn new(arena: Arc<Arena>, run: PageRun) -> Self {
        Self {
            arena,
            first: run.first * PAGE_BYTES,
            len: run.count * PAGE_BYTES,
            run: Some(run),
        }
    }

    /// Bytes; at least what was asked for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: kept beside [`Self::len`] by custom.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where a device sees its first byte.
    #[must_use]
    pub fn iova(&self) -> Iova {
        Iova(self.arena.iova().0 + self.first as u64)
    }

    /// Copy `bytes` in at `offset`.
    ///
    /// # Errors
    /// [`OutOfBounds`]; nothing is written then.
    pub fn write_at(&self, offset: usize, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let to = self.at(offset, bytes.len())?;
        // SAFETY: `at` checked that the range lies in this buffer, which lies in the arena's mapping, which lives as
        // long as `self.arena`.
        unsafe { copy::to_device(to, bytes) };
        Ok(())
    }

    /// Copy bytes out from `offset` on, until `bytes` is full.
    ///
    /// # Errors
    /// [`OutOfBounds`]; nothing is read then.
    pub fn read_into(&self, offset: usize, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        let from = self.at(offset, bytes.len())?;
        // SAFETY: as in `write_at`.
        unsafe { copy::from_device(bytes, from) };
        Ok(())
    }

    /// Append the first `len` bytes to `bytes`, reserving exactly that.
    ///
    /// # Errors
    /// [`OutOfBounds`]; nothing is read then.
    pub fn append_to(&self, bytes: &mut Vec<u8>, len: usize) -> Result<(), OutOfBounds> {
        let from = self.at(0, len)?;
        // SAFETY: as in `write_at`.
        unsafe { copy::append_from_device(bytes, from, len) };
        Ok(())
    }

    /// Fill with zeros.
    pub fn zero(&self) {
        if let Ok(at) = self.at(0, self.len) {
            // SAFETY: as in `write_at`; buffers begin and end on page boundaries.
            unsafe { copy::zero_device(at, self.len) };
        }
    }

    /// Zero `count` pages from the arena's page `first` on, as far as they are this buffer's.
    pub(super) fn zero_pages(&self, first: usize, count: usize) {
        let Some(offset) = (first * PAGE_BYTES).checked_sub(self.first) else {
            return;
        };
        let len = count * PAGE_BYTES;
        if let Ok(at) = self.at(offset, len) {
            // SAFETY: as in `write_at`; pages begin and end on page boundaries.
            unsafe { copy::zero_device(at, len) };
        }
    }

    /// Hold the buffer back until a fence of `incarnation` passes: an unfinished command names it. Where it has passed, the
    /// buffer is free.
    pub fn quarantine(mut self, incarnation: Incarnation) {
        if let Some(run) = self.run.take() {
            self.run = self.arena.quarantine().hold(incarnation, run);
        }
    }

    fn at(&self, offset: usize, wanted: usize) -> Result<*mut u8, OutOfBounds> {
        match offset.checked_add(wanted) {
            Some(end) if end <= self.len => {
                Ok(self.arena.memory().base().wrapping_add(self.first + offset))
            }
            _ => Err(OutOfBounds {
                offset,
                wanted,
                len: self.len,
            }),
        }
    }
}

impl Drop for DmaBuffer {
    fn drop(&mut self) {
        if let Some(run) = self.run.take() {
            self.arena.give_back(&run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds_are_kept() {
        let arena = Arena::new(1 << 20).unwrap();
        let buffer = arena.alloc(4096, 1).unwrap();
        assert_eq!(buffer.len(), 4096);
        assert!(buffer.write_at(4095, &[1]).is_ok());
        assert!(buffer.write_at(4095, &[1, 2]).is_err());
        assert!(buffer.write_at(usize::MAX, &[1]).is_err());
        assert!(buffer.append_to(&mut Vec::new(), 4097).is_err());
    }

    #[test]
    fn dropping_gives_back_and_quarantining_does_not() {
        let arena = Arena::new(1 << 20).unwrap();
        let all = arena.free_bytes();
        drop(arena.alloc(100_000, 1).unwrap());
        assert_eq!(arena.free_bytes(), all);
        let incarnation = Incarnation::begin(None);
        arena.alloc(100_000, 1).unwrap().quarantine(incarnation);
        assert!(arena.free_bytes() < all);
        assert_eq!(arena.quarantine().held_bytes(), all - arena.free_bytes());
    }

    #[test]
    fn another_contexts_bytes_are_gone_and_ones_own_may_stay() {
        let arena = Arena::new(1 << 20).unwrap();
        let fill = |context, byte| {
            let buffer = arena.alloc(65536, context).unwrap();
            buffer.write_at(0, &vec![byte; buffer.len()]).unwrap();
            buffer.iova()
        };
        let at = fill(1, 0xAA);
        let next = arena.alloc(65536, 2).unwrap();
        assert_eq!(next.iova(), at, "the very same pages");
        let mut seen = vec![0xFF; next.len()];
        next.read_into(0, &mut seen).unwrap();
        assert!(seen.iter().all(|byte| *byte == 0), "scrubbed");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..5000), offset in 0usize..3000) {
            let arena = Arena::new(1 << 20).unwrap();
            let buffer = arena.alloc(8192, 1).unwrap();
            buffer.write_at(offset, &bytes).unwrap();
            let mut back = vec![0; bytes.len()];
            buffer.read_into(offset, &mut back).unwrap();
            prop_assert_eq!(&back, &bytes);
            buffer.write_at(0, &bytes).unwrap();
            let mut appended = b"before".to_vec();
            buffer.append_to(&mut appended, bytes.len()).unwrap();
            prop_assert_eq!(&appended[..6], b"before");
            prop_assert_eq!(&appended[6..], &bytes[..]);
        }
    }
}
