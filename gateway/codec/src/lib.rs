//! CPU engines, DEFLATE framing, joining, verification.
//!
//! Bytes in, bytes out: no I/O, no threads, no clock. What the gateway does on the CPU with a block or a
//! member is here, and what must hold of a card's answer before a caller may see it.
//!
//! | module | owns |
//! |---|---|
//! | `format` | the caller's choices: [`Format`], [`Level`] |
//! | `engine` | the interface of all CPU engines, the stored form, the bound on growth |
//! | `libdeflate` | the libdeflate engine and its level table |
//! | `draft` | a final stream made a block that others can follow |
//! | `comparator` | the decoder that compares: `bit_reader`, `code_definition`, `canonical_code` and `symbol_tables` are its parts |
//! | `member` | headers and trailers that we write; checksums that combine |
//! | `header` | headers that callers send |
//! | `verify` | proof that a block, or what a card decompressed, is right |
//! | `decompress` | decompression on the CPU, bounded against bombs |
//!
//! A member is made so: [`write_header`], then blocks from [`CpuEngines::draft_block`] (all but the last as
//! [`Position::Middle`]), finished by [`Verifier::finish`] and laid end to end, then [`write_trailer`] of the blocks' [`BlockChecksum`]s combined.

mod bit_reader;
mod canonical_code;
mod code_definition;
mod comparator;
mod cpu_engines;
mod decompress;
mod decompress_error;
mod deflate_member;
mod draft;
mod engine;
mod format;
mod gather;
mod gzip_header_reader;
mod header;
mod incompressible;
#[cfg(isal)]
mod isal;
#[cfg(not(isal))]
#[path = "isal/absent.rs"]
mod isal;
mod libdeflate;
mod limits;
mod lockstep;
mod lz4_block;
mod lz4_compressor;
mod lz4_frame;
mod lz4_history;
mod member;
mod occurrence;
mod stream_compressor;
mod stream_decompressor;
mod symbol_tables;
mod verify;
mod zstd_compressor;
mod zstd_frame;
mod zstd_twin;

pub use cpu_engines::{CpuEngines, EngineLevel, Maker};
pub use decompress::{Decompressed, Decompressor, InflateDone, InflateError, inflate_member};
pub use decompress_error::{DecompressError, ZSTD_WINDOW_BYTES_MAX};
pub use draft::Draft;
pub use engine::{
    EMPTY_FINAL_STORED_BLOCK, EMPTY_STORED_BLOCK, Engine, EngineError, Position,
    SCRATCH_KEPT_BYTES_MAX, STORED_BLOCK_BYTES_MAX, STORED_BLOCK_OVERHEAD_BYTES, SYNC_MARKER,
    output_bytes_max, write_stored,
};
pub use format::{Format, FormatError, Level, LevelError};
pub use header::{GzipHeader, HeaderError, TEXT_FIELD_BYTES_MAX, ZlibHeader};
pub use isal::{IsalDecoder, IsalDecoding, IsalEngine};
pub use libdeflate::{LibdeflateEngine, native_level};
pub use limits::{Limits, MEMBERS_MAX, RATIO_FREE_BYTES};
pub use member::{
    BlockChecksum, HEADER_BYTES_MAX, TRAILER_BYTES_MAX, header_bytes, trailer_bytes, write_header,
    write_trailer,
};
pub use stream_compressor::StreamCompressor;
pub use stream_decompressor::{StreamDecompressor, StreamState, StreamStep};
pub use verify::{Verifier, VerifyError};
