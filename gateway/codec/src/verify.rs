//! Proof that a compressed block is right: it is decoded by another implementation than the one that made it, and compared
//! with the host's own input.
//!
//! Invariant: `Ok` means that every standard decoder turns the whole block, to its last byte and not beyond, into
//! exactly `input`, and that the block stands as its [`Position`] says: a middle block without BFINAL and ended at a byte
//! boundary by a sync marker, a last block with BFINAL. Checksums are never matched instead of bytes: an input corrupted on
//! its way into a card agrees with itself.
//!
//! The decoder is the [`Comparator`], which is ours and no engine's: whoever made a block, it is another implementation,
//! and it sees where each DEFLATE block ends. Of a block that it refuses for its data, zlib-rs is asked too, so that an
//! error of the comparator's own is not taken for the maker's.
//!
//! Blocks that our own libdeflate or ISA-L made, and that end their stream as they stand, are shown to the other one of the
//! two first: each decodes the other's a third faster than the comparator (the example `speed`). ISA-L says how much of a
//! block was the stream. libdeflate does not, and ignores what follows; so the block is wrapped as a gzip member whose trailer
//! is of *our* input, which libdeflate compares where it stopped reading: if those 8 bytes stand nowhere else, that was the
//! block's end. What they do not call right goes to the comparator. Blocks of cards never come here: both forgive codes that
//! zlib refuses, and so would not be as strict as the strictest reader with a maker that means harm.
//!
//! A [`Draft`] is checked and put in its place by one pass. What is sent is then not quite what was compared: BFINAL of the
//! last DEFLATE block is cleared, and the bits behind that block are written anew. It is right all the same. The pass
//! has read every bit up to the end of the last block, and it read the cleared bit as BFINAL and nothing else; so the edited
//! bytes are the same DEFLATE blocks, none of them final. What follows them is the empty stored block, whose header starts at
//! the very bit where the last block ended, and which any decoder reads alike: BFINAL 0, BTYPE 00, padding to the byte
//! boundary, LEN 0 and NLEN.
//!
//! Blocks stand alone here: none refers to history before itself.

use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::Decompressor;
use thiserror::Error;

use crate::comparator::Comparator;
use crate::cpu_engines::Maker;
use crate::decompress::member_parts;
use crate::decompress_error::DecompressError;
use crate::draft::Draft;
use crate::engine::{EMPTY_FINAL_STORED_BLOCK, Position, SCRATCH_KEPT_BYTES_MAX};
use crate::format::Format;
use crate::isal::{IsalDecoder, IsalDecoding};
use crate::member::{BlockChecksum, write_trailer};
use crate::occurrence::occurs_only_at_end;

/// Output space of the second opinion.
const PIECE_BYTES: usize = 32 << 10;

/// Output beyond the input's length that ISA-L is given, so that it never has to set data aside for want of space.
const ISAL_SLACK_BYTES: usize = 512;

/// gzip's fixed header (RFC 1952, 2.3), for the member that libdeflate is shown.
const WRAPPER_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

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
    /// The comparator refuses what zlib-rs decodes to the input.
    #[error(
        "the comparator refuses a block of {block_len} bytes that zlib-rs decodes to the input"
    )]
    DecodersDisagree {
        /// Length of the block.
        block_len: usize,
    },
}

