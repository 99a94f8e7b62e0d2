//! The one interface of all CPU engines, and the stored form that bounds what any of them emits.
//!
//! Invariant: a block of `n` bytes never becomes more than [`output_bytes_max`]`(n)` bytes, whatever
//! the data and the engine, and blocks that follow each other as `Middle, .., Middle, Last` are one
//! DEFLATE stream (RFC 1951) when their bytes are laid end to end.
//!
//! Knows no container: headers, trailers and checksums are the member's.

use thiserror::Error;

use crate::format::{Format, Level};
use crate::verify::VerifyError;

/// The most data that one stored block holds: LEN is 16 bits (RFC 1951, 3.2.4).
pub const STORED_BLOCK_BYTES_MAX: usize = 65_535;

/// A stored block's cost at a byte boundary: header and padding 1, LEN 2, NLEN 2.
pub const STORED_BLOCK_OVERHEAD_BYTES: usize = 5;

/// An empty stored block from a byte boundary on. Its last four bytes are the sync marker.
pub const EMPTY_STORED_BLOCK: [u8; STORED_BLOCK_OVERHEAD_BYTES] = [0x00, 0x00, 0x00, 0xff, 0xff];

/// The same with BFINAL: ends a stream that stands at a byte boundary.
pub const EMPTY_FINAL_STORED_BLOCK: [u8; STORED_BLOCK_OVERHEAD_BYTES] =
    [0x01, 0x00, 0x00, 0xff, 0xff];

/// LEN and NLEN of an empty stored block: the last bytes of every [`Position::Middle`] block.
pub const SYNC_MARKER: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// A worker's scratch buffer larger than this is given back after the block that needed it: what a
/// worker holds on to does not follow its largest block ever. 1 MiB of data and its overhead.
pub const SCRATCH_KEPT_BYTES_MAX: usize = (1 << 20) + (1 << 12);

/// Where a block stands in its member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Position {
    /// Others follow: no BFINAL, ends byte-aligned in the sync marker `00 00 ff ff`.
    Middle,
    /// The member's end: its last DEFLATE block has BFINAL, padding bits are zero.
    Last,
}

/// Compresses blocks on a thread of its own. State is per engine: one engine a worker, no sharing.
pub trait Engine: Send {
    /// The engine's name in logs and metrics.
    fn name(&self) -> &'static str;

    /// Compresses `input` on its own (no history before it) and appends raw DEFLATE to `out`, at most
    /// [`output_bytes_max`]`(input.len())` bytes. On an error `out` is as it was.
    ///
    /// # Errors
    /// [`EngineError`]: the engine broke its own contract. The input is never at fault.
    fn compress_block(
        &mut self,
        input: &[u8],
        level: Level,
        position: Position,
        out: &mut Vec<u8>,
    ) -> Result<(), EngineError>;
}

/// An engine that did not do what it promises, or is not there. Serve the block with another one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EngineError {
    /// The engine refused a level that its table names.
    #[error(
        "engine {engine} does not know its level {level}: expected 1..=12 to be served; use another engine"
    )]
    LevelRefused {
        /// Which engine.
        engine: &'static str,
        /// The engine's own level.
        level: i32,
    },
    /// A stream was asked for in a format whose blocks are made apart.
    #[error(
        "{format} is no format of streams: its blocks are made apart, by an engine, and joined"
    )]
    NotStreamed {
        /// The format asked for.
        format: Format,
    },
    /// The engine could not be made, or did not go on.
    #[error("engine {engine} refused: {why}")]
    Refused {
        /// Which engine.
        engine: &'static str,
        /// In the library's words.
        why: &'static str,
    },
    /// What the engine made does not decode to its input.
    #[error(
        "what engine {engine} made failed verification; compress the member with another engine"
    )]
    Wrong {
        /// Which engine.
        engine: &'static str,
        /// What is wrong with it.
        #[source]
        source: VerifyError,
    },
}

/// The most bytes that a block of `input_len` bytes becomes, in either position.
///
/// Stored blocks of 65,535 bytes, and one empty stored block as sync marker.
#[must_use]
pub const fn output_bytes_max(input_len: usize) -> usize {
    stored_bytes(input_len).saturating_add(STORED_BLOCK_OVERHEAD_BYTES)
}

/// Length of `input_len` bytes as stored blocks from a byte boundary on; an empty input takes one block.
pub(crate) const fn stored_bytes(input_len: usize) -> usize {
    let blocks = if input_len == 0 {
        1
    } else {
        input_len.div_ceil(STORED_BLOCK_BYTES_MAX)
    };
    input_len.saturating_add(blocks.saturating_mul(STORED_BLOCK_OVERHEAD_BYTES))
}

/// Appends `input` as stored blocks (RFC 1951, 3.2.4), the form that no data can make larger.
pub fn write_stored(input: &[u8], position: Position, out: &mut Vec<u8>) {
    let mut pieces = input.chunks(STORED_BLOCK_BYTES_MAX).peekable();
    while let Some(piece) = pieces.next() {
        let last = position == Position::Last && pieces.peek().is_none();
        // chunks() bounds a piece to 65,535 bytes.
        let len = u16::try_from(piece.len()).unwrap_or(u16::MAX);
        out.push(u8::from(last));
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(piece);
    }
    match position {
        Position::Middle => out.extend_from_slice(&EMPTY_STORED_BLOCK),
        Position::Last if input.is_empty() => out.extend_from_slice(&EMPTY_FINAL_STORED_BLOCK),
        Position::Last => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_form_has_the_announced_length_at_every_boundary() {
        for len in [
            0, 1, 11, 65_534, 65_535, 65_536, 131_069, 131_070, 131_071, 131_072,
        ] {
            let input = vec![0x5a; len];
            for (position, marker) in [
                (Position::Last, 0),
                (Position::Middle, STORED_BLOCK_OVERHEAD_BYTES),
            ] {
                let mut out = Vec::new();
                write_stored(&input, position, &mut out);
                let data = if len == 0 && position == Position::Middle {
                    0
                } else {
                    stored_bytes(len)
                };
                assert_eq!(out.len(), data + marker, "{len} {position:?}");
                assert!(out.len() <= output_bytes_max(len));
            }
        }
    }

    #[test]
    fn the_bound_saturates_instead_of_wrapping() {
        assert_eq!(output_bytes_max(usize::MAX), usize::MAX);
    }
}
