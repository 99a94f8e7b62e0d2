//! Finds where the last DEFLATE block of a stream begins and ends, without decoding the data.
//!
//! libdeflate always ends its output with BFINAL and has no flush. To let another block follow, the
//! final block's header bit must be cleared and the stream brought to a byte boundary. Neither place
//! can be known without passing over all symbols before them, for DEFLATE blocks carry no length.
//!
//! The pass skips instead of decoding. One table lookup answers how many bits a short run of
//! literals, or literals and then a length code with its extra bits, takes up; a second one answers
//! the same for a distance and is made even where no distance follows (its upper half is all
//! zeros), so that the unpredictable literal-or-match branch is gone. What the symbols say is never
//! looked at. Why not cheaper: searching backwards for the header meets false headers; cutting
//! the input so that libdeflate emits one block a call leans on its undocumented splitting and costs ratio; a
//! decoder that reports block ends (zlib's `Z_BLOCK`) is not offered by the decoders here. Blocks that
//! need no successor (a whole body in one block) never come here. The price is a quarter to a
//! third of libdeflate 1's time from 64 KiB on and a tenth of level 6's (`make engines`, "as middle block"); it is the
//! latency of two dependent table lookups a match, not bandwidth, so a second cursor on the same stream would be the next
//! step. Small blocks cost more, for each brings tables that have to be built: the gateway cuts none below 128 KiB.
//!
//! Invariant: any bytes whatever give a [`Walk`] or a [`WalkError`] in time linear in their number.
//! A walk proves the block structure only; that the stream decodes to the right bytes is the
//! [`Verifier`](crate::Verifier)'s to say, which sees the edited stream.

use thiserror::Error;

use crate::engine::{EMPTY_STORED_BLOCK, STORED_BLOCK_OVERHEAD_BYTES, SYNC_MARKER};

/// Longest code of the literal/length and distance alphabets (RFC 1951, 3.2.7).
const CODE_BITS_MAX: usize = 15;
/// Longest code of the code length alphabet (3 bit lengths).
const PRECODE_BITS_MAX: usize = 7;
/// Literal/length symbols in a code's definition: 286 used, 288 in the fixed code.
const LITLEN_SYMBOLS: usize = 288;
/// Distance symbols in a code's definition: 30 used, 32 expressible.
const DISTANCE_SYMBOLS: usize = 32;
const PRECODE_SYMBOLS: usize = 19;
/// The end-of-block symbol.
const END_OF_BLOCK: u16 = 256;

/// Index width of the skip tables. 2 KiB and 1 KiB: both stay in the first-level cache. Longer codes
/// (rarer than one symbol in 2,048) take the canonical path.
const LITLEN_TABLE_BITS: usize = 11;
const DISTANCE_TABLE_BITS: usize = 9;

/// Skip entry: bits to skip, 28 at the most (15 + 13, a distance).
const SKIP_BITS: u8 = 0x1f;
/// Skip entry, literal/length: no distance follows. Selects the distance table's zero half.
const NO_DISTANCE: u8 = 0x40;
/// Skip entry: nothing is skipped, take the canonical path (end of block, long or unused code).
const CANONICAL: u8 = 0x80;

/// Order in which the code length code's lengths are sent (RFC 1951, 3.2.7).
const PRECODE_ORDER: [u8; PRECODE_SYMBOLS] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

/// Where a stream's last block lies. Bit 0 is the lowest bit of byte 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Bit offset of the last block's BFINAL.
    pub last_header_bit: u64,
    /// Bit offset just past the last block.
    pub end_bit: u64,
    /// Number of DEFLATE blocks.
    pub blocks: u64,
}

