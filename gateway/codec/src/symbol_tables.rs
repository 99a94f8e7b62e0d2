//! Decoding tables of one DEFLATE block's codes.
//!
//! An entry of a literal/length table says all that an iteration needs: how many bits to drop, up to two literals, and a
//! length with its extra bits. What no table resolves (the end of the block, words longer than its window, bits that are no
//! word) is marked [`UNRESOLVED`] and decoded by the code itself.
//!
//! | bits | literal/length entry | distance entry |
//! |---|---|---|
//! | 0 to 5 | bits to drop: words and extra bits | the same |
//! | 7 | unresolved | unresolved |
//! | 8 to 13 | bits before the extra bits: words | the same |
//! | 16 to 20 | mask of the extra bits | 16 to 31: distance without them |
//! | 24 to 28; 30, 31 | 16 - 8 x literals; literals | - |
//! | 32 to 40 | length without extra bits, 0 without a match | 32 to 44: mask of the extra bits |
//! | 41 | no match follows | - |
//! | 42 | end of the block | - |
//! | 48 to 63 | literals | - |
//!
//! Invariant: an entry that is not unresolved stands for the symbols with which its index begins, and no other bits than
//! those it drops.

use crate::canonical_code::{CanonicalCode, Coverage};
use crate::code_definition::{END_OF_BLOCK, Impossible};

/// Index width of the literal/length tables: 16 KiB each, of which one is in use at a time.
pub(crate) const LITLEN_TABLE_BITS: u32 = 11;
/// Index width of the distance table; the same bit of an entry's upper half selects the half that is zeros.
pub(crate) const DISTANCE_TABLE_BITS: u32 = 9;

const BITS: u64 = 0x3f;
/// Not decided by the table.
pub(crate) const UNRESOLVED: u64 = 1 << 7;
const SHIFT_SHIFT: u32 = 8;
const LITERALS_SHIFT: u32 = 24;
/// The field for no literal, and what one literal adds to it.
const NO_LITERAL: u64 = 16 << LITERALS_SHIFT;
const ONE_LITERAL: u64 = ((1 << 6) - 8) << LITERALS_SHIFT;
/// No length, so no distance follows.
pub(crate) const NO_MATCH: u64 = 1 << (32 + DISTANCE_TABLE_BITS);
/// The end of the block; only of entries made for one symbol.
pub(crate) const END: u64 = 1 << 42;
const LITERAL: u64 = 0xff << 48;

/// Literal/length symbols of the fixed code.
const LITLEN_SYMBOLS: usize = 288;
/// Distance symbols of the fixed code.
const DISTANCE_SYMBOLS: usize = 32;

type LitlenTable = [u64; 1 << LITLEN_TABLE_BITS];

/// Bits that an entry drops.
#[inline(always)]
pub(crate) const fn drop_bits(entry: u64) -> u32 {
    (entry & BITS) as u32
}

/// Literals of an entry.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "two bits are left")]
pub(crate) const fn literal_count(entry: u64) -> usize {
    (entry as u32 >> 30) as usize
}

/// How the next two bytes of the input differ from an entry's literals: the lower 16 bits are 0 if they agree as far as
/// there are literals.
#[inline(always)]
pub(crate) const fn literals_differ(entry: u64, input: [u8; 2]) -> u32 {
    let difference = u16::from_le_bytes(input) as u32 ^ (entry >> 48) as u32;
    difference << ((entry >> LITERALS_SHIFT) & 31)
}

/// The length of an entry's match, 0 if it has none. `buffer` as it was before the entry's bits were dropped.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "masked to nine bits")]
pub(crate) const fn match_len(entry: u64, buffer: u64) -> usize {
    let extra = (buffer >> ((entry >> SHIFT_SHIFT) & BITS)) & ((entry >> 16) & 0x1f);
    (((entry >> 32) & 0x1ff) + extra) as usize
}

/// The distance of an entry. `buffer` as it was before the entry's bits were dropped.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "16 bits at the most")]
pub(crate) const fn distance(entry: u64, buffer: u64) -> usize {
    let extra = (buffer >> ((entry >> SHIFT_SHIFT) & BITS)) & (entry >> 32);
    (((entry >> 16) & 0xffff) + extra) as usize
}

/// Entries of literal/length symbols whose words had no bits (RFC 1951, 3.2.5).
static LITLENS: [u64; LITLEN_SYMBOLS] = {
    let mut entries = [UNRESOLVED; LITLEN_SYMBOLS];
    let mut symbol = 0;
    while symbol < 286 {
        let number = symbol as u64;
        entries[symbol] = match number {
            0..=255 => number << 48 | NO_MATCH | (NO_LITERAL + ONE_LITERAL),
            256 => UNRESOLVED | END | NO_MATCH | NO_LITERAL,
            257..=264 => (number - 254) << 32 | NO_LITERAL,
            285 => 258 << 32 | NO_LITERAL,
            _ => {
                // Groups of four with 1 to 5 extra bits.
                let extra = (number - 261) / 4;
                let base = (((number - 265) % 4 + 4) << extra) + 3;
                base << 32 | NO_LITERAL | ((1 << extra) - 1) << 16 | extra
            }
        };
        symbol += 1;
    }
    entries
};

