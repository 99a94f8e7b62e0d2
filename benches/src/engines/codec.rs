//! What is measured: our path, and the libraries below it called as directly as they can be.

use std::io::Write;

use faam_codec::{
    BlockChecksum, CpuEngines, Decompressor, Engine, EngineError, Format, IsalEngine, Level,
    Limits, Maker, Position, StreamCompressor, Verifier, VerifyError, write_header, write_trailer,
};
use thiserror::Error;

/// Block sizes of the table's columns, in bytes.
pub const BLOCK_BYTES: [usize; 3] = [4 << 10, 64 << 10, 1 << 20];

/// Something that was to be measured failed.
#[derive(Debug, Error)]
pub enum CodecError {
    /// An engine of ours.
    #[error("an engine failed")]
    Engine(#[from] EngineError),
    /// A block of ours is wrong.
    #[error("a block failed verification")]
    Verify(#[from] VerifyError),
    /// A body does not decompress.
    #[error("a body does not decompress")]
    Decompress(#[from] faam_codec::DecompressError),
    /// A library.
    #[error("{library} failed: {why}")]
    Library {
        /// Which one.
        library: &'static str,
        /// In its words.
        why: String,
    },
}

fn library(library: &'static str, why: impl ToString) -> CodecError {
    CodecError::Library {
        library,
        why: why.to_string(),
    }
}

/// Our path: [`CpuEngines`] and framing, or a [`StreamCompressor`], at one level; verification apart.
pub struct Ours {
    format: Format,
    level: Level,
    engines: CpuEngines,
    verifier: Verifier,
    stream: Option<(StreamCompressor, StreamCompressor)>,
    decompressor: Decompressor,
}

impl Ours {
    /// Our path at `level` of `format`.
    ///
    /// # Errors
    /// [`CodecError::Engine`].
    pub fn new(format: Format, level: Level) -> Result<Self, CodecError> {
        let stream = if format.is_deflate() {
            None
        } else {
            let new = || StreamCompressor::new(format, level);
            Some((new()?.with_verification(false), new()?))
        };
        Ok(Self {
            format,
            level,
            engines: CpuEngines::new(),
            verifier: Verifier::new(),
            stream,
            decompressor: Decompressor::new(),
        })
    }

    /// Who serves the level.
    #[must_use]
    pub fn engine(&self) -> String {
        StreamCompressor::engine_of(self.format, self.level)
            .unwrap_or_else(|| self.engines.engine_of(self.level))
            .to_string()
    }

    /// A whole body of one block, unverified.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn compress(&mut self, block: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        match &mut self.stream {
            Some((unverified, _)) => Ok(unverified.compress(block, Position::Last, out)?),
            None => self.member(block, Position::Last, out),
        }
    }

    /// The same, verified.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn compress_verified(&mut self, block: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.verified(block, Position::Last, out)
    }

    /// A block that others follow, unverified: for libdeflate its end is rewritten.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn middle(&mut self, block: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.member(block, Position::Middle, out)
    }

    fn verified(
        &mut self,
        block: &[u8],
        position: Position,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        if let Some((_, verified)) = &mut self.stream {
            return Ok(verified.compress(block, position, out)?);
        }
        write_header(self.format, self.level, out);
        let draft = self.engines.draft_block(block, self.level, position, out)?;
        self.verifier.finish(draft, block, out)?;
        write_trailer(&BlockChecksum::of(self.format, block), out);
        Ok(())
    }

    fn member(
        &mut self,
        block: &[u8],
        position: Position,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        write_header(self.format, self.level, out);
        self.engines
            .compress_block(block, self.level, position, out)?;
        write_trailer(&BlockChecksum::of(self.format, block), out);
        Ok(())
    }

    /// Decompresses a whole body, confirmed as the format allows; its length.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn decompress(&mut self, body: &[u8]) -> Result<usize, CodecError> {
        let limits = Limits {
            output_bytes_max: 1 << 30,
            ratio_max: u32::MAX,
        };
        let done = self
            .decompressor
            .decompress(body, Some(self.format), limits)?;
        Ok(done.data.len())
    }
}