/// Why bytes are not one DEFLATE stream that ends with them. Offsets are of the byte in which the
/// offending element begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WalkError {
    /// The bytes end inside a block, or before one with BFINAL.
    #[error("the DEFLATE stream is cut short: its {len} bytes end before its last block does")]
    Truncated {
        /// Length of the stream in bytes.
        len: usize,
    },
    /// Block type 3 (RFC 1951, 3.2.3).
    #[error("reserved DEFLATE block type 3 in byte {offset}")]
    ReservedBlockType {
        /// Byte offset.
        offset: u64,
    },
    /// LEN and NLEN of a stored block disagree.
    #[error(
        "stored DEFLATE block with a length that its complement does not confirm, in byte {offset}"
    )]
    StoredLength {
        /// Byte offset.
        offset: u64,
    },
    /// A code's definition is impossible: oversubscribed, a repeat of nothing, too many lengths.
    #[error(
        "impossible Huffman code definition in the DEFLATE block header that ends in byte {offset}"
    )]
    CodeDefinition {
        /// Byte offset.
        offset: u64,
    },
    /// Bits that no code word begins with, or a symbol that the alphabet reserves.
    #[error("bits that are no DEFLATE symbol in byte {offset}")]
    Symbol {
        /// Byte offset.
        offset: u64,
    },
    /// The stream ends before its bytes do.
    #[error(
        "the DEFLATE stream ends after {consumed} of {len} bytes: expected no bytes after its last block"
    )]
    TrailingBytes {
        /// Bytes up to the stream's end.
        consumed: u64,
        /// Length of what was given.
        len: usize,
    },
}

/// The pass over a stream, with its tables. One a thread; walking allocates nothing.
pub struct Walker {
    fixed: Box<Tables>,
    dynamic: Box<Tables>,
}

impl Default for Walker {
    fn default() -> Self {
        Self::new()
    }
}

impl Walker {
    /// A walker with the fixed code's tables built.
    #[must_use]
    pub fn new() -> Self {
        let mut fixed = Box::new(Tables::new());
        // RFC 1951, 3.2.6. The definition is complete, so it is accepted.
        let mut lengths = [8u8; LITLEN_SYMBOLS];
        lengths[144..256].fill(9);
        lengths[256..280].fill(7);
        let accepted = fixed.build(&lengths, &[5; DISTANCE_SYMBOLS]);
        debug_assert!(accepted, "the fixed code is complete");
        Self {
            fixed,
            dynamic: Box::new(Tables::new()),
        }
    }

    /// Passes over `stream`, which must be one whole DEFLATE stream and nothing after it.
    ///
    /// # Errors
    /// [`WalkError`]: the bytes are something else.
    pub fn walk(&mut self, stream: &[u8]) -> Result<Walk, WalkError> {
        let mut bits = BitReader::new(stream);
        let mut blocks = 0;
        loop {
            let header_bit = bits.position();
            bits.refill()?;
            let last = bits.take(1) == 1;
            let block_type = bits.take(2);
            bits.check()?;
            match block_type {
                0 => bits.skip_stored()?,
                1 => self.fixed.skip_symbols(&mut bits)?,
                2 => {
                    self.dynamic.read_definition(&mut bits)?;
                    self.dynamic.skip_symbols(&mut bits)?;
                }
                _ => {
                    return Err(WalkError::ReservedBlockType {
                        offset: header_bit / 8,
                    });
                }
            }
            blocks += 1;
            if last {
                let end_bit = bits.position();
                let consumed = end_bit.div_ceil(8);
                if consumed != stream.len() as u64 {
                    return Err(WalkError::TrailingBytes {
                        consumed,
                        len: stream.len(),
                    });
                }
                return Ok(Walk {
                    last_header_bit: header_bit,
                    end_bit,
                    blocks,
                });
            }
        }
    }

    /// Turns the whole stream in `stream` into one that others can follow: BFINAL cleared, ended at a
    /// byte boundary by a sync marker. Grows it by 4 or 5 bytes.
    ///
    /// # Errors
    /// [`WalkError`], and `stream` is as it was.
    pub fn make_middle(&mut self, stream: &mut Vec<u8>) -> Result<Walk, WalkError> {
        let walk = self.walk(stream)?;
        let header_byte = usize::try_from(walk.last_header_bit / 8)
            .ok()
            .and_then(|index| stream.get_mut(index));
        if let Some(byte) = header_byte {
            *byte &= !(1 << (walk.last_header_bit % 8));
        }
        let used_bits = walk.end_bit % 8;
        if used_bits == 0 {
            stream.extend_from_slice(&EMPTY_STORED_BLOCK);
            return Ok(walk);
        }
        // The padding becomes the empty stored block's header: BFINAL 0, BTYPE 00, padding 0.
        if let Some(byte) = stream.last_mut() {
            *byte &= (1u8 << used_bits) - 1;
        }
        if used_bits <= 5 {
            stream.extend_from_slice(&SYNC_MARKER);
        } else {
            stream.extend_from_slice(&EMPTY_STORED_BLOCK);
        }
        Ok(walk)
    }
}

/// What [`Walker::make_middle`] adds at the most, in bytes.
pub(crate) const MIDDLE_GROWTH_BYTES_MAX: usize = STORED_BLOCK_OVERHEAD_BYTES;

