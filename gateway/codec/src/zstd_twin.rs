//! ruzstd beside libzstd: it decodes the same blocks, and its data is compared with what is expected.
//!
//! ruzstd lets go of decoded data a window late, so a difference may show that late too; at the frame's end nothing is
//! left uncompared.

use std::io::{self, Write};

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::decompress_error::ZSTD_WINDOW_BYTES_MAX;
use crate::lockstep::{Disagreement, Lockstep};

/// The second decoder of one frame after another.
pub(crate) struct ZstdTwin {
    decoder: FrameDecoder,
    lockstep: Lockstep,
}

impl Default for ZstdTwin {
    fn default() -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW_BYTES_MAX);
        Self {
            decoder,
            lockstep: Lockstep::default(),
        }
    }
}

impl ZstdTwin {
    /// Begins a frame with its header, the magic number included.
    pub(crate) fn begin(&mut self, header: &[u8]) -> Result<(), Disagreement> {
        self.lockstep.clear();
        self.decoder.reset(header).map_err(|_| Disagreement)
    }

    /// What further blocks have to decode to.
    pub(crate) fn lead(&mut self, data: &[u8]) {
        self.lockstep.lead(data);
    }

    /// Decodes `block`, its header and for the last one the frame's checksum included, and compares.
    pub(crate) fn follow(&mut self, block: &[u8], last: bool) -> Result<(), Disagreement> {
        let ended = self
            .decoder
            .decode_blocks(block, BlockDecodingStrategy::UptoBlocks(1))
            .map_err(|_| Disagreement)?;
        let mut compare = Compare {
            lockstep: &mut self.lockstep,
            agree: true,
        };
        self.decoder
            .collect_to_writer(&mut compare)
            .map_err(|_| Disagreement)?;
        let agree = compare.agree && ended == last && (!last || self.lockstep.len() == 0);
        if agree { Ok(()) } else { Err(Disagreement) }
    }
}

/// A writer that compares.
struct Compare<'lockstep> {
    lockstep: &'lockstep mut Lockstep,
    agree: bool,
}

impl Write for Compare<'_> {
    fn write(&mut self, made: &[u8]) -> io::Result<usize> {
        self.agree &= self.lockstep.follow(made).is_ok();
        Ok(made.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
