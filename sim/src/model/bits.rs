//! The bit packer: a job's output, least significant bit first (RFC 1951, section 3.1.1).
//!
//! Invariant: a byte outside the slice it was given is never written, while `byte_len` goes on counting, so that the
//! length a job would have had is known even where it does not fit.

/// Packs bits into a bounded slice and counts every byte, those that did not fit included.
pub(super) struct BitWriter<'a> {
    out: &'a mut [u8],
    /// Bytes emitted so far; greater than `out.len()` once output was lost.
    len: usize,
    pending: u64,
    pending_bits: u32,
}

impl<'a> BitWriter<'a> {
    /// Most bits that may be [`put`](Self::put) between two calls of [`flush`](Self::flush).
    pub(super) const BITS_BETWEEN_FLUSHES_MAX: u32 = 56;

    pub(super) fn new(out: &'a mut [u8]) -> Self {
        Self {
            out,
            len: 0,
            pending: 0,
            pending_bits: 0,
        }
    }

    /// Appends the low `count` bits of `bits`; the rest of `bits` must be zero.
    #[inline(always)]
    pub(super) fn put(&mut self, bits: u64, count: u32) {
        debug_assert!(count < 64 && bits >> count == 0 && self.pending_bits + count < 64);
        self.pending |= bits << (self.pending_bits & 63);
        self.pending_bits += count;
    }

    /// Moves whole bytes from the accumulator to the output; at most 7 bits stay behind.
    #[inline(always)]
    pub(super) fn flush(&mut self) {
        if let Some(word) = self
            .out
            .get_mut(self.len..)
            .and_then(<[u8]>::first_chunk_mut::<8>)
        {
            *word = self.pending.to_le_bytes();
            let bytes = self.pending_bits >> 3;
            self.len += bytes as usize;
            self.pending >>= (bytes * 8) & 63;
            self.pending_bits &= 7;
        } else {
            self.flush_near_end();
        }
    }

    /// The last seven bytes of the slice, and everything after it.
    #[cold]
    fn flush_near_end(&mut self) {
        while self.pending_bits >= 8 {
            if let Some(byte) = self.out.get_mut(self.len) {
                *byte = (self.pending & 0xff) as u8;
            }
            self.len += 1;
            self.pending >>= 8;
            self.pending_bits -= 8;
        }
    }

    /// Pads with zero bits to a byte boundary.
    pub(super) fn align(&mut self) {
        self.pending_bits = self.pending_bits.next_multiple_of(8);
        self.flush();
    }

    /// Appends whole bytes. The writer must be aligned.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        debug_assert_eq!(self.pending_bits, 0, "bytes follow an aligned writer");
        if let Some(space) = self
            .out
            .get_mut(self.len..)
            .and_then(|space| space.get_mut(..bytes.len()))
        {
            space.copy_from_slice(bytes);
        } else if let Some(space) = self.out.get_mut(self.len..) {
            for (to, from) in space.iter_mut().zip(bytes) {
                *to = *from;
            }
        }
        self.len += bytes.len();
    }

    /// Appends a bit string of `count` bits, bit 0 of byte 0 first.
    pub(super) fn bit_string(&mut self, bytes: &[u8], count: usize) {
        let mut left = count;
        for byte in bytes {
            let take = left.min(8);
            if take == 0 {
                return;
            }
            let mask = (1u64 << take) - 1;
            self.put(u64::from(*byte) & mask, (take as u64 & 0xf) as u32);
            self.flush();
            left -= take;
        }
    }

    /// Bytes emitted so far, lost ones included. Pending bits are not counted.
    pub(super) fn byte_len(&self) -> usize {
        self.len
    }

    /// Goes back to `len` bytes, dropping what came after and all pending bits.
    pub(super) fn rewind(&mut self, len: usize) {
        self.len = len;
        self.pending = 0;
        self.pending_bits = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_packed_least_significant_first() {
        let mut out = [0xee; 16];
        let mut writer = BitWriter::new(&mut out);
        writer.put(0b1, 1);
        writer.put(0b10, 2);
        writer.put(0x3ff, 10);
        writer.align();
        writer.bytes(&[0xaa]);
        assert_eq!(writer.byte_len(), 3);
        assert_eq!(out[..3], [0b1111_1101, 0b0001_1111, 0xaa]);
    }

    #[test]
    fn a_full_slice_keeps_counting_and_nothing_else_is_touched() {
        for space in 0..12 {
            let mut out = [0x55; 32];
            let mut writer = BitWriter::new(&mut out[..space]);
            for _ in 0..4 {
                writer.put(0x00ff_ffff_ffff, 48);
                writer.flush();
            }
            writer.bytes(&[1, 2, 3]);
            assert_eq!(writer.byte_len(), 27);
            assert!(out[space..].iter().all(|byte| *byte == 0x55));
        }
    }
}
