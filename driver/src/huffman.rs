//! Huffman tables for the card: from a histogram to the 1024-byte block that the card loads.
//!
//! Owns: code lengths, the packed header of a dynamic block (RFC 1951, section 3.2.7) and the block's layout
//! (`bitstreams/doc/algorithm.md`, "Loaded tables").
//!
//! Invariant: every table codes all 286 + 30 symbols with complete prefix codes of at most 15 bits, so no job can miss
//! a symbol, whatever the histogram was taken of. The same histogram gives the same table.
//!
//! It deliberately does not know jobs or cards.

use faam_hwif::table;
use thiserror::Error;

pub use faam_hwif::table::{DISTANCE_SYMBOLS, LITLEN_SYMBOLS};

/// Bytes of a table block.
pub const TABLE_BYTES: usize = table::TABLE_BYTES as usize;
/// Bytes of a histogram.
pub const HISTOGRAM_BYTES: usize = table::HISTOGRAM_BYTES as usize;

const HISTOGRAM_DISTANCE_OFFSET: usize = table::HISTOGRAM_DISTANCE_OFFSET as usize;
const TABLE_DISTANCE_OFFSET: usize = table::TABLE_DISTANCE_OFFSET as usize;
const TABLE_HEADER_BITS_OFFSET: usize = table::TABLE_HEADER_BITS_OFFSET as usize;
const TABLE_HEADER_OFFSET: usize = table::TABLE_HEADER_OFFSET as usize;
/// Longest literal, length or distance code (RFC 1951, section 3.2.7).
const CODE_LENGTH_MAX: usize = 15;
/// Code length symbols, and the longest code among them (RFC 1951, section 3.2.7).
const CODE_LENGTH_SYMBOLS: usize = 19;
const CODE_LENGTH_CODE_MAX: usize = 7;
/// The order in which their lengths are sent.
const CODE_LENGTH_ORDER: [usize; CODE_LENGTH_SYMBOLS] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];
/// "Repeat the previous length 3 to 6 times", two extra bits. Zero lengths do not occur, so 17 and 18 are never used.
const REPEAT_PREVIOUS: u8 = 16;

/// How a histogram speaks for the bytes that will be coded with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// It was taken of the very bytes: an unseen symbol will not come.
    Whole,
    /// It was taken of a part of them: an unseen symbol may come.
    Sample,
}

/// Why bytes are no histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadHistogram {
    /// Too few bytes.
    #[error("a histogram has {HISTOGRAM_BYTES} bytes, {got} came: the count job ended early")]
    Short {
        /// Bytes that came.
        got: usize,
    },
}

/// How often each symbol was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// Symbols 0..=285.
    pub litlen: [u32; LITLEN_SYMBOLS],
    /// Symbols 0..=29.
    pub distance: [u32; DISTANCE_SYMBOLS],
}

impl Histogram {
    /// Reads what a count job wrote. Any counts are taken: a lying card costs ratio, nothing else.
    ///
    /// # Errors
    /// [`BadHistogram::Short`] under [`HISTOGRAM_BYTES`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadHistogram> {
        let bytes: &[u8; HISTOGRAM_BYTES] = bytes
            .first_chunk()
            .ok_or(BadHistogram::Short { got: bytes.len() })?;
        let (litlen, distance) = bytes.split_at(HISTOGRAM_DISTANCE_OFFSET);
        let mut histogram = Self {
            litlen: [0; LITLEN_SYMBOLS],
            distance: [0; DISTANCE_SYMBOLS],
        };
        read_counts(&mut histogram.litlen, litlen);
        read_counts(&mut histogram.distance, distance);
        Ok(histogram)
    }
}

fn read_counts(counts: &mut [u32], bytes: &[u8]) {
    for (count, slot) in counts.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *count = u32::from_le_bytes(*slot);
    }
}

/// A table, as code lengths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HuffmanTable {
    litlen: [u8; LITLEN_SYMBOLS],
    distance: [u8; DISTANCE_SYMBOLS],
}

