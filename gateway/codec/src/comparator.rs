//! A DEFLATE decoder that writes nothing: it compares what a block decodes to with what it must decode to.
//!
//! Invariant: `Ok` means that the whole block, to its last byte and not beyond, is DEFLATE (RFC 1951) that every standard
//! decoder turns into exactly the input, and that it stands as its [`Position`] says: a middle block without BFINAL, ended
//! at a byte boundary between two DEFLATE blocks by an empty stored one (the sync marker), a last block with BFINAL in
//! its last byte. Any bytes whatever give that or an error in time linear in their number.
//!
//! A literal must be the input's next byte. A match of length `l` and distance `d` holds if the input's next `l` bytes are
//! those `d` bytes before them: all that stands before is equal to the input already, so the input itself is the decoder's
//! history. There is no output to write or read back, and nothing of what comes next waits for a comparison: differences are
//! or-ed together and looked at when a run of symbols ends. What is left is the latency of two dependent table lookups a match,
//! which alone decide where the next symbol begins. Both are made even where no match follows (it is of length 0 then,
//! at the distance 0), so that the unpredictable literal-or-match branch is gone.
//!
//! The fast pass says no more than "wrong". Then a second pass, symbol by symbol, says where and how. It proves as much as the
//! first: each is a whole comparison.
//!
//! Since the pass knows where a block ends, nothing has to be appended to find out. A block that stops inside a stored,
//! a fixed or a dynamic block or in a header, and would swallow what is sent behind it, ends before its structure does.

use crate::bit_reader::{BitReader, Stored};
use crate::code_definition::CodeDefinition;
use crate::engine::Position;
use crate::symbol_tables::{
    DISTANCE_TABLE_BITS, END, LITLEN_TABLE_BITS, Lookup, NO_MATCH, SymbolTables, UNRESOLVED,
    distance, drop_bits, index, literal_count, literals_differ, match_len,
};
use crate::verify::VerifyError;

/// Input of a dynamic block that is compared before its table is [paired](SymbolTables::pair): pairing costs as
/// much as it saves over about so much.
const UNPAIRED_BYTES: usize = 4 << 10;

/// How much of a match is compared without a loop.
const STRIDE: usize = 32;
/// Input that one iteration looks at in any case: two literals and a stride.
const WINDOW: usize = 2 + STRIDE;

/// Where a right block's parts lie. Bit 0 is the lowest bit of byte 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Structure {
    /// Bit offset of the last DEFLATE block's BFINAL.
    pub(crate) last_header_bit: u64,
    /// Bit offset just past the last DEFLATE block.
    pub(crate) end_bit: u64,
}

/// The pass with its tables. One a thread; comparing allocates nothing.
pub(crate) struct Comparator {
    fixed: Box<SymbolTables>,
    dynamic: Box<SymbolTables>,
    definition: Box<CodeDefinition>,
}

/// What is wrong within a block.
enum Fault {
    /// Somewhere, by the fast pass.
    Differs,
    /// The bytes end first.
    Truncated,
    /// No DEFLATE from this byte on, so much input having been compared.
    Corrupt {
        byte: usize,
        compared: usize,
    },
    Mismatch {
        offset: usize,
    },
    TooLong,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Many symbols at a time; differences are noticed later.
    Fast,
    /// Every symbol checked before the next.
    Exact,
}

/// A place in the block and the place in the input that belongs to it.
#[derive(Clone, Copy)]
struct Cursor<'block> {
    bits: BitReader<'block>,
    at: usize,
}

impl Comparator {
    /// A comparator with the fixed code's tables built.
    pub(crate) fn new() -> Self {
        let mut fixed = Box::new(SymbolTables::new());
        fixed.build_fixed();
        Self {
            fixed,
            dynamic: Box::new(SymbolTables::new()),
            definition: Box::new(CodeDefinition::new()),
        }
    }

    /// Compares what `block`, raw DEFLATE without history, decodes to with `input`.
    ///
    /// # Errors
    /// [`VerifyError`]: the block is wrong, or does not stand as `position` says.
    pub(crate) fn compare(
        &mut self,
        block: &[u8],
        position: Position,
        input: &[u8],
    ) -> Result<Structure, VerifyError> {
        self.pass(block, position, input, Pace::Fast)
            .or_else(|_| self.pass(block, position, input, Pace::Exact))
    }

