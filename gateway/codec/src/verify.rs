//! Proof that a compressed block is right: it is decoded by another implementation than the one that
//! made it, and the decoded bytes are compared with the host's own input.
//!
//! Invariant: `Ok` means that a standard decoder turns the whole block, to its last byte and not
//! beyond, into exactly `input`, and that the block stands as its [`Position`] says: a middle block
//! without BFINAL and ended at a byte boundary by a sync marker, a last block with BFINAL. Checksums are never
//! matched instead of bytes: an input corrupted on its way into a card agrees with itself.
//!
//! How the whole block is proven consumed:
//!
//! - zlib-rs and ISA-L say how much they read, and ISA-L where in the stream it stands.
//! - libdeflate says neither, and ignores what follows a stream's end. A last block is wrapped as a gzip member whose
//!   trailer holds the CRC-32 and length of *our* input. libdeflate compares these where it stopped reading. If the
//!   trailer's 8 bytes occur nowhere else in what it read, it can only have stopped at the block's end. If they do occur
//!   (one chance in 2^64 a byte, or a card that means harm), zlib-rs decides.
//! - A middle block is no stream. zlib-rs and libdeflate are shown it with a [`SecretEnd`] appended. A fixed end would not do:
//!   a block that stops inside a stored or coded run swallows its first bytes as data, and the maker of input and
//!   block could have seen to it that this data is the right one. Nobody can for bytes drawn after the block was made.
//!
//! Blocks stand alone here: none refers to history before itself.

use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::{DecompressionError, Decompressor};
use thiserror::Error;

use crate::cpu_engines::Maker;
use crate::decompress::member_parts;
use crate::decompress_error::DecompressError;
use crate::engine::{Position, SCRATCH_KEPT_BYTES_MAX, SYNC_MARKER};
use crate::format::Format;
use crate::isal::{IsalDecoder, Stop};
use crate::member::BlockChecksum;
use crate::secret_end::{SECRET_BYTES, SecretEnd, SecretEnds};

/// Decoded data is compared in pieces of this size: decoded and input piece fit the second-level
/// cache together, and a block of the usual quantum (128 KiB) is one piece.
const PIECE_BYTES: usize = 128 << 10;

/// Output beyond the input's length that ISA-L is given, so that it never has to set data aside for want of space.
const ISAL_SLACK_BYTES: usize = 512;

/// gzip's fixed header, for the wrapped member.
const WRAPPER_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Which implementation decodes. It must not be the one that compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decoder {
    /// zlib-rs, streaming through a small buffer: for blocks that libdeflate compressed, where there is no ISA-L.
    ZlibRs,
    /// libdeflate, in one call, the fastest: for blocks that a card or ISA-L compressed.
    Libdeflate,
    /// ISA-L, in one call: for blocks that libdeflate compressed. Where it is not installed, zlib-rs.
    IsaL,
}

/// A block that must not be sent. Offsets are in decoded bytes unless they say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// The decoded bytes differ from the input.
    #[error("decoded data differs from the input at byte {offset} of {input_len}")]
    Mismatch {
        /// First byte that differs.
        offset: usize,
        /// Length of the input.
        input_len: usize,
    },
    /// The block decodes to less than the input.
    #[error("the block decodes to {decoded_len} bytes, its input has {input_len}")]
    TooShort {
        /// Decoded length.
        decoded_len: usize,
        /// Length of the input.
        input_len: usize,
    },
    /// The block decodes to more than the input.
    #[error("the block decodes to more than its input's {input_len} bytes")]
    TooLong {
        /// Length of the input.
        input_len: usize,
    },
    /// Not DEFLATE, or cut short.
    #[error(
        "the block is not DEFLATE: decoding stopped after {decoded_len} of {input_len} bytes, near block byte {block_offset}"
    )]
    Corrupt {
        /// Bytes decoded before.
        decoded_len: usize,
        /// Length of the input.
        input_len: usize,
        /// Offset in the block near which decoding stopped.
        block_offset: usize,
    },
    /// The stream ends (BFINAL) before the block does.
    #[error("the block's stream ends after {consumed} of its {block_len} bytes")]
    EndsEarly {
        /// Block bytes up to the stream's end.
        consumed: usize,
        /// Length of the block.
        block_len: usize,
    },
    /// A middle block that does not end in a byte-aligned sync marker.
    #[error(
        "a middle block must end in the sync marker 00 00 ff ff at a byte boundary, this one does not"
    )]
    NoSyncMarker,
    /// A last block without BFINAL.
    #[error("a last block must end its stream (BFINAL), this one does not")]
    NotFinal,
    /// One decoder refuses what zlib-rs accepts.
    #[error("{decoder:?} refuses a block of {block_len} bytes that zlib-rs decodes to the input")]
    DecodersDisagree {
        /// Which one.
        decoder: Decoder,
        /// Length of the block.
        block_len: usize,
    },
}

