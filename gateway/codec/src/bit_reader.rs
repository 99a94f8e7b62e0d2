//! The bits of a DEFLATE stream, lowest first.
//!
//! Invariant: no bytes whatever make it panic or read outside them; past their end it reads zeros, and tells.

/// Bits of a byte slice, lowest first. Past the end it reads zeros, which [`Self::is_overdrawn`] tells.
///
/// Rare paths take and return it by value: a reference would pin it to memory, and the common path lives by holding it in
/// registers.
#[derive(Clone, Copy)]
pub(crate) struct BitReader<'stream> {
    stream: &'stream [u8],
    /// Bits not yet taken, lowest first. Above `available` it may hold bits that are read again.
    buffer: u64,
    available: u32,
    /// Next byte for the buffer; may run past the end by the zeros handed out.
    next: usize,
}

/// A stored block's data, and where it lies.
pub(crate) enum Stored<'stream> {
    /// LEN and NLEN agree, and the data is there.
    Data(&'stream [u8]),
    /// The stream ends before the data does.
    Truncated,
    /// LEN and NLEN disagree.
    Unconfirmed,
}

impl<'stream> BitReader<'stream> {
    /// After a refill at least so many bits are in the buffer.
    const REFILLED_BITS: u32 = 56;

    pub(crate) const fn new(stream: &'stream [u8]) -> Self {
        Self {
            stream,
            buffer: 0,
            available: 0,
            next: 0,
        }
    }

    /// Bits taken so far.
    pub(crate) const fn position(&self) -> u64 {
        (self.next as u64 * 8).saturating_sub(self.available as u64)
    }

    /// The byte in which the next bit lies.
    pub(crate) fn byte(&self) -> usize {
        usize::try_from(self.position() / 8).unwrap_or(usize::MAX)
    }

    /// Whether bits past the end were taken.
    pub(crate) const fn is_overdrawn(&self) -> bool {
        self.position() > self.stream.len() as u64 * 8
    }

    /// Whether every bit was taken, to the last byte's last.
    pub(crate) const fn is_at_end(&self) -> bool {
        self.position() == self.stream.len() as u64 * 8
    }

    /// The buffer: the next bit is the lowest.
    #[inline(always)]
    pub(crate) const fn buffer(&self) -> u64 {
        self.buffer
    }

    /// Fills the buffer to at least 56 bits from within the stream; false, and nothing is done, near its end.
    #[inline(always)]
    pub(crate) fn refill_inside(&mut self) -> bool {
        let Some(bytes) = self
            .stream
            .get(self.next..)
            .and_then(|rest| rest.first_chunk::<8>())
        else {
            return false;
        };
        self.add(u64::from_le_bytes(*bytes));
        true
    }

    /// Fills the buffer to at least 56 bits, with zeros where the stream has ended.
    pub(crate) fn refill(&mut self) {
        if self.refill_inside() {
            return;
        }
        let mut bytes = [0; 8];
        if let Some(rest) = self.stream.get(self.next..) {
            for (byte, &from) in bytes.iter_mut().zip(rest) {
                *byte = from;
            }
        }
        self.add(u64::from_le_bytes(bytes));
    }

    #[inline(always)]
    fn add(&mut self, word: u64) {
        // Bytes counted here are read once more by the next refill if they did not fit; the or is idempotent on them.
        self.buffer |= word << self.available;
        self.next += ((63 - self.available) >> 3) as usize;
        self.available |= Self::REFILLED_BITS;
    }

    /// Drops `count` bits, at most what the buffer holds.
    #[inline(always)]
    pub(crate) fn skip(&mut self, count: u32) {
        debug_assert!(
            count <= self.available,
            "{count} of {} bits",
            self.available
        );
        self.buffer >>= count;
        self.available = self.available.wrapping_sub(count);
    }

    /// Takes `count` bits, at most 16 and what the buffer holds.
    #[inline(always)]
    pub(crate) fn take(&mut self, count: u32) -> u32 {
        let value = self.buffer & ((1 << count) - 1);
        self.skip(count);
        u32::try_from(value).unwrap_or(u32::MAX)
    }

    /// Takes a stored block from its padding on (RFC 1951, 3.2.4).
    pub(crate) fn take_stored(&mut self) -> Stored<'stream> {
        let start = usize::try_from(self.position().div_ceil(8)).unwrap_or(usize::MAX);
        let Some((&[low, high, not_low, not_high], data)) = self
            .stream
            .get(start..)
            .and_then(|rest| rest.split_first_chunk::<4>())
        else {
            return Stored::Truncated;
        };
        let len = u16::from_le_bytes([low, high]);
        if len != !u16::from_le_bytes([not_low, not_high]) {
            return Stored::Unconfirmed;
        }
        let Some(data) = data.get(..usize::from(len)) else {
            return Stored::Truncated;
        };
        (self.buffer, self.available) = (0, 0);
        self.next = start + 4 + data.len();
        Stored::Data(data)
    }
}
