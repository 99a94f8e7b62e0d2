//! Zstandard frames made a flush at a time: libzstd compresses, ruzstd verifies.

use std::hash::Hasher as _;

use twox_hash::XxHash64;
use zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, ResetDirective};

use crate::engine::{EngineError, Position};
use crate::format::Level;
use crate::header::FRAME_MAGIC_BYTES;
use crate::lockstep::Disagreement;
use crate::verify::VerifyError;
use crate::zstd_frame::{BLOCK_HEADER_BYTES, BlockHeader, CHECKSUM_BYTES, header_bytes};
use crate::zstd_twin::ZstdTwin;

/// log2 of the largest window: 2 MiB. Far below what every decoder takes (8 MiB, RFC 8878, 3.1.1.1.2); memory is what
/// it costs, ours and the decoder's.
const WINDOW_LOG_MAX: u32 = 21;
/// What a call may append beyond libzstd's own bound for its data: the frame's header (18), its end and its checksum, and
/// the header of a block that a flush cuts short.
const FRAME_BYTES_MAX: usize = 32;

/// The compressor of frames.
pub(crate) struct ZstdCompressor {
    context: CCtx<'static>,
    verified: bool,
    /// Within a frame: its header is out.
    open: bool,
    twin: ZstdTwin,
    checksum: XxHash64,
}

impl ZstdCompressor {
    pub(crate) const NAME: &'static str = "zstd";

    pub(crate) fn new(level: Level) -> Result<Self, EngineError> {
        let refused = |why| EngineError::Refused {
            engine: Self::NAME,
            why,
        };
        let mut context = CCtx::try_create().ok_or_else(|| refused("no memory for a context"))?;
        for parameter in parameters(level) {
            context
                .set_parameter(parameter)
                .map_err(zstd_safe::get_error_name)
                .map_err(refused)?;
        }
        Ok(Self {
            context,
            verified: true,
            open: false,
            twin: ZstdTwin::default(),
            checksum: XxHash64::with_seed(0),
        })
    }

    pub(crate) fn set_verified(&mut self, verified: bool) {
        self.verified = verified;
    }

    pub(crate) fn reset(&mut self) {
        self.open = false;
        self.checksum = XxHash64::with_seed(0);
        // It fails only while worker threads run, and there are none.
        let _ = self.context.reset(ResetDirective::SessionOnly);
    }

    pub(crate) fn output_bytes_max(input_len: usize) -> usize {
        zstd_safe::compress_bound(input_len).saturating_add(FRAME_BYTES_MAX)
    }

    pub(crate) fn compress(
        &mut self,
        input: &[u8],
        position: Position,
        out: &mut Vec<u8>,
    ) -> Result<(), EngineError> {
        let start = out.len();
        out.reserve(Self::output_bytes_max(input.len()));
        let directive = match position {
            Position::Middle => ZSTD_EndDirective::ZSTD_e_flush,
            Position::Last => ZSTD_EndDirective::ZSTD_e_end,
        };
        let mut from = InBuffer::around(input);
        loop {
            let len = out.len();
            let mut to = OutBuffer::around_pos(out, len);
            let left = self
                .context
                .compress_stream2(&mut to, &mut from, directive)
                .map_err(|code| EngineError::Refused {
                    engine: Self::NAME,
                    why: zstd_safe::get_error_name(code),
                })?;
            if left == 0 && from.pos == input.len() {
                break;
            }
            // Not within its own bound: give it what it says it still needs.
            out.reserve(left.max(FRAME_BYTES_MAX));
        }
        if self.verified {
            let made = out.get(start..).unwrap_or_default();
            self.verify(made, input, position)?;
        }
        match position {
            // A flush before any data writes nothing, not even a header.
            Position::Middle => self.open |= out.len() > start,
            Position::Last => {
                self.open = false;
                self.checksum = XxHash64::with_seed(0);
            }
        }
        Ok(())
    }

    /// Decodes what a call `made` of `input`, block for block.
    fn verify(&mut self, made: &[u8], input: &[u8], position: Position) -> Result<(), EngineError> {
        let wrong = |at: usize| EngineError::Wrong {
            engine: Self::NAME,
            source: VerifyError::Corrupt {
                decoded_len: 0,
                input_len: input.len(),
                block_offset: at,
            },
        };
        if made.is_empty() && input.is_empty() && position == Position::Middle {
            return Ok(());
        }
        self.checksum.write(input);
        let mut rest = made;
        let at = |rest: &[u8]| made.len() - rest.len();
        if !self.open {
            let len = header_bytes(made.get(FRAME_MAGIC_BYTES).copied().unwrap_or_default());
            let (header, blocks) = made.split_at_checked(len).ok_or_else(|| wrong(0))?;
            self.twin.begin(header).map_err(|Disagreement| wrong(0))?;
            rest = blocks;
        }
        self.twin.lead(input);
        let mut ended = false;
        while !rest.is_empty() && !ended {
            let header = rest
                .first_chunk::<BLOCK_HEADER_BYTES>()
                .map(|bytes| BlockHeader::parse(*bytes))
                .ok_or_else(|| wrong(at(rest)))?;
            ended = header.last;
            let len = BLOCK_HEADER_BYTES
                + header.content_bytes()
                + if ended { CHECKSUM_BYTES } else { 0 };
            let (block, after) = rest.split_at_checked(len).ok_or_else(|| wrong(at(rest)))?;
            self.twin
                .follow(block, ended)
                .map_err(|Disagreement| wrong(at(rest)))?;
            if ended {
                let expected = self.checksum.finish().to_le_bytes();
                if block.last_chunk::<CHECKSUM_BYTES>() != expected.first_chunk() {
                    return Err(wrong(at(rest)));
                }
            }
            rest = after;
        }
        if rest.is_empty() && ended == (position == Position::Last) {
            Ok(())
        } else {
            Err(wrong(at(rest)))
        }
    }
}

/// libzstd's level for each of ours: so chosen that a level costs about what the DEFLATE engines of the same number do
/// (level 3 is "balanced" everywhere), and never falls in speed order.
#[must_use]
pub(crate) const fn native_level(level: Level) -> i32 {
    match level.get() {
        1 => 1,
        2 => 2,
        3 => 3,
        4 => 4,
        5 => 5,
        6 => 7,
        7 => 8,
        8 => 9,
        9 => 12,
        10 => 15,
        11 => 17,
        _ => 19,
    }
}

fn parameters(level: Level) -> [CParameter; 3] {
    let native = native_level(level);
    // libzstd's own window is 512 KiB at level 1, 1 MiB at 2, and 2 MiB or more from 3 on.
    let window_log = match native {
        1 => 19,
        2 => 20,
        _ => WINDOW_LOG_MAX,
    };
    [
        CParameter::CompressionLevel(native),
        CParameter::WindowLog(window_log),
        CParameter::ChecksumFlag(true),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_decodes_to_something_else_is_wrong() {
        let input: Vec<u8> = (0..40_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let level = Level::new(3).unwrap();
        let mut made = Vec::new();
        ZstdCompressor::new(level)
            .unwrap()
            .compress(&input, Position::Last, &mut made)
            .unwrap();
        let verify = |input: &[u8]| {
            let mut compressor = ZstdCompressor::new(level).unwrap();
            compressor.verify(&made, input, Position::Last)
        };
        assert!(verify(&input).is_ok());
        let mut other = input.clone();
        other[100_000] ^= 1;
        assert!(verify(&other).is_err());
        assert!(verify(&input[1..]).is_err());
    }
}
