//! Decoding tables of one DEFLATE block's codes.
//!
//! An entry of a literal/length table says all that an iteration needs: how many bits to drop, up to two literals, and a
//! length's base and number of extra bits. What no table resolves (the end of the block, words longer than its window,
//! bits that are no word) is marked [`UNRESOLVED`] and decoded bit by bit.
//!
//! | bits | literal/length entry | distance entry |
//! |---|---|---|
//! | 0 to 5 | bits to drop: words and extra bits | the same |
//! | 6, 7 | number of literals | - |
//! | 8 | unresolved | unresolved |
//! | 9 | no match follows | - |
//! | 10 to 12 (13) | number of extra bits, the last of those dropped | the same |
//! | 14 | end of the block | - |
//! | 16 to 31 | first literal; second literal, or length - 3 | distance |
//!
//! Invariant: an entry that is not unresolved stands for the symbols with which its index begins, and no other bits than
//! those it drops.

use crate::canonical_code::{CanonicalCode, Coverage};
use crate::code_definition::{END_OF_BLOCK, Impossible};

/// Index width of the literal/length table: 8 KiB, which stay in the first-level cache beside the distances.
pub(crate) const LITLEN_TABLE_BITS: u32 = 11;
/// Index width of the distance table; bit 9 of a literal/length entry selects its upper half.
pub(crate) const DISTANCE_TABLE_BITS: u32 = 9;

const DROP: u32 = 0x3f;
const LITERALS_SHIFT: u32 = 6;
const ONE_LITERAL: u32 = 1 << LITERALS_SHIFT;
/// Not decided by the table.
pub(crate) const UNRESOLVED: u32 = 1 << 8;
/// No length, so no distance follows.
pub(crate) const NO_MATCH: u32 = 1 << DISTANCE_TABLE_BITS;
const EXTRA_SHIFT: u32 = 10;
/// The end of the block; only of entries made for one symbol.
pub(crate) const END: u32 = 1 << 14;
const PAYLOAD_SHIFT: u32 = 16;

/// The entry of an index that no word of the table's width begins. Its bits to drop are more than any window.
const NONE: u32 = UNRESOLVED | DROP;

/// Literal/length symbols of the fixed code.
const LITLEN_SYMBOLS: usize = 288;
/// Distance symbols of the fixed code.
const DISTANCE_SYMBOLS: usize = 32;

pub(crate) type LitlenTable = [u32; 1 << LITLEN_TABLE_BITS];
pub(crate) type DistanceTable = [u32; 2 << DISTANCE_TABLE_BITS];

/// Bits that an entry drops.
#[inline(always)]
pub(crate) const fn drop_bits(entry: u32) -> u32 {
    entry & DROP
}

/// Literals of an entry.
#[inline(always)]
pub(crate) const fn literal_count(entry: u32) -> usize {
    ((entry >> LITERALS_SHIFT) & 3) as usize
}

/// How far two bytes of the input are from an entry's literals: 0 if they agree as far as there are literals.
#[inline(always)]
pub(crate) const fn literals_differ(entry: u32, input: [u8; 2]) -> u64 {
    let mask = (1u32 << ((entry >> (LITERALS_SHIFT - 3)) & 0x18)) - 1;
    (((entry >> PAYLOAD_SHIFT) ^ u16::from_le_bytes(input) as u32) & mask) as u64
}

/// The length of an entry's match, 0 if it has none. `buffer` as it was before the entry's bits were dropped.
#[inline(always)]
pub(crate) const fn match_len(entry: u32, buffer: u64) -> usize {
    let len = (entry >> 24) + 3 + extra(entry, (entry >> EXTRA_SHIFT) & 7, buffer);
    if entry & NO_MATCH == 0 {
        len as usize
    } else {
        0
    }
}

/// The distance of an entry. `buffer` as it was before the entry's bits were dropped.
#[inline(always)]
pub(crate) const fn distance(entry: u32, buffer: u64) -> usize {
    ((entry >> PAYLOAD_SHIFT) + extra(entry, (entry >> EXTRA_SHIFT) & 0xf, buffer)) as usize
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "masked to at most 13 bits")]
const fn extra(entry: u32, count: u32, buffer: u64) -> u32 {
    (buffer >> (drop_bits(entry).wrapping_sub(count) & 63)) as u32 & ((1 << count) - 1)
}

/// The entry of a literal/length symbol alone (RFC 1951, 3.2.5).
fn litlen_entry(symbol: u16, word_bits: u8) -> u32 {
    let (symbol, word_bits) = (u32::from(symbol), u32::from(word_bits));
    match symbol {
        // Twice, so that either place can be taken for a pair.
        0..=255 => word_bits | ONE_LITERAL | NO_MATCH | symbol << 24 | symbol << PAYLOAD_SHIFT,
        257..=264 => word_bits | (symbol - 257) << 24,
        265..=284 => {
            // Groups of four with 1 to 5 extra bits.
            let extra = (symbol - 261) / 4;
            let base = ((symbol - 265) % 4 + 4) << extra;
            (word_bits + extra) | extra << EXTRA_SHIFT | base << 24
        }
        285 => word_bits | 255 << 24,
        _ => NONE,
    }
}

