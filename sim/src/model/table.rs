//! A loaded Huffman table: the 1024-byte block the host wrote, checked before a bit of it is used.
//!
//! Invariant: a `LoadedTable` has two prefix codes that a decoder accepts, and an end-of-block code. Whether its packed
//! header says the same as its code lengths is not checked here: the host that wrote both verifies what comes out.

use faam_hwif::table as layout;
use thiserror::Error;

use super::code::{BlockCode, END_OF_BLOCK};
use super::{DISTANCE_SYMBOLS, LITLEN_SYMBOLS};

const TABLE_BYTES: usize = layout::TABLE_BYTES as usize;
const DISTANCE_OFFSET: usize = layout::TABLE_DISTANCE_OFFSET as usize;
const HEADER_BITS_OFFSET: usize = layout::TABLE_HEADER_BITS_OFFSET as usize;
const HEADER_OFFSET: usize = layout::TABLE_HEADER_OFFSET as usize;
const HEADER_BYTES: usize = TABLE_BYTES - HEADER_OFFSET;
/// Longest code (RFC 1951, section 3.2.7).
const CODE_LENGTH_MAX: u8 = 15;
/// Kraft sum of a complete code, in units of 2^-15.
const KRAFT_COMPLETE: u32 = 1 << CODE_LENGTH_MAX;

/// Which of the two codes of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    /// Literals, lengths and end-of-block.
    Litlen,
    /// Distances.
    Distance,
}

/// Why a table was refused. All of these are the card's one status BAD_TABLE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadTable {
    /// The block is not 1024 bytes.
    #[error("a table block has {TABLE_BYTES} bytes, this one {got}: send the whole block")]
    Size {
        /// Bytes that came.
        got: usize,
    },
    /// A code length above 15.
    #[error(
        "{alphabet:?} symbol {symbol} has code length {length}, the longest is {CODE_LENGTH_MAX}"
    )]
    Length {
        /// Where it stands.
        alphabet: Alphabet,
        /// The symbol.
        symbol: usize,
        /// Its length.
        length: u8,
    },
    /// A length for a slot that is no symbol.
    #[error("{alphabet:?} slot {slot} is reserved and must be 0")]
    Reserved {
        /// Where it stands.
        alphabet: Alphabet,
        /// The slot.
        slot: usize,
    },
    /// The lengths are no complete prefix code.
    #[error("{alphabet:?} code lengths have Kraft sum {sum}/{KRAFT_COMPLETE}, it must be 1")]
    Kraft {
        /// Which code.
        alphabet: Alphabet,
        /// The sum over all symbols of 2^(15 - length).
        sum: u32,
    },
    /// Symbol 256 has no code.
    #[error("end-of-block (256) has no code, every block needs it")]
    NoEndOfBlock,
    /// The packed header does not fit its field.
    #[error("the header claims {bits} bits, its field has {}", HEADER_BYTES * 8)]
    Header {
        /// Bits claimed.
        bits: u32,
    },
}

/// A table that passed its checks, expanded for the encoder.
#[derive(Debug, Clone)]
pub struct LoadedTable {
    pub(super) code: BlockCode,
    header: [u8; HEADER_BYTES],
    header_bits: usize,
}

impl LoadedTable {
    /// Checks and expands a table block: `litlen[288]` u8, `distance[32]` u8, `header_bits` u32, `header` to the end.
    ///
    /// # Errors
    /// [`BadTable`], for the first rule of algorithm.md, "Loaded tables", that the block breaks.
    pub fn parse(block: &[u8]) -> Result<Self, BadTable> {
        let block: &[u8; TABLE_BYTES] = block
            .try_into()
            .map_err(|_| BadTable::Size { got: block.len() })?;
        let (lengths, rest) = block.split_at(HEADER_BITS_OFFSET);
        let (litlen, distance) = lengths.split_at(DISTANCE_OFFSET);
        let (header_bits, header_field) = rest.split_at(HEADER_OFFSET - HEADER_BITS_OFFSET);

        let (litlen_lengths, litlen_sum) = check(Alphabet::Litlen, litlen, LITLEN_SYMBOLS)?;
        let (distance_lengths, distance_sum) =
            check(Alphabet::Distance, distance, DISTANCE_SYMBOLS)?;
        if litlen_sum != KRAFT_COMPLETE {
            return Err(BadTable::Kraft {
                alphabet: Alphabet::Litlen,
                sum: litlen_sum,
            });
        }
        // RFC 1951, section 3.2.7: no distance code at all, or a single one of one bit, are the two exceptions.
        let single =
            distance.iter().all(|length| *length <= 1) && distance_sum == KRAFT_COMPLETE / 2;
        if distance_sum != KRAFT_COMPLETE && distance_sum != 0 && !single {
            return Err(BadTable::Kraft {
                alphabet: Alphabet::Distance,
                sum: distance_sum,
            });
        }
        if litlen_lengths[END_OF_BLOCK] == 0 {
            return Err(BadTable::NoEndOfBlock);
        }
        let mut bits = [0; 4];
        bits.copy_from_slice(header_bits);
        let bits = u32::from_le_bytes(bits);
        let header_bits = bits as usize;
        if header_bits > HEADER_BYTES * 8 {
            return Err(BadTable::Header { bits });
        }
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(header_field);
        Ok(Self {
            code: BlockCode::new(&litlen_lengths, &distance_lengths),
            header,
            header_bits,
        })
    }

    /// The packed dynamic block header that follows BFINAL and BTYPE, and its length in bits.
    pub(super) fn header(&self) -> (&[u8], usize) {
        (&self.header, self.header_bits)
    }
}

/// Checks one alphabet's code lengths, slot by slot; its lengths and Kraft sum in units of 2^-15.
fn check<const N: usize>(
    alphabet: Alphabet,
    lengths: &[u8],
    symbols: usize,
) -> Result<([u8; N], u32), BadTable> {
    let mut copy = [0; N];
    let mut sum = 0;
    for (symbol, (to, &length)) in copy.iter_mut().zip(lengths).enumerate() {
        if symbol >= symbols && length != 0 {
            return Err(BadTable::Reserved {
                alphabet,
                slot: symbol,
            });
        }
        if length > CODE_LENGTH_MAX {
            return Err(BadTable::Length {
                alphabet,
                symbol,
                length,
            });
        }
        if length != 0 {
            sum += 1u32 << (CODE_LENGTH_MAX - length);
        }
        *to = length;
    }
    Ok((copy, sum))
}
