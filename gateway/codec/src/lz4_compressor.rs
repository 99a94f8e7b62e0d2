//! LZ4 frames made a block at a time: liblz4 compresses, lz4_flex verifies.
//!
//! Blocks are independent and of 256 KiB at the most: a match reaches 64 KiB back, so linking them would be worth a
//! little ratio (1 % on the corpus), and every block stands for itself, for decoders in parallel too.

use std::hash::Hasher as _;

use lz4::block::CompressionMode;
use twox_hash::XxHash32;

use crate::engine::{EngineError, Position};
use crate::format::Level;
use crate::header::LZ4_MAGIC;
use crate::lz4_frame::{BLOCK_DESCRIPTOR_256_KIB, FRAME_FLAGS, STORED, header_checksum};
use crate::verify::{VerifyError, compare};

/// The most data in a block, as the frame's header says.
const BLOCK_BYTES_MAX: usize = 256 << 10;
/// Magic number, FLG, BD, HC.
const HEADER_BYTES: usize = 7;
const LENGTH_BYTES: usize = 4;
/// EndMark and content checksum.
const END_BYTES: usize = 8;

/// The compressor of frames.
pub(crate) struct Lz4Compressor {
    mode: CompressionMode,
    verified: bool,
    open: bool,
    checksum: XxHash32,
    packed: Box<[u8]>,
    decoded: Box<[u8]>,
}

impl Lz4Compressor {
    pub(crate) const NAME: &'static str = "lz4";

    pub(crate) fn new(level: Level) -> Self {
        Self {
            mode: native_mode(level),
            verified: true,
            open: false,
            checksum: XxHash32::with_seed(0),
            packed: vec![0; BLOCK_BYTES_MAX].into_boxed_slice(),
            decoded: vec![0; BLOCK_BYTES_MAX].into_boxed_slice(),
        }
    }

    pub(crate) fn set_verified(&mut self, verified: bool) {
        self.verified = verified;
    }

    pub(crate) fn reset(&mut self) {
        self.open = false;
        self.checksum = XxHash32::with_seed(0);
    }

    pub(crate) const fn output_bytes_max(input_len: usize) -> usize {
        let blocks = input_len.div_ceil(BLOCK_BYTES_MAX);
        input_len
            .saturating_add(blocks.saturating_mul(LENGTH_BYTES))
            .saturating_add(HEADER_BYTES + END_BYTES)
    }

    pub(crate) fn compress(
        &mut self,
        input: &[u8],
        position: Position,
        out: &mut Vec<u8>,
    ) -> Result<(), EngineError> {
        out.reserve(Self::output_bytes_max(input.len()));
        if !self.open {
            let descriptor = [FRAME_FLAGS, BLOCK_DESCRIPTOR_256_KIB];
            out.extend_from_slice(&LZ4_MAGIC);
            out.extend_from_slice(&descriptor);
            out.push(header_checksum(&descriptor));
            self.open = true;
        }
        for piece in input.chunks(BLOCK_BYTES_MAX) {
            self.block(piece, out)?;
        }
        self.checksum.write(input);
        if position == Position::Last {
            out.extend_from_slice(&0u32.to_le_bytes());
            out.extend_from_slice(&self.checksum.finish_32().to_le_bytes());
            self.reset();
        }
        Ok(())
    }

    /// Appends one block, stored if it does not get smaller.
    fn block(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), EngineError> {
        let space = self
            .packed
            .get_mut(..piece.len().saturating_sub(1))
            .unwrap_or_default();
        // The only failure is a want of space.
        let packed = lz4::block::compress_to_buffer(piece, Some(self.mode), false, space)
            .ok()
            .and_then(|len| self.packed.get(..len))
            .filter(|packed| !packed.is_empty());
        // Lengths are at most 256 KiB.
        let length = |len: usize| u32::try_from(len).unwrap_or_default();
        let Some(packed) = packed else {
            out.extend_from_slice(&(length(piece.len()) | STORED).to_le_bytes());
            out.extend_from_slice(piece);
            return Ok(());
        };
        if self.verified {
            check(packed, piece, &mut self.decoded).map_err(|source| EngineError::Wrong {
                engine: Self::NAME,
                source,
            })?;
        }
        out.extend_from_slice(&length(packed.len()).to_le_bytes());
        out.extend_from_slice(packed);
        Ok(())
    }
}

/// Decodes a block into `room` and compares it with what it was made of.
fn check(packed: &[u8], piece: &[u8], room: &mut [u8]) -> Result<(), VerifyError> {
    let input_len = piece.len();
    let len = lz4_flex::block::decompress_into(packed, room).map_err(|_| VerifyError::Corrupt {
        decoded_len: 0,
        input_len,
        block_offset: 0,
    })?;
    compare(room.get(..len).unwrap_or_default(), piece, 0, input_len)?;
    match len < input_len {
        true => Err(VerifyError::TooShort {
            decoded_len: len,
            input_len,
        }),
        false => Ok(()),
    }
}

/// liblz4's level for each of ours, as its command line numbers them: its fast mode, where it is several times as fast as
/// any other format; then its high compression from 3 on, the first that differs.
pub(crate) const fn native_level(level: Level) -> i32 {
    match level.get() {
        1 => -4,
        2 => -2,
        3..=5 => 1,
        6 => 3,
        7 => 4,
        8 => 6,
        9 => 9,
        // 10, 11, 12: the same number.
        same => same as i32,
    }
}

fn native_mode(level: Level) -> CompressionMode {
    match native_level(level) {
        fast if fast < 0 => CompressionMode::FAST(-fast),
        1 => CompressionMode::DEFAULT,
        dense => CompressionMode::HIGHCOMPRESSION(dense),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_decodes_to_something_else_is_wrong() {
        let piece: Vec<u8> = (0..4000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let mut room = vec![0; BLOCK_BYTES_MAX];
        let packed = lz4::block::compress(&piece, None, false).unwrap();
        assert_eq!(check(&packed, &piece, &mut room), Ok(()));
        // One literal, which the format cannot tell from a right one.
        let mut other = piece.clone();
        other[0] ^= 1;
        assert_eq!(
            check(&packed, &other, &mut room),
            Err(VerifyError::Mismatch {
                offset: 0,
                input_len: piece.len()
            })
        );
        let longer = [&piece[..], b"more"].concat();
        assert!(check(&packed, &longer, &mut room).is_err());
        let shorter = &piece[..piece.len() - 1];
        assert!(check(&packed, shorter, &mut room).is_err());
    }
}