/// Decoders and buffers of one worker. Checking allocates nothing once the buffers have grown to
/// the blocks in use.
pub struct Verifier {
    zlib_rs: Decompress,
    libdeflate: Decompressor,
    isal: Option<IsalDecoder>,
    ends: SecretEnds,
    piece: Vec<u8>,
    wrapped: Vec<u8>,
    decoded: Vec<u8>,
}

impl Default for Verifier {
    fn default() -> Self {
        Self::new()
    }
}

impl Verifier {
    /// A verifier with every decoder that is there.
    #[must_use]
    pub fn new() -> Self {
        Self {
            zlib_rs: Decompress::new(false),
            libdeflate: Decompressor::new(),
            isal: IsalDecoder::new(),
            ends: SecretEnds::new(),
            piece: vec![0; PIECE_BYTES],
            wrapped: Vec::new(),
            decoded: Vec::new(),
        }
    }

    /// Decodes `block`, raw DEFLATE, and compares with `input`.
    ///
    /// # Errors
    /// [`VerifyError`]: the block must not be sent; compress again with another engine.
    pub fn check_block(
        &mut self,
        block: &[u8],
        position: Position,
        input: &[u8],
        decoder: Decoder,
    ) -> Result<(), VerifyError> {
        if position == Position::Middle && !block.ends_with(&SYNC_MARKER) {
            return Err(VerifyError::NoSyncMarker);
        }
        let verdict = match decoder {
            Decoder::ZlibRs => Verdict::Undecided,
            Decoder::Libdeflate if position == Position::Middle => {
                self.check_middle_with_libdeflate(block, input)
            }
            Decoder::Libdeflate => self.check_with_libdeflate(block, input),
            Decoder::IsaL => self.check_with_isal(block, position, input),
        };
        if self.wrapped.capacity().max(self.decoded.capacity()) > SCRATCH_KEPT_BYTES_MAX {
            (self.wrapped, self.decoded) = (Vec::new(), Vec::new());
        }
        match verdict {
            Verdict::Right => Ok(()),
            Verdict::Undecided => self.check_with_zlib_rs(block, position, input),
            // The fast decoders say no more than "bad": zlib-rs says where. If it sees nothing wrong the block is
            // refused all the same.
            Verdict::Wrong => self.check_with_zlib_rs(block, position, input).and(Err(
                VerifyError::DecodersDisagree {
                    decoder,
                    block_len: block.len(),
                },
            )),
        }
    }

    /// The decoder for what `maker` made: the fastest that is another implementation.
    #[must_use]
    pub const fn decoder_for(&self, maker: Maker) -> Decoder {
        match maker {
            Maker::IsaL | Maker::Stored => Decoder::Libdeflate,
            Maker::Libdeflate if self.isal.is_some() => Decoder::IsaL,
            Maker::Libdeflate => Decoder::ZlibRs,
        }
    }

    /// Checks what a card decompressed: `member` is what the caller sent (and what may follow it), of which
    /// the card says that `consumed` bytes are one member that decompresses to `output`.
    ///
    /// The stream is decoded again, by libdeflate, and compared with `output`; then the member's own trailer, where
    /// its format has one, is checked too.
    ///
    /// # Errors
    /// [`DecompressError`] if the member's header is at fault, its stream is not exactly those bytes or decodes to
    /// something else than `output` ([`DecompressError::CorruptInput`]), or its trailer does not confirm `output`.
    pub fn check_decompressed(
        &mut self,
        member: &[u8],
        format: Format,
        output: &[u8],
        consumed: usize,
    ) -> Result<(), DecompressError> {
        let truncated = DecompressError::Truncated {
            offset: member.len(),
        };
        let member = member.get(..consumed).ok_or(truncated)?;
        let (stream, trailer) = member_parts(member, format)?;
        self.check_block(stream, Position::Last, output, Decoder::Libdeflate)
            .map_err(|error| {
                let offset = match error {
                    VerifyError::Corrupt { block_offset, .. } => block_offset,
                    VerifyError::EndsEarly { consumed, .. } => consumed,
                    _ => 0,
                };
                DecompressError::CorruptInput {
                    offset,
                    what: "DEFLATE that decodes to something else",
                }
            })?;
        trailer.confirm(&BlockChecksum::of(format, output), 0)
    }

