//! A BAR as this process has it mapped.
//!
//! Owns the mapping. Invariant: every access is a volatile one of four bytes, aligned and within
//! the BAR; no reference into it ever exists. A load that the device does not answer reads as all-ones.
//! It does not know whether the device decodes it at the moment: its owner asks only then.
//!
// UNSAFETY: registers are reached through raw pointers into the mapping.
#![expect(unsafe_code, reason = "registers are reached through raw pointers")]

use std::os::fd::AsRawFd;
use std::sync::atomic::{Ordering, fence};

use faam_hwif::BarOffset;
use memmap2::{MmapOptions, MmapRaw};

use super::super::TransportError;

/// A mapped BAR.
#[derive(Debug)]
pub(super) struct MappedBar {
    map: MmapRaw,
}

impl MappedBar {
    /// Map `bytes` of the device's file from `offset`: one region of it.
    pub(super) fn new(
        device: &impl AsRawFd,
        offset: u64,
        bytes: usize,
    ) -> Result<Self, std::io::Error> {
        let map = MmapOptions::new()
            .offset(offset)
            .len(bytes)
            .map_raw(device)?;
        Ok(Self { map })
    }

    /// Load a register. What was written to memory by whoever the value speaks of is seen after it.
    pub(super) fn load(&self, offset: BarOffset) -> Result<u32, TransportError> {
        let at = self.at(offset)?;
        // SAFETY: `at` is aligned and lies within the mapping, which lives as long as `self`.
        let value = unsafe { at.read_volatile() };
        // Partner: the device's writes to memory before it changed the register. x86 keeps loads in order; this keeps
        // the compiler from moving one up.
        fence(Ordering::Acquire);
        Ok(u32::from_le(value))
    }

    /// Store to a register or doorbell, after all that was stored to memory before.
    pub(super) fn store(&self, offset: BarOffset, value: u32) -> Result<(), TransportError> {
        let at = self.at(offset)?;
        // Partner: the device's reads of memory once it has seen the store. x86 keeps stores in order, to uncached
        // memory as well; this keeps the compiler from moving one down.
        fence(Ordering::Release);
        // SAFETY: as in `load`.
        unsafe { at.write_volatile(value.to_le()) };
        Ok(())
    }

    fn at(&self, offset: BarOffset) -> Result<*mut u32, TransportError> {
        let outside = TransportError::OutOfRange {
            what: "register offset",
            value: u64::from(offset.0),
        };
        let start = usize::try_from(offset.0).map_err(|_| outside)?;
        let last = self.map.len().checked_sub(size_of::<u32>());
        match start.is_multiple_of(size_of::<u32>()) && last.is_some_and(|last| start <= last) {
            true => Ok(self.map.as_mut_ptr().wrapping_add(start).cast()),
            false => Err(outside),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_are_aligned_and_within_the_bar() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(12_288).unwrap();
        let bar = MappedBar::new(&file, 4096, 4096).unwrap();
        bar.store(BarOffset(0), 0xFA0A).unwrap();
        bar.store(BarOffset(4092), 7).unwrap();
        assert_eq!(bar.load(BarOffset(0)), Ok(0xFA0A));
        assert_eq!(bar.load(BarOffset(4092)), Ok(7));
        for offset in [1, 2, 4093, 4096, 8192, u32::MAX, u32::MAX - 3] {
            let outside = bar.load(BarOffset(offset));
            assert!(
                matches!(outside, Err(TransportError::OutOfRange { .. })),
                "{offset}"
            );
            assert!(bar.store(BarOffset(offset), 0).is_err(), "{offset}");
        }
    }
}