/// The same of distance symbols.
static DISTANCES: [u64; DISTANCE_SYMBOLS] = {
    let mut entries = [UNRESOLVED; DISTANCE_SYMBOLS];
    let mut symbol = 0;
    while symbol < 30 {
        let number = symbol as u64;
        entries[symbol] = if number < 4 {
            (number + 1) << 16
        } else {
            let extra = number / 2 - 1;
            let base = ((2 + (number & 1)) << extra) + 1;
            ((1 << extra) - 1) << 32 | base << 16 | extra
        };
        symbol += 1;
    }
    entries
};

/// The entry of a symbol whose word has so many bits.
#[inline(always)]
fn entry_of(entries: &[u64], symbol: u16, word_bits: u8) -> u64 {
    let entry = entries.get(usize::from(symbol)).copied();
    entry.unwrap_or(UNRESOLVED) + u64::from(word_bits) * (1 | 1 << SHIFT_SHIFT)
}

/// What one pass over a run of symbols looks into.
pub(crate) struct Lookup {
    pub(crate) litlen: LitlenTable,
    /// The upper half is zeros: no distance, of no bits.
    pub(crate) distances: [u64; 2 << DISTANCE_TABLE_BITS],
}

/// Tables and codes of one block.
pub(crate) struct SymbolTables {
    lookup: Lookup,
    /// One symbol an entry. `lookup` has this, or a literal and what follows it an entry, where the window holds both.
    single: LitlenTable,
    is_paired: bool,
    litlen: CanonicalCode<LITLEN_SYMBOLS>,
    distance: CanonicalCode<DISTANCE_SYMBOLS>,
}

impl SymbolTables {
    pub(crate) const fn new() -> Self {
        Self {
            lookup: Lookup {
                litlen: [UNRESOLVED; 1 << LITLEN_TABLE_BITS],
                distances: [0; 2 << DISTANCE_TABLE_BITS],
            },
            single: [UNRESOLVED; 1 << LITLEN_TABLE_BITS],
            is_paired: false,
            litlen: CanonicalCode::new(),
            distance: CanonicalCode::new(),
        }
    }

    /// The tables.
    pub(crate) const fn lookup(&self) -> &Lookup {
        &self.lookup
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

    /// Takes both codes, one symbol an entry.
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
            &mut self.lookup.litlen,
            UNRESOLVED,
            |symbol, word_bits| entry_of(&LITLENS, symbol, word_bits),
        );
        let (distances, _zeros) = self.lookup.distances.split_at_mut(1 << DISTANCE_TABLE_BITS);
        self.distance.fill_table(
            DISTANCE_TABLE_BITS as usize,
            distances,
            UNRESOLVED,
            |symbol, word_bits| entry_of(&DISTANCES, symbol, word_bits),
        );
        Ok(())
    }

    /// Whether [`Self::pair`] was called for the codes taken last.
    pub(crate) const fn is_paired(&self) -> bool {
        self.is_paired
    }

    /// Makes entries of a literal and what follows it.
    #[inline(never)]
    pub(crate) fn pair(&mut self) {
        self.is_paired = true;
        self.single = self.lookup.litlen;
        for (window, (to, &first)) in self.lookup.litlen.iter_mut().zip(&self.single).enumerate() {
            let used = drop_bits(first) & 0xf;
            let second = self.single[(window >> used) & ((1 << LITLEN_TABLE_BITS) - 1)];
            let both = first.wrapping_add(second).wrapping_sub(NO_LITERAL);
            let pair = (both & 0xffff_ffff)
                | (second & (0xffff << 32))
                | (first & LITERAL)
                | (second & LITERAL) << 8;
            // The bits above the window read as zeros: a word that needs one of them is not determined. Extra bits are not
            // the table's.
            let words = (both >> SHIFT_SHIFT) & BITS;
            let is_pair = (first & NO_MATCH != 0)
                & ((first | second) & UNRESOLVED == 0)
                & (words <= u64::from(LITLEN_TABLE_BITS));
            *to = if is_pair { pair } else { first };
        }
    }

    /// The entry of the one literal/length symbol that `buffer` begins with, whatever its length; `None` if there is none.
    pub(crate) fn litlen_alone(&self, buffer: u64) -> Option<u64> {
        let singles = if self.is_paired {
            &self.single
        } else {
            &self.lookup.litlen
        };
        let entry = singles[index(buffer, LITLEN_TABLE_BITS)];
        if entry & UNRESOLVED == 0 {
            return Some(entry);
        }
        let (symbol, word_bits) = self.litlen.decode(buffer, 1)?;
        let entry = entry_of(&LITLENS, symbol, word_bits);
        if symbol == END_OF_BLOCK {
            return Some(entry & !UNRESOLVED);
        }
        Some(entry).filter(|entry| entry & UNRESOLVED == 0)
    }

    /// The same for a distance.
    pub(crate) fn distance_alone(&self, buffer: u64) -> Option<u64> {
        let entry = self.lookup.distances[index(buffer, DISTANCE_TABLE_BITS)];
        if entry & UNRESOLVED == 0 {
            return Some(entry);
        }
        let (symbol, word_bits) = self.distance.decode(buffer, 1)?;
        Some(entry_of(&DISTANCES, symbol, word_bits)).filter(|entry| entry & UNRESOLVED == 0)
    }
}

/// The lowest `bits` bits.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "masked to a table's index")]
pub(crate) const fn index(buffer: u64, bits: u32) -> usize {
    buffer as usize & ((1 << bits) - 1)
}
