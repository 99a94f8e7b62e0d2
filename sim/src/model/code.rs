//! Prefix codes: RFC 1951's symbols with their extra bits, and canonical codes laid out for the bit packer.
//!
//! Invariant: an entry is `count << 24 | bits`, bits in output order, at most 24 of them; zero means "has no code".

use super::{DISTANCE_SYMBOLS, LITLEN_SYMBOLS, MATCH_LENGTH_MAX};

/// The symbol that ends a block.
pub(super) const END_OF_BLOCK: usize = 256;

/// Shortest lengths of the symbols 257..=285 (RFC 1951, section 3.2.5).
const LENGTH_BASE: [u16; 29] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131,
    163, 195, 227, 258,
];
/// Their extra bits.
const LENGTH_EXTRA: [u8; 29] = [
    0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
];
/// Shortest distances of the symbols 0..=29.
const DISTANCE_BASE: [u16; DISTANCE_SYMBOLS] = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537,
    2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577,
];
/// Their extra bits.
const DISTANCE_EXTRA: [u8; DISTANCE_SYMBOLS] = [
    0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13,
    13,
];

/// Index from 257 of a length's symbol, for lengths 0..=258 (0..3 unused).
static LENGTH_INDEX: [u8; MATCH_LENGTH_MAX + 1] = length_index();
/// Symbol of a distance: `[d - 1]` up to 256, `[256 + ((d - 1) >> 7)]` above.
static DISTANCE_INDEX: [u8; 512] = distance_index();

#[expect(clippy::cast_possible_truncation, reason = "indexes below 29")]
const fn length_index() -> [u8; MATCH_LENGTH_MAX + 1] {
    let mut table = [0; MATCH_LENGTH_MAX + 1];
    let mut symbol = 0;
    while symbol < LENGTH_BASE.len() {
        let mut length = LENGTH_BASE[symbol] as usize;
        // Each symbol overwrites what a shorter one claimed, so that 258 ends up with 285 alone.
        while length <= MATCH_LENGTH_MAX {
            table[length] = symbol as u8;
            length += 1;
        }
        symbol += 1;
    }
    table
}

#[expect(clippy::cast_possible_truncation, reason = "indexes below 30")]
const fn distance_index() -> [u8; 512] {
    let mut table = [0; 512];
    let mut symbol = 0;
    while symbol < DISTANCE_SYMBOLS {
        let from = DISTANCE_BASE[symbol] as usize - 1;
        let mut slot = if from < 256 { from } else { 256 + (from >> 7) };
        while slot < 512 {
            table[slot] = symbol as u8;
            slot += 1;
        }
        symbol += 1;
    }
    table
}

/// The symbol of a match length in 3..=258.
#[inline(always)]
pub(super) fn length_symbol(length: usize) -> usize {
    END_OF_BLOCK + 1 + usize::from(LENGTH_INDEX[length])
}

/// The symbol of a distance in 1..=32768.
#[inline(always)]
pub(super) fn distance_symbol(distance: usize) -> usize {
    let from = distance - 1;
    let slot = if from < 256 { from } else { 256 + (from >> 7) };
    usize::from(DISTANCE_INDEX[slot & 511])
}

/// One distance symbol, ready to be packed.
#[derive(Debug, Clone, Copy)]
pub(super) struct DistanceCode {
    /// `count << 24 | bits` of the code alone.
    entry: u32,
    base: u16,
    extra: u16,
}

/// Both codes of a block, expanded so that a literal or a length is one look-up.
#[derive(Debug, Clone)]
pub(super) struct BlockCode {
    literals: [u32; 256],
    /// Code and extra bits of a length, by length.
    lengths: [u32; MATCH_LENGTH_MAX + 1],
    distances: [DistanceCode; 32],
    end_of_block: u32,
    /// Every symbol that a job can produce has a code, so that none has to be checked.
    pub(super) is_complete: bool,
}

/// RFC 1951's fixed code (section 3.2.6).
pub(super) static FIXED: BlockCode = BlockCode::new(&fixed_litlen(), &[5; 32]);