    fn check_with_zlib_rs(
        &mut self,
        block: &[u8],
        position: Position,
        input: &[u8],
    ) -> Result<(), VerifyError> {
        let input_len = input.len();
        self.zlib_rs.reset(false);
        let mut consumed = 0;
        let mut decoded_len = 0;
        let ended = loop {
            let rest = block.get(consumed..).unwrap_or_default();
            let corrupt = |consumed| VerifyError::Corrupt {
                decoded_len,
                input_len,
                block_offset: consumed,
            };
            let before = (self.zlib_rs.total_in(), self.zlib_rs.total_out());
            let status = self
                .zlib_rs
                .decompress(rest, &mut self.piece, FlushDecompress::None)
                .map_err(|_| {
                    corrupt(usize::try_from(self.zlib_rs.total_in()).unwrap_or(consumed))
                })?;
            // Both are bounded by the slices given.
            let taken = usize::try_from(self.zlib_rs.total_in() - before.0).unwrap_or_default();
            let made = usize::try_from(self.zlib_rs.total_out() - before.1).unwrap_or_default();
            let piece = self.piece.get(..made).unwrap_or_default();
            let expected = input.get(decoded_len..).unwrap_or_default();
            compare(piece, expected, decoded_len, input_len)?;
            consumed += taken;
            decoded_len += made;
            if status == Status::StreamEnd {
                break true;
            }
            if made == 0 && (taken == 0 || consumed == block.len()) {
                break false;
            }
        };
        match (position, ended) {
            (Position::Last, true) if consumed == block.len() => {}
            (_, true) => {
                return Err(VerifyError::EndsEarly {
                    consumed,
                    block_len: block.len(),
                });
            }
            (Position::Last, false) => return Err(VerifyError::NotFinal),
            (Position::Middle, false) => {
                // Only from a byte boundary between two DEFLATE blocks do these bytes say so.
                let end = self.ends.draw();
                let before = (self.zlib_rs.total_in(), self.zlib_rs.total_out());
                let status =
                    self.zlib_rs
                        .decompress(end.bytes(), &mut self.piece, FlushDecompress::None);
                let ended = status.is_ok_and(|status| status == Status::StreamEnd)
                    && self.zlib_rs.total_in() - before.0 == SecretEnd::BYTES as u64
                    && self.zlib_rs.total_out() - before.1 == SECRET_BYTES as u64
                    && self.piece.starts_with(end.secret());
                if !ended {
                    return Err(VerifyError::NoSyncMarker);
                }
            }
        }
        if decoded_len == input_len {
            Ok(())
        } else {
            Err(VerifyError::TooShort {
                decoded_len,
                input_len,
            })
        }
    }

    fn check_with_libdeflate(&mut self, block: &[u8], input: &[u8]) -> Verdict {
        let checksum = BlockChecksum::of(Format::Gzip, input);
        let [c0, c1, c2, c3] = checksum.value().to_le_bytes();
        let [l0, l1, l2, l3] = checksum.length_modulo_2_32().to_le_bytes();
        let trailer = [c0, c1, c2, c3, l0, l1, l2, l3];
        self.wrapped.clear();
        self.wrapped.extend_from_slice(&WRAPPER_HEADER);
        self.wrapped.extend_from_slice(block);
        self.wrapped.extend_from_slice(&trailer);
        let decoded = space(&mut self.decoded, input.len());
        match self.libdeflate.gzip_decompress(&self.wrapped, decoded) {
            Ok(len) if decoded.get(..len) == Some(input) => {}
            Ok(_) | Err(DecompressionError::BadData | DecompressionError::InsufficientSpace) => {
                return Verdict::Wrong;
            }
        }
        if occurs_only_at_end(&self.wrapped, trailer) {
            Verdict::Right
        } else {
            Verdict::Undecided
        }
    }