/// The decoders of one worker. Checking right blocks allocates nothing once the buffers have grown to the blocks in use.
pub struct Verifier {
    comparator: Comparator,
    libdeflate: Decompressor,
    isal: Option<IsalDecoder>,
    /// What is decoded to: initialised once and only grown.
    decoded: Vec<u8>,
    /// What libdeflate is shown.
    wrapped: Vec<u8>,
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
            isal: IsalDecoder::new(),
            ..Self::without_isal()
        }
    }

    /// A verifier without ISA-L, whether it is there or not.
    #[must_use]
    pub fn without_isal() -> Self {
        Self {
            comparator: Comparator::new(),
            libdeflate: Decompressor::new(),
            isal: None,
            decoded: Vec::new(),
            wrapped: Vec::new(),
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
    ) -> Result<(), VerifyError> {
        self.comparator
            .compare(block, position, input)
            .map(|_| ())
            .map_err(|error| second_opinion(error, block, position, input))
    }

    /// Decodes the draft at the end of `out`, compares with `input`, and makes of it a block in its place.
    ///
    /// # Errors
    /// [`VerifyError`]: compress again with another engine. `out` is as it was before the draft.
    pub fn finish(
        &mut self,
        draft: Draft,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), VerifyError> {
        let block = out.get(draft.start()..).unwrap_or_default();
        if draft.is_last_in_place() && self.other_engine_decodes(draft.maker(), block, input) {
            return Ok(());
        }
        let stands_as = draft.stands_as();
        match self.comparator.compare(block, stands_as, input) {
            Ok(structure) => {
                draft.place(structure, out);
                Ok(())
            }
            Err(error) => {
                let error = second_opinion(error, block, stands_as, input);
                out.truncate(draft.start());
                Err(error)
            }
        }
    }

    /// Whether another engine than `maker` decodes the whole of `block`, one DEFLATE stream, to `input`. False decides nothing.
    fn other_engine_decodes(&mut self, maker: Maker, block: &[u8], input: &[u8]) -> bool {
        let is_right = match maker {
            Maker::Libdeflate => self.isal_decodes(block, input),
            Maker::IsaL => self.libdeflate_decodes(block, input),
            // The comparator has no more to do than compare.
            Maker::Stored => false,
        };
        if self.decoded.capacity().max(self.wrapped.capacity()) > SCRATCH_KEPT_BYTES_MAX {
            (self.decoded, self.wrapped) = (Vec::new(), Vec::new());
        }
        is_right
    }

    fn isal_decodes(&mut self, block: &[u8], input: &[u8]) -> bool {
        let Some(isal) = &mut self.isal else {
            return false;
        };
        let output = space(
            &mut self.decoded,
            input.len().saturating_add(ISAL_SLACK_BYTES),
        );
        let whole = IsalDecoding {
            consumed: block.len(),
            produced: input.len(),
        };
        isal.decode(block, output) == Some(whole) && output.get(..input.len()) == Some(input)
    }

    fn libdeflate_decodes(&mut self, block: &[u8], input: &[u8]) -> bool {
        self.wrapped.clear();
        self.wrapped.extend_from_slice(&WRAPPER_HEADER);
        self.wrapped.extend_from_slice(block);
        write_trailer(&BlockChecksum::of(Format::Gzip, input), &mut self.wrapped);
        let output = space(&mut self.decoded, input.len());
        let decoded = self.libdeflate.gzip_decompress(&self.wrapped, output);
        decoded == Ok(input.len())
            && output == input
            && self
                .wrapped
                .last_chunk()
                .is_some_and(|trailer| occurs_only_at_end(&self.wrapped, *trailer))
    }

    /// Checks what a card decompressed: `member` is what the caller sent (and what may follow it), of which
    /// the card says that `consumed` bytes are one member that decompresses to `output`.
    ///
    /// The stream is decoded again and compared with `output`; then the member's own trailer, where its format has one,
    /// is checked too.
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
        self.check_block(stream, Position::Last, output)
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
}

/// The first `len` bytes of a buffer that is initialised once and only grown.
fn space(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    buffer.get_mut(..len).unwrap_or_default()
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

/// The comparator's error, or, if the data is at fault by its word alone, that decoders disagree.
#[cold]
fn second_opinion(
    error: VerifyError,
    block: &[u8],
    position: Position,
    input: &[u8],
) -> VerifyError {
    let is_of_data = matches!(
        error,
        VerifyError::Mismatch { .. }
            | VerifyError::TooShort { .. }
            | VerifyError::TooLong { .. }
            | VerifyError::Corrupt { .. }
    );
    if is_of_data && zlib_rs_decodes(block, position, input) {
        VerifyError::DecodersDisagree {
            block_len: block.len(),
        }
    } else {
        error
    }
}

/// Whether zlib-rs decodes `block`, of a middle block with an end of stream behind it, to `input` exactly.
fn zlib_rs_decodes(block: &[u8], position: Position, input: &[u8]) -> bool {
    let mut decoder = Decompress::new(false);
    let mut piece = vec![0; PIECE_BYTES];
    let end: &[u8] = match position {
        Position::Middle => &EMPTY_FINAL_STORED_BLOCK,
        Position::Last => &[],
    };
    let mut left = input;
    for mut bytes in [block, end] {
        loop {
            let before = (decoder.total_in(), decoder.total_out());
            let Ok(status) = decoder.decompress(bytes, &mut piece, FlushDecompress::None) else {
                return false;
            };
            // Both are bounded by the slices given.
            let taken = usize::try_from(decoder.total_in() - before.0).unwrap_or_default();
            let made = usize::try_from(decoder.total_out() - before.1).unwrap_or_default();
            let made = piece.get(..made).unwrap_or_default();
            let Some(rest) = left.strip_prefix(made) else {
                return false;
            };
            left = rest;
            bytes = bytes.get(taken..).unwrap_or_default();
            if status == Status::StreamEnd {
                let whole = (block.len() + end.len()) as u64;
                return left.is_empty() && decoder.total_in() == whole;
            }
            if made.is_empty() && (taken == 0 || bytes.is_empty()) {
                break;
            }
        }
    }
    false
}