impl HuffmanTable {
    /// The table for bytes that `histogram` speaks for.
    pub fn build(histogram: &Histogram, coverage: Coverage) -> Self {
        let mut table = Self {
            litlen: [0; LITLEN_SYMBOLS],
            distance: [0; DISTANCE_SYMBOLS],
        };
        code_lengths(
            &weights(&histogram.litlen, coverage),
            CODE_LENGTH_MAX,
            &mut table.litlen,
        );
        code_lengths(
            &weights(&histogram.distance, coverage),
            CODE_LENGTH_MAX,
            &mut table.distance,
        );
        table
    }

    /// Code lengths of the literal, end-of-block and length symbols, in bits, each 1..=15.
    pub fn litlen(&self) -> &[u8; LITLEN_SYMBOLS] {
        &self.litlen
    }

    /// Code lengths of the distance symbols, in bits, each 1..=15.
    pub fn distance(&self) -> &[u8; DISTANCE_SYMBOLS] {
        &self.distance
    }

    /// Writes the block that the card loads.
    pub fn write_to(&self, block: &mut [u8; TABLE_BYTES]) {
        block.fill(0);
        let (lengths, rest) = block.split_at_mut(TABLE_HEADER_BITS_OFFSET);
        let (litlen, distance) = lengths.split_at_mut(TABLE_DISTANCE_OFFSET);
        for (slot, length) in litlen.iter_mut().zip(self.litlen) {
            *slot = length;
        }
        for (slot, length) in distance.iter_mut().zip(self.distance) {
            *slot = length;
        }
        let (header_bits, header) =
            rest.split_at_mut(TABLE_HEADER_OFFSET - TABLE_HEADER_BITS_OFFSET);
        let mut bits = BitString {
            bytes: header,
            len: 0,
        };
        self.pack_header(&mut bits);
        let len = (bits.len as u64 & 0xffff_ffff) as u32;
        for (slot, byte) in header_bits.iter_mut().zip(len.to_le_bytes()) {
            *slot = byte;
        }
    }

    /// The header of a dynamic block after BFINAL and BTYPE (RFC 1951, section 3.2.7).
    fn pack_header(&self, bits: &mut BitString<'_>) {
        let steps = RunLengths::of(&self.litlen, &self.distance);
        let mut counts = [0u32; CODE_LENGTH_SYMBOLS];
        for step in steps.as_slice() {
            if let Some(count) = counts.get_mut(usize::from(step.symbol)) {
                *count += 1;
            }
        }
        let mut lengths = [0u8; CODE_LENGTH_SYMBOLS];
        code_lengths(&counts.map(u64::from), CODE_LENGTH_CODE_MAX, &mut lengths);
        let codes = canonical(&lengths);
        let sent = CODE_LENGTH_ORDER
            .iter()
            .rposition(|symbol| lengths.get(*symbol).is_some_and(|length| *length != 0))
            .map_or(4, |last| (last + 1).max(4));

        bits.push(LITLEN_SYMBOLS - 257, 5);
        bits.push(DISTANCE_SYMBOLS - 1, 5);
        bits.push(sent - 4, 4);
        for symbol in CODE_LENGTH_ORDER.iter().take(sent) {
            bits.push(usize::from(lengths.get(*symbol).copied().unwrap_or(0)), 3);
        }
        for step in steps.as_slice() {
            let symbol = usize::from(step.symbol);
            if let (Some(code), Some(length)) = (codes.get(symbol), lengths.get(symbol)) {
                bits.push(usize::from(*code), u32::from(*length));
            }
            if step.symbol == REPEAT_PREVIOUS {
                bits.push(usize::from(step.extra), 2);
            }
        }
    }
}

