//! Layout of the Huffman table block that a job loads, and of the histogram that a count job returns.
//!
//! The meaning of both is in `bitstreams/doc/algorithm.md`; this file holds where each byte lies.

/// Size of a table block in memory, bytes.
pub const TABLE_BYTES: u32 = 1024;
/// Code lengths of the literal/length symbols: [`LITLEN_PLACES`] bytes, the last two zero.
pub const TABLE_LITLEN_OFFSET: u32 = 0x000;
/// Code lengths of the distance symbols: [`DISTANCE_PLACES`] bytes, the last two zero.
pub const TABLE_DISTANCE_OFFSET: u32 = 0x120;
/// Length of the packed header in bits, u32.
pub const TABLE_HEADER_BITS_OFFSET: u32 = 0x140;
/// Packed header: what follows the three block header bits (RFC 1951, section 3.2.7), bit 0 of byte 0 first.
pub const TABLE_HEADER_OFFSET: u32 = 0x144;
/// Most bits in a packed header.
pub const TABLE_HEADER_BITS_MAX: u32 = (TABLE_BYTES - TABLE_HEADER_OFFSET) * 8;

/// Size of a histogram in memory, bytes.
pub const HISTOGRAM_BYTES: u32 = 1280;
/// Counts of the literal/length symbols: [`LITLEN_PLACES`] u32, the last two zero.
pub const HISTOGRAM_LITLEN_OFFSET: u32 = 0x000;
/// Counts of the distance symbols: [`DISTANCE_PLACES`] u32, the last two zero.
pub const HISTOGRAM_DISTANCE_OFFSET: u32 = 0x480;

/// Literal/length symbols that can be coded (RFC 1951, section 3.2.5).
pub const LITLEN_SYMBOLS: usize = 286;
/// Places for them, padded to the 288 of the fixed code.
pub const LITLEN_PLACES: usize = 288;
/// Distance symbols that can be coded.
pub const DISTANCE_SYMBOLS: usize = 30;
/// Places for them.
pub const DISTANCE_PLACES: usize = 32;

const _: () =
    assert!(TABLE_LITLEN_OFFSET as usize + LITLEN_PLACES == TABLE_DISTANCE_OFFSET as usize);
const _: () =
    assert!(TABLE_DISTANCE_OFFSET as usize + DISTANCE_PLACES == TABLE_HEADER_BITS_OFFSET as usize);
const _: () = assert!(
    HISTOGRAM_LITLEN_OFFSET as usize + LITLEN_PLACES * 4 == HISTOGRAM_DISTANCE_OFFSET as usize
);
const _: () =
    assert!(HISTOGRAM_DISTANCE_OFFSET as usize + DISTANCE_PLACES * 4 == HISTOGRAM_BYTES as usize);