    fn pass(
        &mut self,
        block: &[u8],
        position: Position,
        input: &[u8],
        pace: Pace,
    ) -> Result<Structure, VerifyError> {
        let input_len = input.len();
        let explain = |fault| match (fault, position) {
            (Fault::Truncated, Position::Last) => VerifyError::NotFinal,
            (Fault::Truncated, Position::Middle) => VerifyError::NoSyncMarker,
            (Fault::Corrupt { byte, compared }, _) => VerifyError::Corrupt {
                decoded_len: compared,
                input_len,
                block_offset: byte,
            },
            // The exact pass never says the first of these.
            (Fault::Differs, _) => VerifyError::Mismatch {
                offset: 0,
                input_len,
            },
            (Fault::Mismatch { offset }, _) => VerifyError::Mismatch { offset, input_len },
            (Fault::TooLong, _) => VerifyError::TooLong { input_len },
        };
        let mut cursor = Cursor {
            bits: BitReader::new(block),
            at: 0,
        };
        loop {
            let last_header_bit = cursor.bits.position();
            let before = cursor.at;
            let (is_final, is_stored) = self.block(&mut cursor, input, pace).map_err(explain)?;
            let end_bit = cursor.bits.position();
            if is_final || position == Position::Middle && cursor.bits.is_at_end() {
                let consumed = usize::try_from(end_bit.div_ceil(8)).unwrap_or(usize::MAX);
                if is_final && (position == Position::Middle || consumed != block.len()) {
                    return Err(VerifyError::EndsEarly {
                        consumed,
                        block_len: block.len(),
                    });
                }
                let is_marker = is_stored && cursor.at == before;
                if position == Position::Middle && !is_marker {
                    return Err(VerifyError::NoSyncMarker);
                }
                if cursor.at != input_len {
                    return Err(VerifyError::TooShort {
                        decoded_len: cursor.at,
                        input_len,
                    });
                }
                return Ok(Structure {
                    last_header_bit,
                    end_bit,
                });
            }
        }
    }

    /// Compares one DEFLATE block; whether it has BFINAL, and whether it is a stored one.
    fn block(
        &mut self,
        cursor: &mut Cursor<'_>,
        input: &[u8],
        pace: Pace,
    ) -> Result<(bool, bool), Fault> {
        let corrupt = Fault::Corrupt {
            byte: cursor.bits.byte(),
            compared: cursor.at,
        };
        cursor.bits.refill();
        let is_final = cursor.bits.take(1) == 1;
        let block_type = cursor.bits.take(2);
        if cursor.bits.is_overdrawn() {
            return Err(Fault::Truncated);
        }
        match block_type {
            0 => match cursor.bits.take_stored() {
                Stored::Data(data) => compare_stored(data, cursor, input)?,
                Stored::Truncated => return Err(Fault::Truncated),
                Stored::Unconfirmed => return Err(corrupt),
            },
            1 => compare_symbols(&mut self.fixed, cursor, input, pace)?,
            2 => {
                let read = self.definition.read(&mut cursor.bits);
                if cursor.bits.is_overdrawn() {
                    return Err(Fault::Truncated);
                }
                let corrupt = Fault::Corrupt {
                    byte: cursor.bits.byte(),
                    compared: cursor.at,
                };
                let (litlen, distance) = (self.definition.litlen(), self.definition.distance());
                if read.is_err() || self.dynamic.build(litlen, distance).is_err() {
                    return Err(corrupt);
                }
                compare_symbols(&mut self.dynamic, cursor, input, pace)?;
            }
            _ => return Err(corrupt),
        }
        Ok((is_final, block_type == 0))
    }
}

fn compare_stored(data: &[u8], cursor: &mut Cursor<'_>, input: &[u8]) -> Result<(), Fault> {
    let expected = input.get(cursor.at..).unwrap_or_default();
    let common = data.len().min(expected.len());
    let (data, surplus) = data.split_at(common);
    if let Some(offset) = first_difference(data, expected) {
        return Err(Fault::Mismatch {
            offset: cursor.at + offset,
        });
    }
    if !surplus.is_empty() {
        return Err(Fault::TooLong);
    }
    cursor.at += common;
    Ok(())
}

/// Where `a` differs from what `b` begins with.
fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    if b.get(..a.len()) == Some(a) {
        return None;
    }
    a.iter().zip(b).position(|(a, b)| a != b)
}

/// Compares the symbols of a block up to and including its end-of-block word.
fn compare_symbols(
    tables: &mut SymbolTables,
    cursor: &mut Cursor<'_>,
    input: &[u8],
    pace: Pace,
) -> Result<(), Fault> {
    // The input up to where pairing pays, and all of it.
    let left = input.len() - cursor.at.min(input.len());
    let head = if left > 2 * UNPAIRED_BYTES {
        input.get(..cursor.at + UNPAIRED_BYTES)
    } else {
        None
    };
    loop {
        if pace == Pace::Fast {
            let part = head.filter(|_| !tables.is_paired()).unwrap_or(input);
            let (reached, difference) = run(tables.lookup(), *cursor, part);
            if difference {
                return Err(Fault::Differs);
            }
            *cursor = reached;
            if part.len() < input.len() && cursor.at + WINDOW > part.len() {
                tables.pair();
                continue;
            }
        }
        let (after, at_end) = step(tables, *cursor, input)?;
        *cursor = after;
        if at_end {
            return Ok(());
        }
    }
}