    fn check_middle_with_libdeflate(&mut self, block: &[u8], input: &[u8]) -> Verdict {
        let end = self.ends.draw();
        self.wrapped.clear();
        self.wrapped.extend_from_slice(block);
        self.wrapped.extend_from_slice(end.bytes());
        let decoded = space(&mut self.decoded, input.len().saturating_add(SECRET_BYTES));
        let result = self.libdeflate.deflate_decompress(&self.wrapped, decoded);
        let right = result == Ok(decoded.len())
            && decoded
                .split_last_chunk::<SECRET_BYTES>()
                .is_some_and(|(data, secret)| data == input && secret == end.secret());
        if right {
            Verdict::Right
        } else {
            Verdict::Wrong
        }
    }

    fn check_with_isal(&mut self, block: &[u8], position: Position, input: &[u8]) -> Verdict {
        let Some(isal) = &mut self.isal else {
            return Verdict::Undecided;
        };
        let decoded = space(
            &mut self.decoded,
            input.len().saturating_add(ISAL_SLACK_BYTES),
        );
        let Some(decoding) = isal.decode(block, decoded, position == Position::Last) else {
            return Verdict::Undecided;
        };
        let stop = match position {
            Position::Middle => Stop::Boundary,
            Position::Last => Stop::Final,
        };
        let right = decoding.stop == stop
            && decoding.consumed == block.len()
            && decoded.get(..decoding.produced) == Some(input);
        if right {
            Verdict::Right
        } else {
            Verdict::Wrong
        }
    }
}

/// The first `len` bytes of a buffer that is initialised once and only grown.
fn space(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    buffer.get_mut(..len).unwrap_or_default()
}

enum Verdict {
    Right,
    Wrong,
    Undecided,
}

/// Compares a decoded piece with what the input holds from there on.
pub(crate) fn compare(
    piece: &[u8],
    expected: &[u8],
    decoded_before: usize,
    input_len: usize,
) -> Result<(), VerifyError> {
    let common = expected.get(..piece.len()).unwrap_or(expected);
    let (compared, surplus) = piece.split_at_checked(common.len()).unwrap_or((piece, &[]));
    if compared != common {
        let within = compared
            .iter()
            .zip(common)
            .position(|(decoded, input)| decoded != input)
            .unwrap_or_default();
        return Err(VerifyError::Mismatch {
            offset: decoded_before + within,
            input_len,
        });
    }
    if surplus.is_empty() {
        Ok(())
    } else {
        Err(VerifyError::TooLong { input_len })
    }
}

/// Whether `bytes`, which end in `pattern`, hold it nowhere else, overlaps included.
///
/// Written in strides over two bytes at a time so that the compiler makes vector code of it; only a
/// stride in which the pair occurs is searched in full.
pub(crate) fn occurs_only_at_end(bytes: &[u8], pattern: [u8; 8]) -> bool {
    const STRIDE: usize = 256;
    let Some(last) = bytes.len().checked_sub(pattern.len()) else {
        return false;
    };
    let [first, second, ..] = pattern;
    let mut start = 0;
    while start < last {
        let end = (start + STRIDE).min(last);
        let here = bytes.get(start..end).unwrap_or_default();
        let following = bytes.get(start + 1..end + 1).unwrap_or_default();
        let pair_occurs = here
            .iter()
            .zip(following)
            .fold(false, |any, (&a, &b)| any | ((a == first) & (b == second)));
        if pair_occurs
            && bytes
                .get(start..end + pattern.len() - 1)
                .unwrap_or_default()
                .windows(pattern.len())
                .any(|w| w == pattern)
        {
            return false;
        }
        start = end;
    }
    bytes.ends_with(&pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_occurrence_is_found_wherever_it_stands() {
        let pattern = *b"\x01\x02\x03\x04\x05\0\0\0";
        for len in [8, 9, 100, 255, 256, 257, 263, 264, 265, 600] {
            let mut bytes = vec![1u8; len];
            bytes[len - 8..].copy_from_slice(&pattern);
            assert!(occurs_only_at_end(&bytes, pattern), "{len}");
            for at in 0..=len.saturating_sub(16) {
                if len < 16 {
                    continue;
                }
                let mut twice = bytes.clone();
                twice[at..at + 8].copy_from_slice(&pattern);
                assert!(!occurs_only_at_end(&twice, pattern), "{at} of {len}");
            }
        }
    }

    #[test]
    fn overlapping_occurrences_count() {
        assert!(!occurs_only_at_end(&[7; 9], [7; 8]));
        assert!(occurs_only_at_end(&[7; 8], [7; 8]));
        assert!(!occurs_only_at_end(&[7; 7], [7; 8]));
    }
}