/// A seen symbol's count weighs this much, an unseen symbol 1. Beyond the bytes counted an unseen symbol will not
/// come, so it should cost next to nothing; more than this buys nothing, since no code is longer than 15 bits.
const WHOLE_SCALE: u64 = 16;
/// The same where unseen symbols may come.
const SAMPLE_SCALE: u64 = 4;

/// Counts with no zero among them.
fn weights<const N: usize>(counts: &[u32; N], coverage: Coverage) -> [u64; N] {
    let scale = match coverage {
        Coverage::Whole => WHOLE_SCALE,
        Coverage::Sample => SAMPLE_SCALE,
    };
    counts.map(|count| (u64::from(count) * scale).max(1))
}

/// Length-limited Huffman code lengths: complete, at most `length_max` bits, 0 where the weight is 0. With a single
/// weighted symbol a second one gets a code too, for decoders refuse an incomplete one.
///
/// `2^length_max` must be at least `N`, weights below 2^54.
fn code_lengths<const N: usize>(weights: &[u64; N], length_max: usize, lengths: &mut [u8; N]) {
    const { assert!(N >= 2 && N <= 512) };
    lengths.fill(0);
    // Weight and symbol in one key: ties fall to the lower symbol, so the order has no other degree of freedom.
    let mut keys = [0u64; N];
    let mut used = 0;
    for (symbol, weight) in weights.iter().enumerate() {
        if *weight != 0 {
            keys[used] = (*weight << 9) | symbol as u64;
            used += 1;
        }
    }
    if used < 2 {
        let only = (keys[0] & 511) as usize;
        lengths[only] = 1;
        lengths[usize::from(only == 0)] = 1;
        return;
    }
    let keys = &mut keys[..used];
    keys.sort_unstable();
    let mut depths = [0u64; N];
    let depths = &mut depths[..used];
    for (depth, key) in depths.iter_mut().zip(keys.iter()) {
        *depth = key >> 9;
    }
    minimum_redundancy(depths);

    let mut counts = [0u32; 64];
    for depth in depths.iter() {
        counts[((*depth & 511) as usize).min(length_max)] += 1;
    }
    limit(&mut counts, length_max);

    // The rarest symbols come first and get the longest codes.
    let mut length = length_max;
    for key in keys.iter() {
        while counts[length] == 0 {
            length -= 1;
        }
        counts[length] -= 1;
        lengths[(key & 511) as usize] = (length as u64 & 15) as u8;
    }
}

/// Turns ascending weights into the depths of a Huffman tree's leaves, in place, longest first: the three passes of
/// Moffat and Katajainen, "In-place calculation of minimum-redundancy codes" (1995). At least two weights.
fn minimum_redundancy(a: &mut [u64]) {
    let n = a.len();
    // Pass 1: merge; a merged slot keeps its parent's index.
    let mut leaf = 0;
    let mut root = 0;
    for next in 0..n - 1 {
        let mut sum = 0;
        for _ in 0..2 {
            if leaf < n && (root >= next || a[leaf] <= a[root]) {
                sum += a[leaf];
                leaf += 1;
            } else {
                sum += a[root];
                a[root] = next as u64;
                root += 1;
            }
        }
        a[next] = sum;
    }
    // Pass 2: parents to depths of inner nodes.
    a[n - 2] = 0;
    for next in (0..n - 2).rev() {
        a[next] = a[(a[next] & 511) as usize] + 1;
    }
    // Pass 3: depths of inner nodes to depths of leaves.
    let mut available = 1;
    let mut depth = 0;
    let mut inner = n - 1;
    let mut next = n;
    while available > 0 {
        let mut taken = 0;
        while inner > 0 && a[inner - 1] == depth {
            taken += 1;
            inner -= 1;
        }
        while available > taken {
            next -= 1;
            a[next] = depth;
            available -= 1;
        }
        available = 2 * taken;
        depth += 1;
    }
}