/// Compares symbols for as long as the tables resolve them and neither the block nor the input is near its end; whether
/// anything differs.
#[inline(never)]
fn run<'block>(tables: &Lookup, cursor: Cursor<'block>, input: &[u8]) -> (Cursor<'block>, bool) {
    let Cursor { mut bits, mut at } = cursor;
    let (mut differences, mut literal_differences) = ([0; STRIDE / 8], 0);
    // What is not to be decided here is given back as it was before.
    let reached = loop {
        let before = Cursor { bits, at };
        if !bits.refill_inside() {
            break before;
        }
        let buffer = bits.buffer();
        let entry = tables.litlen[index(buffer, LITLEN_TABLE_BITS)];
        bits.skip(drop_bits(entry));
        let behind = bits.buffer();
        let no_match = ((entry & NO_MATCH) >> 32) as usize;
        let far = tables.distances[index(behind, DISTANCE_TABLE_BITS) | no_match];
        // At once, for all that comes next waits for it, and nothing for what is compared below.
        bits.skip(drop_bits(far));
        if (entry | far) & UNRESOLVED != 0 {
            break before;
        }
        let Some(window) = input
            .get(at..)
            .and_then(|rest| rest.first_chunk::<WINDOW>())
        else {
            break before;
        };
        let literals = literal_count(entry);
        let start = at + literals;
        let len = match_len(entry, buffer);
        let source = start.wrapping_sub(distance(far, behind));
        let (Some(from), Some(to)) = (
            input
                .get(source..)
                .and_then(|rest| rest.first_chunk::<STRIDE>()),
            window
                .get(literals..)
                .and_then(|rest| rest.first_chunk::<STRIDE>()),
        ) else {
            break before;
        };
        if len > STRIDE {
            let (Some(to), Some(from)) = (
                input.get(start..start + len),
                input.get(source..source + len),
            ) else {
                break before;
            };
            literal_differences |= u32::from(to != from);
        }
        let [first, second, ..] = *window;
        literal_differences |= literals_differ(entry, [first, second]);
        add_differences(&mut differences, to, from, len);
        at = start + len;
    };
    let differs = differences != [0; STRIDE / 8] || literal_differences & 0xffff != 0;
    (reached, differs)
}

/// Ors to `differences` how the first `len` bytes of two strides differ, all of them if it is more.
#[inline(always)]
fn add_differences(
    differences: &mut [u64; STRIDE / 8],
    a: &[u8; STRIDE],
    b: &[u8; STRIDE],
    len: usize,
) {
    let mask = &MASKS[len.min(STRIDE)];
    let (a, b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    for (((difference, a), b), mask) in differences.iter_mut().zip(a).zip(b).zip(mask) {
        *difference |= (u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b)) & mask;
    }
}

/// By a length up to a stride: ones where its bytes are.
static MASKS: [[u64; STRIDE / 8]; STRIDE + 1] = {
    let mut masks = [[0; STRIDE / 8]; STRIDE + 1];
    let mut len = 0;
    while len <= STRIDE {
        let mut byte = 0;
        while byte < len {
            masks[len][byte / 8] |= 0xff << (byte % 8 * 8);
            byte += 1;
        }
        len += 1;
    }
    masks
};

/// Compares one symbol, and says whether it was the block's end.
#[inline(never)]
fn step<'block>(
    tables: &SymbolTables,
    cursor: Cursor<'block>,
    input: &[u8],
) -> Result<(Cursor<'block>, bool), Fault> {
    let Cursor { mut bits, at } = cursor;
    let byte = bits.byte();
    let corrupt = |bits: &BitReader<'_>| {
        if bits.is_overdrawn() {
            Fault::Truncated
        } else {
            Fault::Corrupt { byte, compared: at }
        }
    };
    bits.refill();
    let buffer = bits.buffer();
    let entry = tables.litlen_alone(buffer).ok_or_else(|| corrupt(&bits))?;
    bits.skip(drop_bits(entry));
    if entry & NO_MATCH != 0 {
        if bits.is_overdrawn() {
            return Err(Fault::Truncated);
        }
        if entry & END != 0 {
            return Ok((Cursor { bits, at }, true));
        }
        let Some(&expected) = input.get(at) else {
            return Err(Fault::TooLong);
        };
        if literals_differ(entry, [expected, 0]) & 0xffff != 0 {
            return Err(Fault::Mismatch { offset: at });
        }
        return Ok((Cursor { bits, at: at + 1 }, false));
    }
    let len = match_len(entry, buffer);
    let behind = bits.buffer();
    let far = tables
        .distance_alone(behind)
        .ok_or_else(|| corrupt(&bits))?;
    bits.skip(drop_bits(far));
    if bits.is_overdrawn() {
        return Err(Fault::Truncated);
    }
    let Some(source) = at.checked_sub(distance(far, behind)) else {
        return Err(Fault::Corrupt { byte, compared: at });
    };
    let to = input.get(at..).unwrap_or_default();
    let to = to.get(..len).unwrap_or(to);
    let from = input.get(source..).unwrap_or_default();
    if let Some(offset) = first_difference(to, from) {
        return Err(Fault::Mismatch {
            offset: at + offset,
        });
    }
    if to.len() < len {
        return Err(Fault::TooLong);
    }
    Ok((Cursor { bits, at: at + len }, false))
}
