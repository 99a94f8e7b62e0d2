//! What a count pass returns: how often each symbol of the alphabet would have been coded.

use faam_hwif::table as layout;

use super::code::{distance_symbol, length_symbol};
use super::matcher::Sink;
use super::{DISTANCE_SYMBOLS, LITLEN_SYMBOLS};

/// Symbol counts of one count pass. End-of-block (256) is counted once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// Counts of the literal and length symbols 0..=285.
    pub litlen: [u32; LITLEN_SYMBOLS],
    /// Counts of the distance symbols 0..=29.
    pub distance: [u32; DISTANCE_SYMBOLS],
}

const HISTOGRAM_BYTES: usize = layout::HISTOGRAM_BYTES as usize;
const DISTANCE_OFFSET: usize = layout::HISTOGRAM_DISTANCE_OFFSET as usize;

impl Histogram {
    pub(super) fn new() -> Self {
        Self {
            litlen: [0; LITLEN_SYMBOLS],
            distance: [0; DISTANCE_SYMBOLS],
        }
    }

    /// The memory image: `litlen[288]` at 0, `distance[32]` at 0x480, each a
    /// little-endian u32, unused slots zero (layout: `faam_hwif::table`).
    pub fn to_bytes(&self) -> [u8; HISTOGRAM_BYTES] {
        let mut bytes = [0; HISTOGRAM_BYTES];
        let (litlen, distance) = bytes.split_at_mut(DISTANCE_OFFSET);
        for (slot, count) in litlen.as_chunks_mut::<4>().0.iter_mut().zip(self.litlen) {
            *slot = count.to_le_bytes();
        }
        for (slot, count) in distance
            .as_chunks_mut::<4>()
            .0
            .iter_mut()
            .zip(self.distance)
        {
            *slot = count.to_le_bytes();
        }
        bytes
    }
}

impl Sink for Histogram {
    #[inline(always)]
    fn literals(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.litlen[usize::from(*byte)] += 1;
        }
    }

    #[inline(always)]
    fn matched(&mut self, length: usize, distance: usize) {
        self.litlen[length_symbol(length)] += 1;
        self.distance[distance_symbol(distance)] += 1;
    }
}
