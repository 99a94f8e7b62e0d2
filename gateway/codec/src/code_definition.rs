//! The code definitions at the head of a dynamic block (RFC 1951, 3.2.7).
//!
//! Invariant: what is taken here, every standard decoder takes. They differ in what they forgive: zlib refuses more than 286
//! literal/length or 30 distance lengths, a code length code that is not complete, any other code that is incomplete but for
//! a single word of one bit, and a block that could not end (zlib 1.3, inflate.c and inftrees.c); libdeflate and ISA-L
//! take some of these. The strictest is followed.

use crate::bit_reader::BitReader;
use crate::canonical_code::{CanonicalCode, Coverage};

/// Literal/length symbols that a definition may name.
pub(crate) const LITLEN_DEFINED_MAX: usize = 286;
/// Distance symbols that a definition may name.
pub(crate) const DISTANCE_DEFINED_MAX: usize = 30;
/// The end-of-block symbol.
pub(crate) const END_OF_BLOCK: u16 = 256;

const PRECODE_SYMBOLS: usize = 19;
/// Longest word of the code length code (3-bit lengths).
const PRECODE_BITS_MAX: usize = 7;

/// Order in which the code length code's lengths are sent.
const PRECODE_ORDER: [u8; PRECODE_SYMBOLS] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

/// The bits are no definition that every decoder takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Impossible;

/// Word lengths of one block's two codes.
pub(crate) struct CodeDefinition {
    lengths: [u8; LITLEN_DEFINED_MAX + DISTANCE_DEFINED_MAX],
    litlen_count: usize,
    total: usize,
    precode: CanonicalCode<PRECODE_SYMBOLS>,
    /// By the next 7 bits: symbol and word length; length 0 where no word begins so.
    by_window: [(u8, u8); 1 << PRECODE_BITS_MAX],
}

impl CodeDefinition {
    pub(crate) const fn new() -> Self {
        Self {
            lengths: [0; LITLEN_DEFINED_MAX + DISTANCE_DEFINED_MAX],
            litlen_count: 0,
            total: 0,
            precode: CanonicalCode::new(),
            by_window: [(0, 0); 1 << PRECODE_BITS_MAX],
        }
    }

    /// Lengths of the literal/length symbols' words, from symbol 0 on.
    pub(crate) fn litlen(&self) -> &[u8] {
        self.lengths.get(..self.litlen_count).unwrap_or_default()
    }

    /// Lengths of the distance symbols' words, from symbol 0 on.
    pub(crate) fn distance(&self) -> &[u8] {
        self.lengths
            .get(self.litlen_count..self.total)
            .unwrap_or_default()
    }

    /// Reads a definition, from behind the block's type on. Bits past the stream's end read as zeros: the caller looks.
    pub(crate) fn read(&mut self, bits: &mut BitReader<'_>) -> Result<(), Impossible> {
        bits.refill();
        self.litlen_count = bits.take(5) as usize + 257;
        self.total = self.litlen_count + bits.take(5) as usize + 1;
        let precode_count = bits.take(4) as usize + 4;
        if self.litlen_count > LITLEN_DEFINED_MAX
            || self.total - self.litlen_count > DISTANCE_DEFINED_MAX
        {
            return Err(Impossible);
        }
        let mut precode_lengths = [0u8; PRECODE_SYMBOLS];
        for &symbol in PRECODE_ORDER.iter().take(precode_count) {
            bits.refill();
            precode_lengths[usize::from(symbol)] = u8::try_from(bits.take(3)).unwrap_or_default();
        }
        if self.precode.define(&precode_lengths) != Coverage::Complete {
            return Err(Impossible);
        }
        self.precode.fill_table(
            PRECODE_BITS_MAX,
            &mut self.by_window,
            (0, 0),
            |symbol, length| (u8::try_from(symbol).unwrap_or_default(), length),
        );
        self.read_lengths(bits)?;
        // Without an end-of-block word the block could not end.
        if self.lengths.get(usize::from(END_OF_BLOCK)) == Some(&0) {
            return Err(Impossible);
        }
        Ok(())
    }

    fn read_lengths(&mut self, bits: &mut BitReader<'_>) -> Result<(), Impossible> {
        let mut filled = 0;
        while filled < self.total {
            bits.refill();
            let window =
                usize::try_from(bits.buffer() & ((1 << PRECODE_BITS_MAX) - 1)).unwrap_or_default();
            let (symbol, length) = self.by_window[window & ((1 << PRECODE_BITS_MAX) - 1)];
            bits.skip(u32::from(length));
            let (value, repeat) = match symbol {
                16 => {
                    let previous = filled
                        .checked_sub(1)
                        .and_then(|previous| self.lengths.get(previous));
                    (*previous.ok_or(Impossible)?, 3 + bits.take(2) as usize)
                }
                17 => (0, 3 + bits.take(3) as usize),
                18 => (0, 11 + bits.take(7) as usize),
                literal => (literal, 1),
            };
            let end = filled + repeat;
            if end > self.total {
                return Err(Impossible);
            }
            self.lengths
                .get_mut(filled..end)
                .ok_or(Impossible)?
                .fill(value);
            filled = end;
        }
        Ok(())
    }
}