/// Bits of a byte slice, lowest first. Past the end it reads zeros, which `check` and `refill` refuse.
///
/// Rare paths take and return it by value: a reference would pin it to memory, and the common path lives
/// by holding it in registers.
#[derive(Clone, Copy)]
struct BitReader<'stream> {
    stream: &'stream [u8],
    /// Bits not yet taken, lowest first. Above `available` it may hold bits that are read again.
    buffer: u64,
    available: u32,
    /// Next byte for the buffer; may run past the end by the zeros handed out.
    next: usize,
}

impl<'stream> BitReader<'stream> {
    /// After `refill` at least so many bits are in the buffer: more than any step below takes.
    const REFILLED_BITS: u32 = 56;

    fn new(stream: &'stream [u8]) -> Self {
        Self {
            stream,
            buffer: 0,
            available: 0,
            next: 0,
        }
    }

    fn position(&self) -> u64 {
        (self.next as u64 * 8).saturating_sub(u64::from(self.available))
    }

    /// Fills the buffer to at least 56 bits, and refuses to go on once bits past the end were taken.
    #[inline(always)]
    fn refill(&mut self) -> Result<(), WalkError> {
        let word = match self
            .stream
            .get(self.next..)
            .and_then(|rest| rest.first_chunk::<8>())
        {
            Some(bytes) => u64::from_le_bytes(*bytes),
            None => self.tail_word()?,
        };
        // Bytes counted here are read once more by the next refill if they did not fit; the or is
        // idempotent on them.
        self.buffer |= word << self.available;
        self.next += ((63 - self.available) >> 3) as usize;
        self.available |= Self::REFILLED_BITS;
        Ok(())
    }

    #[cold]
    fn tail_word(self) -> Result<u64, WalkError> {
        self.check()?;
        let mut bytes = [0; 8];
        if let Some(rest) = self.stream.get(self.next..) {
            for (byte, &from) in bytes.iter_mut().zip(rest) {
                *byte = from;
            }
        }
        Ok(u64::from_le_bytes(bytes))
    }

    fn check(&self) -> Result<(), WalkError> {
        if self.position() > self.stream.len() as u64 * 8 {
            Err(WalkError::Truncated {
                len: self.stream.len(),
            })
        } else {
            Ok(())
        }
    }

    /// Drops `count` bits, at most what the buffer holds.
    #[inline(always)]
    fn skip(&mut self, count: u32) {
        debug_assert!(
            count <= self.available,
            "{count} of {} bits",
            self.available
        );
        self.buffer >>= count;
        self.available = self.available.wrapping_sub(count);
    }

    #[inline(always)]
    fn take(&mut self, count: u32) -> u32 {
        let value = self.buffer & ((1 << count) - 1);
        self.skip(count);
        // count is at most 16.
        u32::try_from(value).unwrap_or(u32::MAX)
    }

    fn skip_stored(&mut self) -> Result<(), WalkError> {
        let offset = self.position().div_ceil(8);
        let truncated = WalkError::Truncated {
            len: self.stream.len(),
        };
        let start = usize::try_from(offset).map_err(|_| truncated)?;
        let Some([len_low, len_high, complement_low, complement_high]) = self
            .stream
            .get(start..)
            .and_then(|rest| rest.first_chunk::<4>())
        else {
            return Err(truncated);
        };
        let len = u16::from_le_bytes([*len_low, *len_high]);
        if len != !u16::from_le_bytes([*complement_low, *complement_high]) {
            return Err(WalkError::StoredLength { offset });
        }
        let end = start.saturating_add(4).saturating_add(usize::from(len));
        if end > self.stream.len() {
            return Err(truncated);
        }
        (self.buffer, self.available, self.next) = (0, 0, end);
        Ok(())
    }
}

/// A canonical code: symbols in code order, and how many there are of each length.
struct CanonicalCode<const SYMBOLS: usize> {
    count: [u16; CODE_BITS_MAX + 1],
    symbols: [u16; SYMBOLS],
}

impl<const SYMBOLS: usize> CanonicalCode<SYMBOLS> {
    const fn new() -> Self {
        Self {
            count: [0; CODE_BITS_MAX + 1],
            symbols: [0; SYMBOLS],
        }
    }