fn distance_entry(symbol: u16, word_bits: u8) -> u32 {
    let (symbol, word_bits) = (u32::from(symbol), u32::from(word_bits));
    match symbol {
        0..=3 => word_bits | (symbol + 1) << PAYLOAD_SHIFT,
        4..=29 => {
            let extra = symbol / 2 - 1;
            let base = ((2 + (symbol & 1)) << extra) + 1;
            (word_bits + extra) | extra << EXTRA_SHIFT | base << PAYLOAD_SHIFT
        }
        _ => NONE,
    }
}

/// Tables and codes of one block.
pub(crate) struct SymbolTables {
    /// One symbol an entry.
    pub(crate) single: LitlenTable,
    /// A literal and what follows it an entry, where the window holds both.
    pub(crate) paired: LitlenTable,
    /// The upper half is zeros: no distance, of no bits.
    pub(crate) distances: DistanceTable,
    is_paired: bool,
    litlen: CanonicalCode<LITLEN_SYMBOLS>,
    distance: CanonicalCode<DISTANCE_SYMBOLS>,
}

impl SymbolTables {
    pub(crate) const fn new() -> Self {
        Self {
            single: [NONE; 1 << LITLEN_TABLE_BITS],
            paired: [NONE; 1 << LITLEN_TABLE_BITS],
            distances: [0; 2 << DISTANCE_TABLE_BITS],
            is_paired: false,
            litlen: CanonicalCode::new(),
            distance: CanonicalCode::new(),
        }
    }

    /// The fixed codes (RFC 1951, 3.2.6).
    pub(crate) fn build_fixed(&mut self) {
        let mut lengths = [8u8; LITLEN_SYMBOLS];
        lengths[144..256].fill(9);
        lengths[256..280].fill(7);
        let built = self.build(&lengths, &[5; DISTANCE_SYMBOLS]);
        debug_assert_eq!(built, Ok(()), "the fixed codes are complete");
        self.pair();
    }

    /// Takes both codes. [`Self::paired`] is not filled: [`Self::pair`] does that, where it pays.
    pub(crate) fn build(&mut self, litlen: &[u8], distance: &[u8]) -> Result<(), Impossible> {
        self.is_paired = false;
        if !matches!(
            self.litlen.define(litlen),
            Coverage::Complete | Coverage::SingleBit
        ) || !matches!(
            self.distance.define(distance),
            Coverage::Complete | Coverage::SingleBit | Coverage::Empty
        ) {
            return Err(Impossible);
        }
        self.litlen.fill_table(
            LITLEN_TABLE_BITS as usize,
            &mut self.single,
            NONE,
            litlen_entry,
        );
        let (distances, _zeros) = self.distances.split_at_mut(1 << DISTANCE_TABLE_BITS);
        self.distance.fill_table(
            DISTANCE_TABLE_BITS as usize,
            distances,
            NONE,
            distance_entry,
        );
        Ok(())
    }

    /// Whether [`Self::paired`] is of the codes taken last.
    pub(crate) const fn is_paired(&self) -> bool {
        self.is_paired
    }

    /// Fills [`Self::paired`].
    pub(crate) fn pair(&mut self) {
        self.is_paired = true;
        for (window, to) in self.paired.iter_mut().enumerate() {
            let first = self.single[window];
            let used = drop_bits(first);
            let second = self.single[window >> used & ((1 << LITLEN_TABLE_BITS) - 1)];
            // The bits above the window read as zeros: a word that needs one of them is not determined. Extra bits are not
            // the table's.
            let words = used + drop_bits(second) - ((second >> EXTRA_SHIFT) & 7);
            let pair = (first.wrapping_add(second) & 0xff)
                | (second & 0xff00_ff00)
                | (first & 0x00ff_0000);
            *to = if first & NO_MATCH != 0 && words <= LITLEN_TABLE_BITS {
                pair
            } else {
                first
            };
        }
    }

    /// The entry of the one literal/length symbol that `buffer` begins with, whatever its length; `None` if there is none.
    pub(crate) fn litlen_alone(&self, buffer: u64) -> Option<u32> {
        let entry = self.single[index(buffer, LITLEN_TABLE_BITS)];
        if entry & UNRESOLVED == 0 {
            return Some(entry);
        }
        let (symbol, word_bits) = self.litlen.decode(buffer)?;
        if symbol == END_OF_BLOCK {
            return Some(END | NO_MATCH | u32::from(word_bits));
        }
        Some(litlen_entry(symbol, word_bits)).filter(|entry| entry & UNRESOLVED == 0)
    }

    /// The same for a distance.
    pub(crate) fn distance_alone(&self, buffer: u64) -> Option<u32> {
        let entry = self.distances[index(buffer, DISTANCE_TABLE_BITS)];
        if entry & UNRESOLVED == 0 {
            return Some(entry);
        }
        let (symbol, word_bits) = self.distance.decode(buffer)?;
        Some(distance_entry(symbol, word_bits)).filter(|entry| entry & UNRESOLVED == 0)
    }
}

/// The lowest `bits` bits.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "masked to a table's index")]
pub(crate) const fn index(buffer: u64, bits: u32) -> usize {
    buffer as usize & ((1 << bits) - 1)
}