/// A library, one call a block. gzip where it has DEFLATE, with its CRC-32.
pub enum Library {
    /// ISA-L's level; the gzip frame is put around it by us.
    IsaL(Box<IsalEngine>, Level),
    /// libdeflate's own gzip.
    Libdeflate(i32, Box<libdeflater::Compressor>),
    /// zlib-rs's own gzip, by flate2.
    ZlibRs(u32),
    /// libzstd with a content checksum.
    Zstd(i32, zstd_safe::CCtx<'static>),
    /// liblz4's frame with a content checksum, blocks of 256 KiB.
    Lz4(u32),
}

impl Library {
    /// What serves `level` of `format`, if it can be called without our path around it.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn below(format: Format, level: Level) -> Result<Option<Self>, CodecError> {
        let engines = CpuEngines::new();
        let native = |format| StreamCompressor::engine_of(format, level).map(|level| level.native);
        Ok(match (format, native(format)) {
            (Format::Gzip, _) => {
                let served = engines.engine_of(level);
                if served.engine == Maker::IsaL.name() {
                    IsalEngine::new().map(|isal| Self::IsaL(Box::new(isal), level))
                } else {
                    Some(Self::libdeflate(served.native)?)
                }
            }
            (Format::Zstd, Some(native)) => Some(Self::zstd(native)?),
            // The library's frame interface has no fast levels below 1.
            (Format::Lz4, Some(native)) => u32::try_from(native).ok().map(Self::Lz4),
            _ => None,
        })
    }

    fn libdeflate(native: i32) -> Result<Self, CodecError> {
        let level = libdeflater::CompressionLvl::new(native)
            .map_err(|_| library("libdeflate", "no such level"))?;
        let compressor = libdeflater::Compressor::new(level);
        Ok(Self::Libdeflate(native, Box::new(compressor)))
    }

    fn zstd(native: i32) -> Result<Self, CodecError> {
        let mut context = zstd_safe::CCtx::create();
        for parameter in [
            zstd_safe::CParameter::CompressionLevel(native),
            zstd_safe::CParameter::ChecksumFlag(true),
        ] {
            context
                .set_parameter(parameter)
                .map_err(|code| library("libzstd", zstd_safe::get_error_name(code)))?;
        }
        Ok(Self::Zstd(native, context))
    }

    /// Its name and its own level.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::IsaL(_, level) => format!("isa-l {level}"),
            Self::Libdeflate(native, _) => format!("libdeflate {native}"),
            Self::ZlibRs(native) => format!("zlib-rs {native}"),
            Self::Zstd(native, _) => format!("zstd {native}"),
            Self::Lz4(native) => format!("lz4 {native}"),
        }
    }

    /// A whole body of one block.
    ///
    /// # Errors
    /// [`CodecError::Library`].
    pub fn compress(&mut self, block: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        match self {
            Self::IsaL(isal, level) => {
                write_header(Format::Gzip, *level, out);
                isal.compress_block(block, *level, Position::Last, out)?;
                out.extend_from_slice(&crc32fast::hash(block).to_le_bytes());
                let len = u32::try_from(block.len()).unwrap_or_default();
                out.extend_from_slice(&len.to_le_bytes());
            }
            Self::Libdeflate(_, compressor) => {
                let start = out.len();
                out.resize(start + compressor.gzip_compress_bound(block.len()), 0);
                let space = out.get_mut(start..).unwrap_or_default();
                let len = compressor
                    .gzip_compress(block, space)
                    .map_err(|error| library("libdeflate", error))?;
                out.truncate(start + len);
            }
            Self::ZlibRs(native) => {
                let level = flate2::Compression::new(*native);
                let mut encoder = flate2::write::GzEncoder::new(out, level);
                encoder
                    .write_all(block)
                    .and_then(|()| encoder.finish().map(|_| ()))
                    .map_err(|error| library("zlib-rs", error))?;
            }
            Self::Zstd(_, context) => {
                out.reserve(zstd_safe::compress_bound(block.len()));
                let start = out.len();
                let mut to = zstd_safe::OutBuffer::around_pos(out, start);
                let mut from = zstd_safe::InBuffer::around(block);
                let end = zstd_safe::zstd_sys::ZSTD_EndDirective::ZSTD_e_end;
                let left = context
                    .compress_stream2(&mut to, &mut from, end)
                    .map_err(|code| library("libzstd", zstd_safe::get_error_name(code)))?;
                if left != 0 {
                    return Err(library("libzstd", "it left its own bound"));
                }
            }
            Self::Lz4(native) => {
                let mut encoder = lz4::EncoderBuilder::new()
                    .level(*native)
                    .block_mode(lz4::BlockMode::Independent)
                    .block_size(lz4::BlockSize::Max256KB)
                    .block_checksum(lz4::liblz4::BlockChecksum::NoBlockChecksum)
                    .build(out)
                    .map_err(|error| library("liblz4", error))?;
                encoder
                    .write_all(block)
                    .and_then(|()| encoder.finish().1)
                    .map_err(|error| library("liblz4", error))?;
            }
        }
        Ok(())
    }
}