    /// Takes a definition; false if it is oversubscribed. An incomplete code is taken: its unused
    /// words are refused when met.
    fn define(&mut self, lengths: &[u8]) -> bool {
        self.count = [0; CODE_BITS_MAX + 1];
        for &length in lengths {
            self.count[usize::from(length) & CODE_BITS_MAX] += 1;
        }
        self.count[0] = 0;
        let mut left = 1i32;
        let mut offsets = [0u16; CODE_BITS_MAX + 2];
        for length in 1..=CODE_BITS_MAX {
            left = (left << 1) - i32::from(self.count[length]);
            if left < 0 {
                return false;
            }
            offsets[length + 1] = offsets[length] + self.count[length];
        }
        for (symbol, &length) in (0u16..).zip(lengths) {
            if length != 0 {
                let offset = &mut offsets[usize::from(length) & CODE_BITS_MAX];
                if let Some(slot) = self.symbols.get_mut(usize::from(*offset)) {
                    *slot = symbol;
                }
                *offset += 1;
            }
        }
        true
    }

    /// The symbol at the buffer's front and its length, one bit at a time.
    fn decode(&self, buffer: u64) -> Option<(u16, u32)> {
        let (mut code, mut first, mut index) = (0u32, 0u32, 0u32);
        for length in 1..=CODE_BITS_MAX {
            code |= u32::from((buffer >> (length - 1)) & 1 == 1);
            let count = u32::from(self.count[length]);
            if code < first + count {
                let symbol = self
                    .symbols
                    .get(usize::try_from(index + (code - first)).ok()?)?;
                return Some((*symbol, u32::try_from(length).ok()?));
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    }

    /// Fills a table of 2^`bits` entries, indexed by the next bits: at each index the entry of the code word
    /// that it begins with, or `unresolved` if there is none of at most `bits` bits.
    ///
    /// The table of each length is the one of the length before, twice, and the new words.
    fn fill_table<Entry: Copy>(
        &self,
        bits: usize,
        table: &mut [Entry],
        unresolved: Entry,
        entry_of: impl Fn(u16, u8) -> Entry,
    ) {
        let (mut code, mut index) = (0usize, 0usize);
        if let Some(first) = table.first_mut() {
            *first = unresolved;
        }
        for length in 1..=bits {
            let half = 1 << (length - 1);
            if let Some((low, high)) = table
                .get_mut(..2 * half)
                .map(|table| table.split_at_mut(half))
            {
                high.copy_from_slice(low);
            }
            let count = usize::from(self.count[length]);
            let symbols = self.symbols.get(index..index + count).unwrap_or_default();
            for &symbol in symbols {
                let word = code.reverse_bits() >> (usize::BITS as usize - length);
                if let Some(slot) = table.get_mut(word) {
                    // Lengths are at most 15.
                    *slot = entry_of(symbol, u8::try_from(length).unwrap_or_default());
                }
                code += 1;
            }
            index += count;
            code <<= 1;
        }
    }
}

/// Extra bits of a length symbol (257..=285), `None` for a reserved one (RFC 1951, 3.2.5).
fn length_extra_bits(symbol: u16) -> Option<u8> {
    match symbol {
        257..=264 | 285 => Some(0),
        // Groups of four from 265 on: 1, 2, 3, 4, 5 extra bits. At most 5 fits a byte.
        265..=284 => u8::try_from((symbol - 261) / 4).ok(),
        _ => None,
    }
}

/// Extra bits of a distance symbol (0..=29), `None` for a reserved one.
fn distance_extra_bits(symbol: u16) -> Option<u8> {
    match symbol {
        0..=3 => Some(0),
        4..=29 => u8::try_from(symbol / 2 - 1).ok(),
        _ => None,
    }
}

/// Skip tables and canonical codes of one block.
struct Tables {
    /// By the next 11 bits: skip for literals, or literals and a length with its extra bits.
    litlen_skip: [u8; 1 << LITLEN_TABLE_BITS],
    /// By the next 9 bits: skip for a distance. The upper half is zeros, for "no distance here".
    distance_skip: [u8; 2 << DISTANCE_TABLE_BITS],
    /// By the next 11 bits: the first symbol alone, from which `litlen_skip` is composed.
    first_word: [FirstWord; 1 << LITLEN_TABLE_BITS],
    litlen: CanonicalCode<LITLEN_SYMBOLS>,
    distance: CanonicalCode<DISTANCE_SYMBOLS>,
    precode: CanonicalCode<PRECODE_SYMBOLS>,
}

/// The symbol that an 11-bit window begins with.
#[derive(Clone, Copy)]
struct FirstWord {
    code_bits: u8,
    /// As in `litlen_skip`, for this symbol alone.
    skip: u8,
}

impl FirstWord {
    /// Not resolved by the table: longer than any window.
    const UNRESOLVED: Self = Self {
        code_bits: u8::MAX,
        skip: CANONICAL,
    };
}

impl Tables {
    const fn new() -> Self {
        Self {
            litlen_skip: [CANONICAL; 1 << LITLEN_TABLE_BITS],
            distance_skip: [0; 2 << DISTANCE_TABLE_BITS],
            first_word: [FirstWord::UNRESOLVED; 1 << LITLEN_TABLE_BITS],
            litlen: CanonicalCode::new(),
            distance: CanonicalCode::new(),
            precode: CanonicalCode::new(),
        }
    }

    /// Reads a dynamic block's code definitions (RFC 1951, 3.2.7).
    fn read_definition(&mut self, bits: &mut BitReader<'_>) -> Result<(), WalkError> {
        bits.refill()?;
        let litlen_count = bits.take(5) as usize + 257;
        let distance_count = bits.take(5) as usize + 1;
        let precode_count = bits.take(4) as usize + 4;
        let mut precode_lengths = [0u8; PRECODE_SYMBOLS];
        for &symbol in PRECODE_ORDER.iter().take(precode_count) {
            bits.refill()?;
            precode_lengths[usize::from(symbol)] = u8::try_from(bits.take(3)).unwrap_or_default();
        }
        bits.check()?;
        let impossible = |bits: &BitReader<'_>| WalkError::CodeDefinition {
            offset: bits.position() / 8,
        };
        if litlen_count > 286 || !self.precode.define(&precode_lengths) {
            return Err(impossible(bits));
        }
        let mut by_window = [(0u16, 0u8); 1 << PRECODE_BITS_MAX];
        self.precode.fill_table(
            PRECODE_BITS_MAX,
            &mut by_window,
            (0, 0),
            |symbol, length| (symbol, length),
        );
        let mut lengths = [0u8; 286 + DISTANCE_SYMBOLS];
        let total = litlen_count + distance_count;
        let mut filled = 0;
        while filled < total {
            bits.refill()?;
            let window =
                usize::try_from(bits.buffer & ((1 << PRECODE_BITS_MAX) - 1)).unwrap_or_default();
            let (symbol, length) = by_window[window & ((1 << PRECODE_BITS_MAX) - 1)];
            if length == 0 {
                return Err(WalkError::Symbol {
                    offset: bits.position() / 8,
                });
            }
            bits.skip(u32::from(length));
            let (value, repeat) = match symbol {
                16 => match filled
                    .checked_sub(1)
                    .and_then(|previous| lengths.get(previous))
                {
                    Some(&previous) => (previous, 3 + bits.take(2) as usize),
                    None => return Err(impossible(bits)),
                },
                17 => (0, 3 + bits.take(3) as usize),
                18 => (0, 11 + bits.take(7) as usize),
                literal => (u8::try_from(literal).unwrap_or_default(), 1),
            };
            match lengths.get_mut(filled..filled + repeat) {
                Some(run) if filled + repeat <= total => run.fill(value),
                _ => return Err(impossible(bits)),
            }
            filled += repeat;
        }
        bits.check()?;
        let (litlen_lengths, rest) = lengths.split_at(litlen_count);
        let distance_lengths = rest.get(..distance_count).unwrap_or_default();
        // Without an end-of-block word the block could not end.
        if litlen_lengths.get(usize::from(END_OF_BLOCK)) == Some(&0)
            || !self.build(litlen_lengths, distance_lengths)
        {
            return Err(impossible(bits));
        }
        Ok(())
    }

    /// Takes both codes and fills the tables; false if a code is oversubscribed.
    fn build(&mut self, litlen_lengths: &[u8], distance_lengths: &[u8]) -> bool {
        if !self.litlen.define(litlen_lengths) || !self.distance.define(distance_lengths) {
            return false;
        }
        self.litlen.fill_table(
            LITLEN_TABLE_BITS,
            &mut self.first_word,
            FirstWord::UNRESOLVED,
            |symbol, code_bits| {
                let skip = if symbol < END_OF_BLOCK {
                    code_bits | NO_DISTANCE
                } else {
                    length_extra_bits(symbol).map_or(CANONICAL, |extra| code_bits + extra)
                };
                FirstWord { code_bits, skip }
            },
        );
        for (window, skip) in self.litlen_skip.iter_mut().enumerate() {
            *skip = compose(&self.first_word, window);
        }
        let (distances, _zeros) = self.distance_skip.split_at_mut(1 << DISTANCE_TABLE_BITS);
        self.distance.fill_table(
            DISTANCE_TABLE_BITS,
            distances,
            CANONICAL,
            |symbol, code_bits| {
                distance_extra_bits(symbol).map_or(CANONICAL, |extra| code_bits + extra)
            },
        );
        true
    }

    /// Skips the symbols of a block up to and including its end-of-block word.
    fn skip_symbols(&self, reader: &mut BitReader<'_>) -> Result<(), WalkError> {
        const LITLEN_MASK: usize = (1 << LITLEN_TABLE_BITS) - 1;
        const DISTANCE_MASK: usize = (1 << DISTANCE_TABLE_BITS) - 1;
        // NO_DISTANCE moved to the bit that selects the zero half.
        const ZERO_HALF_SHIFT: usize = DISTANCE_TABLE_BITS - NO_DISTANCE.trailing_zeros() as usize;
        let mut bits = *reader;
        loop {
            bits.refill()?;
            #[expect(clippy::cast_possible_truncation, reason = "masked to a table index")]
            let skip = self.litlen_skip[bits.buffer as usize & LITLEN_MASK];
            if skip & CANONICAL != 0 {
                let (after, end_of_block) = self.skip_canonical(bits)?;
                bits = after;
                if end_of_block {
                    *reader = bits;
                    return bits.check();
                }
                continue;
            }
            bits.skip(u32::from(skip & SKIP_BITS));
            let zero_half = usize::from(skip & NO_DISTANCE) << ZERO_HALF_SHIFT;
            #[expect(clippy::cast_possible_truncation, reason = "masked to a table index")]
            let distance = self.distance_skip[(bits.buffer as usize & DISTANCE_MASK) | zero_half];
            if distance & CANONICAL != 0 {
                bits = self.skip_distance(bits)?;
                continue;
            }
            bits.skip(u32::from(distance & SKIP_BITS));
        }
    }

    /// Skips one symbol the long way; true at the end of the block.
    #[cold]
    fn skip_canonical<'a>(
        &self,
        mut bits: BitReader<'a>,
    ) -> Result<(BitReader<'a>, bool), WalkError> {
        let symbol_error = WalkError::Symbol {
            offset: bits.position() / 8,
        };
        let (symbol, length) = self.litlen.decode(bits.buffer).ok_or(symbol_error)?;
        bits.skip(length);
        if symbol <= END_OF_BLOCK {
            return Ok((bits, symbol == END_OF_BLOCK));
        }
        bits.skip(u32::from(length_extra_bits(symbol).ok_or(symbol_error)?));
        Ok((self.skip_distance(bits)?, false))
    }