/// Mends a count of codes by length, after longer ones were cut to `length_max`, until it is complete again: a
/// longest code goes, and the longest of the shorter ones becomes two. Not optimal: within 2 % of package-merge on the
/// steepest weights a test finds, within 0.2 % of an unlimited code on real data.
fn limit(counts: &mut [u32; 64], length_max: usize) {
    let unit = 1u64 << length_max;
    let mut kraft: u64 = (1..=length_max)
        .map(|length| u64::from(counts[length]) << (length_max - length))
        .sum();
    while kraft > unit {
        counts[length_max] -= 1;
        if let Some(length) = (1..length_max).rev().find(|length| counts[*length] != 0) {
            counts[length] -= 1;
            counts[length + 1] += 2;
        }
        kraft -= 1;
    }
}

/// Canonical codes (RFC 1951, section 3.2.2), bit-reversed for a string that is filled from bit 0.
fn canonical<const N: usize>(lengths: &[u8; N]) -> [u16; N] {
    let mut counts = [0u16; CODE_LENGTH_MAX + 1];
    for length in lengths {
        counts[usize::from(*length & 15)] += 1;
    }
    counts[0] = 0;
    let mut next = [0u16; CODE_LENGTH_MAX + 1];
    for length in 1..=CODE_LENGTH_MAX {
        next[length] = (next[length - 1] + counts[length - 1]) << 1;
    }
    lengths.map(|length| {
        let length = length & 15;
        if length == 0 {
            return 0;
        }
        let code = next[usize::from(length)];
        next[usize::from(length)] += 1;
        code.reverse_bits() >> (16 - length)
    })
}

/// One symbol of the run-length coded lengths; `extra` belongs to [`REPEAT_PREVIOUS`].
#[derive(Clone, Copy)]
struct Step {
    symbol: u8,
    extra: u8,
}

/// Both alphabets' lengths, run-length coded as one sequence.
struct RunLengths {
    steps: [Step; LITLEN_SYMBOLS + DISTANCE_SYMBOLS],
    len: usize,
}

impl RunLengths {
    fn of(litlen: &[u8; LITLEN_SYMBOLS], distance: &[u8; DISTANCE_SYMBOLS]) -> Self {
        let mut lengths = [0u8; LITLEN_SYMBOLS + DISTANCE_SYMBOLS];
        for (to, from) in lengths.iter_mut().zip(litlen.iter().chain(distance)) {
            *to = *from;
        }
        let mut coded = Self {
            steps: [Step {
                symbol: 0,
                extra: 0,
            }; LITLEN_SYMBOLS + DISTANCE_SYMBOLS],
            len: 0,
        };
        for run in lengths.chunk_by(|a, b| a == b) {
            let Some(symbol) = run.first() else { continue };
            coded.push(*symbol, 0);
            let mut left = run.len() - 1;
            while left >= 3 {
                // Never leave one or two behind that a shorter repeat before them could have taken in.
                let take = match left {
                    7 | 8 => left - 3,
                    _ => left.min(6),
                };
                coded.push(REPEAT_PREVIOUS, ((take - 3) as u64 & 3) as u8);
                left -= take;
            }
            for _ in 0..left {
                coded.push(*symbol, 0);
            }
        }
        coded
    }

    fn push(&mut self, symbol: u8, extra: u8) {
        self.steps[self.len] = Step { symbol, extra };
        self.len += 1;
    }

    fn as_slice(&self) -> &[Step] {
        &self.steps[..self.len]
    }
}

/// A bit string filled from bit 0 of byte 0. What does not fit is dropped; the field holds any header this module
/// packs (a test packs the longest).
struct BitString<'a> {
    bytes: &'a mut [u8],
    /// Bits so far.
    len: usize,
}

impl BitString<'_> {
    fn push(&mut self, bits: usize, count: u32) {
        for bit in 0..count {
            if let Some(byte) = self.bytes.get_mut(self.len >> 3) {
                *byte |= ((bits as u64 >> bit & 1) as u8) << (self.len & 7);
            }
            self.len += 1;
        }
    }
}

#[cfg(test)]
mod tests;
