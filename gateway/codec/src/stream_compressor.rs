//! Compression of a body as it arrives, for the formats whose blocks cannot be made apart: one zstd frame, or one lz4
//! frame, a member.
//!
//! Invariant: what a call appended, after what the calls before it did, decodes to exactly the input so far, and no frame
//! is ended unless another implementation than the one that compressed has decoded all of it to its input: liblz4's blocks
//! are decoded by lz4_flex before they are handed out, libzstd's by ruzstd. ruzstd lets go of decoded data a window late
//! (2 MiB at the most): a wrong byte within the last window of a longer frame shows in a later call, at the latest in
//! the one with [`Position::Last`], whose output is then withheld, so that the frame lacks its end and no decoder takes it
//! for whole. A frame carries the checksum of its content (XXH64, XXH32).
//!
//! Memory: for zstd a window of 2 MiB at the most, libzstd's tables (up to 40 MiB at levels 11 and 12, under 9 MiB below) and as
//! much again in the decoder; for lz4 less than 1 MiB.

use crate::cpu_engines::EngineLevel;
use crate::engine::{EngineError, Position};
use crate::format::{Format, Level};
use crate::lz4_compressor::{self, Lz4Compressor};
use crate::zstd_compressor::{self, ZstdCompressor};

/// The compressor of one member after another, on one thread.
pub struct StreamCompressor {
    maker: Maker,
    broken: bool,
}

enum Maker {
    Zstd(Box<ZstdCompressor>),
    Lz4(Box<Lz4Compressor>),
}

impl StreamCompressor {
    /// A compressor that verifies.
    ///
    /// # Errors
    /// [`EngineError::NotStreamed`] for the DEFLATE family, whose blocks an [`Engine`](crate::Engine) makes;
    /// [`EngineError::Refused`] if the library has no memory.
    pub fn new(format: Format, level: Level) -> Result<Self, EngineError> {
        let maker = match format {
            Format::Zstd => Maker::Zstd(Box::new(ZstdCompressor::new(level)?)),
            Format::Lz4 => Maker::Lz4(Box::new(Lz4Compressor::new(level))),
            Format::Gzip | Format::Zlib | Format::Deflate => {
                return Err(EngineError::NotStreamed { format });
            }
        };
        Ok(Self {
            maker,
            broken: false,
        })
    }

    /// The same with or without verification. It is on unless this turns it off.
    #[must_use]
    pub fn with_verification(mut self, verified: bool) -> Self {
        match &mut self.maker {
            Maker::Zstd(maker) => maker.set_verified(verified),
            Maker::Lz4(maker) => maker.set_verified(verified),
        }
        self
    }

    /// Who serves `level` of `format`, by its own numbering; `None` for the DEFLATE family. liblz4's fast levels are
    /// negative, as its command line has them.
    #[must_use]
    pub const fn engine_of(format: Format, level: Level) -> Option<EngineLevel> {
        match format {
            Format::Zstd => Some(EngineLevel {
                engine: ZstdCompressor::NAME,
                native: zstd_compressor::native_level(level),
            }),
            Format::Lz4 => Some(EngineLevel {
                engine: Lz4Compressor::NAME,
                native: lz4_compressor::native_level(level),
            }),
            Format::Gzip | Format::Zlib | Format::Deflate => None,
        }
    }

    /// The engine's name in logs and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self.maker {
            Maker::Zstd(_) => ZstdCompressor::NAME,
            Maker::Lz4(_) => Lz4Compressor::NAME,
        }
    }

    /// Compresses the member's next bytes, appends what they became to `out`, and verifies it (see above). After
    /// [`Position::Last`] the next call begins a new member.
    ///
    /// At most [`output_bytes_max`](Self::output_bytes_max)`(input.len())` bytes are appended. Every call ends a block, so
    /// calls with little input cost ratio.
    ///
    /// # Errors
    /// [`EngineError`]: `out` is as it was, and the member cannot be gone on with: every call is an error until
    /// [`reset`](Self::reset).
    pub fn compress(
        &mut self,
        input: &[u8],
        position: Position,
        out: &mut Vec<u8>,
    ) -> Result<(), EngineError> {
        if self.broken {
            return Err(EngineError::Refused {
                engine: self.name(),
                why: "the member has failed before; reset the compressor",
            });
        }
        let len_before = out.len();
        let result = match &mut self.maker {
            Maker::Zstd(maker) => maker.compress(input, position, out),
            Maker::Lz4(maker) => maker.compress(input, position, out),
        };
        if result.is_err() {
            out.truncate(len_before);
            self.broken = true;
        }
        result
    }

    /// Gives up the member at hand: the next call begins a new one.
    pub fn reset(&mut self) {
        self.broken = false;
        match &mut self.maker {
            Maker::Zstd(maker) => maker.reset(),
            Maker::Lz4(maker) => maker.reset(),
        }
    }

    /// The most bytes that one call appends for `input_len` bytes, the frame's header and end included.
    #[must_use]
    pub fn output_bytes_max(&self, input_len: usize) -> usize {
        match self.maker {
            Maker::Zstd(_) => ZstdCompressor::output_bytes_max(input_len),
            Maker::Lz4(_) => Lz4Compressor::output_bytes_max(input_len),
        }
    }
}