const fn fixed_litlen() -> [u8; 288] {
    let mut lengths = [8; 288];
    let mut symbol = 144;
    while symbol < 280 {
        lengths[symbol] = if symbol < 256 { 9 } else { 7 };
        symbol += 1;
    }
    lengths
}

/// Splits an entry into bits and their count.
#[inline(always)]
pub(super) fn split(entry: u32) -> (u64, u32) {
    ((entry & 0x00ff_ffff) as u64, entry >> 24)
}

impl BlockCode {
    /// Assigns canonical codes (RFC 1951, section 3.2.2) to lengths of 0..=15; 0 means no code. Lengths that
    /// over-subscribe give a code that cannot be decoded: whoever loads a table checks it first.
    pub(super) const fn new(litlen: &[u8; 288], distance: &[u8; 32]) -> Self {
        let litlen_codes = canonical(litlen);
        let distance_codes = canonical(distance);
        let mut code = Self {
            literals: [0; 256],
            lengths: [0; MATCH_LENGTH_MAX + 1],
            distances: [DistanceCode {
                entry: 0,
                base: 1,
                extra: 0,
            }; 32],
            end_of_block: litlen_codes[END_OF_BLOCK],
            is_complete: true,
        };
        let mut symbol = 0;
        while symbol < LITLEN_SYMBOLS {
            code.is_complete &= litlen_codes[symbol] != 0;
            if symbol < 256 {
                code.literals[symbol] = litlen_codes[symbol];
            }
            symbol += 1;
        }
        let mut length = 3;
        while length <= MATCH_LENGTH_MAX {
            let index = LENGTH_INDEX[length] as usize;
            let entry = litlen_codes[END_OF_BLOCK + 1 + index];
            if entry != 0 {
                let count = entry >> 24;
                let rest = ((length - LENGTH_BASE[index] as usize) as u64 & 0x1f) as u32;
                let bits = (entry & 0x00ff_ffff) | (rest << count);
                code.lengths[length] = ((count + LENGTH_EXTRA[index] as u32) << 24) | bits;
            }
            length += 1;
        }
        symbol = 0;
        while symbol < DISTANCE_SYMBOLS {
            code.is_complete &= distance_codes[symbol] != 0;
            code.distances[symbol] = DistanceCode {
                entry: distance_codes[symbol],
                base: DISTANCE_BASE[symbol],
                extra: DISTANCE_EXTRA[symbol] as u16,
            };
            symbol += 1;
        }
        code
    }

    #[inline(always)]
    pub(super) fn literal(&self, byte: u8) -> u32 {
        self.literals[usize::from(byte)]
    }

    #[inline(always)]
    pub(super) fn length(&self, length: usize) -> u32 {
        self.lengths[length]
    }

    /// Bits and count of a distance with its extra bits; the count is 0 where the symbol has no code.
    #[inline(always)]
    pub(super) fn distance(&self, distance: usize) -> (u64, u32) {
        let code = self.distances[distance_symbol(distance) & 31];
        let (bits, count) = split(code.entry);
        if count == 0 {
            return (0, 0);
        }
        let rest = (distance - usize::from(code.base)) as u64;
        (bits | (rest << count), count + u32::from(code.extra))
    }

    pub(super) fn end_of_block(&self) -> u32 {
        self.end_of_block
    }
}

/// Canonical codes as entries, bit-reversed because the packer sends the least significant bit first.
const fn canonical<const N: usize>(lengths: &[u8; N]) -> [u32; N] {
    let mut counts = [0u32; 16];
    let mut symbol = 0;
    while symbol < N {
        counts[lengths[symbol] as usize & 15] += 1;
        symbol += 1;
    }
    counts[0] = 0;
    let mut first = [0u32; 16];
    let mut length = 1;
    while length < 16 {
        first[length] = (first[length - 1] + counts[length - 1]) << 1;
        length += 1;
    }
    let mut entries = [0u32; N];
    symbol = 0;
    while symbol < N {
        let bits = lengths[symbol] as u32 & 15;
        if bits != 0 {
            let length = bits as usize;
            let code = first[length] & 0x7fff;
            first[length] += 1;
            let reversed = code.reverse_bits() >> (32 - bits);
            entries[symbol] = (bits << 24) | reversed;
        }
        symbol += 1;
    }
    entries
}