    #[cold]
    fn skip_distance<'a>(&self, mut bits: BitReader<'a>) -> Result<BitReader<'a>, WalkError> {
        let symbol_error = WalkError::Symbol {
            offset: bits.position() / 8,
        };
        let (symbol, length) = self.distance.decode(bits.buffer).ok_or(symbol_error)?;
        bits.skip(length);
        bits.skip(u32::from(distance_extra_bits(symbol).ok_or(symbol_error)?));
        Ok(bits)
    }
}

/// The skip for a window: its first symbol and, while literals lead, what follows them as far as the
/// window determines it.
fn compose(first_word: &[FirstWord; 1 << LITLEN_TABLE_BITS], window: usize) -> u8 {
    let first = first_word[window & ((1 << LITLEN_TABLE_BITS) - 1)];
    let mut skip = first.skip;
    let mut used = usize::from(first.code_bits);
    while skip & (CANONICAL | NO_DISTANCE) == NO_DISTANCE && used < LITLEN_TABLE_BITS {
        let next = first_word[(window >> used) & ((1 << LITLEN_TABLE_BITS) - 1)];
        // The bits above the window read as zeros: a word that needs one of them is not determined.
        if used + usize::from(next.code_bits) > LITLEN_TABLE_BITS || next.skip & CANONICAL != 0 {
            break;
        }
        skip = (next.skip & NO_DISTANCE) | ((skip & SKIP_BITS) + (next.skip & SKIP_BITS));
        used += usize::from(next.code_bits);
    }
    skip
}
